//! The GGUF file format: header, metadata, tensor directory, split files, writer.
//!
//! The format is that of ggml's `docs/gguf.md`, versions 2 and 3, little-endian. What a file must keep beyond the format is in
//! [`Limits`]; the data must be laid as llama.cpp lays it (in directory order, aligned, without holes, ending with the file).

mod file;
mod header;
mod limits;
mod metadata;
mod pack;
mod packed;
mod pairs;
mod restart;
mod split;
mod tensor;
mod unfinished;
mod value;
mod writer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use self::header::Header;
use self::split::Split;
use self::value::shown;
use crate::bytes::Cursor;
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};

pub use file::Part;
pub use limits::Limits;
pub use metadata::{Metadata, PerLayer};
pub use pack::{PackedTensor, PackedWriter, Section};
pub use packed::{PACKED_PREFIX, Packed, Run};
pub use restart::Restart;
pub use tensor::{Stored, TensorInfo, TensorType};
pub use value::{Array, StrArray, Value};
pub use writer::{Sink, Writer};

/// Most bytes of a header read at a time.
const BUFFER: usize = 256 << 10;

/// An open model file (or the files of a split model): what it says about itself, and its bytes by position.
#[derive(Debug)]
pub struct Gguf {
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    parts: Vec<Part>,
    packed: Option<Packed>,
}

impl Gguf {
    /// Opens a model under the default [`Limits`]. For a split model, `path` is the first part; the others must lie beside it.
    ///
    /// # Errors
    /// As [`Gguf::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &Limits::default(), &CancelFlag::new())
    }

    /// Opens a model. Only headers are read.
    ///
    /// # Errors
    /// - [`crate::error::Kind::Argument`]: the path is no path, or names a part of a split model that is not the first
    /// - [`crate::error::Kind::Io`]: a part is missing, unreadable, or not a regular file
    /// - [`crate::error::Kind::Corrupt`]: a part is damaged, with the field, its value and what was expected
    /// - [`crate::error::Kind::Unsupported`]: another version, byte order, or an unknown tensor type
    /// - [`crate::error::Kind::Limit`]: one of `limits` would be passed
    /// - [`crate::error::Kind::Cancelled`]: `cancel` was raised
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits, cancel: &CancelFlag) -> Result<Self> {
        let path = path.as_ref();
        let part = Part::open(path)?;
        let first = read_header(&part, 0, limits, cancel)?;
        let named = |e: Error| e.context(path.display());
        let Some(split) = Split::of(&first).map_err(named)? else {
            return Self::join(vec![part], vec![first]).map_err(named);
        };
        let (mut parts, mut headers) = (vec![part], vec![first]);
        for (i, path) in split.paths(path, limits)?.iter().enumerate().skip(1) {
            let part = Part::open(path).map_err(|e| e.context(format_args!("part {} of {}", i + 1, split.count)))?;
            let header = read_header(&part, i, limits, cancel)?;
            let said = Split::of(&header).and_then(|said| split.check_part(i as u32, said));
            said.map_err(|e| e.context(path.display()))?;
            parts.push(part);
            headers.push(header);
            let tensors = headers.iter().map(|h| h.tensors.len() as u64).sum::<u64>();
            if tensors > limits.tensors {
                return Err(named(Error::limit(format!("{tensors} tensors, the limit is {}", limits.tensors))));
            }
        }
        let all = Self::join(parts, headers).map_err(named)?;
        split.check_tensors(all.tensors.len()).map_err(named)?;
        Ok(all)
    }

    /// A model in one part whose bytes are in memory; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`Gguf::open_with`]; [`crate::error::Kind::Argument`] for a part of a split model.
    pub fn from_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        let part = Part::from_bytes(name, bytes.into());
        let header = read_header(&part, 0, &Limits::default(), &CancelFlag::new())?;
        if let Some(split) = Split::of(&header).map_err(|e| e.context(name))? {
            return Err(Error::argument(format!("{name} is one of {} parts, expected a whole model", split.count)));
        }
        Self::join(vec![part], vec![header]).map_err(|e| e.context(name))
    }

    /// The format version of the first part: 2 or 3, or that of packed files.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the (first) file says about the model.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// `general.architecture`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Corrupt`] when it is missing or no string.
    pub fn architecture(&self) -> Result<&str> {
        self.metadata.require_str("general.architecture")
    }

    /// The tensors of all parts, in file order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).and_then(|i| self.tensors.get(*i))
    }

    /// The parts, one unless the model is split.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Fills `buf` with the tensor's bytes from `offset_in_tensor` on. Any number of threads may read at once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] when that is not inside the tensor; otherwise as [`Part::read_at`].
    pub fn read(&self, tensor: &TensorInfo, offset_in_tensor: u64, buf: &mut [u8]) -> Result<()> {
        if let Some(stored) = &tensor.stored {
            return Err(Error::unsupported(format!(
                "tensor {} is packed ({}), expected the order of a GGUF file: take the file it was packed from",
                shown(&tensor.name),
                shown(&stored.layout)
            )));
        }
        let end = offset_in_tensor.checked_add(buf.len() as u64);
        let at = tensor.offset.checked_add(offset_in_tensor);
        let (Some(part), Some(at), true) =
            (self.parts.get(tensor.part), at, end.is_some_and(|end| end <= tensor.bytes))
        else {
            return Err(Error::argument(format!(
                "tensor {}: no {} bytes at {offset_in_tensor}, it has {}",
                tensor.name,
                buf.len(),
                tensor.bytes
            )));
        };
        part.read_at(at, buf).map_err(|e| e.context(format_args!("tensor {}", tensor.name)))
    }

    /// Where a packed file has its sections; `None` for a GGUF file.
    #[must_use]
    pub fn packed(&self) -> Option<&Packed> {
        self.packed.as_ref()
    }

    /// Reads a packed file whole and compares every section with its checksum. `progress` hears of bytes done and in all.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unsupported`] for a GGUF file, which has no checksums; [`crate::error::Kind::Corrupt`] for a
    /// section that is not what it was, with its tensor; what reading gives.
    pub fn verify(&self, cancel: &CancelFlag, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let (Some(packed), Some(part)) = (&self.packed, self.parts.first()) else {
            return Err(Error::unsupported("a GGUF file holds no checksums to compare; `palisade pack` writes them"));
        };
        let checked = packed.check_sections(part, &self.tensors, cancel, progress);
        checked.map_err(|e| e.context(part.path().display()))
    }

    fn join(parts: Vec<Part>, headers: Vec<Header>) -> Result<Self> {
        let mut all = Self {
            version: 0,
            metadata: Metadata::default(),
            tensors: vec![],
            by_name: HashMap::new(),
            parts,
            packed: None,
        };
        for (i, header) in headers.into_iter().enumerate() {
            if i == 0 {
                (all.version, all.metadata, all.packed) = (header.version, header.metadata, header.packed);
            }
            all.tensors.extend(header.tensors);
        }
        for (i, t) in all.tensors.iter().enumerate() {
            if all.by_name.insert(t.name.clone(), i).is_some() {
                return Err(Error::corrupt(format!("tensor {} is listed twice", shown(&t.name))));
            }
        }
        Ok(all)
    }
}

fn read_header(part: &Part, i: usize, limits: &Limits, cancel: &CancelFlag) -> Result<Header> {
    let buffer = usize::try_from(part.len()).map_or(BUFFER, |len| len.min(BUFFER));
    let mut cur = Cursor::new(BufReader::with_capacity(buffer, part.reader()), part.len());
    let named = |e: Error| e.context(part.path().display());
    let header = Header::read(&mut cur, i, limits, cancel).map_err(named)?;
    if let Some(packed) = &header.packed {
        if i > 0 || Split::of(&header).map_err(named)?.is_some() {
            return Err(named(Error::corrupt("a packed file is one of several parts, expected a whole model")));
        }
        packed.check_header(part, cancel).map_err(named)?;
    }
    Ok(header)
}
