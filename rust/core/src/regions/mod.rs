//! Shapes that people draw on images, and the pixels that belong to them.

mod outline;
mod raster;
mod shape;

pub use outline::outlines;
pub use raster::{Membership, Stamp, stamp};
pub use shape::Shape;

use crate::error::{Kind, RoomError};

/// What can be wrong with a shape.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// A number of the shape is not finite.
    #[error("{name}: {value} is not allowed, the numbers of a shape must be finite")]
    NotFinite {
        /// The argument.
        name: &'static str,
        /// The number.
        value: f64,
    },
    /// A shape without area.
    #[error("to_unit: {0:?} is not allowed, it must have an inverse")]
    Singular([[f64; 2]; 2]),
    /// A rule that does not exist.
    #[error("membership: {0:?} is not allowed, it must be centre or corners")]
    Membership(String),
    /// Too few corners.
    #[error("vertices: {0} corners are not allowed, a polygon has at least 3")]
    Vertices(usize),
    /// The hole of an annulus.
    #[error("inner: {0} is not allowed, it must be at least 0 and below 1")]
    Inner(f64),
}

impl RoomError for RegionError {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
}
