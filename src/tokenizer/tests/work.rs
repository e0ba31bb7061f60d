//! The work that texts cost which were made to be costly.

use super::*;

/// A text of so many bytes, made of one unit.
fn repeated(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes / unit.len())
}

const PATHOLOGICAL: [&str; 26] = [
    "a", "A", " ", "\n", "\r\n", "\n \r", "1", "!", "é", "न", "中", "\u{301}", "\u{94d}", "\u{e49}", "'s", "'S", "'",
    "ab", "in", "aA", "Aa", "中A", "\u{301}A", " A", "\u{1c}", "ǅ",
];

#[test]
fn work_grows_with_the_text_and_not_faster() {
    use std::sync::atomic::Ordering::Relaxed;
    let small = [(small_llama4(), 200_000), (small_llama3(), 200_000)];
    for (tokenizer, bytes) in small.into_iter().chain(real_llama4().map(|real| (real, 1_000_000))) {
        // Counts, unlike times, do not depend on what else runs.
        let work = |text: &str| {
            let (looks, finds) = (&tokenizer.classes.looks, &tokenizer.vocab.finds);
            let before = (looks.load(Relaxed), finds.load(Relaxed));
            let ids = tokenizer.encode_text(text);
            assert!(tokenizer.decode(&ids) == text.as_bytes());
            (looks.load(Relaxed) - before.0, finds.load(Relaxed) - before.1)
        };
        for unit in PATHOLOGICAL {
            let text = repeated(unit, bytes);
            let (looks, finds) = work(&text);
            // A character is looked at by at most the three alternatives that can fail on it and the one that takes it,
            // and each merge weighs two pairs.
            let (most_looks, most_finds) = (6 * text.chars().count() + 10, 4 * text.len() + 10);
            assert!(looks <= most_looks && finds <= most_finds, "{unit:?}: {looks} looks, {finds} finds");
        }
    }
}

/// Time that this thread ran, where the system tells: it does not grow while others run. Elsewhere the time on the wall.
fn cpu_seconds() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|line| line.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64(), |time| time * 1e-9)
}

#[test]
fn ten_megabytes_of_one_class_take_ten_times_one_megabyte() {
    let tokenizer = real_llama4().unwrap_or_else(small_llama4);
    // The better of two, because other work on the machine disturbs caches too.
    let took = |text: &str| {
        let once = || {
            let start = cpu_seconds();
            let ids = tokenizer.encode_text(text);
            let took = cpu_seconds() - start;
            assert!(tokenizer.decode(&ids) == text.as_bytes());
            took
        };
        f64::min(once(), once())
    };
    for unit in ["a", " ", "\n", "\u{301}"] {
        let ratio = took(&repeated(unit, 10_000_000)) / took(&repeated(unit, 1_000_000)).max(1e-3);
        // A quadratic step would make it a hundred times.
        assert!(ratio < 30.0, "{unit:?}: ten times the text took {ratio} times as long");
    }
}

#[test]
fn an_uncut_piece_of_a_million_letters_merges_without_quadratic_work() {
    use std::sync::atomic::Ordering::Relaxed;
    let tokenizer = real_llama4().unwrap_or_else(small_llama4);
    // One pair over and over, one letter over and over, and letters that merge in no order.
    let mut state = 9_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b"etaoinshrdlucmfw"[(state >> 33) as usize % 16]
    };
    let random: Vec<u8> = (0..1_000_000).map(|_| letter()).collect();
    for piece in [b"in".repeat(500_000), b"a".repeat(1_000_000), random] {
        let before = tokenizer.vocab.finds.load(Relaxed);
        let mut ids = Vec::new();
        bpe::merge(tokenizer.vocab(), &piece, &mut bpe::Scratch::default(), &mut ids);
        assert!(tokenizer.decode(&ids) == piece);
        let finds = tokenizer.vocab.finds.load(Relaxed) - before;
        assert!(finds < 4_000_000, "{finds} finds");
    }
}
