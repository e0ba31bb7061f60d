//! Ids back into messages, and a model's answer into calls of tools.

use serde_json::Value;

use super::call::{MAX_CALLS, ToolCall, measure};
use super::{ChatFormat, Role, pythonic};
use crate::error::{Error, Result};
use crate::tokenizer::{Control, TokenId, Tokenizer, is_python_space};

/// How a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// With the end of the turn.
    Eot,
    /// With the end of a message that expects a tool's answer, or of that answer.
    Eom,
    /// Not yet: the ids stop.
    Open,
}

/// A message read out of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Who speaks.
    pub role: Role,
    /// What is said, as ids: text, and in an assistant's message the control tokens around code. See
    /// [`ChatFormat::parse_answer`].
    pub content: Vec<TokenId>,
    /// The text of `content`; control tokens have none, and bytes that are no characters turn into U+FFFD.
    pub text: String,
    /// How it ends.
    pub end: End,
}

/// What a model answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What it says to the person; empty when it only calls tools.
    pub text: String,
    /// The tools it calls, in order. Whether they exist is for [`super::Tools::check`] to say.
    pub calls: Vec<ToolCall>,
}

impl Answer {
    /// Reads an answer without control tokens: a pythonic list of calls, or JSON calls one after another (also with
    /// `;` or `,` between, or in a list), and nothing else. Anything else is text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match parse_calls(text) {
            Ok(calls) => Answer { text: String::new(), calls },
            Err(_) => Answer { text: text.to_owned(), calls: Vec::new() },
        }
    }
}

/// The calls that are all of `text`, in either style.
///
/// # Errors
/// [`crate::Kind::Argument`], saying what was expected where; [`crate::Kind::Limit`] past 128 calls or values nested
/// more than 64 deep.
pub fn parse_calls(text: &str) -> Result<Vec<ToolCall>> {
    let text = text.trim_matches(is_python_space);
    let opens = text.strip_prefix('[').map(|rest| rest.trim_start_matches(is_python_space));
    if text.starts_with('{') || opens.is_some_and(|rest| rest.starts_with('{')) {
        parse_json(text)
    } else {
        pythonic::parse(text)
    }
}

fn parse_json(text: &str) -> Result<Vec<ToolCall>> {
    let odd = |at: usize, what: &str| Error::argument(format!("calls of tools: byte {at}: {what}"));
    let (mut calls, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(odd(at, &format!("{error}; expected a JSON object"))),
            None => break,
        };
        let found = if let Value::Array(items) = value { items } else { vec![value] };
        for value in found {
            if calls.len() == MAX_CALLS {
                return Err(Error::limit(format!("more than {MAX_CALLS} calls in one message")));
            }
            calls.push(json_call(value).ok_or_else(|| odd(at, "expected an object with a name and parameters"))??);
        }
        at += values.byte_offset();
        let after = text.get(at..).unwrap_or_default();
        let separators = |c: char| is_python_space(c) || matches!(c, ';' | ',');
        at = text.len() - after.trim_start_matches(separators).len();
    }
    if calls.is_empty() { Err(odd(0, "no call")) } else { Ok(calls) }
}

/// `{"name": …, "parameters": {…}}`; some models say `arguments`, or add that the type is a function.
fn json_call(value: Value) -> Option<Result<ToolCall>> {
    let Value::Object(mut pairs) = value else { return None };
    let Some(Value::String(name)) = pairs.shift_remove("name") else { return None };
    let arguments = pairs.shift_remove("parameters").or_else(|| pairs.shift_remove("arguments"));
    let Some(Value::Object(arguments)) = arguments else { return None };
    let typed = pairs.shift_remove("type").is_none_or(|kind| kind == "function");
    let named = typed && pairs.is_empty() && !name.is_empty();
    named.then(|| arguments.values().try_for_each(|v| measure(v, 0)).map(|()| ToolCall { name, arguments }))
}

impl ChatFormat {
    /// Reads a dialog's ids: what [`ChatFormat::render`] makes, with the model's own messages in between.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`], naming the place: no BOS or a second one, a header that is none, a role that is
    /// unknown, text or control tokens where none may stand.
    pub fn parse(self, tokenizer: &Tokenizer, ids: &[TokenId]) -> Result<Vec<Parsed>> {
        let odd = |at: usize, expected: &str| {
            let found = ids.get(at).map(|&id| String::from_utf8_lossy(tokenizer.name(id)).into_owned());
            let found = found.map_or("the end".to_owned(), |name| format!("{name:?}"));
            Err(Error::argument(format!("dialog: id {at}: {found}; expected {expected}")))
        };
        let is = |at: usize, control: Control| ids.get(at).is_some_and(|&id| tokenizer.control(control) == Some(id));
        let text_end = |from: usize| {
            let text = ids.get(from..).unwrap_or_default().iter().take_while(|&&id| !tokenizer.is_control(id));
            from + text.count()
        };
        let text = |from: usize, to: usize| tokenizer.decode(ids.get(from..to).unwrap_or_default());
        let blank = tokenizer.encode_text("\n\n");
        if !is(0, Control::BeginOfText) {
            return odd(0, "the beginning of text");
        }
        let (mut messages, mut at) = (Vec::new(), 1);
        while at < ids.len() {
            if !is(at, Control::HeaderStart) {
                return odd(at, "a header");
            }
            let role_end = text_end(at + 1);
            let name = text(at + 1, role_end);
            let Some(role) = Role::ALL.into_iter().find(|role| role.name().as_bytes() == name) else {
                return odd(at + 1, "system, user, assistant or ipython");
            };
            let start = role_end + 1 + blank.len();
            if !is(role_end, Control::HeaderEnd) || ids.get(role_end + 1..start) != Some(blank.as_slice()) {
                return odd(role_end, "the end of the header and an empty line");
            }
            let around_code = |at| is(at, Control::PythonStart) || is(at, Control::PythonEnd);
            let mut end = text_end(start);
            while role == Role::Assistant && around_code(end) {
                end = text_end(end + 1);
            }
            let content = ids.get(start..end).unwrap_or_default().to_vec();
            let kind = match end {
                _ if end == ids.len() => End::Open,
                _ if is(end, Control::Eot) => End::Eot,
                _ if is(end, Control::Eom) => End::Eom,
                _ => return odd(end, "the end of the message"),
            };
            let text = String::from_utf8_lossy(&tokenizer.decode(&content)).into_owned();
            messages.push(Parsed { role, content, text, end: kind });
            at = end + 1;
        }
        Ok(messages)
    }

    /// Reads the ids of a model's answer, up to its end or without it: text, or calls of tools in either style, bare,
    /// between the tokens around code, or after them. What stands after the token that opens code and is no call is code.
    #[must_use]
    pub fn parse_answer(self, tokenizer: &Tokenizer, ids: &[TokenId]) -> Answer {
        let ids = ids.split(|&id| tokenizer.is_stop(id)).next().unwrap_or_default();
        let text = |ids: &[TokenId]| String::from_utf8_lossy(&tokenizer.decode(ids)).into_owned();
        let split = |ids: &[TokenId], control: Control| {
            let at = ids.iter().position(|&id| tokenizer.control(control) == Some(id))?;
            Some((text(ids.get(..at).unwrap_or_default()), ids.get(at + 1..).unwrap_or_default().to_vec()))
        };
        let Some((before, code)) = split(ids, Control::PythonStart) else { return Answer::parse(&text(ids)) };
        let (inside, after) = split(&code, Control::PythonEnd)
            .map_or_else(|| (text(&code), String::new()), |(inside, after)| (inside, text(&after)));
        if let Ok(calls) = parse_calls(&after) {
            return Answer { text: before + &inside, calls };
        }
        let text = before + &after;
        match parse_calls(&inside) {
            Ok(calls) => Answer { text, calls },
            Err(_) if inside.trim_matches(is_python_space).is_empty() => Answer { text, calls: Vec::new() },
            Err(_) => Answer { text, calls: vec![ToolCall::code(inside)] },
        }
    }
}
