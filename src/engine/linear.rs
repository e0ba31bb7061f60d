//! Weight matrices times activations, spread over the threads of the current pool.

use rayon::prelude::*;

use super::awake::share;
use super::scratch;
use crate::error::Result;
use crate::kernels::{Acts, Kernels, Panels};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::{Matrix, Pinned};

/// Bytes of weights that are worth a task of their own.
const TASK_BYTES: usize = 1 << 16;
/// Where few rows of activations go over much memory, a task is this part of what is left for each thread: memory gives long
/// stretches faster, and the last task, which the others wait for, is short.
const PART: usize = 2;
/// Bytes of weights from which on tasks are taken one by one: with fewer, who comes next is settled faster by halves.
const ONE_BY_ONE: usize = 8 << 20;
/// Tasks of one thread where it goes by halves.
const TASKS: usize = 16;
/// So many rows are few.
const FEW: usize = 4;
/// Tokens whose outputs are put in order together.
const TOKENS: usize = 16;
/// Values that one thread puts in order before the others would have woken up.
const ALONE: usize = 1 << 16;

/// `y = W x`, `(tokens, rows)`. The result does not depend on the number of threads.
///
/// # Errors
/// What bringing the weights into memory gives.
pub(super) fn linear(k: &Kernels, w: &Matrix, x: &Acts) -> Result<Vec<f32>> {
    Ok(linear_all(k, &[(w, x)])?.pop().unwrap_or_default())
}

/// As [`linear`] for several pairs of matrix and activations, in one go over the threads. The results are [`scratch`] buffers:
/// whoever does not pass one on gives it back.
///
/// # Errors
/// As there.
pub(super) fn linear_all(k: &Kernels, jobs: &[(&Matrix, &Acts)]) -> Result<Vec<Vec<f32>>> {
    let pinned = jobs.iter().map(|(w, _)| w.pin()).collect::<Result<Vec<_>>>()?;
    let mut outputs: Vec<Vec<f32>> =
        jobs.iter().map(|(w, x)| scratch::take(w.panels() * rows(w, x) * PANEL_ROWS)).collect();
    let all: usize = jobs.iter().map(|(w, _)| w.panels() * w.panel_bytes()).sum();
    let tasks = tasks(jobs, all, &pinned, &mut outputs);
    let work = |task: Task<'_>| {
        let w = task.pinned.matrix();
        let panels = task.out.len() / (rows(w, task.x) * PANEL_ROWS);
        task.pinned.with_panels(task.first..task.first + panels, |bytes| {
            (k.matmul)(Panels { ty: w.ty(), cols: w.cols(), bytes }, task.x, task.out);
        })
    };
    if all < ONE_BY_ONE { tasks.into_par_iter().try_for_each(work) } else { share(tasks, work) }?;
    Ok(jobs.iter().zip(outputs).map(|((w, x), out)| ordered(w, x, out)).collect())
}

/// Some panels of one matrix and where their products go.
struct Task<'a> {
    pinned: &'a Pinned<'a>,
    x: &'a Acts,
    first: usize,
    out: &'a mut [f32],
}

/// Cuts the matrices, `all` bytes of them, into tasks in the order of memory.
fn tasks<'a>(
    jobs: &'a [(&Matrix, &Acts)],
    all: usize,
    pinned: &'a [Pinned<'a>],
    outputs: &'a mut [Vec<f32>],
) -> Vec<Task<'a>> {
    let threads = rayon::current_num_threads();
    let few = jobs.iter().all(|(w, x)| rows(w, x) <= FEW);
    let mut left = all;
    let mut tasks = Vec::new();
    for ((pinned, (w, x)), out) in pinned.iter().zip(jobs).zip(outputs) {
        let (panel, most) = (w.panel_bytes().max(1), w.panels().div_ceil(threads).max(1));
        let (mut first, mut rest) = (0, out.as_mut_slice());
        while !rest.is_empty() {
            let part = if all < ONE_BY_ONE { all / TASKS } else { left / PART };
            let bytes = if few { (part / threads).max(TASK_BYTES) } else { TASK_BYTES };
            // Four panels suit the sets that take two or four at a time.
            let panels = (bytes / panel).clamp(1, most).next_multiple_of(4);
            let (own, others) = rest.split_at_mut((panels * rows(w, x) * PANEL_ROWS).min(rest.len()));
            tasks.push(Task { pinned, x, first, out: own });
            (first, rest, left) = (first + panels, others, left.saturating_sub(panels * panel));
        }
    }
    tasks
}

/// Rows of activations that a matrix meets: types of integer blocks give one product for each plane, to be added.
fn planes(w: &Matrix, x: &Acts) -> usize {
    if w.ty().block_len() == 1 { 1 } else { x.planes().max(1) }
}

fn rows(w: &Matrix, x: &Acts) -> usize {
    x.tokens() * planes(w, x)
}

/// (panels, tokens, planes, 8) → (tokens, rows)
fn ordered(w: &Matrix, x: &Acts, mut out: Vec<f32>) -> Vec<f32> {
    let (planes, all, rows) = (planes(w, x), rows(w, x), w.rows());
    if all == 1 {
        out.truncate(rows);
        return out;
    }
    let mut ordered = scratch::take(x.tokens() * rows);
    // A few tokens of a large vocabulary are worth as much as many of a small layer.
    let each =
        if ordered.len() <= ALONE { x.tokens() } else { TOKENS.min(x.tokens().div_ceil(rayon::current_num_threads())) };
    ordered.par_chunks_mut(each.max(1) * rows).enumerate().for_each(|(group, ordered)| {
        for (t, row) in ordered.chunks_exact_mut(rows).enumerate() {
            let at = (group * each + t) * planes;
            let (whole, rest) = row.as_chunks_mut::<PANEL_ROWS>();
            let (from, _) = out.as_chunks::<PANEL_ROWS>();
            let mut panel = from.iter().skip(at).step_by(all);
            for (eight, from) in whole.iter_mut().zip(&mut panel) {
                *eight = *from;
            }
            if let Some(from) = panel.next() {
                let n = rest.len();
                rest.copy_from_slice(&from[..n]);
            }
            if planes == 2 {
                let fine = from.iter().skip(at + 1).step_by(all).flatten();
                row.iter_mut().zip(fine).for_each(|(y, fine)| *y += fine);
            }
        }
    });
    scratch::give(out);
    ordered
}
