//! The only room that names tract.
