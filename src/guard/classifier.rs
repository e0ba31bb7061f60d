//! The check that asks an encoder: windows over all of the text, in every view, and the highest score of each label.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Deserialize;
use tokenizers::Tokenizer;

use super::check::{Check, Control};
use super::pipeline::Recommended;
use super::taxonomy::Category;
use super::text::JudgedText;
use super::verdict::{CheckId, Evidence, Finding, Side};
use super::{assets, windows};
use crate::digest;
use crate::engine::OnnxClassifier;
use crate::error::{Error, Result};

/// The format of `classifier.toml` this build reads.
const VERSION: &str = "1";
const MOST_CONFIG_BYTES: usize = 64 << 10;
const MOST_TOKENIZER_BYTES: usize = 64 << 20;
const MOST_MODEL_BYTES: usize = 1 << 30;
/// So many windows go through the model at once.
const BATCH: usize = 8;

/// The three files of a classifier.
pub(super) struct Files<'a> {
    pub(super) config: &'a str,
    pub(super) model: &'a [u8],
    pub(super) tokenizer: &'a [u8],
}

/// An encoder with its tokenizer and what is known about its labels.
pub(super) struct Classifier {
    model: OnnxClassifier,
    tokenizer: Tokenizer,
    labels: Vec<Category>,
    shape: windows::Shape,
    pad: i64,
    input_marker: i64,
    output_marker: i64,
    most_windows: usize,
}

/// `classifier.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: String,
    labels: Vec<String>,
    /// Tokens of a window, the side's marker included.
    max_tokens: usize,
    /// Tokens from the start of one window to the start of the next.
    stride: usize,
    input_names: Vec<String>,
    output_name: String,
    pad_id: u32,
    model_sha256: String,
    tokenizer_sha256: String,
    side_tokens: SideTokens,
    /// The score from which a label counts.
    thresholds: BTreeMap<String, f32>,
    /// The same for the output side, where it differs.
    #[serde(default)]
    output_thresholds: BTreeMap<String, f32>,
}

/// The marker each window begins with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SideTokens {
    input: String,
    output: String,
}

impl Classifier {
    /// Loads the classifier in a folder.
    pub(super) fn from_folder(folder: &Path, most_windows: usize) -> Result<(Self, Recommended)> {
        let read = |name: &str, most: usize| assets::read_limited(&folder.join(name), most);
        let config = read("classifier.toml", MOST_CONFIG_BYTES)?;
        let config = std::str::from_utf8(&config).map_err(|_| Error::corrupt("classifier.toml is not UTF-8"))?;
        let model = read("model.onnx", MOST_MODEL_BYTES)?;
        let tokenizer = read("tokenizer.json", MOST_TOKENIZER_BYTES)?;
        Self::from_files(&Files { config, model: &model, tokenizer: &tokenizer }, most_windows)
            .map_err(|e| e.context(format!("classifier {}", folder.display())))
    }

    /// Loads a classifier and the thresholds it recommends.
    pub(super) fn from_files(files: &Files<'_>, most_windows: usize) -> Result<(Self, Recommended)> {
        let config: Config = toml::from_str(files.config)
            .map_err(|e| Error::corrupt(format!("classifier.toml: {}", e.to_string().trim())))?;
        let (labels, recommended) = config.check()?;
        pinned("model.onnx", files.model, &config.model_sha256)?;
        pinned("tokenizer.json", files.tokenizer, &config.tokenizer_sha256)?;
        let tokenizer = load_tokenizer(files.tokenizer)?;
        let marker = |token: &str| {
            let id = tokenizer.token_to_id(token).map(i64::from);
            id.ok_or_else(|| Error::corrupt(format!("tokenizer.json: no token {token:?}, which classifier.toml names")))
        };
        let (input_marker, output_marker) = (marker(&config.side_tokens.input)?, marker(&config.side_tokens.output)?);
        let model = OnnxClassifier::from_bytes("model.onnx", files.model)?;
        if model.labels() != labels.len() {
            let (found, named) = (model.labels(), labels.len());
            return Err(Error::corrupt(format!(
                "model.onnx gives {found} logits, classifier.toml names {named} labels"
            )));
        }
        let classifier = Self {
            model,
            tokenizer,
            labels,
            shape: windows::Shape { tokens: config.max_tokens - 1, stride: config.stride },
            pad: i64::from(config.pad_id),
            input_marker,
            output_marker,
            most_windows,
        };
        Ok((classifier, recommended))
    }

    /// The windows of all views. A view that repeats the original but for white space is not read twice.
    fn windows(&self, text: &JudgedText<'_>, control: &Control) -> Result<Vec<Vec<i64>>> {
        let mut all: Vec<Vec<i64>> = Vec::new();
        for view in text.views().iter().filter(|v| !v.is_respaced()) {
            control.check()?;
            let ids = self.encode(view.text())?;
            for window in windows::of(&ids, self.shape) {
                if !all.contains(&window) {
                    all.push(window);
                }
                if all.len() > self.most_windows {
                    let most = self.most_windows;
                    return Err(Error::limit(format!("the text needs more than {most} windows of the classifier")));
                }
            }
        }
        Ok(all)
    }

    fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoded = catch_unwind(AssertUnwindSafe(|| self.tokenizer.encode_fast(text, false)))
            .unwrap_or_else(|_| Err("the tokenizer panicked".into()))
            .map_err(|e| Error::guard_unavailable(format!("tokenizing: {e}")))?;
        Ok(encoded.get_ids().iter().copied().map(i64::from).collect())
    }

    /// The highest score of each label over a batch of windows.
    fn score(&self, batch: &[Vec<i64>], marker: i64, control: &Control, best: &mut [f32]) -> Result<()> {
        let seq = batch.iter().map(Vec::len).max().unwrap_or(0) + 1;
        let mut ids = Vec::with_capacity(batch.len() * seq);
        let mut mask = Vec::with_capacity(batch.len() * seq);
        for window in batch {
            let padding = seq - 1 - window.len();
            ids.push(marker);
            ids.extend(window);
            ids.extend(std::iter::repeat_n(self.pad, padding));
            mask.extend(std::iter::repeat_n(1, window.len() + 1));
            mask.extend(std::iter::repeat_n(0, padding));
        }
        let logits = self.model.logits(&ids, &mask, batch.len(), seq, &|| control.check())?;
        for row in logits.chunks_exact(self.labels.len()) {
            for (best, logit) in best.iter_mut().zip(row) {
                *best = best.max(sigmoid(*logit));
            }
        }
        Ok(())
    }
}

impl Check for Classifier {
    fn id(&self) -> CheckId {
        CheckId::CLASSIFIER
    }

    fn judge(&self, text: &JudgedText<'_>, side: Side, control: &Control) -> Result<Vec<Finding>> {
        let windows = self.windows(text, control)?;
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let marker = match side {
            Side::Input => self.input_marker,
            Side::Output => self.output_marker,
        };
        let mut best = vec![0.0f32; self.labels.len()];
        for batch in windows.chunks(BATCH) {
            self.score(batch, marker, control, &mut best)?;
        }
        let score = |(c, s): (&Category, f32)| Finding { category: *c, evidence: Evidence::Score(s), span: None };
        Ok(self.labels.iter().zip(best).map(score).collect())
    }
}

impl Config {
    /// The labels in order, and the thresholds.
    fn check(&self) -> Result<(Vec<Category>, Recommended)> {
        fn bad<T>(what: String) -> Result<T> {
            Err(Error::corrupt(format!("classifier.toml: {what}")))
        }
        if self.version != VERSION {
            return bad(format!("version {:?} is not {VERSION:?}", self.version));
        }
        if self.input_names != ["input_ids", "attention_mask"] || self.output_name != "logits" {
            return bad("input_names and output_name must be input_ids, attention_mask and logits".into());
        }
        if !(8..=8192).contains(&self.max_tokens) || self.stride == 0 || self.stride >= self.max_tokens {
            return bad(format!(
                "max_tokens {} and stride {}: some text would not be read",
                self.max_tokens, self.stride
            ));
        }
        let mut labels = Vec::with_capacity(self.labels.len());
        let mut recommended = Recommended::default();
        for label in &self.labels {
            let category: Category = label.parse().or_else(|e: Error| bad(format!("labels: {e}")))?;
            if labels.contains(&category) {
                return bad(format!("label {label} stands twice"));
            }
            labels.push(category);
            let Some(input) = self.thresholds.get(label) else { return bad(format!("no threshold for {label}")) };
            let output = self.output_thresholds.get(label).unwrap_or(input);
            for (side, t) in [(Side::Input, *input), (Side::Output, *output)] {
                if !(t > 0.0 && t <= 1.0) {
                    return bad(format!("threshold of {label}: {t} is not above 0 and at most 1"));
                }
                recommended.set(category, side, t);
            }
        }
        if labels.is_empty() {
            return bad("no labels".into());
        }
        match self.thresholds.keys().chain(self.output_thresholds.keys()).find(|k| !self.labels.contains(k)) {
            Some(key) => bad(format!("a threshold for {key}, which is no label")),
            None => Ok((labels, recommended)),
        }
    }
}

fn pinned(name: &str, bytes: &[u8], pin: &str) -> Result<()> {
    let found = digest::sha256_hex(bytes);
    if found.eq_ignore_ascii_case(pin) {
        return Ok(());
    }
    Err(Error::corrupt(format!("{name}: SHA-256 is {found}, classifier.toml asks for {pin}")))
}

/// The tokenizer library panics on some damaged files.
fn load_tokenizer(bytes: &[u8]) -> Result<Tokenizer> {
    let loaded = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)))
        .unwrap_or_else(|_| Err("the tokenizer library panicked".into()));
    let mut tokenizer = loaded.map_err(|e| Error::corrupt(format!("tokenizer.json: {e}")))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| Error::corrupt(format!("tokenizer.json: {e}")))?;
    // Markers written in the judged text stay ordinary text.
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
