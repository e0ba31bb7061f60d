//! Q5_K: 256 five-bit values in 8 groups of 32, with scales and minima as in Q4_K.
//!
//! | bytes | field |
//! |---|---|
//! | 0..16 | `d`, `dmin`, scales and minima as in Q4_K |
//! | 16..48 | bit `g` of byte `i` is the fifth bit of `q[g][i]` |
//! | 48..176 | the low four bits, as in Q4_K |
//!
//! `x[g][i] = (d * sc[g]) * q[g][i] - dmin * m[g]`.

use super::QK_K;
use super::q4_k::{GROUP, GROUPS, Header, scales};
use super::runs::{Bytes, Run, Runs, half_at};
use super::search::{Search, nearest};

/// Bytes of a block.
pub const BYTES: usize = 176;
const _: () = assert!(BYTES == 2 + 2 + 12 + QK_K / 8 + QK_K / 2);

/// 256 five-bit values in 8 groups with six-bit scales and minima.
#[derive(Debug)]
pub struct Q5K;

impl Runs for Q5K {
    const LEN: usize = QK_K;
    const BYTES: usize = BYTES;
    const MINS: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), half_at(block, 2)]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, dmin]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<BYTES>() else { return };
        let Some((packed, _)) = block[4..].split_first_chunk::<12>() else { return };
        let (sc, m) = scales(packed);
        let [high, low @ ..] = block[16..].as_chunks::<GROUP>().0 else { return };
        let high = Bytes::load(high);
        for (g, run) in out.iter_mut().enumerate().take(GROUPS) {
            *run = Run {
                q: Bytes::load(&low[g / 2 % 4]).bits(4 * (g % 2), 15).or(high.bits(g, 1), 4),
                scale: [d * f32::from(sc[g]); 2],
                min: [dmin * f32::from(m[g]); 2],
                ..Run::ZERO
            };
        }
    }
}

/// The block of these values: for each group the scale and minimum with the least weighted square error, found by the search
/// of ggml's reference (`quantize_row_q5_K_ref`). `w` replaces the reference's own weights. `None` when a value is not finite
/// or a scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; BYTES]> {
    let header = Header::fit(x, w, 31.0, &Search { from: -0.5, step: 0.1, steps: 15, absolute: false })?;
    let mut block = [0; BYTES];
    block[..16].copy_from_slice(&header.bytes());
    for (g, group) in x.as_chunks::<GROUP>().0.iter().enumerate() {
        let (d, min) = header.group(g);
        if d == 0.0 {
            continue;
        }
        for (i, x) in group.iter().enumerate() {
            let q = nearest((x + min) / d).clamp(0.0, 31.0) as u8;
            block[16 + i] |= (q >> 4) << g;
            block[48 + GROUP * (g / 2) + i] |= (q & 15) << (4 * (g % 2));
        }
    }
    Some(block)
}
