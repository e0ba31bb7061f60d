//! `palisade score`: evaluation of given token ids.

use std::path::PathBuf;

use palisade::engine::RunControl;
use palisade::{Error, Result};

use crate::{load, output};

/// Prints {"next_logprobs":[…]}: the natural-log probability of each id after the first, given those before it.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  palisade tokenize MODEL.gguf --file text.txt --plain > ids.txt\n  palisade score MODEL.gguf --tokens ids.txt\n  palisade score MODEL.gguf --tokens ids.txt --window 512"
)]
pub struct Args {
    /// GGUF file (the first one of a split model).
    model: PathBuf,
    /// File of token ids separated by white space; - reads standard input.
    #[arg(long)]
    tokens: PathBuf,
    /// Also print the perplexity of each run of this many tokens, and of all of them.
    #[arg(long, default_value_t = 0)]
    window: usize,
    #[command(flatten)]
    flags: load::Flags,
    /// Accepted for symmetry: the output is JSON anyway.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let text = load::text(&args.tokens)?;
    let parse = |(i, word): (usize, &str)| {
        word.parse()
            .map_err(|_| Error::argument(format!("{}: word {}: {word:?} is no token id", args.tokens.display(), i + 1)))
    };
    let ids: Vec<u32> = text.split_whitespace().enumerate().map(parse).collect::<Result<_>>()?;
    let mut options = args.flags.decoder_options();
    // Scores judge the file; the noise of fast arithmetic is judged with --precision fast.
    if args.flags.precision.is_none() {
        options.precision = palisade::kernels::Precision::Fine;
    }
    options.context = options.context.max(ids.len());
    let (decoder, _) = load::decoder(&args.model, &options)?;
    let bar = output::bar(ids.len() as u64, "scoring", false);
    let mut progress = |done: usize, _: usize| bar.set_position(done as u64);
    let mut control = RunControl { progress: Some(&mut progress), ..RunControl::default() };
    let next = decoder.score(&ids, &mut control)?;
    bar.finish_and_clear();
    if args.window == 0 {
        return output::json(&serde_json::json!({ "next_logprobs": next }));
    }
    let windows: Vec<f64> = next.chunks(args.window).map(perplexity).collect();
    output::json(&serde_json::json!({
        "next_logprobs": next, "perplexity": perplexity(&next), "window": args.window, "window_perplexity": windows,
    }))
}

/// e to the mean of the negated log-probabilities.
fn perplexity(logprobs: &[f32]) -> f64 {
    (-logprobs.iter().map(|p| f64::from(*p)).sum::<f64>() / logprobs.len() as f64).exp()
}
