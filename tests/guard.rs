//! The guard from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
