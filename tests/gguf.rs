//! GGUF files: what is read, what is refused and with which words, what is written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use palisade::gguf::Gguf;

#[test]
fn smoke() {
    let g = Gguf::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf/pypi.gguf")).unwrap();
    for (k, v) in g.metadata().iter() {
        println!("{k} = {v}");
    }
    for t in g.tensors() {
        println!("{t:?}");
    }
    let g = Gguf::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf/pypi-split-00001-of-00003.gguf")).unwrap();
    for (k, v) in g.metadata().iter() {
        println!("{k} = {v}");
    }
    for t in g.tensors() {
        println!("{t:?}");
    }
    println!(
        "{}",
        Gguf::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf/pypi-split-00002-of-00003.gguf")).unwrap_err()
    );
}
