//! One stretch of memory for all the blocks of a model that stay, so that small matrices share huge pages too.
#![expect(unsafe_code, reason = "several owners write to parts of one map, which no type can tell apart")]

use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

use super::aligned::HUGE;

/// What blocks begin on: a page, as direct reads want it.
const ALIGN: usize = 4096;

/// Memory that is reserved and not yet touched, from which blocks are taken one after the other. It is given back when the
/// shelf and all its blocks are gone.
#[derive(Debug)]
pub(super) struct Shelf {
    pages: Arc<MmapRaw>,
    /// Where the first block begins: on a huge page.
    first: usize,
    /// Where the next block may begin, and where the last one must end.
    next: usize,
    end: usize,
}

/// A block of a shelf: the only owner of its bytes, which are zero at first.
#[derive(Debug)]
pub(super) struct Block {
    pages: Arc<MmapRaw>,
    at: usize,
    len: usize,
}

impl Shelf {
    /// A shelf for `blocks` blocks of `len` bytes together; `None` where the system does not reserve as much.
    pub(super) fn new(len: usize, blocks: usize) -> Option<Self> {
        let room = blocks.checked_mul(ALIGN)?.checked_add(len)?;
        let pages = MmapRaw::from(MmapMut::map_anon(room.checked_add(HUGE)?).ok()?);
        let first = pages.as_ptr().align_offset(HUGE).min(HUGE);
        Some(Self { pages: Arc::new(pages), first, next: first, end: first + room })
    }

    /// The next `len` bytes; `None` when they are not left. With `huge`, in huge pages if the system grants them: from the page
    /// that the block begins in, which it may share, to its end, or as far as the whole huge pages of the shelf go.
    pub(super) fn take(&mut self, len: usize, huge: bool) -> Option<Block> {
        let after = self.next.checked_add(len)?.checked_next_multiple_of(ALIGN)?;
        if after > self.end {
            return None;
        }
        let at = std::mem::replace(&mut self.next, after);
        if huge {
            let whole = (self.end - self.first) / HUGE * HUGE;
            let end = self.first + (after - self.first).next_multiple_of(HUGE).min(whole);
            wish_for_huge_pages(&self.pages, at, end);
        }
        Some(Block { pages: Arc::clone(&self.pages), at, len })
    }
}

/// Asks that what is touched from now on between the bytes `start` and `end`, both on pages, lie in huge pages.
#[cfg(target_os = "linux")]
fn wish_for_huge_pages(pages: &MmapRaw, start: usize, end: usize) {
    if start < end && end <= pages.len() {
        // SAFETY: the range lies inside the map; the advice changes how it is backed, never what it holds.
        unsafe { libc::madvise(pages.as_mut_ptr().add(start).cast(), end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn wish_for_huge_pages(_: &MmapRaw, _: usize, _: usize) {}

impl Block {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `take` cut the range out of the map, which lives as long as `pages`; it gave the range to no other block, and
        // this one lends it to writers only by `&mut`.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().add(self.at), self.len) }
    }

    /// Its bytes, to fill them.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the map is writable, and `&mut self` is the only way to these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().add(self.at), self.len) }
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
}
