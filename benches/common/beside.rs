//! A decode loop whose every piece goes through the output guard, beside the same loop without one.
#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(clippy::expect_used, reason = "a program that may end where it cannot go on")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use palisade::engine::{Decoder, DecoderOptions, RunControl};
use palisade::gguf::Gguf;
use palisade::guard::{Guard, OutputContext};

/// The two loops take turns so many times.
const ROUNDS: usize = 5;
/// Tokens of the answer.
const TOKENS: usize = 96;
/// What the model has read before the answer begins.
const PROMPT: usize = 16;

/// The seconds of the steps of one answer.
struct Loop {
    steps: Vec<f64>,
    /// What came after the last step: the rest is judged and released.
    end: f64,
    judgements: usize,
}

/// Decodes `prose` with the model in the file, in turn without and with the embedded guard, and prints both. The tokens of the
/// prose are forced, so that it is an answer whatever the model would say.
pub(crate) fn run(model: &Path, guard: &Arc<Guard>, prose: &str) {
    let gguf = Arc::new(Gguf::open(model).expect("a model file"));
    let decoder = Decoder::load(&gguf, &DecoderOptions::default(), &mut |_| true).expect("a decoder");
    let decoder = Arc::new(decoder);
    let answer = tokens(decoder.model().hparams.vocab, prose);
    let once = |guard: Option<&Arc<Guard>>| decode(&decoder, guard, &answer);
    once(Some(guard));
    let rounds: Vec<[Loop; 2]> = (0..ROUNDS).map(|_| [once(None), once(Some(guard))]).collect();
    report(&decoder, &rounds);
}

/// The prose in pieces of four letters, which is what a token is in English, each with some token: what a step costs does not
/// depend on which one it is, and a synthetic model has no vocabulary of words.
fn tokens(vocab: usize, prose: &str) -> Vec<(u32, String)> {
    let letters: Vec<char> = prose.chars().collect();
    let some = u32::try_from(vocab).map_or(1, |n| n.clamp(1, 7919));
    letters.chunks(4).take(TOKENS).zip(0u32..).map(|(c, i)| (i * 31 % some, c.iter().collect())).collect()
}

fn decode(decoder: &Arc<Decoder>, guard: Option<&Arc<Guard>>, answer: &[(u32, String)]) -> Loop {
    let mut context = decoder.conversation().expect("a conversation");
    let prompt: Vec<u32> = answer.iter().map(|(id, _)| *id).cycle().take(PROMPT).collect();
    context.append(&prompt, &mut RunControl::default()).expect("a prompt");
    let mut stream = guard.map(|guard| guard.output_stream(OutputContext::default()));
    let mut steps = Vec::with_capacity(answer.len());
    for (id, piece) in answer {
        let start = Instant::now();
        black_box(context.feed(&[*id], &mut RunControl::default()).expect("a step"));
        if let Some(stream) = &mut stream {
            let step = stream.push(black_box(piece));
            assert!(step.blocked.is_none(), "{:?}", step.verdicts);
        }
        steps.push(start.elapsed().as_secs_f64());
    }
    let start = Instant::now();
    let judgements = stream.map_or(0, |mut stream| {
        drop(black_box(stream.end()));
        stream.stats().judgements
    });
    Loop { steps, end: start.elapsed().as_secs_f64(), judgements }
}

/// The step in the middle tells what most tokens cost, the mean what all of them do: the guard works in few of them. In the
/// mean each token counts with the middle one of its rounds, so that what disturbed one round does not.
fn report(decoder: &Decoder, rounds: &[[Loop; 2]]) {
    let all = |which: usize| rounds.iter().map(move |round| &round[which]);
    let middle = |which: usize| median(all(which).flat_map(|run| run.steps.iter().copied()).collect()) * 1e3;
    let tokens = rounds[0][0].steps.len();
    let mean = |which: usize| {
        let step = |i: usize| median(all(which).map(|run| run.steps[i]).collect());
        let end = median(all(which).map(|run| run.end).collect());
        ((0..tokens).map(step).sum::<f64>() + end) / tokens as f64 * 1e3
    };
    let whole = |run: &Loop| run.steps.iter().sum::<f64>() + run.end;
    let mut ratios: Vec<f64> = rounds.iter().map(|[plain, guarded]| whole(guarded) / whole(plain)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    println!(
        "{{\"guarded\":\"beside the plain loop\",\"threads\":{},\"tokens\":{tokens},\"rounds\":{},\"judgements\":{},\
         \"plain_step_ms\":{:.2},\"guarded_step_ms\":{:.2},\"step_ratio\":{:.3},\"plain_mean_ms\":{:.2},\
         \"guarded_mean_ms\":{:.2},\"mean_ratio\":{:.3},\"of_rounds\":[{:.3},{:.3},{:.3}]}}",
        decoder.threads(),
        rounds.len(),
        rounds[0][1].judgements,
        middle(0),
        middle(1),
        middle(1) / middle(0),
        mean(0),
        mean(1),
        mean(1) / mean(0),
        ratios[0],
        median(ratios.clone()),
        ratios[ratios.len() - 1]
    );
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}
