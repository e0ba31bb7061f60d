//! Packed models: weights in the order that kernels read, at places that a disk reads at once.
//!
//! A packed file is a GGUF version 3 file in all but its first eight bytes and the places of its data. So the reader of GGUF,
//! with its limits and its checks, is also this one's, and there is no second grammar to attack. The magic is `PALP`, which
//! every other reader of GGUF refuses at the first word; a private tensor type inside `GGUF` would be refused later, or not.
//!
//! Beside the model's own metadata there are three arrays with one entry a tensor: its layout (empty: as in a GGUF file), the
//! bytes of one of its matrices, and its group (0: none). Where data lies follows from them alone; the directory's offsets
//! must say the same, so that no offset of a file is ever followed:
//!
//! - A section is what is read at once. It begins on a multiple of 4,096 bytes, is padded to one, and follows the one before.
//! - A tensor without a group is one section, its matrices back to back.
//! - Neighbouring tensors of one group (the gate, up and down matrices of a layer's experts) have a section for each number of
//!   matrix, with that matrix of each tensor in turn, each on a multiple of 64 bytes: one expert, one range.
//! - After the last section come the SHA-256 of the header with its padding and of each section with its own.
//!
//! The header's digest is compared when a file is opened, the sections' by [`super::Gguf::verify`]. The layout's name is not
//! understood here: whoever uses the bytes compares it with what it expects.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::file::Part;
use super::metadata::Metadata;
use super::tensor::{Stored, TensorInfo};
use super::value::{Array, Value, shown};
use crate::bytes::reserve;
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};

/// The first four bytes.
pub(super) const MAGIC: [u8; 4] = *b"PALP";
/// The version read and written.
pub(super) const VERSION: u32 = 1;
/// What sections are aligned to; a multiple of every sector and page.
pub(super) const ALIGNMENT: u32 = 4096;
/// What matrices inside a section are aligned to: a cache line.
const LINE: u64 = 64;
/// The keys of this format begin so.
pub const PACKED_PREFIX: &str = "palisade.packed.";
/// One text a tensor: the layout, empty for the order of a GGUF file.
pub(super) const LAYOUT: &str = "palisade.packed.layout";
/// One u64 a tensor: bytes of one matrix.
pub(super) const BYTES: &str = "palisade.packed.bytes";
/// One u32 a tensor: the group, from 1 on, or 0.
pub(super) const GROUP: &str = "palisade.packed.group";
/// Bytes of a digest.
pub(super) const DIGEST: u64 = 32;
/// Bytes that are compared at a time.
const STEP: usize = 1 << 20;

/// Sections that follow each other: one tensor, or a group of them copy by copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The tensors, by number.
    pub tensors: Range<usize>,
    /// Where the first section begins in the file.
    pub at: u64,
    /// Bytes of each section with its padding.
    pub stride: u64,
    /// Sections.
    pub count: u64,
}

/// Where a packed file has its sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    runs: Vec<Run>,
    sections: u64,
    start: u64,
    end: u64,
}

impl Packed {
    /// Runs of sections in file order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run that tensor number `i` belongs to.
    #[must_use]
    pub fn run_of(&self, i: usize) -> Option<&Run> {
        self.runs.get(self.runs.partition_point(|run| run.tensors.end <= i)).filter(|run| run.tensors.contains(&i))
    }

    /// Sections in all.
    #[must_use]
    pub fn sections(&self) -> u64 {
        self.sections
    }

    /// Where the digests begin: the end of the last section.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of the digests: the header's and each section's.
    pub(super) fn digest_bytes(&self) -> u64 {
        self.sections.saturating_add(1).saturating_mul(DIGEST)
    }

    /// Compares the header of `part` with its digest.
    pub(super) fn check_header(&self, part: &Part, cancel: &CancelFlag) -> Result<()> {
        self.check(part, 0..self.start, 0, cancel, &mut |_| ()).map_err(|e| e.context("the header"))
    }

    /// Compares every section with its digest.
    pub(super) fn check_sections(
        &self,
        part: &Part,
        tensors: &[TensorInfo],
        cancel: &CancelFlag,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let total = self.end - self.start;
        let (mut number, mut done) = (0, 0);
        for run in &self.runs {
            for copy in 0..run.count {
                number += 1;
                let at = run.at.saturating_add(copy.saturating_mul(run.stride));
                let checked = self.check(part, at..at.saturating_add(run.stride), number, cancel, &mut |n| {
                    done += n;
                    progress(done, total);
                });
                checked.map_err(|e| {
                    let name = tensors.get(run.tensors.start).map_or("", |t| t.name.as_str());
                    e.context(format_args!(
                        "section {number} of {} (tensor {}, number {copy})",
                        self.sections,
                        shown(name)
                    ))
                })?;
            }
        }
        Ok(())
    }

    /// Compares the bytes of `range` with digest number `number`.
    fn check(
        &self,
        part: &Part,
        range: Range<u64>,
        number: u64,
        cancel: &CancelFlag,
        tick: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let (mut sum, mut at) = (Sha256::new(), range.start);
        let mut buffer = Vec::new();
        let left = |at: u64| usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX).min(STEP);
        reserve(&mut buffer, left(at))?;
        buffer.resize(left(at), 0u8);
        while at < range.end {
            cancel.check()?;
            let bytes = buffer.get_mut(..left(at)).unwrap_or_default();
            part.read_at(at, bytes)?;
            sum.update(&*bytes);
            at += bytes.len() as u64;
            tick(bytes.len() as u64);
        }
        let mut said = [0; DIGEST as usize];
        part.read_at(self.end.saturating_add(number.saturating_mul(DIGEST)), &mut said)?;
        if sum.finalize().as_slice() != said {
            return Err(Error::corrupt(
                "the bytes do not have their checksum: the file is damaged; copy it or pack the model again",
            ));
        }
        Ok(())
    }
}

/// What decides where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of one matrix.
    pub(super) bytes: u64,
    /// Matrices.
    pub(super) copies: u64,
    /// Group, or 0.
    pub(super) group: u32,
}

/// Where tensors of these shapes lie in a file whose data begins at `start`: the first matrix of each and what it is to the
/// next one, and the runs.
pub(super) fn place(shapes: &[Shape], start: u64) -> Result<(Vec<(u64, u64)>, Packed)> {
    let too_far = || Error::corrupt("the sections run past what a file can have");
    let (mut places, mut runs) = (Vec::new(), Vec::new());
    let (mut pos, mut sections, mut last, mut first) = (start, 0u64, 0u32, 0usize);
    for group in shapes.chunk_by(|a, b| a.group != 0 && a.group == b.group) {
        let Some(head) = group.first() else { continue };
        let inner = if head.group == 0 {
            let whole = head.bytes.checked_mul(head.copies).ok_or_else(too_far)?;
            reserve(&mut places, 1)?;
            places.push((pos, head.bytes));
            (whole, 1)
        } else {
            if head.group != last.saturating_add(1) {
                return Err(Error::corrupt(format!(
                    "group {} follows group {last}, expected {}",
                    head.group,
                    last + 1
                )));
            }
            last = head.group;
            (place_group(group, pos, &mut places)?, head.copies)
        };
        let (bytes, count) = inner;
        let stride = bytes.checked_next_multiple_of(ALIGNMENT.into()).ok_or_else(too_far)?;
        reserve(&mut runs, 1)?;
        runs.push(Run { tensors: first..first + group.len(), at: pos, stride, count });
        let all = stride.checked_mul(count).and_then(|all| pos.checked_add(all));
        pos = all.filter(|end| i64::try_from(*end).is_ok()).ok_or_else(too_far)?;
        sections = sections.checked_add(count).ok_or_else(too_far)?;
        first += group.len();
    }
    Ok((places, Packed { runs, sections, start, end: pos }))
}

/// Appends the places of a group's tensors whose first section begins at `at`; gives the section's bytes.
fn place_group(group: &[Shape], at: u64, places: &mut Vec<(u64, u64)>) -> Result<u64> {
    let too_far = || Error::corrupt("a section runs past what a file can have");
    let mut inner = Vec::new();
    let mut end = 0u64;
    for shape in group {
        if group.first().is_some_and(|head| head.copies != shape.copies) {
            return Err(Error::corrupt(format!("the tensors of group {} have not equally many matrices", shape.group)));
        }
        reserve(&mut inner, 1)?;
        inner.push(end);
        let next = end.checked_add(shape.bytes).and_then(|end| end.checked_next_multiple_of(LINE));
        end = next.ok_or_else(too_far)?;
    }
    let stride = end.checked_next_multiple_of(ALIGNMENT.into()).ok_or_else(too_far)?;
    reserve(places, group.len())?;
    for inner in inner {
        places.push((at.checked_add(inner).ok_or_else(too_far)?, stride));
    }
    Ok(end)
}

/// Matrices of a tensor of these dimensions.
pub(super) fn copies(dims: &[u64]) -> u64 {
    // The product of all dimensions was weighed before.
    dims.iter().skip(2).fold(1, |n, dim| n.saturating_mul(*dim))
}

/// Gives every tensor its place, and checks that the directory says the same and that the file ends where it must.
pub(super) fn lay_out(
    tensors: &mut [TensorInfo],
    header_end: u64,
    total: u64,
    alignment: u32,
    metadata: &Metadata,
) -> Result<Packed> {
    if alignment != ALIGNMENT {
        return Err(Error::corrupt(format!("alignment is {alignment}, expected {ALIGNMENT} in a packed file")));
    }
    let stored = read_stored(tensors, metadata)?;
    let start = header_end.checked_next_multiple_of(alignment.into());
    let start = start.ok_or_else(|| Error::corrupt("the data begins past what a file can have"))?;
    let mut shapes = Vec::new();
    reserve(&mut shapes, tensors.len())?;
    shapes.extend(stored.iter().zip(tensors.iter()).map(|((_, bytes, group), t)| Shape {
        bytes: *bytes,
        copies: copies(&t.dims),
        group: *group,
    }));
    let (places, packed) = place(&shapes, start)?;
    let expected =
        packed.end.checked_add(packed.digest_bytes()).and_then(|n| n.checked_next_multiple_of(alignment.into()));
    if expected != Some(total) {
        let expected = expected.map_or("more than a file can have".to_owned(), |n| n.to_string());
        return Err(Error::corrupt(format!(
            "the file has {total} bytes, its sections and their checksums take {expected}"
        )));
    }
    for ((t, (at, stride)), (layout, bytes, group)) in tensors.iter_mut().zip(places).zip(stored) {
        if start.checked_add(t.offset) != Some(at) {
            let (name, offset) = (shown(&t.name), t.offset);
            return Err(Error::corrupt(format!("tensor {name}: offset {offset}, expected {}", at - start)));
        }
        t.offset = at;
        if let Some(layout) = layout {
            t.bytes = bytes.saturating_mul(copies(&t.dims));
            t.stored = Some(Stored { layout, bytes, stride, group });
        }
    }
    Ok(packed)
}

/// The layout (`None`: as in a GGUF file), the bytes of one matrix and the group of each tensor.
fn read_stored(tensors: &[TensorInfo], metadata: &Metadata) -> Result<Vec<(Option<String>, u64, u32)>> {
    let count = |key: &str, n: usize| match n == tensors.len() {
        true => Ok(()),
        false => Err(Error::corrupt(format!("metadata {key}: {n} elements for {} tensors", tensors.len()))),
    };
    let wrong = |key: &str, expected: &str| match metadata.get(key) {
        None => Error::corrupt(format!("metadata {key} is missing")),
        Some(value) => Error::corrupt(format!("metadata {key} is of type {}, expected {expected}", value.type_name())),
    };
    let Some(Value::Array(Array::Str(layouts))) = metadata.get(LAYOUT) else {
        return Err(wrong(LAYOUT, "an array of strings"));
    };
    let Some(Value::Array(Array::U64(bytes))) = metadata.get(BYTES) else {
        return Err(wrong(BYTES, "an array of u64"));
    };
    let Some(Value::Array(Array::U32(groups))) = metadata.get(GROUP) else {
        return Err(wrong(GROUP, "an array of u32"));
    };
    count(LAYOUT, layouts.len())?;
    count(BYTES, bytes.len())?;
    count(GROUP, groups.len())?;
    let mut stored = Vec::new();
    reserve(&mut stored, tensors.len())?;
    for (((t, layout), bytes), group) in tensors.iter().zip(layouts.iter()).zip(bytes).zip(groups) {
        let plain = layout.is_empty();
        // A packed matrix may be larger than the file's, never empty.
        if *bytes == 0 || (plain && bytes.checked_mul(copies(&t.dims)) != Some(t.bytes)) {
            let (name, copies, own) = (shown(&t.name), copies(&t.dims), t.bytes);
            return Err(Error::corrupt(format!(
                "tensor {name}: metadata {BYTES} says {bytes} bytes for each of {copies} matrices of {own} in all"
            )));
        }
        stored.push(((!plain).then(|| layout.to_owned()), *bytes, *group));
    }
    Ok(stored)
}
