//! GGUF files: what is read, what is refused and with which words, what is written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../attacks/gguf.rs"]
mod attacks;
mod fuzz;
mod open;
mod raw;
mod read;
mod split;
mod write;
