//! ONNX classifiers against ONNX Runtime: both PyTorch exporters, every length, padding and batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

#[path = "attacks/onnx.rs"]
mod attacks;
#[path = "attacks/protobuf.rs"]
mod protobuf;

use std::path::{Path, PathBuf};

use palisade::CancelFlag;
use palisade::engine::{OnnxClassifier, OnnxOptions};
use palisade::guard::{Category, CheckId, Guard, GuardOptions, InputContext, JudgedText};
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
fn encoders_of_both_exporters_give_the_logits_of_onnx_runtime() {
    let folder = data().join("encoders");
    let record: Value = serde_json::from_slice(&std::fs::read(folder.join("logits.json")).unwrap()).unwrap();
    let vocab = usize::try_from(record["vocab"].as_u64().unwrap()).unwrap();
    let models = record["models"].as_object().unwrap();
    assert_eq!(models.len(), 8);
    for (name, cases) in models {
        for threads in [1, 2] {
            let options = OnnxOptions { threads: Some(threads), ..OnnxOptions::default() };
            let model = OnnxClassifier::open(&folder.join(name), &options).unwrap();
            assert_eq!((model.labels(), cases.as_array().unwrap().len()), (3, 5));
            let far = furthest(&model, vocab, cases);
            assert!(far <= 1e-5, "{name}: {far}");
        }
    }
}

/// A text that the mask leaves out whole gives, under attention that cares for such rows, what ONNX Runtime gives; an average
/// over none of its tokens is no number, which no guard takes for a score.
#[test]
fn a_text_without_a_token_is_refused() {
    let model = OnnxClassifier::open(&data().join("encoders/bool-dynamo.onnx"), &OnnxOptions::default()).unwrap();
    let error = model.logits(&[1, 2, 3, 4], &[0; 4], 1, 4, &|| Ok(())).unwrap_err();
    assert_eq!(error.kind(), palisade::Kind::GuardInvalid);
}

#[test]
fn plans_for_named_shapes_give_the_same_and_no_other_shape_is_run() {
    let record = record();
    let vocab = usize::try_from(record["vocab"].as_u64().unwrap()).unwrap();
    let shapes = [(1, 2), (1, 7), (1, 64), (1, 512), (3, 63), (3, 512)];
    for (name, cases) in record["models"].as_object().unwrap() {
        let options = OnnxOptions { shapes: &shapes, ..OnnxOptions::default() };
        let model = OnnxClassifier::open(&data().join(name), &options).unwrap();
        let shape = |c: &Value| ["batch", "seq"].map(|k| usize::try_from(c[k].as_u64().unwrap()).unwrap());
        let named = |c: &&Value| shapes.contains(&shape(c).into());
        let cases: Vec<Value> = cases.as_array().unwrap().iter().filter(named).cloned().collect();
        assert_eq!(cases.len(), shapes.len());
        let far = furthest(&model, vocab, &Value::Array(cases));
        assert!(far <= 1e-4, "{name}: {far}");
        let error = model.logits(&[1, 2, 3], &[1; 3], 1, 3, &|| Ok(())).unwrap_err();
        assert_eq!(error.kind(), palisade::Kind::Argument);
    }
}

#[test]
fn the_logits_do_not_depend_on_the_number_of_threads() {
    for (name, vocab, seq) in [
        ("legacy.onnx", 300, 255),
        ("prompt-guard/model.onnx", 300, 255),
        ("encoders/bool-legacy.onnx", 64, 127),
        ("encoders/tanh-dynamo.onnx", 64, 127),
        ("../../../guards/classifier/model.onnx", 5000, 127),
    ] {
        let (ids, mask) = case(vocab, 3, seq);
        let [one, more] = [1, 3].map(|threads| {
            let options = OnnxOptions { threads: Some(threads), ..OnnxOptions::default() };
            let model = OnnxClassifier::open(&data().join(name), &options).unwrap();
            let logits = model.logits(&ids, &mask, 3, seq, &|| Ok(())).unwrap();
            logits.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        });
        assert_eq!(one, more, "{name}");
    }
}

/// The folder that make_prompt_guard.py wrote, in a place where files can be added.
fn prompt_guard() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.onnx", "model.onnx.data", "tokenizer.json", "config.json"] {
        std::fs::copy(data().join("prompt-guard").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn guard(folder: &Path) -> palisade::Result<Guard> {
    Guard::open(&GuardOptions { classifier: Some(folder.to_owned()), ..GuardOptions::default() })
}

/// What the model said of a text, from a judgement.
fn score(guard: &Guard, text: &str) -> Option<f32> {
    let judged = guard.judge_input(&InputContext { text, ..InputContext::default() }, &CancelFlag::new());
    assert!(judged.failure.is_none(), "{text}: {:?}", judged.failure);
    judged.scores.iter().find(|v| v.stage == CheckId::PROMPT_GUARD).map(|v| v.score)
}

#[test]
fn a_folder_as_a_user_has_it_judges_as_llamafirewall_does_and_reads_all_of_a_text() {
    let guard = guard(prompt_guard().path()).unwrap();
    let expected = std::fs::read(data().join("prompt-guard/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let [highest, firewall] = ["score", "llamafirewall"].map(|k| case[k].as_f64().unwrap() as f32);
        let ours = score(&guard, text).unwrap();
        // Disguised texts have further views, which can only add to the score.
        let disguised = JudgedText::new(text).unwrap().views().iter().filter(|v| !v.is_repeated()).count() > 1;
        assert!(ours + 1e-4 >= highest && ours + 1e-4 >= firewall, "{text}: {ours}, expected {highest}");
        assert!(disguised || (ours - highest).abs() <= 1e-4, "{text}: {ours}, expected {highest}");
    }
}

/// Spaces inside words are undone even where a full-width letter keeps the original from being squeezed.
#[test]
fn a_letter_that_cannot_be_found_again_does_not_hide_spaced_words() {
    let guard = guard(prompt_guard().path()).unwrap();
    // The model's score of the squeezed text, "I we Ine mo", is 0.596; of the text with its spaces 0.142.
    for text in ["I we In e mo", "Ｉ we In e mo"] {
        let found = score(&guard, text).unwrap();
        assert!((found - 0.596).abs() < 1e-3, "{text}: {found}");
    }
}

#[test]
fn the_embedded_classifier_stays_beside_one_of_injections_alone() {
    let guard = guard(prompt_guard().path()).unwrap();
    let text = "What is the time?";
    let judged = guard.judge_input(&InputContext { text, ..InputContext::default() }, &CancelFlag::new());
    let stages: Vec<CheckId> = judged.scores.iter().map(|v| v.stage).collect();
    assert_eq!(stages, [CheckId::CLASSIFIER, CheckId::PROMPT_GUARD]);
    let judged = guard.judge_output_text(text, &CancelFlag::new());
    assert!(judged.scores.iter().all(|v| v.stage != CheckId::PROMPT_GUARD));
}

/// A `classifier.toml` for the folder, with a threshold that any text passes.
fn pinned(folder: &Path, more: &str) {
    let sha = |name: &str| palisade::digest::sha256_hex(&std::fs::read(folder.join(name)).unwrap());
    let text = format!(
        "version = \"1\"\nkind = \"injection\"\nthreshold = 1e-6\nmodel_sha256 = \"{}\"\ntokenizer_sha256 = \"{}\"\n{more}",
        sha("model.onnx"),
        sha("tokenizer.json")
    );
    std::fs::write(folder.join("classifier.toml"), text).unwrap();
}

#[test]
fn a_score_from_the_threshold_on_blocks_with_its_category() {
    let folder = prompt_guard();
    let sha = palisade::digest::sha256_hex(&std::fs::read(folder.path().join("model.onnx.data")).unwrap());
    pinned(folder.path(), &format!("category = \"jailbreak\"\n[data_sha256]\n\"model.onnx.data\" = \"{sha}\"\n"));
    let guard = guard(folder.path()).unwrap();
    let context = InputContext { text: "What is the time?", ..InputContext::default() };
    let judged = guard.judge_input(&context, &CancelFlag::new());
    let verdict = judged.blocked_by().unwrap();
    assert_eq!((verdict.stage, verdict.category), (CheckId::PROMPT_GUARD, Some(Category::Jailbreak)));
}

#[test]
fn files_other_than_the_pinned_ones_are_refused() {
    let folder = prompt_guard();
    pinned(folder.path(), "");
    let error = guard(folder.path()).unwrap_err();
    assert!(error.message().contains("data_sha256 has no line for model.onnx.data"), "{error}");
    pinned(folder.path(), "[data_sha256]\n\"model.onnx.data\" = \"00\"\n");
    let error = guard(folder.path()).unwrap_err();
    assert!(error.message().contains("model.onnx.data: SHA-256 is"), "{error}");
    for name in ["model.onnx", "tokenizer.json"] {
        let folder = prompt_guard();
        pinned(folder.path(), "");
        let mut bytes = std::fs::read(folder.path().join(name)).unwrap();
        bytes.push(b'\n');
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let error = guard(folder.path()).unwrap_err();
        assert!(error.message().contains(&format!("{name}: SHA-256 is")), "{error}");
    }
}

#[test]
fn a_config_that_does_not_say_prompt_guard_is_refused() {
    for (from, to) in [
        ("DebertaV2ForSequenceClassification", "DebertaV2ForTokenClassification"),
        ("\"1\": \"MALICIOUS\"", "\"1\": \"SAFE\""),
        ("\"0\": \"BENIGN\",", "\"0\": \"BENIGN\", \"2\": \"OTHER\","),
    ] {
        let folder = prompt_guard();
        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        assert_eq!(guard(folder.path()).unwrap_err().kind(), palisade::Kind::Unsupported, "{to}");
    }
}

#[test]
fn a_missing_file_is_no_guard() {
    for name in ["model.onnx", "model.onnx.data", "tokenizer.json", "config.json"] {
        let folder = prompt_guard();
        std::fs::remove_file(folder.path().join(name)).unwrap();
        assert_eq!(guard(folder.path()).unwrap_err().kind(), palisade::Kind::Io, "{name}");
    }
}

#[test]
fn a_guard_that_is_told_to_stop_or_is_late_blocks() {
    let folder = prompt_guard();
    let policy = include_str!("../guards/policies/default.toml");
    let (before, after) = policy.split_once("judge_ms = ").unwrap();
    let rest = after.split_once('\n').unwrap().1;
    let options = GuardOptions {
        policy_text: Some(format!("{before}judge_ms = 100\n{rest}")),
        classifier: Some(folder.path().to_owned()),
        ..GuardOptions::default()
    };
    let slow = Guard::open(&options).unwrap();
    let text = "Please say it again. ".repeat(3000);
    let context = InputContext { text: &text, ..InputContext::default() };
    let started = std::time::Instant::now();
    let judged = slow.judge_input(&context, &CancelFlag::new());
    assert!(judged.is_block());
    assert_eq!(judged.failure.map(|e| e.kind()), Some(palisade::Kind::GuardTimeout));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    let cancel = CancelFlag::new();
    cancel.raise();
    let judged = guard(folder.path()).unwrap().judge_input(&context, &cancel);
    assert_eq!(judged.failure.map(|e| e.kind()), Some(palisade::Kind::Cancelled));
}

#[test]
fn what_the_tokenizer_file_says_of_padding_and_truncation_changes_nothing() {
    let plain = guard(prompt_guard().path()).unwrap();
    let folder = prompt_guard();
    let path = folder.path().join("tokenizer.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = serde_json::json!({"strategy": {"Fixed": 600}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    std::fs::write(&path, file.to_string()).unwrap();
    let changed = guard(folder.path()).unwrap();
    for text in ["When does the museum open on Sundays?", "a"] {
        assert_eq!(score(&plain, text), score(&changed, text));
    }
}
