//! Hugging Face's `tokenizer.json` as a vocabulary: its tokens, their kinds, its merges, and the pattern it names.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::scan::PreTokenizer;
use super::vocab::{MAX_MERGES, MAX_TOKENS, quote};
use super::{TokenId, VocabParts, control};
use crate::error::{Error, Result};

/// Llama 4's file has 28 MB.
pub(super) const MAX_FILE_BYTES: usize = 256 << 20;

const FIELD: &str = "tokenizer.json";

/// What a `tokenizer.json` says, in the form in which GGUF files hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonVocab {
    /// Text of each token in id order: text tokens in GPT-2's byte alphabet, all others as they are. An id that the
    /// file leaves out is named `[PAD<id>]`.
    pub tokens: Vec<String>,
    /// llama.cpp's token types, one for each token: 1 text, 3 control, 4 added by a user, 5 unused.
    pub token_types: Vec<i32>,
    /// `left right` in GPT-2's byte alphabet, in the order in which they apply.
    pub merges: Vec<String>,
    /// The pattern that cuts text into pieces.
    pub pre: PreTokenizer,
}

impl JsonVocab {
    /// Reads the file's bytes. Whether merges and tokens fit each other is what [`super::Tokenizer::from_parts`] finds
    /// out; everything else is checked here.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] for what is no `tokenizer.json` or contradicts itself; [`crate::Kind::Unsupported`] for
    /// anything but byte-level BPE without a normalizer under a known pattern; [`crate::Kind::Limit`] past the limits.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let Parsed { tokens, types, merges, pre } = Parsed::new(file)?;
        let merges = merges.iter().map(String::from).collect();
        Ok(JsonVocab { tokens: tokens.into_iter().map(Cow::into_owned).collect(), token_types: types, merges, pre })
    }

    /// The same as parts for a tokenizer.
    #[must_use]
    pub fn parts(&self) -> VocabParts<'_> {
        VocabParts {
            tokens: self.tokens.iter().map(String::as_str).collect(),
            token_types: Some(self.token_types.clone()),
            merges: self.merges.iter().map(String::as_str).collect(),
            pre: self.pre,
            bos: None,
            eos: None,
            eot: None,
            eom: None,
            pad: None,
        }
    }
}

/// [`JsonVocab`] with the file's own strings.
pub(super) struct Parsed<'a> {
    tokens: Vec<Cow<'a, str>>,
    types: Vec<i32>,
    merges: Merges,
    pre: PreTokenizer,
}

impl<'a> Parsed<'a> {
    pub(super) fn new(file: &'a [u8]) -> Result<Self> {
        if file.len() > MAX_FILE_BYTES {
            return Err(Error::limit(format!("{FIELD}: {} bytes, the limit is {MAX_FILE_BYTES}", file.len())));
        }
        let file: File<'a> = serde_json::from_slice(file)
            .map_err(|error| Error::corrupt(format!("{FIELD}: {error}; expected the file of a byte-level BPE")))?;
        file.model.check()?;
        if !file.normalizer.is_null() {
            let kind = kind_of(&file.normalizer);
            return Err(Error::unsupported(format!("{FIELD}: normalizer {kind}; expected none")));
        }
        let pre = pattern(&file.pre_tokenizer)?;
        let (tokens, types) = in_id_order(file.model.vocab.0, file.added_tokens)?;
        Ok(Parsed { tokens, types, merges: file.model.merges, pre })
    }

    pub(super) fn parts(&self) -> VocabParts<'_> {
        VocabParts {
            tokens: self.tokens.iter().map(AsRef::as_ref).collect(),
            token_types: Some(self.types.clone()),
            merges: self.merges.iter().collect(),
            pre: self.pre,
            bos: None,
            eos: None,
            eot: None,
            eom: None,
            pad: None,
        }
    }
}

/// The tokens by id with their types; gaps are filled as unused.
fn in_id_order<'a>(
    vocab: Vec<(Cow<'a, str>, TokenId)>,
    added: Vec<Added<'a>>,
) -> Result<(Vec<Cow<'a, str>>, Vec<i32>)> {
    let ids = vocab.iter().map(|(_, id)| *id).chain(added.iter().map(|token| token.id));
    let size = ids.max().map_or(0, |last| last as usize + 1);
    if size > MAX_TOKENS {
        return Err(Error::limit(format!("{FIELD}: token id {}, the limit is {}", size - 1, MAX_TOKENS - 1)));
    }
    let mut slots: Vec<Option<(Cow<'a, str>, i32)>> = vec![None; size];
    let twice = |id: TokenId, one: &str, other: &str| {
        let (one, other) = (quote(one), quote(other));
        Error::corrupt(format!("{FIELD}: id {id} is {one} and {other}; expected each id once"))
    };
    for (token, id) in vocab {
        let Some(slot) = slots.get_mut(id as usize) else { continue };
        if let Some((earlier, _)) = slot {
            return Err(twice(id, earlier, &token));
        }
        *slot = Some((token, 1));
    }
    for Added { id, content, special } in added {
        let Some(slot) = slots.get_mut(id as usize) else { continue };
        // The model's list may hold an added token too; what the added one says of it counts.
        if let Some((earlier, _)) = slot.as_ref().filter(|(earlier, kind)| *earlier != content || *kind != 1) {
            return Err(twice(id, earlier, &content));
        }
        let kind = if special || control::is_control_name(&content) { 3 } else { 4 };
        *slot = Some((content, kind));
    }
    let fill = |(id, slot): (usize, Option<_>)| slot.unwrap_or_else(|| (Cow::from(format!("[PAD{id}]")), 5));
    Ok(slots.into_iter().enumerate().map(fill).unzip())
}

/// The pattern of `pre_tokenizer`: one split by a known regex, then bytes, nothing else.
fn pattern(pre: &Value) -> Result<PreTokenizer> {
    let parts = match pre.get("pretokenizers") {
        Some(Value::Array(parts)) if pre["type"] == "Sequence" => parts.as_slice(),
        _ => std::slice::from_ref(pre),
    };
    let odd = |what: String| {
        let expected = "expected a Split by Llama 4's or Llama 3's regex and a ByteLevel without regex or prefix";
        Err(Error::unsupported(format!("{FIELD}: pre_tokenizer: {what}; {expected}")))
    };
    let [split, bytes] = parts else { return odd(kind_of(pre)) };
    if split["type"] != "Split" {
        return odd(format!("{} comes first", kind_of(split)));
    }
    // Every character matches, so to isolate the matches is to remove what lies between them.
    let (behavior, invert) = (&split["behavior"], &split["invert"]);
    if !(behavior == "Isolated" && invert != true || behavior == "Removed" && invert == true) {
        return odd(format!("Split with behavior {behavior} and invert {invert}"));
    }
    let (regexes, prefix) = (&bytes["use_regex"], &bytes["add_prefix_space"]);
    if bytes["type"] != "ByteLevel" || regexes != false || prefix != false {
        return odd(format!("{} with use_regex {regexes} and add_prefix_space {prefix} comes last", kind_of(bytes)));
    }
    let Some(regex) = split["pattern"]["Regex"].as_str() else { return odd("a Split without a Regex".into()) };
    PreTokenizer::from_regex(regex)
        .map_or_else(|| odd(format!("the regex {:?} is not known", regex.chars().take(600).collect::<String>())), Ok)
}

fn kind_of(value: &Value) -> String {
    value.get("type").map_or_else(|| value.to_string().chars().take(100).collect(), Value::to_string)
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(default, borrow)]
    added_tokens: Vec<Added<'a>>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: TokenId,
    #[serde(borrow, deserialize_with = "text")]
    content: Cow<'a, str>,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f64>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(borrow)]
    vocab: Tokens<'a>,
    merges: Merges,
}

impl Model<'_> {
    fn check(&self) -> Result<()> {
        let odd = |what: String, expected: &str| {
            Err(Error::unsupported(format!("{FIELD}: model.{what}; expected {expected}")))
        };
        // Files from before there was a choice of models name none.
        if let Some(kind) = self.kind.as_deref().filter(|kind| *kind != "BPE") {
            return odd(format!("type {}", quote(kind)), "BPE");
        }
        if self.dropout.is_some_and(|dropout| dropout != 0.0) {
            return odd(format!("dropout {:?}", self.dropout), "none");
        }
        for (key, affix) in [
            ("continuing_subword_prefix", &self.continuing_subword_prefix),
            ("end_of_word_suffix", &self.end_of_word_suffix),
        ] {
            if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
                return odd(format!("{key} {}", quote(affix)), "none");
            }
        }
        if self.byte_fallback == Some(true) {
            return odd("byte_fallback is true".into(), "false: every byte has a token");
        }
        Ok(())
    }
}

/// A string out of the file itself where nothing in it is escaped.
struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    deserializer.deserialize_str(TextVisitor)
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow, deserialize_with = "text")] Cow<'a, str>);

/// `model.vocab`: token to id.
struct Tokens<'a>(Vec<(Cow<'a, str>, TokenId)>);

impl<'de: 'a, 'a> Deserialize<'de> for Tokens<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Vec<(Cow<'de, str>, TokenId)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some((Text(token), id)) = map.next_entry()? {
                    if tokens.len() == MAX_TOKENS {
                        return Err(de::Error::custom(format_args!("more than {MAX_TOKENS} tokens")));
                    }
                    tokens.push((token, id));
                }
                Ok(tokens)
            }
        }
        deserializer.deserialize_map(Map).map(Tokens)
    }
}

/// `model.merges`, each as `left right`, one after another.
struct Merges {
    text: String,
    ends: Vec<usize>,
}

impl Merges {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.text.get(start..end).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges, A::Error> {
                let mut merges = Merges { text: String::new(), ends: Vec::new() };
                while seq.next_element_seed(Pair(&mut merges.text))?.is_some() {
                    if merges.ends.len() == MAX_MERGES {
                        return Err(de::Error::custom(format_args!("more than {MAX_MERGES} merges")));
                    }
                    merges.ends.push(merges.text.len());
                }
                Ok(merges)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// One merge, `"left right"` or `["left", "right"]`, appended to the text.
struct Pair<'t>(&'t mut String);

impl<'de> de::DeserializeSeed<'de> for Pair<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge: \"left right\" or [\"left\", \"right\"]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let halves =
            text.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '));
        halves.ok_or_else(|| E::invalid_value(de::Unexpected::Str(&quote(text)), &self))?;
        self.0.push_str(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (Some(Text(left)), Some(Text(right)), None) =
            (seq.next_element()?, seq.next_element()?, seq.next_element::<IgnoredAny>()?)
        else {
            return Err(de::Error::invalid_length(0, &self));
        };
        if [&left, &right].iter().any(|half| half.is_empty() || half.contains(' ')) {
            return Err(de::Error::invalid_value(de::Unexpected::Str(&quote(&format!("{left} {right}"))), &self));
        }
        self.0.push_str(&left);
        self.0.push(' ');
        self.0.push_str(&right);
        Ok(())
    }
}
