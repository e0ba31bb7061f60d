//! Hyperparameters with the defaults that real files leave out (reference: GGUF keys of `llama4` and `llama`).

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Metadata};

/// The decoder families this build runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 4: Scout, Maverick and their relatives.
    Llama4,
    /// Llama 2 to 3.x, dense.
    Llama,
}

impl Architecture {
    /// The name in `general.architecture`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama4 => "llama4",
            Self::Llama => "llama",
        }
    }
}

/// Query scaling of layers without rotary embedding: `1 + scale · ln(1 + ⌊(p + 1) / floor⌋)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// Positions to a step.
    pub floor: f32,
    /// Height of a step.
    pub scale: f32,
}

impl Temperature {
    /// The factor at absolute position `p`.
    #[must_use]
    pub fn at(&self, p: usize) -> f32 {
        let steps = ((p as f64 + 1.0) / f64::from(self.floor)).floor();
        (steps.ln_1p() * f64::from(self.scale) + 1.0) as f32
    }
}

/// Validated hyperparameters. Every count is at least 1 unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Hparams {
    /// Decoder family.
    pub architecture: Architecture,
    /// Name in the file, or the architecture.
    pub name: String,
    /// Decoder layers, at most 1,024.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values in a head; even.
    pub head_dim: usize,
    /// Entries in the vocabulary.
    pub vocab: usize,
    /// Width of a dense feed-forward layer.
    pub ffn: usize,
    /// Width of an expert.
    pub expert_ffn: usize,
    /// Routed experts; 0 in dense models.
    pub experts: usize,
    /// Routed experts that a token uses, each scaled by the sigmoid of its own logit.
    pub experts_used: usize,
    /// Layer `l` has experts when `(l + 1) % moe_step == 0`, unless its tensors say otherwise.
    pub moe_step: usize,
    /// Whether each layer rotates queries and keys, first to last.
    pub rope_layers: Vec<bool>,
    /// Positions in an attention chunk of layers with rotary embedding; others see everything before them.
    pub chunk: Option<usize>,
    /// Query scaling of layers without rotary embedding.
    pub temperature: Option<Temperature>,
    /// Weightless norm of each query and key head, on layers with rotary embedding.
    pub qk_norm: bool,
    /// Epsilon of every norm.
    pub norm_eps: f32,
    /// Positions the model was made for.
    pub context: usize,
}

/// The attention chunk of files that do not name it.
const DEFAULT_CHUNK: u32 = 8192;
/// The period of layers without rotary embedding of files that do not name it.
const DEFAULT_NOPE_STEP: u32 = 4;
/// The one published model without norm on queries and keys has this many experts; files do not say it otherwise.
const EXPERTS_WITHOUT_QK_NORM: usize = 128;

struct Keys<'a> {
    meta: &'a Metadata,
    arch: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn get(&self, name: &str) -> Result<Option<u32>> {
        self.meta.get_u32(&self.key(name))
    }

    /// The first of several spellings that the file has.
    fn first(&self, names: &[&str]) -> Result<Option<u32>> {
        for name in names {
            if let Some(value) = self.get(name)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn count(&self, name: &str, most: u32) -> Result<usize> {
        let value = self.meta.require_u32(&self.key(name))?;
        self.within(name, value, most)
    }

    fn within(&self, name: &str, value: u32, most: u32) -> Result<usize> {
        if value == 0 || value > most {
            return Err(Error::corrupt(format!("{}: {value}, expected 1 to {most}", self.key(name))));
        }
        Ok(value as usize)
    }

    fn positive(&self, name: &str, default: f32) -> Result<f32> {
        let value = self.meta.get_f32(&self.key(name))?.unwrap_or(default);
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(Error::corrupt(format!("{}: {value}, expected a positive number", self.key(name))))
        }
    }
}

impl Hparams {
    /// Reads and checks the hyperparameters of `gguf`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unsupported`] for another architecture, [`crate::error::Kind::Corrupt`] for a missing or
    /// impossible value, naming its key.
    pub fn read(gguf: &Gguf) -> Result<Self> {
        let meta = gguf.metadata();
        let architecture = match meta.require_str("general.architecture")? {
            "llama4" => Architecture::Llama4,
            "llama" => Architecture::Llama,
            "clip" => {
                return Err(Error::unsupported(
                    "general.architecture: \"clip\": a picture tower (mmproj) that belongs beside a model's own file",
                ));
            }
            other => {
                return Err(Error::unsupported(format!(
                    "general.architecture: {other:?}, this build runs \"llama4\" and \"llama\""
                )));
            }
        };
        let keys = Keys { meta, arch: architecture.name() };
        let layers = keys.count("block_count", 1024)?;
        let width = keys.count("embedding_length", 1 << 20)?;
        let heads = keys.per_layer("attention.head_count", layers, None)?;
        let kv_heads = keys.per_layer("attention.head_count_kv", layers, Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::corrupt(format!(
                "{}: {kv_heads}, expected a divisor of the {heads} query heads",
                keys.key("attention.head_count_kv")
            )));
        }
        let head_dim = keys.head_dim(width, heads)?;
        let experts = keys.get("expert_count")?.unwrap_or(0);
        let experts = if experts == 0 { 0 } else { keys.within("expert_count", experts, 4096)? };
        if architecture == Architecture::Llama && experts != 0 {
            return Err(Error::unsupported(format!(
                "llama.expert_count: {experts}, this build runs dense llama files"
            )));
        }
        let experts_used = keys.get("expert_used_count")?.unwrap_or(1);
        let experts_used =
            if experts == 0 { 0 } else { keys.within("expert_used_count", experts_used, experts as u32)? };
        let (ffn, expert_ffn) = keys.ffn()?;
        let moe_step = match keys.get("interleave_moe_layer_step")? {
            Some(value) if value > 0 => keys.within("interleave_moe_layer_step", value, 1024)?,
            _ => 1,
        };
        let interleaving = Interleaving::read(&keys, architecture, layers, experts)?;
        Ok(Self {
            architecture,
            name: meta.get_str("general.name")?.unwrap_or(architecture.name()).to_owned(),
            layers,
            width,
            heads,
            kv_heads,
            head_dim,
            vocab: vocabulary(gguf)?,
            ffn,
            expert_ffn,
            experts,
            experts_used,
            moe_step,
            rope_layers: interleaving.rope_layers,
            chunk: interleaving.chunk,
            temperature: interleaving.temperature,
            qk_norm: interleaving.qk_norm,
            norm_eps: keys.positive("attention.layer_norm_rms_epsilon", 1e-5)?,
            context: keys.get("context_length")?.map_or(Ok(8192), |v| keys.within("context_length", v, u32::MAX))?,
        })
    }

    /// Whether layer `l` rotates queries and keys.
    #[must_use]
    pub fn has_rope(&self, l: usize) -> bool {
        self.rope_layers.get(l).copied().unwrap_or(true)
    }

    /// Whether layer `l` has routed experts by the file's period.
    #[must_use]
    pub fn has_experts(&self, l: usize) -> bool {
        self.experts > 0 && (l + 1).is_multiple_of(self.moe_step)
    }
}

/// The vocabulary is as long as the embedding, which the file really holds.
fn vocabulary(gguf: &Gguf) -> Result<usize> {
    let embedding =
        gguf.tensor("token_embd.weight").ok_or_else(|| Error::corrupt("tensor token_embd.weight is missing"))?;
    usize::try_from(embedding.rows()).ok().filter(|rows| *rows <= 1 << 24).ok_or_else(|| {
        Error::corrupt(format!("tensor token_embd.weight: {} rows, expected at most 2^24", embedding.rows()))
    })
}

impl Keys<'_> {
    /// A count that some files give as one number a layer; this build needs them equal.
    fn per_layer(&self, name: &str, layers: usize, default: Option<usize>) -> Result<usize> {
        let key = self.key(name);
        let Some(values) = self.meta.get_u32_or_array(&key)? else {
            return default.ok_or_else(|| Error::corrupt(format!("{key} is missing")));
        };
        let first = values.get(0).ok_or_else(|| Error::corrupt(format!("{key}: an empty array")))?;
        if (0..layers).any(|l| values.get(l) != Some(first)) {
            return Err(Error::unsupported(format!(
                "{key}: this build needs the same number in each of {layers} layers"
            )));
        }
        self.within(name, first, 4096)
    }

    /// Widths of the dense layers and of an expert. Ollama's `feed_forward_length` is the expert's; it names both otherwise.
    fn ffn(&self) -> Result<(usize, usize)> {
        const MOST: u32 = 1 << 24;
        let of = |name: &str| self.get(name)?.map(|v| self.within(name, v, MOST)).transpose();
        let length = of("feed_forward_length")?;
        let dense = of("intermediate_size")?.or(length);
        let expert = of("expert_feed_forward_length")?.or(of("intermediate_size_moe")?).or(length);
        match (dense, expert) {
            (Some(dense), Some(expert)) => Ok((dense, expert)),
            _ => Err(Error::corrupt(format!("{} is missing", self.key("feed_forward_length")))),
        }
    }

    fn head_dim(&self, width: usize, heads: usize) -> Result<usize> {
        let named = self.first(&["attention.key_length", "attention.head_dim"])?;
        let dim = match named {
            Some(value) => self.within("attention.key_length", value, 1024)?,
            None if width.is_multiple_of(heads) => {
                self.within("embedding_length / head_count", (width / heads) as u32, 1024)?
            }
            None => return Err(Error::corrupt(format!("{} is missing", self.key("attention.key_length")))),
        };
        if let Some(value) = self.get("attention.value_length")?
            && value as usize != dim
        {
            return Err(Error::unsupported(format!("{}: {value}, expected {dim}", self.key("attention.value_length"))));
        }
        if !dim.is_multiple_of(2) {
            return Err(Error::corrupt(format!(
                "{}: {dim}, expected an even number",
                self.key("attention.key_length")
            )));
        }
        Ok(dim)
    }
}

/// What sets Llama 4's layers apart.
struct Interleaving {
    rope_layers: Vec<bool>,
    chunk: Option<usize>,
    temperature: Option<Temperature>,
    qk_norm: bool,
}

impl Interleaving {
    fn read(keys: &Keys<'_>, architecture: Architecture, layers: usize, experts: usize) -> Result<Self> {
        if architecture == Architecture::Llama {
            return Ok(Self { rope_layers: vec![true; layers], chunk: None, temperature: None, qk_norm: false });
        }
        let chunk = keys.first(&["attention.chunk_size", "attention.sliding_window"])?.unwrap_or(DEFAULT_CHUNK);
        let scale = keys.meta.get_f32(&keys.key("attention.temperature_scale"))?.unwrap_or(0.1);
        let tuned = keys.meta.get_bool(&keys.key("attn_temperature_tuning"))?.unwrap_or(true);
        if !scale.is_finite() {
            return Err(Error::corrupt(format!("{}: {scale}", keys.key("attention.temperature_scale"))));
        }
        let floor = keys.positive("attention.temperature_length", 8192.0)?;
        Ok(Self {
            rope_layers: rope_layers(keys, layers)?,
            chunk: (chunk > 0).then_some(chunk as usize),
            temperature: (tuned && scale != 0.0).then_some(Temperature { floor, scale }),
            qk_norm: keys.meta.get_bool(&keys.key("use_qk_norm"))?.unwrap_or(experts != EXPERTS_WITHOUT_QK_NORM),
        })
    }
}

/// Which layers rotate: as the file lists them, by its period, or by the default period of published models. A file that
/// switches sliding windows off and says no more is llama.cpp's form of a dense relative whose layers all rotate.
fn rope_layers(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    let key = keys.key("attention.rope_layers");
    if let Some(listed) = keys.meta.get_bool_array(&key)? {
        if listed.len() != layers {
            return Err(Error::corrupt(format!(
                "{key}: {} entries, expected one for each of {layers} layers",
                listed.len()
            )));
        }
        return Ok(listed.to_vec());
    }
    let windowless = keys.get("attention.sliding_window")? == Some(0) && keys.get("attention.chunk_size")?.is_none();
    let default = if windowless { 0 } else { DEFAULT_NOPE_STEP };
    let step = keys.first(&["nope_layer_interval", "attention.nope_interval"])?.unwrap_or(default) as usize;
    Ok((0..layers).map(|l| step == 0 || !(l + 1).is_multiple_of(step)).collect())
}
