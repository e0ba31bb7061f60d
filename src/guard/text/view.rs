//! One reading of a text, and where in the original it came from.

use std::borrow::Cow;
use std::ops::Range;

use super::glyph::{Glyph, collapse, is_space};
use super::sheet::{self, Edit, Sheet, offset};

/// Which reading of the text a view is. The order is the order in which they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViewKind {
    /// The original.
    Raw,
    /// As a reader sees it: invisible characters gone, compatibility forms undone, look-alikes put back.
    Clean,
    /// What is written in characters that are not shown.
    Hidden,
    /// Base64, base32, hex, binary, escapes, character codes and Morse decoded, one level in each such view, with their
    /// surroundings or all of the text.
    Decoded,
    /// Letters set apart, or spelled with the words of the radio alphabet, joined; with their surroundings.
    Joined,
    /// Digits and symbols read as letters, with their surroundings. `1` may be an i or an l, hence up to two views.
    Leet,
    /// Misspelled English put right: torn and stretched words, letters starred out or swapped, pig Latin, and sentences of one
    /// word to a line; with their surroundings.
    Mended,
    /// Rot13 and its like, reversed stretches and letters upside down turned, with their surroundings. Reversed text has two
    /// readings, as a whole and word by word.
    Turned,
}

/// One reading of a text, and where each of its characters came from.
#[derive(Clone, Debug)]
pub struct View<'a> {
    kind: ViewKind,
    text: Cow<'a, str>,
    places: Places,
    repeated: bool,
    whole: bool,
    respaced: bool,
    told: Vec<Range<usize>>,
}

/// Where the characters of a view came from.
#[derive(Clone, Debug)]
enum Places {
    /// The view is the original.
    Same,
    /// For each character: its byte in the view, its first and last byte in the original.
    Each(Vec<(u32, u32, u32)>),
    /// The original but for these stretches.
    But(Vec<Edit>),
}

impl<'a> View<'a> {
    /// The original.
    pub(super) fn raw(original: &'a str) -> Self {
        Self {
            kind: ViewKind::Raw,
            text: Cow::Borrowed(original),
            places: Places::Same,
            repeated: false,
            whole: false,
            respaced: false,
            told: Vec::new(),
        }
    }

    pub(super) fn of(kind: ViewKind, glyphs: &[Glyph]) -> Self {
        let mut text = String::with_capacity(glyphs.len());
        let mut places = Vec::with_capacity(glyphs.len());
        for g in glyphs {
            places.push((offset(text.len()), g.start, g.end));
            text.push(g.c);
        }
        Self {
            kind,
            text: Cow::Owned(text),
            places: Places::Each(places),
            repeated: false,
            whole: false,
            respaced: false,
            told: Vec::new(),
        }
    }

    /// A view in which few stretches change.
    pub(super) fn edited(kind: ViewKind, sheet: Sheet<'a>) -> Self {
        let places = Places::But(sheet.edits);
        Self { kind, text: sheet.text, places, repeated: false, whole: false, respaced: false, told: Vec::new() }
    }

    /// Which reading this is.
    #[must_use]
    pub fn kind(&self) -> ViewKind {
        self.kind
    }

    /// The text of this reading, in its original letter case. White space is single except in the raw view.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a check that reads for meaning can skip this view, because another one says the same: this one repeats the raw
    /// one but for white space and the form of quotation marks and dashes, or is repeated whole by a decoded one in which
    /// runs that are encoded beyond doubt stand as the English they say.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Marks this view as the one before it with single spaces and typewriter marks, as a folded text has them.
    pub(super) fn respaced(mut self) -> Self {
        self.respaced = true;
        self
    }

    /// Whether this view was marked as respaced.
    pub(crate) fn is_respaced(&self) -> bool {
        self.respaced
    }

    /// A view of all of a text in which the runs `told` of its glyphs, ascending, were disguised beyond doubt.
    pub(super) fn of_told(kind: ViewKind, glyphs: &[Glyph], told: &[Range<usize>]) -> Self {
        let mut view = Self::of(kind, &collapse(glyphs));
        view.whole = true;
        // Where each glyph begins in the view; a run of white space is one there.
        let mut begins = Vec::with_capacity(glyphs.len() + 1);
        let (mut at, mut blank) = (0, false);
        for g in glyphs {
            begins.push(at);
            let space = is_space(g.c);
            at += if !space { g.c.len_utf8() } else { usize::from(!blank) };
            blank = space;
        }
        begins.push(at);
        for run in told {
            let (Some(&from), Some(&to)) = (begins.get(run.start), begins.get(run.end)) else { continue };
            match view.told.last_mut() {
                // A row of runs says one thing.
                Some(last) if view.text.get(last.end..from).is_some_and(|gap| gap.trim().is_empty()) => last.end = to,
                _ => view.told.push(from..to),
            }
        }
        view
    }

    /// What the runs say that were disguised beyond doubt, each by itself.
    pub(crate) fn told(&self) -> impl Iterator<Item = &str> {
        self.told.iter().filter_map(|run| self.text.get(run.clone()))
    }

    /// Whether this view was marked as one of all of the text.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Notes that another view says all that this one does.
    pub(super) fn skip(&mut self) {
        self.repeated = true;
    }

    /// The bytes of the original that `range` of this view's text stands for.
    #[must_use]
    pub fn span(&self, range: Range<usize>) -> Range<usize> {
        let places = match &self.places {
            Places::Same => return range,
            Places::But(edits) => return sheet::span(&self.text, edits, range),
            Places::Each(places) => places,
        };
        let first = places.partition_point(|p| (p.0 as usize) <= range.start).saturating_sub(1);
        let end = places.partition_point(|p| (p.0 as usize) < range.end);
        let slice = places.get(first..end.max(first + 1)).unwrap_or_default();
        let start = slice.iter().map(|p| p.1).min().unwrap_or(0);
        let end = slice.iter().map(|p| p.2).max().unwrap_or(0);
        start as usize..end as usize
    }

    /// The text in the parts that come from different paragraphs, which begin at the bytes `begins` of the original, ascending.
    /// None where all of it comes from one.
    pub(crate) fn by_paragraph(&self, begins: &[usize]) -> Vec<&str> {
        let paragraph = |at: usize| begins.partition_point(|begin| *begin <= at).max(1);
        let mut cuts = Vec::new();
        let mut last = None;
        for (at, _) in self.text.char_indices() {
            let now = paragraph(self.span(at..at + 1).start);
            if last.is_some_and(|last| last != now) {
                cuts.push(at);
            }
            last = Some(now);
        }
        if cuts.is_empty() {
            return Vec::new();
        }
        let ends = cuts.iter().copied().chain([self.text.len()]);
        [0].iter()
            .copied()
            .chain(cuts.iter().copied())
            .zip(ends)
            .filter_map(|(from, to)| self.text.get(from..to))
            .collect()
    }
}
