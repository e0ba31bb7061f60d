//! The pythonic style read back: a list of calls with keyword arguments that are literals. Nothing is evaluated.

use serde_json::{Map, Number, Value};

use super::call::{MAX_CALLS, MAX_DEPTH, ToolCall};
use crate::error::{Error, Result};

/// Reads `[name(key=literal, …), …]`, with blanks around it, and nothing else.
///
/// Literals are strings (single, double and triple quotes, Python's escapes), numbers, `True`, `False`, `None` (also as
/// JSON spells them), lists, tuples, and dicts with string keys.
///
/// # Errors
/// [`crate::Kind::Argument`], saying what was expected at which byte; [`crate::Kind::Limit`] past 128 calls or values
/// nested more than 64 deep.
pub(super) fn parse(text: &str) -> Result<Vec<ToolCall>> {
    let mut reader = Reader { text, at: 0 };
    reader.blanks();
    reader.expect('[')?;
    let mut calls = Vec::new();
    loop {
        reader.blanks();
        if !calls.is_empty() && reader.take(']') {
            break;
        }
        if calls.len() == MAX_CALLS {
            return Err(Error::limit(format!("more than {MAX_CALLS} calls in one message")));
        }
        calls.push(reader.call()?);
        reader.blanks();
        if !reader.take(',') {
            reader.expect(']')?;
            break;
        }
    }
    reader.blanks();
    if reader.at < text.len() { Err(reader.odd("the end")) } else { Ok(calls) }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn take_str(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.take(c) { Ok(()) } else { Err(self.odd(&format!("{c:?}"))) }
    }

    fn odd(&self, expected: &str) -> Error {
        let found: String = self.rest().chars().take(20).collect();
        Error::argument(format!("calls of tools: byte {}: {found:?}; expected {expected}", self.at))
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
    }

    /// Bytes from here on that satisfy `member`.
    fn run(&mut self, member: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let run = rest.get(..rest.bytes().take_while(|&byte| member(byte)).count()).unwrap_or_default();
        self.at += run.len();
        run
    }

    fn identifier(&mut self) -> Result<&'t str> {
        if !self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.odd("a name"));
        }
        Ok(self.run(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    }

    /// `name(key=literal, …)`
    fn call(&mut self) -> Result<ToolCall> {
        let mut name = self.identifier()?.to_owned();
        while self.take('.') {
            name.push('.');
            name.push_str(self.identifier()?);
        }
        self.blanks();
        self.expect('(')?;
        let mut arguments = Map::new();
        self.items(')', |reader| {
            let start = reader.at;
            let key = reader.identifier()?;
            reader.blanks();
            if !reader.take('=') {
                return Err(reader.odd("\"=\": arguments have names"));
            }
            reader.blanks();
            let value = reader.literal(0)?;
            if arguments.insert(key.to_owned(), value).is_some() {
                reader.at = start;
                return Err(reader.odd("each argument once"));
            }
            Ok(())
        })?;
        Ok(ToolCall { name, arguments })
    }

    /// What `item` reads, with commas between and perhaps one at the end, up to `close`. Says whether there was a comma.
    fn items(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<bool> {
        let mut comma = false;
        loop {
            self.blanks();
            if self.take(close) {
                return Ok(comma);
            }
            item(self)?;
            self.blanks();
            if self.take(close) {
                return Ok(comma);
            }
            self.expect(',')?;
            comma = true;
        }
    }

    fn literal(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(Error::limit(format!("calls of tools: values are nested more than {MAX_DEPTH} deep")));
        }
        match self.peek() {
            Some('"' | '\'') => self.string().map(Value::String),
            Some('0'..='9' | '-' | '+' | '.') => self.number().map(Value::Number),
            Some(open @ ('[' | '(')) => {
                self.at += 1;
                let mut items = Vec::new();
                let comma = self.items(if open == '[' { ']' } else { ')' }, |reader| {
                    items.push(reader.literal(depth + 1)?);
                    Ok(())
                })?;
                match <[Value; 1]>::try_from(items) {
                    // Parentheses around one value are no tuple.
                    Ok([only]) if open == '(' && !comma => Ok(only),
                    Ok(one) => Ok(Value::Array(one.into())),
                    Err(items) => Ok(Value::Array(items)),
                }
            }
            Some('{') => {
                self.at += 1;
                let mut pairs = Map::new();
                self.items('}', |reader| {
                    let start = reader.at;
                    if !matches!(reader.peek(), Some('"' | '\'')) {
                        return Err(reader.odd("a string as the key of a dict"));
                    }
                    let key = reader.string()?;
                    reader.blanks();
                    reader.expect(':')?;
                    reader.blanks();
                    if pairs.insert(key, reader.literal(depth + 1)?).is_some() {
                        reader.at = start;
                        return Err(reader.odd("each key once"));
                    }
                    Ok(())
                })?;
                Ok(Value::Object(pairs))
            }
            _ => self.constant(),
        }
    }

    fn constant(&mut self) -> Result<Value> {
        let start = self.at;
        let value = match self.identifier() {
            Ok("True" | "true") => Value::Bool(true),
            Ok("False" | "false") => Value::Bool(false),
            Ok("None" | "null") => Value::Null,
            _ => {
                self.at = start;
                return Err(self.odd("a literal"));
            }
        };
        Ok(value)
    }

    fn number(&mut self) -> Result<Number> {
        let start = self.at;
        let written = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'));
        let digits = written.trim_start_matches(['+', '-']);
        let plain =
            digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
        let signs = written.len() - digits.len();
        let zeros = digits.len() > 1 && digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.starts_with('0');
        let number = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            _ if !plain || signs > 1 || zeros || !digits.bytes().any(|byte| byte.is_ascii_digit()) => None,
            true if written.starts_with('-') => written.parse::<i64>().ok().map(Number::from),
            true => digits.parse::<u64>().ok().map(Number::from),
            false => written.parse::<f64>().ok().and_then(Number::from_f64),
        };
        number.ok_or_else(|| {
            self.at = start;
            self.odd("a decimal number of at most 64 bits")
        })
    }

    /// A string in its quotes.
    fn string(&mut self) -> Result<String> {
        let start = self.at;
        let quote = if self.rest().starts_with('"') { "\"" } else { "'" };
        let triple = self.take_str(&quote.repeat(3));
        if !triple {
            self.at += 1;
        }
        let close = if triple { quote.repeat(3) } else { quote.to_owned() };
        let mut out = String::new();
        loop {
            if self.take_str(&close) {
                return Ok(out);
            }
            match self.next() {
                Some('\\') => self.escape(&mut out)?,
                Some(c) if triple || !matches!(c, '\n' | '\r') => out.push(c),
                _ => {
                    self.at = start;
                    let line = if triple { "" } else { " on its line" };
                    return Err(self.odd(&format!("a string that ends with {close}{line}")));
                }
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, out: &mut String) -> Result<()> {
        let start = self.at;
        let c = self.next();
        let plain = match c {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some('a') => '\u{7}',
            Some(c @ ('\\' | '\'' | '"')) => c,
            Some('\n') => return Ok(()),
            Some(kind @ ('x' | 'u' | 'U')) => {
                let digits = match kind {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                self.code(digits).and_then(char::from_u32).ok_or_else(|| {
                    self.at = start;
                    self.odd("the hexadecimal code of a character")
                })?
            }
            Some('0'..='7' | 'N') => {
                self.at = start;
                return Err(self.odd("an escape other than octal or a name"));
            }
            // Python leaves a backslash that begins no escape.
            Some(other) => {
                out.push('\\');
                other
            }
            None => return Err(self.odd("a character after the backslash")),
        };
        out.push(plain);
        Ok(())
    }

    /// So many hexadecimal digits; the two halves of a surrogate pair, as JSON writes them, are one character.
    fn code(&mut self, digits: usize) -> Option<u32> {
        let high = self.hexadecimal(digits)?;
        if digits != 4 || !(0xd800..0xdc00).contains(&high) {
            return Some(high);
        }
        let low = if self.take_str("\\u") { self.hexadecimal(4)? } else { return None };
        (0xdc00..0xe000).contains(&low).then(|| 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let digits = self.rest().get(..digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        self.at += digits.len();
        u32::from_str_radix(digits, 16).ok()
    }
}
