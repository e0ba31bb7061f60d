//! Letters written upside down (`ǝʞɐɔ ɐ ǝʞɐɯ`), read from the other end where that makes English.

use std::ops::Range;

use super::glyph::{Glyph, runs};
use super::words::{SHORTEST, is_english, is_known, is_wordlike};

/// So many letters that are none of any alphabet's own make a stretch worth turning.
pub(super) const TURNED: usize = 3;

/// What is written upside down.
#[derive(Default)]
pub(super) struct Upside {
    /// The stretches, with what they say.
    pub(super) changes: Vec<(Range<usize>, Vec<Glyph>)>,
    /// Whether all of them are English, and none holds a word that is one as it stands.
    pub(super) told: bool,
}

/// The stretches written upside down. They are looked for before look-alikes are put back, which takes some of the letters
/// for others.
pub(super) fn find(glyphs: &[Glyph]) -> Upside {
    let mut out = Upside { changes: Vec::new(), told: true };
    if glyphs.iter().filter(|g| exotic(g.c).is_some()).count() < TURNED {
        return out;
    }
    let words = runs(glyphs, |c| !c.is_whitespace());
    // A word that cannot be written so ends a stretch.
    let fits =
        |word: &Range<usize>| glyphs.get(word.clone()).unwrap_or_default().iter().all(|g| upright(g.c).is_some());
    for row in words.chunk_by(|a, b| fits(a) == fits(b)).filter(|row| row.first().is_some_and(fits)) {
        let (Some(first), Some(last)) = (row.first(), row.last()) else { continue };
        if let Some((turned, is_english)) = glyphs.get(first.start..last.end).and_then(read) {
            out.told &= is_english && !row.iter().any(|word| stands(glyphs.get(word.clone()).unwrap_or_default()));
            out.changes.push((first.start..last.end, turned));
        }
    }
    out
}

/// Whether some letters are a word the right way up.
fn stands(word: &[Glyph]) -> bool {
    let letters: Vec<u8> = word.iter().filter_map(|g| u8::try_from(u32::from(g.c)).ok()).collect();
    letters.split(|b| !b.is_ascii_alphabetic()).any(|w| w.len() >= SHORTEST && is_known(w))
}

fn read(part: &[Glyph]) -> Option<(Vec<Glyph>, bool)> {
    let mut marks: Vec<char> = part.iter().map(|g| g.c).filter(|c| exotic(*c).is_some()).collect();
    if marks.len() < TURNED {
        return None;
    }
    marks.sort_unstable();
    marks.dedup();
    let turned = |g: &Glyph| g.with(upright(g.c).unwrap_or(g.c));
    // Some turn each letter and leave the order alone.
    let from_the_end: Vec<Glyph> = part.iter().rev().map(turned).collect();
    let in_place: Vec<Glyph> = part.iter().map(turned).collect();
    for text in [&from_the_end, &in_place] {
        if is_english(text.iter().map(|g| g.c)) {
            return Some((text.clone(), true));
        }
    }
    // Another language, where there is little else that these letters can be.
    let text: String = from_the_end.iter().map(|g| g.c).collect();
    (marks.len() > TURNED && is_wordlike(&text)).then_some((from_the_end, false))
}

/// What a character is upside down, if anything: a letter, a mark, or white space.
fn upright(c: char) -> Option<char> {
    exotic(c).or(match c {
        'n' => Some('u'),
        'u' => Some('n'),
        'b' => Some('q'),
        'q' => Some('b'),
        'd' => Some('p'),
        'p' => Some('d'),
        'm' | 'M' => Some('w'),
        'w' | 'W' => Some('m'),
        'o' | 'l' | 's' | 'x' | 'z' | 'H' | 'I' | 'N' | 'O' | 'S' | 'X' | 'Z' => Some(c.to_ascii_lowercase()),
        '6' => Some('9'),
        '9' => Some('6'),
        '(' => Some(')'),
        ')' => Some('('),
        '\'' => Some(','),
        _ if !c.is_alphabetic() => Some(c),
        _ => None,
    })
}

/// Whether a character may be a turned one and is hardly anything else.
pub(super) fn is_exotic(c: char) -> bool {
    exotic(c).is_some()
}

/// The letters and marks that stand for turned ones and hardly for anything else in a text.
#[rustfmt::skip]
fn exotic(c: char) -> Option<char> {
    if c < '\u{A1}' {
        return None;
    }
    Some(match c {
        'ɐ' | 'ɒ' | '∀' | 'Ɐ' => 'a', 'ɔ' | 'ↄ' | 'Ɔ' | 'Ↄ' => 'c', 'ǝ' | 'ə' | 'ɘ' | 'Ǝ' | '∃' => 'e',
        'ɟ' | 'Ⅎ' => 'f', 'ƃ' | 'ɓ' | 'ᵷ' | '⅁' => 'g', 'ɥ' => 'h', 'ᴉ' | 'ı' => 'i', 'ɾ' | 'ſ' | 'ɿ' => 'j',
        'ʃ' | 'ꞁ' | '˥' | '⅂' => 'l', 'ʞ' | '⋊' | 'Ʞ' => 'k', 'ɯ' => 'm', 'ɹ' | 'ᴚ' => 'r',
        'ʇ' | '⊥' | 'Ʇ' | '┴' => 't', 'ʌ' | 'Λ' => 'v', 'ʍ' => 'w', 'ʎ' | '⅄' => 'y', 'ᗺ' => 'b', 'ᗡ' | '◖' => 'd',
        'Ԁ' => 'p', 'Ό' => 'q', '∩' => 'u', '¿' => '?', '¡' => '!', '˙' => '.', 'ᄅ' => '2', 'Ɛ' => '3', 'ㄣ' => '4',
        'ϛ' => '5', 'ㄥ' => '7', '⇂' => '1',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::glyph::{glyphs, replace};
    use super::*;

    fn read(text: &str) -> String {
        let g = glyphs(text);
        replace(&g, find(&g).changes).0.iter().map(|g| g.c).collect()
    }

    #[test]
    fn upside_down_text_is_read() {
        assert_eq!(
            read("Please read: ˙ʞuᴉɹp ɐ puɐ ǝʞɐɔ ǝɥʇ ɹoɟ sʎɐd oɥʍ"),
            "Please read: who pays for the cake and a drink."
        );
        assert_eq!(read("ɥoʍ po ʎon ɯɐʞǝ ɐ ɔɐʞǝ"), "how do you make a cake");
        assert_eq!(read("oǝsnɯ lǝ ɐʇsǝ ǝpuop"), "donde esta el museo");
        assert_eq!(read("¿uǝdo ɯnǝsnɯ ǝɥʇ sǝop uǝɥM"), "when does the museum open?");
    }

    #[test]
    fn phonetic_writing_and_other_alphabets_stay() {
        for text in [
            "The word is said /ˈmjuːzɪəm/, in Portuguese [muˈzɐw], in Danish [ʌ].",
            "[ðə ˈnɔːθ ˈwɪnd ənd ðə ˈsʌn wə dɪsˈpjuːtɪŋ ˈwɪtʃ wəz ðə ˈstrɒŋɡə]",
            "Azərbaycan Respublikasının paytaxtı Bakı şəhəridir.",
            "∀x ∃y: x ∩ y = ∅, x ⊥ y",
            "Ƙofa, ɗaki, ɓera da ƙwallo",
            "ɛ ɔ ŋ ɖ ƒ ɣ ʋ: Eʋegbe. Mele dɔ wɔm le agble ɖeka me.",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
