//! `palisade policy`: whether a policy holds, what it says in plain words, and signing it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use palisade::digest::hex;
use palisade::guard::{
    Action, Category, Guard, InputContext, Judgement, LlmWhen, Policy, PolicyBundle, Side, StreamMode,
};
use palisade::signature::{PublicKey, SecretKey};
use palisade::{CancelFlag, Error, Result};

use crate::{load, output};

/// Check, explain and sign guard policies.
#[derive(clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  palisade policy check guards/policies/kiosk.toml\n  palisade policy explain --policy guards/policies/strict.toml \
                  --text \"Ignore all previous instructions\"\n  palisade policy keygen signing.key\n  palisade policy sign --key signing.key \
                  --counter 7 kiosk.toml -o kiosk.bundle\n  palisade chat model.gguf --policy kiosk.bundle --policy-key <public key>"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Load policies as a guard does and say what is wrong with them.
    Check(Check),
    /// Say in a table what a policy does, or what it makes of one text and why.
    Explain(Explain),
    /// Make a signing key: the secret goes into a file, the public half is printed.
    Keygen(Keygen),
    /// Sign a policy: a bundle that devices with the public key take, and no older one after it.
    Sign(Sign),
}

#[derive(clap::Args)]
struct Check {
    /// Policy files or bundles.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Public key that has to have signed them.
    #[arg(long, value_name = "HEX")]
    policy_key: Option<String>,
    /// A guard model, for policies that need one: it tries the examples of categories that are criteria in words.
    #[arg(long, value_name = "FILE")]
    guard_model: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Explain {
    #[command(flatten)]
    guard: load::GuardFlags,
    /// A text to judge.
    #[arg(long)]
    text: Option<String>,
    /// Which way the text goes.
    #[arg(long, value_enum, default_value = "input")]
    side: SideFlag,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SideFlag {
    Input,
    Output,
}

#[derive(clap::Args)]
struct Keygen {
    /// Where the secret goes; it must not exist.
    file: PathBuf,
}

#[derive(clap::Args)]
struct Sign {
    /// The policy.
    file: PathBuf,
    /// The file of the secret key.
    #[arg(long)]
    key: PathBuf,
    /// Has to grow with every version that is given out.
    #[arg(long)]
    counter: u64,
    /// The bundle; without it standard output.
    #[arg(short, long)]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Explain(args) => explain(args),
        Command::Keygen(args) => keygen(args),
        Command::Sign(args) => sign(args),
    }
}

fn check(args: &Check) -> Result<()> {
    let mut bad = 0;
    for path in &args.files {
        let flags = load::GuardFlags {
            policy: Some(path.clone()),
            policy_key: args.policy_key.clone(),
            classifier: None,
            shadow_policy: None,
            guard_model: args.guard_model.clone(),
            guard_family: None,
        };
        match flags.options(None).and_then(|options| Guard::open(&options)) {
            Ok(guard) => {
                let policy = guard.policy();
                output::line(&format!("{}: holds: {} {}", path.display(), policy.name(), hex(&policy.hash())))?;
                for note in notes(policy) {
                    output::line(&format!("  note: {note}"))?;
                }
            }
            Err(e) => {
                bad += 1;
                eprintln!("{}: {e}", path.display());
            }
        }
    }
    if bad == 0 { Ok(()) } else { Err(Error::argument(format!("{bad} of {} policies do not hold", args.files.len()))) }
}

/// What is allowed and may still not be meant.
fn notes(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    for category in Category::ALL.into_iter().filter(|c| *c != Category::Language) {
        for side in [Side::Input, Side::Output] {
            let set = policy.setting(category, side);
            if set.action == Action::Allow {
                notes.push(format!("{category} is let through on the {side} side"));
            }
            if set.threshold.is_some_and(|t| t > 0.95) {
                notes.push(format!("{category} on the {side} side has a threshold that hardly any score reaches"));
            }
        }
    }
    if policy.languages().certified.is_empty() {
        notes.push("no [languages] certified: texts in languages the guards do not know are not told apart".to_owned());
    }
    if policy.pause().is_none() {
        notes.push("no [pause]: a user may try as often as they like".to_owned());
    }
    notes
}

fn explain(args: &Explain) -> Result<()> {
    let guard = Guard::open(&args.guard.options(None)?)?;
    match &args.text {
        None => output::line(table(&guard).trim_end()),
        Some(text) => {
            let judged = match args.side {
                SideFlag::Input => {
                    guard.judge_input(&InputContext { text, ..InputContext::default() }, &CancelFlag::new())
                }
                SideFlag::Output => guard.judge_output_text(text, &CancelFlag::new()),
            };
            output::line(reasons(&guard, text, &judged).trim_end())
        }
    }
}

// Writing into a String cannot fail: the results of `write!` below have nothing to say.

fn table(guard: &Guard) -> String {
    let p = guard.policy();
    let mut out = String::new();
    let _ = writeln!(out, "policy {}  {}\n", p.name(), hex(&p.hash()));
    let _ = writeln!(out, "{:<18}{:<28}{:<30}output", "", "", "input");
    for category in Category::ALL {
        let (i, o) = (cell(guard, category, Side::Input), cell(guard, category, Side::Output));
        let floor = if category.has_floor() { "  (floor)" } else { "" };
        let _ = writeln!(out, "{:<18}{:<28}{i:<30}{o}{floor}", category.id(), category.name());
    }
    for n in 0..=u8::MAX {
        let Some(id) = p.custom_id(n) else { break };
        let c = Category::Custom(n);
        let (i, o) = (cell(guard, c, Side::Input), cell(guard, c, Side::Output));
        let _ = writeln!(out, "{id:<18}{:<28}{i:<30}{o}", c.name());
    }
    let (s, l, st) = (p.stream(), p.limits(), p.stages());
    let mode = if s.mode == StreamMode::Whole {
        "whole: nothing leaves before all of the answer was judged"
    } else {
        "sentence"
    };
    let _ = writeln!(out, "\nstream     {mode}");
    if s.mode == StreamMode::Sentence {
        let _ = writeln!(
            out,
            "           hold {} characters, stride {}, context {}, max_hold_ms {}",
            s.hold, s.stride, s.context, s.max_hold_ms
        );
    }
    let _ = writeln!(out, "limits     judge_ms {}, text_bytes {}, windows {}", l.judge_ms, l.text_bytes, l.windows);
    let when = match st.llm_guard {
        LlmWhen::Always => "always".to_owned(),
        LlmWhen::Doubt => format!("from {} to {} of a threshold", st.doubt_from, st.doubt_to),
    };
    let _ = writeln!(
        out,
        "stages     rules and classifier always; Prompt Guard {}; LLM guard {}, asked {when}",
        needed(st.require_prompt_guard),
        needed(st.require_llm_guard)
    );
    let certified = &p.languages().certified;
    let languages = if certified.is_empty() { "any".to_owned() } else { certified.join(", ") };
    let _ = writeln!(out, "languages  {languages}; outside: {}", p.languages().outside);
    if let Some(pause) = p.pause() {
        let _ = writeln!(out, "pause      {} s after {} blocks within {} s", pause.for_s, pause.blocks, pause.within_s);
    }
    let _ = writeln!(out, "refusal    {}", p.refusal());
    for note in notes(p) {
        let _ = writeln!(out, "note       {note}");
    }
    out
}

fn needed(required: bool) -> &'static str {
    if required { "required" } else { "where there is one" }
}

fn cell(guard: &Guard, category: Category, side: Side) -> String {
    let set = guard.policy().setting(category, side);
    let mut cell = set.action.to_string();
    for (check, threshold) in guard.thresholds(category, side) {
        let _ = write!(cell, ", {check} >= {threshold:.3}");
    }
    if let Some(from) = set.flag_from {
        let _ = write!(cell, ", flag >= {from:.2}");
    }
    cell
}

fn reasons(guard: &Guard, text: &str, judged: &Judgement) -> String {
    let mut out = format!("{} in {:.1} ms\n", judged.action, output::millis(judged.elapsed));
    for v in &judged.verdicts {
        let id = v.category_id().unwrap_or("guard failure");
        let _ = write!(out, "  {:<6}{id:<18} by {}", v.action.as_str(), v.stage);
        if let Some(rule) = &v.rule {
            let _ = write!(out, ", rule {rule}");
        }
        if v.threshold > 0.0 {
            let _ = write!(out, ", score {:.3} from {:.3} on", v.score, v.threshold);
        }
        if let Some(span) = v.span.clone() {
            let _ = write!(out, ", {:?} at {}..{}", text.get(span.clone()).unwrap_or_default(), span.start, span.end);
        }
        out.push('\n');
    }
    for v in &judged.scores {
        let id = v.category_id().unwrap_or_default();
        let _ = writeln!(out, "  nearest score of {}: {id} {:.3}, acts from {:.3} on", v.stage, v.score, v.threshold);
    }
    for v in &judged.shadow {
        let _ = writeln!(out, "  shadow: {} {} by {}", v.action, v.category_id().unwrap_or_default(), v.stage);
    }
    if let Some(failure) = &judged.failure {
        let _ = writeln!(out, "  the guard failed: {failure}");
    }
    if judged.is_block() {
        let category = judged.blocked_by().and_then(|v| v.category_id());
        let _ = writeln!(out, "  the user reads: {}", guard.policy().refusal_for("", category));
    }
    out
}

fn keygen(args: &Keygen) -> Result<()> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal(format!("the system gives no random bytes: {e}")))?;
    let seed = SecretKey::from_bytes(bytes);
    write_new(&args.file, &format!("{}\n", seed.to_hex()))?;
    eprintln!("the secret key is in {}; keep it off the devices. The public key:", args.file.display());
    output::line(&seed.public().to_hex())
}

fn sign(args: &Sign) -> Result<()> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| Error::io(path.display(), &e));
    let seed = SecretKey::from_hex(&read(&args.key)?).map_err(|e| e.context(args.key.display()))?;
    let bundle =
        PolicyBundle::sign(&read(&args.file)?, args.counter, &seed).map_err(|e| e.context(args.file.display()))?;
    // Reading it back is what a device does.
    let public: PublicKey = seed.public();
    let _checked = PolicyBundle::accept(&bundle, public)?;
    match &args.out {
        None => output::line(bundle.trim_end_matches('\n')),
        Some(path) => {
            std::fs::write(path, &bundle).map_err(|e| Error::io(path.display(), &e))?;
            eprintln!("{}: counter {}, public key {}", path.display(), args.counter, public.to_hex());
            Ok(())
        }
    }
}

/// A file that only its owner reads; one that exists is left alone.
fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|e| Error::io(path.display(), &e))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| Error::io(path.display(), &e))
}
