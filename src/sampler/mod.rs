//! Logits and history to one id.
