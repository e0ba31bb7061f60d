//! Which ids may be chosen, one bit each.

/// A set of allowed ids below a fixed size. Ids at or past the size are not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    size: u32,
}

impl TokenMask {
    /// A set over `size` ids that allows those for which `allowed` holds.
    #[must_use]
    pub fn from_fn(size: u32, allowed: impl Fn(u32) -> bool) -> Self {
        let word = |first: u32| {
            let ids = (0..64).filter_map(|bit| first.checked_add(bit).map(|id| (bit, id)));
            ids.filter(|&(_, id)| id < size && allowed(id)).fold(0, |word, (bit, _)| word | 1 << bit)
        };
        TokenMask { words: (0..size).step_by(64).map(word).collect(), size }
    }

    /// How many ids the set is about.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether `id` may be chosen.
    #[must_use]
    pub fn allows(&self, id: u32) -> bool {
        self.words.get((id / 64) as usize).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Allows or forbids one id; an id past the size stays forbidden.
    pub fn set(&mut self, id: u32, allowed: bool) {
        if id < self.size
            && let Some(word) = self.words.get_mut((id / 64) as usize)
        {
            *word = *word & !(1 << (id % 64)) | u64::from(allowed) << (id % 64);
        }
    }

    /// Forbids everything that `other` forbids.
    pub fn intersect(&mut self, other: &TokenMask) {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours &= theirs);
    }

    /// Sets the logits of all ids that are not allowed to minus infinity.
    pub(super) fn exclude(&self, logits: &mut [f32]) {
        let words = self.words.iter().copied().chain(std::iter::repeat(0));
        for (chunk, word) in logits.chunks_mut(64).zip(words) {
            if word == u64::MAX {
                continue;
            }
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_they_are_asked_for() {
        let mut mask = TokenMask::from_fn(131, |id| id % 3 == 0);
        assert!((0..131).all(|id| mask.allows(id) == (id % 3 == 0)));
        assert!(!mask.allows(132) && !mask.allows(u32::MAX));
        mask.set(1, true);
        mask.set(3, false);
        mask.set(132, true);
        assert!(mask.allows(1) && !mask.allows(3) && !mask.allows(132));
        mask.intersect(&TokenMask::from_fn(100, |id| id != 6));
        let allowed: Vec<u32> = (0..200).filter(|&id| mask.allows(id)).collect();
        assert_eq!(allowed, (0..100).filter(|&id| id == 1 || id % 3 == 0 && id != 3 && id != 6).collect::<Vec<_>>());
        let mut logits = [1.0; 140];
        mask.exclude(&mut logits);
        assert!(logits.iter().zip(0..).all(|(&x, id)| (x == 1.0) == mask.allows(id)));
    }
}
