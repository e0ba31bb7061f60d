//! The guard model from outside: its licence, its place among the checks, and an engine that has one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use palisade::guard::{
    Check, CheckId, Control, Dialogue, Finding, Guard, GuardOptions, InputContext, JudgedText, LlmGuardOptions,
    OutputContext, Side,
};
use palisade::license::Acceptance;
use palisade::sampler::SamplerOptions;
use palisade::session::{Engine, EngineOptions, Event, Request, SessionOptions};
use palisade::{CancelFlag, Kind, Result};

use super::{judge, tiny_classifier};

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/guard-llm/guard3.gguf")
}

/// Little that a random model says reaches these thresholds.
const LENIENT: &str = "version = 1\nname = \"t\"\nrefusal.text = \"No.\"\n\
    [default]\ninput = { action = \"block\", threshold = 0.9 }\noutput = { action = \"block\", threshold = 0.9 }\n\
    [limits]\njudge_ms = 600000\n";

fn options(policy: &str) -> GuardOptions {
    GuardOptions {
        policy_text: Some(policy.to_owned()),
        classifier: Some(tiny_classifier()),
        llm_guard: Some(LlmGuardOptions::new(model())),
        ..GuardOptions::default()
    }
}

fn acceptance(sha256: &str) -> Acceptance {
    Acceptance { sha256: sha256.to_owned(), party: "tests".to_owned(), time_unix: 1 }
}

fn accept(guard: &Guard) {
    let sha256 = guard.license().unwrap().sha256.clone();
    guard.accept_license(&acceptance(&sha256)).unwrap();
}

#[test]
fn a_guard_model_without_its_licence_blocks_everything() {
    let guard = Guard::open(&options(LENIENT)).unwrap();
    let judged = judge(&guard, "When do you open?");
    assert!(judged.is_block());
    assert_eq!(judged.failure.unwrap().kind(), Kind::License);
    assert_eq!(guard.accept_license(&acceptance("00")).unwrap_err().kind(), Kind::License);
    accept(&guard);
    let judged = judge(&guard, "When do you open?");
    assert!(judged.failure.is_none(), "{:?}", judged.failure);
    assert!(judged.scores.iter().any(|v| v.stage == CheckId::LLM_GUARD), "{:?}", judged.scores);
    let without = Guard::open(&GuardOptions { llm_guard: None, ..options(LENIENT) }).unwrap();
    assert!(without.license().is_none());
    assert_eq!(without.accept_license(&acceptance("00")).unwrap_err().kind(), Kind::State);
}

#[test]
fn a_receipt_in_the_state_folder_opens_the_next_guard() {
    let dir = tempfile::tempdir().unwrap();
    let kept = GuardOptions { state_dir: Some(dir.path().to_owned()), ..options(LENIENT) };
    accept(&Guard::open(&kept).unwrap());
    let again = Guard::open(&kept).unwrap();
    assert!(again.license_status().unwrap().unwrap().is_accepted());
    assert!(judge(&again, "When do you open?").failure.is_none());
}

#[test]
fn a_policy_that_requires_a_guard_model_is_content_with_one() {
    let strict = format!("{LENIENT}[stages]\nrequire_llm_guard = true\n");
    let missing = Guard::open(&GuardOptions { llm_guard: None, ..options(&strict) }).unwrap_err();
    assert!(missing.message().contains("require_llm_guard"), "{missing}");
    Guard::open(&options(&strict)).unwrap();
}

#[test]
fn a_missing_or_foreign_file_is_no_guard() {
    for (file, kind) in [("none.gguf", Kind::Io), ("../logits/llama3-q4_0.gguf", Kind::Argument)] {
        let llm_guard = Some(LlmGuardOptions::new(model().with_file_name(file)));
        let error = Guard::open(&GuardOptions { llm_guard, ..options(LENIENT) }).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("guard model"), "{error}");
    }
}

#[test]
fn a_raised_flag_ends_the_models_judgement_too() {
    let guard = Guard::open(&options(LENIENT)).unwrap();
    accept(&guard);
    let cancel = CancelFlag::new();
    cancel.raise();
    let judged = guard.judge_input(&InputContext { text: "hello", ..InputContext::default() }, &cancel);
    assert_eq!(judged.failure.unwrap().kind(), Kind::Cancelled);
}

/// What each judgement was given: its side, the turns before, the part of the message before, the text.
type Note = (Side, Vec<String>, String, String);

#[derive(Default)]
struct Notes(Mutex<Vec<Note>>);

impl Check for Notes {
    fn id(&self) -> CheckId {
        CheckId("notes")
    }

    fn is_deep(&self) -> bool {
        true
    }

    fn judge(&self, text: &JudgedText<'_>, side: Side, control: &Control) -> Result<Vec<Finding>> {
        let turns = control.dialogue().turns().iter().map(|t| format!("{}: {}", t.side, t.text)).collect();
        self.0.lock().unwrap().push((side, turns, control.spoken().to_owned(), text.original().to_owned()));
        Ok(Vec::new())
    }
}

const ANSWER: &str = "The museum opens at nine in the morning. Tickets are sold at the desk on your left. The garden is open \
    until late in summer. Dogs stay outside, sadly, but there is water for them. Guided tours begin at ten and at two.";

#[test]
fn a_dear_check_is_given_the_conversation_and_the_answer_so_far() {
    let notes = Arc::new(Notes::default());
    let policy = "[stream]\nmode = \"sentence\"\ncontext = 40\n";
    let guard = Arc::new(super::guard(policy).with_checks([Arc::clone(&notes) as Arc<dyn Check>]));
    let recent = ["Good morning!"];
    let input = InputContext { text: "Is it open?", recent_user: &recent, ..InputContext::default() };
    let _ = guard.judge_input(&input, &CancelFlag::new());
    let mut dialogue = Dialogue::new();
    dialogue.push(Side::Input, "Is it open?");
    let mut stream = guard.output_stream(OutputContext { dialogue: Arc::new(dialogue), ..OutputContext::default() });
    for piece in ANSWER.split_inclusive(' ') {
        let _ = stream.push(piece);
    }
    let _ = stream.finish();
    let notes = notes.0.lock().unwrap();
    let (first, rest) = notes.split_first().unwrap();
    assert_eq!(first.0, Side::Input);
    assert_eq!((first.1.as_slice(), first.3.as_str()), (&["input: Good morning!".to_owned()][..], "Is it open?"));
    assert!(
        rest.len() > 3 && rest.iter().all(|n| n.0 == Side::Output),
        "the joined messages are not for the dear check"
    );
    let mut longest = 0;
    for (_, turns, spoken, text) in rest {
        assert_eq!(turns, &["input: Is it open?"]);
        let whole = format!("{spoken}{text}");
        assert!(ANSWER.starts_with(&whole), "{whole:?}");
        assert!(whole.len() >= longest);
        longest = whole.len();
    }
    assert_eq!(longest, ANSWER.len());
    assert!(rest.iter().any(|n| n.2.len() > 40));
}

#[test]
fn an_engine_asks_for_both_licences_and_answers_under_a_guard_model() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, LENIENT).unwrap();
    let opened = EngineOptions {
        policy: Some(policy),
        classifier: Some(tiny_classifier()),
        guard_model: Some(model()),
        threads: 2,
        ..EngineOptions::new(model().with_file_name("../logits/llama3-q8_0.gguf"))
    };
    let engine = Engine::open(&opened, &mut |_| true).unwrap();
    let session = engine.session(&SessionOptions::default()).unwrap();
    let ask = |text: &str| Request { max_tokens: 24, sampling: SamplerOptions::greedy(), ..Request::new(text) };
    let mut names = Vec::new();
    for _ in 0..2 {
        let error = session.start(ask("hello")).unwrap_err();
        assert_eq!(error.kind(), Kind::License);
        let (license, status) = engine.next_license().unwrap();
        assert!(!status.is_accepted() && error.message().contains(&license.sha256), "{error}");
        names.push(license.model.clone());
        engine.accept_license(&acceptance(&license.sha256)).unwrap();
    }
    assert!(names[1].contains("Guard") && !names[0].contains("Guard"), "{names:?}");
    assert!(engine.next_license().unwrap().1.is_accepted());
    for text in ["When do you open?", "And on Sundays?"] {
        let mut generation = session.start(ask(text)).unwrap();
        let end = loop {
            if let Event::End(end) = generation.next_event().unwrap() {
                break end;
            }
        };
        assert!(end.error.is_none(), "{:?}", end.error);
        assert!(end.stats.guard_ms > 0.0);
    }
    let small = EngineOptions { memory_budget: engine.guard().model_bytes(), ..opened };
    assert_eq!(Engine::open(&small, &mut |_| true).unwrap_err().kind(), Kind::Memory);
}
