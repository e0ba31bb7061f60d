//! Converted folders hold what the `gguf` package's layouts hold and compute what Hugging Face computes.

use std::collections::BTreeMap;
use std::path::Path;

use palisade::convert::{Control, Conversion};
use palisade::digest::sha256_hex;
use palisade::gguf::{Gguf, Value as Meta};
use palisade::quant::{BlockType, quantize};
use serde_json::{Value, json};

use super::{FOLDERS, bytes, convert, copy, data, edit, expected, score, types, values};

fn check_tensors(gguf: &Gguf, want: &Value, what: &str) {
    let want = want.as_object().unwrap();
    let mut names: Vec<&str> = gguf.tensors().iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    let mut wanted: Vec<&str> = want.keys().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "{what}");
    for (name, said) in want {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!(json!(tensor.dims), said[0], "{what}: {name}");
        assert_eq!(tensor.block_type().unwrap(), BlockType::F32, "{what}: {name}");
        assert_eq!(sha256_hex(&bytes(gguf, name)), said[1].as_str().unwrap(), "{what}: {name}");
    }
}

fn same(meta: &Meta, want: &Value) -> bool {
    match (meta, want) {
        (Meta::Str(x), Value::String(y)) => x == y,
        (Meta::Bool(x), Value::Bool(y)) => x == y,
        (Meta::F32(x), y) => y.as_f64().is_some_and(|y| (f64::from(*x) - y).abs() < 1e-9),
        (x, y) => x.integer().is_some_and(|x| y.as_i64().map(i128::from) == Some(x)),
    }
}

#[test]
fn every_folder_in_f32_is_the_state_dict_bit_for_bit_and_scores_like_hugging_face() {
    let out = tempfile::tempdir().unwrap();
    for name in FOLDERS {
        let (path, want) = (out.path().join(format!("{name}.gguf")), expected(name));
        let done = convert(&data(name), &path, &types(BlockType::F32)).unwrap();
        assert_eq!(done.notes, Vec::<String>::new(), "{name}");
        let gguf = Gguf::open(&path).unwrap();
        check_tensors(&gguf, &want["tensors"], name);
        for (key, value) in want["metadata"].as_object().unwrap() {
            let got = gguf.metadata().get(key).unwrap_or_else(|| panic!("{name}: {key} is missing"));
            assert!(same(got, value), "{name}: {key} is {got}, expected {value}");
        }
        let ids: Vec<u32> = serde_json::from_value(want["ids"].clone()).unwrap();
        let logprobs: Vec<f64> = serde_json::from_value(want["next_logprobs"].clone()).unwrap();
        let worst = score(&path, &ids).iter().zip(&logprobs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 1e-3, "{name}: a log-probability is {worst} away");
    }
}

#[test]
fn the_vision_tower_in_f32_is_the_state_dict_bit_for_bit() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("mmproj.gguf");
    let plan = Conversion::vision_from_folder(&data("scout"), &types(BlockType::F32)).unwrap();
    plan.run(&path, &mut Control::default()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    check_tensors(&gguf, &expected("scout")["vision"], "vision");
    for (key, value) in [
        ("general.architecture", json!("clip")),
        ("general.type", json!("mmproj")),
        ("clip.projector_type", json!("llama4")),
        ("clip.has_vision_encoder", json!(true)),
        ("clip.use_gelu", json!(true)),
        ("clip.vision.image_size", json!(28)),
        ("clip.vision.patch_size", json!(14)),
        ("clip.vision.block_count", json!(1)),
        ("clip.vision.projector.scale_factor", json!(2)),
    ] {
        assert!(same(gguf.metadata().get(key).unwrap(), &value), "{key}");
    }
    let none = Conversion::vision_from_folder(&data("llama3"), &types(BlockType::F32)).unwrap_err();
    assert!(none.message().contains("no vision_config"), "{none}");
}

/// Every type that this build writes: each tensor is `quantize` of the full-precision values, and going by a GGUF file of
/// those gives the same bytes.
#[test]
fn other_types_are_the_rounded_values() {
    let out = tempfile::tempdir().unwrap();
    let full_path = out.path().join("full.gguf");
    convert(&data("maverick"), &full_path, &types(BlockType::F32)).unwrap();
    let full = Gguf::open(&full_path).unwrap();
    for ty in BlockType::ALL.into_iter().filter(|ty| ty.can_quantize()) {
        let (direct, again) = (out.path().join(format!("{ty}.gguf")), out.path().join(format!("{ty}-again.gguf")));
        let done = convert(&data("maverick"), &direct, &types(ty)).unwrap();
        Conversion::from_gguf(&full_path, &types(ty)).unwrap().run(&again, &mut Control::default()).unwrap();
        let (direct, again) = (Gguf::open(&direct).unwrap(), Gguf::open(&again).unwrap());
        // Rows of 32 and 64 values are no blocks of 256: Q8_0 stands in, and it is said.
        let expected = if ty.block_len() > 64 { BlockType::Q8_0 } else { ty };
        let mut matrices = 0;
        for tensor in direct.tensors() {
            let written = tensor.block_type().unwrap();
            let kept = tensor.dims.len() == 1 || tensor.name.contains("ffn_gate_inp");
            let own = if tensor.name == "output.weight" && needs_q6(ty) { BlockType::Q8_0 } else { expected };
            assert_eq!(written, if kept { BlockType::F32 } else { own }, "{ty}: {}", tensor.name);
            let mut want = Vec::new();
            quantize(written, &values(&full, &tensor.name), &mut want).unwrap();
            assert!(bytes(&direct, &tensor.name) == want, "{ty}: {} from the folder", tensor.name);
            assert!(bytes(&again, &tensor.name) == want, "{ty}: {} from a GGUF file", tensor.name);
            matrices += usize::from(!kept);
        }
        assert!(matrices > 10);
        assert_eq!(done.notes.is_empty(), ty.block_len() <= 64 && !needs_q6(ty), "{ty}: {:?}", done.notes);
    }
}

/// Whether the output matrix is to be Q6_K, of whose blocks rows of 32 values are none.
fn needs_q6(ty: BlockType) -> bool {
    (ty.block_bytes() as f64 / ty.block_len() as f64) < 210.0 / 256.0
}

#[test]
fn threads_do_not_change_a_byte() {
    let out = tempfile::tempdir().unwrap();
    let plan = Conversion::from_folder(&data("scout"), &types(BlockType::Q4_0)).unwrap();
    let made: Vec<Vec<u8>> = [1, 2, 7]
        .into_iter()
        .map(|threads| {
            let path = out.path().join(format!("{threads}.gguf"));
            plan.run(&path, &mut Control { threads, ..Control::default() }).unwrap();
            std::fs::read(path).unwrap()
        })
        .collect();
    assert!(made[0] == made[1] && made[1] == made[2]);
}

/// One tensor of a safetensors file: its name, shape and bytes.
type Raw = (String, Vec<u64>, Vec<u8>);

fn read_safetensors(path: &Path) -> (String, Vec<Raw>) {
    let file = std::fs::read(path).unwrap();
    let (length, rest) = file.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let mut dtype = String::new();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, entry)| {
        dtype = entry["dtype"].as_str().unwrap().to_owned();
        let at = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
        (name, serde_json::from_value(entry["shape"].clone()).unwrap(), data[at(0)..at(1)].to_vec())
    });
    let tensors = tensors.collect();
    (dtype, tensors)
}

pub(super) fn write_safetensors(path: &Path, dtype: &str, tensors: &[Raw]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

/// `(a, b)` matrices of two-byte values, one after the other, turned.
fn turned(bytes: &[u8], copies: usize, a: usize, b: usize) -> Vec<u8> {
    let at = |m: usize, i: usize, j: usize| ((m * a + i) * b + j) * 2;
    let mut out = Vec::new();
    for m in 0..copies {
        for (j, i) in (0..b).flat_map(|j| (0..a).map(move |i| (j, i))) {
            out.extend(&bytes[at(m, i, j)..at(m, i, j) + 2]);
        }
    }
    out
}

/// How other exports lay out the experts of a layer.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Layout {
    Split,
    Stacked,
    FusedLinear,
    Each,
}

/// The tensors of an expert parameter in another layout: `x·W` matrices `(copies, inputs, outputs)`.
fn laid_out(layout: Layout, (name, shape, bytes): &Raw) -> Vec<Raw> {
    let [copies, inputs, outputs] = shape[..] else { panic!("{name}: {shape:?}") };
    let linear = turned(bytes, copies as usize, inputs as usize, outputs as usize); // (copies, outputs, inputs)
    let matrix = (inputs * outputs * 2) as usize;
    let parts: Vec<(String, u64, Vec<u8>)> = if name.ends_with("gate_up_proj") && layout != Layout::FusedLinear {
        let half =
            |i: usize| linear.chunks(matrix).flat_map(|m| m[i * matrix / 2..(i + 1) * matrix / 2].to_vec()).collect();
        let own = |part: &str| name.replace("gate_up_proj", &format!("{part}_proj"));
        vec![(own("gate"), outputs / 2, half(0)), (own("up"), outputs / 2, half(1))]
    } else {
        vec![(name.clone(), outputs, linear)]
    };
    let mut out = vec![];
    for (name, outputs, linear) in parts {
        match layout {
            Layout::Split => {
                let back = turned(&linear, copies as usize, outputs as usize, inputs as usize);
                out.push((name, vec![copies, inputs, outputs], back));
            }
            Layout::Stacked | Layout::FusedLinear => {
                out.push((format!("{name}.weight"), vec![copies, outputs, inputs], linear))
            }
            Layout::Each => out.extend(linear.chunks((inputs * outputs * 2) as usize).enumerate().map(|(e, m)| {
                let name = name.replace("experts.", &format!("experts.{e}."));
                (format!("{name}.weight"), vec![outputs, inputs], m.to_vec())
            })),
        }
    }
    out
}

#[test]
fn every_layout_of_the_experts_gives_the_same_file() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("fused.gguf");
    let options = palisade::convert::Options { name: Some("one".into()), ..types(BlockType::Q8_0) };
    convert(&data("maverick"), &path, &options).unwrap();
    let fused = std::fs::read(path).unwrap();
    for layout in [Layout::Split, Layout::Stacked, Layout::FusedLinear, Layout::Each] {
        let folder = copy("maverick");
        let weights = folder.path().join("model.safetensors");
        let (dtype, tensors) = read_safetensors(&weights);
        let of = |raw: &Raw| if raw.0.contains(".experts.") { laid_out(layout, raw) } else { vec![raw.clone()] };
        let changed: Vec<Raw> = tensors.iter().flat_map(of).collect();
        assert!(changed.iter().map(|t| &t.0).ne(tensors.iter().map(|t| &t.0)) || layout == Layout::Split);
        write_safetensors(&weights, &dtype, &changed);
        let path = out.path().join(format!("{layout:?}.gguf"));
        convert(folder.path(), &path, &options).unwrap();
        assert!(std::fs::read(path).unwrap() == fused, "{layout:?}");
    }
}

#[test]
fn types_are_chosen_as_asked() {
    let mut options = types(BlockType::Q4_0);
    options.types.output = Some(BlockType::Q8_0);
    options.types.embedding = Some(BlockType::F16);
    options.types.add_pattern("attn_[qk]", BlockType::Bf16).unwrap();
    options.types.add_pattern("attn_", BlockType::Q8_0).unwrap();
    let plan = Conversion::from_folder(&data("scout"), &options).unwrap();
    let ty = |name: &str| plan.tensors().iter().find(|t| t.name == name).unwrap().ty;
    assert_eq!(ty("output.weight"), BlockType::Q8_0);
    assert_eq!(ty("token_embd.weight"), BlockType::F16);
    assert_eq!(ty("blk.1.attn_k.weight"), BlockType::Bf16);
    assert_eq!(ty("blk.1.attn_v.weight"), BlockType::Q8_0);
    assert_eq!(ty("blk.1.ffn_up_exps.weight"), BlockType::Q4_0);
    assert_eq!(ty("blk.1.ffn_gate_inp.weight"), BlockType::F32);
    assert_eq!(ty("blk.1.attn_norm.weight"), BlockType::F32);
    assert!(options.types.add_pattern("(", BlockType::Q8_0).is_err());
}

#[test]
fn stale_rope_scaling_of_early_scout_files_is_corrected() {
    let (folder, out) = (copy("scout"), tempfile::tempdir().unwrap());
    edit(folder.path(), "config.json", |c| {
        let text = &mut c["text_config"];
        text["rope_parameters"] = Value::Null;
        text["rope_theta"] = json!(500000.0);
        text["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192});
    });
    let path = out.path().join("stale.gguf");
    let done = convert(folder.path(), &path, &types(BlockType::F32)).unwrap();
    assert!(done.notes.iter().any(|note| note.contains("8/4")), "{:?}", done.notes);
    check_tensors(&Gguf::open(&path).unwrap(), &expected("scout")["tensors"], "stale");
}

#[test]
fn requantizing_is_noted_and_a_split_model_is_joined() {
    let out = tempfile::tempdir().unwrap();
    let logits = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logits");
    let plan = Conversion::from_gguf(&logits.join("scout-q4_0.gguf"), &types(BlockType::Q8_0)).unwrap();
    assert!(plan.notes().iter().any(|note| note.contains("quantized already (Q4_0)")), "{:?}", plan.notes());
    let before = Gguf::open(logits.join("scout-q4_0.gguf")).unwrap();
    let path = out.path().join("q8.gguf");
    plan.run(&path, &mut Control::default()).unwrap();
    let after = Gguf::open(&path).unwrap();
    for (key, value) in before.metadata().iter().filter(|(key, _)| *key != "general.file_type") {
        assert_eq!(after.metadata().get(key), Some(value), "{key}");
    }
    assert_eq!(after.metadata().get_u32("general.file_type").unwrap(), Some(7));
    let split = logits.with_file_name("gguf").join("pypi-split-00001-of-00003.gguf");
    let path = out.path().join("joined.gguf");
    Conversion::from_gguf(&split, &types(BlockType::F32)).unwrap().run(&path, &mut Control::default()).unwrap();
    let (parts, joined) = (Gguf::open(&split).unwrap(), Gguf::open(&path).unwrap());
    assert_eq!(joined.parts().len(), 1);
    for tensor in parts.tensors() {
        assert_eq!(values(&parts, &tensor.name), values(&joined, &tensor.name), "{}", tensor.name);
    }
}
