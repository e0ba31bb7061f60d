//! `palisade conform`: whether a host application's own wrapper of the C ABI keeps the promises to its end users.

mod book;
mod ends;
mod guards;
mod host;
mod logs;
mod model;
mod shown;
mod stage;
mod words;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use palisade::{Error, Result};

use crate::output;
use host::{Outcome, Start, Stop};
use stage::Stage;

/// Runs a program that stands on your wrapper through everything that a wrapper can get wrong, and says rule by rule whether
/// it holds. The program speaks a few lines on standard input and output; bindings/README.md has them.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade conform --driver ./my-wrapper\n  palisade conform --driver ./my-wrapper --rule W07 --rule \
                       end-once\n  palisade conform --driver python3 --json -- my_wrapper.py\n  palisade conform --list"
)]
pub struct Args {
    /// The program.
    #[arg(long, required_unless_present = "list")]
    driver: Option<PathBuf>,
    /// Arguments of the program.
    #[arg(last = true)]
    args: Vec<String>,
    /// Only this rule, by number or name; may be said several times.
    #[arg(long)]
    rule: Vec<String>,
    /// A fifth of the cuttings: for every build. All of them: before a release.
    #[arg(long)]
    short: bool,
    /// Seconds that one line of the program may take.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where the suite may put its model and policies while it runs; without it the system's folder for such files.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Folder of a classifier that the program is told to open in the place of the embedded one.
    #[arg(long)]
    classifier: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Say which rules there are.
    #[arg(long)]
    list: bool,
}

struct Rule {
    id: &'static str,
    name: &'static str,
    promise: &'static str,
    run: fn(&Stage) -> Outcome,
}

const fn rule(id: &'static str, name: &'static str, promise: &'static str, run: fn(&Stage) -> Outcome) -> Rule {
    Rule { id, name, promise, run }
}

const RULES: [Rule; 20] = [
    rule(
        "W01",
        "whole-answer",
        "an answer that the guards let through is shown whole, byte for byte",
        shown::whole_answer,
    ),
    rule(
        "W02",
        "cut-canary",
        "no byte of a violating sentence is shown, wherever the model's text is cut",
        shown::cut_canary,
    ),
    rule("W03", "disguised-canary", "nor when its letters are disguised", shown::disguised_canary),
    rule("W04", "end-last", "nothing comes after the end of a request", ends::end_last),
    rule("W05", "end-once", "a request that began ends exactly once, however it ends", ends::end_once),
    rule(
        "W06",
        "nothing-after-block",
        "once an answer is blocked nothing more of it is shown",
        shown::nothing_after_block,
    ),
    rule("W07", "take-back", "what has to be taken back leaves the screen, counted in bytes", shown::take_back),
    rule("W08", "whole-characters", "no piece that is shown holds half a character", shown::whole_characters),
    rule(
        "W09",
        "one-refusal",
        "a refused person reads the policy's words and nothing of check, category or rule",
        shown::one_refusal,
    ),
    rule(
        "W10",
        "failure-is-failure",
        "a guard that cannot judge is an error with its status, never an answer",
        guards::failure_is_failure,
    ),
    rule(
        "W11",
        "no-way-around",
        "without its guards there is no engine and no answer, also at the second try",
        guards::no_way_around,
    ),
    rule("W12", "license-first", "nothing is answered before the licence was accepted", guards::license_first),
    rule(
        "W13",
        "misuse-answered",
        "busy, given up and begun anew: every misuse has an answer and none a crash",
        ends::misuse_answered,
    ),
    rule(
        "W14",
        "cancel-anywhere",
        "cancelling at any event ends the request once and leaves the session usable",
        ends::cancel_anywhere,
    ),
    rule("W15", "free-anywhere", "giving up a session at any event ends its request once", ends::free_anywhere),
    rule("W16", "locale", "refusals are in the language of the end user where the policy has it", shown::locale),
    rule("W17", "pause", "a session that was refused too often waits, and then goes on", guards::pause),
    rule(
        "W18",
        "signed-policy",
        "with a key only signed policies are taken, and no older one after a newer",
        guards::signed_policy,
    ),
    rule(
        "W19",
        "audit-survives",
        "the audit log verifies after the program was killed, and holds nobody's words",
        logs::audit_survives,
    ),
    rule("W20", "appeal", "one appeal for a refusal, and it is in the log", logs::appeal),
];

pub fn run(args: &Args) -> Result<()> {
    if args.list {
        return RULES.iter().try_for_each(|r| output::line(&format!("{} {:<20} {}", r.id, r.name, r.promise)));
    }
    let rules = chosen(&args.rule)?;
    let program = args.driver.clone().ok_or_else(|| Error::argument("--driver names the program"))?;
    let start = Start { program, args: args.args.clone(), patience: Duration::from_secs(args.patience.max(1)) };
    let under = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let stage = Stage::new(start, args.short, &under, args.classifier.clone())?;
    let mut report = Report::default();
    for rule in &rules {
        let begun = Instant::now();
        let outcome = (rule.run)(&stage);
        report.add(rule, outcome, begun.elapsed(), args.json)?;
    }
    report.close(args.json, rules.len())
}

fn chosen(named: &[String]) -> Result<Vec<&'static Rule>> {
    if let Some(unknown) = named.iter().find(|n| !RULES.iter().any(|r| r.is(n))) {
        return Err(Error::argument(format!(
            "there is no rule {unknown:?}; palisade conform --list says which there are"
        )));
    }
    Ok(RULES.iter().filter(|r| named.is_empty() || named.iter().any(|n| r.is(n))).collect())
}

impl Rule {
    fn is(&self, named: &str) -> bool {
        self.id.eq_ignore_ascii_case(named) || self.name.eq_ignore_ascii_case(named)
    }
}

/// How the rules came out.
#[derive(Default)]
struct Report {
    rules: Vec<serde_json::Value>,
    failed: usize,
    not_offered: usize,
}

impl Report {
    fn add(&mut self, rule: &Rule, outcome: Outcome, took: Duration, json: bool) -> Result<()> {
        let (result, what) = match outcome {
            Ok(()) => ("pass", String::new()),
            Err(Stop::Failed(what)) => ("fail", what),
            Err(Stop::NotOffered(what)) => ("not offered", what),
            Err(Stop::Ours(error)) => return Err(error.context(format!("rule {}", rule.id))),
        };
        self.failed += usize::from(result == "fail");
        self.not_offered += usize::from(result == "not offered");
        if json {
            self.rules.push(serde_json::json!({
                "id": rule.id, "name": rule.name, "promise": rule.promise, "result": result, "what": what,
                "ms": output::millis(took),
            }));
            return Ok(());
        }
        output::line(&format!("{:<12}{} {:<20} {}", result, rule.id, rule.name, rule.promise))?;
        if what.is_empty() { Ok(()) } else { output::line(&format!("            {what}")) }
    }

    fn close(self, json: bool, all: usize) -> Result<()> {
        let Self { rules, failed, not_offered } = self;
        if json {
            output::json(&serde_json::json!({ "rules": rules, "failed": failed, "not_offered": not_offered }))?;
        } else if not_offered > 0 {
            output::line(&format!(
                "{not_offered} of {all} rules were not tried: the wrapper does not offer what they need"
            ))?;
        }
        if failed == 0 { Ok(()) } else { Err(Error::state(format!("{failed} of {all} rules are broken"))) }
    }
}
