//! The hash-chained audit log: what was judged and how it ended, never what was said.
//!
//! One record is one line: the SHA-256 of a JSON object, a space, the object. Each object names the hash of the record
//! before it, so a changed, removed or inserted record breaks the chain at that place; `sha256sum` and a text editor are
//! enough to check it by hand. Records cut off at the end of the file cannot be seen from the chain alone: whoever
//! needs that keeps the last hash elsewhere ([`Summary::last`]).
//!
//! Fields hold [`Label`]s, hashes and numbers. A sentence does not fit into a label, so a prompt or an answer cannot be
//! logged by mistake; the words of a question are kept only by a log that was opened for that.
//!
//! A checkpoint is a record with the hash so far, signed by the host where it wants to: what lies before it can then not be
//! rewritten without the host's key. A file that grew long enough is set aside and the chain goes on in the next one.

mod chain;
mod files;
mod log;
mod options;
mod record;
#[cfg(test)]
mod tests;

pub use chain::{Summary, read, verify};
pub use files::read_all;
pub use log::{AuditLog, checkpoint_digest};
pub use options::{AuditOptions, MOST_SIGNATURE, SignCheckpoint, SyncPolicy};
pub use record::{Event, Label, PlainText, Record};
