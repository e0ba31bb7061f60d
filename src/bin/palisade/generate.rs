//! `palisade generate`: one question, one guarded answer.

use std::path::PathBuf;

use palisade::Result;
use palisade::session::SessionOptions;

use crate::ask::{self, EngineFlags, SamplingFlags};
use crate::output;

/// Answers one prompt. Cleared text streams to stdout; the end, its reason and the timing go to stderr.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade generate MODEL.gguf --prompt 'When do you open?' --accept-license\n  palisade generate MODEL.gguf --prompt 'Hello' --temperature 0 --json"
)]
pub struct Args {
    /// GGUF file (the first one of a split model).
    model: PathBuf,
    /// What the user says.
    #[arg(long)]
    prompt: String,
    /// Instructions to the model.
    #[arg(long)]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    engine: EngineFlags,
    /// Print one JSON object at the end instead of streaming.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let engine = ask::open(args.model.clone(), None, &args.engine)?;
    let session =
        engine.session(&SessionOptions { system: args.system.clone(), locale: args.engine.locale.clone() })?;
    let outcome = ask::ask(&session, args.sampling.request(args.prompt.clone()), !args.json)?;
    if args.json {
        output::json(&outcome.json())?;
    } else {
        match &outcome.end.refusal {
            Some(refusal) if outcome.text.is_empty() => output::line(refusal)?,
            Some(refusal) => output::line(&format!("\n{refusal}"))?,
            None => output::line("")?,
        }
        eprintln!("{}", outcome.summary());
    }
    ask::failure(&outcome)
}
