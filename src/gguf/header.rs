//! Reading one file's header: magic, version, metadata and tensor directory, every count and length weighed before use.

use std::io::Read;

use super::limits::{ALIGNMENT, DEFAULT_ALIGNMENT, DIMS, Limits};
use super::metadata::Metadata;
use super::packed::{self, Packed};
use super::pairs;
use super::tensor::{TensorInfo, TensorType};
use super::value::{Value, shown};
use crate::bytes::{Cursor, reserve};
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::quant::ggml_type;

/// The first four bytes of every GGUF file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// The key that states the alignment.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
/// The smallest metadata pair: key length, one byte of key, type, one byte of value.
const MIN_PAIR: u64 = 8 + 1 + 4 + 1;
/// The smallest directory entry: name length, one byte of name, rank, one dimension, type, offset.
const MIN_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// What stands in front of the weights of one file.
#[derive(Debug)]
pub(super) struct Header {
    /// 2 or 3; the two are laid out alike.
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    /// In file order, which is also the order of their offsets.
    pub(super) tensors: Vec<TensorInfo>,
    /// Where the sections are, in a packed file.
    pub(super) packed: Option<Packed>,
}

impl Header {
    /// Reads a header and checks that its tensors are laid end to end up to the end of the source.
    pub(super) fn read<R: Read>(
        cur: &mut Cursor<R>,
        part: usize,
        limits: &Limits,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        let (version, is_packed) = read_version(cur)?;
        let n_tensors = cur.u64().map_err(|e| e.context("tensor_count"))?;
        let n_pairs = cur.u64().map_err(|e| e.context("metadata_kv_count"))?;
        count(cur, "metadata_kv_count", n_pairs, MIN_PAIR, limits.pairs)?;
        count(cur, "tensor_count", n_tensors, MIN_TENSOR, limits.tensors)?;

        let metadata = pairs::read(cur, n_pairs, limits, cancel)?;
        let alignment = alignment(&metadata)?;
        count(cur, "tensor_count", n_tensors, MIN_TENSOR, limits.tensors)?;
        let mut tensors = Vec::new();
        for i in 0..n_tensors {
            cancel.check()?;
            reserve(&mut tensors, 1)?;
            tensors.push(read_tensor(cur, i, part, limits)?);
        }
        let total = cur.pos().saturating_add(cur.left());
        let packed = if is_packed {
            Some(packed::lay_out(&mut tensors, cur.pos(), total, alignment, &metadata)?)
        } else {
            lay_out(&mut tensors, cur.pos(), total, alignment)?;
            None
        };
        Ok(Self { version, metadata, tensors, packed })
    }
}

/// The version, and whether the file is a packed one.
fn read_version<R: Read>(cur: &mut Cursor<R>) -> Result<(u32, bool)> {
    let magic: [u8; 4] = cur.array().map_err(|e| e.context("magic"))?;
    let mut swapped = magic;
    swapped.reverse();
    if magic == packed::MAGIC {
        let (version, ours) = (cur.u32().map_err(|e| e.context("version"))?, packed::VERSION);
        return if version == ours {
            Ok((version, true))
        } else {
            Err(Error::unsupported(format!(
                "the packed version is {version}, this build reads {ours}: pack the model again from its GGUF file"
            )))
        };
    }
    if magic != MAGIC && swapped != MAGIC {
        let shown = magic.escape_ascii();
        return Err(Error::corrupt(format!("magic is \"{shown}\", expected \"GGUF\": this is not a GGUF file")));
    }
    let version = cur.u32().map_err(|e| e.context("version"))?;
    match version {
        2 | 3 if magic == MAGIC => Ok((version, false)),
        _ if magic != MAGIC || (1..=0xffff).contains(&version.swap_bytes()) => Err(Error::unsupported(format!(
            "version is {} in big-endian byte order, expected a little-endian file",
            version.swap_bytes()
        ))),
        _ => Err(Error::unsupported(format!("version is {version}, expected 2 or 3"))),
    }
}

/// Weighs a count against the bytes left, then against its limit.
fn count<R: Read>(cur: &Cursor<R>, field: &str, n: u64, each: u64, limit: u64) -> Result<()> {
    cur.need_items(n, each).map_err(|e| e.context(field))?;
    if n > limit {
        return Err(Error::limit(format!("{field} is {n}, the limit is {limit}")));
    }
    Ok(())
}

fn alignment(metadata: &Metadata) -> Result<u32> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(x)) if x.is_power_of_two() && ALIGNMENT.contains(x) => Ok(*x),
        Some(value) => Err(Error::corrupt(format!(
            "metadata {ALIGNMENT_KEY}: {value} of type {}, expected a power of two from {} to {} of type u32",
            value.type_name(),
            ALIGNMENT.start(),
            ALIGNMENT.end()
        ))),
    }
}

/// Reads one directory entry. Its offset stays relative to the data until [`lay_out`].
fn read_tensor<R: Read>(cur: &mut Cursor<R>, i: u64, part: usize, limits: &Limits) -> Result<TensorInfo> {
    let name = read_name(cur, limits).map_err(|e| e.context(format_args!("name of tensor number {i}")))?;
    let entry = read_entry(cur, part, name.clone());
    entry.map_err(|e| e.context(format_args!("tensor {}", shown(&name))))
}

fn read_name<R: Read>(cur: &mut Cursor<R>, limits: &Limits) -> Result<String> {
    let len = cur.u64()?;
    cur.need(len)?;
    if len == 0 || len > limits.name_bytes {
        let e = format!("is {len} bytes long, expected 1 to {}", limits.name_bytes);
        return Err(if len == 0 { Error::corrupt(e) } else { Error::limit(e) });
    }
    let name = cur.text(len)?;
    if name.contains('\0') {
        return Err(Error::corrupt(format!("{} contains a NUL", shown(&name))));
    }
    Ok(name)
}

fn read_entry<R: Read>(cur: &mut Cursor<R>, part: usize, name: String) -> Result<TensorInfo> {
    let rank = cur.u32().map_err(|e| e.context("n_dimensions"))?;
    if !DIMS.contains(&rank) {
        let (low, high) = DIMS.into_inner();
        return Err(Error::corrupt(format!("n_dimensions is {rank}, expected {low} to {high}")));
    }
    let mut dims = Vec::new();
    for i in 0..rank {
        let dim = cur.u64().map_err(|e| e.context(format_args!("dimension {i}")))?;
        if dim == 0 {
            return Err(Error::corrupt(format!("dimension {i} is 0, expected at least 1")));
        }
        reserve(&mut dims, 1)?;
        dims.push(dim);
    }
    let id = cur.u32().map_err(|e| e.context("type"))?;
    let bytes = tensor_bytes(&dims, id)?;
    let offset = cur.u64().map_err(|e| e.context("offset"))?;
    Ok(TensorInfo { name, dims, ty: TensorType::from_ggml(id), part, offset, bytes, stored: None })
}

/// The bytes of a tensor of this shape and ggml type.
pub(super) fn tensor_bytes(dims: &[u64], id: u32) -> Result<u64> {
    let Some(ty) = ggml_type(id) else {
        return Err(Error::unsupported(format!("type {id} is unknown to this build")));
    };
    let cols = dims.first().copied().unwrap_or(1);
    if !cols.is_multiple_of(ty.block_len.into()) {
        let (name, len) = (ty.name, ty.block_len);
        return Err(Error::corrupt(format!("rows of {cols} values are not whole {name} blocks of {len}")));
    }
    // Elements are held below 2^63 too: ggml counts them in a signed 64-bit number.
    let elements = dims.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim)).filter(|n| i64::try_from(*n).is_ok());
    let bytes = elements.and_then(|n| (n / u64::from(ty.block_len)).checked_mul(ty.block_bytes.into()));
    bytes.filter(|n| i64::try_from(*n).is_ok()).ok_or_else(|| {
        Error::corrupt(format!("dimensions {dims:?} of type {} are more bytes than a file can have", ty.name))
    })
}

/// Turns offsets within the data into offsets in the file, and checks that the tensors are aligned, in order, without overlap
/// or hole, and end where the file ends (or within its last padding).
fn lay_out(tensors: &mut [TensorInfo], header_end: u64, total: u64, alignment: u32) -> Result<()> {
    let align = |n: u64| n.checked_next_multiple_of(alignment.into());
    let too_far = || Error::corrupt("the data begins past what a file can have");
    let start = if tensors.is_empty() { header_end } else { align(header_end).ok_or_else(too_far)? };
    let (mut end, mut before) = (start, "the header");
    for t in tensors {
        let fail = |what: String| Err(Error::corrupt(format!("tensor {}: offset {} {what}", shown(&t.name), t.offset)));
        if !t.offset.is_multiple_of(alignment.into()) {
            return fail(format!("is not a multiple of the alignment {alignment}"));
        }
        let expected = align(end).ok_or_else(too_far)?;
        let Some(offset) = start.checked_add(t.offset) else {
            return fail(format!("is past the end of the file of {total} bytes"));
        };
        if offset < end {
            return fail(format!("overlaps {}, which ends at {}", shown(before), end - start));
        }
        if offset > total || offset.checked_add(t.bytes).is_none_or(|end| end > total) {
            return fail(format!("and {} bytes run past the end of the file of {total} bytes", t.bytes));
        }
        if offset != expected {
            return fail(format!("leaves a hole after {}, expected {}", shown(before), expected - start));
        }
        t.offset = offset;
        end = offset + t.bytes;
        before = &t.name;
    }
    if total > align(end).ok_or_else(too_far)? {
        return Err(Error::corrupt(format!(
            "{} bytes follow {}, which ends the file's content",
            total - end,
            shown(before)
        )));
    }
    Ok(())
}
