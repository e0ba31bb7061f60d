//! Tensors that go round on one thread, as [`scratch`](crate::engine::scratch) buffers do: those of a prefill are so large that
//! the system would be asked for them, and they would be touched for the first time, in every node.

use std::cell::RefCell;

use tract_onnx::tract_hir::internal::*;

use crate::engine::scratch::{LARGEST, MOST};

thread_local! {
    static FREE: RefCell<Vec<Tensor>> = const { RefCell::new(Vec::new()) };
}

/// A `(rows, cols)` tensor in single precision, whose values are whatever they are.
pub(super) fn take(rows: usize, cols: usize) -> TractResult<Tensor> {
    let found = FREE.with_borrow_mut(|free| {
        let at = free.iter().rposition(|tensor| tensor.shape() == [rows, cols]);
        at.map(|at| free.remove(at))
    });
    found.map_or_else(|| Tensor::zero::<f32>(&[rows, cols]), Ok)
}

/// Gives a value back that nobody needs any more, if nobody else holds it.
pub(in super::super) fn give(value: TValue) {
    if value.is_exclusive() {
        give_tensor(value.into_tensor());
    }
}

/// Gives a tensor back; the oldest goes when there are too many.
pub(super) fn give_tensor(tensor: Tensor) {
    if tensor.datum_type() != f32::datum_type() || tensor.len() > LARGEST {
        return;
    }
    FREE.with_borrow_mut(|free| {
        if free.len() == MOST {
            free.remove(0);
        }
        free.push(tensor);
    });
}
