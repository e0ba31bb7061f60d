//! The C ABI seen from C and C++: the header compiles everywhere, the examples say the same, the contract holds.
//!
//! Needs a C and a C++ compiler (`cc` and `c++`, or what `CC` and `CXX` name).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

#[path = "../../examples/hello.rs"]
mod hello;
mod nulls;
mod toolchain;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use toolchain::{Lang, Link, compile, library_folder, root, run, scratch};

const LIMIT: Duration = Duration::from_secs(300);

fn model() -> PathBuf {
    root().join("examples/demo-model/palisade-demo.gguf")
}

fn source(name: &str) -> PathBuf {
    root().join("tests/c_abi").join(name)
}

/// Runs a compiled program and gives its standard output; panics with what it said when its code is not `code`.
fn says(command: &mut Command, code: i32) -> String {
    let output = run(command, LIMIT);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?} ended with {}\n{out}\n{err}", output.status);
    out.into_owned()
}

// ---- the header

#[test]
fn the_header_compiles_in_every_standard() {
    let folder = scratch("standards");
    let twice =
        "#include <palisade.h>\n#include <palisade.h>\nint probe(void);\nint probe(void) { return PALISADE_OK; }\n";
    let (c, cpp) = (folder.join("probe.c"), folder.join("probe.cpp"));
    fs::write(&c, twice).unwrap();
    fs::write(&cpp, twice).unwrap();
    for standard in ["c99", "c11", "c17"] {
        compile(Lang::C(standard), &[&c], Link::Object, &folder.join(format!("{standard}.o")), &[]);
    }
    for standard in ["c++11", "c++14", "c++17", "c++20"] {
        compile(Lang::Cpp(standard), &[&cpp], Link::Object, &folder.join(format!("{standard}.o")), &[]);
    }
}

#[test]
fn the_wrapper_compiles_in_two_files_of_one_program() {
    let folder = scratch("wrapper");
    let (a, b) = (folder.join("a.cpp"), folder.join("b.cpp"));
    fs::write(&a, "#include <palisade.hpp>\nint other();\nint main() { return other(); }\n").unwrap();
    fs::write(&b, "#include <palisade.hpp>\nint other();\nint other() { return PALISADE_OK; }\n").unwrap();
    for standard in ["c++17", "c++20"] {
        let program = folder.join(standard);
        compile(Lang::Cpp(standard), &[&a, &b], Link::Shared, &program, &[]);
        says(&mut Command::new(&program), 0);
    }
}

/// The sizes and offsets that programs of today are compiled with, on 64-bit machines.
#[cfg(target_pointer_width = "64")]
#[test]
fn the_layout_is_the_frozen_one() {
    let folder = scratch("layout");
    let header = fs::read_to_string(root().join("include/palisade.h")).unwrap();
    let mut program = "#include <palisade.h>\n#include <stdio.h>\nint main(void) {\n".to_owned();
    for (name, fields) in nulls::structs(&header) {
        program += &format!("    printf(\"{name} %zu\\n\", sizeof({name}));\n");
        for field in fields {
            program += &format!("    printf(\"{name}.{field} %zu\\n\", offsetof({name}, {field}));\n");
        }
    }
    let (path, binary) = (folder.join("layout.c"), folder.join("layout"));
    fs::write(&path, program + "    return 0;\n}\n").unwrap();
    compile(Lang::C("c11"), &[&path], Link::Alone, &binary, &[]);
    frozen("layout-64.txt", &says(&mut Command::new(&binary), 0));
}

/// Compares with a committed file; `BLESS=1` rewrites it.
fn frozen(name: &str, found: &str) {
    let path = root().join("tests/data").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "tests/data/{name}: what was published does not change; BLESS=1 for what is new");
}

// ---- what is exported

#[test]
fn exactly_the_frozen_symbols_are_exported() {
    let library = library_folder().join("libpalisade.so");
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&library), LIMIT);
    assert!(output.status.success());
    let listed = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    names.sort_unstable();
    frozen("symbols.txt", &format!("{}\n", names.join("\n")));

    let header = fs::read_to_string(root().join("include/palisade.h")).unwrap();
    let mut declared: Vec<String> = nulls::functions(&header).into_iter().map(|f| f.name).collect();
    declared.sort_unstable();
    assert_eq!(declared, names, "the header declares what the library exports");
}

/// Every exported function stands in a fence, but for the three that return a constant.
#[test]
fn every_export_is_fenced() {
    let mut exports = 0;
    for entry in fs::read_dir(root().join("src/ffi")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for export in text.split("#[unsafe(no_mangle)]").skip(1) {
            exports += 1;
            let name = export.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            let body = export.split_once("{\n").unwrap().1.trim_start();
            let constant = ["palisade_version", "palisade_abi_version", "palisade_status_name"].contains(&name);
            let fenced = body.starts_with("fence(|| {") || body.starts_with("silent_fence(|| {");
            assert!(fenced || constant, "{name} in {} is not fenced", path.display());
        }
    }
    let header = fs::read_to_string(root().join("include/palisade.h")).unwrap();
    assert_eq!(exports, nulls::functions(&header).len());
}

/// The header's promises that a reader looks for at each function.
#[test]
fn every_function_says_its_threads_and_errors() {
    let header = fs::read_to_string(root().join("include/palisade.h")).unwrap();
    for function in nulls::functions(&header) {
        assert!(function.doc.contains("[any thread]") || function.doc.contains("[one thread at a time]"));
        let constant = !function.result.contains("palisade_status_t");
        assert!(constant || function.doc.contains("Errors:"), "{}", function.name);
        assert!(constant || function.doc.contains("```c"), "{} has no example", function.name);
    }
}

// ---- the examples

/// Arguments of a hello whose receipts end with its engine.
const ASKED: [&str; 2] = ["When are you open on Sunday?", "The test of the hellos"];

#[test]
fn the_three_hellos_say_the_same() {
    let folder = scratch("hello");
    let (c, cpp) = (folder.join("hello-c"), folder.join("hello-cpp"));
    compile(Lang::C("c99"), &[&root().join("examples/c/hello.c")], Link::Static, &c, &[]);
    compile(Lang::Cpp("c++17"), &[&root().join("examples/cpp/hello.cpp")], Link::Shared, &cpp, &[]);
    let model = model().to_str().unwrap().to_owned();

    let rust = |args: &[&str], code: u8| {
        let args: Vec<String> = [&model[..]].iter().chain(args).map(|&a| a.to_owned()).collect();
        let mut out = Vec::new();
        assert_eq!(hello::hello(&args, &mut out).unwrap(), code);
        String::from_utf8(out).unwrap()
    };
    for (args, code) in [(&ASKED[..], 0_u8), (&ASKED[..1], 3)] {
        let expected = rust(args, code);
        for program in [&c, &cpp] {
            assert_eq!(says(Command::new(program).arg(&model).args(args), code.into()), expected);
        }
        assert!(
            expected.contains("licence \"") && expected.contains(if code == 0 { " tokens]" } else { "Name the party" })
        );
    }
    for program in [&c, &cpp] {
        says(&mut Command::new(program), 2);
        says(Command::new(program).arg("/nowhere.gguf"), 1);
    }
}

/// The program at the top of the header, as it stands there.
#[test]
fn the_headers_own_example_runs() {
    let folder = scratch("header-example");
    let header = fs::read_to_string(root().join("include/palisade.h")).unwrap();
    let begin = header.find(" *     #include <palisade.h>").unwrap();
    let end = begin + header[begin..].find("\n *\n * The rules").unwrap();
    let lines =
        header[begin..end].lines().map(|line| line.trim_start_matches(" *").strip_prefix("     ").unwrap_or(""));
    let (source, program) = (folder.join("example.c"), folder.join("example"));
    fs::write(&source, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    compile(Lang::C("c99"), &[&source], Link::Shared, &program, &[]);

    let state = folder.join("state");
    let _ = fs::remove_dir_all(&state);
    fs::create_dir(&state).unwrap();
    let mut ask = Command::new(&program);
    ask.arg(model()).arg(ASKED[0]).current_dir(&state);
    says(&mut ask, 1); // no receipt yet
    let args = [model().to_str().unwrap(), ASKED[0], ASKED[1], state.to_str().unwrap()].map(str::to_owned);
    assert_eq!(hello::hello(&args, &mut Vec::new()).unwrap(), 0);
    assert!(!says(&mut ask, 0).is_empty());
}

// ---- the contract

fn compile_contract(program: &Path, flags: &[&str]) {
    let sources = ["main", "handles", "threads", "process", "arguments", "licence", "guards"];
    let sources = sources.map(|name| source(&format!("contract/{name}.c")));
    let flags = [flags, &["-D_GNU_SOURCE", "-pthread", "-lm"]].concat();
    compile(Lang::C("c11"), &sources.each_ref().map(PathBuf::as_path), Link::Shared, program, &flags);
}

fn contract(name: &str, cases: &[&str]) {
    let program = toolchain::once("contract", |program| {
        compile_contract(program, &[]);
    });
    let folder = scratch(name);
    says(Command::new(program).arg(model()).arg(&folder).args(cases), 0);
}

macro_rules! contract {
    ($($group:ident: $($case:ident),+;)+) => {
        const GROUPED: &[&str] = &[$($(stringify!($case)),+),+];
        $(#[test]
        fn $group() {
            contract(stringify!($group), &[$(stringify!($case)),+]);
        })+
    };
}

contract! {
    handles: free_of_null, freed_handles_stay_freed, foreign_handles_are_refused;
    lifetimes: sessions_outlive_their_engine, free_of_a_busy_session, both_forms_give_the_same,
        an_old_request_does_not_stop_a_new_one;
    threads: two_threads_on_one_session, two_sessions_on_two_threads, a_stuck_callback_is_its_own_affair;
    callbacks: calls_from_inside_a_callback, what_a_callback_may_return, user_data_is_passed_through,
        the_log_goes_to_the_host;
    cancelling: cancel_from_another_thread, cancel_while_loading;
    arguments: texts_are_weighed, structs_of_other_versions, output_structs_of_other_versions, values_out_of_range,
        small_buffers_and_the_last_error;
    licence: without_a_licence_nothing_is_computed;
    policies: refusals_know_the_locale, policies_are_asked_for_a_signature;
    logs: the_log_is_what_the_options_say, a_log_that_cannot_be_signed_ends_the_request, odd_log_options_are_refused,
        one_appeal_for_a_refusal;
    the_process_is_the_hosts: signals_are_the_hosts, rounding_and_locale_do_not_matter, descriptors_close_on_exec;
    small_threads: a_thread_of_64_kib_is_enough, short_threads_leave_nothing;
    fork: a_forked_child_uses_no_handle_of_its_parent;
    exit_in_a_callback: exit_inside_a_callback;
    exit_elsewhere: exit_while_generating;
}

#[test]
fn every_case_is_in_a_group() {
    let header = fs::read_to_string(source("contract/contract.h")).unwrap();
    let listed = header.lines().filter_map(|line| line.trim().strip_prefix("X(")?.split(')').next());
    let mut listed: Vec<&str> = listed.collect();
    let mut grouped = GROUPED.to_vec();
    listed.sort_unstable();
    grouped.sort_unstable();
    assert_eq!(listed, grouped);
}

/// C01, and C03 to C05 for every handle parameter: generated from the header.
#[test]
fn every_pointer_of_every_function_may_be_null() {
    let folder = scratch("nulls");
    let header = fs::read_to_string(root().join("include/palisade.h")).unwrap();
    let (program, calls) = nulls::program(&header);
    assert!(calls > 60, "{calls} calls");
    let (source, binary) = (folder.join("nulls.c"), folder.join("nulls"));
    fs::write(&source, program).unwrap();
    compile(Lang::C("c11"), &[&source], Link::Shared, &binary, &[]);
    says(Command::new(&binary).arg(model()), 0);
}

#[test]
fn the_library_can_be_loaded_again_and_twice() {
    let folder = scratch("loaded");
    let program = folder.join("loaded");
    compile(Lang::C("c11"), &[&source("loaded.c")], Link::Static, &program, &["-D_GNU_SOURCE", "-ldl"]);
    says(Command::new(&program).arg(library_folder().join("libpalisade.so")).arg(model()), 0);
}

#[test]
fn exceptions_stay_in_the_wrapper_and_raw_ones_end_the_process() {
    let folder = scratch("throws");
    let program = folder.join("throws");
    compile(Lang::Cpp("c++17"), &[&source("throws.cpp")], Link::Shared, &program, &[]);
    says(Command::new(&program).arg(model()).arg("wrapped"), 0);
    says(Command::new(&program).arg(model()).arg("progress"), 0);
    let raw = run(Command::new(&program).arg(model()).arg("raw"), LIMIT);
    assert_eq!(raw.status.signal(), Some(6), "aborted: {}", String::from_utf8_lossy(&raw.stderr));
}

/// The contract again, with the program under the address and undefined-behaviour sanitizers where the compiler has them.
#[test]
fn the_contract_holds_under_sanitizers() {
    let folder = scratch("sanitized");
    let probe = folder.join("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n").unwrap();
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    if !toolchain::compiles(&probe, &folder.join("probe"), &flags) {
        eprintln!("skipped: this compiler has no sanitizers");
        return;
    }
    let program = folder.join("contract");
    compile_contract(&program, &flags);
    let cases = [
        "free_of_null",
        "freed_handles_stay_freed",
        "foreign_handles_are_refused",
        "both_forms_give_the_same",
        "calls_from_inside_a_callback",
        "what_a_callback_may_return",
        "texts_are_weighed",
        "structs_of_other_versions",
        "output_structs_of_other_versions",
        "small_buffers_and_the_last_error",
        "refusals_know_the_locale",
        "the_log_is_what_the_options_say",
        "a_log_that_cannot_be_signed_ends_the_request",
        "one_appeal_for_a_refusal",
    ];
    // Statics of the library are reachable only through memory that the sanitizer does not see.
    let mut command = Command::new(&program);
    command.arg(model()).arg(&folder).args(cases).env("ASAN_OPTIONS", "detect_leaks=0");
    says(&mut command, 0);
}

#[test]
fn the_demo_model_is_there() {
    assert!(Path::new(&model()).is_file(), "{} is missing", model().display());
}
