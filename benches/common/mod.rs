//! What this machine can do at most, measured: bytes read from memory, and products with addition of each instruction set.
#![allow(unsafe_code, reason = "vector instructions are the thing measured")]
#![allow(dead_code, reason = "each program takes what it needs")]
#![allow(clippy::expect_used, reason = "a program that may end where it cannot go on")]

use std::hint::black_box;
use std::time::Instant;

/// Far more than any cache.
const BYTES: usize = 1 << 30;
/// Read in one round: short, so that some rounds are disturbed by nobody.
const PIECE: usize = 1 << 27;
const ROUNDS: usize = 12;

/// Gigabytes a second that one thread and two read from memory: the best piece, passing over all of [`BYTES`] several times, in
/// small pages and in huge ones.
pub(crate) fn read_gb_s() -> [f64; 2] {
    let rates = [false, true].map(|huge| {
        let mut pages = memmap2::MmapMut::map_anon(BYTES).expect("a gigabyte");
        #[cfg(target_os = "linux")]
        if huge {
            let _ = pages.advise(memmap2::Advice::HugePage);
        }
        pages.chunks_exact_mut(8).zip(0_u64..).for_each(|(word, i)| word.copy_from_slice(&i.to_le_bytes()));
        let one = most(&pages, sum);
        let two = most(&pages, |piece| {
            let (a, b) = piece.split_at(piece.len() / 2);
            std::thread::scope(|scope| {
                let other = scope.spawn(|| sum(b));
                sum(a).wrapping_add(other.join().unwrap_or(0))
            })
        });
        [one / 1e9, two / 1e9]
    });
    [rates[0][0].max(rates[1][0]), rates[0][1].max(rates[1][1])]
}

/// Bytes a second of the best piece.
fn most(bytes: &[u8], work: impl Fn(&[u8]) -> u64) -> f64 {
    let pieces = (0..ROUNDS).flat_map(|_| bytes.chunks_exact(PIECE)).map(|piece| {
        let start = Instant::now();
        black_box(work(piece));
        PIECE as f64 / start.elapsed().as_secs_f64()
    });
    pieces.fold(0.0, f64::max)
}

fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 32];
    for chunk in bytes.as_chunks::<8>().0.as_chunks::<32>().0 {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Billions of 8-bit products with addition a second of the instructions that the kernel set of that name is made of, on one
/// thread; `None` where there is no measurement or this processor lacks them.
pub(crate) fn dots(set: &str) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    match set {
        "avx512vnni" if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: the features were found.
            return Some(rate(64.0 * 16.0, |n| unsafe { x86::vnni(n) }));
        }
        "avxvnni" if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni") => {
            // SAFETY: the features were found.
            return Some(rate(32.0 * 12.0, |n| unsafe { x86::short_vnni(n) }));
        }
        "avx2" if is_x86_feature_detected!("avx2") => {
            // SAFETY: the feature was found.
            return Some(rate(32.0 * 16.0, |n| unsafe { x86::maddubs(n) }));
        }
        _ => {}
    }
    let _ = set;
    None
}

/// As [`dots`], for products with addition in single precision.
pub(crate) fn floats(set: &str) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    match set {
        "avx512vnni" if is_x86_feature_detected!("avx512f") => {
            // SAFETY: the feature was found.
            return Some(rate(16.0 * 12.0, |n| unsafe { x86::fma512(n) }));
        }
        "avxvnni" | "avx2" if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
            // SAFETY: the features were found.
            return Some(rate(8.0 * 12.0, |n| unsafe { x86::fma256(n) }));
        }
        _ => {}
    }
    let _ = set;
    None
}

/// Gigabytes a second of values that the instructions of a kernel set read from the first-level cache, on one thread; `None` as for
/// [`dots`].
pub(crate) fn cached_gb_s(set: &str) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        let row = [1.0_f32; 1024];
        let bytes = size_of_val(&row) as f64;
        match set {
            "avx512vnni" if is_x86_feature_detected!("avx512f") => {
                // SAFETY: the feature was found.
                return Some(rate(bytes, |n| (0..n).map(|_| unsafe { x86::sum512(black_box(&row)) }).sum()));
            }
            "avxvnni" | "avx2" if is_x86_feature_detected!("avx2") => {
                // SAFETY: the feature was found.
                return Some(rate(bytes, |n| (0..n).map(|_| unsafe { x86::sum256(black_box(&row)) }).sum()));
            }
            _ => {}
        }
    }
    let _ = set;
    None
}

#[cfg(target_arch = "x86_64")]
fn rate(macs: f64, work: impl Fn(usize) -> i32) -> f64 {
    const STEPS: usize = 1 << 14;
    let rounds = (0..200 * ROUNDS).map(|_| {
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

    /// The same in 256 bits; twelve sums leave room for the factors in sixteen registers.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(crate) fn short_vnni(steps: usize) -> i32 {
        let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(-5)));
        let mut acc = [_mm256_setzero_si256(); 12];
        for _ in 0..steps {
            for acc in &mut acc {
                *acc = _mm256_dpbusd_avx_epi32(*acc, a, b);
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm256_extract_epi32::<0>(*a))
    }

    /// The form that AVX2 has: products of bytes summed in sixteen bits, which small weights allow.
    #[target_feature(enable = "avx2")]
    pub(crate) fn maddubs(steps: usize) -> i32 {
        let mut a = _mm256_set1_epi8(black_box(1));
        let b: [__m256i; 4] = std::array::from_fn(|i| _mm256_set1_epi8(black_box(i as i8 - 2)));
        let mut acc = [_mm256_setzero_si256(); 4];
        for _ in 0..steps {
            for _ in 0..4 {
                // SAFETY: no instruction; the compiler must take `a` for changed and the products for new ones.
                unsafe {
                    std::arch::asm!("/* {0} */", inout(ymm_reg) a, options(pure, nomem, nostack, preserves_flags))
                };
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = _mm256_add_epi16(*acc, _mm256_maddubs_epi16(a, b));
                }
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm256_extract_epi32::<0>(*a))
    }

    #[target_feature(enable = "avx512f")]
    pub(crate) fn fma512(steps: usize) -> i32 {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut acc = [_mm512_setzero_ps(); 12];
        for _ in 0..steps {
            for acc in &mut acc {
                *acc = _mm512_fmadd_ps(*acc, a, b);
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm512_reduce_add_ps(*a) as i32)
    }

    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn fma256(steps: usize) -> i32 {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut acc = [_mm256_setzero_ps(); 12];
        for _ in 0..steps {
            for acc in &mut acc {
                *acc = _mm256_fmadd_ps(*acc, a, b);
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm256_cvtss_f32(*a) as i32)
    }
    /// A sum of the row's bits: one load and one addition for each vector, eight sums that do not wait for each other.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn sum512(row: &[f32; 1024]) -> i32 {
        let mut acc = [_mm512_setzero_si512(); 8];
        for eight in row.as_chunks::<16>().0.as_chunks::<8>().0 {
            for (acc, values) in acc.iter_mut().zip(eight) {
                // SAFETY: sixteen values.
                *acc = _mm512_add_epi32(*acc, unsafe { _mm512_loadu_si512(values.as_ptr().cast()) });
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm512_cvtsi512_si32(*a))
    }

    #[target_feature(enable = "avx2")]
    pub(crate) fn sum256(row: &[f32; 1024]) -> i32 {
        let mut acc = [_mm256_setzero_si256(); 8];
        for eight in row.as_chunks::<8>().0.as_chunks::<8>().0 {
            for (acc, values) in acc.iter_mut().zip(eight) {
                // SAFETY: eight values.
                *acc = _mm256_add_epi32(*acc, unsafe { _mm256_loadu_si256(values.as_ptr().cast()) });
            }
        }
        acc.iter().fold(0, |s, a| s ^ _mm256_extract_epi32::<0>(*a))
    }
}
