//! What a guard says: actions, findings, verdicts and the judgement that joins them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::taxonomy::Category;
use crate::error::Error;

/// What is done with a text, from mild to strict. Joining two actions takes the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The text passes.
    #[default]
    Allow,
    /// The text passes and the verdict is reported.
    Flag,
    /// The text passes with the span replaced; without a span the whole text is blocked.
    Mask,
    /// The text does not pass.
    Block,
}

impl Action {
    /// `allow`, `flag`, `mask` or `block`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Flag => "flag",
            Action::Mask => "mask",
            Action::Block => "block",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way the judged text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// From a person, a tool or a document to the model.
    Input,
    /// From the model to the person.
    Output,
}

impl Side {
    /// `input` or `output`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Input => "input",
            Side::Output => "output",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a check, as it stands in verdicts and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckId(pub &'static str);

impl CheckId {
    /// Phrases, patterns, personal data, control-token text, hidden text.
    pub const RULES: CheckId = CheckId("rules");
    /// The encoder loaded from ONNX.
    pub const CLASSIFIER: CheckId = CheckId("classifier");
    /// An encoder with two classes, benign and malicious, such as Prompt Guard 2.
    pub const PROMPT_GUARD: CheckId = CheckId("prompt_guard");
    /// Which language a text is in.
    pub const LANGUAGE: CheckId = CheckId("language");
    /// A language model that answers safe or unsafe, such as Llama Guard.
    pub const LLM_GUARD: CheckId = CheckId("llm_guard");
    /// The pipeline itself: a check failed, was late, or a limit was passed.
    pub const PIPELINE: CheckId = CheckId("pipeline");

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How a finding becomes an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// A probability; the policy's thresholds decide.
    Score(f32),
    /// A match. The policy's action applies, but no more than this one (a mere mention can at most be flagged).
    Match(Action),
}

/// One thing a check saw in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub category: Category,
    /// How sure the check is, or how far a match may reach.
    pub evidence: Evidence,
    /// Where it is, in bytes of the judged original text; `None` when the check cannot say.
    pub span: Option<Range<usize>>,
    /// The rule that matched, where one did.
    pub rule: Option<Arc<str>>,
}

impl Finding {
    /// A finding that no rule of its own stands behind.
    #[must_use]
    pub fn new(category: Category, evidence: Evidence, span: Option<Range<usize>>) -> Self {
        Self { category, evidence, span, rule: None }
    }
}

/// A finding after the policy was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is to be done.
    pub action: Action,
    /// Which way the text was going.
    pub side: Side,
    /// For what; `None` when the guard itself failed.
    pub category: Option<Category>,
    /// The check's score in 0 ..= 1; 1 for a match.
    pub score: f32,
    /// The threshold the score was held against; 0 for a match.
    pub threshold: f32,
    /// Where, in bytes of the judged original text.
    pub span: Option<Range<usize>>,
    /// Who says so.
    pub stage: CheckId,
    /// The rule that matched, where one did. For the developer, never for the end user.
    pub rule: Option<Arc<str>>,
    /// The id of a category of the house.
    pub custom: Option<Arc<str>>,
    /// SHA-256 of the policy that decided.
    pub policy: [u8; 32],
}

impl Verdict {
    /// The category's id, that of the house where it is one of the house; `None` when the guard itself failed.
    #[must_use]
    pub fn category_id(&self) -> Option<&str> {
        match (self.category?, &self.custom) {
            (Category::Custom(_), Some(id)) => Some(id),
            (category, _) => Some(category.id()),
        }
    }
}

/// What all checks together say about one text.
#[derive(Clone, Debug)]
#[must_use]
pub struct Judgement {
    /// The strictest action of all verdicts.
    pub action: Action,
    /// Everything above Allow, the strictest first; among equals those with a category first.
    pub verdicts: Vec<Verdict>,
    /// The classifier's score that came nearest to its threshold, whatever it led to. For evaluation and logs.
    pub nearest: Option<Verdict>,
    /// The same for each classifier.
    pub scores: Vec<Verdict>,
    /// Why the guard could not do its work. Always comes with [`Action::Block`].
    pub failure: Option<Error>,
    /// The text with every masked span replaced, when the action is [`Action::Mask`].
    pub masked: Option<String>,
    /// What a policy that only watches would have said: everything above Allow, the strictest first.
    pub shadow: Vec<Verdict>,
    /// How long judging took.
    pub elapsed: Duration,
}

impl Judgement {
    /// Whether the text must not pass, for whichever reason.
    #[must_use]
    pub fn is_block(&self) -> bool {
        self.action == Action::Block
    }

    /// The verdict of a check that blocks, if one does. A failed guard is not such a verdict: see
    /// [`Judgement::failure`]. When both are there, this one is the reason to report.
    #[must_use]
    pub fn blocked_by(&self) -> Option<&Verdict> {
        self.verdicts.iter().find(|v| v.action == Action::Block && v.category.is_some())
    }
}

/// Sorts verdicts as [`Judgement::verdicts`] promises. The order is total, so it does not depend on which check ran first.
pub(crate) fn sort_strictest_first(verdicts: &mut [Verdict]) {
    verdicts.sort_by(|a, b| {
        let place = |v: &Verdict| v.span.as_ref().map_or((usize::MAX, usize::MAX), |s| (s.start, s.end));
        b.action
            .cmp(&a.action)
            .then(b.category.is_some().cmp(&a.category.is_some()))
            .then(b.score.total_cmp(&a.score))
            .then(a.category.cmp(&b.category))
            .then(a.stage.cmp(&b.stage))
            .then(place(a).cmp(&place(b)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_ordered_from_allow_to_block() {
        assert!(Action::Allow < Action::Flag && Action::Flag < Action::Mask && Action::Mask < Action::Block);
    }

    #[test]
    fn a_real_block_comes_before_a_failure() {
        let v = |category, stage| Verdict {
            action: Action::Block,
            side: Side::Input,
            category,
            score: 1.0,
            threshold: 0.0,
            span: None,
            stage,
            rule: None,
            custom: None,
            policy: [0; 32],
        };
        let mut all = vec![v(None, CheckId::PIPELINE), v(Some(Category::S9), CheckId::RULES)];
        sort_strictest_first(&mut all);
        assert_eq!(all[0].category, Some(Category::S9));
    }
}
