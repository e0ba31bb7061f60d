//! What this machine can do: bytes read from memory on one thread and two, and 8-bit dot products on one. Prints one line of JSON.
#![allow(unsafe_code, reason = "vector instructions are the thing measured")]
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::hint::black_box;
use std::time::Instant;

/// Far more than any cache.
const BYTES: usize = 1 << 30;
const ROUNDS: usize = 12;

fn main() {
    let words: Vec<u64> = (0..BYTES as u64 / 8).collect();
    let one = best(|| sum(&words)) / 1e9;
    let (a, b) = words.split_at(words.len() / 2);
    let two = best(|| {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| sum(b));
            sum(a).wrapping_add(other.join().unwrap_or(0))
        })
    }) / 1e9;
    let (set, dots) = dots();
    println!(
        "{{\"read_gb_s\":{{\"1\":{one:.2},\"2\":{two:.2}}},\"dot_gmac_s\":{dots:.1},\"dot_instructions\":\"{set}\"}}"
    );
}

/// Bytes a second of the best round.
fn best(work: impl Fn() -> u64) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        black_box(work());
        BYTES as f64 / start.elapsed().as_secs_f64()
    });
    rounds.fold(0.0, f64::max)
}

fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0u64; 32];
    for chunk in words.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Instruction set and billions of multiplications with addition a second.
fn dots() -> (&'static str, f64) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the features were found.
            return ("avx512vnni", rate(64.0 * 16.0, |n| unsafe { x86::vnni(n) }));
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was found.
            return ("avx2", rate(32.0 * 16.0, |n| unsafe { x86::maddubs(n) }));
        }
    }
    ("none measured", 0.0)
}

#[cfg(target_arch = "x86_64")]
fn rate(macs: f64, work: impl Fn(usize) -> i32) -> f64 {
    const STEPS: usize = 1 << 22;
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        black_box(work(black_box(STEPS)));
        macs * STEPS as f64 / start.elapsed().as_secs_f64() / 1e9
    });
    rounds.fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Sixteen sums that do not wait for each other, one product each a step.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(crate) fn vnni(steps: usize) -> i32 {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-5)));
        let mut acc = [_mm512_setzero_si512(); 16];
        for _ in 0..steps {
            for acc in &mut acc {
                *acc = _mm512_dpbusd_epi32(*acc, a, b);
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm512_reduce_add_epi32(*a))
    }

    /// The form that AVX2 has: products of bytes summed in 16 bits, these in 32.
    #[target_feature(enable = "avx2")]
    pub(crate) fn maddubs(steps: usize) -> i32 {
        let (a, ones) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi16(1));
        let mut b: [__m256i; 4] = std::array::from_fn(|i| _mm256_set1_epi8(black_box(i as i8 - 5)));
        let mut acc = [_mm256_setzero_si256(); 4];
        for _ in 0..steps {
            for _ in 0..4 {
                for (acc, b) in acc.iter_mut().zip(&mut b) {
                    let sum = _mm256_madd_epi16(_mm256_maddubs_epi16(a, *b), ones);
                    *acc = _mm256_add_epi32(*acc, sum);
                    *b = _mm256_xor_si256(*b, sum);
                }
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm256_extract_epi32::<0>(*a))
    }
}
