//! The table of replacements that SentencePiece compiles: a tree and the texts its leaves point at, in base64.

use crate::error::{Error, Result};

/// The tables of the known models have a quarter of this.
const MOST_BYTES: usize = 4 << 20;
/// The longest replacement NFKC knows has 33 bytes, for one letter of three.
const MOST_TEXT: usize = 48;

/// Holds the lengths in a table against what is there: the tokenizer library asks for the memory a table claims.
pub(super) fn check(base64: &str) -> Result<()> {
    let table = decode(base64).ok_or_else(|| Error::corrupt("precompiled_charsmap is not base64"))?;
    if table.len() > MOST_BYTES {
        return Err(Error::limit(format!("precompiled_charsmap has {} bytes, at most {MOST_BYTES}", table.len())));
    }
    let short =
        || Error::corrupt(format!("precompiled_charsmap has {} bytes, which its tree does not fit", table.len()));
    let (size, rest) = table.split_first_chunk::<4>().ok_or_else(short)?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok().filter(|n| *n >= 4 && n % 4 == 0).ok_or_else(short)?;
    let texts = rest.get(size..).ok_or_else(short)?;
    match texts.split(|b| *b == 0).find(|text| text.len() > MOST_TEXT) {
        Some(text) => Err(Error::limit(format!("a replacement of {} bytes, at most {MOST_TEXT}", text.len()))),
        None => Ok(()),
    }
}

fn decode(base64: &str) -> Option<Vec<u8>> {
    let body = base64.trim_end_matches('=').as_bytes();
    if !base64.len().is_multiple_of(4) || base64.len() - body.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    for chunk in body.chunks(4) {
        let mut bits = 0u32;
        for byte in chunk {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let missing = 4 - chunk.len();
        let bytes = (bits << (6 * missing)).to_be_bytes();
        out.extend(bytes.get(1..4 - missing)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_the_standard_has_it() {
        // RFC 4648, section 10.
        for (text, plain) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
        for bad in ["Zg", "Zg===", "Z*==", "Zm9v="] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_table_that_claims_more_than_it_has_is_refused() {
        assert!(check("BAAAAAEAAABhAA==").is_ok()); // four bytes of tree, then "a\0"
        for bad in ["", "////fw==", "BAAAAA==", "BAAAAAEA", "AAAAAAEAAABhAA==", "BQAAAAEAAABhAA=="] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
