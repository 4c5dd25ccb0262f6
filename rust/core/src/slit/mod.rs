//! Slit spectra of several nods: differences, profile and trace, resampling, extraction.
//!
//! Frames are indexed `[exposure, y, x]`; in masks true means "do not use".

mod columns;
mod combine;
mod extract;
mod lanes;
mod losses;
mod nods;
mod profile;
mod secant;
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

/// Growing edges, and how to find the bin of a value.
struct Bins<'a> {
    edges: &'a [f64],
    /// Bins per unit where all have nearly the same width.
    per_unit: Option<f64>,
}

impl<'a> Bins<'a> {
    fn new(name: &'static str, edges: &'a [f64]) -> Result<Self, SlitError> {
        check_order(name, edges, 2)?;
        let n = edges.len() - 1;
        let width = (edges[n] - edges[0]) / n as f64;
        let is_even = |(k, edge): (usize, &f64)| (edge - edges[0] - k as f64 * width).abs() < width;
        let per_unit = edges.iter().enumerate().all(is_even).then_some(1.0 / width);
        Ok(Self { edges, per_unit })
    }

    /// The bin `[edge, next edge)` of a value, the last one closed; None outside.
    fn of(&self, value: f64) -> Option<usize> {
        let edges = self.edges;
        let last = edges.len() - 1;
        if !(value >= edges[0] && value <= edges[last]) {
            return None;
        }
        let Some(per_unit) = self.per_unit else {
            return Some((edges.partition_point(|&e| e <= value) - 1).min(last - 1));
        };
        let mut k = (((value - edges[0]) * per_unit) as usize).min(last - 1);
        while value < edges[k] {
            k -= 1;
        }
        while k + 1 < last && value >= edges[k + 1] {
            k += 1;
        }
        Some(k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_closed_below_and_the_last_one_above() {
        let even: Vec<f64> = (0..40).map(|k| 0.1 * f64::from(k)).collect();
        let uneven: Vec<f64> = (0..40).map(|k| 0.01 * f64::from(k * k)).collect();
        for edges in [&even, &uneven] {
            let bins = Bins::new("edges", edges).unwrap();
            for (k, pair) in edges.windows(2).enumerate() {
                let middle = 0.5 * (pair[0] + pair[1]);
                assert_eq!((bins.of(pair[0]), bins.of(middle)), (Some(k), Some(k)));
            }
            assert_eq!(bins.of(edges[39]), Some(38));
            assert!(
                [-0.1, edges[39] + 0.1, f64::NAN]
                    .iter()
                    .all(|&v| bins.of(v).is_none())
            );
        }
        assert!(Bins::new("edges", &even).unwrap().per_unit.is_some());
        assert!(Bins::new("edges", &uneven).unwrap().per_unit.is_none());
        assert!(Bins::new("edges", &[1.0, 1.0]).is_err());
    }
}
