//! The table of functions for each instruction set; `scalar` says what each one means.
//!
//! Every function is deterministic to the bit for a given table: the result for one row and one token does not depend on how
//! many rows or tokens share the call, nor on the thread that makes it.

mod acts;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod arm;
mod decoded;
mod keys;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use acts::{ActRows, Acts, BLOCK, Pair, Precision};
pub use keys::{ByteKeys, KEY_BLOCK, Keys, byte_key_at, key_at, key_values, lay_keys};
pub(crate) use scalar::exp;

use std::ops::Range;

use crate::quant::BlockType;

/// Values of a head under one scale in eight-bit keys and values.
pub const KV_BLOCK: usize = 32;

/// Value rows of one cache page, one head: `(rows, head size)` row after row.
#[derive(Clone, Copy, Debug)]
pub enum KvRows<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision, as bits.
    F16(&'a [u16]),
    /// Eight bits in whole blocks of [`KV_BLOCK`].
    Q8 {
        /// `(rows, head size)`
        q: &'a [i8],
        /// `(rows, head size / 32)`, half precision as bits.
        scales: &'a [u16],
    },
}

/// Quantizes whole blocks of a key or value: `q = round(x / scale)` with `scale = max|x| / 127` rounded to half precision.
pub fn quantize_kv(x: &[f32], q: &mut [i8], scales: &mut [u16]) {
    for ((x, q), scale) in x.chunks_exact(KV_BLOCK).zip(q.chunks_exact_mut(KV_BLOCK)).zip(scales) {
        let max = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let rounded = half::f16::from_f32(max / 127.0);
        *scale = if x.iter().any(|v| v.is_nan()) { half::f16::NAN } else { rounded }.to_bits();
        let step = rounded.to_f32();
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        for (q, v) in q.iter_mut().zip(x) {
            *q = (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
    }
}

impl KvRows<'_> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F16(x) => x.len(),
            Self::Q8 { q, .. } => q.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is read next: kernels ask memory for it as they go, as far into it as they are in what they read themselves.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the other sets leave it to the processor"))]
pub struct Ahead(Option<*const u8>);

impl Ahead {
    /// Nothing is known.
    pub const NONE: Self = Self(None);

    /// These values.
    #[must_use]
    pub fn of<T>(values: &[T]) -> Self {
        Self(Some(values.as_ptr().cast()))
    }

    /// These rows.
    #[must_use]
    pub fn rows(rows: KvRows<'_>) -> Self {
        match rows {
            KvRows::F32(x) => Self::of(x),
            KvRows::F16(x) => Self::of(x),
            KvRows::Q8 { q, .. } => Self::of(q),
        }
    }
}

/// Query rows in eight bits, as [`Kernels::quantize`] makes them.
#[derive(Clone, Copy, Debug)]
pub struct ByteQueries<'a> {
    /// Values in a row.
    pub width: usize,
    /// `(rows, width)`
    pub q: &'a [i8],
    /// `(rows, width / 32)`
    pub scales: &'a [f32],
}

impl<'a> ByteQueries<'a> {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.q.len() / self.width
    }

    /// `n` rows from row `first` on.
    #[must_use]
    pub fn part(self, first: usize, n: usize) -> ByteQueries<'a> {
        let (width, blocks) = (self.width, self.width / KV_BLOCK);
        let (q, scales) = (&self.q[first * width..][..n * width], &self.scales[first * blocks..][..n * blocks]);
        ByteQueries { width, q, scales }
    }
}

/// Panels of a weight matrix (see `weights::layout`): `bytes` holds whole panels of `cols` columns.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    /// Block type.
    pub ty: BlockType,
    /// Columns of the matrix.
    pub cols: usize,
    /// Whole panels, one after the other.
    pub bytes: &'a [u8],
}

/// The functions of one instruction set. Lengths that do not belong together are a fault of the engine and panic.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::type_complexity, reason = "plain function types, whose arguments are the documentation")]
pub struct Kernels {
    /// Name of the set: `scalar`, `avx2`, `avxvnni`, `avx512vnni`, `neon`, `dotprod`,
    /// `i8mm`.
    pub name: &'static str,
    /// `out[panel][token][row] = Σ_col w[panel][row][col] · x[token][col]`; `out` is `(panels, tokens, 8)`, for types of
    /// integer blocks `(panels, tokens · planes, 8)`.
    pub matmul: fn(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]),
    /// Quantizes one row to blocks of 32: `q = round(x / scale)` with `scale = max|x| / 127`; `sums` holds the sums of `q`
    /// over each 16 columns.
    pub quantize: fn(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [Pair]),
    /// `out = w ⊙ x · (mean(x²) + eps)^(−1/2)`; without `w` the weightless norm.
    pub rms_norm: fn(x: &[f32], w: Option<&[f32]>, eps: f32, out: &mut [f32]),
    /// `gate ← silu(scale · gate) ⊙ (scale · up)`.
    pub silu_mul: fn(gate: &mut [f32], up: &[f32], scale: f32),
    /// `acc ← acc + x`.
    pub add: fn(acc: &mut [f32], x: &[f32]),
    /// `scores[h · stride + j] = q[h] · keys[some.start + j]` for query heads that share a key head; `q` is `(heads, width)`,
    /// `some` are positions of the blocks given.
    pub attn_scores: fn(
        q: &[f32],
        width: usize,
        keys: Keys<'_>,
        some: Range<usize>,
        ahead: Ahead,
        scores: &mut [f32],
        stride: usize,
    ),
    /// As `attn_scores` for eight bits on both sides: products of whole numbers under the product of the two scales.
    pub attn_scores_q8:
        fn(q: ByteQueries<'_>, keys: ByteKeys<'_>, some: Range<usize>, ahead: Ahead, scores: &mut [f32], stride: usize),
    /// `out[h] ← out[h] + Σ_j p[h · stride + j] · values[j]`; `out` is `(heads, width)`.
    pub attn_mix: fn(p: &[f32], stride: usize, values: KvRows<'_>, ahead: Ahead, width: usize, out: &mut [f32]),
    /// `x ← exp(x − max x)`; returns `max x` and the sum of what `x` has become.
    pub exps: fn(x: &mut [f32]) -> (f32, f32),
}

impl Kernels {
    /// `x ← exp(x − max x) / Σ exp(x − max x)`.
    pub fn softmax(&self, x: &mut [f32]) {
        let (_, sum) = (self.exps)(x);
        let factor = 1.0 / sum;
        x.iter_mut().for_each(|v| *v *= factor);
    }
}

/// Every set that this processor can run, the best first, `scalar` last.
#[must_use]
pub fn available() -> Vec<Kernels> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        sets.extend(x86::avx512vnni());
        sets.extend(x86::avxvnni());
        sets.extend(x86::avx2());
    }
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    {
        sets.extend(arm::i8mm());
        sets.extend(arm::dotprod());
        sets.extend(arm::neon());
    }
    sets.push(scalar::kernels());
    sets
}

/// The best set for this processor.
#[must_use]
pub fn best() -> Kernels {
    available().first().copied().unwrap_or_else(scalar::kernels)
}

/// The set of that name, if this processor can run it.
#[must_use]
pub fn named(name: &str) -> Option<Kernels> {
    available().into_iter().find(|k| k.name == name)
}

#[cfg(test)]
mod tests;
