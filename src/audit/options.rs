//! What a host decides about its log.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;

/// Signs the 32 bytes of a checkpoint's hash, or declines with `None`. Called on the thread that appends, under no lock of
/// the host's; what it returns is kept as it is, at most [`MOST_SIGNATURE`] bytes.
pub type SignCheckpoint = Arc<dyn Fn(&[u8; 32]) -> Result<Option<Vec<u8>>> + Send + Sync>;

/// The longest signature that is kept, in bytes.
pub const MOST_SIGNATURE: usize = 1024;

/// When the file is flushed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the system likes. A power failure can lose what was appended last; a killed process loses nothing.
    Never,
    /// After the end of every request.
    #[default]
    Request,
    /// After every record.
    Record,
}

/// How a log is opened.
#[derive(Clone, Default)]
pub struct AuditOptions {
    /// The file.
    pub path: PathBuf,
    /// Seconds since 1970 by the host's clock.
    pub time_unix: i64,
    /// When the file is flushed.
    pub sync: SyncPolicy,
    /// A file that grew to so many bytes is set aside (`audit.log.000001` and so on) and continued in a new one; 0 lets it
    /// grow.
    pub rotate_bytes: u64,
    /// The host's secret for keyed hashes of texts. Without it no text leaves a trace.
    pub key: Option<[u8; 32]>,
    /// Keep the words of questions. Off unless the host says so, whatever else is set.
    pub plain_text: bool,
    /// After so many records a checkpoint is written; 0 writes them only where a file ends.
    pub checkpoint_every: u64,
    /// Signs checkpoints.
    pub sign: Option<SignCheckpoint>,
}

impl AuditOptions {
    /// The defaults for a file.
    pub fn new(path: impl Into<PathBuf>, time_unix: i64) -> Self {
        Self { path: path.into(), time_unix, ..Self::default() }
    }
}

impl fmt::Debug for AuditOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is nobody's business.
        f.debug_struct("AuditOptions")
            .field("path", &self.path)
            .field("sync", &self.sync)
            .field("rotate_bytes", &self.rotate_bytes)
            .field("plain_text", &self.plain_text)
            .finish_non_exhaustive()
    }
}
