//! What the log promises: nothing changed unseen, a torn end survived, no plain text.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::Path;

use super::*;
use crate::Kind;

fn verdict(request: u64) -> Record {
    Record {
        time_unix: 1_700_000_000 + request as i64,
        session: Label::new("s-1").unwrap(),
        policy: Label::new(&"ab".repeat(32)).unwrap(),
        model: Label::of_name("Demo model, 4 layers"),
        event: Event::Verdict {
            request,
            stage: Label::new("input").unwrap(),
            action: Label::new("block").unwrap(),
            category: Some(Label::new("S1").unwrap()),
            check: Some(Label::new("rules").unwrap()),
            score: Some(0.75),
            threshold: None,
            rule: None,
            span: None,
            shadow: None,
        },
    }
}

/// A log of `n` verdicts after its opening record; returns its bytes.
fn write(path: &Path, n: u64) -> Vec<u8> {
    let log = AuditLog::open(path, 1).unwrap();
    (0..n).for_each(|i| log.append(&verdict(i)).unwrap());
    log.sync().unwrap();
    fs::read(path).unwrap()
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&b| b == b'\n').collect()
}

#[test]
fn records_are_chained_numbered_and_readable_by_eye() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let bytes = write(&path, 3);
    let summary = verify(&path).unwrap();
    assert_eq!((summary.records, summary.torn, summary.bytes), (4, 0, bytes.len() as u64));
    let mut before = "0".repeat(64);
    for (number, line) in lines(&bytes).into_iter().enumerate() {
        let line = std::str::from_utf8(line).unwrap().trim_end();
        let (hash, json) = line.split_once(' ').unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["seq"], number);
        assert_eq!(value["prev"], before);
        before = hash.to_owned();
    }
    assert_eq!(summary.last, before);
    let second: serde_json::Value = serde_json::from_slice(&lines(&bytes)[1][65..]).unwrap();
    assert_eq!((second["event"].as_str(), second["category"].as_str()), (Some("verdict"), Some("S1")));
    assert_eq!(second["model"], "Demo_model__4_layers");
}

#[test]
fn a_log_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let first = write(&path, 2);
    let second = write(&path, 2);
    assert!(second.starts_with(&first));
    assert_eq!(verify(&path).unwrap().records, 6);
}

#[test]
fn every_cut_of_the_last_records_loses_only_what_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let whole = write(&path, 5);
    let mut ends = vec![0];
    lines(&whole).iter().for_each(|line| ends.push(ends.last().unwrap() + line.len()));
    for cut in ends[3]..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let kept = *ends.iter().filter(|&&end| end <= cut).max().unwrap();
        let torn = (cut - kept) as u64;
        assert_eq!(verify(&path).unwrap().torn, torn);
        let log = AuditLog::open(&path, 2).unwrap();
        assert_eq!(log.torn(), torn);
        drop(log);
        let after = fs::read(&path).unwrap();
        assert!(after.starts_with(&whole[..kept]));
        let added = String::from_utf8(after[kept..].to_vec()).unwrap();
        assert_eq!(added.contains("tail_lost"), torn > 0, "{added}");
        assert_eq!(added.contains(&format!("\"bytes\":{torn}}}")), torn > 0, "{added}");
        assert_eq!(verify(&path).unwrap().torn, 0);
    }
}

#[test]
fn zeros_where_a_record_was_to_be_are_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let whole = write(&path, 2);
    fs::write(&path, [&whole[..], &[0; 100_000]].concat()).unwrap();
    assert_eq!(AuditLog::open(&path, 2).unwrap().torn(), 100_000);
    assert_eq!(verify(&path).unwrap().torn, 0);
}

#[test]
fn a_changed_byte_is_named_by_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let whole = write(&path, 4);
    let mut start = 0;
    for (number, line) in lines(&whole)[..4].iter().enumerate() {
        for at in (start..start + line.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let bad = verify(&path).unwrap_err();
            assert_eq!(bad.kind(), Kind::Corrupt);
            let named = format!("audit record {number} at byte {start} is bad");
            assert!(bad.message().contains(&named), "byte {at}: {bad}");
            assert_eq!(AuditLog::open(&path, 2).unwrap_err().kind(), Kind::Corrupt);
            assert_eq!(fs::read(&path).unwrap(), bytes, "a bad log is left as it is");
        }
        start += line.len();
    }
}

#[test]
fn removed_swapped_and_repeated_records_break_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let whole = write(&path, 4);
    let records = lines(&whole);
    let orders: [(&[usize], usize); 4] =
        [(&[0, 2, 3, 4], 1), (&[0, 2, 1, 3, 4], 1), (&[0, 1, 1, 2], 2), (&[1, 2, 3], 0)];
    for (order, bad) in orders {
        let bytes: Vec<u8> = order.iter().flat_map(|&i| records[i].to_vec()).collect();
        fs::write(&path, bytes).unwrap();
        let found = verify(&path).unwrap_err();
        assert!(found.message().contains(&format!("audit record {bad} ")), "{order:?}: {found}");
    }
}

#[test]
fn two_writers_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = AuditLog::open(&path, 1).unwrap();
    assert_eq!(AuditLog::open(&path, 1).unwrap_err().kind(), Kind::Busy);
    drop(log);
    AuditLog::open(&path, 1).unwrap();
}

#[test]
fn many_threads_make_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = AuditLog::open(&path, 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|i| log.append(&verdict(i)).unwrap()));
        }
    });
    assert_eq!(verify(&path).unwrap(), log.summary());
    assert_eq!(log.summary().records, 201);
}

#[test]
fn a_sentence_is_no_label() {
    for text in ["how do I", "a\nb", "ü", "\"", &"x".repeat(81)] {
        let refused = Label::new(text).unwrap_err();
        assert!(!refused.message().contains(text), "the message repeats it");
    }
    assert_eq!(Label::of_name("Llama 4 Scout\n").as_str(), "Llama_4_Scout_");
    assert_eq!(Label::of_name(&"é".repeat(200)).as_str(), "_".repeat(80));
}

#[cfg(unix)]
#[test]
fn the_log_is_private_and_a_plain_file() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    write(&path, 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    for odd in [link.as_path(), Path::new("/dev/full"), dir.path()] {
        assert_eq!(AuditLog::open(odd, 1).unwrap_err().kind(), Kind::Io, "{odd:?}");
    }
    assert_eq!(verify(Path::new("/dev/zero")).unwrap_err().kind(), Kind::Io);
}
