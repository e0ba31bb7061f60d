//! Dialog to ids; a caller's text can never yield a control id.

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::tokenizer::{Control, TokenId, Tokenizer, is_python_space};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The host's instructions.
    System,
    /// The person at the device.
    User,
    /// The model.
    Assistant,
    /// A tool's answer.
    Ipython,
}

impl Role {
    /// The word between the header tokens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Ipython => "ipython",
        }
    }
}

/// One message of a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said. Blanks at both ends are dropped when it is rendered.
    pub content: String,
    /// Whether an assistant's message calls a tool, or ended with `eom`; then it is closed with `eom`.
    pub calls_tool: bool,
}

impl Message {
    /// A message that calls no tool.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into(), calls_tool: false }
    }
}

/// What stands in the context before the messages that are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// Nothing: the sequence begins here, with the one BOS.
    Nothing,
    /// Messages, the last of them closed.
    Closed,
    /// Messages, and last an assistant's without its end token; it is closed first.
    Open {
        /// As [`Message::calls_tool`] of that last message.
        calls_tool: bool,
    },
}

/// A piece of a prompt: structure from code, or text from anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// One control token.
    Control(Control),
    /// Text, which becomes text tokens whatever it says.
    Text(&'a str),
}

/// The ids of `segments`, each text encoded by itself.
///
/// # Errors
/// [`crate::Kind::Unsupported`] when the vocabulary lacks a control token.
pub fn encode_segments(tokenizer: &Tokenizer, segments: &[Segment<'_>]) -> Result<Vec<TokenId>> {
    let mut ids = Vec::new();
    for segment in segments {
        match segment {
            Segment::Control(control) => ids.push(tokenizer.control(*control).ok_or_else(|| absent(*control))?),
            Segment::Text(text) => ids.extend(tokenizer.encode_text(text)),
        }
    }
    Ok(ids)
}

/// The prompt formats, after `models/llama4/chat_format.py` and `models/llama3/chat_format.py` of Meta's reference:
///
/// `dialog := BOS message* header("assistant")`, `message := header(role) content end`,
/// `header(role) := HEADER_START role HEADER_END "\n\n"`.
///
/// The end is `eom` after an assistant's message that calls a tool (and, in Llama 4, after the tool's answer),
/// otherwise `eot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatFormat {
    /// Llama 4 and Llama Guard 4.
    Llama4,
    /// Llama 3, 3.1, 3.2 and Llama Guard 3.
    Llama3,
}

impl ChatFormat {
    /// The format that a vocabulary's header tokens belong to.
    ///
    /// # Errors
    /// [`crate::Kind::Unsupported`] when the vocabulary lacks a token without which no dialog can be rendered.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        for needed in [Control::BeginOfText, Control::HeaderStart, Control::HeaderEnd, Control::Eot] {
            tokenizer.control(needed).ok_or_else(|| absent(needed))?;
        }
        let header = tokenizer.control(Control::HeaderStart).map(|id| tokenizer.name(id));
        Ok(if header == Some(b"<|header_start|>".as_slice()) { ChatFormat::Llama4 } else { ChatFormat::Llama3 })
    }

    /// The ids of a whole dialog, with exactly one BOS. With `open_assistant` the header of the answer follows, so
    /// that the model speaks next.
    ///
    /// A system message without content is left out.
    ///
    /// # Errors
    /// [`crate::Kind::Unsupported`] when the vocabulary lacks a control token.
    pub fn render(self, tokenizer: &Tokenizer, messages: &[Message], open_assistant: bool) -> Result<Vec<TokenId>> {
        self.render_turn(tokenizer, Previous::Nothing, messages, open_assistant)
    }

    /// The ids that `messages` add to a context that already holds `previous`: what is rendered at once is, id for id,
    /// what is rendered in turns, as long as the assistant's own ids are what encoding its trimmed text gives.
    ///
    /// # Errors
    /// [`crate::Kind::Unsupported`] when the vocabulary lacks a control token.
    pub fn render_turn(
        self,
        tokenizer: &Tokenizer,
        previous: Previous,
        messages: &[Message],
        open_assistant: bool,
    ) -> Result<Vec<TokenId>> {
        let mut segments = Vec::with_capacity(messages.len() * 6 + 6);
        match previous {
            Previous::Nothing => segments.push(Segment::Control(Control::BeginOfText)),
            Previous::Closed => {}
            Previous::Open { calls_tool } => {
                segments.push(Segment::Control(self.end(tokenizer, Role::Assistant, calls_tool)));
            }
        }
        for message in messages {
            // What Python's `strip` drops: a prompt rendered as one string would merge the blanks with the header's.
            let content = message.content.trim_matches(is_python_space);
            if content.is_empty() && message.role == Role::System {
                continue;
            }
            segments.extend(header(message.role));
            segments.push(Segment::Text(content));
            segments.push(Segment::Control(self.end(tokenizer, message.role, message.calls_tool)));
        }
        if open_assistant {
            segments.extend(header(Role::Assistant));
        }
        encode_segments(tokenizer, &segments)
    }

    /// The token that closes a message. The first Llama 3 vocabulary has no `eom`; there `eot` closes everything.
    fn end(self, tokenizer: &Tokenizer, role: Role, calls_tool: bool) -> Control {
        let expects_more = match role {
            Role::Assistant => calls_tool,
            Role::Ipython => self == ChatFormat::Llama4,
            Role::System | Role::User => false,
        };
        if expects_more && tokenizer.control(Control::Eom).is_some() { Control::Eom } else { Control::Eot }
    }
}

fn header(role: Role) -> [Segment<'static>; 4] {
    [
        Segment::Control(Control::HeaderStart),
        Segment::Text(role.name()),
        Segment::Control(Control::HeaderEnd),
        Segment::Text("\n\n"),
    ]
}

fn absent(control: Control) -> Error {
    Error::unsupported(format!("the vocabulary has no {}", control.names().join(" or ")))
}
