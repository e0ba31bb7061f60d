//! Judges every word on its way in and out: checks read views of the text, a policy decides, a stream releases what passed.

mod assets;
mod check;
mod classifier;
mod dialogue;
mod language;
mod llm;
mod mask;
mod pipeline;
mod policy;
mod recall;
mod rules;
mod stream;
mod taxonomy;
mod text;
mod verdict;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;

use classifier::Classifier;
use language::LanguageCheck;
use llm::LlmGuard;
use pipeline::{Pipeline, Recommended, Shadow};

pub use check::{Check, Control};
pub use dialogue::{Dialogue, Turn};
pub use llm::{GuardFamily, LlmGuardOptions};
pub use policy::{
    LanguagePolicy, Limits, LlmWhen, PausePolicy, Policy, PolicyBundle, Setting, StagePolicy, StreamMode, StreamPolicy,
};
pub use rules::RuleSet;
pub use stream::{Cleared, OutputContext, OutputStream, Step, StreamStats};
pub use taxonomy::Category;
pub use text::{Hidden, JudgedText, View, ViewKind};
pub use verdict::{Action, CheckId, Evidence, Finding, Judgement, Side, Verdict};

use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::license::{Acceptance, ModelLicense, Status};
use crate::signature::PublicKey;
use crate::weights::Progress;

/// What a guard is opened with. The default is the policy, rules and classifier inside the library.
#[derive(Clone, Debug, Default)]
pub struct GuardOptions {
    /// A policy file in the place of the embedded one.
    pub policy: Option<PathBuf>,
    /// The key that signs the product's policies, 64 hexadecimal digits. With it nothing but a bundle signed by it is taken
    /// for `policy` and `shadow`, and `policy` has to be given.
    pub policy_key: Option<String>,
    /// Where the highest counter of the signed policies is kept, so that an older one cannot be put back, and the receipts of
    /// the guard model's licence; `None` keeps those in memory.
    pub state_dir: Option<PathBuf>,
    /// A policy that is tried beside the one in force: its verdicts are logged and change nothing.
    pub shadow: Option<PathBuf>,
    /// The text of a policy; counts before `policy`.
    pub policy_text: Option<String>,
    /// A folder with `classifier.toml`, `model.onnx` and `tokenizer.json`. A classifier of many labels takes the place of
    /// the embedded one; one of injections alone, such as Prompt Guard 2, judges beside it. The latter may have the
    /// model's own `config.json` instead of `classifier.toml`. See guards/README.md.
    pub classifier: Option<PathBuf>,
    /// A guard model: it judges after the others, as the policy's `[stages]` say.
    pub llm_guard: Option<LlmGuardOptions>,
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
    /// The conversation before `text`, for the LLM guard; `None` takes `recent_user` alone.
    pub dialogue: Option<&'a Dialogue>,
}

/// The guard: a policy and the checks it decides over. Shared by sessions; judging takes `&self`.
pub struct Guard {
    policy: Policy,
    shadow: Option<Shadow>,
    checks: Vec<Arc<dyn Check>>,
    recommended: Recommended,
    llm: Option<Arc<LlmGuard>>,
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
        Self::open_with(options, &mut |_| true)
    }

    /// As [`Guard::open`]. `progress` hears how far reading the guard model is; answering `false` ends it.
    ///
    /// # Errors
    /// As [`Guard::open`], and [`crate::Kind::Cancelled`] when `progress` said so.
    pub fn open_with(options: &GuardOptions, progress: &mut (dyn FnMut(Progress) -> bool + Send)) -> Result<Self> {
        let (policy, bundle) = options.policy()?;
        let shadow = options.shadow()?;
        let rules = RuleSet::for_policy(&policy)?;
        let (longest, rule) = rules.longest_match();
        if policy.stream().mode == StreamMode::Sentence && longest > policy.stream().hold {
            let ahead = policy.stream().hold;
            let what = format!("rule {rule} can match {longest} letters, stream.hold is {ahead}");
            return Err(Error::argument(format!("{what}: a match could leave before its end was seen")));
        }
        let windows = policy.limits().windows;
        let mut recommended = Recommended::default();
        let mut checks: Vec<Arc<dyn Check>> = vec![Arc::new(rules)];
        if let Some(language) = LanguageCheck::new(&policy.languages().certified)? {
            checks.push(Arc::new(language));
        }
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
        let llm = match &options.llm_guard {
            Some(llm) => {
                let opened = LlmGuard::open(llm, &policy, options.state_dir.as_deref(), progress);
                Some(Arc::new(opened.map_err(|e| e.context(format!("guard model {}", llm.model.display())))?))
            }
            None => None,
        };
        checks.extend(llm.iter().map(|llm| Arc::clone(llm) as Arc<dyn Check>));
        let guard = Self { policy, shadow, checks, recommended, llm };
        guard.require_stages()?;
        if let (Some(bundle), Some(folder)) = (bundle, &options.state_dir) {
            bundle.remember(folder)?;
        }
        Ok(guard)
    }

    /// The same guard with more checks. A check can only add verdicts; nothing takes away those that are there.
    #[must_use]
    pub fn with_checks(mut self, more: impl IntoIterator<Item = Arc<dyn Check>>) -> Self {
        self.checks.extend(more);
        self
    }

    /// The stages that the policy asks for, and the categories that no other stage can see.
    fn require_stages(&self) -> Result<()> {
        let has = |id: CheckId| self.checks.iter().any(|c| c.id() == id);
        let stages = self.policy.stages();
        if stages.require_prompt_guard && !has(CheckId::PROMPT_GUARD) {
            return Err(Error::argument(
                "the policy requires Prompt Guard (stages.require_prompt_guard): name its folder as the classifier",
            ));
        }
        if stages.require_llm_guard && !has(CheckId::LLM_GUARD) {
            return Err(Error::argument(
                "the policy requires an LLM guard (stages.require_llm_guard): name its model file when opening",
            ));
        }
        if let Some(custom) = self.policy.custom().iter().find(|c| !c.has_rules() && c.criteria.is_some())
            && !has(CheckId::LLM_GUARD)
        {
            let (id, name) = (&custom.id, &custom.name);
            return Err(Error::argument(format!(
                "custom.{id} ({name}) has criteria alone: only an LLM guard can see it"
            )));
        }
        Ok(())
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether a check reads the conversation around a text; for others nobody needs to bring it along.
    pub(crate) fn reads_dialogue(&self) -> bool {
        self.checks.iter().any(|c| c.is_deep())
    }

    /// The licence of the guard model, where there is one.
    #[must_use]
    pub fn license(&self) -> Option<&ModelLicense> {
        self.llm.as_ref().map(|llm| llm.license())
    }

    /// Whether the guard model's licence was accepted; `None` without a guard model. Until it is, every judgement fails, which
    /// blocks.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when the receipts cannot be read.
    pub fn license_status(&self) -> Result<Option<Status>> {
        self.llm.as_ref().map(|llm| llm.status()).transpose()
    }

    /// Records that the guard model's licence was accepted, and tries the policy's examples for it.
    ///
    /// # Errors
    /// [`crate::Kind::State`] without a guard model, [`crate::Kind::License`] when the acceptance names another text,
    /// [`crate::Kind::Io`] when the receipt cannot be kept, [`crate::Kind::Corrupt`] for an example of the policy that the
    /// model sees the other way.
    pub fn accept_license(&self, acceptance: &Acceptance) -> Result<()> {
        let llm =
            self.llm.as_ref().ok_or_else(|| Error::state("this guard has no guard model to accept a licence of"))?;
        llm.accept(acceptance)
    }

    /// Things a user of the guard model's file should know.
    #[must_use]
    pub fn model_warnings(&self) -> &[String] {
        self.llm.as_ref().map_or(&[], |llm| llm.warnings())
    }

    /// Bytes that the guard model holds, with the past of one conversation.
    #[must_use]
    pub fn model_bytes(&self) -> u64 {
        self.llm.as_ref().map_or(0, |llm| llm.bytes())
    }

    /// The thresholds in force for `category` on `side`: of each check that gives scores, as the policy, the check's own
    /// calibration and the floors make it.
    pub fn thresholds(&self, category: Category, side: Side) -> Vec<(CheckId, f32)> {
        let of = |id: CheckId| {
            let recommended = self.recommended.get(id, category, side)?;
            Some((id, self.policy.threshold(category, side, Some(recommended))))
        };
        self.checks.iter().filter_map(|c| of(c.id())).collect()
    }

    /// Judges a message before the model sees it, alone and together with the user's last messages (a request may be
    /// spread over several turns).
    pub fn judge_input(&self, context: &InputContext<'_>, cancel: &CancelFlag) -> Judgement {
        let control = Control::new(cancel.clone(), self.policy.limits().time()).within(Arc::new(said_before(context)));
        let pipeline = Pipeline { trusted: context.system, ..self.pipeline(Side::Input, &control) };
        let own = pipeline.judge(context.text, &Some).judgement;
        let Some((joined, offset)) = join_messages(context) else { return own };
        // The LLM guard has read the message in its conversation.
        let wider = Pipeline { deep: false, ..pipeline }.judge(&joined, &|f| shifted(f, offset)).judgement;
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
            whole: true,
            deep: true,
            shadow: self.shadow.as_ref(),
            control,
        }
    }
}

impl GuardOptions {
    fn key(&self) -> Result<Option<PublicKey>> {
        self.policy_key.as_deref().map(PublicKey::from_hex).transpose()
    }

    /// The policy, and the bundle that it came in where it has to be signed.
    fn policy(&self) -> Result<(Policy, Option<PolicyBundle>)> {
        let Some(key) = self.key()? else {
            let policy = match (&self.policy_text, &self.policy) {
                (Some(text), _) => Policy::from_text(text).map_err(|e| e.context("policy")),
                (None, Some(path)) => Policy::load(path),
                (None, None) => Policy::default_embedded(),
            };
            return Ok((policy?, None));
        };
        let bundle = match (&self.policy_text, &self.policy) {
            (Some(text), _) => PolicyBundle::accept(text, key).map_err(|e| e.context("policy"))?,
            (None, Some(path)) => PolicyBundle::open(path, key)?,
            (None, None) => {
                return Err(Error::argument("a policy key is given and no policy: name the signed bundle"));
            }
        };
        if let Some(folder) = &self.state_dir {
            bundle.check_counter(folder).map_err(|e| e.context("policy"))?;
        }
        let policy = Policy::parse(bundle.policy_text()).map_err(|e| e.context("policy"))?;
        Ok((policy, Some(bundle)))
    }

    /// The shadow's counter is not kept: it decides nothing.
    fn shadow(&self) -> Result<Option<Shadow>> {
        let Some(path) = &self.shadow else { return Ok(None) };
        let policy = match self.key()? {
            Some(key) => Policy::parse(PolicyBundle::open(path, key)?.policy_text()),
            None => Policy::load(path),
        };
        let policy = policy.map_err(|e| e.context("shadow"))?;
        let own = policy.custom().iter().any(policy::Custom::has_rules);
        let rules = if own { Some(RuleSet::for_policy(&policy).map_err(|e| e.context("shadow"))?) } else { None };
        Ok(Some(Shadow { policy, rules }))
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let checks: Vec<&str> = self.checks.iter().map(|c| c.id().as_str()).collect();
        f.debug_struct("Guard").field("policy", &self.policy).field("checks", &checks).finish_non_exhaustive()
    }
}

/// The conversation before an input.
fn said_before(context: &InputContext<'_>) -> Dialogue {
    match context.dialogue {
        _ if context.system => Dialogue::new(),
        Some(dialogue) => dialogue.clone(),
        None => {
            let mut dialogue = Dialogue::new();
            context.recent_user.iter().for_each(|text| dialogue.push(Side::Input, *text));
            dialogue
        }
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
