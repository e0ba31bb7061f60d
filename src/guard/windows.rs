//! Windows over all of a token list, so that no part of a text is left unread.

/// The size of a window, the longest way from one to the next, in tokens, and the tokens that end a sentence.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) tokens: usize,
    pub(super) stride: usize,
    pub(super) ends: Vec<i64>,
}

impl Shape {
    /// The way to the next window of the tokens `rest`: behind the last end of a sentence in the second half of a stride,
    /// or a whole stride.
    fn step(&self, rest: &[i64]) -> usize {
        let stride = self.stride.clamp(1, self.tokens.max(1));
        let behind = |at: usize| rest.get(at - 1).is_some_and(|id| self.ends.contains(id));
        (stride.div_ceil(2)..=stride).rev().find(|at| behind(*at)).unwrap_or(stride)
    }
}

/// The windows of `ids`: every token is in one, neighbours overlap, and when there are several, the first and the last
/// tokens are joined in one more (an order may be pulled apart by padding in its middle).
pub(super) fn of(ids: &[i64], shape: &Shape) -> Vec<Vec<i64>> {
    let mut out = Vec::new();
    let mut rest = ids;
    while !rest.is_empty() {
        let end = shape.tokens.min(rest.len());
        out.push(rest.get(..end).unwrap_or_default().to_vec());
        if end == rest.len() {
            break;
        }
        rest = rest.get(shape.step(rest)..).unwrap_or_default();
    }
    if out.len() > 1 {
        let half = shape.tokens / 2;
        let head = ids.get(..half).unwrap_or_default();
        let tail = ids.get(ids.len().saturating_sub(shape.tokens - half)..).unwrap_or_default();
        out.push([head, tail].concat());
    }
    out
}

/// The sentences of `ids`, each with the shorter ones that follow it up to `least` tokens; none where there is but one, and none
/// that a window could not hold (`of` reads those).
pub(super) fn sentences<'a>(ids: &'a [i64], shape: &Shape, least: usize) -> Vec<&'a [i64]> {
    let (mut out, mut start) = (Vec::new(), 0);
    for (at, id) in ids.iter().enumerate() {
        let (held, rest) = (at + 1 - start, ids.len() - at - 1);
        if rest == 0 || (held >= least && rest >= least && shape.ends.contains(id)) {
            out.push(ids.get(start..=at).unwrap_or_default());
            start = at + 1;
        }
    }
    let several = out.len() > 1;
    out.retain(|s| several && s.len() <= shape.tokens);
    out
}

/// Where the paragraphs of a text begin that are set apart by empty lines; nowhere when there is but one.
pub(super) fn paragraphs(text: &str) -> Vec<usize> {
    let mut out = Vec::new();
    let (mut apart, mut at) = (true, 0);
    for line in text.split_inclusive('\n') {
        let empty = line.trim().is_empty();
        if apart && !empty {
            out.push(at);
        }
        apart = empty;
        at += line.len();
    }
    if out.len() > 1 { out } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_end_with_empty_lines() {
        assert_eq!(paragraphs("one\ntwo\n\nthree\n \t\r\n\n\nfour"), [0, 9, 21]);
        assert_eq!(paragraphs("\n\none\n\ntwo"), [2, 7]);
        for text in ["", "one", "one\ntwo\n", "\n\none\n\n", " \n"] {
            assert!(paragraphs(text).is_empty(), "{text:?}");
        }
    }

    fn shape(tokens: usize, stride: usize, ends: &[i64]) -> Shape {
        Shape { tokens, stride, ends: ends.to_vec() }
    }

    #[test]
    fn every_token_is_in_a_window_and_neighbours_overlap() {
        // Every token ends a sentence, or none, or those of a prime period.
        let all: Vec<i64> = (0..1800).collect();
        let some: Vec<i64> = (0..1800).step_by(29).collect();
        for ends in [&all, &some, &Vec::new()] {
            let shape = shape(127, 80, ends);
            for n in [0, 1, 126, 127, 128, 200, 254, 255, 1000, 1800] {
                let ids: Vec<i64> = (0..n).collect();
                let windows = of(&ids, &shape);
                let mut seen: Vec<i64> = windows.concat();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen, ids, "{n}");
                assert!(windows.iter().all(|w| w.len() <= shape.tokens));
                // Any 47 tokens in a row stand together in some window.
                for at in ids.windows(shape.tokens - shape.stride) {
                    assert!(windows.iter().any(|w| w.windows(at.len()).any(|x| x == at)), "{n}: {at:?}");
                }
            }
        }
    }

    #[test]
    fn a_window_begins_behind_the_last_sentence_that_ends_in_the_second_half_of_a_stride() {
        let ids: Vec<i64> = (0..200).collect();
        let starts = |ends: &[i64]| -> Vec<i64> {
            let windows = of(&ids, &shape(63, 40, ends));
            windows.iter().take(windows.len() - 1).map(|w| w[0]).collect()
        };
        assert_eq!(starts(&[]), [0, 40, 80, 120, 160]);
        // Behind token 18 it would be too early, behind 19 and 39 it is the border.
        assert_eq!(starts(&[18]), [0, 40, 80, 120, 160]);
        assert_eq!(starts(&[19]), [0, 20, 60, 100, 140]);
        assert_eq!(starts(&[25, 39, 40]), [0, 40, 80, 120, 160]);
        assert_eq!(starts(&[25, 30, 61, 65, 66, 104]), [0, 31, 67, 105, 145]);
    }

    #[test]
    fn sentences_take_short_neighbours_along() {
        let shape = shape(20, 10, &[0]);
        let ids =
            [vec![1, 2, 3, 0], vec![1, 0], vec![1, 2, 0], vec![1; 25], vec![0], vec![5, 6, 7, 0], vec![2, 0]].concat();
        let found = sentences(&ids, &shape, 3);
        assert_eq!(found, [&ids[..4], &ids[4..9], &ids[35..]]);
        assert_eq!(sentences(&ids, &shape, 1).len(), 5);
        // One sentence is what `of` reads already, with an end or without.
        for one in [&[1, 2, 3, 0][..], &[1, 2, 3], &[1, 0, 0], &[]] {
            assert!(sentences(one, &shape, 3).is_empty(), "{one:?}");
        }
    }

    #[test]
    fn head_and_tail_are_joined() {
        let ids: Vec<i64> = (0..1000).collect();
        let last = of(&ids, &shape(10, 5, &[])).pop();
        assert_eq!(last, Some(vec![0, 1, 2, 3, 4, 995, 996, 997, 998, 999]));
    }
}
