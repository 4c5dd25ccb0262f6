//! A spectral order of a grism.

use super::GrismError;
use super::law::Law;
use super::sensitivity::Sensitivity;

/// A source on the detector, and how its traces are moved.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Column of the source on the detector.
    pub x: f64,
    /// Row of the source on the detector.
    pub y: f64,
    /// Position of a filter wheel [deg].
    pub wheel: Option<f64>,
    /// Added to offsets before they are looked up [pix].
    pub x_shift: f64,
    /// Added to the trace [pix].
    pub y_shift: f64,
}

/// A trace at some offsets.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Rows from the source.
    pub dy: Vec<f64>,
    /// Wavelengths [Angstrom].
    pub wave: Vec<f64>,
}

/// Where the light of an order falls, and how bright.
#[derive(Clone, Debug)]
pub struct Order {
    law: Law,
    first: i64,
    end: i64,
    sensitivity: Sensitivity,
}

impl Order {
    /// Columns are offsets from the source, `end` excluded.
    ///
    /// # Errors
    /// When there is no column.
    pub fn new(
        law: Law,
        first: i64,
        end: i64,
        sensitivity: Sensitivity,
    ) -> Result<Self, GrismError> {
        if first >= end {
            return Err(GrismError::Range(first, end));
        }
        Ok(Self {
            law,
            first,
            end,
            sensitivity,
        })
    }

    /// First offset and one past the last.
    #[must_use]
    pub fn columns(&self) -> [i64; 2] {
        [self.first, self.end]
    }

    /// e/s of 1 erg/s/cm2/A, per Angstrom.
    #[must_use]
    pub fn sensitivity(&self) -> &Sensitivity {
        &self.sensitivity
    }

    /// Rows and wavelengths at offsets.
    #[must_use]
    pub fn trace(&self, place: &Place, dx: &[f64]) -> Trace {
        let moved: Vec<f64> = dx.iter().map(|dx| dx + place.x_shift).collect();
        let at = self.law.evaluate(place.x, place.y, &moved, place.wheel);
        Trace {
            dy: at.iter().map(|a| a[0] + place.y_shift).collect(),
            wave: at.iter().map(|a| a[1]).collect(),
        }
    }
}

/// Borders half way between values, and as far beyond the first and the last.
pub(super) fn borders(middle: &[f64]) -> Vec<f64> {
    let n = middle.len();
    let mut edges = Vec::with_capacity(n + 1);
    edges.push(middle[0]);
    edges.extend(middle.windows(2).map(|w| 0.5 * (w[0] + w[1])));
    if n > 1 {
        edges[0] = 2.0 * middle[0] - edges[1];
        edges.push(2.0 * middle[n - 1] - edges[n - 1]);
    } else {
        edges.push(middle[0]);
    }
    edges
}
