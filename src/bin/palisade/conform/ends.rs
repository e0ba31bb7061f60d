//! Rules about how a request ends, and about stopping it anywhere.

use super::host::{Ask, Host, Outcome, Told, failed, quote};
use super::stage::{ATTACK, Stage};
use super::words::Line;

/// A request for every way to end, with the name of that end.
fn endings(stage: &Stage) -> Outcome<Vec<(&'static str, Ask)>> {
    let plain = stage.question("plain")?;
    Ok(vec![
        ("stop", Ask::new(&plain)),
        ("max_tokens", Ask { max: Some(2), ..Ask::new(&plain) }),
        ("cancelled", Ask { cancel: Some(2), ..Ask::new(&plain) }),
        ("blocked_input", Ask::new(ATTACK)),
        ("blocked_output", Ask::new(stage.question("cut")?)),
        // Longer than the policy of these rules judges.
        ("error", Ask::new("Where is the garden? ".repeat(100))),
    ])
}

const SHORT_TEXTS: &str = "[limits]\ntext_bytes = 1024\n";

pub fn end_last(stage: &Stage) -> Outcome {
    let mut host = stage.ready("last.toml", SHORT_TEXTS)?;
    for (name, ask) in endings(stage)? {
        nothing_after_end(name, &stage.ask(&mut host, &ask)?)?;
    }
    host.quit()
}

fn nothing_after_end(name: &str, told: &Told) -> Outcome {
    match told.after(|l| matches!(l, Line::End(_))).iter().find(|l| !matches!(l, Line::End(_))) {
        None => Ok(()),
        Some(Line::Text(text)) => failed(format!("{} was shown after the end ({name})", quote(text))),
        Some(line) => failed(format!("{line:?} came after the end ({name})")),
    }
}

pub fn end_once(stage: &Stage) -> Outcome {
    let mut host = stage.ready("once.toml", SHORT_TEXTS)?;
    for (name, ask) in endings(stage)? {
        let told = stage.ask(&mut host, &ask)?;
        let reasons: Vec<&str> = told.ends().map(|e| e.reason.as_str()).collect();
        if reasons != [name] {
            return failed(format!("expected the one end {name}, found {reasons:?}"));
        }
    }
    host.quit()
}

/// How the harmless answer goes when nobody stops it.
fn undisturbed(stage: &Stage, host: &mut Host) -> Outcome<(String, Told)> {
    let question = stage.question("plain")?;
    let told = stage.ask(host, &Ask::new(&question))?;
    told.must_end("stop")?;
    Ok((question, told))
}

/// What holds for a request that was stopped at some event.
fn stopped(told: &Told, whole: &Told, how: &str) -> Outcome<bool> {
    nothing_after_end(how, told)?;
    let end = told.end()?;
    if !["stop", "cancelled"].contains(&end.reason.as_str()) {
        return failed(format!("{how}: the end is {}", end.reason));
    }
    let screen = told.screen();
    if !whole.screen().starts_with(&screen) {
        return failed(format!("{how}: {} is no beginning of the answer", quote(&screen)));
    }
    Ok(end.reason == "cancelled")
}

pub fn cancel_anywhere(stage: &Stage) -> Outcome {
    let mut host = stage.ready("cancel.toml", "")?;
    let (question, whole) = undisturbed(stage, &mut host)?;
    let mut cancelled = 0;
    for n in 1..=whole.events() {
        let how = format!("cancelled at event {n}");
        let told = stage.ask(&mut host, &Ask { cancel: Some(n), ..Ask::new(&question) })?;
        cancelled += usize::from(stopped(&told, &whole, &how)?);
        // The session goes on, as if nothing had been asked.
        if told.end()?.reason == "cancelled" {
            let again = host.ask(&Ask::new(&question))?;
            if again.screen() != whole.screen() {
                return failed(format!("{how}: the next answer of the session is another one"));
            }
        }
    }
    if cancelled == 0 {
        return failed("cancelling stopped nothing at any event");
    }
    host.quit()
}

pub fn free_anywhere(stage: &Stage) -> Outcome {
    let mut host = stage.ready("free.toml", "")?;
    let (question, whole) = undisturbed(stage, &mut host)?;
    for n in 1..=whole.events() {
        let how = format!("session given up at event {n}");
        let told = stage.ask(&mut host, &Ask { free: Some(n), ..Ask::new(&question) })?;
        stopped(&told, &whole, &how)?;
        refused(&mut host, &question, &how)?;
    }
    undisturbed(stage, &mut host)?;
    host.quit()
}

/// Asking without a session is answered with an error and shows nothing.
fn refused(host: &mut Host, question: &str, how: &str) -> Outcome {
    let told = host.ask(&Ask::new(question))?;
    if told.status == 0 || !told.lines.is_empty() {
        return failed(format!("{how}: a question after it was taken (status {})", told.status));
    }
    Ok(())
}

pub fn misuse_answered(stage: &Stage) -> Outcome {
    let mut host = stage.ready("misuse.toml", "")?;
    let (question, whole) = undisturbed(stage, &mut host)?;
    for n in 1..whole.events() {
        let told = stage.ask(&mut host, &Ask { again: Some(n), ..Ask::new(&question) })?;
        let nested = told.lines.iter().find_map(|l| if let Line::Nested(status) = l { Some(*status) } else { None });
        match nested {
            None => return failed("the program did not ask a second time from inside the handler"),
            Some(0) => return failed(format!("a second question at event {n} was taken while the first was running")),
            Some(_) => told.must_end("stop")?,
        }
        if told.screen() != whole.screen() {
            return failed(format!("the first answer was disturbed by a second question at event {n}"));
        }
    }
    host.must("session", &[])?;
    host.must("free", &[("what", "session".to_owned())])?;
    refused(&mut host, &question, "a session that was given up")?;
    host.must("free", &[("what", "engine".to_owned())])?;
    host.must_not("session", &[], "the engine was given up before")?;
    refused(&mut host, &question, "an engine that was given up")?;
    // And it can begin anew.
    host.must("open", &stage.opening(&[("policy", &stage.path("misuse.toml"))]))?;
    host.must("accept", &[])?;
    undisturbed(stage, &mut host)?;
    host.quit()
}
