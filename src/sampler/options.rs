//! The knobs of sampling and their ranges.

use crate::error::{Error, Result};

/// How the next id is chosen. [`Default`] is what Meta's generation code uses: temperature 0.6, top-p 0.9.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Logits are divided by it; 0 takes the best id always. 0 to 100.
    pub temperature: f32,
    /// Only the `top_k` best ids stay; 0 keeps all.
    pub top_k: u32,
    /// The fewest best ids whose probabilities together reach `top_p` stay; 1 keeps all. Above 0, to 1.
    pub top_p: f32,
    /// Ids with at least `min_p` times the best id's probability stay; 0 keeps all. 0 to 1.
    pub min_p: f32,
    /// Logits of ids in the window are divided by it when positive and multiplied by it otherwise; 1 does nothing.
    /// 0.01 to 100. (Keskar and others, "CTRL", 2019, §4.1.)
    pub repetition_penalty: f32,
    /// Taken from an id's logit for each time it stands in the window. 0 to 100.
    pub frequency_penalty: f32,
    /// Taken from an id's logit once when it stands in the window. 0 to 100.
    pub presence_penalty: f32,
    /// How many of the latest ids the penalties look at; at most 65,536.
    pub penalty_window: u32,
    /// Where the random sequence begins. The library never takes one from a clock or the system: 0 is a seed like any.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            temperature: 0.6,
            top_k: 0,
            top_p: 0.9,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// The default with temperature 0: the best id always.
    #[must_use]
    pub fn greedy() -> Self {
        SamplerOptions { temperature: 0.0, ..Self::default() }
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`crate::Kind::Argument`] naming the option, its value (NaN and the infinities are in no range) and the range.
    pub fn validate(&self) -> Result<()> {
        let floats = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, f32::MIN_POSITIVE, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("frequency_penalty", self.frequency_penalty, 0.0, 100.0),
            ("presence_penalty", self.presence_penalty, 0.0, 100.0),
        ];
        for (name, value, low, high) in floats {
            if !(low..=high).contains(&value) {
                let low = if low == f32::MIN_POSITIVE { "above 0".to_owned() } else { low.to_string() };
                return Err(Error::argument(format!("{name}: {value}; expected {low} to {high}")));
            }
        }
        if self.penalty_window > 65_536 {
            return Err(Error::argument(format!("penalty_window: {}; expected 0 to 65536", self.penalty_window)));
        }
        Ok(())
    }

    /// Whether any penalty does anything.
    pub(super) fn penalizes(&self) -> bool {
        let idle = self.repetition_penalty == 1.0 && self.frequency_penalty == 0.0 && self.presence_penalty == 0.0;
        !idle && self.penalty_window > 0
    }
}
