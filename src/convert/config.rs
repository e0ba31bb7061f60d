//! `config.json` of a Hugging Face folder: the decoder's shape, with the defaults of the reference implementation.

use serde_json::Value;

use super::json::Object;
use crate::error::{Error, Result};
use crate::model::Architecture;

/// The decoder of a folder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub(super) architecture: Architecture,
    pub(super) layers: u32,
    pub(super) width: u32,
    pub(super) heads: u32,
    pub(super) kv_heads: u32,
    pub(super) head_dim: u32,
    pub(super) vocab: u32,
    /// Width of a dense feed-forward layer.
    pub(super) ffn: u32,
    pub(super) context: u32,
    pub(super) eps: f32,
    pub(super) rope_base: f32,
    /// `rope_freqs.weight`; `None` where every pair turns by the base alone.
    pub(super) divisors: Option<Vec<f32>>,
    /// The output matrix is the embedding.
    pub(super) tied: bool,
    pub(super) llama4: Option<Llama4>,
    pub(super) notes: Vec<String>,
}

/// What sets Llama 4 apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Llama4 {
    /// Routed experts. Dense models count at least one that no layer has: llama.cpp refuses llama4 files that count none.
    pub(super) experts: u32,
    /// Routed experts that a token uses.
    pub(super) used: u32,
    pub(super) expert_ffn: u32,
    /// Layer `l` has experts when `(l + 1) % moe_step == 0`; 0 in dense models.
    pub(super) moe_step: u32,
    /// Whether each layer rotates queries and keys.
    pub(super) rope: Vec<bool>,
    /// Positions in an attention chunk of layers that rotate; 0 for none.
    pub(super) chunk: u32,
    pub(super) qk_norm: bool,
    pub(super) tuned: bool,
    pub(super) temperature_scale: f32,
    pub(super) temperature_length: f32,
}

impl Llama4 {
    pub(super) fn has_experts(&self, l: u32) -> bool {
        self.moe_step > 0 && (l + 1).is_multiple_of(self.moe_step)
    }

    /// The period of layers without rotation, 0 when all rotate; `None` when there is no such period.
    pub(super) fn nope_step(&self) -> Option<u32> {
        let Some(first) = self.rope.iter().position(|rope| !rope) else { return Some(0) };
        let step = first + 1;
        let periodic = self.rope.iter().enumerate().all(|(l, rope)| *rope != (l + 1).is_multiple_of(step));
        periodic.then_some(step as u32)
    }
}

/// The largest counts that are believed; they bound what a file can ask for.
const MOST_LAYERS: u32 = 1024;
const MOST_EXPERTS: u32 = 4096;
const MOST_TOKENS: u32 = 1 << 24;

impl Config {
    /// Reads the decoder's part of `config.json`.
    pub(super) fn read(root: &Object<'_>) -> Result<Self> {
        refuse_quantized(root)?;
        let architecture = root.texts("architectures")?.and_then(|list| list.first().copied());
        let text = root.object("text_config", "config.json: text_config")?;
        if let Some(text) = &text {
            refuse_quantized(text)?;
        }
        match (architecture.or(root.text("model_type")?), text) {
            (Some("Llama4ForConditionalGeneration" | "llama4"), Some(text)) => Self::llama4(&text, root),
            (Some("Llama4ForCausalLM" | "llama4_text"), text) => Self::llama4(&text.unwrap_or(*root), root),
            (Some("LlamaForCausalLM" | "llama"), None) => Self::llama(root),
            (Some(other), _) => Err(Error::unsupported(format!(
                "{}: architecture {other:?}, expected Llama4ForConditionalGeneration, Llama4ForCausalLM or LlamaForCausalLM",
                root.place
            ))),
            (None, _) => Err(Error::corrupt(format!("{}: architectures is missing", root.place))),
        }
    }

    /// What both families say alike.
    fn common(c: &Object<'_>, architecture: Architecture, tied: bool) -> Result<Self> {
        for (key, expected) in [("attention_bias", false), ("mlp_bias", false)] {
            if c.truth(key)?.is_some_and(|on| on != expected) {
                return Err(Error::unsupported(format!(
                    "{}: {key} is on; models with biases are not converted",
                    c.place
                )));
            }
        }
        if let Some(act) = c.text("hidden_act")?.filter(|act| !matches!(*act, "silu" | "swish")) {
            return Err(Error::unsupported(format!("{}: hidden_act is {act:?}, expected silu", c.place)));
        }
        let (width, heads) = (c.need_count("hidden_size")?, c.need_count("num_attention_heads")?);
        let (layers, vocab) = (c.need_count("num_hidden_layers")?, c.need_count("vocab_size")?);
        bounded(c, "layers", layers, MOST_LAYERS)?;
        bounded(c, "tokens", vocab, MOST_TOKENS)?;
        // What transformers takes where the file is silent.
        let (default_dim, eps, context, base) = match architecture {
            Architecture::Llama4 => (128, 1e-5, 131_072, 500_000.0),
            Architecture::Llama => (width / heads, 1e-6, 2048, 10_000.0),
        };
        let head_dim = c.count("head_dim")?.unwrap_or(default_dim);
        if head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim > 1024 {
            return Err(Error::corrupt(format!("{}: head_dim is {head_dim}, expected an even number", c.place)));
        }
        let (mut notes, rope) = (vec![], Rope::read(c, base)?);
        Ok(Self {
            architecture,
            layers,
            width,
            heads,
            kv_heads: c.count("num_key_value_heads")?.filter(|n| *n > 0).unwrap_or(heads),
            head_dim,
            vocab,
            ffn: c.need_count("intermediate_size")?,
            context: c.count("max_position_embeddings")?.unwrap_or(context),
            eps: c.number("rms_norm_eps")?.unwrap_or(eps) as f32,
            rope_base: rope.base as f32,
            divisors: rope.divisors(head_dim, architecture, &mut notes)?,
            tied,
            llama4: None,
            notes,
        })
    }

    fn llama(c: &Object<'_>) -> Result<Self> {
        Self::common(c, Architecture::Llama, c.truth("tie_word_embeddings")?.unwrap_or(false))
    }

    fn llama4(c: &Object<'_>, root: &Object<'_>) -> Result<Self> {
        let tied = match c.truth("tie_word_embeddings")? {
            Some(tied) => tied,
            None => root.truth("tie_word_embeddings")?.unwrap_or(false),
        };
        let mut this = Self::common(c, Architecture::Llama4, tied)?;
        let layers = this.layers as usize;
        let expert_ffn = this.ffn;
        this.ffn = c.count("intermediate_size_mlp")?.filter(|n| *n > 0).unwrap_or(16384);
        let experts = c.count("num_local_experts")?.unwrap_or(16);
        bounded(c, "experts", experts, MOST_EXPERTS)?;
        let moe_step = moe_step(c, this.layers, experts)?;
        let used = c.count("num_experts_per_tok")?.unwrap_or(1);
        if moe_step > 0 && (used == 0 || used > experts) {
            return Err(Error::corrupt(format!("{}: num_experts_per_tok is {used} of {experts} experts", c.place)));
        }
        let rope = rope_layers(c, layers)?;
        let chunk = chunk(c, &rope)?;
        this.llama4 = Some(Llama4 {
            experts: experts.max(1),
            used: used.clamp(1, experts.max(1)),
            expert_ffn,
            moe_step,
            chunk,
            rope,
            qk_norm: c.truth("use_qk_norm")?.unwrap_or(true),
            tuned: c.truth("attn_temperature_tuning")?.unwrap_or(true),
            temperature_scale: c.number("attn_scale")?.unwrap_or(0.1) as f32,
            temperature_length: c.number("floor_scale")?.unwrap_or(8192.0) as f32,
        });
        Ok(this)
    }
}

fn bounded(c: &Object<'_>, what: &str, n: u32, most: u32) -> Result<()> {
    if n <= most { Ok(()) } else { Err(Error::limit(format!("{}: {n} {what}, the limit is {most}", c.place))) }
}

fn refuse_quantized(c: &Object<'_>) -> Result<()> {
    let Some(quantization) = c.get("quantization_config").or_else(|| c.get("compression_config")) else {
        return Ok(());
    };
    let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("a method it does not name");
    Err(Error::unsupported(format!(
        "{}: the checkpoint is quantized with {method}; take the one in BF16, which is converted without losing twice",
        c.place
    )))
}

/// The period of layers with experts, from the list of them where there is one.
fn moe_step(c: &Object<'_>, layers: u32, experts: u32) -> Result<u32> {
    let step = c.count("interleave_moe_layer_step")?.unwrap_or(1);
    let list = c.counts("moe_layers")?;
    if experts == 0 || list.as_ref().is_some_and(Vec::is_empty) || (list.is_none() && step == 0) {
        return Ok(0);
    }
    let Some(list) = list else { return Ok(step) };
    let of = |step: u32| (0..layers).filter(move |l| (l + 1).is_multiple_of(step)).map(u64::from);
    let first = list.first().and_then(|l| u32::try_from(*l).ok()).map_or(0, |l| l.saturating_add(1));
    if first > 0 && of(first).eq(list.iter().copied()) {
        return Ok(first);
    }
    Err(Error::unsupported(format!(
        "{}: moe_layers is {list:?}; GGUF can only say every n-th layer of {layers}",
        c.place
    )))
}

/// Which layers rotate; in `no_rope_layers` 1 says that a layer does.
fn rope_layers(c: &Object<'_>, layers: usize) -> Result<Vec<bool>> {
    if let Some(list) = c.counts("no_rope_layers")?.filter(|list| !list.is_empty()) {
        if list.len() != layers {
            let n = list.len();
            return Err(Error::corrupt(format!("{}: no_rope_layers has {n} entries for {layers} layers", c.place)));
        }
        return Ok(list.iter().map(|l| *l != 0).collect());
    }
    let step = c.count("no_rope_layer_interval")?.unwrap_or(4) as usize;
    Ok((0..layers).map(|l| step == 0 || !(l + 1).is_multiple_of(step)).collect())
}

/// The attention chunk, 0 for none. `layer_types` must agree with the layers that rotate, as GGUF knows one list only.
fn chunk(c: &Object<'_>, rope: &[bool]) -> Result<u32> {
    // A key that is there and null says that there are no chunks; one that is not there leaves the default.
    let chunk = match c.value.get("attention_chunk_size") {
        Some(value) if value.is_null() => 0,
        _ => c.count("attention_chunk_size")?.unwrap_or(8192),
    };
    let Some(kinds) = c.texts("layer_types")? else { return Ok(chunk) };
    let chunked: Vec<bool> = kinds.iter().map(|kind| *kind == "chunked_attention").collect();
    if let Some(other) = kinds.iter().find(|kind| !matches!(**kind, "chunked_attention" | "full_attention")) {
        return Err(Error::unsupported(format!("{}: layer_types has {other:?}", c.place)));
    }
    if !chunked.contains(&true) {
        return Ok(0);
    }
    if chunk > 0 && chunked != rope {
        return Err(Error::unsupported(format!(
            "{}: layer_types says chunked for other layers than no_rope_layers lets rotate; GGUF cannot say that",
            c.place
        )));
    }
    Ok(chunk)
}

/// Rotation as the file says it: `rope_parameters` of newer files, `rope_theta` and `rope_scaling` of older ones.
struct Rope {
    place: String,
    base: f64,
    scaling: Option<Scaling>,
}

/// Scaling of type `llama3`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaling {
    pub(super) factor: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) length: f64,
}

/// Scout's scaling as its first files shipped it, and as it has to be (`model::rope` corrects the same in old GGUF files).
const STALE: (f64, f64) = (8.0, 4.0);
const SCOUT: (f64, f64) = (16.0, 1.0);

impl Rope {
    fn read(c: &Object<'_>, default: f64) -> Result<Self> {
        let newer = c.object("rope_parameters", "config.json: rope_parameters")?;
        let older = c.object("rope_scaling", "config.json: rope_scaling")?;
        let said = newer.or(older);
        let base =
            match (newer.as_ref().map(|o| o.number("rope_theta")).transpose()?.flatten(), c.number("rope_theta")?) {
                (Some(base), _) | (None, Some(base)) => base,
                (None, None) => default,
            };
        let mut this = Self { place: c.place.to_owned(), base, scaling: None };
        let Some(said) = said else { return Ok(this) };
        match said.text("rope_type")?.or(said.text("type")?).unwrap_or("default") {
            "default" => Ok(this),
            "llama3" => {
                let need = |key: &str| {
                    let value = said.number(key)?.filter(|n| *n > 0.0);
                    value.ok_or_else(|| Error::corrupt(format!("{}: {key} is missing or not positive", said.place)))
                };
                this.scaling = Some(Scaling {
                    factor: need("factor")?,
                    low: need("low_freq_factor")?,
                    high: need("high_freq_factor")?,
                    length: need("original_max_position_embeddings")?,
                });
                Ok(this)
            }
            other => {
                Err(Error::unsupported(format!("{}: rope_type {other:?}, expected default or llama3", said.place)))
            }
        }
    }

    /// `rope_freqs.weight`, with the stale scaling of early Scout files corrected.
    fn divisors(&self, head_dim: u32, architecture: Architecture, notes: &mut Vec<String>) -> Result<Option<Vec<f32>>> {
        if !self.base.is_finite() || self.base <= 1.0 {
            return Err(Error::corrupt(format!("{}: rope_theta is {}, expected more than 1", self.place, self.base)));
        }
        let Some(mut said) = self.scaling else { return Ok(None) };
        if architecture == Architecture::Llama4 && (said.factor, said.high) == STALE {
            (said.factor, said.high) = SCOUT;
            notes.push(
                "config.json holds the stale rope scaling 8/4 of early Scout files; the correct 16/1 is used".into(),
            );
        }
        Ok(Some(said.divisors(self.base, head_dim)))
    }
}

impl Scaling {
    /// One divisor a pair: 1 for short waves, the factor for long ones, a blend between.
    pub(super) fn divisors(&self, base: f64, head_dim: u32) -> Vec<f32> {
        let (short, long) = (self.length / self.high, self.length / self.low);
        let divisor = |i: u32| {
            let wave = std::f64::consts::TAU * base.powf(f64::from(2 * i) / f64::from(head_dim));
            // With high equal to low there is nothing between the two.
            if wave < short || (wave <= long && self.high <= self.low) {
                return 1.0;
            }
            if wave > long {
                return self.factor as f32;
            }
            let smooth = (self.length / wave - self.low) / (self.high - self.low);
            (1.0 / ((1.0 - smooth) / self.factor + smooth)) as f32
        };
        (0..head_dim / 2).map(divisor).collect()
    }
}
