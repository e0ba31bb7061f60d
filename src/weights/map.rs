//! A file mapped into memory, only when the host asks for it.
#![expect(unsafe_code, reason = "mapping a file is a promise about other processes that no type can check")]

use std::fs::File;

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
