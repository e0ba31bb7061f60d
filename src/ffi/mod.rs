//! The C ABI: pointers, panics and status codes. It holds no logic.
//!
//! Every entry is four steps: the fence, borrowing, one call into `session`, writing the result. `include/palisade.h` is
//! generated from these files (`cargo run --example make-header`) and compared with them by a test. Doc comments here
//! are the header's text, so they speak to the C programmer and use C names.
//!
//! | file | holds |
//! |---|---|
//! | `status` | the pinned codes, and the one map from [`crate::Kind`] to them |
//! | `fence` | no panic gets out; this thread's last message |
//! | `memory` | the host's pointers, weighed before they are followed |
//! | `sized` | structs that begin with their size, of older and newer headers |
//! | `handle` | tickets instead of addresses |
//! | `gate` | one call at a time on one session |
//! | the others | the entries, one file for each noun |

#![allow(clippy::missing_safety_doc, reason = "the header says it in C's words: The caller vouches")]

#[cfg(panic = "abort")]
compile_error!("the C ABI catches panics at its border: build with panic = \"unwind\"");

pub mod audit;
pub mod engine;
pub mod event;
mod fence;
mod gate;
mod handle;
pub mod library;
pub mod license;
pub mod log;
mod memory;
pub mod request;
pub mod session;
mod sized;
pub mod status;
pub mod types;
