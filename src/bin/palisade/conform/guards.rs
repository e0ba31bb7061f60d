//! Rules about guards that cannot judge, and about what a wrapper must not do then.

use palisade::guard::PolicyBundle;
use palisade::signature::SecretKey;

use super::host::{Ask, Host, Outcome, failed, quote};
use super::shown::{LATE, long_question};
use super::stage::{ATTACK, REFUSAL, Stage, policy};

/// The library's codes for what these rules provoke.
const LICENSE: i32 = 200;
const LIMIT: i32 = 300;
const GUARD_TIMEOUT: i32 = 401;

pub fn failure_is_failure(stage: &Stage) -> Outcome {
    let long = "Where is the garden? ".repeat(100);
    let cases = [
        ("a guard that is out of time", LATE, long_question(), GUARD_TIMEOUT),
        ("a question longer than the policy judges", "[limits]\ntext_bytes = 1024\n", long, LIMIT),
        (
            "an answer longer than the policy judges",
            "[stream]\nmode = \"whole\"\n[limits]\ntext_bytes = 1024\n",
            stage.question("long")?,
            LIMIT,
        ),
    ];
    for (what, policy, question, status) in cases {
        let mut host = stage.ready("failure.toml", policy)?;
        let told = stage.ask(&mut host, &Ask::new(question))?;
        if !told.shown().is_empty() {
            return failed(format!("{what}: {} was shown", quote(&told.shown())));
        }
        let end = told.end()?;
        if end.reason != "error" || end.status != status || told.status != status {
            return failed(format!(
                "{what} has to end as an error with status {status}; it ended as {} with {}, and the call came to {}",
                end.reason, end.status, told.status
            ));
        }
        host.quit()?;
    }
    Ok(())
}

pub fn no_way_around(stage: &Stage) -> Outcome {
    let good = stage.policy("around.toml", "")?;
    let weak = stage.policy("weak.toml", "[category.S9]\noutput = { action = \"allow\" }\n")?;
    let damaged = stage.dir("damaged")?;
    stage.file("damaged/model.onnx", b"no model")?;
    stage.file("damaged/tokenizer.json", b"{}")?;
    let hashes = "version = \"1\"\nlabels = [\"S1\"]\nmax_tokens = 128\nstride = 80\ninput_names = [\"input_ids\", \"attention_mask\"]\n\
        output_name = \"logits\"\npad_id = 0\nmodel_sha256 = \"00\"\ntokenizer_sha256 = \"00\"\n[thresholds]\nS1 = 0.5\n";
    stage.file("damaged/classifier.toml", hashes.as_bytes())?;
    let nowhere = stage.path("nowhere");
    let cases = [
        ("a damaged classifier", vec![("policy", good.as_path()), ("classifier", damaged.as_path())]),
        ("a classifier that is not there", vec![("policy", good.as_path()), ("classifier", nowhere.as_path())]),
        ("a policy that is not there", vec![("policy", nowhere.as_path())]),
        ("a policy weaker than any may be", vec![("policy", weak.as_path())]),
    ];
    for (what, opening) in cases {
        let mut host = stage.host()?;
        host.must_not("open", &stage.opening(&opening), what)?;
        // Whatever the wrapper says to these, no answer may come of them.
        let _ = host.call("accept", &[])?;
        let _ = host.call("session", &[])?;
        let told = host.ask(&Ask::new(stage.question("plain")?))?;
        if told.status == 0 || !told.shown().is_empty() {
            return failed(format!("{what}: a question was answered all the same: {}", quote(&told.shown())));
        }
        host.quit()?;
    }
    let mut host = stage.ready("late.toml", LATE)?;
    host.must("session", &[])?;
    for n in 1..=2 {
        // The name of a text in it: with a guard out of the way the model would recite it.
        let told = host.ask(&Ask::new(long_question() + &stage.question("plain")?))?;
        if !told.shown().is_empty() || told.status == 0 {
            return failed(format!("question {n} to a guard that is out of time was answered"));
        }
    }
    host.quit()
}

pub fn license_first(stage: &Stage) -> Outcome {
    let policy = stage.policy("license.toml", "")?;
    let question = stage.question("plain")?;
    let mut host = stage.host()?;
    host.must("open", &stage.opening(&[("policy", &policy)]))?;
    let told = stage.ask(&mut host, &Ask::new(&question))?;
    if told.status != LICENSE || !told.lines.is_empty() {
        return failed(format!(
            "a question before the licence was accepted has to be refused with {LICENSE}; it came to {} with {} events",
            told.status,
            told.lines.len()
        ));
    }
    host.must("accept", &[])?;
    stage.ask(&mut host, &Ask::new(&question))?.must_end("stop")?;
    host.quit()
}

pub fn pause(stage: &Stage) -> Outcome {
    let mut host = stage.ready("pause.toml", "[pause]\nblocks = 2\nwithin_s = 60\nfor_s = 2\n")?;
    let question = stage.question("plain")?;
    host.must("session", &[])?;
    for _ in 0..2 {
        host.ask(&Ask::new(ATTACK))?.must_end("blocked_input")?;
    }
    let told = host.ask(&Ask::new(&question))?;
    if !told.shown().is_empty() {
        return failed("a session that has to pause was answered");
    }
    told.must_end("paused")?;
    if told.end()?.text != REFUSAL.as_bytes() {
        return failed(format!("while pausing the end user reads {}", quote(&told.end()?.text)));
    }
    std::thread::sleep(std::time::Duration::from_millis(2100));
    host.ask(&Ask::new(&question))?.must_end("stop")?;
    host.quit()
}

pub fn signed_policy(stage: &Stage) -> Outcome {
    // A key for this run alone: it signs nothing but the suite's own policies.
    let secret = SecretKey::from_bytes([0x5A; 32]);
    let state = stage.dir("signed-state")?;
    let plain = stage.policy("unsigned.toml", "")?;
    let bundle = |n: u64| -> Outcome<_> {
        let text = PolicyBundle::sign(&policy(""), n, &secret)?;
        Ok(stage.file(&format!("{n}.bundle"), text.as_bytes())?)
    };
    let (old, new) = (bundle(1)?, bundle(2)?);
    let torn =
        stage.file("torn.bundle", PolicyBundle::sign(&policy(""), 3, &secret)?.replace("desk", "door").as_bytes())?;
    let opening = |policy: &std::path::Path| {
        let mut pairs = stage.opening(&[("policy", policy), ("state", &state)]);
        pairs.push(("key", secret.public().to_hex()));
        pairs
    };
    let mut host = stage.host()?;
    host.must_not("open", &opening(&plain), "with a key, a policy that nobody signed")?;
    host.must_not("open", &opening(&torn), "with a key, a bundle that was changed after it was signed")?;
    host.must("open", &opening(&new))?;
    host.must_not("open", &opening(&old), "an older bundle than the one before")?;
    unanswered(stage, &mut host)?;
    host.must("open", &opening(&new))?;
    host.quit()
}

/// After an opening that was refused there is no engine to ask.
fn unanswered(stage: &Stage, host: &mut Host) -> Outcome {
    let _ = host.call("accept", &[])?;
    let _ = host.call("session", &[])?;
    let told = host.ask(&Ask::new(stage.question("plain")?))?;
    if told.status == 0 || !told.shown().is_empty() {
        return failed("a question was answered after the opening had been refused");
    }
    Ok(())
}
