//! Where an answer may be cut into units, decided character by character, so that it cannot depend on how the text arrived.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use crate::error::{Error, Result};
use crate::guard::policy::StreamPolicy;
use crate::guard::text::is_ignorable;

/// A sentence shorter than this waits for the next one.
const LEAST_CHARS: usize = 24;
/// A unit and its look-ahead never need more than this; a text that would is refused (rows of invisible characters).
const MOST_BYTES: usize = 32 * 1024;
/// The look-ahead ends at a space, but goes no further than this many letters to reach one.
const TO_SPACE: usize = 48;
/// Weights are quarters of a letter: what is not shown and what is blank weighs nothing, a symbol one, a letter four.
const LETTER: usize = 4;

/// A unit to judge: it ends at `cut`, and the text up to `end` is its look-ahead. Both are bytes of the scanned text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) cut: usize,
    pub(super) end: usize,
}

/// Scans the text after the last cut. It is fed the same growing text again and again and remembers how far it got.
pub(super) struct Cutter {
    stride: usize,
    ahead: usize,
    start: usize,
    pos: usize,
    chars: usize,
    prev: Option<char>,
    sentence: Sentence,
    not_before: usize,
    cut: Option<usize>,
    weight: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sentence {
    Open,
    /// After `.`, `!`, `?`: ends if a space follows.
    Perhaps,
    /// After a full-width terminator: ends here.
    Ended,
}

impl Cutter {
    pub(super) fn new(policy: &StreamPolicy) -> Self {
        Self {
            stride: policy.stride,
            ahead: policy.hold.saturating_mul(LETTER),
            start: 0,
            pos: 0,
            chars: 0,
            prev: None,
            sentence: Sentence::Open,
            not_before: 0,
            cut: None,
            weight: 0,
        }
    }

    /// The next unit of `text` whose look-ahead is complete, if there is one yet.
    ///
    /// # Errors
    /// [`crate::Kind::Limit`] when a unit does not end.
    pub(super) fn next(&mut self, text: &str) -> Result<Option<Window>> {
        while let Some(c) = text.get(self.pos..).and_then(|rest| rest.chars().next()) {
            if self.pos - self.start > MOST_BYTES {
                return Err(Error::limit(format!("{MOST_BYTES} bytes of the answer without a place to cut it")));
            }
            match self.cut {
                None if self.may_cut(text, c) => {
                    self.cut = Some(self.pos);
                    continue;
                }
                None => self.note(c),
                Some(cut) => {
                    let more = self.weight.saturating_sub(self.ahead);
                    if self.weight >= self.ahead && (c.is_whitespace() || more > TO_SPACE * LETTER) {
                        return Ok(Some(Window { cut, end: self.pos }));
                    }
                    self.weight += weigh(c);
                }
            }
            self.pos += c.len_utf8();
        }
        Ok(None)
    }

    /// The longest unit whose whole look-ahead is there already, ending and looking ahead at spaces; for a stream that has
    /// waited as long as it may. `None` when no text with its look-ahead is complete.
    pub(super) fn early(&self, text: &str) -> Option<Window> {
        if self.cut.is_some() {
            return None;
        }
        let waiting = text.get(self.start..)?;
        let mut weight = 0;
        let mut end = None;
        for (i, c) in waiting.char_indices().rev() {
            let at = self.start + i;
            if let Some(end) = end {
                if weight >= self.ahead && c.is_whitespace() && at >= self.not_before {
                    let long = waiting.get(..i)?.chars().count() >= LEAST_CHARS;
                    return (long && self.grapheme_ends(text, at, c)).then_some(Window { cut: at, end });
                }
                weight += weigh(c);
            } else if c.is_whitespace() {
                end = Some(at);
            }
        }
        None
    }

    /// How many characters a unit without a sentence end may have from now on.
    pub(super) fn set_stride(&mut self, stride: usize) {
        self.stride = stride;
    }

    /// Goes on behind a released unit.
    pub(super) fn restart(&mut self, at: usize) {
        self.start = at;
        self.not_before = at;
        self.rewind();
    }

    /// Looks for a later cut: something that must stay whole reaches to `end`. Each time the unit at least doubles, so a
    /// run that goes on and on is judged a few times and not at each step.
    pub(super) fn extend(&mut self, cut: usize, end: usize) {
        let doubled = self.start.saturating_add(cut.saturating_sub(self.start).saturating_mul(2));
        self.not_before = end.max(doubled);
        self.rewind();
    }

    /// The text before `by` was dropped; all places move.
    pub(super) fn shift(&mut self, by: usize) {
        self.start = self.start.saturating_sub(by);
        self.pos = self.pos.saturating_sub(by);
        self.not_before = self.not_before.saturating_sub(by);
        self.cut = self.cut.map(|c| c.saturating_sub(by));
    }

    fn rewind(&mut self) {
        self.pos = self.start;
        self.chars = 0;
        self.prev = None;
        self.sentence = Sentence::Open;
        self.cut = None;
        self.weight = 0;
    }

    fn note(&mut self, c: char) {
        self.chars += 1;
        self.sentence = match c {
            '.' | '!' | '?' | '…' => Sentence::Perhaps,
            '。' | '！' | '？' | '।' | '؟' | '۔' => Sentence::Ended,
            _ if is_closer(c) => self.sentence,
            _ => Sentence::Open,
        };
        self.prev = Some(c);
    }

    /// Whether the unit may end before `c`, the character at `pos`.
    fn may_cut(&self, text: &str, c: char) -> bool {
        if self.chars < LEAST_CHARS || self.pos < self.not_before {
            return false;
        }
        let wanted = match self.sentence {
            Sentence::Perhaps if c.is_whitespace() => true,
            Sentence::Ended if !is_closer(c) => true,
            _ if self.prev == Some('\n') && c != '\n' => true,
            _ if self.chars >= self.stride && c.is_whitespace() => true,
            _ if self.chars >= self.stride * 4 => true,
            _ => self.chars >= self.stride * 2 && c.is_alphanumeric() && self.at_word(text, c),
        };
        wanted && self.grapheme_ends(text, self.pos, c)
    }

    /// A border between words by UAX #29, for scripts that write without spaces. Asked before letters only: around a
    /// mark the answer would depend on what follows.
    fn at_word(&self, text: &str, c: char) -> bool {
        let back = text.get(self.start..self.pos).unwrap_or_default();
        let from = back.char_indices().rev().nth(32).map_or(self.start, |(i, _)| self.start + i);
        let tail = text.get(from..self.pos + c.len_utf8()).unwrap_or_default();
        tail.split_word_bound_indices().any(|(i, _)| from + i == self.pos)
    }

    /// Whether a grapheme cluster ends before `c`, the character at `pos`.
    fn grapheme_ends(&self, text: &str, pos: usize, c: char) -> bool {
        let unit = text.get(self.start..pos + c.len_utf8()).unwrap_or_default();
        let mut cursor = GraphemeCursor::new(pos - self.start, unit.len(), true);
        // The unit begins at a border of its own, so no earlier context can matter; an error counts as no border.
        cursor.is_boundary(unit, 0).unwrap_or(false)
    }
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '*' | '_')
}

fn weigh(c: char) -> usize {
    if c.is_alphanumeric() {
        LETTER
    } else if c.is_whitespace() || is_ignorable(c) || unicode_normalization::char::is_combining_mark(c) {
        0
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All units of a text, with the whole text known, as if nothing ever had to be extended.
    fn units(text: &str, policy: &StreamPolicy) -> Vec<String> {
        let mut cutter = Cutter::new(policy);
        let (mut out, mut start) = (Vec::new(), 0);
        while let Some(w) = cutter.next(text).unwrap() {
            assert!(start < w.cut && w.cut < w.end);
            out.push(text[start..w.cut].to_owned());
            start = w.cut;
            cutter.restart(start);
        }
        out.push(text[start..].to_owned());
        out
    }

    fn short() -> StreamPolicy {
        StreamPolicy { stride: 40, hold: 32, ..StreamPolicy::default() }
    }

    #[test]
    fn sentences_are_units() {
        let text = "The museum opens at 9.30 in the morning. It closes at 5 p.m. on Sundays, as always!  \
                    Tickets cost 12.50 for adults and nothing for children under six years of age.";
        let units = units(text, &short());
        assert_eq!(units[0], "The museum opens at 9.30 in the morning.");
        assert_eq!(units.concat(), text);
    }

    #[test]
    fn no_unit_ends_inside_a_grapheme_or_word() {
        let family = "\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}";
        let text =
            format!("{} {}", "extraordinarily longwinded sentence without any end ".repeat(6), family.repeat(40));
        let all = units(&text, &short());
        let borders: Vec<usize> = text.grapheme_indices(true).map(|(i, _)| i).collect();
        let mut at = 0;
        for unit in &all[..all.len() - 1] {
            at += unit.len();
            assert!(borders.contains(&at), "{at}");
            let (before, after) = text.split_at(at);
            let inside =
                before.ends_with(|c: char| c.is_alphabetic()) && after.starts_with(|c: char| c.is_alphabetic());
            assert!(!inside, "…{unit:?}|");
        }
    }

    #[test]
    fn scripts_without_spaces_are_cut_too() {
        assert!(units(&"博物館は九時に開館して夕方五時に閉館します".repeat(30), &short()).len() > 3);
    }

    #[test]
    fn units_do_not_depend_on_what_is_known_yet() {
        let text = "One sentence stands here. Another one follows it, and it is longer than the first one by far. \
                    Then a third!\nA line. And the rest of the text goes on for a while without any mark at all";
        let mut cutter = Cutter::new(&short());
        let (mut windows, mut start) = (Vec::new(), 0);
        for known in (0..=text.len()).filter(|i| text.is_char_boundary(*i)) {
            while let Some(w) = cutter.next(&text[..known]).unwrap() {
                windows.push(w);
                start = w.cut;
                cutter.restart(start);
            }
        }
        let mut whole = Cutter::new(&short());
        for w in &windows {
            assert_eq!(whole.next(text).unwrap(), Some(*w));
            whole.restart(w.cut);
        }
        assert_eq!(whole.next(text).unwrap(), None);
        assert!(windows.len() >= 3 && start > 0);
    }

    #[test]
    fn an_early_unit_has_its_whole_lookahead() {
        let text = "no sentence ends here and the words go on and on without any mark so that a unit is cut for the time alone";
        let long = StreamPolicy { stride: 4000, hold: 32, ..StreamPolicy::default() };
        for known in 0..=text.len() {
            let mut cutter = Cutter::new(&long);
            assert_eq!(cutter.next(&text[..known]).unwrap(), None);
            let Some(Window { cut, end }) = cutter.early(&text[..known]) else {
                assert!(known < LEAST_CHARS + 60, "{known}");
                continue;
            };
            let letters = text[cut..end].chars().filter(|c| c.is_alphanumeric()).count();
            assert!(letters >= 32 && cut >= LEAST_CHARS && end <= known, "{known}: {cut}..{end}");
            assert!(text[cut..].starts_with(' ') && text[end..].starts_with(' '));
        }
    }

    #[test]
    fn invisible_characters_cannot_fill_the_lookahead() {
        let text = format!("A sentence that has quite some length. and{}", "\u{200B}".repeat(2000));
        assert_eq!(units(&text, &short()).len(), 1);
        let endless = format!("A sentence that has quite some length. and{}", "\u{200B}".repeat(20_000));
        assert_eq!(Cutter::new(&short()).next(&endless).unwrap_err().kind(), crate::Kind::Limit);
    }
}
