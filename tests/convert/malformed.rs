//! A damaged folder gives one error that names what is wrong, and never a file.

use std::fs;
use std::path::Path;

use palisade::Kind;
use palisade::quant::BlockType;
use serde_json::{Value, json};

use super::{convert, copy, edit, types};

const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";

/// Writes `change` of a file's bytes in its place.
fn damage(folder: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(folder.join(file)).unwrap();
    change(&mut bytes);
    fs::write(folder.join(file), bytes).unwrap();
}

/// Replaces the first `from` in a safetensors header; the header keeps its length.
fn rename(folder: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    damage(folder, WEIGHTS, |bytes| {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    });
}

fn refused(name: &str, change: impl FnOnce(&Path), kind: Kind, said: &str) {
    let (folder, out) = (copy(name), tempfile::tempdir().unwrap());
    change(folder.path());
    let path = out.path().join("out.gguf");
    let e = convert(folder.path(), &path, &types(BlockType::Q8_0)).unwrap_err();
    assert_eq!(e.kind(), kind, "{e}");
    assert!(e.message().contains(said), "{e}\nexpected: {said}");
    assert!(!path.exists());
}

#[test]
fn damaged_safetensors_are_refused() {
    let cut = |n: usize| move |folder: &Path| damage(folder, WEIGHTS, |b| b.truncate(b.len() - n));
    refused("maverick", cut(1), Kind::Corrupt, "bytes");
    refused("maverick", cut(50_000), Kind::Corrupt, "expected");
    let length = |n: u64| move |folder: &Path| damage(folder, WEIGHTS, |b| b[..8].copy_from_slice(&n.to_le_bytes()));
    refused("maverick", length(1 << 63), Kind::Corrupt, "9223372036854775808");
    refused("maverick", length(u64::MAX), Kind::Corrupt, "the header is said to have");
    refused("maverick", length(5), Kind::Corrupt, "header");
    refused(
        "maverick",
        |f| fs::write(f.join(WEIGHTS), b"abc").unwrap(),
        Kind::Corrupt,
        "3 bytes are no safetensors file",
    );
    refused("maverick", |f| damage(f, WEIGHTS, |b| b.extend([0, 0])), Kind::Corrupt, "the tensors end at");
    refused("maverick", |f| rename(f, "\"F16\"", "\"I16\""), Kind::Unsupported, "values of type I16");
    refused("maverick", |f| rename(f, "\"shape\":[320", "\"shape\":[321"), Kind::Corrupt, "shape");
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let nan = |folder: &Path| {
        damage(folder, WEIGHTS, |b| {
            let n = b.len();
            b[n - 2..].copy_from_slice(&0x7e00u16.to_le_bytes());
        })
    };
    for ty in [BlockType::F32, BlockType::F16, BlockType::Q4_0] {
        let (folder, out) = (copy("maverick"), tempfile::tempdir().unwrap());
        nan(folder.path());
        let e = convert(folder.path(), &out.path().join("o.gguf"), &types(ty)).unwrap_err();
        assert_eq!(e.kind(), Kind::Numeric, "{e}");
        assert!(e.message().contains("tensor ") && e.message().contains("NaN"), "{e}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "nothing is left of what will never be whole");
    }
}

#[test]
fn missing_and_foreign_files_are_refused() {
    let gone = |file: &'static str| move |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
    refused("maverick", gone(WEIGHTS), Kind::Io, "expected a folder of safetensors");
    refused("maverick", gone("config.json"), Kind::Io, "config.json is missing");
    refused("maverick", gone("tokenizer.json"), Kind::Io, "tokenizer.json");
    refused("scout", gone("model-00002-of-00003.safetensors"), Kind::Io, "model-00002-of-00003.safetensors");
    refused("maverick", |f| fs::write(f.join("config.json"), "{").unwrap(), Kind::Corrupt, "config.json");
    refused("maverick", |f| fs::write(f.join("tokenizer.json"), "{}").unwrap(), Kind::Corrupt, "tokenizer.json");
    for escape in ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b"] {
        let point = |folder: &Path| {
            edit(folder, INDEX, |index| {
                index["weight_map"]["language_model.lm_head.weight"] = json!(escape);
            })
        };
        refused("scout", point, Kind::Corrupt, "expected the name of a file in the same folder");
    }
    let moved = |folder: &Path| {
        edit(folder, INDEX, |index| {
            let place = &mut index["weight_map"]["language_model.lm_head.weight"];
            let first = json!("model-00001-of-00003.safetensors");
            *place = if *place == first { json!("model-00002-of-00003.safetensors") } else { first };
        })
    };
    refused("scout", moved, Kind::Corrupt, "which lacks it");
}

#[cfg(unix)]
#[test]
fn shards_may_be_symlinks() {
    let (folder, elsewhere, out) = (copy("scout"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for i in 1..=3 {
        let name = format!("model-0000{i}-of-00003.safetensors");
        fs::rename(folder.path().join(&name), elsewhere.path().join(i.to_string())).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(i.to_string()), folder.path().join(&name)).unwrap();
    }
    convert(folder.path(), &out.path().join("o.gguf"), &types(BlockType::Q8_0)).unwrap();
}

#[test]
fn what_gguf_or_this_build_cannot_say_is_refused() {
    let text = |change: fn(&mut Value)| move |folder: &Path| edit(folder, "config.json", change);
    let unsupported = Kind::Unsupported;
    refused(
        "maverick",
        text(|c| c["architectures"] = json!(["MixtralForCausalLM"])),
        unsupported,
        "MixtralForCausalLM",
    );
    let fp8 = |c: &mut Value| c["quantization_config"] = json!({"quant_method": "fbgemm_fp8"});
    refused("maverick", text(fp8), unsupported, "quantized with fbgemm_fp8");
    refused("maverick", text(|c| c["attention_bias"] = json!(true)), unsupported, "attention_bias");
    refused("maverick", text(|c| c["hidden_act"] = json!("relu")), unsupported, "relu");
    refused("maverick", text(|c| c["moe_layers"] = json!([0])), unsupported, "every n-th layer");
    let yarn = |c: &mut Value| c["rope_parameters"] = json!({"rope_type": "yarn", "rope_theta": 5e5});
    refused("maverick", text(yarn), unsupported, "yarn");
    let layers = |c: &mut Value| c["layer_types"] = json!(["full_attention", "chunked_attention"]);
    refused("maverick", text(layers), unsupported, "layer_types");
    let corrupt = Kind::Corrupt;
    refused(
        "maverick",
        text(|c| c["no_rope_layers"] = json!([1])),
        corrupt,
        "no_rope_layers has 1 entries for 2 layers",
    );
    refused("maverick", text(|c| c["hidden_size"] = json!(64)), corrupt, "shape");
    refused("maverick", text(|c| c["hidden_size"] = json!(0)), corrupt, "hidden_size");
    let layers = |n: u32| {
        move |folder: &Path| {
            edit(folder, "config.json", |c| {
                c["num_hidden_layers"] = json!(n);
                for list in ["no_rope_layers", "layer_types", "moe_layers"] {
                    c[list] = Value::Null;
                }
            });
        }
    };
    refused("maverick", layers(3), corrupt, "model.layers.2.input_layernorm.weight is missing");
    refused("maverick", layers(1), unsupported, "is no part of a llama4");
    refused("maverick", text(|c| c["num_hidden_layers"] = json!(4_000_000_000u32)), Kind::Limit, "the limit is 1024");
    refused("maverick", text(|c| c["vocab_size"] = json!("many")), corrupt, "vocab_size is \"many\"");
    refused("maverick", text(|c| c["vocab_size"] = json!(64)), corrupt, "");
    refused("llama3", text(|c| c["tie_word_embeddings"] = json!("x")), corrupt, "tie_word_embeddings");
    refused("llama3-tied", text(|c| c["tie_word_embeddings"] = json!(false)), corrupt, "lm_head.weight is missing");
}
