//! The herd's odd forms: files of other converters, stale values, and a past that holds no more than it needs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::Kind;
use palisade::engine::{Decoder, DecoderOptions, KvType, RunControl, kv_bytes};
use palisade::gguf::{Array, Gguf, Value, Writer};
use palisade::kernels::Precision;
use palisade::model::Model;
use palisade::quant::BlockType;
use palisade::tokenizer::Tokenizer;

/// A file in the making: metadata and tensors to be changed before it is written again.
struct Draft {
    pairs: Vec<(String, Value)>,
    /// (name, dims, type, bytes)
    tensors: Vec<(String, Vec<u64>, BlockType, Vec<u8>)>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logits").join(format!("{name}.gguf"))
}

fn ids(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(fixture(name).with_extension("json")).unwrap();
    let doc: serde_json::Value = serde_json::from_str(&text).unwrap();
    doc["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

impl Draft {
    fn of(path: &Path) -> Self {
        let gguf = Gguf::open(path).unwrap();
        let bytes = |t: &palisade::gguf::TensorInfo| {
            let mut bytes = vec![0; t.bytes as usize];
            gguf.read(t, 0, &mut bytes).unwrap();
            bytes
        };
        let pairs = gguf.metadata().iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
        let tensor =
            |t: &palisade::gguf::TensorInfo| (t.name.clone(), t.dims.clone(), t.block_type().unwrap(), bytes(t));
        Self { pairs, tensors: gguf.tensors().iter().map(tensor).collect() }
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.remove(key).pairs.push((key.to_owned(), value.into()));
        self
    }

    fn remove(&mut self, key: &str) -> &mut Self {
        self.pairs.retain(|(k, _)| k != key);
        self
    }

    fn open(&self) -> Arc<Gguf> {
        let mut writer = Writer::new();
        for (key, value) in &self.pairs {
            writer.set(key, value.clone()).unwrap();
        }
        for (name, dims, ty, _) in &self.tensors {
            writer.tensor(name, dims, *ty).unwrap();
        }
        let mut bytes = Vec::new();
        writer.write_into(&mut bytes, |i, sink| sink.write(&self.tensors[i].3)).unwrap();
        Arc::new(Gguf::from_bytes("draft", bytes).unwrap())
    }
}

fn load(gguf: &Arc<Gguf>, options: &DecoderOptions) -> Arc<Decoder> {
    Arc::new(Decoder::load(gguf, options, &mut |_| true).unwrap())
}

fn score(gguf: &Arc<Gguf>, ids: &[u32], options: &DecoderOptions) -> Vec<f32> {
    load(gguf, options).score(ids, &mut RunControl::default()).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn mean_gap(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

#[test]
fn ollama_files_compute_what_the_original_computes() {
    for name in ["scout-q8_0", "maverick-q8_0"] {
        let want = score(&Arc::new(Gguf::open(fixture(name)).unwrap()), &ids(name), &DecoderOptions::default());
        let mut draft = Draft::of(&fixture(name));
        let number = |draft: &Draft, key: &str| match draft.pairs.iter().find(|(k, _)| k == key).map(|p| &p.1) {
            Some(Value::U32(x)) => *x,
            other => panic!("{key}: {other:?}"),
        };
        // The keys of Ollama's converter: the expert's width as feed_forward_length, the rest under Hugging Face's names, the
        // size of a head as width / heads whatever it is, and the picture tower in the same file.
        let (expert, dense) =
            (number(&draft, "llama4.expert_feed_forward_length"), number(&draft, "llama4.feed_forward_length"));
        let head = number(&draft, "llama4.attention.key_length");
        let width = number(&draft, "llama4.embedding_length") / number(&draft, "llama4.attention.head_count");
        assert_ne!(head, width, "the correction has something to correct");
        draft
            .set("llama4.feed_forward_length", expert)
            .set("llama4.intermediate_size", dense)
            .set("llama4.intermediate_size_moe", expert)
            .remove("llama4.expert_feed_forward_length")
            .set("llama4.attention.head_dim", head)
            .set("llama4.rope.dimension_count", width)
            .set("llama4.use_qk_norm", name == "scout-q8_0")
            .set("llama4.vision.block_count", 1u32)
            .set("llama4.vision.embedding_length", 32u32)
            .set("tokenizer.ggml.pre", "default");
        draft.tensors.push(("v.blk.0.attn_norm.weight".into(), vec![32], BlockType::F32, vec![0; 128]));
        let gguf = draft.open();
        let decoder = load(&gguf, &DecoderOptions::default());
        let got = decoder.score(&ids(name), &mut RunControl::default()).unwrap();
        assert_eq!(bits(&got), bits(&want), "{name}");
        let warnings = &decoder.model().warnings;
        assert!(warnings.iter().any(|w| w.contains("rope.dimension_count")), "{warnings:?}");
        let right = Tokenizer::from_gguf(Gguf::open(fixture(name)).unwrap().metadata()).unwrap();
        let corrected = Tokenizer::from_gguf(gguf.metadata()).unwrap();
        let text = "the inside of it isn't 12345\n\n  on HERE";
        assert_eq!(corrected.encode_text(text), right.encode_text(text));
        assert!(right.warnings().is_empty() && corrected.warnings().iter().any(|w| w.contains("default")));
    }
}

/// The divisors of the 8/4 scaling (Llama 3.1's), which the first Scout files shipped.
fn stale_divisors(pairs: usize) -> Vec<u8> {
    let one = |i: usize| {
        let wave = std::f64::consts::TAU * 500_000f64.powf(i as f64 / pairs as f64);
        let smooth = (8192.0 / wave - 1.0) / (4.0 - 1.0);
        if wave < 2048.0 {
            1.0
        } else if wave > 8192.0 {
            8.0
        } else {
            1.0 / ((1.0 - smooth) / 8.0 + smooth)
        }
    };
    (0..pairs).flat_map(|i| (one(i) as f32).to_le_bytes()).collect()
}

#[test]
fn stale_rope_divisors_are_corrected_with_a_warning() {
    let want =
        score(&Arc::new(Gguf::open(fixture("scout-f32")).unwrap()), &ids("scout-f32"), &DecoderOptions::default());
    let mut draft = Draft::of(&fixture("scout-f32"));
    let divisors = draft.tensors.iter_mut().find(|t| t.0 == "rope_freqs.weight").unwrap();
    let stale = stale_divisors(divisors.1[0] as usize);
    assert_ne!(divisors.3, stale);
    divisors.3 = stale;
    let decoder = load(&draft.open(), &DecoderOptions::default());
    let got = decoder.score(&ids("scout-f32"), &mut RunControl::default()).unwrap();
    assert_eq!(bits(&got), bits(&want));
    assert!(decoder.model().warnings.iter().any(|w| w.contains("stale")), "{:?}", decoder.model().warnings);
    // Llama 3 means these divisors: there they stay.
    let model = Model::from_gguf(&Gguf::open(fixture("llama31-q8_0")).unwrap()).unwrap();
    assert!(!model.rope.corrected && model.warnings.is_empty());
}

#[test]
fn lists_and_periods_of_layers_are_checked_and_obeyed() {
    let model = |draft: &Draft| Model::from_gguf(&draft.open());
    let mut draft = Draft::of(&fixture("guard4-q4_0"));
    assert_eq!(model(&draft).unwrap().hparams.rope_layers, [true, true, true, false, true], "the default period");
    draft.set("llama4.nope_layer_interval", 2u32);
    assert_eq!(model(&draft).unwrap().hparams.rope_layers, [true, false, true, false, true]);
    draft.set("llama4.attention.rope_layers", Value::Array(Array::Bool(vec![false, true, true, true, false])));
    assert_eq!(model(&draft).unwrap().hparams.rope_layers, [false, true, true, true, false]);
    draft.set("llama4.attention.rope_layers", Value::Array(Array::Bool(vec![false; 3])));
    let e = model(&draft).unwrap_err();
    assert!(e.kind() == Kind::Corrupt && e.message().contains("3 entries"), "{e}");
    // An integer says yes as well as a bool: the configs of published models have `attn_temperature_tuning: 4`.
    draft.remove("llama4.attention.rope_layers").set("llama4.attn_temperature_tuning", 4u32);
    assert!(model(&draft).unwrap().hparams.temperature.is_some());
    draft.set("llama4.attn_temperature_tuning", false);
    assert!(model(&draft).unwrap().hparams.temperature.is_none());
}

#[test]
fn eight_bit_keys_and_values_stay_near_single_precision() {
    for name in ["scout-f32", "guard4-q8_0", "behemoth-f16", "maverick-q4_0"] {
        let gguf = Arc::new(Gguf::open(fixture(name)).unwrap());
        // Fine activations, so that the difference is that of the keys and values alone.
        let options = |kv, threads| DecoderOptions { kv, threads, precision: Precision::Fine, ..Default::default() };
        let of = |kv, threads| score(&gguf, &ids(name), &options(kv, threads));
        let (full, half, eight) = (of(KvType::F32, 1), of(KvType::F16, 1), of(KvType::Q8_0, 1));
        let (half, gap) = (mean_gap(&full, &half), mean_gap(&full, &eight));
        assert!(half < 1e-3 && gap > half && gap < 0.02, "{name}: f16 {half}, q8_0 {gap} from f32");
        assert_eq!(bits(&eight), bits(&of(KvType::Q8_0, 2)), "{name}");
    }
}

#[test]
fn eight_bit_keys_need_heads_of_whole_blocks() {
    let gguf = Arc::new(Gguf::open(fixture("llama3-q8_0")).unwrap());
    assert_eq!(Model::from_gguf(&gguf).unwrap().hparams.head_dim % 32, 16);
    let options = DecoderOptions { kv: KvType::Q8_0, ..Default::default() };
    let e = Decoder::load(&gguf, &options, &mut |_| true).unwrap_err();
    assert!(e.kind() == Kind::Unsupported && e.message().contains("f16"), "{e}");
}

#[test]
fn chunked_layers_never_hold_more_than_a_chunk() {
    let mut draft = Draft::of(&fixture("scout-long"));
    draft.set("llama4.attention.chunk_size", 128u32);
    let gguf = draft.open();
    let ids: Vec<u32> = ids("scout-long")[..400].to_vec();
    for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
        // Batches of 100 would cross the borders at 128, 256 and 384.
        let decoder = load(&gguf, &DecoderOptions { kv, prefill_batch: 100, context: 400, ..Default::default() });
        let model = decoder.model();
        let h = &model.hparams;
        let one = match kv {
            KvType::F32 => h.kv_heads * h.head_dim * 2 * 4,
            KvType::F16 => h.kv_heads * h.head_dim * 2 * 2,
            _ => h.kv_heads * h.head_dim * 2 * 34 / 32,
        } as u64;
        let (chunked, full) =
            (h.rope_layers.iter().filter(|r| **r).count(), h.rope_layers.iter().filter(|r| !**r).count());
        let pages = |positions: usize| positions.div_ceil(64) as u64 * 64;
        let mut talk = decoder.conversation().unwrap();
        for (n, id) in ids.iter().enumerate() {
            talk.feed(&[*id], &mut RunControl::default()).unwrap();
            let inside = n % 128 + 1; // of the chunk that position n lies in
            let want = one * (full as u64 * pages(n + 1) + chunked as u64 * pages(inside));
            assert_eq!(talk.bytes(), want, "{kv:?} after {} positions", n + 1);
            assert!(talk.bytes() <= kv_bytes(model, kv, n + 1), "{kv:?}: more than was told at {} positions", n + 1);
        }
        // 12·b·T + 36·b·min(T, chunk), here with one full and three chunked layers.
        assert_eq!(kv_bytes(model, kv, 384), one * (full as u64 * 384 + chunked as u64 * 128), "{kv:?}");
        let stepwise = talk.feed(&ids[..1], &mut RunControl::default());
        assert_eq!(stepwise.unwrap_err().kind(), Kind::Limit, "the context is full");
        let mut whole = decoder.conversation().unwrap();
        whole.feed(&ids, &mut RunControl::default()).unwrap();
        assert_eq!(whole.bytes(), talk.bytes(), "{kv:?}: batches end where a chunk does");
    }
}

#[test]
fn the_budget_counts_the_past_before_any_of_it_is_asked_for() {
    let gguf = Arc::new(Gguf::open(fixture("scout-q8_0")).unwrap());
    let model = Model::from_gguf(&gguf).unwrap();
    for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
        let plenty = DecoderOptions { kv, context: 100_000, ..Default::default() };
        let bytes = load(&gguf, &plenty).bytes();
        assert_eq!(bytes.kv, kv_bytes(&model, kv, 100_000));
        let tight = DecoderOptions { memory_budget: bytes.fixed + bytes.kv - 1, ..plenty.clone() };
        let e = Decoder::load(&gguf, &tight, &mut |_| true).unwrap_err();
        assert!(e.kind() == Kind::Memory && e.message().contains(&bytes.kv.to_string()), "{e}");
    }
    // Ten million positions are told, not allocated.
    let all = DecoderOptions { context: 10_485_760, ..Default::default() };
    assert!(load(&gguf, &all).bytes().kv > 10_485_760);
}

#[test]
fn fine_activations_keep_the_past_in_single_precision() {
    let gguf = Arc::new(Gguf::open(fixture("guard4-f16")).unwrap());
    let bytes = |precision, kv| load(&gguf, &DecoderOptions { precision, kv, ..Default::default() }).bytes().kv;
    assert_eq!(bytes(Precision::Fine, KvType::Auto), bytes(Precision::Fast, KvType::F32));
    assert_eq!(bytes(Precision::Fast, KvType::Auto), bytes(Precision::Fast, KvType::F16));
}
