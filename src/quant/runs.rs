//! The exact integer form of a block: what the kernels multiply, and what dequantizing means for most types.

use super::scale;

/// Values in a run.
pub const RUN: usize = 32;

/// Thirty-two neighbouring values of a row: `x[i] = scale[i / 16] * ints()[i] - min[i / 16]`, both steps rounded to single
/// precision.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Run {
    /// The integers, or where the type has a [`Runs::TABLE`], places in it.
    pub q: Bytes,
    /// One scale for each half.
    pub scale: [f32; 2],
    /// What each half's products are reduced by.
    pub min: [f32; 2],
    /// Where the type has [`Runs::SIGNS`], bit `i` negates integer `i`.
    pub signs: u32,
}

impl Run {
    /// All zero.
    pub const ZERO: Self = Self { q: Bytes([0; 4]), scale: [0.0; 2], min: [0.0; 2], signs: 0 };

    /// The integers that a run of type `T` stands for.
    #[inline(always)]
    pub fn ints<T: Runs>(&self) -> [i8; RUN] {
        let mut ints = [0; RUN];
        for (ints, bytes) in ints.as_chunks_mut::<8>().0.iter_mut().zip(self.q.0) {
            *ints = bytes.to_le_bytes().map(u8::cast_signed);
        }
        if let Some(table) = T::TABLE {
            ints = ints.map(|place| table[usize::from(place.cast_unsigned() & 15)]);
        }
        if T::SIGNS {
            for (i, q) in ints.iter_mut().enumerate() {
                *q *= 1 - 2 * (self.signs >> i & 1) as i8;
            }
        }
        ints
    }
}

/// Thirty-two bytes that are worked on together, eight to a number, the first ones lowest.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Bytes(pub [u64; 4]);

impl Bytes {
    /// Bytes of a block, in order.
    #[inline(always)]
    pub(super) fn load(bytes: &[u8; 32]) -> Self {
        let (first, second) = bytes.split_at(16);
        let ([a, b], [c, d]) = (words(first), words(second));
        Self([a, b, c, d])
    }

    /// The low halves of sixteen bytes, then the high halves.
    #[inline(always)]
    pub(super) fn nibbles(bytes: &[u8; 16]) -> Self {
        let [a, b] = words(bytes);
        Self([a & eight(15), b & eight(15), a >> 4 & eight(15), b >> 4 & eight(15)])
    }

    /// In each byte the bits of `mask`, from bit `shift` of the byte on.
    #[inline(always)]
    pub(super) fn bits(self, shift: usize, mask: u8) -> Self {
        let [a, b, c, d] = self.0;
        let mask = eight(mask);
        Self([a >> shift & mask, b >> shift & mask, c >> shift & mask, d >> shift & mask])
    }

    /// The bits of either, those of `high` raised by `shift`; none may leave its byte.
    #[inline(always)]
    pub(super) fn or(self, high: Self, shift: usize) -> Self {
        let ([a, b, c, d], [h, i, j, k]) = (self.0, high.0);
        Self([a | h << shift, b | i << shift, c | j << shift, d | k << shift])
    }

    /// Each byte, below 128, less `offset`, below 128.
    #[inline(always)]
    pub(super) fn less(self, offset: u8) -> Self {
        let [a, b, c, d] = self.0;
        // With its top bit set no byte borrows from the next.
        let less = |x: u64| ((x | eight(128)) - eight(offset)) ^ eight(128);
        Self([less(a), less(b), less(c), less(d)])
    }
}

/// Two numbers of sixteen bytes, zero where there are fewer.
#[inline(always)]
pub(super) fn words(bytes: &[u8]) -> [u64; 2] {
    match bytes.as_chunks::<8>().0 {
        [a, b, ..] => [u64::from_le_bytes(*a), u64::from_le_bytes(*b)],
        _ => [0; 2],
    }
}

/// A block type whose values have the integer form.
///
/// The functions are written to be compiled anew inside each instruction set's kernels: no branches on values, fixed lengths.
pub trait Runs {
    /// Values in a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether a minimum can differ from zero.
    const MINS: bool = false;
    /// Whether the halves of a run can differ in scale or minimum.
    const HALVES: bool = false;
    /// What a run's `q` stand for, where they are places in a table.
    const TABLE: Option<&'static [i8; 16]> = None;
    /// Whether a run's `signs` count.
    const SIGNS: bool = false;

    /// The block's half-precision factors as bits: of the scales and of the minima; zero where there is none.
    fn factors(block: &[u8]) -> [u16; 2];

    /// The block's runs in order, `out` being `LEN / RUN` of them; `factors` in single precision. Does nothing for a block
    /// that is too short.
    fn runs(block: &[u8], factors: [f32; 2], out: &mut [Run]);
}

/// `$then` with `$t` naming the [`Runs`] of a block type that has them, `$otherwise` for the float types and those that have
/// a form of their own.
macro_rules! with_runs {
    ($ty:expr, $t:ident => $then:expr, _ => $otherwise:expr) => {
        $crate::quant::runs::with_runs!(@ $ty, $t, $then, $otherwise,
            Q4_1 legacy::Q4_1, Q5_0 legacy::Q5_0, Q5_1 legacy::Q5_1, Q2K q2_k::Q2K, Q3K q3_k::Q3K, Q5K q5_k::Q5K,
            Iq1S iq1::Iq1S, Iq1M iq1::Iq1M, Iq2Xxs iq2::Iq2Xxs, Iq2Xs iq2::Iq2Xs, Iq2S iq2::Iq2S,
            Iq3Xxs iq3::Iq3Xxs, Iq3S iq3::Iq3S, Iq4Nl iq4::Iq4Nl, Iq4Xs iq4::Iq4Xs, Mxfp4 iq4::Mxfp4,
            Tq1_0 tq::Tq1_0, Tq2_0 tq::Tq2_0)
    };
    (@ $ty:expr, $t:ident, $then:expr, $otherwise:expr, $($variant:ident $module:ident::$marker:ident),*) => {
        match $ty {
            $($crate::quant::BlockType::$variant => {
                type $t = $crate::quant::$module::$marker;
                $then
            })*
            $crate::quant::BlockType::F32
            | $crate::quant::BlockType::F16
            | $crate::quant::BlockType::Bf16
            | $crate::quant::BlockType::Q8_0
            | $crate::quant::BlockType::Q4_0
            | $crate::quant::BlockType::Q4K
            | $crate::quant::BlockType::Q6K => $otherwise,
        }
    };
}
pub(crate) use with_runs;

/// The little-endian half at byte `at`, zero past the end.
#[inline(always)]
pub(super) fn half_at(block: &[u8], at: usize) -> u16 {
    block.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

/// The little-endian number of four bytes at byte `at`, zero past the end.
#[inline(always)]
pub(super) fn word(block: &[u8], at: usize) -> u32 {
    block.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// Writes the values of whole blocks to `out`.
pub(crate) fn dequantize<T: Runs>(bytes: &[u8], out: &mut [f32]) {
    let mut runs = [Run::ZERO; super::QK_K / RUN];
    let runs = &mut runs[..T::LEN / RUN];
    for (block, out) in bytes.chunks_exact(T::BYTES).zip(out.chunks_exact_mut(T::LEN)) {
        T::runs(block, T::factors(block).map(|h| scale(h.to_le_bytes())), runs);
        for (run, out) in runs.iter().zip(out.chunks_exact_mut(RUN)) {
            let ints = run.ints::<T>();
            let halves = ints.as_chunks::<16>().0.iter().zip(out.chunks_exact_mut(16));
            for (h, (q, out)) in halves.enumerate() {
                for (q, x) in q.iter().zip(out) {
                    *x = run.scale[h] * f32::from(*q) - run.min[h];
                }
            }
        }
    }
}

/// For each byte its bits as bytes of all ones or all zeros, the lowest first.
pub(super) static MASKS: [u64; 256] = {
    let mut masks = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                masks[byte] |= 0xff << (8 * bit);
            }
            bit += 1;
        }
        byte += 1;
    }
    masks
};

/// A byte repeated eight times.
pub(super) const fn eight(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}
