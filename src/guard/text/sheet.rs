//! A text in which a few stretches were changed, and where in the original its characters stand.

use std::borrow::Cow;
use std::ops::Range;

use super::chars;
use super::glyph::Glyph;

/// A stretch of the original that reads otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Its bytes in the original.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Where what it became stands in the sheet, and how long that is: nothing, where it is not shown.
    pub(super) at: u32,
    pub(super) len: u32,
}

/// A text with the edits that made it, ascending.
#[derive(Clone, Debug)]
pub(super) struct Sheet<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) edits: Vec<Edit>,
}

pub(super) fn offset(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}

/// The bytes of the original that `range` of an edited text stands for. The last character counts as a whole, and an empty
/// range stands for the character it is before.
pub(super) fn span(text: &str, edits: &[Edit], range: Range<usize>) -> Range<usize> {
    let last = range.end.max(range.start + 1) - 1;
    place(text, edits, range.start).start..place(text, edits, last).end
}

/// The place of the character that holds the byte `at`.
fn place(text: &str, edits: &[Edit], at: usize) -> Range<usize> {
    let at = at.min(text.len().saturating_sub(1));
    let before = edits.partition_point(|edit| edit.at as usize <= at);
    let (mut from, mut shift) = (0, 0);
    if let Some(edit) = before.checked_sub(1).and_then(|i| edits.get(i)) {
        from = (edit.at + edit.len) as usize;
        if at < from {
            return edit.start as usize..edit.end as usize;
        }
        shift = (edit.end as usize).wrapping_sub(from);
    }
    let first = |at: usize| text.get(at..).and_then(|rest| rest.chars().next());
    let mut start = at;
    // A letter and its marks are one place.
    while start > from && first(start).is_none_or(chars::is_mark) {
        start -= 1;
    }
    let mut end = start + first(start).map_or(0, char::len_utf8);
    while let Some(mark) = first(end).filter(|c| chars::is_mark(*c)) {
        end += mark.len_utf8();
    }
    start.wrapping_add(shift)..end.wrapping_add(shift)
}

impl<'a> Sheet<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), edits: Vec::new() }
    }

    /// The same with each of these runs of white space as one space.
    pub(super) fn respaced(self, runs: &[Range<u32>]) -> Self {
        if runs.is_empty() {
            return self;
        }
        let mut text = String::with_capacity(self.text.len());
        let mut edits = Vec::with_capacity(self.edits.len() + runs.len());
        let mut old = self.edits.iter().peekable();
        let mut done = 0;
        for run in runs {
            // What is not shown in front of the run stays; what the run is made of goes into it.
            let base = offset(text.len());
            let before = |edit: &&Edit| edit.at + edit.len.min(1) <= run.start;
            while let Some(edit) = old.next_if(before) {
                edits.push(Edit { at: edit.at - done + base, ..*edit });
            }
            while old.next_if(|edit| edit.at < run.end).is_some() {}
            text.push_str(self.text.get(done as usize..run.start as usize).unwrap_or_default());
            let place = span(&self.text, &self.edits, run.start as usize..run.end as usize);
            edits.push(Edit { start: offset(place.start), end: offset(place.end), at: offset(text.len()), len: 1 });
            text.push(' ');
            done = run.end;
        }
        let base = offset(text.len());
        edits.extend(old.map(|edit| Edit { at: edit.at - done + base, ..*edit }));
        text.push_str(self.text.get(done as usize..).unwrap_or_default());
        Self { text: Cow::Owned(text), edits }
    }

    /// These parts of the sheet, which are not empty and do not touch, with a line break between them.
    pub(super) fn parts(&self, parts: &[Range<usize>]) -> Self {
        let mut text = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        let mut edits = Vec::new();
        let mut done = 0;
        for part in parts {
            if !text.is_empty() {
                edits.push(Edit { start: done, end: done, at: offset(text.len()), len: 1 });
                text.push('\n');
            }
            let base = offset(text.len());
            let start = offset(place(&self.text, &self.edits, part.start).start);
            edits.push(Edit { start: done, end: start, at: base, len: 0 });
            let (from, to) = (offset(part.start), offset(part.end));
            let first = self.edits.partition_point(|edit| edit.at + edit.len <= from);
            for edit in self.edits.iter().skip(first).take_while(|edit| edit.at < to) {
                let (at, end) = (edit.at.max(from), (edit.at + edit.len).min(to));
                edits.push(Edit { at: at - from + base, len: end - at, ..*edit });
            }
            text.push_str(self.text.get(part.clone()).unwrap_or_default());
            done = offset(place(&self.text, &self.edits, part.end.saturating_sub(1)).end);
        }
        Self { text: Cow::Owned(text), edits }
    }

    /// The characters with their places.
    pub(super) fn glyphs(&self) -> Vec<Glyph> {
        let mut out: Vec<Glyph> = Vec::with_capacity(self.text.len());
        let mut edits = self.edits.iter().peekable();
        let (mut at, mut place, mut base) = (0u32, 0u32, 0);
        let mut edited: Option<Edit> = None;
        for c in self.text.chars() {
            while let Some(edit) = edits.next_if(|edit| edit.at <= at) {
                edited = Some(*edit).filter(|edit| edit.len > 0);
                place = edit.end;
            }
            let size = u32::try_from(c.len_utf8()).unwrap_or(4);
            at += size;
            if let Some(edit) = edited {
                out.push(Glyph { c, start: edit.start, end: edit.end });
                edited = edited.filter(|edit| at < edit.at + edit.len);
                continue;
            }
            let mut glyph = Glyph { c, start: place, end: place + size };
            place = glyph.end;
            if chars::is_mark(c) {
                glyph.start = out.get(base).map_or(glyph.start, |b| b.start);
                out.push(glyph);
                out.get_mut(base..).unwrap_or_default().iter_mut().for_each(|g| g.end = glyph.end);
            } else {
                base = out.len();
                out.push(glyph);
            }
        }
        out
    }
}
