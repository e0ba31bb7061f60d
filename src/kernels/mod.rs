//! The table of functions for each instruction set.
