//! The reading of a text that LlamaFirewall gives Prompt Guard: words that spaces were put into are whole again.

use super::tokenizer::Tokenizer;

/// `text` without white space, tokenized, and put together with one space where white space stood before a token. `None`
/// when a token cannot be found again in the text, as after normalization; LlamaFirewall reads the original then.
pub(super) fn squeezed(text: &str, tokenizer: &Tokenizer) -> Option<String> {
    let mut bare = String::with_capacity(text.len());
    // The byte in `bare` of each character that white space stands before.
    let mut after_space = Vec::new();
    let mut space = false;
    for c in text.chars() {
        if is_space(c) {
            space = true;
            continue;
        }
        if space {
            after_space.push(bare.len());
        }
        space = false;
        bare.push(c);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for piece in tokenizer.pieces(&bare).ok()? {
        let start = from + bare.get(from..)?.find(&piece)?;
        // A piece of nothing at the end has no character to stand before.
        if start >= bare.len() {
            return None;
        }
        if after_space.binary_search(&start).is_ok() {
            out.push(' ');
        }
        out.push_str(&piece);
        from = start + piece.len();
    }
    Some(out)
}

/// White space as Python's `str.isspace` has it: four control characters more.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}
