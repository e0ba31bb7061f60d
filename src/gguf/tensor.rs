//! What the tensor directory says about one tensor.

use std::fmt;

use crate::error::{Error, Result};
use crate::quant::{BlockType, ggml_name};

/// A tensor's type: one this build reads, or another of ggml's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// A type this build reads.
    Block(BlockType),
    /// The ggml number of a type this build does not read. Listing such a tensor works, using it does not.
    Unsupported(u32),
}

impl TensorType {
    /// The type with this number in a file.
    #[must_use]
    pub fn from_ggml(id: u32) -> Self {
        BlockType::from_ggml(id).map_or(Self::Unsupported(id), Self::Block)
    }

    /// The type's number in a file.
    #[must_use]
    pub fn ggml_id(self) -> u32 {
        match self {
            Self::Block(ty) => ty.ggml_id(),
            Self::Unsupported(id) => id,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(ty) => ty.fmt(f),
            Self::Unsupported(id) => f.pad(ggml_name(*id).unwrap_or("unknown")),
        }
    }
}

/// One tensor: where its bytes lie and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name.
    pub name: String,
    /// One to four dimensions, each at least 1, in ggml's order: the first is the row's length and moves fastest.
    pub dims: Vec<u64>,
    /// The type.
    pub ty: TensorType,
    /// Which of [`super::Gguf::parts`] holds it.
    pub part: usize,
    /// Where its bytes begin in that part's file.
    pub offset: u64,
    /// Its bytes, as they are stored.
    pub bytes: u64,
    /// How a packed file stores it; `None` for the order that GGUF says.
    pub stored: Option<Stored>,
}

/// A tensor in another order than GGUF's, matrix by matrix. Nothing of it but its place is checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Name of the layout.
    pub layout: String,
    /// Bytes of one matrix.
    pub bytes: u64,
    /// From where one matrix begins to where the next one does.
    pub stride: u64,
    /// The group that shares its sections, from 1 on; 0 when it lies alone.
    pub group: u32,
}

impl TensorInfo {
    /// The block type.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unsupported`] when this build does not read the type.
    pub fn block_type(&self) -> Result<BlockType> {
        match self.ty {
            TensorType::Block(ty) => Ok(ty),
            TensorType::Unsupported(id) => Err(Error::unsupported(format!(
                "tensor {}: type {} ({id}) is not supported by this build",
                self.name, self.ty
            ))),
        }
    }

    /// Values in a row: the first dimension.
    #[must_use]
    pub fn cols(&self) -> u64 {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Rows: the product of the other dimensions.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.dims.iter().skip(1).product()
    }

    /// Values in all.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}
