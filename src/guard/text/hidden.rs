//! Characters a reader does not see: which they are, and what is written in them.

use std::ops::Range;

use super::glyph::{Glyph, is_space};

/// Something written in characters that are not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The decoded text; empty when invisible characters stand in a row without a known decoding.
    pub text: String,
    /// Where, in bytes of the original.
    pub span: Range<usize>,
}

/// So many invisible characters in a row are nothing that a script or an emoji needs.
const UNEXPLAINED_RUN: usize = 16;
/// Shorter decoded text is noise.
const SHORTEST: usize = 4;

/// Unicode's Default_Ignorable_Code_Point, and the controls that are not white space.
pub(crate) fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
        || (c.is_control() && !is_space(c))
}

/// Removes what is not shown and reports what was written there. Text between a right-to-left override and its end is
/// turned round when it is Latin: that is what a reader sees.
pub(super) fn strip(glyphs: &[Glyph]) -> (Vec<Glyph>, Vec<Hidden>) {
    let mut seen: Vec<Glyph> = Vec::with_capacity(glyphs.len());
    let mut hidden = Vec::new();
    let mut overridden: Option<usize> = None;
    let mut rest = glyphs;
    while let Some(g) = rest.first() {
        if is_ignorable(g.c) {
            let n = rest.iter().take_while(|g| is_ignorable(g.c)).count();
            let (run, after) = rest.split_at(n);
            hidden.extend(read(run, seen.last().map(|g| g.c)));
            for mark in run {
                match mark.c {
                    '\u{202E}' => overridden = Some(seen.len()),
                    '\u{202C}' | '\u{2069}' => turn(&mut seen, overridden.take()),
                    _ => {}
                }
            }
            rest = after;
        } else {
            if g.c == '\n' {
                turn(&mut seen, overridden.take());
            }
            seen.push(*g);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    turn(&mut seen, overridden);
    (seen, hidden)
}

fn turn(seen: &mut [Glyph], from: Option<usize>) {
    if let Some(part) = from.and_then(|f| seen.get_mut(f..))
        && !part.iter().any(|g| matches!(g.c, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FEFC}'))
    {
        part.reverse();
    }
}

/// Reads one run of invisible characters that follows `before`.
fn read(run: &[Glyph], before: Option<char>) -> Vec<Hidden> {
    let mut out = Vec::new();
    let flag = before == Some('\u{1F3F4}');
    let tags = decode(run, tag_byte);
    out.extend(tags.into_iter().filter(|h| !(flag && is_flag_code(&h.text))));
    out.extend(decode(run, selector_byte));
    if out.is_empty() && run.len() >= UNEXPLAINED_RUN && !flag {
        out.extend(span(run).map(|span| Hidden { text: String::new(), span }));
    }
    out
}

/// The text of all glyphs of the run that carry a byte, if it reads as text.
fn decode(run: &[Glyph], byte: impl Fn(char) -> Option<u8>) -> Option<Hidden> {
    let carriers: Vec<Glyph> = run.iter().filter(|g| byte(g.c).is_some()).copied().collect();
    let bytes: Vec<u8> = carriers.iter().filter_map(|g| byte(g.c)).collect();
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim();
    let readable = text.chars().count() >= SHORTEST && !text.chars().any(|c| c.is_control() && !is_space(c));
    readable.then(|| span(&carriers).map(|span| Hidden { text: text.to_owned(), span })).flatten()
}

fn tag_byte(c: char) -> Option<u8> {
    matches!(c, '\u{E0020}'..='\u{E007E}').then(|| u8::try_from(u32::from(c) - 0xE0000).ok()).flatten()
}

/// The sixteen selectors carry 0 to 15, the supplementary ones 16 to 255.
fn selector_byte(c: char) -> Option<u8> {
    match u32::from(c) {
        n @ 0xFE00..=0xFE0F => u8::try_from(n - 0xFE00).ok(),
        n @ 0xE0100..=0xE01EF => u8::try_from(n - 0xE0100 + 16).ok(),
        _ => None,
    }
}

/// Region flags (England, Scotland, Texas …) are a black flag followed by a code in tag characters.
fn is_flag_code(text: &str) -> bool {
    text.len() <= 6 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn span(run: &[Glyph]) -> Option<Range<usize>> {
    super::glyph::place(run).map(|(a, b)| a as usize..b as usize)
}

#[cfg(test)]
mod tests {
    use super::super::glyph::glyphs;
    use super::*;

    fn seen(text: &str) -> (String, Vec<Hidden>) {
        let (g, h) = strip(&glyphs(text));
        (g.iter().map(|g| g.c).collect(), h)
    }

    #[test]
    fn text_in_tag_characters_is_read() {
        let tags: String = "tell me all".chars().map(|c| char::from_u32(0xE0000 + c as u32).unwrap()).collect();
        let (text, hidden) = seen(&format!("hello{tags} there"));
        assert_eq!(text, "hello there");
        assert_eq!(hidden, vec![Hidden { text: "tell me all".into(), span: 5..5 + tags.len() }]);
    }

    #[test]
    fn text_in_variation_selectors_is_read() {
        let vs: String = "ignore it".bytes().map(|b| char::from_u32(0xE0100 + u32::from(b) - 16).unwrap()).collect();
        let (_, hidden) = seen(&format!("\u{1F600}{vs}"));
        assert_eq!(hidden[0].text, "ignore it");
    }

    #[test]
    fn flags_emoji_and_joiners_hide_nothing() {
        let scotland = "\u{1F3F4}\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}";
        for text in [scotland, "\u{1F469}\u{200D}\u{1F52C}", "\u{2764}\u{FE0F}", "می\u{200C}خواهم", "क्\u{200D}ष"]
        {
            assert!(seen(text).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_long_row_of_zero_width_characters_is_noticed() {
        let bits = "\u{200B}\u{200C}".repeat(12);
        assert_eq!(seen(&format!("a{bits}b")).1.len(), 1);
    }

    #[test]
    fn overridden_direction_is_read_as_shown() {
        assert_eq!(seen("say \u{202E}olleh\u{202C} now").0, "say hello now");
        assert_eq!(seen("\u{202E}שלום\u{202C}").0, "שלום");
    }
}
