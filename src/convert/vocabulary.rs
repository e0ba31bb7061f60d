//! The tokenizer section of a converted file, from `tokenizer.json` and the files beside it.

use std::path::Path;

use serde_json::Value as Json;

use super::json::{self, Object};
use crate::error::{Error, Result};
use crate::gguf::{Array, StrArray, Value, Writer};
use crate::tokenizer::{JsonVocab, Tokenizer};

/// llama.cpp's type of tokens that exist for the embedding's sake only.
const UNUSED: i32 = 5;

/// Writes the vocabulary of `folder`, as long as the embedding of `vocab` rows.
pub(super) fn set(w: &mut Writer, folder: &Path, config: &Object<'_>, vocab: u32) -> Result<()> {
    let path = folder.join("tokenizer.json");
    let Some(bytes) = json::bytes(&path)? else {
        return Err(Error::new(
            crate::Kind::Io,
            format!("{} is missing: the model needs its tokenizer", path.display()),
        ));
    };
    let mut known = JsonVocab::parse(&bytes).map_err(|e| e.context(path.display()))?;
    Tokenizer::from_parts(&known.parts()).map_err(|e| e.context(path.display()))?;
    let (have, vocab) = (known.tokens.len(), vocab as usize);
    if have > vocab {
        return Err(Error::corrupt(format!("{}: {have} tokens, but vocab_size is {vocab}", path.display())));
    }
    known.tokens.extend((have..vocab).map(|i| format!("[PAD{i}]")));
    known.token_types.resize(vocab, UNUSED);
    w.set("tokenizer.ggml.model", "gpt2")?;
    w.set("tokenizer.ggml.pre", known.pre.name())?;
    set_list(w, &known)?;
    set_specials(w, folder, config, &known.tokens)?;
    if let Some(template) = template(folder)? {
        w.set("tokenizer.chat_template", template)?;
    }
    Ok(())
}

/// The three lists of a vocabulary.
fn set_list(w: &mut Writer, known: &JsonVocab) -> Result<()> {
    let strings = |list: &[String]| Ok::<_, Error>(Value::Array(Array::Str(StrArray::new(list)?)));
    w.set("tokenizer.ggml.tokens", strings(&known.tokens)?)?;
    w.set("tokenizer.ggml.token_type", Value::Array(Array::I32(known.token_types.clone())))?;
    w.set("tokenizer.ggml.merges", strings(&known.merges)?)
}

fn set_specials(w: &mut Writer, folder: &Path, config: &Object<'_>, tokens: &[String]) -> Result<()> {
    let said = json::value(&folder.join("tokenizer_config.json"))?.unwrap_or(Json::Null);
    let generation = json::value(&folder.join("generation_config.json"))?.unwrap_or(Json::Null);
    let named = |name: &str| tokens.iter().position(|t| t == name).map(|i| i as u32);
    // A token is named as a text, or as an object with its content.
    let by_text = |key: &str| {
        let token = said.get(key)?;
        named(token.as_str().or_else(|| token.get("content")?.as_str())?)
    };
    // A number, or a list of which the last is the one that ends a turn.
    let by_id = |key: &str| {
        let id = [Some(&generation), Some(config.value)].into_iter().flatten().find_map(|file| {
            let value = file.get(key).filter(|v| !v.is_null())?;
            value.as_u64().or_else(|| value.as_array()?.last()?.as_u64())
        })?;
        u32::try_from(id).ok().filter(|id| (*id as usize) < tokens.len())
    };
    for (name, ours) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
        let id = by_text(&format!("{name}_token")).or_else(|| by_id(&format!("{name}_token_id")));
        if let Some(id) = id {
            w.set(&format!("tokenizer.ggml.{ours}_token_id"), id)?;
        }
    }
    for (ours, names) in [("eot", ["<|eot|>", "<|eot_id|>"]), ("eom", ["<|eom|>", "<|eom_id|>"])] {
        if let Some(id) = names.into_iter().find_map(named) {
            w.set(&format!("tokenizer.ggml.{ours}_token_id"), id)?;
        }
    }
    if let Some(add) = said.get("add_bos_token").and_then(Json::as_bool) {
        w.set("tokenizer.ggml.add_bos_token", add)?;
    }
    Ok(())
}

/// The chat template as text; of several, the default one.
fn template(folder: &Path) -> Result<Option<String>> {
    let beside = folder.join("chat_template.jinja");
    if let Some(bytes) = json::bytes(&beside)? {
        let text = String::from_utf8(bytes);
        return text.map(Some).map_err(|_| Error::utf8(format!("{} is not UTF-8", beside.display())));
    }
    for file in ["tokenizer_config.json", "chat_template.json"] {
        let Some(value) = json::value(&folder.join(file))? else { continue };
        let Some(template) = value.get("chat_template") else { continue };
        if let Some(text) = template.as_str() {
            return Ok(Some(text.to_owned()));
        }
        let named = template.as_array().into_iter().flatten();
        let default = named.filter(|t| t.get("name").and_then(Json::as_str) == Some("default"));
        if let Some(text) = default.filter_map(|t| t.get("template")?.as_str()).next() {
            return Ok(Some(text.to_owned()));
        }
    }
    Ok(None)
}
