//! The one error type: what was tried, on what, and what was found. Its kind becomes one C status code in `ffi`.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, grouped by who can act. Every kind has one C code (see `ffi::status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The caller passed a value that this call cannot take.
    Argument,
    /// Text that is not UTF-8.
    Utf8,
    /// The call came at a moment when it has no meaning (for example generate before a model is open).
    State,
    /// Another thread is using this handle.
    Busy,
    /// The handle was freed, or never was one.
    Closed,
    /// The output buffer is too small; the needed size was reported.
    Buffer,
    /// The model's licence has not been accepted for exactly its present text.
    License,
    /// A file is damaged or is not what it claims to be.
    Corrupt,
    /// The file or request is well formed but asks for something this build does not do.
    Unsupported,
    /// A stated limit would be passed.
    Limit,
    /// The byte budget does not allow it, or memory could not be had.
    Memory,
    /// The operating system refused to read or write.
    Io,
    /// A guard could not judge; nothing was released.
    GuardUnavailable,
    /// A guard did not judge in time; nothing was released.
    GuardTimeout,
    /// A guard answered with something that is no verdict; nothing was released.
    GuardInvalid,
    /// The computation produced a value that is not a number.
    Numeric,
    /// The host asked to stop.
    Cancelled,
    /// The host's callback returned a value that has no meaning.
    Callback,
    /// A fault inside the library; the handle is poisoned.
    Internal,
}

/// An error: a kind for programs and a sentence for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
                #[must_use]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(Kind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    argument => Argument,
    utf8 => Utf8,
    state => State,
    busy => Busy,
    closed => Closed,
    buffer => Buffer,
    license => License,
    corrupt => Corrupt,
    unsupported => Unsupported,
    limit => Limit,
    memory => Memory,
    guard_unavailable => GuardUnavailable,
    guard_timeout => GuardTimeout,
    guard_invalid => GuardInvalid,
    numeric => Numeric,
    cancelled => Cancelled,
    callback => Callback,
    internal => Internal,
}

impl Error {
    /// An error of any kind.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What the operating system said about `what` (usually a path).
    #[must_use]
    pub fn io(what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(Kind::Io, format!("{what}: {source}"))
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with what was being done in front: `"opening model.gguf: …"`.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{what}: {}", self.message) }
    }
}
