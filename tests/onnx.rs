//! ONNX classifiers against ONNX Runtime: both PyTorch exporters, every length, padding and batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};

use palisade::engine::{OnnxClassifier, OnnxOptions};
use serde_json::Value;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx")
}

/// `case` of make_deberta.py: ids, mask.
fn case(vocab: usize, batch: usize, seq: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for row in 0..batch {
        let padded = if row == 0 { 0 } else { seq * row / 4 };
        for column in 0..seq {
            let real = column < seq - padded;
            let id = 1 + (row * 7919 + column * 104_729 + 13) % (vocab - 1);
            ids.push(if real { i64::try_from(id).unwrap() } else { 0 });
            mask.push(i64::from(real));
        }
    }
    (ids, mask)
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// The largest distance from ONNX Runtime over all cases of a model.
fn furthest(model: &OnnxClassifier, vocab: usize, cases: &Value) -> f32 {
    let mut furthest = 0.0f32;
    for c in cases.as_array().unwrap() {
        let [batch, seq] = ["batch", "seq"].map(|k| usize::try_from(c[k].as_u64().unwrap()).unwrap());
        let (ids, mask) = case(vocab, batch, seq);
        let ours = model.logits(&ids, &mask, batch, seq, &|| Ok(())).unwrap();
        for (a, b) in ours.iter().zip(numbers(&c["logits"])) {
            furthest = furthest.max((a - b).abs());
        }
    }
    furthest
}

fn record() -> Value {
    serde_json::from_slice(&std::fs::read(data().join("logits.json")).unwrap()).unwrap()
}

#[test]
fn deberta_of_both_exporters_gives_the_logits_of_onnx_runtime() {
    let record = record();
    let vocab = usize::try_from(record["vocab"].as_u64().unwrap()).unwrap();
    for (name, cases) in record["models"].as_object().unwrap() {
        let model = OnnxClassifier::open(&data().join(name), &OnnxOptions::default()).unwrap();
        assert_eq!(model.labels(), 2);
        assert_eq!(cases.as_array().unwrap().len(), 18);
        let far = furthest(&model, vocab, cases);
        assert!(far <= 1e-4, "{name}: {far}");
    }
}

#[test]
fn a_plan_for_one_shape_gives_the_same() {
    let record = record();
    let vocab = usize::try_from(record["vocab"].as_u64().unwrap()).unwrap();
    let shapes = [(1, 512), (3, 64)];
    for (name, cases) in record["models"].as_object().unwrap() {
        let options = OnnxOptions { shapes: &shapes, ..OnnxOptions::default() };
        let model = OnnxClassifier::open(&data().join(name), &options).unwrap();
        let far = furthest(&model, vocab, cases);
        assert!(far <= 1e-4, "{name}: {far}");
    }
}
