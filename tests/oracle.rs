//! The numbers of Hugging Face (`tests/data/logits/`, made by `tests/data/make_logits.py`) against the reference and the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod reference;

use std::path::PathBuf;

use serde_json::Value;

const ALL: [&str; 13] = [
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
