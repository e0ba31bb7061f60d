//! Routed experts under a byte budget: read when a token asks for them, the least recently used ones leave first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aligned::AlignedBytes;
use super::direct::Direct;
use super::load::{Piece, read_panels};
use super::packed::{Place, read_place};
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

/// What the pager reads at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page {
    /// One matrix in the order of GGUF.
    Rows(Piece),
    /// A section of a packed file: all matrices of an expert, or one that lies alone.
    Place(Place),
}

impl Page {
    fn bytes(&self) -> usize {
        match self {
            Self::Rows(piece) => piece.bytes,
            Self::Place(place) => place.bytes,
        }
    }
}

#[derive(Debug, Default)]
struct Cache {
    slots: Vec<Slot>,
    clock: u64,
    stats: PagerStats,
}

#[derive(Debug)]
struct Slot {
    what: Page,
    page: Option<Arc<AlignedBytes>>,
    used: u64,
}

/// What the pager did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagerStats {
    /// Pages found in memory: a matrix, or an expert of a packed file.
    pub hits: u64,
    /// Pages read from the file.
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

    /// Makes a page known; its slot is its name from now on.
    pub(super) fn add(&self, what: Page) -> usize {
        let mut cache = self.lock();
        cache.slots.push(Slot { what, page: None, used: 0 });
        cache.slots.len() - 1
    }

    /// Whether the budget holds as many of the largest matrices as are in use together.
    pub(super) fn check_budget(&self, together: usize) -> Result<()> {
        let cache = self.lock();
        let largest = |sections: bool| {
            let of_kind = cache.slots.iter().filter(|s| matches!(s.what, Page::Place(_)) == sections);
            of_kind.map(|s| s.what.bytes() as u64).max().unwrap_or(0)
        };
        // The gate and up matrices of an expert, which are in use together, lie in one section.
        let (rows, sections) = (largest(false), largest(true));
        let needed = rows.saturating_mul(together as u64).max(sections.saturating_mul(together.div_ceil(2) as u64));
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
        let (what, spare) = {
            let mut cache = self.lock();
            cache.clock += 1;
            let now = cache.clock;
            let place = cache.slots.get_mut(slot).ok_or_else(|| Error::internal(format!("expert matrix {slot}")))?;
            place.used = now;
            let what = place.what;
            if let Some(page) = place.page.clone() {
                cache.stats.hits += 1;
                return Ok(page);
            }
            cache.stats.misses += 1;
            let spare = cache.make_room(self.budget.saturating_sub(what.bytes() as u64), what.bytes());
            (what, spare)
        };
        // Every byte of a page is written below, so memory that a page has left serves again; the system would clear it first.
        let mut bytes = spare.map_or_else(|| AlignedBytes::zeroed(what.bytes()), Ok)?;
        match &what {
            Page::Rows(piece) => read_panels(&self.gguf, piece, bytes.bytes_mut(), &mut |_| Ok(()))?,
            Page::Place(place) => {
                read_place(&self.gguf, &Direct::none(), (place.part, place.at), bytes.bytes_mut(), &mut |_| Ok(()))?;
            }
        }
        let page = Arc::new(bytes);
        let mut cache = self.lock();
        // Another session may have read it, or others, meanwhile.
        cache.make_room(self.budget.saturating_sub(what.bytes() as u64), 0);
        if let Some(place) = cache.slots.get_mut(slot)
            && place.page.is_none()
        {
            place.page = Some(Arc::clone(&page));
            cache.stats.held += what.bytes() as u64;
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
    /// Lets the least recently used pages go until at most `bytes` are held. Gives one of them that has `len` bytes and that
    /// nobody uses any more.
    fn make_room(&mut self, bytes: u64, len: usize) -> Option<AlignedBytes> {
        let mut spare = None;
        while self.stats.held > bytes {
            let oldest = self.slots.iter_mut().filter(|s| s.page.is_some()).min_by_key(|s| s.used);
            let Some(slot) = oldest else { break };
            let page = slot.page.take().and_then(Arc::into_inner);
            self.stats.held -= slot.what.bytes() as u64;
            spare = spare.or(page.filter(|page| page.len() == len));
        }
        spare
    }
}
