//! Block types against what the PyPI package `gguf` and ggml make of the same bytes (`tests/data/quant/blocks.json`).

use super::*;
use crate::error::Kind;

fn fixture() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quant/blocks.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(hex: &serde_json::Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    hex.as_chunks::<2>().0.iter().map(|h| u8::from_str_radix(std::str::from_utf8(h).unwrap(), 16).unwrap()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The types that heed importance.
const WEIGHTED: [BlockType; 11] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q2K,
    BlockType::Q3K,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
    BlockType::Iq4Nl,
    BlockType::Iq4Xs,
];

/// The types that cannot hold the largest row of the fixture.
const NOT_ROW_4: [BlockType; 7] = [
    BlockType::Q2K,
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Tq1_0,
    BlockType::Tq2_0,
];

fn written() -> impl Iterator<Item = BlockType> {
    BlockType::ALL.into_iter().filter(|ty| ty.can_quantize())
}

/// Pseudo-random values that look like a weight matrix: a sum of uniforms, with every 61st value an outlier.
fn weights(n: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|i| (uniform() + uniform() + uniform()) * if i % 61 == 7 { 0.3 } else { 0.05 }).collect()
}

fn round_trip(ty: BlockType, x: &[f32]) -> Vec<f32> {
    let mut blocks = vec![];
    quantize(ty, x, &mut blocks).unwrap();
    let mut back = vec![0.0; x.len()];
    dequantize(ty, &blocks, &mut back).unwrap();
    back
}

/// Root mean square error over root mean square.
fn error(ty: BlockType, x: &[f32]) -> f32 {
    let sum: f32 = round_trip(ty, x).iter().zip(x).map(|(a, b)| (a - b) * (a - b)).sum();
    (sum / x.iter().map(|x| x * x).sum::<f32>()).sqrt()
}

#[test]
fn dequantized_bits_are_those_of_the_gguf_package() {
    let cases = &fixture()["dequantize"];
    for ty in BlockType::ALL {
        let case = &cases[ty.name()];
        let (blocks, expected) = (bytes(&case["blocks"]), floats(&bytes(&case["f32"])));
        assert!(expected.len() >= 50, "{ty}");
        let mut out = vec![0.0; expected.len()];
        dequantize(ty, &blocks, &mut out).unwrap();
        for (i, (got, want)) in out.iter().zip(&expected).enumerate() {
            assert_eq!(got.to_bits(), want.to_bits(), "{ty} value {i}: {got} for {want}");
        }
    }
}

/// The blocks of `make_quant.py`'s `stream`: pseudo-random bytes, scales below 2.
fn random_blocks(ty: BlockType, count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut blocks: Vec<u8> = (0..count * ty.block_bytes())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let high_bytes: &[usize] = match ty {
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[1, 3],
        BlockType::Q2K => &[81, 83],
        BlockType::Q3K => &[109],
        BlockType::Q6K => &[209],
        BlockType::Iq1M => &[55],
        BlockType::Tq1_0 => &[53],
        BlockType::Tq2_0 => &[65],
        BlockType::Mxfp4 => &[],
        _ => &[1],
    };
    for block in blocks.chunks_exact_mut(ty.block_bytes()) {
        high_bytes.iter().for_each(|at| block[*at] &= 0xbf);
    }
    blocks
}

#[test]
fn many_random_blocks_have_the_digest_of_the_gguf_package() {
    let digests = &fixture()["digests"];
    for ty in BlockType::ALL.into_iter().skip(3) {
        let mut out = vec![0.0; 256 * ty.block_len()];
        dequantize(ty, &random_blocks(ty, 256), &mut out).unwrap();
        let bytes: Vec<u8> = out.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(crate::digest::sha256_hex(&bytes), digests[ty.name()].as_str().unwrap(), "{ty}");
    }
}

#[test]
fn quantized_bytes_are_those_of_ggml() {
    let cases = &fixture()["quantize"];
    let x = floats(&bytes(&cases["values"]));
    for ty in written().skip(1) {
        let mut x = x.clone();
        if NOT_ROW_4.contains(&ty) {
            x.drain(4 * 256..5 * 256);
        }
        let mut out = vec![];
        quantize(ty, &x, &mut out).unwrap();
        let expected = bytes(&cases[ty.name()]);
        assert_eq!(out.len(), expected.len(), "{ty}");
        let values = |block: &[u8]| {
            let mut values = vec![0.0; ty.block_len()];
            dequantize(ty, block, &mut values).unwrap();
            values
        };
        let pairs = out.chunks(ty.block_bytes()).zip(expected.chunks(ty.block_bytes()));
        for (i, (got, want)) in pairs.enumerate() {
            // Under a scale of zero the quants mean nothing: ggml leaves there what its search tried last, we leave zeros.
            let searched = ty.block_len() == QK_K || ty == BlockType::Iq4Nl;
            let same = got == want || (searched && values(got) == values(want));
            assert!(same, "{ty} block {i}: {got:?} for {want:?}");
        }
    }
}

#[test]
fn error_falls_with_bits_and_the_searches_pay() {
    // Bounds: what ggml's own quantizers leave on these values (0.1319, 0.0866, 0.0242, 0.0082), rounded up.
    let x = weights(256 * 64, 1);
    let errors =
        [BlockType::Q4_0, BlockType::Q4K, BlockType::Q6K, BlockType::Q8_0, BlockType::F16].map(|ty| error(ty, &x));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    let ladder = [BlockType::Q2K, BlockType::Q3K, BlockType::Iq4Xs, BlockType::Q5K, BlockType::Q6K];
    assert!(ladder.map(|ty| error(ty, &x)).is_sorted_by(|a, b| a > b), "{:?}", ladder.map(|ty| error(ty, &x)));
    let [q4_0, q4_k, q6_k, q8_0, f16] = errors;
    assert!(q4_0 < 0.132 && q4_k < 0.087 && q6_k < 0.0243 && q8_0 < 0.0082 && f16 < 0.0004, "{errors:?}");
}

#[test]
fn whole_steps_survive_the_k_types() {
    // All values are whole multiples of a step that the types can hold, so nothing may be lost but the scales' own rounding.
    let x: Vec<f32> = (0..512).map(|i| ((i * 7) % 16) as f32 - 8.0).collect();
    for (ty, bound) in [(BlockType::Q4K, 0.02), (BlockType::Q6K, 0.02)] {
        let worst = round_trip(ty, &x).iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < bound, "{ty}: {worst}");
    }
}

#[test]
fn zeros_constants_and_tiny_values_survive() {
    for ty in written() {
        assert!(round_trip(ty, &[0.0; 256]).iter().all(|x| *x == 0.0), "{ty}");
        for c in [0.75f32, -0.75, 1e-20, -1e-30] {
            let got = round_trip(ty, &[c; 256]);
            assert!(got.iter().all(|x| (x - c).abs() <= 0.04 * c.abs().max(1e-5)), "{ty} {c}: {:?}", &got[..3]);
        }
    }
}

#[test]
fn what_cannot_be_quantized_is_refused_by_place_and_leaves_no_trace() {
    for ty in written().skip(3) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e20] {
            let mut x = vec![0.5; 512];
            x[300] = bad;
            let mut out = vec![9];
            let e = quantize(ty, &x, &mut out).unwrap_err();
            assert_eq!(e.kind(), Kind::Numeric, "{ty} {bad}");
            assert!(e.message().contains(ty.name()), "{e}");
            assert!(bad.is_finite() || e.message().contains("value 300 is"), "{e}");
            assert_eq!(out, [9], "{ty} {bad}");
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    for ty in BlockType::ALL {
        let len = ty.block_len();
        assert_eq!(ty.row_bytes(3 * len).unwrap(), 3 * ty.block_bytes());
        let most = ty.row_bytes(usize::MAX / len * len);
        assert_eq!(most.err().map(|e| e.kind()), (ty.block_bytes() > len).then_some(Kind::Limit), "{ty}");
        let mut out = vec![0.0; 2 * len];
        for bytes in [0, 2 * ty.block_bytes() - 1, 2 * ty.block_bytes() + 1] {
            assert_eq!(dequantize(ty, &vec![0; bytes], &mut out).unwrap_err().kind(), Kind::Argument, "{ty} {bytes}");
        }
        if len > 1 {
            assert_eq!(ty.row_bytes(len + 1).unwrap_err().kind(), Kind::Argument);
            let kind = quantize(ty, &vec![0.0; len - 1], &mut vec![]).unwrap_err().kind();
            assert_eq!(kind, Kind::Argument, "{ty}");
        }
    }
}

#[test]
fn types_the_build_does_not_read_have_names() {
    assert_eq!(ggml_name(40), Some("NVFP4"));
    assert_eq!(ggml_name(5), None);
    assert_eq!(BlockType::from_ggml(40), None);
    assert_eq!(format!("{:>6}", BlockType::Q4K), "  Q4_K");
}

/// Square error under the weights `w`, over the squares under them.
fn weighted_error(ty: BlockType, x: &[f32], w: &[f32], importance: Option<&[f32]>) -> f32 {
    let (mut blocks, mut back) = (vec![], vec![0.0; x.len()]);
    quantize_weighted(ty, x, importance, &mut blocks).unwrap();
    dequantize(ty, &blocks, &mut back).unwrap();
    let sum = |f: &dyn Fn(usize) -> f32| (0..x.len()).map(|i| w[i] * f(i) * f(i)).sum::<f32>();
    sum(&|i| x[i] - back[i]) / sum(&|i| x[i])
}

#[test]
fn importance_moves_the_error_to_where_it_matters_less() {
    let x = weights(256 * 16, 5);
    // One column in seven matters a hundred times as much as the rest; every eleventh does not matter at all.
    let w: Vec<f32> =
        (0..x.len()).map(|i| if i % 7 == 3 { 4.0 } else { [0.04, 0.0][usize::from(i % 11 == 0)] }).collect();
    for ty in WEIGHTED {
        let (plain, weighted) = (weighted_error(ty, &x, &w, None), weighted_error(ty, &x, &w, Some(&w)));
        assert!(weighted < 0.9 * plain, "{ty}: {weighted} with importance, {plain} without");
        let (ones, zeros) = (vec![1.0; x.len()], vec![0.0; x.len()]);
        let (plain, zero) = (weighted_error(ty, &x, &ones, None), weighted_error(ty, &x, &ones, Some(&zeros)));
        assert!(zero < 1.2 * plain, "{ty}: {zero} without any importance, {plain} plain");
        // Only the ratios count.
        let mut blocks = [vec![], vec![]];
        for (out, by) in blocks.iter_mut().zip([1.0, 1024.0]) {
            let w: Vec<f32> = w.iter().map(|w| w * by).collect();
            quantize_weighted(ty, &x, Some(&w), out).unwrap();
        }
        assert!(blocks[0] == blocks[1], "{ty}");
    }
}

#[test]
fn false_importance_is_refused() {
    let x = [0.5; 256];
    for ty in WEIGHTED {
        for (w, says) in [(vec![1.0; 255], "255 weights"), (vec![-1.0; 256], "0 is -1"), (vec![f32::NAN; 256], "NaN")] {
            let e = quantize_weighted(ty, &x, Some(&w), &mut vec![]).unwrap_err();
            assert!(e.kind() == Kind::Argument && e.message().contains(says), "{ty}: {e}");
        }
    }
}

#[test]
fn types_are_found_by_name() {
    for ty in BlockType::ALL {
        assert_eq!(BlockType::from_name(ty.name()), Some(ty));
        assert_eq!(BlockType::from_name(&ty.name().to_lowercase()), Some(ty));
    }
    assert_eq!(BlockType::from_name("q4_k_m"), None);
}

#[test]
fn types_without_a_quantizer_name_those_that_have_one() {
    for ty in BlockType::ALL.into_iter().filter(|ty| !ty.can_quantize()) {
        let mut out = vec![9];
        let e = quantize(ty, &[0.5; 256], &mut out).unwrap_err();
        assert!(e.kind() == Kind::Unsupported && e.message().contains("Q8_0, Q4_0, Q4_1"), "{e}");
        assert!(e.message().contains(ty.name()) && out == [9], "{e}");
    }
}
