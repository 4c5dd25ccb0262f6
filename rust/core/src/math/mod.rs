//! Numbers and shapes that more than one room needs.

pub mod bounded;
pub mod gamma;
pub mod least_squares;
pub mod levmar;
pub mod normal;
pub mod stats;
pub mod sums;
pub mod widest;
