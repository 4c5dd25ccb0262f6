//! Numbers and shapes that more than one room needs.

pub mod stats;
pub mod widest;
