//! Which class of the pre-tokenizer patterns a character belongs to, at the cost of two array reads.

use super::unicode_16::RANGES;

/// The parts into which the patterns divide Unicode. Every pattern is a union of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// None of the below: punctuation, symbols, controls, unassigned.
    Other,
    /// `\p{Lu}` and `\p{Lt}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}` and `\p{Lo}`: letters without case.
    Caseless,
    /// `\p{M}`.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\s` other than CR and LF.
    Space,
    /// CR and LF.
    Newline,
}

impl Class {
    const ALL: [Class; 8] = [
        Class::Other,
        Class::Upper,
        Class::Lower,
        Class::Caseless,
        Class::Mark,
        Class::Number,
        Class::Space,
        Class::Newline,
    ];

    /// `\p{L}`.
    pub(super) fn is_letter(self) -> bool {
        matches!(self, Class::Upper | Class::Lower | Class::Caseless)
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
    pub(super) fn opens_word(self) -> bool {
        matches!(self, Class::Upper | Class::Caseless | Class::Mark)
    }

    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
    pub(super) fn ends_word(self) -> bool {
        matches!(self, Class::Lower | Class::Caseless | Class::Mark)
    }

    /// `\s`.
    pub(super) fn is_space(self) -> bool {
        matches!(self, Class::Space | Class::Newline)
    }

    /// `[^\r\n\p{L}\p{N}]`: what may stand in front of a word and belong to it.
    pub(super) fn may_lead_word(self) -> bool {
        matches!(self, Class::Other | Class::Mark | Class::Space)
    }

    /// `[^\s\p{L}\p{N}]`.
    pub(super) fn is_symbol(self) -> bool {
        matches!(self, Class::Other | Class::Mark)
    }
}

/// The classes of all code points as pages of 256; equal neighbours share a page.
#[derive(Debug)]
pub(super) struct Classes {
    page_of: Vec<u16>,
    pages: Vec<[Class; 256]>,
    /// How often a character was looked at: the work of cutting text into pieces.
    #[cfg(test)]
    pub(super) looks: std::sync::atomic::AtomicUsize,
}

impl Classes {
    /// Spreads the ranges out: about 50 KiB, in tens of microseconds.
    pub(super) fn new() -> Self {
        let mut classes = Classes {
            page_of: Vec::with_capacity(0x1100),
            pages: Vec::new(),
            #[cfg(test)]
            looks: 0.into(),
        };
        let mut uniform = [None; Class::ALL.len()];
        let mut ranges = RANGES.iter().copied().peekable();
        let mut current = Class::Other;
        for page_start in (0..0x11_0000_u32).step_by(256) {
            let mut page = [current; 256];
            let mut mixed = false;
            while let Some(entry) = ranges.next_if(|entry| entry >> 4 < page_start + 256) {
                current = Class::ALL.get((entry & 15) as usize).copied().unwrap_or(Class::Other);
                let from = (entry >> 4).saturating_sub(page_start) as usize;
                mixed |= from > 0;
                page.iter_mut().skip(from).for_each(|slot| *slot = current);
            }
            let known = if mixed { None } else { uniform.get(current as usize).copied().flatten() };
            let index = known.unwrap_or(classes.pages.len() as u16);
            if known.is_none() {
                classes.pages.push(page);
            }
            if let (false, Some(slot)) = (mixed, uniform.get_mut(current as usize)) {
                *slot = Some(index);
            }
            classes.page_of.push(index);
        }
        classes
    }

    /// The class of `c`.
    #[inline]
    pub(super) fn of(&self, c: char) -> Class {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let code = c as usize;
        let page = self.page_of.get(code >> 8).and_then(|&index| self.pages.get(index as usize));
        page.map_or(Class::Other, |page| page[code & 255])
    }
}

/// What Python's `str.isspace` says, which is how Meta's tokenizer measures runs: `\s` and four separators beside it.
pub(crate) fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scalar value.
    fn all_chars() -> impl Iterator<Item = char> {
        ('\0'..=char::MAX).filter(|c| !matches!(*c as u32, 0xd800..=0xdfff))
    }

    #[test]
    fn classes_agree_with_the_regex_crate() {
        let classes = Classes::new();
        type Member = fn(Class) -> bool;
        let patterns: [(&str, Member); 5] = [
            (r"\p{L}", Class::is_letter),
            (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", Class::opens_word),
            (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", Class::ends_word),
            (r"[^\r\n\p{L}\p{N}]", Class::may_lead_word),
            (r"[^\s\p{L}\p{N}]", Class::is_symbol),
        ];
        for (pattern, holds) in patterns {
            let regex = regex_automata::meta::Regex::new(&format!("^{pattern}$")).unwrap();
            let mut buffer = [0; 4];
            // A later Unicode version gives classes to code points that are `Other` here; known ones keep theirs.
            for c in all_chars().filter(|&c| classes.of(c) != Class::Other || c.is_ascii()) {
                let text: &str = c.encode_utf8(&mut buffer);
                assert_eq!(regex.is_match(text), holds(classes.of(c)), "{pattern} on U+{:04X}", c as u32);
            }
        }
    }

    #[test]
    fn python_space_adds_the_four_separators() {
        let classes = Classes::new();
        let extra: Vec<char> = all_chars().filter(|&c| is_python_space(c) && !classes.of(c).is_space()).collect();
        assert_eq!(extra, ['\u{1c}', '\u{1d}', '\u{1e}', '\u{1f}']);
        assert!(all_chars().all(|c| !classes.of(c).is_space() || is_python_space(c)));
    }
}
