//! What both kinds of attention share: queries, keys and values taken apart by head, the heads over the threads, their results
//! put side by side again.

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::engine::scratch;

/// Query rows that share a pass over keys and values.
pub(super) const TILE: usize = 32;

/// One head's columns of queries, keys and values, each `(seq, width)`.
pub(super) type Head<'a> = [&'a [f32]; 3];

/// `one(row, head, columns, out)` fills `(seq, width)` of zeros for every row of the batch and every head. Queries, keys and
/// values are `(batch, seq, heads · width)`, and so is the result.
pub(super) fn over_heads(
    inputs: [&TValue; 3],
    heads: usize,
    width: usize,
    one: impl Fn(usize, usize, Head<'_>, &mut [f32]) + Sync,
) -> TractResult<TValue> {
    let all = heads * width;
    let [q, k, v] = inputs;
    let &[batch, seq, columns] = q.shape() else { bail!("queries of shape {:?}", q.shape()) };
    ensure!(
        columns == all && [k, v].iter().all(|t| t.shape() == q.shape()),
        "attention of {all} columns over {inputs:?}"
    );
    let mut out = Tensor::zero::<f32>(&[batch, seq, all])?;
    if out.len() == 0 {
        return Ok(out.into_tvalue());
    }
    let (q, k, v) = (q.try_as_plain_ram()?, k.try_as_plain_ram()?, v.try_as_plain_ram()?);
    let inputs = [q.as_slice::<f32>()?, k.as_slice::<f32>()?, v.as_slice::<f32>()?];
    let mut by_head = scratch::take(batch * seq * all); // (batch, heads, seq, width)
    by_head.fill(0.0);
    by_head.par_chunks_mut(seq * width).enumerate().for_each(|(at, out)| {
        let (row, head) = (at / heads, at % heads);
        let of = |x: &[f32]| taken(x.get(row * seq * all..(row + 1) * seq * all).unwrap_or_default(), all, head, width);
        let [q, k, v] = inputs.map(of);
        one(row, head, [&q, &k, &v], out);
        [q, k, v].into_iter().for_each(scratch::give);
    });
    let mut plain = out.try_as_plain_ram_mut()?;
    let rows = plain.as_slice_mut::<f32>()?.chunks_exact_mut(seq * all);
    for (out, by_head) in rows.zip(by_head.chunks_exact(seq * all)) {
        for (h, head) in by_head.chunks_exact(seq * width).enumerate() {
            for (out, x) in out.chunks_exact_mut(all).zip(head.chunks_exact(width)) {
                out.iter_mut().skip(h * width).zip(x).for_each(|(o, x)| *o = *x);
            }
        }
    }
    scratch::give(by_head);
    Ok(out.into_tvalue())
}

/// The columns of one head, `(seq, width)`.
fn taken(x: &[f32], all: usize, head: usize, width: usize) -> Vec<f32> {
    let mut out = scratch::take(x.len() / all * width);
    for (out, row) in out.chunks_exact_mut(width).zip(x.chunks_exact(all)) {
        out.copy_from_slice(row.get(head * width..(head + 1) * width).unwrap_or_default());
    }
    out
}
