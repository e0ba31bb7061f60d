//! Meta's `tokenizer.model`: one `base64 rank` per line, followed by ids for the special tokens, whose names are fixed.

use super::scan::PreTokenizer;
use super::vocab::{Arena, MAX_TOKENS, Standing, Vocab, quote};
use crate::error::{Error, Result};

/// Meta's files have 2.2 and 3.6 MB.
pub(super) const MAX_FILE_BYTES: usize = 64 << 20;

const FIELD: &str = "tokenizer.model";

/// Parses the file and appends the special tokens of `family`.
///
/// # Errors
/// [`crate::Kind::Corrupt`] naming the line; [`crate::Kind::Limit`] for a file or vocabulary past the limits.
pub(super) fn parse(file: &[u8], family: PreTokenizer) -> Result<Vocab> {
    if file.len() > MAX_FILE_BYTES {
        return Err(Error::limit(format!("{FIELD}: {} bytes, the limit is {MAX_FILE_BYTES}", file.len())));
    }
    let lines = || file.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let specials = special_names(family);
    let ranks = lines().count();
    let mut arena = Arena::with_room_for(ranks.saturating_add(specials.len()), FIELD)?;
    let mut by_rank: Vec<Option<&[u8]>> = vec![None; ranks];
    for (at, line) in lines() {
        let (base64, rank) = parse_line(line).ok_or_else(|| {
            let line = String::from_utf8_lossy(line);
            Error::corrupt(format!("{FIELD}: line {}: {}; expected base64, a space, a rank", at + 1, quote(&line)))
        })?;
        let slot = by_rank.get_mut(rank).filter(|slot| slot.is_none()).ok_or_else(|| {
            let what = if rank < ranks { "a second time" } else { "past the end" };
            Error::corrupt(format!("{FIELD}: line {}: rank {rank} {what}; expected 0 to {} once", at + 1, ranks - 1))
        })?;
        *slot = Some(base64);
    }
    // As many lines as ranks, none twice, none past the end: all are there.
    for base64 in by_rank.into_iter().flatten() {
        arena.push(Standing::Text, FIELD, |out| decode_base64(base64, out))?;
    }
    for name in specials {
        arena.push(Standing::Control, FIELD, |out| {
            out.extend_from_slice(name.as_bytes());
            Ok(())
        })?;
    }
    Vocab::by_rank(arena, FIELD)
}

fn parse_line(line: &[u8]) -> Option<(&[u8], usize)> {
    let line = line.trim_ascii();
    let space = line.iter().position(|&byte| byte == b' ')?;
    let (base64, rank) = line.split_at_checked(space)?;
    let digits = rank.get(1..).filter(|digits| !digits.is_empty())?;
    let rank = digits.iter().try_fold(0_usize, |rank, &digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        rank.checked_mul(10)?.checked_add(usize::from(value)).filter(|rank| *rank <= MAX_TOKENS * 16)
    })?;
    Some((base64, rank))
}

/// Strict base64: the standard alphabet, padded to four, no bits left over.
fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let bad = || Error::corrupt(format!("{} is not base64", quote(&String::from_utf8_lossy(text))));
    let unpadded = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if !text.len().is_multiple_of(4) {
        return Err(bad());
    }
    for group in unpadded.chunks(4) {
        let mut bits = 0_u32;
        for &c in group {
            bits = bits << 6 | u32::from(sextet(c).ok_or_else(bad)?);
        }
        let missing = 4 - group.len() as u32;
        let [_, bytes @ ..] = (bits << (6 * missing)).to_be_bytes();
        let (kept, dropped) = bytes.split_at_checked(3 - missing as usize).ok_or_else(bad)?;
        if missing > 2 || dropped.iter().any(|&byte| byte != 0) {
            return Err(bad());
        }
        out.extend_from_slice(kept);
    }
    Ok(())
}

#[inline]
fn sextet(c: u8) -> Option<u8> {
    match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Names of the special tokens in the order of their ids, which begin after the last rank. Llama 4 has 2,048 of them
/// (reference: `models/llama4/tokenizer.py`), Llama 3 has 256 (`models/llama3/tokenizer.py`).
pub(super) fn special_names(family: PreTokenizer) -> Vec<String> {
    let (mut names, total) = match family {
        PreTokenizer::Llama4 => (llama4_names(), 2048),
        PreTokenizer::Llama3 => (llama3_names(), 256),
    };
    let first_reserved = if family == PreTokenizer::Llama3 { 2 } else { 0 };
    let missing = total - names.len();
    names.extend((first_reserved..).take(missing).map(|i| format!("<|reserved_special_token_{i}|>")));
    names
}

fn llama4_names() -> Vec<String> {
    let mut names = Vec::new();
    let mut plain = |list: &[&str]| names.extend(list.iter().map(|name| format!("<|{name}|>")));
    plain(&["begin_of_text", "end_of_text", "fim_prefix", "fim_middle", "fim_suffix"]);
    plain(&["header_start", "header_end", "eom", "eot", "step"]);
    let reserved = |names: &mut Vec<String>, group: &str, range: std::ops::Range<u32>| {
        names.extend(range.map(|i| format!("<|{group}_reserved_special_token_{i}|>")));
    };
    reserved(&mut names, "text_post_train", 0..6);
    names.extend(["<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"].map(String::from));
    reserved(&mut names, "text_post_train", 8..69);
    names.extend(["<|image_start|>", "<|image_end|>"].map(String::from));
    reserved(&mut names, "vision", 0..2);
    names.extend(["<|tile_x_separator|>", "<|tile_y_separator|>"].map(String::from));
    reserved(&mut names, "vision", 2..6);
    names.push("<|image|>".into());
    reserved(&mut names, "vision", 6..7);
    names.push("<|patch|>".into());
    reserved(&mut names, "vision", 7..1048);
    reserved(&mut names, "reasoning", 0..8);
    names.extend(["<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"].map(String::from));
    names
}

fn llama3_names() -> Vec<String> {
    let names = [
        "begin_of_text",
        "end_of_text",
        "reserved_special_token_0",
        "reserved_special_token_1",
        "finetune_right_pad_id",
        "step_id",
        "start_header_id",
        "end_header_id",
        "eom_id",
        "eot_id",
        "python_tag",
        "image",
    ];
    names.map(|name| format!("<|{name}|>")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict() {
        for (text, bytes) in [("IQ==", "!"), ("aGVs", "hel"), ("aGVsbG8=", "hello"), ("", "")] {
            let mut out = Vec::new();
            decode_base64(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, bytes.as_bytes());
        }
        for text in ["IQ", "IQ=", "IR==", "I===", "=", "====", "aG!s", "aGVsbG9=", "IQ==IQ==", "aGVsbA\u{0}="] {
            let error = decode_base64(text.as_bytes(), &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Corrupt, "{text}");
        }
    }

    #[test]
    fn special_names_stand_at_the_published_ids() {
        let names = special_names(PreTokenizer::Llama4);
        assert_eq!(names.len(), 2048);
        let published = [
            (0, "<|begin_of_text|>"),
            (1, "<|end_of_text|>"),
            (5, "<|header_start|>"),
            (6, "<|header_end|>"),
            (7, "<|eom|>"),
            (8, "<|eot|>"),
            (9, "<|step|>"),
            (10, "<|text_post_train_reserved_special_token_0|>"),
            (16, "<|python_start|>"),
            (17, "<|python_end|>"),
            (18, "<|finetune_right_pad|>"),
            (79, "<|text_post_train_reserved_special_token_68|>"),
            (80, "<|image_start|>"),
            (84, "<|tile_x_separator|>"),
            (90, "<|image|>"),
            (92, "<|patch|>"),
            (1133, "<|vision_reserved_special_token_1047|>"),
            (1142, "<|reasoning_thinking_start|>"),
            (1144, "<|reserved_special_token_0|>"),
            (2047, "<|reserved_special_token_903|>"),
        ];
        for (id, name) in published {
            assert_eq!(names[id], name);
        }
        let llama3 = special_names(PreTokenizer::Llama3);
        assert_eq!((llama3.len(), llama3[9].as_str()), (256, "<|eot_id|>"));
        assert_eq!(llama3[255], "<|reserved_special_token_245|>");
    }
}
