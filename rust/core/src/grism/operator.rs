//! How an image is moved by parts of a pixel.

use super::GrismError;

/// Ways to disperse an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Whole columns, and rows split linearly over two.
    Grizli,
    /// Cubic splines along and across the trace.
    Spline,
}

impl Operator {
    const NAMES: [&'static str; 2] = ["grizli", "spline"];

    /// Rows over which a column is spread.
    pub(super) fn taps(self) -> usize {
        match self {
            Self::Grizli => 2,
            Self::Spline => 4,
        }
    }

    /// # Errors
    /// When the name is not one of an operator.
    pub fn from_name(name: &str) -> Result<Self, GrismError> {
        match name {
            "grizli" => Ok(Self::Grizli),
            "spline" => Ok(Self::Spline),
            _ => Err(GrismError::Operator(name.to_owned(), Self::NAMES)),
        }
    }
}
