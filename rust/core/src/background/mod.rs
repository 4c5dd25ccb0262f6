//! The sky under the sources: one level for an image, a smooth mesh and its noise, or a running median or mean.

mod boxcar;
mod cell;
mod mesh;
mod pedestal;
mod running;
mod sliding;
mod spline;

pub use cell::Sky;
pub use mesh::{Background, Mesh, MeshParams, cells, estimate};
pub use pedestal::{Pedestal, PedestalParams, Statistic, estimate_pedestal};
pub use running::{Running, RunningParams, large_scale};

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
    /// As many cells as the image has.
    #[error("cells: {found} are not allowed, it must be {expected}")]
    Cells {
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A statistic that does not exist.
    #[error("statistic: {0:?} is not known, it must be median, mode or mean")]
    Statistic(String),
    /// A running statistic that does not exist.
    #[error("method: {0:?} is not known, it must be running_median or boxcar_mean")]
    Running(String),
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
            Self::BoxSize(_)
            | Self::Cells { .. }
            | Self::Running(_)
            | Self::Shape { .. }
            | Self::Statistic(_) => Kind::InvalidInput,
            Self::NoGoodCell { .. } | Self::NoGoodPixel { .. } => Kind::NoData,
        }
    }
}
