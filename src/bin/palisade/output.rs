//! What every command prints the same way: JSON on stdout, errors and progress on stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use palisade::{Error, Kind, Result};

/// One JSON value on one line of stdout.
pub fn json(value: &serde_json::Value) -> Result<()> {
    line(&value.to_string())
}

/// One line on stdout; a closed pipe is an error like any other.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Error::io("standard output", &e))
}

/// The exit code of a result; an error goes to stderr.
pub fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == Kind::Cancelled => {
            eprintln!("palisade: {e}");
            ExitCode::from(130)
        }
        Err(e) => {
            eprintln!("palisade: {e}");
            ExitCode::FAILURE
        }
    }
}

/// A progress bar on stderr, invisible where stderr is no terminal.
pub fn bar(total: u64, what: &str, bytes: bool) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let unit = if bytes { "{bytes}/{total_bytes}" } else { "{pos}/{len}" };
    if let Ok(style) = ProgressStyle::with_template(&format!("{{msg:>12}} [{{bar:40}}] {unit} {{elapsed}}")) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}

/// Milliseconds with one decimal.
pub fn millis(d: Duration) -> f64 {
    (d.as_secs_f64() * 10_000.0).round() / 10.0
}
