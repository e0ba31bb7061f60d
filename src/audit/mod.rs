//! The hash-chained audit log: what was judged and how it ended, never what was said.
//!
//! One record is one line: the SHA-256 of a JSON object, a space, the object. Each object names the hash of the record
//! before it, so a changed, removed or inserted record breaks the chain at that place; `sha256sum` and a text editor are
//! enough to check it by hand. Records cut off at the end of the file cannot be seen from the chain alone: whoever
//! needs that keeps the last hash elsewhere ([`Summary::last`]).
//!
//! Fields hold [`Label`]s, hashes and numbers. A sentence does not fit into a label, so a prompt or an answer cannot be
//! logged by mistake.

mod chain;
mod log;
mod record;
#[cfg(test)]
mod tests;

pub use chain::{Summary, verify};
pub use log::AuditLog;
pub use record::{Event, Label, Record};
