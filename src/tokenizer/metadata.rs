//! The vocabulary of a GGUF file.

use super::parts::{Declared, GGUF_FIELDS};
use super::{Control, PreTokenizer, Tokenizer, VocabParts};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, StrArray};

const PRE: &str = "tokenizer.ggml.pre";

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes under `tokenizer.ggml.*`.
    ///
    /// `tokenizer.ggml.pre` may be absent or `default`, as a widespread converter writes it: then the names of the
    /// control tokens, or the architecture `llama4`, tell the pattern, and [`Tokenizer::warnings`] say so.
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
        let mut warnings = Vec::new();
        let architecture = metadata.require_str("general.architecture")?;
        let tokens = metadata.require_str_array("tokenizer.ggml.tokens")?;
        let pre = match metadata.get_str(PRE)? {
            None | Some("default") => guess(metadata.get_str(PRE)?, architecture, tokens, &mut warnings)?,
            Some(name) => PreTokenizer::from_name(name).ok_or_else(|| unknown(Some(name), architecture))?,
        };
        let stops = metadata.get_u32_array("tokenizer.ggml.eos_token_ids")?.unwrap_or_default();
        let stop = |&id: &u32| Declared { control: Control::EndOfText, id, key: "tokenizer.ggml.eos_token_ids" };
        let id = |key: &str| metadata.get_u32(key);
        let parts = VocabParts {
            tokens: tokens.iter().collect(),
            token_types: metadata.get_i32_array("tokenizer.ggml.token_type")?.map(Into::into),
            merges: metadata.require_str_array("tokenizer.ggml.merges")?.iter().collect(),
            pre,
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos: id("tokenizer.ggml.eos_token_id")?,
            eot: id("tokenizer.ggml.eot_token_id")?,
            eom: id("tokenizer.ggml.eom_token_id")?,
            pad: id("tokenizer.ggml.padding_token_id")?,
        };
        Self::build(&parts, &stops.iter().map(stop).collect::<Vec<_>>(), &GGUF_FIELDS, warnings)
    }
}

/// The pattern of a file that names none.
fn guess(
    named: Option<&str>,
    architecture: &str,
    tokens: &StrArray,
    warnings: &mut Vec<String>,
) -> Result<PreTokenizer> {
    let has = |control: &str| tokens.iter().any(|token| token == control);
    let pre = match architecture {
        _ if has("<|header_start|>") => PreTokenizer::Llama4,
        _ if has("<|start_header_id|>") => PreTokenizer::Llama3,
        "llama4" => PreTokenizer::Llama4,
        _ => return Err(unknown(named, architecture)),
    };
    let (said, name) = (named.unwrap_or("nothing"), pre.name());
    warnings.push(format!("{PRE}: {said}, which fits no Llama; the vocabulary is read as {name}, which it is"));
    Ok(pre)
}

fn unknown(named: Option<&str>, architecture: &str) -> Error {
    Error::unsupported(format!(
        "{PRE}: {named:?} under architecture {architecture:?}; expected \"llama4\", \"gpt-4o\", \"llama-bpe\", \"llama3\" or \
         \"llama-v3\" (or \"default\" with a Llama vocabulary)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::gguf::{Array, Gguf, StrArray, Value, Writer};
    use crate::tokenizer::tests::{Small, small_llama4};

    /// Metadata of a file with the small vocabulary, after `change`.
    fn metadata(change: impl Fn(&mut Writer)) -> Metadata {
        metadata_of(Some("default"), change)
    }

    fn metadata_of(pre: Option<&str>, change: impl Fn(&mut Writer)) -> Metadata {
        let small = Small::new();
        let mut writer = Writer::new();
        let strings = |list: &[String]| Value::Array(Array::Str(StrArray::new(list).unwrap()));
        writer.set("general.architecture", "llama4").unwrap();
        writer.set("tokenizer.ggml.model", "gpt2").unwrap();
        if let Some(pre) = pre {
            writer.set(PRE, pre).unwrap();
        }
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
    fn a_missing_pattern_is_told_by_the_vocabulary_with_a_warning() {
        let read = |pre: Option<&str>, architecture: &str, added: &[&str]| {
            let strings = |list: &[String]| Value::Array(Array::Str(StrArray::new(list).unwrap()));
            let mut small = Small::new();
            small.tokens.extend(added.iter().map(|name| (*name).to_owned()));
            small.types.resize(small.tokens.len(), 3);
            Tokenizer::from_gguf(&metadata_of(pre, |w| {
                w.set("general.architecture", architecture).unwrap();
                w.set("tokenizer.ggml.tokens", strings(&small.tokens)).unwrap();
                w.set("tokenizer.ggml.token_type", Value::Array(Array::I32(small.types.clone()))).unwrap();
            }))
        };
        let (llama4, llama3) = (PreTokenizer::Llama4, PreTokenizer::Llama3);
        for pre in [None, Some("default")] {
            for (architecture, added, expected) in [
                ("llama4", [].as_slice(), llama4),
                ("llama4", &["<|header_start|>"], llama4),
                ("llama", &["<|header_start|>"], llama4),
                ("llama", &["<|start_header_id|>"], llama3),
            ] {
                let tokenizer = read(pre, architecture, added).unwrap();
                assert_eq!(tokenizer.pre_tokenizer(), expected);
                assert!(matches!(tokenizer.warnings(), [said] if said.contains(expected.name())));
            }
            let error = read(pre, "llama", &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported);
            assert!(error.message().contains("\"llama-bpe\""), "{error}");
        }
        for (pre, expected) in [("llama4", llama4), ("gpt-4o", llama4), ("llama-bpe", llama3), ("llama3", llama3)] {
            let tokenizer = read(Some(pre), "llama", &[]).unwrap();
            assert_eq!((tokenizer.pre_tokenizer(), tokenizer.warnings()), (expected, [].as_slice()));
        }
    }

    #[test]
    fn every_stop_counts_whatever_the_file_names() {
        let last = Small::new().tokens.len() as u32 - 1;
        let list = |ids: Vec<u32>| Value::Array(Array::U32(ids));
        for (eos, eos_ids, warned) in [(last, vec![last, last - 1], 0), (last - 1, vec![], 0), (64, vec![65, last], 2)]
        {
            let tokenizer = Tokenizer::from_gguf(&metadata(|w| {
                w.set(PRE, "llama4").unwrap();
                w.set("tokenizer.ggml.eos_token_id", eos).unwrap();
                w.set("tokenizer.ggml.eos_token_ids", list(eos_ids.clone())).unwrap();
            }))
            .unwrap();
            assert_eq!(tokenizer.stop_ids(), [last - 1, last]);
            assert_eq!(tokenizer.warnings().len(), warned, "{:?}", tokenizer.warnings());
        }
    }

    #[test]
    fn wrong_models_types_and_ids_are_refused_by_key() {
        type Change = fn(&mut Writer);
        let cases: [(Change, Kind, &str); 7] = [
            (|w| w.set("tokenizer.ggml.model", "llama").unwrap(), Kind::Unsupported, "tokenizer.ggml.model"),
            (|w| w.set("tokenizer.ggml.pre", "qwen2").unwrap(), Kind::Unsupported, "tokenizer.ggml.pre"),
            (|w| w.set("tokenizer.ggml.tokens", 5_u32).unwrap(), Kind::Corrupt, "tokenizer.ggml.tokens"),
            (|w| w.set("tokenizer.ggml.merges", "a b").unwrap(), Kind::Corrupt, "tokenizer.ggml.merges"),
            (|w| w.set("tokenizer.ggml.eos_token_id", -1_i32).unwrap(), Kind::Corrupt, "eos_token_id"),
            (|w| w.set("tokenizer.ggml.eos_token_ids", "x").unwrap(), Kind::Corrupt, "eos_token_ids"),
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
