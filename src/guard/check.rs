//! The one trait every check implements, and what stops a check that takes too long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dialogue::Dialogue;
use super::recall::Recall;
use super::text::JudgedText;
use super::verdict::{CheckId, Finding, Side};
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};

/// Something that looks at a text and reports what it saw. It decides nothing: the pipeline applies the policy, and turns
/// an `Err` or a panic of a check into a block.
pub trait Check: Send + Sync {
    /// The name under which verdicts are reported.
    fn id(&self) -> CheckId;

    /// Whether this check is the dear one of the cascade: it is asked after the others, when the policy says so
    /// (`[stages]`), and not for a text that one of them has blocked.
    fn is_deep(&self) -> bool {
        false
    }

    /// Everything this check sees in `text` on its way to `side`. Long work calls [`Control::check`] now and then.
    ///
    /// # Errors
    /// Any error means that the text could not be judged; it is then blocked.
    fn judge(&self, text: &JudgedText<'_>, side: Side, control: &Control) -> Result<Vec<Finding>>;
}

/// What a judgement is made within: the two reasons to stop it (the host asked, or the time is up), and the conversation that
/// the judged text belongs to.
#[derive(Clone, Debug)]
pub struct Control {
    cancel: CancelFlag,
    started: Instant,
    deadline: Option<Instant>,
    dialogue: Arc<Dialogue>,
    spoken: String,
    recall: Option<Arc<Recall>>,
}

impl Control {
    /// Stops when `cancel` is raised or `limit` has passed since now.
    #[must_use]
    pub fn new(cancel: CancelFlag, limit: Duration) -> Self {
        let started = Instant::now();
        let (dialogue, spoken) = (Arc::default(), String::new());
        Self { cancel, started, deadline: started.checked_add(limit), dialogue, spoken, recall: None }
    }

    /// The same for a text that belongs to a conversation: what was said before it.
    #[must_use]
    pub fn within(mut self, dialogue: Arc<Dialogue>) -> Self {
        self.dialogue = dialogue;
        self
    }

    /// The same for a text that goes on with a message: the part of the message before it, which was judged before.
    #[must_use]
    pub fn after(mut self, spoken: &str) -> Self {
        spoken.clone_into(&mut self.spoken);
        self
    }

    /// The same for a judgement that shares what classifiers remember with others of its answer.
    pub(super) fn remembering(mut self, recall: Arc<Recall>) -> Self {
        self.recall = Some(recall);
        self
    }

    /// What classifiers remember of earlier judgements, where several are made of one answer.
    pub(super) fn recall(&self) -> Option<&Recall> {
        self.recall.as_deref()
    }

    /// The messages before the one that is judged.
    #[must_use]
    pub fn dialogue(&self) -> &Dialogue {
        &self.dialogue
    }

    /// The part of the judged message that comes before the judged text.
    #[must_use]
    pub fn spoken(&self) -> &str {
        &self.spoken
    }

    /// The flag that stops the work.
    #[must_use]
    pub fn cancel(&self) -> &CancelFlag {
        &self.cancel
    }

    /// `Err` when work has to stop.
    ///
    /// # Errors
    /// [`crate::Kind::Cancelled`] or [`crate::Kind::GuardTimeout`].
    pub fn check(&self) -> Result<()> {
        self.cancel.check()?;
        match self.deadline {
            Some(deadline) if Instant::now() > deadline => {
                Err(Error::guard_timeout(format!("the guard took longer than {:?}", deadline - self.started)))
            }
            _ => Ok(()),
        }
    }

    /// How long judging has taken so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
