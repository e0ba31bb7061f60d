//! Logits and history to one id.

mod filter;
mod mask;
mod options;
mod penalty;
mod stop;
#[cfg(test)]
mod tests;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

pub use mask::TokenMask;
pub use options::SamplerOptions;
pub use stop::StopStrings;

use crate::error::{Error, Result};
use filter::Filter;

/// Chooses the next id.
///
/// The order of the steps is fixed: **mask → penalties → temperature → top-k → top-p → min-p → draw**. It is the order
/// of Meta's generation code (temperature, then top-p) and of Hugging Face's warpers, so the published settings mean
/// here what they meant where they were tuned. Each filter sees what the one before it left; top-p measures its mass
/// over what top-k left. Equal logits are ordered by id, the lowest first.
///
/// The same options, seed, logits and history give the same ids on every machine: the arithmetic uses no platform
/// library and sums in a fixed order. One random number is drawn for each id, none when the temperature is 0.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    rng: Xoshiro256PlusPlus,
    logits: Vec<f32>,
    recent: Vec<u32>,
    filter: Filter,
}

impl Sampler {
    /// A sampler at the start of its seed's sequence.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] when an option is out of range; see [`SamplerOptions::validate`].
    pub fn new(options: SamplerOptions) -> Result<Self> {
        options.validate()?;
        let rng = Xoshiro256PlusPlus::seed_from_u64(options.seed);
        Ok(Sampler { options, rng, logits: Vec::new(), recent: Vec::new(), filter: Filter::default() })
    }

    /// The options in use.
    #[must_use]
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Starts the sequence of `seed` from its beginning.
    pub fn reseed(&mut self, seed: u64) {
        self.options.seed = seed;
        self.rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    }

    /// The next id.
    ///
    /// `logits` holds one value for each id of the vocabulary; minus infinity excludes an id. `history` holds the ids
    /// before it, the latest last; the penalties look at the end of it. Ids outside `allowed` are never chosen.
    ///
    /// # Errors
    /// [`crate::Kind::Numeric`] when a logit is NaN or plus infinity, or when no id is left;
    /// [`crate::Kind::Argument`] when the history holds an id that has no logit.
    pub fn sample(&mut self, logits: &[f32], history: &[u32], allowed: Option<&TokenMask>) -> Result<u32> {
        let best = self.prepare(logits, history, allowed)?;
        if self.options.temperature == 0.0 {
            return Ok(best.0);
        }
        self.filter.apply(&self.logits, best.1, &self.options);
        // The upper 53 bits as a fraction of one.
        let fraction = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        self.filter.draw(fraction).ok_or_else(|| Error::numeric("no token has a probability above zero"))
    }

    /// Checks, masks and penalizes the logits; the best id and its logit.
    fn prepare(&mut self, logits: &[f32], history: &[u32], allowed: Option<&TokenMask>) -> Result<(u32, f32)> {
        // Without an early exit the loop is a few vector instructions.
        if logits.iter().fold(false, |bad, x| bad | x.is_nan() | (*x == f32::INFINITY)) {
            let bad = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY).unwrap_or(0);
            let value = logits.get(bad).copied().unwrap_or(f32::NAN);
            return Err(Error::numeric(format!("the logit of token {bad} is {value}; expected a finite number")));
        }
        self.logits.resize(logits.len(), 0.0);
        // Adding zero makes minus zero the zero that it equals.
        self.logits.iter_mut().zip(logits).for_each(|(to, from)| *to = from + 0.0);
        if self.options.penalizes() {
            penalty::apply(&mut self.logits, history, &self.options, &mut self.recent)?;
        }
        if let Some(mask) = allowed {
            mask.exclude(&mut self.logits);
        }
        best(&self.logits)
            .ok_or_else(|| Error::numeric(format!("none of {} tokens is left to choose from", logits.len())))
    }

    /// What the filters left at the last call, in id order, with masses relative to the best token's.
    #[cfg(test)]
    fn kept(&self) -> Vec<(u32, f32)> {
        self.filter.kept()
    }
}

/// The lowest id of the greatest logit, unless that is minus infinity. In blocks, because a loop over a block without
/// an early exit is a few vector instructions.
fn best(logits: &[f32]) -> Option<(u32, f32)> {
    let (blocks, rest) = logits.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &x)| *lane = if x > *lane { x } else { *lane });
    }
    let best = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |best, &x| if x > best { x } else { best });
    let holds = |block: &[f32]| block.iter().fold(false, |held, x| held | (*x == best));
    let block = logits.chunks(256).position(holds).filter(|_| best > f32::NEG_INFINITY)?;
    let id = logits.iter().skip(block * 256).position(|x| *x == best)? + block * 256;
    Some((u32::try_from(id).ok()?, best))
}
