//! Characters that remember where in the original text they came from; every view is a list of them.

use std::ops::Range;

/// A character of a view and the bytes of the original it stands for. Several glyphs may share one place (a ligature, a
/// decoded run), and a place may be wider than its glyph (a letter with stacked marks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyph {
    pub(super) c: char,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Glyph {
    /// Another character at the same place.
    pub(super) fn with(self, c: char) -> Self {
        Self { c, ..self }
    }
}

/// The glyphs of a text. Callers keep texts below 4 GiB (the guard's limit is far lower), so offsets fit.
pub(super) fn glyphs(text: &str) -> Vec<Glyph> {
    let mut out = Vec::with_capacity(text.len());
    let mut start = 0u32;
    for c in text.chars() {
        let end = start.saturating_add(u32::try_from(c.len_utf8()).unwrap_or(4));
        out.push(Glyph { c, start, end });
        start = end;
    }
    out
}

/// The place of a whole slice: from the least start to the greatest end.
pub(super) fn place(glyphs: &[Glyph]) -> Option<(u32, u32)> {
    let start = glyphs.iter().map(|g| g.start).min()?;
    let end = glyphs.iter().map(|g| g.end).max()?;
    Some((start, end))
}

/// White space, and the blank that is none by property (U+2800).
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}'
}

/// Every run of white space becomes one space that stands for the whole run.
pub(super) fn collapse(glyphs: &[Glyph]) -> Vec<Glyph> {
    let mut out: Vec<Glyph> = Vec::with_capacity(glyphs.len());
    for g in glyphs {
        match out.last_mut() {
            Some(last) if is_space(g.c) && last.c == ' ' => {
                last.start = last.start.min(g.start);
                last.end = last.end.max(g.end);
            }
            _ => out.push(if is_space(g.c) { g.with(' ') } else { *g }),
        }
    }
    out
}

/// The changed parts of a text with `around` glyphs on each side; parts that touch are merged, others are separated by a
/// line break. So a view costs what the disguise in it costs, not what the whole text costs.
pub(super) fn excerpts(glyphs: &[Glyph], changed: &[Range<usize>], around: usize) -> Vec<Glyph> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    for c in changed {
        let part = c.start.saturating_sub(around)..c.end.saturating_add(around).min(glyphs.len());
        match parts.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => parts.push(part),
        }
    }
    let mut out = Vec::new();
    for part in parts {
        let Some(slice) = glyphs.get(part) else { continue };
        if let (Some(last), false) = (out.last().copied(), slice.is_empty()) {
            let last: Glyph = last;
            out.push(Glyph { c: '\n', start: last.end, end: last.end });
        }
        out.extend_from_slice(slice);
    }
    out
}

/// Replaces index ranges of `glyphs` (ascending, not overlapping) and reports where the replacements ended up.
pub(super) fn replace(glyphs: &[Glyph], changes: Vec<(Range<usize>, Vec<Glyph>)>) -> (Vec<Glyph>, Vec<Range<usize>>) {
    let mut out = Vec::with_capacity(glyphs.len());
    let mut places = Vec::with_capacity(changes.len());
    let mut done = 0;
    for (range, new) in changes {
        if range.start < done {
            continue;
        }
        out.extend_from_slice(glyphs.get(done..range.start).unwrap_or_default());
        let from = out.len();
        out.extend(new);
        places.push(from..out.len());
        done = range.end;
    }
    out.extend_from_slice(glyphs.get(done..).unwrap_or_default());
    (out, places)
}

/// Index ranges of the maximal runs of glyphs for which `inside` holds.
pub(super) fn runs(glyphs: &[Glyph], inside: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut from = None;
    for (i, g) in glyphs.iter().enumerate() {
        match (inside(g.c), from) {
            (true, None) => from = Some(i),
            (false, Some(f)) => {
                out.push(f..i);
                from = None;
            }
            _ => {}
        }
    }
    if let Some(f) = from {
        out.push(f..glyphs.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(g: &[Glyph]) -> String {
        g.iter().map(|g| g.c).collect()
    }

    #[test]
    fn collapsed_space_stands_for_the_whole_run() {
        let g = collapse(&glyphs("a \n\u{a0}b"));
        assert_eq!(text(&g), "a b");
        assert_eq!((g[1].start, g[1].end), (1, 5));
    }

    #[test]
    fn excerpts_merge_when_they_touch() {
        let g = glyphs("0123456789abcdefghij");
        assert_eq!(text(&excerpts(&g, &[3..4, 6..7, 18..19], 1)), "234567\nhij");
        assert_eq!(text(&excerpts(&g, &[3..4, 6..7], 2)), "12345678");
        assert!(excerpts(&g, &[], 5).is_empty());
    }

    #[test]
    fn replacements_are_reported_where_they_land() {
        let g = glyphs("aXXbYc");
        let new = glyphs("123");
        let (out, at) = replace(&g, vec![(1..3, new.clone()), (4..5, vec![])]);
        assert_eq!(text(&out), "a123bc");
        assert_eq!(at, vec![1..4, 5..5]);
    }
}
