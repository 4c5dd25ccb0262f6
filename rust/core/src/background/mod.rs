//! The smooth background of an image and its noise.

mod cell;
mod mesh;
mod spline;

pub use mesh::{Background, MeshParams, estimate};

use crate::error::{Kind, RoomError};
use crate::image::ImageError;

/// What can go wrong when a background is estimated.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// Images of wrong shape.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A cell needs a side.
    #[error("box_size: {0} is not allowed, it must be at least 1 pixel")]
    BoxSize(usize),
    /// No cell has enough good pixels.
    #[error(
        "data: none of the {n_cells} cells of {box_size} pixels has a fraction of {fraction} good pixels"
    )]
    NoGoodCell {
        /// Number of cells.
        n_cells: usize,
        /// Their side.
        box_size: usize,
        /// The fraction of good pixels that a cell needs.
        fraction: f64,
    },
}

impl RoomError for BackgroundError {
    fn kind(&self) -> Kind {
        match self {
            Self::Image(error) => error.kind(),
            Self::BoxSize(_) => Kind::InvalidInput,
            Self::NoGoodCell { .. } => Kind::NoData,
        }
    }
}
