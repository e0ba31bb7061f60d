//! Packed files: the same bits as the GGUF file they were made from, whole or not there, and every lie in them told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod attacks;
mod cli;
mod restart;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::convert::{Control, Conversion, Packing};
use palisade::engine::{Decoder, DecoderOptions, RunControl};
use palisade::gguf::{Gguf, TensorType};
use palisade::kernels;
use palisade::quant::BlockType;
use palisade::weights::layout::{layout_name, pack_panel, panel_bytes};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logits").join(format!("{name}.gguf"))
}

fn pack(model: &Path, out: &Path) {
    Packing::new(model).unwrap().write(out, &mut Control::default()).unwrap();
    Conversion::forget(out);
}

/// A packed fixture in a folder of its own.
fn packed(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("packed.palp");
    pack(&fixture(name), &out);
    (folder, out)
}

fn load(model: &Path, options: &DecoderOptions) -> palisade::Result<Arc<Decoder>> {
    Decoder::load(&Arc::new(Gguf::open(model)?), options, &mut |p| {
        assert!(p.done <= p.total || p.total == 0, "{p:?}");
        true
    })
    .map(Arc::new)
}

/// The bits of all logits after each of two feeds and some single tokens.
fn logits(decoder: &Arc<Decoder>) -> Vec<u32> {
    let vocab = decoder.model().hparams.vocab as u32;
    let ids: Vec<u32> = (0..24).map(|i| (i * 37 + 5) % vocab).collect();
    let mut conversation = decoder.conversation().unwrap();
    let mut bits = Vec::new();
    for ids in [&ids[..16], &ids[16..22], &ids[22..23], &ids[23..]] {
        let out = conversation.feed(ids, &mut RunControl::default()).unwrap();
        bits.extend(out.iter().map(|x| x.to_bits()));
    }
    bits
}

const MODELS: [&str; 12] = [
    "scout-f32",
    "scout-q4_0",
    "scout-q8_0",
    "scout-kmix",
    "scout-chunk16",
    "maverick-f16",
    "maverick-q4_0",
    "behemoth-q4_0",
    "behemoth-q8_0",
    "llama3-q4_0",
    "llama3-tied-q8_0",
    "guard4-q8_0",
];

#[test]
fn a_packed_model_gives_the_bits_of_its_gguf() {
    for name in MODELS {
        let (_folder, out) = packed(name);
        for set in kernels::available() {
            let options = DecoderOptions { kernels: Some(set.name.to_owned()), ..DecoderOptions::default() };
            let expected = logits(&load(&fixture(name), &options).unwrap());
            assert_eq!(logits(&load(&out, &options).unwrap()), expected, "{name} with {}", set.name);
            let mapped = DecoderOptions { map_weights: true, ..options };
            assert_eq!(logits(&load(&out, &mapped).unwrap()), expected, "{name} mapped with {}", set.name);
        }
    }
}

#[test]
fn paging_under_any_budget_gives_the_same_bits_and_reads_an_expert_at_once() {
    for name in ["scout-q4_0", "scout-kmix", "maverick-q8_0", "behemoth-f16"] {
        let (_folder, out) = packed(name);
        let whole = load(&out, &DecoderOptions::default()).unwrap();
        let (expected, bytes) = (logits(&whole), whole.bytes());
        let (mut paged, mut least) = (0, u64::MAX);
        for share in 1..=16 {
            let memory_budget = bytes.fixed + bytes.kv + bytes.routed * share / 16;
            let options = DecoderOptions { memory_budget, ..DecoderOptions::default() };
            let Ok(decoder) = load(&out, &options) else { continue };
            least = least.min(share);
            assert_eq!(logits(&decoder), expected, "{name} with {share}/16 of its experts");
            if let Some(stats) = decoder.pager() {
                assert!(stats.held <= memory_budget - bytes.fixed - bytes.kv, "{stats:?}");
                // The down matrix of an expert comes with its gate and up matrices.
                assert!(stats.hits >= stats.misses, "{name} {share}/16: {stats:?}");
                paged += 1;
            }
        }
        assert!(paged >= 3 && least <= 12, "{name}: {paged} budgets paged, from {least}/16 on");
    }
}

#[test]
fn what_the_model_says_of_itself_is_kept() {
    let (_folder, out) = packed("scout-kmix");
    let (gguf, packed) = (Gguf::open(fixture("scout-kmix")).unwrap(), Gguf::open(&out).unwrap());
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| *key != "general.alignment") {
        assert_eq!(packed.metadata().get(key), Some(value), "{key}");
    }
    assert_eq!(packed.tensors().len(), gguf.tensors().len());
    for t in gguf.tensors() {
        let ours = packed.tensor(&t.name).unwrap();
        assert_eq!((&ours.dims, ours.ty), (&t.dims, t.ty));
        let TensorType::Block(ty) = t.ty else { panic!("{t:?}") };
        match &ours.stored {
            None => {
                let read = |gguf: &Gguf, t: &str| {
                    let mut bytes = vec![0; gguf.tensor(t).unwrap().bytes as usize];
                    gguf.read(gguf.tensor(t).unwrap(), 0, &mut bytes).unwrap();
                    bytes
                };
                assert_eq!(read(&packed, &t.name), read(&gguf, &t.name));
            }
            Some(stored) => {
                assert_eq!(stored.layout, layout_name(ty));
                let e = packed.read(ours, 0, &mut [0; 4]).unwrap_err();
                assert_eq!(e.kind(), palisade::Kind::Unsupported, "{e}");
            }
        }
    }
    packed.verify(&palisade::CancelFlag::new(), &mut |_, _| ()).unwrap();
}

#[test]
fn sections_are_aligned_and_an_expert_is_one_of_them() {
    let (_folder, out) = packed("maverick-q4_0");
    let gguf = Gguf::open(&out).unwrap();
    let packed = gguf.packed().unwrap();
    let mut end = None;
    for run in packed.runs() {
        assert!(
            run.at.is_multiple_of(4096) && run.stride.is_multiple_of(4096) && end.is_none_or(|end| end == run.at),
            "{run:?}"
        );
        end = Some(run.at + run.stride * run.count);
    }
    let position = |name: &str| gguf.tensors().iter().position(|t| t.name == name).unwrap();
    let experts: Vec<usize> =
        ["gate", "up", "down"].iter().map(|part| position(&format!("blk.1.ffn_{part}_exps.weight"))).collect();
    let run = packed.run_of(experts[0]).unwrap();
    assert_eq!((run.tensors.clone(), run.count), (experts[0]..experts[2] + 1, gguf.tensors()[experts[0]].dims[2]));
    for i in experts {
        let t = &gguf.tensors()[i];
        let stored = t.stored.as_ref().unwrap();
        assert!(
            t.offset.is_multiple_of(64)
                && t.offset + stored.bytes <= run.at + run.stride
                && stored.stride == run.stride
        );
    }
}

/// The bytes of packed files are a promise. When a layout changes, its version in `weights/layout` goes up with this line.
#[test]
fn every_layout_is_the_one_its_name_stands_for() {
    let mut said = String::new();
    for ty in BlockType::ALL {
        let (cols, mut state) = (2 * ty.block_len().max(32), 0x9e37_79b9_7f4a_7c15u64);
        let row = ty.row_bytes(cols).unwrap();
        let rows: Vec<u8> = (0..8 * row)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let mut panel = vec![0; panel_bytes(ty, cols).unwrap()];
        pack_panel(ty, &rows, row, cols, &mut panel).unwrap();
        let digest = palisade::digest::sha256_hex(&panel);
        said.push_str(&format!("{} {} {}\n", layout_name(ty), panel.len(), &digest[..16]));
    }
    let expected = include_str!("layouts.txt");
    assert!(said == expected, "layouts are now\n{said}\nwhere layouts.txt has\n{expected}");
}

#[test]
fn a_split_model_is_packed_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = split(&fixture("scout-q8_0"), folder.path());
    let (one, two) = (folder.path().join("one.palp"), folder.path().join("two.palp"));
    pack(&fixture("scout-q8_0"), &one);
    pack(&first, &two);
    let options = DecoderOptions::default();
    assert_eq!(logits(&load(&two, &options).unwrap()), logits(&load(&one, &options).unwrap()));
    assert!(!Gguf::open(&two).unwrap().metadata().contains("split.count"));
}

/// Writes a model as three parts; gives the path of the first.
fn split(model: &Path, folder: &Path) -> PathBuf {
    let gguf = Gguf::open(model).unwrap();
    let all = gguf.tensors();
    let name = |i: usize| folder.join(format!("m-{:05}-of-00003.gguf", i + 1));
    for (i, tensors) in all.chunks(all.len().div_ceil(3)).enumerate() {
        let mut writer = palisade::gguf::Writer::new();
        if i == 0 {
            for (key, value) in gguf.metadata().iter() {
                writer.set(key, value.clone()).unwrap();
            }
        }
        writer.set("split.no", i as u32).unwrap();
        writer.set("split.count", 3u32).unwrap();
        writer.set("split.tensors.count", all.len() as u32).unwrap();
        for t in tensors {
            writer.tensor(&t.name, &t.dims, t.block_type().unwrap()).unwrap();
        }
        let fill = |n: usize, sink: &mut palisade::gguf::Sink<'_>| {
            let mut bytes = vec![0; tensors[n].bytes as usize];
            gguf.read(&tensors[n], 0, &mut bytes)?;
            sink.write(&bytes)
        };
        writer.write_to(name(i), fill).unwrap();
    }
    name(0)
}
