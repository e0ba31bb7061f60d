//! One or two rows of activations times weights that are points of a grid: a row's points meet the activations as they lie. To
//! bring the points of eight rows side by side, as `decoded` does, pays when more activations share them.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::scalar::matmul_shape;
use super::super::{ActRows, Panels};
use super::avx2::{EVEX, PLAIN, Rows, VEX, add_products, dpbusd};
use super::decoded::{signed, singles};
use crate::quant::points::{Points, RUNS, Signs};
use crate::quant::{BlockType, iq1, iq2, iq3};
use crate::weights::layout::PANEL_ROWS;

/// Rows of activations up to which this is faster.
const FEW: usize = 2;

/// What `$value` is for `$r` from 0 to 7. Values in registers that a closure gives to another function go over memory.
macro_rules! eight {
    (|$r:ident| $value:expr) => {
        eight!(@ $r, $value, 0, 1, 2, 3, 4, 5, 6, 7)
    };
    (@ $r:ident, $value:expr, $($n:literal),*) => {
        [$({
            let $r: usize = $n;
            $value
        }),*]
    };
}

/// `Kernels::matmul` of few rows of activations and a type with points; says whether they were.
///
/// # Safety
/// AVX2, FMA and F16C, and what `V` names.
pub(super) unsafe fn matmul<const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) -> bool {
    if !(1..=FEW).contains(&x.q_rows()) {
        return false;
    }
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match w.ty {
            BlockType::Iq1S => matmul_of::<iq1::Iq1S, V>(w, x, out),
            BlockType::Iq1M => matmul_of::<iq1::Iq1M, V>(w, x, out),
            BlockType::Iq2Xxs => matmul_of::<iq2::Iq2Xxs, V>(w, x, out),
            BlockType::Iq2Xs => matmul_of::<iq2::Iq2Xs, V>(w, x, out),
            BlockType::Iq2S => matmul_of::<iq2::Iq2S, V>(w, x, out),
            BlockType::Iq3Xxs => matmul_of::<iq3::Iq3Xxs, V>(w, x, out),
            BlockType::Iq3S => matmul_of::<iq3::Iq3S, V>(w, x, out),
            _ => return false,
        }
    }
    true
}

/// # Safety
/// As [`matmul`].
unsafe fn matmul_of<T: Points, const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match V {
            PLAIN => matmul_plain::<T>(w, x, out),
            VEX => matmul_vex::<T>(w, x, out),
            _ => matmul_evex::<T>(w, x, out),
        }
    }
}

/// [`panels`] in a function that has the instructions of `V`.
macro_rules! matmul_with {
    ($name:ident, $v:expr, $features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<T: Points>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
            // SAFETY: the caller's promise, passed on.
            unsafe {
                match x.q_rows() {
                    1 => panels::<T, { $v }, 1>(w, x, out),
                    _ => panels::<T, { $v }, FEW>(w, x, out),
                }
            }
        }
    };
}
matmul_with!(matmul_plain, PLAIN, "avx2,fma,f16c");
matmul_with!(matmul_vex, VEX, "avxvnni,avx2,fma,f16c");
matmul_with!(matmul_evex, EVEX, "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c");

/// # Safety
/// AVX2, FMA and F16C, and what `V` names.
#[inline(always)]
unsafe fn panels<T: Points, const V: u8, const N: usize>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    assert_eq!(tokens, N, "as many rows as outputs");
    let x = Rows::<N>::new(x, 0);
    for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut(N * PANEL_ROWS)) {
        // SAFETY: this function's promise; a block's runs exist in each row of `x`, and there are eight outputs for each.
        unsafe {
            let mut acc = [_mm256_setzero_ps(); N];
            for (b, blocks) in bytes.chunks_exact(PANEL_ROWS * T::BYTES).enumerate() {
                add_block::<T, V, N>(blocks, &x, b * RUNS, &mut acc);
            }
            for (acc, out) in acc.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
                _mm256_storeu_ps(out.as_mut_ptr(), *acc);
            }
        }
    }
}

/// Adds the products of a block of eight rows with the runs of each row of activations from run `at` on.
///
/// # Safety
/// As [`panels`]; the runs exist.
#[inline(always)]
unsafe fn add_block<T: Points, const V: u8, const N: usize>(
    blocks: &[u8],
    x: &Rows<N>,
    at: usize,
    acc: &mut [__m256; N],
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut factors = [0; PANEL_ROWS];
        for (bits, block) in factors.iter_mut().zip(blocks.chunks_exact(T::BYTES)) {
            [*bits, _] = T::factors(block);
        }
        let more: [[__m256i; 2]; N] = std::array::from_fn(|i| {
            std::array::from_fn(|h| {
                let sums: [i32; RUNS] =
                    std::array::from_fn(|r| if T::MORE == 0 { 0 } else { i32::from(T::MORE) * x.sum(i, at + r, h) });
                _mm256_loadu_si256(sums.as_ptr().cast())
            })
        });
        let mut shares = [[_mm256_setzero_ps(); PANEL_ROWS]; N];
        for (row, (block, d)) in blocks.chunks_exact(T::BYTES).zip(singles(factors)).enumerate() {
            let Some(block) = T::block(block) else { return };
            let own = shares_of::<T, V, N>(block, d, x, at, &more);
            (0..N).for_each(|i| shares[i][row] = own[i]);
        }
        for (i, (shares, acc)) in shares.into_iter().zip(acc).enumerate() {
            for (r, share) in turned(shares).into_iter().enumerate() {
                *acc = _mm256_fmadd_ps(share, _mm256_set1_ps(x.scale(i, at + r)), *acc);
            }
        }
    }
}

/// What the eight runs of one block give with those of each row of activations, under the scales of the block; `more` is what
/// each half of a run gives too much.
///
/// # Safety
/// As [`add_block`].
#[inline(always)]
unsafe fn shares_of<T: Points, const V: u8, const N: usize>(
    block: &T::Block,
    d: f32,
    x: &Rows<N>,
    at: usize,
    more: &[[__m256i; 2]; N],
) -> [__m256; N] {
    // SAFETY: the caller's promises; eight scales of each half.
    unsafe {
        let (signs, scales) = (signs_of::<T>(block), T::scales(block, d));
        let [first, second] = scales.map(|s| _mm256_loadu_ps(s.as_ptr()));
        let mut dots = [[_mm256_setzero_si256(); RUNS]; N];
        eight!(|r| {
            let q = points_of::<T>(block, r);
            for i in 0..N {
                let own = _mm256_loadu_si256(x.q(i, at + r).cast());
                dots[i][r] = products::<T, V>(q, own, signs[r]);
            }
        });
        let mut shares = [_mm256_setzero_ps(); N];
        for (i, share) in shares.iter_mut().enumerate() {
            let [mut low, mut high] = halves(dots[i]);
            if T::MORE != 0 {
                low = _mm256_sub_epi32(low, more[i][0]);
                high = _mm256_sub_epi32(high, more[i][1]);
            }
            *share = if T::HALVES {
                _mm256_fmadd_ps(second, _mm256_cvtepi32_ps(high), _mm256_mul_ps(first, _mm256_cvtepi32_ps(low)))
            } else {
                _mm256_mul_ps(first, _mm256_cvtepi32_ps(_mm256_add_epi32(low, high)))
            };
        }
        shares
    }
}

/// The points of a run. They are looked up one by one: of its own the compiler would make AVX-512's gathers of the loads, which
/// take twice as long.
#[inline(always)]
unsafe fn points_of<T: Points>(block: &T::Block, r: usize) -> __m256i {
    let mut points = T::points(block, r).0;
    for point in &mut points {
        // SAFETY: nothing is done; the compiler only loses sight of where the value is from.
        unsafe { asm!("/* {0} */", inout(reg) * point, options(pure, nomem, nostack, preserves_flags)) };
    }
    let [a, b, c, d] = points.map(u64::cast_signed);
    // SAFETY: the caller's promise.
    unsafe { _mm256_setr_epi64x(a, b, c, d) }
}

/// The signs of all runs, a bit a value.
///
/// # Safety
/// As [`panels`].
#[inline(always)]
unsafe fn signs_of<T: Points>(block: &T::Block) -> [u32; RUNS] {
    let mut signs = T::signs(block);
    // SAFETY: the caller's promise; eight numbers.
    unsafe {
        let mut all = _mm256_loadu_si256(signs.as_ptr().cast());
        if T::KEPT == Signs::Packed {
            let sevens = |v: __m256i, mask: i32| _mm256_and_si256(v, _mm256_set1_epi32(mask));
            let low = _mm256_or_si256(sevens(all, 0x7f), sevens(_mm256_slli_epi32(all, 1), 0x7f00));
            let high = sevens(_mm256_slli_epi32(all, 2), 0x007f_0000);
            all = _mm256_or_si256(_mm256_or_si256(low, high), sevens(_mm256_slli_epi32(all, 3), 0x7f00_0000));
        }
        if matches!(T::KEPT, Signs::Packed | Signs::Bytes) {
            // Of bytes below 128: what comes in from the next byte leaves the lowest bit alone.
            let folded = _mm256_xor_si256(all, _mm256_srli_epi32(all, 4));
            let folded = _mm256_xor_si256(folded, _mm256_srli_epi32(folded, 2));
            let folded = _mm256_xor_si256(folded, _mm256_srli_epi32(folded, 1));
            let parity = _mm256_slli_epi32(_mm256_and_si256(folded, _mm256_set1_epi8(1)), 7);
            _mm256_storeu_si256(signs.as_mut_ptr().cast(), _mm256_or_si256(all, parity));
        }
    }
    signs
}

/// Sums of four products each; the sign of a weight goes over to the activation.
///
/// # Safety
/// As [`panels`].
#[inline(always)]
unsafe fn products<T: Points, const V: u8>(q: __m256i, own: __m256i, signs: u32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = _mm256_setzero_si256();
        let own = match V {
            _ if !T::SIGNS => own,
            EVEX => _mm256_mask_sub_epi8(own, signs, zero, own),
            _ => signed(own, signs),
        };
        // A point's bytes are 62 at most: two products fit sixteen bits.
        if V == PLAIN { add_products(zero, q, own) } else { dpbusd::<V>(zero, q, own) }
    }
}

/// The sums of the first halves of eight runs, and of the second halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(dots: [__m256i; RUNS]) -> [__m256i; 2] {
    let [a, b, c, d, e, f, g, h] = dots;
    let abcd = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let efgh = _mm256_hadd_epi32(_mm256_hadd_epi32(e, f), _mm256_hadd_epi32(g, h));
    [_mm256_permute2x128_si256::<0x20>(abcd, efgh), _mm256_permute2x128_si256::<0x31>(abcd, efgh)]
}

/// Eight rows of eight to eight columns of eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn turned(rows: [__m256; 8]) -> [__m256; 8] {
    super::decoded::transposed(rows.map(|r| _mm256_castps_si256(r))).map(|c| _mm256_castsi256_ps(c))
}
