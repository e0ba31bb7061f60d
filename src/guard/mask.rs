//! Replaces masked spans by the name of what was there.

use std::ops::Range;

use super::taxonomy::Category;
use super::verdict::{Action, Verdict};

/// The spans to mask, ascending, overlapping ones merged into one that carries the first one's category.
pub(super) fn spans(verdicts: &[Verdict]) -> Vec<(Range<usize>, Category)> {
    let mut all: Vec<(Range<usize>, Category)> = verdicts
        .iter()
        .filter(|v| v.action == Action::Mask)
        .filter_map(|v| Some((v.span.clone()?, v.category?)))
        .collect();
    all.sort_by_key(|(s, c)| (s.start, s.end, *c));
    let mut out: Vec<(Range<usize>, Category)> = Vec::with_capacity(all.len());
    for (span, category) in all {
        match out.last_mut() {
            Some((last, _)) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => out.push((span, category)),
        }
    }
    out
}

/// `text` with the spans replaced. Spans count from `base`, the place of `text` in something larger; parts of a span that
/// lie outside of `text` are left out.
pub(super) fn apply(text: &str, base: usize, spans: &[(Range<usize>, Category)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (span, category) in spans {
        let from = span.start.saturating_sub(base).max(done);
        let to = span.end.saturating_sub(base).min(text.len());
        if from >= to {
            continue;
        }
        out.push_str(text.get(done..from).unwrap_or_default());
        out.push('[');
        out.push_str(&category.name().to_lowercase());
        out.push_str(" removed]");
        done = to;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_inside_is_replaced() {
        let spans = [(2..4, Category::Pii), (8..12, Category::S7)];
        assert_eq!(apply("abcdefghij", 0, &spans), "ab[personal data removed]efgh[privacy removed]");
        assert_eq!(apply("efghij", 4, &spans), "efgh[privacy removed]");
        assert_eq!(apply("xyz", 100, &spans), "xyz");
    }
}
