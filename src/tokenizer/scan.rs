//! The pre-tokenizer patterns as hand-written scanners: linear, without look-ahead engines, equal to the regexes.

use super::classes::{Class, Classes};

/// Which pattern cuts text into the pieces that BPE then merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreTokenizer {
    /// Llama 4's pattern (`O200K_PATTERN` in Meta's `models/llama4/tokenizer.py`).
    Llama4,
    /// Llama 3's pattern (`pat_str` in Meta's `models/llama3/tokenizer.py`).
    Llama3,
}

impl PreTokenizer {
    /// The pattern that GGUF files mean by a name under `tokenizer.ggml.pre`; `None` for names of other patterns.
    /// `default` is no pattern's name: see [`super::Tokenizer::from_gguf`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            // OpenAI's pattern of that name is the one that Meta took over.
            "llama4" | "gpt-4o" => Some(Self::Llama4),
            "llama-bpe" | "llama3" | "llama-v3" => Some(Self::Llama3),
            _ => None,
        }
    }

    /// The name under which GGUF files hold it as `tokenizer.ggml.pre`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama4 => "llama4",
            Self::Llama3 => "llama-bpe",
        }
    }

    /// The pattern that a regex is: Meta's own, or what llama.cpp and those who took it from there put in its place.
    pub(super) fn from_regex(regex: &str) -> Option<Self> {
        let tail = regex.replace(LLAMA_CPP_CONTRACTION, CONTRACTION);
        match tail.as_str() {
            LLAMA4_REGEX | LLAMA_CPP_LLAMA4_REGEX => Some(Self::Llama4),
            LLAMA3_REGEX => Some(Self::Llama3),
            _ => None,
        }
    }

    /// Hands the pieces of `text` to `piece`, in order; joined they are `text` again.
    pub(super) fn pieces<'t>(self, classes: &Classes, text: &'t str, mut piece: impl FnMut(&'t str)) {
        let scan = Scan { classes, text };
        let mut start = 0;
        while let Some((class, after)) = scan.at(start) {
            let end = match self {
                Self::Llama4 => scan.llama4(start, class, after),
                Self::Llama3 => scan.llama3(start, class, after),
            };
            // Each alternative takes a character or more; `max` makes an end to the loop independent of that.
            let end = end.max(after);
            piece(text.get(start..end).unwrap_or_default());
            start = end;
        }
    }
}

const CONTRACTION: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

const LLAMA_CPP_CONTRACTION: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

const LLAMA4_REGEX: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// llama.cpp's approximation, which loses marks; whoever names it means Llama 4's pattern.
const LLAMA_CPP_LLAMA4_REGEX: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const LLAMA3_REGEX: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// A text and the classes of its characters. Positions are byte offsets on character boundaries.
struct Scan<'a, 't> {
    classes: &'a Classes,
    text: &'t str,
}

impl Scan<'_, '_> {
    /// Class of the character at `at` and the position after it; `None` at the end.
    #[inline]
    fn at(&self, at: usize) -> Option<(Class, usize)> {
        let c = self.char_at(at)?;
        Some((self.classes.of(c), at + c.len_utf8()))
    }

    #[inline]
    fn char_at(&self, at: usize) -> Option<char> {
        match self.text.as_bytes().get(at) {
            Some(&byte) if byte < 0x80 => Some(byte as char),
            Some(_) => self.text.get(at..)?.chars().next(),
            None => None,
        }
    }

    fn byte_at(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// End of the longest run from `at` whose classes satisfy `member`.
    #[inline]
    fn run(&self, mut at: usize, member: impl Fn(Class) -> bool) -> usize {
        while let Some((class, after)) = self.at(at)
            && member(class)
        {
            at = after;
        }
        at
    }

    /// End of the piece that begins at `start`, in the order of Llama 4's alternatives.
    #[inline]
    fn llama4(&self, start: usize, class: Class, after: usize) -> usize {
        if let Some(end) = self.cased_word(start, class, after) {
            return self.contraction(end).unwrap_or(end);
        }
        match class {
            Class::Number => self.digits(start),
            _ => self.symbols(start, class, after, b"\r\n/").unwrap_or_else(|| self.blanks(start)),
        }
    }

    /// End of the piece that begins at `start`, in the order of Llama 3's alternatives.
    #[inline]
    fn llama3(&self, start: usize, class: Class, after: usize) -> usize {
        if let Some(end) = self.contraction(start) {
            return end;
        }
        let letters = if class.may_lead_word() { after } else { start };
        let end = self.run(letters, Class::is_letter);
        if end > letters {
            return end;
        }
        match class {
            Class::Number => self.digits(start),
            _ => self.symbols(start, class, after, b"\r\n").unwrap_or_else(|| self.blanks(start)),
        }
    }

    /// Llama 4's first two alternatives without their contraction: one optional leading character, then
    /// `opens* ends+` or else `opens+ ends*`.
    #[inline]
    fn cased_word(&self, start: usize, class: Class, after: usize) -> Option<usize> {
        if class.may_lead_word() {
            let led = self.opens_then_ends(after);
            if led.ends_in_ending {
                return Some(led.end);
            }
            // A mark may lead, but it may also be the word; the first alternative is tried both ways before the second.
            if class == Class::Mark {
                return Some(after);
            }
            return (led.end > after).then_some(led.end);
        }
        let bare = self.opens_then_ends(start);
        (bare.end > start).then_some(bare.end)
    }

    /// What greedy matching with backtracking makes of `opens* ends+` at `at`, or of `opens+` where that fails.
    #[inline]
    fn opens_then_ends(&self, at: usize) -> Word {
        let mut end = at;
        let mut last_ending = None;
        while let Some((class, after)) = self.at(end)
            && class.opens_word()
        {
            if class.ends_word() {
                last_ending = Some(after);
            }
            end = after;
        }
        // The opening run stops at a lower-case letter: no need to give anything back.
        let lower = self.run(end, Class::ends_word);
        if lower > end {
            return Word { end: lower, ends_in_ending: true };
        }
        // It gives back characters until one can end a word.
        last_ending.map_or(Word { end, ends_in_ending: false }, |ending| Word { end: ending, ends_in_ending: true })
    }

    /// End of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `at`. Case folding lets U+017F stand for s.
    #[inline]
    fn contraction(&self, at: usize) -> Option<usize> {
        if self.byte_at(at) != b'\'' {
            return None;
        }
        match (self.byte_at(at + 1) | 0x20, self.byte_at(at + 2) | 0x20) {
            (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
            (b'r' | b'v', b'e') | (b'l', b'l') => Some(at + 3),
            _ => (self.char_at(at + 1) == Some('\u{17f}')).then_some(at + 3),
        }
    }

    /// `\p{N}{1,3}`.
    fn digits(&self, start: usize) -> usize {
        let mut end = start;
        for _ in 0..3 {
            match self.at(end) {
                Some((Class::Number, after)) => end = after,
                _ => break,
            }
        }
        end
    }

    /// ` ?[^\s\p{L}\p{N}]+` and then any of `tail`.
    #[inline]
    fn symbols(&self, start: usize, class: Class, after: usize, tail: &[u8]) -> Option<usize> {
        let first = if class == Class::Space && self.byte_at(start) == b' ' { after } else { start };
        let mut end = self.run(first, Class::is_symbol);
        if end == first {
            return None;
        }
        while self.text.as_bytes().get(end).is_some_and(|byte| tail.contains(byte)) {
            end += 1;
        }
        Some(end)
    }

    /// `\s*[\r\n]+`, else `\s+(?!\S)`, else `\s+`.
    fn blanks(&self, start: usize) -> usize {
        let (mut end, mut last, mut after_newline) = (start, start, None);
        while let Some((class, after)) = self.at(end)
            && class.is_space()
        {
            last = end;
            end = after;
            if class == Class::Newline {
                after_newline = Some(after);
            }
        }
        match after_newline {
            Some(newline) => newline,
            // The last blank is left for the word that follows, unless it is the only one.
            None if end < self.text.len() && last > start => last,
            None => end,
        }
    }
}

struct Word {
    end: usize,
    ends_in_ending: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pre: PreTokenizer, text: &str) -> Vec<&str> {
        let classes = Classes::new();
        let mut out = Vec::new();
        pre.pieces(&classes, text, |piece| out.push(piece));
        assert_eq!(out.concat(), text);
        out
    }

    #[test]
    fn llama4_gives_back_until_a_word_can_end() {
        // Expected pieces follow from the regex by hand; whole ids are compared in `tests/data/tokenizer`.
        let cases: [(&str, &[&str]); 12] = [
            ("HTTPServer", &["HTTPServer"]),
            ("getUserByID", &["get", "User", "By", "ID"]),
            ("中AB", &["中", "AB"]),
            ("\u{301}AB", &["\u{301}", "AB"]),
            ("!\u{301}a", &["!\u{301}a"]),
            ("IT'S it's it'ſ", &["IT'S", " it's", " it'ſ"]),
            ("a  b", &["a", " ", " b"]),
            ("a \n \n  b", &["a", " \n \n", " ", " b"]),
            ("1234567", &["123", "456", "7"]),
            (" //\n/x", &[" //\n/", "x"]),
            ("x   ", &["x", "   "]),
            ("\u{a0}!", &["\u{a0}", "!"]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(PreTokenizer::Llama4, text), expected, "{text:?}");
        }
    }

    #[test]
    fn llama3_takes_a_contraction_by_itself() {
        let cases: [(&str, &[&str]); 6] = [
            ("it's 'Twas", &["it", "'s", " '", "Twas"]),
            ("'Rex'll", &["'Re", "x", "'ll"]),
            ("HTTPServer", &["HTTPServer"]),
            ("नमस्ते", &["नमस", "\u{94d}त", "\u{947}"]),
            ("a//\n/x", &["a", "//\n", "/x"]),
            ("\t\tif", &["\t", "\tif"]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(PreTokenizer::Llama3, text), expected, "{text:?}");
        }
    }
}
