//! What a policy may say and what it may not.

use super::*;
use crate::signature::{PublicKey, SecretKey};

const HEAD: &str = "version = 1\nname = \"t\"\nrefusal.text = \"No.\"\n\
    [default]\ninput = { action = \"block\" }\noutput = { action = \"block\", threshold = 0.4 }\n";

fn parse(rest: &str) -> Result<Policy> {
    Policy::parse(&format!("{HEAD}{rest}"))
}

#[test]
fn every_shipped_policy_loads() {
    for text in [
        include_str!("../../../guards/policies/default.toml"),
        include_str!("../../../guards/policies/kiosk.toml"),
        include_str!("../../../guards/policies/strict.toml"),
    ] {
        Policy::parse(text).unwrap();
    }
}

#[test]
fn an_unnamed_category_takes_the_default() {
    let p = parse("[category.S6]\ninput = { action = \"flag\", threshold = 0.9 }\n").unwrap();
    assert_eq!(p.setting(Category::S6, Side::Input).action, Action::Flag);
    assert_eq!(p.setting(Category::S6, Side::Output).action, Action::Block);
    assert_eq!(p.threshold(Category::S1, Side::Output, Some(0.7)), 0.4);
    assert_eq!(p.threshold(Category::S1, Side::Input, Some(0.7)), 0.7);
    assert_eq!(p.threshold(Category::S1, Side::Input, None), 0.5);
}

#[test]
fn floors_hold_against_policy_and_classifier() {
    for id in ["S3", "S4", "S9"] {
        for rule in ["{ action = \"flag\" }", "{ action = \"mask\" }", "{ action = \"block\", threshold = 0.95 }"] {
            let error = parse(&format!("[category.{id}]\noutput = {rule}\n")).unwrap_err();
            assert!(error.message().contains(&format!("category.{id}.output")), "{error}");
        }
    }
    let p = parse("").unwrap();
    assert_eq!(p.threshold(Category::S4, Side::Input, Some(1.0)), FLOOR_THRESHOLD);
    let weak = HEAD.replace("input = { action = \"block\" }", "input = { action = \"flag\" }");
    assert!(Policy::parse(&weak).unwrap_err().message().contains("category.S3.input"));
}

#[test]
fn what_is_wrong_is_said() {
    for (text, word) in [
        ("[category.S15]\ninput = { action = \"block\" }\n", "S15"),
        ("[category.S1]\ninput = { action = \"off\" }\n", "off"),
        ("[category.S1]\ninput = { action = \"block\", threshold = nan }\n", "category.S1.input.threshold"),
        ("[category.S1]\ninput = { action = \"block\", threshold = -0.1 }\n", "category.S1.input.threshold"),
        ("[category.S1]\ninput = { action = \"block\", threshold = 1.5 }\n", "category.S1.input.threshold"),
        ("[category.S1]\ninput = { action = \"flag\", flag_from = inf }\n", "flag_from"),
        ("[category.S1]\ninput = { threshold = 0.5 }\n", "action"),
        ("[stream]\nmode = \"none\"\n", "none"),
        ("[stream]\nstride = 1\n", "stream.stride"),
        ("[stream]\nhold = 1\n", "hold"),
        ("[limits]\njudge_ms = 0\n", "limits.judge_ms"),
        ("[guard]\nenabled = false\n", "guard"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.message().contains(word), "{text}: {error}");
    }
    let open = HEAD.replace("output = { action = \"block\", threshold = 0.4 }", "output = { action = \"allow\" }");
    assert!(Policy::parse(&open).unwrap_err().message().contains("default.output.action"));
    assert!(Policy::parse("").is_err());
    assert!(Policy::parse(&HEAD.replace("version = 1", "version = 2")).is_err());
}

#[test]
fn the_hash_is_of_the_bytes() {
    assert_ne!(parse("").unwrap().hash(), parse("# a comment\n").unwrap().hash());
}

#[test]
fn refusals_follow_language_and_category() {
    let text = HEAD.replace("refusal.text = \"No.\"\n", "").to_owned()
        + "[refusal]\ntext = \"No.\"\nlanguages.de = \"Nein.\"\nlanguages.pt-BR = \"Não.\"\n\
           [refusal.category.S11]\ntext = \"Call 000.\"\nlanguages.de = \"Rufen Sie 000 an.\"\n";
    let p = Policy::parse(&text).unwrap();
    for (locale, category, words) in [
        ("", None, "No."),
        ("de", None, "Nein."),
        ("de_AT", None, "Nein."),
        ("pt", None, "No."),
        ("PT-br", None, "Não."),
        ("", Some("S11"), "Call 000."),
        ("de-CH", Some("S11"), "Rufen Sie 000 an."),
        ("pt-BR", Some("S11"), "Não."),
        ("fr", Some("S1"), "No."),
    ] {
        assert_eq!(p.refusal_for(locale, category), words, "{locale} {category:?}");
    }
}

const CUSTOM: &str = "[[custom]]\nid = \"rivals\"\nname = \"Other museums\"\noutput = { action = \"block\" }\n\
    input = { action = \"allow\" }\nlist = [\"city gallery\"]\nregex = ['rival \\d{1,3}']\n";

#[test]
fn categories_of_the_house_are_held_against_their_examples() {
    let rules = |rest: &str| super::super::RuleSet::for_policy(&parse(&format!("{CUSTOM}{rest}"))?);
    rules("matches = [\"go to the City Gallery\", \"rival 12\"]\npasses = [\"the gallery in our city\"]\n").unwrap();
    for (rest, word) in [
        ("matches = [\"our own shop\"]\npasses = [\"x\"]\n", "our own shop"),
        ("matches = [\"city gallery\"]\npasses = [\"the city gallery\"]\n", "the city gallery"),
        ("matches = []\npasses = [\"x\"]\n", "custom.rivals.matches"),
        ("matches = [\"city gallery\"]\npasses = []\n", "custom.rivals.passes"),
    ] {
        let error = rules(rest).map(|_| ()).unwrap_err();
        assert!(error.message().contains(word), "{rest}: {error}");
    }
    let p = parse(&format!("{CUSTOM}matches = [\"city gallery\"]\npasses = [\"x\"]\n")).unwrap();
    assert_eq!(p.custom_id(0).as_deref(), Some("rivals"));
    assert_eq!(p.setting(Category::Custom(0), Side::Input).action, Action::Allow);
    assert_eq!(p.setting(Category::Custom(0), Side::Output).action, Action::Block);
    // A number that no policy gave out takes the strictest setting.
    assert_eq!(p.setting(Category::Custom(9), Side::Output).threshold, Some(0.0));
}

#[test]
fn names_of_the_house_do_not_hide_the_taxonomy() {
    for (id, word) in [("pii", "taxonomy"), ("S1", "a-z"), ("", "a-z"), ("two words", "a-z")] {
        let text = CUSTOM.replace("rivals", id) + "matches = [\"city gallery\"]\npasses = [\"x\"]\n";
        let error = parse(&text).unwrap_err();
        assert!(error.message().contains(word), "{id}: {error}");
    }
    let twice = format!("{CUSTOM}matches = [\"city gallery\"]\npasses = [\"x\"]\n");
    assert!(parse(&format!("{twice}{twice}")).unwrap_err().message().contains("twice"));
}

fn seed() -> SecretKey {
    SecretKey::from_bytes([7; 32])
}

#[test]
fn a_bundle_comes_back_and_any_changed_byte_is_seen() {
    let text = PolicyBundle::sign(HEAD, 7, &seed()).unwrap();
    let bundle = PolicyBundle::accept(&text, seed().public()).unwrap();
    assert_eq!((bundle.policy_text(), bundle.counter()), (HEAD, 7));
    assert_eq!(Policy::from_text(&text).unwrap().hash(), Policy::parse(HEAD).unwrap().hash());
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let same_key = changed.to_lowercase() == text.to_lowercase();
        assert!(same_key || PolicyBundle::accept(&changed, seed().public()).is_err(), "byte {at}");
        // Whoever takes any policy still does not take a damaged bundle for one.
        assert!(same_key || Policy::from_text(&changed).is_err(), "byte {at} as a plain policy");
    }
    for len in 0..text.len() {
        assert!(PolicyBundle::accept(&text[..len], seed().public()).is_err(), "{len} bytes");
    }
}

#[test]
fn another_key_and_an_unsigned_policy_are_refused() {
    let other = SecretKey::from_bytes([8; 32]);
    let text = PolicyBundle::sign(HEAD, 1, &other).unwrap();
    assert!(PolicyBundle::accept(&text, seed().public()).unwrap_err().message().contains("signed by key"));
    assert!(PolicyBundle::accept(HEAD, seed().public()).unwrap_err().message().contains("not signed"));
    assert!(PolicyBundle::sign("version = 1\n", 1, &other).is_err(), "what is no policy is not signed");
    assert!(PublicKey::from_hex(&"0".repeat(64)).is_err(), "a weak key");
    assert!(PublicKey::from_hex("12").is_err());
    assert!(!format!("{:?}", seed()).contains("07"));
}

#[test]
fn an_older_policy_cannot_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = |counter| {
        let text = PolicyBundle::sign(HEAD, counter, &seed()).unwrap();
        PolicyBundle::accept(&text, seed().public()).unwrap()
    };
    for counter in [3, 3, 5] {
        bundle(counter).check_counter(dir.path()).unwrap();
        bundle(counter).remember(dir.path()).unwrap();
    }
    for error in [bundle(4).check_counter(dir.path()), bundle(4).remember(dir.path())].map(Result::unwrap_err) {
        assert!(error.message().contains('5') && error.message().contains("older"), "{error}");
    }
    // A look at a newer one keeps nothing.
    bundle(9).check_counter(dir.path()).unwrap();
    bundle(5).check_counter(dir.path()).unwrap();
    // A counter that cannot be read is not taken for none.
    let kept = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.path());
    let kept: Vec<_> = kept.filter(|p| p.to_string_lossy().ends_with(".counter")).collect();
    std::fs::write(&kept[0], "five\n").unwrap();
    assert!(bundle(9).check_counter(dir.path()).is_err());
}
