//! One request in a terminal or a script: what every command that generates shares.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use palisade::audit::AuditOptions;
use palisade::guard::{Cleared, StreamMode, Verdict};
use palisade::license::{Acceptance, Status};
use palisade::sampler::SamplerOptions;
use palisade::session::{End, Engine, EngineOptions, Event, Request, Session};
use palisade::{Error, Result};

use crate::license::state_dir;
use crate::{load, output};

/// Flags of every command that opens an engine.
#[derive(clap::Args, Clone)]
pub struct EngineFlags {
    #[command(flatten)]
    pub guard: load::GuardFlags,
    /// Accept the model's licence as it is shown; for scripts.
    #[arg(long)]
    pub accept_license: bool,
    /// Who accepts the licence.
    #[arg(long, default_value = "user of the palisade command")]
    pub party: String,
    /// Where licence receipts are kept.
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// Append verdicts and requests to this hash-chained log.
    #[arg(long)]
    pub audit: Option<PathBuf>,
    /// Language tag of the reader, such as de or pt-BR: refusals are worded in it where the policy can.
    #[arg(long, default_value = "")]
    pub locale: String,
    #[command(flatten)]
    pub load: load::Flags,
}

/// Flags of sampling.
#[derive(clap::Args, Clone)]
pub struct SamplingFlags {
    /// Tokens of an answer.
    #[arg(long, default_value_t = 512)]
    pub max_tokens: u32,
    /// 0 takes the best token always.
    #[arg(long, default_value_t = 0.6)]
    pub temperature: f32,
    /// Keep the k best tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub top_k: u32,
    /// Keep the best tokens that together have this probability.
    #[arg(long, default_value_t = 0.9)]
    pub top_p: f32,
    /// Keep tokens with this share of the best one's probability.
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f32,
    /// Divide (or multiply) the logits of recent tokens; 1 does nothing.
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Taken off a token's logit for each recent appearance.
    #[arg(long, default_value_t = 0.0)]
    pub frequency_penalty: f32,
    /// Taken off a token's logit once it appeared recently.
    #[arg(long, default_value_t = 0.0)]
    pub presence_penalty: f32,
    /// Where the random sequence begins.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Text that ends an answer; may be given several times.
    #[arg(long)]
    pub stop: Vec<String>,
}

impl SamplingFlags {
    pub fn request(&self, text: String) -> Request {
        let sampling = SamplerOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
            ..SamplerOptions::default()
        };
        Request { text, max_tokens: self.max_tokens, sampling, stop: self.stop.clone(), time_unix: load::now() }
    }
}

/// Opens the engine with a progress bar and sees to its licence.
pub fn open(model: PathBuf, bytes: Option<&'static [u8]>, flags: &EngineFlags) -> Result<Arc<Engine>> {
    let options = EngineOptions {
        model,
        model_bytes: bytes,
        policy: flags.guard.policy.clone(),
        policy_key: flags.guard.policy_key.clone(),
        shadow_policy: flags.guard.shadow_policy.clone(),
        classifier: flags.guard.classifier.clone(),
        state_dir: state_dir(flags.state_dir.as_deref())?,
        audit: flags.audit.as_ref().map(|path| AuditOptions::new(path, load::now())),
        threads: flags.load.threads,
        memory_budget: flags.load.memory_budget,
        context: flags.load.context,
        prefill_batch: flags.load.prefill_batch,
        map_weights: flags.load.map,
        kernels: flags.load.kernels.clone(),
        precision: flags.load.precision(),
        kv: flags.load.kv(),
        time_unix: load::now(),
    };
    let bar = output::bar(0, "loading", true);
    let engine = Engine::open(&options, &mut |p| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        true
    });
    bar.finish_and_clear();
    let engine = engine?;
    for warning in &engine.info().warnings {
        eprintln!("palisade: warning: {warning}");
    }
    accept(&engine, flags)?;
    Ok(engine)
}

/// Shows the licence and asks, unless it was accepted before or the flag says so.
fn accept(engine: &Engine, flags: &EngineFlags) -> Result<()> {
    if let Status::Accepted(receipt) = engine.license_status()? {
        eprintln!("licence {} accepted by {}", receipt.license_id, receipt.party);
        return Ok(());
    }
    let license = engine.license();
    eprintln!("{}\n", license.text.trim_end());
    for notice in license.notices() {
        eprintln!("{notice}");
    }
    eprintln!("licence {} of {}, SHA-256 {}", license.id, license.model, license.sha256);
    if !flags.accept_license && !confirmed()? {
        return Err(Error::license(format!(
            "the licence {} was not accepted; --accept-license accepts it in scripts",
            license.id
        )));
    }
    let acceptance = Acceptance { sha256: license.sha256.clone(), party: flags.party.clone(), time_unix: load::now() };
    engine.accept_license(&acceptance)?;
    eprintln!("accepted by {}\n", flags.party);
    Ok(())
}

fn confirmed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Do you accept this licence? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|e| Error::io("standard input", &e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// Everything that came of one request.
pub struct Outcome {
    pub text: String,
    pub verdicts: Vec<Verdict>,
    pub end: End,
}

/// Runs a request to its end; cleared text goes to stdout as it comes when `stream` is set. What leaves through a pipe cannot be
/// taken back, so there it leaves after the last judgement.
pub fn ask(session: &Arc<Session>, request: Request, stream: bool) -> Result<Outcome> {
    let mut generation = session.start(request)?;
    let (mut pieces, mut verdicts) = (Vec::new(), Vec::new());
    let live = stream && io::stdout().is_terminal();
    let bar = output::bar(0, "reading", false);
    while let Some(event) = generation.next_event() {
        match event {
            Event::Started { prompt_tokens } => bar.set_length(prompt_tokens as u64),
            Event::Progress { done, total } if done < total => bar.set_position(done as u64),
            Event::Progress { .. } => bar.finish_and_clear(),
            Event::Text(cleared) => {
                if live {
                    show(cleared.as_str())?;
                }
                pieces.push(cleared);
            }
            Event::Verdict(verdict) => verdicts.push(verdict),
            Event::End(end) => {
                bar.finish_and_clear();
                // A piece that reaches into what is taken back goes as a whole: masks have changed its length.
                let stays = |c: &&Cleared| end.retract_from.is_none_or(|from| c.place().end <= from);
                let text: String = pieces.iter().take_while(stays).map(Cleared::as_str).collect();
                if stream && !live {
                    show(&text)?;
                } else if live && end.retract_from.is_some() {
                    eprint!("\n[the answer above was judged as a whole and is withdrawn; do not use it]");
                }
                return Ok(Outcome { text, verdicts, end });
            }
        }
    }
    Err(Error::internal("a request ended without its END event"))
}

fn show(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Error::io("standard output", &e))
}

impl Outcome {
    /// One JSON object.
    pub fn json(&self) -> serde_json::Value {
        let (end, stats) = (&self.end, &self.end.stats);
        let verdict = |v: &Verdict| {
            serde_json::json!({
                "action": v.action.as_str(), "side": v.side.as_str(), "category": v.category_id(), "rule": v.rule.as_deref(),
                "score": v.score, "threshold": v.threshold, "stage": v.stage.as_str(),
            })
        };
        serde_json::json!({
            "text": self.text,
            "end": end.reason.name(),
            "category": end.verdict.as_ref().and_then(Verdict::category_id),
            "retract_from": end.retract_from,
            "stage": end.verdict.as_ref().map(|v| v.stage.as_str()),
            "refusal": end.refusal,
            "error": end.error.as_ref().map(|e| e.message()),
            "verdicts": self.verdicts.iter().map(verdict).collect::<Vec<_>>(),
            "prompt_tokens": stats.prompt_tokens,
            "generated_tokens": stats.generated_tokens,
            "prefill_tps": stats.prefill_tps(),
            "decode_tps": stats.decode_tps(),
            "guard_ms": stats.guard_ms,
            "first_text_ms": stats.first_text_ms,
            "longest_hold_ms": stats.longest_hold_ms,
            "hold_bound_ms": stats.hold_bound_ms,
            "total_ms": stats.total_ms,
        })
    }

    /// One line for a terminal: how it ended, why, and what it took.
    pub fn summary(&self) -> String {
        let (end, s) = (&self.end, &self.end.stats);
        let why = end.verdict.as_ref().map(|v| {
            let (id, name) = (v.category_id().unwrap_or("policy"), v.category.map_or("policy", |c| c.name()));
            format!(" by the {} guard: category {id} ({name}), stage {}", v.side, v.stage)
        });
        let mut line = format!("[{}{}", end.reason.name(), why.unwrap_or_default());
        if s.prompt_tokens > 0 {
            line.push_str(&format!(
                "; prefill {} tokens at {:.0}/s, decode {} at {:.0}/s",
                s.prompt_tokens,
                s.prefill_tps(),
                s.generated_tokens,
                s.decode_tps()
            ));
        }
        line.push_str(&format!("; guard {:.0} ms", s.guard_ms));
        if s.first_text_ms > 0.0 {
            line.push_str(&format!(", first text {:.0} ms", s.first_text_ms));
        }
        if s.hold_bound_ms > 0.0 {
            line.push_str(&format!(", held {:.0} ms of at most {:.0}", s.longest_hold_ms, s.hold_bound_ms));
        }
        line.push_str(&format!(", total {:.0} ms]", s.total_ms));
        line
    }
}

/// How the policy holds answers back, in a sentence for the start of a session.
pub fn hold_back(engine: &Engine) -> String {
    let stream = engine.guard().policy().stream();
    match (stream.mode, stream.max_hold_ms) {
        (StreamMode::Whole, _) => "answers are shown after all of them was judged".to_owned(),
        (StreamMode::Sentence, 0) => "answers are shown sentence by sentence, each after it was judged".to_owned(),
        (StreamMode::Sentence, ms) => {
            format!(
                "answers are shown as they are judged, held back at most {:.1} s where the model is fast enough",
                ms as f64 / 1e3
            )
        }
    }
}

/// The error of a request that failed, so that the exit code tells.
pub fn failure(outcome: &Outcome) -> Result<()> {
    outcome.end.error.clone().map_or(Ok(()), Err)
}
