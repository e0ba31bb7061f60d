//! Acceptance receipts: no decode before one exists for exactly the model's licence text.
//!
//! [`ModelLicense`] says which text binds the user of a model file, [`ReceiptStore`] remembers who accepted it.
//! The text that is shown is the text that is hashed, and an acceptance must name that hash: a program cannot accept
//! a text it has never held. There is no environment variable, no "accept all" and no expiry by clock.
//!
//! A receipt shows that a program called a function with certain values. It proves no more than that, and nothing is
//! sent anywhere.

mod model;
mod receipt;
mod store;
#[cfg(test)]
mod tests;

pub use model::{Facts, LLAMA4_ATTRIBUTION, LLAMA4_NOTICE, ModelLicense, TextSource};
pub use receipt::{Acceptance, MAX_PARTY, Receipt};
pub use store::{ReceiptStore, Status};
