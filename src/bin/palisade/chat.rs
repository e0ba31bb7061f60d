//! `palisade chat`: a conversation in the terminal.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use palisade::session::{EndReason, SessionOptions};
use palisade::{Error, Result};

use crate::ask::{self, EngineFlags, SamplingFlags};
use crate::output;

/// Talks with a model. /reset forgets the conversation, /quit leaves; Ctrl-C stops an answer, twice leaves.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  palisade chat MODEL.gguf --system 'You are the guide of a small museum.' --policy guards/policies/kiosk.toml"
)]
pub struct Args {
    /// GGUF file (the first one of a split model).
    model: PathBuf,
    /// Instructions to the model.
    #[arg(long)]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    engine: EngineFlags,
    /// Print one JSON object for each answer instead of streaming.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let engine = ask::open(args.model.clone(), None, &args.engine)?;
    let session =
        engine.session(&SessionOptions { system: args.system.clone(), locale: args.engine.locale.clone() })?;
    let cancel = session.cancel_flag();
    ctrlc::set_handler(move || {
        // The first one stops the answer, the next one the program.
        if cancel.is_raised() {
            std::process::exit(130);
        }
        cancel.raise();
    })
    .map_err(|e| Error::state(format!("Ctrl-C cannot be watched: {e}")))?;
    let info = engine.info();
    eprintln!(
        "{} ({}, {} threads, context {}), policy {}",
        info.model, info.kernels, info.threads, info.context, info.policy
    );
    eprintln!("{}", ask::hold_back(&engine));
    let mut lines = io::stdin().lock().lines();
    loop {
        if io::stdin().is_terminal() {
            eprint!("> ");
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line.map_err(|e| Error::io("standard input", &e))?;
        match line.trim() {
            "" => continue,
            "/quit" | "/exit" => return Ok(()),
            "/reset" => {
                session.reset()?;
                eprintln!("[forgotten]");
                continue;
            }
            text => answer(args, &session, text)?,
        }
    }
}

fn answer(args: &Args, session: &std::sync::Arc<palisade::session::Session>, text: &str) -> Result<()> {
    let outcome = ask::ask(session, args.sampling.request(text.to_owned()), !args.json)?;
    if args.json {
        return output::json(&outcome.json());
    }
    match &outcome.end.refusal {
        Some(refusal) if outcome.text.is_empty() => output::line(refusal)?,
        Some(refusal) => output::line(&format!("\n{refusal}"))?,
        None => output::line("")?,
    }
    eprintln!("{}", outcome.summary());
    match (&outcome.end.reason, &outcome.end.error) {
        // A question that is too long, or a guard that could not judge, ends that question and not the conversation.
        (EndReason::Error, Some(e)) => eprintln!("palisade: {e}"),
        (EndReason::Cancelled, _) => eprintln!("palisade: the question and what there was of its answer are forgotten"),
        _ => {}
    }
    Ok(())
}
