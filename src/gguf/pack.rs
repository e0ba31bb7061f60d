//! Writing packed files, on the writer of GGUF and its restart.

use std::ops::Range;
use std::path::Path;

use super::packed::{ALIGNMENT, BYTES, GROUP, LAYOUT, PACKED_PREFIX, Packed, Shape, copies, place};
use super::restart::Restart;
use super::value::{Array, StrArray, Value};
use super::writer::Writer;
use super::{Metadata, header::ALIGNMENT_KEY};
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::quant::BlockType;

/// A tensor of a packed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedTensor {
    /// The name.
    pub name: String,
    /// As in a GGUF file, the row's length first.
    pub dims: Vec<u64>,
    /// The block type.
    pub ty: BlockType,
    /// Name of the layout and bytes of one matrix in it; `None` for the order of a GGUF file.
    pub layout: Option<(String, u64)>,
    /// Neighbours with the same number, from 1 on, lie matrix by matrix; 0 for a tensor that lies alone.
    pub group: u32,
}

/// What is read at once: one tensor, or one matrix of each tensor of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The tensors, by number.
    pub tensors: Range<usize>,
    /// Which matrix of them; `None` for all of the only one.
    pub copy: Option<u64>,
    /// Its bytes with padding.
    pub bytes: u64,
}

/// Plans one packed file. It refuses what [`super::Gguf`] would refuse to read.
#[derive(Debug)]
pub struct PackedWriter {
    writer: Writer,
    packed: Packed,
    grouped: Vec<bool>,
}

impl PackedWriter {
    /// A file of this metadata and these tensors. What `metadata` says of splits, alignment and packing is left out.
    ///
    /// # Errors
    /// As [`Writer::set`] and [`Writer::tensor`]; [`crate::error::Kind::Argument`] for groups whose tensors do not have
    /// equally many matrices or are not numbered in order.
    pub fn new(metadata: &Metadata, tensors: &[PackedTensor]) -> Result<Self> {
        let mut writer = Writer::new();
        let ours = |key: &str| key == ALIGNMENT_KEY || key.starts_with("split.") || key.starts_with(PACKED_PREFIX);
        for (key, value) in metadata.iter().filter(|(key, _)| !ours(key)) {
            writer.set(key, value.clone())?;
        }
        writer.set(ALIGNMENT_KEY, ALIGNMENT)?;
        let mut shapes = Vec::with_capacity(tensors.len());
        for t in tensors {
            let i = writer.tensor(&t.name, &t.dims, t.ty)?;
            let copies = copies(&t.dims);
            let bytes = t.layout.as_ref().map_or_else(|| writer.bytes(i) / copies.max(1), |(_, bytes)| *bytes);
            shapes.push(Shape { bytes, copies, group: t.group });
        }
        let layouts = tensors.iter().map(|t| t.layout.as_ref().map_or("", |(name, _)| name.as_str()));
        writer.set(LAYOUT, Value::Array(Array::Str(StrArray::new(layouts)?)))?;
        writer.set(BYTES, Value::Array(Array::U64(shapes.iter().map(|s| s.bytes).collect())))?;
        writer.set(GROUP, Value::Array(Array::U32(shapes.iter().map(|s| s.group).collect())))?;
        let argument = |e: Error| Error::argument(e.message().to_owned());
        let (places, packed) = place(&shapes, 0).map_err(argument)?;
        let mut sections: Vec<(u64, u64)> = Vec::new();
        for run in packed.runs() {
            sections.extend((0..run.count).map(|c| (run.at + c * run.stride, run.at + (c + 1) * run.stride)));
        }
        sections.push((packed.end(), packed.end().saturating_add(packed.digest_bytes())));
        writer.pack(places.into_iter().map(|(at, _)| at).collect(), sections);
        Ok(Self { writer, packed, grouped: tensors.iter().map(|t| t.group != 0).collect() })
    }

    /// The sections in order.
    pub fn sections(&self) -> impl Iterator<Item = Section> + '_ {
        self.packed.runs().iter().flat_map(|run| {
            let grouped = self.grouped.get(run.tensors.start).copied().unwrap_or_default();
            (0..run.count).map(move |copy| Section {
                tensors: run.tensors.clone(),
                copy: grouped.then_some(copy),
                bytes: run.stride,
            })
        })
    }

    /// Bytes the whole file will have.
    ///
    /// # Errors
    /// [`crate::error::Kind::Limit`] when the metadata is too much.
    pub fn total(&self) -> Result<u64> {
        let header = self.writer.whole_header()?.len() as u64;
        let end = self.packed.end().saturating_add(self.packed.digest_bytes());
        Ok(self.writer.aligned(end.saturating_add(header)))
    }

    /// Begins the file, or goes on with it, as [`Writer::restart`]. The caller writes each section, its padding included, and
    /// marks it; then [`PackedWriter::finish`].
    ///
    /// # Errors
    /// As [`Writer::restart`].
    pub fn restart(
        &self,
        path: &Path,
        key: &str,
        replace: bool,
        cancel: &CancelFlag,
        checked: &mut dyn FnMut(u64),
    ) -> Result<Restart<'_>> {
        self.writer.restart(path, key, replace, cancel, checked)
    }

    /// Writes the checksums and gives the file its name.
    ///
    /// # Errors
    /// [`crate::error::Kind::State`] when sections are missing, [`crate::error::Kind::Io`].
    pub fn finish(&self, file: &mut Restart<'_>) -> Result<()> {
        if let Some((i, _)) = file.due() {
            // The header and each section were marked once, so the journal's digests are the file's.
            let digests = file.digests();
            let marked = digests.len() as u64 == self.packed.sections().saturating_add(1);
            if i as u64 != self.packed.sections() || !marked {
                return Err(Error::state(format!("section {i} of {} is not written", self.packed.sections())));
            }
            file.write(&digests.concat())?;
        }
        file.finish()
    }
}
