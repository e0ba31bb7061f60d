//! `palisade guard`: what the guard says of given texts. No model is involved.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

use palisade::guard::{Guard, InputContext, Judgement, OutputContext, Step};
use palisade::{CancelFlag, Error, Result};

use crate::{load, output};

/// Judges each line of a JSON-lines file ({"id":…,"text":…}) and prints one JSON line for it:
/// {"id","action":"allow|flag|mask|block","category","score","stage","scores","ms"}. scores has each classifier's own; ms is
/// the time spent judging. A line may have "recent", the user's earlier messages, oldest first.
///
/// With --stream each text goes through the hold-back of answers, and the line says too what left it: {"released","judged"}.
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
    /// Sends each text through the output stream, cut in this way (only with --side output).
    #[arg(long, value_enum, value_name = "CUTTING")]
    stream: Option<Cutting>,
    #[command(flatten)]
    guard: load::GuardFlags,
    /// Accepted for symmetry: the output is JSON anyway.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Side {
    Input,
    Output,
}

/// In which pieces an answer comes.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Cutting {
    /// As the line's "pieces" say, which together are the text; without them word by word.
    Chunk,
    /// One byte at a time; as from a model, a character goes on when its last byte has come.
    Byte,
    /// All at once.
    Whole,
}

#[derive(serde::Deserialize)]
struct Line {
    id: serde_json::Value,
    text: String,
    #[serde(default)]
    recent: Vec<String>,
    #[serde(default)]
    pieces: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if args.stream.is_some() && matches!(args.side, Side::Input) {
        return Err(Error::argument("--stream cuts answers: give --side output with it"));
    }
    let guard = Arc::new(Guard::open(&args.guard.options())?);
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
        if let Some(cutting) = args.stream {
            output::json(&streamed(&guard, line, cutting)?)?;
            continue;
        }
        let judgement = match args.side {
            Side::Input => {
                let recent: Vec<&str> = line.recent.iter().map(String::as_str).collect();
                let context = InputContext { text: &line.text, recent_user: &recent, ..InputContext::default() };
                guard.judge_input(&context, &CancelFlag::new())
            }
            Side::Output => guard.judge_output_text(&line.text, &CancelFlag::new()),
        };
        output::json(&report(line.id, &judgement))?;
    }
    Ok(())
}

/// Sends a text through the hold-back and reports how that ended and what left.
fn streamed(guard: &Arc<Guard>, line: Line, cutting: Cutting) -> Result<serde_json::Value> {
    let pieces: Vec<&str> = match cutting {
        Cutting::Chunk if !line.pieces.is_empty() => line.pieces.iter().map(String::as_str).collect(),
        Cutting::Chunk => line.text.split_inclusive(char::is_whitespace).collect(),
        Cutting::Byte => line.text.split("").filter(|c| !c.is_empty()).collect(),
        Cutting::Whole => vec![line.text.as_str()],
    };
    if pieces.concat() != line.text {
        return Err(Error::argument(format!("id {}: \"pieces\" together are not \"text\"", line.id)));
    }
    let mut stream = guard.output_stream(OutputContext::default());
    let mut released = String::new();
    let mut whole = Step::default();
    let mut take = |step: Step| {
        step.cleared.iter().for_each(|c| released.push_str(c.as_str()));
        whole.verdicts.extend(step.verdicts);
        whole.blocked = whole.blocked.take().or(step.blocked);
        whole.retract_from = whole.retract_from.or(step.retract_from);
    };
    for piece in pieces {
        take(stream.push(piece));
    }
    take(stream.end());
    let stats = stream.stats();
    let strictest = whole.verdicts.iter().max_by_key(|v| v.action);
    let mut report = match (&whole.blocked, strictest) {
        (Some(judgement), _) => report(line.id, judgement),
        (None, Some(verdict)) => serde_json::json!({
            "id": line.id,
            "action": verdict.action.as_str(),
            "category": verdict.category_id(),
            "rule": verdict.rule.as_deref(),
            "score": verdict.score,
            "stage": verdict.stage.as_str(),
        }),
        (None, None) => serde_json::json!({ "id": line.id, "action": "allow" }),
    };
    if let Some(object) = report.as_object_mut() {
        object.insert("released".to_owned(), released.into());
        // What of it the check of the whole answer takes back, counted in bytes of the text.
        object.insert("retract_from".to_owned(), whole.retract_from.into());
        object.insert("judged".to_owned(), stats.judgements.into());
        object.insert("ms".to_owned(), milliseconds(stats.judging).into());
    }
    Ok(report)
}

fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
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
        object.insert("ms".to_owned(), milliseconds(judgement.elapsed).into());
    }
    if let (Some(failure), Some(object)) = (&judgement.failure, report.as_object_mut()) {
        object.insert("error".to_owned(), failure.message().into());
    }
    report
}

#[cfg(test)]
mod tests {
    use palisade::guard::GuardOptions;

    use super::*;

    const ANSWER: &str =
        "Größe 🙂: the ferry leaves at eight and takes an hour. Write to jo.doe@example.com to book. Bye.";

    fn line(pieces: &[&str]) -> Line {
        let pieces = pieces.iter().map(|p| (*p).to_owned()).collect();
        Line { id: 7.into(), text: ANSWER.to_owned(), recent: Vec::new(), pieces }
    }

    fn guard() -> Result<Arc<Guard>> {
        Guard::open(&GuardOptions::default()).map(Arc::new)
    }

    #[test]
    fn every_cutting_ends_alike_and_releases_nothing_of_a_blocked_unit() -> Result<()> {
        let guard = guard()?;
        for cutting in [Cutting::Chunk, Cutting::Byte, Cutting::Whole] {
            let report = streamed(&guard, line(&[]), cutting)?;
            assert_eq!(report["action"], "block", "{report}");
            assert_eq!(report["category"], "pii", "{report}");
            assert_eq!(report["released"], "", "{report}");
        }
        Ok(())
    }

    #[test]
    fn pieces_must_be_the_text() -> Result<()> {
        let guard = guard()?;
        assert!(streamed(&guard, line(&["Größe", " and something else"]), Cutting::Chunk).is_err());
        assert!(streamed(&guard, line(&[&ANSWER[..7], &ANSWER[7..]]), Cutting::Chunk).is_ok());
        Ok(())
    }
}
