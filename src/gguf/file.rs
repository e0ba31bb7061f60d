//! A model's bytes at rest: a regular file opened with care, or bytes in memory, read by position.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One file of a model (most models have one; a split model has several), or the bytes of one in memory.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    len: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(File),
    Bytes(Cow<'static, [u8]>),
}

impl Part {
    /// Opens a regular file for reading; anything else is refused without waiting for it.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for what is no path, [`crate::error::Kind::Io`] for a file that is missing, cannot be
    /// read or is not a regular one.
    pub fn open(path: &Path) -> Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(Error::argument("the model path is empty"));
        }
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            // Opening a FIFO that nobody writes to would otherwise wait for a writer.
            options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        }
        let file = options.open(path).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
                Error::argument(format!("{} is not a path: {e}", path.display()))
            }
            _ => Error::io(path.display(), &e),
        })?;
        let meta = file.metadata().map_err(|e| Error::io(path.display(), &e))?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "a directory" } else { "a device, pipe or socket" };
            let e = io::Error::new(io::ErrorKind::InvalidInput, format!("is {what}, expected a regular file"));
            return Err(Error::io(path.display(), &e));
        }
        Ok(Self { path: path.to_owned(), len: meta.len(), source: Source::File(file) })
    }

    /// Bytes in memory, under a name for messages.
    pub(super) fn from_bytes(name: &str, bytes: Cow<'static, [u8]>) -> Self {
        Self { path: PathBuf::from(name), len: bytes.len() as u64, source: Source::Bytes(bytes) }
    }

    /// The path it was opened by, or the name given to bytes in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The open file; `None` for bytes in memory.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.source {
            Source::File(file) => Some(file),
            Source::Bytes(_) => None,
        }
    }

    /// The bytes in memory; `None` for a file.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.source {
            Source::File(_) => None,
            Source::Bytes(bytes) => Some(bytes),
        }
    }

    /// Fills `buf` with the bytes at `offset`. Any number of threads may read at once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Corrupt`] when the part ends before, [`crate::error::Kind::Io`] when it cannot be read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let short = || {
            let (want, path) = (buf.len(), self.path.display());
            Error::corrupt(format!("{path}: no {want} bytes at offset {offset}; it had {} when opened", self.len))
        };
        match &self.source {
            Source::Bytes(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)?.get(..buf.len()));
                buf.copy_from_slice(from.ok_or_else(short)?);
                Ok(())
            }
            Source::File(file) => match read_exact_at(file, buf, offset) {
                Ok(()) => Ok(()),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    let (want, path) = (buf.len(), self.path.display());
                    Err(Error::corrupt(format!(
                        "{path}: the file ended within {want} bytes at offset {offset}; it had {} when opened",
                        self.len
                    )))
                }
                Err(e) => Err(Error::io(self.path.display(), &e)),
            },
        }
    }

    /// A reader from the front.
    pub(super) fn reader(&self) -> impl io::Read + '_ {
        Front { part: self, pos: 0 }
    }
}

/// Reads a part by position, so that the file's own cursor is never used.
struct Front<'a> {
    part: &'a Part,
    pos: u64,
}

impl io::Read for Front<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match &self.part.source {
            Source::Bytes(bytes) => {
                let mut rest = usize::try_from(self.pos).ok().and_then(|pos| bytes.get(pos..)).unwrap_or_default();
                rest.read(buf)?
            }
            Source::File(file) => read_at(file, buf, self.pos)?,
        };
        self.pos += n as u64;
        Ok(n)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

fn read_exact_at(file: &File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match read_at(file, buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = buf.get_mut(n..).unwrap_or_default();
                offset = offset.saturating_add(n as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
