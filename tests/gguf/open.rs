//! Opening: paths that are no model files, and files that change under us.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use palisade::error::{Error, Kind};
use palisade::gguf::Gguf;

use crate::raw::Raw;

/// The error of an open that must not take a second.
fn refused(path: impl AsRef<Path>) -> Error {
    let (start, path) = (Instant::now(), path.as_ref());
    let e = Gguf::open(path).err().unwrap_or_else(|| panic!("{} accepted", path.display()));
    assert!(start.elapsed() < Duration::from_secs(1), "{e}");
    e
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refused(dir.path()).kind(), Kind::Io);
    let missing = refused(dir.path().join("none.gguf"));
    assert_eq!(missing.kind(), Kind::Io);
    assert!(missing.message().contains("none.gguf"), "{missing}");
    assert_eq!(refused("").kind(), Kind::Argument);
    assert_eq!(refused("a\0b").kind(), Kind::Argument);
}

#[cfg(unix)]
#[test]
fn devices_pipes_and_loops_are_refused_at_once() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    let dir = tempfile::tempdir().unwrap();
    for device in ["/dev/zero", "/dev/full", "/dev/null", "/dev/tty"] {
        if Path::new(device).exists() {
            assert_eq!(refused(device).kind(), Kind::Io, "{device}");
        }
    }
    if Path::new("/proc/self/mem").exists() {
        refused("/proc/self/mem");
    }
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let e = refused(&fifo);
    assert_eq!(e.kind(), Kind::Io);
    assert!(e.message().contains("expected a regular file"), "{e}");
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(refused(&socket).kind(), Kind::Io);
    let round = dir.path().join("loop");
    symlink(&round, &round).unwrap();
    assert_eq!(refused(&round).kind(), Kind::Io);
    assert_eq!(refused("x".repeat(8192)).kind(), Kind::Argument);
}

#[cfg(unix)]
#[test]
fn names_that_are_not_unicode_open_and_unreadable_files_are_named() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"m\xff.gguf"));
    // Some file systems take only Unicode names.
    if std::fs::write(&path, Raw::valid().bytes()).is_ok() {
        assert_eq!(Gguf::open(&path).unwrap().tensors().len(), 3);
    }
    let closed = dir.path().join("closed.gguf");
    std::fs::write(&closed, Raw::valid().bytes()).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read it all the same.
    if File::open(&closed).is_err() {
        let e = refused(&closed);
        assert_eq!(e.kind(), Kind::Io);
        assert!(e.message().contains("closed.gguf"), "{e}");
    }
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse.gguf");
    std::fs::write(&path, Raw::valid().bytes()).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let e = refused(&path);
    assert_eq!(e.kind(), Kind::Corrupt);
    assert!(e.message().contains("bytes follow c.weight"), "{e}");
}

#[test]
fn a_file_that_shrinks_after_opening_gives_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let raw = Raw::valid();
    std::fs::write(&path, raw.bytes()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let t = gguf.tensor("b.weight").unwrap();
    let mut bytes = vec![0; t.bytes as usize];
    gguf.read(t, 0, &mut bytes).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(raw.data_start() as u64 + 100).unwrap();
    let e = gguf.read(t, 0, &mut bytes).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt);
    assert!(e.message().contains("b.weight") && e.message().contains("ended"), "{e}");
}

#[test]
fn a_file_replaced_after_opening_is_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("m.gguf"), dir.path().join("new.gguf"));
    std::fs::write(&path, Raw::valid().bytes()).unwrap();
    std::fs::write(&new, Raw::valid().but(|r| r.data.fill(9)).bytes()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let mut bytes = [0; 4];
    gguf.read(&gguf.tensors()[0], 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 2, 3]);
}
