//! `palisade quantize`: a GGUF file becomes one of another type.

use std::path::PathBuf;
use std::time::Instant;

use palisade::convert::{Conversion, Options};
use palisade::{Error, Result};

use crate::convert::{ImportanceFlags, RunFlags, TypeFlags};

/// Writes a GGUF file (or split model) again with other block types. A run that was broken off goes on where it stopped when
/// the same command is given again.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade quantize model-bf16.gguf model-q4_k.gguf --type q4_k\n  palisade quantize model-bf16.gguf model-q4_0.gguf --type q4_0 --calibration text.txt --save-importance imatrix.gguf"
)]
pub struct Args {
    /// The file to read (the first one of a split model).
    model: PathBuf,
    /// The file to write.
    out: PathBuf,
    #[command(flatten)]
    types: TypeFlags,
    /// Name of the model; without it the name it has.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    weights: ImportanceFlags,
    #[command(flatten)]
    run: RunFlags,
}

pub fn run(args: &Args) -> Result<()> {
    let cancel = args.run.cancel()?;
    let same = |a: &PathBuf, b: &PathBuf| Some(std::fs::canonicalize(a).ok()? == std::fs::canonicalize(b).ok()?);
    if same(&args.model, &args.out) == Some(true) {
        return Err(Error::argument(format!("{} is both read and written", args.out.display())));
    }
    let mut options = Options { types: args.types.types()?, name: args.name.clone(), importance: args.weights.read()? };
    if let Some(text) = args.weights.calibration.as_ref().filter(|_| !args.run.is_dry()) {
        options.importance = Some(args.weights.measure(&args.model, text, &args.run, &cancel)?);
    }
    let conversion = Conversion::from_gguf(&args.model, &options)?;
    if args.run.is_dry() {
        return args.run.show(&args.out, &conversion);
    }
    let start = Instant::now();
    let done = args.run.write(&conversion, &args.out, &cancel)?;
    Conversion::forget(&args.out);
    args.run.report(&args.out, &done, start)
}
