//! Decides in one pass over the bytes whether a text has nothing to undo, so that no glyphs are needed: its views are then
//! the text itself and at most a copy with single spaces and typewriter marks. In doubt the answer is no, and the thorough
//! way decides.

use super::clean::plain_mark;
use super::decode::{self, GROUPS, SHORTEST_RUN};
use super::respell::{self, SINGLES};
use super::scramble::Stretch;
use super::spoken::Row;
use super::words::{readings, word_key};

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

/// What a character outside ASCII means for the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A letter that no step changes and that looks like no Latin one.
    Letter,
    /// A mark that stays as it is behind such a letter; `true` for one whose place among other marks may change.
    Mark(bool),
    /// A typographic mark with a typewriter form.
    Typographic,
    /// A symbol that no step changes.
    Symbol,
    /// Anything else: the thorough way decides.
    Unknown,
}

#[rustfmt::skip]
fn kind(c: char) -> Kind {
    match c {
        '\u{4E00}'..='\u{4E04}' | '\u{4E06}'..='\u{4E2A}' | '\u{4E2C}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{30FC}' | '\u{AC00}'..='\u{D7A3}'
        | '\u{0905}'..='\u{0939}' | '\u{0E01}'..='\u{0E30}' | '\u{0E32}' | '\u{0E40}'..='\u{0E46}' => Kind::Letter,
        '\u{0901}'..='\u{0903}' | '\u{093E}'..='\u{094C}' | '\u{0E31}' | '\u{0E34}'..='\u{0E37}' | '\u{0E47}'
        | '\u{0E4C}'..='\u{0E4E}' => Kind::Mark(false),
        '\u{094D}' | '\u{0E38}'..='\u{0E3A}' | '\u{0E48}'..='\u{0E4B}' => Kind::Mark(true),
        '\u{2010}'..='\u{2015}' | '\u{2018}'..='\u{201F}' | '\u{2212}' => Kind::Typographic,
        '\u{A1}'..='\u{A7}' | '\u{A9}' | '\u{AB}' | '\u{AE}' | '\u{B0}' | '\u{B1}' | '\u{B6}' | '\u{BB}' | '\u{BF}' | '\u{D7}'
        | '\u{F7}' | '\u{2022}' | '\u{2192}' | '\u{0964}' | '\u{0965}' | '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}'
        | '\u{1F300}'..='\u{1F64F}' | '\u{1F680}'..='\u{1F6FF}' | '\u{1F900}'..='\u{1F9FF}' => Kind::Symbol,
        _ => Kind::Unknown,
    }
}

/// Whether a character belongs to the letter before it.
pub(super) fn is_mark(c: char) -> bool {
    matches!(kind(c), Kind::Mark(_))
}

/// Whether compatibility forms and marks leave a character alone that stands without marks.
pub(super) fn keeps_form(c: char) -> bool {
    matches!(c, '\u{0391}'..='\u{03A1}' | '\u{03A3}'..='\u{03A9}' | '\u{03B1}'..='\u{03C9}' | '\u{0400}'..='\u{045F}'
        | '\u{05D0}'..='\u{05EA}' | '\u{0621}'..='\u{064A}')
        || matches!(kind(c), Kind::Letter | Kind::Symbol | Kind::Typographic)
}

/// Marks of one letter beyond this many are ornament.
const MARKS: u8 = 3;

/// What the respaced copy changes, or `None` when the text is not plain.
pub(super) fn scan(text: &str) -> Option<Vec<Change>> {
    let mut scan = Scan {
        text,
        bytes: text.as_bytes(),
        at: 0,
        changes: Vec::new(),
        singles: Singles::default(),
        stretch: Stretch::default(),
        row: Row::default(),
        groups: 0,
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
    (!scan.stretch.end()).then_some(scan.changes)
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    changes: Vec<Change>,
    singles: Singles,
    stretch: Stretch,
    row: Row,
    /// How many words in a row may each hold an encoded byte.
    groups: usize,
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
                if self.peek()?.is_alphanumeric() {
                    seen |= self.word()?;
                } else {
                    self.high()?;
                }
            } else {
                self.stand_in()?;
                self.at += 1;
            }
        }
        self.undecoded(start, seen)
    }

    /// A run of letters and digits.
    fn word(&mut self) -> Option<u8> {
        let start = self.at;
        let (mut chars, mut seen) = (0usize, 0);
        while let Some(&b) = self.bytes.get(self.at) {
            let class = class(b);
            if class & LETTER != 0 {
                chars += self.letters()?;
            } else if class & DIGIT != 0 {
                self.stand_in()?;
                self.at += 1;
                chars += 1;
            } else if class & HIGH != 0 && self.peek()?.is_alphanumeric() {
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
        Some(seen)
    }

    /// A run of ASCII letters, weighed as a word that may have been turned or stand for a letter.
    fn letters(&mut self) -> Option<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = rest.iter().position(|b| class(*b) & LETTER == 0).unwrap_or(rest.len());
        self.at += n;
        let readings = readings(word_key(rest.get(..n).unwrap_or_default()));
        (!self.stretch.word(readings) && !self.row.word(n, readings)).then_some(n)
    }

    /// A stand-in between two letters makes the text one to be read as such.
    fn stand_in(&self) -> Option<()> {
        let between = class(*self.bytes.get(self.at)?) & STAND_IN != 0
            && self.at.checked_sub(1).is_some_and(|before| self.class_at(before) & LETTER != 0)
            && self.class_at(self.at + 1) & LETTER != 0;
        (!between).then_some(())
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
        if seen & HIGH == 0 && decode::may_be_group(token.as_bytes()) {
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
        // A dash counts: it may become a letter of base64.
        let letters = bytes.iter().filter(|b| class(**b) & (BASE64 | HIGH) != 0).count();
        if seen & ESCAPE == 0 && letters < SHORTEST_RUN {
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
    use super::super::clean::clean;
    use super::super::confusable;
    use super::super::glyph::glyphs;
    use super::super::hidden::is_ignorable;
    use super::*;

    fn unchanged(text: &str) -> bool {
        let (now, hidden) = clean(&glyphs(text));
        hidden.is_empty() && now.iter().map(|g| g.c).eq(text.chars())
    }

    #[test]
    fn what_counts_as_unchanged_is_changed_by_no_step() {
        let mut wrong = Vec::new();
        for c in ('\u{80}'..=char::MAX).filter(|c| matches!(kind(*c), Kind::Letter | Kind::Symbol)) {
            let fine = unchanged(&c.to_string())
                && (kind(c) == Kind::Symbol || !confusable::has_latin_twin(c))
                && !is_ignorable(c)
                && !c.is_whitespace()
                && !unicode_normalization::char::is_combining_mark(c)
                && (kind(c) == Kind::Letter || !c.is_alphanumeric());
            if !fine {
                wrong.push(c);
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn what_keeps_its_form_is_what_normalizing_leaves_alone() {
        use unicode_normalization::UnicodeNormalization;
        for c in ('\u{80}'..=char::MAX).filter(|c| keeps_form(*c) && *c != '\u{2011}') {
            assert!([c].into_iter().nfkc().eq([c]), "{c:?}");
            assert!(!([c].into_iter().nfkd().next().unwrap().is_ascii()), "{c:?}");
        }
        // The one that does not stands for a dash either way.
        assert_eq!(plain_mark('\u{2011}'), '-');
    }

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
        for text in ["b0mb", "i g n o r e", "a\u{200B}b", "%69%67%6e%6f%72%65", "a\u{301}", "caf\u{e9}"] {
            assert!(scan(text).is_none(), "{text}");
        }
    }
}
