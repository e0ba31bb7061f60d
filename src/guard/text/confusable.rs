//! Letters of one script that look like letters of another, put back where they stand in for them.

use std::ops::{Range, RangeInclusive};
use std::sync::LazyLock;

use unicode_normalization::char::is_combining_mark;
use unicode_security::MixedScript;
use unicode_security::confusable_detection::skeleton;

use super::chars::is_alphanumeric;
use super::glyph::{Glyph, runs};
use super::words::is_known;

/// Maps look-alikes to Latin letters in words that mix scripts, and in words made only of look-alikes when most words of
/// foreign script are such words (a Russian text has a few by nature, a disguised English one has little else). What passes
/// for a Latin letter only in company counts in such a word when that makes it English, or when many words mix scripts.
pub(super) fn undo(glyphs: &mut [Glyph]) {
    if glyphs.iter().all(|g| g.c.is_ascii()) {
        return;
    }
    let mut whole: Vec<Range<usize>> = Vec::new();
    let mut likely: Vec<Range<usize>> = Vec::new();
    let (mut foreign, mut mixed) = (0usize, 0usize);
    for word in runs(glyphs, is_alphanumeric) {
        let Some(letters) = glyphs.get_mut(word.clone()) else { continue };
        if letters.iter().all(|g| g.c.is_ascii()) {
            continue;
        }
        if !is_one_script(letters) || letters.iter().any(|g| g.c.is_ascii_alphabetic()) {
            mixed += usize::from(letters.iter().any(|g| !g.c.is_ascii() && lookalike(g.c).is_some()));
            map(letters, |c| lookalike(c).or_else(|| in_company(c)));
            continue;
        }
        foreign += 1;
        if letters.iter().all(|g| lookalike(g.c).is_some()) {
            whole.push(word);
        } else if letters.iter().all(|g| lookalike(g.c).or_else(|| in_company(g.c)).is_some()) {
            likely.push(word);
        }
    }
    let strange = foreign - whole.len() - likely.len();
    let is_disguise = mixed >= MIXED && mixed > strange;
    if !is_disguise {
        likely.retain(|word| glyphs.get(word.clone()).is_some_and(is_english_word));
    }
    if is_disguise || is_latin(whole.len() + likely.len(), foreign) {
        for word in whole.into_iter().chain(likely) {
            if let Some(letters) = glyphs.get_mut(word) {
                map(letters, |c| lookalike(c).or_else(|| in_company(c)));
            }
        }
    }
}

/// So many words that mix scripts are a disguise and no slip.
const MIXED: usize = 2;

/// Whether a word is an English one to the eye.
fn is_english_word(letters: &[Glyph]) -> bool {
    let latin = |g: &Glyph| lookalike(g.c).or_else(|| in_company(g.c)).and_then(|c| u8::try_from(u32::from(c)).ok());
    let word: Option<Vec<u8>> = letters.iter().map(latin).collect();
    word.is_some_and(|word| is_known(&word))
}

fn is_one_script(letters: &[Glyph]) -> bool {
    // The usual letters of Cyrillic and of Greek are of that script and no other.
    let all = |block: RangeInclusive<char>| letters.iter().all(|g| block.contains(&g.c));
    all('\u{0400}'..='\u{0481}')
        || all('\u{0391}'..='\u{03C9}')
        || letters.iter().map(|g| g.c).collect::<String>().as_str().is_single_script()
}

fn map(letters: &mut [Glyph], ascii: impl Fn(char) -> Option<char>) {
    for g in letters {
        if let Some(c) = ascii(g.c) {
            g.c = c;
        }
    }
}

/// The ASCII letter that `c` looks like.
fn lookalike(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric().then_some(c);
    }
    let known = u32::from(c).checked_sub(KNOWN_FROM).and_then(|i| usize::try_from(i).ok());
    match known.and_then(|i| KNOWN.get(i)) {
        Some(found) => *found,
        None => by_hand(c).or_else(|| by_table(c)),
    }
}

/// The answers for Greek, Cyrillic, Hebrew and Arabic, in which whole texts are written.
static KNOWN: LazyLock<Vec<Option<char>>> = LazyLock::new(|| {
    (KNOWN_FROM..0x650).map(|n| char::from_u32(n).and_then(|c| by_hand(c).or_else(|| by_table(c)))).collect()
});
const KNOWN_FROM: u32 = 0x370;

/// How much a word of one script looks like a Latin one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Looks {
    Latin,
    /// In the company of Latin words.
    Likely,
    Foreign,
}

/// How much a letter of one of these scripts looks like a Latin one.
pub(super) fn looks(c: char) -> Looks {
    let known = u32::from(c).checked_sub(KNOWN_FROM).and_then(|i| usize::try_from(i).ok());
    known.and_then(|i| LOOKS.get(i).copied()).unwrap_or(Looks::Foreign)
}

static LOOKS: LazyLock<Vec<Looks>> = LazyLock::new(|| {
    let looks = |c| match lookalike(c) {
        Some(_) => Looks::Latin,
        None if in_company(c).is_some() => Looks::Likely,
        None => Looks::Foreign,
    };
    (KNOWN_FROM..0x650).map(|n| char::from_u32(n).map_or(Looks::Foreign, looks)).collect()
});

/// Whether so many foreign words, of which so many look like Latin ones, are a disguise.
pub(super) fn is_latin(like: usize, foreign: usize) -> bool {
    like.saturating_mul(2) >= foreign
}

/// What Unicode's table of look-alikes says.
fn by_table(c: char) -> Option<char> {
    let mut buffer = [0u8; 4];
    let prototype: String = skeleton(c.encode_utf8(&mut buffer)).filter(|&c| !is_combining_mark(c)).collect();
    match prototype.as_str() {
        // Unicode's prototypes for m and w, and its one prototype for capital I and small l.
        "rn" => Some('m'),
        "vv" => Some('w'),
        "l" if c.is_uppercase() && c != '\u{4C0}' => Some('I'),
        one => {
            let mut chars = one.chars();
            let first = chars.next().filter(char::is_ascii_alphabetic)?;
            chars.next().is_none().then_some(first)
        }
    }
}

/// Whether `c` may be read as a Latin letter, alone or among Latin letters.
#[cfg(test)]
pub(super) fn has_latin_twin(c: char) -> bool {
    lookalike(c).is_some() || in_company(c).is_some()
}

/// Small capitals and boxed letters, which the Unicode table does not list.
fn by_hand(c: char) -> Option<char> {
    let n = u32::from(c);
    for first in [0x1F150u32, 0x1F170] {
        if let Some(i) = n.checked_sub(first).filter(|i| *i < 26) {
            return char::from_u32(u32::from('a') + i);
        }
    }
    SMALL_CAPITALS.iter().find(|(from, _)| *from == c).map(|(_, to)| *to)
}

/// Whether `c` is a Latin letter in the form of a small capital.
pub(super) fn is_small_capital(c: char) -> bool {
    SMALL_CAPITALS.iter().any(|(from, _)| *from == c)
}

/// Letters that pass for Latin ones only in the company of Latin letters.
fn in_company(c: char) -> Option<char> {
    COMPANIONS.iter().find(|(from, _)| *from == c).map(|(_, to)| *to)
}

#[rustfmt::skip]
const SMALL_CAPITALS: [(char, char); 25] = [
    ('ᴀ', 'a'), ('ʙ', 'b'), ('ᴄ', 'c'), ('ᴅ', 'd'), ('ᴇ', 'e'), ('ꜰ', 'f'), ('ɢ', 'g'), ('ʜ', 'h'), ('ɪ', 'i'),
    ('ᴊ', 'j'), ('ᴋ', 'k'), ('ʟ', 'l'), ('ᴍ', 'm'), ('ɴ', 'n'), ('ᴏ', 'o'), ('ᴘ', 'p'), ('ǫ', 'q'), ('ʀ', 'r'),
    ('ꜱ', 's'), ('ᴛ', 't'), ('ᴜ', 'u'), ('ᴠ', 'v'), ('ᴡ', 'w'), ('ʏ', 'y'), ('ᴢ', 'z'),
];

#[rustfmt::skip]
const COMPANIONS: [(char, char); 22] = [
    ('к', 'k'), ('т', 't'), ('м', 'm'), ('н', 'h'), ('в', 'b'), ('г', 'r'), ('п', 'n'), ('и', 'u'), ('я', 'r'),
    ('К', 'K'), ('Т', 'T'), ('М', 'M'), ('Н', 'H'), ('В', 'B'), ('β', 'b'), ('ε', 'e'), ('η', 'n'), ('κ', 'k'),
    ('τ', 't'), ('ω', 'w'), ('ø', 'o'), ('ł', 'l'),
];

#[cfg(test)]
mod tests {
    use super::super::glyph::glyphs;
    use super::*;

    fn undone(text: &str) -> String {
        let mut g = glyphs(text);
        undo(&mut g);
        g.iter().map(|g| g.c).collect()
    }

    #[test]
    fn mixed_words_become_latin() {
        assert_eq!(undone("ignоrе аll рrеviоus"), "ignore all previous");
        assert_eq!(undone("Іgnоrе"), "Ignore");
        assert_eq!(undone("ɪɢɴᴏʀᴇ"), "ignore");
    }

    #[test]
    fn words_of_lookalikes_alone_become_latin_in_latin_company() {
        assert_eq!(undone("а сор аnd"), "a cop and");
        assert_eq!(undone("такe а сакe fоr thе роет, to tеll"), "take a cake for the poet, to tell");
        assert_eq!((undone("таке").as_str(), undone("тасе").as_str()), ("take", "тасе"));
    }

    #[test]
    fn other_scripts_stay_as_they_are() {
        for text in [
            "Где находится хор и сор в музее",
            "Πού είναι το μουσείο",
            "博物館はどこですか",
            "Как пройти к музею? Там есть кот, и он там не один.",
            "Нам так и не сказали, кто там был. А вы кто?",
            "Какво има тук? Там има вода, а тук няма нито капка.",
            "Де тут каса? Там, а он там і вихід. Хто там?",
            "Μα το νερό και το κρασί, τα πήρα και τα δύο.",
            "Ово је кућа, а то је врата. Тамо је мост и река.",
        ] {
            assert_eq!(undone(text), text);
        }
    }
}
