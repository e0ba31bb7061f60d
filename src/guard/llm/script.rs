//! What the guard model reads of a text that may be longer than its context: windows that leave nothing out.

use super::prompt::turn;
use crate::error::{Error, Result};
use crate::guard::dialogue::Turn;
use crate::guard::verdict::Side;
use crate::tokenizer::{TokenId, Tokenizer, is_python_space};

/// Tokens for `User: `, the blank line, and a cut that makes other tokens of the same letters.
const SLACK: usize = 16;
/// With less room than this for a conversation nothing can be judged.
pub(super) const LEAST_ROOM: usize = 64;

/// A text and what it stands in.
pub(super) struct Script<'a> {
    pub(super) side: Side,
    /// The conversation before the judged message.
    pub(super) turns: &'a [Turn],
    /// The part of the message that was judged before.
    pub(super) spoken: &'a str,
    /// What is judged.
    pub(super) text: &'a str,
}

impl Script<'_> {
    /// The conversations to ask about, each of at most `room` ids: one when everything fits, else windows over the message,
    /// each beginning half a window after the one before, so that any stretch of half a window stands in one whole. As the
    /// message grows their beginnings stay.
    ///
    /// # Errors
    /// [`crate::Kind::Limit`] when more than `most` windows are needed.
    pub(super) fn windows(&self, tokenizer: &Tokenizer, room: usize, most: usize) -> Result<Vec<Vec<TokenId>>> {
        let whole = format!("{}{}", self.spoken, self.text);
        let message = whole.trim_start_matches(is_python_space);
        let judged_from = self.spoken.len().saturating_sub(whole.len() - message.len());
        let last = turn(tokenizer, self.side, message);
        let mut before: Vec<Vec<TokenId>> = self.turns.iter().map(|t| turn(tokenizer, t.side, &t.text)).collect();
        if before.iter().map(Vec::len).sum::<usize>() + last.len() > room {
            before = self.newest(tokenizer, before, room / 2);
        }
        let before = before.concat();
        if before.len() + last.len() <= room {
            return Ok(vec![[before, last].concat()]);
        }
        let size = room.saturating_sub(before.len() + SLACK).max(2);
        let mut out = Vec::new();
        for part in cut(tokenizer, message, judged_from, size, most)? {
            out.push([before.clone(), turn(tokenizer, self.side, part)].concat());
        }
        Ok(out)
    }

    /// The last turns that fit; of one that does not fit by itself, its end.
    fn newest(&self, tokenizer: &Tokenizer, mut turns: Vec<Vec<TokenId>>, room: usize) -> Vec<Vec<TokenId>> {
        let mut left = room;
        let fits = turns.iter().rev().take_while(|t| left.checked_sub(t.len()).map(|l| left = l).is_some()).count();
        turns.drain(..turns.len() - fits);
        if let (true, Some(last)) = (turns.is_empty(), self.turns.last()) {
            let ids = tokenizer.encode_text(&last.text);
            let skip = ids.len().saturating_sub(room.saturating_sub(SLACK));
            let mut from: usize = ids.iter().take(skip).map(|id| tokenizer.decode_bytes(*id).len()).sum();
            while !last.text.is_char_boundary(from) {
                from += 1;
            }
            turns.push(turn(tokenizer, last.side, last.text.get(from..).unwrap_or_default()));
        }
        turns
    }
}

/// Windows of `size` tokens over `message` that together hold everything from byte `from` on.
fn cut<'m>(tokenizer: &Tokenizer, message: &'m str, from: usize, size: usize, most: usize) -> Result<Vec<&'m str>> {
    let ids = tokenizer.encode_text(message);
    // Where each token begins, and where the last one ends.
    let mut places = vec![0];
    places.extend(ids.iter().scan(0, |at, id| {
        *at += tokenizer.decode_bytes(*id).len();
        Some(*at)
    }));
    let stride = (size / 2).max(1);
    let last = ids.len().saturating_sub(size).div_ceil(stride);
    let token = places.partition_point(|at| *at <= from).saturating_sub(1);
    // One stride earlier than needed: what was said just before belongs to it.
    let first = (token / stride).saturating_sub(1).min(last);
    if last - first >= most {
        return Err(Error::limit(format!(
            "the text needs {} windows of the guard model, limits.windows is {most}",
            last - first + 1
        )));
    }
    let place = |token: usize| places.get(token).copied().unwrap_or(message.len());
    Ok((first..=last)
        .map(|n| {
            let (mut from, mut to) = (place(n * stride), place((n * stride).saturating_add(size)));
            while !message.is_char_boundary(from) {
                from -= 1;
            }
            while !message.is_char_boundary(to) {
                to += 1;
            }
            message.get(from..to).unwrap_or_default()
        })
        .collect())
}
