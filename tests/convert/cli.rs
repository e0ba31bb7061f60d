//! The commands, as a user gives them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use palisade::convert::{Control, Conversion, Importance, Options};
use palisade::engine::DecoderOptions;
use palisade::gguf::Gguf;
use palisade::quant::BlockType;
use serde_json::Value;

use super::{data, types};

fn palisade(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_palisade")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn convert_writes_both_files_and_leaves_nothing_else() {
    let out = tempfile::tempdir().unwrap();
    let (text, tower) = (out.path().join("m.gguf"), out.path().join("mmproj.gguf"));
    let (text, tower) = (text.to_str().unwrap(), tower.to_str().unwrap());
    let folder = data("scout");
    let arguments = ["convert", folder.to_str().unwrap(), text, "--type", "q4_0", "--mmproj", tower, "--json"];
    let dry = palisade(&[&arguments[..], &["--dry-run"]].concat());
    assert!(dry.status.success() && names(out.path()).is_empty(), "{}", said(&dry));
    let plan: Value = serde_json::from_slice(dry.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(plan["tensors"].as_array().unwrap().len(), 4 * 13 + 4);
    let done = palisade(&arguments);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(names(out.path()), ["m.gguf", "mmproj.gguf"]);
    let result: Value = serde_json::from_slice(done.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(result["bytes"], fs::metadata(text).unwrap().len());
    assert_eq!(Gguf::open(tower).unwrap().architecture().unwrap(), "clip");
    let again = palisade(&arguments);
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));
    assert!(palisade(&[&arguments[..], &["--force"]].concat()).status.success());
}

#[test]
fn calibration_weighs_the_rounding_of_the_folder_itself() {
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let (folder, text) = (data("llama3"), data("calibration.txt"));
    let (folder, text) = (folder.to_str().unwrap(), text.to_str().unwrap());
    let plain = palisade(&["convert", folder, &path("plain.gguf"), "--type", "q4_0"]);
    let weighted = [
        "convert",
        folder,
        &path("w.gguf"),
        "--type",
        "q4_0",
        "--calibration",
        text,
        "--save-importance",
        &path("i.gguf"),
    ];
    let weighted = palisade(&weighted);
    assert!(plain.status.success() && weighted.status.success(), "{}", said(&weighted));
    assert_eq!(names(out.path()), ["i.gguf", "plain.gguf", "w.gguf"]);
    assert!(fs::read(path("plain.gguf")).unwrap() != fs::read(path("w.gguf")).unwrap());
    // The same by hand, and by the file that was kept.
    let full = out.path().join("full.gguf");
    Conversion::from_folder(Path::new(folder), &types(BlockType::Bf16))
        .unwrap()
        .run(&full, &mut Control::default())
        .unwrap();
    let words = fs::read_to_string(text).unwrap();
    let importance = Importance::measure(&full, &words, &DecoderOptions::default(), &mut Control::default()).unwrap();
    assert_eq!(Importance::read(Path::new(&path("i.gguf"))).unwrap(), importance);
    let options = Options { importance: Some(importance), ..types(BlockType::Q4_0) };
    let hand = out.path().join("hand.gguf");
    Conversion::from_folder(Path::new(folder), &options).unwrap().run(&hand, &mut Control::default()).unwrap();
    let by_hand = fs::read(hand).unwrap();
    assert!(by_hand == fs::read(path("w.gguf")).unwrap());
    let named = palisade(&["convert", folder, &path("n.gguf"), "--type", "q4_0", "--importance", &path("i.gguf")]);
    assert!(named.status.success() && by_hand == fs::read(path("n.gguf")).unwrap(), "{}", said(&named));
}

#[test]
fn what_is_asked_wrongly_is_said() {
    let out = tempfile::tempdir().unwrap();
    let model = out.path().join("m.gguf");
    let model = model.to_str().unwrap();
    let shape =
        ["--layers", "1", "--width", "64", "--heads", "2", "--kv-heads", "1", "--head-dim", "32", "--ffn", "64"];
    let synth = [&["synth", "--shape", "llama-1b", "--vocab", "300", "--type", "f16", model][..], &shape].concat();
    let made = palisade(&synth);
    assert!(made.status.success(), "{}", said(&made));
    for (arguments, expected) in [
        (vec!["quantize", model, model], "is both read and written"),
        (vec!["quantize", model, "x.gguf", "--type", "q9"], "expected one of f32, f16"),
        (vec!["quantize", model, "x.gguf", "--tensor-type", "attn"], "expected PATTERN=TYPE"),
        (vec!["synth", "--shape", "colossus", "x.gguf"], "there are scout, maverick"),
        (vec!["synth", "--shape", "scout", "--routing", "zipf", "x.gguf"], "expected uniform, zipf:S"),
        (vec!["convert", out.path().to_str().unwrap(), "x.gguf"], "config.json is missing"),
    ] {
        let output = palisade(&arguments);
        assert!(!output.status.success() && said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
}
