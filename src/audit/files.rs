//! The files of a log: the one that is written, the ones set aside before it, and the chain through all of them.

use std::path::{Path, PathBuf};

use super::chain::{self, Summary};
use crate::error::{Error, Result};

/// Digits of a set-aside file's number.
const DIGITS: usize = 6;

/// The name of the `number`-th file that was set aside.
pub(super) fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number:0DIGITS$}"));
    PathBuf::from(name)
}

/// The files set aside beside `path`, oldest first.
pub(super) fn set_aside(path: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
    let what = |e: &std::io::Error| Error::io(format!("looking for older files of {}", path.display()), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| what(&e))? {
        let entry = entry.map_err(|e| what(&e))?;
        let entry_name = entry.file_name();
        let number = entry_name.to_str().and_then(|n| n.strip_prefix(&name)).filter(|n| n.len() == DIGITS);
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Where a new file takes up: after the last file that was set aside, or at the beginning.
pub(super) fn continue_from(path: &Path) -> Result<Option<Summary>> {
    let Some((_, last)) = set_aside(path)?.pop() else { return Ok(None) };
    let summary = chain::verify(&last)?;
    if summary.torn > 0 {
        return Err(Error::corrupt(format!(
            "{}: its last record has no end; only the newest file may",
            last.display()
        )));
    }
    Ok(Some(Summary::after(summary.next(), summary.last)))
}

/// Walks the chain through a log's files, oldest first, and gives every record to `each`. The first file that is there may
/// be a later one: older ones can have been taken away for keeping, and [`Summary::first`] says where this one begins.
///
/// # Errors
/// As [`chain::verify`]; [`crate::Kind::Corrupt`] naming the file that does not continue the one before it.
pub fn read_all(path: &Path, each: &mut dyn FnMut(&serde_json::Value) -> Result<()>) -> Result<Summary> {
    let mut all: Option<Summary> = None;
    let older = set_aside(path)?.into_iter().map(|(_, p)| p);
    // Between setting a file aside and making the next one there is a moment without the newest.
    let newest = path.exists() || path.is_symlink();
    let files: Vec<PathBuf> = older.chain(newest.then(|| path.to_owned())).collect();
    if files.is_empty() {
        return chain::verify(path);
    }
    for file in &files {
        if all.as_ref().is_some_and(|s| s.torn > 0) {
            return Err(Error::corrupt(format!("{}: the file before it ends in a torn record", file.display())));
        }
        let found = chain::read(file, each)?;
        all = Some(match all {
            None => found,
            // A file whose first record was torn has nothing to hold against the chain.
            Some(before) if found.records == 0 => Summary { torn: found.torn, ..before },
            Some(before) if (found.first, &found.before) != (before.next(), &before.last) => {
                let (at, next) = (found.first, before.next());
                return Err(Error::corrupt(format!(
                    "{}: it begins with record {at} and does not continue the file before it, whose next record is {next}",
                    file.display()
                )));
            }
            Some(before) => Summary {
                first: before.first,
                before: before.before,
                records: before.records + found.records,
                bytes: before.bytes + found.bytes,
                last: found.last,
                torn: found.torn,
            },
        });
    }
    all.ok_or_else(|| Error::internal("audit: no file was read"))
}
