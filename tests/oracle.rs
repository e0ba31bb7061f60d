//! The numbers of Hugging Face (`tests/data/logits/`, made by `tests/data/make_logits.py`) against the reference and the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::engine::{Decoder, DecoderOptions, RunControl};
use palisade::gguf::Gguf;
use palisade::kernels::Precision;
use serde_json::Value;

const ALL: [&str; 23] = [
    "scout-f32",
    "scout-q8_0",
    "scout-q4_0",
    "scout-kmix",
    "scout-chunk16",
    "scout-long",
    "maverick-f16",
    "maverick-q8_0",
    "maverick-q4_0",
    "llama3-f32",
    "llama3-q8_0",
    "llama3-q4_0",
    "llama3-tied-q8_0",
    "llama31-q8_0",
    "guard4-f16",
    "guard4-q8_0",
    "guard4-q4_0",
    "behemoth-f16",
    "behemoth-q8_0",
    "behemoth-q4_0",
    "two-experts-f16",
    "mobile-f16",
    "mobile-q8_0",
];

/// Those without integer blocks.
const FULL: [&str; 8] = [
    "scout-f32",
    "maverick-f16",
    "llama3-f32",
    "scout-chunk16",
    "guard4-f16",
    "behemoth-f16",
    "two-experts-f16",
    "mobile-f16",
];

/// What Hugging Face says about one file.
struct Expected {
    model: PathBuf,
    ids: Vec<u32>,
    /// (position, log-probability of the id after it)
    next: Vec<(usize, f64)>,
    /// (position, logits)
    rows: Vec<(usize, Vec<f64>)>,
    /// (position, residual stream after the embedding, each block, the last norm)
    layers: Vec<(usize, Vec<Vec<f64>>)>,
}

fn expected(name: &str) -> Expected {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logits");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let doc: Value = serde_json::from_str(&text).unwrap();
    let floats = |v: &Value| v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let positions = doc["positions"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize);
    let keyed = |field: &str| doc[field].as_object().cloned().unwrap_or_default();
    Expected {
        model: folder.join(doc["file"].as_str().unwrap()),
        ids: doc["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect(),
        next: positions.zip(floats(&doc["next_logprobs"])).collect(),
        rows: keyed("rows").iter().map(|(p, row)| (p.parse().unwrap(), floats(row))).collect(),
        layers: keyed("layers")
            .iter()
            .map(|(p, ls)| (p.parse().unwrap(), ls.as_array().unwrap().iter().map(floats).collect()))
            .collect(),
    }
}

fn largest_gap(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn the_reference_agrees_with_hugging_face() {
    for name in ALL {
        let want = expected(name);
        let trace = reference::Model::load(&want.model).forward(&want.ids);
        let got = trace.next_logprobs(&want.ids);
        assert!(want.next.len() >= 20, "{name}: few expectations");
        let gap = largest_gap(want.next.iter().map(|n| n.1), want.next.iter().map(|n| got[n.0]));
        assert!(gap < 5e-5, "{name}: a log-probability is {gap} away");
        for (p, row) in &want.rows {
            let gap = largest_gap(row.iter().copied(), trace.logits[*p].iter().map(|v| f64::from(*v)));
            assert!(gap < 1e-4, "{name}: a logit at position {p} is {gap} away");
        }
        for (p, layers) in &want.layers {
            assert_eq!(layers.len(), trace.streams.len(), "{name}: layers");
            for (l, (want, got)) in layers.iter().zip(&trace.streams).enumerate() {
                let gap = largest_gap(want.iter().copied(), got[*p].iter().map(|v| f64::from(*v)));
                assert!(gap < 5e-5, "{name}: the stream at {l}, position {p}, is {gap} away");
            }
        }
    }
}

fn decoder(model: &Path, options: DecoderOptions) -> Arc<Decoder> {
    let gguf = Arc::new(Gguf::open(model).unwrap());
    Arc::new(Decoder::load(&gguf, &options, &mut |_| true).unwrap())
}

/// The engine's log-probability of each id after the first.
fn next_logprobs(decoder: &Arc<Decoder>, ids: &[u32]) -> Vec<f64> {
    decoder.score(ids, &mut RunControl::default()).unwrap().into_iter().map(f64::from).collect()
}

/// Mean and largest difference between the engine and Hugging Face, at the positions that the fixture judges.
fn departure(name: &str, options: DecoderOptions) -> (f64, f64) {
    let want = expected(name);
    let got = next_logprobs(&decoder(&want.model, options), &want.ids);
    assert_eq!(got.len(), want.ids.len() - 1, "{name}");
    let gaps: Vec<f64> = want.next.iter().map(|(p, v)| (v - got[*p]).abs()).collect();
    let gap = largest_gap(gaps.iter().copied(), std::iter::repeat(0.0));
    (gaps.iter().sum::<f64>() / gaps.len() as f64, gap)
}

fn with(kernels: &str, precision: Precision) -> DecoderOptions {
    DecoderOptions { threads: 2, kernels: Some(kernels.to_owned()), precision, ..Default::default() }
}

#[test]
fn full_precision_agrees_with_hugging_face_within_a_thousandth() {
    for kernels in palisade::kernels::available() {
        for name in FULL {
            let (_, worst) = departure(name, with(kernels.name, Precision::Fine));
            assert!(worst <= 1e-3, "{name} on {}: a log-probability is {worst} away", kernels.name);
        }
    }
}

#[test]
fn positions_past_the_chunk_agree_with_hugging_face_within_a_thousandth() {
    let (_, worst) = departure("scout-long", with(palisade::kernels::best().name, Precision::Fast));
    assert!(worst <= 1e-3, "a log-probability is {worst} away");
}

#[test]
fn quantized_models_stay_near_their_dequantized_reference() {
    let bounds = [("q8_0", 0.02), ("q4_0", 0.03), ("kmix", 0.03)];
    for kernels in palisade::kernels::available() {
        for name in ALL {
            let Some((_, bound)) = bounds.iter().find(|(suffix, _)| name.ends_with(suffix)) else { continue };
            let (mean, worst) = departure(name, with(kernels.name, Precision::Fast));
            assert!(mean <= *bound, "{name} on {}: {mean} on average, at most {worst}", kernels.name);
            // What `palisade score` computes.
            let (mean, worst) = departure(name, with(kernels.name, Precision::Fine));
            assert!(mean <= 1e-3, "{name} on {}, fine: {mean} on average, at most {worst}", kernels.name);
        }
    }
}

/// Logits after the first 64 ids, then after each further one, as bits.
fn conversation_bits(model: &Path, ids: &[u32], options: DecoderOptions) -> Vec<u32> {
    let mut talk = decoder(model, options).conversation().unwrap();
    let mut rows = vec![talk.feed(&ids[..64], &mut RunControl::default()).unwrap()];
    rows.extend(ids[64..].iter().map(|id| talk.feed(&[*id], &mut RunControl::default()).unwrap()));
    rows.into_iter().flatten().map(f32::to_bits).collect()
}

const ONE_OF_EACH: [&str; 9] = [
    "scout-f32",
    "scout-q8_0",
    "maverick-q4_0",
    "scout-kmix",
    "scout-chunk16",
    "llama3-tied-q8_0",
    "guard4-q4_0",
    "behemoth-q8_0",
    "two-experts-f16",
];

#[test]
fn threads_and_prefill_batches_do_not_change_a_bit() {
    for name in ONE_OF_EACH {
        let Expected { model, ids, .. } = expected(name);
        let with = |threads, prefill_batch| DecoderOptions { threads, prefill_batch, ..Default::default() };
        let one = conversation_bits(&model, &ids, with(1, 1));
        for (threads, batch) in [(2, 1), (1, 7), (2, 64)] {
            let other = conversation_bits(&model, &ids, with(threads, batch));
            assert!(one == other, "{name}: {threads} threads, batches of {batch}");
        }
    }
}

#[test]
fn where_the_weights_lie_does_not_change_a_bit() {
    for name in ONE_OF_EACH {
        let Expected { model, ids, .. } = expected(name);
        let bytes = decoder(&model, DecoderOptions::default()).bytes();
        let memory_budget = bytes.fixed + bytes.kv + bytes.routed / 4 * 3;
        let resident = conversation_bits(&model, &ids, DecoderOptions::default());
        let paged = DecoderOptions { memory_budget, ..Default::default() };
        assert!(
            resident == conversation_bits(&model, &ids, paged),
            "{name}: with three quarters of the routed experts in memory"
        );
        let mapped = DecoderOptions { map_weights: true, ..Default::default() };
        assert!(resident == conversation_bits(&model, &ids, mapped), "{name}: mapped");
    }
}

#[test]
fn decoding_step_by_step_gives_the_rows_of_the_reference() {
    for name in FULL {
        let Expected { model, ids, .. } = expected(name);
        let trace = reference::Model::load(&model).forward(&ids);
        let fine = DecoderOptions { precision: Precision::Fine, ..Default::default() };
        let mut talk = decoder(&model, fine).conversation().unwrap();
        for (p, (id, row)) in ids.iter().zip(&trace.logits).enumerate() {
            let got = talk.feed(&[*id], &mut RunControl::default()).unwrap();
            let gap = largest_gap(got.iter().map(|v| f64::from(*v)), row.iter().map(|v| f64::from(*v)));
            assert!(got.len() == row.len() && gap < 1e-3, "{name}: a logit at position {p} is {gap} away");
        }
    }
}
