//! Weight matrices times activations, spread over the threads of the current pool.

use rayon::prelude::*;

use super::awake::share;
use super::scratch;
use crate::error::Result;
use crate::kernels::{ActRows, Kernels, Panels};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::{Matrix, Pinned};

/// Bytes of weights that are worth a task of their own.
const TASK_BYTES: usize = 1 << 16;
/// Where few rows of activations go over much memory, a task is this part of what is left for each thread: memory gives long
/// stretches faster, and the last task, which the others wait for, is short.
const PART: usize = 2;
/// So many rows are few.
const FEW: usize = 4;
/// Tokens whose outputs are put in order together.
const TOKENS: usize = 8;
/// Values that one thread puts in order before the others would have woken up.
const ALONE: usize = 1 << 15;

/// One product, `y = W x`.
pub(super) struct Product<'a> {
    pub(super) w: &'a Matrix,
    pub(super) x: ActRows<'a>,
    /// `(tokens, rows)`
    pub(super) y: &'a mut [f32],
}

/// `W x`, `(tokens, rows)`, in a [`scratch`] buffer: whoever does not pass it on gives it back.
///
/// # Errors
/// As [`linear_all`].
pub(super) fn linear(k: &Kernels, w: &Matrix, x: ActRows<'_>) -> Result<Vec<f32>> {
    let mut y = scratch::take(x.tokens() * w.rows());
    linear_all(k, &mut [Product { w, x, y: &mut y }])?;
    Ok(y)
}

/// Several products in one go over the threads. The results do not depend on the number of threads.
///
/// # Errors
/// What bringing the weights into memory gives.
pub(super) fn linear_all(k: &Kernels, products: &mut [Product<'_>]) -> Result<()> {
    let pinned = products.iter().map(|p| p.w.pin()).collect::<Result<Vec<_>>>()?;
    let all: usize = products.iter().map(|p| p.w.panels() * p.w.panel_bytes()).sum();
    let mut panels = scratch::take(products.iter().map(Product::in_panels).sum());
    let tasks = tasks(products, all, &pinned, &mut panels);
    let work = |task: Task<'_>| {
        let w = task.pinned.matrix();
        let panels = task.out.len() / (rows(w, task.x) * PANEL_ROWS);
        task.pinned.with_panels(task.first..task.first + panels, |bytes| {
            (k.matmul)(Panels { ty: w.ty(), cols: w.cols(), bytes }, task.x, task.out);
        })
    };
    share(tasks, work)?;
    order(products, &panels);
    scratch::give(panels);
    Ok(())
}

impl Product<'_> {
    /// Whether panels give the output as it is: one row, and whole panels of it.
    fn is_in_order(&self) -> bool {
        rows(self.w, self.x) == 1 && self.y.len() == self.w.panels() * PANEL_ROWS
    }

    /// Values that are to be put in order.
    fn in_panels(&self) -> usize {
        if self.is_in_order() { 0 } else { self.w.panels() * rows(self.w, self.x) * PANEL_ROWS }
    }
}

/// Some panels of one matrix and where their products go.
struct Task<'a> {
    pinned: &'a Pinned<'a>,
    x: ActRows<'a>,
    first: usize,
    out: &'a mut [f32],
}

/// Cuts the matrices, `all` bytes of them, into tasks in the order of memory. What is not in order goes to `panels`.
fn tasks<'a>(
    products: &'a mut [Product<'_>],
    all: usize,
    pinned: &'a [Pinned<'a>],
    mut panels: &'a mut [f32],
) -> Vec<Task<'a>> {
    let threads = rayon::current_num_threads();
    let few = products.iter().all(|p| rows(p.w, p.x) <= FEW);
    let mut left = all;
    let mut tasks = Vec::new();
    for (pinned, p) in pinned.iter().zip(products) {
        let (w, x) = (p.w, p.x);
        let (panel, most) = (w.panel_bytes().max(1), w.panels().div_ceil(threads).max(1));
        let (own, others) = std::mem::take(&mut panels).split_at_mut(p.in_panels());
        panels = others;
        let (mut first, mut rest) = (0, if own.is_empty() { &mut *p.y } else { own });
        while !rest.is_empty() {
            let bytes = if few { (left / PART / threads).max(TASK_BYTES) } else { TASK_BYTES };
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
fn planes(w: &Matrix, x: ActRows<'_>) -> usize {
    if w.ty().block_len() == 1 { 1 } else { x.planes().max(1) }
}

fn rows(w: &Matrix, x: ActRows<'_>) -> usize {
    x.tokens() * planes(w, x)
}

/// Some neighbouring tokens of a product: what the panels gave, `(panels, tokens, planes, 8)`, and where it goes.
struct Disordered<'a> {
    from: &'a [[f32; PANEL_ROWS]],
    all: usize,
    planes: usize,
    first: usize,
    y: &'a mut [f32],
    rows: usize,
}

/// (panels, tokens, planes, 8) → (tokens, rows)
fn order(products: &mut [Product<'_>], mut panels: &[f32]) {
    let mut parts = Vec::new();
    for p in products.iter_mut().filter(|p| !p.is_in_order()) {
        let (own, others) = panels.split_at(p.in_panels());
        panels = others;
        let (all, planes, rows) = (rows(p.w, p.x), planes(p.w, p.x), p.w.rows());
        // A few tokens of a large vocabulary are worth as much as many of a small layer.
        let each = TOKENS.min(p.x.tokens().div_ceil(rayon::current_num_threads())).max(1);
        let from = own.as_chunks().0;
        let groups = p.y.chunks_mut(each * rows).enumerate();
        parts.extend(groups.map(|(i, y)| Disordered { from, all, planes, first: i * each * planes, y, rows }));
    }
    if parts.iter().map(|part| part.y.len()).sum::<usize>() <= ALONE {
        parts.into_iter().for_each(Disordered::order);
    } else {
        parts.into_par_iter().for_each(Disordered::order);
    }
}

impl Disordered<'_> {
    /// Panel by panel, so that what is read lies side by side.
    fn order(self) {
        for (panel, from) in self.from.chunks_exact(self.all).enumerate() {
            let to = panel * PANEL_ROWS..((panel + 1) * PANEL_ROWS).min(self.rows);
            let own = from.iter().skip(self.first).step_by(self.planes);
            for (y, from) in self.y.chunks_exact_mut(self.rows).zip(own) {
                let y = &mut y[to.clone()];
                match <&mut [f32; PANEL_ROWS]>::try_from(&mut *y) {
                    Ok(y) => *y = *from,
                    Err(_) => y.copy_from_slice(&from[..y.len()]),
                }
            }
            if self.planes == 2 {
                let fine = from.iter().skip(self.first + 1).step_by(2);
                for (y, fine) in self.y.chunks_exact_mut(self.rows).zip(fine) {
                    y[to.clone()].iter_mut().zip(fine).for_each(|(y, fine)| *y += fine);
                }
            }
        }
    }
}
