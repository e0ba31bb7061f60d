//! Encoder classifiers from ONNX: token ids and mask in, one row of logits for each text out.
//!
//! A file passes [`airlock`] before anything else reads it; its weights are read by us ([`files`], [`tensor`]), so tract
//! opens no file; what tract computes while it loads is weighed ([`fold`]).

mod activation;
mod airlock;
mod attention;
mod convolution;
mod dequantize;
mod files;
mod fold;
mod gather;
mod heads;
mod integers;
mod linear;
mod load;
mod norm;
mod operators;
mod over_heads;
mod proof;
mod recognize;
mod softmax;
mod tensor;
mod wire;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tract_onnx::prelude::*;

use airlock::{Checked, MOST_BYTES};
use files::ExternalFiles;
use load::Plans;
use tensor::{Data, Head, short};

use super::from_tract;
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::files::read_regular;

/// Loading and running walk the graph recursively, and a host's thread may have little stack (512 KiB on some systems).
/// So both happen on a thread of our own; tract's scratch memory is freed on the thread that used it.
const STACK: usize = 8 << 20;
/// One run may hold so many token places.
const MOST_TOKENS: usize = 1 << 16;
/// All weights together may have so many bytes.
const MOST_WEIGHTS: u64 = 4 << 30;
/// Below so many bytes a model given as bytes runs on one thread …
const SMALL_MODEL: usize = 4 << 20;
/// … and a larger one on at most so many.
const MOST_THREADS: usize = 4;
/// So many shapes may be named: each gets a plan of its own.
const MOST_SHAPES: usize = 16;

/// Is told the name and the SHA-256 of a file, and may refuse it.
pub type VerifyFile<'a> = &'a dyn Fn(&str, &str) -> Result<()>;

/// How a classifier is loaded.
#[derive(Clone, Copy, Default)]
pub struct OnnxOptions<'a> {
    /// The shapes (rows, two tokens or more) that will be run, at most sixteen: each gets a plan of its own, in which all that
    /// the length decides is computed ahead. None: any shape, one plan.
    pub shapes: &'a [(usize, usize)],
    /// Asked for every file before it is used. The digest is taken through the descriptor that is read.
    pub verify: Option<VerifyFile<'a>>,
    /// Threads that runs share; none: as many as the processor runs at a time. The logits do not depend on it.
    pub threads: Option<usize>,
}

/// A loaded classifier. It takes `input_ids` and `attention_mask` (and `token_type_ids`, which get zeros), i64 of shape
/// (batch, seq), and gives f32 logits of shape (batch, labels).
pub struct OnnxClassifier {
    plans: Plans,
    pool: ThreadPool,
}

impl OnnxClassifier {
    /// Loads the model at `path`; weights it keeps in other files are read from the same folder.
    ///
    /// # Errors
    /// [`Kind::Io`] when a file cannot be read, [`Kind::Corrupt`] when one is damaged or the model is no classifier as
    /// above, [`Kind::Unsupported`] for operators that encoder classifiers do not use and for weights in linked files,
    /// [`Kind::Limit`] when something is too large, and what `verify` returns.
    pub fn open(path: &Path, options: &OnnxOptions<'_>) -> Result<Self> {
        let name = path.display();
        let model = read_regular(path, MOST_BYTES)?;
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(verify) = options.verify {
            verify(&file, &digest::sha256_hex(&model))?;
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::load(&model, ExternalFiles::new(Some(folder)), options).map_err(|e| e.context(name))
    }

    /// Loads a model from the bytes of an ONNX file that has all its weights inside. `name` is for messages.
    ///
    /// # Errors
    /// As [`OnnxClassifier::open`].
    pub fn from_bytes(name: &str, model: &[u8]) -> Result<Self> {
        // A small model gains nothing from threads, and one that lies in memory whole gains little from many.
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let threads = if model.len() < SMALL_MODEL { 1 } else { threads };
        let options = OnnxOptions { threads: Some(threads), ..OnnxOptions::default() };
        Self::load(model, ExternalFiles::new(None), &options).map_err(|e| e.context(name))
    }

    fn load(model: &[u8], mut files: ExternalFiles, options: &OnnxOptions<'_>) -> Result<Self> {
        let shapes = options.shapes;
        // Of one token, masks over rows and over columns are the same; tract makes a square of integers of their product
        // and cannot compute it.
        if shapes.len() > MOST_SHAPES || shapes.iter().any(|(b, s)| places(*b, *s).is_none() || *s < 2) {
            let most = MOST_SHAPES;
            return Err(Error::argument(format!("shapes {shapes:?}: at most {most}, each of two tokens or more")));
        }
        let checked = airlock::check(model)?;
        claim(&checked, &mut files)?;
        if let Some(verify) = options.verify {
            files.digests()?.iter().try_for_each(|(name, hex)| verify(name, hex))?;
        }
        // Places in the graph are proved on values, by operations that go over threads: over these, for the global pool of
        // rayon would outlive us, and after a fork it has no threads.
        let pool = pool(options.threads)?;
        let plans = pool.install(|| fenced(|| load::load(&checked, &mut |head| tensor(head, &mut files), shapes)))?;
        let out = Self { plans, pool };
        shapes.iter().try_for_each(|(b, s)| out.plans.weigh(*b, *s))?;
        Ok(out)
    }

    /// How many labels a row of logits has.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.plans.labels
    }

    /// Runs the model once over `batch` rows of `seq` tokens: ids and mask lie row after row. Returns (batch, labels)
    /// logits. `stop` is asked before every node.
    ///
    /// # Errors
    /// What `stop` returns; [`Kind::Argument`] when lengths do not fit or the shape is none that was named; [`Kind::Limit`] when the run would need too much
    /// memory; [`Kind::GuardInvalid`] when a logit is not a finite number; [`Kind::Internal`] when the run fails.
    pub fn logits(
        &self,
        ids: &[i64],
        mask: &[i64],
        batch: usize,
        seq: usize,
        stop: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Vec<f32>> {
        if places(batch, seq) != Some(ids.len()) || ids.len() != mask.len() {
            let (i, m) = (ids.len(), mask.len());
            return Err(Error::argument(format!(
                "{batch} rows of {seq} tokens do not fit {i} ids and {m} mask places"
            )));
        }
        self.plans.weigh(batch, seq)?;
        let logits = self.pool.install(|| fenced(|| self.run(ids, mask, batch, seq, stop)))?;
        match logits.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(Error::guard_invalid(format!("the classifier gave {x} for a logit"))),
            None => Ok(logits),
        }
    }

    fn run(
        &self,
        ids: &[i64],
        mask: &[i64],
        batch: usize,
        seq: usize,
        stop: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Vec<f32>> {
        let failed = |e: TractError| from_tract("running the classifier", &e);
        let types = vec![0; ids.len()];
        let all = [ids, mask, &types];
        let tensors = all.iter().take(self.plans.inputs).map(|values| Tensor::from_shape(&[batch, seq], values));
        let inputs = tensors.map(|t| t.map(Tensor::into_tvalue)).collect::<TractResult<TVec<_>>>().map_err(failed)?;
        let mut state = self.plans.of(batch, seq)?.spawn().map_err(failed)?;
        let outputs = state
            .run_plan_with_eval(inputs, |context, state, node, inputs| {
                stop().map_err(TractError::new)?;
                tract_onnx::tract_core::plan::eval(context, state, node, inputs)
            })
            .map_err(failed)?;
        let output = outputs.first().ok_or_else(|| Error::internal("the classifier gave no output"))?;
        let view = output.to_plain_array_view::<f32>().map_err(failed)?;
        if view.shape() != [batch, self.labels()] {
            return Err(Error::guard_invalid(format!("logits of shape {:?} for {batch} texts", view.shape())));
        }
        Ok(view.iter().copied().collect())
    }
}

impl std::fmt::Debug for OnnxClassifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxClassifier").field("labels", &self.labels()).finish_non_exhaustive()
    }
}

/// Token places of a shape, if it is one that is run.
fn places(batch: usize, seq: usize) -> Option<usize> {
    batch.checked_mul(seq).filter(|n| (1..=MOST_TOKENS).contains(n))
}

/// Weighs the weights, and holds those in other files against the sizes of these.
fn claim(checked: &Checked<'_>, files: &mut ExternalFiles) -> Result<()> {
    let mut all = 0u64;
    for head in &checked.initializers {
        all = all.saturating_add(head.bytes());
        if all > MOST_WEIGHTS {
            return Err(Error::limit(format!("more than {MOST_WEIGHTS} bytes of weights")));
        }
        if let Data::External(place) = &head.data {
            files.claim(place, head.bytes()).map_err(|e| e.context(format!("tensor {:?}", short(head.name))))?;
        }
    }
    Ok(())
}

fn tensor(head: &Head<'_>, files: &mut ExternalFiles) -> Result<Tensor> {
    match &head.data {
        Data::External(place) => head.tensor(&mut files.reader(place)?),
        _ => head.tensor(&mut io::empty()),
    }
}

/// Threads with enough stack, on which a run and all of its operations stay.
fn pool(threads: Option<usize>) -> Result<ThreadPool> {
    // Zero asks for as many as the processor runs.
    let threads = threads.map_or(0, |n| n.max(1));
    let named = |i| format!("palisade-classifier-{i}");
    let pool = ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).thread_name(named).build();
    pool.map_err(|e| Error::new(Kind::Memory, format!("threads for a classifier: {e}")))
}

/// Makes an error of a panic.
fn fenced<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        Err(Error::internal("the ONNX runtime panicked"))
    })
}

/// Runs `work` on a thread with enough stack and waits for it. A panic becomes an error.
pub(crate) fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("palisade-classifier".into()).stack_size(STACK);
        let handle = builder
            .spawn_scoped(scope, || fenced(work))
            .map_err(|e| Error::new(Kind::Memory, format!("a thread: {e}")))?;
        handle.join().unwrap_or_else(|_| Err(Error::internal("the classifier's thread died")))
    })
}
