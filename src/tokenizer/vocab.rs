//! The checked vocabulary: bytes of every token, which of them text may use, and how tokens merge.

use std::collections::HashSet;

use super::index::{HashIndex, MAX_KEY_BYTES};
use super::{TokenId, byte_map};
use crate::error::{Error, Result};

/// More than any Llama vocabulary by a factor of five.
pub(super) const MAX_TOKENS: usize = 1 << 20;

/// Llama 3's list has 280,147 entries.
pub(super) const MAX_MERGES: usize = 1 << 22;

/// The longest token of Meta's vocabulary has 113 bytes; the bound keeps merging linear in the text.
pub(super) const MAX_TOKEN_BYTES: usize = 1024;

const _: () = assert!(MAX_TOKEN_BYTES <= MAX_KEY_BYTES);

/// What may be done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Text becomes it and it becomes text.
    Text,
    /// It becomes text, but no text becomes it.
    Added,
    /// Structure: never from text, never to text.
    Control,
}

/// Token bytes in one arena, with an index from bytes to id over the text tokens alone. Text is encoded through that
/// index and through merges between text tokens, so it has no path to any other id.
#[derive(Debug)]
pub(super) struct Vocab {
    arena: Arena,
    byte_ids: [TokenId; 256],
    /// Ids of the tokens of two bytes, or [`NONE`], by the bytes: merging begins with these, and every piece asks.
    pair_ids: Vec<TokenId>,
    longest: usize,
    pieces: HashIndex,
    merges: Merges,
    /// How often bytes were looked up: the work of merging.
    #[cfg(test)]
    pub(super) finds: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
enum Merges {
    /// Tiktoken's rule: two neighbours merge when together they are a token, whose id is the rank.
    ByRank,
    /// The rule of a merges list: the listed pairs merge, and the place in the list is the rank. A pair is known by
    /// the token it makes and the length of its left half. `first` says for each id which entry makes it.
    Listed { first: Vec<u32>, entries: Vec<Merge> },
}

/// Entry of a merges list, at the place that is its rank.
#[derive(Clone, Copy, Debug)]
struct Merge {
    id: TokenId,
    /// Bytes of the left half.
    cut: u32,
    /// Another entry that makes the same token of other halves.
    next: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl Vocab {
    /// A vocabulary merged by rank.
    pub(super) fn by_rank(arena: Arena, field: &str) -> Result<Self> {
        Self::new(arena, field, Merges::ByRank)
    }

    /// A vocabulary merged by the `left right` pairs of a list in GPT-2's byte alphabet.
    pub(super) fn listed(arena: Arena, field: &str, merges: &[&str], merges_field: &str) -> Result<Self> {
        if merges.len() > MAX_MERGES {
            let what = format!("{merges_field}: {} entries, the limit is {MAX_MERGES}", merges.len());
            return Err(Error::limit(what));
        }
        let mut vocab = Self::new(arena, field, Merges::ByRank)?;
        let mut entries: Vec<Merge> = Vec::with_capacity(merges.len());
        let mut first = vec![NONE; vocab.len()];
        let mut joined = Vec::new();
        for (rank, text) in (0_u32..).zip(merges) {
            let guess = entries.last().map_or(256, |merge| merge.id.saturating_add(1));
            let merge = vocab.parse_merge(text, guess, &mut joined).and_then(|merge| {
                let same = first.get_mut(merge.id as usize)?;
                Some(Merge { next: std::mem::replace(same, rank), ..merge })
            });
            let what = |problem: &str| Error::corrupt(format!("{merges_field}[{rank}]: {}; {problem}", quote(text)));
            let merge = merge.ok_or_else(|| what("expected two text tokens that join to a third"))?;
            if let Some(earlier) = chain(&entries, merge.next).find(|(_, other)| other.cut == merge.cut) {
                return Err(what(&format!("expected each pair once, it is entry {} too", earlier.0)));
            }
            entries.push(merge);
        }
        vocab.merges = Merges::Listed { first, entries };
        Ok(vocab)
    }

    fn new(arena: Arena, field: &str, merges: Merges) -> Result<Self> {
        let text = || (0..).zip(arena.iter()).filter(|(_, (standing, _))| *standing == Standing::Text);
        let mut pieces = HashIndex::with_room_for(text().count());
        let (mut byte_ids, mut longest) = ([None; 256], 0);
        let mut pair_ids = vec![NONE; 1 << 16];
        for (id, (_, bytes)) in text() {
            if let ([byte], id) = (bytes, id)
                && let Some(slot) = byte_ids.get_mut(usize::from(*byte))
            {
                *slot = Some(id);
            }
            if let Some(slot) = <[u8; 2]>::try_from(bytes).ok().and_then(|pair| pair_ids.get_mut(pair_index(pair))) {
                *slot = id;
            }
            longest = longest.max(bytes.len());
            let earlier =
                pieces.insert(bytes, id, |other| arena.bytes(other) == bytes).map_err(|error| error.context(field))?;
            if let Some(earlier) = earlier {
                return Err(equal_tokens(field, earlier, id, bytes));
            }
        }
        let mut seen = HashSet::new();
        for (id, (_, bytes)) in (0..).zip(arena.iter()).filter(|(_, (standing, _))| *standing != Standing::Text) {
            if let Some(earlier) = pieces.find(bytes, |other| arena.bytes(other) == bytes) {
                return Err(equal_tokens(field, earlier, id, bytes));
            }
            if !seen.insert(bytes) {
                return Err(Error::corrupt(format!(
                    "{field}[{id}]: the name {} stands twice; expected each token once",
                    quote_bytes(bytes)
                )));
            }
        }
        let mut complete = [0; 256];
        for ((byte, slot), id) in complete.iter_mut().enumerate().zip(byte_ids) {
            *slot = id.ok_or_else(|| {
                Error::corrupt(format!("{field}: no text token for byte {byte:#04x}; expected all 256 single bytes"))
            })?;
        }
        Ok(Vocab {
            byte_ids: complete,
            pair_ids,
            longest,
            pieces,
            merges,
            arena,
            #[cfg(test)]
            finds: 0.into(),
        })
    }

    /// `guess` is tried first for the merged token: lists made from a vocabulary name its tokens in order.
    fn parse_merge(&self, text: &str, guess: TokenId, joined: &mut Vec<u8>) -> Option<Merge> {
        joined.clear();
        let mut cut = None;
        for c in text.chars() {
            match (c, cut) {
                (' ', None) => cut = Some(joined.len()),
                _ => joined.push(byte_map::byte_of(c)?),
            }
        }
        let (left, right) = joined.split_at_checked(cut?)?;
        let guessed = self.standing(guess) == Standing::Text && self.bytes(guess) == joined.as_slice();
        let id = if guessed { guess } else { self.find(joined)? };
        self.find(left)?;
        self.find(right)?;
        Some(Merge { id, cut: u32::try_from(cut?).ok()?, next: NONE })
    }

    /// How many ids there are.
    pub(super) fn len(&self) -> usize {
        self.arena.standing.len()
    }

    /// The text token with exactly these bytes.
    #[inline]
    pub(super) fn find(&self, bytes: &[u8]) -> Option<TokenId> {
        #[cfg(test)]
        self.finds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match bytes {
            [byte] => return Some(self.byte_id(*byte)),
            &[a, b] => return self.pair_ids.get(pair_index([a, b])).copied().filter(|&id| id != NONE),
            _ if bytes.len() > self.longest => return None,
            _ => {}
        }
        self.pieces.find(bytes, |id| self.arena.bytes(id) == bytes)
    }

    /// The text token of a single byte.
    #[inline]
    pub(super) fn byte_id(&self, byte: u8) -> TokenId {
        self.byte_ids[usize::from(byte)]
    }

    /// Rank and id of what the two tokens merge to whose bytes together are `span`, the left one's up to `cut`.
    #[inline]
    pub(super) fn merge_of(&self, span: &[u8], cut: usize) -> Option<(u32, TokenId)> {
        let id = self.find(span)?;
        match &self.merges {
            Merges::ByRank => Some((id, id)),
            Merges::Listed { first, entries } => chain(entries, *first.get(id as usize)?)
                .find(|(_, merge)| merge.cut as usize == cut)
                .map(|(rank, _)| (rank, id)),
        }
    }

    /// Bytes of a text or added token, the name of a control token, nothing for an id past the end.
    #[inline]
    pub(super) fn bytes(&self, id: TokenId) -> &[u8] {
        self.arena.bytes(id)
    }

    /// The standing of `id`; an id past the end is control.
    #[inline]
    pub(super) fn standing(&self, id: TokenId) -> Standing {
        self.arena.standing.get(id as usize).copied().unwrap_or(Standing::Control)
    }

    /// Names and ids of the control tokens.
    pub(super) fn controls(&self) -> impl Iterator<Item = (&[u8], TokenId)> {
        let tokens = (0..).zip(self.arena.iter());
        tokens.filter(|(_, (standing, _))| *standing == Standing::Control).map(|(id, (_, name))| (name, id))
    }

    /// Makes an added token control.
    pub(super) fn demote_added(&mut self, id: TokenId) {
        if let Some(standing) = self.arena.standing.get_mut(id as usize).filter(|s| **s == Standing::Added) {
            *standing = Standing::Control;
        }
    }
}

/// All tokens' bytes one after another.
#[derive(Debug)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    standing: Vec<Standing>,
}

impl Arena {
    /// Room for `tokens` tokens.
    ///
    /// # Errors
    /// [`crate::Kind::Limit`] above [`MAX_TOKENS`].
    pub(super) fn with_room_for(tokens: usize, field: &str) -> Result<Self> {
        if tokens > MAX_TOKENS {
            return Err(Error::limit(format!("{field}: {tokens} tokens, the limit is {MAX_TOKENS}")));
        }
        let bytes = Vec::with_capacity(tokens.saturating_mul(8));
        Ok(Arena { bytes, ends: Vec::with_capacity(tokens), standing: Vec::with_capacity(tokens) })
    }

    /// Appends the token that `write` puts at the end of the arena.
    ///
    /// # Errors
    /// What `write` says; [`crate::Kind::Corrupt`] for an empty or overlong token.
    pub(super) fn push(
        &mut self,
        standing: Standing,
        field: &str,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let (id, start) = (self.standing.len(), self.bytes.len());
        write(&mut self.bytes).map_err(|error| error.context(format_args!("{field}[{id}]")))?;
        let length = self.bytes.len() - start;
        if length == 0 || length > MAX_TOKEN_BYTES {
            return Err(Error::corrupt(format!("{field}[{id}]: {length} bytes; expected 1 to {MAX_TOKEN_BYTES}")));
        }
        // At most 2^20 tokens of 2^10 bytes: the end fits.
        self.ends.push(self.bytes.len() as u32);
        self.standing.push(standing);
        Ok(())
    }

    #[inline]
    fn bytes(&self, id: TokenId) -> &[u8] {
        let id = id as usize;
        let start = id.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        match (start, self.ends.get(id)) {
            (Some(start), Some(&end)) => self.bytes.get(start as usize..end as usize).unwrap_or_default(),
            _ => &[],
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Standing, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).zip(&self.standing).map(|((start, &end), &standing)| {
            (standing, self.bytes.get(start as usize..end as usize).unwrap_or_default())
        })
    }
}

/// The entries that make the same token, from the entry at `rank` on.
fn chain(entries: &[Merge], rank: u32) -> impl Iterator<Item = (u32, Merge)> {
    let entry = |rank: u32| entries.get(rank as usize).map(|merge| (rank, *merge));
    std::iter::successors(entry(rank), move |(_, merge)| entry(merge.next))
}

fn pair_index(pair: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(pair))
}

fn equal_tokens(field: &str, earlier: TokenId, id: TokenId, bytes: &[u8]) -> Error {
    Error::corrupt(format!("{field}[{id}]: {} equals token {earlier}; expected each token once", quote_bytes(bytes)))
}

/// At most forty characters of a file's text, escaped for an error message.
pub(super) fn quote(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

/// The same of a token's bytes.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    quote(&String::from_utf8_lossy(bytes))
}
