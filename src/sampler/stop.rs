//! Stop strings, found however the text is cut: what might be the beginning of one waits.

use crate::error::{Error, Result};

const MAX_STOPS: usize = 64;
const MAX_BYTES: usize = 1024;

/// Watches a stream of text for the first occurrence of any of a few strings (Knuth, Morris and Pratt's automaton for
/// each, so the work is linear in the text).
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<Stop>,
    held: String,
    stopped: Option<usize>,
}

#[derive(Clone, Debug)]
struct Stop {
    bytes: Vec<u8>,
    /// For each matched length less one: the longest shorter beginning that is also an end.
    fallback: Vec<usize>,
    matched: usize,
}

impl StopStrings {
    /// A watcher for `stops`; none is fine.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] for an empty string, [`crate::Kind::Limit`] for more than 64 strings or more than
    /// 1,024 bytes in one.
    pub fn new<S: AsRef<str>>(stops: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut watched = Vec::new();
        for (at, stop) in stops.into_iter().enumerate() {
            let bytes = stop.as_ref().as_bytes();
            if bytes.is_empty() {
                return Err(Error::argument(format!("stop string {at} is empty; expected 1 to {MAX_BYTES} bytes")));
            }
            if bytes.len() > MAX_BYTES || at >= MAX_STOPS {
                return Err(Error::limit(format!(
                    "stop string {at} with {} bytes; the limits are {MAX_STOPS} strings of {MAX_BYTES} bytes",
                    bytes.len()
                )));
            }
            watched.push(Stop::new(bytes));
        }
        Ok(StopStrings { stops: watched, ..Self::default() })
    }

    /// Takes the next text and appends to `out` what can no longer be part of a stop string. When one is complete,
    /// the text before it is released and the rest dropped, and its number comes back, now and at every later call.
    /// Of several that end at the same place the longest counts.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<usize> {
        if self.stopped.is_some() {
            return self.stopped;
        }
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            let complete = self.stops.iter_mut().map(|stop| stop.step(byte)).enumerate();
            let longest = complete.filter_map(|(number, length)| Some((length?, number))).max_by_key(|found| found.0);
            if let Some((length, number)) = longest {
                self.held.push_str(text.get(..=at).unwrap_or_default());
                let before = self.held.len().saturating_sub(length);
                out.push_str(self.held.get(..before).unwrap_or_default());
                self.held.clear();
                self.stopped = Some(number);
                return self.stopped;
            }
        }
        self.held.push_str(text);
        let waiting = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        // A stop string begins with the beginning of a character, so this is a boundary already.
        let free = self.held.floor_char_boundary(self.held.len().saturating_sub(waiting));
        out.push_str(self.held.get(..free).unwrap_or_default());
        self.held.drain(..free);
        None
    }

    /// Ends the text: what waited was no stop string after all.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.reset();
    }

    /// Ready for another text.
    pub fn reset(&mut self) {
        self.held.clear();
        self.stopped = None;
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
    }

    /// How many bytes wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.held.len()
    }
}

impl Stop {
    fn new(bytes: &[u8]) -> Self {
        let mut stop = Stop { bytes: bytes.to_vec(), fallback: vec![0], matched: 0 };
        // The table is the automaton run over the string itself, one place behind.
        for &byte in bytes.iter().skip(1) {
            stop.advance(byte);
            stop.fallback.push(stop.matched);
        }
        stop.matched = 0;
        stop
    }

    /// Takes a byte; the length when the string is complete.
    fn step(&mut self, byte: u8) -> Option<usize> {
        self.advance(byte);
        (self.matched == self.bytes.len()).then_some(self.matched)
    }

    fn advance(&mut self, byte: u8) {
        while self.bytes.get(self.matched) != Some(&byte) && self.matched > 0 {
            self.matched = self.fallback.get(self.matched - 1).copied().unwrap_or(0);
        }
        if self.bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text released and the stop found when `text` comes in pieces of `size` characters.
    fn run(stops: &[&str], text: &str, size: usize) -> (String, Option<usize>) {
        let mut watcher = StopStrings::new(stops).unwrap();
        let (mut out, mut found) = (String::new(), None);
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            let before = out.len();
            found = watcher.push(&piece.iter().collect::<String>(), &mut out);
            assert!(found.is_none() || watcher.pending() == 0);
            assert!(text.as_bytes()[before..].starts_with(&out.as_bytes()[before..]));
        }
        if found.is_none() {
            watcher.finish(&mut out);
        }
        (out, found)
    }

    /// The occurrence that ends first, the longest of those that end there.
    fn by_definition<'t>(stops: &[&str], text: &'t str) -> (&'t str, Option<usize>) {
        for end in 0..=text.len() {
            let ending = stops.iter().enumerate().filter(|(_, stop)| text.as_bytes()[..end].ends_with(stop.as_bytes()));
            if let Some((number, stop)) = ending.max_by_key(|(_, stop)| stop.len()) {
                return (&text[..end - stop.len()], Some(number));
            }
        }
        (text, None)
    }

    #[test]
    fn any_cut_finds_what_the_whole_has() {
        let sets: [&[&str]; 6] =
            [&["aab"], &["aabaaa", "ba"], &["END", "\n\nUser:"], &["é", "né!"], &["abab", "bab", "b"], &[]];
        let texts =
            ["aaaaab", "aabaabaaa", "x END", "a\n\n\nUser: b", "cane né!e", "xabababx", "aab", "EN", "", "naïve né"];
        for stops in sets {
            for text in texts {
                for size in 1..=text.len().max(1) {
                    let (out, found) = run(stops, text, size);
                    let (before, number) = by_definition(stops, text);
                    assert_eq!((out.as_str(), found), (before, number), "{stops:?} in {text:?} by {size}");
                }
            }
        }
    }

    #[test]
    fn the_beginning_of_a_stop_waits_and_no_more() {
        let mut watcher = StopStrings::new(["</end>"]).unwrap();
        let mut out = String::new();
        assert_eq!(watcher.push("text </en", &mut out), None);
        assert_eq!((out.as_str(), watcher.pending()), ("text ", 4));
        assert_eq!(watcher.push("</e", &mut out), None);
        assert_eq!((out.as_str(), watcher.pending()), ("text </en", 3));
        assert_eq!(watcher.push("nd> more", &mut out), Some(0));
        assert_eq!(watcher.push("still more", &mut out), Some(0));
        assert_eq!(out, "text </en");
    }

    #[test]
    fn empty_many_and_long_stops_are_refused() {
        let kind = |stops: Vec<String>| StopStrings::new(stops).unwrap_err().kind();
        assert_eq!(kind(vec!["a".into(), String::new()]), crate::Kind::Argument);
        assert_eq!(kind(vec!["a".into(); 65]), crate::Kind::Limit);
        assert_eq!(kind(vec!["a".repeat(1025)]), crate::Kind::Limit);
    }
}
