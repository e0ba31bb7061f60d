//! What classifiers remember while one answer streams: the logits of the windows they have read, so that a sentence which stands
//! in ten judgements runs once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::verdict::CheckId;

/// So many windows are kept in each half, about 100 bytes each.
const HALF: usize = 2048;

/// Half of a SHA-256.
pub(super) type WindowKey = [u8; 16];

/// Logits by a keyed digest of the window they are of: no text and no token is kept. When the newer half is full the older one is
/// forgotten. A check with other weights or another frame around a window asks by other keys.
pub(super) struct Recall {
    secret: [u64; 2],
    halves: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    newer: HashMap<WindowKey, Box<[f32]>>,
    older: HashMap<WindowKey, Box<[f32]>>,
}

impl Recall {
    pub(super) fn new() -> Self {
        // Each state is keyed by the system's random numbers; what it makes of nothing is as good as its key.
        let random = || RandomState::new().hash_one(());
        Self { secret: [random(), random()], halves: Mutex::default() }
    }

    /// The name under which the logits of a check are kept for a window inside `frame`.
    pub(super) fn key(&self, check: CheckId, frame: &[i64], ids: &[i64]) -> WindowKey {
        let mut digest = Sha256::new();
        self.secret.iter().for_each(|n| digest.update(n.to_le_bytes()));
        for part in [check.as_str().len(), frame.len()] {
            digest.update(part.to_le_bytes());
        }
        digest.update(check.as_str());
        frame.iter().chain(ids).for_each(|id| digest.update(id.to_le_bytes()));
        let mut key = WindowKey::default();
        key.iter_mut().zip(digest.finalize()).for_each(|(to, b)| *to = b);
        key
    }

    /// The logits kept under a key, copied.
    pub(super) fn get(&self, key: &WindowKey) -> Option<Box<[f32]>> {
        let mut halves = self.halves();
        if let Some(logits) = halves.newer.get(key) {
            return Some(logits.clone());
        }
        let logits = halves.older.remove(key)?;
        halves.keep(*key, logits.clone());
        Some(logits)
    }

    /// Keeps logits.
    pub(super) fn put(&self, key: WindowKey, logits: &[f32]) {
        self.halves().keep(key, logits.into());
    }

    /// A check that panicked has left nothing half done here: an entry is put in whole.
    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn keep(&mut self, key: WindowKey, logits: Box<[f32]>) {
        if self.newer.len() >= HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, logits);
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let halves = self.halves();
        f.debug_struct("Recall").field("windows", &(halves.newer.len() + halves.older.len())).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_known_by_its_check_its_frame_and_its_tokens() {
        let recall = Recall::new();
        let key = |check, frame: &[i64], ids: &[i64]| recall.key(check, frame, ids);
        let one = key(CheckId::CLASSIFIER, &[5], &[1, 2, 3]);
        recall.put(one, &[0.25, -1.5]);
        assert_eq!(recall.get(&one).as_deref(), Some(&[0.25, -1.5][..]));
        for other in [
            key(CheckId::PROMPT_GUARD, &[5], &[1, 2, 3]),
            key(CheckId::CLASSIFIER, &[6], &[1, 2, 3]),
            key(CheckId::CLASSIFIER, &[5], &[1, 2]),
            key(CheckId::CLASSIFIER, &[5, 1], &[2, 3]),
            key(CheckId::CLASSIFIER, &[], &[5, 1, 2, 3]),
            Recall::new().key(CheckId::CLASSIFIER, &[5], &[1, 2, 3]),
        ] {
            assert!(other != one && recall.get(&other).is_none());
        }
    }

    #[test]
    fn a_long_answer_is_forgotten_but_for_what_was_used_last() {
        let recall = Recall::new();
        let keys: Vec<WindowKey> = (0..10 * HALF as i64).map(|i| recall.key(CheckId::CLASSIFIER, &[], &[i])).collect();
        for key in &keys {
            recall.put(*key, &[1.0]);
            assert!(recall.get(&keys[0]).is_some(), "used again and again");
        }
        let known = keys.iter().filter(|key| recall.get(key).is_some()).count();
        assert!((HALF..=2 * HALF + 1).contains(&known), "{known}");
    }
}
