//! The file that records are appended to.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::chain::{self, Summary};
use super::files;
use super::options::{AuditOptions, MOST_SIGNATURE, SyncPolicy};
use super::record::{Event, Label, PlainText, Record};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::files::durable::open_locked;

/// The longest text that is kept in plain; of a longer one the beginning.
const MOST_TEXT: usize = 2048;

/// An audit log open for appending; this process alone writes to it. May be used from any thread.
#[derive(Debug)]
pub struct AuditLog {
    options: AuditOptions,
    /// Bytes cut off the end when the log was opened.
    torn: u64,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    file: File,
    summary: Summary,
    /// The time of the last record, for records of the log's own.
    time_unix: i64,
    since_checkpoint: u64,
}

/// What is signed of a checkpoint that names `hash`: SHA-256 of the line `palisade audit checkpoint`, a newline, the hash in
/// hexadecimal digits, a newline.
#[must_use]
pub fn checkpoint_digest(hash: &str) -> [u8; 32] {
    Sha256::digest(format!("palisade audit checkpoint\n{hash}\n")).into()
}

/// Records of the log about itself.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Own<'a> {
    Opened { time_unix: i64, format: u32, sdk_version: &'static str },
    Continued { time_unix: i64, format: u32 },
    TailLost { time_unix: i64, bytes: u64 },
    Checkpoint { time_unix: i64, records: u64, hash: &'a str, signature: Option<String> },
}

impl AuditLog {
    /// Opens or begins a log, checks the whole chain of its newest file, and cuts off a record that was not written to its
    /// end (a second record then says how many bytes were lost).
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] naming the first bad record, [`crate::Kind::Busy`] when another process has the log open,
    /// [`crate::Kind::Io`] when it is not a regular file or cannot be read and written.
    pub fn open(options: AuditOptions) -> Result<Self> {
        let path = &options.path;
        let what = |e: &std::io::Error| Error::io(format!("opening the audit log {}", path.display()), e);
        let mut file = open_locked(path).map_err(|e| e.context("the audit log"))?;
        let mut summary = chain::walk(&file).map_err(|e| e.context(path.display()))?;
        let torn = std::mem::take(&mut summary.torn);
        file.set_len(summary.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| what(&e))?;
        let continued = if summary.records == 0 { files::continue_from(path)? } else { None };
        let continues = continued.is_some();
        let summary = continued.unwrap_or(summary);
        let (time_unix, since_checkpoint) = (options.time_unix, 0);
        let end = Mutex::new(End { file, summary, time_unix, since_checkpoint });
        let log = Self { options, torn, end };
        if continues {
            log.append_own(&Own::Continued { time_unix, format: 1 })?;
        }
        if torn > 0 {
            log.append_own(&Own::TailLost { time_unix, bytes: torn })?;
        }
        log.append_own(&Own::Opened { time_unix, format: 1, sdk_version: env!("CARGO_PKG_VERSION") })?;
        log.sync()?;
        Ok(log)
    }

    /// Bytes of a torn record that were cut off when the log was opened.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// The chain of the newest file as it stands.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).summary.clone()
    }

    /// HMAC-SHA256 (RFC 2104) of `text` under the host's key; `None` without one.
    #[must_use]
    pub fn text_hmac(&self, text: &str) -> Option<Label> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.options.key?).ok()?;
        mac.update(text.as_bytes());
        Some(Label::of_name(&hex(&mac.finalize().into_bytes())))
    }

    /// The beginning of `text`, where the host wants texts kept.
    #[must_use]
    pub fn plain_text(&self, text: &str) -> Option<PlainText> {
        let mut end = text.len().min(MOST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.options.plain_text.then(|| PlainText(text.get(..end).unwrap_or_default().to_owned()))
    }

    /// Appends a record. It is in the file when this returns, and on the disk as the options' [`SyncPolicy`] says.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when it cannot be written whole; nothing of it is left in the file then. What the host's
    /// signing returns.
    pub fn append(&self, record: &Record) -> Result<()> {
        let mut end = self.lock();
        end.time_unix = record.time_unix;
        self.write(&mut end, record)?;
        end.since_checkpoint += 1;
        let due = self.options.checkpoint_every > 0 && end.since_checkpoint >= self.options.checkpoint_every;
        if due {
            self.checkpoint_at(&mut end)?;
        }
        match self.options.sync {
            SyncPolicy::Record => self.flush(&end)?,
            SyncPolicy::Request if matches!(record.event, Event::Request { .. }) => self.flush(&end)?,
            _ => {}
        }
        if self.options.rotate_bytes > 0 && end.summary.bytes >= self.options.rotate_bytes {
            self.rotate(&mut end)?;
        }
        Ok(())
    }

    /// Writes a checkpoint now, signed where the host signs. Records before a signed checkpoint cannot be changed, and the
    /// file not cut before it, without the host's key.
    ///
    /// # Errors
    /// As [`AuditLog::append`].
    pub fn checkpoint(&self) -> Result<()> {
        let mut end = self.lock();
        self.checkpoint_at(&mut end)?;
        self.flush(&end)
    }

    /// Flushes the file to the disk.
    ///
    /// # Errors
    /// [`crate::Kind::Io`]: what was appended since the last successful call may be lost in a power failure.
    pub fn sync(&self) -> Result<()> {
        self.flush(&self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, end: &End) -> Result<()> {
        end.file.sync_data().map_err(|e| self.failed(&e))
    }

    fn append_own(&self, body: &Own<'_>) -> Result<()> {
        let mut end = self.lock();
        self.write(&mut end, body)
    }

    fn checkpoint_at(&self, end: &mut End) -> Result<()> {
        let hash = end.summary.last.clone();
        let digest = checkpoint_digest(&hash);
        let signature = match &self.options.sign {
            Some(sign) => sign(&digest).map_err(|e| e.context("signing a checkpoint"))?,
            None => None,
        };
        if let Some(n) = signature.as_ref().map(Vec::len).filter(|n| *n > MOST_SIGNATURE) {
            return Err(Error::limit(format!("a checkpoint's signature of {n} bytes, at most {MOST_SIGNATURE}")));
        }
        let (time_unix, records) = (end.time_unix, end.summary.next());
        let signature = signature.map(|s| hex(&s));
        self.write(end, &Own::Checkpoint { time_unix, records, hash: &hash, signature })?;
        end.since_checkpoint = 0;
        Ok(())
    }

    /// Ends this file with a checkpoint, sets it aside, and goes on in a new one. A kill at any moment leaves a chain: the
    /// file under its old name, or set aside and found by the next [`AuditLog::open`].
    fn rotate(&self, end: &mut End) -> Result<()> {
        self.checkpoint_at(end)?;
        self.flush(end)?;
        let path = &self.options.path;
        let number = files::set_aside(path)?.last().map_or(1, |(n, _)| n.saturating_add(1));
        std::fs::rename(path, files::aside(path, number)).map_err(|e| self.failed(&e))?;
        let time_unix = end.time_unix;
        let summary = Summary::after(end.summary.next(), end.summary.last.clone());
        *end = End { file: open_locked(path)?, summary, time_unix, since_checkpoint: 0 };
        self.write(end, &Own::Continued { time_unix, format: 1 })?;
        self.flush(end)
    }

    fn write<T: Serialize>(&self, end: &mut End, body: &T) -> Result<()> {
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
        Error::io(format!("writing the audit log {}", self.options.path.display()), e)
    }
}
