//! Matrices of packed files: already in kernel order, so that reading is all there is to do.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::direct::Direct;
use super::layout::{layout_name, panel_bytes};
use super::load::{Piece, read_panels};
use super::packed_bytes;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Stored, TensorInfo};
use crate::quant::BlockType;

/// Bytes that one thread reads at a time.
const STEP: usize = 4 << 20;

/// A range of one of a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) part: usize,
    pub(super) at: u64,
    pub(super) bytes: usize,
}

/// How `tensor` is stored, if it is packed. Its layout and size are compared with what this build's kernels read.
pub(super) fn stored(tensor: &TensorInfo, ty: BlockType, rows: usize, cols: usize) -> Result<Option<&Stored>> {
    let Some(stored) = &tensor.stored else { return Ok(None) };
    check_layout(&tensor.name, &stored.layout, ty)?;
    let expected = packed_bytes(ty, rows, cols)?;
    if stored.bytes != expected {
        let (name, bytes) = (&tensor.name, stored.bytes);
        return Err(Error::corrupt(format!(
            "tensor {name}: {bytes} bytes for {rows} rows of {cols} columns of {ty}, expected {expected}"
        )));
    }
    Ok(Some(stored))
}

fn check_layout(name: &str, layout: &str, ty: BlockType) -> Result<()> {
    let ours = layout_name(ty);
    if layout == ours {
        return Ok(());
    }
    let layout: String = layout.chars().take(64).flat_map(char::escape_debug).collect();
    Err(Error::unsupported(format!(
        "tensor {name} is packed as {layout}, this build's kernels read {ours}: pack the model again from its GGUF file"
    )))
}

/// Checks that this build's kernels read the layout of every packed tensor. No weight is read.
///
/// # Errors
/// [`crate::error::Kind::Unsupported`] for a layout of another version, with the tensor.
pub fn check_layouts(gguf: &Gguf) -> Result<()> {
    for tensor in gguf.tensors() {
        if let Some(stored) = &tensor.stored {
            check_layout(&tensor.name, &stored.layout, tensor.block_type()?)?;
        }
    }
    Ok(())
}

/// Fills `out` from `at` on, several steps at a time and in the order of the file. `tick` hears of bytes and may end the work.
pub(super) fn read_place(
    gguf: &Gguf,
    direct: &Direct,
    (part, at): (usize, u64),
    out: &mut [u8],
    tick: &mut (dyn FnMut(u64) -> Result<()> + Send),
) -> Result<()> {
    let file = gguf.parts().get(part).ok_or_else(|| Error::internal("a place in no part"))?;
    let tick = Mutex::new((tick, None::<Error>));
    out.chunks_mut(STEP).enumerate().par_bridge().try_for_each(|(step, out)| {
        direct.read(file, at.saturating_add(step as u64 * STEP as u64), out)?;
        let (tick, failed) = &mut *tick.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() {
            *failed = tick(out.len() as u64).err();
        }
        failed.clone().map_or(Ok(()), Err)
    })
}

/// Appends panels `from..to` of matrix `copy` of a tensor that lies in the order of GGUF.
///
/// # Errors
/// [`crate::error::Kind::Argument`] for panels that do not exist; what reading gives.
pub fn pack_rows(gguf: &Gguf, name: &str, copy: u64, panels: std::ops::Range<u64>, out: &mut Vec<u8>) -> Result<()> {
    let found = gguf.tensors().iter().position(|t| t.name == name);
    let (tensor, info) = found
        .and_then(|i| Some((i, gguf.tensors().get(i)?)))
        .ok_or_else(|| Error::argument(format!("tensor {name} is missing")))?;
    let ty = info.block_type()?;
    let wrong = || Error::argument(format!("tensor {name}: matrix {copy} has no panels {panels:?}"));
    let size = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong);
    let (cols, all) = (size(Some(info.cols()))?, info.dims.get(1).copied().unwrap_or(1));
    let first =
        panels.start.checked_mul(super::layout::PANEL_ROWS as u64).filter(|first| *first < all).ok_or_else(wrong)?;
    let end = panels.end.checked_mul(super::layout::PANEL_ROWS as u64).ok_or_else(wrong)?.min(all);
    let rows = size(end.checked_sub(first))?;
    let bytes =
        size(panel_bytes(ty, cols).ok().map(|n| n as u64).and_then(|n| n.checked_mul(panels.end - panels.start)))?;
    let first_row = size(copy.checked_mul(all).and_then(|n| n.checked_add(first)))?;
    let start = out.len();
    crate::bytes::reserve(out, bytes)?;
    out.resize(start + bytes, 0);
    let piece = Piece { tensor, first_row, rows, cols, ty, bytes };
    read_panels(gguf, &piece, out.get_mut(start..).unwrap_or_default(), &mut |_| Ok(()))
}
