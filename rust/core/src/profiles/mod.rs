//! Models of sources: what a profile looks like on pixels.

mod convolved;
mod integrated;
mod quadrature;
mod sersic;
mod spectrum;

pub use convolved::{Convolver, Drawing};
pub use integrated::render_integrated;
pub use sersic::Sersic;

use crate::error::{Kind, RoomError};

/// What can go wrong when a profile is drawn.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Rows that are no sources.
    #[error("sources: {0} columns are not allowed, it must be 7")]
    Columns(usize),
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
        Kind::InvalidInput
    }
}
