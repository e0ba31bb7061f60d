//! A loaded decoder: weights placed under the budget, the graph planned, the threads it runs on.

use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::{TypedSimplePlan, TypedSimpleState};

use super::awake::{self, Crew};
use super::context::Context;
use super::from_tract;
use super::graph::{LayerParts, Parts, plan};
use super::importance::ColumnSquares;
use super::kv::{KvType, LayerCache, kv_bytes, page_pool};
use super::ops::{AttentionPlan, FeedForwardWeights, Mlp, Routed};
use super::pass::{Keep, Seat, run};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::kernels::{self, KV_BLOCK, Kernels, Precision};
use crate::model::{Ffn, Hparams, LayerPlan, MatrixRef, Model};
use crate::quant::BlockType;
use crate::weights::{Loader, Matrix, Pager, PagerStats, Pool, Progress, packed_bytes};

/// How a decoder is loaded.
#[derive(Clone, Debug, Default)]
pub struct DecoderOptions {
    /// Threads; 0 takes what the machine offers.
    pub threads: usize,
    /// Bytes for weights and the past of one conversation; 0 sets no limit. Routed experts that do not fit are read when a
    /// token needs them.
    pub memory_budget: u64,
    /// Positions a conversation may have; 0 takes the model's own, at most 8,192.
    pub context: usize,
    /// Tokens of a prompt computed together; 0 takes 256.
    pub prefill_batch: usize,
    /// Leave the weights in a map of the file.
    pub map_weights: bool,
    /// Name of a kernel set; `None` takes the best.
    pub kernels: Option<String>,
    /// How keys and values are kept.
    pub kv: KvType,
    /// How finely activations are quantized before they meet quantized weights.
    pub precision: Precision,
    /// Collects the squares of what meets the matrices' columns. `None` costs nothing.
    pub column_squares: Option<Arc<ColumnSquares>>,
}

/// Where a loaded model's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadedBytes {
    /// Touched by every token.
    pub fixed: u64,
    /// Routed experts, all of them.
    pub routed: u64,
    /// What routed experts may take in memory.
    pub routed_budget: u64,
    /// The past of one full conversation.
    pub kv: u64,
}

/// Positions of a conversation when nobody says otherwise.
const DEFAULT_CONTEXT: usize = 8192;
const DEFAULT_BATCH: usize = 256;
/// Our threads' stacks, whatever the host's threads have.
const STACK: usize = 8 << 20;

/// A decoder that any number of conversations share.
pub struct Decoder {
    pub(super) model: Model,
    pub(super) pool: rayon::ThreadPool,
    pub(super) batch: usize,
    pub(super) context: usize,
    parts: Parts,
    plan: Arc<TypedSimplePlan>,
    /// States of the plan that no run uses: as many as ever ran side by side. They hold no past.
    idle: Mutex<Vec<TypedSimpleState>>,
    /// The pool's threads, as passes share them.
    pub(super) crew: Arc<Crew>,
    pager: Option<Arc<Pager>>,
    /// Where the pasts of conversations have their pages from.
    pages: Arc<Pool>,
    bytes: LoadedBytes,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("kernels", &self.kernels()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Reads the weights of `gguf` and plans the graph.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when the budget does not hold what every token touches, with the sizes;
    /// [`crate::error::Kind::Argument`] for a kernel set this processor does not have; what the file gives.
    pub fn load(
        gguf: &Arc<Gguf>,
        options: &DecoderOptions,
        on_progress: &mut (dyn FnMut(Progress) -> bool + Send),
    ) -> Result<Self> {
        let model = Model::from_gguf(gguf)?;
        let kernels = match &options.kernels {
            None => kernels::best(),
            Some(name) => kernels::named(name).ok_or_else(|| unknown_kernels(name))?,
        };
        let pool = thread_pool(options.threads)?;
        let kv = resolve_kv(options, &model)?;
        let context = if options.context == 0 { model.hparams.context.min(DEFAULT_CONTEXT) } else { options.context };
        let bytes = place(&model, kv, context, options)?;
        let (parts, pager) = pool.install(|| {
            let total = if options.map_weights { 0 } else { file_bytes(&model, bytes.routed_budget >= bytes.routed)? };
            let paged = (bytes.routed_budget < bytes.routed).then_some(bytes.routed_budget);
            let resident = bytes.fixed.saturating_add(if paged.is_none() { bytes.routed } else { 0 });
            let mut loader = Loader::new(Arc::clone(gguf), total, resident, options.map_weights, paged, on_progress)?;
            let parts = load_parts(&mut loader, &model, kernels, kv, options)?;
            // Gate and up matrices of every expert that a token uses.
            Ok::<_, Error>((parts, loader.finish(2 * model.hparams.experts_used.max(1))?))
        })?;
        let plan = plan(&parts).map_err(|e| from_tract("planning the decoder", &e))?;
        let pages = Arc::new(page_pool(kv, model.hparams.kv_heads, model.hparams.head_dim));
        let batch = if options.prefill_batch == 0 { DEFAULT_BATCH } else { options.prefill_batch };
        Ok(Self {
            model,
            pool,
            batch,
            context,
            parts,
            plan,
            idle: Mutex::default(),
            crew: Arc::default(),
            pager,
            pages,
            bytes,
        })
    }

    /// What the file says.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Name of the kernel set.
    #[must_use]
    pub fn kernels(&self) -> &'static str {
        self.parts.kernels.name
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Positions a conversation may have.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.context
    }

    /// Tokens of a prompt computed together.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Runs `work` on one of the decoder's threads, whose stacks are large whatever the caller's is.
    pub fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(|| awake::leading(work))
    }

    /// Where the bytes are.
    #[must_use]
    pub fn bytes(&self) -> LoadedBytes {
        self.bytes
    }

    /// What the pager of routed experts did, where there is one.
    #[must_use]
    pub fn pager(&self) -> Option<PagerStats> {
        self.pager.as_ref().map(|p| p.stats())
    }

    /// An empty conversation.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] for a fault of the engine.
    pub fn conversation(self: &Arc<Self>) -> Result<Context> {
        Ok(Context::new(Arc::clone(self)))
    }

    /// Advances each conversation by one id in one pass through the weights, and gives the logits after it, in the order of
    /// `contexts`. Each gets the bits it would get alone, however many there are and whatever the others hold. All or
    /// nothing: a step that fails or is cancelled leaves every conversation as it was.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for lists of unlike lengths, a conversation of another decoder or an id outside the
    /// vocabulary; [`crate::error::Kind::Limit`] when one conversation is full; cancellation; the engine's.
    pub fn step(
        &self,
        contexts: &mut [&mut Context],
        ids: &[u32],
        control: &mut super::RunControl<'_>,
    ) -> Result<Vec<Vec<f32>>> {
        if contexts.len() != ids.len() {
            return Err(Error::argument(format!("{} conversations and {} ids", contexts.len(), ids.len())));
        }
        if contexts.is_empty() {
            return Ok(Vec::new());
        }
        for (context, id) in contexts.iter().zip(ids) {
            if !context.is_of(self) {
                return Err(Error::argument("a conversation of another decoder"));
            }
            context.check(std::slice::from_ref(id))?;
        }
        let mut seats: Vec<_> =
            contexts.iter_mut().zip(ids).map(|(context, id)| Seat { context, ids: std::slice::from_ref(id) }).collect();
        let logits = run(self, &mut seats, Keep::Last, control)?;
        Ok(logits.chunks_exact(self.model.hparams.vocab).map(<[f32]>::to_vec).collect())
    }

    /// Log-probability of each id after the first, given those before it. Nothing is generated.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for fewer than two ids or one outside the vocabulary; cancellation; the engine's.
    pub fn score(self: &Arc<Self>, ids: &[u32], control: &mut super::RunControl<'_>) -> Result<Vec<f32>> {
        Context::new(Arc::clone(self)).score(ids, control)
    }

    /// A layer's past for each layer.
    pub(super) fn empty_past(&self) -> Vec<LayerCache> {
        let of = |a: &AttentionPlan| LayerCache::new(&self.pages, a.kv, a.kv_heads, a.head_dim);
        self.parts.layers.iter().map(|layer| of(&layer.attention)).collect()
    }

    /// A state of the plan for one run.
    pub(super) fn idle_state(&self) -> Result<TypedSimpleState> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.plan.spawn().map_err(|e| from_tract("preparing a run", &e)), Ok)
    }

    pub(super) fn give_back_state(&self, state: TypedSimpleState) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
    }
}

fn unknown_kernels(name: &str) -> Error {
    let known: Vec<_> = kernels::available().iter().map(|k| k.name).collect();
    Error::argument(format!("kernel set {name:?}: this processor has {}", known.join(", ")))
}

fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
    if threads > 1024 {
        return Err(Error::argument(format!("{threads} threads, expected at most 1024")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("palisade-{i}"))
        .stack_size(STACK)
        .build()
        .map_err(|e| Error::memory(format!("starting {threads} threads: {e}")))
}

/// The type that keys and values of `model` are kept in.
fn resolve_kv(options: &DecoderOptions, model: &Model) -> Result<KvType> {
    let full = options.precision == Precision::Fine
        || model.layers.iter().all(|l| l.k.ty == BlockType::F32 && l.v.ty == BlockType::F32);
    match options.kv {
        KvType::Auto if full => Ok(KvType::F32),
        KvType::Auto => Ok(KvType::F16),
        KvType::Q8_0 if !model.hparams.head_dim.is_multiple_of(KV_BLOCK) => Err(Error::unsupported(format!(
            "q8_0 keys and values need heads of whole blocks of {KV_BLOCK} values, this model's have {}; take f16",
            model.hparams.head_dim
        ))),
        named => Ok(named),
    }
}

/// The matrices that every token touches, and the stacks that routing chooses from.
fn matrices(model: &Model) -> (Vec<&MatrixRef>, Vec<&MatrixRef>) {
    fn of(f: &Ffn) -> [&MatrixRef; 3] {
        [&f.gate, &f.up, &f.down]
    }
    let mut fixed = vec![&model.embedding];
    let mut routed = Vec::new();
    if !model.is_tied() {
        fixed.push(&model.output);
    }
    for l in &model.layers {
        fixed.extend([&l.q, &l.k, &l.v, &l.o]);
        fixed.extend(of(&l.ffn));
        if let Some((router, experts)) = &l.routed {
            fixed.push(router);
            routed.extend(of(experts));
        }
    }
    (fixed, routed)
}

fn sum(list: &[&MatrixRef], bytes: impl Fn(&MatrixRef) -> Result<u64>) -> Result<u64> {
    list.iter().try_fold(0u64, |all, m| {
        let one = bytes(m)?.checked_mul(m.copies as u64);
        one.and_then(|b| all.checked_add(b)).ok_or_else(|| Error::limit("the weights do not fit 64 bits"))
    })
}

fn file_bytes(model: &Model, with_routed: bool) -> Result<u64> {
    let (fixed, routed) = matrices(model);
    let bytes = |m: &MatrixRef| Ok((m.ty.row_bytes(m.cols)? as u64).saturating_mul(m.rows as u64));
    Ok(sum(&fixed, bytes)? + if with_routed { sum(&routed, bytes)? } else { 0 })
}

/// Decides what stays in memory, before any of it is asked for.
fn place(model: &Model, kv: KvType, context: usize, options: &DecoderOptions) -> Result<LoadedBytes> {
    let (fixed, routed) = matrices(model);
    let packed = |m: &MatrixRef| packed_bytes(m.ty, m.rows, m.cols);
    let (fixed, routed) = (sum(&fixed, packed)?, sum(&routed, packed)?);
    let kv_bytes = kv_bytes(model, kv, context);
    let mut bytes = LoadedBytes { fixed, routed, routed_budget: routed, kv: kv_bytes };
    if options.memory_budget > 0 && !options.map_weights {
        let needed = fixed.saturating_add(kv_bytes);
        let left = options.memory_budget.checked_sub(needed).ok_or_else(|| {
            Error::memory(format!(
                "the memory budget of {} bytes is too small: {fixed} bytes of weights that every token touches and {kv_bytes} \
                 bytes for {context} positions make {needed}; give a larger budget, a shorter context or a smaller key and value type (q8_0)",
                options.memory_budget
            ))
        })?;
        bytes.routed_budget = routed.min(left);
    }
    Ok(bytes)
}

fn load_parts(
    loader: &mut Loader<'_>,
    model: &Model,
    kernels: Kernels,
    kv: KvType,
    options: &DecoderOptions,
) -> Result<Parts> {
    let h = &model.hparams;
    let embedding = load(loader, &model.embedding)?;
    let output = if model.is_tied() { embedding.clone() } else { load(loader, &model.output)? };
    let layers = model.layers.iter().map(|l| load_layer(loader, h, l, kernels, kv)).collect::<Result<_>>()?;
    Ok(Parts {
        kernels,
        precision: options.precision,
        eps: h.norm_eps,
        embedding: Arc::new(embedding),
        layers,
        output_norm: loader.vector(&model.output_norm.name, model.output_norm.len)?.into(),
        output: Arc::new([output]),
        output_name: model.output.name.clone(),
        watch: options.column_squares.clone(),
    })
}

fn load(loader: &mut Loader<'_>, m: &MatrixRef) -> Result<Matrix> {
    loader.matrix(&m.name, m.rows, m.cols)
}

fn load_layer(loader: &mut Loader<'_>, h: &Hparams, l: &LayerPlan, kernels: Kernels, kv: KvType) -> Result<LayerParts> {
    let qkv = [load(loader, &l.q)?, load(loader, &l.k)?, load(loader, &l.v)?];
    let shared =
        Mlp { gate: load(loader, &l.ffn.gate)?, up: load(loader, &l.ffn.up)?, down: load(loader, &l.ffn.down)? };
    let routed = match &l.routed {
        None => None,
        Some((router, experts)) => {
            let mut stack = |m: &MatrixRef| loader.experts(&m.name, m.rows, m.cols, m.copies);
            let (gate, up, down) = (stack(&experts.gate)?, stack(&experts.up)?, stack(&experts.down)?);
            let mlps = gate.into_iter().zip(up).zip(down).map(|((gate, up), down)| Mlp { gate, up, down });
            Some(Routed { router: load(loader, router)?, experts: mlps.collect(), used: h.experts_used })
        }
    };
    let attention = AttentionPlan {
        kernels,
        heads: h.heads,
        kv_heads: h.kv_heads,
        head_dim: h.head_dim,
        rope: l.rope,
        qk_norm: h.qk_norm.then_some(h.norm_eps),
        chunk: h.chunk.filter(|_| l.rope),
        kv,
    };
    Ok(LayerParts {
        attn_norm: loader.vector(&l.attn_norm.name, l.attn_norm.len)?.into(),
        qkv: Arc::new(qkv),
        attention: Arc::new(attention),
        o: Arc::new([load(loader, &l.o)?]),
        ffn_norm: loader.vector(&l.ffn_norm.name, l.ffn_norm.len)?.into(),
        ffn: Arc::new(FeedForwardWeights { shared, routed }),
    })
}
