//! What this machine can do: bytes read from memory on one thread and two, and 8-bit dot products and multiply-adds in single
//! precision on one, of the best kernel set or the one that is named (`-- avx2`). Prints one line of JSON.
#![allow(clippy::print_stdout, reason = "a program that prints")]

mod common;

fn main() {
    let [one, two] = common::read_gb_s();
    // Cargo adds `--bench`.
    let named = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let sets =
        ["avx512vnni", "avxvnni", "avx2"].into_iter().filter(|set| named.as_ref().is_none_or(|name| name == set));
    let best = { sets }.find_map(|set| Some((set, common::dots(set)?)));
    let (set, dots) = best.unwrap_or(("none measured", 0.0));
    let floats = common::floats(set).unwrap_or(0.0);
    println!(
        "{{\"read_gb_s\":{{\"1\":{one:.2},\"2\":{two:.2}}},\"dot_gmac_s\":{dots:.1},\"float_gmac_s\":{floats:.1},\"dot_instructions\":\"{set}\"}}"
    );
}
