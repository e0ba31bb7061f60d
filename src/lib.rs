//! Palisade runs quantized Llama 4 on the CPUs of edge devices and lets no word in or out unjudged.
//!
//! The rooms, from the top of the house down (ARCHITECTURE.md has the map and the reasons):
//! `ffi` → `session` → `guard`, `license`, `audit`, `chat`, `tokenizer`, `sampler` → `engine` → `model`, `kernels` →
//! `weights` → `gguf` → `quant` → `error`, `bytes`, `cancel`, `digest`, `signature`, `files`. Beside `session` stands `convert`, which makes model
//! files.

pub mod audit;
pub mod bytes;
pub mod cancel;
pub mod chat;
pub mod convert;
pub mod digest;
pub mod engine;
pub mod error;
pub mod ffi;
mod files;
pub mod gguf;
pub mod guard;
pub mod kernels;
pub mod license;
pub mod model;
pub mod quant;
pub mod sampler;
pub mod session;
pub mod signature;
pub mod tokenizer;
pub mod weights;

pub use cancel::CancelFlag;
pub use error::{Error, Kind, Result};
