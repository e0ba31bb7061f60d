//! A file mapped into memory, only when the host asks for it.
#![expect(
    unsafe_code,
    reason = "mapping a file is a promise about other processes that no type can check; free space has no safe question"
)]

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// A read-only private map of a whole file.
///
/// Whoever asks for it promises what the manual states: nobody shortens the file while the model is open (a read past the new
/// end would be a fatal signal in the host), which is why reading is the default.
#[derive(Debug)]
pub struct FileMap(memmap2::Mmap);

impl FileMap {
    /// Maps `file`, which is `name` in messages.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`] when the system refuses.
    pub fn new(file: &File, name: &str) -> Result<Self> {
        // SAFETY: the host chose mapping and vouches that the file keeps its length and content while it is open; the map is
        // read-only and the bytes are only ever read as plain integers.
        let map = unsafe { memmap2::Mmap::map(file) }.map_err(|e| Error::io(format!("mapping {name}"), &e))?;
        Ok(Self(map))
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that a file in `folder` may still take, where the system says.
#[cfg(unix)]
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut said = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` ends in a NUL and `said` has room for the structure; both live through the call.
    let status = unsafe { libc::statvfs(path.as_ptr(), said.as_mut_ptr()) };
    // SAFETY: the structure is plain integers, for which zeros are values too.
    let said = unsafe { said.assume_init() };
    #[allow(clippy::useless_conversion, reason = "the fields have 32 bits on some systems")]
    let bytes = u64::from(said.f_bavail).checked_mul(u64::from(said.f_frsize))?;
    (status == 0).then_some(bytes)
}

/// Bytes that a file in `folder` may still take, where the system says.
#[cfg(not(unix))]
#[must_use]
pub fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

/// Reads the bytes at `offset` that the system has in its cache, without waiting for the disk; `None` when it has not the
/// first of them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn read_cached(file: &File, offset: u64, out: &mut [u8]) -> Option<usize> {
    use std::os::fd::AsRawFd;
    let room = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    let offset = i64::try_from(offset).ok()?;
    // SAFETY: `room` is the memory of `out`, which lives through the call and which nobody else uses meanwhile; the file is
    // open as long as it is borrowed.
    let n = unsafe { libc::preadv2(file.as_raw_fd(), &raw const room, 1, offset, libc::RWF_NOWAIT) };
    usize::try_from(n).ok()
}
