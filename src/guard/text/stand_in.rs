//! Digits and symbols in the place of letters, read in a folded text: only the words that hold some are made glyphs.

use std::borrow::Cow;
use std::ops::Range;

use super::AROUND;
use super::bytes::{is_blank, is_stand_in, spaces};
use super::glyph::{Glyph, glyphs};
use super::respell::{is_ambiguous, leet};
use super::sheet::Sheet;

type Changes = Vec<(Range<usize>, Vec<Glyph>)>;

/// What a text with stand-ins says.
#[derive(Default)]
pub(super) struct Read<'a> {
    /// The surroundings of what is read otherwise, for each way to read it; none when nothing is.
    pub(super) views: Vec<Sheet<'a>>,
    /// All of the text read the last way.
    pub(super) text: String,
}

/// Reads the stand-ins of a text as letters.
pub(super) fn read<'a>(sheet: &Sheet<'a>) -> Read<'a> {
    let words = words(&sheet.text);
    let first = leet(&words, 'i');
    if first.is_empty() {
        return Read::default();
    }
    let mut out = Read::default();
    let mut add = |changes: &Changes| {
        let places = places(&words, changes);
        let read = Sheet { text: Cow::Owned(changed(&sheet.text, changes)), edits: sheet.edits.clone() };
        let near = read.parts(&around(&read.text, &places));
        let runs = spaces(&near.text);
        out.views.push(near.respaced(&runs));
        out.text = read.text.into_owned();
    };
    if is_ambiguous(&words) {
        let other = leet(&words, 'l');
        if !other.iter().map(|(_, new)| new).eq(first.iter().map(|(_, new)| new)) {
            add(&other);
        }
    }
    add(&first);
    out
}

/// The runs without white space that hold stand-ins, with their places in the text.
fn words(text: &str) -> Vec<Glyph> {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut done = 0;
    while let Some(at) = bytes.get(done..).and_then(|rest| rest.iter().position(|b| is_stand_in(*b))) {
        let at = done + at;
        let start = bytes.get(done..at).and_then(|before| before.iter().rposition(|b| is_blank(*b)));
        let start = start.map_or(done, |i| done + i + 1);
        let end = bytes.get(at..).and_then(|after| after.iter().position(|b| is_blank(*b)));
        done = end.map_or(bytes.len(), |i| at + i);
        let from = u32::try_from(start).unwrap_or(u32::MAX);
        out.push(Glyph { c: ' ', start: from, end: from });
        let word = glyphs(text.get(start..done).unwrap_or_default());
        out.extend(word.into_iter().map(|g| Glyph { c: g.c, start: g.start + from, end: g.end + from }));
    }
    out
}

/// Where the changes stand in the text.
fn places(words: &[Glyph], changes: &Changes) -> Vec<Range<usize>> {
    let place = |range: &Range<usize>| {
        let word = words.get(range.clone())?;
        Some(word.first()?.start as usize..word.last()?.end as usize)
    };
    changes.iter().filter_map(|(range, _)| place(range)).collect()
}

/// The text with the changes, each of which puts a character of ASCII in the place of another.
fn changed(text: &str, changes: &Changes) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for g in changes.iter().flat_map(|(_, new)| new) {
        if let (Some(b), Ok(c)) = (bytes.get_mut(g.start as usize).filter(|b| b.is_ascii()), u8::try_from(g.c)) {
            *b = c;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The changed parts of a text with [`AROUND`] characters on each side; parts that touch are one.
fn around(text: &str, places: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for place in places {
        let (before, after) = (text.get(..place.start).unwrap_or_default(), text.get(place.end..).unwrap_or_default());
        let start = before.char_indices().rev().take(AROUND).last().map_or(place.start, |(i, _)| i);
        let end = after.char_indices().nth(AROUND).map_or(text.len(), |(i, _)| place.end + i);
        match out.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => out.push(start..end),
        }
    }
    out
}
