//! Drizzle and blot: images from one pixel grid to another through a pixel map.
//!
//! [`drizzle`] adds exposures to an output; a [`kernels`] module says how the drop of one input pixel is shared among
//! output pixels, with [`overlap`] for the exact areas of the square kernel; [`map_rows`] reads the pixel map. [`blot`] samples an image back, with the
//! weights of [`taps`]. [`covariance`] says how the noise of the output is correlated.

pub mod blot;
pub mod covariance;
pub mod drizzle;
pub mod drops;
pub mod kernels;
pub mod lanes;
pub mod map_rows;
pub mod overlap;
pub mod scale;
pub mod separable;
pub mod spreads;
pub mod square;
pub mod taps;

use crate::error::{Kind, RoomError};

/// What can be wrong with the input of drizzle and blot.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ResampleError {
    /// Two arrays that belong together differ in shape.
    #[error("{name}: shape {shape:?} is not allowed, it must be {wanted:?}")]
    Shape {
        /// Which array.
        name: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape it must have.
        wanted: Vec<usize>,
    },
    /// An array that is not C-contiguous.
    #[error("{name}: the array must be C-contiguous")]
    Layout {
        /// Which array.
        name: &'static str,
    },
    /// The square kernel takes the corners of a drop from neighbouring pixels.
    #[error("pixmap: {ny} x {nx} pixels are not enough, the square kernel needs at least 2 x 2")]
    TooSmall {
        /// Rows.
        ny: usize,
        /// Columns.
        nx: usize,
    },
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
    /// Exposures with and without an array that all or none must have.
    #[error("{name}: exposure {index} {}, unlike the exposures before it; all or none must have it",
            if *.given { "has it" } else { "lacks it" })]
    Mixed {
        /// Which array.
        name: &'static str,
        /// 0-based number of the exposure.
        index: usize,
        /// Whether this exposure has it.
        given: bool,
    },
    /// The pixel map has no two neighbouring pixels that are finite.
    #[error("pixmap: no 2 x 2 pixels are finite, so the scale ratio cannot be measured")]
    NoScale,
}

impl RoomError for ResampleError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoScale => Kind::NoData,
            _ => Kind::InvalidInput,
        }
    }
}
