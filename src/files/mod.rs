//! Regular files that a host names: opened so that nothing waits, read inside a limit.

pub(crate) mod durable;

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;

use crate::bytes;
use crate::error::{Error, Result};

/// Reads a whole regular file of at most `most` bytes.
///
/// # Errors
/// [`crate::Kind::Io`] when it cannot be read, [`crate::Kind::Argument`] when it is no regular file,
/// [`crate::Kind::Limit`] when it is larger.
pub(crate) fn read_regular(path: &Path, most: usize) -> Result<Vec<u8>> {
    let name = path.display();
    let (file, meta) = open_regular(path, 0)?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    if meta.len() > limit {
        return Err(Error::limit(format!("{name} has {} bytes, at most {most} are read", meta.len())));
    }
    let mut all = Vec::new();
    all.try_reserve_exact(usize::try_from(meta.len()).unwrap_or(bytes::STEP))
        .map_err(|e| Error::memory(format!("{name}: {} bytes: {e}", meta.len())))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut all).map_err(|e| Error::io(&name, &e))?;
    if all.len() > most {
        return Err(Error::limit(format!("{name} grew beyond {most} bytes while it was read")));
    }
    Ok(all)
}

/// A regular file, opened with `flags` of the system beside its own; anything else is refused without waiting for it.
///
/// # Errors
/// [`crate::Kind::Io`] when it cannot be opened, [`crate::Kind::Argument`] when it is no regular file.
#[cfg(unix)]
pub(crate) fn open_regular(path: &Path, flags: i32) -> Result<(File, Metadata)> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    // Opening a FIFO that nobody writes to would otherwise wait for a writer.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags);
    regular(path, options)
}

#[cfg(not(unix))]
pub(crate) fn open_regular(path: &Path, _: i32) -> Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true);
    regular(path, options)
}

fn regular(path: &Path, options: OpenOptions) -> Result<(File, Metadata)> {
    let name = path.display();
    let file = options.open(path).map_err(|e| Error::io(&name, &e))?;
    let meta = file.metadata().map_err(|e| Error::io(&name, &e))?;
    if !meta.is_file() {
        return Err(Error::argument(format!("{name} is not a regular file")));
    }
    Ok((file, meta))
}
