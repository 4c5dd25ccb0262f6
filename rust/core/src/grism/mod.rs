//! Slitless spectra: where the light of a source falls, how bright it is there, and whole frames of that.

mod arc;
mod bank;
mod columns;
mod compress;
mod contamination;
mod field;
mod fit;
mod lanes;
mod law;
mod operator;
mod order;
mod pixels;
mod sensitivity;
mod solution;
mod spline;
mod stamp;
mod trial;

pub use bank::{Bank, Line, Tables};
pub use columns::{Columns, Sparse};
pub use contamination::{FrameSource, Spectrum, render_frame};
pub use fit::{Extra, Fit, FitOptions};
pub use law::{Law, Parametric, Polynomial, Turn};
pub use operator::Operator;
pub use order::{Order, Place, Trace};
pub use pixels::FitBeam;
pub use sensitivity::Sensitivity;
pub use solution::Trial;
pub use stamp::Stamp;

use crate::error::{Kind, RoomError};

/// What can go wrong when light is dispersed.
#[derive(Debug, thiserror::Error)]
pub enum GrismError {
    /// A list has a length that is not allowed.
    #[error("{name}: {found} entries are not allowed, it must have {wanted}")]
    Length {
        /// The argument.
        name: &'static str,
        /// Its length.
        found: usize,
        /// What is allowed.
        wanted: &'static str,
    },
    /// Wavelengths that do not rise.
    #[error("{0}: wavelengths must be finite and rise")]
    Order(&'static str),
    /// Planes of different shapes.
    #[error("{name}: shape {found:?} is not allowed, it must be {wanted:?}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// Its shape.
        found: [usize; 2],
        /// The shape that is needed.
        wanted: [usize; 2],
    },
    /// An operator that there is not.
    #[error("operator: {0:?} is not allowed, it must be one of {1:?}")]
    Operator(String, [&'static str; 2]),
    /// A source that does not fit into its frame.
    #[error("sources: number {0} has a stamp or an order outside of what is given")]
    Source(usize),
    /// An order without a column.
    #[error("columns: {0} to {1} are not allowed, the first must be below the last")]
    Range(i64, i64),
}

impl RoomError for GrismError {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
}
