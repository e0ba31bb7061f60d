//! Asks a model one question and streams the answer, with the licence accepted on the way.
//!
//!     cargo run --example hello -- MODEL [QUESTION [PARTY [STATE_DIR]]]
//!
//! Without PARTY (who accepts the model's licence) it shows the licence and stops there.

use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use palisade::Result;
use palisade::license::Acceptance;
use palisade::session::{Engine, EngineOptions, Event, Request, SessionOptions};

/// The host's clock: the library reads none.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed())
}

/// What `main` does, with its arguments and its output given; also what the test of the three hellos runs.
pub(crate) fn hello(args: &[String], out: &mut dyn Write) -> Result<u8> {
    let written = |e: std::io::Error| palisade::Error::io("writing the answer", &e);
    let mut options = EngineOptions::new(&args[0]);
    options.state_dir = args.get(3).map(Into::into); // none: receipts last as long as the engine
    let engine = Engine::open(&options, &mut |_| true)?;
    let info = engine.info();
    writeln!(out, "{} ({})", info.model, info.architecture).map_err(written)?;

    if !engine.license_status()?.is_accepted() {
        let license = engine.license();
        writeln!(out, "licence \"{}\":\n{}", license.name, license.text).map_err(written)?;
        let Some(party) = args.get(2) else {
            writeln!(out, "Name the party that accepts it to go on.").map_err(written)?;
            return Ok(3);
        };
        let sha256 = license.sha256.clone();
        engine.accept_license(&Acceptance { sha256, party: party.clone(), time_unix: now() })?;
        writeln!(out, "accepted by {party}").map_err(written)?;
    }

    let session = engine.session(&SessionOptions::default())?;
    let mut request = Request::new(args.get(1).map_or("When are you open?", String::as_str));
    request.max_tokens = 64;
    request.time_unix = now();
    request.sampling.temperature = 0.0; // always the likeliest token: the same answer every time
    writeln!(out, "> {}", request.text).map_err(written)?;
    let mut answer = session.start(request)?;
    while let Some(event) = answer.next_event() {
        match event {
            Event::Text(piece) => write!(out, "{}", piece.as_str()).and_then(|()| out.flush()).map_err(written)?,
            Event::End(end) => {
                let refusal = end.refusal.unwrap_or_default();
                let (reason, tokens) = (end.reason.name(), end.stats.generated_tokens);
                writeln!(out, "{refusal}\n[{reason}, {tokens} tokens]").map_err(written)?;
                end.error.map_or(Ok(()), Err)?;
            }
            _ => {}
        }
    }
    Ok(0)
}

#[allow(dead_code, reason = "the test of the three hellos takes this file in as a module")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        eprintln!("usage: hello MODEL [QUESTION [PARTY [STATE_DIR]]]");
        return ExitCode::from(2);
    }
    match hello(&args, &mut std::io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
