//! Decides in one pass over the bytes whether a folded text ([`super::fold`]) has nothing more to undo, so that no glyphs are
//! needed: its clean view is then the text itself with single spaces. In doubt the answer is no, and the thorough way decides.

use std::ops::Range;

use super::bytes::{BASE64, DIGIT, ESCAPE, HIDDEN, HIGH, LETTER, SPACE, STAND_IN, class};
use super::chars::{Kind, is_alphabetic, is_alphanumeric, kind};
use super::columns::Apart;
use super::confusable::{self, Looks, looks};
use super::decode::{self, GROUPS, SHORTEST_RUN};
use super::respell::{self, SINGLES};
use super::sheet::offset;
use super::spoken::Row;
use super::words::{self, Odd, SHORTEST};
use super::{codes, morse, upside};

/// Marks of one letter beyond this many are ornament.
const MARKS: u8 = 3;

/// What a plain text may still hold: the disguises that ordinary text (`a+b`, names, code, tables) seems to wear, so they are
/// undone without the other steps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plain {
    /// The runs of white space that are not single spaces.
    pub(super) spaces: Vec<Range<u32>>,
    /// Whether digits and symbols stand in the place of letters.
    pub(super) stood_in: bool,
    /// Whether words are set apart in a row.
    pub(super) apart: bool,
    /// Whether rows of words are unknown.
    pub(super) odd: bool,
    /// Whether letters may stand upside down.
    pub(super) upside: bool,
}

/// `None` when the text is not plain.
pub(super) fn scan(text: &str) -> Option<Plain> {
    let mut scan = Scan { text, bytes: text.as_bytes(), ..Scan::default() };
    while let Some(&b) = scan.bytes.get(scan.at) {
        if class(b) & SPACE != 0 {
            scan.space();
        } else if class(b) & LETTER == 0 || !scan.plain_word()? {
            scan.token()?;
        }
    }
    let is_latin = scan.foreign > 0 && confusable::is_latin(scan.like, scan.foreign);
    scan.plain.upside = scan.exotic >= upside::TURNED;
    (!is_latin).then_some(scan.plain)
}

#[derive(Default)]
struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    plain: Plain,
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
    /// Where the last letter outside ASCII ends, with its marks, and how many marks there are.
    base_end: usize,
    marks: (u8, bool),
    /// How many words are of the scripts that have look-alikes, and how many of these look like Latin ones.
    foreign: usize,
    like: usize,
    /// How many characters may be turned ones.
    exotic: usize,
}

/// The letters of a word that have look-alikes: how many, of which script, and what they look like.
#[derive(Clone, Copy)]
struct Twins {
    count: usize,
    script: u32,
    mixed: bool,
    looks: Looks,
}

impl Scan<'_> {
    fn class_at(&self, at: usize) -> u8 {
        self.bytes.get(at).map_or(0, |b| class(*b))
    }

    fn space(&mut self) {
        let start = self.at;
        while self.class_at(self.at) & SPACE != 0 {
            self.at += 1;
        }
        if self.at - start > 1 || self.bytes.get(start) != Some(&b' ') {
            self.plain.spaces.push(offset(start)..offset(self.at));
        }
    }

    /// Takes a word of ordinary length between spaces, with one mark behind it at most: what most of a text is made of, and
    /// nothing but a word. `false` when something else comes next.
    fn plain_word(&mut self) -> Option<bool> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (n, key) = words::letters(rest);
        let end = n + usize::from(rest.get(n).is_some_and(|b| class(*b) == 0));
        let word = rest.get(..n).unwrap_or_default();
        let pair = matches!(word, [a, b] if !a.is_ascii_hexdigit() || !b.is_ascii_hexdigit());
        if !pair && !(SHORTEST..SHORTEST_RUN - 1).contains(&n) || rest.get(end) != Some(&b' ') {
            return Some(false);
        }
        self.weigh(word, key)?;
        self.at += end;
        if self.class_at(self.at + 1) & SPACE == 0 {
            self.at += 1;
        }
        self.singles.count = 0;
        (self.numbers, self.signs, self.groups) = (0, 0, 0);
        self.plain.apart |= self.apart.token(true);
        Some(true)
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
                let c = self.peek()?;
                if is_alphanumeric(c) {
                    seen |= self.word()?;
                } else {
                    self.high(c)?;
                }
            } else {
                self.stand_in();
                self.at += 1;
            }
        }
        self.plain.apart |= self.apart.token(self.has_letter);
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
        let mut twins = Twins { count: 0, script: 0, mixed: false, looks: Looks::Latin };
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
            } else if class & HIGH != 0 {
                let c = self.peek()?;
                if !is_alphanumeric(c) {
                    break;
                }
                lettered = true;
                seen |= HIGH;
                if kind(c) == Kind::Twin {
                    twins.take(c);
                    self.at += c.len_utf8();
                } else {
                    self.high(c)?;
                }
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
        if twins.count > 0 {
            self.foreign += 1;
            self.like += usize::from(twins.looks != Looks::Foreign);
        }
        self.has_letter |= lettered;
        self.numbers = if !lettered && codes::is_code(chars, value) { self.numbers + 1 } else { 0 };
        let mixed = twins.mixed || twins.count > 0 && twins.count < chars;
        (self.numbers < codes::NUMBERS && !mixed).then_some(seen)
    }

    /// A run of ASCII letters.
    fn letters(&mut self) -> Option<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (n, key) = words::letters(rest);
        self.at += n;
        self.weigh(rest.get(..n).unwrap_or_default(), key).map(|()| n)
    }

    /// Weighs a run of ASCII letters as a word that may be misspelled or stand for a letter.
    fn weigh(&mut self, word: &[u8], key: u64) -> Option<()> {
        self.plain.odd |= self.odd.word(word, key);
        (!self.row.word(word.len(), key)).then_some(())
    }

    /// A stand-in between two letters makes the text one to be read as such.
    fn stand_in(&mut self) {
        self.plain.stood_in |= self.class_at(self.at) & STAND_IN != 0
            && self.at.checked_sub(1).is_some_and(|before| self.class_at(before) & LETTER != 0)
            && self.class_at(self.at + 1) & LETTER != 0;
    }

    /// The character outside ASCII that comes next.
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    /// Takes one character outside ASCII that has no look-alike.
    fn high(&mut self, c: char) -> Option<()> {
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
            Kind::Symbol => self.exotic += usize::from(upside::is_exotic(c)),
            Kind::Twin | Kind::Typographic | Kind::Unknown => return None,
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
        (!long || !is_encoded(token, seen)).then_some(())
    }
}

fn is_encoded(token: &str, seen: u8) -> bool {
    let runs = token.as_bytes().split(|b| class(*b) & BASE64 == 0);
    let mut long = runs.filter(|run| run.len() >= SHORTEST_RUN);
    if seen & ESCAPE == 0 || !decode::may_have_escapes(token.as_bytes()) {
        return long.any(decode::is_encoded_run);
    }
    let chars: Vec<char> = token.chars().collect();
    chars.len() >= SHORTEST_RUN && decode::is_encoded_word(&chars)
}

impl Twins {
    fn take(&mut self, c: char) {
        // The letters of each of these scripts have the upper byte of their numbers in common.
        let script = u32::from(c) >> 8;
        self.mixed |= self.count > 0 && self.script != script;
        self.script = script;
        self.looks = self.looks.max(looks(c));
        self.count += 1;
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
        self.letters += usize::from(is_alphabetic(c));
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
            "Где находится музей? Там есть и касса.",
            "איפה המוזיאון ומתי הוא נפתח",
            "क्या संग्रहालय रविवार को खुला है।",
            "博物馆星期天几点开门。日曜日は何時に開きますか。",
            "{\"id\": 12345, \"name\": \"Ann\", \"open\": [1, 2, 3]}",
        ] {
            assert!(scan(text).is_some(), "{text}");
        }
        assert!(scan("b0mb").is_some_and(|plain| plain.stood_in) && !scan("4 b 2 c").unwrap().stood_in);
        for text in ["i g n o r e", "a\u{200B}b", "%69%67%6e%6f%72%65", "a\u{301}", "caf\u{e9}", "сор", "сlick", "дом1"]
        {
            assert!(scan(text).is_none(), "{text}");
        }
    }
}
