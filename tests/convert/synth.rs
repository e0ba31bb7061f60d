//! Synthetic models load, stay finite, repeat by seed, and route as they were asked to.

use std::path::Path;
use std::sync::Arc;

use palisade::convert::{Control, Conversion, Routing, Shape, SynthOptions, Types};
use palisade::engine::{ColumnSquares, Decoder, DecoderOptions, Phase, Profile, RunControl, Work};
use palisade::gguf::Gguf;
use palisade::model::Model;
use palisade::quant::BlockType;
use palisade::tokenizer::Tokenizer;

/// A small model of a shape.
fn small(name: &str, ty: BlockType, routing: Routing, seed: u64) -> SynthOptions {
    let mut shape = Shape::named(name).unwrap();
    (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_dim) = (4, 512, 4, 2, 64);
    (shape.ffn, shape.expert_ffn, shape.vocab) = (512, 256, 2048);
    shape.experts = shape.experts.min(32);
    SynthOptions { shape, types: Types::new(ty), routing, seed }
}

fn write(options: &SynthOptions, path: &Path) {
    Conversion::synthetic(options).unwrap().run(path, &mut Control::default()).unwrap();
}

#[test]
fn every_shape_and_type_loads_and_stays_finite() {
    let out = tempfile::tempdir().unwrap();
    for shape in Shape::ALL {
        for ty in BlockType::ALL.into_iter().filter(|ty| ty.can_quantize()) {
            let path = out.path().join(format!("{}-{ty}.gguf", shape.name));
            write(&small(shape.name, ty, Routing::Uniform, 3), &path);
            let gguf = Gguf::open(&path).unwrap();
            let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
            let ids = tokenizer.encode_text("Any text: naïve नमस्ते 12345\n");
            assert!(ids.len() > 8);
            let logprobs = super::score(&path, &ids);
            assert!(logprobs.iter().all(|p| p.is_finite() && *p > -40.0), "{} {ty}: {logprobs:?}", shape.name);
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn full_shapes_plan_the_bytes_they_are_known_for() {
    let elements = |name: &str| -> u64 {
        let shape = Shape::named(name).unwrap();
        let options = SynthOptions { shape, types: Types::new(BlockType::Q4_0), routing: Routing::Uniform, seed: 0 };
        let plan = Conversion::synthetic(&options).unwrap();
        plan.tensors().iter().map(|t| t.dims.iter().product::<u64>()).sum()
    };
    // Parameters of the text decoders, and Scout's 64 divisors.
    assert_eq!(elements("scout"), 107_769_861_120 + 64);
    assert_eq!(elements("maverick"), 400_711_848_960);
    assert_eq!(elements("guard-4"), 11_129_164_800 + 64);
    assert_eq!(elements("llama-1b"), 1_235_814_400 + 32);
    let behemoth = elements("behemoth-class") as f64 / 1e12;
    assert!((1.9..2.0).contains(&behemoth), "{behemoth} trillion");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    let made = |name: &str, seed: u64, threads: usize| {
        let path = out.path().join(name);
        let plan = Conversion::synthetic(&small("maverick", BlockType::Q4_0, Routing::Zipf(1.0), seed)).unwrap();
        plan.run(&path, &mut Control { threads, ..Control::default() }).unwrap();
        std::fs::read(path).unwrap()
    };
    let one = made("one", 5, 1);
    assert!(one == made("two", 5, 2));
    assert!(one != made("three", 6, 1));
}

/// The expert of each layer with experts, token by token.
fn routed(path: &Path, ids: &[u32]) -> Vec<Vec<usize>> {
    let gguf = Arc::new(Gguf::open(path).unwrap());
    let squares = Arc::new(ColumnSquares::default());
    let options =
        DecoderOptions { column_squares: Some(Arc::clone(&squares)), context: ids.len(), ..Default::default() };
    let model = Model::from_gguf(&gguf).unwrap();
    let decoder = Arc::new(Decoder::load(&gguf, &options, &mut |_| true).unwrap());
    let mut talk = decoder.conversation().unwrap();
    let layers: Vec<usize> = (0..model.layers.len()).filter(|l| model.layers[*l].routed.is_some()).collect();
    let mut seen = vec![vec![]; layers.len()];
    for id in ids {
        talk.feed(&[*id], &mut RunControl::default()).unwrap();
        let all = squares.take();
        for (seen, l) in seen.iter_mut().zip(&layers) {
            let counts = &all[&format!("blk.{l}.ffn_gate_exps.weight")].counts;
            assert_eq!(counts.iter().sum::<u64>(), 1);
            seen.push(counts.iter().position(|n| *n == 1).unwrap());
        }
    }
    seen
}

/// Text ids in an even order, each at most once a round.
fn even_ids(vocab: u32, count: usize) -> Vec<u32> {
    let text = vocab - 32;
    (0..count as u64).map(|i| ((i * 1_103_515_245 + 12345) >> 8) as u32 % text).collect()
}

fn check_shares(seen: &[Vec<usize>], share: impl Fn(usize) -> f64, experts: usize, what: &str) {
    for (layer, seen) in seen.iter().enumerate() {
        let mut counts = vec![0u32; experts];
        seen.iter().for_each(|e| counts[*e] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        for (rank, count) in counts.iter().enumerate() {
            let (n, p) = (seen.len() as f64, share(rank));
            let error = (p * (1.0 - p) / n).sqrt();
            let got = f64::from(*count) / n;
            assert!((got - p).abs() < 4.0 * error, "{what}, layer {layer}, rank {rank}: {got} for {p} ± {error}");
        }
    }
}

#[test]
fn uniform_and_zipf_routing_follow_their_law() {
    let out = tempfile::tempdir().unwrap();
    let ids = even_ids(2048, 1500);
    for (name, ty) in [("scout", BlockType::Q4_0), ("maverick", BlockType::Q4K)] {
        for (routing, s) in [(Routing::Uniform, 0.0), (Routing::Zipf(1.2), 1.2)] {
            let options = small(name, ty, routing, 11);
            let experts = options.shape.experts as usize;
            let path = out.path().join("routed.gguf");
            Conversion::synthetic(&options)
                .unwrap()
                .run(&path, &mut Control { replace: true, ..Control::default() })
                .unwrap();
            let all: f64 = (1..=experts).map(|r| (r as f64).powf(-s)).sum();
            let share = |rank: usize| ((rank + 1) as f64).powf(-s) / all;
            check_shares(&routed(&path, &ids), share, experts, &format!("{name} {routing:?}"));
        }
    }
}

#[test]
fn sticky_routing_keeps_its_expert_as_often_as_asked() {
    let out = tempfile::tempdir().unwrap();
    let ids = even_ids(2048, 1500);
    for (name, ty, p) in
        [("scout", BlockType::Q8_0, 0.8), ("scout", BlockType::Q4_0, 0.6), ("maverick", BlockType::Q4K, 0.7)]
    {
        let path = out.path().join("sticky.gguf");
        let options = small(name, ty, Routing::Sticky(p), 12);
        Conversion::synthetic(&options)
            .unwrap()
            .run(&path, &mut Control { replace: true, ..Control::default() })
            .unwrap();
        for (layer, seen) in routed(&path, &ids).iter().enumerate() {
            let kept = seen.windows(2).filter(|w| w[0] == w[1]).count() as f64 / (seen.len() - 1) as f64;
            println!("{name} {ty} sticky:{p} layer {layer}: {kept:.3}");
            assert!((kept - p).abs() < 0.05, "{name} {ty} sticky:{p}, layer {layer}: {kept}");
            let mut used = seen.clone();
            used.sort_unstable();
            used.dedup();
            assert!(used.len() > options.shape.experts as usize / 2, "layer {layer} uses {} experts", used.len());
        }
    }
}

/// Loading on any number of threads tells of every byte once, in order, gives the same weights, and stops when it is told to.
#[test]
fn loading_reports_every_byte_and_can_be_stopped() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    write(&small("scout", BlockType::Q4K, Routing::Uniform, 4), &path);
    let gguf = Arc::new(Gguf::open(&path).unwrap());
    let load = |threads: usize, stop_at: usize| {
        let options = DecoderOptions { threads, ..Default::default() };
        let mut seen = vec![];
        let decoder = Decoder::load(&gguf, &options, &mut |progress| {
            seen.push((progress.done, progress.total));
            seen.len() < stop_at
        });
        (decoder, seen)
    };
    let logits = [1, 2, 4].map(|threads| {
        let (decoder, seen) = load(threads, usize::MAX);
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0 && a.1 == b.1));
        assert!(seen.last().is_some_and(|(done, total)| done == total));
        let mut talk = Arc::new(decoder.unwrap()).conversation().unwrap();
        talk.feed(&[5, 6, 7], &mut RunControl::default()).unwrap()
    });
    assert!(logits[0] == logits[1] && logits[0] == logits[2]);
    for threads in [1, 4] {
        let (decoder, seen) = load(threads, 2);
        assert_eq!((decoder.unwrap_err().kind(), seen.len()), (palisade::Kind::Cancelled, 2));
    }
}

/// Every phase of a run is timed, none twice, and the work is what the shapes ask for.
#[test]
fn a_profile_accounts_for_the_run() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("m.gguf");
    write(&small("scout", BlockType::Q4_0, Routing::Uniform, 9), &path);
    let gguf = Arc::new(Gguf::open(&path).unwrap());
    let decoder = Arc::new(Decoder::load(&gguf, &DecoderOptions::default(), &mut |_| true).unwrap());
    let mut talk = decoder.conversation().unwrap();
    let mut profile = Profile::default();
    let start = std::time::Instant::now();
    let logits = talk.feed(&[1, 2, 3], &mut RunControl { profile: Some(&mut profile), ..Default::default() }).unwrap();
    let whole = start.elapsed();
    let phases = Phase::ALL.map(|phase| profile.phase(phase));
    assert!(phases.iter().all(|time| !time.is_zero()), "{profile:?}");
    assert!(profile.total() <= whole);
    assert_eq!(phases.iter().sum::<std::time::Duration>() + profile.overhead(), profile.total());
    let unwatched = decoder.conversation().unwrap().feed(&[1, 2, 3], &mut RunControl::default()).unwrap();
    assert_eq!(logits, unwatched);

    // Query and output matrix, keys and values, router, shared and one routed expert; Q4_0 takes 18 bytes for 32 weights.
    let layer = 2 * 512 * 256 + 2 * 512 * 128 + 16 * 512 + 2 * 3 * 512 * 256;
    let work = Work::of(decoder.model()).unwrap();
    assert_eq!((work.layer_macs, work.output_macs), (4 * layer, 512 * 2048));
    let ty = |m: &palisade::model::MatrixRef| m.ty;
    let model = decoder.model();
    assert_eq!((ty(&model.layers[0].q), ty(&model.output)), (BlockType::Q4_0, BlockType::Q6K));
    let router = 16 * 512;
    let blocks = (4 * (layer - router)) / 32 * 18 + 4 * router * 4;
    assert_eq!(work.bytes, blocks + 512 * 2048 / 256 * 210);
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let refused = |change: fn(&mut SynthOptions), said: &str| {
        let mut options = small("scout", BlockType::Q8_0, Routing::Uniform, 1);
        change(&mut options);
        let e = Conversion::synthetic(&options).unwrap_err();
        assert!(e.message().contains(said), "{e}");
    };
    refused(|o| o.routing = Routing::Sticky(0.999), "reach");
    refused(|o| o.routing = Routing::Sticky(0.0), "reach");
    refused(|o| (o.shape.width, o.shape.experts) = (64, 4096), "routing among 4096 experts");
    refused(|o| o.types.embedding = Some(BlockType::Q4K), "routing is written there");
    refused(|o| o.shape.layers = 0, "layers is 0");
    refused(|o| o.shape.kv_heads = 3, "multiple of the key and value heads");
    refused(|o| o.shape.vocab = 100, "vocab is 100");
    for text in ["zipf", "zipf:x", "zipf:-1", "sticky:2", "sticky:nan", "even"] {
        assert!(text.parse::<Routing>().is_err(), "{text}");
    }
    assert_eq!("zipf:1.5".parse::<Routing>().unwrap(), Routing::Zipf(1.5));
    assert_eq!("sticky:0.7".parse::<Routing>().unwrap(), Routing::Sticky(0.7));
}
