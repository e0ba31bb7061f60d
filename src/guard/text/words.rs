//! Words that are known at a glance: frequent English ones, what rot13 and reversing make of them, and the words that letters
//! are spelled with on the radio.

/// The word is a common one, or becomes one by rot13, or by reversing.
pub(super) const COMMON_WORD: u64 = 1 << 60;
pub(super) const ROTATED: u64 = 1 << 61;
pub(super) const REVERSED: u64 = 1 << 62;
/// The word stands for its first letter on the radio.
pub(super) const SPOKEN: u64 = 1 << 63;
const KEY: u64 = COMMON_WORD - 1;
/// The longest word of the list; five bits for each of its letters fill a key.
pub(super) const LONGEST: usize = 12;
pub(super) const SHORTEST: usize = 3;
const SLOTS: usize = 2048;

/// All words and their turned forms, by their keys. Half of the slots and more stay free.
static READINGS: [u64; SLOTS] = table();

/// A word as a number, whatever its case; 0 for one that no common word is as short or long as.
pub(super) fn word_key(word: &[u8]) -> u64 {
    if word.len() < SHORTEST || word.len() > LONGEST {
        return 0;
    }
    word.iter().fold(0, |key, b| key << 5 | u64::from(b & 31))
}

/// Which of [`COMMON_WORD`], [`ROTATED`], [`REVERSED`] and [`SPOKEN`] hold for the word of this key.
pub(super) fn readings(key: u64) -> u64 {
    let mut slot = slot(key);
    while let Some(entry) = READINGS.get(slot).filter(|entry| **entry != 0) {
        if entry & KEY == key {
            return entry & !KEY;
        }
        slot = (slot + 1) % SLOTS;
    }
    0
}

const fn slot(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize
}

const fn table() -> [u64; SLOTS] {
    let mut table = [0; SLOTS];
    let mut i = 0;
    while i < COMMON.len() {
        let word = COMMON[i].as_bytes();
        let (mut plain, mut rotated, mut reversed) = (0, 0, 0);
        let mut k = 0;
        while k < word.len() {
            let letter = (word[k] & 31) as u64;
            plain = plain << 5 | letter;
            rotated = rotated << 5 | ((letter + 12) % 26 + 1);
            reversed = reversed << 5 | (word[word.len() - 1 - k] & 31) as u64;
            k += 1;
        }
        table = enter(table, plain, COMMON_WORD);
        table = enter(table, rotated, ROTATED);
        table = enter(table, reversed, REVERSED);
        i += 1;
    }
    i = 0;
    while i < RADIO.len() {
        let word = RADIO[i].as_bytes();
        let (mut key, mut k) = (0, 0);
        while k < word.len() {
            key = key << 5 | (word[k] & 31) as u64;
            k += 1;
        }
        table = enter(table, key, SPOKEN);
        i += 1;
    }
    table
}

const fn enter(mut table: [u64; SLOTS], key: u64, reading: u64) -> [u64; SLOTS] {
    let mut at = slot(key);
    while table[at] != 0 && table[at] & KEY != key {
        at = (at + 1) % SLOTS;
    }
    table[at] |= key | reading;
    table
}

/// Frequent English words of three letters and more, and those that requests and orders are made of; sorted.
#[rustfmt::skip]
const COMMON: [&str; 255] = [
    "about", "above", "access", "account", "action", "after", "again", "against", "all", "also", "always", "and",
    "another", "answer", "any", "anything", "are", "around", "ask", "attack", "away", "because", "been", "before",
    "behind", "being", "below", "best", "better", "between", "bomb", "both", "bring", "build", "but", "buy", "bypass",
    "call", "can", "change", "child", "children", "code", "come", "could", "create", "data", "day", "days", "detail",
    "details", "did", "different", "disable", "does", "doing", "done", "down", "during", "each", "easy", "enough",
    "even", "every", "everything", "explain", "explosive", "explosives", "fake", "few", "filter", "find", "first",
    "follow", "for", "forget", "found", "free", "from", "full", "get", "give", "given", "good", "group", "guide",
    "gun", "hack", "had", "harmful", "has", "have", "help", "her", "here", "hide", "him", "his", "home", "house",
    "how", "human", "ignore", "illegal", "information", "inside", "instruction", "instructions", "into", "its",
    "just", "keep", "kill", "know", "last", "law", "less", "let", "like", "line", "list", "little", "long", "look",
    "made", "make", "making", "man", "many", "may", "mean", "message", "money", "more", "most", "much", "must",
    "name", "need", "never", "new", "next", "not", "nothing", "now", "number", "off", "old", "one", "only", "open",
    "order", "other", "our", "out", "over", "own", "part", "password", "people", "person", "place", "please",
    "poison", "police", "possible", "previous", "print", "prompt", "provide", "put", "read", "real", "repeat",
    "restrictions", "reveal", "right", "rule", "rules", "run", "safety", "same", "say", "school", "secret", "see",
    "send", "she", "should", "show", "some", "someone", "something", "start", "steal", "step", "steps", "still",
    "stop", "such", "system", "take", "tell", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "thing", "things", "think", "this", "those", "time", "tutorial", "two", "under", "until", "use", "used",
    "user", "using", "very", "virus", "want", "was", "water", "way", "weapon", "weapons", "well", "were", "what",
    "when", "where", "which", "while", "who", "why", "will", "with", "without", "word", "words", "work", "world",
    "would", "write", "year", "you", "your",
];

/// The radio alphabet. `x-ray` is two words of which the second tells.
#[rustfmt::skip]
const RADIO: [&str; 30] = [
    "alfa", "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "ray", "romeo", "sierra", "tango", "uniform", "victor", "whiskey",
    "whisky", "xray", "yankee", "zulu",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rot13(c: char) -> char {
        char::from((c as u8 - b'a' + 13) % 26 + b'a')
    }

    #[test]
    fn common_words_are_known_as_written_rotated_and_reversed() {
        assert!(COMMON.is_sorted() && COMMON.iter().all(|w| (SHORTEST..=LONGEST).contains(&w.len())));
        let of = |text: &str| readings(word_key(text.as_bytes()));
        for word in COMMON {
            let rotated: String = word.chars().map(rot13).collect();
            let reversed: String = word.chars().rev().collect();
            assert!(of(word) & COMMON_WORD != 0 && of(&word.to_uppercase()) & COMMON_WORD != 0, "{word}");
            assert!(of(&rotated) & ROTATED != 0 && of(&reversed) & REVERSED != 0, "{word}");
            assert_eq!(of(&rotated) & COMMON_WORD != 0, COMMON.contains(&rotated.as_str()));
            assert_eq!(of(&reversed) & COMMON_WORD != 0, COMMON.contains(&reversed.as_str()));
        }
        assert_eq!((of("zq"), of("museum"), of("internationalization")), (0, 0, 0));
    }

    #[test]
    fn every_letter_has_its_radio_word() {
        let first: std::collections::BTreeSet<char> =
            RADIO.iter().filter(|w| **w != "ray").filter_map(|w| w.chars().next()).collect();
        assert_eq!(first.into_iter().collect::<String>(), "abcdefghijklmnopqrstuvwxyz");
        assert!(RADIO.iter().all(|w| readings(word_key(w.to_uppercase().as_bytes())) & SPOKEN != 0));
        assert_eq!(readings(word_key(b"museum")) & SPOKEN, 0);
    }
}
