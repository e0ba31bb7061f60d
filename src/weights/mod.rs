//! Where the weights' bytes live.
