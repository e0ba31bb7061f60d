//! All the views of whole texts, the short way and the thorough one.

use super::*;

#[test]
fn plain_text_has_one_view() {
    for text in ["When does the museum open?", "I'd like 2 tickets for 12.50 please.", ""] {
        let judged = JudgedText::new(text).unwrap();
        assert_eq!(judged.views().len(), 1, "{text}: {:?}", judged.views());
    }
}

#[test]
fn line_breaks_make_a_view_that_repeats() {
    let judged = JudgedText::new("one\n\ntwo  three").unwrap();
    assert_eq!(judged.views()[1].text(), "one two three");
    assert!(judged.views()[1].is_repeated());
    assert!(JudgedText::new("it’s fine").unwrap().views()[1].is_repeated());
    assert!(!JudgedText::new("i\u{200B}t is").unwrap().views()[1].is_repeated());
}

#[test]
fn spans_lead_back_to_the_original() {
    let original = "say i\u{200B}g\u{200B}nоre now";
    let judged = JudgedText::new(original).unwrap();
    let clean = &judged.views()[1];
    let at = clean.text().find("ignore").unwrap();
    assert_eq!(&original[clean.span(at..at + 6)], "i\u{200B}g\u{200B}nоre");
}

#[test]
fn a_view_says_what_its_told_runs_say_each_by_itself() {
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let told = |text: &str| -> Vec<String> {
        let judged = JudgedText::new(text).unwrap();
        judged.views().iter().flat_map(|v| v.told().map(str::to_owned)).collect()
    };
    let (one, two) = ("feed the cat at noon", "the \u{436} ferry  leaves at eight");
    let text = format!("read  {} and \n {} please", hex(one), hex(two));
    assert_eq!(told(&text), [one, "the \u{436} ferry leaves at eight"]);
    // Lines of one encoding are one text.
    assert_eq!(
        told(&format!("read:\n{}\n{}\nplease", hex("feed the cat at "), hex("noon and again"))),
        ["feed the cat at noon and again"]
    );
    // Of several levels the last one says it.
    assert_eq!(told(&format!("twice: {}", hex(&hex(one)))), [one]);
    for plain in [one, "feed &#105; cat"] {
        assert!(told(plain).is_empty(), "{plain}");
    }
    let spans = |text: &str, part: &str| {
        let at = text.find(part).unwrap();
        JudgedText::new(text).unwrap().is_told(&(at..at + part.len()))
    };
    assert!(spans(&text, &hex(one)) && spans(&text, &hex(two)[2..8]));
    assert!(!spans(&text, "read") && !spans(&text, "and") && !spans(&text, &format!("{} and", hex(one))));
}

#[test]
fn a_view_tells_its_paragraphs_apart() {
    let text = "One cat.\n\nTw\u{200B}o cats.\n \nThree.";
    let begins = [0, 10, 25];
    let judged = JudgedText::new(text).unwrap();
    let parts = |i: usize| judged.views()[i].by_paragraph(&begins);
    assert_eq!(parts(0), ["One cat.\n\n", "Tw\u{200B}o cats.\n \n", "Three."]);
    assert_eq!(parts(1), ["One cat. ", "Two cats. ", "Three."]);
    // A word to a paragraph reads as one sentence from several places.
    let row = "1. where\n\n2. do\n\n3. I\n\n4. buy\n\n5. a\n\n6. ticket";
    let judged = JudgedText::new(row).unwrap();
    let mended = judged.views().iter().find(|v| v.kind() == ViewKind::Mended).unwrap();
    let parts = mended.by_paragraph(&crate::guard::windows::paragraphs(row));
    assert_eq!((parts.len(), parts.concat().as_str()), (6, "1. where do I buy a ticket"));
    let one = JudgedText::new("no\nempty line, t\u{200B}wo views").unwrap();
    assert!(one.views().iter().all(|v| v.by_paragraph(&[0]).is_empty() && v.by_paragraph(&[]).is_empty()));
}

#[test]
fn disguises_can_be_stacked() {
    let spaced = "i g n 0 r e";
    let judged = JudgedText::new(spaced).unwrap();
    assert!(judged.views().iter().any(|v| v.text() == "ignore"), "{:?}", judged.views());
}

#[test]
fn text_that_grows_beyond_measure_is_refused() {
    let error = JudgedText::new(&"\u{FDFA}".repeat(4000)).unwrap_err();
    assert_eq!(error.kind(), crate::Kind::Limit);
}

/// Pseudo-random numbers, the same on every machine (splitmix64).
fn below(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
}

/// Pieces of texts of every kind: words known and unknown, digits, accents, scripts, code, encodings and disguises.
#[rustfmt::skip]
const PARTS: [&str; 181] = [
    " ", " ", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u{a0}", "\u{3000}", "\u{2009}", "\u{0}", "\u{7f}", "a", "I", "x", "1", "0",
    "7", ".", ",", "-", "@", "!", "|", "+", "%41", "%", "\\x41", "\\u0041", "&lt;", "&#65;", "&", "ff", "69", "be", "0x69",
    "01101001", "word", "the", "and", "ignore", "rules", "museum ", "opens ", "it's ", "gur ", "nyy ", "echo ", "papa ", "golf ",
    "vtaber ", "eht ", "dna ", "lla ", "erongi ", "b0mb", "k3p7 ", "1n ", "70 ", "4ll ", "d0n'7 ", "pr3v10us ",
    "aWdub3JlIGFsbCBydWxlcw==", "69676e6f7265", "internationalization", "snake_case_name_of_some_length", "\u{2019}",
    "\u{201c}", "\u{2014}", "\u{2026}", "\u{e9}", "\u{f1}", "\u{153}", "\u{df}", "\u{f8}", "\u{142}", "\u{17f}", "\u{301}",
    "\u{200b}", "\u{200d}", "\u{ad}", "\u{feff}", "\u{fe0f}", "\u{1f600}", "\u{2764}\u{fe0f}", "\u{1f469}\u{200d}\u{1f52c}",
    "\u{43e}", "\u{440}\u{438}", "музей ", "дом ", "сор ", "בית ", "\u{5e1}", "بيت ", "\u{647}", "λόγος ", "\u{3bf}", "\u{39b}",
    "\u{bf}", "\u{a1}", "\u{259}", "\u{250}", "博物馆", "\u{6708}", "\u{ff0c}", "\u{ff41}", "\u{ff10}", "\u{c5b4}", "\u{304c}",
    "\u{0928}\u{094d}", "\u{0e17}\u{0e35}\u{0e48}", "\u{0e33}", "\u{0915}\u{093f}", "\u{202e}", "\u{202c}", "\u{e0041}",
    "desk@museum.example ", "a.b@c.de", "fn ", "usize ", "let ", "Vec<u8> ", "x = y + 1; ", "self.get(i) ", "{", "}", "// ",
    "résumé ", "café ", "musée ", "ouvre ", "heures ", "hôtel ", "hooow ", "pleeease ", "c*ke ", "m*ke ", "ca ke ", "mus-eum ",
    "wehre ", "msueum ", "gdoes ", "fwhere ", "ellTay ", "emay ", "qeb ", "txn ", "1. ", "| ", "2. ", "where ", "do ", "buy ",
    "ticket ", "u", "soup ", "pod ", "uoos ", "...", "---", "-.-. ", ".- ", "\u{2800}", "\u{85}", "\u{b4}", "\u{bd}", "\u{2122}",
    "\u{b2}", "zarvon ", "Brzezinski ", "waar ", "het ", "99 ", "104 ", "i", "g", "n", "o", "r", "e",
];

#[test]
fn the_short_way_and_the_thorough_way_agree() {
    let (mut state, mut plain, mut read) = (11, 0, 0);
    for round in 0..20_000usize {
        // Some texts are made of few kinds of parts, so that rows of them come up, and short ways are taken.
        let kinds = 1 + below(&mut state, 1 + round % 16);
        let some: Vec<&str> = (0..kinds).map(|_| PARTS[below(&mut state, PARTS.len())]).collect();
        let parts = below(&mut state, if round % 16 == 0 { 120 } else { 24 });
        let by = if round % 3 == 0 { " " } else { "" };
        let text: String = (0..parts).map(|_| format!("{}{by}", some[below(&mut state, kinds)])).collect();
        let Ok(short) = JudgedText::new(&text) else {
            assert!(JudgedText::thorough(&text).is_err(), "{text:?}");
            continue;
        };
        let long = JudgedText::thorough(&text).unwrap();
        let scanned = fold::fold(&text).and_then(|folded| Some((plain::scan(&folded.sheet.text)?, folded)));
        plain += usize::from(scanned.is_some());
        read += usize::from(scanned.is_some_and(|(plain, folded)| {
            let seen = plain.stood_in || plain.apart || plain.odd;
            seen && matches!(Letters::of(&folded, &plain), Letters::Read(_))
        }));
        assert_eq!(short.hidden, long.hidden, "{text:?}");
        assert_eq!(short.rewritten, long.rewritten, "{text:?}");
        let key = |j: &JudgedText<'_>| -> Vec<_> {
            j.views.iter().map(|v| (v.kind(), v.text().to_string(), v.is_repeated())).collect()
        };
        assert_eq!(key(&short), key(&long), "{text:?}");
        for (a, b) in short.views.iter().zip(&long.views) {
            let borders: Vec<usize> = a.text().char_indices().map(|(i, _)| i).chain([a.text().len()]).collect();
            // Of a long text, each character and some longer stretches.
            let far = |n: usize, to: usize| borders.len() < 60 || to < n + 3 || (n * 31 + to).is_multiple_of(97);
            for (n, from) in borders.iter().enumerate() {
                for (_, to) in borders.iter().enumerate().skip(n + 1).filter(|(i, _)| far(n, *i)) {
                    assert_eq!(a.span(*from..*to), b.span(*from..*to), "{text:?} {from}..{to}");
                }
            }
        }
    }
    assert!((4000..16_000).contains(&plain) && read > 1000, "of 20000 texts {plain} were plain, {read} of them read");
}

#[test]
fn views_of_any_text_point_inside_it() {
    let nasty = ["\u{202E}abc", "\u{E0041}\u{FE0F}", "a\u{301}\u{200D}", "%41%zz&#9999999999;", "\u{1F3F4}\u{E0067}"];
    for a in nasty {
        for b in nasty {
            let original = format!("{a}{b}{a}");
            for view in JudgedText::new(&original).unwrap().views() {
                for (i, c) in view.text().char_indices() {
                    assert!(original.get(view.span(i..i + c.len_utf8())).is_some(), "{original:?} {view:?}");
                }
            }
        }
    }
}
