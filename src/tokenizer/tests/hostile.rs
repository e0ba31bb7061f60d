//! Vocabularies that lie.

use super::*;
use crate::Kind;

/// A change to honest parts, and a word that its refusal must contain.
type Lie = (fn(&mut Small), &'static str);

#[test]
fn hostile_parts_are_refused_and_named() {
    let lies: [Lie; 15] = [
        (|s| s.tokens[300] = s.tokens[301].clone(), "tokens[301]"),
        (|s| s.tokens[300].clear(), "tokens[300]: 0 bytes"),
        (|s| s.tokens[300] = "a".repeat(5000), "tokens[300]: 5000 bytes"),
        (|s| s.tokens[300] = "a b".into(), "U+0020"),
        (|s| s.tokens[64] = "zqzq".into(), "expected all 256 single bytes"),
        (|s| s.types[10] = 7, "token type 7"),
        (|s| s.types[10] = -1, "token type -1"),
        (|s| s.types.truncate(1158), "tokenizer.ggml.token_type: 1158 entries; expected 1159"),
        (|s| s.merges[7] = "qqq zzz".into(), "merges[7]"),
        (|s| s.merges[7] = "q".into(), "merges[7]"),
        (|s| s.merges[7] = "q  q".into(), "merges[7]"),
        (|s| s.merges[7] = s.merges[3].clone(), "it is entry 3 too"),
        (|s| s.merges[7] = "<|eot |>".into(), "merges[7]"),
        (|s| *s.tokens.last_mut().unwrap() = "<|end_of_text|>".into(), "stands twice"),
        (|s| s.tokens = vec!["a".into(); (1 << 20) + 1], "token_type"),
    ];
    for (lie, said) in lies {
        let mut small = Small::new();
        lie(&mut small);
        let error = small.build().unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.message().contains(said), "{error} does not say {said}");
    }
    let small = Small::new();
    let parts = |eos, pad| VocabParts { eos, pad, ..small.parts() };
    let error = Tokenizer::from_parts(&parts(Some(1159), None)).unwrap_err();
    assert!(error.message().contains("eos_token_id: 1159"), "{error}");
    assert!(Tokenizer::from_parts(&parts(None, Some(u32::MAX))).is_err());
    let many = vec!["a"; (1 << 20) + 1];
    let error = Tokenizer::from_parts(&VocabParts { tokens: many, token_types: None, ..small.parts() }).unwrap_err();
    assert_eq!(error.kind(), Kind::Limit);
}

#[test]
fn hostile_tiktoken_files_are_refused_and_named() {
    let honest = String::from_utf8(RANKS.to_vec()).unwrap();
    let lines: Vec<&str> = honest.lines().collect();
    let with = |at: usize, line: &str| {
        let mut changed = lines.clone();
        changed[at] = line;
        changed.join("\n")
    };
    let cases = [
        (with(5, "IQ= 5"), "not base64"),
        (with(5, "IQ=="), "line 6"),
        (with(5, "IQ== -5"), "line 6"),
        (with(5, "IQ== 18446744073709551616"), "line 6"),
        (with(5, "IQ== 1156"), "rank 1156 past the end"),
        (with(5, "enp6 4"), "rank 4 a second time"),
        (with(5, " 5"), "line 6"),
        (with(5, "enp6eg== 5"), "expected all 256 single bytes"),
        (with(300, &format!("IQ== {}", 300)), "expected each token once"),
        (String::new(), "expected all 256 single bytes"),
        (lines[1..].join("\n"), "past the end"),
    ];
    for (file, said) in cases {
        let error = Tokenizer::from_tiktoken(file.as_bytes(), PreTokenizer::Llama4).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.message().contains(said), "{error} does not say {said}");
    }
    // Order and blank lines do not matter; ranks do.
    let mut backwards = lines.clone();
    backwards.reverse();
    let file = backwards.join("\r\n\n");
    assert_eq!(
        Tokenizer::from_tiktoken(file.as_bytes(), PreTokenizer::Llama4).unwrap().encode_text("the visitor"),
        small_llama4().encode_text("the visitor")
    );
}

#[test]
fn damaged_vocabularies_are_refused_or_work_and_never_panic() {
    let mut state = 3_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut refused, mut worked) = (0, 0);
    for round in 0..400 {
        let built = if round % 2 == 0 {
            let mut file = RANKS.to_vec();
            for _ in 0..=random(3) {
                let at = random(file.len());
                file[at] = b"A/=0 9\n\xff"[random(8)];
            }
            Tokenizer::from_tiktoken(&file, PreTokenizer::Llama3)
        } else {
            let mut small = Small::new();
            let (token, merge) = (random(small.tokens.len()), random(small.merges.len()));
            match random(5) {
                0 => small.tokens.swap(token, 300),
                1 => small.merges.swap(merge, 3),
                2 => small.types[token] = random(6) as i32,
                3 => small.merges.truncate(merge),
                _ => small.tokens[token].push('Ġ'),
            }
            small.build()
        };
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
