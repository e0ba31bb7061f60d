//! `palisade conform` against drivers that keep every rule, and against one driver for each rule that breaks it.
//!
//! Needs a C and a C++ compiler (`cc` and `c++`, or what `CC` and `CXX` name).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

#[path = "../c_abi/toolchain.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use toolchain::{Lang, Link, compile, root, run, scratch};

const LIMIT: Duration = Duration::from_secs(300);

/// Each fault of `broken.c` and the rule that names it.
const FAULTS: [(&str, &str); 21] = [
    ("loses-text", "W01"),
    ("own-policy", "W02"),
    ("built-in-policy", "W03"),
    ("text-after-end", "W04"),
    ("swallows-end", "W05"),
    ("flushes-after-block", "W06"),
    ("keeps-retracted", "W07"),
    ("cuts-characters", "W08"),
    ("shows-rule", "W09"),
    ("failure-as-success", "W10"),
    ("opens-without-guard", "W11"),
    ("retries-without-guard", "W11"),
    ("accepts-by-itself", "W12"),
    ("queues-questions", "W13"),
    ("never-cancels", "W14"),
    ("keeps-sessions", "W15"),
    ("drops-locale", "W16"),
    ("forgets-refusals", "W17"),
    ("drops-key", "W18"),
    ("drops-audit", "W19"),
    ("forgets-appeals", "W20"),
];

/// Runs the suite; gives each rule's result and what was said of it.
fn conform(folder: &Path, driver: &Path, args: &[&str], driver_args: &[&str]) -> Vec<(String, String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(["conform", "--short", "--json", "--driver"]).arg(driver).arg("--folder").arg(folder);
    // A small classifier: what is tested is the wrapper, and most of the time would be the embedded one's.
    command.arg("--classifier").arg(root().join("tests/data/guard"));
    command.args(args).arg("--").args(driver_args);
    let output = run(&mut command, LIMIT);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{command:?}: {e}\n{out}\n{err}"));
    let word = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    let rules: Vec<_> = report["rules"].as_array().unwrap().iter().collect();
    for rule in &rules {
        eprintln!("{} {} {:>8} ms {}", rule["id"], rule["result"], rule["ms"], rule["what"]);
    }
    assert_eq!(output.status.success(), report["failed"] == 0, "{err}");
    rules.iter().map(|r| (word(r, "id"), word(r, "result"), word(r, "what"))).collect()
}

fn example(name: &str) -> PathBuf {
    root().join("examples/conform").join(name)
}

fn all_pass(folder: &Path, driver: &Path) {
    let begun = Instant::now();
    let rules = conform(folder, driver, &[], &[]);
    eprintln!("{} rules in {:.1} s", rules.len(), begun.elapsed().as_secs_f64());
    let broken: Vec<_> = rules.iter().filter(|(_, result, _)| result != "pass").collect();
    assert!(rules.len() == 20 && broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_reference_driver_keeps_every_rule() {
    let folder = scratch("conform-c");
    let driver = folder.join("driver");
    compile(Lang::C("c99"), &[&example("driver.c")], Link::Shared, &driver, &[]);
    all_pass(&folder, &driver);
    // The pull form, where it differs: ends, what is taken back, failures, misuse, stopping.
    let rules = ["W05", "W07", "W10", "W13", "W14", "W15"].map(|rule| ["--rule", rule]).concat();
    let pulled = conform(&folder, &driver, &rules, &["pull"]);
    assert!(pulled.len() == 6 && pulled.iter().all(|(_, result, _)| result == "pass"), "{pulled:#?}");
}

#[test]
fn the_cpp_binding_keeps_every_rule() {
    let folder = scratch("conform-cpp");
    let driver = folder.join("driver");
    compile(Lang::Cpp("c++17"), &[&example("driver.cpp")], Link::Shared, &driver, &[]);
    all_pass(&folder, &driver);
}

#[test]
fn every_fault_is_caught_by_the_rule_that_names_it() {
    let folder = scratch("conform-broken");
    let driver = folder.join("broken");
    compile(Lang::C("c99"), &[&root().join("tests/conform/broken.c")], Link::Shared, &driver, &[]);
    let weak = folder.join("weak.toml");
    let policy = "version = 1\nname = \"weak\"\nrefusal.text = \"No.\"\n[default]\ninput = { action = \"block\" }\n\
                  output = { action = \"block\" }\n[category.pii]\noutput = { action = \"allow\" }\n";
    std::fs::write(&weak, policy).unwrap();
    let mut missed = Vec::new();
    for (fault, rule) in FAULTS {
        eprintln!("{fault}:");
        let rules = conform(&folder, &driver, &["--rule", rule], &[fault, weak.to_str().unwrap()]);
        match rules.as_slice() {
            [(_, result, _)] if result == "fail" => {}
            other => missed.push((fault, other.to_vec())),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn programs_that_die_hang_or_chatter_fail_and_are_not_waited_for() {
    let folder = scratch("conform-dumb");
    let script = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let programs = [
        ("ended", script("dies.sh", "exit 3\n")),
        ("no word", script("hangs.sh", "exec sleep 60\n")),
        ("expected ok", script("chatters.sh", "while read line; do echo what; done\n")),
    ];
    for (says, program) in programs {
        let args = ["--rule", "whole-answer", "--patience", "1"];
        let rules = conform(&folder, Path::new("sh"), &args, &[program.to_str().unwrap()]);
        assert!(rules[0].1 == "fail" && rules[0].2.contains(says), "{rules:?}");
    }
}

#[test]
fn what_a_wrapper_does_not_offer_is_said_and_not_failed() {
    let folder = scratch("conform-plain");
    let script = folder.join("plain.sh");
    std::fs::write(&script, "while read line; do echo unsupported that; done\n").unwrap();
    let rules = conform(&folder, Path::new("sh"), &["--rule", "W20"], &[script.to_str().unwrap()]);
    assert_eq!((rules[0].1.as_str(), rules[0].2.as_str()), ("not offered", "that"));
}
