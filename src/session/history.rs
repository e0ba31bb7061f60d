//! What was said, as ids, and how much of it the decoder holds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::chat::{ChatFormat, Message, Previous, Role};
use crate::engine::Context;
use crate::error::Result;
use crate::guard::{Dialogue, PausePolicy, Side};
use crate::tokenizer::Tokenizer;

/// A conversation's ids and the decoder's past of them.
#[derive(Debug)]
pub(super) struct History {
    pub(super) context: Context,
    /// Every id of the conversation so far; the decoder holds the first `context.len()` of them.
    pub(super) ids: Vec<u32>,
    system: Option<Message>,
    previous: Previous,
    /// What the user said before, for the guard, …
    pub(super) user: Vec<String>,
    /// … and what was answered.
    answers: Vec<String>,
    /// Requests so far.
    pub(super) requests: u64,
    refused: Refused,
    /// The last request that was refused, until somebody appeals.
    pub(super) refused_request: Option<u64>,
}

/// When requests were blocked, by a monotonic clock: a host's clock can be turned back.
#[derive(Debug, Default)]
struct Refused {
    at: VecDeque<Instant>,
    until: Option<Instant>,
}

/// Messages of the user that the guard sees again.
const RECENT: usize = 8;

impl History {
    pub(super) fn new(context: Context, system: Option<Message>) -> Self {
        Self {
            context,
            ids: Vec::new(),
            system,
            previous: Previous::Nothing,
            user: Vec::new(),
            answers: Vec::new(),
            requests: 0,
            refused: Refused::default(),
            refused_request: None,
        }
    }

    /// Forgets everything but the system prompt.
    pub(super) fn restart(&mut self, context: Context) {
        // Starting over does not forget refusals: it would be the way around a pause.
        let (system, requests, refused) = (self.system.take(), self.requests, std::mem::take(&mut self.refused));
        *self = Self { requests, refused, ..Self::new(context, system) };
    }

    /// The ids that a message of the user adds, up to where the model speaks.
    pub(super) fn turn(&self, format: ChatFormat, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
        let user = Message::new(Role::User, text);
        let messages: Vec<Message> = match (&self.system, self.previous) {
            (Some(system), Previous::Nothing) => vec![system.clone(), user],
            _ => vec![user],
        };
        format.render_turn(tokenizer, self.previous, &messages, true)
    }

    /// Keeps a question and its answer, whose last token is not its end token.
    pub(super) fn keep(&mut self, text: String, answer: String) {
        self.previous = Previous::Open { calls_tool: false };
        self.user.push(text);
        self.answers.push(answer);
        if self.user.len() > RECENT {
            self.user.remove(0);
            self.answers.remove(0);
        }
    }

    /// The last messages, for the guard.
    pub(super) fn dialogue(&self) -> Dialogue {
        let mut dialogue = Dialogue::new();
        for (user, answer) in self.user.iter().zip(&self.answers) {
            dialogue.push(Side::Input, user.as_str());
            dialogue.push(Side::Output, answer.as_str());
        }
        dialogue
    }

    /// How long the session still has to wait, when it was refused too often.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.refused.until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|d| !d.is_zero())
    }

    /// Counts a blocked request.
    pub(super) fn refused(&mut self, policy: &PausePolicy) {
        let now = Instant::now();
        let within = Duration::from_secs(policy.within_s.into());
        let Refused { at, until } = &mut self.refused;
        at.push_back(now);
        at.retain(|t| now.duration_since(*t) <= within);
        if at.len() >= policy.blocks as usize {
            at.clear();
            *until = now.checked_add(Duration::from_secs(policy.for_s.into()));
        }
    }

    /// Takes the conversation back to its first `len` ids. `fresh` makes an empty past when the decoder cannot go back.
    pub(super) fn roll_back(&mut self, len: usize, fresh: impl FnOnce() -> Result<Context>) -> Result<()> {
        self.ids.truncate(len);
        if self.context.truncate(len).is_err() {
            self.context = fresh()?;
        }
        Ok(())
    }
}
