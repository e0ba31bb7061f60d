//! The guard's files: those inside the library and those a host names. All are weighed before they are read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::classifier::Files;
use crate::error::{Error, Result};

/// The rules inside the library, by name.
pub(super) const RULES: [(&str, &str); 4] = [
    ("injection.toml", include_str!("../../guards/rules/injection.toml")),
    ("hazards.toml", include_str!("../../guards/rules/hazards.toml")),
    ("personal.toml", include_str!("../../guards/rules/personal.toml")),
    ("special.toml", include_str!("../../guards/rules/special.toml")),
];

/// The classifier inside the library.
pub(super) const CLASSIFIER: Files<'static> = Files {
    config: include_str!("../../guards/classifier/classifier.toml"),
    model: include_bytes!("../../guards/classifier/model.onnx"),
    tokenizer: include_bytes!("../../guards/classifier/tokenizer.json"),
};

/// Reads a whole regular file of at most `most` bytes.
pub(super) fn read_limited(path: &Path, most: usize) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| Error::io(&name, &e))?;
    // A pipe or a device would make the read wait or never end.
    if !meta.is_file() {
        return Err(Error::argument(format!("{name} is not a regular file")));
    }
    let file = File::open(path).map_err(|e| Error::io(&name, &e))?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    if meta.len() > limit {
        return Err(Error::limit(format!("{name} has {} bytes, at most {most} are read", meta.len())));
    }
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(&name, &e))?;
    if read > most {
        return Err(Error::limit(format!("{name} grew beyond {most} bytes while it was read")));
    }
    Ok(bytes)
}
