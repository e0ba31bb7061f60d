//! Calls of tools, and how both styles write them.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// How calls are written, and how definitions and results go with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ToolStyle {
    /// A list as in Python, `[name(key="value", other=1), another()]`: Meta's documented style for Llama 4 and 3.2.
    /// Results stand as they are.
    #[default]
    Pythonic,
    /// `{"name": "name", "parameters": {…}}`: Llama 3.1's style and that of the chat template shipped with Llama 4.
    /// Results stand as JSON.
    Json,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// Arguments by name, in the order in which they were given.
    pub arguments: Map<String, Value>,
}

/// Lists in lists, or objects: no deeper than this, written or read.
pub(super) const MAX_DEPTH: usize = 64;

/// Calls in one message.
pub(super) const MAX_CALLS: usize = 128;

/// The name of the tool that is Python itself: what a model writes after its python token and is no call of another.
pub(super) const CODE_INTERPRETER: &str = "code_interpreter";

impl ToolCall {
    /// A call whose arguments are given as the text of a JSON object.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] when they are not.
    pub fn new(name: impl Into<String>, arguments: &str) -> Result<Self> {
        let name = name.into();
        match serde_json::from_str(arguments) {
            Ok(Value::Object(arguments)) => Ok(ToolCall { name, arguments }),
            Ok(_) => Err(Error::argument(format!("arguments of {name:?}: expected a JSON object"))),
            Err(error) => Err(Error::argument(format!("arguments of {name:?}: {error}; expected a JSON object"))),
        }
    }

    /// Code for the interpreter: the tool `code_interpreter` with the argument `code`.
    #[must_use]
    pub fn code(code: impl Into<String>) -> Self {
        let arguments = Map::from_iter([("code".to_owned(), Value::String(code.into()))]);
        ToolCall { name: CODE_INTERPRETER.to_owned(), arguments }
    }

    /// The code, if that is what it is.
    #[must_use]
    pub fn as_code(&self) -> Option<&str> {
        let code = self.arguments.get("code").and_then(Value::as_str);
        code.filter(|_| self.name == CODE_INTERPRETER && self.arguments.len() == 1)
    }

    /// The arguments as the text of a JSON object.
    #[must_use]
    pub fn arguments_json(&self) -> String {
        Value::Object(self.arguments.clone()).to_string()
    }
}

/// `[name(key="value"), …]`, which [`super::pythonic::parse`] reads back.
///
/// # Errors
/// [`crate::Kind::Argument`] for a name that Python has no way to write; [`crate::Kind::Limit`] past [`MAX_DEPTH`].
pub(super) fn write_pythonic(calls: &[ToolCall]) -> Result<String> {
    let mut out = String::from("[");
    for (at, call) in calls.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        if !is_dotted_name(&call.name) {
            return Err(unwritable("tool", &call.name));
        }
        out.push_str(&call.name);
        out.push('(');
        for (at, (key, value)) in call.arguments.iter().enumerate() {
            out.push_str(if at > 0 { ", " } else { "" });
            if !is_identifier(key) {
                return Err(unwritable("argument", key));
            }
            out.push_str(key);
            out.push('=');
            write_literal(value, &mut out, 0)?;
        }
        out.push(')');
    }
    out.push(']');
    Ok(out)
}

fn unwritable(what: &str, name: &str) -> Error {
    Error::argument(format!("the {what} {name:?} has no form in the pythonic style; expected an identifier"))
}

fn write_literal(value: &Value, out: &mut String, depth: usize) -> Result<()> {
    check_depth(depth)?;
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_literal(item, out, depth + 1)?;
            }
            out.push(']');
        }
        Value::Object(pairs) => {
            out.push('{');
            for (at, (key, item)) in pairs.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                write_literal(item, out, depth + 1)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::limit(format!("values are nested more than {MAX_DEPTH} deep")));
    }
    Ok(())
}

/// `{"name": "name", "parameters": {…}}`, one call after another.
///
/// # Errors
/// [`crate::Kind::Limit`] past [`MAX_DEPTH`].
pub(super) fn write_json(calls: &[ToolCall]) -> Result<String> {
    let mut out = String::new();
    for call in calls {
        call.arguments.values().try_for_each(|value| measure(value, 0))?;
        let (name, arguments) = (dumps(&call.name)?, dumps(&call.arguments)?);
        out.push_str(&format!("{{\"name\": {name}, \"parameters\": {arguments}}}"));
    }
    Ok(out)
}

/// Refuses values nested deeper than [`MAX_DEPTH`].
pub(super) fn measure(value: &Value, depth: usize) -> Result<()> {
    check_depth(depth)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1)),
        Value::Object(pairs) => pairs.values().try_for_each(|item| measure(item, depth + 1)),
        _ => Ok(()),
    }
}

/// JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it, on which models were trained.
pub(super) fn dumps(value: &impl Serialize) -> Result<String> {
    written(value, Spaced)
}

/// The same with `indent=4`.
pub(super) fn dumps_indented(value: &Value) -> Result<String> {
    written(value, PrettyFormatter::with_indent(b"    "))
}

fn written(value: &impl Serialize, formatter: impl Formatter) -> Result<String> {
    let mut out = Vec::new();
    let done = value.serialize(&mut Serializer::with_formatter(&mut out, formatter));
    done.map_err(|error| Error::internal(format!("writing JSON: {error}")))?;
    String::from_utf8(out).map_err(|error| Error::internal(format!("writing JSON: {error}")))
}

/// `, ` and `: ` between the parts.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// A letter or `_`, then letters, digits and `_`, all ASCII.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Identifiers with dots between.
pub(super) fn is_dotted_name(name: &str) -> bool {
    name.split('.').all(is_identifier)
}
