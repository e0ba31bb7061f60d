//! Morse code, found where a row of dots and dashes reads as language.

use std::ops::Range;

use super::glyph::{Glyph, is_space, place, runs};
use super::words::{is_english, is_known, is_wordlike};

/// So many signs in a row may be a text.
pub(super) const SIGNS: usize = 6;
/// Of so many signs one may be unknown.
const KNOWN: usize = 8;

/// Whether a sign of the code may be written so.
pub(super) fn is_mark(c: char) -> bool {
    is_dot(c) || is_dash(c)
}

/// A dash is any of the typographic ones, which are plain in a clean text and may not be elsewhere.
pub(super) fn is_dash(c: char) -> bool {
    matches!(c, '-' | '_' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn is_dot(c: char) -> bool {
    matches!(c, '.' | '*' | '\u{B7}' | '\u{2022}' | '\u{2219}' | '\u{25CF}' | '\u{30FB}' | '\u{22C5}')
}

/// What may stand between signs, beside white space.
pub(super) fn is_stroke(c: char) -> bool {
    matches!(c, '/' | '|' | '\\')
}

/// The stretches of Morse code with their texts: rows of words that are nothing but signs and strokes.
pub(super) fn find(glyphs: &[Glyph]) -> Vec<(Range<usize>, String)> {
    let inside = |token: &Range<usize>| {
        let mut of = glyphs.get(token.clone()).unwrap_or_default().iter();
        of.all(|g| is_mark(g.c) || is_stroke(g.c))
    };
    let tokens = runs(glyphs, |c| !is_space(c));
    let rows = tokens.chunk_by(|a, b| inside(a) && inside(b));
    let whole = |row: &[Range<usize>]| Some(row.first()?.start..row.last()?.end);
    rows.filter(|row| row.first().is_some_and(inside)).filter_map(whole).filter_map(|run| read(glyphs, &run)).collect()
}

fn read(glyphs: &[Glyph], run: &Range<usize>) -> Option<(Range<usize>, String)> {
    let signs: Vec<Range<usize>> = runs(glyphs.get(run.clone())?, is_mark)
        .into_iter()
        .map(|sign| run.start + sign.start..run.start + sign.end)
        .collect();
    if signs.len() < SIGNS {
        return None;
    }
    let gaps: Vec<&[Glyph]> = signs
        .windows(2)
        .map(|p| if let [a, b] = p { glyphs.get(a.end..b.start).unwrap_or_default() } else { &[] })
        .collect();
    let ends_word = word_gap(&gaps);
    let mut text = String::new();
    let mut unknown = 0;
    for (i, sign) in signs.iter().enumerate() {
        let letter = letter(glyphs.get(sign.clone())?);
        unknown += usize::from(letter.is_none());
        text.push(letter.unwrap_or(' '));
        if gaps.get(i).is_some_and(|gap| ends_word(gap)) {
            text.push(' ');
        }
    }
    let (first, last) = without_dashes(&signs, &mut text)?;
    place(glyphs.get(first..last)?)?;
    let told = unknown * KNOWN <= signs.len() && (is_english(text.chars()) || is_wordlike(&text));
    told.then_some((first..last, text))
}

/// Where the code begins and ends. A sign of one mark at either end may be a dash or a full stop of the text around it; it
/// is, when the word is a known one without it alone.
fn without_dashes(signs: &[Range<usize>], text: &mut String) -> Option<(usize, usize)> {
    let (mut first, mut last) = (signs.first()?.start, signs.last()?.end);
    let one = |sign: Option<&Range<usize>>| sign.is_some_and(|s| s.len() == 1);
    let known = |word: &str| is_known(word.as_bytes());
    let word = text.rsplit(' ').next().unwrap_or_default();
    if one(signs.last())
        && (word.len() == 1 || word.get(..word.len().saturating_sub(1)).is_some_and(known) && !known(word))
    {
        text.pop();
        last = signs.get(signs.len().checked_sub(2)?)?.end;
    }
    let word = text.split(' ').next().unwrap_or_default();
    if one(signs.first()) && (word.len() == 1 || word.get(1..).is_some_and(known) && !known(word)) {
        text.remove(0);
        first = signs.get(1)?.start;
    }
    Some((first, last))
}

/// Which gaps stand between words: those with strokes, or where strokes stand between all letters those with more of them,
/// or where there are none the longer ones.
fn word_gap(gaps: &[&[Glyph]]) -> impl Fn(&[Glyph]) -> bool + use<> {
    let strokes = |gap: &[Glyph]| gap.iter().filter(|g| is_stroke(g.c)).count();
    let stroked = gaps.iter().filter(|gap| strokes(gap) > 0).count();
    let least = gaps.iter().map(|gap| gap.len()).min().unwrap_or(0);
    let (any, most) = (stroked > 0, stroked * 5 > gaps.len() * 3);
    move |gap| match (any, most) {
        (true, true) => strokes(gap) > 1 || strokes(gap) == 0,
        (true, false) => strokes(gap) > 0,
        _ => gap.len() > least || gap.iter().any(|g| g.c == '\n'),
    }
}

/// The letter of a sign. A sign is a number: its dots and dashes are binary digits behind a one.
fn letter(sign: &[Glyph]) -> Option<char> {
    if sign.len() > 6 {
        return None;
    }
    let number = sign.iter().fold(1u8, |n, g| n << 1 | u8::from(is_dash(g.c)));
    SIGNS_OF.iter().find(|(code, _)| *code == number).map(|(_, c)| *c)
}

#[rustfmt::skip]
const SIGNS_OF: [(u8, char); 48] = [
    (0b10, 'e'), (0b11, 't'), (0b100, 'i'), (0b101, 'a'), (0b110, 'n'), (0b111, 'm'), (0b1000, 's'), (0b1001, 'u'),
    (0b1010, 'r'), (0b1011, 'w'), (0b1100, 'd'), (0b1101, 'k'), (0b1110, 'g'), (0b1111, 'o'), (0b1_0000, 'h'),
    (0b1_0001, 'v'), (0b1_0010, 'f'), (0b1_0100, 'l'), (0b1_0110, 'p'), (0b1_0111, 'j'), (0b1_1000, 'b'), (0b1_1001, 'x'),
    (0b1_1010, 'c'), (0b1_1011, 'y'), (0b1_1100, 'z'), (0b1_1101, 'q'), (0b11_1111, '0'), (0b10_1111, '1'),
    (0b10_0111, '2'), (0b10_0011, '3'), (0b10_0001, '4'), (0b10_0000, '5'), (0b11_0000, '6'), (0b11_1000, '7'),
    (0b11_1100, '8'), (0b11_1110, '9'), (0b101_0101, '.'), (0b111_0011, ','), (0b100_1100, '?'), (0b101_1110, '\''),
    (0b110_1011, '!'), (0b11_0010, '/'), (0b111_1000, ':'), (0b110_1010, ';'), (0b110_0001, '-'), (0b101_0010, '"'),
    (0b101_1010, '@'), (0b11_0001, '='),
];

#[cfg(test)]
mod tests {
    use super::super::glyph::glyphs;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        find(&glyphs(text)).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn morse_is_read_however_it_is_set() {
        let plain = ["the cat is on the roof"];
        for text in [
            "Read: - .... . / -.-. .- - / .. ... / --- -. / - .... . / .-. --- --- ..-. Thanks",
            "- .... .   -.-. .- -   .. ...   --- -.   - .... .   .-. --- --- ..-.",
            "−/····/·//−·−·/·−/−//··/···//−−−/−·//−/····/·//·−·/−−−/−−−/··−·",
            "_ **** * | _*_* *_ _ | ** *** | ___ _* | _ **** * | *_* ___ ___ **_*",
            "- .... .\n-.-. .- -\n.. ...\n--- -.\n- .... .\n.-. --- --- ..-.",
        ] {
            assert_eq!(found(text), plain, "{text}");
        }
        assert_eq!(found("it - - .... . / -.-. .- - / .. ... / --- -. / - .... . / .-. --- --- ..-. - so"), plain);
        // Another language, told by the make of its words.
        assert_eq!(found("-.. --- -. -.. . / . ... - .- / . .-.. / -- ..- ... . ---"), ["donde esta el museo"]);
    }

    #[test]
    fn rules_lists_and_leaders_are_no_morse() {
        for text in [
            "- - - - - - - -\n* * * * * * *\n. . . . . . . . .",
            "Chapter 1 ........ 5\nChapter 2 ........ 9",
            "|---|---|---|---|---|---|---|\n| - | - | -- | - | - | -- | - |",
            "-- -- -- -- -- -- -- -- -- --",
            "... --- ...",
            "a - b - c - d - e - f - g",
            "--- ... --- ... --- ... --- ... --- ... ---",
            ". .. ... .... ..... ......",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
