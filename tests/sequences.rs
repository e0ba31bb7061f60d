//! Several conversations in one pass, forks, ways back, and logits only where they are asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;

use palisade::engine::{ColumnSquares, Context, Decoder, DecoderOptions, KvType, RunControl};
use palisade::gguf::Gguf;
use palisade::{CancelFlag, Kind};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logits").join(format!("{name}.gguf"))
}

fn ids(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(fixture(name).with_extension("json")).unwrap();
    let doc: serde_json::Value = serde_json::from_str(&text).unwrap();
    doc["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn load(name: &str, options: &DecoderOptions) -> Arc<Decoder> {
    let gguf = Arc::new(Gguf::open(fixture(name)).unwrap());
    Arc::new(Decoder::load(&gguf, options, &mut |_| true).unwrap())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn feed(talk: &mut Context, ids: &[u32]) -> Vec<u32> {
    bits(&talk.feed(ids, &mut RunControl::default()).unwrap())
}

fn step(decoder: &Decoder, talks: &mut [Context], ids: &[u32]) -> palisade::Result<Vec<Vec<f32>>> {
    decoder.step(&mut talks.iter_mut().collect::<Vec<_>>(), ids, &mut RunControl::default())
}

/// Fixtures of every family, with chunks and without, and how their past is kept.
const KINDS: [(&str, KvType); 9] = [
    ("scout-f32", KvType::F32),
    ("scout-kmix", KvType::F16),
    ("scout-q8_0", KvType::Q8_0),
    ("scout-chunk16", KvType::Auto),
    ("maverick-q4_0", KvType::Q8_0),
    ("llama3-q4_0", KvType::F16),
    ("guard4-f16", KvType::Auto),
    ("behemoth-q8_0", KvType::F16),
    ("two-experts-f16", KvType::Auto),
];

#[test]
fn conversations_that_step_together_get_the_bits_they_get_alone() {
    for (name, kv) in KINDS {
        let all = ids(name);
        // Depths on either side of a chunk's border and of a page's; more conversations than run side by side.
        let depths: Vec<usize> = (0..18).map(|i| (i * 11 + 3) % 40 + 1).collect();
        for threads in [1, 2] {
            let decoder = load(name, &DecoderOptions { kv, threads, ..Default::default() });
            let begin = |depth: &usize| {
                let mut talk = decoder.conversation().unwrap();
                talk.append(&all[..*depth], &mut RunControl::default()).unwrap();
                talk
            };
            let mut alone: Vec<Context> = depths.iter().map(begin).collect();
            for count in [2, 5, 18] {
                let mut together: Vec<Context> = alone.iter().take(count).map(Context::fork).collect();
                for round in 0..3 {
                    let next: Vec<u32> = (0..count).map(|i| all[(i * 7 + round * 5) % all.len()]).collect();
                    let rows = step(&decoder, &mut together, &next).unwrap();
                    assert_eq!(rows.len(), count);
                    for (i, row) in rows.iter().enumerate() {
                        let mut talk = alone[i].fork();
                        for earlier in 0..round {
                            feed(&mut talk, &[all[(i * 7 + earlier * 5) % all.len()]]);
                        }
                        assert_eq!(together[i].len(), depths[i] + round + 1);
                        assert!(bits(row) == feed(&mut talk, &[next[i]]), "{name}: {i} of {count}, step {round}");
                    }
                }
            }
            alone.clear();
        }
    }
}

#[test]
fn a_step_is_all_or_nothing() {
    let decoder = load("scout-q8_0", &DecoderOptions { context: 12, ..Default::default() });
    let all = ids("scout-q8_0");
    let mut talks = vec![decoder.conversation().unwrap(), decoder.conversation().unwrap()];
    feed(&mut talks[0], &all[..4]);
    feed(&mut talks[1], &all[..12]);
    let want = feed(&mut talks[0].fork(), &all[4..5]);
    let kind = |talks: &mut [Context], ids: &[u32]| step(&decoder, talks, ids).unwrap_err().kind();
    assert_eq!(kind(&mut talks, &[1, 1]), Kind::Limit, "the second is full");
    talks[1].truncate(5).unwrap();
    assert_eq!(kind(&mut talks, &[1]), Kind::Argument, "an id is missing");
    assert_eq!(kind(&mut talks, &[1, u32::MAX]), Kind::Argument);
    let other = load("scout-q8_0", &DecoderOptions::default());
    let foreign = step(&other, &mut talks, &[1, 1]).unwrap_err();
    assert_eq!(foreign.kind(), Kind::Argument, "{foreign}");
    let cancel = CancelFlag::default();
    cancel.raise();
    let mut control = RunControl { cancel, ..Default::default() };
    let stopped = decoder.step(&mut talks.iter_mut().collect::<Vec<_>>(), &[1, 1], &mut control);
    assert_eq!(stopped.unwrap_err().kind(), Kind::Cancelled);
    assert_eq!((talks[0].len(), talks[1].len()), (4, 5));
    assert!(feed(&mut talks[0], &all[4..5]) == want, "as if nothing had been tried");
    assert!(step(&decoder, &mut [], &[]).unwrap().is_empty());
}

#[test]
fn a_fork_goes_its_own_way() {
    for (name, kv) in KINDS {
        let decoder = load(name, &DecoderOptions { kv, ..Default::default() });
        let all = ids(name);
        let fresh = |ids: &[u32]| feed(&mut decoder.conversation().unwrap(), ids);
        let mut talk = decoder.conversation().unwrap();
        feed(&mut talk, &all[..20]);
        let mut fork = talk.fork();
        let (other, own): (Vec<u32>, Vec<u32>) = (all[..20].iter().rev().copied().collect(), all[20..24].to_vec());
        feed(&mut fork, &other);
        assert_eq!((talk.len(), fork.len()), (20, 40));
        assert!(feed(&mut talk, &own) == fresh(&[&all[..20], &own].concat()), "{name}: the fork wrote into it");
        let mut way = all[..20].to_vec();
        way.extend(&other);
        way.extend(&own);
        assert!(feed(&mut fork, &own) == fresh(&way), "{name}: the fork lost its way");
    }
}

/// What a guard does: append, ask with a suffix, go back, append more.
#[test]
fn going_back_leaves_no_trace() {
    for (name, kv) in KINDS {
        let decoder = load(name, &DecoderOptions { kv, ..Default::default() });
        let all = ids(name);
        let mut talk = decoder.conversation().unwrap();
        let mut asked = 0;
        for from in (0..48).step_by(6) {
            talk.append(&all[from..from + 6], &mut RunControl::default()).unwrap();
            let len = talk.len();
            let kept = talk.fork();
            feed(&mut talk, &all[50..57]);
            // A suffix that crosses into a new chunk has dropped the old one: the fork is the way back.
            match talk.truncate(len) {
                Ok(()) => asked += 1,
                Err(e) => {
                    assert!(
                        e.kind() == Kind::State && name == "scout-chunk16" && e.message().contains("dropped"),
                        "{e}"
                    );
                    assert!(len / 16 < (len + 7) / 16, "nothing was dropped at {len}");
                    talk = kept;
                }
            }
            let mut whole = decoder.conversation().unwrap();
            whole.append(&all[..len], &mut RunControl::default()).unwrap();
            assert!(feed(&mut talk.fork(), &all[57..60]) == feed(&mut whole, &all[57..60]), "{name} at {len}");
        }
        assert!(asked >= 4, "{name}: {asked} ways back");
    }
}

#[test]
fn only_what_is_asked_for_meets_the_output_matrix() {
    for name in ["scout-q8_0", "llama3-f32"] {
        let squares = Arc::new(ColumnSquares::default());
        let watched = Some(Arc::clone(&squares));
        let options = DecoderOptions { prefill_batch: 7, column_squares: watched, ..Default::default() };
        let decoder = load(name, &options);
        let output = decoder.model().output.name.clone();
        let met = || squares.take().get(&output).map_or(0, |s| s.counts.iter().sum::<u64>());
        let all = ids(name);
        let mut talk = decoder.conversation().unwrap();
        let logits = feed(&mut talk, &all[..40]);
        assert_eq!(met(), 1, "{name}: six batches, one row");
        let mut quiet = decoder.conversation().unwrap();
        quiet.append(&all[..39], &mut RunControl::default()).unwrap();
        assert_eq!(met(), 0, "{name}: none was asked for");
        assert!(feed(&mut quiet, &all[39..40]) == logits, "{name}");
        let mut talks = [talk, quiet];
        step(&decoder, &mut talks, &all[40..42]).unwrap();
        assert_eq!(met(), 3, "{name}: one alone, two together");
        decoder.score(&all[..30], &mut RunControl::default()).unwrap();
        assert_eq!(met(), 29, "{name}: scoring asks for all");
    }
}
