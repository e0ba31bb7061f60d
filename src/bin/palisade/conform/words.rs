//! The words that the suite and a driver exchange: one line a message, words apart by a space, values percent-encoded.
//!
//! Values are bytes, not characters: a wrapper that tears a character in two can then be seen doing it.

use std::fmt::Write as _;

/// What a driver says during a request, in the order in which its user is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Started,
    Progress,
    /// Appended to what the end user reads.
    Text(Vec<u8>),
    /// For the developer; whether it is one that blocks.
    Verdict {
        block: bool,
    },
    /// What the end user reads is cut to so many bytes.
    TakeBack(usize),
    End(End),
    /// What a call from inside the handler came to.
    Nested(i32),
}

/// How a request ended, as the wrapper says it.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub reason: String,
    pub status: i32,
    /// What the end user reads beside the answer, or in its place.
    pub text: Vec<u8>,
}

/// A whole answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Ok,
    /// The status, and what the wrapper says of it.
    Error(i32, String),
    Unsupported(String),
}

/// `%XX` for every byte but letters, digits and a few signs that no shell or parser minds.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for b in bytes {
        if b.is_ascii_alphanumeric() || b"-_.~/".contains(b) {
            out.push(char::from(*b));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// The bytes behind an encoded value; other characters stand for themselves.
pub fn decode(word: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err(format!("{word:?}: % without two hexadecimal digits"));
        };
        out.push((high * 16 + low) as u8);
    }
    Ok(out)
}

/// One command: its name, then `key=value` for each pair.
pub fn command(name: &str, pairs: &[(&str, String)]) -> String {
    let mut line = name.to_owned();
    for (key, value) in pairs {
        let _ = write!(line, " {key}={}", encode(value.as_bytes()));
    }
    line
}

/// A line of a request; `None` for one that is none of these.
pub fn line(text: &str) -> Result<Option<Line>, String> {
    let mut words = text.split(' ');
    let line = match words.next().unwrap_or_default() {
        "started" => Line::Started,
        "progress" => Line::Progress,
        "text" => Line::Text(decode(words.next().unwrap_or_default())?),
        "verdict" => Line::Verdict { block: words.next() == Some("block") },
        "take-back" => Line::TakeBack(number(words.next(), text)?),
        "nested" => Line::Nested(number(words.next(), text)?),
        "end" => Line::End(End {
            reason: words.next().unwrap_or_default().to_owned(),
            status: number(words.next(), text)?,
            text: match words.next() {
                None => Vec::new(),
                Some(word) => {
                    let value = word.strip_prefix("text=");
                    decode(value.ok_or_else(|| format!("{text:?}: expected end REASON STATUS text=..."))?)?
                }
            },
        }),
        _ => return Ok(None),
    };
    match words.next() {
        None => Ok(Some(line)),
        Some(more) => Err(format!("{text:?}: {more:?} is a word too many")),
    }
}

/// What ends a request: what its call came to.
pub fn done(text: &str) -> Result<Option<i32>, String> {
    text.strip_prefix("done ").map(|status| number(Some(status), text)).transpose()
}

/// The answer to every other command.
pub fn reply(text: &str) -> Result<Reply, String> {
    let mut words = text.split(' ');
    match words.next().unwrap_or_default() {
        "ok" => Ok(Reply::Ok),
        "error" => {
            let status = number(words.next(), text)?;
            let why = decode(words.next().and_then(|w| w.strip_prefix("text=")).unwrap_or_default())?;
            Ok(Reply::Error(status, String::from_utf8_lossy(&why).into_owned()))
        }
        "unsupported" => Ok(Reply::Unsupported(words.next().unwrap_or("it").to_owned())),
        _ => Err(format!("{text:?}: expected ok, error STATUS [text=...] or unsupported WHAT")),
    }
}

fn number<T: std::str::FromStr>(word: Option<&str>, line: &str) -> Result<T, String> {
    word.and_then(|w| w.parse().ok()).ok_or_else(|| format!("{line:?}: a number is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        assert!(decode("%4").is_err() && decode("%zz").is_err());
    }

    #[test]
    fn lines_are_read_or_refused() {
        let end = End { reason: "error".to_owned(), status: 401, text: b"No.".to_vec() };
        assert_eq!(line("end error 401 text=No."), Ok(Some(Line::End(end))));
        assert_eq!(line("text"), Ok(Some(Line::Text(Vec::new()))));
        assert_eq!(line("nonsense"), Ok(None));
        assert!(line("end stop").is_err() && line("started 1").is_err() && line("take-back -1").is_err());
        assert_eq!((done("done 0"), done("text x")), (Ok(Some(0)), Ok(None)));
        assert_eq!(reply("error 105"), Ok(Reply::Error(105, String::new())));
        assert_eq!(reply("error 201 text=No%20file"), Ok(Reply::Error(201, "No file".to_owned())));
    }
}
