//! How the drop of an input pixel is shared among output pixels.

use std::ops::Range;

use super::ResampleError;
use super::drops::{Drop, Sink};
use super::map_rows::MapRows;

/// Drops smaller than this are points.
const SMALLEST_PIXFRAC: f64 = 1e-3;

/// Which kernel, with its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// The input pixel shrunk by `pixfrac` about its centre and mapped corner by corner.
    Square {
        /// Side of the drop in input pixels.
        pixfrac: f64,
    },
    /// A box along the axes of the output around the mapped centre.
    Turbo {
        /// Side of the box in input pixels.
        pixfrac: f64,
    },
    /// Everything to the output pixel in which the mapped centre lies.
    Point,
    /// A Gaussian around the mapped centre.
    Gaussian {
        /// Full width at half maximum in input pixels.
        pixfrac: f64,
    },
    /// A windowed sinc around the mapped centre.
    Lanczos {
        /// Radius in input pixels, 2 or 3.
        order: u8,
        /// Step of the table that is read at the nearest entry, in input pixels; 0 for the function itself.
        step: f64,
    },
}

/// Step of drizzle's Lanczos table.
const LANCZOS_STEP_PIX: f64 = 0.003;

impl Kernel {
    /// Whether the side of an output pixel in input pixels must be known.
    #[must_use]
    pub fn needs_scale(self) -> bool {
        matches!(
            self,
            Self::Turbo { .. } | Self::Gaussian { .. } | Self::Lanczos { .. }
        )
    }

    /// The kernel of that name; a `pixfrac` below 0.001 makes it a point.
    ///
    /// # Errors
    /// [`ResampleError::Name`] or [`ResampleError::Number`].
    pub fn from_name(name: &str, pixfrac: f64) -> Result<Self, ResampleError> {
        if !(pixfrac >= 0.0 && pixfrac.is_finite()) {
            return Err(ResampleError::Number {
                name: "pixfrac",
                value: pixfrac,
                wanted: "0 or positive",
            });
        }
        match name {
            "lanczos2" | "lanczos3" | "lanczos2_table" | "lanczos3_table" => Ok(Self::Lanczos {
                order: if name.starts_with("lanczos2") { 2 } else { 3 },
                step: if name.ends_with("table") {
                    LANCZOS_STEP_PIX
                } else {
                    0.0
                },
            }),
            "square" | "turbo" | "point" | "gaussian" if pixfrac < SMALLEST_PIXFRAC => {
                Ok(Self::Point)
            }
            "square" => Ok(Self::Square { pixfrac }),
            "turbo" => Ok(Self::Turbo { pixfrac }),
            "gaussian" => Ok(Self::Gaussian { pixfrac }),
            "point" => Ok(Self::Point),
            _ => Err(ResampleError::Name {
                name: "kernel",
                value: name.into(),
                wanted: "square, turbo, point, gaussian, lanczos2, lanczos3, lanczos2_table or lanczos3_table",
            }),
        }
    }
}

/// The pixels inside of `window` that a range of positions touches, none for NaN; pixel `i` spans `i - 0.5 .. i + 0.5`.
#[must_use]
#[inline(always)]
pub fn touched([low, high]: [f64; 2], window: &Range<usize>) -> Range<usize> {
    if low.is_nan() || high.is_nan() {
        return 0..0;
    }
    let first = (low + 0.5).floor().max(window.start as f64);
    let end = ((high + 0.5).floor() + 1.0).min(window.end as f64);
    if first < end {
        first as usize..end as usize
    } else {
        0..0
    }
}

/// The part of the output to which drops are added.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its rows.
    pub rows: Range<usize>,
    /// Columns of the whole output.
    pub n_columns: usize,
}

/// One way of sharing: the drops of a tile are prepared together, and those that count are spread.
pub trait Spread: Send + Sync {
    /// How far a drop reaches from its centre along an axis on which neighbouring pixels are `steepest` apart.
    fn margin(&self, steepest: f64) -> f64;
    /// Prepare the drops of the input pixels `rows`, `columns`, row after row.
    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>);
    /// Add the shares inside of a window of the prepared drops `which`, one after the other.
    fn spread(&mut self, which: &[usize], drops: &[Drop], window: &Window, sink: &mut impl Sink);
}

/// The point kernel.
#[derive(Debug, Default)]
pub struct Point {
    centres: Vec<[f64; 2]>,
}

impl Spread for Point {
    fn margin(&self, _steepest: f64) -> f64 {
        0.0
    }

    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>) {
        self.centres.clear();
        for j in rows {
            self.centres.extend_from_slice(&map.row(j)[columns.clone()]);
        }
    }

    #[inline(always)]
    fn spread(&mut self, which: &[usize], drops: &[Drop], window: &Window, sink: &mut impl Sink) {
        for (k, drop) in which.iter().zip(drops) {
            let [x, y] = self.centres[*k];
            let (column, row) = ((x + 0.5).floor(), (y + 0.5).floor());
            let inside = column >= 0.0
                && column < window.n_columns as f64
                && row >= window.rows.start as f64
                && row < window.rows.end as f64;
            if inside {
                sink.begin(drop);
                sink.add_box(drop, row as usize, column as usize, &[1.0]);
            }
        }
    }
}
