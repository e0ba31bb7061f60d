//! `palisade demo`: the main job on the model inside this program.

use std::path::PathBuf;

use palisade::session::{EndReason, SessionOptions};
use palisade::{Error, Result};

use crate::ask::{self, EngineFlags, SamplingFlags};
use crate::output;

/// Loads the demo model, shows its licence, answers prompts, is refused on an unsafe one and stops an unsafe answer.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  palisade demo --accept-license")]
pub struct Args {
    #[command(flatten)]
    engine: EngineFlags,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const MODEL: &[u8] = include_bytes!("../../../examples/demo-model/palisade-demo.gguf");
const SCRIPT: &str = include_str!("../../../examples/demo-model/demo.json");

#[derive(serde::Deserialize)]
struct Script {
    system: String,
    conversations: Vec<Conversation>,
}

#[derive(serde::Deserialize)]
struct Conversation {
    turns: Vec<Turn>,
}

#[derive(serde::Deserialize)]
struct Turn {
    user: String,
    expect: Expect,
}

#[derive(serde::Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Expect {
    Answer,
    BlockedInput,
    BlockedOutput,
}

impl Expect {
    fn met_by(self, reason: EndReason) -> bool {
        match self {
            Self::Answer => reason.is_answer(),
            Self::BlockedInput => reason == EndReason::BlockedInput,
            Self::BlockedOutput => reason == EndReason::BlockedOutput,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let script: Script = serde_json::from_str(SCRIPT).map_err(|e| Error::internal(format!("demo script: {e}")))?;
    let engine = ask::open(PathBuf::from("the demo model"), Some(MODEL), &args.engine)?;
    let info = engine.info();
    eprintln!(
        "{}: {} entries of vocabulary, {} bytes of weights, kernels {}, {} threads, policy {}\n",
        info.model, info.vocabulary, info.weight_bytes, info.kernels, info.threads, info.policy
    );
    if !args.json {
        output::line(&format!("system> {}\n", script.system))?;
    }
    let sampling = SamplingFlags {
        max_tokens: 128,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        seed: 0,
        stop: Vec::new(),
    };
    let mut reports = Vec::new();
    let mut unmet = Vec::new();
    for conversation in &script.conversations {
        let session =
            engine.session(&SessionOptions { system: Some(script.system.clone()), ..SessionOptions::default() })?;
        for turn in &conversation.turns {
            if !args.json {
                output::line(&format!("user> {}", turn.user))?;
            }
            let outcome = ask::ask(&session, sampling.request(turn.user.clone()), !args.json)?;
            if !args.json {
                if let Some(refusal) = &outcome.end.refusal {
                    output::line(&if outcome.text.is_empty() { refusal.clone() } else { format!("…\n{refusal}") })?;
                } else {
                    output::line("")?;
                }
                output::line(&format!("{}\n", outcome.summary()))?;
            }
            ask::failure(&outcome)?;
            if !turn.expect.met_by(outcome.end.reason) {
                unmet.push(format!("{:?} ended with {}", turn.user, outcome.end.reason.name()));
            }
            let mut report = outcome.json();
            if let Some(object) = report.as_object_mut() {
                object.insert("prompt".to_owned(), turn.user.clone().into());
            }
            reports.push(report);
        }
    }
    if args.json {
        output::json(&serde_json::json!({ "kernels": info.kernels, "threads": info.threads, "requests": reports }))?;
    }
    if unmet.is_empty() {
        Ok(())
    } else {
        Err(Error::state(format!("the demo did not go as written: {}", unmet.join("; "))))
    }
}
