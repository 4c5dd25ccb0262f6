//! From an image to sources: filter, threshold, label, deblend, measure.

mod aperture;
mod clean;
mod components;
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
mod light_radius;
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
pub use components::{Tally, label, label_and_tally};
pub use convolve::{Kernel, convolve};
pub use correlation::Correlation;
pub use deblend::{Assignment, DeblendParams, Deblending, Spacing, deblend};
pub use detect::{DetectParams, Detected, Detector, NoiseOf};
pub use distance::{distance_to, farthest_places};
pub use extent::{Extent, extents};
pub use kron::{KronParams, kron_radii};
pub use label::Connectivity;
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
    /// Kernels without a centre.
    #[error("kernels: sides of {0} pixels are not allowed, they must be odd")]
    EvenKernels(usize),
    /// Too many or too few thresholds between a segment's faintest pixel and its peak.
    #[error("n_levels: {0} is not allowed, it must be between 1 and {max}", max = u16::MAX)]
    Levels(usize),
    /// A way to space thresholds that does not exist.
    #[error("spacing: {0:?} is not known, it must be exponential, linear or sinh")]
    Spacing(String),
    /// A rule for pixels of other sources that does not exist.
    #[error("neighbours: {0:?} is not known, it must be mirror, blank or keep")]
    Neighbours(String),
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
    /// Rows of a table that are too short or too long.
    #[error("{name}: {found} columns are not allowed, it must have {expected}")]
    Columns {
        /// The argument.
        name: &'static str,
        /// Its number of columns.
        found: usize,
        /// The number that is needed.
        expected: usize,
    },
    /// Something is asked of a detector whose sources were handed out.
    #[error("detector: it is already finished")]
    Finished,
    /// Rows that are too long to be labelled.
    #[error("mask: {found} columns are not allowed, it must have at most {most}")]
    TooWide {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
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
