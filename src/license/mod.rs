//! Acceptance receipts: no decode before one exists for exactly the model's licence text.
