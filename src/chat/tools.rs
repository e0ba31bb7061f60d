//! Tools that a dialog may use: their definitions, checked, and where the prompt tells the model of them.

use std::collections::HashSet;

use serde_json::Value;

use super::call::{ToolCall, ToolStyle, dumps_indented, is_dotted_name, measure};
use super::{ChatFormat, Message, Role};
use crate::error::{Error, Result};

/// Bytes of all definitions together.
const MAX_BYTES: usize = 1 << 20;

const MAX_TOOLS: usize = 512;

/// Which message holds the definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToolPlace {
    /// The system message, which is there for them if for nothing else.
    System,
    /// The first message of the user.
    User,
}

/// The tools of a dialog.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    definitions: Vec<Value>,
    style: ToolStyle,
    place: ToolPlace,
    code_interpreter: bool,
}

impl Tools {
    /// Reads definitions: a JSON list of objects `{"name": …, "description": …, "parameters": {…}}`, or of such objects
    /// as `{"type": "function", "function": {…}}`. The prompt shows them as they are given.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] for anything else, naming the definition: a name that is no identifier (in the JSON
    /// style `-` may stand in it too) or stands twice, a description that is no string, parameters that are no object;
    /// [`crate::Kind::Limit`] past 1 MiB, 512 tools or 64 levels.
    pub fn parse(definitions: &str, style: ToolStyle, place: ToolPlace) -> Result<Self> {
        if definitions.len() > MAX_BYTES {
            let what = format!("tool definitions: {} bytes, the limit is {MAX_BYTES}", definitions.len());
            return Err(Error::limit(what));
        }
        let definitions = match serde_json::from_str(definitions) {
            Ok(Value::Array(definitions)) => definitions,
            Ok(_) => return Err(Error::argument("tool definitions: expected a JSON list of objects")),
            Err(error) => return Err(Error::argument(format!("tool definitions: {error}; expected a JSON list"))),
        };
        if definitions.len() > MAX_TOOLS {
            let what = format!("tool definitions: {} tools, the limit is {MAX_TOOLS}", definitions.len());
            return Err(Error::limit(what));
        }
        let mut names = HashSet::new();
        for (at, definition) in definitions.iter().enumerate() {
            let name =
                check(definition, style).map_err(|error| error.context(format_args!("tool definitions[{at}]")))?;
            if !names.insert(name) {
                let what = format!("tool definitions[{at}]: {name:?} stands twice; expected each name once");
                return Err(Error::argument(what));
            }
        }
        Ok(Tools { definitions, style, place, code_interpreter: false })
    }

    /// The same with Python itself as a tool: the system message opens with `Environment: ipython`.
    #[must_use]
    pub fn with_code_interpreter(self) -> Self {
        Tools { code_interpreter: true, ..self }
    }

    /// How calls are written.
    #[must_use]
    pub fn style(&self) -> ToolStyle {
        self.style
    }

    /// Names of the tools, as defined.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.iter().filter_map(|definition| function(definition).get("name")?.as_str())
    }

    /// Whether a call is one that was offered: a defined tool, with every argument that its definition requires.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`], naming what is unknown or missing.
    pub fn check(&self, call: &ToolCall) -> Result<()> {
        if self.code_interpreter && call.as_code().is_some() {
            return Ok(());
        }
        let named = |definition: &&Value| function(definition)["name"] == call.name.as_str();
        let Some(definition) = self.definitions.iter().find(named) else {
            let known = self.names().collect::<Vec<_>>().join(", ");
            return Err(Error::argument(format!("call of {:?}: no such tool; there are {known}", call.name)));
        };
        let required = function(definition)["parameters"]["required"].as_array();
        let missing =
            required.into_iter().flatten().filter_map(Value::as_str).find(|k| !call.arguments.contains_key(*k));
        match missing {
            Some(key) => Err(Error::argument(format!("call of {:?}: the argument {key:?} is missing", call.name))),
            None => Ok(()),
        }
    }

    /// The messages of a dialog's beginning with the definitions in their place.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] when they belong into the first message of the user and the first message beside the
    /// system's is another's.
    pub fn place(&self, format: ChatFormat, messages: &[Message]) -> Result<Vec<Message>> {
        let mut messages = messages.to_vec();
        if self.definitions.is_empty() && !self.code_interpreter {
            return Ok(messages);
        }
        let has_system = messages.first().is_some_and(|message| message.role == Role::System && !message.is_empty());
        let in_user = self.place == ToolPlace::User && !self.definitions.is_empty();
        if in_user {
            let first = messages.iter_mut().find(|message| message.role != Role::System);
            let first = first.filter(|message| message.role == Role::User);
            let first = first.ok_or_else(|| {
                Error::argument("tools in the user's message: expected the user to speak first, after the system")
            })?;
            first.content = self.user_content(format, first.said())?;
        }
        let (system, rest) = match messages.split_first() {
            Some((first, rest)) if first.role == Role::System => (first.said(), rest),
            _ => ("", messages.as_slice()),
        };
        // Llama 3's templates always have a system message, Llama 4's only when it says something.
        let told = self.code_interpreter || !in_user || has_system || format == ChatFormat::Llama3;
        let content = if told { self.system_content(format, system, !in_user)? } else { String::new() };
        // The words of the templates end with blanks where the host says nothing.
        let mut placed = vec![Message { verbatim: true, ..Message::new(Role::System, content) }];
        placed.extend_from_slice(rest);
        Ok(placed)
    }

    /// The system message around `text`.
    fn system_content(&self, format: ChatFormat, text: &str, with_definitions: bool) -> Result<String> {
        let documented = format == ChatFormat::Llama4 && self.style == ToolStyle::Pythonic;
        let mut out = String::new();
        if self.code_interpreter || !documented {
            out.push_str("Environment: ipython\n");
        }
        if self.definitions.is_empty() || !with_definitions {
            return Ok(out + text);
        }
        if documented {
            out.push_str(text);
            out.push_str(if text.is_empty() { "" } else { "\n\n" });
            return Ok(out + &self.documented()?);
        }
        out.push_str(match self.style {
            ToolStyle::Json => "You have access to the following functions. To call a function, please respond with JSON for a function call.",
            ToolStyle::Pythonic => "You have access to the following functions. To call functions, please respond with a python list of the calls. ",
        });
        out.push_str(self.respond());
        Ok(out + &self.listed()? + text)
    }

    /// The first message of the user around `text`.
    fn user_content(&self, format: ChatFormat, text: &str) -> Result<String> {
        if format == ChatFormat::Llama4 && self.style == ToolStyle::Pythonic {
            return Ok(format!("Questions: {text}\n{}", self.documented()?));
        }
        let given = match self.style {
            ToolStyle::Json => {
                "Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\n"
            }
            ToolStyle::Pythonic => {
                "Given the following functions, please respond with a python list for function calls with their proper arguments to best answer the given prompt.\n\n"
            }
        };
        Ok(format!("{given}{}{}{text}", self.respond(), self.listed()?))
    }

    fn respond(&self) -> &'static str {
        match self.style {
            ToolStyle::Json => {
                "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n"
            }
            ToolStyle::Pythonic => {
                "Respond in the format [func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)] Do not use variables.\n\n"
            }
        }
    }

    /// The definitions one by one.
    fn listed(&self) -> Result<String> {
        self.definitions.iter().map(|definition| Ok(dumps_indented(definition)? + "\n\n")).collect()
    }

    /// Meta's documented words for Llama 4, around one list of all definitions.
    fn documented(&self) -> Result<String> {
        let list = dumps_indented(&Value::Array(self.definitions.clone()))?;
        Ok(format!(
            "Here is a list of functions in JSON format that you can invoke:\n{list}\n\nShould you decide to return the \
             function call(s), put them in the format of [func1(params_name=params_value, params_name2=params_value2...), \
             func2(params)]\n\nYou SHOULD NOT include any other text in the response."
        ))
    }
}

/// What is defined, without the wrapping that some hosts put around it.
fn function(definition: &Value) -> &Value {
    if definition["type"] == "function" { definition.get("function").unwrap_or(definition) } else { definition }
}

/// Checks one definition and says its name.
fn check(definition: &Value, style: ToolStyle) -> Result<&str> {
    measure(definition, 0)?;
    let function = function(definition);
    if !function.is_object() {
        return Err(Error::argument("expected an object with a name"));
    }
    let Some(name) = function["name"].as_str() else { return Err(Error::argument("\"name\": expected a string")) };
    let plain = if style == ToolStyle::Json { name.replace('-', "_") } else { name.to_owned() };
    if !is_dotted_name(&plain) || name.len() > 128 {
        let name: String = name.chars().take(40).collect();
        return Err(Error::argument(format!("\"name\": {name:?}; expected an identifier of at most 128 letters")));
    }
    for (key, fits) in [("description", Value::is_string as fn(&Value) -> bool), ("parameters", Value::is_object)] {
        if function.get(key).is_some_and(|value| !fits(value)) {
            let expected = if key == "parameters" { "an object" } else { "a string" };
            return Err(Error::argument(format!("{name}: {key:?}: expected {expected}")));
        }
    }
    Ok(name)
}
