//! Rotary position embedding on adjacent pairs: pair `i` at position `p` turns by `p · base^(−2i/d) / divisor_i`.

use super::hparams::{Architecture, Hparams};
use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// Frequencies of the rotation, one a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Angle per position of each pair, `(head_dim / 2)`.
    pub frequencies: Vec<f32>,
    /// Where a file's long-range divisors were stale and corrected.
    pub corrected: bool,
}

/// Scout's divisors as its first files shipped them: the 8/4 scaling of another model.
const STALE_LAST: f32 = 8.0;
/// What they have to be: 16 for wavelengths over 8,192 positions, 1 below.
const SCOUT_FACTOR: f32 = 16.0;
const SCOUT_LENGTH: f64 = 8192.0;

impl Rope {
    /// Reads the base and the divisors (`rope_freqs.weight`) of `gguf`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Corrupt`] for values that make no rotation, [`crate::error::Kind::Unsupported`] for a scaling
    /// that is not written into the divisors.
    pub fn read(gguf: &Gguf, h: &Hparams, warnings: &mut Vec<String>) -> Result<Self> {
        let arch = h.architecture.name();
        let meta = gguf.metadata();
        let dims = h.head_dim;
        check_dimensions(gguf, h, warnings)?;
        let key = format!("{arch}.rope.freq_base");
        let default = if h.architecture == Architecture::Llama4 { 500_000.0 } else { 10_000.0 };
        let base = meta.get_f32(&key)?.unwrap_or(default);
        // Chunked layers, which are all that rotate in such a file, may have a base of their own.
        let own = if h.chunk.is_some() { meta.get_f32(&format!("{key}_swa"))? } else { None };
        let base = own.unwrap_or(base);
        if !base.is_finite() || base <= 1.0 {
            return Err(Error::corrupt(format!("{key}: {base}, expected more than 1")));
        }
        let linear = linear_factor(gguf, arch)?;
        let plain: Vec<f32> =
            (0..dims / 2).map(|i| (1.0 / f64::from(base).powf(2.0 * i as f64 / dims as f64)) as f32).collect();
        let mut divisors = divisors(gguf, dims / 2)?.unwrap_or_else(|| vec![1.0; dims / 2]);
        let corrected = h.architecture == Architecture::Llama4 && is_stale(&divisors, &plain);
        if corrected {
            divisors = plain.iter().map(|f| scout_divisor(*f)).collect();
            warnings.push(
                "rope_freqs.weight holds the stale 8/4 scaling of early Scout files; the correct 16/1 divisors are used"
                    .to_owned(),
            );
        }
        let frequencies = plain.iter().zip(&divisors).map(|(f, d)| f / d / linear).collect();
        Ok(Self { frequencies, corrected })
    }

    /// Cosine and sine of every pair at position `p`, `(head_dim / 2)` each. The product of a position below 2^29 and a
    /// single-precision frequency is exact in double precision, so angles are right at any length.
    pub fn angles(&self, p: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((f, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let angle = p as f64 * f64::from(*f);
            *cos = angle.cos() as f32;
            *sin = angle.sin() as f32;
        }
    }
}

/// Every decoder of this build rotates whole heads.
fn check_dimensions(gguf: &Gguf, h: &Hparams, warnings: &mut Vec<String>) -> Result<()> {
    let key = format!("{}.rope.dimension_count", h.architecture.name());
    let dims = gguf.metadata().get_u32(&key)?.map_or(h.head_dim, |v| v as usize);
    if dims == h.head_dim {
        return Ok(());
    }
    // Ollama's converter writes width / heads there, whatever the heads have.
    if h.architecture == Architecture::Llama4 && dims == h.width / h.heads {
        warnings
            .push(format!("{key}: {dims} is not the size of a head; all {} values of a head are rotated", h.head_dim));
        return Ok(());
    }
    Err(Error::unsupported(format!("{key}: {dims}, expected {}", h.head_dim)))
}

fn linear_factor(gguf: &Gguf, arch: &str) -> Result<f32> {
    let key = format!("{arch}.rope.scaling.type");
    match gguf.metadata().get_str(&key)? {
        None | Some("none" | "llama3") => Ok(1.0),
        Some("linear") => {
            let key = format!("{arch}.rope.scaling.factor");
            let factor = gguf.metadata().get_f32(&key)?.unwrap_or(1.0);
            if factor.is_finite() && factor > 0.0 {
                Ok(factor)
            } else {
                Err(Error::corrupt(format!("{key}: {factor}, expected a positive number")))
            }
        }
        Some(other) => {
            Err(Error::unsupported(format!("{key}: {other:?}, this build knows \"none\", \"linear\" and \"llama3\"")))
        }
    }
}

fn divisors(gguf: &Gguf, pairs: usize) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = gguf.tensor("rope_freqs.weight") else { return Ok(None) };
    if tensor.elements() != pairs as u64 {
        return Err(Error::corrupt(format!(
            "tensor rope_freqs.weight: {} values, expected {pairs}",
            tensor.elements()
        )));
    }
    let values = crate::weights::read_values(gguf, tensor, pairs)?;
    match values.iter().find(|v| !v.is_finite() || **v <= 0.0) {
        Some(bad) => {
            Err(Error::corrupt(format!("tensor rope_freqs.weight: divisor {bad}, expected a positive number")))
        }
        None => Ok(Some(values)),
    }
}

/// 16 where one turn takes more than 8,192 positions, 1 elsewhere.
fn scout_divisor(frequency: f32) -> f32 {
    if std::f64::consts::TAU / f64::from(frequency) > SCOUT_LENGTH { SCOUT_FACTOR } else { 1.0 }
}

/// The 8/4 scaling leaves a blend of values between 1 and 8 below wavelength 8,192 and ends on 8.
fn is_stale(divisors: &[f32], plain: &[f32]) -> bool {
    let blended =
        divisors.iter().zip(plain).any(|(d, f)| *d > 1.001 && *d < STALE_LAST - 0.001 && scout_divisor(*f) == 1.0);
    divisors.last().is_some_and(|d| (d - STALE_LAST).abs() < 1e-3) && blended
}
