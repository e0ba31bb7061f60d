//! How fast every kernel set multiplies every block type on one thread, next to what the machine can do. `--help` says more.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]
#![allow(clippy::expect_used, clippy::exit, reason = "a program that may end where it cannot go on")]

#[path = "../common/mod.rs"]
mod common;
mod others;

use std::hint::black_box;
use std::time::{Duration, Instant};

use palisade::kernels::{self, Acts, Kernels, Panels, Precision};
use palisade::quant::{self, BlockType};
use palisade::weights::AlignedBytes;
use palisade::weights::layout::{PANEL_ROWS, pack_panel, panel_bytes};

const HELP: &str = "\
Speed of the kernels on one thread: a table of matrix products, and one of all others.

  cargo bench --bench kernels -- [--set NAME]... [--columns N] [--tokens N] [--seconds S] [TYPE or KERNEL]...

  TYPE         a block type whose products are measured, in any case: q4_k, IQ2_XXS
  KERNEL       another kernel: scores, mix (of attention), exps, quantize, rms_norm, silu_mul, add; without a type and a
               kernel, all of both
  --set NAME   a kernel set to measure; without one, all that this processor runs
  --columns N  columns of the matrices, a multiple of 256 (2048); Llama 4 Scout's widths are 5120 and 8192, and so wide
               that a panel fills the first-level cache
  --tokens N   tokens of the products, 2 to 512 (64)
  --seconds S  time for each number (0.06)
  --help       this text

  cache     GB/s of weights for one token, the weights in the second-level cache
  memory    the same, the weights far larger than any cache; /read is its share of what plain reading reaches
  GMAC/s    products with addition for several tokens, the weights in the second-level cache; /peak is its share of what the
            set's instructions reach with operands in registers, 8-bit dot products or for the float types multiply-adds
  x scalar  times as fast as the scalar set for one token and for several
In the second table GB/s are of the keys or values of one head that five queries share (128 wide, Llama 4 Scout's), or of
the row of 5,120 values, which stays in the first-level cache; there /read is the share of what plain reading of a row in
that cache reaches, which a kernel that computes more than a sum, or writes, does not.
Each number is the best of its rounds. The scalar set never waits for memory and has no column for it.";

/// Columns of the matrices unless told otherwise: few enough for eight panels of every type in the second-level cache.
const COLS: usize = 2048;
const MOST_COLS: usize = 1 << 14;
const TOKENS: usize = 64;
/// Bytes of weights that a second-level cache holds, and that no cache does.
const CACHED: usize = 384 << 10;
const LARGE: usize = 160 << 20;

/// What a set's instructions reach: 8-bit dot products and single-precision multiply-adds, billions a second.
type Peaks = (Option<f64>, Option<f64>);

struct Options {
    types: Vec<BlockType>,
    others: Vec<&'static str>,
    sets: Vec<Kernels>,
    cols: usize,
    tokens: usize,
    time: Duration,
}

fn main() {
    let options = options(std::env::args().skip(1)).unwrap_or_else(|problem| {
        eprintln!("{problem}\n\n{HELP}");
        std::process::exit(2);
    });
    let read = common::read_gb_s()[0];
    println!("one thread reads {read:.1} GB/s from memory");
    let peaks: Vec<_> = options.sets.iter().map(|k| (common::dots(k.name), common::floats(k.name))).collect();
    for (k, (dots, floats)) in options.sets.iter().zip(&peaks) {
        if let (Some(dots), Some(floats)) = (dots, floats) {
            println!("{} reaches {dots:.0} GMAC/s in 8-bit dot products, {floats:.0} in single precision", k.name);
        }
    }
    if !options.types.is_empty() {
        println!(
            "\n{:8} {:>11} {:>9} {:>9} {:>6} {:>9} {:>6} {:>9} {:>9}",
            "type", "set", "cache", "memory", "/read", "GMAC/s", "/peak", "x scalar", "x scalar"
        );
    }
    for &ty in &options.types {
        measure(ty, &options, &peaks, read);
    }
    if !options.others.is_empty() {
        others::measure(&options.others, &options, &peaks, read);
    }
}

/// The lines of one type.
fn measure(ty: BlockType, options: &Options, peaks: &[Peaks], read: f64) {
    let weights = Weights::new(ty, options.cols);
    let [one, many] = [1, options.tokens].map(|tokens| activations(tokens, options.cols));
    let mut scalar = None;
    for (k, (dots, floats)) in options.sets.iter().zip(peaks).rev() {
        let plain = k.name == "scalar";
        let few = if plain { weights.panel * 4 } else { weights.cached };
        let cache = few as f64 / options.best(|| weights.product(k, few, &one)) / 1e9;
        let macs = (few / weights.panel * PANEL_ROWS * options.cols * options.tokens) as f64;
        let rate = macs / options.best(|| weights.product(k, few, &many)) / 1e9;
        let memory = (!plain).then(|| {
            let all = weights.bytes.len();
            all as f64 / options.best(|| weights.product(k, all, &one)) / 1e9
        });
        if plain {
            scalar = Some((cache, rate));
        }
        let peak = if ty.block_len() == 1 { floats } else { dots };
        println!(
            "{:8} {:>11} {cache:9.2} {} {} {rate:9.1} {} {} {}",
            ty.name(),
            k.name,
            cell(memory, 9, 2),
            cell(memory.map(|m| m / read), 6, 2),
            cell(peak.map(|p| rate / p), 6, 2),
            cell(scalar.map(|s| cache / s.0), 9, 1),
            cell(scalar.map(|s| rate / s.1), 9, 1),
        );
    }
}

fn cell(value: Option<f64>, width: usize, digits: usize) -> String {
    value.map_or_else(|| format!("{:>width$}", "-"), |v| format!("{v:width$.digits$}"))
}

/// Panels of one type, many times the same eight rows.
struct Weights {
    ty: BlockType,
    cols: usize,
    panel: usize,
    cached: usize,
    /// Where a model's weights would lie: in huge pages, if the system has them ready.
    bytes: AlignedBytes,
}

impl Weights {
    fn new(ty: BlockType, cols: usize) -> Self {
        let row = ty.row_bytes(cols).expect("columns in whole blocks");
        let rows = blocks(ty, PANEL_ROWS * cols / ty.block_len());
        let mut panel = vec![0; panel_bytes(ty, cols).expect("columns in whole blocks")];
        pack_panel(ty, &rows, row, cols, &mut panel).expect("eight rows for one panel");
        // Groups of four panels are what the kernels take at once.
        let four = 4 * panel.len();
        let mut bytes = AlignedBytes::zeroed(LARGE / four * four).expect("memory for weights");
        bytes.bytes_mut().chunks_exact_mut(panel.len()).for_each(|to| to.copy_from_slice(&panel));
        Self { ty, cols, panel: panel.len(), cached: (CACHED / four).max(1) * four, bytes }
    }

    fn product(&self, k: &Kernels, bytes: usize, x: &Acts) -> f32 {
        let x = x.rows();
        let mut out = vec![0.0; bytes / self.panel * x.tokens() * PANEL_ROWS];
        (k.matmul)(
            Panels { ty: self.ty, cols: self.cols, bytes: self.bytes.get(0..bytes).unwrap_or_default() },
            x,
            &mut out,
        );
        out[0]
    }
}

/// Blocks of the file: of values where this build writes the type, otherwise random codes under scales of ordinary size.
fn blocks(ty: BlockType, count: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    if ty.can_quantize() {
        let values: Vec<f32> = (0..count * ty.block_len()).map(|_| next() as f32 / (1 << 23) as f32 - 1.0).collect();
        let mut blocks = Vec::new();
        quant::quantize(ty, &values, &mut blocks).expect("finite values");
        return blocks;
    }
    let mut blocks: Vec<u8> = (0..count * ty.block_bytes()).map(|_| next() as u8).collect();
    // 0.004 in half precision.
    let d = 0x1c19_u16;
    for block in blocks.chunks_exact_mut(ty.block_bytes()) {
        match ty {
            BlockType::Mxfp4 => block[0] = 123,
            BlockType::Iq1M => {
                (0..4).for_each(|j| block[49 + 2 * j] = block[49 + 2 * j] & 15 | ((d >> (4 * j) & 15) as u8) << 4)
            }
            _ => block[..2].copy_from_slice(&d.to_le_bytes()),
        }
    }
    blocks
}

fn activations(tokens: usize, cols: usize) -> Acts {
    let values = (0..tokens * cols).map(|i| ((i * 37 + 11) % 251) as f32 / 125.0 - 1.0).collect();
    let mut x = Acts::new(values, cols);
    x.quantize(&kernels::best(), Precision::Fast);
    x
}

impl Options {
    /// Seconds of the best round of at least three.
    fn best(&self, work: impl Fn() -> f32) -> f64 {
        let (mut least, start, mut rounds) = (f64::INFINITY, Instant::now(), 0);
        while rounds < 3 || start.elapsed() < self.time {
            let round = Instant::now();
            black_box(work());
            least = least.min(round.elapsed().as_secs_f64());
            rounds += 1;
        }
        least
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let time = Duration::from_millis(60);
    let mut options =
        Options { types: Vec::new(), others: Vec::new(), sets: Vec::new(), cols: COLS, tokens: TOKENS, time };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--help" | "-h" => {
                println!("{HELP}");
                std::process::exit(0);
            }
            "--set" => {
                let name = args.next().ok_or("--set needs the name of a kernel set")?;
                let have = || kernels::available().iter().map(|k| k.name).collect::<Vec<_>>().join(", ");
                options.sets.push(kernels::named(&name).ok_or_else(|| format!("no set {name} here, only {}", have()))?);
            }
            "--columns" => {
                let fits = |n: &usize| *n > 0 && *n <= MOST_COLS && n.is_multiple_of(256);
                let cols = args.next().and_then(|n| n.parse().ok()).filter(fits);
                options.cols = cols.ok_or("--columns needs a multiple of 256, at most 16384")?;
            }
            "--tokens" => {
                let tokens = args.next().and_then(|n| n.parse().ok()).filter(|n| (2..=512).contains(n));
                options.tokens = tokens.ok_or("--tokens needs a number from 2 to 512")?;
            }
            "--seconds" => {
                let seconds = args.next().and_then(|s| s.parse().ok()).filter(|s| (0.0..=60.0).contains(s));
                options.time = Duration::from_secs_f64(seconds.ok_or("--seconds needs a number from 0 to 60")?);
            }
            name => match others::names().find(|other| *other == name) {
                Some(other) => options.others.push(other),
                None => {
                    options.types.push(BlockType::from_name(name).ok_or_else(|| format!("no type or kernel {name}"))?)
                }
            },
        }
    }
    if options.types.is_empty() && options.others.is_empty() {
        options.types = BlockType::ALL.to_vec();
        options.others = others::names().collect();
    }
    if options.sets.is_empty() {
        options.sets = kernels::available();
    }
    Ok(options)
}
