//! Windows over all of a token list, so that no part of a text is left unread.

/// Tokens of the least window that ends with a sentence, and of the least way to the next one: what is cut up by full stops
/// is read together all the same.
const LEAST: usize = 24;
const LEAST_STEP: usize = 12;

/// The size of a window, the way from one to the next where no sentence ends, in tokens, and the tokens that end a sentence.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) tokens: usize,
    pub(super) stride: usize,
    pub(super) ends: Vec<i64>,
}

impl Shape {
    /// Where the window at the start of `rest` ends and the next one begins: two sentences, the second of which begins the
    /// next. An unsafe sentence is seldom read from its middle, and most of what is read with it is its own.
    fn window(&self, rest: &[i64]) -> (usize, usize) {
        let most = self.tokens.min(rest.len());
        let ends = |at: usize| rest.get(at).is_some_and(|id| self.ends.contains(id));
        let behind: Vec<usize> = (1..=most).filter(|at| ends(at - 1) && !ends(*at)).collect();
        let end = behind.iter().skip(1).copied().find(|at| *at >= LEAST).unwrap_or(most);
        let next = behind.iter().filter(|at| **at < end);
        let step = next.clone().find(|at| **at >= LEAST_STEP).or(next.last());
        (end, step.copied().unwrap_or(self.stride.clamp(1, most.max(1))).min(end))
    }
}

/// The windows of `ids`: every token is in one, and when there are several, the first and the last tokens are joined in one
/// more (an order may be pulled apart by padding in its middle).
pub(super) fn of(ids: &[i64], shape: &Shape) -> Vec<Vec<i64>> {
    let mut out = Vec::new();
    if ids.len() <= shape.tokens {
        out.extend((!ids.is_empty()).then(|| ids.to_vec()));
        return out;
    }
    let mut rest = ids;
    loop {
        let (end, step) = shape.window(rest);
        out.push(rest.get(..end).unwrap_or_default().to_vec());
        if end == rest.len() {
            break;
        }
        rest = rest.get(step..).unwrap_or_default();
    }
    let half = shape.tokens / 2;
    let head = ids.get(..half).unwrap_or_default();
    let tail = ids.get(ids.len().saturating_sub(shape.tokens - half)..).unwrap_or_default();
    out.push([head, tail].concat());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(tokens: usize, stride: usize, ends: &[i64]) -> Shape {
        Shape { tokens, stride, ends: ends.to_vec() }
    }

    #[test]
    fn every_token_is_in_a_window_and_nothing_is_skipped() {
        // Every token ends a sentence, or every second, or none, or those of prime periods.
        let every = |n: usize| (0..1800).step_by(n).collect::<Vec<i64>>();
        for ends in [every(1), every(2), every(7), every(29), every(61), Vec::new()] {
            let shape = shape(63, 40, &ends);
            for n in [0, 1, 62, 63, 64, 100, 127, 128, 200, 255, 1000, 1800] {
                let ids: Vec<i64> = (0..n).collect();
                let windows = of(&ids, &shape);
                let mut seen: Vec<i64> = windows.concat();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen, ids, "{n}");
                assert!(windows.iter().all(|w| w.len() <= shape.tokens));
                assert!(windows.len() <= 3 + ids.len() / LEAST_STEP, "{n}: {} windows", windows.len());
                // Any twelve tokens in a row stand together in some window, any 23 where no sentence ends.
                for at in ids.windows(if ends.is_empty() { 23 } else { LEAST_STEP }) {
                    let together = |w: &Vec<i64>| w.windows(at.len()).any(|x| x == at);
                    let within = at.iter().skip(1).rev().skip(1).all(|id| !ends.contains(id));
                    assert!(!within || windows.iter().any(together), "{n}: {at:?}");
                }
            }
        }
    }

    #[test]
    fn a_window_is_two_sentences_and_neighbours_share_one() {
        let ids: Vec<i64> = (0..200).collect();
        let found = |ends: &[i64]| -> Vec<(i64, i64)> {
            let windows = of(&ids, &shape(63, 40, ends));
            windows.iter().take(windows.len() - 1).map(|w| (w[0], w[w.len() - 1] + 1)).collect()
        };
        assert_eq!(found(&[]), [(0, 63), (40, 103), (80, 143), (120, 183), (160, 200)]);
        assert_eq!(
            found(&[19, 39, 59, 79, 99, 119, 139, 159, 179]),
            [(0, 40), (20, 60), (40, 80), (60, 100), (80, 120), (100, 140), (120, 160), (140, 180), (160, 200)]
        );
        // Short sentences go together, and a row of ends is one.
        assert_eq!(found(&[3, 4, 5, 29, 59])[..3], [(0, 30), (6, 60), (30, 93)]);
        // A sentence longer than a window is read in strides.
        assert_eq!(found(&[99])[..3], [(0, 63), (40, 103), (100, 163)]);
    }

    #[test]
    fn head_and_tail_are_joined() {
        let ids: Vec<i64> = (0..1000).collect();
        let last = of(&ids, &shape(10, 5, &[])).pop();
        assert_eq!(last, Some(vec![0, 1, 2, 3, 4, 995, 996, 997, 998, 999]));
    }
}
