//! Bytes that begin on a cache line, in huge pages where the system has them ready.

use memmap2::MmapMut;

use super::shelf::{Block, Shelf};
use crate::error::{Error, Result};

pub(super) const LINE: usize = 64;

/// Blocks from this size on are asked of the system in whole pages: they come zeroed, where a vector would be zeroed again.
const MAPPED: usize = 1 << 20;

/// A huge page. Weights in them are read up to a third faster: the processor asks where a page lies 512 times less often.
pub(super) const HUGE: usize = 2 << 20;
/// Blocks from this size on go into huge pages. The end that fills no huge page stays in small ones, so that a block takes no
/// more memory than its length.
const HUGE_FROM: usize = 2 * HUGE;
/// Huge pages that are left to others.
const LEFT: usize = 64 * HUGE;

/// A block of memory whose first byte lies on a cache line, zero at first.
#[derive(Debug)]
pub struct AlignedBytes {
    memory: Memory,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Pages(MmapMut),
    Heap(Vec<u8>),
    Shelf(Block),
}

impl AlignedBytes {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when the system has no room for them.
    pub fn zeroed(len: usize) -> Result<Self> {
        if len >= HUGE_FROM
            && let Some(block) = Self::in_huge_pages(len)
        {
            return Ok(block);
        }
        if len >= MAPPED
            && let Ok(pages) = MmapMut::map_anon(len)
        {
            return Ok(Self { memory: Memory::Pages(pages), start: 0, len });
        }
        let refused = || Error::memory(format!("{len} bytes for weights could not be had"));
        let whole = len.checked_add(LINE).ok_or_else(refused)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(whole).map_err(|_| refused())?;
        buffer.resize(whole, 0);
        let start = buffer.as_ptr().align_offset(LINE).min(LINE);
        Ok(Self { memory: Memory::Heap(buffer), start, len })
    }

    /// `len` zero bytes of `shelf`, in huge pages if as many lie ready; a block of its own where the shelf has no room.
    ///
    /// # Errors
    /// As [`AlignedBytes::zeroed`].
    pub(super) fn on(shelf: &mut Option<Shelf>, len: usize) -> Result<Self> {
        let block = shelf.as_mut().and_then(|shelf| shelf.take(len, huge_pages_ready(len)));
        block.map_or_else(|| Self::zeroed(len), |block| Ok(Self { memory: Memory::Shelf(block), start: 0, len }))
    }

    /// `len` zero bytes in huge pages, if as many lie ready. Where they do not, as when the page cache fills the memory, the
    /// system would have to move others' pages together first, which takes longer than the rest of loading.
    #[cfg(target_os = "linux")]
    fn in_huge_pages(len: usize) -> Option<Self> {
        if !huge_pages_ready(len) {
            return None;
        }
        let pages = MmapMut::map_anon(len.checked_add(HUGE)?).ok()?;
        let start = pages.as_ptr().align_offset(HUGE).min(HUGE);
        // A wish: where it is not granted, the block is as good in small pages.
        let _ = pages.advise_range(memmap2::Advice::HugePage, start, len / HUGE * HUGE);
        Some(Self { memory: Memory::Pages(pages), start, len })
    }

    #[cfg(not(target_os = "linux"))]
    fn in_huge_pages(_: usize) -> Option<Self> {
        None
    }

    /// The bytes of `range`, if they exist.
    #[must_use]
    pub fn get(&self, range: std::ops::Range<usize>) -> Option<&[u8]> {
        let bytes: &[u8] = match &self.memory {
            Memory::Pages(pages) => pages,
            Memory::Heap(buffer) => buffer,
            Memory::Shelf(block) => block.bytes(),
        };
        bytes.get(self.start..self.start + self.len)?.get(range)
    }

    /// All bytes, to fill them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.memory {
            Memory::Pages(pages) => pages,
            Memory::Heap(buffer) => buffer,
            Memory::Shelf(block) => block.bytes_mut(),
        };
        &mut bytes[self.start..self.start + self.len]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Whether the system has `len` bytes in huge pages ready, and some more.
#[cfg(target_os = "linux")]
pub(super) fn huge_pages_ready(len: usize) -> bool {
    let free = std::fs::read_to_string("/proc/buddyinfo").ok().and_then(|text| huge_bytes_free(&text));
    free.is_some_and(|free| free >= len.saturating_add(LEFT))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn huge_pages_ready(_: usize) -> bool {
    false
}

/// Free memory in pieces that hold a huge page, of `/proc/buddyinfo`: for every zone the number of free pieces of one page, two
/// pages, four and so on.
#[cfg(any(target_os = "linux", test))]
fn huge_bytes_free(buddies: &str) -> Option<usize> {
    const PAGE: usize = 4096;
    const FIRST: usize = (HUGE / PAGE).ilog2() as usize;
    let mut free = 0usize;
    for zone in buddies.lines() {
        let (_, counts) = zone.split_once("zone")?;
        for (order, count) in counts.split_whitespace().skip(1).enumerate().skip(FIRST) {
            let size = u32::try_from(order).ok().and_then(|n| PAGE.checked_shl(n))?;
            free = free.saturating_add(count.parse::<usize>().ok()?.saturating_mul(size));
        }
    }
    Some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_huge_pages_are_counted() {
        let text = "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3\n\
                    Node 0, zone   Normal  16666   4291   1622    489    367    420    162     79     65     43    704\n";
        assert_eq!(huge_bytes_free(text), Some((1 + 43) * HUGE + (3 + 704) * 2 * HUGE));
        assert_eq!(huge_bytes_free("Node 0, zone Normal 1 x"), Some(0));
        assert_eq!(huge_bytes_free("Node 0, zone Normal 1 1 1 1 1 1 1 1 1 x"), None);
        assert_eq!(huge_bytes_free("nothing"), None);
        assert_eq!(huge_bytes_free(""), Some(0));
    }

    #[test]
    fn small_and_large_blocks_are_zero_aligned_and_of_their_length() -> Result<()> {
        for len in [0, 1, 63, 64, 4097, MAPPED - 1, MAPPED, MAPPED + 1, 3 * MAPPED + 77, HUGE_FROM, HUGE_FROM + 77] {
            let mut block = AlignedBytes::zeroed(len)?;
            assert_eq!((block.len(), block.bytes_mut().len(), block.is_empty()), (len, len, len == 0));
            assert!(block.bytes_mut().iter().all(|byte| *byte == 0));
            assert_eq!(block.bytes_mut().as_ptr().align_offset(LINE), 0);
            block.bytes_mut().iter_mut().zip(0_usize..).for_each(|(byte, i)| *byte = (i % 251) as u8);
            let whole = block.get(0..len).unwrap_or_default();
            assert!(whole.len() == len && whole.iter().zip(0_usize..).all(|(byte, i)| *byte == (i % 251) as u8));
            assert!(block.get(0..len + 1).is_none() && block.get(len..len).is_some());
        }
        Ok(())
    }

    #[test]
    fn more_than_the_address_space_is_refused() {
        for len in [usize::MAX, usize::MAX - LINE, 1 << 60] {
            assert_eq!(AlignedBytes::zeroed(len).map_err(|e| e.kind()).err(), Some(crate::Kind::Memory));
        }
    }
}
