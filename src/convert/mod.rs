//! Making model files: Hugging Face folders and GGUF files into GGUF of any type, and synthetic models of any shape.
//!
//! A [`Conversion`] is a plan (which tensors, of which types, from where) that [`Conversion::run`] carries out in bounded
//! pieces. What it writes depends on the sources and options alone: not on threads, memory, or how often it was broken off
//! and taken up again.

mod config;
mod folder;
mod importance;
mod json;
mod keys;
mod pack;
mod pieces;
mod requantize;
mod run;
mod shards;
mod synth;
mod tensors;
mod types;
mod view;
mod vision;
mod vocabulary;

use std::path::Path;

use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::gguf::Writer;
use crate::quant::BlockType;

pub use importance::{CHUNK, Importance};
pub use pack::Packing;
pub use synth::{Routing, Shape, SynthOptions};
pub use types::Types;

use pieces::Content;

/// What is asked of a conversion beside its source.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The block types.
    pub types: Types,
    /// `general.name`; `None` takes what the source says, else its folder's name.
    pub name: Option<String>,
    /// What each column of a matrix weighs when it is rounded.
    pub importance: Option<Importance>,
}

/// How a conversion is carried out.
#[derive(Default)]
pub struct Control<'a> {
    /// Looked at before every piece.
    pub cancel: CancelFlag,
    /// Hears of bytes done and bytes in all.
    pub progress: Option<&'a mut (dyn FnMut(u64, u64) + Send)>,
    /// Threads; 0 takes what the machine offers.
    pub threads: usize,
    /// Take the place of a file that is there.
    pub replace: bool,
}

/// One tensor of the file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name in the file.
    pub name: String,
    /// In ggml's order: the row's length first.
    pub dims: Vec<u64>,
    /// What it is made from; `None` for values that are computed.
    pub from: Option<BlockType>,
    /// What it is written as.
    pub ty: BlockType,
    /// Its bytes.
    pub bytes: u64,
}

/// A file to be written: its metadata, its tensors, and where their values come from.
#[derive(Debug)]
pub struct Conversion {
    writer: Writer,
    planned: Vec<Planned>,
    content: Content,
    /// Names everything that the bytes depend on beside the header.
    key: String,
    notes: Vec<String>,
}

/// What [`Conversion::run`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Bytes of the file.
    pub bytes: u64,
    /// How many of them an earlier run had written.
    pub kept: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Conversion {
    /// Plans the text model of a Hugging Face folder. Headers and the tokenizer are read, weights are not.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`] for a missing or unreadable file, [`crate::error::Kind::Corrupt`] for a damaged or
    /// contradictory one, [`crate::error::Kind::Unsupported`] for another architecture, a quantized checkpoint or a layout
    /// that GGUF cannot say.
    pub fn from_folder(folder: &Path, options: &Options) -> Result<Self> {
        folder::text(folder, options)
    }

    /// Plans the vision tower of a Hugging Face folder, in the names and keys of llama.cpp's `mmproj` files.
    ///
    /// # Errors
    /// As [`Conversion::from_folder`]; [`crate::error::Kind::Argument`] for a folder without one.
    pub fn vision_from_folder(folder: &Path, options: &Options) -> Result<Self> {
        folder::vision(folder, options)
    }

    /// Plans another type for the GGUF file (or split model) at `path`; its metadata is carried over.
    ///
    /// # Errors
    /// As [`crate::gguf::Gguf::open`]; [`crate::error::Kind::Unsupported`] for a tensor whose type this build does not read.
    pub fn from_gguf(path: &Path, options: &Options) -> Result<Self> {
        requantize::plan(path, options)
    }

    /// Plans a model of random weights.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for a shape or routing that cannot be made, with the reason.
    pub fn synthetic(options: &SynthOptions) -> Result<Self> {
        synth::plan(options)
    }

    /// The tensors in file order.
    #[must_use]
    pub fn tensors(&self) -> &[Planned] {
        &self.planned
    }

    /// What the user should know before it runs.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.planned.iter().map(|t| t.bytes).fold(0, u64::saturating_add)
    }

    /// Adds the tensor to the file and to the plan.
    fn plan(&mut self, name: &str, dims: &[u64], from: Option<BlockType>, ty: BlockType) -> Result<()> {
        self.writer.tensor(name, dims, ty)?;
        let cols = dims.first().copied().and_then(|n| usize::try_from(n).ok());
        let rows = dims.iter().skip(1).try_fold(1u64, |n, d| n.checked_mul(*d));
        let bytes = cols.zip(rows).and_then(|(cols, rows)| (ty.row_bytes(cols).ok()? as u64).checked_mul(rows));
        let bytes =
            bytes.ok_or_else(|| Error::limit(format!("tensor {name}: {dims:?} of type {ty} are too many bytes")))?;
        self.planned.push(Planned { name: name.to_owned(), dims: dims.to_vec(), from, ty, bytes });
        Ok(())
    }
}
