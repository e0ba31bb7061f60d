//! Mixes of value rows in any cache type: a block of positions is brought to single precision once and serves every query head
//! that shares it.

use std::mem::MaybeUninit;

use super::super::scalar::{self, mix_shape};
use super::super::{Ahead, KV_BLOCK, KvRows};
use super::lanes::{Floats, Ints};

/// Widest head; larger ones take the scalar set's loops.
const WIDEST: usize = 512;
/// Positions in single precision at a time.
const KEYS: usize = 8;
/// Query rows that share a pass over them: with sixteen columns each they fill half of the registers.
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
                // Whole blocks of 32, as `mix_shape` checked.
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

/// `Kernels::attn_mix`.
pub(super) fn attn_mix(p: &[f32], stride: usize, values: KvRows<'_>, ahead: Ahead, width: usize, out: &mut [f32]) {
    let n = mix_shape(values, width, out.len() / width, p.len(), stride);
    if width > WIDEST {
        return scalar::attn_mix(p, stride, values, ahead, width, out);
    }
    let mut block = Block(MaybeUninit::uninit());
    for first in (0..n).step_by(KEYS) {
        let some = KEYS.min(n - first);
        // SAFETY: these values exist.
        unsafe { unpack(values, first, some, width, &mut block) };
        for (p, out) in p.chunks(ROWS * stride).zip(out.chunks_mut(ROWS * width)) {
            let p = &p[first..];
            // SAFETY: `mix_shape` has checked that `n` weights fit each row's stride.
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
