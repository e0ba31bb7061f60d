//! `palisade pack`: a GGUF file in the order that the kernels read.

use std::path::{Path, PathBuf};
use std::time::Instant;

use palisade::convert::{Conversion, Packing};
use palisade::{Error, Result};

use crate::convert::RunFlags;
use crate::output;

/// Writes a GGUF file (or split model) as one packed file: rows laid out for the kernels, each expert in one place, everything
/// aligned for direct reads, with checksums. Every command that takes a model takes it, the results are the same to the bit, and
/// with --map its weights are used where they lie. Other programs do not read it: keep the GGUF file. All kernel sets read the
/// same packed file; when a later version lays out otherwise, it says so and the model is packed again. A run that was broken
/// off goes on where it stopped when the same command is given again.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade pack scout-q4_k.gguf\n  palisade pack scout-00001-of-00002.gguf -o /fast-disk/scout.palp\n  palisade generate scout-q4_k.palp --memory-budget 8G --prompt Hello\n  palisade inspect scout-q4_k.palp --verify\n  palisade bench scout-q4_k.palp --load"
)]
pub struct Args {
    /// GGUF file (the first one of a split model).
    model: PathBuf,
    /// The file to write; without it the model's name with the ending .palp.
    #[arg(short, long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    run: RunFlags,
}

pub fn run(args: &Args) -> Result<()> {
    let cancel = args.run.cancel()?;
    let out = args.out.clone().unwrap_or_else(|| beside(&args.model));
    let same = |a: &PathBuf, b: &PathBuf| Some(std::fs::canonicalize(a).ok()? == std::fs::canonicalize(b).ok()?);
    if same(&args.model, &out) == Some(true) {
        return Err(Error::argument(format!("{} is both read and written", out.display())));
    }
    let packing = Packing::new(&args.model)?;
    if args.run.is_dry() {
        return show(&packing, &out, args.run.is_json());
    }
    let start = Instant::now();
    let done = args.run.carry_out(&cancel, |control| packing.write(&out, control))?;
    Conversion::forget(&out);
    args.run.report(&out, &done, start)
}

/// The model's name with another ending, without the numbers of a split model.
fn beside(model: &Path) -> PathBuf {
    let out = model.with_extension("palp");
    let Some(stem) = model.file_stem().and_then(|s| s.to_str()) else { return out };
    let cut = stem.len().saturating_sub("-00001-of-00002".len());
    match (stem.get(..cut), stem.get(cut..)) {
        (Some(name), Some(tail)) if !name.is_empty() && tail.starts_with("-00001-of-") => {
            model.with_file_name(format!("{name}.palp"))
        }
        _ => out,
    }
}

/// What would be written.
fn show(packing: &Packing, out: &Path, json: bool) -> Result<()> {
    let bytes = packing.bytes()?;
    let layout = |t: &palisade::gguf::PackedTensor| t.layout.as_ref().map(|(name, _)| name.clone());
    if json {
        let tensors: Vec<_> = packing
            .tensors()
            .iter()
            .map(|t| serde_json::json!({"name": t.name, "dims": t.dims, "layout": layout(t), "group": t.group}))
            .collect();
        let out = out.display().to_string();
        return output::json(&serde_json::json!({"out": out, "bytes": bytes, "tensors": tensors}));
    }
    for t in packing.tensors() {
        let dims: Vec<String> = t.dims.iter().map(u64::to_string).collect();
        let layout = layout(t).unwrap_or_else(|| "as it is".to_owned());
        output::line(&format!("{:40} {:>20} {:8} -> {layout}", t.name, dims.join(" x "), t.ty))?;
    }
    output::line(&format!("{}: {} tensors, {bytes} bytes", out.display(), packing.tensors().len()))
}
