//! Bytes in, whole characters out: what turns a stream of tokens into a stream of text.

/// Holds back the bytes of a character that is not complete yet. Bytes that can never become one turn into U+FFFD,
/// one for each maximal part of a sequence, as in [`String::from_utf8_lossy`] and the Unicode standard.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    held: Vec<u8>,
}

impl Utf8Stream {
    /// An empty stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and appends to `out` every character that is now complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.held.extend_from_slice(bytes);
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
                    out.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    rest = after;
                    let Some(broken) = error.error_len() else { break };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = rest.get(broken..).unwrap_or_default();
                }
            }
        }
        let done = self.held.len() - rest.len();
        self.held.drain(..done);
    }

    /// Ends the stream: a character that was never completed becomes one U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if !self.held.is_empty() {
            self.held.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// How many bytes wait for the rest of their character: at most three.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_what_the_whole_gives() {
        let cases: [&[u8]; 7] = [
            "naïve 😀👍🏽 नमस्ते".as_bytes(),
            b"\xff\xfe ok \xc3",
            b"\xe2\x82",
            b"\xf0\x9f\x98",
            b"\xed\xa0\x80\xed\xbf\xbf",
            b"\xf4\x90\x80\x80 a\xe2\x28\xa1 \xc0\xaf",
            b"\xf0\x80\x80\x80\xe1\x80\xc2\xf1\x80",
        ];
        for bytes in cases {
            let whole = String::from_utf8_lossy(bytes);
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let (mut stream, mut out) = (Utf8Stream::new(), String::new());
                    for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        stream.push(part, &mut out);
                        assert!(stream.pending() <= 3);
                    }
                    stream.finish(&mut out);
                    assert_eq!(out, whole);
                }
            }
        }
    }
}
