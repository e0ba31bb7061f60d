//! Writes the trained demo model as a quantized GGUF file, through the library's own writer and block types.
//!
//!     cargo run --release --example export-demo-model -- TRAINED_FOLDER OUT.gguf
//!
//! The folder holds config.json, tokenizer.json and model.safetensors as train.py and tokens.py leave them.

use std::collections::BTreeMap;
use std::path::Path;

use palisade::bytes::Cursor;
use palisade::error::{Error, Result};
use palisade::gguf::{Array, StrArray, Value, Writer};
use palisade::quant::{BlockType, quantize};
use serde::Deserialize;

const LICENSE: &str = include_str!("LICENSE-DEMO-MODEL.txt");
const DESCRIPTION: &str = "A tiny Llama-4-architecture model trained on generated visitor-centre dialogs, to demonstrate \
                           Palisade. It has no knowledge of the world; its answers can be wrong.";
/// The most bytes any of the three files may have.
const LARGEST: u64 = 1 << 30;

/// config.json.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    vocab_size: u32,
    d_model: u32,
    n_layers: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    ffn: u32,
    n_experts: u32,
    nope_interval: u32,
    chunk: u32,
    context: u32,
    rope_theta: f32,
    eps: f32,
    floor_scale: f32,
    attn_scale: f32,
}

/// What is used of tokenizer.json.
#[derive(Deserialize)]
struct TokenizerFile {
    model: Bpe,
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

/// One tensor of the safetensors header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// model.safetensors: all tensors as 32-bit floats.
struct Weights {
    tensors: BTreeMap<String, (Vec<u64>, Vec<f32>)>,
}

/// A tensor of the new file: where its values come from and how they are stored.
struct Plan {
    sources: Vec<String>,
    ty: BlockType,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(out), None) = (args.next(), args.next(), args.next()) else {
        return Err(Error::argument("usage: export-demo-model TRAINED_FOLDER OUT.gguf"));
    };
    let folder = Path::new(&folder);
    let config: Config = json(&read(&folder.join("config.json"))?, "config.json")?;
    let tokenizer: TokenizerFile = json(&read(&folder.join("tokenizer.json"))?, "tokenizer.json")?;
    let weights = Weights::parse(&read(&folder.join("model.safetensors"))?)?;
    let mut writer = Writer::new();
    describe(&mut writer, &config)?;
    vocabulary(&mut writer, &tokenizer, config.vocab_size)?;
    let plans = tensors(&mut writer, &config, &weights)?;
    writer.write_to(&out, |i, sink| {
        let plan = plans.get(i).ok_or_else(|| Error::argument(format!("tensor {i} was not planned")))?;
        for source in &plan.sources {
            let mut bytes = Vec::new();
            quantize(plan.ty, weights.values(source)?, &mut bytes).map_err(|e| e.context(source))?;
            sink.write(&bytes)?;
        }
        Ok(())
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let io = |e: &std::io::Error| Error::io(path.display(), e);
    let size = std::fs::metadata(path).map_err(|e| io(&e))?.len();
    if size > LARGEST {
        return Err(Error::corrupt(format!("{}: {size} bytes, expected at most {LARGEST}", path.display())));
    }
    std::fs::read(path).map_err(|e| io(&e))
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::corrupt(format!("{what}: {e}")))
}

impl Weights {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::from_slice(bytes);
        let length = cursor.u64().map_err(|e| e.context("header length"))?;
        let header = cursor.bytes(length).map_err(|e| e.context("header"))?;
        let data = cursor.bytes(cursor.left())?;
        let mut entries: BTreeMap<String, serde_json::Value> = json(&header, "header of model.safetensors")?;
        entries.remove("__metadata__");
        let mut tensors = BTreeMap::new();
        for (name, entry) in entries {
            let entry = Entry::deserialize(entry).map_err(|e| Error::corrupt(format!("tensor {name}: {e}")))?;
            let values = entry.values(&data).map_err(|e| e.context(format_args!("tensor {name}")))?;
            tensors.insert(name, (entry.shape, values));
        }
        Ok(Self { tensors })
    }

    fn get(&self, name: &str) -> Result<&(Vec<u64>, Vec<f32>)> {
        self.tensors.get(name).ok_or_else(|| Error::corrupt(format!("tensor {name} is missing")))
    }

    fn values(&self, name: &str) -> Result<&[f32]> {
        Ok(&self.get(name)?.1)
    }
}

impl Entry {
    /// The tensor's values, when its type, shape and place in `data` agree.
    fn values(&self, data: &[u8]) -> Result<Vec<f32>> {
        let (start, end) = self.data_offsets;
        let need = self.shape.iter().try_fold(4u64, |n, d| n.checked_mul(*d));
        if self.dtype != "F32" || need.is_none() || end.checked_sub(start) != need {
            return Err(Error::corrupt(format!(
                "{} {:?} at {start} to {end}, expected F32 of just that many bytes",
                self.dtype, self.shape
            )));
        }
        let place = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = place
            .and_then(|(start, end)| data.get(start..end))
            .ok_or_else(|| Error::corrupt(format!("{start} to {end}, the data has {} bytes", data.len())))?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

/// Everything but the vocabulary and the tensors.
fn describe(writer: &mut Writer, c: &Config) -> Result<()> {
    writer.set("general.architecture", "llama4")?;
    writer.set("general.name", "Palisade demo")?;
    writer.set("general.description", DESCRIPTION)?;
    writer.set("general.license", "palisade-demo-1.0")?;
    writer.set("general.license.name", "Palisade Demo Model Licence 1.0")?;
    writer.set("palisade.license.text", LICENSE)?;
    let counts = [
        ("block_count", c.n_layers),
        ("context_length", c.context),
        ("embedding_length", c.d_model),
        ("feed_forward_length", c.ffn),
        ("expert_feed_forward_length", c.ffn),
        ("expert_count", c.n_experts),
        ("expert_used_count", 1),
        ("expert_shared_count", 1),
        ("interleave_moe_layer_step", 1),
        ("nope_layer_interval", c.nope_interval),
        ("vocab_size", c.vocab_size),
        ("attention.head_count", c.n_heads),
        ("attention.head_count_kv", c.n_kv_heads),
        ("attention.key_length", c.head_dim),
        ("attention.value_length", c.head_dim),
        ("attention.chunk_size", c.chunk),
        ("rope.dimension_count", c.head_dim),
    ];
    for (key, count) in counts {
        writer.set(&format!("llama4.{key}"), count)?;
    }
    writer.set("llama4.rope.freq_base", c.rope_theta)?;
    writer.set("llama4.attention.layer_norm_rms_epsilon", c.eps)?;
    writer.set("llama4.attention.temperature_scale", c.attn_scale)?;
    writer.set("llama4.attention.temperature_length", c.floor_scale)?;
    writer.set("llama4.attn_temperature_tuning", true)?;
    writer.set("llama4.use_qk_norm", true)
}

/// Tokens, their kinds and the merges; control tokens are known by name.
fn vocabulary(writer: &mut Writer, file: &TokenizerFile, size: u32) -> Result<()> {
    let mut tokens: BTreeMap<u32, (&str, i32)> = BTreeMap::new();
    tokens.extend(file.model.vocab.iter().map(|(text, id)| (*id, (text.as_str(), 1))));
    tokens.extend(file.added_tokens.iter().map(|t| (t.id, (t.content.as_str(), 3))));
    if !tokens.keys().copied().eq(0..size) {
        return Err(Error::corrupt(format!("tokenizer.json: ids are not 0 to {size} without gaps")));
    }
    let control = |name: &str| {
        let found = file.added_tokens.iter().find(|t| t.content == name);
        found.map(|t| t.id).ok_or_else(|| Error::corrupt(format!("tokenizer.json: no token {name}")))
    };
    writer.set("tokenizer.ggml.model", "gpt2")?;
    writer.set("tokenizer.ggml.pre", "llama4")?;
    writer.set("tokenizer.ggml.tokens", strings(tokens.values().map(|(text, _)| *text))?)?;
    let kinds = tokens.values().map(|(_, kind)| *kind).collect();
    writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)))?;
    writer.set("tokenizer.ggml.merges", strings(file.model.merges.iter().map(|(a, b)| format!("{a} {b}")))?)?;
    writer.set("tokenizer.ggml.bos_token_id", control("<|begin_of_text|>")?)?;
    writer.set("tokenizer.ggml.eos_token_id", control("<|eot|>")?)?;
    writer.set("tokenizer.ggml.padding_token_id", control("<|finetune_right_pad|>")?)?;
    writer.set("tokenizer.ggml.add_bos_token", true)
}

fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Result<Value> {
    Ok(Value::Array(Array::Str(StrArray::new(items)?)))
}

/// Announces every tensor: matrices as Q8_0, norms and routers as F32.
fn tensors(writer: &mut Writer, c: &Config, weights: &Weights) -> Result<Vec<Plan>> {
    let mut plans = vec![];
    let mut add = |name: &str, sources: Vec<String>, ty: BlockType| {
        let mut shape: Vec<u64> = vec![];
        for source in &sources {
            let dims = &weights.get(source)?.0;
            if !shape.is_empty() && shape != *dims {
                return Err(Error::corrupt(format!("tensor {source}: {dims:?}, expected {shape:?}")));
            }
            shape.clone_from(dims);
        }
        shape.reverse();
        if sources.len() > 1 {
            shape.push(sources.len() as u64);
        }
        writer.tensor(name, &shape, ty)?;
        plans.push(Plan { sources, ty });
        Ok(())
    };
    let one = |name: &str| vec![name.to_owned()];
    add("token_embd.weight", one("embed.weight"), BlockType::Q8_0)?;
    for l in 0..c.n_layers {
        let ours = |name: &str| format!("blk.{l}.{name}.weight");
        let theirs = |name: &str| vec![format!("layers.{l}.{name}.weight")];
        add(&ours("attn_norm"), theirs("attn_norm"), BlockType::F32)?;
        for (name, source) in [("attn_q", "q"), ("attn_k", "k"), ("attn_v", "v"), ("attn_output", "o")] {
            add(&ours(name), theirs(&format!("attn.{source}")), BlockType::Q8_0)?;
        }
        add(&ours("ffn_norm"), theirs("ffn_norm"), BlockType::F32)?;
        add(&ours("ffn_gate_inp"), theirs("moe.router"), BlockType::F32)?;
        for part in ["gate", "up", "down"] {
            let experts = (0..c.n_experts).map(|e| format!("layers.{l}.moe.experts.{e}.{part}.weight")).collect();
            add(&ours(&format!("ffn_{part}_exps")), experts, BlockType::Q8_0)?;
            add(&ours(&format!("ffn_{part}_shexp")), theirs(&format!("moe.shared.{part}")), BlockType::Q8_0)?;
        }
    }
    add("output_norm.weight", one("norm.weight"), BlockType::F32)?;
    add("output.weight", one("output.weight"), BlockType::Q8_0)?;
    Ok(plans)
}
