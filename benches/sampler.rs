//! How long the choice of one token takes over Llama 4's vocabulary, next to a full sort of it. Prints one line of JSON for
//! each setting: microseconds of the median call, the spread of the middle half, and the share of a full sort's time.
#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(clippy::expect_used, reason = "a program that may end where it cannot go on")]

use std::hint::black_box;
use std::time::Instant;

use palisade::sampler::{Sampler, SamplerOptions, TokenMask};

const VOCABULARY: usize = 202_048;
const ROUNDS: usize = 200;

fn main() {
    let off = SamplerOptions { temperature: 1.0, top_p: 1.0, ..SamplerOptions::default() };
    let settings = [
        ("greedy", SamplerOptions::greedy()),
        ("temperature 0.8", SamplerOptions { temperature: 0.8, ..off.clone() }),
        ("temperature 0.8, top-k 40", SamplerOptions { temperature: 0.8, top_k: 40, ..off.clone() }),
        ("top-p 0.9", SamplerOptions { top_p: 0.9, ..off.clone() }),
        ("min-p 0.05", SamplerOptions { min_p: 0.05, ..off.clone() }),
        (
            "all",
            SamplerOptions {
                temperature: 0.8,
                top_k: 40,
                top_p: 0.9,
                min_p: 0.05,
                repetition_penalty: 1.1,
                frequency_penalty: 0.1,
                presence_penalty: 0.1,
                ..off
            },
        ),
    ];
    let mask = TokenMask::from_fn(VOCABULARY as u32, |id| id < 200_000 || id % 7 != 0);
    let history: Vec<u32> = (0..500).map(|i| i * 401 % 200_000).collect();
    // Steep as from a model that is sure, and so flat that most of the vocabulary counts.
    for (shape, spread) in [("steep", 12.0), ("flat", 1.0)] {
        let logits = logits(spread);
        let sort = times(|| {
            let mut all = logits.clone();
            all.sort_unstable_by(|a, b| b.total_cmp(a));
            all[0] as u32
        });
        for (name, options) in &settings {
            let mut sampler = Sampler::new(options.clone()).expect("options in range");
            let [low, median, high] =
                times(|| sampler.sample(&logits, &history, Some(&mask)).expect("logits that are numbers"));
            println!(
                "{{\"logits\":\"{shape}\",\"setting\":\"{name}\",\"us\":{median:.1},\"us_quartiles\":[{low:.1},{high:.1}],\
                 \"of_full_sort\":{:.4}}}",
                median / sort[1]
            );
        }
    }
}

/// Bell-shaped logits, the sum of eight numbers of a linear congruence.
fn logits(spread: f32) -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..VOCABULARY).map(|_| (0..8).map(|_| uniform()).sum::<f32>() * spread).collect()
}

/// Lower quartile, median and upper quartile of the microseconds that `work` takes.
fn times(mut work: impl FnMut() -> u32) -> [f64; 3] {
    let mut all: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    [all[ROUNDS / 4], all[ROUNDS / 2], all[ROUNDS * 3 / 4]]
}
