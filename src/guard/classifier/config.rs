//! What a folder says about its classifier: `classifier.toml` in either of its kinds, or the model's own `config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::pipeline::Recommended;
use super::super::taxonomy::Category;
use super::super::verdict::{CheckId, Side};
use crate::error::{Error, Result};

/// The format of `classifier.toml` this build reads.
const VERSION: &str = "1";
/// From this score on LlamaFirewall blocks; the model's cards name no other.
const INJECTION_THRESHOLD: f32 = 0.9;
/// The window Prompt Guard was trained on, and the way from one to the next.
const INJECTION_WINDOW: usize = 512;
const INJECTION_STRIDE: usize = 384;

/// So many tokens may end a sentence.
const MOST_ENDS: usize = 64;

/// With more than this a long text would hardly be judged.
const MOST_SHIFT: f32 = 4.0;

/// The two kinds of classifiers.
pub(super) enum Config {
    Labels(Labels),
    Injection(Injection),
}

/// `kind = "labels"`, or none: many labels, each with a score of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    version: String,
    #[serde(rename = "kind", default)]
    _kind: Option<String>,
    labels: Vec<String>,
    /// Tokens of a window, the side's marker included.
    pub(super) max_tokens: usize,
    /// Tokens from the start of one window to the start of the next, at most.
    pub(super) stride: usize,
    /// Tokens that end a sentence: the next window begins behind the last of them in the second half of the stride.
    #[serde(default)]
    pub(super) sentence_ends: Vec<String>,
    /// What the logits of a view are lowered by when it is read in several windows.
    #[serde(default)]
    pub(super) several_shift: f32,
    /// Tokens of the shortest sentence that is read by itself where a text has several; 0 reads none.
    #[serde(default)]
    pub(super) sentence_tokens: usize,
    /// What the logits of such a sentence are lowered by.
    #[serde(default)]
    pub(super) sentence_shift: f32,
    input_names: Vec<String>,
    output_name: String,
    pub(super) pad_id: u32,
    model_sha256: String,
    tokenizer_sha256: String,
    #[serde(default)]
    data_sha256: BTreeMap<String, String>,
    pub(super) side_tokens: SideTokens,
    /// The score from which a label counts.
    thresholds: BTreeMap<String, f32>,
    /// The same for the output side, where it differs.
    #[serde(default)]
    output_thresholds: BTreeMap<String, f32>,
}

/// The marker each window begins with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SideTokens {
    pub(super) input: String,
    pub(super) output: String,
}

/// `kind = "injection"`: two classes, benign and malicious, of which the last one is read, as in Prompt Guard.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Injection {
    version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// What the malicious class is reported as.
    #[serde(default = "prompt_injection")]
    category: String,
    #[serde(default = "injection_threshold")]
    threshold: f32,
    /// The sides that are judged.
    #[serde(default = "input_alone")]
    sides: Vec<String>,
    /// Tokens of a window, the first and the last token included.
    #[serde(default = "injection_window")]
    pub(super) max_tokens: usize,
    /// Tokens from the start of one window to the start of the next.
    #[serde(default = "injection_stride")]
    pub(super) stride: usize,
    #[serde(default = "cls")]
    pub(super) first_token: String,
    #[serde(default = "sep")]
    pub(super) last_token: String,
    model_sha256: Option<String>,
    tokenizer_sha256: Option<String>,
    #[serde(default)]
    data_sha256: BTreeMap<String, String>,
}

fn prompt_injection() -> String {
    Category::PromptInjection.id().to_owned()
}
fn injection_threshold() -> f32 {
    INJECTION_THRESHOLD
}
fn input_alone() -> Vec<String> {
    vec![Side::Input.as_str().to_owned()]
}
fn injection_window() -> usize {
    INJECTION_WINDOW
}
fn injection_stride() -> usize {
    INJECTION_STRIDE
}
fn cls() -> String {
    "[CLS]".to_owned()
}
fn sep() -> String {
    "[SEP]".to_owned()
}

impl Config {
    /// Reads a `classifier.toml`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            kind: Option<String>,
        }
        let failed = |e: toml::de::Error| Error::corrupt(format!("classifier.toml: {}", e.to_string().trim()));
        let Kind { kind } = toml::from_str(text).map_err(failed)?;
        match kind.as_deref() {
            None | Some("labels") => toml::from_str(text).map(Config::Labels).map_err(failed),
            Some("injection") => {
                let config: Injection = toml::from_str(text).map_err(failed)?;
                if config.model_sha256.is_none() || config.tokenizer_sha256.is_none() {
                    return bad("model_sha256 and tokenizer_sha256 are missing".into());
                }
                Ok(Config::Injection(config))
            }
            Some(other) => bad(format!("kind {other:?} is neither \"labels\" nor \"injection\"")),
        }
    }

    /// Holds a file's digest against the one that is asked for. Without a `classifier.toml` none is.
    pub(super) fn verify(&self, name: &str, found: &str) -> Result<()> {
        let (model, tokenizer, data) = match self {
            Self::Labels(c) => (Some(&c.model_sha256), Some(&c.tokenizer_sha256), &c.data_sha256),
            Self::Injection(c) => (c.model_sha256.as_ref(), c.tokenizer_sha256.as_ref(), &c.data_sha256),
        };
        let pin = match name {
            _ if model.is_none() => return Ok(()),
            "model.onnx" => model,
            "tokenizer.json" => tokenizer,
            other => data.get(other),
        };
        match pin {
            Some(pin) if found.eq_ignore_ascii_case(pin) => Ok(()),
            Some(pin) => Err(Error::corrupt(format!("{name}: SHA-256 is {found}, classifier.toml asks for {pin}"))),
            None => bad(format!("data_sha256 has no line for {name}, which model.onnx keeps weights in")),
        }
    }
}

impl Labels {
    /// The labels in order; their thresholds go into `recommended`.
    pub(super) fn check(&self, recommended: &mut Recommended) -> Result<Vec<Category>> {
        if self.version != VERSION {
            return bad(format!("version {:?} is not {VERSION:?}", self.version));
        }
        if self.input_names != ["input_ids", "attention_mask"] || self.output_name != "logits" {
            return bad("input_names and output_name must be input_ids, attention_mask and logits".into());
        }
        check_windows(self.max_tokens, self.stride, 0)?;
        if self.sentence_ends.len() > MOST_ENDS {
            return bad(format!("sentence_ends: {} tokens, at most {MOST_ENDS}", self.sentence_ends.len()));
        }
        for (name, shift) in [("several_shift", self.several_shift), ("sentence_shift", self.sentence_shift)] {
            if !(0.0..=MOST_SHIFT).contains(&shift) {
                return bad(format!("{name}: {shift} is not from 0 to {MOST_SHIFT}"));
            }
        }
        let mut labels = Vec::with_capacity(self.labels.len());
        for label in &self.labels {
            let category: Category = label.parse().or_else(|e: Error| bad(format!("labels: {e}")))?;
            if labels.contains(&category) {
                return bad(format!("label {label} stands twice"));
            }
            labels.push(category);
            let Some(input) = self.thresholds.get(label) else { return bad(format!("no threshold for {label}")) };
            let output = self.output_thresholds.get(label).unwrap_or(input);
            for (side, t) in [(Side::Input, *input), (Side::Output, *output)] {
                check_threshold(label, t)?;
                recommended.set(CheckId::CLASSIFIER, category, side, t);
            }
        }
        if labels.is_empty() {
            return bad("no labels".into());
        }
        match self.thresholds.keys().chain(self.output_thresholds.keys()).find(|k| !self.labels.contains(k)) {
            Some(key) => bad(format!("a threshold for {key}, which is no label")),
            None => Ok(labels),
        }
    }
}

impl Injection {
    /// What is taken for a folder without `classifier.toml`, when its `config.json` is that of a DeBERTa with two classes.
    pub(super) fn from_model(json: &[u8]) -> Result<Self> {
        let model: ModelConfig =
            serde_json::from_slice(json).map_err(|e| Error::corrupt(format!("config.json: {e}")))?;
        model.check().map_err(|e| e.context("config.json (there is no classifier.toml)"))?;
        let window = model.max_position_embeddings.unwrap_or(INJECTION_WINDOW).min(INJECTION_WINDOW);
        Ok(Self {
            version: VERSION.to_owned(),
            _kind: "injection".to_owned(),
            category: prompt_injection(),
            threshold: INJECTION_THRESHOLD,
            sides: input_alone(),
            max_tokens: window,
            stride: INJECTION_STRIDE.min(window / 4 * 3),
            first_token: cls(),
            last_token: sep(),
            model_sha256: None,
            tokenizer_sha256: None,
            data_sha256: BTreeMap::new(),
        })
    }

    /// The category and the sides; the threshold goes into `recommended`.
    pub(super) fn check(&self, recommended: &mut Recommended) -> Result<(Category, Vec<Side>)> {
        if self.version != VERSION {
            return bad(format!("version {:?} is not {VERSION:?}", self.version));
        }
        check_windows(self.max_tokens, self.stride, 2)?;
        check_threshold("the malicious class", self.threshold)?;
        let category: Category = self.category.parse().or_else(|e: Error| bad(format!("category: {e}")))?;
        let mut sides = Vec::new();
        for side in &self.sides {
            match [Side::Input, Side::Output].into_iter().find(|s| s.as_str() == side) {
                Some(side) if !sides.contains(&side) => sides.push(side),
                _ => return bad(format!("sides: {side:?} is neither input nor output, or stands twice")),
            }
        }
        if sides.is_empty() {
            return bad("sides: none, so no text would be judged".into());
        }
        for side in [Side::Input, Side::Output] {
            recommended.set(CheckId::PROMPT_GUARD, category, side, self.threshold);
        }
        Ok((category, sides))
    }
}

/// The lines of a `config.json` that decide.
#[derive(Deserialize)]
struct ModelConfig {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    #[serde(default)]
    num_labels: Option<usize>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
}

impl ModelConfig {
    fn check(&self) -> Result<()> {
        let wanted = "DebertaV2ForSequenceClassification";
        if self.architectures != [wanted] {
            return Err(Error::unsupported(format!("architectures {:?}, expected {wanted}", self.architectures)));
        }
        let labels = if self.id2label.is_empty() { self.num_labels.unwrap_or(2) } else { self.id2label.len() };
        if labels != 2 {
            return Err(Error::unsupported(format!("{labels} labels, expected benign and malicious")));
        }
        // A model whose classes stand the other way round would let every attack pass.
        let last = self.id2label.get("1").map_or("LABEL_1", String::as_str);
        let known = ["label_1", "malicious", "injection", "jailbreak", "unsafe", "attack"];
        if !known.contains(&last.to_ascii_lowercase().as_str()) {
            return Err(Error::unsupported(format!(
                "the last label is {last:?}; name what it means in classifier.toml"
            )));
        }
        Ok(())
    }
}

fn check_windows(tokens: usize, stride: usize, around: usize) -> Result<()> {
    if !(8..=8192).contains(&tokens) || stride == 0 || stride >= tokens - around {
        return bad(format!("max_tokens {tokens} and stride {stride}: some text would not be read"));
    }
    Ok(())
}

fn check_threshold(of: &str, t: f32) -> Result<()> {
    if t > 0.0 && t <= 1.0 {
        return Ok(());
    }
    bad(format!("threshold of {of}: {t} is not above 0 and at most 1"))
}

fn bad<T>(what: String) -> Result<T> {
    Err(Error::corrupt(format!("classifier.toml: {what}")))
}
