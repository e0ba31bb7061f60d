//! `tokenizer.json` as a vocabulary, against the same vocabulary in the other two forms and against files that lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use palisade::tokenizer::{Control, JsonVocab, PreTokenizer, TokenId, Tokenizer};
use palisade::{Kind, Result};
use serde_json::Value;

const JSON: &str = include_str!("data/tokenizer/small-tokenizer.json");
const RANKS: &[u8] = include_bytes!("data/tokenizer/small.tiktoken");
const CASES: &str = include_str!("data/tokenizer/cases.json");

/// Tokens of the small vocabulary that are text.
const TEXT: usize = 1156;

const CONTRACTION: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LLAMA3: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The file after `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file: Value = serde_json::from_str(JSON).unwrap();
    change(&mut file);
    serde_json::to_vec(&file).unwrap()
}

fn with_regex(regex: &str) -> Vec<u8> {
    changed(|file| file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = regex.into())
}

fn ids_of(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Every committed text has its committed ids, and they become the text again.
fn gives_the_cases(tokenizer: &Tokenizer, family: &str) {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids = tokenizer.encode_text(text);
        assert_eq!(ids, ids_of(&case[family]), "{family} on {text:?}");
        assert_eq!(tokenizer.decode(&ids), text.as_bytes());
    }
}

#[test]
fn tokenizer_json_gives_the_ids_of_the_reference() {
    let tokenizer = Tokenizer::from_tokenizer_json(JSON.as_bytes()).unwrap();
    assert_eq!(tokenizer.pre_tokenizer(), PreTokenizer::Llama4);
    gives_the_cases(&tokenizer, "llama4");
    let by_rank = Tokenizer::from_tiktoken(RANKS, PreTokenizer::Llama4).unwrap();
    let in_file = [0, 1, 5, 6, 7, 8, 16, 17, 18].map(|place| TEXT as TokenId + place);
    for id in (0..TEXT as TokenId).chain(in_file) {
        assert_eq!(tokenizer.name(id), by_rank.name(id));
        assert_eq!(tokenizer.is_control(id), by_rank.is_control(id));
    }
    for control in [Control::BeginOfText, Control::HeaderStart, Control::Eom, Control::PythonEnd, Control::Pad] {
        assert_eq!(tokenizer.control(control), by_rank.control(control), "{control:?}");
    }
    assert_eq!(tokenizer.stop_ids(), by_rank.stop_ids());
    gives_the_cases(
        &Tokenizer::from_tokenizer_json(&with_regex(&format!("{CONTRACTION}|{LLAMA3}"))).unwrap(),
        "llama3",
    );
}

#[test]
fn the_vocabulary_is_what_a_gguf_file_would_hold() {
    let vocab = JsonVocab::parse(JSON.as_bytes()).unwrap();
    assert_eq!((vocab.tokens.len(), vocab.token_types.len(), vocab.merges.len()), (TEXT + 21, TEXT + 21, 900));
    assert_eq!(vocab.pre.name(), "llama4");
    assert!(vocab.token_types[..TEXT].iter().all(|&kind| kind == 1));
    let named = |id: usize| (vocab.tokens[TEXT + id].as_str(), vocab.token_types[TEXT + id]);
    assert_eq!(named(0), ("<|begin_of_text|>", 3));
    assert_eq!(named(2), ("[PAD1158]", 5));
    assert_eq!(named(8), ("<|eot|>", 3));
    assert_eq!(named(20), ("<tool>", 4));
    gives_the_cases(&Tokenizer::from_parts(&vocab.parts()).unwrap(), "llama4");
    // Older files write a merge as one string.
    let strings = changed(|file| {
        for merge in file["model"]["merges"].as_array_mut().unwrap() {
            *merge = format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()).into();
        }
    });
    assert_eq!(JsonVocab::parse(&strings).unwrap(), vocab);
    // Escaped text is the same text, and an added token may stand in the model's list too.
    let escaped = JSON.replace('Ġ', "\\u0120").replace("\"vocab\": {", "\"vocab\": {\"<|eot|>\": 1164, ");
    assert_eq!(JsonVocab::parse(escaped.as_bytes()).unwrap(), vocab);
}

#[test]
fn equivalent_spellings_of_the_pattern_are_known() {
    let llama_cpp = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
    let vocab = JsonVocab::parse(&with_regex(&format!("{llama_cpp}|{LLAMA3}"))).unwrap();
    assert_eq!((vocab.pre, vocab.pre.name()), (PreTokenizer::Llama3, "llama-bpe"));
    let (lead, first, last) = (r"[^\r\n\p{L}\p{N}]?", r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))");
    let tail = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let regex = format!("{lead}{first}*{last}+{llama_cpp}?|{lead}{first}+{last}*{llama_cpp}?|{tail}");
    gives_the_cases(&Tokenizer::from_tokenizer_json(&with_regex(&regex)).unwrap(), "llama4");
    let removed = changed(|file| {
        file["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed".into();
        file["pre_tokenizer"]["pretokenizers"][0]["invert"] = true.into();
    });
    assert_eq!(JsonVocab::parse(&removed).unwrap().pre, PreTokenizer::Llama4);
}

/// A change to an honest file, the kind of its refusal, and a word that it must contain.
type Lie = (fn(&mut Value), Kind, &'static str);

#[test]
fn files_that_are_something_else_are_refused_and_named() {
    let lies: [Lie; 26] = [
        (|f| f["model"]["type"] = "Unigram".into(), Kind::Unsupported, "model.type \"Unigram\""),
        (|f| f["model"]["dropout"] = 0.1.into(), Kind::Unsupported, "model.dropout"),
        (|f| f["model"]["end_of_word_suffix"] = "</w>".into(), Kind::Unsupported, "end_of_word_suffix \"</w>\""),
        (|f| f["model"]["continuing_subword_prefix"] = "##".into(), Kind::Unsupported, "continuing_subword_prefix"),
        (|f| f["model"]["byte_fallback"] = true.into(), Kind::Unsupported, "byte_fallback"),
        (|f| f["normalizer"] = serde_json::json!({"type": "NFC"}), Kind::Unsupported, "normalizer \"NFC\""),
        (|f| f["pre_tokenizer"] = Value::Null, Kind::Unsupported, "pre_tokenizer: null"),
        (|f| f["pre_tokenizer"] = serde_json::json!({"type": "ByteLevel"}), Kind::Unsupported, "ByteLevel"),
        (
            |f| f["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|x".into(),
            Kind::Unsupported,
            r"\\w+|x",
        ),
        (|f| f["pre_tokenizer"]["pretokenizers"][0]["invert"] = true.into(), Kind::Unsupported, "invert"),
        (|f| f["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = true.into(), Kind::Unsupported, "use_regex"),
        (|f| f["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true.into(), Kind::Unsupported, "prefix"),
        (|f| f["model"]["vocab"]["again"] = 5.into(), Kind::Corrupt, "id 5 is \"&\" and \"again\""),
        (|f| f["model"]["vocab"]["again"] = (-5).into(), Kind::Corrupt, "-5"),
        (|f| f["model"]["vocab"]["again"] = "5".into(), Kind::Corrupt, "invalid type"),
        (|f| f["model"]["vocab"]["again"] = (1_u64 << 32).into(), Kind::Corrupt, "4294967296"),
        (|f| f["model"]["vocab"]["again"] = (1_u64 << 20).into(), Kind::Limit, "token id 1048576"),
        (|f| f["added_tokens"][3]["id"] = 5.into(), Kind::Corrupt, "id 5 is \"&\" and \"<|header_end|>\""),
        (|f| f["added_tokens"][3]["id"] = 1156.into(), Kind::Corrupt, "id 1156"),
        (|f| f["added_tokens"][3]["content"] = "".into(), Kind::Corrupt, "0 bytes"),
        (|f| f["added_tokens"][3]["content"] = "<|eot|>".into(), Kind::Corrupt, "stands twice"),
        (|f| f["model"]["merges"][7] = serde_json::json!(["a"]), Kind::Corrupt, "expected a merge"),
        (|f| f["model"]["merges"][7] = serde_json::json!(["a", "b", "c"]), Kind::Corrupt, "expected a merge"),
        (|f| f["model"]["merges"][7] = "a b c".into(), Kind::Corrupt, "expected a merge"),
        (|f| f["model"]["merges"][7] = serde_json::json!(["zq", "qz"]), Kind::Corrupt, "merges[7]"),
        (|f| f["model"]["vocab"] = serde_json::json!([["a", 0.5]]), Kind::Corrupt, "expected a map"),
    ];
    for (lie, kind, said) in lies {
        let error = Tokenizer::from_tokenizer_json(&changed(lie)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(said), "{error} does not say {said}");
        assert!(error.message().starts_with("tokenizer.json"), "{error}");
    }
    let twice = JSON.replace("\"merges\": [", "\"merges\": [], \"merges\": [");
    let nested = format!("{{\"model\": {}", "[".repeat(1 << 20));
    let deep =
        JSON.replace("\"normalizer\": null", &format!("\"normalizer\": {}1{}", "[".repeat(500), "]".repeat(500)));
    for file in ["", "{}", "null", "[]", "\u{feff}{}", &JSON[..JSON.len() - 3], &twice, &nested, &deep] {
        let error = Tokenizer::from_tokenizer_json(file.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
    assert_eq!(JsonVocab::parse(&vec![b' '; (256 << 20) + 1]).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn damaged_files_are_refused_or_work_and_never_panic() {
    let mut random = Random(5);
    let (mut refused, mut worked) = (0, 0);
    for round in 0..600 {
        let mut file = JSON.as_bytes().to_vec();
        if round % 2 == 0 {
            for _ in 0..=random.below(3) {
                let at = random.below(file.len());
                file[at] = b"\"{}[],:0a \\\xff\xc4"[random.below(13)];
            }
            file.truncate(if random.below(10) == 0 { random.below(file.len()) } else { file.len() });
        } else {
            let (merge, token, kind) = (random.below(900), random.below(20), random.below(6));
            file = changed(|file| {
                let merges = file["model"]["merges"].as_array_mut().unwrap();
                match kind {
                    0 => merges.truncate(merge),
                    1 => merges.swap(merge, 3),
                    2 => merges.rotate_left(merge),
                    3 => drop(merges.remove(merge)),
                    4 => file["added_tokens"][token % 10]["id"] = (TEXT + token).into(),
                    _ => file["added_tokens"][token % 10]["special"] = false.into(),
                }
            });
        }
        let built: Result<Tokenizer> = Tokenizer::from_tokenizer_json(&file);
        let Ok(tokenizer) = built else {
            refused += 1;
            continue;
        };
        worked += 1;
        let text = "The visitor's नमस्ते 1234\n\n  aaaaaaaaaaaaaaaaaa";
        assert_eq!(tokenizer.decode(&tokenizer.encode_text(text)), text.as_bytes());
    }
    assert!(refused > 50 && worked > 50, "{refused} refused, {worked} worked");
}

#[test]
fn any_text_survives_encoding_and_decoding() {
    let tokenizers = [
        Tokenizer::from_tokenizer_json(JSON.as_bytes()).unwrap(),
        Tokenizer::from_tiktoken(RANKS, PreTokenizer::Llama4).unwrap(),
        Tokenizer::from_tiktoken(RANKS, PreTokenizer::Llama3).unwrap(),
    ];
    let mut random = Random(1);
    let special =
        ["<|eot|>", "\r\n", "\u{301}", "\u{94d}", "\u{e49}", "\u{200d}", "'s", " ", "\n", "  ", "\0", "\u{10ffff}"];
    for round in 0..4000 {
        // Of all planes, of one block, or of what the pattern has rules for; now and then longer than a cut.
        let block = random.below(0x1100) as u32 * 0x100;
        let length = if round % 500 == 0 { 30_000 } else { random.below(60) };
        let mut text = String::new();
        for _ in 0..length {
            match round % 4 {
                0 => text.extend(char::from_u32(random.below(0x11_0000) as u32)),
                1 => text.extend(char::from_u32(block + random.below(0x100) as u32)),
                2 => text.push_str(special[random.below(special.len())]),
                _ => text.extend(char::from_u32(random.below(0x3000) as u32)),
            }
        }
        for tokenizer in &tokenizers {
            let ids = tokenizer.encode_text(&text);
            assert!(tokenizer.decode(&ids) == text.as_bytes(), "{text:?}");
            assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
        }
    }
}

/// Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [fifo.as_path(), dir.path()] {
        let vocabulary = Tokenizer::open_tiktoken(path, PreTokenizer::Llama4).map(|_| ());
        let json = Tokenizer::open_tokenizer_json(path).map(|_| ());
        for e in [vocabulary, json].map(Result::unwrap_err) {
            assert!(e.kind() == Kind::Argument && e.message().contains("regular file"), "{e}");
        }
    }
}
