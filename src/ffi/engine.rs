//! The engine: one model with its guards.
#![expect(unsafe_code, reason = "exported entries")]

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use super::audit::{self, PALISADE_SYNC_REQUEST, PalisadeCheckpointFn};
use super::fence::{Fault, fence};
use super::gate::Poison;
use super::log::{PALISADE_LOG_INFO, PALISADE_LOG_WARN, log};
use super::memory::{self, fixed};
use super::sized::{self, Versioned, borders};
use super::status::{PALISADE_ARG, PALISADE_CALLBACK, PalisadeStatus};
use super::types::{PALISADE_NAME_SIZE, PALISADE_SHA256_SIZE, PalisadeStr};
use super::{handle, license};
use crate::error::Error;
use crate::session::{Engine, EngineInfo, EngineOptions, KvType, LoadProgress};

/// A model with its guards, shared by any number of sessions. Made by `palisade_engine_open`, given up by
/// `palisade_engine_free`; its sessions keep what they need of it alive.
pub struct PalisadeEngine {
    _ticket: (),
}

/// What stands behind an engine handle.
pub(super) struct EngineSlot {
    pub(super) engine: Arc<Engine>,
    pub(super) poison: Poison,
}

/// Stack of the thread that only waits: the work has threads of its own.
const SMALL_STACK: usize = 256 << 10;

/// Keys and values as suits the model: single precision where its attention weights are, half precision otherwise.
pub const PALISADE_KV_AUTO: u8 = 0;
/// Keys and values in single precision.
pub const PALISADE_KV_F32: u8 = 1;
/// Keys and values in half precision.
pub const PALISADE_KV_F16: u8 = 2;
/// Keys and values in eight bits with a scale for each 32 values: 17/32 of half precision's bytes. For models whose heads
/// are a multiple of 32 values; others answer `PALISADE_UNSUPPORTED`.
pub const PALISADE_KV_Q8_0: u8 = 3;

/// How far opening an engine has come.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeProgress {
    /// The size of this struct in the library's version.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes of the model that are read.
    pub done: u64,
    /// Bytes of the model to read.
    pub total: u64,
}

/// Receives how far opening has come. Returns 0 to go on, 1 to cancel.
/// Called on the thread that called `palisade_engine_open`.
pub type PalisadeProgressFn =
    Option<unsafe extern "C-unwind" fn(progress: *const PalisadeProgress, user: *mut c_void) -> i32>;

/// What `palisade_engine_open` needs. Fill it with `palisade_engine_options_init` first. Texts are read during the call
/// only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeEngineOptions {
    /// Set by the init function.
    pub struct_size: u32,
    /// Threads to compute with; 0 = one for each core.
    pub threads: u32,
    /// Path of the model, a GGUF file (the first of a split one). Needed.
    pub model: PalisadeStr,
    /// Path of the guard policy, a TOML file; empty = the built-in one.
    pub policy: PalisadeStr,
    /// Path of the folder of an ONNX classifier; empty = the built-in one.
    pub classifier: PalisadeStr,
    /// Folder for licence receipts; empty = they are kept in memory, for this engine only.
    pub state_dir: PalisadeStr,
    /// Path of the audit log; empty = none is written.
    pub audit: PalisadeStr,
    /// Most bytes the engine may hold for weights and caches; 0 = no limit.
    pub memory_budget: u64,
    /// Most tokens of one dialog; 0 = the default.
    pub context: u32,
    /// Tokens of a prompt that are computed at once; 0 = the default.
    pub prefill_batch: u32,
    /// 1 = map the model file instead of reading it. A file that somebody shortens meanwhile then ends the process
    /// with SIGBUS: only for files that nobody else can write.
    pub map_weights: u8,
    /// How keys and values of the past are kept, one of `PALISADE_KV_…`; 0 = what suits the model.
    pub kv_type: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// The host's time in seconds since 1970, for the audit log. The library reads no clock.
    pub time_unix: i64,
    /// Called while the engine is opened; may be NULL.
    pub on_progress: PalisadeProgressFn,
    /// Given to `on_progress` untouched.
    pub user: *mut c_void,
    /// Public key that has to have signed the policy, 64 hexadecimal digits: then only signed bundles are taken for
    /// `policy` and `shadow_policy`, and none older than the newest one that `state_dir` remembers. Empty = any policy.
    pub policy_key: PalisadeStr,
    /// Path of a policy that is tried beside the one in force: its verdicts are logged and change nothing; empty = none.
    pub shadow_policy: PalisadeStr,
    /// Secret for keyed hashes of questions in the audit log, 64 hexadecimal digits; empty = questions leave no trace.
    pub audit_key: PalisadeStr,
    /// An audit log of so many bytes is set aside (as `audit.log.000001` and so on) and continued in a new file; 0 = never.
    pub audit_rotate_bytes: u64,
    /// After so many records a checkpoint is written; 0 = only where a file ends.
    pub audit_checkpoint_every: u64,
    /// When the audit log is flushed to the disk, one of `PALISADE_SYNC_…`.
    pub audit_sync: u8,
    /// 1 = keep the words of questions in the audit log.
    pub audit_plain_text: u8,
    /// Zero.
    pub reserved_2: [u8; 6],
    /// Signs checkpoints of the audit log; may be NULL.
    pub on_checkpoint: PalisadeCheckpointFn,
    /// Given to `on_checkpoint` untouched. Unlike `user` it is used until the engine is freed, from any thread.
    pub checkpoint_user: *mut c_void,
    /// Path of a guard model, a GGUF file of Llama Guard 3 or 4: it judges beside the classifier, as the policy's `[stages]`
    /// say. Its licence is accepted as the model's is. Empty = none.
    pub guard_model: PalisadeStr,
    /// The guard model's family where its file does not say, `llama-guard-3-8b`, `llama-guard-3-1b` or `llama-guard-4`.
    /// Empty = what the file says.
    pub guard_family: PalisadeStr,
}

// SAFETY: integers, views and nullable pointers, the size first; `borders!` adds up the fields.
unsafe impl Versioned for PalisadeEngineOptions {
    const BORDERS: &'static [usize] = borders!(PalisadeEngineOptions: model, policy, classifier, state_dir, audit,
        memory_budget, context, prefill_batch, map_weights, kv_type, reserved, time_unix, on_progress, user, policy_key,
        shadow_policy, audit_key, audit_rotate_bytes, audit_checkpoint_every, audit_sync, audit_plain_text, reserved_2, on_checkpoint,
        checkpoint_user, guard_model, guard_family);
    fn defaults() -> Self {
        let empty = PalisadeStr::EMPTY;
        Self {
            struct_size: size_of::<Self>() as u32,
            threads: 0,
            model: empty,
            policy: empty,
            classifier: empty,
            state_dir: empty,
            audit: empty,
            memory_budget: 0,
            context: 0,
            prefill_batch: 0,
            map_weights: 0,
            kv_type: PALISADE_KV_AUTO,
            reserved: [0; 6],
            time_unix: 0,
            on_progress: None,
            user: std::ptr::null_mut(),
            policy_key: empty,
            shadow_policy: empty,
            audit_key: empty,
            audit_rotate_bytes: 0,
            audit_checkpoint_every: 0,
            audit_sync: PALISADE_SYNC_REQUEST,
            audit_plain_text: 0,
            reserved_2: [0; 6],
            on_checkpoint: None,
            checkpoint_user: std::ptr::null_mut(),
            guard_model: empty,
            guard_family: empty,
        }
    }
}

impl PalisadeEngineOptions {
    /// # Safety
    /// The texts are as the header asks.
    unsafe fn read(&self) -> Result<EngineOptions, Fault> {
        sized::reserved(&self.reserved, "options.reserved")?;
        sized::reserved(&self.reserved_2, "options.reserved_2")?;
        // SAFETY: as this function asks.
        unsafe {
            let mut options = EngineOptions::new(memory::path(self.model, "options.model")?);
            options.policy = memory::optional_path(self.policy, "options.policy")?;
            options.classifier = memory::optional_path(self.classifier, "options.classifier")?;
            options.state_dir = memory::optional_path(self.state_dir, "options.state_dir")?;
            options.audit = audit::options(self)?;
            let key = memory::text(self.policy_key, "options.policy_key")?;
            options.policy_key = (!key.is_empty()).then(|| key.to_owned());
            options.shadow_policy = memory::optional_path(self.shadow_policy, "options.shadow_policy")?;
            options.guard_model = memory::optional_path(self.guard_model, "options.guard_model")?;
            let family = memory::text(self.guard_family, "options.guard_family")?;
            options.guard_family = (!family.is_empty()).then(|| family.parse()).transpose()?;
            options.threads = self.threads as usize;
            options.memory_budget = self.memory_budget;
            options.context = self.context as usize;
            options.prefill_batch = self.prefill_batch as usize;
            options.time_unix = self.time_unix;
            options.map_weights = sized::flag(self.map_weights, "options.map_weights")?;
            options.kv = kv_type(self.kv_type)?;
            Ok(options)
        }
    }
}

fn kv_type(value: u8) -> Result<KvType, Fault> {
    match value {
        PALISADE_KV_AUTO => Ok(KvType::Auto),
        PALISADE_KV_F32 => Ok(KvType::F32),
        PALISADE_KV_F16 => Ok(KvType::F16),
        PALISADE_KV_Q8_0 => Ok(KvType::Q8_0),
        other => {
            Err(Fault::new(PALISADE_ARG, format!("options.kv_type is {other}; it is one of PALISADE_KV_…, 0 to 3")))
        }
    }
}

/// What an engine is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeEngineInfo {
    /// The size that the caller gave.
    pub struct_size: u32,
    /// Threads it computes with.
    pub threads: u32,
    /// Entries of the vocabulary.
    pub vocabulary: u64,
    /// Most tokens of one dialog.
    pub context: u64,
    /// Bytes of weights that stay in memory.
    pub weight_bytes: u64,
    /// Bytes of the past of one full dialog.
    pub kv_bytes: u64,
    /// The model's name.
    pub model: [c_char; PALISADE_NAME_SIZE],
    /// Its architecture, such as `llama4`.
    pub architecture: [c_char; PALISADE_NAME_SIZE],
    /// The kernel set in use, such as `avx2`.
    pub kernels: [c_char; PALISADE_NAME_SIZE],
    /// The name of the guard policy.
    pub policy: [c_char; PALISADE_NAME_SIZE],
    /// SHA-256 of the guard policy, in hexadecimal digits.
    pub policy_sha256: [c_char; PALISADE_SHA256_SIZE],
}

// SAFETY: integers and bytes, the size first; `borders!` adds up the fields.
unsafe impl Versioned for PalisadeEngineInfo {
    const BORDERS: &'static [usize] = borders!(PalisadeEngineInfo: vocabulary, context, weight_bytes, kv_bytes, model, architecture, kernels, policy, policy_sha256);
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            threads: 0,
            vocabulary: 0,
            context: 0,
            weight_bytes: 0,
            kv_bytes: 0,
            model: [0; _],
            architecture: [0; _],
            kernels: [0; _],
            policy: [0; _],
            policy_sha256: [0; _],
        }
    }
}

impl PalisadeEngineInfo {
    fn of(info: &EngineInfo) -> Self {
        Self {
            threads: u32::try_from(info.threads).unwrap_or(u32::MAX),
            vocabulary: info.vocabulary as u64,
            context: info.context as u64,
            weight_bytes: info.weight_bytes,
            kv_bytes: info.kv_bytes,
            model: fixed(&info.model),
            architecture: fixed(info.architecture),
            kernels: fixed(info.kernels),
            policy: fixed(&info.policy),
            policy_sha256: fixed(&info.policy_sha256),
            ..Self::defaults()
        }
    }
}

/// Fills engine options with their defaults. Call it before setting any field, with the size of the struct as the
/// program knows it; that is how a program built with another version of this header still works.
///
/// ```c
/// palisade_engine_options_t options;
/// palisade_engine_options_init(&options, sizeof options);
/// ```
///
/// Errors: `PALISADE_ARG`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `options` points to `size` bytes that may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_engine_options_init(
    options: *mut PalisadeEngineOptions,
    size: usize,
) -> PalisadeStatus {
    fence(|| {
        // SAFETY: as the header asks.
        unsafe { sized::init(options, size, "options") }
    })
}

/// Opens a model and its guards. It takes as long as reading the weights does; `on_progress` tells how far it is and can
/// cancel. The licence is not asked for here, but by the first request: see `palisade_license_status`.
///
/// Ownership: on success `*engine` is the caller's, who gives it up with `palisade_engine_free`.
/// On failure nothing is written and nothing is kept.
///
/// ```c
/// palisade_engine_t *engine = NULL;
/// options.model = palisade_str("model.gguf");
/// if (palisade_engine_open(&options, &engine) != PALISADE_OK) { ... }
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_IO`, `PALISADE_CORRUPT`, `PALISADE_UNSUPPORTED`,
/// `PALISADE_MEMORY`, `PALISADE_LIMIT`, `PALISADE_GUARD_UNAVAILABLE`, `PALISADE_CANCELLED`,
/// `PALISADE_CALLBACK` when `on_progress` returned something other than 0 and 1.
///
/// [any thread]
///
/// The caller vouches: `options` points to a struct of the size it says, its texts to their bytes; `engine` may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_engine_open(
    options: *const PalisadeEngineOptions,
    engine: *mut *mut PalisadeEngine,
) -> PalisadeStatus {
    fence(|| {
        // SAFETY: as the header asks.
        let (out, host) = unsafe { (memory::out(engine, "engine")?, sized::read(options, "options")?) };
        // SAFETY: as the header asks.
        let options = unsafe { host.read() }?;
        let engine = match host.on_progress {
            Some(callback) => {
                // SAFETY: the host vouches for its callback.
                open_with_progress(&options, |progress| unsafe { callback(progress, host.user) })?
            }
            None => Engine::open(&options, &mut |_| true)?,
        };
        tell(&engine);
        out.set(handle::hand_out(Arc::new(EngineSlot { engine, poison: Poison::default() }))?);
        Ok(())
    })
}

/// Opens on another thread, so that the host's callback runs on this one, which is its own.
fn open_with_progress(
    options: &EngineOptions,
    callback: impl Fn(*const PalisadeProgress) -> i32,
) -> Result<Arc<Engine>, Fault> {
    let (tell, told) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let mut odd = None;
    let opened = std::thread::scope(|scope| {
        let work = move || {
            // Without somebody to answer the loading ends.
            let mut ask = move |progress| tell.send(progress).is_ok() && answered.recv().unwrap_or(false);
            Engine::open(options, &mut ask)
        };
        let thread = std::thread::Builder::new().name("palisade-wait".to_owned()).stack_size(SMALL_STACK);
        let thread = thread.spawn_scoped(scope, work).map_err(|e| Error::memory(format!("starting a thread: {e}")))?;
        while let Ok(progress) = told.recv() {
            let go_on = ask_host(&progress, &callback).unwrap_or_else(|fault| {
                odd = Some(fault);
                false
            });
            // It may have ended meanwhile; what came of it is seen below.
            let _ = answer.send(go_on);
        }
        thread.join().unwrap_or_else(|_| Err(Error::internal("opening the engine failed inside the library")))
    });
    match odd {
        Some(fault) => Err(fault),
        None => Ok(opened?),
    }
}

/// What the host's callback says: whether to go on.
fn ask_host(progress: &LoadProgress, callback: impl Fn(*const PalisadeProgress) -> i32) -> Result<bool, Fault> {
    let struct_size = size_of::<PalisadeProgress>() as u32;
    let shown = PalisadeProgress { struct_size, reserved: 0, done: progress.done, total: progress.total };
    match catch_unwind(AssertUnwindSafe(|| callback(&raw const shown))) {
        Ok(0) => Ok(true),
        Ok(1) => Ok(false),
        Ok(other) => Err(Fault::new(PALISADE_CALLBACK, format!("on_progress returned {other}; it is 0 or 1"))),
        Err(payload) => {
            // Its drop could unwind again.
            std::mem::forget(payload);
            Err(Fault::new(PALISADE_CALLBACK, "on_progress did not return but unwound"))
        }
    }
}

/// Tells the host's log what was opened.
fn tell(engine: &Engine) {
    let info = engine.info();
    log(PALISADE_LOG_INFO, &format!("opened \"{}\" ({}), {} kernels", info.model, info.architecture, info.kernels));
    for warning in &info.warnings {
        log(PALISADE_LOG_WARN, warning);
    }
    license::warn_of_receipt(engine);
}

/// Tells what an engine is. `size` is the size of the struct as the program knows it.
///
/// ```c
/// palisade_engine_info_t info;
/// if (palisade_engine_info(engine, &info, sizeof info) == PALISADE_OK) puts(info.model);
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `info` points to `size` bytes that may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_engine_info(
    engine: *const PalisadeEngine,
    info: *mut PalisadeEngineInfo,
    size: usize,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(engine, "engine")?;
        let _watch = slot.poison.watch("engine")?;
        // SAFETY: as the header asks.
        unsafe { sized::write(info, size, &PalisadeEngineInfo::of(slot.engine.info()), "info") }
    })
}

/// Gives up an engine and sets `*engine` to NULL. Its open sessions go on and keep what they need of it.
/// NULL, and a pointer to NULL, is a harmless no-op.
///
/// ```c
/// palisade_engine_free(&engine);
/// ```
///
/// Errors: `PALISADE_CLOSED` when it was freed through a copy of the handle before (nothing happens), `PALISADE_ARG`
/// for something that is no engine. In a forked child the parent's handle is only set to NULL.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `engine` is NULL or points to a handle that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_engine_free(engine: *mut *mut PalisadeEngine) -> PalisadeStatus {
    fence(|| {
        // SAFETY: as the header asks.
        unsafe { handle::free(engine, "engine", |_| Ok(())) }
    })
}
