//! What a misspelled word may have been before.

use super::words::{is_known, lexicon, word_key};

/// How a word was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Pieces joined.
    Joined,
    /// Letters that were held let go.
    Let,
    /// Letters in the place of stars.
    Filled,
    /// The letters from the end of a word of pig Latin moved back.
    Moved,
    /// Two letters swapped back.
    Swapped,
    /// The first letter left out.
    Uncovered,
}

impl Repair {
    /// What it costs beside the word that it makes.
    pub(super) fn cost(self) -> f32 {
        match self {
            Repair::Joined | Repair::Let | Repair::Filled => 1.0,
            Repair::Moved => 2.0,
            Repair::Swapped => 4.0,
            Repair::Uncovered => 5.0,
        }
    }
}

/// So many held letters are tried as one and as two.
const HELD: usize = 5;
/// So many stars are filled, one with any letter, more with vowels.
const STARS: usize = 4;
const VOWELS: &[u8] = b"aeiouy";
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
/// A shorter word is not changed by a letter.
const SWAPPED: usize = 4;
const UNCOVERED: usize = 5;

/// What stands for a letter that is left out.
pub(super) fn is_star(c: char) -> bool {
    matches!(c, '*' | '#' | '\u{2022}' | '\u{B7}' | '\u{25CF}' | '\u{2217}')
}

/// The known words that an unknown one may be, with the repair that makes it so. Stars are asterisks.
pub(super) fn repairs(word: &[u8]) -> Vec<(Repair, Vec<u8>)> {
    if word.contains(&b'*') {
        return filled(word).map(|w| (Repair::Filled, w)).into_iter().collect();
    }
    if !has_repair(word, word_key(word)) {
        return Vec::new();
    }
    let mut out: Vec<(Repair, Vec<u8>)> = Vec::new();
    out.extend(best(held(word)).map(|w| (Repair::Let, w)));
    out.extend(best(moved(word)).map(|w| (Repair::Moved, w)));
    if word.len() >= SWAPPED {
        out.extend(swapped(word).map(|w| (Repair::Swapped, w)));
    }
    if word.len() >= UNCOVERED {
        out.extend(best(word.get(1..).map(<[u8]>::to_vec)).map(|w| (Repair::Uncovered, w)));
    }
    out
}

/// Whether an unknown word of letters alone, with its [`super::words::word_key`], has repairs.
pub(super) fn has_repair(word: &[u8], key: u64) -> bool {
    let known = |words: Vec<Vec<u8>>| words.iter().any(|w| is_known(w));
    known(held(word))
        || known(moved(word))
        || word.len() >= SWAPPED && is_swapped(word, key)
        || word.len() >= UNCOVERED && is_uncovered(word, key)
}

/// Whether all but the first letter are a known word.
fn is_uncovered(word: &[u8], key: u64) -> bool {
    let may_be = || lexicon().may_know(key & ((1 << (5 * (word.len() - 1))) - 1));
    (key == 0 || may_be()) && word.get(1..).is_some_and(is_known)
}

/// Whether swapping two neighbours makes a known word.
fn is_swapped(word: &[u8], key: u64) -> bool {
    // Five bits of the key are a letter.
    let may_be = |i: usize| {
        let at = 5 * (word.len() - 1 - i);
        let both = (key >> at ^ key >> (at + 5)) & 31;
        lexicon().may_know(key ^ both << at ^ both << (at + 5))
    };
    if key == 0 {
        return swapped(word).is_some();
    }
    (1..word.len()).filter(|i| may_be(*i)).any(|i| {
        let mut made = word.to_vec();
        made.swap(i - 1, i);
        lexicon().knows(&made)
    })
}

/// What a word that stays unknown was, by the habit of its neighbours.
pub(super) fn by_habit(word: &[u8], is_habit: impl Fn(Repair) -> bool) -> Option<Vec<u8>> {
    let shortest = held(word).into_iter().min_by_key(Vec::len).filter(|w| w.len() < word.len());
    let alone = || word.first().filter(|a| word.len() > 1 && word.iter().all(|b| b == *a)).map(|a| vec![*a]);
    if let Some(word) = shortest.or_else(alone).filter(|_| is_habit(Repair::Let)) {
        return Some(word);
    }
    let stem = pig_stem(word).filter(|_| is_habit(Repair::Moved))?;
    Some(front(stem, onset(stem)))
}

/// The most frequent of the known words among these.
fn best(words: impl IntoIterator<Item = Vec<u8>>) -> Option<Vec<u8>> {
    let ranked = words.into_iter().filter(|w| is_known(w)).map(|w| (lexicon().rank(&w).unwrap_or(0), w));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, word)| word)
}

/// The word with each row of equal letters as one and as two.
fn held(word: &[u8]) -> Vec<Vec<u8>> {
    if word.windows(2).all(|pair| matches!(pair, [a, b] if a != b)) {
        return Vec::new();
    }
    let rows: Vec<&[u8]> = word.chunk_by(|a, b| a == b).collect();
    let held = rows.iter().filter(|row| row.len() > 1).count();
    // One letter alone is a name or a number (`www`, `III`).
    if held == 0 || rows.len() == 1 {
        return Vec::new();
    }
    let choices = if held <= HELD { 1u32 << held } else { 1 };
    let with = |bits: u32| {
        let mut nth = 0;
        let mut made = Vec::with_capacity(word.len());
        for row in &rows {
            let twice = row.len() > 1 && {
                nth += 1;
                bits >> (nth - 1) & 1 == 1
            };
            made.extend(row.iter().take(if twice { 2 } else { 1 }));
        }
        made
    };
    (0..choices).map(with).filter(|made| made != word).collect()
}

/// The most frequent known word with letters in the place of stars.
fn filled(word: &[u8]) -> Option<Vec<u8>> {
    let stars: Vec<usize> = word.iter().enumerate().filter(|(_, b)| **b == b'*').map(|(i, _)| i).collect();
    let letters = word.len() - stars.len();
    if stars.len() > STARS || letters == 0 || word.len() < 2 {
        return None;
    }
    let with = if stars.len() == 1 { LETTERS } else { VOWELS };
    let count = with.len().pow(u32::try_from(stars.len()).ok()?);
    let fill = |mut number: usize| {
        let mut made = word.to_vec();
        for at in &stars {
            if let (Some(b), Some(letter)) = (made.get_mut(*at), with.get(number % with.len())) {
                *b = *letter;
            }
            number /= with.len();
        }
        made
    };
    // What is left out is a vowel, for the most part.
    let vowels = |made: &Vec<u8>| stars.iter().all(|at| made.get(*at).is_some_and(|b| VOWELS.contains(b)));
    best((0..count).map(fill).filter(vowels)).or_else(|| best((0..count).map(fill)))
}

/// The most frequent known word that swapping two neighbours makes.
fn swapped(word: &[u8]) -> Option<Vec<u8>> {
    let mut made = word.to_vec();
    let mut best: Option<(u16, usize)> = None;
    for i in 1..word.len() {
        made.swap(i - 1, i);
        if let Some(rank) = lexicon().rank(&made).filter(|rank| best.is_none_or(|(least, _)| *rank < least)) {
            best = Some((rank, i));
        }
        made.swap(i - 1, i);
    }
    let (_, at) = best?;
    made.swap(at - 1, at);
    Some(made)
}

/// A word of pig Latin without its ending.
fn pig_stem(word: &[u8]) -> Option<&[u8]> {
    word.strip_suffix(b"ay").filter(|stem| stem.len() >= 2)
}

/// What a word of pig Latin may have been.
fn moved(word: &[u8]) -> Vec<Vec<u8>> {
    let Some(stem) = pig_stem(word) else { return Vec::new() };
    let whole = stem.strip_suffix(b"w").or(stem.strip_suffix(b"y")).or(stem.strip_suffix(b"h"));
    let back = (0..=3.min(stem.len() - 1)).map(|n| front(stem, n));
    back.chain(whole.map(<[u8]>::to_vec)).collect()
}

/// The last letters of a word in front of the others.
fn front(stem: &[u8], letters: usize) -> Vec<u8> {
    let (rest, moved) = stem.split_at(stem.len() - letters.min(stem.len()));
    [moved, rest].concat()
}

/// How many letters at the end of a stem begin a word together.
fn onset(stem: &[u8]) -> usize {
    const TWO: [&[u8; 2]; 24] = [
        b"bl", b"br", b"ch", b"cl", b"cr", b"dr", b"fl", b"fr", b"gl", b"gr", b"pl", b"pr", b"ph", b"qu", b"sc", b"sh",
        b"sk", b"sl", b"sm", b"sp", b"st", b"th", b"tr", b"wh",
    ];
    let two = |at: &[u8]| TWO.iter().any(|t| at.ends_with(*t));
    match stem {
        [.., b's', a, b] if two(&[*a, *b]) => 3,
        _ if two(stem) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(word: &str) -> Vec<(Repair, String)> {
        let text = |w: Vec<u8>| String::from_utf8(w).unwrap();
        repairs(word.as_bytes()).into_iter().map(|(r, w)| (r, text(w))).collect()
    }

    #[test]
    fn each_repair_finds_the_word() {
        for (written, repair, word) in [
            ("hoooow", Repair::Let, "how"),
            ("goooood", Repair::Let, "good"),
            ("bottttle", Repair::Let, "bottle"),
            ("m*s*um", Repair::Filled, "museum"),
            ("q*een", Repair::Filled, "queen"),
            ("useummay", Repair::Moved, "museum"),
            ("openway", Repair::Moved, "open"),
            ("msueum", Repair::Swapped, "museum"),
            ("gmuseum", Repair::Uncovered, "museum"),
        ] {
            let found = repaired(written);
            assert!(found.contains(&(repair, word.to_owned())), "{written}: {found:?}");
            assert!(written.contains('*') || has_repair(written.as_bytes(), word_key(written.as_bytes())), "{written}");
        }
        assert!(repaired("zzqqxx").is_empty() && repaired("krzysztof").is_empty());
    }

    #[test]
    fn words_with_repairs_are_told_without_making_them() {
        let text =
            "museum usize guidee eht ouvre qay krzysztof internationalisierung hooow ellway akebay peopel swords a ab";
        let (mut some, mut none) = (0, 0);
        for (word, letter) in text.split(' ').flat_map(|word| ('a'..='z').map(move |letter| (word, letter))) {
            for word in [word.to_owned(), format!("{letter}{word}"), word.replacen(['e', 'a'], &letter.to_string(), 1)]
            {
                let word = word.as_bytes();
                let slow = best(held(word)).or(best(moved(word))).is_some()
                    || word.len() >= SWAPPED && swapped(word).is_some()
                    || word.len() >= UNCOVERED && is_known(&word[1..]);
                assert_eq!(has_repair(word, word_key(word)), slow, "{word:?}");
                *(if slow { &mut some } else { &mut none }) += 1;
            }
        }
        assert!(some > 100 && none > 100, "{some} {none}");
    }

    #[test]
    fn unknown_words_follow_the_habit_of_their_neighbours() {
        let habit = |word: &str, kind: Repair| by_habit(word.as_bytes(), |k| k == kind).map(String::from_utf8);
        assert_eq!(habit("zaaarvooon", Repair::Let), Some(Ok("zarvon".to_owned())));
        assert_eq!(habit("arvonzay", Repair::Moved), Some(Ok("zarvon".to_owned())));
        assert_eq!(habit("arvothay", Repair::Moved), Some(Ok("tharvo".to_owned())));
        assert_eq!(habit("zarvon", Repair::Let), None);
    }
}
