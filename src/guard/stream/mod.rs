//! Holds the answer back and releases what the guard has cleared. The only room that can make a [`Cleared`].

mod cut;
mod pace;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cut::{Cutter, Window};
use pace::Pace;

use super::check::Control;
use super::pipeline::{self, Judged, Pipeline};
use super::policy::StreamMode;
use super::recall::Recall;
use super::verdict::{Action, CheckId, Finding, Judgement, Side, Verdict};
use super::{Category, Dialogue, Guard, mask};
use crate::cancel::CancelFlag;
use crate::error::Error;

/// Text that the output guard has cleared. Nothing outside this module can make one, so a sink that takes nothing else
/// cannot be given unjudged text.
#[derive(Debug, PartialEq, Eq)]
pub struct Cleared {
    text: String,
    place: Range<usize>,
}

impl Cleared {
    fn new(text: String, place: Range<usize>) -> Self {
        Self { text, place }
    }

    /// The text to show. Masked spans are replaced in it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which bytes of the answer it stands for.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }
}

/// What came of pushing a piece or of the end.
#[derive(Debug, Default)]
#[must_use]
pub struct Step {
    /// Text to release now, in order.
    pub cleared: Vec<Cleared>,
    /// Every verdict above Allow that is new, spans counting from the start of the answer. Includes the one that blocks.
    pub verdicts: Vec<Verdict>,
    /// The same of a policy that only watches.
    pub shadow: Vec<Verdict>,
    /// Set once, when the answer ends here. Nothing is released after it.
    pub blocked: Option<Judgement>,
    /// With `blocked`, when it was the check of the whole answer that blocked: text from this byte of the answer on was
    /// released before and has to be taken back.
    pub retract_from: Option<usize>,
}

/// What a stream is opened with.
#[derive(Clone, Debug, Default)]
pub struct OutputContext {
    /// Raised to stop; text not yet judged is then dropped.
    pub cancel: CancelFlag,
    /// What earlier answers of the same model ran at, in characters a second, where that is known.
    pub rate: Option<f64>,
    /// The conversation that is answered, the question last: the LLM guard judges the answer in it.
    pub dialogue: Arc<Dialogue>,
}

/// What a stream has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamStats {
    /// How many units were judged.
    pub judgements: usize,
    /// Bytes of the answer that came in.
    pub pushed: usize,
    /// Bytes of the answer that were released (masked ones count by their original length).
    pub released: usize,
    /// Time spent judging.
    pub judging: Duration,
    /// The longest that text has waited, judging included; zero for a stream that is told no times.
    pub longest_hold: Duration,
    /// How long text waits at most at the rate so far; `None` while no rate is known.
    pub hold_bound: Option<Duration>,
    /// Characters a second so far, where times are told.
    pub rate: Option<f64>,
}

/// The hold-back of one answer.
///
/// A unit (see [`super::StreamPolicy`]) leaves when it was judged together with the text before it and the look-ahead
/// after it. The units, and what is judged with each, depend on the text alone and not on how it was cut into pieces.
/// When a match begins in a unit, no byte of that unit or of anything after it leaves.
pub struct OutputStream {
    guard: Arc<Guard>,
    cancel: CancelFlag,
    dialogue: Arc<Dialogue>,
    /// What the classifiers have read of this answer; it goes with it.
    recall: Arc<Recall>,
    /// Released context and pending text; `base` is the place of its first byte in the answer.
    text: String,
    base: usize,
    /// Where the pending text begins in `text`.
    pending: usize,
    /// Where the released units in `text` begin.
    units: VecDeque<usize>,
    cutter: Cutter,
    pace: Pace,
    /// The answer from its beginning, for the check of the whole; as much of its end as the policy judges at once.
    all: String,
    all_from: usize,
    reported: Vec<(CheckId, Option<Category>, Option<Range<usize>>)>,
    over: bool,
    stats: StreamStats,
}

impl OutputStream {
    pub(super) fn new(guard: Arc<Guard>, context: OutputContext) -> Self {
        let cutter = Cutter::new(guard.policy().stream());
        let pace = Pace::new(guard.policy().stream(), context.rate);
        Self {
            guard,
            cancel: context.cancel,
            dialogue: context.dialogue,
            recall: Arc::new(Recall::new()),
            text: String::new(),
            base: 0,
            pending: 0,
            units: VecDeque::new(),
            cutter,
            pace,
            all: String::new(),
            all_from: 0,
            reported: Vec::new(),
            over: false,
            stats: StreamStats::default(),
        }
    }

    /// Takes the next piece of the answer. Pieces may be of any length and are cut anywhere between characters.
    pub fn push(&mut self, piece: &str) -> Step {
        self.push_at(piece, None)
    }

    /// As [`OutputStream::push`], and tells the stream the time, so that it can keep to the policy's `max_hold_ms`: `now`
    /// counts from any one moment, by a monotonic clock. Times move the ends of units, so what is judged together then
    /// depends on them; what a unit may not contain does not.
    pub fn push_at(&mut self, piece: &str, now: Option<Duration>) -> Step {
        let mut step = Step::default();
        if self.over {
            return step;
        }
        self.pace.came(self.stats.pushed, piece.chars().count(), now);
        self.stats.pushed += piece.len();
        self.text.push_str(piece);
        if self.guard.policy().stream().mode == StreamMode::Whole {
            self.check_length(&mut step);
            return step;
        }
        self.keep_whole(piece);
        while !self.over {
            match self.cutter.next(&self.text) {
                Ok(Some(Window { cut, end })) => self.judge(cut, end, false, &mut step),
                Ok(None) => break,
                Err(error) => self.fail(error, &mut step),
            }
        }
        if !self.over
            && self.pace.is_due()
            && let Some(Window { cut, end }) = self.cutter.early(&self.text)
        {
            self.judge(cut, end, false, &mut step);
        }
        self.forget();
        step
    }

    /// The answer has ended, for whatever reason: what is left is judged, then released or not.
    pub fn finish(mut self) -> Step {
        self.end()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        let (longest_hold, hold_bound) = (self.pace.longest(), self.pace.bound());
        StreamStats { longest_hold, hold_bound, rate: self.pace.rate(), ..self.stats }
    }

    /// As [`OutputStream::finish`], for a caller who still wants the statistics. After it every push is empty.
    pub fn end(&mut self) -> Step {
        let mut step = Step::default();
        if !self.over && self.pending < self.text.len() {
            let end = self.text.len();
            self.judge(end, end, true, &mut step);
        }
        if !self.over && self.stats.judgements > 1 && self.guard.policy().stream().mode == StreamMode::Sentence {
            self.judge_whole(&mut step);
        }
        self.over = true;
        step
    }

    /// Judges the answer as one text after all of it was released in units: what no unit shows by itself.
    fn judge_whole(&mut self, step: &mut Step) {
        let control = self.control();
        let text = std::mem::take(&mut self.all);
        let Judged { mut judgement, .. } = self.guard.pipeline(Side::Output, &control).judge(&text, &Some);
        self.stats.judgements += 1;
        self.stats.judging += judgement.elapsed;
        judgement.masked = None;
        if judgement.action != Action::Block {
            return;
        }
        // Milder things were said of the units already.
        judgement.verdicts.retain(|v| v.action == Action::Block);
        for verdict in &mut judgement.verdicts {
            verdict.span = verdict.span.take().map(|s| s.start + self.all_from..s.end + self.all_from);
        }
        let starts = judgement.verdicts.iter().map(|v| v.span.as_ref().map_or(0, |s| s.start));
        step.retract_from = Some(starts.min().unwrap_or(0));
        self.report(&judgement, step);
        self.stop(judgement, step);
    }

    /// Keeps the answer for the check of the whole; of one longer than the policy judges at once, its end.
    fn keep_whole(&mut self, piece: &str) {
        self.all.push_str(piece);
        let most = self.guard.policy().limits().text_bytes;
        // Dropping a part at a time keeps the cost of moving the rest small.
        if self.all.len() > most {
            let mut drop = self.all.len() - most / 2;
            while !self.all.is_char_boundary(drop) {
                drop += 1;
            }
            self.all.drain(..drop);
            self.all_from += drop;
        }
    }

    /// Judges the unit that ends at `cut` with the look-ahead up to `end`, and releases it or ends the stream.
    fn judge(&mut self, cut: usize, end: usize, last: bool, step: &mut Step) {
        let from = self.context_start();
        let (unit_from, unit_to) = (self.pending - from, cut - from);
        // In one piece there is nothing before it.
        let before = (self.base + from).checked_sub(self.all_from).filter(|_| self.guard.reads_dialogue());
        let spoken = before.and_then(|to| self.all.get(..to)).unwrap_or_default();
        let control = self.control().after(spoken);
        let window = self.text.get(from..end).unwrap_or_default();
        // What lies before the unit was judged with it; what begins after it belongs to the next unit.
        let keep = |f: Finding| match &f.span {
            Some(span) if span.end <= unit_from || (!last && span.start >= unit_to) => None,
            _ => Some(f),
        };
        let pipeline = self.guard.pipeline(Side::Output, &control);
        let Judged { mut judgement, whole } = Pipeline { whole: false, ..pipeline }.judge(window, &keep);
        self.stats.judgements += 1;
        self.stats.judging += judgement.elapsed;
        self.pace.judged(judgement.elapsed);
        let took = judgement.elapsed;
        let masks = mask::spans(&judgement.verdicts);
        if judgement.action != Action::Block {
            let torn = |s: &Range<usize>| s.start < unit_to && s.end > unit_to;
            let reach = masks.iter().map(|(s, _)| s).chain(&whole).filter(|s| torn(s)).map(|s| s.end).max();
            if let (Some(reach), false) = (reach, last) {
                self.cutter.extend(cut, from + reach);
                return;
            }
        }
        let offset = self.base + from;
        judgement.masked = None;
        for verdict in &mut judgement.shadow {
            verdict.span = verdict.span.take().map(|s| s.start + offset..s.end + offset);
        }
        step.shadow.append(&mut judgement.shadow);
        for verdict in &mut judgement.verdicts {
            verdict.span = verdict.span.take().map(|s| s.start + offset..s.end + offset);
            // A span that begins in released text would leave half masked.
            if verdict.action == Action::Mask
                && verdict.span.as_ref().is_some_and(|s| s.start < self.base + self.pending)
            {
                verdict.action = Action::Block;
                judgement.action = Action::Block;
            }
        }
        super::verdict::sort_strictest_first(&mut judgement.verdicts);
        self.report(&judgement, step);
        if judgement.action == Action::Block {
            self.stop(judgement, step);
        } else {
            self.release(cut, from, &masks, step);
            self.pace.left(self.base + self.pending, took);
            self.cutter.set_stride(self.pace.stride());
        }
    }

    fn control(&self) -> Control {
        let limit = self.guard.policy().limits().time();
        Control::new(self.cancel.clone(), limit)
            .within(Arc::clone(&self.dialogue))
            .remembering(Arc::clone(&self.recall))
    }

    fn release(&mut self, cut: usize, from: usize, masks: &[(Range<usize>, Category)], step: &mut Step) {
        let unit = self.text.get(self.pending..cut).unwrap_or_default();
        let text = mask::apply(unit, self.pending - from, masks);
        step.cleared.push(Cleared::new(text, self.base + self.pending..self.base + cut));
        self.stats.released += unit.len();
        self.units.push_back(self.pending);
        self.pending = cut;
        self.cutter.restart(cut);
        let released = self.base + cut;
        self.reported.retain(|(_, _, span)| span.as_ref().is_none_or(|s| s.end > released));
    }

    /// Where judging begins: at the start of an earlier unit within the context's length, else at a word.
    fn context_start(&self) -> usize {
        let most = self.guard.policy().stream().context;
        let released = self.text.get(..self.pending).unwrap_or_default();
        let earliest = match most.checked_sub(1) {
            None => return self.pending,
            Some(n) => released.char_indices().rev().nth(n).map_or(0, |(i, _)| i),
        };
        if let Some(start) = self.units.iter().find(|s| **s >= earliest) {
            return *start;
        }
        let tail = released.get(earliest..).unwrap_or_default();
        tail.find(char::is_whitespace).map_or(self.pending, |i| earliest + i)
    }

    /// Drops released text that no later unit looks back at.
    fn forget(&mut self) {
        let keep = self.context_start().min(self.units.back().copied().unwrap_or(self.pending));
        if keep == 0 {
            return;
        }
        self.text.drain(..keep);
        self.base += keep;
        self.pending -= keep;
        self.units.retain(|s| *s >= keep);
        self.units.iter_mut().for_each(|s| *s -= keep);
        self.cutter.shift(keep);
    }

    fn report(&mut self, judgement: &Judgement, step: &mut Step) {
        for verdict in &judgement.verdicts {
            let key = (verdict.stage, verdict.category, verdict.span.clone());
            if verdict.action == Action::Block || !self.reported.contains(&key) {
                self.reported.push(key);
                step.verdicts.push(verdict.clone());
            }
        }
    }

    /// Ends the stream; what was not released is gone.
    fn stop(&mut self, judgement: Judgement, step: &mut Step) {
        self.over = true;
        self.text = String::new();
        self.all = String::new();
        self.pending = 0;
        self.units.clear();
        step.blocked = Some(judgement);
    }

    fn fail(&mut self, error: Error, step: &mut Step) {
        let control = Control::new(self.cancel.clone(), self.guard.policy().limits().time());
        let judgement = pipeline::failed(Side::Output, self.guard.policy(), error, "", &control);
        self.report(&judgement, step);
        self.stop(judgement, step);
    }

    fn check_length(&mut self, step: &mut Step) {
        let most = self.guard.policy().limits().text_bytes;
        if self.text.len() > most {
            self.fail(Error::limit(format!("an answer of more than {most} bytes cannot be judged as a whole")), step);
        }
    }
}

impl std::fmt::Debug for OutputStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text is not shown: it has not been cleared.
        f.debug_struct("OutputStream").field("stats", &self.stats).field("over", &self.over).finish_non_exhaustive()
    }
}
