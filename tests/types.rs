//! Models whose matrices are of every block type beyond the common ones, against Hugging Face (`tests/data/make_types.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::engine::{Decoder, DecoderOptions, RunControl};
use palisade::gguf::{Gguf, Writer};
use palisade::kernels::Precision;
use palisade::quant::BlockType;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/types")
}

fn models() -> Vec<Value> {
    let doc: Value = serde_json::from_str(&std::fs::read_to_string(folder().join("types.json")).unwrap()).unwrap();
    doc["models"].as_array().unwrap().clone()
}

/// A matrix as the generator describes it.
struct Recipe {
    name: String,
    ty: BlockType,
    dims: Vec<u64>,
    seed: u64,
    d: u16,
    dmin: u16,
}

fn recipes(model: &Value) -> Vec<Recipe> {
    let recipe = |v: &Value| Recipe {
        name: v[0].as_str().unwrap().to_owned(),
        ty: BlockType::from_name(v[1].as_str().unwrap()).unwrap(),
        dims: v[2].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect(),
        seed: v[3].as_u64().unwrap(),
        d: v[4].as_u64().unwrap() as u16,
        dmin: v[5].as_u64().unwrap() as u16,
    };
    model["tensors"].as_array().unwrap().iter().map(recipe).collect()
}

/// SplitMix64, little-endian.
fn stream(seed: u64, count: usize) -> Vec<u8> {
    let word = |i: u64| {
        let z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..=count as u64 / 8).flat_map(word).collect();
    bytes.truncate(count);
    bytes
}

fn blocks(recipe: &Recipe) -> Vec<u8> {
    let values = recipe.dims.iter().product::<u64>() as usize;
    let mut bytes = stream(recipe.seed, recipe.ty.row_bytes(values).unwrap());
    let (d_at, min_at) = match recipe.ty {
        BlockType::Q2K => (80, Some(82)),
        BlockType::Q3K => (108, None),
        BlockType::Tq1_0 => (52, None),
        BlockType::Tq2_0 => (64, None),
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q5K => (0, Some(2)),
        _ => (0, None),
    };
    for (i, block) in bytes.chunks_exact_mut(recipe.ty.block_bytes()).enumerate() {
        let d = recipe.d + 16 * (i % 5) as u16;
        match recipe.ty {
            BlockType::Mxfp4 => block[0] = (recipe.d + i as u16 % 2) as u8,
            BlockType::Iq1M => (0..4).for_each(|j| {
                block[49 + 2 * j] = block[49 + 2 * j] & 15 | ((d >> (4 * j) & 15) as u8) << 4;
            }),
            _ => block[d_at..d_at + 2].copy_from_slice(&d.to_le_bytes()),
        }
        if let Some(at) = min_at {
            block[at..at + 2].copy_from_slice(&recipe.dmin.to_le_bytes());
        }
    }
    bytes
}

/// Writes the model: the skeleton's metadata and tensors, then the matrices.
fn write(model: &Value, path: &Path) {
    let skeleton = Gguf::open(folder().join("skeleton.gguf")).unwrap();
    let mut writer = Writer::new();
    for (key, value) in skeleton.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    let mut data = Vec::new();
    for tensor in skeleton.tensors() {
        writer.tensor(&tensor.name, &tensor.dims, tensor.block_type().unwrap()).unwrap();
        let mut bytes = vec![0; tensor.bytes as usize];
        skeleton.read(tensor, 0, &mut bytes).unwrap();
        data.push(bytes);
    }
    for recipe in recipes(model) {
        writer.tensor(&recipe.name, &recipe.dims, recipe.ty).unwrap();
        data.push(blocks(&recipe));
    }
    writer.write_to(path, |i, sink| sink.write(&data[i])).unwrap();
}

fn decoder(model: &Path, options: DecoderOptions) -> Arc<Decoder> {
    let gguf = Arc::new(Gguf::open(model).unwrap());
    Arc::new(Decoder::load(&gguf, &options, &mut |_| true).unwrap())
}

fn ids(model: &Value) -> Vec<u32> {
    model["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// Calls `f` with the number and description of each model, and the file.
fn each_model(mut f: impl FnMut(usize, &Value, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    for (m, model) in models().iter().enumerate() {
        let path = dir.path().join(format!("{m}.gguf"));
        write(model, &path);
        f(m, model, &path);
    }
}

#[test]
fn every_type_is_in_every_place() {
    let mut seen = [(); 3].map(|()| BTreeSet::new());
    for recipe in models().iter().flat_map(recipes) {
        let place = match recipe.name.as_str() {
            "token_embd.weight" | "output.weight" => 0,
            name if name.contains("attn") => 1,
            name if name.contains("exps") => 2,
            _ => continue,
        };
        seen[place].insert(recipe.ty.name());
    }
    let common = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"];
    let all: BTreeSet<_> = BlockType::ALL.map(BlockType::name).into_iter().filter(|n| !common.contains(n)).collect();
    assert!(seen.iter().all(|seen| *seen == all), "{seen:?}");
}

/// Mean and largest difference of the log-probabilities from Hugging Face's.
fn departure(model: &Value, path: &Path, kernels: &str, precision: Precision) -> (f64, f64) {
    let options = DecoderOptions { threads: 2, kernels: Some(kernels.to_owned()), precision, ..Default::default() };
    let got = decoder(path, options).score(&ids(model), &mut RunControl::default()).unwrap();
    let want = model["next_logprobs"].as_array().unwrap();
    assert_eq!(got.len(), want.len());
    let gaps: Vec<f64> = want.iter().zip(&got).map(|(w, g)| (w.as_f64().unwrap() - f64::from(*g)).abs()).collect();
    (gaps.iter().sum::<f64>() / gaps.len() as f64, gaps.iter().copied().fold(0.0, f64::max))
}

#[test]
fn every_type_gives_what_its_dequantized_weights_give() {
    each_model(|m, model, path| {
        for kernels in palisade::kernels::available() {
            for (precision, bound) in [(Precision::Fine, 2e-4), (Precision::Fast, 0.02)] {
                let (mean, worst) = departure(model, path, kernels.name, precision);
                let name = kernels.name;
                assert!(mean <= bound, "model {m}, {name}, {precision:?}: {mean} on average, at most {worst}");
            }
        }
    });
}

/// Logits after the first 48 ids, then after each of four more, as bits.
fn conversation_bits(model: &Path, ids: &[u32], options: DecoderOptions) -> Vec<u32> {
    let mut talk = decoder(model, options).conversation().unwrap();
    let mut rows = vec![talk.feed(&ids[..48], &mut RunControl::default()).unwrap()];
    rows.extend(ids[48..52].iter().map(|id| talk.feed(&[*id], &mut RunControl::default()).unwrap()));
    rows.into_iter().flatten().map(f32::to_bits).collect()
}

#[test]
fn sets_threads_and_the_place_of_the_weights_do_not_change_a_bit() {
    each_model(|m, model, path| {
        let ids = ids(model);
        let first = conversation_bits(path, &ids, DecoderOptions { threads: 1, ..Default::default() });
        for kernels in palisade::kernels::available() {
            let options = DecoderOptions { kernels: Some(kernels.name.to_owned()), threads: 2, ..Default::default() };
            assert!(first == conversation_bits(path, &ids, options), "model {m}: {}, two threads", kernels.name);
        }
        let bytes = decoder(path, DecoderOptions::default()).bytes();
        let memory_budget = bytes.fixed + bytes.kv + bytes.routed / 4 * 3;
        let paged = DecoderOptions { memory_budget, ..Default::default() };
        assert!(first == conversation_bits(path, &ids, paged), "model {m}: three quarters of the experts in memory");
        let mapped = DecoderOptions { map_weights: true, ..Default::default() };
        assert!(first == conversation_bits(path, &ids, mapped), "model {m}: mapped");
    });
}
