//! Buffers that go round on one thread: large ones would otherwise be asked of the system, and touched for the first time, in
//! every operation of a prefill.

use std::cell::RefCell;

/// Buffers that one thread keeps. The engine's threads, which do all the work, end with the engine.
pub(super) const MOST: usize = 8;
/// Values of the largest buffer that is kept: 36 MiB, the first products of Scout's widest layer over 256 tokens.
pub(super) const LARGEST: usize = 9 << 20;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `n` values, which are whatever they are. A small request leaves the large buffers to those who need them.
pub(super) fn take(n: usize) -> Vec<f32> {
    let found = FREE.with_borrow_mut(|free| {
        let fits = free
            .iter()
            .enumerate()
            .filter(|(_, b)| (n..=n.saturating_mul(4)).contains(&b.capacity()))
            .min_by_key(|(_, b)| b.capacity());
        fits.map(|(i, _)| i).map(|i| free.swap_remove(i))
    });
    let mut buffer = found.unwrap_or_default();
    buffer.resize(n, 0.0);
    buffer
}

/// Gives a buffer back; the smallest goes when there are too many, and very large ones at once.
pub(super) fn give(buffer: Vec<f32>) {
    if buffer.capacity() == 0 || buffer.capacity() > LARGEST {
        return;
    }
    FREE.with_borrow_mut(|free| {
        free.push(buffer);
        if free.len() > MOST
            && let Some((smallest, _)) = free.iter().enumerate().min_by_key(|(_, b)| b.capacity())
        {
            free.swap_remove(smallest);
        }
    });
}
