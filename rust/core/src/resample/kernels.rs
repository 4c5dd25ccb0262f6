//! How the drop of an input pixel is shared among output pixels.

use std::ops::Range;

use super::ResampleError;
use super::lanes::{self, Areas, Drops, LANES, LARGEST_BOX, largest, smallest};
use super::overlap::{Coverage, Quad, SMALLEST_SHARE};

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

/// What a part of the pixel map spans in output rows.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Lowest output row position; larger than `high` where every position is NaN.
    pub low: f64,
    /// Highest output row position.
    pub high: f64,
    /// Largest step between neighbouring pixels, those just outside included.
    pub steepest: f64,
}

impl<'a> MapRows<'a> {
    fn row(&self, j: usize) -> MapRow<'a> {
        &self.positions[j * self.nx..(j + 1) * self.nx]
    }

    /// The output rows that the centres of some pixels span.
    #[must_use]
    pub fn extent(&self, rows: Range<usize>, columns: Range<usize>) -> Extent {
        let (mut low, mut high, mut steepest) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
        let wide = columns.start.saturating_sub(1)..(columns.end + 1).min(self.nx);
        for j in rows.start.saturating_sub(1)..(rows.end + 1).min(self.ny) {
            let here = &self.row(j)[wide.clone()];
            let below = &self.row(j.saturating_sub(1))[wide.clone()];
            let mut left = f64::NAN;
            for ([_, y], [_, y_below]) in here.iter().zip(below) {
                // Comparisons with NaN are false, so NaN never counts.
                for step in [(y - left).abs(), (y - y_below).abs()] {
                    steepest = if step > steepest { step } else { steepest };
                }
                low = if *y < low { *y } else { low };
                high = if *y > high { *y } else { high };
                left = *y;
            }
        }
        Extent {
            low,
            high,
            steepest,
        }
    }
}

/// A range of output positions in both axes, lowest and highest.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Columns.
    pub x: [f64; 2],
    /// Rows.
    pub y: [f64; 2],
}

impl Default for Bounds {
    fn default() -> Self {
        let nothing = [f64::INFINITY, f64::NEG_INFINITY];
        Self {
            x: nothing,
            y: nothing,
        }
    }
}

impl Bounds {
    /// Everything that lies on the pixels `rows` and `0 .. n_columns`.
    #[must_use]
    pub fn of(rows: &Range<usize>, n_columns: usize) -> Self {
        let y = [rows.start as f64 - 0.5, rows.end as f64 - 0.5];
        Self {
            x: [-0.5, n_columns as f64 - 0.5],
            y,
        }
    }

    /// Whether two ranges have something in common; false for NaN.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let meet = |a: [f64; 2], b: [f64; 2]| a[0] < b[1] && a[1] >= b[0];
        meet(self.x, other.x) && meet(self.y, other.y)
    }

    /// Grow to hold another range.
    pub fn join(&mut self, other: &Self) {
        self.x = [self.x[0].min(other.x[0]), self.x[1].max(other.x[1])];
        self.y = [self.y[0].min(other.y[0]), self.y[1].max(other.y[1])];
    }
}

/// The pixels inside of `window` that a range of positions touches; pixel `i` spans `i - 0.5 .. i + 0.5`.
#[must_use]
pub fn touched([low, high]: [f64; 2], window: &Range<usize>) -> Range<usize> {
    let first = (low + 0.5).floor().max(window.start as f64);
    let end = ((high + 0.5).floor() + 1.0).min(window.end as f64);
    if first < end {
        first as usize..end as usize
    } else {
        0..0
    }
}

/// One way of sharing: drops are prepared for a stretch of a row and then spread one by one.
pub trait Spread: Send + Sync {
    /// How far a drop reaches from its centre in output rows, when neighbouring pixels are `steepest` apart.
    fn margin(&self, steepest: f64) -> f64;
    /// Prepare the drops of the input pixels `rows`, `columns`, row after row.
    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>);
    /// The output positions that the `k`th prepared drop spans; NaN for a drop that is nowhere.
    fn bounds(&self, k: usize) -> Bounds;
    /// Call `sink(n, row, first column, shares)` for the rows of the prepared drops `which[n]` inside of `rows`, one
    /// drop after the other.
    fn spread(
        &mut self,
        which: &[usize],
        rows: Range<usize>,
        n_columns: usize,
        sink: impl FnMut(usize, usize, usize, &[f64]),
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
    drops: Drops,
    areas: Box<Areas>,
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
            drops: Drops::default(),
            areas: Box::new([[[0.0; LANES]; LARGEST_BOX]; LARGEST_BOX]),
        }
    }
}

impl Spread for Square {
    /// Bilinear corners are at most two steps of `half` away, and beyond the border the cross term counts twice.
    fn margin(&self, steepest: f64) -> f64 {
        2.0 * self.half * (1.0 + self.half) * steepest
    }

    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>) {
        self.quads.clear();
        for j in rows {
            self.prepare_row(map, j, columns.clone());
        }
    }

    #[inline]
    fn bounds(&self, k: usize) -> Bounds {
        let Quad { x, y } = &self.quads[k];
        Bounds {
            x: [smallest(*x), largest(*x)],
            y: [smallest(*y), largest(*y)],
        }
    }

    fn spread(
        &mut self,
        which: &[usize],
        rows: Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, usize, &[f64]),
    ) {
        for (chunk, members) in which.chunks(LANES).enumerate() {
            let mut scales = [0.0; LANES];
            let mut is_large = false;
            self.drops.clear();
            for (lane, (k, scale)) in members.iter().zip(&mut scales).enumerate() {
                let quad = &self.quads[*k];
                let twice_area = quad.twice_area();
                let fits = self.drops.set(lane, quad);
                is_large |= !fits;
                *scale = if fits && twice_area != 0.0 {
                    2.0 / twice_area
                } else {
                    0.0
                };
            }
            lanes::areas(&self.drops, &mut self.areas);
            for (lane, scale) in scales.iter().enumerate().take(members.len()) {
                let drop = chunk * LANES + lane;
                if *scale != 0.0 {
                    self.emit(lane, *scale, &rows, n_columns, |row, column, shares| {
                        sink(drop, row, column, shares);
                    });
                } else if is_large {
                    let quad = &self.quads[members[lane]];
                    self.coverage
                        .spread(quad, rows.clone(), n_columns, |row, column, shares| {
                            sink(drop, row, column, shares);
                        });
                }
            }
        }
    }
}

impl Square {
    /// The corners of a row of drops.
    fn prepare_row(&mut self, map: MapRows<'_>, j: usize, columns: Range<usize>) {
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

    /// Hand on the shares of one lane that are inside of the rows and columns.
    #[inline(always)]
    fn emit(
        &self,
        lane: usize,
        scale: f64,
        rows: &Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, &[f64]),
    ) {
        let (left, bottom) = (self.drops.left[lane] as i64, self.drops.bottom[lane] as i64);
        let (first, end) = (rows.start as i64, rows.end as i64);
        let first_column = (-left).clamp(0, self.drops.n_columns as i64) as usize;
        let end_column = (n_columns as i64 - left).clamp(0, self.drops.n_columns as i64) as usize;
        if first_column >= end_column {
            return;
        }
        let mut shares = [0.0; LARGEST_BOX];
        for (j, row) in self.areas.iter().enumerate().take(self.drops.rows[lane]) {
            let target = bottom + j as i64;
            if target < first || target >= end {
                continue;
            }
            for (share, areas) in shares.iter_mut().zip(&row[first_column..end_column]) {
                let value = areas[lane] * scale;
                *share = if value > SMALLEST_SHARE { value } else { 0.0 };
            }
            let column = (left + first_column as i64) as usize;
            sink(
                target as usize,
                column,
                &shares[..end_column - first_column],
            );
        }
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

/// Length that `low .. high` has in common with pixel `i`.
#[inline]
fn common(i: usize, low: f64, high: f64) -> f64 {
    (high.min(i as f64 + 0.5) - low.max(i as f64 - 0.5)).max(0.0)
}

impl Spread for Turbo {
    fn margin(&self, _steepest: f64) -> f64 {
        self.half
    }

    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>) {
        self.centres.clear();
        for j in rows {
            self.centres.extend_from_slice(&map.row(j)[columns.clone()]);
        }
    }

    #[inline]
    fn bounds(&self, k: usize) -> Bounds {
        let [x, y] = self.centres[k];
        Bounds {
            x: [x - self.half, x + self.half],
            y: [y - self.half, y + self.half],
        }
    }

    fn spread(
        &mut self,
        which: &[usize],
        rows: Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, usize, &[f64]),
    ) {
        for (n, k) in which.iter().enumerate() {
            let [x, y] = self.centres[*k];
            let columns = touched([x - self.half, x + self.half], &(0..n_columns));
            let scale = 1.0 / (4.0 * self.half * self.half);
            self.across.clear();
            self.across.extend(
                columns
                    .clone()
                    .map(|i| common(i, x - self.half, x + self.half) * scale),
            );
            for row in touched([y - self.half, y + self.half], &rows) {
                let height = common(row, y - self.half, y + self.half);
                self.shares.clear();
                self.shares
                    .extend(self.across.iter().map(|width| width * height));
                sink(n, row, columns.start, &self.shares);
            }
        }
    }
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

    #[inline]
    fn bounds(&self, k: usize) -> Bounds {
        let [x, y] = self.centres[k];
        Bounds {
            x: [x, x],
            y: [y, y],
        }
    }

    #[inline]
    fn spread(
        &mut self,
        which: &[usize],
        rows: Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, usize, &[f64]),
    ) {
        for (n, k) in which.iter().enumerate() {
            let [x, y] = self.centres[*k];
            let (column, row) = ((x + 0.5).floor(), (y + 0.5).floor());
            let inside = column >= 0.0
                && column < n_columns as f64
                && row >= rows.start as f64
                && row < rows.end as f64;
            if inside {
                sink(n, row as usize, column as usize, &[1.0]);
            }
        }
    }
}
