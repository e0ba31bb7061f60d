//! Meta's cuts before tokenizing: at every 400,000 characters, and in runs longer than 25,000 blanks or non-blanks.

use super::classes::is_python_space;

/// `TIKTOKEN_MAX_ENCODE_CHARS` of Meta's tokenizer.
const MAX_CHARS: usize = 400_000;

/// `MAX_NO_WHITESPACES_CHARS` of Meta's tokenizer.
const MAX_RUN: usize = 25_000;

/// Hands the parts of `text` to `part`, in order; joined they are `text` again.
pub(super) fn cut<'t>(text: &'t str, mut part: impl FnMut(&'t str)) {
    // A text of so few bytes has no more characters and cannot reach either bound.
    if text.len() <= MAX_RUN {
        return part(text);
    }
    let (mut start, mut chars, mut run, mut blank) = (0, 0, 0, false);
    for (at, c) in text.char_indices() {
        let now = is_python_space(c);
        if chars == MAX_CHARS {
            part(text.get(start..at).unwrap_or_default());
            (start, chars, run) = (at, 0, 0);
        }
        chars += 1;
        if run > 0 && now != blank {
            run = 1;
        } else if run == MAX_RUN {
            part(text.get(start..at).unwrap_or_default());
            (start, run) = (at, 1);
        } else {
            run += 1;
        }
        blank = now;
    }
    part(text.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meta's two loops, word for word over characters.
    fn by_definition(text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        for s in chars.chunks(400_000) {
            let (mut length, mut is_space, mut start) = (0, is_python_space(s[0]), 0);
            for i in 0..s.len() {
                let now = is_python_space(s[i]);
                if is_space ^ now {
                    length = 1;
                    is_space = now;
                } else {
                    length += 1;
                    if length > 25_000 {
                        parts.push(s[start..i].iter().collect());
                        start = i;
                        length = 1;
                    }
                }
            }
            parts.push(s[start..].iter().collect());
        }
        parts
    }

    #[test]
    fn cuts_are_where_the_reference_makes_them() {
        let words = "wörter und\tZeichen\u{1c} ".repeat(43_000);
        let texts = [
            "a".repeat(25_000),
            "a".repeat(25_001),
            " ".repeat(75_001),
            "ä".repeat(400_001),
            "a".repeat(20_000) + &" ".repeat(30_000) + &"\u{1c}x".repeat(200_000) + &"b".repeat(60_000),
            words.clone() + &"z".repeat(26_000) + &words,
        ];
        for text in texts {
            let mut parts = Vec::new();
            cut(&text, |part| parts.push(part.to_owned()));
            assert_eq!(parts, by_definition(&text));
        }
    }
}
