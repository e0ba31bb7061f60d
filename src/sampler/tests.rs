//! The filters against a plain full sort, and the draw against its distribution.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashMap;

use super::*;
use crate::Kind;

const LLAMA4: usize = 202_048;

type Field = fn(&mut SamplerOptions) -> &mut f32;

/// Everything off, so that one step at a time can be switched on.
fn plain() -> SamplerOptions {
    SamplerOptions { temperature: 1.0, top_p: 1.0, ..SamplerOptions::default() }
}

/// Bell-shaped logits with ties: the sum of uniform numbers, rounded to `step`.
fn random_logits(size: usize, seed: u64, spread: f32, step: f32) -> Vec<f32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut uniform = || (rng.next_u64() >> 40) as f32 / (1 << 24) as f32 - 0.5;
    (0..size).map(|_| ((0..8).map(|_| uniform()).sum::<f32>() * spread / step).round() * step).collect()
}

/// The definition: sort everything, filter in order, probabilities in f64. In id order.
fn by_definition(
    logits: &[f32],
    history: &[u32],
    allowed: Option<&TokenMask>,
    options: &SamplerOptions,
) -> Vec<(u32, f64)> {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    let window = history.len().min(options.penalty_window as usize);
    for &id in &history[history.len() - window..] {
        *counts.entry(id).or_default() += 1;
    }
    let mut tokens: Vec<(u32, f32)> = Vec::new();
    for (id, &logit) in (0..).zip(logits) {
        if logit == f32::NEG_INFINITY || allowed.is_some_and(|mask| !mask.allows(id)) {
            continue;
        }
        let count = counts.get(&id).copied().unwrap_or(0);
        let mut changed = logit;
        if count > 0 {
            changed = if logit > 0.0 { logit / options.repetition_penalty } else { logit * options.repetition_penalty };
            changed -= options.frequency_penalty * count as f32 + options.presence_penalty;
        }
        tokens.push((id, changed));
    }
    tokens.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    if options.top_k > 0 {
        tokens.truncate(options.top_k as usize);
    }
    let best = f64::from(tokens[0].1);
    let mass = |logit: f32| ((f64::from(logit) - best) / f64::from(options.temperature)).exp();
    let mut masses: Vec<(u32, f64)> = tokens.iter().map(|&(id, logit)| (id, mass(logit))).collect();
    let total: f64 = masses.iter().map(|token| token.1).sum();
    let (mut reached, mut keep) = (0.0, 0);
    while keep < masses.len() && reached < f64::from(options.top_p) * total {
        reached += masses[keep].1;
        keep += 1;
    }
    if options.top_p < 1.0 {
        masses.truncate(keep);
    }
    masses.retain(|token| token.1 >= f64::from(options.min_p));
    masses.sort_by_key(|token| token.0);
    masses
}

fn compare(logits: &[f32], history: &[u32], allowed: Option<&TokenMask>, options: &SamplerOptions) {
    let mut sampler = Sampler::new(options.clone()).unwrap();
    let id = sampler.sample(logits, history, allowed).unwrap();
    // Tokens too improbable for f32 cannot be drawn; the definition has them with a mass near e^-87.
    let expected: Vec<_> =
        by_definition(logits, history, allowed, options).into_iter().filter(|t| t.1 > 1e-37).collect();
    let kept: Vec<_> = sampler.kept().into_iter().filter(|token| token.1 > 1e-37).collect();
    let ids = |(id, _): &(u32, _)| *id;
    let (kept_ids, expected_ids): (Vec<u32>, Vec<u32>) =
        (kept.iter().map(ids).collect(), expected.iter().map(|token| token.0).collect());
    assert!(kept_ids == expected_ids, "{options:?}: kept {} of {}", kept_ids.len(), expected_ids.len());
    for (ours, truth) in kept.iter().zip(&expected) {
        assert!((f64::from(ours.1) - truth.1).abs() <= truth.1 * 2e-5, "{options:?}: {ours:?} for {truth:?}");
    }
    assert!(kept_ids.contains(&id));
}

#[test]
fn filters_keep_what_a_full_sort_keeps() {
    let each = [
        plain(),
        SamplerOptions { temperature: 0.6, ..plain() },
        SamplerOptions { top_k: 1, ..plain() },
        SamplerOptions { top_k: 40, ..plain() },
        SamplerOptions { top_k: 5000, ..plain() },
        SamplerOptions { top_p: 0.1, ..plain() },
        SamplerOptions { top_p: 0.9, ..plain() },
        SamplerOptions { top_p: 0.999, ..plain() },
        SamplerOptions { top_p: f32::MIN_POSITIVE, ..plain() },
        SamplerOptions { min_p: 0.05, ..plain() },
        SamplerOptions { min_p: 1.0, ..plain() },
        SamplerOptions { temperature: 0.6, top_k: 200, top_p: 0.9, min_p: 0.01, ..plain() },
        SamplerOptions { temperature: 2.0, top_p: 0.95, min_p: 0.1, ..plain() },
        SamplerOptions { repetition_penalty: 1.3, frequency_penalty: 0.4, presence_penalty: 0.7, top_k: 50, ..plain() },
        SamplerOptions { repetition_penalty: 0.5, penalty_window: 3, top_p: 0.8, ..plain() },
        SamplerOptions::default(),
    ];
    for (size, seed) in [(1, 1), (2, 2), (33, 3), (1000, 4), (LLAMA4, 5)] {
        let history: Vec<u32> = (0..100).map(|i| i * 7 % 61 % size as u32).collect();
        let mask = TokenMask::from_fn(size as u32, |id| id % 5 != 3);
        // Steep, as models are when they are sure; flat; and coarse, so that whole groups tie.
        for (spread, step) in [(6.0, 1e-4), (0.5, 1e-4), (4.0, 0.5)] {
            let logits = random_logits(size, seed, spread, step);
            for options in &each {
                compare(&logits, &history, None, options);
                compare(&logits, &history, Some(&mask), options);
            }
        }
    }
    for options in &each {
        compare(&vec![1.5; LLAMA4], &[], None, options);
    }
}

/// Random settings over random shapes of logits, from one sure token to all alike, with masks and histories.
#[test]
fn random_filters_keep_what_a_full_sort_keeps() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(77);
    let mut fraction = || (rng.next_u64() >> 40) as f32 / (1 << 24) as f32;
    for round in 0..160 {
        let size = [LLAMA4, 30_011, 3000, 257][round % 4];
        let spread = [0.05, 0.5, 2.0, 8.0, 30.0][round % 5];
        let step = if fraction() < 0.25 { 0.25 } else { 1e-4 };
        let logits = random_logits(size, 1000 + round as u64, spread, step);
        let mut on = |value: f32, off: f32| if fraction() < 0.5 { value } else { off };
        let (k, p, min, penalty) = (on(1.0, 0.0), on(1.0, 0.0), on(1.0, 0.0), on(1.0, 0.0));
        let options = SamplerOptions {
            temperature: 0.2 + 2.0 * fraction(),
            top_k: (k * fraction().powi(4) * size as f32) as u32,
            top_p: if p > 0.0 { fraction().max(1e-6) } else { 1.0 },
            min_p: min * fraction().powi(3),
            repetition_penalty: 1.0 + penalty * fraction(),
            frequency_penalty: penalty * fraction(),
            presence_penalty: penalty * fraction(),
            ..SamplerOptions::default()
        };
        let history: Vec<u32> = (0..70).map(|i| (i * i * 31 + round as u32) % size as u32).collect();
        let mask = TokenMask::from_fn(size as u32, |id| !(id ^ id >> 3).is_multiple_of(3));
        compare(&logits, &history, (round % 3 > 0).then_some(&mask), &options);
    }
}

/// Each id in turn at its own fraction of the mass, where so many are left that no list of them is made.
#[test]
fn a_draw_among_many_goes_by_mass_in_id_order() {
    let logits: Vec<f32> = (0..5000).map(|id| if id % 7 == 0 { f32::NEG_INFINITY } else { (id % 5) as f32 }).collect();
    let mut filter = Filter::default();
    filter.apply(&logits, 4.0, &plain());
    let kept = filter.kept();
    assert_eq!(kept.len(), logits.iter().filter(|x| x.is_finite()).count());
    let total: f64 = kept.iter().map(|token| f64::from(token.1)).sum();
    let mut before = 0.0;
    for &(id, mass) in &kept {
        let middle = (before + f64::from(mass) / 2.0) / total;
        assert_eq!(filter.draw(middle), Some(id));
        before += f64::from(mass);
    }
    assert_eq!(filter.draw(0.0), Some(1));
    assert_eq!(filter.draw(1.0), Some(4999));
}

#[test]
fn the_best_id_wins_at_temperature_zero_and_the_lowest_of_equals() {
    let mut sampler = Sampler::new(SamplerOptions::greedy()).unwrap();
    let mut logits = random_logits(LLAMA4, 9, 3.0, 1e-4);
    logits[70_000] = 50.0;
    logits[170_000] = 50.0;
    assert_eq!(sampler.sample(&logits, &[], None).unwrap(), 70_000);
    let mask = TokenMask::from_fn(LLAMA4 as u32, |id| id != 70_000);
    assert_eq!(sampler.sample(&logits, &[], Some(&mask)).unwrap(), 170_000);
    let options = SamplerOptions { presence_penalty: 0.5, ..SamplerOptions::greedy() };
    assert_eq!(Sampler::new(options).unwrap().sample(&logits, &[70_000], None).unwrap(), 170_000);
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [2.0, 1.0, 0.0, -1.0, f32::NEG_INFINITY, 1.0];
    let options = SamplerOptions { seed: 11, ..plain() };
    let expected = by_definition(&logits, &[], None, &options);
    let total: f64 = expected.iter().map(|token| token.1).sum();
    let mut sampler = Sampler::new(options).unwrap();
    let draws = 40_000;
    let mut counts = [0_u32; 6];
    for _ in 0..draws {
        counts[sampler.sample(&logits, &[], None).unwrap() as usize] += 1;
    }
    assert_eq!(counts[4], 0);
    let chi: f64 = expected
        .iter()
        .map(|&(id, mass)| {
            let due = mass / total * f64::from(draws);
            (f64::from(counts[id as usize]) - due).powi(2) / due
        })
        .sum();
    // Four degrees of freedom: a fair sampler passes 23.5 once in ten thousand seeds.
    assert!(chi < 23.5, "{chi} {counts:?}");
}

#[test]
fn a_seed_repeats_its_sequence() {
    let logits = random_logits(5000, 3, 1.0, 1e-4);
    let sequence = |seed| {
        let mut sampler = Sampler::new(SamplerOptions { seed, ..SamplerOptions::default() }).unwrap();
        let mut ids = Vec::new();
        (0..50).for_each(|_| ids.push(sampler.sample(&logits, &ids, None).unwrap()));
        ids
    };
    assert_eq!(sequence(1), sequence(1));
    assert_ne!(sequence(1), sequence(2));
    let mut sampler = Sampler::new(SamplerOptions { seed: 2, ..SamplerOptions::default() }).unwrap();
    sampler.sample(&logits, &[], None).unwrap();
    sampler.reseed(1);
    assert_eq!(sampler.sample(&logits, &[], None).unwrap(), sequence(1)[0]);
}

#[test]
fn logits_that_are_no_numbers_give_an_error_and_no_token() {
    for temperature in [0.0, 0.7] {
        let mut sampler = Sampler::new(SamplerOptions { temperature, ..SamplerOptions::default() }).unwrap();
        let mask = TokenMask::from_fn(3, |id| id == 0);
        let minus = f32::NEG_INFINITY;
        for logits in
            [&[1.0, f32::NAN, 2.0][..], &[f32::INFINITY, 0.0, 0.0], &[minus, minus, minus], &[minus, 1.0, 2.0], &[]]
        {
            assert_eq!(sampler.sample(logits, &[], Some(&mask)).unwrap_err().kind(), Kind::Numeric, "{logits:?}");
        }
        // What follows an error is not spoiled by it, and the edges of f32 are numbers.
        assert_eq!(sampler.sample(&[f32::MIN, f32::MAX, 0.0], &[], None).unwrap(), 1);
    }
    let options = SamplerOptions { repetition_penalty: 100.0, frequency_penalty: 100.0, ..plain() };
    let mut sampler = Sampler::new(options).unwrap();
    assert_eq!(sampler.sample(&[f32::MIN, f32::MIN], &[0, 0, 1], None).unwrap() / 2, 0);
    assert_eq!(sampler.sample(&[1.0, 2.0], &[2], None).unwrap_err().kind(), Kind::Argument);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let mut checked = 0;
    let fields: [(&str, Field); 6] = [
        ("temperature", |o| &mut o.temperature),
        ("top_p", |o| &mut o.top_p),
        ("min_p", |o| &mut o.min_p),
        ("repetition_penalty", |o| &mut o.repetition_penalty),
        ("frequency_penalty", |o| &mut o.frequency_penalty),
        ("presence_penalty", |o| &mut o.presence_penalty),
    ];
    for (name, field) in fields {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1, 1e9] {
            let mut options = SamplerOptions::default();
            *field(&mut options) = bad;
            let error = Sampler::new(options).unwrap_err();
            assert_eq!(error.kind(), Kind::Argument);
            assert!(error.message().starts_with(name), "{error}");
            checked += 1;
        }
    }
    assert_eq!(checked, 30);
    assert!(SamplerOptions { top_p: 0.0, ..plain() }.validate().is_err());
    assert!(SamplerOptions { penalty_window: 65_537, ..plain() }.validate().is_err());
    assert!(SamplerOptions::default().validate().is_ok() && SamplerOptions::greedy().validate().is_ok());
}
