//! A matrix in a file, however its values lie there, read row by row of the matrix that is to be written.

use std::ops::Range;

use rayon::prelude::*;

use crate::bytes::reserve;
use crate::error::{Error, Result};
use crate::gguf::Part;
use crate::quant::{BlockType, dequantize};

/// Bytes that one thread reads in one go.
const READ: usize = 4 << 20;
/// Columns of a transposed matrix that are turned together.
const TURNED: usize = 16;

/// How the rows of a view lie in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// One after the other.
    Rows,
    /// As half-split rotation has them, to be written as adjacent pairs: row `2i + j` of a head of `dim` rows is row
    /// `j · dim/2 + i` there.
    Heads {
        /// Rows of a head.
        dim: u64,
    },
    /// As columns: row `r` is column `r` of a file matrix whose rows are `stride` values apart.
    Columns {
        /// Values from one row of the file to the next.
        stride: u64,
    },
}

/// One matrix `(rows, cols)` in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) part: usize,
    /// Where its first value lies in the file.
    pub(super) offset: u64,
    pub(super) ty: BlockType,
    pub(super) rows: u64,
    pub(super) cols: u64,
    pub(super) order: Order,
}

/// Some rows of a view as bytes of its file.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    view: &'a View,
    rows: Range<u64>,
    bytes: Vec<u8>,
}

impl View {
    fn row_bytes(&self) -> Result<u64> {
        Ok(self.ty.row_bytes(size(self.cols)?)? as u64)
    }

    /// Reads `rows` of the view.
    pub(super) fn load(&self, parts: &[Part], rows: Range<u64>) -> Result<Raw<'_>> {
        let count = rows.end.saturating_sub(rows.start);
        let part = parts.get(self.part).ok_or_else(|| Error::internal(format!("no part {}", self.part)))?;
        let (len, segment) = match self.order {
            Order::Columns { .. } => {
                let segment = self.ty.row_bytes(size(count)?)?;
                (size(self.cols)?.checked_mul(segment), segment)
            }
            Order::Heads { .. } => (size(self.row_bytes()?)?.checked_mul(size(count)?), size(self.row_bytes()?)?),
            Order::Rows => (size(self.row_bytes()?)?.checked_mul(size(count)?), READ),
        };
        let len = len.ok_or_else(|| Error::limit("rows do not fit the address space"))?;
        let mut bytes = Vec::new();
        reserve(&mut bytes, len)?;
        bytes.resize(len, 0);
        if segment > 0 {
            bytes
                .par_chunks_mut(segment)
                .enumerate()
                .try_for_each(|(i, chunk)| part.read_at(self.place(i as u64, segment as u64, rows.start)?, chunk))?;
        }
        Ok(Raw { view: self, rows, bytes })
    }

    /// Where segment `i` of some rows from `first` on lies in the file.
    fn place(&self, i: u64, segment: u64, first: u64) -> Result<u64> {
        let ahead = match self.order {
            Order::Rows => {
                let rows = self.row_bytes()?.checked_mul(first);
                rows.zip(segment.checked_mul(i)).and_then(|(a, b)| a.checked_add(b))
            }
            Order::Heads { dim } => {
                let row = first.saturating_add(i);
                let (head, at) = (row / dim, row % dim);
                let from = head * dim + (at % 2) * (dim / 2) + at / 2;
                self.row_bytes()?.checked_mul(from)
            }
            Order::Columns { stride } => {
                let values = stride.checked_mul(i).and_then(|n| n.checked_add(first));
                values.and_then(|n| n.checked_mul(self.ty.block_bytes() as u64))
            }
        };
        ahead.and_then(|n| n.checked_add(self.offset)).ok_or_else(|| Error::limit("an offset passes 2^64"))
    }
}

impl Raw<'_> {
    /// The bytes as they are in the file, when they are whole rows in order.
    pub(super) fn plain(&self, rows: Range<u64>) -> Option<&[u8]> {
        if matches!(self.view.order, Order::Columns { .. }) {
            return None;
        }
        let row = usize::try_from(self.view.row_bytes().ok()?).ok()?;
        let at = |r: u64| usize::try_from(r.checked_sub(self.rows.start)?).ok()?.checked_mul(row);
        self.bytes.get(at(rows.start)?..at(rows.end)?)
    }

    /// The values of some of the rows, `(rows, cols)`.
    pub(super) fn values(&self, rows: Range<u64>, out: &mut Vec<f32>) -> Result<()> {
        let cols = size(self.view.cols)?;
        let count = size(rows.end.saturating_sub(rows.start))?;
        let need = cols.checked_mul(count).ok_or_else(|| Error::limit("rows do not fit the address space"))?;
        out.clear();
        reserve(out, need)?;
        out.resize(need, 0.0);
        if let Some(bytes) = self.plain(rows.clone()) {
            return dequantize(self.view.ty, bytes, out);
        }
        self.turn(size(rows.start.saturating_sub(self.rows.start))?, count, cols, out)
    }

    /// Columns of the file become rows, some of them at a time so that what is written stays close together.
    fn turn(&self, first: usize, count: usize, cols: usize, out: &mut [f32]) -> Result<()> {
        let wide = size(self.rows.end.saturating_sub(self.rows.start))?;
        let value = self.view.ty.block_bytes();
        let short = || Error::internal("a turned matrix is shorter than its shape");
        let mut strip = vec![0.0f32; TURNED * count];
        for (group, lines) in self.bytes.chunks(wide * value * TURNED).enumerate() {
            let mut some = 0;
            for (line, strip) in lines.chunks(wide * value).zip(strip.chunks_mut(count)) {
                let bytes = line.get(first * value..(first + count) * value).ok_or_else(short)?;
                dequantize(self.view.ty, bytes, strip)?;
                some += 1;
            }
            for (r, row) in out.chunks_mut(cols).enumerate() {
                let to = row.get_mut(group * TURNED..group * TURNED + some).ok_or_else(short)?;
                for (to, strip) in to.iter_mut().zip(strip.chunks(count)) {
                    *to = strip.get(r).copied().ok_or_else(short)?;
                }
            }
        }
        Ok(())
    }
}

fn size(n: u64) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::limit(format!("{n} values do not fit the address space")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of every order, read whole and in any two parts, are those of its definition.
    #[test]
    fn any_rows_of_any_order_are_those_of_its_definition() {
        let (rows, cols, before) = (24u64, 40u64, 3u64);
        let value = |at: u64| (at % 251) as f32 - 100.0;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values");
        let wide = 2 * rows; // a fused matrix: as many columns again behind the view's own
        let bytes: Vec<u8> = (0..before + cols * wide).flat_map(|at| value(at).to_le_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        let parts = [Part::open(&path).unwrap()];
        type From = fn(u64, u64) -> u64;
        let cases: [(Order, From); 3] = [
            (Order::Rows, |r, c| r * 40 + c),
            (Order::Heads { dim: 8 }, |r, c| (r / 8 * 8 + r % 2 * 4 + r % 8 / 2) * 40 + c),
            (Order::Columns { stride: 48 }, |r, c| c * 48 + r),
        ];
        for (order, from) in cases {
            let view = View { part: 0, offset: 4 * before, ty: BlockType::F32, rows, cols, order };
            let want: Vec<f32> = (0..rows).flat_map(|r| (0..cols).map(move |c| value(before + from(r, c)))).collect();
            for cut in 0..=rows {
                let mut got = vec![];
                for range in [0..cut, cut..rows].into_iter().filter(|r| !r.is_empty()) {
                    let raw = view.load(&parts, range.clone()).unwrap();
                    // Pieces of five rows, as threads take them.
                    for first in range.clone().step_by(5) {
                        let mut piece = vec![];
                        raw.values(first..range.end.min(first + 5), &mut piece).unwrap();
                        got.extend(piece);
                    }
                }
                assert!(got == want, "{order:?} cut at {cut}");
            }
        }
    }
}
