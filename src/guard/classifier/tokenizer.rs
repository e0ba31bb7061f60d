//! The tokenizer of a classifier: `tokenizer.json` inside limits, and text in a form in which it means nothing but itself.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{Decoder, PostProcessorWrapper};

use super::outline;
use crate::engine;
use crate::error::{Error, Result};

/// A tokenizer that adds nothing to a text, cuts nothing off it and finds no control token in it.
pub(super) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Ids that frame or mask a text. A Unigram model has them among its pieces and finds them in a text that spells them.
    control: HashSet<u32>,
    unknown: Option<u32>,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`. What the file says of truncation, padding and tokens around a text is left out.
    ///
    /// # Errors
    /// As [`outline::check`], and [`crate::Kind::Corrupt`] when the library cannot read the file or panics over it.
    pub(super) fn load(file: &[u8]) -> Result<Self> {
        // Parsing calls itself for values inside values, so it gets a stack whose size is known.
        engine::on_own_stack(|| {
            outline::check(file)?;
            let loaded = fenced(|| tokenizers::Tokenizer::from_bytes(file));
            let mut tokenizer = loaded.map_err(Error::corrupt)?;
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).map_err(|e| Error::corrupt(e.to_string()))?;
            tokenizer.with_post_processor(None::<PostProcessorWrapper>);
            // Markers written in the judged text stay ordinary text.
            tokenizer.set_encode_special_tokens(true);
            let unknown = ["[UNK]", "<unk>"].iter().find_map(|token| tokenizer.token_to_id(token));
            let added = tokenizer.get_added_tokens_decoder();
            let control = added.iter().filter(|(id, token)| token.special && Some(**id) != unknown).map(|(id, _)| *id);
            Ok(Self { control: control.collect(), unknown, inner: tokenizer })
        })
        .map_err(|e| e.context("tokenizer.json"))
    }

    /// The ids of a text. A control token that it spells is an unknown word.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoded = fenced(|| self.inner.encode_fast(text, false)).map_err(failed)?;
        let own = |id: &u32| if self.control.contains(id) { self.unknown } else { Some(*id) };
        Ok(encoded.get_ids().iter().filter_map(own).map(i64::from).collect())
    }

    /// The tokens of a text, each decoded on its own: an empty string for a token that is a space alone.
    pub(super) fn pieces(&self, text: &str) -> Result<Vec<String>> {
        let encoded = fenced(|| self.inner.encode(text, false)).map_err(failed)?;
        let alone = |token: &String| match self.inner.get_decoder() {
            Some(decoder) => fenced(|| decoder.decode(vec![token.clone()])).map_err(failed),
            None => Ok(token.clone()),
        };
        encoded.get_tokens().iter().map(alone).collect()
    }

    /// The id of a token that has to be there.
    pub(super) fn id(&self, token: &str) -> Result<i64> {
        let id = self.inner.token_to_id(token).map(i64::from);
        id.ok_or_else(|| Error::corrupt(format!("tokenizer.json has no token {token:?}")))
    }
}

fn failed(what: String) -> Error {
    Error::guard_unavailable(format!("tokenizing: {what}"))
}

/// The library panics on some damaged files, and on some texts with them.
fn fenced<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(payload) => {
            std::mem::forget(payload);
            Err("the tokenizer library panicked".into())
        }
    }
}
