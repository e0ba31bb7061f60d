//! What one record may hold.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// The longest label, in bytes.
const MAX_LABEL: usize = 80;

/// An identifier: at most 80 letters, digits and `._:/+-`. It has no room for a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// Takes an identifier of our own making: a category, a session id, a hash.
    ///
    /// # Errors
    /// [`crate::Kind::Internal`] for anything that is not an identifier; the text is not repeated in the message.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() <= MAX_LABEL && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::internal("audit: a value that is not an identifier was offered as one"))
        }
    }

    /// Turns the name of a model or of a licence into a label: what does not belong becomes `_`, what is too long is cut.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let fold = |c: char| if c.is_ascii() && plain(c as u8) { c } else { '_' };
        Self(name.chars().take(MAX_LABEL).map(fold).collect())
    }

    /// The identifier.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Words of a user. Only a log that was opened for them makes one ([`super::AuditOptions::plain_text`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PlainText(pub(super) String);

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:/+-".contains(&byte)
}

/// One thing that happened. The log adds its number and the hash of the record before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Seconds since 1970 by the host's clock.
    pub time_unix: i64,
    /// The session, by a name that says nothing about its user.
    pub session: Label,
    /// SHA-256 of the policy in force.
    pub policy: Label,
    /// The model's name or hash.
    pub model: Label,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A licence was accepted.
    License {
        /// Its identifier.
        license: Label,
        /// SHA-256 of the accepted text.
        sha256: Label,
    },
    /// A guard judged.
    Verdict {
        /// The request's number within the session.
        request: u64,
        /// `input` or `output`.
        stage: Label,
        /// `allow`, `flag`, `mask` or `block`.
        action: Label,
        /// The category that decided, if one did.
        category: Option<Label>,
        /// The check that decided, if one did.
        check: Option<Label>,
        /// Its score; not comparable across checks.
        score: Option<f32>,
        /// The threshold the score was held against; 0 for a match.
        #[serde(skip_serializing_if = "Option::is_none")]
        threshold: Option<f32>,
        /// The rule that matched, where one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<Label>,
        /// Where in the judged text, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        span: Option<[u64; 2]>,
        /// Set when a policy that only watches says so: its SHA-256. Nothing followed from it.
        #[serde(skip_serializing_if = "Option::is_none")]
        shadow: Option<Label>,
    },
    /// The end user says that the last refusal was wrong.
    Appeal {
        /// The number of the refused request within the session.
        request: u64,
    },
    /// A request ended.
    Request {
        /// The request's number within the session.
        request: u64,
        /// The end reason, such as `stop` or `blocked_input`.
        end: Label,
        /// The kind of the error, when there was one.
        error: Option<Label>,
        /// Tokens of the prompt that were computed.
        prompt_tokens: u64,
        /// Tokens that were generated, released or not.
        generated_tokens: u64,
        /// Milliseconds of judging.
        #[serde(skip_serializing_if = "Option::is_none")]
        guard_ms: Option<f32>,
        /// Milliseconds from the start to the end.
        #[serde(skip_serializing_if = "Option::is_none")]
        total_ms: Option<f32>,
        /// HMAC-SHA256 of the question under the host's key, where it gave one.
        #[serde(skip_serializing_if = "Option::is_none")]
        text_hmac: Option<Label>,
        /// The question itself, where the host opted in.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<PlainText>,
    },
}
