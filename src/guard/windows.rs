//! Windows over all of a token list, so that no part of a text is left unread.

/// The size of a window and the way from one to the next, in tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) tokens: usize,
    pub(super) stride: usize,
}

/// The windows of `ids`: every token is in one, neighbours overlap, and when there are several, the first and the last
/// tokens are joined in one more (an order may be pulled apart by padding in its middle).
pub(super) fn of(ids: &[i64], shape: Shape) -> Vec<Vec<i64>> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < ids.len() {
        let end = start.saturating_add(shape.tokens).min(ids.len());
        out.push(ids.get(start..end).unwrap_or_default().to_vec());
        if end == ids.len() {
            break;
        }
        start += shape.stride.clamp(1, shape.tokens.max(1));
    }
    if out.len() > 1 {
        let half = shape.tokens / 2;
        let head = ids.get(..half).unwrap_or_default();
        let tail = ids.get(ids.len().saturating_sub(shape.tokens - half)..).unwrap_or_default();
        out.push([head, tail].concat());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_in_a_window_and_neighbours_overlap() {
        let shape = Shape { tokens: 127, stride: 80 };
        for n in [0, 1, 126, 127, 128, 200, 254, 255, 1000, 1800] {
            let ids: Vec<i64> = (0..n).collect();
            let windows = of(&ids, shape);
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

    #[test]
    fn head_and_tail_are_joined() {
        let ids: Vec<i64> = (0..1000).collect();
        let last = of(&ids, Shape { tokens: 10, stride: 5 }).pop();
        assert_eq!(last, Some(vec![0, 1, 2, 3, 4, 995, 996, 997, 998, 999]));
    }
}
