//! Runs an ONNX classifier as the guard does and prints logits, latency and peak memory as one JSON object.
//!
//!     cargo run --release --example onnx_logits -- MODEL.onnx [--vocab N] [--threads N] [--plan BATCHxSEQ]… BATCHxSEQ…
//!
//! Token ids come from the formula of tests/data/onnx/make_deberta.py, so that compare.py beside it can repeat them.
#![expect(clippy::print_stdout, reason = "a program")]

use std::path::Path;
use std::time::Instant;

use palisade::engine::{OnnxClassifier, OnnxOptions};
use palisade::{Error, Result};
use serde_json::json;

/// Runs of one shape, of which the fastest, the middle one and the mean processor time are reported.
const RUNS: usize = 7;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let model = words.next().ok_or_else(|| Error::argument("expected MODEL.onnx and shapes such as 1x512"))?;
    let (mut vocab, mut threads, mut plans, mut shapes) = (1000usize, None, Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Error::argument(format!("{word} expects a value")));
        match word.as_str() {
            "--vocab" => vocab = number(&value()?)?.max(2),
            "--threads" => threads = Some(number(&value()?)?),
            "--plan" => plans.push(shape(&value()?)?),
            _ => shapes.push(shape(&word)?),
        }
    }
    let started = Instant::now();
    let options = OnnxOptions { shapes: &plans, threads, ..OnnxOptions::default() };
    let classifier = OnnxClassifier::open(Path::new(&model), &options)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let loaded = status("VmHWM:");
    let mut cases = Vec::new();
    for (batch, seq) in shapes {
        let (ids, mask) = case(vocab, batch, seq);
        let mut logits = classifier.logits(&ids, &mask, batch, seq, &|| Ok(()))?;
        let mut times = Vec::new();
        let cpu = cpu_ms();
        for _ in 0..RUNS {
            let started = Instant::now();
            logits = classifier.logits(&ids, &mask, batch, seq, &|| Ok(()))?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let cpu = cpu_ms().zip(cpu).map(|(after, before)| (after - before) / RUNS as f64);
        times.sort_by(f64::total_cmp);
        let [least, middle] = [times.first(), times.get(RUNS / 2)];
        cases.push(json!({"batch": batch, "seq": seq, "logits": logits, "least_ms": least, "middle_ms": middle,
            "cpu_ms": cpu}));
    }
    let memory = json!({"loaded": loaded, "peak": status("VmHWM:"), "resident": status("VmRSS:")});
    println!("{}", json!({"load_ms": load_ms, "memory_kib": memory, "cases": cases}));
    Ok(())
}

/// A line of the kernel's account of this process, in KiB; nothing elsewhere than on Linux.
fn status(line: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|l| l.strip_prefix(line)?.trim().split(' ').next()?.parse().ok())
}

/// Processor time of this process so far, in steps of ten milliseconds; nothing elsewhere than on Linux.
fn cpu_ms() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) * 10.0)
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(|_| Error::argument(format!("{word:?} is no number")))
}

fn shape(word: &str) -> Result<(usize, usize)> {
    let (batch, seq) = word.split_once('x').ok_or_else(|| Error::argument(format!("{word:?} is no BATCHxSEQ")))?;
    Ok((number(batch)?, number(seq)?))
}

/// `case` of make_deberta.py.
fn case(vocab: usize, batch: usize, seq: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for row in 0..batch {
        let padded = if row == 0 { 0 } else { seq * row / 4 };
        for column in 0..seq {
            let real = column < seq.saturating_sub(padded);
            let id = 1 + (row * 7919 + column * 104_729 + 13) % (vocab - 1);
            ids.push(if real { i64::try_from(id).unwrap_or(1) } else { 0 });
            mask.push(i64::from(real));
        }
    }
    (ids, mask)
}
