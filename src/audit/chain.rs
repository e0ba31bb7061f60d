//! The framing of records and the walk along the chain that checks it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::sha256_hex;
use crate::error::{Error, Result};

/// The longest line that is read or written, in bytes.
pub(super) const MAX_LINE: u64 = 16 << 10;

/// Hexadecimal digits of a hash.
const HASH: usize = 64;

/// The event of the first record of a file that continues a rotated one.
pub(super) const CONTINUED: &str = "continued";

/// What the first record names as the hash before it.
pub(super) const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The number of the first record: 0, or for a file that continues a rotated one the number after that one's last.
    pub first: u64,
    /// What the first record names as the hash before it; 64 zeros for the first file.
    pub before: String,
    /// Whole records, chained without a break from the first.
    pub records: u64,
    /// The hash of the last of them; 64 zeros when there is none.
    pub last: String,
    /// The bytes they take.
    pub bytes: u64,
    /// Bytes after them that are the beginning of a record whose end was never written.
    pub torn: u64,
}

impl Summary {
    /// An empty file that continues after `next` records, the last of which has the hash `last`.
    pub(super) fn after(next: u64, last: String) -> Self {
        Self { first: next, before: last.clone(), records: 0, last, bytes: 0, torn: 0 }
    }

    /// The number of the next record.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.records)
    }
}

/// The object of one line, around whatever is recorded.
#[derive(Serialize)]
struct Framed<'a, T: Serialize> {
    seq: u64,
    prev: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// The part of a line that makes the chain.
#[derive(Deserialize)]
struct Link {
    seq: u64,
    prev: String,
    event: String,
}

/// Makes the line of the record that follows `summary`.
pub(super) fn line<T: Serialize>(summary: &Summary, body: &T) -> Result<String> {
    let framed = Framed { seq: summary.next(), prev: &summary.last, body };
    let json = serde_json::to_string(&framed).map_err(|e| Error::internal(format!("audit: writing a record: {e}")))?;
    let line = format!("{} {json}\n", sha256_hex(json.as_bytes()));
    if line.len() as u64 > MAX_LINE {
        return Err(Error::limit(format!("audit: a record of {} bytes, at most {MAX_LINE} are written", line.len())));
    }
    Ok(line)
}

/// Walks the chain in a file.
///
/// # Errors
/// [`crate::Kind::Corrupt`] naming the first bad record by number and place; [`crate::Kind::Io`] when the file cannot
/// be read.
pub fn verify(path: &Path) -> Result<Summary> {
    read(path, &mut |_| Ok(()))
}

/// As [`verify`], and gives every whole record to `each` on the way, before it is known that the rest is good.
///
/// # Errors
/// As [`verify`]; what `each` returns.
pub fn read(path: &Path, each: &mut dyn FnMut(&serde_json::Value) -> Result<()>) -> Result<Summary> {
    let what = || format!("reading the audit log {}", path.display());
    let meta = std::fs::metadata(path).map_err(|e| Error::io(what(), &e))?;
    if !meta.is_file() {
        return Err(Error::new(crate::Kind::Io, format!("{}: it is not a regular file", what())));
    }
    walk_with(File::open(path).map_err(|e| Error::io(what(), &e))?, each).map_err(|e| e.context(path.display()))
}

/// Walks the chain from the beginning of `source`. A last record that was not written to its end is torn; anything else
/// that does not fit is corrupt.
pub(super) fn walk(source: impl Read) -> Result<Summary> {
    walk_with(source, &mut |_| Ok(()))
}

fn walk_with(source: impl Read, each: &mut dyn FnMut(&serde_json::Value) -> Result<()>) -> Result<Summary> {
    let mut reader = BufReader::new(source);
    let mut summary = Summary::after(0, START.to_owned());
    let mut line = Vec::new();
    while next_line(&mut reader, &mut line)? {
        match link(&mut summary, &line) {
            Ok((hash, json)) => {
                let value = serde_json::from_slice(json).map_err(|e| Error::corrupt(format!("audit: {e}")))?;
                each(&value)?;
                summary.records += 1;
                summary.last = hash;
                summary.bytes += line.len() as u64;
            }
            Err(why) => {
                let (number, at) = (summary.next(), summary.bytes);
                summary.torn = rest_without_records(&mut reader, line)?.ok_or_else(|| {
                    Error::corrupt(format!("audit record {number} at byte {at} is bad: {why}; whole records follow it"))
                })?;
                return Ok(summary);
            }
        }
    }
    Ok(summary)
}

/// Reads up to and with the next newline, or [`MAX_LINE`] bytes; false at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    reader.take(MAX_LINE).read_until(b'\n', line).map_err(|e| Error::io("reading the audit log", &e))?;
    Ok(!line.is_empty())
}

/// The hash and the object of the line if it is the next link of the chain. The first record of a file that continues
/// another one says itself where that stood.
fn link<'l>(before: &mut Summary, line: &'l [u8]) -> Result<(String, &'l [u8]), &'static str> {
    let (hash, json) = whole(line)?;
    let link: Link = serde_json::from_slice(json).map_err(|_| "it is no record")?;
    if before.bytes == 0 && link.seq > 0 && link.event == CONTINUED {
        *before = Summary::after(link.seq, link.prev.clone());
    }
    if link.seq != before.next() {
        return Err("its number is not the next one");
    }
    if link.prev != before.last {
        return Err("it does not name the hash of the record before it");
    }
    Ok((hash.to_owned(), json))
}

/// A line's hash and object, if the hash is the object's.
fn whole(line: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let line = line.strip_suffix(b"\n").ok_or("it has no end")?;
    let (hash, rest) = line.split_at_checked(HASH).ok_or("it is too short")?;
    let json = rest.strip_prefix(b" ").ok_or("it is no record")?;
    let hash = std::str::from_utf8(hash).map_err(|_| "it is no record")?;
    if hash == sha256_hex(json) { Ok((hash, json)) } else { Err("its hash is not that of its content") }
}

/// From a bad line to the end of the file: how many bytes, or `None` when a whole record stands there. An interrupted
/// write damages only the end, so a whole record beyond the damage means that somebody changed the file.
fn rest_without_records(reader: &mut impl BufRead, mut line: Vec<u8>) -> Result<Option<u64>> {
    let mut bytes = 0;
    let mut bad = line.len();
    loop {
        // A record that is whole by itself and in the wrong place was put there.
        if whole(&line).is_ok() {
            return Ok(None);
        }
        bytes += bad as u64;
        if !next_line(reader, &mut line)? {
            return Ok(Some(bytes));
        }
        bad = line.len();
    }
}
