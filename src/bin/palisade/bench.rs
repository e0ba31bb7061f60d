//! `palisade bench`: how fast a model runs here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use palisade::engine::{Context, Decoder, Phase, Profile, RunControl, Work};
use palisade::gguf::{Gguf, Part};
use palisade::{Error, Result};

use crate::{load, output};

/// Prints {"prefill_tps","decode_tps","prefill_gmac_s","decode_bytes","decode_gb_s","load_ms","ttft_ms","peak_rss_bytes","kv_bytes","threads",
/// "kernels"}. The tokens are fixed and no text comes out of them. "decode_bytes" are the weights that one token reads and the keys
/// and values of the conversation at its end; "prefill_gmac_s" counts the matrices' multiplications, not attention's. "ttft_ms" is the time to load
/// and to prefill for the first time. With --sequences also "batched": [{"sequences","decode_tps","decode_tps_all"}], tokens a second of all conversations together.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  palisade bench MODEL.gguf -p 512 -n 64 -t 2\n  palisade bench MODEL.gguf -d 16384 -p 1 -n 32 --kv q8_0\n  palisade bench MODEL.gguf --profile\n  palisade bench MODEL.gguf -p 64 -n 32 --sequences 4,16\n  palisade bench MODEL.palp --load -r 5"
)]
pub struct Args {
    /// GGUF file (the first one of a split model) or packed file.
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
    /// Times each phase of the graph: a table on stderr, and "profile" in the JSON with milliseconds a token; with --sequences
    /// theirs too.
    #[arg(long)]
    profile: bool,
    /// Only open the model, -r times, and print {"load_ms","file_bytes","gb_s","peak_rss_bytes","packed","load_ms_all"}. What
    /// the system keeps of the file in memory decides much: the first time may be another than the next.
    #[arg(long)]
    load: bool,
    /// Also decode with this many conversations side by side, one token each in every pass; all go on from the same prompt.
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    sequences: Vec<usize>,
    #[command(flatten)]
    flags: load::Flags,
    /// Accepted for symmetry: the output is JSON anyway.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.prompt == 0 || args.generate == 0 || args.repeat == 0 || args.sequences.contains(&0) {
        return Err(Error::argument("-p, -n, -r and --sequences need at least 1"));
    }
    if args.load {
        return loads(args);
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
    let mut profiles = args.profile.then(<(Profile, Profile)>::default);
    for round in 0..args.repeat {
        // A chunk that was dropped on the way cannot be gone back to: then the depth is computed again.
        if round > 0 && (args.depth == 0 || conversation.truncate(args.depth).is_err()) {
            conversation = at_depth(&decoder, before)?;
        }
        let start = Instant::now();
        let profile = profiles.as_mut().map(|(prefill, _)| prefill);
        conversation.feed(prompt, &mut RunControl { profile, ..RunControl::default() })?;
        prefill.push(prompt.len() as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for id in rest {
            let profile = profiles.as_mut().map(|(_, decode)| decode);
            conversation.feed(&[*id], &mut RunControl { profile, ..RunControl::default() })?;
        }
        decode.push(rest.len() as f64 / start.elapsed().as_secs_f64());
        kv_bytes = conversation.bytes();
    }
    let first = prefill.first().map_or(f64::NAN, |tps| prompt.len() as f64 / tps * 1000.0);
    let mut together = Vec::new();
    let mut batches = Vec::new();
    for &count in &args.sequences {
        let (report, profile) = batched(args, &decoder, before, prompt, count)?;
        together.push(report);
        batches.extend(profile.map(|p| (format!("{count} sequences"), rows(&p, count * args.generate * args.repeat))));
    }
    let work = Work::of(decoder.model())?;
    let (prefill_tps, decode_tps) = (median(&mut prefill), median(&mut decode));
    let last_rows = args.prompt.div_ceil(decoder.batch());
    let prefill_macs = work.layer_macs as f64 + work.output_macs as f64 * last_rows as f64 / args.prompt as f64;
    let decode_bytes = work.bytes.saturating_add(kv_bytes);
    let mut report = serde_json::json!({
        "prefill_tps": prefill_tps,
        "decode_tps": decode_tps,
        "prefill_gmac_s": prefill_macs * prefill_tps / 1e9,
        "decode_bytes": decode_bytes,
        "decode_gb_s": decode_bytes as f64 * decode_tps / 1e9,
        "load_ms": output::millis(load_time),
        "ttft_ms": output::millis(load_time) + first,
        "peak_rss_bytes": peak_rss(),
        "kv_bytes": kv_bytes,
        "threads": decoder.threads(),
        "kernels": decoder.kernels(),
        "prefill_tps_all": prefill,
        "decode_tps_all": decode,
    });
    if let (Some((prefill, decode)), Some(report)) = (&profiles, report.as_object_mut()) {
        let mut columns = vec![
            ("prefill".to_owned(), rows(prefill, args.prompt * args.repeat)),
            ("decode".to_owned(), rows(decode, rest.len() * args.repeat)),
        ];
        columns.extend(batches);
        table(&columns);
        let json = |rows: Vec<(&'static str, f64)>| -> serde_json::Map<_, _> {
            rows.into_iter().map(|(name, ms)| (name.to_owned(), ms.into())).collect()
        };
        let profile: serde_json::Map<_, _> =
            columns.into_iter().map(|(name, rows)| (name, json(rows).into())).collect();
        report.insert("profile".to_owned(), profile.into());
    }
    if let Some(report) = report.as_object_mut().filter(|_| !together.is_empty()) {
        report.insert("batched".to_owned(), together.into());
    }
    output::json(&report)
}

/// How long opening takes.
fn loads(args: &Args) -> Result<()> {
    let gguf = Gguf::open(&args.model)?;
    let (packed, file) = (gguf.packed().is_some(), gguf.parts().iter().map(Part::len).sum::<u64>());
    drop(gguf);
    let mut all = Vec::new();
    for _ in 0..args.repeat {
        let (decoder, time) = load::decoder(&args.model, &args.flags.decoder_options())?;
        all.push(output::millis(time));
        drop(decoder);
    }
    let each = all.clone();
    let load_ms = median(&mut all);
    output::json(&serde_json::json!({
        "load_ms": load_ms,
        "file_bytes": file,
        "gb_s": file as f64 / load_ms / 1e6,
        "peak_rss_bytes": peak_rss(),
        "packed": packed,
        "load_ms_all": each,
    }))
}

/// Tokens a second of `count` conversations that step together, each on its own walk from the same prompt, and where the time
/// went if that is asked for.
fn batched(
    args: &Args,
    decoder: &Arc<Decoder>,
    before: &[u32],
    prompt: &[u32],
    count: usize,
) -> Result<(serde_json::Value, Option<Profile>)> {
    let vocab = decoder.model().hparams.vocab as u64;
    let mut start = at_depth(decoder, before)?;
    start.append(prompt, &mut RunControl::default())?;
    let mut speeds = Vec::new();
    let mut profile = args.profile.then(Profile::default);
    for _ in 0..args.repeat {
        let mut talks: Vec<Context> = (0..count).map(|_| start.fork()).collect();
        let mut talks: Vec<&mut Context> = talks.iter_mut().collect();
        let begin = Instant::now();
        for n in 0..args.generate {
            let id = |sequence: usize| (((n * count + sequence) as u64 * 7919 + 11) % vocab) as u32;
            let ids: Vec<u32> = (0..count).map(id).collect();
            decoder.step(&mut talks, &ids, &mut RunControl { profile: profile.as_mut(), ..RunControl::default() })?;
        }
        speeds.push((args.generate * count) as f64 / begin.elapsed().as_secs_f64());
    }
    let report = serde_json::json!({ "sequences": count, "decode_tps": median(&mut speeds), "decode_tps_all": speeds });
    Ok((report, profile))
}

/// Milliseconds a token of each phase, of what is in none, and of all.
fn rows(profile: &Profile, tokens: usize) -> Vec<(&'static str, f64)> {
    let phases = Phase::ALL.iter().map(|phase| (phase.name(), profile.phase(*phase)));
    let rest = [("overhead", profile.overhead()), ("total", profile.total())];
    phases.chain(rest).map(|(name, time)| (name, time.as_secs_f64() * 1000.0 / tokens as f64)).collect()
}

/// The rows of both on stderr, with their shares of the total.
fn table(columns: &[(String, Vec<(&str, f64)>)]) {
    eprint!("{:<17}", "ms a token");
    columns.iter().for_each(|(title, _)| eprint!(" {title:>12} {:>7}", "%"));
    eprintln!();
    let total = |rows: &[(&str, f64)]| rows.last().map_or(f64::NAN, |row| row.1);
    for (at, (name, _)) in columns.first().map(|(_, rows)| rows.as_slice()).unwrap_or_default().iter().enumerate() {
        eprint!("{name:<17}");
        for (_, rows) in columns {
            let ms = rows.get(at).map_or(f64::NAN, |row| row.1);
            eprint!(" {ms:>12.4} {:>7.2}", ms / total(rows) * 100.0);
        }
        eprintln!();
    }
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
