//! What is known of single characters: which of them no step of the views changes, and which are letters.

/// What a character outside ASCII means for the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A letter that no step changes and that looks like no Latin one.
    Letter,
    /// A letter of Greek, Cyrillic, Hebrew or Arabic, which no step changes in a word that is no look-alike of another.
    Twin,
    /// A mark that stays as it is behind such a letter; `true` for one whose place among other marks may change.
    Mark(bool),
    /// A typographic mark with a typewriter form.
    Typographic,
    /// A symbol that no step changes.
    Symbol,
    /// Anything else: the thorough way decides.
    Unknown,
}

/// The kinds of the characters before the scripts of East Asia.
static KINDS: [Kind; 0x3400] = {
    let mut table = [Kind::Unknown; 0x3400];
    let mut i = 0;
    while i < table.len() {
        if let Some(c) = char::from_u32(i as u32) {
            table[i] = found(c);
        }
        i += 1;
    }
    table
};

/// What a character means. Those of ASCII are not asked for.
#[inline]
pub(super) fn kind(c: char) -> Kind {
    match KINDS.get(c as usize) {
        Some(kind) => *kind,
        None if matches!(c, '\u{4E2C}'..='\u{9FFF}') => Kind::Letter,
        None => found(c),
    }
}

#[rustfmt::skip]
const fn found(c: char) -> Kind {
    match c {
        '\u{4E00}'..='\u{4E04}' | '\u{4E06}'..='\u{4E2A}' | '\u{4E2C}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{30FC}' | '\u{AC00}'..='\u{D7A3}'
        | '\u{0905}'..='\u{0939}' | '\u{0E01}'..='\u{0E30}' | '\u{0E32}' | '\u{0E40}'..='\u{0E46}' => Kind::Letter,
        '\u{0391}'..='\u{039A}' | '\u{039C}'..='\u{03A1}' | '\u{03A3}'..='\u{03A9}' | '\u{03B1}'..='\u{03C9}' | '\u{0400}'..='\u{045F}' | '\u{05D0}'..='\u{05EA}'
        | '\u{0621}'..='\u{064A}' => Kind::Twin,
        '\u{0901}'..='\u{0903}' | '\u{093E}'..='\u{094C}' | '\u{0E31}' | '\u{0E34}'..='\u{0E37}' | '\u{0E47}'
        | '\u{0E4C}'..='\u{0E4E}' => Kind::Mark(false),
        '\u{094D}' | '\u{0E38}'..='\u{0E3A}' | '\u{0E48}'..='\u{0E4B}' => Kind::Mark(true),
        '\u{2010}'..='\u{2015}' | '\u{2018}'..='\u{201F}' | '\u{2212}' => Kind::Typographic,
        '\u{A1}'..='\u{A7}' | '\u{A9}' | '\u{AB}' | '\u{AE}' | '\u{B0}' | '\u{B1}' | '\u{B6}' | '\u{BB}' | '\u{BF}' | '\u{D7}'
        | '\u{F7}' | '\u{2022}' | '\u{2192}' | '\u{0964}' | '\u{0965}' | '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}'
        | '\u{1F300}'..='\u{1F64F}' | '\u{1F680}'..='\u{1F6FF}' | '\u{1F900}'..='\u{1F9FF}' => Kind::Symbol,
        _ => Kind::Unknown,
    }
}

/// Whether a character belongs to the letter before it.
pub(super) fn is_mark(c: char) -> bool {
    matches!(kind(c), Kind::Mark(_))
}

/// Whether compatibility forms and marks leave a character alone that stands without marks.
pub(super) fn keeps_form(c: char) -> bool {
    matches!(kind(c), Kind::Letter | Kind::Twin | Kind::Symbol | Kind::Typographic)
}

/// `char::is_alphanumeric` without its search in a table for the letters that most texts are written in.
#[inline]
pub(super) fn is_alphanumeric(c: char) -> bool {
    match c {
        '\0'..='\x7F' => c.is_ascii_alphanumeric(),
        '\u{094D}' | '\u{0E47}'..='\u{0E4C}' | '\u{0E4E}' => false,
        _ => match kind(c) {
            Kind::Letter | Kind::Twin | Kind::Mark(_) => true,
            Kind::Typographic | Kind::Symbol => false,
            Kind::Unknown => c.is_alphanumeric(),
        },
    }
}

/// `char::is_alphabetic`, likewise.
pub(super) fn is_alphabetic(c: char) -> bool {
    match kind(c) {
        Kind::Letter | Kind::Twin => true,
        _ => c.is_alphabetic(),
    }
}

/// Whether cleaning leaves a text as it is.
#[cfg(test)]
pub(super) fn unchanged(text: &str) -> bool {
    let (now, hidden) = super::clean::clean(&super::glyph::glyphs(text));
    hidden.is_empty() && now.iter().map(|g| g.c).eq(text.chars())
}

#[cfg(test)]
mod tests {
    use super::super::clean::plain_mark;
    use super::super::confusable;
    use super::super::hidden::is_ignorable;
    use super::super::upside;
    use super::*;

    #[test]
    fn what_counts_as_unchanged_is_changed_by_no_step() {
        let mut wrong = Vec::new();
        for c in ('\u{80}'..=char::MAX).filter(|c| matches!(kind(*c), Kind::Letter | Kind::Symbol)) {
            let fine = unchanged(&c.to_string())
                && (kind(c) == Kind::Symbol || !confusable::has_latin_twin(c))
                && !is_ignorable(c)
                && !c.is_whitespace()
                && !unicode_normalization::char::is_combining_mark(c)
                && (kind(c) == Kind::Letter || !c.is_alphanumeric());
            if !fine {
                wrong.push(c);
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn letters_with_look_alikes_are_of_one_script_each_and_none_is_upside_down() {
        for c in ('\u{80}'..=char::MAX).filter(|c| kind(*c) == Kind::Twin) {
            assert!(unchanged(&format!("{c}ж{c}")) || u32::from(c) >> 8 != 4, "{c}");
            assert!(c.is_alphabetic() && keeps_form(c) && !upside::is_exotic(c) && !is_ignorable(c), "{c}");
        }
    }

    #[test]
    fn what_keeps_its_form_is_what_normalizing_leaves_alone() {
        use unicode_normalization::UnicodeNormalization;
        for c in ('\u{80}'..=char::MAX).filter(|c| keeps_form(*c) && *c != '\u{2011}') {
            assert!([c].into_iter().nfkc().eq([c]), "{c:?}");
            assert!(!([c].into_iter().nfkd().next().unwrap().is_ascii()), "{c:?}");
        }
        // The one that does not stands for a dash either way.
        assert_eq!(plain_mark('\u{2011}'), '-');
    }

    #[test]
    fn letters_and_digits_are_those_of_the_standard_library() {
        assert!(('\0'..=char::MAX).all(|c| is_alphanumeric(c) == c.is_alphanumeric()));
        assert!(('\0'..=char::MAX).all(|c| is_alphabetic(c) == c.is_alphabetic()));
    }
}
