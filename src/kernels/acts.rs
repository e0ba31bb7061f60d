//! Activations as the matmul kernels read them: single precision, and eight-bit blocks quantized once for every matrix
//! that shares the input.

use super::Kernels;

/// Columns in one block of quantized activations.
pub const BLOCK: usize = 32;

/// `tokens` rows of `cols` activations. The eight-bit form exists when [`Acts::quantize`] made it.
#[derive(Clone, Debug, Default)]
pub struct Acts {
    tokens: usize,
    cols: usize,
    /// `(tokens, cols)`
    values: Vec<f32>,
    /// `(tokens, cols)`
    pub(super) q: Vec<i8>,
    /// `(tokens, cols / 32)`
    pub(super) scales: Vec<f32>,
    /// `(tokens, cols / 16)`: sums of `q`, which fold a weight's constant offset into one multiplication a block
    pub(super) sums: Vec<i32>,
}

impl Acts {
    /// Rows of single-precision activations; `values` is `(tokens, cols)`.
    #[must_use]
    pub fn new(values: Vec<f32>, cols: usize) -> Self {
        assert!(cols > 0 && values.len().is_multiple_of(cols), "activations come in whole rows");
        Self { tokens: values.len() / cols, cols, values, ..Self::default() }
    }

    /// Makes the eight-bit form, once. Does nothing for columns that are no multiple of 32, which no quantized matrix has.
    pub fn quantize(&mut self, kernels: &Kernels) {
        if !self.q.is_empty() || !self.cols.is_multiple_of(BLOCK) {
            return;
        }
        let n = self.values.len();
        self.q = vec![0; n];
        self.scales = vec![0.0; n / BLOCK];
        self.sums = vec![0; n / 16];
        let rows = self.values.chunks_exact(self.cols).zip(self.q.chunks_exact_mut(self.cols));
        let blocks = self.scales.chunks_exact_mut(self.cols / BLOCK).zip(self.sums.chunks_exact_mut(self.cols / 16));
        for ((x, q), (scales, sums)) in rows.zip(blocks) {
            (kernels.quantize)(x, q, scales, sums);
        }
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
            values: take(&self.values, self.cols, tokens),
            q: take(&self.q, self.cols, tokens),
            scales: take(&self.scales, self.cols / BLOCK, tokens),
            sums: take(&self.sums, self.cols / 16, tokens),
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
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
