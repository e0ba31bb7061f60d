//! A text together with the views in which its disguises are undone. Checks read views; the model reads the original.

mod bases;
mod bytes;
mod chars;
mod clean;
mod codes;
mod columns;
mod confusable;
mod decode;
mod fold;
mod glyph;
mod hidden;
mod mend;
mod morse;
mod plain;
#[cfg(test)]
mod recovered;
mod respell;
mod scramble;
mod sheet;
mod spell;
mod spoken;
mod stand_in;
mod upside;
mod view;
mod words;

use std::borrow::Cow;
use std::ops::Range;

use decode::Decoded;
use fold::Folded;
use glyph::{Glyph, collapse, excerpts, glyphs, place, replace};

use plain::Plain;
use sheet::Sheet;

pub use hidden::Hidden;
pub(crate) use hidden::is_ignorable;
pub use view::{View, ViewKind};

use crate::error::{Error, Result};

/// A text with its views.
#[derive(Clone, Debug)]
pub struct JudgedText<'a> {
    original: &'a str,
    views: Vec<View<'a>>,
    hidden: Vec<Hidden>,
    rewritten: Vec<Range<usize>>,
    told: Vec<Range<usize>>,
}

/// A text may be encoded so many times.
const LEVELS: usize = 3;
/// How much of the text around a disguise belongs to its view, in characters.
const AROUND: usize = 160;
/// All views together may be this many times as long as the text …
const GROWTH: usize = 4;
/// … and this many bytes, so that a short disguised text is not refused.
const GROWTH_FREE: usize = 4096;

impl<'a> JudgedText<'a> {
    /// Builds the views of `original`.
    ///
    /// # Errors
    /// [`crate::Kind::Limit`] when undoing the disguises makes the text more than four times as long.
    pub fn new(original: &'a str) -> Result<Self> {
        let plain = fold::fold(original).and_then(|folded| Some((plain::scan(&folded.sheet.text)?, folded)));
        match plain {
            Some((plain, folded)) if !plain.upside || !is_upside(original) => Self::plain(original, folded, &plain),
            _ => Self::thorough(original),
        }
    }

    /// The views of a text with little to undo.
    fn plain(original: &'a str, folded: Folded<'a>, plain: &Plain) -> Result<Self> {
        let mut judged = Self::raw(original);
        let letters = Letters::of(&folded, plain);
        let sheet = folded.sheet.respaced(&plain.spaces);
        if !sheet.edits.is_empty() {
            let mut view = View::edited(ViewKind::Clean, sheet);
            if !folded.lost && !folded.bare {
                view.skip();
                view = view.respaced();
            } else if !folded.lost && !folded.marked {
                judged.views.iter_mut().for_each(View::skip);
            }
            judged.views.push(view);
        }
        match letters {
            Letters::Read(sheets) => {
                judged.views.extend(sheets.into_iter().map(|sheet| View::edited(ViewKind::Leet, sheet)));
            }
            Letters::All(glyphs) => judged.add_letters(glyphs),
        }
        judged.weigh()
    }

    fn raw(original: &'a str) -> Self {
        Self { original, views: vec![View::raw(original)], hidden: Vec::new(), rewritten: Vec::new(), told: Vec::new() }
    }

    /// Goes through every disguise. For a text that is plain the views are the same.
    fn thorough(original: &'a str) -> Result<Self> {
        let mut judged = Self::raw(original);
        let (seen, hidden) = hidden::strip(&glyphs(original));
        judged.hidden = hidden;
        let mut now = clean::normal(&seen);
        judged.add_clean(&now);
        judged.add_hidden();
        let upside = upside::find(&seen);
        if !upside.changes.is_empty() {
            let turned = clean::normal(&replace(&seen, upside.changes).0);
            if upside.told {
                now = judged.add_told(ViewKind::Turned, turned, &[]);
            } else {
                judged.views.push(View::of(ViewKind::Turned, &collapse(&turned)));
                now = turned;
            }
        }
        for _ in 0..LEVELS {
            let decoded = decode::find(&now);
            if decoded.is_empty() {
                break;
            }
            now = judged.add_decoded(now, decoded);
        }
        now = judged.add_spoken(now);
        let spelled = respell::spelled(&now);
        now = judged.add_changed(ViewKind::Joined, now, spelled, true);
        judged.add_letters(now);
        judged.weigh()
    }

    /// The steps that put other letters in the place of what stands there, or words closer together.
    fn add_letters(&mut self, mut now: Vec<Glyph>) {
        let leet = respell::leet(&now, 'i');
        if !leet.is_empty() {
            if respell::is_ambiguous(&now) {
                let other = respell::leet(&now, 'l');
                if !other.iter().map(|(_, new)| new).eq(leet.iter().map(|(_, new)| new)) {
                    self.add_changed(ViewKind::Leet, now.clone(), other, false);
                }
            }
            now = self.add_changed(ViewKind::Leet, now, leet, false);
        }
        let columns = columns::joined(&now);
        now = self.add_changed(ViewKind::Mended, now, columns, false);
        let flat = scramble::flat(now.iter().map(|g| g.c));
        let words = scramble::words(&flat);
        let rows = scramble::odd_rows(&words);
        if rows.is_empty() {
            return;
        }
        let turned = scramble::turned(&now, &flat, &words, &rows);
        if turned.first.is_empty() {
            let mended = mend::mended(&now, &flat, &words, &rows);
            self.add_changed(ViewKind::Mended, now, mended, false);
            return;
        }
        if !turned.other.is_empty() {
            self.add_changed(ViewKind::Turned, now.clone(), turned.other, false);
        }
        self.add_changed(ViewKind::Turned, now, turned.first, false);
    }

    /// The text itself.
    #[must_use]
    pub fn original(&self) -> &'a str {
        self.original
    }

    /// The readings, the raw one first.
    #[must_use]
    pub fn views(&self) -> &[View<'a>] {
        &self.views
    }

    /// What is written in characters that are not shown.
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        &self.hidden
    }

    /// Stretches of the original that only make sense as a whole: encoded or spelled runs.
    pub(crate) fn rewritten(&self) -> &[Range<usize>] {
        &self.rewritten
    }

    /// Whether a stretch of the original lies within a run that is encoded or spelled beyond doubt: what it is written in then
    /// says nothing of its own.
    pub(crate) fn is_told(&self, span: &Range<usize>) -> bool {
        let before = self.told.partition_point(|run| run.start <= span.start);
        before.checked_sub(1).and_then(|i| self.told.get(i)).is_some_and(|run| span.end <= run.end)
    }

    fn add_clean(&mut self, clean: &[Glyph]) {
        let mut view = View::of(ViewKind::Clean, &collapse(clean));
        if view.text() == self.original {
            return;
        }
        let marks: String = self.original.chars().map(clean::plain_mark).collect();
        if view.text().split_whitespace().eq(marks.split_whitespace()) {
            view.skip();
        } else if self.hidden.is_empty() && clean::is_faithful(self.original, clean) {
            self.views.iter_mut().for_each(View::skip);
        }
        self.views.push(view);
    }

    fn add_hidden(&mut self) {
        let mut all = Vec::new();
        for h in self.hidden.iter().filter(|h| !h.text.is_empty()) {
            let start = u32::try_from(h.span.start).unwrap_or(u32::MAX);
            let end = u32::try_from(h.span.end).unwrap_or(u32::MAX);
            all.extend(h.text.chars().chain(['\n']).map(|c| Glyph { c, start, end }));
        }
        if !all.is_empty() {
            self.views.push(View::of(ViewKind::Hidden, &all));
        }
    }

    /// Adds a view of the text with its encoded runs decoded.
    fn add_decoded(&mut self, glyphs: Vec<Glyph>, found: Vec<Decoded>) -> Vec<Glyph> {
        let told = found.iter().all(|d| d.told);
        let changes = found.into_iter().map(|d| (d.run, d.text)).collect();
        if !told {
            return self.add_changed(ViewKind::Decoded, glyphs, changes, true);
        }
        self.add_runs(ViewKind::Decoded, &glyphs, changes)
    }

    /// Adds a view of letters spelled with the words of the radio alphabet.
    fn add_spoken(&mut self, glyphs: Vec<Glyph>) -> Vec<Glyph> {
        let found = spoken::spelled(&glyphs);
        if found.is_empty() || !found.iter().all(|(_, text)| words::is_english(text.iter().map(|g| g.c))) {
            return self.add_changed(ViewKind::Joined, glyphs, found, true);
        }
        self.add_runs(ViewKind::Joined, &glyphs, found)
    }

    /// Adds a view of all of the text in which runs stand as what they say beyond doubt.
    fn add_runs(&mut self, kind: ViewKind, glyphs: &[Glyph], runs: Vec<(Range<usize>, Vec<Glyph>)>) -> Vec<Glyph> {
        let before = self.rewritten.len();
        self.rewrite(glyphs, &runs);
        self.told.extend_from_slice(self.rewritten.get(before..).unwrap_or_default());
        self.told.sort_by_key(|run| run.start);
        let (now, at) = replace(glyphs, runs);
        self.add_told(kind, now, &at)
    }

    /// Adds a view of all of the text in which disguised runs stand as what they say beyond doubt. A check that reads for
    /// meaning needs none of the views before it.
    fn add_told(&mut self, kind: ViewKind, now: Vec<Glyph>, at: &[Range<usize>]) -> Vec<Glyph> {
        // Of several levels the last is enough: what the others have beside it are the runs it decodes.
        self.views.retain(|v| v.kind() != ViewKind::Decoded || !v.is_whole());
        let clean = self.views.get(1).filter(|v| v.kind() == ViewKind::Clean);
        // The raw view may say more than the clean one, in which marks and look-alikes are put away.
        let raw_too = clean.is_none_or(View::is_repeated);
        for view in &mut self.views {
            let before = !matches!(view.kind(), ViewKind::Raw | ViewKind::Hidden);
            if before || (view.kind() == ViewKind::Raw && raw_too) {
                view.skip();
            }
        }
        self.views.push(View::of_told(kind, &now, at));
        now
    }

    fn rewrite(&mut self, glyphs: &[Glyph], changes: &[(Range<usize>, Vec<Glyph>)]) {
        let places = changes.iter().filter_map(|(r, _)| glyphs.get(r.clone()).and_then(place));
        self.rewritten.extend(places.map(|(a, b)| a as usize..b as usize));
    }

    /// Applies `changes` to `glyphs`, adds a view of what changed, and returns the changed glyphs for the next step.
    fn add_changed(
        &mut self,
        kind: ViewKind,
        glyphs: Vec<Glyph>,
        changes: Vec<(Range<usize>, Vec<Glyph>)>,
        whole: bool,
    ) -> Vec<Glyph> {
        if changes.is_empty() {
            return glyphs;
        }
        if whole {
            self.rewrite(&glyphs, &changes);
        }
        let (now, at) = replace(&glyphs, changes);
        self.views.push(View::of(kind, &collapse(&excerpts(&now, &at, AROUND))));
        now
    }

    fn weigh(self) -> Result<Self> {
        let all: usize = self.views.iter().map(|v| v.text().len()).sum();
        let most = self.original.len().saturating_mul(GROWTH).saturating_add(GROWTH_FREE);
        if all > most {
            let len = self.original.len();
            return Err(Error::limit(format!(
                "undoing the disguises of {len} bytes gives {all} bytes, at most {most}"
            )));
        }
        Ok(self)
    }
}

/// How the letters of a plain text are read.
enum Letters<'a> {
    /// As they stand, but for stand-ins in these stretches.
    Read(Vec<Sheet<'a>>),
    /// By every step.
    All(Vec<Glyph>),
}

impl<'a> Letters<'a> {
    fn of(folded: &Folded<'a>, plain: &Plain) -> Self {
        let all = || Self::All(folded.sheet.glyphs());
        let read = if plain.stood_in { stand_in::read(&folded.sheet) } else { stand_in::Read::default() };
        if read.views.is_empty() {
            let more = plain.apart || plain.odd && is_odd(&folded.sheet.text);
            return if more { all() } else { Self::Read(Vec::new()) };
        }
        // What stand-ins were read as may make words and rows of words.
        let again = plain::scan(&read.text).filter(|_| !folded.marked);
        let more = again.is_none_or(|again| again.apart || again.odd && is_odd(&read.text));
        if more { all() } else { Self::Read(read.views) }
    }
}

/// Whether rows of unknown words are turned or misspelled.
fn is_odd(text: &str) -> bool {
    let flat = if text.is_ascii() { Cow::Borrowed(text.as_bytes()) } else { scramble::flat(text.chars()).into() };
    let words = scramble::words(&flat);
    let rows = scramble::odd_rows(&words);
    scramble::may_be_turned(&flat, &words, &rows) || mend::is_mended(&flat, &words, &rows)
}

/// Whether something is written upside down.
fn is_upside(original: &str) -> bool {
    !upside::find(&hidden::strip(&glyphs(original)).0).changes.is_empty()
}

#[cfg(test)]
mod tests;
