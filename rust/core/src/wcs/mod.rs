//! Pixel maps: from the pixels of one image to the pixels of another, through the sky.
//!
//! [`fits_wcs::TanWcs`] holds what a FITS header with TAN axes says, [`distortion`] joins its polynomial ([`sip`]) and
//! its tables ([`lookup`]); [`pixmap`] composes two of them into one projective map; [`sampled`] interpolates a map that
//! is known at the nodes of a grid only.

pub mod distortion;
pub mod fits_wcs;
pub mod lookup;
pub mod pixmap;
pub mod projection;
pub mod sampled;
pub mod sip;

use crate::error::{Kind, RoomError};

/// What can be wrong with a coordinate system or with a grid of nodes.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum WcsError {
    /// The linear part cannot be inverted.
    #[error("matrix: [[{m00}, {m01}], [{m10}, {m11}]] deg/pix cannot be inverted")]
    Singular {
        /// d(xi)/dx.
        m00: f64,
        /// d(xi)/dy.
        m01: f64,
        /// d(eta)/dx.
        m10: f64,
        /// d(eta)/dy.
        m11: f64,
    },
    /// A number of the coordinate system is NaN or infinite.
    #[error("{name}: every number of a coordinate system must be finite")]
    NotFinite {
        /// Which one.
        name: &'static str,
    },
    /// SIP coefficients of a shape that is not allowed.
    #[error(
        "{name}: shape {shape:?} is not allowed, SIP coefficients are square with at most {most} rows"
    )]
    SipShape {
        /// Which polynomial.
        name: &'static str,
        /// Shape of the coefficients.
        shape: [usize; 2],
        /// Highest allowed number of rows.
        most: usize,
    },
    /// Positions that are not pairs, or nodes that are not enough.
    #[error("{name}: shape {shape:?} is not allowed, it must be {wanted}")]
    Shape {
        /// Which array.
        name: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// What is allowed.
        wanted: &'static str,
    },
    /// An interpolation that is not known.
    #[error("interpolation: {value:?} is not known, it must be linear or cubic")]
    Name {
        /// The name.
        value: String,
    },
    /// A distance between nodes that is not positive.
    #[error("step: {step} is not allowed, the distance between nodes must be positive")]
    Step {
        /// The distance [pix].
        step: f64,
    },
}

impl RoomError for WcsError {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
}
