//! GPT-2's byte alphabet: every byte written as a printable character, as vocabularies in GGUF files are.

use crate::error::{Error, Result};

/// Appends the bytes that `text` writes.
///
/// # Errors
/// [`crate::Kind::Corrupt`] at a character outside the alphabet.
pub(super) fn decode(text: &str, out: &mut Vec<u8>) -> Result<()> {
    for c in text.chars() {
        out.push(byte_of(c).ok_or_else(|| {
            let code = c as u32;
            Error::corrupt(format!("has U+{code:04X}; expected only the 256 characters of GPT-2's byte alphabet"))
        })?);
    }
    Ok(())
}

/// The byte that `c` writes: the printable bytes of Latin-1 stand for themselves, the 68 others are counted up from
/// U+0100.
#[inline]
pub(super) fn byte_of(c: char) -> Option<u8> {
    match c {
        '!'..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{ff}' => u8::try_from(c as u32).ok(),
        '\u{100}'..='\u{120}' => u8::try_from(c as u32 - 0x100).ok(),
        '\u{121}'..='\u{142}' => u8::try_from(c as u32 - 0x121 + 0x7f).ok(),
        '\u{143}' => Some(0xad),
        _ => None,
    }
}

/// The character that writes `byte`.
#[cfg(test)]
pub(super) fn char_of(byte: u8) -> char {
    ('\0'..='\u{143}').find(|&c| byte_of(c) == Some(byte)).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_each_byte_once() {
        let mut bytes: Vec<u8> = (0..=0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        // From the published table: space, newline, the first and the last counted byte.
        assert_eq!([b' ', b'\n', 0, 0xad].map(char_of), ['Ġ', 'Ċ', 'Ā', 'Ń']);
    }
}
