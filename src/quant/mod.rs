//! Block types: layout, size, dequantize, quantize.
//!
//! A tensor's row is cut into blocks of [`BlockType::block_len`] values; each block is [`BlockType::block_bytes`] bytes with
//! its own scale. Layouts are those of ggml (`ggml-common.h`), one file per family. Everything is little-endian.

mod float;
mod grids;
pub mod iq1;
pub mod iq2;
pub mod iq3;
pub mod iq4;
pub mod legacy;
mod names;
pub mod points;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_k;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod runs;
mod search;
#[cfg(test)]
mod tests;
pub mod tq;
mod types;

use crate::bytes::reserve;
use crate::error::{Error, Result};

pub use names::{GgmlType, ggml_type};
pub use types::BlockType;

/// Values in a super-block of the K types.
pub const QK_K: usize = 256;

/// The name ggml gives to a type number, also for types that this build does not read.
#[must_use]
pub fn ggml_name(id: u32) -> Option<&'static str> {
    ggml_type(id).map(|ty| ty.name)
}

/// Writes the values of whole blocks to `out`.
///
/// # Errors
/// [`crate::error::Kind::Argument`] when `bytes` is not exactly the blocks of `out.len()` values.
pub fn dequantize(ty: BlockType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let need = ty.row_bytes(out.len())?;
    if bytes.len() != need {
        return Err(Error::argument(format!(
            "{} values of type {ty} are {need} bytes, got {}",
            out.len(),
            bytes.len()
        )));
    }
    runs::with_runs!(ty, T => runs::dequantize::<T>(bytes, out), _ => dequantize_own(ty, bytes, out));
    Ok(())
}

fn dequantize_own(ty: BlockType, bytes: &[u8], out: &mut [f32]) {
    match ty {
        BlockType::F32 => float::dequantize_f32(bytes, out),
        BlockType::F16 => float::dequantize_f16(bytes, out),
        BlockType::Bf16 => float::dequantize_bf16(bytes, out),
        BlockType::Q8_0 => each_block(bytes, out, q8_0::dequantize_block),
        BlockType::Q4_0 => each_block(bytes, out, q4_0::dequantize_block),
        BlockType::Q4K => each_block(bytes, out, q4_k::dequantize_block),
        BlockType::Q6K => each_block(bytes, out, q6_k::dequantize_block),
        _ => {}
    }
}

/// Appends the blocks of `values` to `out`.
///
/// F32, F16 and BF16 take any value. The quantized types need finite values whose scale fits a 16-bit float.
///
/// # Errors
/// [`crate::error::Kind::Argument`] when `values` is not whole blocks, [`crate::error::Kind::Numeric`] when a value cannot
/// be quantized, [`crate::error::Kind::Unsupported`] for a type that [`BlockType::can_quantize`] denies,
/// [`crate::error::Kind::Memory`] when memory cannot be had. `out` is as before on error.
pub fn quantize(ty: BlockType, values: &[f32], out: &mut Vec<u8>) -> Result<()> {
    quantize_weighted(ty, values, None, out)
}

/// [`quantize`] with one weight a value: what matters more is rounded with less error.
///
/// `importance` holds one non-negative weight for each value: for a weight matrix the mean square of the activation that meets
/// the column, repeated for each row. Only their ratios inside a block count. The floats, Q8_0, TQ1_0 and TQ2_0 have one
/// rounding and pay no heed to it.
///
/// # Errors
/// As [`quantize`]; [`crate::error::Kind::Argument`] when `importance` has another length than `values`, or a weight is
/// negative or not finite.
pub fn quantize_weighted(ty: BlockType, values: &[f32], importance: Option<&[f32]>, out: &mut Vec<u8>) -> Result<()> {
    check_importance(values, importance)?;
    reserve(out, ty.row_bytes(values.len())?)?;
    match ty {
        BlockType::F32 => float::quantize_f32(values, out),
        BlockType::F16 => float::quantize_f16(values, out),
        BlockType::Bf16 => float::quantize_bf16(values, out),
        BlockType::Q8_0 => append_blocks(ty, values, None, out, |x, _| q8_0::quantize_block(x))?,
        BlockType::Q4_0 => append_blocks(ty, values, importance, out, q4_0::quantize_block)?,
        BlockType::Q4K => append_blocks(ty, values, importance, out, q4_k::quantize_block)?,
        BlockType::Q6K => append_blocks(ty, values, importance, out, q6_k::quantize_block)?,
        BlockType::Q4_1 => append_blocks(ty, values, importance, out, legacy::quantize_q4_1)?,
        BlockType::Q5_0 => append_blocks(ty, values, importance, out, legacy::quantize_q5_0)?,
        BlockType::Q5_1 => append_blocks(ty, values, importance, out, legacy::quantize_q5_1)?,
        BlockType::Q2K => append_blocks(ty, values, importance, out, q2_k::quantize_block)?,
        BlockType::Q3K => append_blocks(ty, values, importance, out, q3_k::quantize_block)?,
        BlockType::Q5K => append_blocks(ty, values, importance, out, q5_k::quantize_block)?,
        BlockType::Iq4Nl => append_blocks(ty, values, importance, out, iq4::quantize_nl)?,
        BlockType::Iq4Xs => append_blocks(ty, values, importance, out, iq4::quantize_xs)?,
        BlockType::Tq1_0 => append_blocks(ty, values, None, out, |x, _| tq::quantize_tq1_0(x))?,
        BlockType::Tq2_0 => append_blocks(ty, values, None, out, |x, _| tq::quantize_tq2_0(x))?,
        BlockType::Iq1S
        | BlockType::Iq1M
        | BlockType::Iq2Xxs
        | BlockType::Iq2Xs
        | BlockType::Iq2S
        | BlockType::Iq3Xxs
        | BlockType::Iq3S
        | BlockType::Mxfp4 => {
            let able: Vec<_> = BlockType::ALL.into_iter().filter(|ty| ty.can_quantize()).map(BlockType::name).collect();
            return Err(Error::unsupported(format!("quantizing to {ty}: choose one of {}", able.join(", "))));
        }
    }
    Ok(())
}

fn check_importance(values: &[f32], importance: Option<&[f32]>) -> Result<()> {
    let Some(importance) = importance else { return Ok(()) };
    if importance.len() != values.len() {
        let (n, k) = (values.len(), importance.len());
        return Err(Error::argument(format!("{k} weights of importance for {n} values: expected one each")));
    }
    match importance.iter().enumerate().find(|(_, w)| !w.is_finite() || **w < 0.0) {
        Some((at, w)) => {
            Err(Error::argument(format!("weight of importance {at} is {w}: expected finite, not negative")))
        }
        None => Ok(()),
    }
}

/// Calls `f` with each block and its values.
fn each_block<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], f: fn(&[u8; B], &mut [f32; N])) {
    let (blocks, _) = bytes.as_chunks::<B>();
    let (values, _) = out.as_chunks_mut::<N>();
    for (block, values) in blocks.iter().zip(values) {
        f(block, values);
    }
}

/// What makes a block of `N` values, given the weights of their square errors, if there are any; `None` when it cannot.
type Quantizer<const B: usize, const N: usize> = fn(&[f32; N], Option<&[f32; N]>) -> Option<[u8; B]>;

/// Appends what `f` makes of each block of values; takes all of it back when one cannot be quantized.
fn append_blocks<const B: usize, const N: usize>(
    ty: BlockType,
    values: &[f32],
    importance: Option<&[f32]>,
    out: &mut Vec<u8>,
    f: Quantizer<B, N>,
) -> Result<()> {
    let start = out.len();
    let (blocks, _) = values.as_chunks::<N>();
    let (importance, _) = importance.unwrap_or_default().as_chunks::<N>();
    for (i, block) in blocks.iter().enumerate() {
        let weights = importance.get(i).map(|importance| search::weights(block, importance));
        if let Some(bytes) = f(block, weights.as_ref()) {
            out.extend_from_slice(&bytes);
            continue;
        }
        out.truncate(start);
        let what = match block.iter().position(|x| !x.is_finite()) {
            Some(at) => format!("value {} is {}", i * N + at, block[at]),
            None => format!("values {} to {} are too large for a 16-bit scale", i * N, i * N + N - 1),
        };
        return Err(Error::numeric(format!("quantizing to {ty}: {what}")));
    }
    Ok(())
}

/// The two bytes of `x` as a 16-bit float, if it is finite there.
fn scale_bytes(x: f32) -> Option<[u8; 2]> {
    let h = half::f16::from_f32(x);
    h.is_finite().then(|| h.to_le_bytes())
}

/// The value of two bytes as a 16-bit float.
fn scale(bytes: [u8; 2]) -> f32 {
    half::f16::from_le_bytes(bytes).to_f32()
}
