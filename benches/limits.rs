//! What this machine can do: bytes read from memory on one thread and two, and 8-bit dot products and multiply-adds in single
//! precision on one. Prints one line of JSON.
#![allow(clippy::print_stdout, reason = "a program that prints")]

mod common;

fn main() {
    let [one, two] = common::read_gb_s();
    let best = ["avx512vnni", "avxvnni", "avx2"].into_iter().find_map(|set| Some((set, common::dots(set)?)));
    let (set, dots) = best.unwrap_or(("none measured", 0.0));
    let floats = common::floats(set).unwrap_or(0.0);
    println!(
        "{{\"read_gb_s\":{{\"1\":{one:.2},\"2\":{two:.2}}},\"dot_gmac_s\":{dots:.1},\"float_gmac_s\":{floats:.1},\"dot_instructions\":\"{set}\"}}"
    );
}
