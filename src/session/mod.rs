//! The conductor: one request from start to end.
//!
//! An [`Engine`] is a loaded model with its guard, licence and log. A [`Session`] is one conversation. A [`Generation`] is one
//! request on its way, pulled event by event; its last event is always [`Event::End`].

mod engine;
mod event;
mod generation;
mod history;

use std::sync::{Arc, Mutex, PoisonError};

pub use engine::{Engine, EngineInfo, EngineOptions, KvType, LoadProgress};
pub use event::{End, EndReason, Event, Stats};
pub use generation::Generation;
use history::History;

use crate::cancel::CancelFlag;
use crate::chat::{Message, Role};
use crate::error::{Error, Result};
use crate::guard::InputContext;
use crate::sampler::{Sampler, SamplerOptions, StopStrings};

/// How a session begins.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// The host's instructions to the model; judged like any input, with the allowance that the host may give orders.
    pub system: Option<String>,
    /// The language tag of the end user, such as `de` or `pt-BR`: refusals are worded in it where the policy can.
    pub locale: String,
}

/// One question to the model.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the user says.
    pub text: String,
    /// Tokens the answer may have; 0 takes 512.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: SamplerOptions,
    /// Texts that end the answer; none of them is part of it.
    pub stop: Vec<String>,
    /// Seconds since 1970 by the host's clock, for the audit log.
    pub time_unix: i64,
}

/// Bytes of text that one request may have, whatever the context.
const MAX_TEXT: usize = 4 << 20;
const DEFAULT_MAX_TOKENS: u32 = 512;

/// One conversation. May be shared between threads; one request runs at a time.
#[derive(Debug)]
pub struct Session {
    engine: Arc<Engine>,
    cancel: CancelFlag,
    label: String,
    locale: String,
    /// Taken out while a request runs.
    history: Mutex<Option<History>>,
}

impl Session {
    pub(super) fn open(engine: &Arc<Engine>, options: &SessionOptions, number: u64) -> Result<Arc<Self>> {
        let system = match options.system.as_deref().map(str::trim) {
            None | Some("") => None,
            Some(text) => Some(judge_system(engine, text)?),
        };
        let history = History::new(engine.decoder().conversation()?, system);
        Ok(Arc::new(Self {
            engine: Arc::clone(engine),
            cancel: CancelFlag::new(),
            label: format!("s{number}"),
            locale: options.locale.clone(),
            history: Mutex::new(Some(history)),
        }))
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Begins a request. Nothing is judged or computed before the first [`Generation::next_event`].
    ///
    /// # Errors
    /// [`crate::Kind::License`] until the model's licence, and that of the guard model, was accepted, [`crate::Kind::Busy`] while another request runs,
    /// [`crate::Kind::Argument`] and [`crate::Kind::Limit`] for options out of range.
    pub fn start(self: &Arc<Self>, request: Request) -> Result<Generation> {
        self.engine.require_license()?;
        if request.text.len() > MAX_TEXT {
            return Err(Error::limit(format!("a text of {} bytes; the limit is {MAX_TEXT}", request.text.len())));
        }
        let sampler = Sampler::new(request.sampling.clone())?;
        let stop = StopStrings::new(&request.stop)?;
        let history = self.lock().take().ok_or_else(busy)?;
        self.cancel.lower();
        Ok(Generation::new(Arc::clone(self), request, sampler, stop, history))
    }

    /// Stops the running request, if there is one; its END event follows. Any thread, any time, as often as you like.
    pub fn cancel(&self) {
        self.cancel.raise();
    }

    /// The flag that [`Session::cancel`] raises.
    #[must_use]
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    /// Notes in the audit log that the end user calls the last refusal wrong.
    ///
    /// # Errors
    /// [`crate::Kind::Busy`] while a request runs, [`crate::Kind::Argument`] when nothing was refused since the last appeal;
    /// what writing the log gives.
    pub fn appeal(&self, time_unix: i64) -> Result<()> {
        let request = {
            let mut history = self.lock();
            let history = history.as_mut().ok_or_else(busy)?;
            history
                .refused_request
                .take()
                .ok_or_else(|| Error::argument("no request was refused since the last appeal"))?
        };
        self.engine.log(&self.label, time_unix, crate::audit::Event::Appeal { request })
    }

    /// How many tokens `text` is, without any chat structure.
    ///
    /// # Errors
    /// [`crate::Kind::Limit`] for a text that no request could have.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        if text.len() > MAX_TEXT {
            return Err(Error::limit(format!("a text of {} bytes; the limit is {MAX_TEXT}", text.len())));
        }
        Ok(self.engine.tokenizer().encode_text(text).len())
    }

    /// Forgets everything said but the system prompt.
    ///
    /// # Errors
    /// [`crate::Kind::Busy`] while a request runs.
    pub fn reset(&self) -> Result<()> {
        let conversation = self.engine.decoder().conversation()?;
        self.lock().as_mut().ok_or_else(busy)?.restart(conversation);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<History>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, history: History) {
        *self.lock() = Some(history);
    }
}

fn busy() -> Error {
    Error::busy("another request of this session is running; wait for its END event or cancel it")
}

/// The system prompt as the model may read it.
fn judge_system(engine: &Engine, text: &str) -> Result<Message> {
    let context = InputContext { text, system: true, ..InputContext::default() };
    let judgement = engine.on_threads(|| engine.guard().judge_input(&context, &CancelFlag::new()));
    if let Some(verdict) = judgement.blocked_by() {
        let category = verdict.category.map_or("policy", |c| c.id());
        return Err(Error::argument(format!("the system prompt was refused by the input guard ({category})")));
    }
    if judgement.is_block() {
        return Err(judgement.failure.unwrap_or_else(|| Error::guard_unavailable("the system prompt was not judged")));
    }
    Ok(Message::new(Role::System, judgement.masked.unwrap_or_else(|| text.to_owned())))
}

impl Request {
    /// A question with the default sampling.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn max_tokens(&self) -> u32 {
        if self.max_tokens == 0 { DEFAULT_MAX_TOKENS } else { self.max_tokens }
    }
}
