//! Activations as the matmul kernels read them: single precision, and eight-bit blocks quantized once for every matrix
//! that shares the input.

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
    /// `(tokens, planes, cols)`
    pub(super) q: Vec<i8>,
    /// `(tokens, planes, cols / 32)`
    pub(super) scales: Vec<f32>,
    /// `(tokens, planes, cols / 16)`: sums of `q`, which fold a weight's constant offset into one multiplication a block
    pub(super) sums: Vec<i32>,
    /// `(tokens, planes, cols / 32)`: the sum of `q` over each block, negated
    pub(super) less: Vec<i32>,
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
        if !self.q.is_empty() || !self.cols.is_multiple_of(BLOCK) {
            return;
        }
        self.planes = if precision == Precision::Fine { 2 } else { 1 };
        let (cols, planes) = (self.cols, self.planes);
        let n = self.values.len() * planes;
        self.q = vec![0; n];
        self.scales = vec![0.0; n / BLOCK];
        self.sums = vec![0; n / 16];
        let rows = self.values.par_chunks(cols).zip(self.q.par_chunks_mut(planes * cols));
        let blocks =
            self.scales.par_chunks_mut(planes * cols / BLOCK).zip(self.sums.par_chunks_mut(planes * cols / 16));
        rows.zip(blocks).for_each(|((x, q), (scales, sums))| {
            let (q, q2) = q.split_at_mut(cols);
            let (scales, scales2) = scales.split_at_mut(cols / BLOCK);
            let (sums, sums2) = sums.split_at_mut(cols / 16);
            (kernels.quantize)(x, q, scales, sums);
            if planes == 2 {
                residual(x, (q, scales), q2, scales2, sums2);
            }
        });
        self.less = self.sums.as_chunks::<2>().0.iter().map(|[a, b]| -(a + b)).collect();
    }

    /// The rows named by `tokens`, in that order, in both forms.
    #[must_use]
    pub fn gather(&self, tokens: &[usize]) -> Self {
        fn take<T: Copy>(from: &[T], width: usize, rows: &[usize]) -> Vec<T> {
            if from.is_empty() {
                Vec::new()
            } else {
                rows.iter().flat_map(|&r| &from[r * width..][..width]).copied().collect()
            }
        }
        Self {
            tokens: tokens.len(),
            cols: self.cols,
            planes: self.planes,
            values: take(&self.values, self.cols, tokens),
            q: take(&self.q, self.planes * self.cols, tokens),
            scales: take(&self.scales, self.planes * self.cols / BLOCK, tokens),
            sums: take(&self.sums, self.planes * self.cols / 16, tokens),
            less: take(&self.less, self.planes * self.cols / BLOCK, tokens),
        }
    }

    /// The single-precision values, to be used again.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Number of rows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rows of the eight-bit form for each token: 1, or 2 whose products are to be added.
    #[must_use]
    pub fn planes(&self) -> usize {
        self.planes
    }

    /// Rows that a matmul kernel computes for matrices of integer blocks.
    pub(super) fn q_rows(&self) -> usize {
        self.tokens * self.planes
    }

    /// Values in a row.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The single-precision values, `(tokens, cols)`.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether the eight-bit form exists.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        !self.q.is_empty()
    }
}

/// The second plane: what one step of the first left over, in steps `FINE` times smaller.
fn residual(x: &[f32], first: (&[i8], &[f32]), q: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    for (b, (x, q)) in x.chunks_exact(BLOCK).zip(q.chunks_exact_mut(BLOCK)).enumerate() {
        let scale = first.1[b];
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        scales[b] = scale / FINE;
        for (i, (q, x)) in q.iter_mut().zip(x).enumerate() {
            let left = x * inverse - f32::from(first.0[b * BLOCK + i]);
            *q = (left * FINE).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
        for (sum, q) in sums[2 * b..2 * b + 2].iter_mut().zip(q.chunks_exact(16)) {
            *sum = q.iter().map(|&v| i32::from(v)).sum();
        }
    }
}
