//! From an image to sources: filter, threshold, label, deblend, measure.

mod aperture;
mod clean;
mod convolve;
mod correlation;
mod deblend;
mod detect;
mod distance;
mod extended;
mod extent;
mod kron;
mod label;
mod lattice;
mod measure;
mod moments;
mod noise;
mod overlap;
mod position;
mod reach;
mod saddles;
mod scan;
mod segments;
mod sersic_growth;
mod shape_noise;
mod total;
mod window;

mod filtered_snr;
mod peak_first;
mod sums;

pub use aperture::{ApertureSums, Neighbours, Photometer, sum_apertures};
pub use convolve::{Kernel, convolve};
pub use correlation::Correlation;
pub use deblend::{Assignment, DeblendParams, Deblending, Spacing, deblend};
pub use detect::{DetectParams, Detected, Detector, NoiseOf, detect};
pub use distance::{distance_to, farthest_places};
pub use extent::{Extent, extents};
pub use kron::{KronParams, kron_radii};
pub use label::{Connectivity, label};
pub use measure::{
    BandMeasurements, Flags, HeldShape, MeasureImage, MeasureParams, Measurements, measure,
};
pub use noise::{Noise, filtered_noise, negative_depths, noise_of_depths, sampled_rows};
pub use saddles::SaddleParams;
pub use scan::Window;

pub use filtered_snr::filtered_snr;
pub use peak_first::{PeakParams, PeakSegments, peak_first};
pub use sums::{SegmentSums, segment_sums};

use crate::error::{Kind, RoomError};
use crate::image::ImageError;

/// What can go wrong when sources are detected or measured.
#[derive(Debug, thiserror::Error)]
pub enum SegmentationError {
    /// Images of wrong shape.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A kernel without a centre, or that cannot be normalised.
    #[error(
        "kernel: shape {shape:?} with sum {sum} is not allowed, it must have odd sides, finite values and a positive sum"
    )]
    Kernel {
        /// Its shape.
        shape: (usize, usize),
        /// Its sum.
        sum: f64,
    },
    /// Pixels connect to 4 or 8 neighbours.
    #[error("connectivity: {0} is not allowed, it must be 4 or 8")]
    Connectivity(usize),
    /// The part of a window that is not margin lies outside of it.
    #[error("core: rows and columns {core:?} are not allowed in a window of shape {shape:?}")]
    Core {
        /// Rows and columns.
        core: ([usize; 2], [usize; 2]),
        /// Shape of the window.
        shape: (usize, usize),
    },
    /// A label below 0.
    #[error("labels: {0} is not allowed, labels are positive and 0 is sky")]
    NegativeLabel(i32),
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
    /// No pixel can be used.
    #[error("data: none of the {0} pixels is finite, not masked and with a positive, finite error")]
    NoGoodPixel(usize),
    /// More sources than labels.
    #[error("data: {0} sources do not fit into 32-bit labels")]
    TooManySources(usize),
}

impl RoomError for SegmentationError {
    fn kind(&self) -> Kind {
        match self {
            Self::Image(error) => error.kind(),
            Self::NoGoodPixel(_) => Kind::NoData,
            _ => Kind::InvalidInput,
        }
    }
}
