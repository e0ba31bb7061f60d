//! Llama 4's vision tower in the names and keys of llama.cpp's `mmproj` files.

use std::path::Path;

use super::json::{self, Object};
use super::pieces::Made;
use super::shards::Shards;
use super::tensors::{Mapped, view};
use super::view::Order;
use crate::error::{Error, Result};
use crate::gguf::{Array, Value, Writer};

/// What every image is normalised by when the folder does not say.
const HALF: [f64; 3] = [0.5; 3];
/// Layers that are believed.
const MOST_LAYERS: u32 = 1024;
/// Pixels of a side that are believed.
const MOST_PIXELS: u32 = 1 << 14;

/// The tower's shape.
struct Tower {
    width: u64,
    ffn: u64,
    layers: u32,
    patch_values: u64,
    positions: u64,
    /// Width of the projector's input, hidden layer and output.
    adapter: [u64; 3],
    text_width: u64,
}

/// Writes the keys and gives the tensors.
pub(super) fn tower(w: &mut Writer, root: &Object<'_>, folder: &Path, shards: &Shards) -> Result<Vec<Mapped>> {
    let Some(c) = root.object("vision_config", "config.json: vision_config")? else {
        return Err(Error::argument(format!(
            "{}: no vision_config, so there is no vision tower to convert",
            root.place
        )));
    };
    let text = root.object("text_config", "config.json: text_config")?.unwrap_or(*root);
    let (width, ffn, heads) =
        (c.need_count("hidden_size")?, c.need_count("intermediate_size")?, c.need_count("num_attention_heads")?);
    let (layers, image, patch) =
        (c.need_count("num_hidden_layers")?, c.need_count("image_size")?, c.need_count("patch_size")?);
    let channels = c.count("num_channels")?.unwrap_or(3);
    let ratio = c.number("pixel_shuffle_ratio")?.unwrap_or(0.5);
    let factor = (1.0 / ratio).round();
    if layers > MOST_LAYERS
        || image < patch
        || image > MOST_PIXELS
        || channels > 16
        || ratio <= 0.0
        || !(1.0..=64.0).contains(&factor)
    {
        return Err(Error::corrupt(format!(
            "{}: {layers} layers, {channels} channels, images of {image}, patches of {patch}, pixel_shuffle_ratio {ratio}",
            c.place
        )));
    }
    if let Some(act) = c.text("hidden_act")?.filter(|act| *act != "gelu") {
        return Err(Error::unsupported(format!("{}: hidden_act is {act:?}, expected gelu", c.place)));
    }
    let hidden = c.count("projector_input_dim")?.unwrap_or(4096);
    let shape = Tower {
        width: width.into(),
        ffn: ffn.into(),
        layers,
        patch_values: u64::from(channels) * u64::from(patch) * u64::from(patch),
        positions: u64::from(image / patch).pow(2) + 1,
        adapter: [ffn.into(), hidden.into(), c.count("projector_output_dim")?.unwrap_or(4096).into()],
        text_width: text.need_count("hidden_size")?.into(),
    };
    w.set("clip.has_vision_encoder", true)?;
    w.set("clip.projector_type", "llama4")?;
    w.set("clip.use_gelu", true)?;
    for (key, count) in [
        ("image_size", image),
        ("patch_size", patch),
        ("embedding_length", width),
        ("feed_forward_length", ffn),
        ("block_count", layers),
        ("projection_dim", text.need_count("hidden_size")?),
        ("attention.head_count", heads),
        ("projector.scale_factor", factor as u32),
    ] {
        w.set(&format!("clip.vision.{key}"), count)?;
    }
    w.set("clip.vision.attention.layer_norm_epsilon", c.number("norm_eps")?.unwrap_or(1e-5) as f32)?;
    for (key, values) in normalisation(folder)? {
        w.set(&format!("clip.vision.{key}"), Value::Array(Array::F32(values)))?;
    }
    shape.tensors(shards).map_err(|e| e.context(folder.display()))
}

/// Mean and deviation of the preprocessor.
fn normalisation(folder: &Path) -> Result<[(&'static str, Vec<f32>); 2]> {
    let path = folder.join("preprocessor_config.json");
    let said = json::value(&path)?;
    let of = |key: &'static str| {
        let list = said.as_ref().and_then(|v| v.get(key)).and_then(|v| v.as_array());
        let list: Option<Vec<f64>> = list.and_then(|list| list.iter().map(serde_json::Value::as_f64).collect());
        (key, list.filter(|l| l.len() == 3).unwrap_or(HALF.to_vec()).into_iter().map(|x| x as f32).collect())
    };
    Ok([of("image_mean"), of("image_std")])
}

impl Tower {
    fn tensors(&self, shards: &Shards) -> Result<Vec<Mapped>> {
        let (w, f) = (self.width, self.ffn);
        let prefixes = ["vision_model.", "model.vision_model."];
        let there = |p: &&str| shards.get(&format!("{p}class_embedding")).is_some();
        let prefix = prefixes.into_iter().find(there);
        let prefix = prefix.ok_or_else(|| Error::corrupt("tensor vision_model.class_embedding is missing"))?;
        let outer = prefix.strip_suffix("vision_model.").unwrap_or_default();
        let mut out = vec![];
        let mut add = |ours: String, theirs: String, shape: &[u64]| add(shards, &mut out, ours, &theirs, shape);
        add("v.patch_embd.weight".into(), format!("{prefix}patch_embedding.linear.weight"), &[w, self.patch_values])?;
        add("v.class_embd".into(), format!("{prefix}class_embedding"), &[w])?;
        add("v.position_embd.weight".into(), format!("{prefix}positional_embedding_vlm"), &[self.positions, w])?;
        for (ours, theirs) in [("pre_ln", "layernorm_pre"), ("post_ln", "layernorm_post")] {
            for kind in ["weight", "bias"] {
                add(format!("v.{ours}.{kind}"), format!("{prefix}{theirs}.{kind}"), &[w])?;
            }
        }
        for l in 0..self.layers {
            for (ours, theirs, rows, cols) in [
                ("ln1", "input_layernorm", w, 0),
                ("ln2", "post_attention_layernorm", w, 0),
                ("attn_q", "self_attn.q_proj", w, w),
                ("attn_k", "self_attn.k_proj", w, w),
                ("attn_v", "self_attn.v_proj", w, w),
                ("attn_out", "self_attn.o_proj", w, w),
                ("ffn_up", "mlp.fc1", f, w),
                ("ffn_down", "mlp.fc2", w, f),
            ] {
                let theirs = format!("{prefix}model.layers.{l}.{theirs}");
                let shape: &[u64] = if cols == 0 { &[rows] } else { &[rows, cols] };
                add(format!("v.blk.{l}.{ours}.weight"), format!("{theirs}.weight"), shape)?;
                add(format!("v.blk.{l}.{ours}.bias"), format!("{theirs}.bias"), &[rows])?;
            }
        }
        let [input, hidden, output] = self.adapter;
        let adapter = format!("{prefix}vision_adapter.mlp.");
        add("mm.model.mlp.1.weight".into(), format!("{adapter}fc1.weight"), &[hidden, input])?;
        add("mm.model.mlp.2.weight".into(), format!("{adapter}fc2.weight"), &[output, hidden])?;
        let linear = format!("{outer}multi_modal_projector.linear_1.weight");
        add("mm.model.fc.weight".into(), linear, &[self.text_width, output])?;
        Ok(out)
    }
}

fn add(shards: &Shards, out: &mut Vec<Mapped>, ours: String, theirs: &str, shape: &[u64]) -> Result<()> {
    let stored = shards.get(theirs).ok_or_else(|| Error::corrupt(format!("tensor {theirs} is missing")))?;
    if stored.shape != shape {
        return Err(Error::corrupt(format!("tensor {theirs}: shape {:?}, expected {shape:?}", stored.shape)));
    }
    let cols = shape.last().copied().unwrap_or(1);
    let rows = if shape.len() > 1 { shape.first().copied().unwrap_or(1) } else { 1 };
    let dims = if shape.len() > 1 { vec![cols, rows] } else { vec![cols] };
    out.push(Mapped { name: ours, dims, made: Made::Views(vec![view(stored, 0, rows, cols, Order::Rows)]) });
    Ok(())
}
