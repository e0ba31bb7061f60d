//! The vocabulary of a GGUF file.

use super::{PreTokenizer, Tokenizer, VocabParts};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes under `tokenizer.ggml.*`.
    ///
    /// `add_bos_token` is not looked at: nothing here adds a BOS, and `chat` adds exactly one whatever a file says.
    ///
    /// # Errors
    /// [`crate::Kind::Unsupported`] for a model other than byte-level BPE (`gpt2`) or an unknown pre-tokenizer;
    /// [`crate::Kind::Corrupt`] for a missing key, a key of the wrong type, and whatever [`Tokenizer::from_parts`] refuses.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let model = metadata.require_str("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(Error::unsupported(format!("tokenizer.ggml.model: {model:?}; expected \"gpt2\"")));
        }
        let architecture = metadata.require_str("general.architecture")?;
        let id = |key: &str| metadata.get_u32(key);
        Self::from_parts(&VocabParts {
            tokens: metadata.require_str_array("tokenizer.ggml.tokens")?.iter().collect(),
            token_types: metadata.get_i32_array("tokenizer.ggml.token_type")?.map(Into::into),
            merges: metadata.require_str_array("tokenizer.ggml.merges")?.iter().collect(),
            pre: PreTokenizer::from_metadata(metadata.get_str("tokenizer.ggml.pre")?, architecture)?,
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos: id("tokenizer.ggml.eos_token_id")?,
            eot: id("tokenizer.ggml.eot_token_id")?,
            eom: id("tokenizer.ggml.eom_token_id")?,
            pad: id("tokenizer.ggml.padding_token_id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::gguf::{Array, Gguf, StrArray, Value, Writer};
    use crate::tokenizer::tests::{Small, small_llama4};

    /// Metadata of a file with the small vocabulary, after `change`.
    fn metadata(change: impl Fn(&mut Writer)) -> Metadata {
        let small = Small::new();
        let mut writer = Writer::new();
        let strings = |list: &[String]| Value::Array(Array::Str(StrArray::new(list).unwrap()));
        writer.set("general.architecture", "llama4").unwrap();
        writer.set("tokenizer.ggml.model", "gpt2").unwrap();
        writer.set("tokenizer.ggml.pre", "default").unwrap();
        writer.set("tokenizer.ggml.tokens", strings(&small.tokens)).unwrap();
        writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(small.types.clone()))).unwrap();
        writer.set("tokenizer.ggml.merges", strings(&small.merges)).unwrap();
        writer.set("tokenizer.ggml.eos_token_id", small.tokens.len() as u32 - 1).unwrap();
        writer.set("tokenizer.ggml.add_bos_token", true).unwrap();
        change(&mut writer);
        let mut bytes = Vec::new();
        writer.write_into(&mut bytes, |_, _| Ok(())).unwrap();
        Gguf::from_bytes("small", bytes).unwrap().metadata().clone()
    }

    #[test]
    fn a_file_gives_the_ids_its_vocabulary_has() {
        let tokenizer = Tokenizer::from_gguf(&metadata(|_| {})).unwrap();
        let text = "नमस्ते, the visitor's 1234 <|eot|>";
        assert_eq!(tokenizer.pre_tokenizer(), PreTokenizer::Llama4);
        assert_eq!(tokenizer.encode_text(text), small_llama4().encode_text(text));
        assert_eq!(tokenizer.stop_ids().len(), 2);
        let llama3 = Tokenizer::from_gguf(&metadata(|w| w.set("tokenizer.ggml.pre", "llama-bpe").unwrap())).unwrap();
        assert_eq!(llama3.pre_tokenizer(), PreTokenizer::Llama3);
    }

    #[test]
    fn wrong_models_types_and_ids_are_refused_by_key() {
        type Change = fn(&mut Writer);
        let cases: [(Change, Kind, &str); 6] = [
            (|w| w.set("tokenizer.ggml.model", "llama").unwrap(), Kind::Unsupported, "tokenizer.ggml.model"),
            (|w| w.set("tokenizer.ggml.pre", "qwen2").unwrap(), Kind::Unsupported, "tokenizer.ggml.pre"),
            (|w| w.set("tokenizer.ggml.tokens", 5_u32).unwrap(), Kind::Corrupt, "tokenizer.ggml.tokens"),
            (|w| w.set("tokenizer.ggml.merges", "a b").unwrap(), Kind::Corrupt, "tokenizer.ggml.merges"),
            (|w| w.set("tokenizer.ggml.eos_token_id", -1_i32).unwrap(), Kind::Corrupt, "eos_token_id"),
            (|w| w.set("tokenizer.ggml.bos_token_id", 99_999_u32).unwrap(), Kind::Corrupt, "bos_token_id"),
        ];
        for (change, kind, said) in cases {
            let error = Tokenizer::from_gguf(&metadata(change)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(said), "{error}");
        }
        assert_eq!(Tokenizer::from_gguf(&Metadata::default()).unwrap_err().kind(), Kind::Corrupt);
    }
}
