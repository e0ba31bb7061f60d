//! A packing that is broken off at any byte leaves nothing that opens, and goes on to the same bytes.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use palisade::Kind;
use palisade::convert::{Control, Packing};
use palisade::gguf::Gguf;

use super::fixture;

#[test]
fn a_packing_goes_on_from_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cut.palp");
    let (unfinished, journal_path) =
        (folder.path().join(".cut.palp.unfinished"), folder.path().join(".cut.palp.journal"));
    let packing = Packing::new(&fixture("maverick-q4_0")).unwrap();
    packing.write(&out, &mut Control::default()).unwrap();
    let whole = fs::read(&out).unwrap();
    assert_eq!(whole.len() as u64, packing.bytes().unwrap());
    let journal = fs::read_to_string(&journal_path).unwrap();
    let journal = journal.strip_suffix("whole\n").unwrap().as_bytes();
    let mut kept = 0;
    for step in 0..=40 {
        let (at, noted) = (whole.len() * step / 40, journal.len() * ((step * 7) % 41) / 40);
        for noted in [journal.len() * step / 40, noted] {
            let _ = fs::remove_file(&out);
            fs::write(&unfinished, &whole[..at]).unwrap();
            fs::write(&journal_path, &journal[..noted]).unwrap();
            if at < whole.len() {
                assert!(Gguf::open(&unfinished).is_err(), "{at} bytes of {} open", whole.len());
            }
            let done = packing.write(&out, &mut Control::default()).unwrap();
            kept += u32::from(done.kept > 0);
            assert!(fs::read(&out).unwrap() == whole, "cut at {at}, journal at {noted}");
        }
    }
    assert!(kept > 30, "{kept}");
}

#[test]
fn no_prefix_opens() {
    let (_folder, out) = super::packed("two-experts-f16");
    let whole = fs::read(&out).unwrap();
    let step = (whole.len() / 1500).max(1);
    for len in (0..whole.len()).step_by(step).chain(whole.len() - 4200..whole.len()) {
        let e = Gguf::from_bytes("prefix", whole[..len].to_vec()).err().unwrap_or_else(|| panic!("{len} bytes open"));
        assert!(matches!(e.kind(), Kind::Corrupt), "{len}: {e}");
    }
}

#[test]
fn a_killed_tool_leaves_nothing_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("killed.palp");
    let tool = || {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_palisade"));
        tool.arg("pack").arg(fixture("behemoth-f16")).arg("-o").arg(&out).stdout(Stdio::null()).stderr(Stdio::null());
        tool
    };
    for wait in [0, 2, 4, 8, 16, 32] {
        let mut child = tool().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(!out.exists() || Gguf::open(&out).unwrap().verify(&Default::default(), &mut |_, _| ()).is_ok());
    }
    let _ = fs::remove_file(&out);
    assert!(tool().status().unwrap().success());
    Gguf::open(&out).unwrap().verify(&Default::default(), &mut |_, _| ()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something lies beside the file");
}

#[test]
fn a_file_that_is_there_is_not_replaced_unasked_and_a_stopped_run_goes_on() {
    let (_folder, out) = super::packed("scout-q4_0");
    let packing = Packing::new(&fixture("scout-q4_0")).unwrap();
    let e = packing.write(&out, &mut Control::default()).unwrap_err();
    assert!(e.kind() == Kind::Argument && e.message().contains("--force"), "{e}");
    let mut control = Control { replace: true, ..Control::default() };
    let cancel = control.cancel.clone();
    let mut progress = |done: u64, all: u64| {
        if done > all / 2 {
            cancel.raise();
        }
    };
    control.progress = Some(&mut progress);
    assert_eq!(packing.write(&out, &mut control).unwrap_err().kind(), Kind::Cancelled);
    let done = packing.write(&out, &mut Control { replace: true, ..Control::default() }).unwrap();
    assert!(done.kept > done.bytes / 4 && done.kept < done.bytes, "{done:?}");
    assert_eq!(Packing::new(&out).unwrap_err().kind(), Kind::Argument, "packed twice");
}
