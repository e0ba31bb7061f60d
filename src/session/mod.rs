//! The conductor: one request from start to end.
