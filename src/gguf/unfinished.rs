//! A file that is being written beside the place it is meant for, and removed unless it is finished.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Tries to find a name that is free; more than a few leftovers of one process are not expected.
const TRIES: u32 = 100;

/// An unfinished file. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    /// Creates a new file in the folder of `target`, which need not exist yet.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path ends in no file name"));
        };
        for _ in 0..TRIES {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{}.unfinished", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            let path = target.with_file_name(hidden);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{TRIES} unfinished files lie beside it")))
    }

    /// The file to write to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Brings the bytes to disk and gives the file its name.
    pub(super) fn finish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)?;
        sync_folder(target)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` the name is gone and this does nothing. Nobody is left to tell when it fails.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Brings the folder's entry to disk, so that the new name survives a power cut.
#[cfg(unix)]
pub(super) fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Only Unix lets a folder be synced.
#[cfg(not(unix))]
pub(super) fn sync_folder(_target: &Path) -> io::Result<()> {
    Ok(())
}
