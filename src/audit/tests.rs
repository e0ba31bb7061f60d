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

fn open(path: &Path, time_unix: i64) -> crate::Result<AuditLog> {
    AuditLog::open(AuditOptions::new(path, time_unix))
}

/// A log of `n` verdicts after its opening record; returns its bytes.
fn write(path: &Path, n: u64) -> Vec<u8> {
    let log = open(path, 1).unwrap();
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
        let log = open(&path, 2).unwrap();
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
    assert_eq!(open(&path, 2).unwrap().torn(), 100_000);
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
            assert_eq!(open(&path, 2).unwrap_err().kind(), Kind::Corrupt);
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
    let log = open(&path, 1).unwrap();
    assert_eq!(open(&path, 1).unwrap_err().kind(), Kind::Busy);
    drop(log);
    open(&path, 1).unwrap();
}

#[test]
fn many_threads_make_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = open(&path, 1).unwrap();
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
        assert_eq!(open(odd, 1).unwrap_err().kind(), Kind::Io, "{odd:?}");
    }
    assert_eq!(verify(Path::new("/dev/zero")).unwrap_err().kind(), Kind::Io);
}

fn request() -> Event {
    Event::Request {
        request: 1,
        end: Label::of_name("stop"),
        error: None,
        prompt_tokens: 1,
        generated_tokens: 1,
        guard_ms: Some(1.5),
        total_ms: Some(2.0),
        text_hmac: None,
        text: None,
    }
}

#[test]
fn rotated_files_make_one_chain_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let options = || AuditOptions { rotate_bytes: 1500, ..AuditOptions::new(&path, 1) };
    for _ in 0..2 {
        let log = AuditLog::open(options()).unwrap();
        (0..10).for_each(|i| log.append(&verdict(i)).unwrap());
    }
    let aside = |n: u32| dir.path().join(format!("audit.log.{n:06}"));
    assert!(aside(1).exists() && aside(2).exists() && aside(3).exists());
    let mut verdicts = 0;
    let all = read_all(&path, &mut |r| {
        verdicts += u32::from(r["event"] == "verdict");
        Ok(())
    })
    .unwrap();
    assert_eq!((all.first, verdicts, all.torn), (0, 20, 0));
    // The last record of a file that was set aside is a checkpoint, and the next file says where it goes on.
    let end = verify(&aside(1)).unwrap();
    assert_eq!(verify(&aside(2)).unwrap().before, end.last);
    assert!(fs::read_to_string(aside(1)).unwrap().lines().last().unwrap().contains("checkpoint"));
    // Oldest files may be taken away, others may not.
    fs::rename(aside(1), dir.path().join("kept-elsewhere")).unwrap();
    assert!(read_all(&path, &mut |_| Ok(())).unwrap().first > 0);
    fs::remove_file(aside(3)).unwrap();
    let found = read_all(&path, &mut |_| Ok(())).unwrap_err();
    assert!(found.message().contains("does not continue"), "{found}");
}

/// A kill between setting the file aside and the first record of the next one, or inside that record.
#[test]
fn a_log_killed_while_it_rotates_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    for len in [None, Some(0), Some(1), Some(40), Some(120)] {
        let whole = write(&path, 3);
        let end = verify(&path).unwrap();
        fs::rename(&path, dir.path().join("audit.log.000001")).unwrap();
        if let Some(len) = len {
            fs::write(&path, &whole[..len]).unwrap();
        }
        let log = open(&path, 2).unwrap();
        assert_eq!(log.torn(), len.unwrap_or(0) as u64);
        log.append(&verdict(1)).unwrap();
        let all = read_all(&path, &mut |_| Ok(())).unwrap();
        assert!(all.records > end.records + 2, "{len:?}");
        drop(log);
        fs::remove_file(dir.path().join("audit.log.000001")).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn checkpoints_are_signed_by_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let key = std::sync::Arc::new(crate::signature::SecretKey::from_bytes([3; 32]));
    let public = key.public();
    let sign: SignCheckpoint = std::sync::Arc::new(move |digest| Ok(Some(key.sign(digest).to_vec())));
    let options = AuditOptions { checkpoint_every: 2, sign: Some(sign), ..AuditOptions::new(&path, 1) };
    let log = AuditLog::open(options).unwrap();
    (0..5).for_each(|i| log.append(&verdict(i)).unwrap());
    let mut seen = 0;
    let mut before = String::new();
    read(&path, &mut |r| {
        if r["event"] == "checkpoint" {
            assert_eq!(r["hash"], r["prev"]);
            let digest = checkpoint_digest(r["hash"].as_str().unwrap());
            let signature = crate::signature::unhex(r["signature"].as_str().unwrap()).unwrap();
            assert!(public.verifies(&digest, &signature));
            seen += 1;
        }
        before = r["prev"].as_str().unwrap().to_owned();
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 2);
    let fails: SignCheckpoint = std::sync::Arc::new(|_| Err(crate::Error::internal("no key today")));
    let other = dir.path().join("other.log");
    let log = AuditLog::open(AuditOptions { sign: Some(fails), ..AuditOptions::new(&other, 1) }).unwrap();
    assert!(log.checkpoint().unwrap_err().message().contains("no key today"));
    verify(&other).unwrap();
}

#[test]
fn texts_leave_a_trace_only_as_the_host_says() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, key: Option<[u8; 32]>, plain_text: bool| {
        AuditLog::open(AuditOptions { key, plain_text, ..AuditOptions::new(dir.path().join(name), 1) }).unwrap()
    };
    let (none, keyed, plain) = (make("a", None, false), make("b", Some([0x0b; 32]), false), make("c", None, true));
    assert!(none.text_hmac("Hi There").is_none() && none.plain_text("Hi There").is_none());
    assert!(keyed.plain_text("Hi There").is_none());
    let mac = keyed.text_hmac("Hi There").unwrap();
    // Python: hmac.new(bytes([11])*32, b"Hi There", "sha256").hexdigest()
    assert_eq!(mac.as_str(), "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7");
    let long = "ü\"\n".repeat(3000);
    let event = match request() {
        Event::Request { request, end, error, prompt_tokens, generated_tokens, guard_ms, total_ms, .. } => {
            Event::Request {
                request,
                end,
                error,
                prompt_tokens,
                generated_tokens,
                guard_ms,
                total_ms,
                text_hmac: None,
                text: plain.plain_text(&long),
            }
        }
        other => other,
    };
    plain.append(&Record { event, ..verdict(0) }).unwrap();
    verify(&dir.path().join("c")).unwrap();
}
