//! Dialog to ids; a caller's text can never yield a control id.

mod answer;
mod call;
mod pythonic;
#[cfg(test)]
mod tests;
mod tools;

pub use answer::{Answer, End, Parsed, parse_calls};
pub use call::{ToolCall, ToolStyle};
pub use tools::{ToolPlace, Tools};

use serde_json::Value;

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
    /// All of them.
    pub const ALL: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Ipython];

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
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said. Blanks at both ends are dropped when it is rendered, unless it is `verbatim`.
    pub content: String,
    /// Whether blanks at both ends of the content stand.
    pub verbatim: bool,
    /// Whether an assistant's message calls a tool in its content, or ended with `eom`; then it is closed with `eom`,
    /// as one with `calls` is.
    pub calls_tool: bool,
    /// Calls by the assistant, after its content.
    pub calls: Vec<ToolCall>,
    /// How calls, and a tool's result, are written.
    pub style: ToolStyle,
}

impl Message {
    /// A message that calls no tool.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message {
            role,
            content: content.into(),
            verbatim: false,
            calls_tool: false,
            calls: Vec::new(),
            style: ToolStyle::default(),
        }
    }

    /// An assistant's message that calls tools.
    #[must_use]
    pub fn calling(calls: Vec<ToolCall>, style: ToolStyle) -> Self {
        Message { calls_tool: true, calls, style, ..Message::new(Role::Assistant, "") }
    }

    /// A tool's result. In the JSON style a text that is a JSON object or list stands as one, any other as a string.
    #[must_use]
    pub fn result(content: impl Into<String>, style: ToolStyle) -> Self {
        Message { style, ..Message::new(Role::Ipython, content) }
    }

    fn is_empty(&self) -> bool {
        self.said().is_empty() && self.calls.is_empty()
    }

    /// The content as it is rendered. What is dropped is what Python's `strip` drops: a prompt rendered as one string
    /// would merge the blanks with the header's.
    fn said(&self) -> &str {
        if self.verbatim { &self.content } else { self.content.trim_matches(is_python_space) }
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
    /// A system message without content is left out. Tools are told of by [`Tools::place`] beforehand.
    ///
    /// # Errors
    /// [`crate::Kind::Unsupported`] when the vocabulary lacks a control token; [`crate::Kind::Argument`] for calls by
    /// another than the assistant, calls that the style cannot write, and more than one call in Llama 3's JSON style.
    pub fn render(self, tokenizer: &Tokenizer, messages: &[Message], open_assistant: bool) -> Result<Vec<TokenId>> {
        self.render_turn(tokenizer, Previous::Nothing, messages, open_assistant)
    }

    /// The ids that `messages` add to a context that already holds `previous`: what is rendered at once is, id for id,
    /// what is rendered in turns, as long as the assistant's own ids are what encoding its trimmed text gives.
    ///
    /// # Errors
    /// As [`ChatFormat::render`].
    pub fn render_turn(
        self,
        tokenizer: &Tokenizer,
        previous: Previous,
        messages: &[Message],
        open_assistant: bool,
    ) -> Result<Vec<TokenId>> {
        let mut ids = match previous {
            Previous::Nothing => control_id(tokenizer, Control::BeginOfText)?,
            Previous::Closed => Vec::new(),
            Previous::Open { calls_tool } => control_id(tokenizer, self.end(tokenizer, Role::Assistant, calls_tool))?,
        };
        for message in messages {
            if message.is_empty() && message.role == Role::System {
                continue;
            }
            ids.extend(encode_segments(tokenizer, &header(message.role))?);
            ids.extend(self.content(tokenizer, message)?);
            let calls_tool = message.calls_tool || !message.calls.is_empty();
            ids.extend(control_id(tokenizer, self.end(tokenizer, message.role, calls_tool))?);
        }
        if open_assistant {
            ids.extend(encode_segments(tokenizer, &header(Role::Assistant))?);
        }
        Ok(ids)
    }

    /// What stands between a message's header and its end: its content, then its calls, each encoded by itself.
    fn content(self, tokenizer: &Tokenizer, message: &Message) -> Result<Vec<TokenId>> {
        let content = Segment::Text(message.said());
        let (open, close) = (Segment::Control(Control::PythonStart), Segment::Control(Control::PythonEnd));
        let llama4 = self == ChatFormat::Llama4;
        if let ([code], Role::Assistant) = (message.calls.as_slice(), message.role)
            && let Some(code) = code.as_code()
        {
            let mut ids = encode_segments(tokenizer, &[content, open, Segment::Text(code)])?;
            ids.extend(if llama4 { encode_segments(tokenizer, &[close])? } else { Vec::new() });
            return Ok(ids);
        }
        match (message.calls.as_slice(), message.role) {
            ([], Role::Ipython) if message.style == ToolStyle::Json => {
                encode_segments(tokenizer, &[Segment::Text(&json_result(message.said())?)])
            }
            ([], _) => encode_segments(tokenizer, &[content]),
            (calls, Role::Assistant) if message.style == ToolStyle::Pythonic => {
                encode_segments(tokenizer, &[content, Segment::Text(&call::write_pythonic(calls)?)])
            }
            (calls, Role::Assistant) if llama4 => {
                // The template shipped with Llama 4 puts what is said between the tokens and the calls after them.
                encode_segments(tokenizer, &[open, content, close, Segment::Text(&call::write_json(calls)?)])
            }
            (calls @ [_], Role::Assistant) => {
                encode_segments(tokenizer, &[content, Segment::Text(&call::write_json(calls)?)])
            }
            (calls, Role::Assistant) => {
                let count = calls.len();
                Err(Error::argument(format!("{count} calls in a message; Llama 3's JSON style has one in each")))
            }
            (_, role) => {
                Err(Error::argument(format!("a message of {} calls tools; only the assistant does", role.name())))
            }
        }
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

fn control_id(tokenizer: &Tokenizer, control: Control) -> Result<Vec<TokenId>> {
    encode_segments(tokenizer, &[Segment::Control(control)])
}

/// A result in the JSON style.
fn json_result(content: &str) -> Result<String> {
    match serde_json::from_str::<Value>(content) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => call::dumps(&value),
        _ => call::dumps(&content),
    }
}

fn absent(control: Control) -> Error {
    Error::unsupported(format!("the vocabulary has no {}", control.names().join(" or ")))
}
