//! A language model that answers safe or unsafe, such as Llama Guard, run by our own engine.
//!
//! Its verdict is read from logits (one pass, the two words at the place where the model answers), its categories from logits
//! over the codes that its prompt lists. Nothing it writes is parsed. What it has read of a conversation stays in its past.

mod categories;
mod family;
mod prompt;
mod script;
mod talk;
#[cfg(test)]
mod tests;
mod trial;
mod verdict;
mod wording;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use family::GuardFamily;
use prompt::{Frame, Prompt};
use script::{LEAST_ROOM, Script};
use talk::Talks;
use trial::Trial;
use wording::Wording;

use super::check::{Check, Control};
use super::policy::Policy;
use super::taxonomy::Category;
use super::text::{JudgedText, ViewKind};
use super::verdict::{CheckId, Evidence, Finding, Side};
use crate::engine::{Decoder, DecoderOptions};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::license::{Acceptance, ModelLicense, ReceiptStore, Status};
use crate::tokenizer::Tokenizer;
use crate::weights::Progress;

/// Which guard model is loaded, and how.
#[derive(Clone, Debug, Default)]
pub struct LlmGuardOptions {
    /// The model, a GGUF file (the first one of a split model).
    pub model: PathBuf,
    /// Its family; `None` takes what the file says of itself.
    pub family: Option<GuardFamily>,
    /// How it is loaded. A context of 0 takes 4,096 positions, longer texts are judged in windows.
    pub decoder: DecoderOptions,
}

impl LlmGuardOptions {
    /// The defaults for a model file.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }
}

/// Positions of the guard's context when nobody says otherwise.
const CONTEXT: usize = 4096;
/// Positions kept free for a verdict and its list of codes.
const ANSWER: usize = 64;
/// A verdict of at least this much is unsafe, whatever a policy's thresholds: then its categories are asked for.
const UNSAFE_FROM: f32 = 0.5;

/// The check.
pub(super) struct LlmGuard {
    decoder: Arc<Decoder>,
    tokenizer: Tokenizer,
    prompt: Prompt,
    talks: Talks,
    license: ModelLicense,
    receipts: ReceiptStore,
    /// The lowest score that means anything under the policy, for input and output.
    asks_from: [f32; 2],
    windows: usize,
    warnings: Vec<String>,
    trials: Vec<Trial>,
    /// The licence was accepted and the policy's examples were tried.
    settled: AtomicBool,
}

impl LlmGuard {
    /// Loads the model. Where its licence was accepted before, the policy's own examples are tried now.
    pub(super) fn open(
        options: &LlmGuardOptions,
        policy: &Policy,
        state_dir: Option<&Path>,
        on_progress: &mut (dyn FnMut(Progress) -> bool + Send),
    ) -> Result<Self> {
        let gguf = Arc::new(Gguf::open(&options.model)?);
        let license = ModelLicense::of(&gguf)?;
        let receipts = ReceiptStore::open(state_dir)?;
        let tokenizer = Tokenizer::from_gguf(gguf.metadata())?;
        let family = GuardFamily::of(&gguf, &tokenizer, options.family)?;
        let template = gguf.metadata().get_str("tokenizer.chat_template")?.unwrap_or_default();
        let wording = Wording::of(family, template);
        let prompt = Prompt::new(&wording, &tokenizer, policy)?;
        let mut how = options.decoder.clone();
        if how.context == 0 {
            how.context = CONTEXT;
        }
        let decoder = Arc::new(Decoder::load(&gguf, &how, on_progress)?);
        let vocab = decoder.model().hparams.vocab;
        if tokenizer.vocab_size() > vocab {
            return Err(Error::corrupt(format!(
                "tokenizer.ggml.tokens: {} entries, the embedding has {vocab} rows",
                tokenizer.vocab_size()
            )));
        }
        let guard = Self {
            talks: Talks::new(Arc::clone(&decoder)),
            asks_from: [Side::Input, Side::Output].map(|side| lowest(policy, side, prompt.frame(side))),
            windows: policy.limits().windows,
            warnings: decoder
                .model()
                .warnings
                .iter()
                .chain(tokenizer.warnings())
                .cloned()
                .chain(wording.warning)
                .collect(),
            trials: Trial::of(policy),
            settled: AtomicBool::new(false),
            decoder,
            tokenizer,
            prompt,
            license,
            receipts,
        };
        for side in [Side::Input, Side::Output] {
            if guard.room(side) < LEAST_ROOM {
                let frame = guard.prompt.frame(side);
                return Err(Error::argument(format!(
                    "the guard model's context of {} tokens is too short: its prompt takes {} without any text",
                    guard.decoder.context_length(),
                    frame.prefix.len() + frame.suffix.len() + ANSWER
                )));
            }
        }
        if guard.status()?.is_accepted() {
            guard.settle()?;
        }
        Ok(guard)
    }

    /// What a user of this model file should know.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn license(&self) -> &ModelLicense {
        &self.license
    }

    pub(super) fn status(&self) -> Result<Status> {
        self.receipts.status(&self.license)
    }

    /// Records an acceptance, then tries the policy's examples.
    pub(super) fn accept(&self, acceptance: &Acceptance) -> Result<()> {
        self.receipts.accept(&self.license, acceptance)?;
        self.settle()
    }

    /// Bytes that the model holds, with the past of one conversation.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = self.decoder.bytes();
        bytes.fixed.saturating_add(bytes.routed_budget).saturating_add(bytes.kv)
    }

    /// The gate before every judgement: a receipt for the licence, and a policy whose examples hold.
    fn settle(&self) -> Result<()> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        self.receipts.require(&self.license)?;
        self.trials.iter().try_for_each(|trial| trial.run(self))?;
        self.settled.store(true, Ordering::Release);
        Ok(())
    }

    /// Tokens of a conversation that fit between the prompt's two ends.
    fn room(&self, side: Side) -> usize {
        let Frame { prefix, suffix, .. } = self.prompt.frame(side);
        self.decoder.context_length().saturating_sub(prefix.len() + suffix.len() + ANSWER)
    }

    /// Judges one reading of a text, window after window.
    fn weigh(&self, script: &Script<'_>, control: &Control, scores: &mut Scores) -> Result<()> {
        for ids in script.windows(&self.tokenizer, self.room(script.side), self.windows)? {
            self.ask(script.side, &ids, control, scores)?;
        }
        Ok(())
    }

    /// One verdict: what is new of the conversation, the question, and the way back.
    fn ask(&self, side: Side, ids: &[u32], control: &Control, scores: &mut Scores) -> Result<()> {
        let frame = self.prompt.frame(side);
        let mut talk = self.talks.reach(side, &frame.prefix, ids, control)?;
        let logits = talk.ask(&self.decoder, &frame.suffix, control)?;
        let score = verdict::read(&logits, self.prompt.safe, self.prompt.not_safe)?;
        scores.verdict = scores.verdict.max(score);
        let asks_from = match side {
            Side::Input => self.asks_from[0],
            Side::Output => self.asks_from[1],
        };
        if score >= asks_from {
            for (category, share) in self.categories(&mut talk, frame, control)? {
                scores.add(category, score * share);
            }
        }
        talk.rewind()?;
        self.talks.keep(talk);
        Ok(())
    }
}

impl Check for LlmGuard {
    fn id(&self) -> CheckId {
        CheckId::LLM_GUARD
    }

    fn is_deep(&self) -> bool {
        true
    }

    fn judge(&self, text: &JudgedText<'_>, side: Side, control: &Control) -> Result<Vec<Finding>> {
        self.settle()?;
        let turns = control.dialogue().turns();
        let mut scores = Scores::default();
        self.weigh(&Script { side, turns, spoken: control.spoken(), text: text.original() }, control, &mut scores)?;
        // A disguise that the model might not see through is judged undone as well. Digits read as letters are left to the
        // rules and the classifier: too many ordinary texts have them.
        let undone = text.views().iter().skip(1).filter(|v| !v.is_repeated() && v.kind() != ViewKind::Leet);
        for view in undone {
            self.weigh(&Script { side, turns, spoken: "", text: view.text() }, control, &mut scores)?;
        }
        let first = self.prompt.frame(side).codes.first().map(|code| code.category);
        Ok(scores.findings(first))
    }
}

/// The highest scores of all windows and readings.
#[derive(Default)]
struct Scores {
    verdict: f32,
    categories: Vec<(Category, f32)>,
}

impl Scores {
    fn add(&mut self, category: Category, score: f32) {
        match self.categories.iter_mut().find(|(c, _)| *c == category) {
            Some((_, known)) => *known = known.max(score),
            None => self.categories.push((category, score)),
        }
    }

    fn of(&self, category: Category) -> f32 {
        self.categories.iter().find(|(c, _)| *c == category).map_or(0.0, |(_, score)| *score)
    }

    /// A verdict below everything that the policy asks about is told under the prompt's first category, for logs and
    /// evaluation; it is below that one's thresholds too.
    fn findings(self, first: Option<Category>) -> Vec<Finding> {
        let told = if self.categories.is_empty() { first.map(|c| (c, self.verdict)) } else { None };
        let all = self.categories.into_iter().chain(told);
        all.map(|(category, score)| Finding::new(category, Evidence::Score(score.clamp(0.0, 1.0)), None)).collect()
    }
}

/// The lowest score from which any category of the prompt does something.
fn lowest(policy: &Policy, side: Side, frame: &Frame) -> f32 {
    let of = |category: Category| {
        let threshold = policy.threshold(category, side, None);
        policy.setting(category, side).flag_from.map_or(threshold, |from| from.min(threshold))
    };
    frame.codes.iter().map(|code| of(code.category)).fold(UNSAFE_FROM, f32::min)
}
