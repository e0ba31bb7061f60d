//! An exact hash index from byte strings to `u32` values, with a bound on how far a hostile vocabulary can crowd it.

use crate::error::{Error, Result};

const EMPTY: u32 = u32::MAX;

/// No key of an honest vocabulary lies this far from its place at half load (the chance is below 2^-60).
const MAX_PROBES: usize = 512;

/// The longest key whose length a mark can hold.
pub(super) const MAX_KEY_BYTES: usize = 2047;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// All of a key of up to eight bytes, given its length; the first eight of a longer one.
    head: u64,
    /// The key's length, and above its eleven bits a part of the hash.
    mark: u32,
    value: u32,
}

/// Open addressing at half load. Keys of up to eight bytes stand in the slots, so that most lookups touch one line of
/// memory; of longer keys the rest is kept elsewhere, and comparing it is the caller's part.
#[derive(Debug)]
pub(super) struct HashIndex {
    slots: Vec<Slot>,
}

impl HashIndex {
    /// Room for `keys` keys.
    pub(super) fn with_room_for(keys: usize) -> Self {
        let empty = Slot { head: 0, mark: 0, value: EMPTY };
        HashIndex { slots: vec![empty; keys.saturating_mul(2).saturating_add(16)] }
    }

    /// The value of `key`. `same` says whether a value's key is equal, and is asked only of keys longer than eight bytes.
    #[inline]
    pub(super) fn find(&self, key: &[u8], same: impl Fn(u32) -> bool) -> Option<u32> {
        let probe = Probe::new(key);
        let (before, from) = self.slots.split_at_checked(probe.place(self.slots.len()))?;
        for slot in from.iter().chain(before).take(MAX_PROBES) {
            if slot.value == EMPTY {
                return None;
            }
            if probe.fits(slot) && (key.len() <= 8 || same(slot.value)) {
                return Some(slot.value);
            }
        }
        None
    }

    /// Puts `value` in unless an equal key is there; then that key's value comes back. `same` as in [`HashIndex::find`].
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] when the keys were made to collide, are more than there is room for, or too long.
    pub(super) fn insert(&mut self, key: &[u8], value: u32, same: impl Fn(u32) -> bool) -> Result<Option<u32>> {
        if key.len() > MAX_KEY_BYTES {
            let what =
                format!("entry {value} of the vocabulary has {} bytes; expected at most {MAX_KEY_BYTES}", key.len());
            return Err(Error::corrupt(what));
        }
        let probe = Probe::new(key);
        let length = self.slots.len();
        let start = probe.place(length);
        for step in 0..MAX_PROBES.min(length) {
            let Some(slot) = self.slots.get_mut((start + step) % length) else { break };
            if slot.value == EMPTY {
                *slot = Slot { head: probe.head, mark: probe.mark, value };
                return Ok(None);
            }
            if probe.fits(slot) && (key.len() <= 8 || same(slot.value)) {
                return Ok(Some(slot.value));
            }
        }
        Err(Error::corrupt(format!("entry {value} of the vocabulary collides with more than {MAX_PROBES} others")))
    }
}

/// What is looked for.
struct Probe {
    head: u64,
    mark: u32,
    hash: u64,
}

impl Probe {
    #[inline]
    fn new(key: &[u8]) -> Self {
        let head = head_of(key);
        let mut hash = mix(head ^ (key.len() as u64).wrapping_mul(0xa076_1d64_78bd_642f));
        let mut rest = key.get(8..).unwrap_or_default();
        while let Some((word, tail)) = rest.split_first_chunk::<8>() {
            hash = mix(hash ^ u64::from_le_bytes(*word));
            rest = tail;
        }
        hash = if rest.is_empty() { hash } else { mix(hash ^ head_of(rest)) };
        let hash = mix(hash);
        // The lowest eleven bits are the length.
        Probe { head, mark: (hash as u32) << 11 | (key.len().min(MAX_KEY_BYTES + 1) as u32), hash }
    }

    /// The high bits of the hash scaled to the slots.
    #[inline]
    fn place(&self, slots: usize) -> usize {
        ((u128::from(self.hash) * slots as u128) >> 64) as usize
    }

    #[inline]
    fn fits(&self, slot: &Slot) -> bool {
        slot.mark == self.mark && slot.head == self.head
    }
}

/// Eight bytes from the start, or all of fewer: with the length they tell them apart.
#[inline]
fn head_of(bytes: &[u8]) -> u64 {
    if let Some(head) = bytes.first_chunk::<8>() {
        u64::from_le_bytes(*head)
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
    } else {
        bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(x: u64) -> u64 {
    let product = u128::from(x) * u128::from(MULTIPLIER);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        // Of every length around the eight bytes that a slot holds, and such that differ only in their ends.
        let mut keys: Vec<Vec<u8>> = (0..5000_u32).map(|i| i.to_string().into_bytes()).collect();
        keys.extend((0..2000_u32).map(|i| format!("a common beginning {i}").into_bytes()));
        keys.extend((1..200).map(|n| vec![0; n]));
        keys.extend((1..200).map(|n| [vec![0; n], vec![1]].concat()));
        let mut index = HashIndex::with_room_for(keys.len());
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(index.insert(key, i as u32, |v| keys[v as usize] == *key).unwrap(), None, "{key:?}");
        }
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(index.find(key, |v| keys[v as usize] == *key), Some(i as u32));
            assert_eq!(index.insert(key, 0, |v| keys[v as usize] == *key).unwrap(), Some(i as u32));
        }
        for absent in [b"5000".as_slice(), b"a common beginning", b"", b"00000000", &[0; 200], &[1, 0]] {
            assert_eq!(index.find(absent, |v| keys[v as usize] == absent), None);
        }
        assert!(index.insert(&[0; MAX_KEY_BYTES + 1], 0, |_| false).is_err());
        assert_eq!(index.find(&[0; MAX_KEY_BYTES + 1], |_| true), None);
    }

    #[test]
    fn crowding_is_an_error_and_not_a_crawl() {
        let mut index = HashIndex::with_room_for(2000);
        let outcome = (0..2000).try_for_each(|i| index.insert(b"one long key", i, |_| false).map(|_| ()));
        assert_eq!(outcome.unwrap_err().kind(), crate::Kind::Corrupt);
    }
}
