//! Rules about what the end user reads.

use super::book::{BEFORE, Page, TAKEN_BACK};
use super::host::{Ask, Outcome, Told, failed, quote};
use super::stage::{ATTACK, REFUSAL, REFUSAL_DE, Stage};
use super::words::Line;

pub fn whole_answer(stage: &Stage) -> Outcome {
    let mut host = stage.ready("plain.toml", "")?;
    for page in stage.book.of("plain").chain(stage.book.of("scripts")) {
        let told = stage.ask(&mut host, &Ask::new(&page.question))?;
        told.must_end("stop")?;
        whole(page, &told)?;
    }
    host.quit()
}

fn whole(page: &Page, told: &Told) -> Outcome {
    let screen = told.screen();
    if screen == page.text {
        return Ok(());
    }
    let at = screen.iter().zip(&page.text).take_while(|(a, b)| a == b).count();
    failed(format!(
        "an answer {} arrived otherwise from byte {at} on: {} of {} bytes were shown",
        page.how,
        screen.len(),
        page.text.len()
    ))
}

pub fn cut_canary(stage: &Stage) -> Outcome {
    canaries(stage, "cut")
}

pub fn disguised_canary(stage: &Stage) -> Outcome {
    canaries(stage, "disguise")
}

fn canaries(stage: &Stage, label: &str) -> Outcome {
    let mut host = stage.ready("canary.toml", "")?;
    let mut released = 0;
    for page in stage.book.of(label) {
        let told = stage.ask(&mut host, &Ask::new(&page.question))?;
        let shown = told.shown();
        if !BEFORE.as_bytes().starts_with(&shown) {
            let at = shown.iter().zip(BEFORE.as_bytes()).take_while(|(a, b)| a == b).count();
            let more = quote(shown.get(at..).unwrap_or_default());
            return failed(format!("{}: bytes of a violating sentence were shown: {more}", page.how));
        }
        told.must_end("blocked_output")?;
        released += usize::from(!shown.is_empty());
    }
    if released == 0 {
        return failed("not one answer showed the harmless sentences before the violating one");
    }
    host.quit()
}

pub fn nothing_after_block(stage: &Stage) -> Outcome {
    let mut host = stage.ready("after.toml", "")?;
    for page in stage.book.of("cut").take(3) {
        let told = stage.ask(&mut host, &Ask::new(&page.question))?;
        let blocks = |l: &Line| match l {
            Line::Verdict { block } => *block,
            Line::End(end) => end.reason.starts_with("blocked"),
            _ => false,
        };
        if let Some(Line::Text(text)) = told.after(blocks).iter().find(|l| matches!(l, Line::Text(_))) {
            return failed(format!("{} was shown after the answer had been blocked", quote(text)));
        }
        told.must_end("blocked_output")?;
    }
    host.quit()
}

pub fn take_back(stage: &Stage) -> Outcome {
    // Units are judged without a look back: what only two of them show together is found when all of the answer is judged.
    let mut host = stage.ready(
        "back.toml",
        "[stream]\nmax_hold_ms = 0\ncontext = 0\n[category.prompt_injection]\noutput = { action = \"allow\" }\n",
    )?;
    for page in stage.book.of("later") {
        let told = stage.ask(&mut host, &Ask::new(&page.question))?;
        told.must_end("blocked_output")?;
        let mark = TAKEN_BACK.as_bytes();
        let from = page.text.windows(mark.len()).position(|w| w == mark).unwrap_or_default();
        let screen = told.screen();
        if screen.len() > from || !page.text.starts_with(&screen) {
            let stays = quote(screen.get(from..).unwrap_or_default());
            return failed(format!(
                "the answer had to be taken back from byte {from} on; what stays on the screen: {stays}"
            ));
        }
    }
    host.quit()
}

pub fn whole_characters(stage: &Stage) -> Outcome {
    let mut host = stage.ready("characters.toml", "")?;
    for page in stage.book.of("scripts") {
        let told = stage.ask(&mut host, &Ask::new(&page.question))?;
        for line in &told.lines {
            let text = match line {
                Line::Text(text) => text,
                Line::End(end) => &end.text,
                _ => continue,
            };
            if std::str::from_utf8(text).is_err() {
                return failed(format!("{}: a piece with half a character in it was shown: {}", page.how, quote(text)));
            }
        }
        whole(page, &told)?;
    }
    host.quit()
}

pub fn one_refusal(stage: &Stage) -> Outcome {
    let mut host = stage.ready("refusal.toml", "")?;
    let output = stage.question("cut")?;
    for (what, question) in [("a question", ATTACK), ("an answer", &output)] {
        let told = stage.ask(&mut host, &Ask::new(question))?;
        refused(&told, what, REFUSAL)?;
    }
    host.quit()?;
    let mut host = stage.ready("late.toml", LATE)?;
    let told = stage.ask(&mut host, &Ask::new(long_question()))?;
    refused(&told, "a question that no guard judged in time", REFUSAL)?;
    host.quit()
}

fn refused(told: &Told, what: &str, words: &str) -> Outcome {
    let end = told.end()?;
    if end.text == words.as_bytes() {
        return Ok(());
    }
    failed(format!("for {what} the end user reads {}, and the policy's words are {words:?}", quote(&end.text)))
}

pub fn locale(stage: &Stage) -> Outcome {
    let mut host = stage.ready("locale.toml", "")?;
    for (locale, words) in [("de", REFUSAL_DE), ("de-AT", REFUSAL_DE), ("fi", REFUSAL), ("", REFUSAL)] {
        host.must("session", &[("locale", locale.to_owned())])?;
        let told = host.ask(&Ask::new(ATTACK))?;
        refused(&told, &format!("the locale {locale:?}"), words)?;
    }
    host.quit()
}

/// A guard that has a millisecond, and what it cannot judge in one but the model can read.
pub const LATE: &str = "[limits]\njudge_ms = 1\n";

pub fn long_question() -> String {
    "When does the museum open, and is the garden open too? ".repeat(55)
}
