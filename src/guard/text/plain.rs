//! Decides in one pass over the bytes whether a text has nothing to undo, so that no glyphs are needed: its views are then
//! the text itself and at most a copy with single spaces and typewriter marks. In doubt the answer is no, and the thorough
//! way decides.

use super::chars::{Kind, is_alphanumeric, kind};
use super::clean::plain_mark;
use super::columns::Apart;
use super::decode::{self, GROUPS, SHORTEST_RUN};
use super::respell::{self, SINGLES};
use super::spoken::Row;
use super::words::{Odd, word_key};
use super::{codes, morse};

/// Bytes of the text that read as one other ASCII character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) to: u8,
}

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const SPACE: u8 = 4;
/// A control character that is no white space: it is not shown.
const HIDDEN: u8 = 8;
const HIGH: u8 = 16;
/// May stand for a letter.
const STAND_IN: u8 = 32;
/// May open an escape.
const ESCAPE: u8 = 64;
/// Belongs to the alphabets of base64.
const BASE64: u8 = 128;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let mut class = match b {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER | BASE64,
            b'0'..=b'9' => DIGIT | BASE64,
            b'\t'..=b'\r' | b' ' => SPACE,
            0..=31 | 127 => HIDDEN,
            128..=255 => HIGH,
            b'%' | b'\\' | b'&' => ESCAPE,
            b'+' | b'/' | b'-' | b'_' | b'=' => BASE64,
            _ => 0,
        };
        if matches!(b, b'0' | b'1' | b'3' | b'4' | b'5' | b'7'..=b'9' | b'!' | b'|' | b'@' | b'$' | b'+') {
            class |= STAND_IN;
        }
        table[i] = class;
        i += 1;
    }
    table
}

fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

/// Marks of one letter beyond this many are ornament.
const MARKS: u8 = 3;

/// A plain text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// What the respaced copy changes.
    pub(super) changes: Vec<Change>,
    /// Whether digits and symbols stand in the place of letters, or rows of words are unknown or set apart: the disguises
    /// that ordinary text (`a+b`, names, code, tables) seems to wear, so they are undone without the other steps.
    pub(super) respell: bool,
}

/// `None` when the text is not plain.
pub(super) fn scan(text: &str) -> Option<Plain> {
    let mut scan = Scan {
        text,
        bytes: text.as_bytes(),
        at: 0,
        changes: Vec::new(),
        singles: Singles::default(),
        odd: Odd::default(),
        row: Row::default(),
        apart: Apart::default(),
        groups: 0,
        numbers: 0,
        signs: 0,
        has_letter: false,
        respell: false,
        base_end: 0,
        marks: (0, false),
    };
    while let Some(&b) = scan.bytes.get(scan.at) {
        if class(b) & SPACE != 0 {
            scan.space();
        } else {
            scan.token()?;
        }
    }
    Some(Plain { changes: scan.changes, respell: scan.respell })
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    changes: Vec<Change>,
    singles: Singles,
    odd: Odd,
    row: Row,
    apart: Apart,
    /// How many words in a row may each hold an encoded byte.
    groups: usize,
    /// How many numbers in a row may each be a character.
    numbers: usize,
    /// How many signs in a row may be Morse.
    signs: usize,
    /// Whether the token has a letter.
    has_letter: bool,
    respell: bool,
    /// Where the last letter outside ASCII ends, with its marks, and how many marks there are.
    base_end: usize,
    marks: (u8, bool),
}

impl Scan<'_> {
    fn class_at(&self, at: usize) -> u8 {
        self.bytes.get(at).map_or(0, |b| class(*b))
    }

    fn change(&mut self, start: usize, to: u8) {
        let place = |i: usize| u32::try_from(i).unwrap_or(u32::MAX);
        self.changes.push(Change { start: place(start), end: place(self.at), to });
    }

    fn space(&mut self) {
        let start = self.at;
        while self.class_at(self.at) & SPACE != 0 {
            self.at += 1;
        }
        if self.at - start > 1 || self.bytes.get(start) != Some(&b' ') {
            self.change(start, b' ');
        }
    }

    /// One run without white space.
    fn token(&mut self) -> Option<()> {
        let start = self.at;
        let mut seen = 0;
        self.has_letter = false;
        while let Some(&b) = self.bytes.get(self.at) {
            let class = class(b);
            seen |= class;
            if class & (LETTER | DIGIT) != 0 {
                seen |= self.word()?;
            } else if class & (SPACE | HIDDEN | HIGH | STAND_IN) == 0 {
                self.at += 1;
            } else if class & SPACE != 0 {
                break;
            } else if class & HIDDEN != 0 {
                return None;
            } else if class & HIGH != 0 {
                if is_alphanumeric(self.peek()?) {
                    seen |= self.word()?;
                } else {
                    self.high()?;
                }
            } else {
                self.stand_in();
                self.at += 1;
            }
        }
        self.respell |= self.apart.token(self.has_letter);
        if seen & (LETTER | DIGIT) != 0 || self.has_letter {
            self.signs = 0;
        } else {
            self.sign(start)?;
        }
        self.undecoded(start, seen)
    }

    /// `None` when the token that ends here makes a row of signs that may be Morse.
    fn sign(&mut self, start: usize) -> Option<()> {
        let token = self.text.get(start..self.at)?;
        if token.chars().all(|c| morse::is_mark(c) || morse::is_stroke(c)) {
            self.signs += token.split(morse::is_stroke).filter(|sign| !sign.is_empty()).count();
        } else {
            self.signs = 0;
        }
        (self.signs < morse::SIGNS).then_some(())
    }

    /// A run of letters and digits.
    fn word(&mut self) -> Option<u8> {
        let start = self.at;
        let (mut chars, mut seen) = (0usize, 0);
        let (mut lettered, mut value) = (false, 0u32);
        while let Some(&b) = self.bytes.get(self.at) {
            let class = class(b);
            if class & LETTER != 0 {
                lettered = true;
                chars += self.letters()?;
            } else if class & DIGIT != 0 {
                self.stand_in();
                self.at += 1;
                chars += 1;
                value = value.saturating_mul(10).saturating_add(u32::from(b & 15));
            } else if class & HIGH != 0 && is_alphanumeric(self.peek()?) {
                lettered = true;
                seen |= HIGH;
                self.high()?;
                chars += 1;
            } else {
                break;
            }
        }
        if chars == 1 {
            let one = self.text.get(start..self.at)?.chars().next()?;
            self.singles.single(self.text, start..self.at, one)?;
        } else {
            self.singles.count = 0;
        }
        self.has_letter |= lettered;
        self.numbers = if !lettered && codes::is_code(chars, value) { self.numbers + 1 } else { 0 };
        (self.numbers < codes::NUMBERS).then_some(seen)
    }

    /// A run of ASCII letters, weighed as a word that may be misspelled or stand for a letter.
    fn letters(&mut self) -> Option<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = rest.iter().position(|b| class(*b) & LETTER == 0).unwrap_or(rest.len());
        self.at += n;
        let word = rest.get(..n).unwrap_or_default();
        let key = word_key(word);
        self.respell |= self.odd.word(word, key);
        (!self.row.word(n, key)).then_some(n)
    }

    /// A stand-in between two letters makes the text one to be read as such.
    fn stand_in(&mut self) {
        self.respell |= self.class_at(self.at) & STAND_IN != 0
            && self.at.checked_sub(1).is_some_and(|before| self.class_at(before) & LETTER != 0)
            && self.class_at(self.at + 1) & LETTER != 0;
    }

    /// The character outside ASCII that comes next.
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    /// Takes one character outside ASCII.
    fn high(&mut self) -> Option<()> {
        let c = self.peek()?;
        let start = self.at;
        self.at += c.len_utf8();
        match kind(c) {
            Kind::Letter => {
                self.marks = (0, false);
                self.base_end = self.at;
            }
            Kind::Mark(moves) => {
                let (n, moved) = self.marks;
                if self.base_end != start || n >= MARKS || (moves && moved) {
                    return None;
                }
                self.marks = (n + 1, moved || moves);
                self.base_end = self.at;
            }
            Kind::Typographic => self.change(start, u8::try_from(u32::from(plain_mark(c))).ok()?),
            Kind::Symbol => {}
            Kind::Unknown => return None,
        }
        Some(())
    }

    /// `None` when the token that ends here holds an encoded text or is the last of a row that may.
    fn undecoded(&mut self, start: usize, seen: u8) -> Option<()> {
        let token = self.text.get(start..self.at)?;
        // A pair of hexadecimal digits that begins with a letter ends after it, but for commas.
        let word = matches!(token.as_bytes(), [a, _, c, ..] if class(*a) & LETTER != 0 && !matches!(c, b',' | b';'));
        if !word && seen & HIGH == 0 && decode::may_be_group(token.as_bytes()) {
            self.groups += 1;
            return (self.groups < GROUPS).then_some(());
        }
        self.groups = 0;
        let long = token.len() >= SHORTEST_RUN;
        (!long || !Self::encoded(token, seen)).then_some(())
    }

    fn encoded(token: &str, seen: u8) -> bool {
        let bytes = token.as_bytes();
        if seen & (HIGH | ESCAPE) == 0 {
            let runs = bytes.split(|b| class(*b) & BASE64 == 0);
            return runs.filter(|run| run.len() >= SHORTEST_RUN).any(decode::is_encoded_run);
        }
        // A dash may become a letter of base64; it and its neighbours in the table begin with one byte.
        let may_be = |c: char| {
            class(u8::try_from(u32::from(c)).unwrap_or(0)) & BASE64 != 0 || ('\u{2000}'..'\u{3000}').contains(&c)
        };
        if seen & ESCAPE == 0 && token.split(|c| !may_be(c)).all(|run| run.len() < SHORTEST_RUN) {
            return false;
        }
        let chars: Vec<char> = token.chars().map(plain_mark).collect();
        chars.len() >= SHORTEST_RUN && decode::is_encoded_word(&chars)
    }
}

/// Single letters in a row, counted as [`respell::spelled`] counts them.
#[derive(Default)]
struct Singles {
    count: usize,
    letters: usize,
    digits: usize,
    end: usize,
}

impl Singles {
    /// `None` when the row is long enough to be a spelled word.
    fn single(&mut self, text: &str, at: std::ops::Range<usize>, c: char) -> Option<()> {
        if self.count == 0 || !respell::is_near(text.get(self.end..at.start)?.chars()) {
            (self.count, self.letters, self.digits) = (0, 0, 0);
        }
        self.count += 1;
        self.letters += usize::from(c.is_alphabetic());
        self.digits += usize::from(c.is_ascii_digit());
        self.end = at.end;
        (self.count < SINGLES || !respell::is_spelled(self.letters, self.digits)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::chars::unchanged;
    use super::super::confusable;
    use super::*;

    #[test]
    fn marks_stay_behind_every_letter_of_their_script() {
        for block in ['\u{0900}'..='\u{097F}', '\u{0E00}'..='\u{0E7F}'] {
            let of = |wanted: fn(Kind) -> bool| block.clone().filter(move |c| wanted(kind(*c))).collect::<Vec<char>>();
            let marks = of(|k| matches!(k, Kind::Mark(_)));
            assert!(marks.iter().all(|m| unicode_normalization::char::is_combining_mark(*m)));
            assert!(marks.iter().all(|m| !confusable::has_latin_twin(*m)));
            for letter in of(|k| k == Kind::Letter) {
                for a in &marks {
                    for b in &marks {
                        let text = format!("{letter}{a}{b}");
                        assert!(scan(&text).is_none() || unchanged(&text), "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn ordinary_text_is_plain() {
        for text in [
            "When does the museum open? I'd like 2 tickets for 12.50, please.",
            "fn main() {\n\tlet plan = read(&path)?;\n}",
            "“It’s here” – she said",
            "क्या संग्रहालय रविवार को खुला है।",
            "博物馆星期天几点开门。日曜日は何時に開きますか。",
            "{\"id\": 12345, \"name\": \"Ann\", \"open\": [1, 2, 3]}",
        ] {
            assert!(scan(text).is_some(), "{text}");
        }
        assert!(scan("b0mb").is_some_and(|plain| plain.respell) && !scan("4 b 2 c").unwrap().respell);
        for text in ["i g n o r e", "a\u{200B}b", "%69%67%6e%6f%72%65", "a\u{301}", "caf\u{e9}"] {
            assert!(scan(text).is_none(), "{text}");
        }
    }
}
