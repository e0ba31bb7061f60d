//! AVX2 matmul: which kernel a block type and a number of tokens go to. Products of bytes come together in 16 bits, or where a
//! kernel's `V` says so, by `vpdpbusd` on 256 bits. Such kernels are always inlined, into one function for each value of `V`
//! that has the instructions: so the compiler may use all of them, and the registers that come with them, in the rest too.

use std::arch::x86_64::*;

use super::super::acts::ActBlock;
use super::super::scalar::matmul_shape;
use super::super::{ActRows, BLOCK, Kernels, Panels};
use super::{by_rows, common, decoded, float256, forms, mix, scores, strips};
use crate::quant::{BlockType, runs};
use crate::weights::layout::codes::with_codes;
use crate::weights::layout::{is_reordered, panel_block};

/// The set, when the processor has AVX2, FMA and F16C.
pub(in super::super) fn kernels() -> Option<Kernels> {
    common::supported().then_some(Kernels {
        name: "avx2",
        matmul: matmul::<PLAIN>,
        quantize: common::quantize,
        rms_norm: common::rms_norm,
        silu_mul: common::silu_mul,
        add: common::add,
        attn_scores: scores::attn_scores_avx2,
        attn_scores_q8: scores::attn_scores_q8_avx2,
        attn_mix: mix::attn_mix_avx2,
        exps: common::exps,
    })
}

/// The set with dot products on 256 bits, when the processor has AVX-VNNI too.
pub(in super::super) fn with_vnni() -> Option<Kernels> {
    let base = kernels()?;
    is_x86_feature_detected!("avxvnni").then_some(Kernels { name: "avxvnni", matmul: matmul::<VEX>, ..base })
}

/// How four products of bytes come together: two by two in plain AVX2.
pub(super) const PLAIN: u8 = 0;
/// By `vpdpbusd` as AVX-VNNI encodes it.
pub(super) const VEX: u8 = 1;
/// By `vpdpbusd` as AVX-512 VNNI and VL encode it.
pub(super) const EVEX: u8 = 2;

fn matmul<const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    if is_reordered(w.ty) {
        return matmul_panels::<V>(w, x, out);
    }
    // SAFETY: this table is only handed out when the processor has what it uses.
    if unsafe { by_rows::matmul::<{ V }>(w, x, out) } {
        return;
    }
    runs::with_runs!(
        w.ty,
        // SAFETY: as above.
        T => unsafe { decoded::matmul_avx2::<T, V>(w, x, out) },
        _ => matmul_panels::<V>(w, x, out)
    );
}

fn matmul_panels<const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (_, tokens) = matmul_shape(w, x, out);
    if panel_block(w.ty).0 == 1 {
        return float256::matmul(w, x, out);
    }
    // SAFETY: this table is only handed out after `common::supported`, after what `V` names was found too; `matmul_shape` has
    // checked that `x` is quantized and as wide as the panels.
    unsafe {
        match tokens {
            0 => {}
            1 => tile::<V, 1>(w, x, 0, out),
            2 => tile::<V, 2>(w, x, 0, out),
            3 => tile::<V, 3>(w, x, 0, out),
            4 => tile::<V, 4>(w, x, 0, out),
            _ => strips::<V>(w, x, out),
        }
    }
}

/// `$then` with `$f` naming the [`forms::Form`] of a block type in the kernels' order.
macro_rules! with_form {
    ($ty:expr, $f:ident => $then:expr) => {{
        macro_rules! named {
            ($form:ty) => {{
                type $f = $form;
                $then
            }};
        }
        match $ty {
            BlockType::Q4_0 => named!(forms::Q4_0),
            BlockType::Q8_0 => named!(forms::Q8_0),
            BlockType::Q4K => named!(forms::Q4K),
            BlockType::Q2K => named!(forms::Q2K),
            BlockType::Q3K => named!(forms::Q3K),
            _ => with_codes!($ty, T => named!(forms::Coded<T>), _ => named!(forms::Q6K)),
        }
    }};
}

/// The kernels in functions that have the instructions of `V`.
macro_rules! kernels_with {
    ($few:ident, $many:ident, $v:expr, $features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn $few<const N: usize>(w: Panels<'_>, x: ActRows<'_>, t: usize, out: &mut [f32]) {
            // SAFETY: the caller's promises, passed on.
            unsafe { with_form!(w.ty, F => strips::few::<F, { $v }, N>(w, x, t, out)) };
        }

        #[target_feature(enable = $features)]
        unsafe fn $many(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
            // SAFETY: the caller's promises, passed on.
            unsafe { with_form!(w.ty, F => strips::many::<F, { $v }>(w, x, out)) }
        }
    };
}
kernels_with!(few_plain, many_plain, PLAIN, "avx2,fma,f16c");
kernels_with!(few_vex, many_vex, VEX, "avxvnni,avx2,fma,f16c");
kernels_with!(few_evex, many_evex, EVEX, "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c");

/// Panels times `N` tokens from token `t` on; `out` is `(panels, all tokens, 8)`.
///
/// # Safety
/// AVX2, FMA and F16C, and what `V` names; `w` is whole panels of a type in the kernels' order, as wide as `x`, which is
/// quantized; `t + N` rows exist.
pub(super) unsafe fn tile<const V: u8, const N: usize>(w: Panels<'_>, x: ActRows<'_>, t: usize, out: &mut [f32]) {
    // SAFETY: the caller's promises, passed on.
    unsafe {
        match V {
            PLAIN => few_plain::<N>(w, x, t, out),
            VEX => few_vex::<N>(w, x, t, out),
            _ => few_evex::<N>(w, x, t, out),
        }
    }
}

/// All panels times all tokens, which are more than a few.
///
/// # Safety
/// As [`tile`]; `out` is `(panels, tokens, 8)`.
pub(super) unsafe fn strips<const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    // SAFETY: the caller's promises, passed on.
    unsafe {
        match V {
            PLAIN => many_plain(w, x, out),
            VEX => many_vex(w, x, out),
            _ => many_evex(w, x, out),
        }
    }
}

/// Where the quantized rows of `N` neighbouring tokens begin.
pub(super) struct Rows<const N: usize> {
    first: *const ActBlock,
    /// Blocks of a row.
    blocks: usize,
}

impl<const N: usize> Rows<N> {
    pub(super) fn new(x: ActRows<'_>, t: usize) -> Self {
        let blocks = x.cols() / BLOCK;
        Self { first: x.blocks[t * blocks..(t + N) * blocks].as_ptr(), blocks }
    }

    /// `N` rows of which each begins `blocks` blocks behind the one before.
    #[inline(always)]
    pub(super) fn apart(rows: &[ActBlock], blocks: usize) -> Self {
        Self { first: rows[..N * blocks].as_ptr(), blocks }
    }

    /// Block `b` of token `i`.
    ///
    /// # Safety
    /// The block exists.
    #[inline(always)]
    unsafe fn block(&self, i: usize, b: usize) -> *const ActBlock {
        // SAFETY: the caller's promise.
        unsafe { self.first.add(i * self.blocks + b) }
    }

    /// Where its bytes begin.
    ///
    /// # Safety
    /// As [`Rows::block`].
    #[inline(always)]
    pub(super) unsafe fn q(&self, i: usize, b: usize) -> *const i8 {
        // SAFETY: the caller's promise; the bytes come first.
        unsafe { self.block(i, b).cast() }
    }

    /// The block's scale.
    ///
    /// # Safety
    /// As [`Rows::q`].
    #[inline(always)]
    pub(super) unsafe fn scale(&self, i: usize, b: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.block(i, b)).scale }
    }

    /// The sum of the block, negated.
    ///
    /// # Safety
    /// As [`Rows::q`].
    #[inline(always)]
    pub(super) unsafe fn less(&self, i: usize, b: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.block(i, b)).less }
    }

    /// The sum of half `h` of the block.
    ///
    /// # Safety
    /// As [`Rows::q`].
    #[inline(always)]
    pub(super) unsafe fn sum(&self, i: usize, b: usize, h: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.block(i, b)).sum(h) }
    }

    /// The pair of half `h` of the block, its first number lowest.
    ///
    /// # Safety
    /// As [`Rows::q`]; `h` is 0 or 1.
    #[inline(always)]
    pub(super) unsafe fn pair(&self, i: usize, b: usize, h: usize) -> i32 {
        // SAFETY: the caller's promises; a pair is as large as a whole number.
        unsafe { (&raw const (*self.block(i, b)).sums).cast::<i32>().add(h).read_unaligned() }
    }
}

/// Eight half-precision scales.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scales(p: *const u8) -> __m256 {
    // SAFETY: the caller points at sixteen bytes inside a panel.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
}

/// Four activations, the same in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quad(q: *const i8, at: usize) -> __m256i {
    // SAFETY: the caller keeps `at + 4` inside the row; the read needs no alignment.
    _mm256_set1_epi32(unsafe { q.add(at).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: the caller points at 32 bytes inside a panel.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// `acc + Σ w · q` over the four bytes of each lane, `w` unsigned.
///
/// # Safety
/// What `V` names, which is not [`PLAIN`].
#[inline(always)]
pub(super) unsafe fn dpbusd<const V: u8>(acc: __m256i, w: __m256i, q: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { if V == EVEX { _mm256_dpbusd_epi32(acc, w, q) } else { _mm256_dpbusd_avx_epi32(acc, w, q) } }
}

/// The same in plain AVX2, where two products fit sixteen bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_products(acc: __m256i, w: __m256i, q: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, q), _mm256_set1_epi16(1)))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Acts, Panels, Precision, scalar};
    use super::{EVEX, strips};
    use crate::quant::BlockType;
    use crate::weights::layout::{PANEL_ROWS, is_reordered, panel_block};

    /// Strips with dot-product instructions, which the set for AVX-512 leaves to its own tiles for most types.
    #[test]
    #[expect(clippy::print_stdout, reason = "a test that could not run says so")]
    fn strips_with_dot_products_multiply_as_scalar_does() {
        if super::super::avx512::kernels().is_none() {
            println!("not run: this processor has no AVX-512 VNNI");
            return;
        }
        let in_order = [BlockType::Q4_0, BlockType::Q8_0, BlockType::Q4K, BlockType::Q6K];
        for ty in BlockType::ALL.into_iter().filter(|ty| is_reordered(*ty) || in_order.contains(ty)) {
            let cols = 768;
            // Any bytes are blocks; below 124 none makes a half that is no number.
            let bytes: Vec<u8> =
                (0..3 * cols / panel_block(ty).0 * panel_block(ty).1).map(|i| (i * 37 % 119) as u8).collect();
            for tokens in [5, 7, 13, 70] {
                let mut x =
                    Acts::new((0..tokens * cols).map(|i| ((i * 29 % 211) as f32 - 105.0) / 50.0).collect(), cols);
                x.quantize(&scalar::kernels(), Precision::Fast);
                let w = Panels { ty, cols, bytes: &bytes };
                let mut outs = [(); 2].map(|()| vec![f32::NAN; 3 * tokens * PANEL_ROWS]);
                (scalar::kernels().matmul)(w, x.rows(), &mut outs[0]);
                // SAFETY: the set's features were found; whole panels as wide as the quantized rows.
                unsafe { strips::<EVEX>(w, x.rows(), &mut outs[1]) };
                assert!(outs[0].iter().all(|v| v.is_finite()) && outs[0] == outs[1], "{ty}, {tokens} tokens");
            }
        }
    }
}
