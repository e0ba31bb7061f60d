//! The safetensors files of a folder: which tensor lies where. Headers are read, data is read by offset when it is needed.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::json::{self, Object};
use crate::error::{Error, Result};
use crate::gguf::Part;
use crate::quant::BlockType;

/// The longest header, the format's own bound.
const LONGEST_HEADER: u64 = 100_000_000;
/// A file of one model that is not split.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const MOST_SHARDS: usize = 1024;

/// Where a tensor's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) part: usize,
    /// In the part's file.
    pub(super) offset: u64,
    pub(super) ty: BlockType,
    /// As the file says it: the row's length last.
    pub(super) shape: Vec<u64>,
}

/// The open files of a model and its tensors by name.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) parts: Vec<Part>,
    tensors: HashMap<String, Stored>,
}

impl Shards {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut this = Self { parts: vec![], tensors: HashMap::new() };
        if folder.join(SINGLE).exists() {
            this.add(&folder.join(SINGLE), |_| true)?;
            return Ok(this);
        }
        let index = folder.join(INDEX);
        let Some(value) = json::value(&index)? else {
            return Err(Error::new(
                crate::Kind::Io,
                format!(
                    "{}: neither {SINGLE} nor {INDEX} is there; expected a folder of safetensors",
                    folder.display()
                ),
            ));
        };
        let place = index.display().to_string();
        let files = files_of(&Object { place: &place, value: &value })?;
        for (file, names) in &files {
            this.add(&folder.join(file), |name| names.contains(&name))?;
            if let Some(name) = names.iter().find(|name| !this.tensors.contains_key(**name)) {
                return Err(Error::corrupt(format!("{place}: tensor {name} is said to be in {file}, which lacks it")));
            }
        }
        Ok(this)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Reads one file's header and takes the tensors that are wanted of it.
    fn add(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let part = Part::open(path)?;
        let entries = read_header(&part).map_err(|e| e.context(path.display()))?;
        let number = self.parts.len();
        for (name, mut stored) in entries {
            if wanted(&name) {
                stored.part = number;
                self.tensors.insert(name, stored);
            }
        }
        self.parts.push(part);
        Ok(())
    }
}

/// The files of an index in order, each with the tensors it is said to have.
fn files_of<'a>(index: &Object<'a>) -> Result<Vec<(&'a str, std::collections::HashSet<&'a str>)>> {
    let map = index.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| Error::corrupt(format!("{}: weight_map is missing", index.place)))?;
    let mut files = std::collections::BTreeMap::<&str, std::collections::HashSet<&str>>::new();
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        let plain = Path::new(file).file_name().is_some_and(|name| name == file) && !file.contains(['/', '\\']);
        if !plain {
            let shown: String = file.chars().take(80).collect();
            return Err(Error::corrupt(format!(
                "{}: tensor {tensor} lies in {shown:?}, expected the name of a file in the same folder",
                index.place
            )));
        }
        files.entry(file).or_default().insert(tensor);
    }
    if files.len() > MOST_SHARDS {
        return Err(Error::limit(format!("{}: {} files, the limit is {MOST_SHARDS}", index.place, files.len())));
    }
    Ok(files.into_iter().collect())
}

/// One entry of a safetensors header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a header in its order, each name once.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = vec![];
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }
        d.deserialize_map(Each)
    }
}

fn read_header(part: &Part) -> Result<Vec<(String, Stored)>> {
    let mut length = [0; 8];
    if part.len() < 8 {
        return Err(Error::corrupt(format!("{} bytes are no safetensors file", part.len())));
    }
    part.read_at(0, &mut length)?;
    let (length, left) = (u64::from_le_bytes(length), part.len() - 8);
    if length > left || length > LONGEST_HEADER {
        let most = left.min(LONGEST_HEADER);
        return Err(Error::corrupt(format!("the header is said to have {length} bytes, expected at most {most}")));
    }
    let mut header = Vec::new();
    let length_here = usize::try_from(length).unwrap_or_default();
    crate::bytes::reserve(&mut header, length_here)?;
    header.resize(length_here, 0);
    part.read_at(8, &mut header)?;
    let Entries(mut entries) =
        serde_json::from_slice(&header).map_err(|e| Error::corrupt(format!("the safetensors header: {e}")))?;
    // The format has tensors end to end up to the end of the file: no hole, no overlap, so no name twice either.
    entries.sort_by_key(|(_, e)| e.data_offsets);
    let (mut at, mut out) = (0, Vec::new());
    for (name, entry) in entries {
        let (start, end) = entry.data_offsets;
        let shown: String = name.chars().take(100).collect();
        let fail = |what: String| Err(Error::corrupt(format!("tensor {shown}: {what}")));
        if start != at || end < start || end > left - length {
            return fail(format!("bytes {start} to {end}, expected from {at} to at most {}", left - length));
        }
        let stored = entry.stored(8 + length).map_err(|e| e.context(format_args!("tensor {shown}")))?;
        out.push((name, stored));
        at = end;
    }
    if at != left - length {
        return Err(Error::corrupt(format!("the tensors end at byte {at} of the data, which has {}", left - length)));
    }
    Ok(out)
}

impl Entry {
    fn stored(self, data: u64) -> Result<Stored> {
        let ty = match self.dtype.as_str() {
            "F32" => BlockType::F32,
            "F16" => BlockType::F16,
            "BF16" => BlockType::Bf16,
            other => {
                return Err(Error::unsupported(format!(
                    "values of type {other}: expected BF16, F16 or F32 (quantized checkpoints are not converted; take the \
                     one in BF16)"
                )));
            }
        };
        let (start, end) = self.data_offsets;
        let need = self.shape.iter().try_fold(ty.block_bytes() as u64, |n, d| n.checked_mul(*d));
        if need != Some(end - start) || self.shape.contains(&0) {
            let (shape, bytes) = (&self.shape, end - start);
            return Err(Error::corrupt(format!("{bytes} bytes for shape {shape:?} of type {ty}")));
        }
        Ok(Stored { part: 0, offset: data.saturating_add(start), ty, shape: self.shape })
    }
}
