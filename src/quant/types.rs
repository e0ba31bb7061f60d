//! The block types this build reads: number, name, size.

use std::fmt;

use super::{QK_K, iq1, iq2, iq3, iq4, legacy, q2_k, q3_k, q4_0, q4_k, q5_k, q6_k, q8_0, tq};
use crate::error::{Error, Result};

/// The block types this build reads. The discriminant is the type's number in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum BlockType {
    /// 32-bit floats.
    F32 = 0,
    /// 16-bit IEEE floats.
    F16 = 1,
    /// The upper half of 32-bit floats.
    Bf16 = 30,
    /// 32 signed bytes under one scale.
    Q8_0 = 8,
    /// 32 four-bit values under one scale.
    Q4_0 = 2,
    /// 32 four-bit values under one scale and one minimum.
    Q4_1 = 3,
    /// 32 five-bit values under one scale.
    Q5_0 = 6,
    /// 32 five-bit values under one scale and one minimum.
    Q5_1 = 7,
    /// 256 two-bit values in 16 groups with four-bit scales and minima.
    Q2K = 10,
    /// 256 three-bit values in 16 groups with six-bit scales.
    Q3K = 11,
    /// 256 four-bit values in 8 groups with six-bit scales and minima.
    Q4K = 12,
    /// 256 five-bit values in 8 groups with six-bit scales and minima.
    Q5K = 13,
    /// 256 six-bit values in 16 groups with eight-bit scales.
    Q6K = 14,
    /// 256 values as 32 points of a grid of 2048 with three levels, in 8 groups with three-bit scales.
    Iq1S = 19,
    /// As IQ1_S in 16 groups.
    Iq1M = 29,
    /// 256 values as 32 points of a grid of 256 with signs, in 8 groups with four-bit scales.
    Iq2Xxs = 16,
    /// 256 values as 32 points of a grid of 512 with signs, in 16 groups with four-bit scales.
    Iq2Xs = 17,
    /// 256 values as 32 points of a grid of 1024 with signs, in 16 groups with four-bit scales.
    Iq2S = 22,
    /// 256 values as 64 points of a grid of 256 with signs, in 8 groups with four-bit scales.
    Iq3Xxs = 18,
    /// 256 values as 64 points of a grid of 512 with signs, in 8 groups with four-bit scales.
    Iq3S = 21,
    /// 32 values from a table of 16 under one scale.
    Iq4Nl = 20,
    /// 256 values from a table of 16 in 8 groups with six-bit scales.
    Iq4Xs = 23,
    /// 256 values of -1, 0 or 1 in base three under one scale.
    Tq1_0 = 34,
    /// 256 values from -1 to 2 in two bits under one scale.
    Tq2_0 = 35,
    /// 32 four-bit floats under a power of two.
    Mxfp4 = 39,
}

impl BlockType {
    /// Every block type.
    pub const ALL: [Self; 25] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq1S,
        Self::Iq1M,
        Self::Iq2Xxs,
        Self::Iq2Xs,
        Self::Iq2S,
        Self::Iq3Xxs,
        Self::Iq3S,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Tq1_0,
        Self::Tq2_0,
        Self::Mxfp4,
    ];

    /// The type with this number in a GGUF file, if this build reads it.
    #[must_use]
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.ggml_id() == id)
    }

    /// The type with this name in GGUF tools, in capitals or not: `q4_k`, `BF16`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// The type's number in a GGUF file.
    #[must_use]
    pub const fn ggml_id(self) -> u32 {
        self as u32
    }

    /// Whether [`super::quantize`] writes this type.
    #[must_use]
    pub const fn can_quantize(self) -> bool {
        !matches!(
            self,
            Self::Iq1S | Self::Iq1M | Self::Iq2Xxs | Self::Iq2Xs | Self::Iq2S | Self::Iq3Xxs | Self::Iq3S | Self::Mxfp4
        )
    }

    /// The type's name in GGUF tools, for example `Q4_K`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.shape().0
    }

    /// Values in one block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        self.shape().1
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        self.shape().2
    }

    /// (name, values in a block, bytes of a block)
    const fn shape(self) -> (&'static str, usize, usize) {
        match self {
            Self::F32 => ("F32", 1, 4),
            Self::F16 => ("F16", 1, 2),
            Self::Bf16 => ("BF16", 1, 2),
            Self::Q8_0 => ("Q8_0", q8_0::LEN, q8_0::BYTES),
            Self::Q4_0 => ("Q4_0", q4_0::LEN, q4_0::BYTES),
            Self::Q4_1 => ("Q4_1", legacy::LEN, legacy::Q4_1_BYTES),
            Self::Q5_0 => ("Q5_0", legacy::LEN, legacy::Q5_0_BYTES),
            Self::Q5_1 => ("Q5_1", legacy::LEN, legacy::Q5_1_BYTES),
            Self::Q2K => ("Q2_K", QK_K, q2_k::BYTES),
            Self::Q3K => ("Q3_K", QK_K, q3_k::BYTES),
            Self::Q4K => ("Q4_K", QK_K, q4_k::BYTES),
            Self::Q5K => ("Q5_K", QK_K, q5_k::BYTES),
            Self::Q6K => ("Q6_K", QK_K, q6_k::BYTES),
            Self::Iq1S => ("IQ1_S", QK_K, iq1::S_BYTES),
            Self::Iq1M => ("IQ1_M", QK_K, iq1::M_BYTES),
            Self::Iq2Xxs => ("IQ2_XXS", QK_K, iq2::XXS_BYTES),
            Self::Iq2Xs => ("IQ2_XS", QK_K, iq2::XS_BYTES),
            Self::Iq2S => ("IQ2_S", QK_K, iq2::S_BYTES),
            Self::Iq3Xxs => ("IQ3_XXS", QK_K, iq3::XXS_BYTES),
            Self::Iq3S => ("IQ3_S", QK_K, iq3::S_BYTES),
            Self::Iq4Nl => ("IQ4_NL", iq4::NL_LEN, iq4::NL_BYTES),
            Self::Iq4Xs => ("IQ4_XS", QK_K, iq4::XS_BYTES),
            Self::Tq1_0 => ("TQ1_0", QK_K, tq::TQ1_0_BYTES),
            Self::Tq2_0 => ("TQ2_0", QK_K, tq::TQ2_0_BYTES),
            Self::Mxfp4 => ("MXFP4", iq4::MXFP4_LEN, iq4::MXFP4_BYTES),
        }
    }

    /// Bytes of `cols` values.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] when `cols` is not a whole number of blocks,
    /// [`crate::error::Kind::Limit`] when the bytes do not fit the address space.
    pub fn row_bytes(self, cols: usize) -> Result<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return Err(Error::argument(format!("{cols} values are not whole {self} blocks of {}", self.block_len())));
        }
        (cols / self.block_len())
            .checked_mul(self.block_bytes())
            .ok_or_else(|| Error::limit(format!("{cols} values of type {self} are more bytes than can be addressed")))
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
