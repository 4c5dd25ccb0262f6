//! Slit spectra of several nods: differences, profile and trace, resampling, extraction.
//!
//! Frames are indexed `[exposure, y, x]`; in masks true means "do not use".

mod columns;
mod combine;
mod extract;
mod nods;
mod profile;
mod trace;

pub use columns::{Exposures, Sky, TraceData};
pub use combine::{Resampled, overlap_drizzle, pseudo_drizzle};
pub use extract::{Band, BinSums, Entry, NodLayout, bin_sums, raw_covariance};
pub use nods::{Difference, Frames, make_difference};
pub use profile::{Profile, Table, evaluate_profile};
pub use trace::{Fitted, Priors, TraceParams, fit_trace};

use crate::error::{Kind, RoomError};

/// What can go wrong with slit spectra.
#[derive(Debug, thiserror::Error)]
pub enum SlitError {
    /// Two arrays that belong together differ in shape.
    #[error("{name}: shape {found:?} is not allowed, it must be {expected:?}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that is needed.
        expected: Vec<usize>,
    },
    /// Nodes or edges that do not grow.
    #[error("{name}: values must grow and be at least {least}")]
    Order {
        /// The argument.
        name: &'static str,
        /// Least number of values.
        least: usize,
    },
    /// A number that is not allowed.
    #[error("{name}: {value} is not allowed, it must be {wanted}")]
    Value {
        /// The argument.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        wanted: &'static str,
    },
    /// A name that is not known.
    #[error("{name}: {value:?} is not known, it must be {wanted}")]
    Name {
        /// Of what.
        name: &'static str,
        /// The name.
        value: String,
        /// What is allowed.
        wanted: &'static str,
    },
    /// No pixel is left.
    #[error("{0}: no pixel can be used")]
    NoPixel(&'static str),
}

impl RoomError for SlitError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPixel(_) => Kind::NoData,
            _ => Kind::InvalidInput,
        }
    }
}

fn check_shape(name: &'static str, found: &[usize], expected: &[usize]) -> Result<(), SlitError> {
    if found == expected {
        return Ok(());
    }
    Err(SlitError::Shape {
        name,
        found: found.to_vec(),
        expected: expected.to_vec(),
    })
}

fn check_order(name: &'static str, values: &[f64], least: usize) -> Result<(), SlitError> {
    if values.len() >= least && values.windows(2).all(|w| w[0] < w[1]) {
        return Ok(());
    }
    Err(SlitError::Order { name, least })
}

/// Index of the bin `[edge, next edge)` of a value, the last one closed; None outside.
fn bin_of(edges: &[f64], value: f64) -> Option<usize> {
    let last = edges.len() - 1;
    if value == edges[last] {
        return Some(last - 1);
    }
    let after = edges.partition_point(|&e| e <= value);
    (after > 0 && after <= last && !value.is_nan()).then(|| after - 1)
}
