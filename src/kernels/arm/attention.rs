//! Attention over rows of keys and values in any cache type: a block of positions is brought to single precision once and
//! serves every query head that shares it.

use std::mem::MaybeUninit;

use super::super::scalar::{self, attn_shape};
use super::super::{KV_BLOCK, KvRows};
use super::lanes::{Floats, Ints, four};

/// Widest head; larger ones take the scalar set's loops.
const WIDEST: usize = 512;
/// Positions in single precision at a time.
const KEYS: usize = 8;
/// Query rows that share a pass over them: with four positions or sixteen columns each they fill half of the registers.
const ROWS: usize = 2;

/// Positions in single precision, `(KEYS, width)`; not zeroed for every call.
#[repr(C, align(64))]
struct Block(MaybeUninit<[f32; KEYS * WIDEST]>);

impl Block {
    fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }
}

/// Brings `n` rows from row `first` on to single precision; the rest of the `KEYS` rows become zero.
///
/// # Safety
/// `n <= KEYS` rows from `first` on exist and are `width <= WIDEST` values wide.
unsafe fn unpack(rows: KvRows<'_>, first: usize, n: usize, width: usize, out: &mut Block) {
    let (start, all) = (first * width, n * width);
    let whole = all / 8 * 8;
    let out: *mut f32 = out.0.as_mut_ptr().cast();
    // SAFETY: `all` values from `start` on exist in the rows and fit `out`; eight are touched where eight are left.
    unsafe {
        out.add(all).write_bytes(0, KEYS * width - all);
        match rows {
            KvRows::F32(x) => std::ptr::copy_nonoverlapping(x.as_ptr().add(start), out, all),
            KvRows::F16(x) => {
                for i in (0..whole).step_by(8) {
                    Floats::halves(x.as_ptr().add(start + i).cast()).store(out.add(i));
                }
                for i in whole..all {
                    *out.add(i) = half::f16::from_bits(*x.as_ptr().add(start + i)).to_f32();
                }
            }
            KvRows::Q8 { q, scales } => {
                // Whole blocks of 32, as `attn_shape` checked.
                for i in (0..all).step_by(KV_BLOCK) {
                    let bits = *scales.as_ptr().add((start + i) / KV_BLOCK);
                    let scale = Floats::splat(half::f16::from_bits(bits).to_f32());
                    for j in (i..i + KV_BLOCK).step_by(8) {
                        let q = Ints::signed_bytes(q.as_ptr().add(start + j)).to_floats();
                        scale.times(q).store(out.add(j));
                    }
                }
            }
        }
    }
}

/// `Kernels::attn_scores`.
pub(super) fn attn_scores(q: &[f32], width: usize, keys: KvRows<'_>, scores: &mut [f32], stride: usize) {
    let n = attn_shape(keys, width, q.len() / width, scores.len(), stride);
    if width > WIDEST {
        return scalar::attn_scores(q, width, keys, scores, stride);
    }
    let mut block = Block(MaybeUninit::uninit());
    for first in (0..n).step_by(KEYS) {
        let some = KEYS.min(n - first);
        // SAFETY: these keys exist.
        unsafe { unpack(keys, first, some, width, &mut block) };
        for (q, out) in q.chunks(ROWS * width).zip(scores.chunks_mut(ROWS * stride)) {
            let out = &mut out[first..];
            // SAFETY: `attn_shape` has checked that `n` scores fit each row's stride.
            unsafe {
                match q.len() / width {
                    ROWS => dots::<ROWS>(q, width, &block, some, out, stride),
                    _ => dots::<1>(q, width, &block, some, out, stride),
                }
            }
        }
    }
}

/// Keys in one pass of [`dots`].
const QUAD: usize = 4;

/// `out[r · stride + j] = q[r] · key[j]`: eight running sums over every eighth column, folded at the end.
///
/// # Safety
/// `R` rows of `width` values in `q`, `KEYS` in `keys`, room for `some <= KEYS` scores a row.
unsafe fn dots<const R: usize>(q: &[f32], width: usize, keys: &Block, some: usize, out: &mut [f32], stride: usize) {
    let whole = width / 8 * 8;
    for first in (0..some).step_by(QUAD) {
        let mut acc = [[Floats::splat(0.0); QUAD]; R];
        // SAFETY: the block holds `KEYS` rows, so a quad never leaves it; columns below `width` of rows that exist.
        unsafe {
            let row = |j: usize| keys.as_ptr().add((first + j) * width);
            for c in (0..whole).step_by(8) {
                let k = four(|j| Floats::load(row(j).add(c)));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let q = Floats::load(q.as_ptr().add(r * width + c));
                    for (acc, k) in acc.iter_mut().zip(&k) {
                        *acc = acc.plus_product(q, *k);
                    }
                }
            }
            if whole < width {
                let last = |row: *const f32| std::slice::from_raw_parts(row.add(whole), width - whole);
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = plus_some(*acc, last(q.as_ptr().add(r * width)), last(row(j)));
                    }
                }
            }
        }
        let n = QUAD.min(some - first);
        for (r, acc) in acc.iter().enumerate() {
            let scores = four(|j| acc[j].fold());
            out[r * stride + first..][..n].copy_from_slice(&scores[..n]);
        }
    }
}

/// `acc + q · k` for up to eight columns. A function, so that sums stay in registers where rows are whole.
#[inline(never)]
fn plus_some(acc: Floats, q: &[f32], k: &[f32]) -> Floats {
    acc.plus_product(Floats::some(q, 0.0), Floats::some(k, 0.0))
}

/// `Kernels::attn_mix`.
pub(super) fn attn_mix(p: &[f32], stride: usize, values: KvRows<'_>, width: usize, out: &mut [f32]) {
    let n = attn_shape(values, width, out.len() / width, p.len(), stride);
    if width > WIDEST {
        return scalar::attn_mix(p, stride, values, width, out);
    }
    let mut block = Block(MaybeUninit::uninit());
    for first in (0..n).step_by(KEYS) {
        let some = KEYS.min(n - first);
        // SAFETY: these values exist.
        unsafe { unpack(values, first, some, width, &mut block) };
        for (p, out) in p.chunks(ROWS * stride).zip(out.chunks_mut(ROWS * width)) {
            let p = &p[first..];
            // SAFETY: `attn_shape` has checked that `n` weights fit each row's stride.
            unsafe {
                match out.len() / width {
                    ROWS => add::<ROWS>(p, stride, &block, some, width, out),
                    _ => add::<1>(p, stride, &block, some, width, out),
                }
            }
        }
    }
}

/// `out[r] += Σ_j p[r · stride + j] · value[j]`.
///
/// # Safety
/// `R` rows of `width` values in `out`, `some <= KEYS` in `values`, a weight for each.
unsafe fn add<const R: usize>(p: &[f32], stride: usize, values: &Block, some: usize, width: usize, out: &mut [f32]) {
    let (p, values, out) = (p.as_ptr(), values.as_ptr(), out.as_mut_ptr());
    let mut c = 0;
    // SAFETY: columns below `width` of rows that exist.
    unsafe {
        while c + 16 <= width {
            columns::<R, 2>(p, stride, values.add(c), some, width, out.add(c));
            c += 16;
        }
        while c + 8 <= width {
            columns::<R, 1>(p, stride, values.add(c), some, width, out.add(c));
            c += 8;
        }
        for r in 0..R {
            for c in c..width {
                let out = out.add(r * width + c);
                *out = (0..some).fold(*out, |acc, j| (*p.add(r * stride + j)).mul_add(*values.add(j * width + c), acc));
            }
        }
    }
}

/// `8 C` columns of [`add`], position after position.
///
/// # Safety
/// As there, for the columns that `values` and `out` point at.
#[inline(always)]
unsafe fn columns<const R: usize, const C: usize>(
    p: *const f32,
    stride: usize,
    values: *const f32,
    some: usize,
    width: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc: [[Floats; C]; R] =
            std::array::from_fn(|r| std::array::from_fn(|i| Floats::load(out.add(r * width + 8 * i))));
        for j in 0..some {
            let v: [Floats; C] = std::array::from_fn(|i| Floats::load(values.add(j * width + 8 * i)));
            for (r, acc) in acc.iter_mut().enumerate() {
                let p = Floats::splat(*p.add(r * stride + j));
                for (acc, v) in acc.iter_mut().zip(&v) {
                    *acc = acc.plus_product(p, *v);
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (i, acc) in acc.iter().enumerate() {
                acc.store(out.add(r * width + 8 * i));
            }
        }
    }
}
