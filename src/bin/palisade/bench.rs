//! `palisade bench`: how fast a model runs here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use palisade::engine::{Context, Decoder, RunControl};
use palisade::{Error, Result};

use crate::{load, output};

/// Prints {"prefill_tps","decode_tps","load_ms","peak_rss_bytes","kv_bytes","threads","kernels"}. The tokens are fixed and no text comes
/// out of them.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  palisade bench MODEL.gguf -p 512 -n 64 -t 2\n  palisade bench MODEL.gguf -d 16384 -p 1 -n 32 --kv q8_0"
)]
pub struct Args {
    /// GGUF file (the first one of a split model).
    model: PathBuf,
    /// Tokens to prefill.
    #[arg(short = 'p', long, default_value_t = 512)]
    prompt: usize,
    /// Tokens to decode.
    #[arg(short = 'n', long, default_value_t = 64)]
    generate: usize,
    /// Tokens that the conversation holds before anything is measured.
    #[arg(short = 'd', long, default_value_t = 0)]
    depth: usize,
    /// Repetitions; the medians are printed.
    #[arg(short = 'r', long, default_value_t = 3)]
    repeat: usize,
    #[command(flatten)]
    flags: load::Flags,
    /// Accepted for symmetry: the output is JSON anyway.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.prompt == 0 || args.generate == 0 || args.repeat == 0 {
        return Err(Error::argument("-p, -n and -r need at least 1"));
    }
    let mut options = args.flags.decoder_options();
    let all = args.depth.saturating_add(args.prompt).saturating_add(args.generate);
    options.context = options.context.max(all);
    let (decoder, load_time) = load::decoder(&args.model, &options)?;
    let vocab = decoder.model().hparams.vocab as u64;
    // A fixed walk through the vocabulary, so that two runs touch the same experts.
    let ids: Vec<u32> = (0..all as u64).map(|i| ((i * 7919 + 11) % vocab) as u32).collect();
    let (before, ids) = ids.split_at(args.depth);
    let (prompt, rest) = ids.split_at(args.prompt);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    let mut conversation = at_depth(&decoder, before)?;
    let mut kv_bytes = 0;
    for round in 0..args.repeat {
        // A chunk that was dropped on the way cannot be gone back to: then the depth is computed again.
        if round > 0 && (args.depth == 0 || conversation.truncate(args.depth).is_err()) {
            conversation = at_depth(&decoder, before)?;
        }
        let start = Instant::now();
        conversation.feed(prompt, &mut RunControl::default())?;
        prefill.push(prompt.len() as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for id in rest {
            conversation.feed(&[*id], &mut RunControl::default())?;
        }
        decode.push(rest.len() as f64 / start.elapsed().as_secs_f64());
        kv_bytes = conversation.bytes();
    }
    output::json(&serde_json::json!({
        "prefill_tps": median(&mut prefill),
        "decode_tps": median(&mut decode),
        "load_ms": output::millis(load_time),
        "peak_rss_bytes": peak_rss(),
        "kv_bytes": kv_bytes,
        "threads": decoder.threads(),
        "kernels": decoder.kernels(),
        "prefill_tps_all": prefill,
        "decode_tps_all": decode,
    }))
}

/// A conversation that holds `before`.
fn at_depth(decoder: &Arc<Decoder>, before: &[u32]) -> Result<Context> {
    let mut conversation = decoder.conversation()?;
    if !before.is_empty() {
        let bar = output::bar(before.len() as u64, "going to the depth", false);
        let mut progress = |done: usize, _: usize| bar.set_position(done as u64);
        conversation.feed(before, &mut RunControl { progress: Some(&mut progress), ..RunControl::default() })?;
        bar.finish_and_clear();
    }
    Ok(conversation)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The largest resident size this process had, where the system tells.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
