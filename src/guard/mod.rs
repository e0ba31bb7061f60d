//! Judges every word on its way in and out: checks read views of the text, a policy decides, a stream releases what passed.

mod assets;
mod check;
mod classifier;
mod mask;
mod pipeline;
mod policy;
mod rules;
mod stream;
mod taxonomy;
mod text;
mod verdict;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;

use classifier::Classifier;
use pipeline::{Pipeline, Recommended};

pub use check::{Check, Control};
pub use policy::{Limits, Policy, Setting, StreamMode, StreamPolicy};
pub use rules::RuleSet;
pub use stream::{Cleared, OutputContext, OutputStream, Step, StreamStats};
pub use taxonomy::Category;
pub use text::{Hidden, JudgedText, View, ViewKind};
pub use verdict::{Action, CheckId, Evidence, Finding, Judgement, Side, Verdict};

use crate::cancel::CancelFlag;
use crate::error::{Error, Result};

/// What a guard is opened with. The default is the policy, rules and classifier inside the library.
#[derive(Clone, Debug, Default)]
pub struct GuardOptions {
    /// A policy file in the place of the embedded one.
    pub policy: Option<PathBuf>,
    /// The text of a policy; counts before `policy`.
    pub policy_text: Option<String>,
    /// A folder with `classifier.toml`, `model.onnx` and `tokenizer.json`. A classifier of many labels takes the place of
    /// the embedded one; one of injections alone, such as Prompt Guard 2, judges beside it. The latter may have the
    /// model's own `config.json` instead of `classifier.toml`. See guards/README.md.
    pub classifier: Option<PathBuf>,
}

/// An input and what is known about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputContext<'a> {
    /// The message to judge.
    pub text: &'a str,
    /// The user's earlier messages, oldest first. The last few are judged again together with `text`.
    pub recent_user: &'a [&'a str],
    /// Whether `text` is the host's own system prompt. Giving the model orders is the host's right: prompt injection and
    /// jailbreak are at most flagged there.
    pub system: bool,
}

/// The guard: a policy and the checks it decides over. Shared by sessions; judging takes `&self`.
pub struct Guard {
    policy: Policy,
    checks: Vec<Arc<dyn Check>>,
    recommended: Recommended,
}

/// So many earlier messages are joined with a new one …
const RECENT_MESSAGES: usize = 4;
/// … of which the last so many bytes count.
const RECENT_BYTES: usize = 8192;

impl Guard {
    /// Loads policy, rules and classifier.
    ///
    /// # Errors
    /// When any of them is missing, damaged or does not fit: there is no guard with a part left out.
    pub fn open(options: &GuardOptions) -> Result<Self> {
        let policy = match (&options.policy_text, &options.policy) {
            (Some(text), _) => Policy::parse(text).map_err(|e| e.context("policy"))?,
            (None, Some(path)) => Policy::load(path)?,
            (None, None) => Policy::default_embedded()?,
        };
        let rules = RuleSet::embedded(policy.public_contacts())?;
        let (longest, rule) = rules.longest_match();
        if policy.stream().mode == StreamMode::Sentence && longest > policy.stream().lookahead_chars {
            let ahead = policy.stream().lookahead_chars;
            let what = format!("rule {rule} can match {longest} letters, stream.lookahead_chars is {ahead}");
            return Err(Error::argument(format!("{what}: a match could leave before its end was seen")));
        }
        let windows = policy.limits().windows;
        let mut recommended = Recommended::default();
        let mut checks: Vec<Arc<dyn Check>> = vec![Arc::new(rules)];
        let named = match &options.classifier {
            Some(folder) => Some(Classifier::from_folder(folder, windows, &mut recommended)?),
            None => None,
        };
        if named.as_ref().is_none_or(|c| c.id() != CheckId::CLASSIFIER) {
            let embedded = Classifier::from_files(&assets::CLASSIFIER, windows, &mut recommended);
            checks.push(Arc::new(embedded.map_err(|e| e.context("the embedded classifier"))?));
        }
        if let Some(named) = named {
            checks.push(Arc::new(named));
        }
        Ok(Self { policy, checks, recommended })
    }

    /// The same guard with more checks. A check can only add verdicts; nothing takes away those that are there.
    #[must_use]
    pub fn with_checks(mut self, more: impl IntoIterator<Item = Arc<dyn Check>>) -> Self {
        self.checks.extend(more);
        self
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Judges a message before the model sees it, alone and together with the user's last messages (a request may be
    /// spread over several turns).
    pub fn judge_input(&self, context: &InputContext<'_>, cancel: &CancelFlag) -> Judgement {
        let control = Control::new(cancel.clone(), self.policy.limits().time());
        let pipeline = Pipeline { trusted: context.system, ..self.pipeline(Side::Input, &control) };
        let own = pipeline.judge(context.text, &Some).judgement;
        let Some((joined, offset)) = join_messages(context) else { return own };
        let wider = pipeline.judge(&joined, &|f| shifted(f, offset)).judgement;
        pipeline::join(context.text, own, wider)
    }

    /// Judges a whole text as the model's output.
    pub fn judge_output_text(&self, text: &str, cancel: &CancelFlag) -> Judgement {
        let control = Control::new(cancel.clone(), self.policy.limits().time());
        self.pipeline(Side::Output, &control).judge(text, &Some).judgement
    }

    /// The hold-back for one answer. The stream keeps the guard alive.
    #[must_use]
    pub fn output_stream(self: &Arc<Self>, context: OutputContext) -> OutputStream {
        OutputStream::new(Arc::clone(self), context)
    }

    fn pipeline<'a>(&'a self, side: Side, control: &'a Control) -> Pipeline<'a> {
        Pipeline {
            checks: &self.checks,
            policy: &self.policy,
            recommended: &self.recommended,
            side,
            trusted: false,
            control,
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let checks: Vec<&str> = self.checks.iter().map(|c| c.id().as_str()).collect();
        f.debug_struct("Guard").field("policy", &self.policy).field("checks", &checks).finish_non_exhaustive()
    }
}

/// The last messages with the new one at the end, and where the new one begins.
fn join_messages(context: &InputContext<'_>) -> Option<(String, usize)> {
    if context.system {
        return None;
    }
    let mut taken: Vec<&str> = Vec::with_capacity(RECENT_MESSAGES);
    let mut room = RECENT_BYTES;
    for message in context.recent_user.iter().rev().take(RECENT_MESSAGES) {
        let mut from = message.len().saturating_sub(room);
        while !message.is_char_boundary(from) {
            from += 1;
        }
        let tail = message.get(from..).unwrap_or_default();
        room -= tail.len();
        // Saying the same again adds nothing.
        if !tail.is_empty() && tail != context.text && !taken.contains(&tail) {
            taken.push(tail);
        }
    }
    if taken.is_empty() {
        return None;
    }
    let mut joined = String::with_capacity(RECENT_BYTES.saturating_add(context.text.len()));
    for message in taken.into_iter().rev() {
        joined.push_str(message);
        joined.push('\n');
    }
    let offset = joined.len();
    joined.push_str(context.text);
    Some((joined, offset))
}

/// A finding in joined messages as one in the last message: earlier messages were judged when they came. Messages in a row
/// are further from what a classifier was calibrated on than a text is, so its doubt counts twice.
fn shifted(mut finding: Finding, offset: usize) -> Option<Finding> {
    if let Evidence::Score(score) = finding.evidence {
        finding.evidence = Evidence::Score(if score.is_nan() { score } else { (2.0 * score - 1.0).max(0.0) });
    }
    if let Some(span) = finding.span {
        if span.end <= offset {
            return None;
        }
        finding.span = Some(span.start.saturating_sub(offset)..span.end - offset);
    }
    Some(finding)
}
