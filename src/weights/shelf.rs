//! Stretches of memory that many blocks share, so that small blocks lie in huge pages too: a shelf for a model's weights, which
//! come one after the other and go together, and a pool for blocks of one size that come and go.
#![expect(unsafe_code, reason = "several owners write to parts of one map, which no type can tell apart")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{MmapMut, MmapRaw};

use super::aligned::{HUGE, LINE, huge_pages_ready};
use crate::error::{Error, Result};

/// What blocks of a shelf begin on: a page, as direct reads want it.
const ALIGN: usize = 4096;

/// Memory that is reserved and not yet touched. It is given back when all its blocks are gone, and who hands them out.
#[derive(Debug)]
struct Stretch {
    pages: MmapRaw,
    /// Where the first block may begin: on a huge page.
    first: usize,
    /// The blocks of a pool that somebody has, a bit each.
    taken: AtomicU64,
}

impl Stretch {
    /// Room for `len` bytes from `first` on; `None` where the system does not reserve as much.
    fn new(len: usize) -> Option<Self> {
        let pages = MmapRaw::from(MmapMut::map_anon(len.checked_add(HUGE)?).ok()?);
        let first = pages.as_ptr().align_offset(HUGE).min(HUGE);
        Some(Self { pages, first, taken: AtomicU64::new(0) })
    }

    /// Asks that what is touched from now on between the bytes `start` and `end`, both on pages, lie in huge pages.
    #[cfg(target_os = "linux")]
    fn wish_for_huge_pages(&self, start: usize, end: usize) {
        if start < end && end <= self.pages.len() {
            // SAFETY: the range lies inside the map; the advice changes how it is backed, never what it holds.
            unsafe { libc::madvise(self.pages.as_mut_ptr().add(start).cast(), end - start, libc::MADV_HUGEPAGE) };
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn wish_for_huge_pages(&self, _: usize, _: usize) {}
}

/// Blocks one after the other.
#[derive(Debug)]
pub(super) struct Shelf {
    stretch: Arc<Stretch>,
    /// Where the next block may begin, and where the last one must end.
    next: usize,
    end: usize,
}

/// The only owner of some bytes of a stretch.
#[derive(Debug)]
pub struct Block {
    stretch: Arc<Stretch>,
    at: usize,
    len: usize,
    /// Its bit, where it belongs to a pool.
    bit: u64,
}

impl Shelf {
    /// A shelf for `blocks` blocks of `len` bytes together; `None` where the system does not reserve as much.
    pub(super) fn new(len: usize, blocks: usize) -> Option<Self> {
        let room = blocks.checked_mul(ALIGN)?.checked_add(len)?;
        let stretch = Arc::new(Stretch::new(room)?);
        let (next, end) = (stretch.first, stretch.first + room);
        Some(Self { stretch, next, end })
    }

    /// The next `len` bytes, which are zero; `None` when they are not left. With `huge`, in huge pages if the system grants
    /// them: from the page that the block begins in, which it may share, to its end, or as far as the whole huge pages of the
    /// shelf go.
    pub(super) fn take(&mut self, len: usize, huge: bool) -> Option<Block> {
        let after = self.next.checked_add(len)?.checked_next_multiple_of(ALIGN)?;
        if after > self.end {
            return None;
        }
        let at = std::mem::replace(&mut self.next, after);
        if huge {
            let first = self.stretch.first;
            let whole = (self.end - first) / HUGE * HUGE;
            self.stretch.wish_for_huge_pages(at, first + (after - first).next_multiple_of(HUGE).min(whole));
        }
        Some(Block { stretch: Arc::clone(&self.stretch), at, len, bit: 0 })
    }
}

/// Blocks of one size. What is given back goes to the next who asks; a stretch without blocks goes back to the system.
#[derive(Debug)]
pub struct Pool {
    block: usize,
    /// Blocks of a stretch.
    count: u32,
    stretches: Mutex<Vec<Weak<Stretch>>>,
}

impl Pool {
    /// A pool of blocks of `len` bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let block = len.max(1).checked_next_multiple_of(LINE).unwrap_or(len);
        let count = (HUGE / block.max(1)).clamp(1, u64::BITS as usize) as u32;
        Self { block, count, stretches: Mutex::default() }
    }

    /// A block, which holds whatever it held before.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when the system has no room for it.
    pub fn take(&self) -> Result<Block> {
        let mut stretches = self.stretches.lock().unwrap_or_else(PoisonError::into_inner);
        // The youngest first: as a rule the others are full.
        let mut known = stretches.iter().rev().filter_map(Weak::upgrade);
        if let Some(block) = known.find_map(|stretch| self.block_of(stretch)) {
            return Ok(block);
        }
        drop(known);
        stretches.retain(|stretch| stretch.strong_count() > 0);
        // Blocks that fill most of a huge page take it whole.
        let len = self.block.checked_mul(self.count as usize);
        let huge = len.and_then(|len| len.checked_next_multiple_of(HUGE)).filter(|huge| huge / 2 < len.unwrap_or(0));
        let stretch = huge.or(len).and_then(Stretch::new).map(Arc::new);
        let stretch = stretch.ok_or_else(|| Error::memory(format!("{} bytes could not be had", self.block)))?;
        if let Some(huge) = huge.filter(|huge| huge_pages_ready(*huge)) {
            stretch.wish_for_huge_pages(stretch.first, stretch.first + huge);
        }
        stretches.push(Arc::downgrade(&stretch));
        self.block_of(stretch).ok_or_else(|| Error::internal("a new stretch without a block"))
    }

    /// A block of `stretch` that nobody has.
    fn block_of(&self, stretch: Arc<Stretch>) -> Option<Block> {
        let bits = stretch.taken.load(Ordering::Relaxed);
        let free = (!bits).trailing_zeros();
        if free >= self.count {
            return None;
        }
        // Only this function sets bits, and its caller holds the lock; to see one cleared is to see what came before.
        let bit = 1 << free;
        stretch.taken.fetch_or(bit, Ordering::Acquire);
        let at = stretch.first + free as usize * self.block;
        Some(Block { stretch, at, len: self.block, bit })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.stretch.taken.fetch_and(!self.bit, Ordering::Release);
    }
}

/// Numbers that any bytes are.
pub trait Plain: Copy + sealed::Plain {}

mod sealed {
    pub trait Plain {}
    impl Plain for u8 {}
    impl Plain for i8 {}
    impl Plain for u16 {}
    impl Plain for f32 {}
}

impl<T: Copy + sealed::Plain> Plain for T {}

impl Block {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.values(0, self.len)
    }

    /// Its bytes, to fill them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.values_mut(0, self.len)
    }

    /// `n` numbers from byte `at` on; none where they do not lie inside or not on their alignment.
    #[must_use]
    pub fn values<T: Plain>(&self, at: usize, n: usize) -> &[T] {
        let n = self.checked::<T>(at, n);
        let start = self.stretch.pages.as_ptr().wrapping_add(self.at + if n > 0 { at } else { 0 });
        // SAFETY: `checked` says that the values lie in the block, aligned, or that there are none at its page; the block lies in
        // the map, which lives as long as `stretch`; whoever cut the block out of it gave these bytes to no other, and this one
        // lends them to writers only by `&mut`. Any bytes are such numbers.
        unsafe { std::slice::from_raw_parts(start.cast(), n) }
    }

    /// As [`Block::values`], to fill them.
    pub fn values_mut<T: Plain>(&mut self, at: usize, n: usize) -> &mut [T] {
        let n = self.checked::<T>(at, n);
        let start = self.stretch.pages.as_mut_ptr().wrapping_add(self.at + if n > 0 { at } else { 0 });
        // SAFETY: as in `values`; the map is writable, and `&mut self` is the only way to these bytes.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), n) }
    }

    /// `n`, if so many values from byte `at` on lie inside.
    fn checked<T>(&self, at: usize, n: usize) -> usize {
        let end = n.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(at));
        let inside = end.is_some_and(|end| end <= self.len) && at.is_multiple_of(align_of::<T>());
        if inside { n } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_apart_on_pages_and_end_with_the_shelf() {
        let lens = [5_000_000, 0, 1, 4096, 4097, HUGE];
        let mut shelf = Shelf::new(lens.iter().sum(), lens.len()).unwrap();
        let mut blocks: Vec<Block> =
            lens.iter().enumerate().map(|(i, len)| shelf.take(*len, i % 2 == 0).unwrap()).collect();
        assert!(shelf.take(2 * ALIGN * lens.len(), true).is_none());
        drop(shelf);
        for (i, block) in blocks.iter_mut().enumerate() {
            assert!(block.bytes().iter().all(|byte| *byte == 0));
            assert_eq!(block.bytes().as_ptr().align_offset(ALIGN), 0);
            block.bytes_mut().fill(i as u8 + 1);
        }
        for (i, (block, len)) in blocks.iter().zip(lens).enumerate() {
            assert_eq!(block.bytes(), vec![i as u8 + 1; len]);
        }
    }

    #[test]
    fn what_does_not_fit_is_none() {
        assert!(Shelf::new(usize::MAX, 1).is_none() && Shelf::new(1, usize::MAX).is_none());
        let mut shelf = Shelf::new(100, 1).unwrap();
        assert!(shelf.take(usize::MAX, true).is_none() && shelf.take(2 * ALIGN, false).is_none());
        assert!(shelf.take(100, true).is_some());
    }

    #[test]
    fn blocks_of_a_pool_go_round_and_stretches_end() {
        let pool = Pool::new(70_000);
        let count = pool.count as usize;
        let mut blocks: Vec<Block> = (0..count + 1).map(|_| pool.take().unwrap()).collect();
        for (i, block) in blocks.iter_mut().enumerate() {
            block.values_mut::<u16>(2, 5).fill(i as u16);
            block.values_mut::<f32>(12, 4).fill(i as f32);
        }
        for (i, block) in blocks.iter().enumerate() {
            assert_eq!(block.values::<u16>(2, 5), [i as u16; 5]);
            assert_eq!(block.values::<f32>(12, 4), [i as f32; 4]);
        }
        assert!(blocks[0].values::<u16>(1, 1).is_empty() && blocks[0].values::<f32>(70_016, 1).is_empty());
        assert!(blocks[0].values::<i8>(usize::MAX, 2).is_empty());
        let stretches = || pool.stretches.lock().unwrap().iter().filter(|s| s.strong_count() > 0).count();
        assert_eq!(stretches(), 2);
        drop(blocks.pop());
        assert_eq!(stretches(), 1);
        let gone = blocks.swap_remove(3).bytes().as_ptr();
        assert_eq!(pool.take().unwrap().bytes().as_ptr(), gone);
    }

    #[test]
    fn blocks_are_taken_and_given_back_by_many_threads() {
        let pool = Pool::new(HUGE / 3);
        std::thread::scope(|threads| {
            for thread in 0..4u8 {
                let pool = &pool;
                threads.spawn(move || {
                    for round in 0..200 {
                        let mut blocks: Vec<Block> = (0..round % 7).map(|_| pool.take().unwrap()).collect();
                        blocks.iter_mut().for_each(|block| block.values_mut::<u8>(0, 9).fill(thread));
                        assert!(blocks.iter().all(|block| block.values::<u8>(0, 9) == [thread; 9]));
                    }
                });
            }
        });
    }

    #[test]
    fn a_pool_refuses_what_memory_does_not_hold() {
        assert_eq!(Pool::new(1 << 60).take().map_err(|e| e.kind()).err(), Some(crate::Kind::Memory));
        assert_eq!(Pool::new(usize::MAX).take().map_err(|e| e.kind()).err(), Some(crate::Kind::Memory));
    }
}
