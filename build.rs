//! Gives the shared library its name with the ABI level, and keeps it from being unloaded (thread-locals and worker
//! threads outlive a `dlclose`).

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/ffi/types.rs");
    let types = include_str!("src/ffi/types.rs");
    let level = types.split_once("PALISADE_ABI_VERSION: u32 = ").and_then(|(_, rest)| rest.split(';').next());
    let level = level.unwrap_or("0");
    let arguments = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "android") => vec![format!("-Wl,-soname,libpalisade.so.{level}"), "-Wl,-z,nodelete".to_owned()],
        Ok("macos" | "ios") => vec![format!("-Wl,-install_name,@rpath/libpalisade.{level}.dylib")],
        _ => Vec::new(),
    };
    for argument in arguments {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
}
