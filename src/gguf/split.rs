//! Split models: the names `…-00001-of-0000N.gguf` and the keys that number the parts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::header::Header;
use super::limits::Limits;
use crate::error::{Error, Result};

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// What a header says about the split it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    /// Which part this is, from 0.
    pub(super) no: u32,
    /// How many parts there are.
    pub(super) count: u32,
    /// Tensors in all parts.
    pub(super) tensors: Option<u64>,
}

impl Split {
    /// The split a header belongs to; `None` for a model in one file.
    pub(super) fn of(header: &Header) -> Result<Option<Self>> {
        let meta = &header.metadata;
        let Some(count) = meta.get_u32(COUNT)? else { return Ok(None) };
        let split = Self { no: meta.require_u32(NO)?, count, tensors: meta.get_u64(TENSORS)? };
        if count == 0 || split.no >= count {
            let no = split.no;
            return Err(Error::corrupt(format!("metadata {NO}: {no} of {COUNT} {count}, expected a number below it")));
        }
        Ok((count > 1).then_some(split))
    }

    /// The paths of all parts, given the path of the first.
    pub(super) fn paths(&self, first: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
        if u64::from(self.count) > limits.parts {
            return Err(Error::limit(format!("metadata {COUNT}: {}, the limit is {}", self.count, limits.parts)));
        }
        let Some((stem, no, count)) = numbers(first) else {
            let count = self.count;
            return Err(Error::argument(format!(
                "{} is a part of a model in {count} parts (metadata {COUNT}), expected a name like \
                 model-00001-of-{count:05}.gguf to find the others by",
                first.display()
            )));
        };
        if self.no != 0 {
            let path = part_path(first, &stem, 0, self.count);
            let what = format!("is part {} of {}; open the first part, {}", self.no + 1, self.count, path.display());
            return Err(Error::argument(format!("{} {what}", first.display())));
        }
        if (no, count) != (1, self.count) {
            return Err(Error::corrupt(format!(
                "{} is named part {no} of {count}, but its metadata {NO} and {COUNT} say part 1 of {}",
                first.display(),
                self.count
            )));
        }
        Ok((0..self.count).map(|i| part_path(first, &stem, i, self.count)).collect())
    }

    /// Checks what part `i` says about itself against what the first part says.
    pub(super) fn check_part(&self, i: u32, other: Option<Self>) -> Result<()> {
        match other {
            Some(other) if other.count == self.count && other.no == i => Ok(()),
            Some(other) => Err(Error::corrupt(format!(
                "metadata {NO} and {COUNT} say part {} of {}, expected part {} of {}",
                u64::from(other.no) + 1,
                other.count,
                u64::from(i) + 1,
                self.count
            ))),
            None => Err(Error::corrupt(format!("metadata {COUNT} is missing, expected {}", self.count))),
        }
    }

    /// Checks the number of tensors in all parts.
    pub(super) fn check_tensors(&self, found: usize) -> Result<()> {
        match self.tensors {
            Some(said) if said != found as u64 => {
                Err(Error::corrupt(format!("metadata {TENSORS}: {said}, but the parts hold {found} tensors")))
            }
            _ => Ok(()),
        }
    }
}

/// Takes `stem-00002-of-00005.gguf` apart into (`stem`, 2, 5).
fn numbers(path: &Path) -> Option<(OsString, u32, u32)> {
    let name = path.file_name()?.as_encoded_bytes();
    let (rest, tail) = name.split_at_checked(name.len().checked_sub("-00001-of-00005.gguf".len())?)?;
    let tail = std::str::from_utf8(tail).ok()?.strip_prefix('-')?.strip_suffix(".gguf")?;
    let (no, count) = tail.split_once("-of-")?;
    let number = |s: &str| (s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?;
    Some((stem(path, rest.len())?, number(no)?, number(count)?))
}

/// The first `len` bytes of the file's name. Not every name is Unicode, so this cuts the name's own bytes.
#[cfg(unix)]
fn stem(path: &Path, len: usize) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    Some(OsString::from_vec(path.file_name()?.as_encoded_bytes().get(..len)?.to_vec()))
}

/// The first `len` bytes of the file's name.
#[cfg(not(unix))]
fn stem(path: &Path, len: usize) -> Option<OsString> {
    Some(path.file_name()?.to_str()?.get(..len)?.into())
}

fn part_path(first: &Path, stem: &OsString, i: u32, count: u32) -> PathBuf {
    let mut name = stem.clone();
    name.push(format!("-{:05}-of-{count:05}.gguf", i + 1));
    first.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_come_apart_and_together() {
        let path = Path::new("/a/scout-00002-of-00005.gguf");
        let (stem, no, count) = numbers(path).unwrap();
        assert_eq!((stem.to_str().unwrap(), no, count), ("scout", 2, 5));
        assert_eq!(part_path(path, &stem, 0, 5), Path::new("/a/scout-00001-of-00005.gguf"));
        for name in
            ["scout.gguf", "scout-2-of-5.gguf", "scout-0000a-of-00005.gguf", "-of-.gguf", "", "x-00001_of_00005.gguf"]
        {
            assert_eq!(numbers(Path::new(name)), None, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_unicode_work() {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"\xff\xfe-00001-of-00002.gguf");
        let (stem, ..) = numbers(Path::new(name)).unwrap();
        let second = part_path(Path::new(name), &stem, 1, 2);
        assert_eq!(second.as_os_str().as_bytes(), b"\xff\xfe-00002-of-00002.gguf");
    }
}
