//! The file that records are appended to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::chain::{self, Summary};
use super::record::Record;
use crate::error::{Error, Kind, Result};

/// How often and how long a held lock is waited for: one second in all.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// An audit log open for appending; this process alone writes to it. May be used from any thread.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    /// Bytes cut off the end when the log was opened.
    torn: u64,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    file: File,
    summary: Summary,
}

/// Records of the log about itself.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Own {
    Opened { time_unix: i64, format: u32, sdk_version: &'static str },
    TailLost { time_unix: i64, bytes: u64 },
}

impl AuditLog {
    /// Opens or begins a log, checks its whole chain, and cuts off a record that was not written to its end (a second
    /// record then says how many bytes were lost).
    ///
    /// # Errors
    /// [`Kind::Corrupt`] naming the first bad record, [`Kind::Busy`] when another process has the log open,
    /// [`Kind::Io`] when it is not a regular file or cannot be read and written.
    pub fn open(path: &Path, time_unix: i64) -> Result<Self> {
        let what = |e: &std::io::Error| Error::io(format!("opening the audit log {}", path.display()), e);
        if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
            let message = format!("the audit log {} is not a regular file (symlinks are not followed)", path.display());
            return Err(Error::new(Kind::Io, message));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let mut file = options.open(path).map_err(|e| what(&e))?;
        lock(&file, path)?;
        let mut summary = chain::walk(&file).map_err(|e| e.context(path.display()))?;
        let torn = std::mem::take(&mut summary.torn);
        file.set_len(summary.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| what(&e))?;
        let log = Self { path: path.to_owned(), torn, end: Mutex::new(End { file, summary }) };
        if torn > 0 {
            log.append_any(&Own::TailLost { time_unix, bytes: torn })?;
        }
        log.append_any(&Own::Opened { time_unix, format: 1, sdk_version: env!("CARGO_PKG_VERSION") })?;
        log.sync()?;
        Ok(log)
    }

    /// Bytes of a torn record that were cut off when the log was opened.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// The chain as it stands.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).summary.clone()
    }

    /// Appends a record. It is in the file when this returns, and on the disk after [`AuditLog::sync`].
    ///
    /// # Errors
    /// [`Kind::Io`] when it cannot be written whole; nothing of it is left in the file then.
    pub fn append(&self, record: &Record) -> Result<()> {
        self.append_any(record)
    }

    /// Flushes the file to the disk.
    ///
    /// # Errors
    /// [`Kind::Io`]: what was appended since the last successful call may be lost in a power failure.
    pub fn sync(&self) -> Result<()> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.file.sync_data().map_err(|e| self.failed(&e))
    }

    fn append_any<T: Serialize>(&self, body: &T) -> Result<()> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let line = chain::line(&end.summary, body)?;
        if let Err(e) = end.file.write_all(line.as_bytes()) {
            // Half a record would be taken for damage at the next open; what was there before it is kept.
            let kept = end.summary.bytes;
            let _ = end.file.set_len(kept).and_then(|()| end.file.seek(SeekFrom::Start(kept)));
            return Err(self.failed(&e));
        }
        end.summary.records += 1;
        end.summary.bytes += line.len() as u64;
        end.summary.last = line.split(' ').next().unwrap_or_default().to_owned();
        Ok(())
    }

    fn failed(&self, e: &std::io::Error) -> Error {
        Error::io(format!("writing the audit log {}", self.path.display()), e)
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions) {}

/// A kernel lock, which goes with the process that holds it. A process that is being started may hold a copy of it for the
/// moment between its fork and its exec, so a held lock is waited for.
fn lock(file: &File, path: &Path) -> Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // A file system without locks.
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(e)) => {
                return Err(Error::io(format!("opening the audit log {}", path.display()), &e));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
    Err(Error::busy(format!("the audit log {} is open elsewhere", path.display())))
}
