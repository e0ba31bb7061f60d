//! Mixes of value rows: a few positions are brought to single precision at a time and serve every query row of the call. Each
//! product and sum keeps the order that `scalar` states, so the sets agree to the bit.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::scalar::{self, mix_shape};
use super::super::{Ahead, KV_BLOCK, KvRows};
use super::mix_direct as direct;

/// Widest head; larger ones take the scalar set's loops.
pub(super) const WIDEST: usize = 512;
/// Positions in single precision at a time.
pub(super) const KEYS: usize = 8;
/// Query rows that share a pass over them.
const ROWS: usize = 4;

/// Positions in single precision, `(KEYS, width)`. Zeroing it for every call would cost a fifth of a decode step.
#[repr(C, align(64))]
struct Block(MaybeUninit<[f32; KEYS * WIDEST]>);

impl Block {
    fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }
}

/// Where `KEYS` rows from row `first` on lie in single precision, of which `n` are asked for: where they are, or in `block`.
///
/// # Safety
/// As [`unpack`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn singles(rows: KvRows<'_>, first: usize, n: usize, width: usize, block: &mut Block) -> *const f32 {
    match rows {
        KvRows::F32(x) if n == KEYS => x[first * width..][..KEYS * width].as_ptr(),
        _ => {
            // SAFETY: the caller's promise.
            unsafe { unpack(rows, first, n, width, block) };
            block.as_ptr()
        }
    }
}

/// Brings `n` rows from row `first` on to single precision; the rest of the `KEYS` rows become zero.
///
/// # Safety
/// AVX2, FMA and F16C; `n <= KEYS` rows from `first` on exist and are `width <= WIDEST` values wide.
#[target_feature(enable = "avx2,fma,f16c")]
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
                    _mm256_storeu_ps(out.add(i), _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().add(start + i).cast())));
                }
                for i in whole..all {
                    *out.add(i) = half::f16::from_bits(*x.as_ptr().add(start + i)).to_f32();
                }
            }
            KvRows::Q8 { q, scales } => {
                // Whole blocks of 32, as `mix_shape` checked.
                for i in (0..all).step_by(KV_BLOCK) {
                    let scale = i32::from(*scales.as_ptr().add((start + i) / KV_BLOCK));
                    let scale = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(scale)));
                    for j in (i..i + KV_BLOCK).step_by(8) {
                        let q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(q.as_ptr().add(start + j).cast()));
                        _mm256_storeu_ps(out.add(j), _mm256_mul_ps(scale, _mm256_cvtepi32_ps(q)));
                    }
                }
            }
        }
    }
}

/// Calls `$f::<R>` with the constant that `$n` is.
macro_rules! by_rows {
    ($n:expr, $f:ident $args:tt) => {
        match $n {
            4 => $f::<4> $args,
            3 => $f::<3> $args,
            2 => $f::<2> $args,
            _ => $f::<1> $args,
        }
    };
}

/// `Kernels::attn_mix` of one instruction set.
macro_rules! mix {
    ($mix:ident, $add:ident, $direct:path) => {
        pub(super) fn $mix(p: &[f32], stride: usize, values: KvRows<'_>, ahead: Ahead, width: usize, out: &mut [f32]) {
            let n = mix_shape(values, width, out.len() / width, p.len(), stride);
            if width > WIDEST {
                return scalar::attn_mix(p, stride, values, ahead, width, out);
            }
            // SAFETY: the set's features as its constructor found; `mix_shape` has checked the lengths.
            if unsafe { $direct(p, stride, values, (n, ahead), width, out) } {
                return;
            }
            let mut block = Block(MaybeUninit::uninit());
            for first in (0..n).step_by(KEYS) {
                let some = KEYS.min(n - first);
                // SAFETY: the set's features as its constructor found; these values exist.
                let values = unsafe { singles(values, first, some, width, &mut block) };
                for (p, out) in p.chunks(ROWS * stride).zip(out.chunks_mut(ROWS * width)) {
                    // SAFETY: as above; `mix_shape` has checked that `n` weights fit each row's stride.
                    unsafe { by_rows!(out.len() / width, $add(&p[first..], stride, values, some, width, out)) };
                }
            }
        }
    };
}

mix!(attn_mix_avx2, add_avx2, direct::no_mix);
mix!(attn_mix_avx512, add_avx512, direct::mix_avx512);

/// One column block of `out[r] += Σ_j p[r · stride + j] · value[j]`, position after position.
macro_rules! column_block {
    ($lanes:expr, $regs:expr, $zero:expr, $load:ident, $store:ident, $splat:ident, $fma:ident,
     $r:ident, $c:expr, $p:ident, $stride:ident, $values:ident, $some:ident, $width:ident, $out:ident) => {{
        let mut acc = [[$zero; $regs]; $r];
        for (r, acc) in acc.iter_mut().enumerate() {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = $load($out.add(r * $width + $c + $lanes * i));
            }
        }
        for j in 0..$some {
            let v: [_; $regs] = std::array::from_fn(|i| $load($values.add(j * $width + $c + $lanes * i)));
            for (r, acc) in acc.iter_mut().enumerate() {
                let p = $splat(*$p.add(r * $stride + j));
                for (v, acc) in v.iter().zip(acc) {
                    *acc = $fma(p, *v, *acc);
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (i, acc) in acc.iter().enumerate() {
                $store($out.add(r * $width + $c + $lanes * i), *acc);
            }
        }
    }};
}

/// Columns from `c` on that fill no register.
macro_rules! column_tail {
    ($r:ident, $c:expr, $p:ident, $stride:ident, $values:ident, $some:ident, $width:ident, $out:ident) => {
        for r in 0..$r {
            for c in $c..$width {
                let mut acc = *$out.add(r * $width + c);
                for j in 0..$some {
                    acc = (*$p.add(r * $stride + j)).mul_add(*$values.add(j * $width + c), acc);
                }
                *$out.add(r * $width + c) = acc;
            }
        }
    };
}

/// `out[r] += Σ_j p[r · stride + j] · value[j]`.
///
/// # Safety
/// AVX2, FMA and F16C; `R` rows of `width` values in `out`, `some <= KEYS` in `values`, a weight for each.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_avx2<const R: usize>(
    p: &[f32],
    stride: usize,
    values: *const f32,
    some: usize,
    width: usize,
    out: &mut [f32],
) {
    let (p, out) = (p.as_ptr(), out.as_mut_ptr());
    let zero = _mm256_setzero_ps();
    // SAFETY: columns below `width` of rows that exist.
    unsafe {
        let mut c = 0;
        while c + 16 <= width {
            column_block!(
                8,
                2,
                zero,
                _mm256_loadu_ps,
                _mm256_storeu_ps,
                _mm256_set1_ps,
                _mm256_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 16;
        }
        while c + 8 <= width {
            column_block!(
                8,
                1,
                zero,
                _mm256_loadu_ps,
                _mm256_storeu_ps,
                _mm256_set1_ps,
                _mm256_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 8;
        }
        column_tail!(R, c, p, stride, values, some, width, out);
    }
}

/// As [`add_avx2`].
///
/// # Safety
/// As there, and AVX-512 F.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn add_avx512<const R: usize>(
    p: &[f32],
    stride: usize,
    values: *const f32,
    some: usize,
    width: usize,
    out: &mut [f32],
) {
    let (p, out) = (p.as_ptr(), out.as_mut_ptr());
    let zero = _mm512_setzero_ps();
    // SAFETY: columns below `width` of rows that exist.
    unsafe {
        let mut c = 0;
        while c + 64 <= width {
            column_block!(
                16,
                4,
                zero,
                _mm512_loadu_ps,
                _mm512_storeu_ps,
                _mm512_set1_ps,
                _mm512_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 64;
        }
        while c + 16 <= width {
            column_block!(
                16,
                1,
                zero,
                _mm512_loadu_ps,
                _mm512_storeu_ps,
                _mm512_set1_ps,
                _mm512_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 16;
        }
        column_tail!(R, c, p, stride, values, some, width, out);
    }
}
