//! Routed experts under a byte budget: read when a token asks for them, the least recently used ones leave first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aligned::AlignedBytes;
use super::load::{Piece, read_panels};
use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// Expert matrices that live in the file and visit memory. The bytes a page holds do not depend on when it came, so the
/// budget changes no bit of any result.
#[derive(Debug)]
pub struct Pager {
    gguf: Arc<Gguf>,
    budget: u64,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    slots: Vec<Slot>,
    clock: u64,
    stats: PagerStats,
}

#[derive(Debug)]
struct Slot {
    piece: Piece,
    page: Option<Arc<AlignedBytes>>,
    used: u64,
}

/// What the pager did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagerStats {
    /// Matrices found in memory.
    pub hits: u64,
    /// Matrices read from the file.
    pub misses: u64,
    /// Bytes in memory now.
    pub held: u64,
}

impl Pager {
    pub(super) fn new(gguf: Arc<Gguf>, budget: u64) -> Self {
        Self { gguf, budget, cache: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // Every change below is complete before anything can fail, so a poisoned cache is whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a matrix known; its slot is its name from now on.
    pub(super) fn add(&self, piece: Piece) -> usize {
        let mut cache = self.lock();
        cache.slots.push(Slot { piece, page: None, used: 0 });
        cache.slots.len() - 1
    }

    /// Whether the budget holds as many of the largest matrices as are in use together.
    pub(super) fn check_budget(&self, together: usize) -> Result<()> {
        let largest = self.lock().slots.iter().map(|s| s.piece.bytes as u64).max().unwrap_or(0);
        let needed = largest.saturating_mul(together as u64);
        if needed > self.budget {
            return Err(Error::memory(format!(
                "{} bytes of the memory budget are left for routed experts, the {together} matrices in use together take \
                 {needed}",
                self.budget
            )));
        }
        Ok(())
    }

    /// The panels of matrix `slot`, from memory or from the file. The lock is not held while the file is read.
    pub(super) fn fetch(&self, slot: usize) -> Result<Arc<AlignedBytes>> {
        let piece = {
            let mut cache = self.lock();
            cache.clock += 1;
            let now = cache.clock;
            let place = cache.slots.get_mut(slot).ok_or_else(|| Error::internal(format!("expert matrix {slot}")))?;
            place.used = now;
            let piece = place.piece;
            if let Some(page) = place.page.clone() {
                cache.stats.hits += 1;
                return Ok(page);
            }
            cache.stats.misses += 1;
            cache.make_room(self.budget.saturating_sub(piece.bytes as u64));
            piece
        };
        let mut bytes = AlignedBytes::zeroed(piece.bytes)?;
        read_panels(&self.gguf, &piece, bytes.bytes_mut(), &mut |_| Ok(()))?;
        let page = Arc::new(bytes);
        let mut cache = self.lock();
        // Another session may have read it, or others, meanwhile.
        cache.make_room(self.budget.saturating_sub(piece.bytes as u64));
        if let Some(place) = cache.slots.get_mut(slot)
            && place.page.is_none()
        {
            place.page = Some(Arc::clone(&page));
            cache.stats.held += piece.bytes as u64;
        }
        Ok(page)
    }

    /// What the pager did so far.
    #[must_use]
    pub fn stats(&self) -> PagerStats {
        self.lock().stats
    }
}

impl Cache {
    /// Lets the least recently used pages go until at most `bytes` are held.
    fn make_room(&mut self, bytes: u64) {
        while self.stats.held > bytes {
            let oldest = self.slots.iter_mut().filter(|s| s.page.is_some()).min_by_key(|s| s.used);
            let Some(slot) = oldest else { return };
            slot.page = None;
            self.stats.held -= slot.piece.bytes as u64;
        }
    }
}
