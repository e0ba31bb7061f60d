//! x86-64: AVX2 with FMA and F16C, the same with 256-bit VNNI, and AVX-512 with VNNI. A set is a constructor that may decline.
#![expect(unsafe_code, reason = "vector intrinsics; every function's proof stands in front of it")]
#![expect(clippy::needless_range_loop, reason = "a lane index runs over several arrays at once")]

mod avx2;
mod avx512;
mod by_rows;
mod codes;
mod common;
mod decoded;
mod float256;
mod float512;
mod forms;
mod mix;
mod mix_direct;
mod pairs;
mod scores;
mod strips;
mod tiles;

pub(super) use avx2::kernels as avx2;
pub(super) use avx2::with_vnni as avxvnni;
pub(super) use avx512::kernels as avx512vnni;
