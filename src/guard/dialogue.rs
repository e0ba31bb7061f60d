//! The conversation that a judged text belongs to.

use super::verdict::Side;

/// Who said what, the oldest first: a user's message is [`Side::Input`], the model's answer [`Side::Output`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialogue {
    turns: Vec<Turn>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose it is.
    pub side: Side,
    /// What was said.
    pub text: String,
}

impl Dialogue {
    /// Nothing said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message.
    pub fn push(&mut self, side: Side, text: impl Into<String>) {
        self.turns.push(Turn { side, text: text.into() });
    }

    /// The messages, the oldest first.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }
}
