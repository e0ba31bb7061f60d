//! The shapes that synthetic models come in.

use crate::error::{Error, Result};
use crate::model::Architecture;

use super::super::config::{Config, Llama4};

/// A family's dimensions, free to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The name on the command line.
    pub name: &'static str,
    /// Decoder layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Values in a head.
    pub head_dim: u32,
    /// Width of a dense feed-forward layer.
    pub ffn: u32,
    /// Width of an expert.
    pub expert_ffn: u32,
    /// Routed experts; dense models of `llama4` count one that no layer has.
    pub experts: u32,
    /// Entries of the vocabulary.
    pub vocab: u32,
    moe_step: u32,
    chunk: u32,
    nope_step: u32,
    qk_norm: bool,
    context: u32,
    /// Factor, low, high and original length of `llama3` scaling.
    scaling: Option<[f64; 4]>,
    tied: bool,
    architecture: Architecture,
}

const SCOUT: Shape = Shape {
    name: "scout",
    layers: 48,
    width: 5120,
    heads: 40,
    kv_heads: 8,
    head_dim: 128,
    ffn: 16384,
    expert_ffn: 8192,
    experts: 16,
    vocab: 202_048,
    moe_step: 1,
    chunk: 8192,
    nope_step: 4,
    qk_norm: true,
    context: 10_485_760,
    scaling: Some([16.0, 1.0, 1.0, 8192.0]),
    tied: false,
    architecture: Architecture::Llama4,
};

const MAVERICK: Shape =
    Shape { name: "maverick", experts: 128, moe_step: 2, qk_norm: false, context: 1_048_576, scaling: None, ..SCOUT };

/// Behemoth's dimensions were never published. These give what was: 16 experts, 288 billion parameters active, nearly two
/// trillion in all.
const BEHEMOTH_CLASS: Shape =
    Shape { name: "behemoth-class", layers: 104, width: 16384, heads: 128, ffn: 43520, expert_ffn: 21760, ..SCOUT };

const LLAMA_1B: Shape = Shape {
    name: "llama-1b",
    layers: 16,
    width: 2048,
    heads: 32,
    head_dim: 64,
    ffn: 8192,
    expert_ffn: 0,
    experts: 0,
    vocab: 128_256,
    moe_step: 0,
    chunk: 0,
    nope_step: 0,
    qk_norm: false,
    context: 131_072,
    scaling: Some([32.0, 1.0, 4.0, 8192.0]),
    tied: true,
    architecture: Architecture::Llama,
    ..SCOUT
};

const GUARD_4: Shape = Shape {
    name: "guard-4",
    ffn: 8192,
    expert_ffn: 8192,
    experts: 1,
    moe_step: 0,
    chunk: 0,
    context: 131_072,
    ..SCOUT
};

impl Shape {
    /// Every shape that has a name.
    pub const ALL: [Self; 5] = [SCOUT, MAVERICK, BEHEMOTH_CLASS, LLAMA_1B, GUARD_4];

    /// The shape of this name.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for another name, with those that there are.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|shape| shape.name == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|shape| shape.name).join(", ");
            Error::argument(format!("shape {name:?}: there are {names}"))
        })
    }

    /// Refuses what no model can be.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [
            ("layers", self.layers, 1024),
            ("width", self.width, 1 << 20),
            ("heads", self.heads, 4096),
            ("kv-heads", self.kv_heads, 4096),
            ("head-dim", self.head_dim, 1024),
            ("ffn", self.ffn, 1 << 24),
            ("vocab", self.vocab, 1 << 21),
        ];
        if let Some((name, n, most)) = counts.into_iter().find(|(_, n, most)| *n == 0 || n > most) {
            return Err(Error::argument(format!("{name} is {n}, expected 1 to {most}")));
        }
        if !self.heads.is_multiple_of(self.kv_heads) || !self.head_dim.is_multiple_of(2) {
            let (heads, kv, dim) = (self.heads, self.kv_heads, self.head_dim);
            return Err(Error::argument(format!(
                "{heads} heads over {kv} of {dim} values: expected a multiple of the key and value heads, and an even length"
            )));
        }
        if self.experts > 4096 || (self.moe_step > 0 && (self.experts == 0 || self.expert_ffn == 0)) {
            return Err(Error::argument(format!("experts is {}, expected 1 to 4096", self.experts)));
        }
        if self.vocab < super::vocabulary::LEAST {
            let (n, least) = (self.vocab, super::vocabulary::LEAST);
            return Err(Error::argument(format!("vocab is {n}, expected at least {least}")));
        }
        Ok(())
    }

    /// Base of the rotation.
    pub(super) const ROPE_BASE: f64 = 500_000.0;

    /// As a folder's `config.json` would say it.
    pub(super) fn config(&self) -> Config {
        let rope = (0..self.layers).map(|l| self.nope_step == 0 || !(l + 1).is_multiple_of(self.nope_step)).collect();
        let llama4 = Llama4 {
            experts: self.experts,
            used: u32::from(self.experts > 0),
            expert_ffn: self.expert_ffn,
            moe_step: self.moe_step,
            rope,
            chunk: self.chunk,
            qk_norm: self.qk_norm,
            tuned: true,
            temperature_scale: 0.1,
            temperature_length: 8192.0,
        };
        let divisors =
            self.scaling.map(|[factor, low, high, length]| super::super::config::Scaling { factor, low, high, length });
        Config {
            architecture: self.architecture,
            layers: self.layers,
            width: self.width,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            vocab: self.vocab,
            ffn: self.ffn,
            context: self.context,
            eps: 1e-5,
            rope_base: Self::ROPE_BASE as f32,
            divisors: divisors.map(|s| s.divisors(Self::ROPE_BASE, self.head_dim)),
            tied: self.tied,
            llama4: (self.architecture == Architecture::Llama4).then_some(llama4),
            notes: vec![],
        }
    }
}
