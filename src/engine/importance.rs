//! Watching what meets the matrices' columns, so that rounding can weigh them. Nothing is watched unless it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Sums over the tokens that met one matrix, or each matrix of a stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Squares {
    /// Columns of one matrix.
    pub cols: usize,
    /// Sum of squares of each column's activation, `(matrices, cols)`.
    pub sums: Vec<f64>,
    /// Tokens of each matrix, `(matrices)`.
    pub counts: Vec<u64>,
}

/// Collects the squares of activations by the name of the tensor they meet.
#[derive(Debug, Default)]
pub struct ColumnSquares(Mutex<BTreeMap<String, Squares>>);

impl ColumnSquares {
    /// What was collected so far; collecting begins anew.
    #[must_use]
    pub fn take(&self) -> BTreeMap<String, Squares> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds `values`, `(tokens, cols)`, each token's multiplied by its scale, to matrix `copy` of `copies` of a tensor.
    fn add(&self, name: &str, (copy, copies): (usize, usize), values: &[f32], cols: usize, scales: Option<&[f32]>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let squares = all.entry(name.to_owned()).or_insert_with(|| Squares {
            cols,
            sums: vec![0.0; cols * copies],
            counts: vec![0; copies],
        });
        let (Some(sums), Some(count)) =
            (squares.sums.get_mut(copy * cols..(copy + 1) * cols), squares.counts.get_mut(copy))
        else {
            return;
        };
        for (t, row) in values.chunks_exact(cols).enumerate() {
            let scale = scales.and_then(|s| s.get(t)).map_or(1.0, |s| f64::from(*s));
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += (f64::from(*x) * scale).powi(2);
            }
            *count += 1;
        }
    }
}

/// Where one node of the graph reports what its matrices meet.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    to: Arc<ColumnSquares>,
    /// Tensor names that share the input, or what stands before and after the part's name.
    names: Arc<[String]>,
}

impl Watch {
    /// For matrices of these names, which share an input.
    pub(super) fn new(to: &Option<Arc<ColumnSquares>>, names: &[String]) -> Option<Self> {
        to.as_ref().map(|to| Self { to: Arc::clone(to), names: names.into() })
    }

    /// All of the node's matrices meet `values`, `(tokens, cols)`.
    pub(super) fn shared(&self, values: &[f32], cols: usize) {
        self.names.iter().for_each(|name| self.to.add(name, (0, 1), values, cols, None));
    }

    /// One part of a feed-forward layer, whose name begins the list of names: `gate` → `blk.0.ffn_gate_exps.weight`.
    /// `expert` is its number and how many there are; `None` for a dense layer or the shared expert of `routed` layers.
    pub(super) fn part(
        &self,
        part: &str,
        routed: bool,
        expert: Option<(usize, usize)>,
        (values, cols): (&[f32], usize),
        scales: Option<&[f32]>,
    ) {
        let suffix = match expert {
            Some(_) => "_exps",
            None if routed => "_shexp",
            None => "",
        };
        let layer = self.names.first().map_or("", String::as_str);
        let name = format!("{layer}.ffn_{part}{suffix}.weight");
        self.to.add(&name, expert.unwrap_or((0, 1)), values, cols, scales);
    }
}
