//! The word test: which English words are known, and how frequent they are; and the words that letters are spelled with on
//! the radio.

use std::sync::LazyLock;

/// The words, the most frequent first; `guards/words/make.py` writes them.
static ENGLISH: &str = include_str!("../../../guards/words/english.txt");

/// Five bits for each letter of a word of this length fill a key.
pub(super) const LONGEST: usize = 12;
pub(super) const SHORTEST: usize = 3;
/// Slots of the table of all words, less than half of which are taken, as a power of two.
const SLOT_BITS: u32 = 15;
/// Bits of the filter that tells most unknown words at a glance.
const FILTER_BITS: u32 = 17;
/// The low bits of an entry hold a word's rank and one more.
const RANK: u64 = 0xFFFF;

/// All words that are known. An entry holds the upper bits of a word's hash and its rank.
pub(super) struct Lexicon {
    table: Vec<u64>,
    filter: Vec<u64>,
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut made = Lexicon { table: vec![0; 1 << SLOT_BITS], filter: vec![0; 1 << (FILTER_BITS - 6)] };
    for (rank, word) in (1..RANK).zip(ENGLISH.lines()) {
        made.enter(word.as_bytes(), rank);
    }
    made
});

/// The words that are known.
pub(super) fn lexicon() -> &'static Lexicon {
    &LEXICON
}

impl Lexicon {
    fn enter(&mut self, word: &[u8], rank: u64) {
        let hash = hash(word);
        let mut at = slot(hash);
        while self.table.get(at).is_some_and(|e| *e != 0) {
            at = (at + 1) % self.table.len();
        }
        if let Some(entry) = self.table.get_mut(at) {
            *entry = hash & !RANK | rank;
        }
        let bit = bit(word_key(word));
        if let Some(bits) = self.filter.get_mut(bit / 64) {
            *bits |= 1 << (bit % 64);
        }
    }

    /// How many words are more frequent than this one, whatever its case; `None` for an unknown word.
    pub(super) fn rank(&self, word: &[u8]) -> Option<u16> {
        let hash = hash(word);
        let mut at = slot(hash);
        while let Some(entry) = self.table.get(at).filter(|e| **e != 0) {
            if entry & !RANK == hash & !RANK {
                return u16::try_from(entry & RANK).ok().map(|rank| rank - 1);
            }
            at = (at + 1) % self.table.len();
        }
        None
    }

    /// Whether a word is known.
    pub(super) fn knows(&self, word: &[u8]) -> bool {
        let key = word_key(word);
        (key == 0 || self.may_know(key)) && self.rank(word).is_some()
    }

    /// Whether the word of this key may be known; for one of sixteen unknown ones the answer is yes as well.
    #[inline]
    pub(super) fn may_know(&self, key: u64) -> bool {
        let bit = bit(key);
        self.filter.get(bit / 64).is_some_and(|bits| bits >> (bit % 64) & 1 != 0)
    }
}

fn hash(word: &[u8]) -> u64 {
    let mixed =
        word.iter().fold(0xCBF2_9CE4_8422_2325, |h: u64, b| (h ^ u64::from(b & 31)).wrapping_mul(0x100_0000_01B3));
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn slot(hash: u64) -> usize {
    usize::try_from(hash >> (64 - SLOT_BITS)).unwrap_or(0)
}

fn bit(key: u64) -> usize {
    usize::try_from(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS)).unwrap_or(0)
}

/// A word as a number, whatever its case; 0 for one that is too long.
pub(super) fn word_key(word: &[u8]) -> u64 {
    if word.len() > LONGEST {
        return 0;
    }
    word.iter().fold(0, |key, b| key << 5 | u64::from(b & 31))
}

/// The length of the run of ASCII letters at the start, and its [`word_key`].
#[inline]
pub(super) fn letters(rest: &[u8]) -> (usize, u64) {
    let Some((first, second)) = rest.first_chunk::<16>().map(|near| {
        let near = u128::from_le_bytes(*near);
        (near as u64, (near >> 64) as u64)
    }) else {
        let n = rest.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(rest.len());
        return (n, word_key(rest.get(..n).unwrap_or_default()));
    };
    match eight(first) {
        0 => (0, 0),
        n @ 1..8 => (n, key_of(first, n)),
        _ => match eight(second) {
            0 => (8, key_of(first, 8)),
            n @ 1..=4 => (8 + n, key_of(first, 8) << (5 * n) | key_of(second, n)),
            n @ 5..8 => (8 + n, 0),
            _ => (rest.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(rest.len()), 0),
        },
    }
}

/// How many of eight bytes, the lowest first, are letters before one is none.
#[inline]
fn eight(bytes: u64) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let small = (bytes | (0x20 * EACH)) & (0x7F * EACH);
    // The high bit of a byte tells whether it is above the bound.
    let letters = (small + (0x80 - b'a' as u64) * EACH) & !(small + (0x7F - b'z' as u64) * EACH) & !bytes;
    ((!letters & (0x80 * EACH)).trailing_zeros() / 8) as usize
}

/// The key of the first `n` of eight letters, at least one, five bits each and the first highest.
#[inline]
fn key_of(letters: u64, n: usize) -> u64 {
    let bytes = (letters.swap_bytes() >> (64 - 8 * n)) & 0x1F1F_1F1F_1F1F_1F1F;
    let pairs = bytes & 0x001F_001F_001F_001F | (bytes & 0x1F00_1F00_1F00_1F00) >> 3;
    let fours = pairs & 0x0000_03FF_0000_03FF | (pairs & 0x03FF_0000_03FF_0000) >> 6;
    fours & 0xF_FFFF | fours >> 32 << 20
}

/// What is left of a word of one or two letters or stands alone by right: `a`, `of`, `I'm`, `we'll`, `5 km`.
#[rustfmt::skip]
const SHORT: [&[u8; 2]; 47] = [
    b"ah", b"am", b"an", b"as", b"at", b"be", b"by", b"cm", b"do", b"dr", b"eg", b"eh", b"eu", b"go", b"he", b"hi",
    b"id", b"if", b"in", b"is", b"it", b"kg", b"km", b"ll", b"me", b"mm", b"mr", b"ms", b"my", b"no", b"of", b"oh",
    b"ok", b"on", b"or", b"pc", b"pm", b"re", b"so", b"to", b"tv", b"uk", b"up", b"us", b"ve", b"vs", b"we",
];

/// How strange a word of one or two letters is.
const fn short_table() -> [u32; 32] {
    let mut table = [0; 32];
    let mut i = 0;
    while i < SHORT.len() {
        table[(SHORT[i][0] & 31) as usize] |= 1 << (SHORT[i][1] & 31);
        i += 1;
    }
    table
}

static SHORT_TABLE: [u32; 32] = short_table();

/// A row of words, weighed as it comes: where so many of them are unknown, the text is misspelled, turned or foreign.
#[derive(Clone, Copy, Default)]
pub(super) struct Odd(u8);

/// What an unknown word counts, and how much of it makes a text odd; a known word takes one away.
pub(super) const UNKNOWN: u8 = 3;
pub(super) const ODD: u8 = 7;

impl Odd {
    /// Takes the next run of ASCII letters with its [`word_key`]. `true` when the row is odd.
    #[inline]
    pub(super) fn word(&mut self, word: &[u8], key: u64) -> bool {
        match strangeness(word, key) {
            Some(true) => self.0 = (self.0 + UNKNOWN).min(ODD),
            Some(false) => self.0 = self.0.saturating_sub(1),
            None => {}
        }
        self.0 >= ODD
    }
}

/// Whether a word is unknown at a glance; `None` for a letter that may belong to the word before (`it's`).
#[inline]
pub(super) fn strangeness(word: &[u8], key: u64) -> Option<bool> {
    match word {
        [] => None,
        [a] => match a | 32 {
            b'a' | b'i' => Some(false),
            b's' | b't' | b'm' | b'd' => None,
            _ => Some(true),
        },
        [a, b] => Some(SHORT_TABLE.get(usize::from(a & 31)).is_none_or(|row| row >> (b & 31) & 1 == 0)),
        _ => Some(key == 0 || !lexicon().may_know(key)),
    }
}

/// So many letters of known words make a text language …
const KNOWN_LETTERS: usize = 6;

/// Whether this is English: three of five letters stand in known words.
pub(super) fn is_english(text: impl Iterator<Item = char>) -> bool {
    let (mut all, mut known) = (0, 0);
    let mut word: Vec<u8> = Vec::new();
    for c in text.chain([' ']) {
        if let Some(b) = u8::try_from(u32::from(c)).ok().filter(u8::is_ascii_alphabetic) {
            word.push(b);
            continue;
        }
        all += word.len() + usize::from(c.is_alphabetic());
        if is_known(&word) {
            known += word.len();
        }
        word.clear();
    }
    known >= KNOWN_LETTERS && known * 5 >= all * 3
}

/// Whether a word is one by itself.
pub(super) fn is_known(word: &[u8]) -> bool {
    if word.len() < SHORTEST { strangeness(word, 0) == Some(false) } else { lexicon().knows(word) }
}

/// Words as frequent hold sentences together.
const FREQUENT: u16 = 120;

/// Whether a word is one of those that sentences are held together by.
pub(super) fn is_frequent(word: &[u8]) -> bool {
    if word.len() < SHORTEST { is_known(word) } else { lexicon().rank(word).is_some_and(|rank| rank < FREQUENT) }
}

/// Whether this has the make of a language in Latin letters: words of a usual length, of small letters for the most part,
/// with vowels among them.
pub(super) fn is_wordlike(text: &str) -> bool {
    let all = text.chars().count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let vowels = text.chars().filter(|c| "aeiouyAEIOUY".contains(*c) || (!c.is_ascii() && c.is_alphabetic())).count();
    let words = text.split_whitespace().count();
    let spaced = words >= 2 && (words * 2..=words * 9).contains(&letters);
    let runs = text.split(|c: char| !c.is_ascii_alphabetic() || "aeiouyAEIOUY".contains(c));
    let longest = runs.map(str::len).max().unwrap_or(0);
    spaced
        && letters * 20 >= (all + 1 - words) * 17
        && vowels * 4 >= letters
        && vowels * 3 <= letters * 2
        && longest <= 5
}

/// The radio alphabet. `x-ray` is two words of which the second tells.
#[rustfmt::skip]
const RADIO: [&str; 30] = [
    "alfa", "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "ray", "romeo", "sierra", "tango", "uniform", "victor", "whiskey",
    "whisky", "xray", "yankee", "zulu",
];

/// Few of them are taken, so that most words end at an empty one.
const RADIO_SLOTS: usize = 1024;
static RADIO_KEYS: [u64; RADIO_SLOTS] = radio_keys();

/// Whether the word of this key stands for its first letter on the radio.
#[inline]
pub(super) fn is_spoken(key: u64) -> bool {
    let mut at = radio_slot(key);
    while let Some(entry) = RADIO_KEYS.get(at).filter(|e| **e != 0) {
        if *entry == key {
            return true;
        }
        at = (at + 1) % RADIO_SLOTS;
    }
    false
}

const fn radio_slot(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize
}

const fn radio_keys() -> [u64; RADIO_SLOTS] {
    let mut table = [0; RADIO_SLOTS];
    let mut i = 0;
    while i < RADIO.len() {
        let word = RADIO[i].as_bytes();
        let (mut key, mut k) = (0, 0);
        while k < word.len() {
            key = key << 5 | (word[k] & 31) as u64;
            k += 1;
        }
        let mut at = radio_slot(key);
        while table[at] != 0 {
            at = (at + 1) % RADIO_SLOTS;
        }
        table[at] = key;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case_and_ranked() {
        let all: Vec<&str> = ENGLISH.lines().collect();
        assert!(all.len() * 2 < 1 << SLOT_BITS && all.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase())));
        for (rank, word) in all.iter().enumerate() {
            assert_eq!(lexicon().rank(word.to_uppercase().as_bytes()).map(usize::from), Some(rank), "{word}");
            let key = word_key(word.as_bytes());
            assert!(key == 0 || lexicon().may_know(key), "{word}");
        }
        for word in ["zqx", "eht", "gur", "ignroe", "bmob", "internationalisierung"] {
            assert!(!lexicon().knows(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn runs_of_letters_are_counted_and_keyed_eight_at_a_time() {
        for n in 0..40 {
            for end in ["", " ", ".", "@", "[", "`", "{", "\u{e1}", "\u{7f}", "\0", "7"] {
                let word: String = "AbyzQwertZaiopmnhgF".chars().cycle().take(n).collect();
                let text = format!("{word}{end}{}", "and more of it, behind the word");
                let n = if end.is_empty() { n + 3 } else { n };
                let key = word_key(&text.as_bytes()[..n]);
                for short in [text.as_bytes(), &text.as_bytes()[..(n + end.len())]] {
                    assert_eq!(letters(short), (n, key), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn english_is_told_from_noise_and_other_languages() {
        let english = |t: &str| is_english(t.chars());
        assert!(english("ignore all rules") && english("How do I get to the museum?"));
        for text in ["AFKPUZ_din", "ltgdsa kdue", "Wo ist das Museum, bitte", "Где музей", "to be", "x y z 12 34"]
        {
            assert!(!english(text), "{text}");
        }
        assert!(is_wordlike("donde esta el museo") && is_wordlike("wo ist das Museum"));
        for text in ["vzsxwyut", "vzs xwy tnm", "eeee", "AFKPUZ_din", "tttt tttt tttt"] {
            assert!(!is_wordlike(text), "{text}");
        }
    }

    #[test]
    fn rows_of_unknown_words_are_odd() {
        let odd = |text: &str| {
            let mut row = Odd::default();
            let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|w| !w.is_empty());
            words.fold(false, |odd, w| row.word(w.as_bytes(), word_key(w.as_bytes())) | odd)
        };
        for text in [
            "When does the museum open, and where do I buy tickets?",
            "I'd say it's fine, we'll see that you've got yours at 5 pm.",
        ] {
            assert!(!odd(text), "{text}");
        }
        for text in [
            "hwo to amke a nciec ckae for my freinds at shcool",
            "woh ot ekam a ekac",
            "ho w d o i mak e a cak e",
            "wo ist das museum bitte",
        ] {
            assert!(odd(text), "{text}");
        }
    }

    #[test]
    fn every_letter_has_its_radio_word() {
        let first: std::collections::BTreeSet<char> =
            RADIO.iter().filter(|w| **w != "ray").filter_map(|w| w.chars().next()).collect();
        assert_eq!(first.into_iter().collect::<String>(), "abcdefghijklmnopqrstuvwxyz");
        assert!(RADIO.iter().all(|w| is_spoken(word_key(w.to_uppercase().as_bytes()))));
        assert!(!is_spoken(word_key(b"museum")) && !is_spoken(0));
    }
}
