//! The check that asks an encoder: windows over all of the text, in every view, and the highest score of each label.

mod charsmap;
mod config;
mod outline;
mod squeeze;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::borrow::Cow;
use std::path::Path;

use super::check::{Check, Control};
use super::pipeline::Recommended;
use super::recall::WindowKey;
use super::taxonomy::Category;
use super::text::{JudgedText, View, ViewKind};
use super::verdict::{CheckId, Evidence, Finding, Side};
use super::windows;
use crate::digest;
use crate::engine::{OnnxClassifier, OnnxOptions};
use crate::error::{Error, Result};
use crate::files::read_regular;
use config::{Config, Injection, Labels};
use tokenizer::Tokenizer;

const MOST_CONFIG_BYTES: usize = 64 << 10;
const MOST_TOKENIZER_BYTES: usize = 64 << 20;
/// So many windows of the many-label kind go through the model at once.
const BATCH: usize = 8;
/// Tokens of the shortest paragraph that is read by itself; headings and items of lists are read with their neighbours.
const PARAGRAPH: usize = 8;
/// Windows of the injection kind go through alone, filled up to one of these or to a full window. A plan for one length
/// takes half the time of one for any length, and more memory, so there are few.
const LENGTHS: [usize; 1] = [128];

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
    reading: Reading,
    shape: windows::Shape,
    most_windows: usize,
}

/// A window, what its logits are lowered by, and whether it is more than a sentence read by itself.
struct Window {
    ids: Vec<i64>,
    shift: f32,
    wide: bool,
}

/// What stands around the windows of one side.
struct Frame {
    marker: i64,
    pad: i64,
}

/// Whether sentences are read by themselves: those of so many tokens or more, and what their logits are lowered by.
struct Sentences {
    least: usize,
    shift: f32,
}

/// How windows are framed, and what the logits mean.
enum Reading {
    /// A marker for the side in front; every logit is a label of its own.
    /// The logits of one among several windows are lowered by `shift`: each is a chance to be flagged.
    Labels {
        labels: Vec<Category>,
        pad: i64,
        input_marker: i64,
        output_marker: i64,
        shift: f32,
        sentences: Option<Sentences>,
    },
    /// One token in front and one behind; the last of two classes is the malicious one.
    Injection { category: Category, sides: Vec<Side>, first: i64, last: i64 },
}

impl Classifier {
    /// Loads the classifier in a folder. The thresholds it recommends go into `recommended`.
    pub(super) fn from_folder(folder: &Path, most_windows: usize, recommended: &mut Recommended) -> Result<Self> {
        let name = folder.display();
        Self::open(folder, most_windows, recommended).map_err(|e| e.context(format!("classifier {name}")))
    }

    fn open(folder: &Path, most_windows: usize, recommended: &mut Recommended) -> Result<Self> {
        let read = |name: &str, most: usize| read_regular(&folder.join(name), most);
        let there = |name: &str| folder.join(name).symlink_metadata().is_ok();
        let config = if there("classifier.toml") || !there("config.json") {
            let text = read("classifier.toml", MOST_CONFIG_BYTES)?;
            Config::parse(std::str::from_utf8(&text).map_err(|_| Error::corrupt("classifier.toml is not UTF-8"))?)?
        } else {
            Config::Injection(Injection::from_model(&read("config.json", MOST_CONFIG_BYTES)?)?)
        };
        let tokenizer = read("tokenizer.json", MOST_TOKENIZER_BYTES)?;
        let shapes: Vec<(usize, usize)> = match &config {
            Config::Labels(_) => Vec::new(),
            Config::Injection(c) => lengths(c.max_tokens).map(|n| (1, n)).collect(),
        };
        Self::assemble(&config, &tokenizer, most_windows, recommended, || {
            let verify = |name: &str, found: &str| config.verify(name, found);
            let options = OnnxOptions { shapes: &shapes, verify: Some(&verify), threads: None };
            OnnxClassifier::open(&folder.join("model.onnx"), &options)
        })
    }

    /// Loads a classifier from bytes, as [`Classifier::from_folder`].
    pub(super) fn from_files(files: &Files<'_>, most_windows: usize, recommended: &mut Recommended) -> Result<Self> {
        let config = Config::parse(files.config)?;
        Self::assemble(&config, files.tokenizer, most_windows, recommended, || {
            config.verify("model.onnx", &digest::sha256_hex(files.model))?;
            OnnxClassifier::from_bytes("model.onnx", files.model)
        })
    }

    fn assemble(
        config: &Config,
        tokenizer: &[u8],
        most_windows: usize,
        recommended: &mut Recommended,
        model: impl FnOnce() -> Result<OnnxClassifier>,
    ) -> Result<Self> {
        config.verify("tokenizer.json", &digest::sha256_hex(tokenizer))?;
        let tokenizer = Tokenizer::load(tokenizer)?;
        let shape = |tokens, stride, ends| windows::Shape { tokens, stride, ends };
        let (reading, shape) = match config {
            Config::Labels(c) => {
                let reading = Reading::labels(c, &tokenizer, recommended)?;
                let ends = c.sentence_ends.iter().map(|end| tokenizer.id(end)).collect::<Result<_>>()?;
                (reading, shape(c.max_tokens - 1, c.stride, ends))
            }
            Config::Injection(c) => {
                let reading = Reading::injection(c, &tokenizer, recommended)?;
                (reading, shape(c.max_tokens - 2, c.stride, Vec::new()))
            }
        };
        let model = model()?;
        if model.labels() != reading.logits() {
            let (found, named) = (model.labels(), reading.logits());
            return Err(Error::corrupt(format!("model.onnx gives {found} logits, expected {named}")));
        }
        Ok(Self { model, tokenizer, reading, shape, most_windows })
    }

    /// The windows of all views. A view that repeats the original but for white space is not read twice.
    fn windows(&self, text: &JudgedText<'_>, control: &Control) -> Result<Vec<Window>> {
        let mut all = Vec::new();
        let begins = match self.reading {
            Reading::Labels { .. } => windows::paragraphs(text.original()),
            Reading::Injection { .. } => Vec::new(),
        };
        for view in text.views().iter().filter(|v| !v.is_repeated()) {
            control.check()?;
            self.add_view(view, &begins, &mut all)?;
            // One letter that normalization changes keeps the original from being squeezed, not what a reader sees.
            if matches!(view.kind(), ViewKind::Raw | ViewKind::Clean)
                && matches!(self.reading, Reading::Injection { .. })
                && let Some(squeezed) = squeeze::squeezed(view.text(), &self.tokenizer)
            {
                self.add(&self.tokenizer.encode(&squeezed)?, false, &mut all)?;
            }
        }
        Ok(all)
    }

    /// The windows of a view and, where it reaches over several paragraphs, of what it says of each: an unsafe one is not diluted
    /// by what stands around it.
    fn add_view(&self, view: &View<'_>, begins: &[usize], all: &mut Vec<Window>) -> Result<()> {
        let ids = self.tokenizer.encode(view.text())?;
        if begins.len() > 1 && ids.len() > PARAGRAPH {
            for paragraph in view.by_paragraph(begins) {
                let ids = self.tokenizer.encode(paragraph)?;
                if ids.len() >= PARAGRAPH {
                    self.add(&ids, false, all)?;
                }
            }
        }
        // What a disguised run says is read as if it stood alone: the sentence that asks for its reading, or what else stands
        // around it, neither dilutes nor excuses it. With them it is one more reading of the same.
        let mut several = false;
        for said in view.told() {
            let run = self.tokenizer.encode(said)?;
            if run.len() >= PARAGRAPH && run != ids {
                self.add(&run, false, all)?;
                self.add_sentences(&run, all);
                several = true;
            }
        }
        self.add(&ids, several, all)?;
        self.add_sentences(&ids, all);
        Ok(())
    }

    /// Sentences come behind the windows, whose number is limited; there are at most a few for each.
    fn add_sentences(&self, ids: &[i64], all: &mut Vec<Window>) {
        if let Reading::Labels { sentences: Some(Sentences { least, shift }), .. } = &self.reading {
            for sentence in windows::sentences(ids, &self.shape, *least) {
                put(Window { ids: sentence.to_vec(), shift: *shift, wide: false }, all);
            }
        }
    }

    /// Adds the windows of `ids`, which may be one of `several` readings.
    fn add(&self, ids: &[i64], several: bool, all: &mut Vec<Window>) -> Result<()> {
        let found = windows::of(ids, &self.shape);
        let shift = match self.reading {
            Reading::Labels { shift, .. } if several || found.len() > 1 => shift,
            _ => 0.0,
        };
        for ids in found {
            put(Window { ids, shift, wide: true }, all);
            if all.len() > self.most_windows && all.iter().filter(|w| w.wide).count() > self.most_windows {
                let most = self.most_windows;
                return Err(Error::limit(format!("the text needs more than {most} windows of the classifier")));
            }
        }
        Ok(())
    }

    /// The highest score of each label over windows. A window that an earlier judgement has read is not read again: its logits
    /// are the same to the bit whatever goes through the model beside it.
    fn score_all(&self, windows: &[Window], frame: &Frame, control: &Control, labels: usize) -> Result<Vec<f32>> {
        let mut best = vec![0.0f32; labels];
        let mut fresh: Vec<(&Window, Option<WindowKey>)> = Vec::with_capacity(windows.len());
        for window in windows {
            let key = control.recall().map(|recall| recall.key(self.id(), &[frame.marker], &window.ids));
            match control.recall().zip(key.as_ref()).and_then(|(recall, key)| recall.get(key)) {
                Some(logits) => raise(&mut best, &logits, window.shift),
                None => fresh.push((window, key)),
            }
        }
        // A batch is as long as its longest window.
        fresh.sort_by_key(|(w, _)| w.ids.len());
        for batch in fresh.chunks(BATCH) {
            self.score(batch, frame, control, &mut best)?;
        }
        Ok(best)
    }

    /// The highest score of each label over a batch of windows.
    fn score(
        &self,
        batch: &[(&Window, Option<WindowKey>)],
        frame: &Frame,
        control: &Control,
        best: &mut [f32],
    ) -> Result<()> {
        let seq = batch.iter().map(|(w, _)| w.ids.len()).max().unwrap_or(0) + 1;
        let mut ids = Vec::with_capacity(batch.len() * seq);
        let mut mask = Vec::with_capacity(batch.len() * seq);
        for (window, _) in batch {
            let padding = seq - 1 - window.ids.len();
            ids.push(frame.marker);
            ids.extend(&window.ids);
            ids.extend(std::iter::repeat_n(frame.pad, padding));
            mask.extend(std::iter::repeat_n(1, window.ids.len() + 1));
            mask.extend(std::iter::repeat_n(0, padding));
        }
        let logits = self.model.logits(&ids, &mask, batch.len(), seq, &|| control.check())?;
        for (row, (window, key)) in logits.chunks_exact(best.len()).zip(batch) {
            raise(best, row, window.shift);
            if let Some((recall, key)) = control.recall().zip(*key) {
                recall.put(key, row);
            }
        }
        Ok(())
    }

    /// The probability of the malicious class for one window.
    fn injection_score(&self, window: &[i64], first: i64, last: i64, control: &Control) -> Result<f32> {
        let key = control.recall().map(|recall| (recall, recall.key(self.id(), &[first, last], window)));
        if let Some([benign, malicious]) = key.as_ref().and_then(|(recall, key)| recall.get(key)).as_deref() {
            return Ok(sigmoid(malicious - benign));
        }
        let mut ids: Vec<i64> = [first].iter().chain(window).chain(&[last]).copied().collect();
        let mut mask = vec![1; ids.len()];
        let length = lengths(self.shape.tokens + 2).find(|n| *n >= ids.len()).unwrap_or(ids.len());
        // What the mask leaves out may be any token.
        ids.resize(length, last);
        mask.resize(length, 0);
        let logits = self.model.logits(&ids, &mask, 1, ids.len(), &|| control.check())?;
        if let Some((recall, key)) = key {
            recall.put(key, &logits);
        }
        match logits[..] {
            // The softmax of two is the sigmoid of their difference.
            [benign, malicious] => Ok(sigmoid(malicious - benign)),
            ref other => Err(Error::guard_invalid(format!("{} logits for two classes", other.len()))),
        }
    }
}

impl Check for Classifier {
    fn id(&self) -> CheckId {
        match self.reading {
            Reading::Labels { .. } => CheckId::CLASSIFIER,
            Reading::Injection { .. } => CheckId::PROMPT_GUARD,
        }
    }

    fn judge(&self, text: &JudgedText<'_>, side: Side, control: &Control) -> Result<Vec<Finding>> {
        if matches!(&self.reading, Reading::Injection { sides, .. } if !sides.contains(&side)) {
            return Ok(Vec::new());
        }
        let windows = self.windows(text, control)?;
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let (labels, best) = match &self.reading {
            Reading::Labels { labels, pad, input_marker, output_marker, .. } => {
                let marker = if side == Side::Input { *input_marker } else { *output_marker };
                let frame = Frame { marker, pad: *pad };
                let best = self.score_all(&windows, &frame, control, labels.len())?;
                (Cow::Borrowed(&labels[..]), best)
            }
            Reading::Injection { category, first, last, .. } => {
                let mut best = 0.0f32;
                for window in &windows {
                    best = best.max(self.injection_score(&window.ids, *first, *last, control)?);
                }
                (Cow::Owned(vec![*category]), vec![best])
            }
        };
        let finding = |(c, s): (&Category, f32)| Finding::new(*c, Evidence::Score(s), None);
        Ok(labels.iter().zip(best).map(finding).collect())
    }
}

impl Reading {
    fn labels(config: &Labels, tokenizer: &Tokenizer, recommended: &mut Recommended) -> Result<Self> {
        let labels = config.check(recommended)?;
        let input_marker = tokenizer.id(&config.side_tokens.input)?;
        let output_marker = tokenizer.id(&config.side_tokens.output)?;
        let (pad, shift) = (i64::from(config.pad_id), config.several_shift);
        let sentences = (config.sentence_tokens > 0)
            .then_some(Sentences { least: config.sentence_tokens, shift: config.sentence_shift });
        Ok(Self::Labels { labels, pad, input_marker, output_marker, shift, sentences })
    }

    fn injection(config: &Injection, tokenizer: &Tokenizer, recommended: &mut Recommended) -> Result<Self> {
        let (category, sides) = config.check(recommended)?;
        let (first, last) = (tokenizer.id(&config.first_token)?, tokenizer.id(&config.last_token)?);
        Ok(Self::Injection { category, sides, first, last })
    }

    fn logits(&self) -> usize {
        match self {
            Self::Labels { labels, .. } => labels.len(),
            Self::Injection { .. } => 2,
        }
    }
}

/// Adds a window unless it is there. What is all of one view may be a part of another; the stricter reading counts.
fn put(new: Window, all: &mut Vec<Window>) {
    match all.iter_mut().find(|w| w.ids == new.ids) {
        Some(known) => {
            known.shift = known.shift.min(new.shift);
            known.wide |= new.wide;
        }
        None => all.push(new),
    }
}

/// The lengths that windows of at most `full` tokens are filled up to.
fn lengths(full: usize) -> impl Iterator<Item = usize> {
    LENGTHS.into_iter().filter(move |n| *n < full).chain([full])
}

/// Raises the best scores to those of a window whose logits are lowered by `shift`.
fn raise(best: &mut [f32], logits: &[f32], shift: f32) {
    for (best, logit) in best.iter_mut().zip(logits) {
        *best = best.max(sigmoid(*logit - shift));
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
