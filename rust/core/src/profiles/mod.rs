//! Models of sources: what a profile looks like on pixels.

mod asked;
mod convolved;
mod drawn;
mod fit;
mod folded;
mod groups;
mod hankel;
mod integrated;
mod moffat;
mod octaves;
mod pixels;
mod profile;
mod psfs;
mod quadrature;
mod scene;
mod sersic;
mod spectrum;
mod stamps;
mod start;

pub use crate::math::levmar::Stop;
pub use asked::{Asked, StampParams};
pub use convolved::{Convolver, Drawing, Response};
pub use drawn::{StampOf, draw_stamps};
pub use fit::{Bounds, Component, Fit, N_SHAPE, N_SKY, Sky, fit_group};
pub use groups::{StampSizes, Window};
pub use integrated::render_integrated;
pub use pixels::{Likelihood, Pixels};
pub use profile::{Family, Profile};
pub use psfs::Psfs;
pub use scene::{Plan, SceneImages, SceneParams, SceneSource, fit_scene};
pub use sersic::Sersic;
pub use stamps::{N_GIVEN, Stamps, fit_stamps};
pub use start::{Start, starts};

use crate::error::{Kind, RoomError};
use crate::image::ImageError;

/// What can go wrong when a profile is drawn.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Rows that are no sources.
    #[error("sources: {0} columns are not allowed, it must be {1}")]
    Columns(usize, usize),
    /// A formula that there is not.
    #[error("family: {0} is not allowed, it must be 0 or 1")]
    Family(f64),
    /// A PSF with holes.
    #[error("psf: values that are not finite are not allowed")]
    Psf,
    /// A component that shares the centre of a later one.
    #[error("components: number {0} shares the centre of one that is not before it")]
    Centre(usize),
    /// A PSF whose image does not hold all nodes.
    #[error("psf: {0} rows are not allowed for {1} nodes")]
    Nodes(usize, usize),
    /// Images of wrong shape.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Pixels of another shape than the models.
    #[error("data: shape {pixels:?} is not allowed, it must be that of the models, {stamp:?}")]
    Shapes {
        /// Of the pixels.
        pixels: (usize, usize),
        /// Of the models.
        stamp: (usize, usize),
    },
    /// Stamps of another number of pixels.
    #[error("data, variance, mask: {0} values are not allowed, they must be {1}")]
    Length(usize, usize),
    /// No pixel is left to fit.
    #[error("data: none of its {0} pixels counts")]
    NoGoodPixel(usize),
    /// Fewer pixels than parameters.
    #[error("data: {pixels} pixels do not tell {parameters} parameters")]
    TooFewPixels {
        /// Pixels that count.
        pixels: usize,
        /// Parameters that are free.
        parameters: usize,
    },
    /// A start at which there is no likelihood.
    #[error("start: the model has no likelihood there")]
    NoStart,
    /// A parameter outside what a profile has.
    #[error("{name}: {value} of source {index} is not allowed, it must be {rule}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Which source.
        index: usize,
        /// What is allowed.
        rule: &'static str,
    },
}

impl RoomError for ProfileError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoGoodPixel(_) | Self::TooFewPixels { .. } => Kind::NoData,
            _ => Kind::InvalidInput,
        }
    }
}
