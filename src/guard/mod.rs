//! Verdicts, checks, pipeline, policy and the stream hold-back.
