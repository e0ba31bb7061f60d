//! Runs the checks and joins what they say. The one place where a failure becomes a block.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::check::{Check, Control};
use super::mask;
use super::policy::{LlmWhen, Policy};
use super::rules::RuleSet;
use super::taxonomy::Category;
use super::text::JudgedText;
use super::verdict::{Action, CheckId, Evidence, Finding, Judgement, Side, Verdict, sort_strictest_first};
use crate::error::{Error, Kind, Result};

/// The thresholds that classifiers were calibrated at, for each of them, each category and side.
#[derive(Clone, Debug, Default)]
pub(super) struct Recommended(Vec<(CheckId, Category, Side, f32)>);

impl Recommended {
    pub(super) fn set(&mut self, check: CheckId, category: Category, side: Side, threshold: f32) {
        self.0.push((check, category, side, threshold));
    }

    pub(super) fn get(&self, check: CheckId, category: Category, side: Side) -> Option<f32> {
        let found = self.0.iter().find(|(k, c, s, _)| (*k, *c, *s) == (check, category, side));
        found.map(|(.., threshold)| *threshold)
    }
}

/// A policy that is tried beside the one in force: its verdicts are logged and change nothing.
pub(super) struct Shadow {
    pub(super) policy: Policy,
    /// The rules of its own categories, where it has some.
    pub(super) rules: Option<RuleSet>,
}

/// Everything a judgement needs beside the text.
pub(super) struct Pipeline<'a> {
    pub(super) checks: &'a [Arc<dyn Check>],
    pub(super) policy: &'a Policy,
    pub(super) recommended: &'a Recommended,
    pub(super) side: Side,
    /// Whether the text comes from the host: then orders to the model are at most flagged.
    pub(super) trusted: bool,
    /// Whether this is all of a text, not a piece of a stream.
    pub(super) whole: bool,
    /// Whether the dear checks may be asked at all.
    pub(super) deep: bool,
    /// A policy that only watches.
    pub(super) shadow: Option<&'a Shadow>,
    pub(super) control: &'a Control,
}

/// A judgement and the stretches of the text that must not be torn apart.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    pub(super) whole: Vec<std::ops::Range<usize>>,
}

impl Pipeline<'_> {
    /// Judges `text`. `keep` decides which findings count (a stream leaves to the next unit what begins there) and may
    /// move their spans.
    pub(super) fn judge(&self, text: &str, keep: &dyn Fn(Finding) -> Option<Finding>) -> Judged {
        let mut tally = Tally::new(self.side, self.policy.hash());
        let mut whole = Vec::new();
        match self.views(text) {
            Ok(views) => {
                whole.extend_from_slice(views.rewritten());
                for check in self.checks.iter().filter(|c| !c.is_deep()) {
                    self.run(check.as_ref(), &views, keep, &mut tally);
                }
                self.watch(&views, keep, &mut tally);
                for check in self.checks.iter().filter(|c| c.is_deep()) {
                    if self.asks_deep(&tally) {
                        self.run(check.as_ref(), &views, keep, &mut tally);
                    }
                }
            }
            Err(error) => tally.fail(error),
        }
        Judged { judgement: tally.judgement(text, self.control), whole }
    }

    fn views<'t>(&self, text: &'t str) -> Result<JudgedText<'t>> {
        let most = self.policy.limits().text_bytes;
        if text.len() > most {
            return Err(Error::limit(format!("a text of {} bytes, the guard judges at most {most}", text.len())));
        }
        self.control.check()?;
        fence("preparing the text", || JudgedText::new(text))
    }

    /// Whether the dear checks are asked. A text that is blocked already needs no second reason.
    fn asks_deep(&self, tally: &Tally) -> bool {
        if !self.deep || tally.verdicts.iter().any(|v| v.action == Action::Block && v.category.is_some()) {
            return false;
        }
        let stages = self.policy.stages();
        let doubtful = |v: &Verdict| (stages.doubt_from..=stages.doubt_to).contains(&rank(v));
        stages.llm_guard == LlmWhen::Always
            || self.whole
            || tally.failure.is_some()
            || tally.verdicts.iter().any(|v| v.category == Some(Category::Language))
            || tally.scores.iter().any(doubtful)
    }

    /// Every check runs, also after one has failed or blocked: a failure never hides a real block.
    fn run(
        &self,
        check: &dyn Check,
        views: &JudgedText<'_>,
        keep: &dyn Fn(Finding) -> Option<Finding>,
        tally: &mut Tally,
    ) {
        let id = check.id();
        match fence(id.as_str(), || check.judge(views, self.side, self.control)) {
            Ok(findings) => {
                for finding in findings {
                    match self.valid(finding, views.original()) {
                        Ok(finding) => {
                            let Some(finding) = keep(finding) else { continue };
                            // The numbers of the house's categories are those of the policy in force.
                            if let Some(s) = self.shadow.filter(|_| !matches!(finding.category, Category::Custom(_))) {
                                tally.watch(self.verdict(&s.policy, &finding, id));
                            }
                            tally.extend(self.verdict(self.policy, &finding, id));
                        }
                        Err(error) => tally.fail(error.context(id)),
                    }
                }
            }
            Err(error) => tally.fail(error.context(id)),
        }
        // A check that came back late has not judged in time, even if it came back with nothing.
        if let Err(late) = self.control.check() {
            tally.fail(late.context(id));
        }
    }

    /// What the shadow's own categories see. If that fails, nothing was watched and nothing else changes.
    fn watch(&self, views: &JudgedText<'_>, keep: &dyn Fn(Finding) -> Option<Finding>, tally: &mut Tally) {
        let Some((shadow, rules)) = self.shadow.and_then(|s| Some((s, s.rules.as_ref()?))) else { return };
        let found = fence("the shadow policy", || rules.judge(views, self.side, self.control)).unwrap_or_default();
        for finding in found.into_iter().filter(|f| matches!(f.category, Category::Custom(_))).filter_map(keep) {
            tally.watch(self.verdict(&shadow.policy, &finding, rules.id()));
        }
    }

    fn valid(&self, finding: Finding, text: &str) -> Result<Finding> {
        if let Evidence::Score(score) = finding.evidence
            && !(0.0..=1.0).contains(&score)
        {
            return Err(Error::guard_invalid(format!("{}: {score} is no score", finding.category)));
        }
        if let Some(span) = &finding.span
            && text.get(span.clone()).is_none()
        {
            return Err(Error::guard_invalid(format!("{}: {span:?} is no place in the text", finding.category)));
        }
        Ok(finding)
    }

    /// Applies a policy.
    fn verdict(&self, policy: &Policy, finding: &Finding, stage: CheckId) -> Verdict {
        let Finding { category, evidence, span, rule } = finding.clone();
        let setting = policy.setting(category, self.side);
        let (mut action, score, threshold) = match evidence {
            Evidence::Match(most) => (setting.action.min(most), 1.0, 0.0),
            Evidence::Score(score) => {
                let recommended = self.recommended.get(stage, category, self.side);
                let threshold = policy.threshold(category, self.side, recommended);
                let flagged = setting.flag_from.is_some_and(|from| score >= from);
                let mild = if flagged { Action::Flag.min(setting.action) } else { Action::Allow };
                (if score >= threshold { setting.action } else { mild }, score, threshold)
            }
        };
        if self.trusted && matches!(category, Category::PromptInjection | Category::Jailbreak) {
            action = action.min(Action::Flag);
        }
        if action == Action::Mask && span.is_none() {
            action = Action::Block;
        }
        let custom = match category {
            Category::Custom(number) => policy.custom_id(number),
            _ => None,
        };
        let (side, category, policy) = (self.side, Some(category), policy.hash());
        Verdict { action, side, category, score, threshold, span, stage, rule, custom, policy }
    }
}

/// Runs `work`; a panic in it is an unavailable guard.
fn fence<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        // Dropping a payload can panic as well; leaking the rare one is the lesser harm.
        std::mem::forget(payload);
        Err(Error::guard_unavailable(format!("{what} panicked")))
    })
}

/// What has been said so far.
struct Tally {
    side: Side,
    policy: [u8; 32],
    verdicts: Vec<Verdict>,
    scores: Vec<Verdict>,
    shadow: Vec<Verdict>,
    failure: Option<Error>,
}

/// How near a score is to its threshold.
fn rank(v: &Verdict) -> f32 {
    v.score / v.threshold.max(f32::MIN_POSITIVE)
}

impl Tally {
    fn new(side: Side, policy: [u8; 32]) -> Self {
        Self { side, policy, verdicts: Vec::new(), scores: Vec::new(), shadow: Vec::new(), failure: None }
    }

    fn watch(&mut self, verdict: Verdict) {
        if verdict.action > Action::Allow {
            self.shadow.push(verdict);
        }
    }

    fn extend(&mut self, verdict: Verdict) {
        if verdict.threshold > 0.0 {
            match self.scores.iter_mut().find(|s| s.stage == verdict.stage) {
                Some(known) if rank(known) >= rank(&verdict) => {}
                Some(known) => *known = verdict.clone(),
                None => self.scores.push(verdict.clone()),
            }
        }
        if verdict.action > Action::Allow {
            self.verdicts.push(verdict);
        }
    }

    /// Turns a failure into a block. There is no switch around this. The first failure is the one reported.
    fn fail(&mut self, error: Error) {
        if self.failure.is_some() {
            return;
        }
        self.verdicts.push(Verdict {
            action: Action::Block,
            side: self.side,
            category: None,
            score: 1.0,
            threshold: 0.0,
            span: None,
            stage: CheckId::PIPELINE,
            rule: None,
            custom: None,
            policy: self.policy,
        });
        self.failure = Some(as_guard_failure(error));
    }

    fn judgement(mut self, text: &str, control: &Control) -> Judgement {
        sort_strictest_first(&mut self.verdicts);
        // Several views show the same thing.
        self.verdicts.dedup();
        sort_strictest_first(&mut self.shadow);
        self.shadow.dedup();
        let action = self.verdicts.first().map_or(Action::Allow, |v| v.action);
        let masked = masked(text, action, &self.verdicts);
        Judgement {
            action,
            verdicts: self.verdicts,
            nearest: self.scores.iter().max_by(|a, b| rank(a).total_cmp(&rank(b))).cloned(),
            scores: self.scores,
            failure: self.failure,
            masked,
            shadow: self.shadow,
            elapsed: control.elapsed(),
        }
    }
}

/// The kinds a caller sees when a guard fails: what the host asked for, what the guard says about itself, else that it is
/// not available.
fn as_guard_failure(error: Error) -> Error {
    match error.kind() {
        Kind::Cancelled
        | Kind::GuardTimeout
        | Kind::GuardInvalid
        | Kind::GuardUnavailable
        | Kind::Limit
        | Kind::License => error,
        Kind::Numeric => Error::guard_invalid(error.message()),
        _ => Error::guard_unavailable(error.message()),
    }
}

/// A judgement that blocks because of a failure outside the checks (a stream that cannot go on).
pub(super) fn failed(side: Side, policy: &Policy, error: Error, text: &str, control: &Control) -> Judgement {
    let mut tally = Tally::new(side, policy.hash());
    tally.fail(error);
    tally.judgement(text, control)
}

/// Joins the judgement of `text` with that of a wider text that contains it, whose spans were moved to `text`.
pub(super) fn join(text: &str, mut first: Judgement, second: Judgement) -> Judgement {
    let what = |v: &Verdict| (v.stage, v.category, v.action, v.span.as_ref().map(|s| (s.start, s.end)));
    let known: BTreeSet<_> = first.verdicts.iter().map(what).collect();
    first.verdicts.extend(second.verdicts.into_iter().filter(|v| !known.contains(&what(v))));
    sort_strictest_first(&mut first.verdicts);
    first.action = first.verdicts.first().map_or(Action::Allow, |v| v.action);
    first.masked = masked(text, first.action, &first.verdicts);
    first.shadow.extend(second.shadow);
    sort_strictest_first(&mut first.shadow);
    first.shadow.dedup();
    first.failure = first.failure.or(second.failure);
    first.elapsed += second.elapsed;
    first
}

fn masked(text: &str, action: Action, verdicts: &[Verdict]) -> Option<String> {
    (action == Action::Mask).then(|| mask::apply(text, 0, &mask::spans(verdicts)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cancel::CancelFlag;

    type Answer = Box<dyn Fn() -> Result<Vec<Finding>> + Send + Sync>;
    struct Says(Answer);

    impl Check for Says {
        fn id(&self) -> CheckId {
            CheckId("test")
        }
        fn judge(&self, _: &JudgedText<'_>, _: Side, _: &Control) -> Result<Vec<Finding>> {
            (self.0)()
        }
    }

    fn says(answer: impl Fn() -> Result<Vec<Finding>> + Send + Sync + 'static) -> Arc<dyn Check> {
        Arc::new(Says(Box::new(answer)))
    }

    fn found(category: Category, evidence: Evidence, span: Option<std::ops::Range<usize>>) -> Arc<dyn Check> {
        says(move || Ok(vec![Finding::new(category, evidence, span.clone())]))
    }

    fn judge(checks: &[Arc<dyn Check>], limit: Duration) -> Judgement {
        let policy = Policy::parse(
            "version = 1\nname = \"t\"\nrefusal.text = \"No.\"\n[default]\ninput = { action = \"block\" }\n\
             output = { action = \"block\" }\n[category.pii]\ninput = { action = \"mask\" }\n\
             [category.S6]\ninput = { action = \"block\", threshold = 0.8, flag_from = 0.4 }\n",
        )
        .unwrap();
        let control = Control::new(CancelFlag::new(), limit);
        let recommended = Recommended::default();
        let p = Pipeline {
            checks,
            policy: &policy,
            recommended: &recommended,
            side: Side::Input,
            trusted: false,
            whole: true,
            deep: true,
            shadow: None,
            control: &control,
        };
        p.judge("call Ann now", &Some).judgement
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn every_kind_of_failure_blocks_with_its_own_kind() {
        let cases: Vec<(Arc<dyn Check>, Kind)> = vec![
            (says(|| Err(Error::io("model", &std::io::Error::other("gone")))), Kind::GuardUnavailable),
            (says(|| Err(Error::memory("no memory"))), Kind::GuardUnavailable),
            (says(|| Err(Error::limit("too long"))), Kind::Limit),
            (says(|| Err(Error::numeric("NaN"))), Kind::GuardInvalid),
            (says(|| Err(Error::guard_timeout("late"))), Kind::GuardTimeout),
            (found(Category::S1, Evidence::Score(f32::NAN), None), Kind::GuardInvalid),
            (found(Category::S1, Evidence::Score(1.5), None), Kind::GuardInvalid),
            (found(Category::S1, Evidence::Score(-0.1), None), Kind::GuardInvalid),
            (found(Category::S1, Evidence::Match(Action::Block), Some(5..500)), Kind::GuardInvalid),
        ];
        for (check, kind) in cases {
            let j = judge(&[check], LONG);
            assert_eq!(j.action, Action::Block);
            assert_eq!(j.failure.as_ref().map(Error::kind), Some(kind));
            assert!(j.blocked_by().is_none());
        }
    }

    #[test]
    fn a_late_check_blocks_even_if_it_saw_nothing() {
        let slow = says(|| {
            std::thread::sleep(Duration::from_millis(30));
            Ok(Vec::new())
        });
        let j = judge(&[slow], Duration::from_millis(5));
        assert_eq!(j.failure.as_ref().map(Error::kind), Some(Kind::GuardTimeout));
        assert!(j.is_block());
    }

    #[test]
    fn a_panic_blocks_and_the_next_judgement_works() {
        let panics = says(|| panic!("guard test: this panic is wanted"));
        assert_eq!(judge(&[panics], LONG).failure.as_ref().map(Error::kind), Some(Kind::GuardUnavailable));
        assert_eq!(judge(&[says(|| Ok(Vec::new()))], LONG).action, Action::Allow);
    }

    #[test]
    fn a_failure_never_hides_a_real_block() {
        let block = found(Category::S9, Evidence::Match(Action::Block), Some(0..4));
        let fails = says(|| Err(Error::guard_unavailable("gone")));
        for checks in [[block.clone(), fails.clone()], [fails, block]] {
            let j = judge(&checks, LONG);
            assert_eq!(j.blocked_by().and_then(|v| v.category), Some(Category::S9));
            assert!(j.failure.is_some());
        }
    }

    #[test]
    fn the_strictest_wins_in_any_order() {
        let flag = found(Category::SpecialToken, Evidence::Match(Action::Flag), Some(0..4));
        let block = found(Category::S1, Evidence::Score(0.9), None);
        for checks in [[flag.clone(), block.clone()], [block, flag]] {
            let j = judge(&checks, LONG);
            assert_eq!((j.action, j.verdicts.len()), (Action::Block, 2));
            assert_eq!(j.verdicts[0].category, Some(Category::S1));
        }
    }

    #[test]
    fn scores_below_the_threshold_pass_or_flag() {
        for (score, action) in [(0.3, Action::Allow), (0.5, Action::Flag), (0.8, Action::Block)] {
            let j = judge(&[found(Category::S6, Evidence::Score(score), None)], LONG);
            assert_eq!(j.action, action, "{score}");
            assert_eq!(j.nearest.map(|v| v.score), Some(score));
        }
    }

    #[test]
    fn masks_replace_their_span_and_block_without_one() {
        let j = judge(&[found(Category::Pii, Evidence::Match(Action::Block), Some(5..8))], LONG);
        assert_eq!(j.masked.as_deref(), Some("call [personal data removed] now"));
        assert_eq!(judge(&[found(Category::Pii, Evidence::Match(Action::Block), None)], LONG).action, Action::Block);
    }

    #[test]
    fn a_raised_flag_blocks_as_cancelled() {
        let policy = Policy::default_embedded().unwrap();
        let cancel = CancelFlag::new();
        cancel.raise();
        let control = Control::new(cancel, LONG);
        let recommended = Recommended::default();
        let p = Pipeline {
            checks: &[],
            policy: &policy,
            recommended: &recommended,
            side: Side::Output,
            trusted: false,
            whole: true,
            deep: true,
            shadow: None,
            control: &control,
        };
        let j = p.judge("x", &Some).judgement;
        assert!(j.is_block());
        assert_eq!(j.failure.map(|e| e.kind()), Some(Kind::Cancelled));
    }
}
