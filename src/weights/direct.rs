//! Reading past the system's cache: what it holds already is taken from there, the rest comes from the disk in one copy.
//!
//! A model that is read into memory once needs no second copy in the cache: filling that takes as long as the disk itself, and
//! drives out what other programs would read again. Experts that are read on demand go through the cache, which may keep them.

use std::fs::File;

use crate::error::Result;
use crate::gguf::Part;

/// What direct reads align memory, offsets and lengths to: the page, a multiple of every sector.
const PAGE: usize = 4096;

/// A part of a model with, where the system has it, a second way to its bytes that does not fill the cache.
#[derive(Debug)]
pub(super) struct Direct(Option<File>);

impl Direct {
    /// Opens the second way. Where there is none, reading is as ever.
    pub(super) fn open(part: &Part) -> Self {
        Self(open(part))
    }

    /// Reads through the cache.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Fills `out` from `at` on.
    pub(super) fn read(&self, part: &Part, at: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        if let (Some(direct), Some(file)) = (&self.0, part.file())
            && out.as_ptr().align_offset(PAGE) == 0
            && at.is_multiple_of(PAGE as u64)
        {
            let cached = cached(file, at, out);
            // Direct reads go on from a page's beginning.
            done = if cached < out.len() { cached / PAGE * PAGE } else { cached };
            done += whole_pages(direct, at.saturating_add(done as u64), out.get_mut(done..).unwrap_or_default());
        }
        match out.get_mut(done..) {
            Some(rest) if !rest.is_empty() => part.read_at(at.saturating_add(done as u64), rest),
            _ => Ok(()),
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn open(part: &Part) -> Option<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let ours = part.file()?.metadata().ok()?;
    let flags = libc::O_DIRECT | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(part.path()).ok()?;
    // Another file may have taken the name since.
    let there = file.metadata().ok()?;
    (there.is_file() && (there.dev(), there.ino()) == (ours.dev(), ours.ino())).then_some(file)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn open(_part: &Part) -> Option<File> {
    None
}

/// Bytes at the front of `out` that came out of the cache.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn cached(file: &File, at: u64, out: &mut [u8]) -> usize {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match super::map::read_cached(file, at.saturating_add(done as u64), rest) {
            Some(n) if n > 0 => done += n,
            _ => break,
        }
    }
    done
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn cached(_file: &File, _at: u64, _out: &mut [u8]) -> usize {
    0
}

/// Fills the whole pages of `out`; gives how many bytes it could, which may be none: not every file system reads so.
#[cfg(unix)]
fn whole_pages(direct: &File, at: u64, out: &mut [u8]) -> usize {
    use std::os::unix::fs::FileExt;
    let whole = out.len() / PAGE * PAGE;
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..whole).filter(|rest| !rest.is_empty()) {
        match direct.read_at(rest, at.saturating_add(done as u64)) {
            Ok(n) if n >= PAGE => done += n / PAGE * PAGE,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    done
}

#[cfg(not(unix))]
fn whole_pages(_direct: &File, _at: u64, _out: &mut [u8]) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::AlignedBytes;

    #[test]
    fn bytes_are_the_same_from_the_cache_and_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes");
        let all: Vec<u8> = (0..3_000_017u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&path, &all).unwrap();
        let part = Part::open(&path).unwrap();
        for direct in [Direct::none(), Direct::open(&part)] {
            for (at, len) in
                [(0, all.len()), (4096, 2_000_000), (8192, 1 << 20), (100, 1 << 20), (1_999_872, 1_000_145)]
            {
                let mut out = AlignedBytes::zeroed(len.max(1 << 20)).unwrap();
                let out = &mut out.bytes_mut()[..len];
                direct.read(&part, at as u64, out).unwrap();
                assert!(out == &all[at..at + len], "{len} bytes at {at}, {direct:?}");
            }
            let mut out = AlignedBytes::zeroed(1 << 20).unwrap();
            let e = direct.read(&part, 2_998_272, out.bytes_mut()).unwrap_err();
            assert_eq!(e.kind(), crate::Kind::Corrupt, "{e}");
        }
    }
}
