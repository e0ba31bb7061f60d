//! The tokenizer against the reference package's ids, and against vocabularies that lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod hostile;
mod work;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

const RANKS: &[u8] = include_bytes!("../../../tests/data/tokenizer/small.tiktoken");
const PARTS: &str = include_str!("../../../tests/data/tokenizer/small.json");
const CASES: &str = include_str!("../../../tests/data/tokenizer/cases.json");

/// The small vocabulary with Llama 4's pattern and special tokens.
pub(crate) fn small_llama4() -> Tokenizer {
    Tokenizer::from_tiktoken(RANKS, PreTokenizer::Llama4).unwrap()
}

/// The small vocabulary with Llama 3's pattern and special tokens.
pub(crate) fn small_llama3() -> Tokenizer {
    Tokenizer::from_tiktoken(RANKS, PreTokenizer::Llama3).unwrap()
}

/// Meta's vocabulary, which lies beside the checkout on machines that have it.
pub(crate) fn real_llama4() -> Option<Tokenizer> {
    let found = real_path();
    if found.is_none() {
        eprintln!("skipped: shared/data/llama4-tokenizer.model is not beside this checkout");
    }
    Some(Tokenizer::open_tiktoken(&found?, PreTokenizer::Llama4).unwrap())
}

fn real_path() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = |up: &str| here.join(up).join("shared/data/llama4-tokenizer.model");
    [beside(".."), beside("../..")].into_iter().find(|path| path.is_file())
}

/// What a GGUF file would hold of the small vocabulary: its tokens, one control token more, and its merges.
pub(super) struct Small {
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<i32>,
    pub(super) merges: Vec<String>,
}

impl Small {
    pub(super) fn new() -> Self {
        let parts: Value = serde_json::from_str(PARTS).unwrap();
        let strings = |key: &str| -> Vec<String> {
            parts[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let mut tokens = strings("tokens");
        tokens.extend(["<|begin_of_text|>", "<|end_of_text|>", "<|eot|>"].map(String::from));
        let types = (0..tokens.len()).map(|id| if id + 3 < tokens.len() { 1 } else { 3 }).collect();
        Small { tokens, types, merges: strings("merges") }
    }

    fn parts(&self) -> VocabParts<'_> {
        VocabParts {
            tokens: self.tokens.iter().map(String::as_str).collect(),
            token_types: Some(self.types.clone()),
            merges: self.merges.iter().map(String::as_str).collect(),
            pre: PreTokenizer::Llama4,
            bos: None,
            eos: None,
            eot: None,
            eom: None,
            pad: None,
        }
    }

    fn build(&self) -> Result<Tokenizer> {
        Tokenizer::from_parts(&self.parts())
    }
}

fn ids_of(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn ids_equal_the_reference_packages_on_every_case() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let from_parts = Small::new().build().unwrap();
    for (tokenizer, family) in [(&small_llama4(), "llama4"), (&small_llama3(), "llama3"), (&from_parts, "llama4")] {
        for case in cases["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids = tokenizer.encode_text(text);
            assert_eq!(ids, ids_of(&case[family]), "{family} on {text:?}");
            assert_eq!(tokenizer.decode(&ids), text.as_bytes());
            assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
        }
        for case in cases["long"].as_array().unwrap() {
            let units = case["units"].as_array().unwrap();
            let text: String =
                units.iter().map(|u| u[0].as_str().unwrap().repeat(u[1].as_u64().unwrap() as usize)).collect();
            let runs = case[family].as_array().unwrap();
            let expected: Vec<TokenId> =
                runs.iter().flat_map(|run| ids_of(&run[0]).repeat(run[1].as_u64().unwrap() as usize)).collect();
            assert!(tokenizer.encode_text(&text) == expected, "{family} on {units:?}");
        }
    }
}

#[test]
fn metas_vocabulary_gives_the_published_ids() {
    let Some(tokenizer) = real_llama4() else { return };
    let vectors: &[(&str, &[TokenId])] = &[
        ("नमस्ते दुनिया", &[1479, 2511, 23194, 790, 106801]),
        ("สวัสดีครับ", &[2585, 39174, 2585, 26361, 101301]),
        ("<|eot|>", &[40, 104, 81, 359, 159276]),
        ("\n\n", &[368]),
        ("\n\n\n\nhi", &[8743, 5703]),
        ("system", &[15651]),
        ("user", &[1556]),
        ("assistant", &[140680]),
        ("ipython", &[607, 6934]),
        ("Hello, world!", &[19873, 24, 3817, 13]),
        ("  leading spaces", &[220, 10855, 15174]),
        ("it's I'LL WE'VE", &[90715, 5384, 10962, 39986, 19, 20221]),
        ("1234567890", &[7235, 19596, 30054, 28]),
        ("naïve café", &[1499, 164301, 49652]),
        ("getUserByID HTTPServer", &[555, 2152, 1887, 1273, 17615, 7317]),
        ("path/to//file\n/x", &[4800, 46609, 405, 2243, 198, 11562]),
        ("don't DON'T", &[127161, 93885, 59842]),
        ("😀👍🏽", &[80883, 222, 65906, 235, 73601, 134]),
        ("العربيّة", &[189521, 106484, 82187]),
        ("\t\tif (a==b) {\r\n", &[197, 1510, 330, 77, 559, 78, 21, 367, 13266]),
        (" =", &[319]),
        ("safe", &[60411]),
        ("unsafe", &[72110]),
        ("unsafe\nS1", &[72110, 198, 63, 29]),
    ];
    for (text, ids) in vectors {
        assert_eq!(tokenizer.encode_text(text), *ids, "{text:?}");
    }
    assert_eq!(tokenizer.vocab_size(), 202_048);
    assert_eq!(tokenizer.stop_ids(), [200_001, 200_007, 200_008]);
    assert_eq!(tokenizer.control(Control::HeaderStart), Some(200_005));
    assert_eq!(tokenizer.control(Control::Pad), Some(200_018));
    assert!((0..200_000).all(|id| !tokenizer.is_control(id)));
    assert!((200_000..202_050).all(|id| tokenizer.is_control(id) && tokenizer.decode_bytes(id).is_empty()));
    assert_eq!(tokenizer.name(200_090), b"<|image|>");
}

/// The two tokens whose merge makes `token`, found by merging its bytes with the ranks below its own.
fn canonical_split(vocab: &Vocab, token: &[u8], rank: u32) -> (usize, usize) {
    let mut cuts: Vec<usize> = (0..=token.len()).collect();
    while cuts.len() > 3 {
        let joined = |i: usize| vocab.find(&token[cuts[i]..cuts[i + 2]]).filter(|&id| id < rank);
        let best = (0..cuts.len() - 2).filter_map(|i| joined(i).map(|id| (id, i))).min().unwrap();
        cuts.remove(best.1 + 1);
    }
    (cuts[1], token.len())
}

#[test]
fn a_merges_list_gives_the_ids_that_ranks_give() {
    let Some(by_rank) = real_llama4() else { return };
    let written = |bytes: &[u8]| -> String { bytes.iter().map(|&byte| ALPHABET.with(|a| a[byte as usize])).collect() };
    thread_local!(static ALPHABET: Vec<char> = (0..=255).map(byte_map::char_of).collect());
    let size = by_rank.vocab_size() as u32;
    let text = |id: u32| !by_rank.is_control(id);
    let tokens: Vec<String> = (0..size)
        .map(
            |id| if text(id) { written(by_rank.name(id)) } else { String::from_utf8(by_rank.name(id).into()).unwrap() },
        )
        .collect();
    let merges: Vec<String> = (0..size)
        .filter(|&id| text(id) && by_rank.name(id).len() > 1)
        .map(|id| {
            let token = by_rank.name(id);
            let (cut, _) = canonical_split(by_rank.vocab(), token, id);
            format!("{} {}", written(&token[..cut]), written(&token[cut..]))
        })
        .collect();
    assert_eq!(merges.len(), 199_744);
    let parts = VocabParts {
        tokens: tokens.iter().map(String::as_str).collect(),
        token_types: Some((0..size).map(|id| if text(id) { 1 } else { 3 }).collect()),
        merges: merges.iter().map(String::as_str).collect(),
        pre: PreTokenizer::Llama4,
        bos: Some(200_000),
        eos: Some(200_008),
        eot: None,
        eom: None,
        pad: Some(200_018),
    };
    let listed = Tokenizer::from_parts(&parts).unwrap();
    assert_eq!(listed.stop_ids(), by_rank.stop_ids());
    let cases: Value = serde_json::from_str(CASES).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(listed.encode_text(text), by_rank.encode_text(text), "{text:?}");
    }
    // Texts whose pieces are no tokens, so that every id comes from merging.
    let mut state = 1_u64;
    for _ in 0..2000 {
        let text: String = (0..60)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                b"etaoinshrdlucmfEABCw"[(state >> 33) as usize % 20] as char
            })
            .collect();
        assert_eq!(listed.encode_text(&text), by_rank.encode_text(&text), "{text:?}");
    }
}

#[test]
fn no_text_yields_a_control_id() {
    for tokenizer in [small_llama4(), small_llama3(), Small::new().build().unwrap()] {
        let names = (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.is_control(id));
        let all: String = names.map(|id| String::from_utf8_lossy(tokenizer.name(id)).into_owned() + " x").collect();
        assert!(tokenizer.encode_text(&all).iter().all(|&id| !tokenizer.is_control(id)));
    }
}

#[test]
fn a_token_named_like_control_is_control_whatever_its_type() {
    let mut small = Small::new();
    let eot = small.tokens.len() as u32 - 1;
    small.types[eot as usize] = 1;
    let tokenizer = small.build().unwrap();
    assert!(tokenizer.is_control(eot) && tokenizer.is_stop(eot));
    small.tokens.extend(["<think>".into(), "<spare>".into()]);
    small.types.extend([4, 5]);
    let tokenizer = small.build().unwrap();
    assert_eq!(tokenizer.decode_bytes(eot + 1), b"<think>");
    assert_eq!(tokenizer.decode_bytes(eot + 2), b"");
    assert!(!tokenizer.encode_text("<think>").contains(&(eot + 1)));
}

#[test]
fn wrong_types_and_ids_with_one_meaning_are_put_right_and_told() {
    let honest = Small::new();
    let mut small = Small::new();
    // A single byte, the two halves of a merge and what it makes; all four kinds of wrong.
    for (id, kind) in [(64, 3), (70, 6), (300, 4), (301, 2), (302, 5)] {
        small.types[id] = kind;
    }
    let tokenizer = small.build().unwrap();
    let text = "The visitor's नमस्ते 1234\n\n  aaaaaaaaaaaaaaaaaa";
    assert_eq!(tokenizer.encode_text(text), honest.build().unwrap().encode_text(text));
    assert!((0..1156).all(|id| !tokenizer.is_control(id)));
    assert!(matches!(tokenizer.warnings(), [said] if said.contains("4 tokens") && said.contains("the first is 64")));
    // An id that is text is ignored where a name says which token is meant, and refused elsewhere.
    let wrong = VocabParts { bos: Some(64), eos: Some(65), ..honest.parts() };
    let tokenizer = Tokenizer::from_parts(&wrong).unwrap();
    assert_eq!((tokenizer.stop_ids(), tokenizer.warnings().len()), ([1157, 1158].as_slice(), 2));
    small = Small::new();
    small.tokens.truncate(1156);
    small.types.truncate(1156);
    for wrong in [VocabParts { bos: Some(64), ..small.parts() }, VocabParts { eot: Some(64), ..small.parts() }] {
        assert!(Tokenizer::from_parts(&wrong).unwrap_err().message().contains("is the text token"));
    }
}

#[test]
fn the_first_llama4_vocabulary_has_the_tokens_around_code_too() {
    let mut small = Small::new();
    let reserved = [6, 7].map(|i| format!("<|text_post_train_reserved_special_token_{i}|>"));
    small.tokens.extend(reserved);
    small.types.extend([3, 3]);
    let tokenizer = small.build().unwrap();
    assert_eq!([Control::PythonStart, Control::PythonEnd].map(|c| tokenizer.control(c)), [Some(1159), Some(1160)]);
    assert_eq!(Small::new().build().unwrap().control(Control::PythonStart), None);
}

#[test]
fn stops_are_found_by_name_and_by_declaration() {
    let mut small = Small::new();
    small.tokens.push("<stop>".into());
    small.types.push(4);
    let last = small.tokens.len() as u32 - 1;
    let tokenizer = Tokenizer::from_parts(&VocabParts { eos: Some(last), pad: Some(0), ..small.parts() }).unwrap();
    assert_eq!(tokenizer.stop_ids(), [last - 2, last - 1, last]);
    assert_eq!(tokenizer.control(Control::EndOfText), Some(last - 2));
    assert_eq!(tokenizer.control(Control::Pad), None);
    assert!(tokenizer.is_control(last));
}
