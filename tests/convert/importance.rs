//! Rounding what matters more with less error.

use palisade::convert::{Control, Conversion, Importance, Options};
use palisade::engine::DecoderOptions;
use palisade::gguf::Gguf;
use palisade::quant::{BlockType, quantize_weighted};
use palisade::tokenizer::Tokenizer;
use std::path::PathBuf;

use super::{bytes, convert, data, mean_gap, score, types, values};

/// What the demo model is made for, from two seeds (tests/data/convert/make_texts.py).
const TEXT: &str = include_str!("../data/convert/calibration.txt");
const OTHER: &str = include_str!("../data/convert/judged.txt");

fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/palisade-demo.gguf")
}

#[test]
fn weighted_rounding_stays_nearer_to_full_precision() {
    let out = tempfile::tempdir().unwrap();
    let full = out.path().join("full.gguf");
    Conversion::from_gguf(&demo(), &types(BlockType::F32)).unwrap().run(&full, &mut Control::default()).unwrap();
    let importance = Importance::measure(&full, TEXT, &DecoderOptions::default(), &mut Control::default()).unwrap();
    let tokenizer = Tokenizer::from_gguf(Gguf::open(&full).unwrap().metadata()).unwrap();
    let ids = tokenizer.encode_text(OTHER);
    let truth = score(&full, &ids);
    // Its rows of 192 and 128 values are no blocks of the K types.
    for name in ["q4_0", "q4_1", "q5_0", "iq4_nl"] {
        let ty = BlockType::from_name(name).unwrap();
        let gap = |importance: Option<&Importance>, name: &str| {
            let path = out.path().join(name);
            let options = Options { importance: importance.cloned(), ..types(ty) };
            let done = Conversion::from_gguf(&full, &options).unwrap().run(&path, &mut Control::default()).unwrap();
            (mean_gap(&score(&path, &ids), &truth), done.notes)
        };
        let (plain, _) = gap(None, &format!("{ty}-plain.gguf"));
        let (weighted, notes) = gap(Some(&importance), &format!("{ty}-weighted.gguf"));
        println!("{ty}: mean difference of log-probabilities {plain:.5} unweighted, {weighted:.5} weighted");
        assert!(weighted < plain, "{ty}: {weighted} weighted, {plain} not");
        assert!(
            notes.iter().all(|note| !note.contains("without importance") || note.contains("token_embd")),
            "{notes:?}"
        );
    }
}

#[test]
fn the_file_is_llama_cpps_and_reads_back() {
    let out = tempfile::tempdir().unwrap();
    let importance = Importance::measure(&demo(), TEXT, &DecoderOptions::default(), &mut Control::default()).unwrap();
    let path = out.path().join("imatrix.gguf");
    importance.write(&path, "text.txt").unwrap();
    assert_eq!(Importance::read(&path).unwrap(), importance);
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.metadata().get_str("general.type").unwrap(), Some("imatrix"));
    let model = Gguf::open(demo()).unwrap();
    let stack = model.tensor("blk.0.ffn_down_exps.weight").unwrap();
    let sums = gguf.tensor("blk.0.ffn_down_exps.weight.in_sum2").unwrap();
    let counts = gguf.tensor("blk.0.ffn_down_exps.weight.counts").unwrap();
    assert_eq!((sums.dims[0], sums.dims[1]), (stack.dims[0], stack.dims[2]));
    assert_eq!(counts.dims, [1, stack.dims[2]]);
    // Every token meets one expert of a layer.
    let routed: f32 = values(&gguf, &counts.name).iter().sum();
    let shared: f32 = values(&gguf, "blk.0.ffn_down_shexp.weight.counts").iter().sum();
    assert_eq!(routed, shared);
    let e = Importance::read(&demo()).unwrap_err();
    assert!(e.message().contains("expected imatrix"), "{e}");
    let other = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logits/scout-f32.gguf");
    let options = Options { importance: Some(importance), ..types(BlockType::Q4_0) };
    let e = Conversion::from_gguf(&other, &options).unwrap_err();
    assert!(e.message().contains("importance of"), "{e}");
}

/// A file written with the `gguf` package (tests/data/convert/make_imatrix.py) weighs the rounding of just its matrices.
#[test]
fn weights_of_a_file_meet_their_columns_and_experts() {
    let out = tempfile::tempdir().unwrap();
    let (full, weighted) = (out.path().join("full.gguf"), out.path().join("weighted.gguf"));
    convert(&data("maverick"), &full, &types(BlockType::F32)).unwrap();
    let importance = Some(Importance::read(&data("imatrix.gguf")).unwrap());
    let done = convert(&data("maverick"), &weighted, &Options { importance, ..types(BlockType::Q4_0) }).unwrap();
    assert!(done.notes.iter().any(|note| note.contains("without importance")), "{:?}", done.notes);
    let (full, weighted) = (Gguf::open(&full).unwrap(), Gguf::open(&weighted).unwrap());
    for tensor in weighted.tensors().iter().filter(|t| t.block_type().unwrap() == BlockType::Q4_0) {
        let all = values(&full, &tensor.name);
        let (mut want, mut plain) = (Vec::new(), Vec::new());
        quantize_weighted(BlockType::Q4_0, &all, None, &mut plain).unwrap();
        let copies = tensor.dims.get(2).copied().unwrap_or(1) as usize;
        for (copy, matrix) in all.chunks(all.len() / copies).enumerate() {
            let met = match tensor.name.as_str() {
                "blk.0.attn_q.weight" => true,
                // The last expert met no token.
                "blk.1.ffn_down_exps.weight" => copy < 3,
                _ => false,
            };
            let weights: Vec<f32> = (0..matrix.len()).map(|i| (i % 32 + 1) as f32 * (copy + 1) as f32 / 4.0).collect();
            quantize_weighted(BlockType::Q4_0, matrix, met.then_some(&weights[..]), &mut want).unwrap();
        }
        assert!(bytes(&weighted, &tensor.name) == want, "{}", tensor.name);
        let named = ["blk.0.attn_q.weight", "blk.1.ffn_down_exps.weight"].contains(&tensor.name.as_str());
        assert_eq!(want != plain, named, "{}", tensor.name);
    }
}
