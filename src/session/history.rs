//! What was said, as ids, and how much of it the decoder holds.

use crate::chat::{ChatFormat, Message, Previous, Role};
use crate::engine::Context;
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// A conversation's ids and the decoder's past of them.
#[derive(Debug)]
pub(super) struct History {
    pub(super) context: Context,
    /// Every id of the conversation so far; the decoder holds the first `context.len()` of them.
    pub(super) ids: Vec<u32>,
    system: Option<Message>,
    previous: Previous,
    /// What the user said before, for the guard.
    pub(super) user: Vec<String>,
    /// Requests so far.
    pub(super) requests: u64,
}

/// Messages of the user that the guard sees again.
const RECENT: usize = 8;

impl History {
    pub(super) fn new(context: Context, system: Option<Message>) -> Self {
        Self { context, ids: Vec::new(), system, previous: Previous::Nothing, user: Vec::new(), requests: 0 }
    }

    /// Forgets everything but the system prompt.
    pub(super) fn restart(&mut self, context: Context) {
        let (system, requests) = (self.system.take(), self.requests);
        *self = Self { requests, ..Self::new(context, system) };
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

    /// Keeps an answer whose last token is not its end token.
    pub(super) fn keep(&mut self, text: String) {
        self.previous = Previous::Open { calls_tool: false };
        self.user.push(text);
        if self.user.len() > RECENT {
            self.user.remove(0);
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
