//! Bad pixels and cosmic rays: static mask, masked combination of registered images, comparison with a blotted model;
//! for a single exposure the Laplacian; for exposures of a slit the same place in the others.

mod combine;
mod cosmic_rays;
mod lacosmic;
mod lanes;
mod medians;
mod slits;
mod static_mask;

pub use combine::{MinmedParams, Stack, Statistic, combine, minmed};
pub use cosmic_rays::{CosmicRayParams, Frame, flag_cosmic_rays, grow, trail};
pub use lacosmic::{Fill, LacosmicParams, lacosmic};
pub use slits::{LocalParams, SlitStack, local_outliers, running_ranks};
pub use static_mask::{StaticMaskParams, low_pixels};

use ndarray::{Array2, CowArray, Ix2};
use rayon::prelude::*;

use crate::error::{Kind, RoomError};

/// What can go wrong when outliers are sought.
#[derive(Debug, thiserror::Error)]
pub enum OutliersError {
    /// Two arrays that belong together differ in shape.
    #[error("{name}: shape {found:?} is not allowed, it must be {expected:?}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that is needed.
        expected: Vec<usize>,
    },
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
    /// A name that is not known.
    #[error("{name}: {value:?} is not known, it must be {wanted}")]
    Name {
        /// Of what.
        name: &'static str,
        /// The name.
        value: String,
        /// What is allowed.
        wanted: &'static str,
    },
}

impl RoomError for OutliersError {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
}

fn check_shape(
    name: &'static str,
    found: &[usize],
    expected: &[usize],
) -> Result<(), OutliersError> {
    if found == expected {
        return Ok(());
    }
    Err(OutliersError::Shape {
        name,
        found: found.to_vec(),
        expected: expected.to_vec(),
    })
}

fn check_length(name: &'static str, found: usize, expected: usize) -> Result<(), OutliersError> {
    if found == expected {
        return Ok(());
    }
    Err(OutliersError::Length {
        name,
        found,
        expected,
    })
}

/// A row of an image in standard layout.
fn row<'a, T>(image: &'a CowArray<'_, T, Ix2>, y: usize) -> &'a [T] {
    image.row(y).to_slice().unwrap_or_default()
}

/// The rows of a new image, to be filled in parallel.
fn rows_of<T: Send + Sync>(image: &mut Array2<T>) -> impl IndexedParallelIterator<Item = &mut [T]> {
    let rows = image.outer_iter_mut().into_par_iter();
    rows.map(|row| row.into_slice().unwrap_or_default())
}
