//! A vocabulary from its parts, as GGUF files and `tokenizer.json` hold them.

use std::collections::HashMap;

use super::control::{self, Control};
use super::vocab::{Arena, Standing, Vocab, quote};
use super::{PreTokenizer, TokenId, Tokenizer, byte_map};
use crate::error::{Error, Result};

/// The parts of a vocabulary as a GGUF file holds them.
#[derive(Clone, Debug)]
pub struct VocabParts<'a> {
    /// Text of each token in id order: text tokens in GPT-2's byte alphabet, all others as they are.
    pub tokens: Vec<&'a str>,
    /// llama.cpp's token types (1 text, 2 unknown, 3 control, 4 added by a user, 5 unused, 6 byte), one for each token.
    /// Without them every token is text unless its name has the form of a control token, `<|name|>`.
    pub token_types: Option<Vec<i32>>,
    /// `left right` in GPT-2's byte alphabet, in the order in which they apply.
    pub merges: Vec<&'a str>,
    /// The pattern that cuts text into pieces.
    pub pre: PreTokenizer,
    /// Beginning of sequence.
    pub bos: Option<TokenId>,
    /// End of sequence; a stop.
    pub eos: Option<TokenId>,
    /// End of turn; a stop.
    pub eot: Option<TokenId>,
    /// End of message; a stop.
    pub eom: Option<TokenId>,
    /// Padding. Unlike the others it may name a text token: then it is ignored, as nothing here pads.
    pub pad: Option<TokenId>,
}

/// What the parts are called where they come from, for error messages.
pub(super) struct Fields {
    pub(super) tokens: &'static str,
    pub(super) types: &'static str,
    pub(super) merges: &'static str,
}

/// The names in GGUF files.
pub(super) const GGUF_FIELDS: Fields =
    Fields { tokens: "tokenizer.ggml.tokens", types: "tokenizer.ggml.token_type", merges: "tokenizer.ggml.merges" };

/// An id to which a file gives a meaning, and the key that does.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    pub(super) control: Control,
    pub(super) id: TokenId,
    pub(super) key: &'static str,
}

impl Tokenizer {
    /// Builds a tokenizer from the parts of a GGUF file.
    ///
    /// Mistakes that have one possible meaning are put right and told in [`Tokenizer::warnings`]: a token that merges
    /// need, or one of the 256 single bytes, is text whatever its type; a `bos` or stop id that is text is ignored when
    /// the vocabulary has such a control token by name.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] when the parts contradict each other (lengths, ids past the end, repeated or empty
    /// tokens, merges of absent tokens, a byte without a token, a `bos` or stop id that is text);
    /// [`crate::Kind::Limit`] past the limits.
    pub fn from_parts(parts: &VocabParts<'_>) -> Result<Self> {
        Self::build(parts, &[], &GGUF_FIELDS, Vec::new())
    }

    /// [`Tokenizer::from_parts`] with more stops, under other names, after earlier warnings.
    pub(super) fn build(
        parts: &VocabParts<'_>,
        more_stops: &[Declared],
        fields: &Fields,
        mut warnings: Vec<String>,
    ) -> Result<Self> {
        let standings = standings(parts, fields, &mut warnings)?;
        let mut arena = Arena::with_room_for(parts.tokens.len(), fields.tokens)?;
        for (text, standing) in parts.tokens.iter().zip(standings) {
            arena.push(standing, fields.tokens, |out| {
                if standing == Standing::Text {
                    return byte_map::decode(text, out).map_err(|error| error.context(quote(text)));
                }
                out.extend_from_slice(text.as_bytes());
                Ok(())
            })?;
        }
        let vocab = Vocab::listed(arena, fields.tokens, &parts.merges, fields.merges)?;
        let mut declared: Vec<Declared> = [
            (Control::BeginOfText, parts.bos, "tokenizer.ggml.bos_token_id"),
            (Control::EndOfText, parts.eos, "tokenizer.ggml.eos_token_id"),
            (Control::Eot, parts.eot, "tokenizer.ggml.eot_token_id"),
            (Control::Eom, parts.eom, "tokenizer.ggml.eom_token_id"),
            (Control::Pad, parts.pad, "tokenizer.ggml.padding_token_id"),
        ]
        .into_iter()
        .filter_map(|(control, id, key)| Some(Declared { control, id: id?, key }))
        .collect();
        declared.extend_from_slice(more_stops);
        Self::assemble(vocab, parts.pre, &declared, warnings)
    }
}

/// What each token may be used for. A name in the form of a control token is one whatever the file says of it; what
/// merging needs is text whatever the file says of it.
fn standings(parts: &VocabParts<'_>, fields: &Fields, warnings: &mut Vec<String>) -> Result<Vec<Standing>> {
    let types = parts.token_types.as_deref();
    if let Some(types) = types.filter(|types| types.len() != parts.tokens.len()) {
        let (types, tokens) = (types.len(), parts.tokens.len());
        return Err(Error::corrupt(format!(
            "{}: {types} entries; expected {tokens}, one for each token",
            fields.types
        )));
    }
    let mut standings = Vec::with_capacity(parts.tokens.len());
    let mut doubtful = HashMap::new();
    for (at, text) in parts.tokens.iter().enumerate() {
        let declared = types.map_or(Some(1), |types| types.get(at).copied()).unwrap_or(0);
        let standing = match declared {
            1..=6 if control::is_control_name(text) => Standing::Control,
            1 | 6 => Standing::Text,
            4 => Standing::Added,
            2 | 3 | 5 => Standing::Control,
            other => {
                let what = format!("{}[{at}]: token type {other}; expected 1 to 6", fields.types);
                return Err(Error::corrupt(what));
            }
        };
        if standing != Standing::Text && !control::is_control_name(text) {
            doubtful.insert(*text, at);
        }
        standings.push(standing);
    }
    if doubtful.is_empty() {
        return Ok(standings);
    }
    let mut needed: Vec<usize> = Vec::new();
    let is_byte = |text: &str| {
        let mut chars = text.chars();
        chars.next().and_then(byte_map::byte_of).is_some() && chars.next().is_none()
    };
    needed.extend(doubtful.iter().filter(|(text, _)| is_byte(text)).map(|(_, &at)| at));
    let mut joined = String::new();
    for (left, right) in parts.merges.iter().filter_map(|merge| merge.split_once(' ')) {
        joined.clear();
        joined.extend([left, right]);
        needed.extend([left, right, &joined].iter().filter_map(|text| doubtful.get(*text)));
    }
    needed.sort_unstable();
    needed.dedup();
    for &at in &needed {
        if let Some(standing) = standings.get_mut(at) {
            *standing = Standing::Text;
        }
    }
    if let Some(&first) = needed.first() {
        let (field, count) = (fields.types, needed.len());
        warnings.push(format!("{field}: {count} tokens that merging needs are not marked as text, the first is {first}; they are used as text"));
    }
    Ok(standings)
}
