//! Alignment of exposures: sources found on each of them, offsets and pairs of two lists, and linear maps between
//! the positions of pairs.

mod find;
mod linear_fit;
mod pairs;
mod sample;

pub use find::{FindParams, Source, find};
pub use linear_fit::{Clip, Fit, Geometry, LinearMap, fit};
pub use pairs::{Offset, match_nearest, offset};
pub use sample::sample;

use crate::error::{Kind, RoomError};
use crate::image::ImageError;

/// What can go wrong in an alignment.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    /// Images that do not fit together.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A number that is not allowed.
    #[error("{name}: {value} is not allowed, it must be {wanted}")]
    Number {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        wanted: &'static str,
    },
    /// Lists that belong together differ in length.
    #[error("{name}: {found} entries are not allowed, it must have {expected}")]
    Length {
        /// The argument.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length that is needed.
        expected: usize,
    },
    /// Too few pairs for the geometry.
    #[error("{found} pairs are not enough for {geometry}, which needs {needed}")]
    TooFew {
        /// Pairs with positive weight.
        found: usize,
        /// Name of the geometry.
        geometry: &'static str,
        /// Pairs that it needs.
        needed: usize,
    },
    /// All positions are on one point or line.
    #[error("the positions of the {found} pairs do not determine {geometry}")]
    Degenerate {
        /// Pairs with positive weight.
        found: usize,
        /// Name of the geometry.
        geometry: &'static str,
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
}

impl RoomError for AlignError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooFew { .. } | Self::Degenerate { .. } => Kind::NoData,
            Self::Image(error) => error.kind(),
            _ => Kind::InvalidInput,
        }
    }
}
