//! The text as a reader sees it: compatibility forms undone, stacked marks dropped, look-alike letters put back.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::chars;
use super::confusable;
use super::glyph::{Glyph, is_space, place};
use super::hidden::{self, Hidden};

/// Scripts need at most so many marks on a letter; what is stacked above that is ornament.
const MARKS: usize = 3;

/// Strips what is not shown, then undoes compatibility forms, then maps look-alikes. The order matters: an invisible
/// character between a letter and its mark must be gone before normalising, and look-alikes are known for normal forms.
pub(super) fn clean(glyphs: &[Glyph]) -> (Vec<Glyph>, Vec<Hidden>) {
    let (seen, hidden) = hidden::strip(glyphs);
    (normal(&seen), hidden)
}

/// What is shown, in its normal form.
pub(super) fn normal(seen: &[Glyph]) -> Vec<Glyph> {
    let mut normal = forms(seen);
    confusable::undo(&mut normal);
    normal.iter_mut().for_each(|g| g.c = plain_mark(g.c));
    normal
}

/// Compatibility forms undone, marks of Latin letters and ornament gone.
pub(super) fn forms(seen: &[Glyph]) -> Vec<Glyph> {
    let mut normal = Vec::with_capacity(seen.len());
    let mut rest = seen;
    let mut scratch = Vec::new();
    while !rest.is_empty() {
        let marks = rest.iter().skip(1).take_while(|g| continues(g.c)).count();
        let (cluster, after) = rest.split_at((marks + 1).min(rest.len()));
        compat(cluster, &mut scratch, &mut normal);
        rest = after;
    }
    normal
}

/// Whether what was cleaned lost nothing but invisible characters and the style of letters, so that it says all that the
/// original does. Marks and look-alikes may have had a meaning.
pub(super) fn is_faithful(original: &str, cleaned: &[Glyph]) -> bool {
    // Where the order of reading was changed, the model still reads the other one.
    cleaned.is_sorted_by_key(|g| g.start)
        && cleaned.iter().all(|g| {
            let of = original.get(g.start as usize..g.end as usize).unwrap_or_default();
            let mut shown = of.chars().filter(|c| !hidden::is_ignorable(*c));
            let (first, more) = (shown.next(), shown.next().is_some());
            first.is_some_and(|c| !more && is_same(c, g.c))
        })
}

/// Whether a character that became `now` says no less so.
pub(super) fn is_same(c: char, now: char) -> bool {
    c == now || is_space(c) || plain_mark(c) == now || is_styled(c)
}

/// Letters and digits of one style or in a frame: what they are without it is all that they say.
fn is_styled(c: char) -> bool {
    matches!(c, '\u{FF01}'..='\u{FF5E}' | '\u{1D400}'..='\u{1D7FF}' | '\u{2460}'..='\u{24FF}' | '\u{1F110}'..='\u{1F189}')
        || confusable::is_small_capital(c)
}

/// Typographic quotation marks and dashes as they are typed.
pub(super) fn plain_mark(c: char) -> char {
    match c {
        '\u{2018}'..='\u{201B}' | '\u{2032}' | '\u{02BC}' => '\'',
        '\u{201C}'..='\u{201F}' | '\u{2033}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ => c,
    }
}

/// Whether a character belongs to the one before it: a mark, or a Hangul vowel or final that composes.
fn continues(c: char) -> bool {
    !c.is_ascii() && (is_combining_mark(c) || matches!(c, '\u{1161}'..='\u{11FF}'))
}

/// NFKC of one cluster; Latin letters lose their marks, others keep what composes and at most [`MARKS`] more.
fn compat(cluster: &[Glyph], scratch: &mut Vec<char>, out: &mut Vec<Glyph>) {
    if let [only] = cluster
        && (only.c.is_ascii() || chars::keeps_form(only.c))
    {
        out.push(*only);
        return;
    }
    let Some((start, end)) = place(cluster) else { return };
    scratch.clear();
    scratch.extend(cluster.iter().map(|g| g.c).nfkd());
    let mut rest = scratch.as_slice();
    while let Some(&base) = rest.first() {
        let marks = rest.iter().skip(1).take_while(|&&c| continues(c)).count();
        let (group, after) = rest.split_at((marks + 1).min(rest.len()));
        if base.is_ascii() {
            out.push(Glyph { c: base, start, end });
        } else {
            let mut kept = 0;
            for c in group.iter().copied().nfc() {
                kept += usize::from(is_combining_mark(c));
                if kept <= MARKS {
                    out.push(Glyph { c, start, end });
                }
            }
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::super::glyph::glyphs;
    use super::*;

    fn cleaned(text: &str) -> String {
        clean(&glyphs(text)).0.iter().map(|g| g.c).collect()
    }

    #[test]
    fn compatibility_forms_are_undone() {
        assert_eq!(cleaned("ｆｕｌｌ ｗｉｄｔｈ"), "full width");
        assert_eq!(cleaned("𝐛𝑜𝓁𝖽"), "bold");
        assert_eq!(cleaned("ⓒⓘⓡⓒⓛⓔⓓ"), "circled");
        assert_eq!(cleaned("ﬁre"), "fire");
        assert_eq!(cleaned("I’m — “here”"), "I'm - \"here\"");
    }

    #[test]
    fn marks_on_latin_letters_go_and_others_stay() {
        assert_eq!(cleaned("i\u{336}g\u{336}n\u{301}\u{302}\u{303}\u{304}ore café"), "ignore cafe");
        assert_eq!(cleaned("йод"), "йод");
        assert_eq!(cleaned("हिन्दी"), "हिन्दी");
        assert_eq!(cleaned("\u{1112}\u{1161}\u{11AB}"), "한");
        assert_eq!(cleaned("นี่"), "นี่");
    }

    #[test]
    fn styles_and_invisible_characters_say_nothing_and_marks_may() {
        let faithful = |text: &str| is_faithful(text, &clean(&glyphs(text)).0);
        assert!(faithful("ｆｕｌｌ　ｗｉｄｔｈ") && faithful("𝐛𝑜𝓁𝖽 ɪɴᴋ") && faithful("z\u{200B}e\u{200B}ro — “so”"));
        assert!(
            !faithful("café")
                && !faithful("сор и cор")
                && !faithful("e\u{336}x")
                && !faithful("\u{202E}eta\u{202C}")
                && !faithful("ﬁre ½")
        );
    }

    #[test]
    fn invisible_characters_between_letter_and_mark_do_not_protect_it() {
        assert_eq!(cleaned("o\u{200B}\u{301}n"), "on");
    }

    #[test]
    fn every_glyph_points_into_the_original() {
        let original = "x\u{200B}ﬁ\u{301}y";
        let (g, _) = clean(&glyphs(original));
        for g in &g {
            assert!(original.get(g.start as usize..g.end as usize).is_some(), "{g:?}");
        }
        assert_eq!(g.last().map(|g| g.end as usize), Some(original.len()));
    }
}
