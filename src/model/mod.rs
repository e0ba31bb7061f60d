//! What a model file says, validated: hyperparameters, the plan of each layer, and tensor names as shaped views.

mod hparams;
mod layers;
mod rope;
#[cfg(test)]
mod tests;

pub use hparams::{Architecture, Hparams, Temperature};
pub use layers::{Ffn, LayerPlan, MatrixRef, VectorRef};
pub use rope::Rope;

use crate::error::Result;
use crate::gguf::Gguf;

/// Everything the engine needs to know to build the decoder of one file.
#[derive(Clone, Debug)]
pub struct Model {
    /// Hyperparameters.
    pub hparams: Hparams,
    /// Rotary embedding.
    pub rope: Rope,
    /// `(vocabulary, width)`
    pub embedding: MatrixRef,
    /// One plan a layer, first to last.
    pub layers: Vec<LayerPlan>,
    /// `(width)`
    pub output_norm: VectorRef,
    /// `(vocabulary, width)`; the embedding itself where the file has no output matrix.
    pub output: MatrixRef,
    /// Things a user of this file should know; the model runs all the same.
    pub warnings: Vec<String>,
}

impl Model {
    /// Reads and checks the hyperparameters and the shape of every tensor that the decoder uses. No weight is read.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unsupported`] for another architecture or a type this build does not read,
    /// [`crate::error::Kind::Corrupt`] for a missing or impossible value or tensor, naming it.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        crate::weights::check_layouts(gguf)?;
        let mut warnings = Vec::new();
        let mut hparams = Hparams::read(gguf)?;
        let rope = Rope::read(gguf, &hparams, &mut warnings)?;
        let names = layers::Names { gguf, hparams: &hparams };
        let embedding = names.matrix("token_embd.weight", hparams.vocab, hparams.width)?;
        let output = match gguf.tensor("output.weight") {
            Some(_) => names.matrix("output.weight", hparams.vocab, hparams.width)?,
            None => embedding.clone(),
        };
        let output_norm = names.vector("output_norm.weight", hparams.width)?;
        let layers: Vec<LayerPlan> = (0..hparams.layers).map(|l| names.layer(l)).collect::<Result<_>>()?;
        if layers.iter().all(|l| l.routed.is_none()) {
            // llama.cpp wants at least one expert in a `llama4` file, also where no layer has any.
            (hparams.experts, hparams.experts_used) = (0, 0);
        }
        Ok(Self { hparams, rope, embedding, layers, output_norm, output, warnings })
    }

    /// Whether the output matrix is the embedding.
    #[must_use]
    pub fn is_tied(&self) -> bool {
        self.output.name == self.embedding.name
    }
}
