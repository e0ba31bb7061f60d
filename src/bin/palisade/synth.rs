//! `palisade synth`: a model of random weights, of any shape.

use std::path::PathBuf;
use std::time::Instant;

use palisade::Result;
use palisade::convert::{Conversion, Routing, Shape, SynthOptions};

use crate::convert::{RunFlags, TypeFlags};

/// Writes a synthetic model for measuring: random weights, a vocabulary that any text can use, and routing that follows the
/// law that is asked for.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade synth --shape scout --layers 8 --type q4_0 scout-8.gguf\n  palisade synth --shape maverick --layers 4 --type q4_k --routing zipf:1.2 maverick-4.gguf\n  palisade synth --shape scout --layers 4 --width 1024 --heads 8 --type q8_0 --routing sticky:0.8 small.gguf"
)]
pub struct Args {
    /// scout, maverick, behemoth-class, llama-1b or guard-4.
    #[arg(long, value_parser = Shape::named)]
    shape: Shape,
    /// The file to write.
    out: PathBuf,
    /// Layers; without it the shape's.
    #[arg(long)]
    layers: Option<u32>,
    /// Width of the residual stream.
    #[arg(long)]
    width: Option<u32>,
    /// Query heads.
    #[arg(long)]
    heads: Option<u32>,
    /// Key and value heads.
    #[arg(long)]
    kv_heads: Option<u32>,
    /// Values in a head.
    #[arg(long)]
    head_dim: Option<u32>,
    /// Width of dense feed-forward layers.
    #[arg(long)]
    ffn: Option<u32>,
    /// Width of an expert.
    #[arg(long)]
    expert_ffn: Option<u32>,
    /// Routed experts.
    #[arg(long)]
    experts: Option<u32>,
    /// Entries of the vocabulary.
    #[arg(long)]
    vocab: Option<u32>,
    #[command(flatten)]
    types: TypeFlags,
    /// uniform, zipf:S (expert popularity falls as rank^-S) or sticky:P (the expert of the token before with probability P).
    #[arg(long, default_value = "uniform")]
    routing: Routing,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    run: RunFlags,
}

pub fn run(args: &Args) -> Result<()> {
    let cancel = args.run.cancel()?;
    let mut shape = args.shape.clone();
    for (to, said) in [
        (&mut shape.layers, args.layers),
        (&mut shape.width, args.width),
        (&mut shape.heads, args.heads),
        (&mut shape.kv_heads, args.kv_heads),
        (&mut shape.head_dim, args.head_dim),
        (&mut shape.ffn, args.ffn),
        (&mut shape.expert_ffn, args.expert_ffn),
        (&mut shape.experts, args.experts),
        (&mut shape.vocab, args.vocab),
    ] {
        *to = said.unwrap_or(*to);
    }
    let options = SynthOptions { shape, types: args.types.types()?, routing: args.routing, seed: args.seed };
    let start = Instant::now();
    let conversion = Conversion::synthetic(&options)?;
    if args.run.is_dry() {
        return args.run.show(&args.out, &conversion);
    }
    let done = args.run.write(&conversion, &args.out, &cancel)?;
    Conversion::forget(&args.out);
    args.run.report(&args.out, &done, start)
}
