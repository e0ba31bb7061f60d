//! Synthetic models are what they say.
