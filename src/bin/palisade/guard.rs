//! `palisade guard`: what the guard says of given texts. No model answers them.

use std::io::BufRead;
use std::path::PathBuf;

use palisade::guard::{Guard, InputContext, Judgement};
use palisade::{CancelFlag, Error, Result};

use crate::{load, output};

/// Judges each line of a JSON-lines file ({"id":…,"text":…}) and prints one JSON line for it:
/// {"id","action":"allow|flag|mask|block","category","score","stage","scores"}. scores has each classifier's own.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  palisade guard --side input --jsonl prompts.jsonl --policy guards/policies/strict.toml"
)]
pub struct Args {
    /// Which way the texts go.
    #[arg(long, value_enum)]
    side: Side,
    /// JSON-lines file; - reads standard input.
    #[arg(long)]
    jsonl: PathBuf,
    #[command(flatten)]
    guard: load::GuardFlags,
    /// Where the receipt of a guard model's licence is kept; `palisade license accept FILE` writes it.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Accepted for symmetry: the output is JSON anyway.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Side {
    Input,
    Output,
}

#[derive(serde::Deserialize)]
struct Line {
    id: serde_json::Value,
    text: String,
}

pub fn run(args: &Args) -> Result<()> {
    let guard = open(args)?;
    let name = args.jsonl.display();
    let reader: Box<dyn BufRead> = if args.jsonl.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::io::BufReader::new(std::fs::File::open(&args.jsonl).map_err(|e| Error::io(&name, &e))?))
    };
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(|e| Error::io(format!("{name}: line {}", number + 1), &e))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).map_err(|e| {
            Error::argument(format!("{name}: line {}: expected {{\"id\":…,\"text\":…}}: {e}", number + 1))
        })?;
        let judgement = match args.side {
            Side::Input => {
                guard.judge_input(&InputContext { text: &line.text, ..InputContext::default() }, &CancelFlag::new())
            }
            Side::Output => guard.judge_output_text(&line.text, &CancelFlag::new()),
        };
        output::json(&report(line.id, &judgement))?;
    }
    Ok(())
}

fn open(args: &Args) -> Result<Guard> {
    let guard = Guard::open(&args.guard.options(args.state_dir.as_deref())?)?;
    for warning in guard.model_warnings() {
        eprintln!("palisade: warning: guard model: {warning}");
    }
    if let (Some(license), Some(status), Some(model)) =
        (guard.license(), guard.license_status()?, &args.guard.guard_model)
        && !status.is_accepted()
    {
        let (id, model) = (&license.id, model.display());
        return Err(Error::license(format!(
            "the licence {id} of the guard model was not accepted: palisade license accept {model} --party NAME"
        )));
    }
    Ok(guard)
}

fn report(id: serde_json::Value, judgement: &Judgement) -> serde_json::Value {
    // The verdict that decided; for a text that passes, the score that came nearest to its threshold.
    let decided = judgement.blocked_by().or_else(|| judgement.verdicts.first());
    let shown = decided.or(judgement.nearest.as_ref());
    let mut report = serde_json::json!({
        "id": id,
        "action": judgement.action.as_str(),
        "category": decided.and_then(|v| v.category_id()),
        "rule": decided.and_then(|v| v.rule.as_deref()),
        "score": shown.map_or(0.0, |v| v.score),
        "stage": shown.map(|v| v.stage.as_str()),
    });
    let scores = judgement.scores.iter().map(|v| (v.stage.as_str().to_owned(), v.score.into())).collect();
    if let Some(object) = report.as_object_mut() {
        object.insert("scores".to_owned(), serde_json::Value::Object(scores));
    }
    if let (Some(failure), Some(object)) = (&judgement.failure, report.as_object_mut()) {
        object.insert("error".to_owned(), failure.message().into());
    }
    report
}
