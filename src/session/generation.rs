//! One request as a state machine: judge, prefill, decode, judge again, end. Each call moves it to its next event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::history::History;
use super::{End, EndReason, Event, Request, Session, Stats};
use crate::audit;
use crate::cancel::CancelFlag;
use crate::digest::hex;
use crate::engine::RunControl;
use crate::error::{Error, Kind, Result};
use crate::guard::{InputContext, Judgement, OutputContext, OutputStream, Side, Step, Verdict};
use crate::sampler::{Sampler, StopStrings};
use crate::tokenizer::Utf8Stream;

/// A running request. Dropping it before its END event cancels it.
#[derive(Debug)]
pub struct Generation {
    session: Arc<Session>,
    request: Request,
    /// What the model reads: the request's text, masked where the policy says so.
    text: String,
    /// What was released of the answer.
    said: String,
    sampler: Sampler,
    answer: Answer,
    /// Gone once the request is over.
    history: Option<History>,
    /// What goes back to the session with the END event, so that no other request begins before it was told.
    returning: Option<History>,
    /// Ids of the conversation before this request, and before the answer.
    before: usize,
    answer_from: usize,
    phase: Phase,
    events: VecDeque<Event>,
    stats: Stats,
    /// From which byte on released text has to be taken back.
    retract_from: Option<usize>,
    started: Instant,
}

#[derive(Debug)]
enum Phase {
    Judge,
    Prefill { first: usize },
    Decode { logits: Vec<f32> },
    Over,
}

/// The way of an answer's bytes to the host: characters, stop strings, output guard.
#[derive(Debug)]
struct Answer {
    utf8: Utf8Stream,
    stop: StopStrings,
    guard: OutputStream,
}

/// How the work of one phase came out: what ends the request, if anything does.
type Flow = Result<Option<EndReason>>;

impl Generation {
    pub(super) fn new(
        session: Arc<Session>,
        request: Request,
        sampler: Sampler,
        stop: StopStrings,
        mut history: History,
    ) -> Self {
        history.requests += 1;
        let (cancel, rate) = (session.cancel_flag(), session.engine().text_rate());
        let mut dialogue = history.dialogue();
        dialogue.push(Side::Input, request.text.as_str());
        let context = OutputContext { cancel, rate, dialogue: Arc::new(dialogue) };
        let guard = session.engine().guard().output_stream(context);
        Self {
            text: request.text.clone(),
            said: String::new(),
            answer: Answer { utf8: Utf8Stream::new(), stop, guard },
            before: history.ids.len(),
            answer_from: history.ids.len(),
            history: Some(history),
            returning: None,
            phase: Phase::Judge,
            events: VecDeque::new(),
            stats: Stats::default(),
            retract_from: None,
            started: Instant::now(),
            session,
            request,
            sampler,
        }
    }

    /// The flag that stops this request.
    #[must_use]
    pub fn cancel_flag(&self) -> CancelFlag {
        self.session.cancel_flag()
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Works until something happened and says what. `None` only after [`Event::End`] was given.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                if matches!(event, Event::End(_)) {
                    self.give_back();
                }
                return Some(event);
            }
            let flow = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Over => return None,
                phase => self.advance(phase),
            };
            match flow {
                Ok(None) => {}
                Ok(Some(reason)) => self.end(reason, None),
                Err(e) if e.kind() == Kind::Cancelled => self.end(EndReason::Cancelled, None),
                Err(e) => self.end(EndReason::Error, Some(e)),
            }
        }
    }

    fn advance(&mut self, phase: Phase) -> Flow {
        self.session.cancel_flag().check()?;
        match phase {
            Phase::Judge => self.judge(),
            Phase::Prefill { first } => self.prefill(first),
            Phase::Decode { logits } => self.decode(&logits),
            Phase::Over => Ok(None),
        }
    }

    fn history(&mut self) -> Result<&mut History> {
        self.history.as_mut().ok_or_else(|| Error::internal("a request without its session"))
    }

    /// The input guard. No id of the prompt exists before it has spoken.
    fn judge(&mut self) -> Flow {
        let session = Arc::clone(&self.session);
        let engine = session.engine();
        if self.history()?.pause().is_some() {
            return Ok(Some(EndReason::Paused));
        }
        let recent = self.history()?.user.clone();
        let recent: Vec<&str> = recent.iter().map(String::as_str).collect();
        let dialogue = self.history()?.dialogue();
        let context =
            InputContext { text: &self.request.text, recent_user: &recent, system: false, dialogue: Some(&dialogue) };
        let cancel = session.cancel_flag();
        let judgement = engine.on_threads(|| engine.guard().judge_input(&context, &cancel));
        self.stats.guard_ms += judgement.elapsed.as_secs_f64() * 1000.0;
        self.report(&judgement.verdicts)?;
        self.log_verdicts(&judgement.shadow, true)?;
        if judgement.is_block() {
            return self.blocked(judgement, EndReason::BlockedInput);
        }
        if let Some(masked) = judgement.masked {
            self.text = masked;
        }
        let limit = engine.decoder().context_length();
        let (format, text) = (engine.format(), self.text.clone());
        let history = self.history()?;
        let ids = history.turn(format, engine.tokenizer(), &text)?;
        let total = history.ids.len() + ids.len();
        if total >= limit {
            return Err(Error::limit(format!(
                "the text makes the conversation {total} tokens long; the context has room for {limit} with an answer"
            )));
        }
        let first = history.context.len();
        history.ids.extend(&ids);
        let prompt_tokens = history.ids.len() - first;
        self.answer_from = total;
        self.events.push_back(Event::Started { prompt_tokens });
        self.phase = Phase::Prefill { first };
        Ok(None)
    }

    /// One batch of the prompt.
    fn prefill(&mut self, first: usize) -> Flow {
        let start = Instant::now();
        let batch = self.session.engine().decoder().batch();
        let cancel = self.session.cancel_flag();
        let history = self.history()?;
        let (at, total) = (history.context.len(), history.ids.len());
        let next = history.ids.get(at..(at + batch).min(total)).unwrap_or_default();
        let mut control = RunControl { cancel, ..RunControl::default() };
        let mut logits = Vec::new();
        if at + next.len() < total {
            history.context.append(next, &mut control)?;
        } else {
            logits = history.context.feed(next, &mut control)?;
        }
        let done = history.context.len();
        self.stats.prefill_ms += ms_since(start);
        self.stats.prompt_tokens = done - first;
        self.events.push_back(Event::Progress { done: done - first, total: total - first });
        self.phase = if done == total { Phase::Decode { logits } } else { Phase::Prefill { first } };
        Ok(None)
    }

    /// One token: chosen, sent through the output guard, and computed unless it was the last.
    fn decode(&mut self, logits: &[f32]) -> Flow {
        let session = Arc::clone(&self.session);
        let engine = session.engine();
        let start = Instant::now();
        // Penalties look at the answer alone: a prompt's words are no repetition.
        let history = self.history.as_mut().ok_or_else(|| Error::internal("a request without its session"))?;
        let said = history.ids.get(self.answer_from..).unwrap_or_default();
        let id = self.sampler.sample(logits, said, Some(engine.allowed()))?;
        self.stats.decode_ms += ms_since(start);
        self.stats.generated_tokens += 1;
        if engine.tokenizer().is_stop(id) {
            return self.close(EndReason::Stop);
        }
        let (mut characters, mut text) = (String::new(), String::new());
        self.answer.utf8.push(engine.tokenizer().decode_bytes(id), &mut characters);
        let stopped = self.answer.stop.push(&characters, &mut text).is_some();
        let blocked = self.release(&text)?;
        if blocked.is_some() {
            return Ok(blocked);
        }
        if stopped {
            return self.close(EndReason::StopString);
        }
        if self.stats.generated_tokens >= self.request.max_tokens() as usize {
            return self.close(EndReason::MaxTokens);
        }
        let start = Instant::now();
        let (cancel, limit) = (session.cancel_flag(), engine.decoder().context_length());
        let history = self.history()?;
        if history.context.len() >= limit {
            return self.close(EndReason::ContextFull);
        }
        let logits = history.context.feed(&[id], &mut RunControl { cancel, ..RunControl::default() })?;
        history.ids.push(id);
        self.stats.decode_ms += ms_since(start);
        self.phase = Phase::Decode { logits };
        Ok(None)
    }

    /// Sends text to the output guard and queues what it clears.
    fn release(&mut self, text: &str) -> Flow {
        if text.is_empty() {
            return Ok(None);
        }
        let (guard, now) = (&mut self.answer.guard, self.started.elapsed());
        let step = self.session.engine().on_threads(|| guard.push_at(text, Some(now)));
        self.take(step)
    }

    /// The answer is complete: what every stage still holds goes through the guard before it leaves.
    fn close(&mut self, reason: EndReason) -> Flow {
        let (mut characters, mut text) = (String::new(), String::new());
        self.answer.utf8.finish(&mut characters);
        if reason != EndReason::StopString {
            let _ = self.answer.stop.push(&characters, &mut text);
            self.answer.stop.finish(&mut text);
        }
        let blocked = self.release(&text)?;
        if blocked.is_some() {
            return Ok(blocked);
        }
        let guard = &mut self.answer.guard;
        let step = self.session.engine().on_threads(|| guard.end());
        Ok(self.take(step)?.or(Some(reason)))
    }

    fn take(&mut self, step: Step) -> Flow {
        // What was cleared before a block in the same step was cleared; the log hears of the verdicts first.
        self.log_verdicts(&step.verdicts, false)?;
        self.log_verdicts(&step.shadow, true)?;
        if !step.cleared.is_empty() && self.stats.first_text_ms == 0.0 {
            self.stats.first_text_ms = ms_since(self.started);
        }
        step.cleared.iter().for_each(|cleared| self.said.push_str(cleared.as_str()));
        self.events.extend(step.cleared.into_iter().map(Event::Text));
        self.events.extend(step.verdicts.into_iter().map(Event::Verdict));
        self.retract_from = step.retract_from;
        match step.blocked {
            Some(judgement) => self.blocked(judgement, EndReason::BlockedOutput),
            None => Ok(None),
        }
    }

    /// Blocked by a check: an outcome. Blocked because the guard could not do its work: an error.
    fn blocked(&mut self, judgement: Judgement, reason: EndReason) -> Flow {
        match (judgement.blocked_by().cloned(), judgement.failure) {
            (Some(verdict), _) => {
                self.finish(reason, Some(verdict), None);
                Ok(None)
            }
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Error::guard_invalid("the guard blocked without saying why")),
        }
    }

    fn report(&mut self, verdicts: &[Verdict]) -> Result<()> {
        self.log_verdicts(verdicts, false)?;
        self.events.extend(verdicts.iter().cloned().map(Event::Verdict));
        Ok(())
    }

    fn log_verdicts(&self, verdicts: &[Verdict], shadow: bool) -> Result<()> {
        let request = self.history.as_ref().map_or(0, |h| h.requests);
        for v in verdicts {
            let event = audit::Event::Verdict {
                request,
                stage: audit::Label::of_name(v.side.as_str()),
                action: audit::Label::of_name(v.action.as_str()),
                category: v.category_id().map(audit::Label::of_name),
                check: Some(audit::Label::of_name(v.stage.as_str())),
                score: Some(v.score),
                threshold: Some(v.threshold),
                rule: v.rule.as_deref().map(audit::Label::of_name),
                span: v.span.as_ref().map(|s| [s.start as u64, s.end as u64]),
                shadow: shadow.then(|| audit::Label::of_name(&hex(&v.policy))),
            };
            self.session.engine().log(&self.session.label, self.request.time_unix, event)?;
        }
        Ok(())
    }

    fn give_back(&mut self) {
        if let Some(history) = self.returning.take() {
            self.session.give_back(history);
        }
    }

    fn end(&mut self, reason: EndReason, error: Option<Error>) {
        self.finish(reason, None, error);
    }

    /// The one way to the END event: the conversation is brought in order, the log written, the session made ready.
    fn finish(&mut self, reason: EndReason, verdict: Option<Verdict>, error: Option<Error>) {
        self.phase = Phase::Over;
        let Some(mut history) = self.history.take() else { return };
        let stream = self.answer.guard.stats();
        self.stats.guard_ms += stream.judging.as_secs_f64() * 1000.0;
        self.stats.longest_hold_ms = stream.longest_hold.as_secs_f64() * 1000.0;
        self.stats.hold_bound_ms = stream.hold_bound.map_or(0.0, |d| d.as_secs_f64() * 1000.0);
        if let Some(rate) = stream.rate {
            self.session.engine().note_text_rate(rate);
        }
        self.stats.total_ms = ms_since(self.started);
        let (mut reason, mut error) = (reason, error);
        if reason.is_answer() {
            history.keep(std::mem::take(&mut self.text), std::mem::take(&mut self.said));
        } else {
            let decoder = Arc::clone(self.session.engine().decoder());
            if let Err(e) = history.roll_back(self.before, || decoder.conversation()) {
                (reason, error) = (EndReason::Error, Some(e));
            }
        }
        let blocked = matches!(reason, EndReason::BlockedInput | EndReason::BlockedOutput);
        let event = audit::Event::Request {
            request: history.requests,
            end: audit::Label::of_name(reason.name()),
            error: error.as_ref().map(|e| audit::Label::of_name(&format!("{:?}", e.kind()))),
            prompt_tokens: self.stats.prompt_tokens as u64,
            generated_tokens: self.stats.generated_tokens as u64,
            guard_ms: Some(self.stats.guard_ms as f32),
            total_ms: Some(self.stats.total_ms as f32),
            text_hmac: self.session.engine().audit().and_then(|a| a.text_hmac(&self.request.text)),
            text: self.session.engine().audit().and_then(|a| a.plain_text(&self.request.text)),
        };
        if let Err(e) = self.session.engine().log(&self.session.label, self.request.time_unix, event) {
            (reason, error) = (EndReason::Error, Some(e));
        }
        if blocked {
            history.refused_request = Some(history.requests);
        }
        if let (true, Some(pause)) = (blocked, self.session.engine().guard().policy().pause()) {
            history.refused(pause);
        }
        self.returning = Some(history);
        let refusal = self.refusal(reason, verdict.as_ref(), error.as_ref());
        self.events.push_back(Event::End(End {
            reason,
            verdict,
            refusal,
            error,
            retract_from: self.retract_from,
            stats: self.stats,
        }));
    }
}

impl Generation {
    /// The words for the end user, when there is no answer for a reason of the guard's.
    fn refusal(&self, reason: EndReason, verdict: Option<&Verdict>, error: Option<&Error>) -> Option<String> {
        let refused = matches!(reason, EndReason::BlockedInput | EndReason::BlockedOutput | EndReason::Paused);
        let failed = error.is_some_and(is_guard_failure);
        let policy = self.session.engine().guard().policy();
        let category = verdict.and_then(Verdict::category_id);
        (refused || failed).then(|| policy.refusal_for(&self.session.locale, category).to_owned())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.end(EndReason::Cancelled, None);
        self.give_back();
    }
}

fn is_guard_failure(e: &Error) -> bool {
    matches!(e.kind(), Kind::GuardUnavailable | Kind::GuardTimeout | Kind::GuardInvalid)
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
