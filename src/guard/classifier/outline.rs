//! What a `tokenizer.json` would make the tokenizer library do, held against limits before the library reads the file.

use std::collections::HashMap;
use std::fmt;

use regex_automata::meta;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::charsmap;
use crate::error::{Error, Result};

/// Values inside values. Real files have ten.
const MOST_DEPTH: usize = 32;
/// Entries of the vocabulary, and ids.
const MOST_ENTRIES: usize = 1 << 20;
/// Bytes of all entries together: the library keeps a tree node for each.
const MOST_ENTRY_BYTES: usize = 8 << 20;
/// Bytes of one entry.
const MOST_ENTRY: usize = 512;
const MOST_MERGES: usize = 1 << 21;
const MOST_ADDED: usize = 4096;
/// Steps of the normalizer, the pre-tokenizer or the decoder, nested ones included.
const MOST_STEPS: usize = 16;
/// Bytes of a regular expression.
const MOST_PATTERN: usize = 512;
/// How much longer all replacements of the normalizer together may make a text.
const MOST_GROWTH: usize = 4;
/// Patterns that look ahead, and are known to end: those of GPT-2 and of its successors' split on white space.
const KNOWN_PATTERNS: [&str; 2] =
    [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", r"\s+(?!\S)|\s+"];

const NORMALIZERS: &[&str] = &[
    "Sequence",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Lowercase",
    "Strip",
    "StripAccents",
    "BertNormalizer",
    "Replace",
    "Prepend",
    "ByteLevel",
];
const PRE_TOKENIZERS: &[&str] = &[
    "Sequence",
    "Metaspace",
    "Whitespace",
    "WhitespaceSplit",
    "BertPreTokenizer",
    "ByteLevel",
    "Punctuation",
    "Digits",
    "Split",
    "CharDelimiterSplit",
    "UnicodeScripts",
];
const DECODERS: &[&str] =
    &["Sequence", "Metaspace", "WordPiece", "ByteLevel", "BPEDecoder", "ByteFallback", "Fuse", "Strip", "Replace"];

/// Checks the file.
///
/// # Errors
/// [`crate::Kind::Limit`] for what is too large, [`crate::Kind::Unsupported`] for parts no tokenizer of an encoder has,
/// [`crate::Kind::Corrupt`] for what contradicts itself.
pub(super) fn check(file: &[u8]) -> Result<()> {
    depth(file)?;
    let outline: Outline = serde_json::from_slice(file).map_err(|e| Error::corrupt(e.to_string()))?;
    outline.model.check()?;
    check_added(&outline.added_tokens, &outline.model.vocab)?;
    let mut growth = 1;
    steps("normalizer", &outline.normalizer, NORMALIZERS, &mut growth)?;
    steps("pre_tokenizer", &outline.pre_tokenizer, PRE_TOKENIZERS, &mut 1)?;
    steps("decoder", &outline.decoder, DECODERS, &mut growth)?;
    if growth > MOST_GROWTH {
        return Err(Error::limit(format!("replacements make a text {growth} times as long, at most {MOST_GROWTH}")));
    }
    Ok(())
}

/// How deep values nest, before a parser that calls itself follows them.
fn depth(file: &[u8]) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in file {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MOST_DEPTH {
            return Err(Error::limit(format!("values nest deeper than {MOST_DEPTH}")));
        }
    }
    Ok(())
}

/// `tokenizer.json`. What it says of truncation, padding and special tokens around a text is not used: windows are ours.
#[derive(Deserialize)]
struct Outline {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
}

#[derive(Deserialize)]
struct Model {
    /// Absent in files of old.
    #[serde(rename = "type", default)]
    kind: Option<String>,
    vocab: Vocab,
    #[serde(default)]
    unk_id: Option<usize>,
    #[serde(default)]
    merges: Option<Count>,
    #[serde(default)]
    max_input_chars_per_word: Option<usize>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
}

impl Model {
    fn check(&self) -> Result<()> {
        let kind = self.kind.as_deref().unwrap_or("BPE");
        let (entries, bytes) = (self.vocab.ids.len(), self.vocab.bytes);
        if !["Unigram", "WordPiece", "WordLevel", "BPE"].contains(&kind) {
            return Err(Error::unsupported(format!("a model of type {:?}", excerpt(kind))));
        }
        if (kind == "Unigram") != self.vocab.scored {
            return Err(Error::corrupt(format!("the vocabulary has not the form of a {kind} model")));
        }
        if entries == 0 || self.unk_id.is_some_and(|id| id >= entries) {
            return Err(Error::corrupt(format!("{entries} entries and the unknown one is {:?}", self.unk_id)));
        }
        if bytes > MOST_ENTRY_BYTES || self.merges.as_ref().is_some_and(|m| m.0 > MOST_MERGES) {
            return Err(Error::limit(format!(
                "entries of {bytes} bytes and {} merges, at most {MOST_ENTRY_BYTES} and {MOST_MERGES}",
                self.merges.as_ref().map_or(0, |m| m.0)
            )));
        }
        let affix = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let longest = affix(&self.continuing_subword_prefix).max(affix(&self.end_of_word_suffix));
        if longest > 16 || self.max_input_chars_per_word.is_some_and(|n| n > 10_000) {
            return Err(Error::limit("the model's prefix, suffix or longest word"));
        }
        Ok(())
    }
}

/// An added token names a free id, or an entry by its own id.
fn check_added(added: &[Added], vocab: &Vocab) -> Result<()> {
    if added.len() > MOST_ADDED {
        return Err(Error::limit(format!("{} added tokens, at most {MOST_ADDED}", added.len())));
    }
    let by_id: HashMap<usize, &str> = vocab.ids.iter().map(|(text, id)| (*id, text.as_str())).collect();
    for token in added {
        if token.content.is_empty() || token.content.len() > MOST_ENTRY || token.id >= MOST_ENTRIES {
            return Err(Error::limit(format!("added token {:?} with id {}", excerpt(&token.content), token.id)));
        }
        let own = vocab.ids.get(&token.content).is_none_or(|id| *id == token.id);
        let free = by_id.get(&token.id).is_none_or(|text| *text == token.content);
        if !own || !free {
            let (text, id) = (excerpt(&token.content), token.id);
            return Err(Error::corrupt(format!("added token {text:?} takes id {id}, which the vocabulary gives away")));
        }
    }
    Ok(())
}

/// Walks over the steps of a part. The depth of values is bounded already.
fn steps(part: &str, value: &Value, known: &[&str], growth: &mut usize) -> Result<()> {
    let mut left = vec![value];
    let mut seen = 0;
    while let Some(step) = left.pop() {
        let Some(object) = step.as_object() else {
            if step.is_null() {
                continue;
            }
            return Err(Error::corrupt(format!("{part}: a step that is no object")));
        };
        seen += 1;
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        if !known.contains(&kind) || seen > MOST_STEPS {
            let kind = excerpt(kind);
            return Err(Error::unsupported(format!("{part}: step {seen} of type {kind:?}; at most {MOST_STEPS}")));
        }
        for list in ["normalizers", "pretokenizers", "decoders"] {
            left.extend(object.get(list).and_then(Value::as_array).into_iter().flatten());
        }
        step_sizes(object, kind, growth).map_err(|e| e.context(part))?;
    }
    Ok(())
}

fn step_sizes(step: &serde_json::Map<String, Value>, kind: &str, growth: &mut usize) -> Result<()> {
    let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut shortest = 1;
    if let Some(pattern) = step.get("pattern").and_then(Value::as_object) {
        if let Some(regex) = pattern.get("Regex").and_then(Value::as_str) {
            check_pattern(regex)?;
        }
        if let Some(plain) = pattern.get("String").and_then(Value::as_str) {
            shortest = plain.len();
            if plain.is_empty() || plain.len() > MOST_PATTERN {
                return Err(Error::limit(format!("a pattern of {} bytes", plain.len())));
            }
        }
    }
    if kind == "Replace" {
        *growth = growth.saturating_mul(text("content").len().div_ceil(shortest.max(1)).max(1));
    }
    // The letter that stands for a space is three bytes long.
    if text("prepend").len() > 16 {
        return Err(Error::limit(format!("{} bytes put in front of a text", text("prepend").len())));
    }
    match (kind, step.get("precompiled_charsmap")) {
        ("Precompiled", Some(Value::String(map))) => charsmap::check(map),
        ("Precompiled", _) => Err(Error::corrupt("Precompiled without a map")),
        _ => Ok(()),
    }
}

/// A pattern that runs in linear time: one that an automaton can run, or one that is known.
fn check_pattern(pattern: &str) -> Result<()> {
    if KNOWN_PATTERNS.contains(&pattern) {
        return Ok(());
    }
    if pattern.len() > MOST_PATTERN {
        return Err(Error::limit(format!("a pattern of {} bytes, at most {MOST_PATTERN}", pattern.len())));
    }
    let config = meta::Config::new().nfa_size_limit(Some(1 << 20)).onepass_size_limit(Some(1 << 20));
    let built = meta::Builder::new().configure(config).build(pattern);
    built.map_err(|_| Error::unsupported(format!("pattern {:?} may not end in linear time", excerpt(pattern))))?;
    Ok(())
}

/// Entries with their ids: `[["a", -1.5], …]` or `{"a": 0, …}`.
struct Vocab {
    ids: HashMap<String, usize>,
    bytes: usize,
    scored: bool,
}

impl Vocab {
    fn add<E: serde::de::Error>(&mut self, text: String, id: usize) -> std::result::Result<(), E> {
        if text.len() > MOST_ENTRY || id >= MOST_ENTRIES || self.ids.len() >= MOST_ENTRIES {
            return Err(E::custom(format!(
                "entry {id} has {} bytes; at most {MOST_ENTRY}, and {MOST_ENTRIES} entries",
                text.len()
            )));
        }
        self.bytes += text.len();
        // A second entry of the same text keeps the first's id, as the library does not refuse it.
        self.ids.entry(text).or_insert(id);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Vocab, A::Error> {
                let mut vocab = Vocab { ids: HashMap::new(), bytes: 0, scored: true };
                let mut id = 0;
                while let Some((text, score)) = seq.next_element::<(String, f64)>()? {
                    if !score.is_finite() {
                        return Err(serde::de::Error::custom(format!("entry {id} has the score {score}")));
                    }
                    vocab.add(text, id)?;
                    id += 1;
                }
                Ok(vocab)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocab, A::Error> {
                let mut vocab = Vocab { ids: HashMap::new(), bytes: 0, scored: false };
                while let Some((text, id)) = map.next_entry::<String, usize>()? {
                    vocab.add(text, id)?;
                }
                Ok(vocab)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The length of a list whose items are of no interest.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Count, A::Error> {
                let mut n = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(Count(n))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}
