//! The guard from outside: disguises, windows, the stream under every cutting, failures at every call.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "guard/disguise.rs"]
mod disguise;
#[path = "guard/failures.rs"]
mod failures;
#[path = "guard/input.rs"]
mod input;
#[path = "guard/llm.rs"]
mod llm;
#[path = "guard/pace.rs"]
mod pace;
#[path = "guard/policy.rs"]
mod policy;
#[path = "guard/stream.rs"]
mod stream;

use std::path::PathBuf;
use std::sync::Arc;

use palisade::CancelFlag;
use palisade::guard::{Guard, GuardOptions, InputContext, Judgement, OutputContext, Step, Verdict};

/// The folder of the tiny classifier, which `make_classifier.py` there writes.
fn tiny_classifier() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/guard")
}

/// A guard with the tiny classifier, the shipped rules, and `policy` after the head of a policy file.
fn guard(policy: &str) -> Guard {
    open(policy).unwrap()
}

fn open(policy: &str) -> palisade::Result<Guard> {
    let head = "version = 1\nname = \"test\"\nrefusal.text = \"No.\"\n\
                [default]\ninput = { action = \"block\" }\noutput = { action = \"block\" }\n";
    let options = GuardOptions {
        policy_text: Some(format!("{head}{policy}")),
        classifier: Some(tiny_classifier()),
        ..GuardOptions::default()
    };
    Guard::open(&options)
}

fn judge(guard: &Guard, text: &str) -> Judgement {
    guard.judge_input(&InputContext { text, ..InputContext::default() }, &CancelFlag::new())
}

/// What a stream let out, and how it ended.
struct Streamed {
    text: String,
    verdicts: Vec<Verdict>,
    blocked: Option<Judgement>,
    retract_from: Option<usize>,
}

/// Pushes the pieces, ends the stream, and checks what holds for every stream.
fn stream<'a>(guard: &Arc<Guard>, pieces: impl IntoIterator<Item = &'a str>) -> Streamed {
    let mut out = Streamed { text: String::new(), verdicts: Vec::new(), blocked: None, retract_from: None };
    let mut place = 0;
    let mut take = |step: Step| {
        assert!(out.blocked.is_none() || (step.cleared.is_empty() && step.blocked.is_none()), "released after a block");
        for cleared in step.cleared {
            assert_eq!(cleared.place().start, place, "a gap in what was released");
            place = cleared.place().end;
            out.text.push_str(cleared.as_str());
        }
        out.verdicts.extend(step.verdicts);
        out.blocked = out.blocked.take().or(step.blocked);
        out.retract_from = out.retract_from.or(step.retract_from);
    };
    let mut stream = guard.output_stream(OutputContext::default());
    for piece in pieces {
        take(stream.push(piece));
    }
    take(stream.finish());
    out
}

/// Pseudo-random numbers for tests, the same on every machine (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(n.max(1)).unwrap()).unwrap()
    }
}

/// `text` in pieces of one to `most` characters.
fn cut<'a>(text: &'a str, random: &mut Random, most: usize) -> Vec<&'a str> {
    let mut rest = text;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let n = 1 + random.below(most);
        let at = rest.char_indices().nth(n).map_or(rest.len(), |(i, _)| i);
        let (piece, after) = rest.split_at(at);
        out.push(piece);
        rest = after;
    }
    out
}
