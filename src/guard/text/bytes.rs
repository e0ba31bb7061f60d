//! What is known of single bytes, and the runs of white space.

use std::ops::Range;

use super::sheet::offset;

pub(super) const LETTER: u8 = 1;
pub(super) const DIGIT: u8 = 2;
pub(super) const SPACE: u8 = 4;
/// A control character that is no white space: it is not shown.
pub(super) const HIDDEN: u8 = 8;
pub(super) const HIGH: u8 = 16;
/// May stand for a letter.
pub(super) const STAND_IN: u8 = 32;
/// May open an escape.
pub(super) const ESCAPE: u8 = 64;
/// Belongs to the alphabets of base64.
pub(super) const BASE64: u8 = 128;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let mut class = match b {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER | BASE64,
            b'0'..=b'9' => DIGIT | BASE64,
            b'\t'..=b'\r' | b' ' => SPACE,
            0..=31 | 127 => HIDDEN,
            128..=255 => HIGH,
            b'%' | b'\\' | b'&' => ESCAPE,
            b'+' | b'/' | b'-' | b'_' | b'=' => BASE64,
            _ => 0,
        };
        if matches!(b, b'0' | b'1' | b'3' | b'4' | b'5' | b'7'..=b'9' | b'!' | b'|' | b'@' | b'$' | b'+') {
            class |= STAND_IN;
        }
        table[i] = class;
        i += 1;
    }
    table
}

/// What a byte may be part of.
pub(super) fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

/// Whether a byte may stand for a letter.
pub(super) fn is_stand_in(b: u8) -> bool {
    class(b) & STAND_IN != 0
}

/// Whether a byte is white space.
pub(super) fn is_blank(b: u8) -> bool {
    class(b) & SPACE != 0
}

/// The runs of white space in a folded text that are not single spaces.
pub(super) fn spaces(text: &str) -> Vec<Range<u32>> {
    /// So many bytes are looked at in one go.
    const BLOCK: usize = 64;
    let bytes = text.as_bytes();
    let mut out: Vec<Range<u32>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let block = bytes.get(at..).unwrap_or_default();
        let block = block.get(..BLOCK).unwrap_or(block);
        let next = bytes.get(at + 1..).unwrap_or_default();
        // For most blocks this is no, and told without a branch for each byte. A last space has none behind it.
        let unusual = |some: bool, (a, b): (&u8, &u8)| some | (*a < b' ') | ((*a == b' ') & (*b <= b' '));
        let some = block.iter().zip(next).fold(block.last().is_some_and(|b| is_blank(*b)), unusual);
        let starts = |(i, b): (usize, &u8)| is_blank(*b) && (*b != b' ' || next.get(i).is_some_and(|b| is_blank(*b)));
        match if some { block.iter().enumerate().position(starts) } else { None } {
            Some(i) => {
                let start = at + i;
                at = start + bytes.iter().skip(start).take_while(|b| is_blank(**b)).count();
                out.push(offset(start)..offset(at));
            }
            None => at += block.len(),
        }
    }
    out
}
