//! Runs of letters and digits that spell bytes: hexadecimal, base64, base32 and binary digits.

use super::hidden::is_ignorable;

/// So many binary digits in a run are no number.
const BITS: usize = 32;

/// The text that a run of the letters of base64 spells, if any.
pub(super) fn run_text(run: &[u8]) -> Option<String> {
    bits(run).or_else(|| hex(run)).or_else(|| base64(run)).or_else(|| base32(run))
}

/// Eight binary digits for each byte.
fn bits(run: &[u8]) -> Option<String> {
    if run.len() < BITS || !run.len().is_multiple_of(8) || !run.iter().all(|b| matches!(b, b'0' | b'1')) {
        return None;
    }
    let byte = |digits: &[u8]| digits.iter().fold(0u8, |n, b| n << 1 | (b & 1));
    readable(&run.chunks_exact(8).map(byte).collect::<Vec<u8>>())
}

fn hex(run: &[u8]) -> Option<String> {
    if !run.len().is_multiple_of(2) || !run.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Vec<u8> = run
        .chunks_exact(2)
        .filter_map(|p| if let [a, b] = p { Some(digit(*a)? << 4 | digit(*b)?) } else { None })
        .collect();
    readable(&bytes)
}

/// Standard and URL alphabets, with or without padding.
fn base64(run: &[u8]) -> Option<String> {
    digits(run, 6, |b| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    })
}

/// In one letter case, with or without padding.
fn base32(run: &[u8]) -> Option<String> {
    let one_case = !(run.iter().any(u8::is_ascii_lowercase) && run.iter().any(u8::is_ascii_uppercase));
    let value = |b: u8| match b.to_ascii_uppercase() {
        b @ b'A'..=b'Z' => Some(b - b'A'),
        b @ b'2'..=b'7' => Some(b - b'2' + 26),
        _ => None,
    };
    one_case.then(|| digits(run, 5, value)).flatten()
}

/// Digits of so many bits each as bytes; padding at the end is left out.
fn digits(run: &[u8], width: u32, value: impl Fn(u8) -> Option<u8>) -> Option<String> {
    let end = run.iter().rposition(|&b| b != b'=').map_or(0, |i| i + 1);
    let mut bytes = Vec::with_capacity(end * 3 / 4);
    let (mut bits, mut n) = (0u32, 0u32);
    for &b in run.get(..end)? {
        bits = (bits << width | u32::from(value(b)?)) & 0xFF_FFFF;
        n += width;
        if n >= 8 {
            n -= 8;
            bytes.push(u8::try_from(bits >> n & 0xFF).ok()?);
        }
    }
    readable(&bytes)
}

/// The bytes as text, if seven in ten characters that are shown are letters, digits and spaces. What is no text becomes a
/// space: a stray byte must not protect the rest. Zero bytes between the letters are those of UTF-16.
pub(super) fn readable(bytes: &[u8]) -> Option<String> {
    let is_wide = |odd: usize| bytes.len() >= 8 && bytes.iter().enumerate().all(|(i, b)| (*b == 0) == (i % 2 == odd));
    if is_wide(0) || is_wide(1) {
        let narrow: Vec<u8> = bytes.iter().copied().filter(|b| *b != 0).collect();
        return readable(&narrow);
    }
    let (mut all, mut letters) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars().filter(|c| c.is_control() || !is_ignorable(*c)) {
            all += 1;
            letters += usize::from(c.is_alphanumeric() || c == ' ');
        }
        all += usize::from(!chunk.invalid().is_empty());
    }
    let blank = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c };
    (all >= 4 && letters * 10 >= all * 7).then(|| String::from_utf8_lossy(bytes).chars().map(blank).collect())
}
