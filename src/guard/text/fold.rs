//! The characters of a text that read otherwise one by one, whatever stands beside them: accents, typographic marks, blanks of
//! other widths, full-width forms, and a few characters that are not shown. The rest is left to the thorough way.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::chars::{self, Kind, kind};
use super::clean::{forms, is_same, plain_mark};
use super::glyph::glyphs;
use super::hidden::is_ignorable;
use super::sheet::{Edit, Sheet, offset};
use super::upside;

/// A text as a reader sees it, white space as it stands.
#[derive(Debug)]
pub(super) struct Folded<'a> {
    pub(super) sheet: Sheet<'a>,
    /// Whether something is gone that may have had a meaning, such as an accent.
    pub(super) lost: bool,
    /// Whether something is gone that had none: a style, or what is not shown.
    pub(super) bare: bool,
    /// Whether a letter has marks of its own.
    pub(super) marked: bool,
}

/// What becomes of a character.
#[derive(Clone, Copy)]
enum Fold {
    Keep,
    /// It reads as these ASCII characters, and what is lost by it.
    To([u8; 3], Loss),
    /// It is not shown.
    Drop,
    /// It depends on what stands beside it.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// White space, or the form of a mark.
    Nothing,
    Style,
    Meaning,
}

/// So few characters that are not shown in a row say nothing.
const DROPPED: usize = 3;

/// `None` where a character depends on what stands beside it.
pub(super) fn fold(original: &str) -> Option<Folded<'_>> {
    let mut out = Folded { sheet: Sheet::of(original), lost: false, bare: false, marked: false };
    let mut text = String::new();
    let (mut done, mut at) = (0, 0);
    // Where a row of characters ends that are not shown, and how many they are.
    let mut row = (usize::MAX, 0);
    while let Some(b) = original.as_bytes().get(at) {
        if b.is_ascii() {
            at += ascii(original.as_bytes().get(at..).unwrap_or_default());
            continue;
        }
        let c = original.get(at..).and_then(|rest| rest.chars().next())?;
        let end = at + c.len_utf8();
        let (to, loss) = match fold_of(c) {
            Fold::Keep => {
                out.marked |= chars::is_mark(c);
                // A mark belongs to the letter before it, whatever stands between them and is not shown.
                if row.0 == at && chars::is_mark(c) {
                    return None;
                }
                at = end;
                continue;
            }
            Fold::To(to, loss) => (to, loss),
            Fold::Drop => {
                row = (end, if row.0 == at { row.1 + 1 } else { 1 });
                ([0; 3], Loss::Style)
            }
            Fold::Unknown => return None,
        };
        if row.1 > DROPPED {
            return None;
        }
        text.push_str(original.get(done..at).unwrap_or_default());
        let place = offset(text.len());
        text.extend(to.iter().take_while(|b| **b != 0).map(|b| char::from(*b)));
        let len = offset(text.len()) - place;
        out.sheet.edits.push(Edit { start: offset(at), end: offset(end), at: place, len });
        out.lost |= loss == Loss::Meaning;
        out.bare |= loss == Loss::Style;
        (at, done) = (end, end);
    }
    if done > 0 {
        text.push_str(original.get(done..).unwrap_or_default());
        out.sheet.text = Cow::Owned(text);
    }
    Some(out)
}

/// How many bytes of ASCII come first.
fn ascii(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<16>();
    let whole = words.iter().take_while(|word| word.is_ascii()).count() * 16;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().position(|b| !b.is_ascii()).unwrap_or(rest.len())
}

fn fold_of(c: char) -> Fold {
    match kind(c) {
        Kind::Letter | Kind::Twin | Kind::Mark(_) | Kind::Symbol => Fold::Keep,
        Kind::Typographic | Kind::Unknown => {
            let known = BLOCKS.iter().zip(FOLDS.iter()).find(|((first, last), _)| (*first..=*last).contains(&c));
            let at = |first: char| usize::try_from(u32::from(c) - u32::from(first)).ok();
            known.and_then(|((first, _), folds)| folds.get(at(*first)?).copied()).unwrap_or(Fold::Unknown)
        }
    }
}

/// Latin letters with marks, punctuation, full-width forms, selectors and the wide blank.
const BLOCKS: [(char, char); 5] = [
    ('\u{80}', '\u{24F}'),
    ('\u{2000}', '\u{206F}'),
    ('\u{FF01}', '\u{FF5E}'),
    ('\u{FE00}', '\u{FE0F}'),
    ('\u{3000}', '\u{3000}'),
];

static FOLDS: LazyLock<[Vec<Fold>; 5]> =
    LazyLock::new(|| BLOCKS.map(|(first, last)| (first..=last).map(made).collect()));

fn made(c: char) -> Fold {
    match c {
        // These turn the text around.
        '\u{202C}' | '\u{202E}' | '\u{2069}' => return Fold::Unknown,
        _ if is_ignorable(c) => return Fold::Drop,
        _ if upside::is_exotic(c) => return Fold::Unknown,
        _ => {}
    }
    let one = glyphs(c.encode_utf8(&mut [0; 4]));
    let text: String = forms(&one).iter().map(|g| plain_mark(g.c)).collect();
    let mut to = [0; 3];
    if text.is_empty() || text.len() > to.len() || !text.is_ascii() {
        return Fold::Unknown;
    }
    to.iter_mut().zip(text.bytes()).for_each(|(to, b)| *to = b);
    let repeats = text.chars().all(|t| plain_mark(c) == t || (t.is_whitespace() && c.is_whitespace()));
    let loss = match repeats {
        true => Loss::Nothing,
        false if text.chars().all(|t| is_same(c, t)) => Loss::Style,
        false => Loss::Meaning,
    };
    Fold::To(to, loss)
}
