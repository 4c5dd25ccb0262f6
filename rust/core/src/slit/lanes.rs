//! Columns side by side in the lanes of vector registers.

/// Columns that are treated together.
pub(super) const LANES: usize = 16;

/// One number of each column.
pub(super) type Lane = [f64; LANES];
