//! `palisade inspect`: what a model file holds, without reading its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use palisade::engine::{KvType, kv_bytes};
use palisade::gguf::{Array, Gguf, Metadata, Value};
use palisade::model::Model;
use palisade::tokenizer::Tokenizer;
use palisade::{CancelFlag, Result};

use crate::output;

/// Shows hyperparameters, tensors by type, bytes split into always-touched and routed, licence and warnings.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  palisade inspect MODEL.gguf --context 131072\n  palisade inspect MODEL.gguf --json\n  palisade inspect MODEL.palp --verify"
)]
pub struct Args {
    /// GGUF file (the first one of a split model) or packed file; also one that holds only a vision tower (mmproj).
    model: PathBuf,
    /// Positions for which the bytes of keys and values are told; 0 takes the model's own.
    #[arg(long, default_value_t = 0)]
    context: usize,
    /// Read a packed file whole and compare its checksums.
    #[arg(long)]
    verify: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let gguf = Gguf::open(&args.model)?;
    if args.verify {
        verify(&gguf)?;
    }
    let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut always, mut routed) = (0u64, 0u64);
    for t in gguf.tensors() {
        let entry = types.entry(t.ty.to_string()).or_default();
        entry.0 += 1;
        entry.1 += t.bytes;
        if t.name.contains("_exps.") { routed += t.bytes } else { always += t.bytes }
    }
    // Of an embedding that is no output matrix a token reads one row; it is part of what is always there.
    let looked_up = gguf.tensor("output.weight").and(gguf.tensor("token_embd.weight")).map_or(0, |t| t.bytes);
    let meta = gguf.metadata();
    let license = meta.get_str("general.license")?.or(meta.get_str("general.license.name")?).unwrap_or("not named");
    // A file this build cannot run is still worth looking at: the reason becomes a warning.
    let model = Model::from_gguf(&gguf);
    let mut warnings = match &model {
        Ok(m) => m.warnings.clone(),
        Err(e) => vec![format!("this build cannot run the file: {e}")],
    };
    if model.is_ok() {
        match Tokenizer::from_gguf(meta) {
            Ok(tokenizer) => warnings.extend(tokenizer.warnings().iter().cloned()),
            Err(e) => warnings.push(format!("this build cannot read the vocabulary: {e}")),
        }
    }
    let hparams = model.as_ref().ok().map(|m| {
        let h = &m.hparams;
        let unrotated: Vec<usize> = (0..h.layers).filter(|l| !h.has_rope(*l)).collect();
        serde_json::json!({
            "layers": h.layers, "width": h.width, "heads": h.heads, "kv_heads": h.kv_heads, "head_dim": h.head_dim,
            "vocabulary": h.vocab, "ffn": h.ffn, "expert_ffn": h.expert_ffn, "experts": h.experts,
            "experts_used": h.experts_used, "moe_step": h.moe_step,
            "unrotated_layers": unrotated, "chunk": h.chunk, "qk_norm": h.qk_norm, "norm_eps": tidy(h.norm_eps),
            "temperature": h.temperature.map(|t| serde_json::json!({"floor": tidy(t.floor), "scale": tidy(t.scale)})),
            "context": h.context, "tied_embedding": m.is_tied(),
        })
    });
    let caches = model.as_ref().ok().map(|m| {
        let positions = if args.context == 0 { m.hparams.context } else { args.context };
        let bytes = |ty| kv_bytes(m, ty, positions);
        serde_json::json!({
            "positions": positions, "f32": bytes(KvType::F32), "f16": bytes(KvType::F16), "q8_0": bytes(KvType::Q8_0),
        })
    });
    let tensors: serde_json::Map<_, _> =
        types.iter().map(|(ty, (n, bytes))| (ty.clone(), serde_json::json!({"tensors": n, "bytes": bytes}))).collect();
    let report = serde_json::json!({
        "name": meta.get_str("general.name")?,
        "architecture": meta.get_str("general.architecture")?,
        "parts": gguf.parts().len(),
        "container": container(&gguf, args.verify),
        "hyperparameters": hparams,
        "picture_tower": picture_tower(meta),
        "tensors": tensors,
        "bytes": {"always_touched": always, "routed": routed, "rows_looked_up": looked_up},
        "key_value_bytes": caches,
        "license": license,
        "warnings": warnings,
    });
    if args.json { output::json(&report) } else { output::line(&indented(&report, 0)) }
}

/// Compares all checksums, with a bar.
fn verify(gguf: &Gguf) -> Result<()> {
    let bar = output::bar(0, "verifying", true);
    let verified = gguf.verify(&CancelFlag::new(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    verified
}

/// What kind of file it is, and how a packed one is laid out.
fn container(gguf: &Gguf, verified: bool) -> serde_json::Value {
    let Some(packed) = gguf.packed() else {
        return serde_json::json!({"format": "gguf", "version": gguf.version()});
    };
    let layouts: BTreeSet<&str> =
        gguf.tensors().iter().filter_map(|t| t.stored.as_ref()).map(|s| s.layout.as_str()).collect();
    serde_json::json!({
        "format": "packed", "version": gguf.version(), "sections": packed.sections(), "layouts": layouts,
        "checksums": if verified { "all compared" } else { "the header's compared, the sections' by --verify" },
    })
}

/// A number as its shortest decimal form, not as the double that stands for it.
fn tidy(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// What the file says of a vision encoder: llama.cpp's mmproj files, and Ollama's models, which have one inside.
fn picture_tower(meta: &Metadata) -> Option<serde_json::Value> {
    let short = |key: &str| key.strip_prefix("clip.").or(key.strip_prefix("llama4.vision.")).map(str::to_owned);
    let value = |v: &Value| match v {
        Value::F32(x) => serde_json::json!(tidy(*x)),
        Value::Bool(x) => serde_json::json!(x),
        Value::Array(Array::F32(x)) => serde_json::json!(x.iter().map(|x| tidy(*x)).collect::<Vec<_>>()),
        Value::Str(x) => serde_json::json!(x),
        Value::U32(x) => serde_json::json!(x),
        other => serde_json::json!(other.to_string()),
    };
    let found: serde_json::Map<_, _> = meta.iter().filter_map(|(k, v)| Some((short(k)?, value(v)))).collect();
    (!found.is_empty()).then_some(serde_json::Value::Object(found))
}

/// A report as indented `name  value` lines.
fn indented(value: &serde_json::Value, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let Some(object) = value.as_object() else { return String::new() };
    let mut lines = Vec::new();
    for (name, value) in object {
        match value {
            serde_json::Value::Object(_) => lines.push(format!("{pad}{name}\n{}", indented(value, depth + 1))),
            serde_json::Value::Array(items) if items.is_empty() => lines.push(format!("{pad}{name:<18} none")),
            serde_json::Value::Array(items) => {
                let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                if items.iter().all(serde_json::Value::is_number) {
                    let numbers: Vec<String> = items.iter().map(text).collect();
                    lines.push(format!("{pad}{name:<18} {}", numbers.join(" ")));
                } else {
                    lines.extend(items.iter().map(|v| format!("{pad}{name:<18} {}", text(v))));
                }
            }
            serde_json::Value::String(s) => lines.push(format!("{pad}{name:<18} {s}")),
            serde_json::Value::Null => lines.push(format!("{pad}{name:<18} -")),
            other => lines.push(format!("{pad}{name:<18} {other}")),
        }
    }
    lines.join("\n")
}
