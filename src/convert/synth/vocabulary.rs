//! A byte-level vocabulary of any size whose every token some text becomes.

use crate::error::Result;
use crate::gguf::{Array, StrArray, Value, Writer};
use crate::model::Architecture;

/// The smallest vocabulary: the bytes and the control tokens of a small one.
pub(super) const LEAST: u32 = 256 + FEW;
/// Control tokens of the published vocabularies, and of small ones.
const MANY: u32 = 2048;
const MANY_LLAMA3: u32 = 256;
const FEW: u32 = 32;
/// Text tokens from which on a vocabulary has many control tokens.
const LARGE: u32 = 65_536;

const LLAMA4: [&str; 13] = [
    "begin_of_text",
    "end_of_text",
    "fim_prefix",
    "fim_middle",
    "fim_suffix",
    "header_start",
    "header_end",
    "eom",
    "eot",
    "step",
    "python_start",
    "python_end",
    "finetune_right_pad",
];
const LLAMA3: [&str; 8] = [
    "begin_of_text",
    "end_of_text",
    "start_header_id",
    "end_header_id",
    "eot_id",
    "eom_id",
    "python_tag",
    "finetune_right_pad_id",
];

/// The id of `<|begin_of_text|>`, the first control token: text tokens are those before it.
pub(super) fn bos(architecture: Architecture, vocab: u32) -> u32 {
    let special = match architecture {
        _ if vocab < LARGE => FEW,
        Architecture::Llama4 => MANY,
        Architecture::Llama => MANY_LLAMA3,
    };
    vocab - special
}

/// Words of a guard's verdict, as pieces of a merge: a large vocabulary ends with them, so that a synthetic guard model can be
/// loaded and timed.
const VERDICT: [(&str, &str); 2] = [("sa", "fe"), ("un", "safe")];

/// Writes the section. Text tokens are the 256 bytes, then pairs of bytes, then a pair and a byte, each made by one merge.
pub(super) fn set(w: &mut Writer, architecture: Architecture, vocab: u32) -> Result<()> {
    let letters: Vec<char> =
        ('!'..='~').chain('\u{a1}'..='\u{ac}').chain('\u{ae}'..='\u{ff}').chain('\u{100}'..='\u{143}').collect();
    let bos = bos(architecture, vocab);
    let words: &[_] = if vocab < LARGE + MANY { &[] } else { &VERDICT };
    let generated = bos as usize - words.len();
    let mut tokens: Vec<String> = letters.iter().map(char::to_string).collect();
    let mut merges = Vec::new();
    let pairs: Vec<String> = letters.iter().flat_map(|a| letters.iter().map(move |b| format!("{a}{b}"))).collect();
    let singles = tokens.clone();
    for left in [&singles, &pairs] {
        for (left, right) in left.iter().flat_map(|left| singles.iter().map(move |right| (left, right))) {
            if tokens.len() == generated {
                break;
            }
            tokens.push(format!("{left}{right}"));
            merges.push(format!("{left} {right}"));
        }
    }
    for (left, right) in words {
        tokens.push(format!("{left}{right}"));
        merges.push(format!("{left} {right}"));
    }
    let (names, pre): (&[&str], &str) = match architecture {
        Architecture::Llama4 => (&LLAMA4, "llama4"),
        Architecture::Llama => (&LLAMA3, "llama-bpe"),
    };
    tokens.extend(names.iter().map(|name| format!("<|{name}|>")));
    let reserved = vocab as usize - tokens.len();
    tokens.extend((0..reserved).map(|i| format!("<|reserved_special_token_{i}|>")));
    let kinds = (0..vocab).map(|id| if id < bos { 1 } else { 3 }).collect();
    let strings = |list: &[String]| Ok::<_, crate::Error>(Value::Array(Array::Str(StrArray::new(list)?)));
    w.set("tokenizer.ggml.model", "gpt2")?;
    w.set("tokenizer.ggml.pre", pre)?;
    w.set("tokenizer.ggml.tokens", strings(&tokens)?)?;
    w.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)))?;
    w.set("tokenizer.ggml.merges", strings(&merges)?)?;
    let id = |ending: &str| names.iter().position(|name| name.starts_with(ending)).map(|i| bos + i as u32);
    for (key, name) in [("bos", "begin"), ("eos", "eot"), ("eot", "eot"), ("eom", "eom"), ("padding", "finetune")] {
        if let Some(id) = id(name) {
            w.set(&format!("tokenizer.ggml.{key}_token_id"), id)?;
        }
    }
    w.set("tokenizer.ggml.add_bos_token", true)
}
