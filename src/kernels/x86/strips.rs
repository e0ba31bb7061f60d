//! Products on 256 bits of the types that have a [`Form`]: some tokens at a time against one panel, or for many tokens, panels laid
//! out once as bytes and factors that all of them share.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::acts::ActBlock;
use super::super::decoded::RUNS;
use super::super::scalar::matmul_shape;
use super::super::{ActRows, BLOCK, Panels};
use super::avx2::{PLAIN, Rows, add_products, dpbusd, quad};
use super::common::ask;
use super::decoded::Scratch;
use super::forms::{Factors, Form, Meaning, Order};
use crate::weights::layout::PANEL_ROWS;

/// Panels that share the activations which a tile of many tokens loads.
const SHARE: usize = 2;
/// Tokens whose activations for the columns that are laid out are put side by side, in the first-level cache, while panels go by: rows lie pages
/// apart, often in the same places of the cache.
const TOKEN_BLOCK: usize = 48;

/// Where the bytes and factors of a run of some panels are.
pub(super) trait Source {
    /// Quad `c` of panel `p`, as [`sums`] takes it.
    ///
    /// # Safety
    /// AVX2.
    unsafe fn quad(&self, c: usize, p: usize) -> __m256i;

    /// # Safety
    /// AVX2.
    unsafe fn factors(&self, p: usize) -> Factors;
}

/// In registers, of one panel.
struct Read {
    quads: [__m256i; 8],
    factors: Factors,
}

impl Source for Read {
    #[inline(always)]
    unsafe fn quad(&self, c: usize, _: usize) -> __m256i {
        self.quads[c]
    }

    #[inline(always)]
    unsafe fn factors(&self, _: usize) -> Factors {
        self.factors
    }
}

/// A run of panels that are laid out.
pub(super) struct Laid<'a, const P: usize> {
    q: &'a [[[u8; 32]; P]; 8],
    scale: &'a [[[f32; PANEL_ROWS]; P]; 2],
    min: &'a [[[f32; PANEL_ROWS]; P]; 2],
}

impl<'a, const P: usize> Laid<'a, P> {
    /// Run `r`, which is below [`RUNS`].
    #[inline(always)]
    pub(super) fn run(w: &'a Scratch<P>, r: usize) -> Self {
        Self { q: &w.q[r], scale: &w.scale[r], min: &w.min[r] }
    }
}

impl<const P: usize> Source for Laid<'_, P> {
    #[inline(always)]
    unsafe fn quad(&self, c: usize, p: usize) -> __m256i {
        // SAFETY: 32 bytes.
        unsafe { _mm256_loadu_si256(self.q[c][p].as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn factors(&self, p: usize) -> Factors {
        // SAFETY: eight factors each.
        unsafe {
            let eight = |of: &[f32; PANEL_ROWS]| _mm256_loadu_ps(of.as_ptr());
            Factors {
                scale: [eight(&self.scale[0][p]), eight(&self.scale[1][p])],
                min: [eight(&self.min[0][p]), eight(&self.min[1][p])],
            }
        }
    }
}

/// The same sum of one of `N` tokens, which the compiler must take for a new one: it would otherwise put off all sums of a run until
/// the weights of the run fill the registers. One token has few sums, unless each half has its own.
#[inline]
#[target_feature(enable = "avx2")]
fn pin<F: Meaning, const N: usize>(mut sum: __m256i) -> __m256i {
    if N == 1 && !F::HALVES {
        return sum;
    }
    // SAFETY: no instruction.
    unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) sum, options(nomem, nostack, preserves_flags)) };
    sum
}

/// Sums of the products of chunks `chunks` of `P` panels with block `at` of `N` rows, less what the bytes are more than the
/// integers.
///
/// # Safety
/// The features of `V`; block `at` of each row exists; `chunks` is half a run for types of halves, otherwise all of it.
#[inline(always)]
unsafe fn sums<F: Meaning, const V: u8, const N: usize, const P: usize>(
    w: &impl Source,
    chunks: Range<usize>,
    rows: &Rows<N>,
    at: usize,
) -> [[__m256i; N]; P] {
    // SAFETY: the caller's promises.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); N]; P];
        let shift = if V != PLAIN && F::BITS == 8 { 7 } else { F::SHIFT };
        if shift > 0 {
            let offset = _mm256_set1_epi16(-(1 << shift));
            for i in 0..N {
                let mut pair = _mm256_set1_epi32(rows.pair(i, at, chunks.start / 4));
                if !F::HALVES {
                    pair = _mm256_add_epi16(pair, _mm256_set1_epi32(rows.pair(i, at, 1)));
                }
                let less = if V == PLAIN { _mm256_mullo_epi16(pair, offset) } else { _mm256_madd_epi16(pair, offset) };
                for p in 0..P {
                    sums[p][i] = less;
                }
            }
        }
        if V != PLAIN || F::BITS == 8 {
            for c in chunks {
                let quads = quads::<P>(w, c);
                let mut sizes = quads;
                for p in 0..P {
                    sizes[p] = _mm256_abs_epi8(quads[p]);
                }
                for i in 0..N {
                    let q = quad(rows.q(i, at), 4 * c);
                    for p in 0..P {
                        sums[p][i] = pin::<F, N>(if V != PLAIN {
                            dpbusd::<V>(sums[p][i], quads[p], q)
                        } else {
                            // |w| · ±q: 128 · 127 · 2 = 32,512 fits sixteen bits, once.
                            add_products(sums[p][i], sizes[p], _mm256_sign_epi8(q, quads[p]))
                        });
                    }
                }
            }
            return sums;
        }
        // Sixteen bits hold the sum of a run where integers are up to 15, 15 · 127 · 16 being 30,480, or where what comes out is
        // of both signs: 16 · 127 · 16 is 32,512, as is 32 · 127 · 8 of half a run. On the way to it a sum may leave them and come
        // back. Where integers are up to 31, they hold half a run.
        let held = if F::BITS == 4 || shift > 0 { 8 } else { 4 };
        let mut wide = [[_mm256_setzero_si256(); N]; P];
        for first in chunks.clone().step_by(held) {
            for c in first..(first + held).min(chunks.end) {
                let quads = quads::<P>(w, c);
                for i in 0..N {
                    let q = quad(rows.q(i, at), 4 * c);
                    for p in 0..P {
                        sums[p][i] = pin::<F, N>(_mm256_add_epi16(sums[p][i], _mm256_maddubs_epi16(quads[p], q)));
                    }
                }
            }
            for p in 0..P {
                for i in 0..N {
                    let more = _mm256_madd_epi16(sums[p][i], ones);
                    wide[p][i] = if first == chunks.start { more } else { _mm256_add_epi32(wide[p][i], more) };
                    sums[p][i] = _mm256_setzero_si256();
                }
            }
        }
        wide
    }
}

/// Quad `c` of `P` panels.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn quads<const P: usize>(w: &impl Source, c: usize) -> [__m256i; P] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut quads = [_mm256_setzero_si256(); P];
        for p in 0..P {
            quads[p] = w.quad(c, p);
        }
        quads
    }
}

/// Adds to `acc` what a run of `P` panels gives with block `at` of `N` rows.
///
/// # Safety
/// As [`sums`].
#[inline(always)]
pub(super) unsafe fn add_run<F: Meaning, const V: u8, const N: usize, const P: usize>(
    w: &impl Source,
    rows: &Rows<N>,
    at: usize,
    acc: &mut [[__m256; N]; P],
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut dots = [[[_mm256_setzero_si256(); N]; P]; 2];
        if F::HALVES {
            dots = [sums::<F, V, N, P>(w, 0..4, rows, at), sums::<F, V, N, P>(w, 4..8, rows, at)];
        } else {
            dots[0] = sums::<F, V, N, P>(w, 0..8, rows, at);
        }
        for i in 0..N {
            let s = _mm256_set1_ps(rows.scale(i, at));
            let less = if F::HALVES { [-rows.sum(i, at, 0), -rows.sum(i, at, 1)] } else { [rows.less(i, at); 2] };
            let less = [less[0], less[1]].map(|less| _mm256_cvtepi32_ps(_mm256_set1_epi32(less)));
            for p in 0..P {
                let Factors { scale, min } = w.factors(p);
                let dot = [_mm256_cvtepi32_ps(dots[0][p][i]), _mm256_cvtepi32_ps(dots[1][p][i])];
                let mut share = _mm256_mul_ps(scale[0], dot[0]);
                if F::HALVES {
                    share = _mm256_fmadd_ps(scale[1], dot[1], share);
                }
                if F::MINS {
                    share = _mm256_fmadd_ps(min[0], less[0], share);
                }
                if F::MINS && F::HALVES {
                    share = _mm256_fmadd_ps(min[1], less[1], share);
                }
                acc[p][i] = match F::ORDER {
                    Order::Scales => _mm256_fmadd_ps(dot[0], _mm256_mul_ps(scale[0], s), acc[p][i]),
                    Order::Share => _mm256_fmadd_ps(share, s, acc[p][i]),
                    // 128 · 16 · 32 · 127, twice, stays below 2^24: the share is exact.
                    Order::Whole => _mm256_fmadd_ps(share, _mm256_mul_ps(min[0], s), acc[p][i]),
                };
            }
        }
    }
}

/// Bytes as [`sums`] takes them.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn unsigned<F: Form, const V: u8>(w: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { if V != PLAIN && F::BITS == 8 { _mm256_xor_si256(w, _mm256_set1_epi8(-128)) } else { w } }
}

/// Panels times `N` tokens from token `t` on; `out` is `(panels, all tokens, 8)`. What a panel needs besides its bytes stays in
/// registers from panel to panel: by the end of a wide one everything else has left the first-level cache. Answers `N`.
///
/// # Safety
/// The features of `V`; `w` is whole panels of type `F`, as wide as `x`, which is quantized; `t + N` rows exist.
#[inline(always)]
pub(super) unsafe fn few<F: Form, const V: u8, const N: usize>(
    w: Panels<'_>,
    x: ActRows<'_>,
    t: usize,
    out: &mut [f32],
) -> usize {
    let rows = Rows::<N>::new(x, t);
    let blocks = w.cols / BLOCK / F::RUNS;
    let panels = w.bytes.chunks_exact(blocks * F::BYTES).map(<[u8]>::as_ptr);
    for (panel, out) in panels.zip(out.chunks_exact_mut(x.q_rows() * PANEL_ROWS)) {
        // SAFETY: the caller's promises: block `b` of the panel exists and has its runs, and so has each row; eight values for each
        // token.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); N]];
            for b in 0..blocks {
                let block = panel.add(F::BYTES * b);
                let head = F::head(block);
                for r in 0..F::RUNS {
                    let mut read = Read { quads: F::quads(block, r), factors: F::factors(block, &head, r) };
                    for c in 0..8 {
                        read.quads[c] = unsigned::<F, V>(read.quads[c]);
                    }
                    add_run::<F, V, N, 1>(&read, &rows, F::RUNS * b + r, &mut acc);
                }
            }
            for (i, acc) in acc[0].iter().enumerate() {
                _mm256_storeu_ps(out[(t + i) * PANEL_ROWS..][..PANEL_ROWS].as_mut_ptr(), *acc);
            }
        }
    }
    N
}

/// All panels times all tokens.
///
/// # Safety
/// The features of `V`; `w` is whole panels of type `F`, as wide as `x`, which is quantized; `out` is `(panels, tokens, 8)`.
#[inline(always)]
pub(super) unsafe fn many<F: Form, const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    let (all, pair) = (w.cols / BLOCK, SHARE * panel);
    let (pairs, last) = w.bytes.split_at(w.bytes.len() / pair * pair);
    let (out, last_out) = out.split_at_mut(pairs.len() / panel * tokens * PANEL_ROWS);
    if !last.is_empty() {
        // SAFETY: the caller's promises.
        unsafe { one_panel::<F, V>(Panels { bytes: last, ..w }, x, last_out) };
    }
    let mut laid = Scratch::<SHARE>::ZERO;
    let mut rows = [ActBlock::default(); TOKEN_BLOCK * RUNS];
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let rows = &mut rows[..(tokens - first).min(TOKEN_BLOCK) * RUNS];
        for from in (0..all).step_by(RUNS) {
            let runs = (all - from).min(RUNS);
            for (t, row) in rows.chunks_exact_mut(RUNS).enumerate() {
                row[..runs].copy_from_slice(&x.blocks[(first + t) * all + from..][..runs]);
            }
            let outs = out.chunks_exact_mut(SHARE * tokens * PANEL_ROWS);
            for (i, (bytes, out)) in pairs.chunks_exact(pair).zip(outs).enumerate() {
                let at = |run: usize| run / F::RUNS * F::BYTES;
                // What is laid out next: the same runs of the next panels, the first panels' next ones, or what lies behind.
                let next = match (i + 1) * pair {
                    behind if behind < pairs.len() => behind + at(from),
                    _ if from + RUNS < all => at(from + RUNS),
                    behind => behind,
                };
                let next = pairs.as_ptr().wrapping_add(next);
                // SAFETY: the caller's promises; the panels and the rows have the runs, and `out` has the tokens of both panels.
                unsafe {
                    for p in 0..SHARE {
                        lay_out::<F, V>(&mut laid, p, bytes.as_ptr().add(p * panel + at(from)), runs);
                    }
                    let first = out[first * PANEL_ROWS..].as_mut_ptr();
                    let to = Sums { first, panel: tokens * PANEL_ROWS, fresh: from == 0 };
                    strips::<F, V>(&laid, runs, rows, to, |line, p| ask(next, p * panel + 64 * line));
                }
            }
        }
    }
}

/// All rows, strip by strip, while `ask` is called little by little for each line of [`RUNS`] runs of each panel.
///
/// # Safety
/// As [`strip`], for as many tokens as there are rows.
#[inline(always)]
unsafe fn strips<F: Form, const V: u8>(
    w: &Scratch<SHARE>,
    runs: usize,
    rows: &[ActBlock],
    to: Sums,
    ask: impl Fn(usize, usize),
) {
    let (all, lines) = (rows.len() / RUNS, (RUNS / F::RUNS * F::BYTES).div_ceil(64));
    let mut t = 0;
    while t < all {
        // Evenly: a token alone would pay for all weights.
        let n = (all - t).div_ceil((all - t).div_ceil(most::<F, V>()));
        for line in t * lines / all..(t + n) * lines / all {
            (0..SHARE).for_each(|p| ask(line, p));
        }
        // SAFETY: the caller's promises.
        unsafe {
            let (rows, to) = (&rows[t * RUNS..], Sums { first: to.first.add(t * PANEL_ROWS), ..to });
            match n {
                6 => strip::<F, V, 6>(w, runs, rows, to),
                5 => strip::<F, V, 5>(w, runs, rows, to),
                4 => strip::<F, V, 4>(w, runs, rows, to),
                3 => strip::<F, V, 3>(w, runs, rows, to),
                2 => strip::<F, V, 2>(w, runs, rows, to),
                _ => strip::<F, V, 1>(w, runs, rows, to),
            }
        }
        t += n;
    }
}

/// A panel by itself times all tokens, four by four.
///
/// # Safety
/// As [`few`].
#[inline(always)]
unsafe fn one_panel<F: Form, const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let mut t = 0;
    while t < x.q_rows() {
        // SAFETY: the caller's promises.
        t += unsafe {
            match x.q_rows() - t {
                4.. => few::<F, V, 4>(w, x, t, out),
                2.. => few::<F, V, 2>(w, x, t, out),
                _ => few::<F, V, 1>(w, x, t, out),
            }
        };
    }
}

/// Tokens of a strip: as many as sixteen registers hold sums of beside what the products take.
const fn most<F: Form, const V: u8>() -> usize {
    if V == PLAIN && F::BITS == 8 { 4 } else { 6 }
}

/// Lays out `runs` runs of a panel, whose first block is `blocks`, at place `p`.
///
/// # Safety
/// The features of `V`; the runs exist, at most [`RUNS`].
#[inline(always)]
unsafe fn lay_out<F: Form, const V: u8>(to: &mut Scratch<SHARE>, p: usize, blocks: *const u8, runs: usize) {
    // SAFETY: the caller's promises; 32 bytes each, and eight factors.
    unsafe {
        for b in 0..runs / F::RUNS {
            let block = blocks.add(F::BYTES * b);
            let head = F::head(block);
            for r in 0..F::RUNS {
                let at = F::RUNS * b + r;
                for (chunk, quad) in to.q[at].iter_mut().zip(F::quads(block, r)) {
                    _mm256_storeu_si256(chunk[p].as_mut_ptr().cast(), unsigned::<F, V>(quad));
                }
                let Factors { scale, min } = F::factors(block, &head, r);
                for h in 0..if F::HALVES { 2 } else { 1 } {
                    _mm256_storeu_ps(to.scale[at][h][p].as_mut_ptr(), scale[h]);
                    if F::MINS || F::ORDER == Order::Whole {
                        _mm256_storeu_ps(to.min[at][h][p].as_mut_ptr(), min[h]);
                    }
                }
            }
        }
    }
}

/// Where the sums of a strip are kept between runs.
#[derive(Clone, Copy)]
struct Sums {
    /// Those of the first token and panel.
    first: *mut f32,
    /// Values of a panel.
    panel: usize,
    /// Whether there are none yet.
    fresh: bool,
}

/// What `runs` runs that are laid out give with the first `N` rows of as many, [`RUNS`] apart, added to what earlier ones gave.
///
/// # Safety
/// The features of `V`; `to` points at eight values for each of `N` neighbouring tokens in [`SHARE`] panels.
#[inline(always)]
unsafe fn strip<F: Form, const V: u8, const N: usize>(w: &Scratch<SHARE>, runs: usize, rows: &[ActBlock], to: Sums) {
    let rows = Rows::<N>::apart(rows, RUNS);
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); N]; SHARE];
        if !to.fresh {
            for p in 0..SHARE {
                for i in 0..N {
                    acc[p][i] = _mm256_loadu_ps(to.first.add(p * to.panel + i * PANEL_ROWS));
                }
            }
        }
        for r in 0..runs.min(RUNS) {
            add_run::<F, V, N, SHARE>(&Laid::run(w, r), &rows, r, &mut acc);
        }
        for p in 0..SHARE {
            for i in 0..N {
                _mm256_storeu_ps(to.first.add(p * to.panel + i * PANEL_ROWS), acc[p][i]);
            }
        }
    }
}
