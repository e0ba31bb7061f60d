//! The tool on packed files.

use std::path::Path;
use std::process::{Command, Output};

use super::{fixture, packed};

fn tool(args: &[&str], model: &Path) -> Output {
    let (command, rest) = args.split_first().unwrap();
    Command::new(env!("CARGO_BIN_EXE_palisade")).arg(command).arg(model).args(rest).output().unwrap()
}

fn json(args: &[&str], model: &Path) -> serde_json::Value {
    let out = tool(args, model);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn commands_open_a_packed_file_by_its_content() {
    let (folder, out) = packed("scout-q8_0");
    // Neither name says what the file is.
    let other = folder.path().join("model.gguf");
    std::fs::rename(&out, &other).unwrap();
    let said = json(&["inspect", "--json", "--verify"], &other);
    assert_eq!(said["container"]["format"], "packed");
    assert_eq!(said["container"]["checksums"], "all compared");
    assert_eq!(said["warnings"], json(&["inspect", "--json"], &fixture("scout-q8_0"))["warnings"]);
    let loaded = json(&["bench", "--load", "-r", "2"], &other);
    assert!(loaded["packed"] == true && loaded["load_ms_all"].as_array().unwrap().len() == 2, "{loaded}");
    assert!(json(&["bench", "-p", "4", "-n", "2", "-r", "1"], &other)["decode_tps"].as_f64().unwrap() > 0.0);
    let ids = folder.path().join("ids.txt");
    std::fs::write(&ids, "3 5 7 11").unwrap();
    let score = |model: &Path| tool(&["score", "--tokens", ids.to_str().unwrap()], model);
    let (ours, theirs) = (score(&other), score(&fixture("scout-q8_0")));
    assert!(ours.status.success() && ours.stdout == theirs.stdout, "{}", String::from_utf8_lossy(&ours.stderr));
}

#[test]
fn what_cannot_be_done_is_said() {
    let (folder, out) = packed("scout-q4_0");
    let says = |out: Output, what: &str| {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(what), "{said:?} does not say {what:?}");
    };
    says(tool(&["inspect", "--verify"], &fixture("scout-q4_0")), "no checksums");
    says(tool(&["pack"], &out), "both read and written");
    says(tool(&["pack", "-o", folder.path().join("again").to_str().unwrap()], &out), "packed already");
    says(
        tool(&["quantize", folder.path().join("q.gguf").to_str().unwrap(), "--type", "q8_0"], &out),
        "take the one it was",
    );
    says(tool(&["pack", "-o", out.to_str().unwrap()], &fixture("scout-q4_0")), "--force");
    let mut bytes = std::fs::read(&out).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(&out, bytes).unwrap();
    says(tool(&["inspect", "--verify"], &out), "checksum");
    let dry = tool(&["pack", "--dry-run"], &fixture("scout-kmix"));
    assert!(dry.status.success() && String::from_utf8_lossy(&dry.stdout).contains("rows8.q4_k/1"));
}

/// The way of the SDK: an engine with its guard, its licence gate and its sessions, as the C functions open it.
#[test]
fn a_guarded_answer_from_a_packed_model_is_the_one_of_its_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/palisade-demo.gguf");
    let out = folder.path().join("demo.palp");
    super::pack(&model, &out);
    let answer = |model: &Path, more: &[&str]| {
        let state = folder.path().to_str().unwrap();
        let args = [
            "generate",
            "--prompt",
            "When do you open?",
            "--temperature",
            "0",
            "--accept-license",
            "--state-dir",
            state,
        ];
        let out = tool(&[&args[..], more].concat(), model);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let expected = answer(&model, &[]);
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(answer(&out, &[]), expected);
    assert_eq!(answer(&out, &["--map"]), expected);
}
