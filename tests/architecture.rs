//! The house rules that a compiler does not know: who may name whom, and where unsafe, tract and the outside world live.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may name. Below all of them lie `error`, `bytes` and `cancel`.
const ROOMS: &[(&str, &[&str])] = &[
    ("quant", &[]),
    ("gguf", &["quant"]),
    ("weights", &["gguf", "quant"]),
    ("kernels", &["weights", "quant"]),
    ("model", &["weights", "gguf", "quant"]),
    ("engine", &["model", "kernels", "weights", "gguf", "quant"]),
    ("tokenizer", &["gguf"]),
    ("convert", &["engine", "kernels", "tokenizer", "model", "weights", "gguf", "quant"]),
    ("chat", &["tokenizer"]),
    ("sampler", &[]),
    ("license", &["gguf"]),
    ("guard", &["engine", "license", "tokenizer", "weights", "gguf"]),
    ("audit", &[]),
    ("session", &["guard", "license", "audit", "chat", "tokenizer", "sampler", "engine", "kernels", "gguf", "weights"]),
    ("ffi", &["session", "audit", "guard", "license", "sampler"]),
];
const CELLAR: &[&str] = &["error", "bytes", "cancel", "digest", "signature", "files"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Code without comments and without what follows `#[cfg(test)]` on a module inside the file.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Library files with the room they are in; files beside the rooms have an empty room.
fn library() -> Vec<(String, PathBuf)> {
    let src = root().join("src");
    files(&src, ".rs")
        .into_iter()
        .filter(|p| !p.starts_with(src.join("bin")))
        .map(|p| {
            let inside = p.strip_prefix(&src).unwrap();
            let room =
                if inside.components().count() > 1 { inside.iter().next().unwrap().to_str().unwrap() } else { "" };
            (room.to_owned(), p)
        })
        .collect()
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

#[test]
fn rooms_name_only_rooms_below_them() {
    let rules: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (room, path) in library() {
        if room.is_empty() || is_test(&path) {
            continue;
        }
        let cellar = CELLAR.contains(&room.as_str()).then_some(&[][..]);
        let allowed = rules.get(room.as_str()).copied().or(cellar);
        let allowed = allowed.unwrap_or_else(|| panic!("room {room} has no line in the direction table"));
        for (at, _) in code(&path).match_indices("crate::") {
            let text = code(&path);
            let name: String = text[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let known = rules.contains_key(name.as_str());
            if known && name != room && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {room} names {name}", path.display()));
            }
            assert!(
                known || CELLAR.contains(&name.as_str()) || name.chars().next().is_none_or(char::is_uppercase),
                "{}: crate::{name} is no room",
                path.display()
            );
        }
    }
    assert!(wrong.is_empty(), "arrows that point up or across:\n{}", wrong.join("\n"));
}

#[test]
fn the_direction_table_has_no_cycle() {
    let order: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    for (at, (room, below)) in ROOMS.iter().enumerate() {
        for b in *below {
            assert!(order[..at].contains(b), "{room} may name {b}, which stands above it");
        }
    }
}

#[test]
fn tract_is_named_in_the_engine_alone() {
    for (room, path) in library() {
        let text = code(&path);
        // `retract_from` names nothing of it.
        let inside = |i: usize| text[..i].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let names = text.match_indices("tract_").any(|(i, _)| !inside(i));
        assert!(room == "engine" || !names, "{} names tract", path.display());
    }
}

#[test]
fn unsafe_lives_in_the_named_places() {
    let allowed = [
        "src/engine/team.rs",
        "src/ffi",
        "src/kernels/arm",
        "src/kernels/x86",
        "src/weights/map.rs",
        "src/weights/shelf.rs",
    ]
    .map(|p| root().join(p));
    for (_, path) in library() {
        let text = code(&path);
        let has = text.contains("unsafe {") || text.contains("unsafe fn") || text.contains("unsafe impl");
        assert!(!has || allowed.iter().any(|a| path.starts_with(a)), "{} has unsafe code", path.display());
    }
}

/// Every `unsafe {` of the library has its proof above it.
#[test]
fn unsafe_blocks_have_a_proof_in_front() {
    for (_, path) in library() {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if !line.contains("unsafe {") || line.trim_start().starts_with("//") {
                continue;
            }
            let above = lines[i.saturating_sub(8)..=i].iter().any(|l| l.contains("SAFETY:"));
            assert!(above, "{}:{}: unsafe without a SAFETY comment", path.display(), i + 1);
        }
    }
}

#[test]
fn the_library_does_not_touch_the_outside_world() {
    let forbidden = [
        ("std::env::", "reads the environment"),
        ("SystemTime", "reads the wall clock"),
        ("std::net", "opens a socket"),
        ("println!", "prints"),
        ("process::exit", "ends the host"),
        ("process::abort", "ends the host"),
        ("todo!(", "is unfinished"),
        ("unimplemented!(", "is unfinished"),
    ];
    for (_, path) in library().into_iter().filter(|(_, p)| !is_test(p)) {
        let text = code(&path);
        for (word, what) in forbidden {
            assert!(!text.contains(word), "{} {what}: {word}", path.display());
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    for path in files(&root().join("src"), ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no opening line", path.display());
    }
}

/// The release profile keeps unwinding: a panic of ours must be caught at the C boundary.
#[test]
fn panics_unwind() {
    const { assert!(cfg!(panic = "unwind")) };
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("panic = \"abort\""));
}
