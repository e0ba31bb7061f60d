//! Text to ids and back.

mod bpe;
mod byte_map;
mod classes;
mod control;
mod cuts;
mod index;
mod json;
mod metadata;
mod parts;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
mod tiktoken;
mod unicode_16;
mod utf8;
mod vocab;

use std::collections::HashMap;
use std::path::Path;

pub(crate) use classes::is_python_space;
pub use control::Control;
pub use json::JsonVocab;
pub use parts::VocabParts;
pub use scan::PreTokenizer;
pub use utf8::Utf8Stream;

use crate::error::{Error, Result};
use crate::files::read_regular;
use classes::Classes;
use parts::{Declared, Fields};
use vocab::{Standing, Vocab, quote_bytes};

/// A token's number: its row in the embedding and its place among the logits.
pub type TokenId = u32;

/// A byte-level BPE vocabulary with its pattern. Immutable; share it between threads as it is.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    classes: Classes,
    pre: PreTokenizer,
    controls: Vec<(Control, TokenId)>,
    stops: Vec<TokenId>,
    warnings: Vec<String>,
}

const JSON_FIELDS: Fields = Fields {
    tokens: "tokenizer.json: model.vocab and added_tokens",
    types: "tokenizer.json: added_tokens",
    merges: "tokenizer.json: model.merges",
};

impl Tokenizer {
    /// Reads Meta's `tokenizer.model` (tiktoken's text format) and appends the special tokens of `family`.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] for bad base64, a rank that is missing, repeated or past the end, an empty, overlong
    /// or repeated token, or a byte without a token; [`crate::Kind::Limit`] past the limits.
    pub fn from_tiktoken(file: &[u8], family: PreTokenizer) -> Result<Self> {
        Self::assemble(tiktoken::parse(file, family)?, family, &[], Vec::new())
    }

    /// [`Tokenizer::from_tiktoken`] on a file.
    ///
    /// # Errors
    /// As there, [`crate::Kind::Io`], and [`crate::Kind::Argument`] for what is no regular file.
    pub fn open_tiktoken(path: &Path, family: PreTokenizer) -> Result<Self> {
        let bytes = read_regular(path, tiktoken::MAX_FILE_BYTES)?;
        Self::from_tiktoken(&bytes, family).map_err(|error| error.context(path.display()))
    }

    /// Reads Hugging Face's `tokenizer.json`; the pattern is the one it names.
    ///
    /// # Errors
    /// As [`JsonVocab::parse`] and [`Tokenizer::from_parts`].
    pub fn from_tokenizer_json(file: &[u8]) -> Result<Self> {
        Self::build(&json::Parsed::new(file)?.parts(), &[], &JSON_FIELDS, Vec::new())
    }

    /// [`Tokenizer::from_tokenizer_json`] on a file.
    ///
    /// # Errors
    /// As there, [`crate::Kind::Io`], and [`crate::Kind::Argument`] for what is no regular file.
    pub fn open_tokenizer_json(path: &Path) -> Result<Self> {
        let bytes = read_regular(path, json::MAX_FILE_BYTES)?;
        Self::from_tokenizer_json(&bytes).map_err(|error| error.context(path.display()))
    }

    /// Finds the control tokens: by name, and where a name is absent by what the file declares.
    fn assemble(mut vocab: Vocab, pre: PreTokenizer, declared: &[Declared], mut warnings: Vec<String>) -> Result<Self> {
        let by_name: HashMap<&[u8], TokenId> = vocab.controls().collect();
        let named = |control: Control| {
            let id = control.names().iter().find_map(|name| by_name.get(name.as_bytes()))?;
            Some((control, *id))
        };
        let mut controls: Vec<_> = Control::ALL.into_iter().filter_map(named).collect();
        let mut stops: Vec<TokenId> = controls.iter().filter(|(c, _)| c.stops()).map(|(_, id)| *id).collect();
        let (by_name, stops_by_name) = (controls.clone(), !stops.is_empty());
        for &Declared { control, id, key } in declared {
            if id as usize >= vocab.len() {
                let last = vocab.len().saturating_sub(1);
                return Err(Error::corrupt(format!("{key}: {id}; expected 0 to {last}")));
            }
            vocab.demote_added(id);
            if vocab.standing(id) == Standing::Control {
                if control.stops() {
                    stops.push(id);
                }
                // `eos` of an instruct model is its end of turn: it stops, but it is not that model's end of text.
                if control != Control::EndOfText && controls.iter().all(|(known, _)| *known != control) {
                    controls.push((control, id));
                }
                continue;
            }
            let what = format!("{key}: {id} is the text token {}", quote_bytes(vocab.bytes(id)));
            let known = by_name.iter().any(|(known, _)| *known == control) || control.stops() && stops_by_name;
            match control {
                Control::Pad => {}
                _ if known => warnings.push(format!("{what}; it is ignored, the vocabulary has its own by name")),
                _ => return Err(Error::corrupt(format!("{what}; expected a control token"))),
            }
        }
        stops.sort_unstable();
        stops.dedup();
        Ok(Tokenizer { vocab, classes: Classes::new(), pre, controls, stops, warnings })
    }

    /// The ids of `text`, and never a control id: text is looked up among the text tokens only, so `<|eot|>` in it is
    /// five ordinary tokens. Equal to Meta's reference tokenizer, its cuts in long input included. Adds no BOS.
    #[must_use]
    pub fn encode_text(&self, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        let mut scratch = bpe::Scratch::default();
        cuts::cut(text, |part| {
            self.pre.pieces(&self.classes, part, |piece| match self.vocab.find(piece.as_bytes()) {
                Some(id) => ids.push(id),
                None => bpe::merge(&self.vocab, piece.as_bytes(), &mut scratch, &mut ids),
            });
        });
        ids
    }

    /// The id of a control token, if this vocabulary has it. Takes no caller's text.
    #[must_use]
    pub fn control(&self, control: Control) -> Option<TokenId> {
        self.controls.iter().find(|(known, _)| *known == control).map(|(_, id)| *id)
    }

    /// Every id at which generation ends, ascending: end of text, of turn and of message by name, and what the file
    /// declares as such.
    #[must_use]
    pub fn stop_ids(&self) -> &[TokenId] {
        &self.stops
    }

    /// Whether generation ends at `id`.
    #[must_use]
    pub fn is_stop(&self, id: TokenId) -> bool {
        self.stops.binary_search(&id).is_ok()
    }

    /// Whether `id` is structure and not text. Ids past the end of the vocabulary are.
    #[must_use]
    pub fn is_control(&self, id: TokenId) -> bool {
        self.vocab.standing(id) == Standing::Control
    }

    /// The bytes that `id` adds to the text: none for a control id or an id past the end. A token may hold part of a
    /// character; see [`Utf8Stream`].
    #[must_use]
    pub fn decode_bytes(&self, id: TokenId) -> &[u8] {
        if self.is_control(id) { &[] } else { self.vocab.bytes(id) }
    }

    /// The bytes that `ids` make together.
    #[must_use]
    pub fn decode(&self, ids: &[TokenId]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.decode_bytes(id)).copied().collect()
    }

    /// What `id` is called, for people who inspect: the name of a control token, the bytes of any other.
    #[must_use]
    pub fn name(&self, id: TokenId) -> &[u8] {
        self.vocab.bytes(id)
    }

    /// How many ids there are.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// The pattern in use.
    #[must_use]
    pub fn pre_tokenizer(&self) -> PreTokenizer {
        self.pre
    }

    /// What was put right while the vocabulary was read; for people.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    #[cfg(test)]
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }
}
