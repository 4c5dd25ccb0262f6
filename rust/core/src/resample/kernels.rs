//! How the drop of an input pixel is shared among output pixels.

use std::ops::Range;

use super::ResampleError;
use super::overlap::{Coverage, Quad};

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
}

impl Kernel {
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
            "square" | "turbo" | "point" if pixfrac < SMALLEST_PIXFRAC => Ok(Self::Point),
            "square" => Ok(Self::Square { pixfrac }),
            "turbo" => Ok(Self::Turbo { pixfrac }),
            "point" => Ok(Self::Point),
            _ => Err(ResampleError::Name {
                name: "kernel",
                value: name.into(),
                wanted: "square, turbo or point",
            }),
        }
    }
}

/// A row of positions of the pixel map.
pub type MapRow<'a> = &'a [[f64; 2]];

/// The pixel map as rows.
#[derive(Clone, Copy)]
pub struct MapRows<'a> {
    /// All positions, row after row.
    pub positions: MapRow<'a>,
    /// Pixels in a row.
    pub nx: usize,
    /// Number of rows.
    pub ny: usize,
}

impl<'a> MapRows<'a> {
    fn row(&self, j: usize) -> MapRow<'a> {
        &self.positions[j * self.nx..(j + 1) * self.nx]
    }
}

/// One way of sharing: drops are prepared for a stretch of a row and then spread one by one.
pub trait Spread: Send {
    /// Prepare the drops of the input pixels `columns` of row `j`.
    fn prepare(&mut self, map: MapRows<'_>, j: usize, columns: Range<usize>);
    /// Lowest and highest output row position of the `k`th prepared drop; NaN for a drop that is nowhere.
    fn extent(&self, k: usize) -> (f64, f64);
    /// Call `sink(row, first column, shares)` for the rows of the `k`th prepared drop inside of `rows`.
    fn spread(
        &mut self,
        k: usize,
        rows: Range<usize>,
        n_columns: usize,
        sink: impl FnMut(usize, usize, &[f64]),
    );
}

/// The square kernel.
///
/// # Source
/// Fruchter & Hook 2002, PASP 114, 144, section 2; the corners are bilinear in the pixel map at `pixfrac / 2` from
/// the centre, going on linearly beyond the border of the image.
#[derive(Debug)]
pub struct Square {
    half: f64,
    below: Vec<[f64; 2]>,
    above: Vec<[f64; 2]>,
    quads: Vec<Quad>,
    coverage: Coverage,
}

/// `p` moved by `t` of the way to its neighbour, or away from the neighbour on the other side when `t < 0`.
#[inline]
fn toward(p: [f64; 2], neighbour: [f64; 2], t: f64) -> [f64; 2] {
    [
        p[0] + t * (neighbour[0] - p[0]),
        p[1] + t * (neighbour[1] - p[1]),
    ]
}

impl Square {
    /// Drops of side `pixfrac`.
    #[must_use]
    pub fn new(pixfrac: f64) -> Self {
        Self {
            half: 0.5 * pixfrac,
            below: Vec::new(),
            above: Vec::new(),
            quads: Vec::new(),
            coverage: Coverage::default(),
        }
    }
}

impl Spread for Square {
    fn prepare(&mut self, map: MapRows<'_>, j: usize, columns: Range<usize>) {
        let h = self.half;
        let here = map.row(j);
        let (down, t_down) = if j > 0 {
            (map.row(j - 1), h)
        } else {
            (map.row(j + 1), -h)
        };
        let (up, t_up) = if j + 1 < map.ny {
            (map.row(j + 1), h)
        } else {
            (map.row(j - 1), -h)
        };
        // One pixel more on either side, where there is one.
        let wide = columns.start.saturating_sub(1)..(columns.end + 1).min(map.nx);
        let shift = |out: &mut Vec<[f64; 2]>, other: MapRow<'_>, t: f64| {
            out.clear();
            out.extend(
                here[wide.clone()]
                    .iter()
                    .zip(&other[wide.clone()])
                    .map(|(p, q)| toward(*p, *q, t)),
            );
        };
        shift(&mut self.below, down, t_down);
        shift(&mut self.above, up, t_up);
        self.quads.clear();
        let (below, above) = (&self.below[..], &self.above[..]);
        self.quads.extend(columns.map(|i| {
            let k = i - wide.start;
            let (left, t_left) = if i > 0 { (k - 1, h) } else { (k + 1, -h) };
            let (right, t_right) = if i + 1 < map.nx {
                (k + 1, h)
            } else {
                (k - 1, -h)
            };
            let a = toward(above[k], above[left], t_left);
            let b = toward(above[k], above[right], t_right);
            let c = toward(below[k], below[right], t_right);
            let d = toward(below[k], below[left], t_left);
            Quad {
                x: [a[0], b[0], c[0], d[0]],
                y: [a[1], b[1], c[1], d[1]],
            }
        }));
    }

    #[inline]
    fn extent(&self, k: usize) -> (f64, f64) {
        let y = self.quads[k].y;
        (
            y[0].min(y[1]).min(y[2].min(y[3])),
            y[0].max(y[1]).max(y[2].max(y[3])),
        )
    }

    #[inline]
    fn spread(
        &mut self,
        k: usize,
        rows: Range<usize>,
        n_columns: usize,
        sink: impl FnMut(usize, usize, &[f64]),
    ) {
        self.coverage.spread(&self.quads[k], rows, n_columns, sink);
    }
}

/// The turbo kernel: the overlap of pixels with a box along the output's axes.
#[derive(Debug)]
pub struct Turbo {
    half: f64,
    centres: Vec<[f64; 2]>,
    across: Vec<f64>,
    shares: Vec<f64>,
}

impl Turbo {
    /// Boxes of side `pixfrac` input pixels, which are `pixfrac / pixel_scale_ratio` output pixels.
    #[must_use]
    pub fn new(pixfrac: f64, pixel_scale_ratio: f64) -> Self {
        Self {
            half: 0.5 * pixfrac / pixel_scale_ratio,
            centres: Vec::new(),
            across: Vec::new(),
            shares: Vec::new(),
        }
    }
}

/// Pixels `first .. end` inside of `window` that `low .. high` touches; pixel `i` spans `i - 0.5 .. i + 0.5`.
fn touched(low: f64, high: f64, window: &Range<usize>) -> Range<usize> {
    let first = (low + 0.5).floor().max(window.start as f64);
    let end = ((high + 0.5).floor() + 1.0).min(window.end as f64);
    if first < end {
        first as usize..end as usize
    } else {
        0..0
    }
}

/// Length that `low .. high` has in common with pixel `i`.
#[inline]
fn common(i: usize, low: f64, high: f64) -> f64 {
    (high.min(i as f64 + 0.5) - low.max(i as f64 - 0.5)).max(0.0)
}

impl Spread for Turbo {
    fn prepare(&mut self, map: MapRows<'_>, j: usize, columns: Range<usize>) {
        self.centres.clear();
        self.centres.extend_from_slice(&map.row(j)[columns]);
    }

    #[inline]
    fn extent(&self, k: usize) -> (f64, f64) {
        (
            self.centres[k][1] - self.half,
            self.centres[k][1] + self.half,
        )
    }

    fn spread(
        &mut self,
        k: usize,
        rows: Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, &[f64]),
    ) {
        let [x, y] = self.centres[k];
        let columns = touched(x - self.half, x + self.half, &(0..n_columns));
        let scale = 1.0 / (4.0 * self.half * self.half);
        self.across.clear();
        self.across.extend(
            columns
                .clone()
                .map(|i| common(i, x - self.half, x + self.half) * scale),
        );
        for row in touched(y - self.half, y + self.half, &rows) {
            let height = common(row, y - self.half, y + self.half);
            self.shares.clear();
            self.shares
                .extend(self.across.iter().map(|width| width * height));
            sink(row, columns.start, &self.shares);
        }
    }
}

/// The point kernel.
#[derive(Debug, Default)]
pub struct Point {
    centres: Vec<[f64; 2]>,
}

impl Spread for Point {
    fn prepare(&mut self, map: MapRows<'_>, j: usize, columns: Range<usize>) {
        self.centres.clear();
        self.centres.extend_from_slice(&map.row(j)[columns]);
    }

    #[inline]
    fn extent(&self, k: usize) -> (f64, f64) {
        (self.centres[k][1], self.centres[k][1])
    }

    #[inline]
    fn spread(
        &mut self,
        k: usize,
        rows: Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, &[f64]),
    ) {
        let [x, y] = self.centres[k];
        let (column, row) = ((x + 0.5).floor(), (y + 0.5).floor());
        let inside = column >= 0.0
            && column < n_columns as f64
            && row >= rows.start as f64
            && row < rows.end as f64;
        if inside {
            sink(row as usize, column as usize, &[1.0]);
        }
    }
}
