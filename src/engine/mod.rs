//! The only room that names tract: a model file becomes a tract graph of our own operations, run by tract's plan.
//!
//! One graph serves prefill, decode and scoring, of one conversation or of several: its symbols are the number `S` of new
//! tokens and the number `R` of those that get logits. For the time of a run the pasts (see [`kv`]) sit inside the attention
//! operations, so a run that fails or is cancelled is undone by truncating every layer.

mod awake;
mod context;
mod decoder;
mod graph;
mod importance;
mod kv;
mod linear;
mod onnx;
mod ops;
mod pass;
mod profile;
mod scratch;
mod team;

pub use context::{Context, RunControl};
pub use decoder::{Decoder, DecoderOptions, LoadedBytes};
pub use importance::{ColumnSquares, Squares};
pub use kv::{KvType, kv_bytes};
pub(crate) use onnx::on_own_stack;
pub use onnx::{OnnxClassifier, OnnxOptions, VerifyFile};
pub use profile::{Phase, Profile, Work};

use crate::error::Error;

/// The reason a node of the graph gives when the host asked to stop.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cancelled by the host")
    }
}

impl std::error::Error for Stopped {}

/// Our own error where one of our operations raised it, an internal one for a fault of tract.
fn from_tract(what: &str, e: &tract_onnx::prelude::TractError) -> Error {
    for cause in e.chain() {
        if let Some(own) = cause.downcast_ref::<Error>() {
            return own.clone();
        }
        if cause.is::<Stopped>() {
            return Error::cancelled("cancelled by the host");
        }
    }
    Error::internal(format!("{what}: {e:#}"))
}
