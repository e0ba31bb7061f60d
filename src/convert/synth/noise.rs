//! Random rows at the speed of a copy: each block is drawn, by a counter, from a pool of valid blocks.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use super::super::pieces::Random;
use crate::bytes::reserve;
use crate::error::{Error, Result};
use crate::quant::{BlockType, quantize};

/// Units of a pool: a power of two.
const UNITS: usize = 2048;
/// Values of a unit where a block is shorter.
const SHORTEST: usize = 32;

/// Steele, Lea and Flood's SplitMix64: a counter's value becomes an even 64-bit number.
pub(super) fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Blocks of normally distributed values.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) ty: BlockType,
    bytes: Vec<u8>,
    unit: usize,
    unit_bytes: usize,
}

impl Pool {
    /// Blocks of values around 0 with this standard deviation.
    pub(super) fn new(ty: BlockType, deviation: f32, seed: u64) -> Result<Self> {
        let unit = ty.block_len().max(SHORTEST);
        let (mut bytes, mut values) = (Vec::new(), vec![0.0f32; unit]);
        let mut counter = mix(seed);
        for _ in 0..UNITS {
            for value in &mut values {
                // The sum of twelve even numbers is near enough to normal, and the same on every machine.
                let mut sum = -6.0f32;
                for _ in 0..12 {
                    counter = counter.wrapping_add(1);
                    sum += (mix(counter) >> 40) as f32 / (1u32 << 24) as f32;
                }
                *value = sum * deviation;
            }
            quantize(ty, &values, &mut bytes)?;
        }
        Ok(Self { ty, bytes, unit, unit_bytes: ty.row_bytes(unit)? })
    }

    /// Appends a row of `cols` values.
    fn row(&self, counter: u64, cols: usize, out: &mut Vec<u8>) -> Result<()> {
        let end = out.len() + self.ty.row_bytes(cols)?;
        let mut counter = mix(counter);
        for _ in 0..cols.div_ceil(self.unit) {
            counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let at = (mix(counter) >> 32) as usize % UNITS * self.unit_bytes;
            out.extend_from_slice(self.bytes.get(at..at + self.unit_bytes).unwrap_or_default());
        }
        out.truncate(end);
        Ok(())
    }
}

/// What is said of a row instead of noise.
pub(super) enum Own {
    /// All of it.
    Row(Vec<f32>),
    /// The values from a column on, which begins a block.
    Part(usize, Vec<f32>),
}

/// Rows that are not noise.
pub(super) trait OwnRows: Debug + Send + Sync {
    fn row(&self, row: u64) -> Option<Own>;
}

/// Matrices of noise, all of one shape.
#[derive(Debug)]
pub(super) struct Noise {
    pub(super) pool: Arc<Pool>,
    pub(super) seed: u64,
    pub(super) cols: usize,
    pub(super) own: Option<Box<dyn OwnRows>>,
}

impl Random for Noise {
    fn rows(&self, copy: u64, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let (ty, row_bytes) = (self.pool.ty, self.pool.ty.row_bytes(self.cols)?);
        let count = usize::try_from(rows.end.saturating_sub(rows.start)).unwrap_or(usize::MAX);
        // Room for the unit that a row's last block is cut out of.
        reserve(out, row_bytes.saturating_mul(count).saturating_add(self.pool.unit_bytes))?;
        for row in rows {
            let start = out.len();
            let own = self.own.as_ref().and_then(|own| own.row(row));
            if let Some(Own::Row(values)) = &own {
                quantize(ty, values, out)?;
                continue;
            }
            self.pool.row(self.seed ^ mix(copy << 40 ^ row), self.cols, out)?;
            if let Some(Own::Part(col, values)) = own {
                let mut part = Vec::new();
                quantize(ty, &values, &mut part)?;
                let at = start + ty.row_bytes(col)?;
                let to = out.get_mut(at..at + part.len());
                to.ok_or_else(|| Error::internal("a part of a row runs past its end"))?.copy_from_slice(&part);
            }
        }
        Ok(())
    }
}
