//! Which categories an unsafe verdict is for: the list that the model would write, read from logits over its codes alone.
//!
//! The model names the violated codes in one line, `S1,S10`. At each place of the list every code gets the probability of its
//! tokens among those that may stand there: codes not named yet, and after a code that is the beginning of another (`S1` of
//! `S10`, where numbers are several tokens) also whatever ends a code. Its share is that over the likeliest code's, times
//! the probability that the list goes this far. So the likeliest category has the verdict's own score, and one that comes
//! near it is not lost.

use std::collections::BTreeMap;

use super::prompt::{Code, Frame};
use super::talk::Talk;
use super::{LlmGuard, verdict};
use crate::error::Result;
use crate::guard::check::Control;
use crate::guard::taxonomy::Category;
use crate::tokenizer::TokenId;

/// Codes of one verdict.
const MOST_NAMED: usize = 4;
/// A list that goes on with less than this is over.
const LEAST_CHANCE: f64 = 0.05;

/// Codes that may stand at one place of the list: their number in the prompt and their tokens.
type Choices<'a> = Vec<(usize, &'a [TokenId])>;

/// One place of the list.
struct Place<'a> {
    guard: &'a LlmGuard,
    control: &'a Control,
    /// Where the context ends before the list.
    from: usize,
    /// What may stand after a code.
    after: Vec<TokenId>,
    /// Probabilities by number in the prompt.
    shares: Vec<f64>,
}

impl LlmGuard {
    /// Each category with its share of the verdict, 0 to 1. The suffix was just asked.
    pub(super) fn categories(&self, talk: &mut Talk, frame: &Frame, control: &Control) -> Result<Vec<(Category, f32)>> {
        let mut best = vec![0f64; frame.codes.len()];
        let (mut named, mut chance) = (Vec::new(), 1.0);
        let mut path: Vec<TokenId> = [&[self.prompt.not_safe][..], &self.prompt.line].concat();
        let from = talk.place();
        while named.len() < MOST_NAMED.min(frame.codes.len()) {
            let tokens = |code: &'_ Code| if named.is_empty() { code.first.clone() } else { code.next.clone() };
            let all: Vec<Vec<TokenId>> = frame.codes.iter().map(tokens).collect();
            let open: Choices<'_> = all
                .iter()
                .enumerate()
                .filter(|(i, _)| !named.contains(i))
                .map(|(i, ids)| (i, ids.as_slice()))
                .collect();
            let after = frame.codes.iter().filter_map(|code| code.next.first()).chain(&self.prompt.ends);
            let mut after: Vec<TokenId> = after.copied().collect();
            after.sort_unstable();
            after.dedup();
            let mut place = Place { guard: self, control, from, after, shares: vec![0.0; frame.codes.len()] };
            place.descend(talk, &path, &open, 0, 1.0)?;
            let Some((likeliest, most)) = top(&place.shares) else { break };
            for (best, share) in best.iter_mut().zip(&place.shares) {
                *best = best.max(chance * share / most);
            }
            named.push(likeliest);
            path.extend_from_slice(all.get(likeliest).map(Vec::as_slice).unwrap_or_default());
            if named.len() == MOST_NAMED.min(frame.codes.len()) {
                break;
            }
            chance *= self.goes_on(talk, from, &path, frame, &named, control)?;
            if chance < LEAST_CHANCE {
                break;
            }
        }
        Ok(frame.codes.iter().zip(best).map(|(code, share)| (code.category, share as f32)).collect())
    }

    /// The probability that another code follows.
    fn goes_on(
        &self,
        talk: &mut Talk,
        from: usize,
        path: &[TokenId],
        frame: &Frame,
        named: &[usize],
        control: &Control,
    ) -> Result<f64> {
        let open = frame.codes.iter().enumerate().filter(|(i, _)| !named.contains(i));
        let mut more: Vec<TokenId> = open.filter_map(|(_, code)| code.next.first().copied()).collect();
        more.sort_unstable();
        more.dedup();
        talk.back_to(from)?;
        let logits = talk.ask(&self.decoder, path, control)?;
        Ok(verdict::among(&logits, &[&more, &self.prompt.ends])?.first().copied().unwrap_or(0.0))
    }
}

impl Place<'_> {
    /// Shares `chance` among `open`, whose first `depth` tokens stand at the end of `path`.
    fn descend(
        &mut self,
        talk: &mut Talk,
        path: &[TokenId],
        open: &Choices<'_>,
        depth: usize,
        chance: f64,
    ) -> Result<()> {
        if let [(only, _)] = open.as_slice() {
            if let Some(share) = self.shares.get_mut(*only) {
                *share = chance;
            }
            return Ok(());
        }
        let mut branches: BTreeMap<TokenId, Choices<'_>> = BTreeMap::new();
        let mut ended = None;
        for (i, ids) in open {
            match ids.get(depth) {
                Some(id) => branches.entry(*id).or_default().push((*i, *ids)),
                None => ended = Some(*i),
            }
        }
        let heads: Vec<[TokenId; 1]> = branches.keys().map(|id| [*id]).collect();
        let chances = if heads.len() == 1 && ended.is_none() {
            vec![1.0]
        } else {
            let after: Vec<TokenId> = self.after.iter().copied().filter(|id| !branches.contains_key(id)).collect();
            let mut sets: Vec<&[TokenId]> = heads.iter().map(<[TokenId; 1]>::as_slice).collect();
            if ended.is_some() {
                sets.push(&after);
            }
            talk.back_to(self.from)?;
            let logits = talk.ask(&self.guard.decoder, path, self.control)?;
            verdict::among(&logits, &sets)?
        };
        if let Some(share) = ended.and_then(|i| self.shares.get_mut(i)) {
            *share = chance * chances.last().copied().unwrap_or(0.0);
        }
        for ((id, open), share) in branches.into_iter().zip(chances) {
            self.descend(talk, &[path, &[id]].concat(), &open, depth + 1, chance * share)?;
        }
        Ok(())
    }
}

/// The largest, and its place.
fn top(shares: &[f64]) -> Option<(usize, f64)> {
    shares.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, share)| *share > 0.0)
}
