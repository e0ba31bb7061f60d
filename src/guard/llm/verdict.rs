//! Numbers out of logits. No text of the model's is read: what it could say besides has no weight.

use crate::error::{Error, Result};
use crate::tokenizer::TokenId;

/// Below this share of all probability the two words are not what the model was about to say.
const LEAST_MASS: f64 = 0.5;

/// P(unsafe) among the two words.
///
/// # Errors
/// [`crate::Kind::GuardInvalid`] when the two hold less than half of the probability, or the logits are no numbers.
pub(super) fn read(logits: &[f32], safe: TokenId, not_safe: TokenId) -> Result<f32> {
    let at = |id: TokenId| logits.get(id as usize).copied().map(f64::from);
    let (Some(safe), Some(not_safe)) = (at(safe), at(not_safe)) else {
        return Err(Error::guard_invalid("the guard model has no logits for its verdict"));
    };
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
    let two = (safe - f64::from(most)).exp() + (not_safe - f64::from(most)).exp();
    let mass = two / all;
    if !mass.is_finite() {
        return Err(Error::guard_invalid("the guard model's logits are not numbers"));
    }
    if mass < LEAST_MASS {
        return Err(Error::guard_invalid(format!(
            "the guard model gave no verdict: \"safe\" and \"unsafe\" hold {mass:.3} of the probability, at least {LEAST_MASS} is \
             asked for"
        )));
    }
    Ok((1.0 / (1.0 + (safe - not_safe).exp())) as f32)
}

/// Softmax over sets of tokens and nothing else: the probability of each set.
///
/// # Errors
/// [`crate::Kind::GuardInvalid`] when one of the logits is no number.
pub(super) fn among(logits: &[f32], sets: &[&[TokenId]]) -> Result<Vec<f64>> {
    let at = |id: &TokenId| logits.get(*id as usize).copied().map_or(f64::NAN, f64::from);
    let all = || sets.iter().copied().flatten().map(at);
    if all().any(|l| !l.is_finite()) {
        return Err(Error::guard_invalid("the guard model's logits are not numbers"));
    }
    let most = all().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = sets.iter().map(|set| set.iter().map(|id| (at(id) - most).exp()).sum()).collect();
    let sum: f64 = weights.iter().sum();
    Ok(weights.into_iter().map(|w| w / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_verdict_is_the_softmax_of_two_words_that_hold_half_of_the_mass() {
        assert!((read(&[0.0, 2.0, 1.0, -9.0], 1, 2).unwrap() - 0.268_941_43).abs() < 1e-6);
        let bad: [&[f32]; 5] = [
            &[3.0, 2.0, 1.0, 0.0],
            &[f32::NAN, 2.0, 1.0, 0.0],
            &[0.0, f32::NAN, 1.0, 0.0],
            &[f32::INFINITY, 2.0, 1.0, 0.0],
            &[f32::NEG_INFINITY; 4],
        ];
        for logits in bad {
            assert_eq!(read(logits, 1, 2).unwrap_err().kind(), Kind::GuardInvalid, "{logits:?}");
        }
        assert_eq!(read(&[0.0], 1, 2).unwrap_err().kind(), Kind::GuardInvalid);
    }

    #[test]
    fn sets_share_what_they_hold_together() {
        let p = among(&[0.0, 2f32.ln(), 50.0, 0.0], &[&[0], &[1, 3]]).unwrap();
        assert!((p[0] - 0.25).abs() < 1e-6 && (p[1] - 0.75).abs() < 1e-6);
        assert!(among(&[0.0, f32::NAN], &[&[0], &[1]]).is_err());
    }
}
