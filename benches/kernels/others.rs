//! The kernels that are no matrix products: attention over keys and values, and those that go over one row.

use std::hint::black_box;

use palisade::kernels::{Ahead, ByteKeys, ByteQueries, KV_BLOCK, Kernels, Keys, KvRows, Pair};

use super::{CACHED, Options, Peaks, cell, common};

/// Heads of Llama 4 Scout: five queries share a key head.
const WIDTH: usize = 128;
const QUERIES: usize = 5;
/// Positions of one call: a page of the past.
const PAGE: usize = 64;
/// Bytes of keys or values that no cache holds.
const LARGE: usize = 64 << 20;
/// Values of one row: Scout's width.
const ROW: usize = 5120;
/// Times that a kernel goes over its row in one measurement.
const ROUNDS: usize = 100;

type Row = fn(&Kernels, &mut [f32], &[f32], &mut [f32]) -> f32;

/// Kernels over one row, by name.
const ROWS: [(&str, Row); 5] = [
    ("exps", |k, x, _, _| (k.exps)(x).1),
    ("quantize", |k, _, y, out| {
        let (mut q, mut sums) = ([0; ROW], [Pair::default(); ROW / 16]);
        (k.quantize)(y, &mut q, &mut out[..ROW / KV_BLOCK], &mut sums);
        f32::from(black_box(q)[0])
    }),
    ("rms_norm", |k, x, y, out| {
        (k.rms_norm)(x, Some(y), 1e-5, out);
        out[0]
    }),
    ("silu_mul", |k, x, y, _| {
        // Over its own results again and again it would come to numbers too small for the processor's fast ways.
        x.copy_from_slice(y);
        (k.silu_mul)(x, y, 1.0);
        x[0]
    }),
    ("add", |k, x, y, _| {
        (k.add)(x, y);
        x[0]
    }),
];

/// Names as the command line takes them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ["scores", "mix"].into_iter().chain(ROWS.iter().map(|(name, _)| *name))
}

type Go = dyn Fn(&Kernels, usize) -> f32;

/// One kernel over one kind of values.
struct Job {
    name: String,
    /// Bytes of a page of the past, or of the row.
    bytes: usize,
    /// Products with addition for each page; 0 where they are not what the kernel does.
    macs: usize,
    /// Whether they are of eight bits.
    whole: bool,
    /// Pages of the past; one for a row.
    pages: usize,
    /// Goes over the first so many pages.
    run: Box<Go>,
}

/// Prints the lines of the kernels of these names.
pub(crate) fn measure(names: &[&str], options: &Options, peaks: &[Peaks], read: f64) {
    println!(
        "\n{:14} {:>11} {:>9} {:>6} {:>9} {:>6} {:>9} {:>6} {:>9}",
        "kernel", "set", "cache", "/read", "memory", "/read", "GMAC/s", "/peak", "x scalar"
    );
    let cached_reads: Vec<_> = options.sets.iter().map(|k| common::cached_gb_s(k.name)).collect();
    for job in names.iter().flat_map(|name| jobs(name)) {
        let few = (CACHED / job.bytes).clamp(1, job.pages);
        let mut scalar = None;
        for ((k, (dots, floats)), cached_read) in options.sets.iter().zip(peaks).zip(&cached_reads).rev() {
            let rate = |pages: usize| pages as f64 / options.best(|| (job.run)(k, pages)) / 1e9;
            let cached = rate(few);
            let plain = k.name == "scalar";
            let memory = (!plain && job.pages > 1).then(|| rate(job.pages) * job.bytes as f64);
            let macs = (job.macs > 0).then_some(cached * job.macs as f64);
            let peak = if job.whole { dots } else { floats };
            scalar = if plain { Some(cached) } else { scalar };
            let bytes = cached * job.bytes as f64;
            println!(
                "{:14} {:>11} {bytes:9.2} {} {} {} {} {} {}",
                job.name,
                k.name,
                // The past lies in the second level, whose limit this is not.
                cell(cached_read.filter(|_| job.pages == 1).map(|read| bytes / read), 6, 2),
                cell(memory, 9, 2),
                cell(memory.map(|m| m / read), 6, 2),
                cell(macs, 9, 1),
                cell(macs.zip(*peak).map(|(m, p)| m / p), 6, 2),
                cell(scalar.map(|s| cached / s), 9, 1),
            );
        }
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 251) as f32 / 125.0 - 1.0).collect()
}

fn halves(values: &[f32]) -> Vec<u16> {
    values.iter().map(|x| half::f16::from_f32(*x).to_bits()).collect()
}

/// Keys or values of one head, page after page.
enum Past {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Q8 { q: Vec<i8>, scales: Vec<u16> },
}

/// Values of a page.
const PAGED: usize = PAGE * WIDTH;

impl Past {
    /// One of each kind, with its name and the bytes of a page.
    fn kinds() -> [(&'static str, usize, Self); 3] {
        let large = |bytes: usize| LARGE / bytes * PAGED;
        let [f32s, f16s, q8s] = [4 * PAGED, 2 * PAGED, PAGED + 2 * PAGED / KV_BLOCK];
        let codes = values(large(q8s)).iter().map(|x| (x * 127.0) as i8).collect();
        let scales = vec![half::f16::from_f32(0.01).to_bits(); large(q8s) / KV_BLOCK];
        [
            ("f32", f32s, Self::F32(values(large(f32s)))),
            ("f16", f16s, Self::F16(halves(&values(large(f16s))))),
            ("q8_0", q8s, Self::Q8 { q: codes, scales }),
        ]
    }

    /// What is read after page `i`.
    fn ahead(&self, i: usize) -> Ahead {
        match self {
            Self::F32(x) => Ahead::of(page(x, PAGED, i + 1)),
            Self::F16(x) => Ahead::of(page(x, PAGED, i + 1)),
            Self::Q8 { q, .. } => Ahead::of(page(q, PAGED, i + 1)),
        }
    }

    fn rows(&self, i: usize) -> KvRows<'_> {
        match self {
            Self::F32(x) => KvRows::F32(page(x, PAGED, i)),
            Self::F16(x) => KvRows::F16(page(x, PAGED, i)),
            Self::Q8 { q, scales } => KvRows::Q8 { q: page(q, PAGED, i), scales: page(scales, PAGED / KV_BLOCK, i) },
        }
    }

    fn scores(&self, k: &Kernels, i: usize, (queries, bytes): (&[f32], ByteQueries<'_>), out: &mut [f32]) {
        let floats = |keys, out: &mut [f32]| {
            (k.attn_scores)(queries, WIDTH, keys, 0..PAGE, self.ahead(i), out, PAGE);
        };
        match self {
            Self::F32(x) => floats(Keys::F32(page(x, PAGED, i)), out),
            Self::F16(x) => floats(Keys::F16(page(x, PAGED, i)), out),
            Self::Q8 { q, scales } => {
                let keys = ByteKeys { q: page(q, PAGED, i), scales: page(scales, PAGED / KV_BLOCK, i) };
                (k.attn_scores_q8)(bytes, keys, 0..PAGE, self.ahead(i), out, PAGE);
            }
        }
    }
}

/// Page `i` of `all`, whose pages have `n` values; behind the last one, nothing.
fn page<T>(all: &[T], n: usize, i: usize) -> &[T] {
    all.get(i * n..(i + 1) * n).unwrap_or_default()
}

fn jobs(name: &str) -> Vec<Job> {
    let past = |job: fn(&'static str, usize, Past) -> Job| {
        Past::kinds().into_iter().map(|(kind, bytes, past)| job(kind, bytes, past)).collect()
    };
    match name {
        "scores" => past(scores),
        "mix" => past(mix),
        _ => ROWS.iter().filter(|(other, _)| *other == name).map(|(name, run)| row(name, *run)).collect(),
    }
}

fn scores(kind: &str, bytes: usize, past: Past) -> Job {
    let whole = matches!(past, Past::Q8 { .. });
    let run = move |k: &Kernels, pages: usize| {
        let queries = values(QUERIES * WIDTH);
        let codes: Vec<i8> = queries.iter().map(|x| (x * 127.0) as i8).collect();
        let bytes = ByteQueries { width: WIDTH, q: &codes, scales: &[0.01; QUERIES * WIDTH / KV_BLOCK] };
        let mut out = vec![0.0; QUERIES * PAGE];
        (0..pages).for_each(|i| past.scores(k, i, (&queries, bytes), &mut out));
        out[0]
    };
    let pages = LARGE / bytes;
    Job { name: format!("scores {kind}"), bytes, macs: QUERIES * PAGED, whole, pages, run: Box::new(run) }
}

fn mix(kind: &str, bytes: usize, past: Past) -> Job {
    let run = move |k: &Kernels, pages: usize| {
        let (weights, mut out) = (vec![1.0 / PAGE as f32; QUERIES * PAGE], vec![0.0; QUERIES * WIDTH]);
        (0..pages).for_each(|i| (k.attn_mix)(&weights, PAGE, past.rows(i), past.ahead(i), WIDTH, &mut out));
        out[0]
    };
    let pages = LARGE / bytes;
    Job { name: format!("mix {kind}"), bytes, macs: QUERIES * PAGED, whole: false, pages, run: Box::new(run) }
}

fn row(name: &str, run: Row) -> Job {
    let run = move |k: &Kernels, _: usize| {
        let (mut x, y, mut out) = (values(ROW), values(ROW), vec![0.0; ROW]);
        // Many times over: making the rows costs as much as a kernel.
        (0..ROUNDS).map(|_| run(k, &mut x, &y, &mut out)).sum()
    };
    Job { name: name.into(), bytes: 4 * ROW * ROUNDS, macs: 0, whole: false, pages: 1, run: Box::new(run) }
}
