//! The host's program: started, spoken to line by line, and ended whatever it does.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use palisade::Error;

use super::words::{self, End, Line, Reply};

/// Why a rule did not come to a pass.
#[derive(Debug)]
pub enum Stop {
    /// The wrapper broke it: what was seen.
    Failed(String),
    /// The wrapper says it has no such thing.
    NotOffered(String),
    /// The suite itself could not go on.
    Ours(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// How a rule comes out.
pub type Outcome<T = ()> = Result<T, Stop>;

/// A failed rule, in words.
pub fn failed<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Stop::Failed(what.into()))
}

/// How the host's program is started.
#[derive(Clone, Debug)]
pub struct Start {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// How long one line may take.
    pub patience: Duration,
}

/// A running program of the host. Dropping it kills it.
pub struct Host {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<String>,
    patience: Duration,
    /// What was sent last, for messages.
    said: String,
}

/// What to ask, and what to do at which event (counted from 1, as the program tells them).
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub text: String,
    pub max: Option<u32>,
    pub cancel: Option<usize>,
    pub free: Option<usize>,
    pub again: Option<usize>,
}

impl Ask {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// What the program told of one request.
#[derive(Debug, Default)]
pub struct Told {
    pub lines: Vec<Line>,
    /// What the call came to.
    pub status: i32,
}

impl Host {
    /// Starts the program. Its standard error is this process's.
    pub fn start(start: &Start) -> Outcome<Self> {
        let mut child = Command::new(&start.program)
            .args(&start.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::io(start.program.display(), &e))?;
        let to = child.stdin.take();
        let out = child.stdout.take();
        let (send, from) = channel();
        let host = Self { child, to, from, patience: start.patience, said: "nothing".to_owned() };
        let out = out.ok_or_else(|| Error::internal("a program without standard output"))?;
        // It ends with the program's output or with this side's interest.
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(host)
    }

    fn say(&mut self, line: &str) -> Outcome {
        self.said = line.chars().take(60).collect();
        let sent = self.to.as_mut().map(|to| to.write_all(format!("{line}\n").as_bytes()).and_then(|()| to.flush()));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => self.ended(),
        }
    }

    fn hear(&mut self) -> Outcome<String> {
        match self.from.recv_timeout(self.patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                failed(format!("no word for {} s after {:?}", self.patience.as_secs(), self.said))
            }
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    fn ended<T>(&mut self) -> Outcome<T> {
        // It closed a pipe; its end follows at once, or it is helped.
        let mut how = "it closed its pipes and went on".to_owned();
        for _ in 0..50 {
            if let Ok(Some(status)) = self.child.try_wait() {
                how = status.to_string();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        failed(format!("the program ended ({how}) after {:?}", self.said))
    }

    /// Sends a command that is answered with one line.
    pub fn call(&mut self, name: &str, pairs: &[(&str, String)]) -> Outcome<Reply> {
        self.say(&words::command(name, pairs))?;
        let line = self.hear()?;
        words::reply(&line).or_else(failed)
    }

    /// As [`Host::call`], for a command that has to work.
    pub fn must(&mut self, name: &str, pairs: &[(&str, String)]) -> Outcome {
        match self.call(name, pairs)? {
            Reply::Ok => Ok(()),
            Reply::Error(status, why) => failed(format!("{name} was refused with status {status}: {why}")),
            Reply::Unsupported(what) => Err(Stop::NotOffered(what)),
        }
    }

    /// As [`Host::call`], for a command that has to be refused; gives the status.
    pub fn must_not(&mut self, name: &str, pairs: &[(&str, String)], why: &str) -> Outcome<i32> {
        match self.call(name, pairs)? {
            Reply::Ok => failed(format!("{name} was taken: {why}")),
            Reply::Error(0, _) => failed(format!("{name} was refused with status 0, which is no error")),
            Reply::Error(status, _) => Ok(status),
            Reply::Unsupported(what) => Err(Stop::NotOffered(what)),
        }
    }

    fn begin(&mut self, ask: &Ask) -> Outcome {
        let mut pairs = vec![("text", ask.text.clone())];
        let counts =
            [("max", ask.max.map(|n| n as usize)), ("cancel", ask.cancel), ("free", ask.free), ("again", ask.again)];
        pairs.extend(counts.into_iter().filter_map(|(key, n)| n.map(|n| (key, n.to_string()))));
        self.say(&words::command("ask", &pairs))
    }

    /// Asks and hears everything to the end of the call.
    pub fn ask(&mut self, ask: &Ask) -> Outcome<Told> {
        self.begin(ask)?;
        let mut told = Told::default();
        loop {
            let line = self.hear()?;
            if let Some(status) = words::done(&line).or_else(failed)? {
                told.status = status;
                return Ok(told);
            }
            match words::line(&line).or_else(failed)? {
                Some(line) => told.lines.push(line),
                None => return self.odd(&line),
            }
            if told.lines.len() > 100_000 {
                return failed("a request with more than 100,000 events");
            }
        }
    }

    fn odd<T>(&self, line: &str) -> Outcome<T> {
        if let Some(what) = line.strip_prefix("unsupported ") {
            return Err(Stop::NotOffered(what.to_owned()));
        }
        failed(format!("{line:?} is no line of a request (after {:?})", self.said))
    }

    /// Asks, and kills the program at the first text.
    pub fn kill_at_text(mut self, ask: &Ask) -> Outcome {
        self.begin(ask)?;
        loop {
            let line = self.hear()?;
            if let Some(status) = words::done(&line).or_else(failed)? {
                return failed(format!("the answer ended with {status} before any text"));
            }
            if let Some(Line::Text(_)) = words::line(&line).or_else(failed)? {
                // The kill of `Drop`: no handler of the program runs.
                return Ok(());
            }
        }
    }

    /// Lets the program end by itself.
    pub fn quit(mut self) -> Outcome {
        self.say("quit")?;
        self.to = None;
        while self.from.recv_timeout(self.patience).is_ok() {}
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Told {
    /// What the end user has before them when all is over, refusal not included.
    pub fn screen(&self) -> Vec<u8> {
        let mut screen = Vec::new();
        for line in &self.lines {
            match line {
                Line::Text(text) => screen.extend_from_slice(text),
                Line::TakeBack(from) => screen.truncate(*from),
                _ => {}
            }
        }
        screen
    }

    /// Everything that was ever shown, taken back or not.
    pub fn shown(&self) -> Vec<u8> {
        self.lines
            .iter()
            .filter_map(|l| if let Line::Text(text) = l { Some(text.as_slice()) } else { None })
            .collect::<Vec<_>>()
            .concat()
    }

    pub fn ends(&self) -> impl Iterator<Item = &End> {
        self.lines.iter().filter_map(|l| if let Line::End(end) = l { Some(end) } else { None })
    }

    /// The end, where there is exactly one.
    pub fn end(&self) -> Outcome<&End> {
        match self.ends().collect::<Vec<_>>().as_slice() {
            [end] => Ok(end),
            other => failed(format!("{} ends of one request", other.len())),
        }
    }

    /// The lines after the first one that `is`.
    pub fn after(&self, is: impl Fn(&Line) -> bool) -> &[Line] {
        let at = self.lines.iter().position(is).map_or(self.lines.len(), |i| i + 1);
        self.lines.get(at..).unwrap_or_default()
    }

    /// How many events there were: what `cancel` and `free` count.
    pub fn events(&self) -> usize {
        self.lines.iter().filter(|l| !matches!(l, Line::TakeBack(_) | Line::Nested(_))).count()
    }

    /// Fails unless the request ended once, with this reason and status 0.
    pub fn must_end(&self, reason: &str) -> Outcome {
        let end = self.end()?;
        if end.reason != reason || end.status != 0 || self.status != 0 {
            return failed(format!(
                "expected the end {reason} with status 0, found {} with {} (the call came to {})",
                end.reason, end.status, self.status
            ));
        }
        Ok(())
    }
}

/// Bytes for a message.
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() > 80 {
        let tail: String = text.chars().skip(text.chars().count() - 60).collect();
        return format!("\"...{}\"", tail.escape_debug());
    }
    format!("\"{}\"", text.escape_debug())
}
