//! A tensor's bytes, made in groups of rows that fit memory and pieces of rows that fit a thread.

use std::fmt::Debug;
use std::ops::Range;

use rayon::prelude::*;

use super::Planned;
use super::importance::Importance;
use super::shards::Shards;
use super::view::{Raw, View};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Part};
use crate::quant::{BlockType, quantize_weighted};

/// Values that are read and written in one go: 64 MiB at most.
const GROUP: u64 = 16 << 20;
/// Values that one thread turns into blocks at a time.
const PIECE: u64 = 1 << 18;

/// The open files that values come from.
#[derive(Debug)]
pub(super) enum Origin {
    Shards(Shards),
    Gguf(Gguf),
    Nothing,
}

/// Rows that are made up rather than read.
pub(super) trait Random: Debug + Send + Sync {
    /// Appends the blocks of `rows` of matrix number `copy`.
    fn rows(&self, copy: u64, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()>;
}

/// Where one tensor's values come from.
#[derive(Debug)]
pub(super) enum Made {
    /// These.
    Values(Vec<f32>),
    /// Matrices of files, one after the other.
    Views(Vec<View>),
    /// A generator.
    Random(Box<dyn Random>),
}

/// Where all values come from, tensor by tensor.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) origin: Origin,
    pub(super) made: Vec<Made>,
    pub(super) importance: Option<Importance>,
}

/// Rows of one matrix of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) copy: u64,
    pub(super) rows: Range<u64>,
    /// Bytes of the tensor before it, and with it.
    pub(super) bytes: Range<u64>,
}

/// Rows and columns of one matrix of a tensor.
fn matrix(planned: &Planned) -> (u64, u64) {
    (planned.dims.get(1).copied().unwrap_or(1), planned.dims.first().copied().unwrap_or(1))
}

fn step(cols: u64, values: u64) -> u64 {
    (values / cols.max(1)).max(1)
}

/// The groups of a tensor in order. They depend on its shape alone.
pub(super) fn groups(planned: &Planned) -> Result<Vec<Group>> {
    let (rows, cols) = matrix(planned);
    let row = planned.ty.row_bytes(usize::try_from(cols).unwrap_or(usize::MAX))? as u64;
    let copies: u64 = planned.dims.iter().skip(2).product();
    let (mut out, mut at) = (Vec::new(), 0u64);
    for copy in 0..copies {
        let mut first = 0;
        while first < rows {
            let end = rows.min(first.saturating_add(step(cols, GROUP)));
            let bytes = at..at.saturating_add((end - first).saturating_mul(row));
            at = bytes.end;
            out.push(Group { copy, rows: first..end, bytes });
            first = end;
        }
    }
    Ok(out)
}

impl Content {
    fn parts(&self) -> &[Part] {
        match &self.origin {
            Origin::Shards(shards) => &shards.parts,
            Origin::Gguf(gguf) => gguf.parts(),
            Origin::Nothing => &[],
        }
    }

    /// The bytes of one group of tensor `i`, piece by piece.
    pub(super) fn make(&self, i: usize, planned: &Planned, group: &Group) -> Result<Vec<Vec<u8>>> {
        let made = self.made.get(i).ok_or_else(|| Error::internal(format!("tensor {i} has no source")))?;
        let result = match made {
            Made::Values(values) => blocks(planned.ty, values, None).map(|bytes| vec![bytes]),
            Made::Random(random) => self.each_piece(planned, group, |rows| {
                let mut out = Vec::new();
                random.rows(group.copy, rows, &mut out)?;
                Ok(out)
            }),
            Made::Views(views) => {
                let view = usize::try_from(group.copy).ok().and_then(|copy| views.get(copy));
                let view = view.ok_or_else(|| Error::internal(format!("matrix {} has no source", group.copy)))?;
                let raw = view.load(self.parts(), group.rows.clone())?;
                self.each_piece(planned, group, |rows| self.convert(planned, group.copy, view.ty, &raw, rows))
            }
        };
        result.map_err(|e| e.context(format_args!("tensor {}", planned.name)))
    }

    fn each_piece(
        &self,
        planned: &Planned,
        group: &Group,
        f: impl Fn(Range<u64>) -> Result<Vec<u8>> + Sync,
    ) -> Result<Vec<Vec<u8>>> {
        let step = step(matrix(planned).1, PIECE);
        let count = group.rows.end.saturating_sub(group.rows.start).div_ceil(step);
        let piece = |n: u64| {
            let first = group.rows.start + n * step;
            f(first..group.rows.end.min(first + step))
        };
        (0..count).into_par_iter().map(piece).collect()
    }

    /// Some rows in the type they are to have.
    fn convert(
        &self,
        planned: &Planned,
        copy: u64,
        from: BlockType,
        raw: &Raw<'_>,
        rows: Range<u64>,
    ) -> Result<Vec<u8>> {
        if from == planned.ty
            && from.block_len() > 1
            && let Some(bytes) = raw.plain(rows.clone())
        {
            return Ok(bytes.to_vec());
        }
        let mut values = Vec::new();
        raw.values(rows.clone(), &mut values)?;
        check_finite(&values, copy, rows.start, matrix(planned).1)?;
        let weights = self.importance.as_ref().and_then(|all| all.columns(&planned.name, copy));
        let repeated = weights.map(|w| {
            let mut all = Vec::with_capacity(values.len());
            while all.len() < values.len() && !w.is_empty() {
                all.extend_from_slice(w);
            }
            all
        });
        blocks(planned.ty, &values, repeated.as_deref())
    }
}

fn blocks(ty: BlockType, values: &[f32], weights: Option<&[f32]>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    quantize_weighted(ty, values, weights, &mut out)?;
    Ok(out)
}

fn check_finite(values: &[f32], copy: u64, first: u64, cols: u64) -> Result<()> {
    let Some(at) = values.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let (row, col) = (first + at as u64 / cols.max(1), at as u64 % cols.max(1));
    let value = values.get(at).copied().unwrap_or(f32::NAN);
    Err(Error::numeric(format!("matrix {copy}, row {row}, column {col} is {value}, expected a finite number")))
}
