//! The files of a model: opened so that nothing waits, nothing outside the folder is read, and nothing is read twice.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use super::tensor::Place;
use crate::digest;
use crate::error::{Error, Result};
use crate::files::open_regular;

/// A model may keep its weights in so many files beside it.
const MOST_FILES: usize = 16;

/// Files beside a model that hold its weights.
#[derive(Debug)]
pub(super) struct ExternalFiles {
    /// The model's folder; `None` when the model came as bytes.
    folder: Option<PathBuf>,
    files: Vec<ExternalFile>,
}

#[derive(Debug)]
struct ExternalFile {
    name: String,
    file: File,
    len: u64,
    /// Bytes that tensors have claimed.
    claimed: u64,
}

impl ExternalFiles {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_owned), files: Vec::new() }
    }

    /// Opens the file of `place`, if it is not open yet, and checks that it holds the `need` bytes of a tensor.
    pub(super) fn claim(&mut self, place: &Place<'_>, need: u64) -> Result<()> {
        let at = self.index(place.location)?;
        let Some(file) = self.files.get_mut(at) else { return Err(Error::internal("an external file is gone")) };
        let (name, len, offset) = (&file.name, file.len, place.offset);
        let length = place.length.unwrap_or(need);
        if length != need {
            return Err(Error::corrupt(format!("{name}: a tensor of {need} bytes is said to have {length}")));
        }
        if offset.checked_add(need).is_none_or(|end| end > len) {
            return Err(Error::corrupt(format!("{name}: {need} bytes from {offset} on, the file has {len}")));
        }
        // Ranges that overlap would make a small file fill the memory.
        file.claimed = file.claimed.saturating_add(need);
        if file.claimed > len {
            return Err(Error::corrupt(format!("{name}: tensors claim more bytes than the file's {len}")));
        }
        Ok(())
    }

    /// Reads from the start of `place`. Only for places that were claimed.
    pub(super) fn reader(&mut self, place: &Place<'_>) -> Result<impl Read> {
        let at = self.index(place.location)?;
        let Some(file) = self.files.get_mut(at) else { return Err(Error::internal("an external file is gone")) };
        file.file.seek(SeekFrom::Start(place.offset)).map_err(|e| Error::io(&file.name, &e))?;
        let rest: Take<&File> = (&file.file).take(file.len.saturating_sub(place.offset));
        Ok(rest)
    }

    /// Name and SHA-256 of each open file, hashed through the descriptor that is read later.
    pub(super) fn digests(&mut self) -> Result<Vec<(String, String)>> {
        let digest = |f: &mut ExternalFile| {
            f.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(&f.name, &e))?;
            let hex = digest::sha256_hex_of((&f.file).take(f.len)).map_err(|e| Error::io(&f.name, &e))?;
            Ok((f.name.clone(), hex))
        };
        self.files.iter_mut().map(digest).collect()
    }

    fn index(&mut self, location: &str) -> Result<usize> {
        if let Some(at) = self.files.iter().position(|f| f.name == location) {
            return Ok(at);
        }
        let refuse = |why: &str| {
            let shown = super::tensor::short(location);
            Err(Error::unsupported(format!("weights in {shown:?}: {why}")))
        };
        let Some(folder) = &self.folder else {
            return refuse("the model came as bytes, without a folder; open it by its path");
        };
        if self.files.len() >= MOST_FILES {
            return refuse(&format!("the model names more than {MOST_FILES} files"));
        }
        // Exporters write one name. A path would need every folder on it checked against links.
        let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
        if location.is_empty() || location.len() > 255 || location.starts_with('.') || location.contains(odd) {
            return refuse("expected the name of a file in the model's folder");
        }
        let path = folder.join(location);
        let (file, meta) = open_no_link(&path)?;
        self.files.push(ExternalFile { name: location.to_owned(), file, len: meta.len(), claimed: 0 });
        Ok(self.files.len() - 1)
    }
}

/// A file that is nowhere else: a link, symbolic or hard, could lead to any file of the host.
#[cfg(unix)]
fn open_no_link(path: &Path) -> Result<(File, Metadata)> {
    use std::os::unix::fs::MetadataExt;
    let name = path.display();
    let before = std::fs::symlink_metadata(path).map_err(|e| Error::io(&name, &e))?;
    if !before.file_type().is_file() {
        return Err(Error::unsupported(format!("{name} is a link or no file; copy the file into the folder")));
    }
    let (file, meta) = open_regular(path, libc::O_NOFOLLOW)?;
    if meta.nlink() != 1 {
        return Err(Error::unsupported(format!("{name} has {} hard links; copy the file", meta.nlink())));
    }
    Ok((file, meta))
}

#[cfg(not(unix))]
fn open_no_link(path: &Path) -> Result<(File, Metadata)> {
    let name = path.display();
    let before = std::fs::symlink_metadata(path).map_err(|e| Error::io(&name, &e))?;
    if !before.file_type().is_file() {
        return Err(Error::unsupported(format!("{name} is a link or no file; copy the file into the folder")));
    }
    open_regular(path, 0)
}
