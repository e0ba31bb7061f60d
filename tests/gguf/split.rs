//! Split models: all parts or a named error.

use std::path::{Path, PathBuf};

use palisade::error::{Error, Kind};
use palisade::gguf::Gguf;

use crate::raw::{Raw, pair};
use crate::read::{fixture, ramp, values};

fn name(no: u32, count: u32) -> String {
    format!("m-{no:05}-of-{count:05}.gguf")
}

/// Writes one part; its three tensors get names that begin with `prefix`.
fn write(dir: &Path, file: &str, no: u16, count: u16, tensors: u32, prefix: &str) -> PathBuf {
    let raw = Raw::valid()
        .with(pair(b"split.no", 2, &no.to_le_bytes()))
        .with(pair(b"split.count", 2, &count.to_le_bytes()))
        .with(pair(b"split.tensors.count", 5, &tensors.to_le_bytes()))
        .but(|r| r.tensors.iter_mut().for_each(|t| t.name = [prefix.as_bytes(), &t.name].concat()));
    let path = dir.join(file);
    std::fs::write(&path, raw.bytes()).unwrap();
    path
}

fn refused(path: &Path, kind: Kind, says: &[&str]) -> Error {
    let e = Gguf::open(path).unwrap_err();
    assert_eq!(e.kind(), kind, "{e}");
    for part in says {
        assert!(e.message().contains(part), "{e} does not say {part:?}");
    }
    e
}

#[test]
fn all_parts_of_a_split_model_open_as_one() {
    let gguf = Gguf::open(fixture("pypi-split-00001-of-00003.gguf")).unwrap();
    assert_eq!(gguf.parts().len(), 3);
    assert_eq!(gguf.metadata().get_u32("llama4.block_count").unwrap(), Some(1));
    let parts: Vec<_> = gguf.tensors().iter().map(|t| (t.name.as_str(), t.part)).collect();
    let expected = [("t0.weight", 0), ("t1.weight", 0), ("t2.weight", 1), ("t3.weight", 1), ("t4.weight", 2)];
    assert_eq!(parts, expected);
    for (i, (name, _)) in expected.iter().enumerate() {
        let got = values(&gguf, name);
        assert_eq!(got, (0..32 * (i + 1)).map(ramp).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_later_part_names_the_first() {
    for no in [2, 3] {
        let path = fixture(&format!("pypi-split-{no:05}-of-00003.gguf"));
        let says = format!("is part {no} of 3");
        refused(&path, Kind::Argument, &[&says, "pypi-split-00001-of-00003.gguf"]);
    }
}

#[test]
fn a_missing_part_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(dir.path(), &name(1, 3), 0, 3, 9, "a");
    write(dir.path(), &name(3, 3), 2, 3, 9, "c");
    refused(&first, Kind::Io, &["part 2 of 3", "m-00002-of-00003.gguf"]);
    write(dir.path(), &name(2, 3), 1, 3, 9, "b");
    assert_eq!(Gguf::open(&first).unwrap().tensors().len(), 9);
}

#[test]
fn parts_that_disagree_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let first = write(dir, &name(1, 2), 0, 2, 6, "a");
    // The first part's bytes under the second part's name.
    std::fs::copy(&first, dir.join(name(2, 2))).unwrap();
    refused(&first, Kind::Corrupt, &["m-00002-of-00002.gguf", "say part 1 of 2, expected part 2 of 2"]);
    write(dir, &name(2, 2), 1, 3, 6, "b");
    refused(&first, Kind::Corrupt, &["say part 2 of 3, expected part 2 of 2"]);
    std::fs::write(dir.join(name(2, 2)), Raw::valid().bytes()).unwrap();
    refused(&first, Kind::Corrupt, &["m-00002-of-00002.gguf", "split.count is missing"]);
    write(dir, &name(2, 2), 1, 2, 6, "a");
    refused(&first, Kind::Corrupt, &["tensor aa.weight is listed twice"]);
    write(dir, &name(2, 2), 1, 2, 6, "b");
    assert!(Gguf::open(&first).is_ok());
    let first = write(dir, &name(1, 2), 0, 2, 7, "a");
    refused(&first, Kind::Corrupt, &["split.tensors.count: 7", "6 tensors"]);
}

#[test]
fn numbers_and_names_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    refused(&write(dir, "m.gguf", 0, 2, 6, "a"), Kind::Argument, &["m.gguf", "model-00001-of-00002.gguf"]);
    refused(&write(dir, &name(1, 4), 0, 2, 6, "a"), Kind::Corrupt, &["named part 1 of 4", "part 1 of 2"]);
    refused(&write(dir, &name(2, 2), 0, 2, 6, "a"), Kind::Corrupt, &["named part 2 of 2"]);
    refused(&write(dir, &name(1, 2), 2, 2, 6, "a"), Kind::Corrupt, &["split.no: 2", "split.count 2"]);
    refused(&write(dir, &name(1, 2), 0, 0, 6, "a"), Kind::Corrupt, &["split.no: 0", "split.count 0"]);
    refused(&write(dir, &name(1, 2000), 0, 2000, 6, "a"), Kind::Limit, &["split.count: 2000", "1024"]);
    let whole = write(dir, "whole.gguf", 0, 1, 3, "a");
    assert_eq!(Gguf::open(whole).unwrap().parts().len(), 1);
    let e = Gguf::from_bytes("part", std::fs::read(dir.join(name(2, 2))).unwrap()).unwrap_err();
    assert_eq!(e.kind(), Kind::Argument);
}
