//! A run that is broken off at any byte leaves nothing or the whole file, and goes on to the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use palisade::Kind;
use palisade::convert::{Control, Conversion, Routing, Shape, SynthOptions, Types};
use palisade::quant::BlockType;

use super::{convert, copy, data, types};

fn unfinished(out: &Path) -> (PathBuf, PathBuf) {
    let name = out.file_name().unwrap().to_str().unwrap();
    (out.with_file_name(format!(".{name}.unfinished")), out.with_file_name(format!(".{name}.journal")))
}

/// What lies beside the file just before it takes its name: all bytes and the journal of all of them.
fn nearly_done(folder: &Path, out: &Path) -> (Vec<u8>, Vec<u8>) {
    let plan = Conversion::from_folder(folder, &types(BlockType::Q4_0)).unwrap();
    plan.write(out, &mut Control::default()).unwrap();
    let whole = fs::read(out).unwrap();
    let journal = fs::read_to_string(unfinished(out).1).unwrap();
    fs::remove_file(out).unwrap();
    (whole, journal.strip_suffix("whole\n").unwrap().as_bytes().to_vec())
}

#[test]
fn a_run_goes_on_from_wherever_it_was_cut() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("cut.gguf");
    let (whole, journal) = nearly_done(&data("maverick"), &path);
    let (bytes_path, journal_path) = unfinished(&path);
    let options = types(BlockType::Q4_0);
    let (mut kept_some, mut kept_none) = (0, 0);
    for step in 0..=120 {
        // The journal never runs ahead of the bytes by more than a kill of the machine may make it: try that too.
        let (at, ahead) = (whole.len() * step / 120, journal.len() * ((step * 7) % 121) / 120);
        for journal_len in [journal.len() * step / 120, ahead] {
            fs::write(&bytes_path, &whole[..at]).unwrap();
            fs::write(&journal_path, &journal[..journal_len]).unwrap();
            let done = convert(&data("maverick"), &path, &options).unwrap();
            assert!(fs::read(&path).unwrap() == whole, "cut at {at}, journal at {journal_len}");
            assert!(!bytes_path.exists() && !journal_path.exists());
            assert!(done.kept <= at as u64);
            if done.kept > 0 {
                kept_some += 1
            } else {
                kept_none += 1
            }
            fs::remove_file(&path).unwrap();
        }
    }
    assert!(kept_some > 150 && kept_none > 0, "{kept_some} and {kept_none}");
}

#[test]
fn changed_bytes_are_written_again() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("changed.gguf");
    let (whole, journal) = nearly_done(&data("maverick"), &path);
    let (bytes_path, journal_path) = unfinished(&path);
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&bytes_path, &bytes).unwrap();
    fs::write(&journal_path, &journal).unwrap();
    let done = convert(&data("maverick"), &path, &types(BlockType::Q4_0)).unwrap();
    assert!(done.kept > 0 && done.kept <= whole.len() as u64 / 2, "{}", done.kept);
    assert!(done.notes.iter().any(|note| note.contains("does not hold what its journal says")), "{:?}", done.notes);
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn other_sources_or_options_start_over() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("other.gguf");
    let folder = copy("maverick");
    let (whole, journal) = nearly_done(folder.path(), &path);
    let (bytes_path, journal_path) = unfinished(&path);
    let put = || {
        fs::write(&bytes_path, &whole[..whole.len() / 2]).unwrap();
        fs::write(&journal_path, &journal).unwrap();
    };
    put();
    let mut options = types(BlockType::Q4_0);
    options.types.add_pattern("attn_q", BlockType::F16).unwrap();
    let done = convert(folder.path(), &path, &options).unwrap();
    assert_eq!(done.kept, 0);
    assert!(done.notes.iter().any(|note| note.contains("other sources or options")), "{:?}", done.notes);
    fs::remove_file(&path).unwrap();
    put();
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&weights, bytes).unwrap();
    let done = convert(folder.path(), &path, &types(BlockType::Q4_0)).unwrap();
    assert_eq!(done.kept, 0, "the source was written again");
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn a_stopped_run_stays_and_one_of_two_files_that_is_whole_is_kept() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("stopped.gguf");
    let plan = Conversion::from_folder(&data("scout"), &types(BlockType::F16)).unwrap();
    let mut control = Control::default();
    let cancel = control.cancel.clone();
    let mut progress = |done: u64, all: u64| {
        if done > all / 2 {
            cancel.raise();
        }
    };
    control.progress = Some(&mut progress);
    assert_eq!(plan.run(&path, &mut control).unwrap_err().kind(), Kind::Cancelled);
    assert!(!path.exists() && unfinished(&path).0.exists());
    let done = plan.write(&path, &mut Control::default()).unwrap();
    assert!(done.kept > done.bytes / 3 && done.kept < done.bytes, "{done:?}");
    // Its journal says that it is whole, so the same command finds it done; another one must not take its place.
    assert_eq!(plan.write(&path, &mut Control::default()).unwrap().kept, done.bytes);
    Conversion::forget(&path);
    let refused = plan.run(&path, &mut Control::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Argument);
    assert!(refused.message().contains("is there already"), "{refused}");
    plan.run(&path, &mut Control { replace: true, ..Control::default() }).unwrap();
}

/// A matrix of more values than are written in one go is taken up again within itself.
#[test]
fn a_run_goes_on_within_a_large_matrix() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("large.gguf");
    let mut shape = Shape::named("llama-1b").unwrap();
    (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_dim) = (1, 512, 2, 1, 64);
    (shape.ffn, shape.vocab) = (256, 60_000);
    let options = SynthOptions { shape, types: Types::new(BlockType::Q8_0), routing: Routing::Uniform, seed: 2 };
    let plan = Conversion::synthetic(&options).unwrap();
    plan.write(&path, &mut Control::default()).unwrap();
    let whole = fs::read(&path).unwrap();
    let (bytes_path, journal_path) = unfinished(&path);
    let journal = fs::read_to_string(&journal_path).unwrap();
    let embedding = palisade::gguf::Gguf::open(&path).unwrap().tensor("token_embd.weight").unwrap().clone();
    assert!(embedding.elements() > 16 << 20);
    fs::remove_file(&path).unwrap();
    let mut within = 0;
    for lines in 1..6 {
        let kept: String = journal.split_inclusive('\n').take(lines).collect();
        fs::write(&bytes_path, &whole).unwrap();
        fs::write(&journal_path, kept).unwrap();
        let done = plan.run(&path, &mut Control::default()).unwrap();
        assert!(fs::read(&path).unwrap() == whole, "after {lines} lines");
        within += usize::from((embedding.offset + 1..embedding.offset + embedding.bytes).contains(&done.kept));
        fs::remove_file(&path).unwrap();
    }
    assert!(within > 0, "no run went on within the embedding");
}

fn palisade(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A model of some megabytes to requantize.
fn source(folder: &Path) -> PathBuf {
    let mut shape = Shape::named("scout").unwrap();
    (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_dim) = (8, 256, 4, 2, 64);
    (shape.expert_ffn, shape.experts, shape.vocab) = (256, 4, 2048);
    let options = SynthOptions { shape, types: Types::new(BlockType::F32), routing: Routing::Uniform, seed: 1 };
    let path = folder.join("source.gguf");
    Conversion::synthetic(&options).unwrap().run(&path, &mut Control::default()).unwrap();
    path
}

#[test]
fn a_killed_process_leaves_nothing_or_the_whole_file_and_the_next_one_goes_on() {
    let out = tempfile::tempdir().unwrap();
    let source = source(out.path());
    let (source, path) = (source.to_str().unwrap(), out.path().join("killed.gguf"));
    let arguments = ["quantize", source, path.to_str().unwrap(), "--type", "q4_k", "--threads", "1"];
    assert!(palisade(&arguments).status().unwrap().success());
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let (mut kills, mut wait) = (0, 5);
    for round in 0..200 {
        let mut child = palisade(&arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait + round % 7));
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += usize::from(unfinished(&path).0.exists());
        if path.exists() {
            break;
        }
        wait += 2;
    }
    assert!(path.exists() || palisade(&arguments).status().unwrap().success());
    assert!(kills > 3, "{kills} kills came while it was writing");
    assert!(fs::read(&path).unwrap() == whole);
}

/// A file system that takes no more bytes: the message says what to do, what is written stays, and goes on later.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_after_which_the_run_goes_on() {
    let out = tempfile::tempdir().unwrap();
    let source = source(out.path());
    let path = out.path().join("full.gguf");
    let tool = env!("CARGO_BIN_EXE_palisade");
    // Blocks of 512 bytes; the signal that a process gets at its limit is ignored, so that writing fails with an error.
    let script = format!(
        "trap '' XFSZ; ulimit -f 4000; exec {tool} quantize {} {} --type q8_0",
        source.display(),
        path.display()
    );
    let full = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(!full.status.success() && said.contains("make room and run the same command again"), "{said}");
    assert!(!path.exists() && unfinished(&path).0.exists());
    let plan = Conversion::from_gguf(&source, &types(BlockType::Q8_0)).unwrap();
    let done = plan.run(&path, &mut Control::default()).unwrap();
    assert!(done.kept > 1_000_000, "{done:?}");
    let other = out.path().join("other.gguf");
    plan.run(&other, &mut Control::default()).unwrap();
    assert!(fs::read(&path).unwrap() == fs::read(&other).unwrap());
}
