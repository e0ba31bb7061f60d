//! Activations as the matmul kernels read them: single precision, and eight-bit blocks quantized once for every matrix
//! that shares the input.

use std::ops::Range;

use rayon::prelude::*;

use super::Kernels;

/// Columns in one block of quantized activations.
pub const BLOCK: usize = 32;

/// How finely activations are quantized for integer dot products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Eight bits, as other engines do.
    #[default]
    Fast,
    /// Eight bits and eight more for what the first eight left over: a quantized matrix then gives what its dequantized
    /// weights give, to about five digits, at up to twice the arithmetic.
    Fine,
}

/// Steps of the second plane in one step of the first.
const FINE: f32 = 254.0;

/// `tokens` rows of `cols` activations. The eight-bit form exists when [`Acts::quantize`] made it: one plane, or two whose
/// rows alternate and whose products are to be added.
#[derive(Clone, Debug, Default)]
pub struct Acts {
    tokens: usize,
    cols: usize,
    planes: usize,
    /// `(tokens, cols)`
    values: Vec<f32>,
    /// `(tokens, planes, cols / 32)`
    pub(super) blocks: Vec<ActBlock>,
}

/// A block of a quantized row. What a kernel reads of a row lies in one stretch: while weights stream through the first-level
/// cache and drive the row out, the processor fetches one such stretch ahead, but not four.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(super) struct ActBlock {
    /// `round(x / scale)`
    pub(super) q: [i8; BLOCK],
    pub(super) scale: f32,
    /// The sum of `q`, negated: it folds a weight's constant offset into one multiplication a block.
    pub(super) less: i32,
    /// The sums of the two halves of `q`.
    pub(super) sums: [Pair; 2],
}

/// The sum of some quads of bytes: of their first two bytes, and of the others. Products of bytes come together two by two.
pub type Pair = [i16; 2];

/// The sum of the quads of `q`.
pub(super) fn pair(q: &[i8]) -> Pair {
    let of = |at: usize| q.chunks_exact(4).map(|quad| i16::from(quad[at]) + i16::from(quad[at + 1])).sum();
    [of(0), of(2)]
}

impl ActBlock {
    /// The sum of half `h` of `q`.
    #[inline(always)]
    pub(super) fn sum(&self, h: usize) -> i32 {
        let [a, b] = self.sums[h];
        i32::from(a) + i32::from(b)
    }
}

impl Acts {
    /// Rows of single-precision activations; `values` is `(tokens, cols)`.
    #[must_use]
    pub fn new(values: Vec<f32>, cols: usize) -> Self {
        assert!(cols > 0 && values.len().is_multiple_of(cols), "activations come in whole rows");
        Self { tokens: values.len() / cols, cols, values, ..Self::default() }
    }

    /// Makes the eight-bit form, once. Does nothing for columns that are no multiple of 32, which no quantized matrix has.
    pub fn quantize(&mut self, kernels: &Kernels, precision: Precision) {
        if !self.blocks.is_empty() || !self.cols.is_multiple_of(BLOCK) {
            return;
        }
        self.planes = if precision == Precision::Fine { 2 } else { 1 };
        let (cols, planes) = (self.cols, self.planes);
        self.blocks = vec![ActBlock::default(); self.values.len() * planes / BLOCK];
        let rows = self.values.par_chunks(cols).zip(self.blocks.par_chunks_mut(planes * cols / BLOCK));
        rows.for_each(|(x, blocks)| {
            let (first, second) = blocks.split_at_mut(cols / BLOCK);
            for (x, blocks) in x.chunks(PIECE).zip(first.chunks_mut(PIECE / BLOCK)) {
                quantize_piece(kernels, x, blocks);
            }
            if planes == 2 {
                residual(x, first, second);
            }
        });
    }

    /// All rows, as kernels take them.
    #[must_use]
    pub fn rows(&self) -> ActRows<'_> {
        ActRows {
            tokens: self.tokens,
            cols: self.cols,
            planes: self.planes,
            values: &self.values,
            blocks: &self.blocks,
        }
    }

    /// The single-precision values, to be used again.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// Some rows of [`Acts`].
#[derive(Clone, Copy, Debug)]
pub struct ActRows<'a> {
    tokens: usize,
    cols: usize,
    planes: usize,
    values: &'a [f32],
    pub(super) blocks: &'a [ActBlock],
}

/// The rows `tokens` of `all`, each `width` long; none where there are none.
fn part<T>(all: &[T], width: usize, tokens: Range<usize>) -> &[T] {
    if all.is_empty() { all } else { &all[tokens.start * width..tokens.end * width] }
}

impl<'a> ActRows<'a> {
    /// The rows `tokens` of these.
    #[must_use]
    pub fn part(self, tokens: Range<usize>) -> Self {
        Self {
            tokens: tokens.len(),
            values: part(self.values, self.cols, tokens.clone()),
            blocks: part(self.blocks, self.blocks_of_row(), tokens),
            ..self
        }
    }

    /// A copy of the rows named by `tokens`, in that order: the eight-bit form where it exists, and the values too where
    /// they are asked for or the only form.
    #[must_use]
    pub fn gather(self, tokens: &[usize], values: bool) -> Acts {
        fn take<T: Copy + Default + Send + Sync>(all: &[T], width: usize, tokens: &[usize]) -> Vec<T> {
            if all.is_empty() {
                return Vec::new();
            }
            let mut rows = vec![T::default(); tokens.len() * width];
            rows.par_chunks_mut(width).zip(tokens).for_each(|(to, t)| to.copy_from_slice(part(all, width, *t..t + 1)));
            rows
        }
        let values = if values || !self.is_quantized() { take(self.values, self.cols, tokens) } else { Vec::new() };
        let blocks = take(self.blocks, self.blocks_of_row(), tokens);
        Acts { tokens: tokens.len(), cols: self.cols, planes: self.planes, values, blocks }
    }

    fn blocks_of_row(self) -> usize {
        self.planes * self.cols / BLOCK
    }

    /// Number of rows.
    #[must_use]
    pub fn tokens(self) -> usize {
        self.tokens
    }

    /// Rows of the eight-bit form for each token: 1, or 2 whose products are to be added.
    #[must_use]
    pub fn planes(self) -> usize {
        self.planes
    }

    /// Rows that a matmul kernel computes for matrices of integer blocks.
    pub(super) fn q_rows(self) -> usize {
        self.tokens * self.planes
    }

    /// Values in a row.
    #[must_use]
    pub fn cols(self) -> usize {
        self.cols
    }

    /// The single-precision values, `(tokens, cols)`.
    #[must_use]
    pub fn values(self) -> &'a [f32] {
        self.values
    }

    /// Whether the eight-bit form exists.
    #[must_use]
    pub fn is_quantized(self) -> bool {
        !self.blocks.is_empty()
    }
}

/// Columns that are quantized at once.
const PIECE: usize = 8 * BLOCK;

/// The first plane of up to [`PIECE`] columns.
fn quantize_piece(kernels: &Kernels, x: &[f32], blocks: &mut [ActBlock]) {
    let (mut q, mut scales, mut sums) = ([0; PIECE], [0.0; PIECE / BLOCK], [Pair::default(); PIECE / 16]);
    let n = x.len();
    (kernels.quantize)(x, &mut q[..n], &mut scales[..n / BLOCK], &mut sums[..n / 16]);
    let codes = q.as_chunks::<BLOCK>().0.iter().zip(scales).zip(sums.as_chunks::<2>().0);
    for (block, ((q, scale), sums)) in blocks.iter_mut().zip(codes) {
        *block = ActBlock { q: *q, scale, less: 0, sums: *sums };
        block.less = -(block.sum(0) + block.sum(1));
    }
}

/// The second plane: what one step of the first left over, in steps `FINE` times smaller.
fn residual(x: &[f32], first: &[ActBlock], second: &mut [ActBlock]) {
    for ((x, first), block) in x.chunks_exact(BLOCK).zip(first).zip(second) {
        let inverse = if first.scale > 0.0 { 1.0 / first.scale } else { 0.0 };
        block.scale = first.scale / FINE;
        for ((q, x), coarse) in block.q.iter_mut().zip(x).zip(first.q) {
            let left = x * inverse - f32::from(coarse);
            *q = (left * FINE).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
        let (low, high) = block.q.split_at(BLOCK / 2);
        block.sums = [low, high].map(pair);
        block.less = -(block.sum(0) + block.sum(1));
    }
}
