//! `include/palisade.h` is what cbindgen makes of `src/ffi`. `BLESS=1 cargo test --test header` rewrites it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::Path;

/// The files with something exported, in the order in which a reader wants them.
const SOURCES: [&str; 9] = ["types", "status", "library", "log", "audit", "engine", "license", "event", "session"];
const LAST: &str = "request";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES.into_iter().chain([LAST]) {
        builder = builder.with_src(root().join(format!("src/ffi/{name}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let path = root().join("include/palisade.h");
    let header = generated();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    let first = committed.lines().zip(header.lines()).position(|(a, b)| a != b);
    assert!(committed == header, "include/palisade.h is stale from line {:?}: BLESS=1 cargo test --test header", first);
}
