//! Fluxes of sources of known shape, all of an image together.

mod dense;
mod dissection;
mod draw;
mod factor;
mod inverse;
mod noise;
mod normal;
mod residual;
mod shapes;
mod templates;

pub use draw::{Drawer, PsfNodes, sources_of};
pub use factor::Factor;
pub use inverse::Inverse;
pub use noise::simulate;
pub use normal::{Column, Normal, Rows};
pub use residual::{SourceFit, add_models, fits_of, moved, table_of};
pub use shapes::shape_variances;
pub use templates::{Stamp, Templates, replace};

use crate::error::{Kind, RoomError};
use crate::image::ImageError;
use crate::profiles::ProfileError;

/// What can go wrong when fluxes are measured.
#[derive(Debug, thiserror::Error)]
pub enum PhotometryError {
    /// A profile that cannot be drawn.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Images that do not fit.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A stamp that does not lie on the image.
    #[error(
        "windows: {window:?} (y0, x0, ny, nx) of source {source_number} of {n_sources} is not allowed, it must lie on the \
         image of {shape:?}"
    )]
    Window {
        /// Whose it is.
        source_number: usize,
        /// How many there are.
        n_sources: usize,
        /// First row and column, number of both.
        window: [usize; 4],
        /// Shape of the image.
        shape: (usize, usize),
    },
    /// A component of a source that does not exist.
    #[error("owners: {owner} is not allowed, there are {n_sources} sources")]
    Owner {
        /// Whose it should be.
        owner: usize,
        /// How many there are.
        n_sources: usize,
    },
    /// Lists that belong together differ in length.
    #[error("{name}: {found} values are not allowed, there must be {expected}")]
    Length {
        /// The argument.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length that is needed.
        expected: usize,
    },
}

impl RoomError for PhotometryError {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
}

/// [`PhotometryError::Length`] unless a list has the length that is needed.
pub(crate) fn check_length(
    name: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), PhotometryError> {
    if found == expected {
        return Ok(());
    }
    Err(PhotometryError::Length {
        name,
        found,
        expected,
    })
}
