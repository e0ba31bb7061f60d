//! What the licence gate promises, tried on real folders and a process that is killed while it writes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::Kind;
use crate::digest::sha256_hex;

const CHILD_FOLDER: &str = "PALISADE_TEST_RECEIPTS";

fn license(text: &str) -> ModelLicense {
    let facts =
        Facts { license: Some("mit"), license_text: Some(text), model_name: Some("Test model"), ..Facts::default() };
    ModelLicense::find(&facts).unwrap()
}

fn acceptance(license: &ModelLicense, party: &str) -> Acceptance {
    Acceptance { sha256: license.sha256.clone(), party: party.to_owned(), time_unix: 1_700_000_000 }
}

fn receipt_files(state: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(state.join("licenses")).unwrap();
    folder.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect()
}

#[test]
fn nothing_is_accepted_before_it_is_accepted() {
    let state = tempfile::tempdir().unwrap();
    for store in [ReceiptStore::open(None).unwrap(), ReceiptStore::open(Some(state.path())).unwrap()] {
        let mit = license("the text");
        assert_eq!(store.status(&mit).unwrap(), Status::Required { warning: None });
        let refused = store.require(&mit).unwrap_err();
        assert_eq!(refused.kind(), Kind::License);
        assert!(refused.message().contains(&mit.sha256) && refused.message().contains("\"mit\""));
        store.accept(&mit, &acceptance(&mit, "Example Inc.")).unwrap();
        assert_eq!(store.require(&mit).unwrap().party, "Example Inc.");
        assert!(!store.status(&license("the text.")).unwrap().is_accepted(), "one more byte is another text");
    }
}

#[test]
fn looking_writes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let state = parent.path().join("state");
    let store = ReceiptStore::open(Some(&state)).unwrap();
    assert!(!store.status(&license("x")).unwrap().is_accepted());
    assert!(!state.exists());
}

#[test]
fn a_receipt_outlives_the_store_and_is_private() {
    let state = tempfile::tempdir().unwrap();
    let mit = license("x");
    ReceiptStore::open(Some(state.path())).unwrap().accept(&mit, &acceptance(&mit, "Ann")).unwrap();
    let store = ReceiptStore::open(Some(state.path())).unwrap();
    let Status::Accepted(receipt) = store.status(&mit).unwrap() else { panic!("not accepted") };
    assert_eq!((receipt.party.as_str(), receipt.time_unix), ("Ann", 1_700_000_000));
    assert_eq!((receipt.license_id.as_str(), receipt.model.as_str()), ("mit", "Test model"));
    assert_eq!(receipt.sdk_version, env!("CARGO_PKG_VERSION"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&receipt_files(state.path())[0]), 0o600);
        assert_eq!(mode(&state.path().join("licenses")), 0o700);
    }
}

#[test]
fn an_acceptance_must_name_the_text_that_was_shown() {
    let store = ReceiptStore::open(None).unwrap();
    let (mit, other) = (license("one"), license("two"));
    for sha256 in [other.sha256.clone(), String::new(), "0".repeat(64), mit.sha256[..63].to_owned()] {
        let wrong = Acceptance { sha256, ..acceptance(&mit, "Ann") };
        assert_eq!(store.accept(&mit, &wrong).unwrap_err().kind(), Kind::License);
    }
    assert!(!store.status(&mit).unwrap().is_accepted());
    let upper = Acceptance { sha256: mit.sha256.to_uppercase(), ..acceptance(&mit, "Ann") };
    store.accept(&mit, &upper).unwrap();
}

#[test]
fn a_party_is_a_plain_name() {
    let store = ReceiptStore::open(None).unwrap();
    let mit = license("x");
    for party in ["", "  ", "a\nb", "a\0b", "evil\u{202e}cni", &"x".repeat(MAX_PARTY + 1)] {
        let refused = store.accept(&mit, &acceptance(&mit, party)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Argument, "{party:?}");
    }
    let longest = "\"\\é".repeat(MAX_PARTY / 4);
    store.accept(&mit, &acceptance(&mit, &longest)).unwrap();
}

#[test]
fn a_receipt_cut_or_changed_anywhere_is_no_receipt() {
    let state = tempfile::tempdir().unwrap();
    let store = ReceiptStore::open(Some(state.path())).unwrap();
    let mit = license("x");
    store.accept(&mit, &acceptance(&mit, "Ann \"Quote\" Löwe")).unwrap();
    let file = receipt_files(state.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let damaged = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        match store.status(&mit).unwrap() {
            Status::Required { warning: Some(w) } => assert!(w.contains("does not count"), "{w}"),
            other => panic!("{:?} for {:?}", other, String::from_utf8_lossy(bytes)),
        }
    };
    for cut in 0..whole.len() {
        damaged(&whole[..cut]);
        for change in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[cut] ^= change;
            damaged(&bytes);
        }
    }
    damaged(&[&whole[..], b" "].concat());
    damaged(&[&whole[..], &whole[..]].concat());
    damaged(&vec![b' '; 1 << 20]);
    fs::write(&file, &whole).unwrap();
    assert!(store.status(&mit).unwrap().is_accepted(), "the untouched bytes still count");
}

#[test]
fn a_receipt_of_another_licence_under_this_name_does_not_count() {
    let state = tempfile::tempdir().unwrap();
    let store = ReceiptStore::open(Some(state.path())).unwrap();
    let (one, two) = (license("one"), license("two"));
    store.accept(&one, &acceptance(&one, "Ann")).unwrap();
    let from = receipt_files(state.path()).remove(0);
    fs::copy(&from, from.with_file_name(format!("mit-{}.json", two.sha256))).unwrap();
    assert!(!store.status(&two).unwrap().is_accepted());
}

#[cfg(unix)]
#[test]
fn symlinks_and_open_folders_are_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let mit = license("x");
    let store = ReceiptStore::open(Some(&state)).unwrap();
    store.accept(&mit, &acceptance(&mit, "Ann")).unwrap();

    let link = root.path().join("link");
    symlink(&state, &link).unwrap();
    assert_eq!(ReceiptStore::open(Some(&link)).unwrap_err().kind(), Kind::Io);

    let file = receipt_files(&state).remove(0);
    let moved = root.path().join("moved.json");
    fs::rename(&file, &moved).unwrap();
    symlink(&moved, &file).unwrap();
    assert!(matches!(store.status(&mit).unwrap(), Status::Required { warning: Some(_) }));
    // Accepting again replaces the link itself; what it pointed to stays as it was.
    let before = fs::read(&moved).unwrap();
    store.accept(&mit, &acceptance(&mit, "Bob")).unwrap();
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert_eq!(fs::read(&moved).unwrap(), before);

    fs::set_permissions(state.join("licenses"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(store.status(&mit).unwrap_err().kind(), Kind::Io);
    assert_eq!(store.accept(&mit, &acceptance(&mit, "Eve")).unwrap_err().kind(), Kind::Io);
}

#[test]
fn a_file_in_place_of_the_folder_is_an_error_and_no_crash() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    fs::write(&state, b"x").unwrap();
    assert_eq!(ReceiptStore::open(Some(&state)).unwrap_err().kind(), Kind::Io);
}

#[test]
fn two_threads_accepting_at_once_leave_one_whole_receipt() {
    let state = tempfile::tempdir().unwrap();
    let mit = license("x");
    std::thread::scope(|scope| {
        for party in ["Ann", "Bob"] {
            let (mit, state) = (&mit, state.path());
            scope.spawn(move || {
                let store = ReceiptStore::open(Some(state)).unwrap();
                for _ in 0..20 {
                    store.accept(mit, &acceptance(mit, party)).unwrap();
                    assert!(store.status(mit).unwrap().is_accepted());
                }
            });
        }
    });
    assert_eq!(receipt_files(state.path()).len(), 1);
}

/// Not a test of its own: the process that `a_killed_writer_leaves_the_old_or_the_new_receipt` starts and kills.
#[test]
#[ignore = "the child of a_killed_writer_leaves_the_old_or_the_new_receipt"]
fn child_that_accepts_until_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let store = ReceiptStore::open(Some(Path::new(&folder))).unwrap();
    let mit = license("x");
    for round in 0_usize.. {
        store.accept(&mit, &acceptance(&mit, &"x".repeat(1 + round * 37 % MAX_PARTY))).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_the_old_or_the_new_receipt() {
    let state = tempfile::tempdir().unwrap();
    let mit = license("x");
    let store = ReceiptStore::open(Some(state.path())).unwrap();
    store.accept(&mit, &acceptance(&mit, "first")).unwrap();
    let mut rewritten = 0;
    for round in 0..30_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "license::tests::child_that_accepts_until_killed"])
            .env(CHILD_FOLDER, state.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 31));
        child.kill().unwrap();
        child.wait().unwrap();
        match store.status(&mit).unwrap() {
            Status::Accepted(receipt) => rewritten += usize::from(receipt.party != "first"),
            Status::Required { warning } => panic!("round {round}: {warning:?}"),
        }
    }
    assert!(rewritten > 0, "no child lived long enough to write");
    // The lock died with its holder, and what a writer left behind is in nobody's way.
    store.accept(&mit, &acceptance(&mit, "last")).unwrap();
    assert_eq!(store.require(&mit).unwrap().party, "last");
    let left = fs::read_dir(state.path().join("licenses")).unwrap().count();
    assert_eq!(left, 2, "the receipt and the lock file");
}

#[test]
fn the_identifier_is_the_one_the_file_means() {
    let id = |license, name| {
        let facts = Facts { license, license_name: name, license_text: Some("t"), ..Facts::default() };
        ModelLicense::find(&facts).unwrap().id
    };
    assert_eq!(id(Some("MIT"), None), "mit");
    assert_eq!(id(Some("other"), Some("llama4")), "llama4");
    assert_eq!(id(None, Some("llama4")), "llama4");
    assert_eq!(id(Some("apache-2.0"), Some("Apache License 2.0")), "apache-2.0");
    assert_eq!(id(Some("other"), None), "unknown");
    assert_eq!(id(Some(" \n"), None), "unknown");
    assert_eq!(id(Some(&"x".repeat(5000)), None).len(), 128);
}

#[test]
fn llama4_asks_for_its_display_line_and_notice() {
    for (license, name) in [("llama4", None), ("Llama-4-Community", None), ("other", Some("Llama 4 Community"))] {
        let facts = Facts { license: Some(license), license_name: name, ..Facts::default() };
        let found = ModelLicense::find(&facts).unwrap();
        assert_eq!(found.notices(), [LLAMA4_ATTRIBUTION, LLAMA4_NOTICE]);
        assert!(found.text.contains("Built with Llama") && found.text.contains(LLAMA4_NOTICE));
    }
    assert!(license("x").notices().is_empty());
}

#[test]
fn the_text_comes_from_the_file_then_from_beside_it_then_says_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scout.gguf");
    let mut facts = Facts { license: Some("llama4"), model_name: Some("Scout"), path: Some(&path), ..Facts::default() };

    let none = ModelLicense::find(&facts).unwrap();
    assert_eq!(none.source, TextSource::Statement);
    assert!(none.text.contains("\"Scout\"") && none.text.contains("\"llama4\""));
    assert_eq!(none.sha256, sha256_hex(none.text.as_bytes()));

    fs::create_dir(folder.path().join("LICENSE")).unwrap();
    fs::write(folder.path().join("LICENSE.txt"), "terms").unwrap();
    let beside = ModelLicense::find(&facts).unwrap();
    assert_eq!((beside.text.as_str(), beside.id.as_str()), ("terms", "llama4"));

    fs::write(folder.path().join("USE_POLICY.md"), "uses").unwrap();
    let both = ModelLicense::find(&facts).unwrap();
    assert_eq!(both.text, "terms\n\nuses");
    assert!(matches!(&both.source, TextSource::Beside(files) if files.len() == 2));

    fs::write(folder.path().join("scout.LICENSE"), "own terms").unwrap();
    assert!(ModelLicense::find(&facts).unwrap().text.starts_with("own terms"));

    facts.license_text = Some("inside");
    let inside = ModelLicense::find(&facts).unwrap();
    assert_eq!((inside.text.as_str(), inside.source), ("inside", TextSource::Model));
}

#[test]
fn a_text_that_cannot_be_shown_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let facts = Facts { path: Some(&path), ..Facts::default() };
    fs::write(folder.path().join("LICENSE"), b"caf\xe9").unwrap();
    assert_eq!(ModelLicense::find(&facts).unwrap_err().kind(), Kind::Utf8);
    fs::write(folder.path().join("LICENSE"), vec![b'x'; (1 << 20) + 1]).unwrap();
    assert_eq!(ModelLicense::find(&facts).unwrap_err().kind(), Kind::Limit);
    let text = "x".repeat((1 << 20) + 1);
    let inside = Facts { license_text: Some(&text), ..Facts::default() };
    assert_eq!(ModelLicense::find(&inside).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn the_licence_of_a_model_file_is_what_its_metadata_says() {
    let pairs = [("general.architecture", "llama4"), ("general.license", "other"), ("general.license.name", "llama4")];
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend((pairs.len() as u64).to_le_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    for (key, value) in pairs {
        text(&mut bytes, key);
        bytes.extend(8_u32.to_le_bytes());
        text(&mut bytes, value);
    }
    let found = ModelLicense::of(&crate::gguf::Gguf::from_bytes("tiny", bytes).unwrap()).unwrap();
    assert_eq!((found.id.as_str(), &found.source), ("llama4", &TextSource::Statement));
    assert_eq!(found.model, "unnamed model");
}
