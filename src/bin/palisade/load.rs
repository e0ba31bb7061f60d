//! Opening a model file with a progress bar; the flags that say how.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade::engine::{Decoder, DecoderOptions, KvType};
use palisade::gguf::Gguf;
use palisade::{Error, Result};

use crate::output;

/// Flags of every command that runs a model.
#[derive(clap::Args, Clone)]
pub struct Flags {
    /// Threads; 0 takes what the machine offers.
    #[arg(short, long, default_value_t = 0)]
    pub threads: usize,
    /// Bytes of memory for weights and context, for example 8G; routed experts that do not fit are read when needed.
    #[arg(long, value_parser = bytes, default_value = "0")]
    pub memory_budget: u64,
    /// Positions of a conversation; 0 takes the model's own, at most 8192.
    #[arg(long, default_value_t = 0)]
    pub context: usize,
    /// How keys and values are kept; auto is f16, or f32 where the attention weights are or --precision is fine.
    #[arg(long, value_enum, default_value_t = Kv::Auto)]
    pub kv: Kv,
    /// Map the weights instead of reading them (nobody may change the file meanwhile).
    #[arg(long)]
    pub map: bool,
    /// Kernel set: scalar, avx2, avxvnni, avx512vnni, neon, dotprod, i8mm (what the processor has).
    #[arg(long)]
    pub kernels: Option<String>,
    /// How finely activations are quantized: fast is what generation uses unless told otherwise, fine costs up to twice the
    /// arithmetic and gives what the dequantized weights give.
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Tokens of a prompt computed together.
    #[arg(long, default_value_t = 0)]
    pub prefill_batch: usize,
}

/// Flags of every command that opens a guard.
#[derive(clap::Args, Clone)]
pub struct GuardFlags {
    /// Policy file; without it the embedded default.
    #[arg(long)]
    pub policy: Option<PathBuf>,
    /// Folder with a classifier (model.onnx, tokenizer.json, classifier.toml) in the place of the embedded one, or with
    /// Prompt Guard 2 (its config.json will do), which judges beside it.
    #[arg(long)]
    pub classifier: Option<PathBuf>,
    /// Public key (64 hexadecimal digits) that has to have signed the policy; see `palisade policy sign`.
    #[arg(long, value_name = "HEX")]
    pub policy_key: Option<String>,
    /// A policy that is tried beside the one in force: its verdicts are logged and change nothing.
    #[arg(long, value_name = "FILE")]
    pub shadow_policy: Option<PathBuf>,
    /// A guard model (GGUF of Llama Guard 3 or 4) that judges beside the classifier. Its licence has to be accepted.
    #[arg(long, value_name = "FILE")]
    pub guard_model: Option<PathBuf>,
    /// The guard model's family, where its file does not say: llama-guard-3-8b, llama-guard-3-1b or llama-guard-4.
    #[arg(long, value_name = "NAME")]
    pub guard_family: Option<palisade::guard::GuardFamily>,
}

impl GuardFlags {
    /// The options of a guard without an engine. Receipts, of a guard model's licence, are kept in `state_dir`.
    pub fn options(&self, state_dir: Option<&Path>) -> Result<palisade::guard::GuardOptions> {
        let llm_guard = self.guard_model.as_ref().map(|model| palisade::guard::LlmGuardOptions {
            family: self.guard_family,
            ..palisade::guard::LlmGuardOptions::new(model)
        });
        let state_dir = if llm_guard.is_some() { crate::license::state_dir(state_dir)? } else { None };
        Ok(palisade::guard::GuardOptions {
            policy: self.policy.clone(),
            policy_key: self.policy_key.clone(),
            shadow: self.shadow_policy.clone(),
            classifier: self.classifier.clone(),
            state_dir,
            llm_guard,
            ..palisade::guard::GuardOptions::default()
        })
    }
}

/// Seconds since 1970 by this machine's clock; the library itself reads none.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0)
}

/// As `palisade::kernels::Precision`.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Precision {
    Fast,
    Fine,
}

/// As `palisade::engine::KvType`.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Kv {
    Auto,
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8,
}

impl Flags {
    pub fn kv(&self) -> KvType {
        match self.kv {
            Kv::Auto => KvType::Auto,
            Kv::F32 => KvType::F32,
            Kv::F16 => KvType::F16,
            Kv::Q8 => KvType::Q8_0,
        }
    }

    pub fn precision(&self) -> palisade::kernels::Precision {
        match self.precision {
            Some(Precision::Fine) => palisade::kernels::Precision::Fine,
            Some(Precision::Fast) | None => palisade::kernels::Precision::Fast,
        }
    }

    pub fn decoder_options(&self) -> DecoderOptions {
        DecoderOptions {
            threads: self.threads,
            memory_budget: self.memory_budget,
            context: self.context,
            prefill_batch: self.prefill_batch,
            map_weights: self.map,
            kernels: self.kernels.clone(),
            precision: self.precision(),
            kv: self.kv(),
            column_squares: None,
        }
    }
}

/// A number of bytes with an optional K, M, G (powers of 1024).
pub fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1u64 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let n: u64 = digits.parse().map_err(|_| format!("{text:?}: expected a number of bytes such as 500M or 8G"))?;
    n.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"))
}

/// A loaded decoder and how long it took.
pub fn decoder(model: &Path, options: &DecoderOptions) -> Result<(Arc<Decoder>, Duration)> {
    let start = Instant::now();
    let gguf = Arc::new(Gguf::open(model)?);
    let bar = output::bar(0, "loading", true);
    let decoder = Decoder::load(&gguf, options, &mut |p| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        true
    });
    bar.finish_and_clear();
    let decoder = Arc::new(decoder?);
    for warning in &decoder.model().warnings {
        eprintln!("palisade: warning: {warning}");
    }
    Ok((decoder, start.elapsed()))
}

/// A text file's content, or standard input for `-`.
pub fn text(path: &PathBuf) -> Result<String> {
    let what = path.display();
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = bytes.map_err(|e| Error::io(&what, &e))?;
    String::from_utf8(bytes)
        .map_err(|e| Error::utf8(format!("{what}: no UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}
