//! Spectra in one dimension: templates on pixels with the resolution of an instrument, and redshifts from them.

mod bands;
mod igm;
mod lines;
mod noise;
mod photoz;
mod rebin;
mod redshift;
mod resolution;
mod templates;

pub use bands::{FilterCurve, RestSpectra, band_fluxes};
pub use igm::{Igm, SeriesLine};
pub use lines::LineComplex;
pub use noise::Noise;
pub use photoz::{BestFits, Objects, Photometry, Predicted, TemplateGrid};
pub use rebin::Tabulated;
pub use redshift::{LinearFit, Problem, Trial};
pub use resolution::{FWHM_OVER_SIGMA, LIGHT_KM_S, Resolution};
pub use templates::{Column, Templates, bspline_rows, bsplines};

use crate::error::{Kind, RoomError};

/// What can go wrong when a spectrum is fitted.
#[derive(Debug, thiserror::Error)]
pub enum SpectraError {
    /// A list has the wrong number of entries.
    #[error("{name}: {found} entries are not allowed, it must have {expected}")]
    Length {
        /// The argument.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length that is needed.
        expected: usize,
    },
    /// Fewer splines than one piece needs.
    #[error("n_functions: {found} is not allowed, it must be at least {least}")]
    Functions {
        /// What was asked for.
        found: usize,
        /// The least number.
        least: usize,
    },
    /// A covariance that no noise has.
    #[error("covariance: it is not positive definite at pixel {pixel}")]
    NotPositive {
        /// The first pixel that those before it determine.
        pixel: usize,
    },
    /// No pixel may be used.
    #[error("spectrum: no pixel can be used")]
    NoPixel,
}

impl RoomError for SpectraError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoPixel => Kind::NoData,
            _ => Kind::InvalidInput,
        }
    }
}
