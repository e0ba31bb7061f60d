//! Characters as decimal or octal numbers (`104 111 119 32 …`), found where a row of them reads as language.

use std::ops::Range;

use super::chars::is_alphanumeric;
use super::glyph::{Glyph, is_space, runs};
use super::words::{is_english, is_wordlike};

/// So many numbers in a row may be a text.
pub(super) const NUMBERS: usize = 8;
/// The longest separator between two of them.
const SEPARATOR: usize = 3;

/// Whether a number of so many digits may stand for a character.
pub(super) fn is_code(digits: usize, value: u32) -> bool {
    (1..=3).contains(&digits) && matches!(value, 9 | 10 | 13 | 32..=255)
}

/// The rows of numbers that are texts.
pub(super) fn find(glyphs: &[Glyph]) -> Vec<(Range<usize>, String)> {
    let mut out = Vec::new();
    let mut row: Vec<(Range<usize>, u32)> = Vec::new();
    for word in runs(glyphs, is_alphanumeric) {
        let code = code(glyphs.get(word.clone()).unwrap_or_default());
        let near = row.last().is_none_or(|(last, _)| is_near(glyphs.get(last.end..word.start).unwrap_or_default()));
        if code.is_none() || !near {
            out.extend(read(glyphs, &std::mem::take(&mut row)));
        }
        row.extend(code.map(|code| (word, code)));
    }
    out.extend(read(glyphs, &row));
    out
}

fn code(word: &[Glyph]) -> Option<u32> {
    if word.len() > 3 {
        return None;
    }
    let value = word.iter().try_fold(0, |n, g| if g.c.is_ascii() { Some(n * 10 + g.c.to_digit(10)?) } else { None })?;
    is_code(word.len(), value).then_some(value)
}

fn is_near(gap: &[Glyph]) -> bool {
    let fits = |c: char| is_space(c) || matches!(c, ',' | ';' | '-' | '/' | '.' | '|' | ':' | '\\' | '_' | '+');
    gap.len() <= SEPARATOR && gap.iter().all(|g| fits(g.c))
}

fn read(glyphs: &[Glyph], row: &[(Range<usize>, u32)]) -> Option<(Range<usize>, String)> {
    let (first, last) = (row.first()?, row.last()?);
    if row.len() < NUMBERS {
        return None;
    }
    let text = text(row.iter().map(|(_, code)| Some(*code)))
        .or_else(|| text(row.iter().map(|(word, code)| octal(glyphs.get(word.clone())?, *code))))?;
    Some((first.0.start..last.0.end, text))
}

/// The number that the same digits are in the octal system.
fn octal(word: &[Glyph], code: u32) -> Option<u32> {
    let wanted = word.len() >= 2 && word.iter().all(|g| matches!(g.c, '0'..='7'));
    wanted.then(|| code / 100 * 64 + code / 10 % 10 * 8 + code % 10).filter(|n| *n < 256)
}

/// The characters of the codes, when they are a text. Codes above 127 are bytes of UTF-8, or else of Latin-1.
fn text(codes: impl Iterator<Item = Option<u32>>) -> Option<String> {
    let bytes: Option<Vec<u8>> = codes.map(|code| u8::try_from(code?).ok()).collect();
    let bytes = bytes?;
    let latin = |bytes: &[u8]| bytes.iter().map(|b| char::from(*b)).collect();
    let text = String::from_utf8(bytes).unwrap_or_else(|e| latin(e.as_bytes()));
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    (is_english(text.chars()) || is_wordlike(&text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::glyph::glyphs;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        find(&glyphs(text)).into_iter().map(|(_, text)| text).collect()
    }

    fn written(text: &str, by: &str, code: impl Fn(u8) -> String) -> String {
        text.bytes().map(code).collect::<Vec<_>>().join(by)
    }

    #[test]
    fn codes_are_read_however_they_are_set_apart() {
        for by in [" ", ",", ", ", "; ", "-", "\n", " | "] {
            let text = written("Feed the cat at noon.", by, |b| b.to_string());
            assert_eq!(found(&format!("ASCII: {text} (end)")), ["Feed the cat at noon."], "{text}");
        }
        assert_eq!(found(&written("FEED THE CAT", " ", |b| b.to_string())), ["FEED THE CAT"]);
        assert_eq!(found(&written("feed the cat", " ", |b| format!("{b:03}"))), ["feed the cat"]);
        assert_eq!(found(&written("feed the cat", " ", |b| format!("{b:03o}"))), ["feed the cat"]);
        assert_eq!(found(&written("dónde está el museo", " ", |b| b.to_string())), ["dónde está el museo"]);
    }

    #[test]
    fn tables_and_lists_of_numbers_are_none() {
        for text in [
            "65 70 75 80 85 90 95 100 105 110 115 120",
            "118 122 115 120 119 121 117 116 112 111",
            "10 20 30 40 50 60 70 80 90 100",
            "192.168.100.101 and 192.168.100.102, 10.32.45.99",
            "rgb(112, 128, 144), rgb(105, 105, 105), rgb(119, 136, 153)",
            "978-3-16-148410-0, 978-0-306-40615-7",
            "52.5200, 13.4050; 48.8566, 2.3522; 40.71, 74.00",
            "99 98 97 96 95 94 93 92 91 90 89 88",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
