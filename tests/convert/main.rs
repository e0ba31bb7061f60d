//! Converting, requantizing and inventing models, against what Hugging Face and the `gguf` package say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests, whose figures --nocapture shows"
)]

mod cli;
mod importance;
mod malformed;
mod oracle;
mod restart;
mod synth;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::Result;
use palisade::convert::{Control, Conversion, Done, Options, Types};
use palisade::engine::{Decoder, DecoderOptions, RunControl};
use palisade::gguf::Gguf;
use palisade::quant::{BlockType, dequantize};
use serde_json::Value;

/// The folders of tests/data/convert/.
const FOLDERS: [&str; 5] = ["scout", "maverick", "guard", "llama3", "llama3-tied"];

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/convert").join(name)
}

fn expected(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data(&format!("{name}.json"))).unwrap()).unwrap()
}

fn types(main: BlockType) -> Options {
    Options { types: Types::new(main), ..Options::default() }
}

fn convert(folder: &Path, out: &Path, options: &Options) -> Result<Done> {
    Conversion::from_folder(folder, options)?.run(out, &mut Control::default())
}

/// A copy of a fixture that may be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// Edits a JSON file of a folder.
fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
}

/// The bytes of a tensor.
fn bytes(gguf: &Gguf, name: &str) -> Vec<u8> {
    let tensor = gguf.tensor(name).unwrap_or_else(|| panic!("no tensor {name}"));
    let mut out = vec![0; tensor.bytes as usize];
    gguf.read(tensor, 0, &mut out).unwrap();
    out
}

fn values(gguf: &Gguf, name: &str) -> Vec<f32> {
    let tensor = gguf.tensor(name).unwrap();
    let mut out = vec![0.0; tensor.elements() as usize];
    dequantize(tensor.block_type().unwrap(), &bytes(gguf, name), &mut out).unwrap();
    out
}

fn decoder(path: &Path) -> Arc<Decoder> {
    let gguf = Arc::new(Gguf::open(path).unwrap());
    let options = DecoderOptions { precision: palisade::kernels::Precision::Fine, ..DecoderOptions::default() };
    Arc::new(Decoder::load(&gguf, &options, &mut |_| true).unwrap())
}

fn score(path: &Path, ids: &[u32]) -> Vec<f64> {
    decoder(path).score(ids, &mut RunControl::default()).unwrap().into_iter().map(f64::from).collect()
}

fn mean_gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}
