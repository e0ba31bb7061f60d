//! Every set against `scalar`, bit for bit, and `scalar` against plain arithmetic on dequantized weights.

#![allow(clippy::print_stdout, reason = "one test says which sets ran")]

use super::*;
use crate::quant::{self, BlockType};
use crate::weights::layout::{
    LARGEST, PANEL_ROWS, file_block, is_reordered, pack_panel, panel_bytes, panels_for, unpack_row,
};

/// Values that repeat with a prime period, so that swapped blocks show.
fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 101) % 251) as f32 / 125.0 - 1.0 + ((i * 7 + seed) % 13) as f32 / 97.0).collect()
}

struct Weights {
    rows: usize,
    cols: usize,
    panels: Vec<u8>,
    dense: Vec<f32>,
}

/// Blocks of pseudo-random codes under scales that give values of about one, for types that nothing here writes.
fn random_blocks(ty: BlockType, count: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut bytes: Vec<u8> = (0..count * ty.block_bytes()).map(|_| next()).collect();
    for (i, block) in bytes.chunks_exact_mut(ty.block_bytes()).enumerate() {
        let d = half::f16::from_f32([0.004, -0.003, 0.0005][i % 3]).to_bits();
        match ty {
            BlockType::Mxfp4 => block[0] = 123 + i as u8 % 3,
            BlockType::Iq1M => (0..4).for_each(|j| {
                let high = &mut block[49 + 2 * j];
                *high = *high & 15 | ((d >> (4 * j) & 15) as u8) << 4;
            }),
            _ => block[..2].copy_from_slice(&d.to_le_bytes()),
        }
    }
    bytes
}

fn weights(ty: BlockType, rows: usize, cols: usize) -> Weights {
    let mut file = Vec::new();
    if ty.can_quantize() {
        quant::quantize(ty, &values(rows * cols, 3), &mut file).unwrap();
    } else {
        file = random_blocks(ty, rows * cols / ty.block_len());
    }
    laid_out(ty, rows, cols, &file)
}

/// Rows of the file in the kernels' order.
fn laid_out(ty: BlockType, rows: usize, cols: usize, file: &[u8]) -> Weights {
    let row_bytes = ty.row_bytes(cols).unwrap();
    let panel = panel_bytes(ty, cols).unwrap();
    let mut panels = vec![0; panel * panels_for(rows)];
    for (rows, out) in file.chunks(PANEL_ROWS * row_bytes).zip(panels.chunks_exact_mut(panel)) {
        pack_panel(ty, rows, row_bytes, cols, out).unwrap();
    }
    let mut dense = vec![0.0; rows * cols];
    quant::dequantize(ty, file, &mut dense).unwrap();
    Weights { rows, cols, panels, dense }
}

fn shapes(ty: BlockType) -> Vec<usize> {
    match ty.block_len() {
        1 => vec![1, 7, 31, 32, 33, 257],
        32 => vec![32, 64, 96, 320],
        _ => vec![256, 768],
    }
}

fn product(k: &Kernels, ty: BlockType, w: &Weights, x: &Acts) -> Vec<f32> {
    let x = x.rows();
    let rows = if ty.block_len() == 1 { x.tokens() } else { x.q_rows() };
    let mut out = vec![f32::NAN; panels_for(w.rows) * rows * PANEL_ROWS];
    (k.matmul)(Panels { ty, cols: w.cols, bytes: &w.panels }, x, &mut out);
    out
}

#[test]
fn every_set_is_named() {
    let names: Vec<_> = available().iter().map(|k| k.name).collect();
    println!("kernel sets: {}", names.join(", "));
    assert_eq!(names.last(), Some(&"scalar"));
    assert!(names.iter().all(|n| named(n).is_some_and(|k| k.name == *n)) && best().name == names[0]);
}

/// Under an emulator that says what it is, no set may be missing unnoticed (`tests/aarch64.sh`).
#[test]
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
fn an_emulated_processor_runs_the_sets_it_has() {
    let Ok(cpu) = std::env::var("AARCH64_QEMU_CPU") else {
        println!("not run: the test is not told which processor this is (AARCH64_QEMU_CPU)");
        return;
    };
    let names: Vec<_> = available().iter().map(|k| k.name).collect();
    match cpu.as_str() {
        "max" => assert_eq!(names, ["i8mm", "dotprod", "neon", "scalar"], "on {cpu}"),
        "cortex-a76" => assert_eq!(names, ["dotprod", "neon", "scalar"], "on {cpu}"),
        "cortex-a53" => assert_eq!(names, ["neon", "scalar"], "on {cpu}"),
        _ => panic!("which sets {cpu} should have is written nowhere: add it here"),
    }
}

#[test]
fn every_set_multiplies_as_scalar_does() {
    for ty in BlockType::ALL {
        for cols in shapes(ty) {
            for rows in [1, 8, 13, 24, 40] {
                let w = weights(ty, rows, cols);
                for tokens in [1, 2, 3, 5, 11, 70] {
                    let mut x = Acts::new(values(tokens * cols, 5), cols);
                    x.quantize(&scalar::kernels(), if tokens == 5 { Precision::Fine } else { Precision::Fast });
                    let want = product(&scalar::kernels(), ty, &w, &x);
                    for k in available() {
                        assert_eq!(product(&k, ty, &w, &x), want, "{} {ty} {rows}x{cols}, {tokens} tokens", k.name);
                    }
                }
            }
        }
    }
}

/// Where sums are kept in sixteen bits, they must fit there.
#[test]
fn the_largest_integers_do_not_overflow() {
    use BlockType::{Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    // Where a block of the file has its half-precision factors.
    let factors: [(_, &[usize]); 13] = [
        (Q8_0, &[0]),
        (Q4_0, &[0]),
        (Q4_1, &[0, 2]),
        (Q5_0, &[0]),
        (Q5_1, &[0, 2]),
        (Q4K, &[0, 2]),
        (Q5K, &[0, 2]),
        (Q6K, &[208]),
        (Q2K, &[80, 82]),
        (Q3K, &[108]),
        (Iq4Nl, &[0]),
        (Iq4Xs, &[0]),
        (Mxfp4, &[]),
    ];
    for (ty, places) in factors {
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let mut block = vec![fill; ty.block_bytes()];
            for at in places {
                block[*at..at + 2].copy_from_slice(&half::f16::from_f32(0.01).to_le_bytes());
            }
            // Two panels that go together and one by itself.
            let w = laid_out(ty, 24, 256, &block.repeat(24 * 256 / ty.block_len()));
            for activation in [1.0, -1.0] {
                let mut x = Acts::new(vec![activation; 5 * 256], 256);
                x.quantize(&scalar::kernels(), Precision::Fast);
                let want = product(&scalar::kernels(), ty, &w, &x);
                for k in available() {
                    assert_eq!(product(&k, ty, &w, &x), want, "{} {ty} of {fill:#x}, {activation}", k.name);
                }
            }
        }
    }
}

#[test]
fn a_token_does_not_see_its_neighbours() {
    for (k, ty) in available().into_iter().flat_map(|k| BlockType::ALL.map(|ty| (k, ty))) {
        let w = weights(ty, 24, 256);
        let mut all = Acts::new(values(9 * 256, 5), 256);
        all.quantize(&k, Precision::Fast);
        let whole = product(&k, ty, &w, &all);
        for t in 0..9 {
            let alone = product(&k, ty, &w, &all.rows().gather(&[t], true));
            for p in 0..3 {
                assert_eq!(alone[p * 8..p * 8 + 8], whole[(p * 9 + t) * 8..][..8], "{} {ty} token {t}", k.name);
            }
        }
    }
}

#[test]
fn scalar_multiplies_what_the_blocks_mean() {
    for ty in BlockType::ALL {
        let cols = *shapes(ty).last().unwrap();
        let w = weights(ty, 13, cols);
        let mut x = Acts::new(values(2 * cols, 5), cols);
        x.quantize(&scalar::kernels(), Precision::Fast);
        let got = product(&scalar::kernels(), ty, &w, &x);
        let x = x.rows();
        for t in 0..2 {
            for row in 0..13 {
                let terms = (0..cols).map(|c| f64::from(w.dense[row * cols + c]) * f64::from(x.values()[t * cols + c]));
                let (want, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
                let got = f64::from(got[(row / 8 * 2 + t) * 8 + row % 8]);
                // Eight-bit activations: half a step of 1/127 of a block's largest value each.
                let bound = if ty.block_len() == 1 { 1e-6 } else { 0.01 };
                assert!((got - want).abs() <= bound * size, "{ty} row {row}: {got} for {want}");
            }
        }
    }
}

#[test]
fn fine_activations_leave_five_digits() {
    for ty in BlockType::ALL.into_iter().filter(|ty| ty.block_len() > 1) {
        let (w, cols) = (weights(ty, 8, 256), 256);
        let mut x = Acts::new(values(3 * cols, 5), cols);
        x.quantize(&best(), Precision::Fine);
        let got = product(&best(), ty, &w, &x);
        let x = x.rows();
        for t in 0..3 {
            for row in 0..8 {
                let terms = (0..cols).map(|c| f64::from(w.dense[row * cols + c]) * f64::from(x.values()[t * cols + c]));
                let (want, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
                let got = f64::from(got[2 * t * 8 + row]) + f64::from(got[(2 * t + 1) * 8 + row]);
                assert!((got - want).abs() <= 4e-5 * size, "{ty} row {row}: {got} for {want}");
            }
        }
    }
}

#[test]
fn panels_give_back_the_rows_of_the_file() {
    for ty in BlockType::ALL {
        for cols in shapes(ty) {
            let w = weights(ty, 13, cols);
            let panel = panel_bytes(ty, cols).unwrap();
            let mut row = vec![0.0; cols];
            for r in 0..13 {
                unpack_row(ty, &w.panels[r / 8 * panel..][..panel], r % 8, &mut row);
                assert_eq!(row, w.dense[r * cols..][..cols], "{ty} row {r} of {cols} columns");
            }
        }
    }
}

/// Codes of every kind, also those that no quantizer here writes.
#[test]
fn panels_give_back_the_blocks_of_the_file() {
    for ty in BlockType::ALL.into_iter().filter(|ty| is_reordered(*ty)) {
        let (cols, bytes) = (512, ty.block_bytes());
        let file = random_blocks(ty, PANEL_ROWS * cols / ty.block_len());
        let w = laid_out(ty, PANEL_ROWS, cols, &file);
        for (b, block) in w.panels.chunks_exact(PANEL_ROWS * bytes).enumerate() {
            for row in 0..PANEL_ROWS {
                let at = (row * cols / ty.block_len() + b) * bytes;
                let mut room = [0xff; LARGEST];
                assert_eq!(file_block(ty, block, row, &mut room), &file[at..at + bytes], "{ty} row {row} block {b}");
            }
        }
    }
}

/// The exponents of MXFP4 down to what is subnormal.
#[test]
fn every_power_of_two_is_scaled_as_scalar_does() {
    let mut file: Vec<u8> = (0..=255u8).flat_map(|e| [[e, 0x7f].as_slice(), &[0x6e; 15]].concat()).collect();
    file.truncate(255 * 17);
    file.extend_from_slice(&[0x5a; 17]);
    let w = laid_out(BlockType::Mxfp4, 8, 1024, &file);
    let mut x = Acts::new(values(3 * 1024, 5), 1024);
    x.quantize(&scalar::kernels(), Precision::Fast);
    let want = product(&scalar::kernels(), BlockType::Mxfp4, &w, &x);
    for k in available() {
        let got = product(&k, BlockType::Mxfp4, &w, &x);
        let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got), bits(&want), "{}", k.name);
    }
}

#[test]
fn panels_take_no_more_than_the_file() {
    for ty in BlockType::ALL.into_iter().filter(|ty| *ty != BlockType::Q4K) {
        assert_eq!(panel_bytes(ty, 512).unwrap(), PANEL_ROWS * ty.row_bytes(512).unwrap(), "{ty}");
    }
}

#[test]
fn every_set_quantizes_as_scalar_does() {
    let mut cases = vec![values(320, 1), vec![0.0; 32], vec![-1e-30; 32], vec![3e38; 32], vec![-1e-38; 32]];
    cases.push((0..64).map(|i| if i == 40 { f32::NAN } else { 1.0 }).collect());
    cases.push((0..64).map(|i| if i == 3 { f32::INFINITY } else { 1.0 }).collect());
    for x in cases {
        let run = |k: &Kernels| {
            let (mut q, mut s, mut sums) =
                (vec![0; x.len()], vec![0.0; x.len() / 32], vec![Pair::default(); x.len() / 16]);
            (k.quantize)(&x, &mut q, &mut s, &mut sums);
            (q, s.iter().map(|s| s.to_bits()).collect::<Vec<_>>(), sums)
        };
        for k in available() {
            assert_eq!(run(&k), run(&scalar::kernels()), "{}", k.name);
        }
    }
}

#[test]
fn every_set_computes_vectors_as_scalar_does() {
    for n in [1, 7, 8, 31, 32, 33, 257] {
        let (x, w) = (values(n, 1), values(n, 2));
        for k in available() {
            let run = |k: &Kernels| {
                let mut norm = vec![0.0; n];
                (k.rms_norm)(&x, Some(&w), 1e-5, &mut norm);
                let mut bare = vec![0.0; n];
                (k.rms_norm)(&x, None, 1e-5, &mut bare);
                let (mut gate, mut sum, mut soft) =
                    (x.clone(), x.clone(), x.iter().map(|v| v * 20.0).collect::<Vec<_>>());
                (k.silu_mul)(&mut gate, &w, 0.7);
                (k.add)(&mut sum, &w);
                k.softmax(&mut soft);
                [norm, bare, gate, sum, soft]
            };
            let got = run(&k);
            assert_eq!(got, run(&scalar::kernels()), "{} at {n}", k.name);
            assert!((got[4].iter().sum::<f32>() - 1.0).abs() < 1e-5, "softmax sums to one");
        }
    }
}

#[test]
fn every_set_passes_on_what_is_no_number_as_scalar_does() {
    let odd = [0.0, -0.0, 1e-40, 88.5, -88.5, 3e38, -3e38, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 1.0];
    let masked = [f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY, 2.0, -1.0];
    for x in [&odd[..], &odd[..9], &odd[..8], &odd[..7], &masked, &[f32::NEG_INFINITY; 9]] {
        for x in [x.to_vec(), x.repeat(3)] {
            let run = |k: &Kernels| {
                let up: Vec<f32> = x.iter().rev().copied().collect();
                let (mut gate, mut sum, mut soft, mut norm) = (x.clone(), x.clone(), x.clone(), x.clone());
                (k.silu_mul)(&mut gate, &up, 1.5);
                (k.add)(&mut sum, &up);
                k.softmax(&mut soft);
                (k.rms_norm)(&x, Some(&up), 1e-5, &mut norm);
                [gate, sum, soft, norm].concat()
            };
            for k in available() {
                for (i, (got, want)) in run(&k).iter().zip(run(&scalar::kernels())).enumerate() {
                    let same = *got == want || got.is_nan() && want.is_nan();
                    assert!(same, "{} of {x:?}: value {i} is {got}, not {want}", k.name);
                }
            }
        }
    }
}

#[test]
fn silu_and_softmax_are_those_of_the_textbook() {
    let x: Vec<f32> = (-400..400).map(|i| i as f32 / 10.0).collect();
    for k in available() {
        let mut gate = x.clone();
        (k.silu_mul)(&mut gate, &vec![1.0; x.len()], 1.0);
        for (x, g) in x.iter().zip(&gate) {
            let want = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            assert!((f64::from(*g) - want).abs() <= 3e-7 * want.abs().max(1e-6), "{}: silu({x}) = {g}", k.name);
        }
        let mut soft = x.clone();
        k.softmax(&mut soft);
        let total: f64 = x.iter().map(|v| f64::from(*v - 39.9).exp()).sum();
        let want = |v: f32| f64::from(v - 39.9).exp() / total;
        assert!(x.iter().zip(&soft).all(|(x, s)| (f64::from(*s) - want(*x)).abs() < 1e-7), "{}", k.name);
    }
}

/// Some positions of eleven, 40, 64 and 100: a part of a block, parts and whole blocks, whole blocks alone, from the middle on.
const POSITIONS: [(usize, std::ops::Range<usize>); 5] =
    [(11, 0..11), (11, 3..9), (40, 5..40), (64, 0..64), (100, 16..99)];

#[test]
fn every_set_scores_as_scalar_does() {
    for width in [2, 6, 8, 20, 32, 64, 88, 128, 544] {
        for heads in [1, 2, 3, 5, 7, 9, 32] {
            for (n, some) in POSITIONS {
                let (q, rows) = (values(heads * width, 1), values(n * width, 2));
                let mut keys = vec![f32::NAN; key_values(width, n)];
                lay_keys(&rows, width, &mut keys);
                let half: Vec<u16> = keys.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect();
                for keys in [Keys::F32(&keys), Keys::F16(&half)] {
                    let run = |k: &Kernels| {
                        let mut scores = vec![-1.0; heads * 103];
                        (k.attn_scores)(&q, width, keys, some.clone(), Ahead::NONE, &mut scores, 103);
                        scores
                    };
                    let want = run(&scalar::kernels());
                    for k in available() {
                        assert_eq!(run(&k), want, "{} width {width}, {heads} heads, {some:?}", k.name);
                    }
                    for (h, row) in want.chunks(103).enumerate() {
                        for (j, score) in row.iter().enumerate() {
                            let key = |c: usize| f64::from(rows[(some.start + j) * width + c]);
                            let terms = |c: usize| f64::from(q[h * width + c]) * key(c);
                            let exact = if j < some.len() { (0..width).map(terms).sum() } else { -1.0 };
                            let size: f64 = if j < some.len() { (0..width).map(|c| terms(c).abs()).sum() } else { 1.0 };
                            let far = (f64::from(*score) - exact).abs();
                            assert!(far <= 1e-3 * size, "width {width}, head {h}, {some:?}: {score} for {exact}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_set_mixes_as_scalar_does() {
    for width in [2, 6, 8, 20, 32, 88, 128] {
        for heads in [1, 2, 5, 9] {
            let n = 11;
            let (kv, p) = (values(n * width, 2), values(heads * 16, 3));
            let half: Vec<u16> = kv.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect();
            let (mut q8, mut scales) = (vec![0; kv.len()], vec![0; kv.len() / KV_BLOCK]);
            quantize_kv(&kv, &mut q8, &mut scales);
            let eight = width.is_multiple_of(KV_BLOCK).then_some(KvRows::Q8 { q: &q8, scales: &scales });
            for rows in [KvRows::F32(&kv), KvRows::F16(&half)].into_iter().chain(eight) {
                let run = |k: &Kernels| {
                    let mut out = values(heads * width, 9);
                    (k.attn_mix)(&p, 16, rows, Ahead::NONE, width, &mut out);
                    out
                };
                for k in available() {
                    assert_eq!(run(&k), run(&scalar::kernels()), "{} width {width}, {heads} heads", k.name);
                }
            }
        }
    }
}

#[test]
fn every_set_scores_eight_bits_as_scalar_does() {
    for width in [32, 64, 96, 128, 512, 544] {
        for heads in [1, 2, 4, 5, 9, 10] {
            for (n, some) in POSITIONS {
                let (mut q, mut rows) = (values(heads * width, 1), values(n * width, 2));
                (q[0], rows[0], rows[n * width - 1]) = (3e4, -3e4, 3e4);
                let (mut q8, mut q_scales, mut sums) =
                    (vec![0; q.len()], vec![0.0; q.len() / 32], vec![Pair::default(); q.len() / 16]);
                scalar::quantize(&q, &mut q8, &mut q_scales, &mut sums);
                let (mut r8, mut r_scales) = (vec![0; rows.len()], vec![0; rows.len() / KV_BLOCK]);
                quantize_kv(&rows, &mut r8, &mut r_scales);
                let (mut k8, mut scales) = (vec![1; key_values(width, n)], vec![1; key_values(width / KV_BLOCK, n)]);
                for (i, code) in r8.iter().enumerate() {
                    k8[byte_key_at(width, i / width, i % width)] = *code;
                }
                let blocks = width / KV_BLOCK;
                for (i, scale) in r_scales.iter().enumerate() {
                    scales[key_at(blocks, i / blocks, i % blocks)] = *scale;
                }
                let run = |k: &Kernels| {
                    let mut scores = vec![-1.0; heads * 103];
                    let queries = ByteQueries { width, q: &q8, scales: &q_scales };
                    let keys = ByteKeys { q: &k8, scales: &scales };
                    (k.attn_scores_q8)(queries, keys, some.clone(), Ahead::NONE, &mut scores, 103);
                    scores
                };
                let want = run(&scalar::kernels());
                for k in available() {
                    assert_eq!(run(&k), want, "{} width {width}, {heads} heads, {some:?}", k.name);
                }
                // Whole numbers are exact: what is left is the rounding of the sum.
                for (h, j) in (0..heads).flat_map(|h| some.clone().map(move |j| (h, j))) {
                    let terms = (0..width).map(|c| {
                        let (a, b) = (h * width + c, j * width + c);
                        let scale =
                            half::f16::from_bits(r_scales[b / KV_BLOCK]).to_f64() * f64::from(q_scales[a / KV_BLOCK]);
                        scale * f64::from(q8[a]) * f64::from(r8[b])
                    });
                    let (exact, size) = terms.fold((0.0, 0.0), |(s, a), v| (s + v, a + v.abs()));
                    let got = f64::from(want[h * 103 + j - some.start]);
                    assert!((got - exact).abs() <= 1e-6 * size.max(1e-9), "width {width}: {got} for {exact}");
                }
            }
        }
    }
}

#[test]
fn eight_bit_keys_are_within_half_a_step_and_keep_zero_and_nan() {
    let mut x = values(4 * KV_BLOCK, 5);
    x[KV_BLOCK..2 * KV_BLOCK].fill(0.0);
    x[3 * KV_BLOCK] = f32::NAN;
    let (mut q, mut scales) = (vec![0; x.len()], vec![0; 4]);
    quantize_kv(&x, &mut q, &mut scales);
    for (i, (x, q)) in x.iter().zip(&q).enumerate().take(3 * KV_BLOCK) {
        let step = half::f16::from_bits(scales[i / KV_BLOCK]).to_f32();
        // The scale itself is rounded to half precision: at the far end that is 127 · 2^-11 of a step.
        assert!((x - step * f32::from(*q)).abs() <= 0.57 * step, "value {i}: {x} became {q} steps of {step}");
    }
    assert_eq!((scales[1], &q[KV_BLOCK..2 * KV_BLOCK]), (0, &[0i8; KV_BLOCK][..]));
    assert!(half::f16::from_bits(scales[3]).is_nan(), "what is not a number stays visible");
}

/// Gigabytes of weights a second on one thread, for one token and for 32, and how many times as fast as scalar. Run with
/// `cargo test --release --lib -- --ignored --nocapture weights_a_second`.
#[test]
#[ignore = "a measurement"]
fn weights_a_second() {
    let (rows, cols) = (1024, 4096);
    println!("{:8} {:>11} {:>10} {:>8} {:>10} {:>8}", "type", "set", "1 token", "/scalar", "32 tokens", "/scalar");
    for ty in BlockType::ALL {
        let w = weights(ty, rows, cols);
        let acts = [1, 32].map(|tokens| {
            let mut x = Acts::new(values(tokens * cols, 5), cols);
            x.quantize(&best(), Precision::Fast);
            x
        });
        let mut scalar = [0.0; 2];
        for k in available().into_iter().rev() {
            let speed = [0, 1].map(|i| {
                // The best of at least five runs and a quarter of a second.
                let (mut least, start, mut runs) = (f64::INFINITY, std::time::Instant::now(), 0);
                while runs < 5 || start.elapsed().as_secs_f64() < 0.25 {
                    let run = std::time::Instant::now();
                    std::hint::black_box(product(&k, ty, &w, &acts[i]));
                    least = least.min(run.elapsed().as_secs_f64());
                    runs += 1;
                    if start.elapsed().as_secs_f64() > 2.0 {
                        break;
                    }
                }
                w.panels.len() as f64 / least / 1e9
            });
            if k.name == "scalar" {
                scalar = speed;
            }
            let [one, many] = [0, 1].map(|i| format!("{:10.2} {:8.1}", speed[i], speed[i] / scalar[i]));
            println!("{:8} {:>11} {one} {many}", ty.name(), k.name);
        }
    }
}
