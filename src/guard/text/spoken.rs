//! Letters spelled with the words of the radio alphabet (`india golf november …`), joined to words again.

use std::ops::Range;

use super::glyph::{Glyph, place, runs};
use super::words::{is_spoken, word_key};

/// So many of the words in a row spell something; fewer are hotels, months and names.
const SPELLED: usize = 6;
/// The longest separator between two of the words …
const SEPARATOR: usize = 3;
/// … and between two sentences of them.
const BETWEEN_SENTENCES: usize = 6;

/// A row of radio words in a text.
#[derive(Default)]
pub(super) struct Row(usize);

impl Row {
    /// Takes the next run of ASCII letters with its [`word_key`]. `true` when it makes a row that is long enough to spell
    /// something.
    #[inline]
    pub(super) fn word(&mut self, letters: usize, key: u64) -> bool {
        if is_spoken(key) {
            self.0 += 1;
        } else if letters > 1 {
            // A letter alone may be the first half of `x-ray`.
            self.0 = 0;
        }
        self.0 >= SPELLED
    }
}

/// Rows of radio words, as the letters they stand for. A longer separator stands between words.
pub(super) fn spelled(glyphs: &[Glyph]) -> Vec<(Range<usize>, Vec<Glyph>)> {
    let mut out = Vec::new();
    let mut row: Vec<(Range<usize>, Glyph)> = Vec::new();
    // A letter alone may be the first half of `x-ray`.
    for word in runs(glyphs, |c| c.is_ascii_alphabetic()).into_iter().filter(|word| word.len() > 1) {
        let letter = letter(glyphs, &word);
        let near = row.last().is_none_or(|(last, _)| is_near(glyphs.get(last.end..word.start).unwrap_or_default()));
        if letter.is_none() || !near {
            out.extend(join(glyphs, &std::mem::take(&mut row)));
        }
        row.extend(letter.map(|g| (word, g)));
    }
    out.extend(join(glyphs, &row));
    out
}

/// The letter a radio word stands for, at the place of the whole word.
fn letter(glyphs: &[Glyph], word: &Range<usize>) -> Option<Glyph> {
    let of_word = glyphs.get(word.clone())?;
    let letters: Vec<u8> = of_word.iter().filter_map(|g| u8::try_from(u32::from(g.c)).ok()).collect();
    let x_ray = letters.eq_ignore_ascii_case(b"ray");
    let (start, end) = place(of_word).filter(|_| is_spoken(word_key(&letters)))?;
    let c = if x_ray { 'x' } else { of_word.first()?.c.to_ascii_lowercase() };
    Some(Glyph { c, start, end })
}

/// Whether two words with this between them follow one another; the `x` of `x-ray` counts as nothing.
fn is_near(gap: &[Glyph]) -> bool {
    let marks = gap.iter().filter(|g| !matches!(g.c, 'x' | 'X'));
    let most = if gap.iter().any(|g| is_point(g.c)) { BETWEEN_SENTENCES } else { SEPARATOR };
    marks.clone().count() <= most && !marks.clone().any(|g| g.c.is_alphanumeric())
}

/// Whether a mark may stand between spelled words as it does between plain ones.
fn is_point(c: char) -> bool {
    matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '"' | '(' | ')')
}

fn join(glyphs: &[Glyph], row: &[(Range<usize>, Glyph)]) -> Option<(Range<usize>, Vec<Glyph>)> {
    let (first, last) = (row.first()?, row.last()?);
    if row.len() < SPELLED {
        return None;
    }
    let gap = |a: &Range<usize>, b: &Range<usize>| glyphs.get(a.end..b.start).unwrap_or_default();
    let gaps = || row.windows(2).map(|p| if let [(a, _), (b, _)] = p { gap(a, b) } else { &[] });
    let least = gaps().map(<[Glyph]>::len).min().unwrap_or(0);
    let is_stroke = |g: &Glyph| matches!(g.c, '/' | '|' | '\\');
    let stroked = gaps().any(|gap| gap.iter().any(is_stroke));
    let mut out = vec![first.1];
    for (gap, (_, letter)) in gaps().zip(row.iter().skip(1)) {
        if let Some((start, end)) = place(gap).filter(|_| gap.len() > least && letter.c != 'x') {
            let points = || gap.iter().filter(|g| is_point(g.c));
            out.extend(points());
            // Where strokes stand between words, a point alone stands inside of one, as in `it's`.
            if gap.iter().any(is_stroke) || !stroked || points().next().is_none() {
                out.push(Glyph { c: ' ', start, end });
            }
        }
        out.push(*letter);
    }
    Some((first.0.start..last.0.end, out))
}

#[cfg(test)]
mod tests {
    use super::super::glyph::{glyphs, replace};
    use super::*;

    fn read(text: &str) -> String {
        let g = glyphs(text);
        replace(&g, spelled(&g)).0.iter().map(|g| g.c).collect()
    }

    #[test]
    fn radio_words_become_letters() {
        assert_eq!(read("say India Golf November Oscar Romeo Echo / Alpha Lima Lima!"), "say ignore all!");
        assert_eq!(read("echo-x-ray-papa-lima-oscar-delta-echo"), "explode");
        assert_eq!(read("echo, xray, papa, lima, oscar, delta, echo"), "explode");
        let marked = "India Tango ' Sierra / Golf Oscar Oscar Delta . / Delta Oscar , / Golf Oscar ! / Golf Oscar";
        assert_eq!(read(marked), "it's good. do, go! go");
    }

    #[test]
    fn a_few_of_them_are_words() {
        for text in [
            "Hotel Victoria, November: Oscar and Charlie, India",
            "alpha bravo charlie delta echo",
            "Mike, Oscar, Romeo and Papa",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
