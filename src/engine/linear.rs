//! A weight matrix times activations, spread over the threads of the current pool.

use rayon::prelude::*;

use crate::error::Result;
use crate::kernels::{Acts, Kernels, Panels};
use crate::weights::Matrix;
use crate::weights::layout::PANEL_ROWS;

/// Bytes of weights that are worth a task of their own.
const TASK_BYTES: usize = 1 << 16;
/// Tokens whose outputs are put in order together.
const TOKENS: usize = 16;

/// `y = W x`, `(tokens, rows)`. The result does not depend on the number of threads.
///
/// # Errors
/// What bringing the weights into memory gives.
pub(super) fn linear(k: &Kernels, w: &Matrix, x: &Acts) -> Result<Vec<f32>> {
    // Types of integer blocks give one product for each plane of the activations, to be added.
    let planes = if w.ty().block_len() == 1 { 1 } else { x.planes().max(1) };
    let (tokens, rows, panels) = (x.tokens() * planes, w.rows(), w.panels());
    let pinned = w.pin()?;
    // An even number of panels suits the sets that take two at a time.
    let a_task = (TASK_BYTES / w.panel_bytes().max(1)).clamp(1, panels.div_ceil(rayon::current_num_threads()).max(1));
    let a_task = a_task.next_multiple_of(2);
    let mut out = vec![0.0f32; panels * tokens * PANEL_ROWS];
    out.par_chunks_mut(a_task * tokens * PANEL_ROWS).enumerate().try_for_each(|(task, out)| {
        let first = task * a_task;
        let range = first..(first + a_task).min(panels);
        pinned.with_panels(range, |bytes| (k.matmul)(Panels { ty: w.ty(), cols: w.cols(), bytes }, x, out))
    })?;
    if tokens == 1 {
        out.truncate(rows);
        return Ok(out);
    }
    // (panels, tokens, planes, 8) → (tokens, rows)
    let mut ordered = vec![0.0f32; x.tokens() * rows];
    ordered.par_chunks_mut(TOKENS * rows).enumerate().for_each(|(group, ordered)| {
        for (t, row) in ordered.chunks_exact_mut(rows).enumerate() {
            let at = (group * TOKENS + t) * planes * PANEL_ROWS;
            let (whole, rest) = row.as_chunks_mut::<PANEL_ROWS>();
            let (from, _) = out.as_chunks::<PANEL_ROWS>();
            let mut panel = from.iter().skip(at / PANEL_ROWS).step_by(tokens);
            for (eight, from) in whole.iter_mut().zip(&mut panel) {
                *eight = *from;
            }
            if let Some(from) = panel.next() {
                let n = rest.len();
                rest.copy_from_slice(&from[..n]);
            }
            if planes == 2 {
                let fine = from.iter().skip(at / PANEL_ROWS + 1).step_by(tokens).flatten();
                row.iter_mut().zip(fine).for_each(|(y, fine)| *y += fine);
            }
        }
    });
    Ok(ordered)
}
