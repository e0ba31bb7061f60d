//! What each column of a matrix weighs in rounding: the mean square of the activation that meets it.
//!
//! Files are llama.cpp's: for each matrix `NAME.in_sum2`, sums of squares `{columns, matrices}`, and `NAME.counts`, tokens
//! `{1, matrices}`, both F32. Experts have one row each.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Control;
use crate::digest::hex;
use crate::engine::{ColumnSquares, Decoder, DecoderOptions, RunControl};
use crate::error::{Error, Result};
use crate::gguf::{Array, Gguf, StrArray, Value, Writer};
use crate::kernels::Precision;
use crate::quant::BlockType;
use crate::tokenizer::Tokenizer;
use crate::weights::read_values;

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
/// Tokens of a calibration text that are run together, each time from the beginning of a conversation.
pub const CHUNK: usize = 512;
/// Values that a file's tensor may have.
const MOST_VALUES: u64 = 1 << 28;

/// Sums of squares of what met the columns of each matrix.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Importance {
    matrices: BTreeMap<String, Columns>,
    chunks: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct Columns {
    cols: usize,
    /// Sum of squares of each column, `(matrices, cols)`.
    sums: Vec<f32>,
    /// Tokens of each matrix.
    counts: Vec<f32>,
    /// Mean square of each column, `(matrices, cols)`.
    means: Vec<f32>,
}

impl Columns {
    fn new(cols: usize, sums: Vec<f32>, counts: Vec<f32>) -> Self {
        let means = sums.chunks(cols.max(1)).zip(&counts);
        let means = means.flat_map(|(sums, n)| sums.iter().map(move |s| if *n > 0.0 { s / n } else { 0.0 })).collect();
        Self { cols, sums, counts, means }
    }
}

impl Importance {
    /// Runs the model at `path` over a text and takes the squares of what meets its matrices.
    ///
    /// The text is cut into chunks of [`CHUNK`] tokens, each run as a conversation of its own.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for a text of fewer than two tokens, and what loading and running the model give.
    pub fn measure(path: &Path, text: &str, options: &DecoderOptions, control: &mut Control<'_>) -> Result<Self> {
        let gguf = Arc::new(Gguf::open(path)?);
        let tokenizer = Tokenizer::from_gguf(gguf.metadata())?;
        let squares = Arc::new(ColumnSquares::default());
        let options = DecoderOptions {
            context: CHUNK,
            threads: control.threads,
            precision: Precision::Fine,
            column_squares: Some(Arc::clone(&squares)),
            ..options.clone()
        };
        let decoder = Arc::new(Decoder::load(&gguf, &options, &mut |_| true)?);
        let ids = tokenizer.encode_text(text);
        let bos = gguf.metadata().get_u32("tokenizer.ggml.bos_token_id")?;
        let step = CHUNK - usize::from(bos.is_some());
        let (mut done, mut chunks) = (0, 0);
        for part in ids.chunks(step) {
            let chunk: Vec<u32> = bos.into_iter().chain(part.iter().copied()).collect();
            done += part.len() as u64;
            if chunk.len() >= 2 {
                decoder.score(&chunk, &mut RunControl { cancel: control.cancel.clone(), ..RunControl::default() })?;
                chunks += 1;
            }
            if let Some(progress) = control.progress.as_mut() {
                progress(done, ids.len() as u64);
            }
        }
        if chunks == 0 {
            return Err(Error::argument("the calibration text has fewer than two tokens"));
        }
        let sums = squares.take();
        let columns = |s: crate::engine::Squares| {
            Columns::new(
                s.cols,
                s.sums.iter().map(|x| *x as f32).collect(),
                s.counts.iter().map(|n| *n as f32).collect(),
            )
        };
        Ok(Self { matrices: sums.into_iter().map(|(name, s)| (name, columns(s))).collect(), chunks })
    }

    /// Reads llama.cpp's file.
    ///
    /// # Errors
    /// As [`Gguf::open`]; [`crate::error::Kind::Corrupt`] for a file that is no such one, or has a sum that is negative or
    /// not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let gguf = Gguf::open(path)?;
        let said = gguf.metadata().get_str("general.type")?;
        if said != Some("imatrix") {
            return Err(Error::corrupt(format!("{}: general.type is {said:?}, expected imatrix", path.display())));
        }
        let mut this = Self { chunks: gguf.metadata().get_u32("imatrix.chunk_count")?.unwrap_or(0), ..Self::default() };
        for tensor in gguf.tensors() {
            let Some(name) = tensor.name.strip_suffix(SUMS) else { continue };
            let columns = read_columns(&gguf, name).map_err(|e| e.context(path.display()))?;
            this.matrices.insert(name.to_owned(), columns);
        }
        Ok(this)
    }

    /// Writes llama.cpp's file. `text` names what was run.
    ///
    /// # Errors
    /// As [`Writer::write_to`].
    pub fn write(&self, path: &Path, text: &str) -> Result<()> {
        let mut w = Writer::new();
        w.set("general.type", "imatrix")?;
        w.set("imatrix.datasets", Value::Array(Array::Str(StrArray::new([text])?)))?;
        w.set("imatrix.chunk_count", self.chunks)?;
        w.set("imatrix.chunk_size", CHUNK as u32)?;
        let mut values: Vec<&[f32]> = vec![];
        for (name, c) in &self.matrices {
            let n = c.counts.len() as u64;
            w.tensor(&format!("{name}{SUMS}"), &[c.cols as u64, n], BlockType::F32)?;
            w.tensor(&format!("{name}{COUNTS}"), &[1, n], BlockType::F32)?;
            values.extend([c.sums.as_slice(), &c.counts]);
        }
        w.write_to(path, |i, sink| {
            let values = values.get(i).copied().unwrap_or_default();
            sink.write(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        })
    }

    /// Matrices that it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.matrices.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.matrices.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.matrices.contains_key(name)
    }

    /// The weight of each column of matrix number `copy` of a tensor; `None` where no token met it.
    pub(super) fn columns(&self, name: &str, copy: u64) -> Option<&[f32]> {
        let c = self.matrices.get(name)?;
        let copy = usize::try_from(copy).ok()?;
        if c.counts.get(copy).is_none_or(|n| *n <= 0.0) {
            return None;
        }
        c.means.get(copy.checked_mul(c.cols)?..copy.checked_add(1)?.checked_mul(c.cols)?)
    }

    /// Refuses weights for matrices of another shape.
    pub(super) fn check(&self, name: &str, dims: &[u64]) -> Result<()> {
        let Some(c) = self.matrices.get(name) else { return Ok(()) };
        let copies: u64 = dims.iter().skip(2).product();
        if dims.first() == Some(&(c.cols as u64)) && copies == c.counts.len() as u64 {
            return Ok(());
        }
        let (cols, n) = (c.cols, c.counts.len());
        Err(Error::argument(format!("importance of {name}: {cols} columns of {n} matrices, the tensor has {dims:?}")))
    }

    pub(super) fn digest(&self) -> String {
        let mut sum = Sha256::new();
        for (name, c) in &self.matrices {
            sum.update(name.as_bytes());
            c.means.iter().for_each(|x| sum.update(x.to_le_bytes()));
        }
        hex(&sum.finalize())
    }
}

fn read_columns(gguf: &Gguf, name: &str) -> Result<Columns> {
    let values: HashMap<&str, Vec<f32>> = [SUMS, COUNTS]
        .into_iter()
        .map(|ending| {
            let full = format!("{name}{ending}");
            let tensor = gguf.tensor(&full).ok_or_else(|| Error::corrupt(format!("tensor {full} is missing")))?;
            let count = usize::try_from(tensor.elements()).ok().filter(|n| *n as u64 <= MOST_VALUES);
            let count = count.ok_or_else(|| Error::limit(format!("tensor {full}: {} values", tensor.elements())))?;
            let values = read_values(gguf, tensor, count)?;
            match values.iter().find(|x| !x.is_finite() || **x < 0.0) {
                Some(bad) => Err(Error::corrupt(format!("tensor {full}: {bad}, expected a number of at least 0"))),
                None => Ok((ending, values)),
            }
        })
        .collect::<Result<_>>()?;
    let (sums, counts) =
        (values.get(SUMS).cloned().unwrap_or_default(), values.get(COUNTS).cloned().unwrap_or_default());
    if counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
        let (a, b) = (sums.len(), counts.len());
        return Err(Error::corrupt(format!("tensor {name}: {a} sums for {b} counts")));
    }
    Ok(Columns::new(sums.len() / counts.len(), sums, counts))
}
