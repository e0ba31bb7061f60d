//! Sentences written one word to a line or a cell, with numbers and marks between the words.

use std::ops::Range;

use super::chars::is_alphanumeric;
use super::glyph::{Glyph, is_space, place, runs};
use super::words::is_frequent;

/// So many words set apart in a row may be a sentence …
pub(super) const APART: usize = 6;
/// … when one of so many is such as hold sentences together.
const HELD: usize = 5;

/// Words that stand alone between marks or numbers, counted as they come.
#[derive(Default)]
pub(super) struct Apart {
    count: usize,
    after_word: bool,
}

impl Apart {
    /// Takes the next run without white space, and whether it has a letter. `true` when it makes a row long enough.
    #[inline]
    pub(super) fn token(&mut self, has_letter: bool) -> bool {
        if has_letter {
            self.count = if self.after_word { 1 } else { self.count + 1 };
        }
        self.after_word = has_letter;
        self.count >= APART
    }
}

/// Sentences whose words are set apart, with nothing but spaces between their words.
pub(super) fn joined(glyphs: &[Glyph]) -> Vec<(Range<usize>, Vec<Glyph>)> {
    let mut out = Vec::new();
    let mut row: Vec<Range<usize>> = Vec::new();
    let mut apart = Apart::default();
    let has_letter = |token: &Range<usize>| {
        let of = glyphs.get(token.clone()).unwrap_or_default();
        of.iter().any(|g| is_alphanumeric(g.c) && !g.c.is_ascii_digit())
    };
    for token in runs(glyphs, |c| !is_space(c)) {
        let worded = has_letter(&token);
        apart.token(worded);
        if worded {
            if apart.count == 1 {
                out.extend(sentence(glyphs, &std::mem::take(&mut row)));
            }
            row.push(token);
        }
    }
    out.extend(sentence(glyphs, &row));
    out
}

fn sentence(glyphs: &[Glyph], row: &[Range<usize>]) -> Option<(Range<usize>, Vec<Glyph>)> {
    let (first, last) = (row.first()?, row.last()?);
    let letters = |token: &Range<usize>| -> Vec<u8> {
        let of = glyphs.get(token.clone()).unwrap_or_default();
        of.iter().filter_map(|g| u8::try_from(u32::from(g.c)).ok().filter(u8::is_ascii_alphabetic)).collect()
    };
    let holding = row.iter().filter(|token| is_frequent(&letters(token))).count();
    if row.len() < APART || holding * HELD < row.len() {
        return None;
    }
    let mut out: Vec<Glyph> = Vec::new();
    let mut end = first.start;
    for token in row {
        if let Some((start, end)) = glyphs.get(end..token.start).and_then(place) {
            out.push(Glyph { c: ' ', start, end });
        }
        out.extend(glyphs.get(token.clone()).unwrap_or_default());
        end = token.end;
    }
    Some((first.start..last.end, out))
}

#[cfg(test)]
mod tests {
    use super::super::glyph::{glyphs, replace};
    use super::*;

    fn read(text: &str) -> String {
        let g = glyphs(text);
        replace(&g, joined(&g)).0.iter().map(|g| g.c).collect()
    }

    #[test]
    fn sentences_in_cells_and_numbered_lines_are_read() {
        let table = "| 1 | Where |\n| 2 | do |\n| 3 | I |\n| 4 | buy |\n| 5 | a |\n| 6 | ticket? |";
        assert_eq!(read(table), "| 1 | Where do I buy a ticket? |");
        assert_eq!(read("1. where\n2. do\n3. I\n4. buy\n5. a\n6. ticket"), "1. where do I buy a ticket");
        assert_eq!(read("where / do / I / buy / a / ticket"), "where do I buy a ticket");
    }

    #[test]
    fn lists_tables_and_json_stay() {
        for text in [
            "1. milk\n2. bread\n3. butter\n4. apples\n5. cheese\n6. salt\n7. rice",
            "| Name | Age |\n| Ann | 31 |\n| Bob | 42 |\n| Eve | 27 |\n| Tom | 51 |\n| Ida | 19 |",
            "Mon 9 Tue 10 Wed 11 Thu 12 Fri 13 Sat 14 Sun 15",
            "{ \"width\": 12, \"height\": 9, \"depth\": 4, \"x\": 1, \"y\": 2, \"z\": 3 }",
            "ISBN 978-3-16-148410-0 Hardback 24.90 Paperback 12.90 Audio 9.90 Film 5.00 Map 3.00",
            "1 across: 5 down: 7 left: 3 right: 9 top: 2 bottom: 4",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
