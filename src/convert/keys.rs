//! The metadata of a converted decoder: llama.cpp's keys, and explicit ones where it only guesses.

use super::config::{Config, Llama4};
use super::types::file_type;
use crate::error::Result;
use crate::gguf::{Array, Value, Writer};
use crate::quant::BlockType;

/// Version of the block layouts, which every quantized file names.
const QUANTIZATION_VERSION: u32 = 2;

pub(super) fn decoder(w: &mut Writer, c: &Config, main: BlockType) -> Result<()> {
    let arch = c.architecture.name();
    let key = |name: &str| format!("{arch}.{name}");
    for (name, count) in [
        ("block_count", c.layers),
        ("context_length", c.context),
        ("embedding_length", c.width),
        ("feed_forward_length", c.ffn),
        ("attention.head_count", c.heads),
        ("attention.head_count_kv", c.kv_heads),
        ("attention.key_length", c.head_dim),
        ("attention.value_length", c.head_dim),
        ("rope.dimension_count", c.head_dim),
        ("vocab_size", c.vocab),
    ] {
        w.set(&key(name), count)?;
    }
    w.set(&key("attention.layer_norm_rms_epsilon"), c.eps)?;
    w.set(&key("rope.freq_base"), c.rope_base)?;
    if let Some(llama4) = &c.llama4 {
        set_llama4(w, llama4)?;
    }
    set_types(w, main)
}

fn set_llama4(w: &mut Writer, c: &Llama4) -> Result<()> {
    for (name, count) in [
        ("expert_count", c.experts),
        ("expert_used_count", c.used),
        ("expert_feed_forward_length", c.expert_ffn),
        ("interleave_moe_layer_step", c.moe_step),
        ("attention.chunk_size", c.chunk),
    ] {
        w.set(&format!("llama4.{name}"), count)?;
    }
    // llama.cpp takes 0 to mean that every layer rotates, too; without the key it has its own chunks of 8,192.
    if c.chunk > 0 || c.nope_step() == Some(0) {
        w.set("llama4.attention.sliding_window", c.chunk)?;
    }
    match c.nope_step() {
        Some(step) => w.set("llama4.nope_layer_interval", step)?,
        None => w.set("llama4.attention.rope_layers", Value::Array(Array::Bool(c.rope.clone())))?,
    }
    w.set("llama4.use_qk_norm", c.qk_norm)?;
    w.set("llama4.attn_temperature_tuning", c.tuned)?;
    w.set("llama4.attention.temperature_scale", c.temperature_scale)?;
    w.set("llama4.attention.temperature_length", c.temperature_length)
}

/// `general.file_type` and, for quantized files, the version of the blocks.
pub(super) fn set_types(w: &mut Writer, main: BlockType) -> Result<()> {
    if let Some(number) = file_type(main) {
        w.set("general.file_type", number)?;
    }
    if main.block_len() > 1 {
        w.set("general.quantization_version", QUANTIZATION_VERSION)?;
    }
    Ok(())
}
