//! Bytes read with every length weighed first.
