//! Models of sources: what a profile looks like on pixels.

mod convolved;
mod fit;
mod integrated;
mod quadrature;
mod sersic;
mod spectrum;

pub use convolved::{Convolver, Drawing, N_PARAMETERS};
pub use fit::{Fit, FitParams, N_FITTED, fit_sersic};
pub use integrated::render_integrated;
pub use sersic::Sersic;

use crate::error::{Kind, RoomError};
use crate::image::ImageError;

/// What can go wrong when a profile is drawn.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Rows that are no sources.
    #[error("sources: {0} columns are not allowed, it must be 7")]
    Columns(usize),
    /// Images of wrong shape.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No pixel is left to fit.
    #[error("data: none of its {0} pixels counts")]
    NoGoodPixel(usize),
    /// A PSF with holes.
    #[error("psf: values that are not finite are not allowed")]
    Psf,
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
            Self::NoGoodPixel(_) => Kind::NoData,
            _ => Kind::InvalidInput,
        }
    }
}
