//! A loaded model with everything that stands around it: guard, licence, log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Session, SessionOptions};
use crate::audit::{self, AuditLog, AuditOptions};
use crate::chat::ChatFormat;
use crate::digest::hex;
use crate::engine::{Decoder, DecoderOptions};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::guard::{Guard, GuardFamily, GuardOptions, LlmGuardOptions};
use crate::kernels::Precision;
use crate::license::{Acceptance, ModelLicense, ReceiptStore, Status};
use crate::sampler::TokenMask;
use crate::tokenizer::Tokenizer;

/// How an engine is opened. Nothing is taken from the environment; what is left out has a stated default.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// The model, a GGUF file (the first one of a split model).
    pub model: PathBuf,
    /// A model inside the program, in the place of a file; `model` is then its name in messages.
    pub model_bytes: Option<&'static [u8]>,
    /// A policy file; `None` takes the embedded default.
    pub policy: Option<PathBuf>,
    /// The key that has to have signed the policy, 64 hexadecimal digits; the highest counter is kept in `state_dir`.
    pub policy_key: Option<String>,
    /// A policy that is tried beside the one in force and only logged.
    pub shadow_policy: Option<PathBuf>,
    /// A folder with a classifier; `None` takes the embedded default.
    pub classifier: Option<PathBuf>,
    /// A guard model, a GGUF file: Llama Guard 3 or 4. It runs on as many threads as the model and within the same memory
    /// budget; its licence has to be accepted as the model's has.
    pub guard_model: Option<PathBuf>,
    /// The guard model's family, where its file does not say.
    pub guard_family: Option<GuardFamily>,
    /// Where licence receipts are kept; `None` keeps them in memory.
    pub state_dir: Option<PathBuf>,
    /// The audit log; `None` keeps none. Its time is `time_unix`, whatever its own options say.
    pub audit: Option<AuditOptions>,
    /// Threads; 0 takes what the machine offers.
    pub threads: usize,
    /// Bytes for weights and the past of one conversation; 0 sets no limit.
    pub memory_budget: u64,
    /// Positions a conversation may have; 0 takes the model's own, at most 8,192.
    pub context: usize,
    /// Tokens of a prompt computed together; 0 takes 256.
    pub prefill_batch: usize,
    /// Leave the weights in a map of the file. The host promises that nobody changes the file meanwhile.
    pub map_weights: bool,
    /// Name of a kernel set; `None` takes the best.
    pub kernels: Option<String>,
    /// How finely activations are quantized before they meet quantized weights.
    pub precision: Precision,
    /// How keys and values are kept.
    pub kv: KvType,
    /// Seconds since 1970 by the host's clock, for the audit log.
    pub time_unix: i64,
}

impl EngineOptions {
    /// The defaults for a model file.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }
}

pub use crate::engine::KvType;
pub use crate::weights::Progress as LoadProgress;

/// What an engine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Name in the model file.
    pub model: String,
    /// `llama4` or `llama`.
    pub architecture: &'static str,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Positions a conversation may have.
    pub context: usize,
    /// Name of the kernel set.
    pub kernels: &'static str,
    /// Threads.
    pub threads: usize,
    /// Bytes of weights that stay in memory.
    pub weight_bytes: u64,
    /// Bytes of the past of one full conversation.
    pub kv_bytes: u64,
    /// Policy name.
    pub policy: String,
    /// SHA-256 of the policy, hexadecimal.
    pub policy_sha256: String,
    /// Things a user of this model file should know.
    pub warnings: Vec<String>,
}

/// A model ready to answer, shared by any number of sessions.
#[derive(Debug)]
pub struct Engine {
    decoder: Arc<Decoder>,
    tokenizer: Tokenizer,
    format: ChatFormat,
    allowed: TokenMask,
    guard: Arc<Guard>,
    license: ModelLicense,
    receipts: ReceiptStore,
    audit: Option<AuditLog>,
    info: EngineInfo,
    sessions: AtomicU64,
    /// Characters a second of the newest answer, as the bits of an f64; 0 before there was one.
    text_rate: AtomicU64,
}

/// Stack of the thread that reads files, whatever the host's thread has.
const STACK: usize = 8 << 20;

impl Engine {
    /// Opens model, guard, receipts and log. The guard comes first: there is no engine without it.
    ///
    /// `progress` hears of every few megabytes, of the guard model first where there is one, on a thread of the library while this call waits; answering `false` ends the
    /// loading.
    ///
    /// # Errors
    /// What any part gives, with the part named; [`crate::Kind::Cancelled`] when `progress` said so.
    pub fn open(options: &EngineOptions, progress: &mut (dyn FnMut(LoadProgress) -> bool + Send)) -> Result<Arc<Self>> {
        Self::open_with(options, progress, Ok)
    }

    /// As [`Engine::open`], with a guard that has more checks than the policy's own.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_with_checks(
        options: &EngineOptions,
        progress: &mut (dyn FnMut(LoadProgress) -> bool + Send),
        checks: Vec<Arc<dyn crate::guard::Check>>,
    ) -> Result<Arc<Self>> {
        Self::open_with(options, progress, |guard: Guard| Ok(guard.with_checks(checks)))
    }

    fn open_with(
        options: &EngineOptions,
        progress: &mut (dyn FnMut(LoadProgress) -> bool + Send),
        add: impl FnOnce(Guard) -> Result<Guard> + Send,
    ) -> Result<Arc<Self>> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("palisade-open".to_owned()).stack_size(STACK);
            let work = thread.spawn_scoped(scope, || Self::assemble(options, progress, add));
            let joined = work.map_err(|e| Error::memory(format!("starting a thread: {e}")))?.join();
            joined.unwrap_or_else(|_| Err(Error::internal("opening the engine failed inside the library")))
        })
        .map(Arc::new)
    }

    fn assemble(
        options: &EngineOptions,
        progress: &mut (dyn FnMut(LoadProgress) -> bool + Send),
        add: impl FnOnce(Guard) -> Result<Guard>,
    ) -> Result<Self> {
        let guard_options = GuardOptions {
            policy: options.policy.clone(),
            policy_key: options.policy_key.clone(),
            state_dir: options.state_dir.clone(),
            shadow: options.shadow_policy.clone(),
            classifier: options.classifier.clone(),
            llm_guard: options.guard_model.as_ref().map(|model| guard_model(options, model)),
            ..GuardOptions::default()
        };
        let guard = add(Guard::open_with(&guard_options, progress).map_err(|e| e.context("opening the guard"))?)?;
        let receipts = ReceiptStore::open(options.state_dir.as_deref())?;
        let audit = match &options.audit {
            Some(audit) => {
                let audit = AuditOptions { time_unix: options.time_unix, ..audit.clone() };
                Some(AuditLog::open(audit).map_err(|e| e.context("opening the audit log"))?)
            }
            None => None,
        };
        let gguf = Arc::new(match options.model_bytes {
            Some(bytes) => Gguf::from_bytes(&options.model.display().to_string(), bytes)?,
            None => Gguf::open(&options.model)?,
        });
        let license = ModelLicense::of(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(gguf.metadata())?;
        let format = ChatFormat::of(&tokenizer)?;
        let decoder = Arc::new(Decoder::load(&gguf, &beside(options, &guard)?, progress)?);
        let vocab = decoder.model().hparams.vocab;
        if tokenizer.vocab_size() > vocab {
            return Err(Error::corrupt(format!(
                "tokenizer.ggml.tokens: {} entries, the embedding has {vocab} rows",
                tokenizer.vocab_size()
            )));
        }
        // Control tokens other than the legal ends never leave the model, so its answer can be read back as history.
        let legal =
            |id: u32| (id as usize) < tokenizer.vocab_size() && (tokenizer.is_stop(id) || !tokenizer.is_control(id));
        let allowed = TokenMask::from_fn(u32::try_from(vocab).unwrap_or(u32::MAX), legal);
        let info = describe(&decoder, &tokenizer, &guard);
        let (guard, sessions, text_rate) = (Arc::new(guard), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { decoder, tokenizer, format, allowed, guard, license, receipts, audit, info, sessions, text_rate })
    }

    /// The model's licence.
    #[must_use]
    pub fn license(&self) -> &ModelLicense {
        &self.license
    }

    /// The licence to show and accept next: the model's until it was accepted, then the guard model's until that was, then
    /// the model's again.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when the receipts cannot be read.
    pub fn next_license(&self) -> Result<(&ModelLicense, Status)> {
        let own = self.receipts.status(&self.license)?;
        if own.is_accepted()
            && let (Some(license), Some(status)) = (self.guard.license(), self.guard.license_status()?)
            && !status.is_accepted()
        {
            return Ok((license, status));
        }
        Ok((&self.license, own))
    }

    /// Whether the model's licence was accepted.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when the receipts cannot be read.
    pub fn license_status(&self) -> Result<Status> {
        self.receipts.status(&self.license)
    }

    /// Records that a licence was accepted: the model's, the guard model's, or both where they have the same text. The
    /// acceptance names the SHA-256 of the text that was shown.
    ///
    /// # Errors
    /// [`crate::Kind::License`] when it names another text, [`crate::Kind::Io`] when the receipt cannot be kept.
    pub fn accept_license(&self, acceptance: &Acceptance) -> Result<()> {
        let of = |license: &ModelLicense| license.sha256.eq_ignore_ascii_case(&acceptance.sha256);
        let guard = self.guard.license().filter(|license| of(license));
        let own = guard.is_none() || of(&self.license);
        if own {
            self.receipts.accept(&self.license, acceptance)?;
        }
        if guard.is_some() {
            self.guard.accept_license(acceptance)?;
        }
        for license in guard.into_iter().chain(own.then_some(&self.license)) {
            let event = audit::Event::License {
                license: audit::Label::of_name(&license.id),
                sha256: audit::Label::of_name(&license.sha256),
            };
            self.log("host", acceptance.time_unix, event)?;
        }
        Ok(())
    }

    /// What the engine is made of.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Opens a conversation.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] when the input guard refuses the system prompt; the guard's failures.
    pub fn session(self: &Arc<Self>, options: &SessionOptions) -> Result<Arc<Session>> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        Session::open(self, options, number)
    }

    /// The guard.
    #[must_use]
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(super) fn decoder(&self) -> &Arc<Decoder> {
        &self.decoder
    }

    pub(super) fn format(&self) -> ChatFormat {
        self.format
    }

    pub(super) fn allowed(&self) -> &TokenMask {
        &self.allowed
    }

    pub(super) fn require_license(&self) -> Result<()> {
        self.receipts.require(&self.license)?;
        match (self.guard.license(), self.guard.license_status()?) {
            (Some(license), Some(status)) if !status.is_accepted() => Err(Error::license(format!(
                "the licence \"{}\" of the guard model \"{}\" has not been accepted: show its text (SHA-256 {}) and accept it by \
                 that hash",
                license.id, license.model, license.sha256
            ))),
            _ => Ok(()),
        }
    }

    /// Runs `work` on the engine's threads, whose stacks are known to be large enough.
    pub(super) fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.decoder.on_threads(work)
    }

    /// Characters a second of the newest answer.
    pub(super) fn text_rate(&self) -> Option<f64> {
        Some(f64::from_bits(self.text_rate.load(Ordering::Relaxed))).filter(|r| *r > 0.0)
    }

    pub(super) fn note_text_rate(&self, rate: f64) {
        self.text_rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn audit(&self) -> Option<&AuditLog> {
        self.audit.as_ref()
    }

    /// Adds a record to the audit log, where there is one.
    pub(super) fn log(&self, session: &str, time_unix: i64, event: audit::Event) -> Result<()> {
        let Some(log) = &self.audit else { return Ok(()) };
        let record = audit::Record {
            time_unix,
            session: audit::Label::of_name(session),
            policy: audit::Label::of_name(&self.info.policy_sha256),
            model: audit::Label::of_name(&self.license.model),
            event,
        };
        log.append(&record).map_err(|e| e.context("audit log"))
    }
}

fn decoder_options(o: &EngineOptions) -> DecoderOptions {
    DecoderOptions {
        threads: o.threads,
        memory_budget: o.memory_budget,
        context: o.context,
        prefill_batch: o.prefill_batch,
        map_weights: o.map_weights,
        kernels: o.kernels.clone(),
        kv: o.kv,
        precision: o.precision,
        column_squares: None,
    }
}

/// How the guard model is loaded: as the model is, with a context of its own.
fn guard_model(o: &EngineOptions, model: &std::path::Path) -> LlmGuardOptions {
    let decoder = DecoderOptions { context: 0, kv: KvType::Auto, ..decoder_options(o) };
    LlmGuardOptions { model: model.to_owned(), family: o.guard_family, decoder }
}

/// How the model is loaded beside the guard model: what that one holds is taken from the budget.
fn beside(o: &EngineOptions, guard: &Guard) -> Result<DecoderOptions> {
    let mut options = decoder_options(o);
    if options.memory_budget > 0 {
        let (budget, held) = (options.memory_budget, guard.model_bytes());
        options.memory_budget = budget.checked_sub(held).filter(|left| *left > 0).ok_or_else(|| {
            Error::memory(format!(
                "the memory budget of {budget} bytes is too small: the guard model alone holds {held}"
            ))
        })?;
    }
    Ok(options)
}

fn describe(decoder: &Decoder, tokenizer: &Tokenizer, guard: &Guard) -> EngineInfo {
    let (model, bytes) = (decoder.model(), decoder.bytes());
    EngineInfo {
        model: model.hparams.name.clone(),
        architecture: model.hparams.architecture.name(),
        vocabulary: model.hparams.vocab,
        context: decoder.context_length(),
        kernels: decoder.kernels(),
        threads: decoder.threads(),
        weight_bytes: bytes.fixed.saturating_add(bytes.routed_budget),
        kv_bytes: bytes.kv,
        policy: guard.policy().name().to_owned(),
        policy_sha256: hex(&guard.policy().hash()),
        warnings: {
            let guards = guard.model_warnings().iter().map(|w| format!("guard model: {w}"));
            model.warnings.iter().chain(tokenizer.warnings()).cloned().chain(guards).collect()
        },
    }
}
