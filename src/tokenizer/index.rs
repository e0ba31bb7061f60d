//! An exact hash index from keys kept elsewhere to `u32` values, with a bound on how far a hostile vocabulary can crowd it.

use crate::error::{Error, Result};

const EMPTY: u32 = u32::MAX;

/// No key of an honest vocabulary lies this far from its place at half load (the chance is below 2^-60).
const MAX_PROBES: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    value: u32,
}

/// Open addressing at half load; whether a value's key is the one sought is the caller's comparison.
#[derive(Debug)]
pub(super) struct HashIndex {
    slots: Vec<Slot>,
}

impl HashIndex {
    /// Room for `keys` keys.
    pub(super) fn with_room_for(keys: usize) -> Self {
        HashIndex { slots: vec![Slot { tag: 0, value: EMPTY }; keys.saturating_mul(2).saturating_add(16)] }
    }

    /// The value whose key hashes to `hash` and satisfies `same`.
    #[inline]
    pub(super) fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let start = self.place(hash);
        let (before, from) = self.slots.split_at_checked(start)?;
        for slot in from.iter().chain(before).take(MAX_PROBES) {
            if slot.value == EMPTY {
                return None;
            }
            if slot.tag == hash as u32 && same(slot.value) {
                return Some(slot.value);
            }
        }
        None
    }

    /// Puts `value` in unless an equal key is there; then that key's value comes back.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] when the keys were made to collide or are more than there is room for.
    pub(super) fn insert(&mut self, hash: u64, value: u32, same: impl Fn(u32) -> bool) -> Result<Option<u32>> {
        let start = self.place(hash);
        let length = self.slots.len();
        for step in 0..MAX_PROBES.min(length) {
            let Some(slot) = self.slots.get_mut((start + step) % length) else { break };
            if slot.value == EMPTY {
                *slot = Slot { tag: hash as u32, value };
                return Ok(None);
            }
            if slot.tag == hash as u32 && same(slot.value) {
                return Ok(Some(slot.value));
            }
        }
        Err(Error::corrupt(format!("entry {value} of the vocabulary collides with more than {MAX_PROBES} others")))
    }

    /// The high half of the hash scaled to the slots; the low half is the tag.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(x: u64) -> u64 {
    let product = u128::from(x) * u128::from(MULTIPLIER);
    (product >> 64) as u64 ^ product as u64
}

/// Hash of a piece of text.
#[inline]
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64 ^ 0xa076_1d64_78bd_642f);
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        hash = mix(hash ^ u64::from_le_bytes(*word));
        rest = tail;
    }
    let last = if let (Some(head), Some(tail)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
    } else {
        rest.iter().fold(1, |word, &byte| word << 8 | u64::from(byte))
    };
    mix(mix(hash ^ last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        let keys: Vec<Vec<u8>> = (0..5000_u32).map(|i| i.to_string().into_bytes()).collect();
        let mut index = HashIndex::with_room_for(keys.len());
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(index.insert(hash_bytes(key), i as u32, |v| keys[v as usize] == *key).unwrap(), None);
        }
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(index.find(hash_bytes(key), |v| keys[v as usize] == *key), Some(i as u32));
            assert_eq!(index.insert(hash_bytes(key), 0, |v| keys[v as usize] == *key).unwrap(), Some(i as u32));
        }
        assert_eq!(index.find(hash_bytes(b"5000"), |v| keys[v as usize] == b"5000"), None);
    }

    #[test]
    fn crowding_is_an_error_and_not_a_crawl() {
        let mut index = HashIndex::with_room_for(2000);
        let outcome = (0..2000).try_for_each(|i| index.insert(7, i, |_| false).map(|_| ()));
        assert_eq!(outcome.unwrap_err().kind(), crate::Kind::Corrupt);
    }
}
