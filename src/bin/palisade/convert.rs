//! `palisade convert`: a Hugging Face folder becomes a GGUF file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use palisade::convert::{Control, Conversion, Done, Importance, Options, Types};
use palisade::engine::DecoderOptions;
use palisade::quant::BlockType;
use palisade::{CancelFlag, Error, Result};

use crate::{load, output};

/// Writes the model of a Hugging Face folder (config.json, tokenizer.json, safetensors) as one GGUF file. A run that was
/// broken off goes on where it stopped when the same command is given again.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  palisade convert Llama-4-Scout-17B-16E-Instruct scout.gguf --type q4_k\n  palisade convert FOLDER OUT.gguf --type q8_0 --mmproj mmproj.gguf\n  palisade convert FOLDER OUT.gguf --type q4_0 --calibration text.txt\n  palisade convert FOLDER OUT.gguf --type q4_k --tensor-type 'attn_[qk]=q8_0' --dry-run"
)]
pub struct Args {
    /// The folder.
    folder: PathBuf,
    /// The file to write.
    out: PathBuf,
    #[command(flatten)]
    types: TypeFlags,
    /// Write the vision tower to this file, as llama.cpp names it.
    #[arg(long)]
    mmproj: Option<PathBuf>,
    /// Type of the vision tower's matrices.
    #[arg(long, value_parser = block_type, default_value = "f16")]
    mmproj_type: BlockType,
    /// Name of the model; without it the folder's.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    weights: ImportanceFlags,
    #[command(flatten)]
    run: RunFlags,
}

/// Flags that say which types are written.
#[derive(clap::Args)]
pub struct TypeFlags {
    /// Type of the matrices, for example q8_0, q4_0, q4_k, q6_k, f16, bf16, f32. Norms and routers stay f32.
    #[arg(long = "type", value_parser = block_type, default_value = "q8_0")]
    main: BlockType,
    /// Type of the output matrix; without it q6_k beside smaller types, else the main type.
    #[arg(long, value_parser = block_type)]
    output_type: Option<BlockType>,
    /// Type of the embedding; without it the main type.
    #[arg(long, value_parser = block_type)]
    embedding_type: Option<BlockType>,
    /// PATTERN=TYPE: matrices whose name the regular expression finds are of this type; the first that fits counts.
    #[arg(long, value_name = "PATTERN=TYPE")]
    tensor_type: Vec<String>,
}

/// Flags about rounding what matters more with less error.
#[derive(clap::Args)]
pub struct ImportanceFlags {
    /// A text to run the model over: what meets each column of a matrix weighs it in rounding.
    #[arg(long, value_name = "TEXT", conflicts_with = "importance")]
    pub calibration: Option<PathBuf>,
    /// Weights from a file, as llama.cpp's imatrix tool writes it.
    #[arg(long, value_name = "FILE")]
    pub importance: Option<PathBuf>,
    /// Keep the weights of --calibration in this file.
    #[arg(long, value_name = "FILE", requires = "calibration")]
    pub save_importance: Option<PathBuf>,
    /// Bytes of memory for the model while it runs over the text, for example 8G.
    #[arg(long, value_parser = load::bytes, default_value = "0")]
    pub memory_budget: u64,
}

/// Flags of every command that writes a model.
#[derive(clap::Args, Clone, Copy)]
pub struct RunFlags {
    /// Threads; 0 takes what the machine offers. The file does not depend on it.
    #[arg(short, long, default_value_t = 0)]
    threads: usize,
    /// Take the place of a file that is there already.
    #[arg(long)]
    force: bool,
    /// Only show what would be written.
    #[arg(long)]
    dry_run: bool,
    /// Result as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let cancel = args.run.cancel()?;
    let mut options = Options { types: args.types.types()?, name: args.name.clone(), importance: args.weights.read()? };
    let vision = |path| {
        let options = Options { types: Types::new(args.mmproj_type), name: args.name.clone(), importance: None };
        Ok::<_, Error>((path, Conversion::vision_from_folder(&args.folder, &options)?))
    };
    let vision = args.mmproj.as_deref().map(vision).transpose()?;
    if args.run.dry_run {
        let text = Conversion::from_folder(&args.folder, &options)?;
        args.run.show(&args.out, &text)?;
        return vision.map_or(Ok(()), |(path, vision)| args.run.show(path, &vision));
    }
    let tower = vision.as_ref().map(|(path, vision)| Ok::<_, Error>((path, args.run.write(vision, path, &cancel)?)));
    let tower = tower.transpose()?;
    let full = match &args.weights.calibration {
        None => None,
        Some(text) => {
            // Weights are measured on the model as it is; rounding then begins from the folder.
            let path = beside(&args.out, ".full.gguf")?;
            let plain = Options { types: Types::new(BlockType::Bf16), name: args.name.clone(), importance: None };
            let full = Conversion::from_folder(&args.folder, &plain)?;
            // Nobody else's file bears that name.
            RunFlags { force: true, ..args.run }.write(&full, &path, &cancel)?;
            options.importance = Some(args.weights.measure(&path, text, &args.run, &cancel)?);
            Some(path)
        }
    };
    let text = Conversion::from_folder(&args.folder, &options)?;
    let start = Instant::now();
    let done = args.run.write(&text, &args.out, &cancel)?;
    args.run.report(&args.out, &done, start)?;
    if let Some((path, done)) = &tower {
        args.run.report(path, done, start)?;
    }
    for path in full.iter().chain([&args.out]).map(PathBuf::as_path).chain(args.mmproj.as_deref()) {
        Conversion::forget(path);
    }
    if let Some(path) = full {
        std::fs::remove_file(&path).map_err(|e| Error::io(path.display(), &e))?;
    }
    Ok(())
}

/// `.NAME` with this ending, in the same folder.
fn beside(out: &Path, ending: &str) -> Result<PathBuf> {
    let name = out.file_name().ok_or_else(|| Error::argument(format!("{} ends in no file name", out.display())))?;
    Ok(out.with_file_name(format!(".{}{ending}", name.to_string_lossy())))
}

/// A type that this build writes, by name.
pub fn block_type(text: &str) -> Result<BlockType, String> {
    let able = || BlockType::ALL.into_iter().filter(|ty| ty.can_quantize());
    BlockType::from_name(text).filter(|ty| ty.can_quantize()).ok_or_else(|| {
        let names: Vec<String> = able().map(|ty| ty.name().to_lowercase()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

impl TypeFlags {
    pub fn types(&self) -> Result<Types> {
        let mut types = Types::new(self.main);
        (types.output, types.embedding) = (self.output_type, self.embedding_type);
        for said in &self.tensor_type {
            let wrong = |why: String| Error::argument(format!("--tensor-type {said:?}: {why}"));
            let (pattern, ty) = said.rsplit_once('=').ok_or_else(|| wrong("expected PATTERN=TYPE".into()))?;
            types.add_pattern(pattern, block_type(ty).map_err(wrong)?)?;
        }
        Ok(types)
    }
}

impl ImportanceFlags {
    /// Weights from a file, where one is named.
    pub fn read(&self) -> Result<Option<Importance>> {
        self.importance.as_deref().map(Importance::read).transpose()
    }

    /// Runs the model over the text.
    pub fn measure(&self, model: &Path, text: &PathBuf, run: &RunFlags, cancel: &CancelFlag) -> Result<Importance> {
        let words = load::text(text)?;
        let bar = output::bar(0, "calibrating", false);
        let mut progress = |done: u64, all: u64| {
            bar.set_length(all);
            bar.set_position(done);
        };
        let mut control = Control {
            cancel: cancel.clone(),
            progress: Some(&mut progress),
            threads: run.threads,
            ..Control::default()
        };
        let options = DecoderOptions { memory_budget: self.memory_budget, ..DecoderOptions::default() };
        let importance = Importance::measure(model, &words, &options, &mut control)?;
        bar.finish_and_clear();
        if let Some(path) = &self.save_importance {
            importance.write(path, &text.display().to_string())?;
        }
        Ok(importance)
    }
}

impl RunFlags {
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A flag that Ctrl-C raises.
    pub fn cancel(&self) -> Result<CancelFlag> {
        let cancel = CancelFlag::new();
        let raised = cancel.clone();
        ctrlc::set_handler(move || raised.raise()).map_err(|e| Error::internal(format!("catching Ctrl-C: {e}")))?;
        Ok(cancel)
    }

    /// Writes the file with a bar; its journal stays.
    pub fn write(&self, conversion: &Conversion, out: &Path, cancel: &CancelFlag) -> Result<Done> {
        self.carry_out(cancel, |control| conversion.write(out, control))
    }

    /// Does the work with a bar.
    pub fn carry_out(&self, cancel: &CancelFlag, work: impl FnOnce(&mut Control<'_>) -> Result<Done>) -> Result<Done> {
        let bar = rate_bar();
        let mut progress = |done: u64, all: u64| {
            bar.set_length(all);
            bar.set_position(done);
        };
        let mut control = Control {
            cancel: cancel.clone(),
            progress: Some(&mut progress),
            threads: self.threads,
            replace: self.force,
        };
        let written = work(&mut control);
        bar.finish_and_clear();
        match written {
            Err(e) if e.kind() == palisade::Kind::Cancelled => {
                Err(e.context("stopped; the same command goes on from here"))
            }
            other => other,
        }
    }

    /// What was written.
    pub fn report(&self, out: &Path, done: &Done, start: Instant) -> Result<()> {
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            return output::json(&serde_json::json!({
                "out": out.display().to_string(), "bytes": done.bytes, "kept": done.kept, "seconds": seconds, "notes": done.notes,
            }));
        }
        for note in &done.notes {
            eprintln!("palisade: note: {note}");
        }
        let kept = if done.kept > 0 { format!(", {} of them from an earlier run", done.kept) } else { String::new() };
        let rate = (done.bytes - done.kept) as f64 / 1e6 / seconds.max(1e-9);
        output::line(&format!("{}: {} bytes{kept}, {seconds:.1} s, {rate:.0} MB/s", out.display(), done.bytes))
    }

    /// The plan.
    pub fn show(&self, out: &Path, conversion: &Conversion) -> Result<()> {
        if self.json {
            let tensors: Vec<_> = conversion
                .tensors()
                .iter()
                .map(|t| {
                    serde_json::json!({
                        "name": t.name, "dims": t.dims, "from": t.from.map(BlockType::name), "type": t.ty.name(), "bytes": t.bytes,
                    })
                })
                .collect();
            return output::json(&serde_json::json!({
                "out": out.display().to_string(), "bytes": conversion.bytes(), "tensors": tensors, "notes": conversion.notes(),
            }));
        }
        for t in conversion.tensors() {
            let from = t.from.map_or("computed", BlockType::name);
            let dims: Vec<String> = t.dims.iter().map(u64::to_string).collect();
            output::line(&format!("{:40} {:>20} {from:>8} -> {:8} {:>14}", t.name, dims.join(" x "), t.ty, t.bytes))?;
        }
        for note in conversion.notes() {
            eprintln!("palisade: note: {note}");
        }
        let n = conversion.tensors().len();
        output::line(&format!("{}: {n} tensors, {} bytes", out.display(), conversion.bytes()))
    }
}

/// A bar of bytes with rate and time to go.
fn rate_bar() -> ProgressBar {
    let bar = output::bar(0, "writing", true);
    let template = "{msg:>12} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
