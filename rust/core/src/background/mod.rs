//! The sky under the sources.

mod pedestal;

pub use pedestal::{Pedestal, PedestalParams, estimate_pedestal};

use crate::error::{Kind, RoomError};

/// What can go wrong when a background is measured.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// The mask has another shape than the image.
    #[error("mask: shape {found:?} is not allowed, it must be {expected:?}")]
    Shape {
        /// Its shape.
        found: Vec<usize>,
        /// The shape of the image.
        expected: Vec<usize>,
    },
    /// No pixel is left to measure.
    #[error("data: none of its {n_pixels} pixels is good")]
    NoGoodPixel {
        /// How many there are.
        n_pixels: usize,
    },
}

impl RoomError for BackgroundError {
    fn kind(&self) -> Kind {
        match self {
            Self::Shape { .. } => Kind::InvalidInput,
            Self::NoGoodPixel { .. } => Kind::NoData,
        }
    }
}
