//! How the noise of a drizzled image is correlated, from the geometry of its exposures.
//!
//! Output pixel `i` is `sum_kp a_kpi w_kp d_kp / W_i` over the pixels `p` of exposures `k`, whose noise is independent.
//! So the covariance of two output pixels is
//!
//! ```text
//! C_ij = sum_kp a_kpi a_kpj w_kp^2 v_kp / (W_i W_j),
//! ```
//!
//! and the variance of a sum `sum_i u_i D_i` needs no pair of output pixels: it is
//! `sum_kp v_kp (w_kp sum_i a_kpi u_i / W_i)^2`, one pass through the drops ([`add_sums`]). [`lag_sums`] sums the
//! covariance over the pixels of a class as a function of the distance of the pair, [`lag_products`] does the same with
//! the products of an image's pixels. The weights `W` are those of the whole output, so exposures are gone through a
//! second time, one after the other; what is kept does not grow with their number.
//!
//! Each box of output pixels is the work of one thread, and goes through the input in a fixed order; sums over boxes
//! are added in the order of the boxes. So any number of threads gives the same bits.

use std::ops::Range;

use ndarray::{Array3, ArrayView1, ArrayView2};
use rayon::prelude::*;

use super::ResampleError;
use super::drizzle::{Input, Pixels, Tile, flat, tiles};
use super::drops::{Drop, Sink};
use super::kernels::{Kernel, Spread, Window};
use super::spreads::{WithSpread, with_spread};
use crate::interrupt;

/// Boxes whose lag sums are added before those of other boxes are.
const BOXES_PER_TASK: usize = 8;

/// A box of output pixels.
#[derive(Clone, Debug)]
struct Boxed {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// The boxes `y0, x0, ny, nx` of an array that lie on an output of shape `shape`.
fn boxes(array: &ArrayView2<'_, i64>, shape: (usize, usize)) -> Result<Vec<Boxed>, ResampleError> {
    if array.shape()[1] != 4 {
        return Err(ResampleError::Shape {
            name: "boxes",
            shape: array.shape().to_vec(),
            wanted: vec![array.shape()[0], 4],
        });
    }
    let range = |start: i64, n: i64, length: usize| {
        let (start, n) = (usize::try_from(start).ok()?, usize::try_from(n).ok()?);
        let end = start.checked_add(n)?;
        (end <= length).then_some(start..end)
    };
    array
        .rows()
        .into_iter()
        .map(|row| {
            let found = range(row[0], row[2], shape.0).zip(range(row[1], row[3], shape.1));
            found.map(|(rows, columns)| Boxed { rows, columns }).ok_or({
                ResampleError::Number {
                    name: "boxes",
                    value: row[0] as f64,
                    wanted: "boxes y0, x0, ny, nx that lie on the output",
                }
            })
        })
        .collect()
}

fn same_length(name: &'static str, found: usize, wanted: usize) -> Result<(), ResampleError> {
    if found == wanted {
        return Ok(());
    }
    Err(ResampleError::Shape {
        name,
        shape: vec![found],
        wanted: vec![wanted],
    })
}

/// `1 / W`, 0 where nothing contributed.
#[inline]
fn inverse(weight: f32) -> f64 {
    if weight == 0.0 {
        0.0
    } else {
        1.0 / f64::from(weight)
    }
}

/// What a thread needs to go through the drops around a box.
struct Walk<S> {
    spread: S,
    picked: Vec<[usize; 2]>,
    which: Vec<usize>,
    drops: Vec<Drop>,
}

impl<S: Spread> Walk<S> {
    fn new(spread: S) -> Self {
        Self {
            spread,
            picked: Vec::new(),
            which: Vec::new(),
            drops: Vec::new(),
        }
    }

    /// Spread all drops that can reach a box into the window, in the order of tiles and pixels.
    fn around(
        &mut self,
        here: &Boxed,
        pixels: &Pixels<'_>,
        tiles: &[Tile],
        window: &Window,
        sink: &mut impl Sink,
    ) {
        let box_bounds = [&here.columns, &here.rows]
            .map(|range| [range.start as f64 - 0.5, range.end as f64 - 0.5]);
        for tile in tiles {
            let meets = |k: usize| {
                tile.bounds[k][0] <= box_bounds[k][1] && tile.bounds[k][1] >= box_bounds[k][0]
            };
            if meets(0) && meets(1) {
                self.tile(&box_bounds, pixels, tile, window, sink);
            }
        }
    }

    /// The drops of one tile.
    fn tile(
        &mut self,
        box_bounds: &[[f64; 2]; 2],
        pixels: &Pixels<'_>,
        tile: &Tile,
        window: &Window,
        sink: &mut impl Sink,
    ) {
        let reaches = |k: usize, at: f64| {
            at >= box_bounds[k][0] - tile.margins[k] && at <= box_bounds[k][1] + tile.margins[k]
        };
        self.picked.clear();
        self.drops.clear();
        for j in tile.rows.clone() {
            for (i, [x, y]) in tile
                .columns
                .clone()
                .zip(&pixels.map.row(j)[tile.columns.clone()])
            {
                if reaches(0, *x)
                    && reaches(1, *y)
                    && let (drop, true) = pixels.drop_at(j * pixels.map.nx + i)
                {
                    self.picked.push([j, i]);
                    self.drops.push(drop);
                }
            }
        }
        let (Some([first, _]), Some([last, _])) = (self.picked.first(), self.picked.last()) else {
            return;
        };
        let all = || self.picked.iter().map(|[_, i]| *i);
        let rows = *first..last + 1;
        let columns = all().min().unwrap_or(0)..all().max().unwrap_or(0) + 1;
        self.which.clear();
        self.which.extend(
            self.picked
                .iter()
                .map(|[j, i]| (j - rows.start) * columns.len() + i - columns.start),
        );
        self.spread.prepare(pixels.map, rows, columns);
        self.spread.spread(&self.which, &self.drops, window, sink);
    }
}

/// The variance of one sum, drop by drop.
struct Weighted {
    here: Boxed,
    /// `u_i / W_i` of the pixels of the box.
    factors: Vec<f64>,
    /// Of the drop whose shares come in: `w^2 v`, and the sum of its shares times their factors.
    scale: f64,
    share: f64,
    variance: f64,
}

impl Weighted {
    fn finish(&mut self) -> f64 {
        self.variance += self.scale * self.share * self.share;
        self.share = 0.0;
        self.variance
    }
}

impl Sink for Weighted {
    #[inline]
    fn begin(&mut self, drop: &Drop) {
        self.finish();
        self.scale = drop.weight * drop.weight * drop.variance;
    }

    #[inline]
    fn add(&mut self, _drop: &Drop, row: usize, column: usize, shares: &[f64]) {
        let Boxed { rows, columns } = &self.here;
        let first = column.max(columns.start);
        let end = (column + shares.len()).min(columns.end);
        if first >= end || !rows.contains(&row) {
            return;
        }
        let start = (row - rows.start) * columns.len() - columns.start;
        let factors = &self.factors[start + first..start + end];
        for (share, factor) in shares[first - column..end - column].iter().zip(factors) {
            self.share += share * factor;
        }
    }
}

/// Add what an exposure contributes to the variances of sums of output pixels.
///
/// Sum `n` is over the pixels of the box `boxes[n]`, which is `y0, x0, ny, nx`, with the factors `u` of its pixels, row
/// after row, that follow those of the boxes before it. `weight` is that of the finished output.
///
/// # Errors
/// [`ResampleError`] for arrays that do not fit and numbers that are not allowed. The sums are as before.
///
/// # Source
/// Casertano et al. 2000, AJ 120, 2747, appendix, without its approximations.
pub fn add_sums(
    out_variance: &mut [f64],
    where_: &ArrayView2<'_, i64>,
    factors: &[f64],
    weight: ArrayView2<'_, f32>,
    input: &Input<'_>,
    kernel: Kernel,
) -> Result<(), ResampleError> {
    let shape = weight.dim();
    let boxes = boxes(where_, shape)?;
    same_length("out_variance", out_variance.len(), boxes.len())?;
    let starts: Vec<usize> = boxes
        .iter()
        .scan(0, |end, b| {
            let start = *end;
            *end += b.rows.len() * b.columns.len();
            Some(start)
        })
        .collect();
    let n_factors = boxes.iter().map(|b| b.rows.len() * b.columns.len()).sum();
    same_length("factors", factors.len(), n_factors)?;
    let work = Sums {
        out: out_variance,
        boxes: &boxes,
        starts: &starts,
        factors,
        weight: flat("weight", Some(weight), shape)?.unwrap_or_default(),
        n_columns: shape.1,
        pixels: Pixels::new(input, 0, kernel)?,
    };
    with_spread(kernel, input, work)
}

struct Sums<'a> {
    out: &'a mut [f64],
    boxes: &'a [Boxed],
    starts: &'a [usize],
    factors: &'a [f64],
    weight: &'a [f32],
    n_columns: usize,
    pixels: Pixels<'a>,
}

impl Sums<'_> {
    /// `u_i / W_i` of the pixels of a box.
    fn scaled(&self, n: usize) -> Vec<f64> {
        let Boxed { rows, columns } = &self.boxes[n];
        let factors = self.factors[self.starts[n]..].chunks(columns.len().max(1));
        rows.clone()
            .zip(factors)
            .flat_map(|(row, factors)| {
                let start = row * self.n_columns;
                let weights = &self.weight[start + columns.start..start + columns.end];
                factors.iter().zip(weights).map(|(u, w)| u * inverse(*w))
            })
            .collect()
    }
}

impl WithSpread for Sums<'_> {
    type Output = ();

    fn run<S: Spread>(mut self, make: impl Fn() -> S + Sync) {
        let tiles = tiles(self.pixels.map, &make());
        let out = std::mem::take(&mut self.out);
        out.par_iter_mut().enumerate().for_each_init(
            || Walk::new(make()),
            |walk, (n, variance)| {
                interrupt::poll();
                let here = self.boxes[n].clone();
                let window = Window {
                    rows: here.rows.clone(),
                    n_columns: self.n_columns,
                };
                let mut sink = Weighted {
                    here: here.clone(),
                    factors: self.scaled(n),
                    scale: 0.0,
                    share: 0.0,
                    variance: 0.0,
                };
                walk.around(&here, &self.pixels, &tiles, &window, &mut sink);
                *variance += sink.finish();
            },
        );
    }
}

/// Sums of products of pairs of output pixels, by the class of the first one and the distance.
struct Lags {
    reach: usize,
    side: usize,
    /// `[class][dy + reach][dx + reach]`.
    sums: Vec<f64>,
}

impl Lags {
    fn new(n_classes: usize, reach: usize) -> Self {
        let side = 2 * reach + 1;
        Self {
            reach,
            side,
            sums: vec![0.0; n_classes * side * side],
        }
    }

    /// Add `first` times the values in a row, which begins `dy, dx` away from the pixel of this class.
    #[inline]
    fn add(&mut self, class: usize, first: f64, [dy, dx]: [isize; 2], values: &[f64]) {
        let reach = self.reach as isize;
        let skip = (-reach - dx).clamp(0, values.len() as isize);
        let end = (reach + 1 - dx).clamp(skip, values.len() as isize);
        if dy.abs() > reach || skip == end {
            return;
        }
        let row = (class * self.side) as isize + dy + reach;
        let start = row * self.side as isize + dx + reach + skip;
        let values = &values[skip as usize..end as usize];
        let out = &mut self.sums[start as usize..start as usize + values.len()];
        for (sum, value) in out.iter_mut().zip(values) {
            *sum += first * value;
        }
    }

    fn into_array(self, n_classes: usize) -> Array3<f64> {
        let shape = (n_classes, self.side, self.side);
        Array3::from_shape_vec(shape, self.sums).unwrap_or_else(|_| Array3::zeros(shape))
    }
}

/// The classes of output pixels.
#[derive(Clone, Copy)]
struct Classes<'a> {
    of: &'a [u8],
    n_columns: usize,
}

impl Classes<'_> {
    #[inline]
    fn at(&self, row: usize, column: usize) -> u8 {
        self.of[row * self.n_columns + column]
    }
}

/// The lag sums of one box, drop by drop.
struct Pairs<'a> {
    chosen: &'a Chosen,
    classes: Classes<'a>,
    weight: &'a [f32],
    drop_scale: f64,
    /// Pieces of rows that the drop whose shares come in has touched, and its shares over W there.
    pieces: Vec<(usize, usize, Range<usize>)>,
    values: Vec<f64>,
    lags: Lags,
}

impl Pairs<'_> {
    /// Add all pairs of the pixels that the last drop has touched.
    fn finish(&mut self) {
        let Boxed { rows, columns } = &self.chosen.here;
        let class = self.chosen.class;
        for (row, first, piece) in self.pieces.iter().filter(|p| rows.contains(&p.0)) {
            for (k, value) in self.values[piece.clone()].iter().enumerate() {
                let column = first + k;
                let counts = *value != 0.0
                    && columns.contains(&column)
                    && self.classes.at(*row, column) == class;
                if !counts {
                    continue;
                }
                for (other_row, other_first, other) in &self.pieces {
                    let lag = [
                        *other_row as isize - *row as isize,
                        *other_first as isize - column as isize,
                    ];
                    let values = &self.values[other.clone()];
                    self.lags
                        .add(usize::from(class), self.drop_scale * value, lag, values);
                }
            }
        }
        self.pieces.clear();
        self.values.clear();
    }
}

impl Sink for Pairs<'_> {
    fn begin(&mut self, drop: &Drop) {
        self.finish();
        self.drop_scale = self.chosen.scale * drop.weight * drop.weight * drop.variance;
    }

    fn add(&mut self, _drop: &Drop, row: usize, column: usize, shares: &[f64]) {
        let nx = self.classes.n_columns;
        let shares = &shares[..shares.len().min(nx.saturating_sub(column))];
        let start = self.values.len();
        let weights = &self.weight[row * nx + column..row * nx + column + shares.len()];
        self.values
            .extend(shares.iter().zip(weights).map(|(a, w)| a * inverse(*w)));
        self.pieces.push((row, column, start..self.values.len()));
    }
}

/// Which pairs of output pixels are summed.
pub struct Lagged<'a> {
    /// Boxes `y0, x0, ny, nx` of the first pixels of the pairs.
    pub boxes: ArrayView2<'a, i64>,
    /// Class of the first pixels; others of a box do not count.
    pub box_classes: ArrayView1<'a, u8>,
    /// Factor of the sums of each box.
    pub scales: ArrayView1<'a, f64>,
    /// Class of every output pixel.
    pub classes: ArrayView2<'a, u8>,
    /// Number of classes.
    pub n_classes: usize,
    /// Largest distance along either axis.
    pub reach: usize,
}

/// First pixels of pairs: those of a class in a box, and the factor of their sums.
struct Chosen {
    here: Boxed,
    class: u8,
    scale: f64,
}

/// [`Lagged`], checked.
struct Selection<'a> {
    chosen: Vec<Chosen>,
    classes: Classes<'a>,
    n_classes: usize,
    reach: usize,
}

impl<'a> Selection<'a> {
    fn new(lagged: &Lagged<'a>) -> Result<Self, ResampleError> {
        let shape = lagged.classes.dim();
        let boxes = boxes(&lagged.boxes, shape)?;
        same_length("scales", lagged.scales.len(), boxes.len())?;
        same_length("box_classes", lagged.box_classes.len(), boxes.len())?;
        for (name, value, wanted, is_fine) in [
            (
                "n_classes",
                lagged.n_classes,
                "from 1 to 255",
                (1..=255).contains(&lagged.n_classes),
            ),
            (
                "reach",
                lagged.reach,
                "at most 255",
                lagged.reach <= MOST_REACH,
            ),
        ] {
            if !is_fine {
                let value = value as f64;
                return Err(ResampleError::Number {
                    name,
                    value,
                    wanted,
                });
            }
        }
        let highest = lagged.box_classes.iter().copied().max().unwrap_or(0);
        if usize::from(highest) >= lagged.n_classes {
            return Err(ResampleError::Number {
                name: "box_classes",
                value: f64::from(highest),
                wanted: "below n_classes",
            });
        }
        let which = boxes.into_iter().zip(lagged.box_classes).zip(lagged.scales);
        Ok(Self {
            chosen: which
                .map(|((here, class), scale)| Chosen {
                    here,
                    class: *class,
                    scale: *scale,
                })
                .collect(),
            classes: Classes {
                of: flat("classes", Some(lagged.classes), shape)?.unwrap_or_default(),
                n_columns: shape.1,
            },
            n_classes: lagged.n_classes,
            reach: lagged.reach,
        })
    }

    /// The sums over all boxes; `one` adds those of one box.
    fn sum<W>(
        &self,
        make: impl Fn() -> W + Sync + Send,
        one: impl Fn(&mut W, &Chosen, Lags) -> Lags + Sync + Send,
    ) -> Array3<f64> {
        let empty = || Lags::new(self.n_classes, self.reach);
        let parts: Vec<Lags> = self
            .chosen
            .par_chunks(BOXES_PER_TASK)
            .map_init(make, |tools, boxes| {
                interrupt::poll();
                boxes
                    .iter()
                    .fold(empty(), |lags, chosen| one(tools, chosen, lags))
            })
            .collect();
        let mut total = empty();
        for part in parts {
            for (sum, add) in total.sums.iter_mut().zip(part.sums) {
                *sum += add;
            }
        }
        total.into_array(self.n_classes)
    }
}

/// Largest distance along an axis that is allowed.
const MOST_REACH: usize = 255;

/// What an exposure contributes to the sums of the covariances `C_ij` over pairs of output pixels, by the class of `i`
/// and the distance `j - i`; `[class][dy + reach][dx + reach]`. `weight` is that of the finished output.
///
/// # Errors
/// [`ResampleError`] for arrays that do not fit and numbers that are not allowed.
pub fn lag_sums(
    lagged: &Lagged<'_>,
    weight: ArrayView2<'_, f32>,
    input: &Input<'_>,
    kernel: Kernel,
) -> Result<Array3<f64>, ResampleError> {
    let shape = lagged.classes.dim();
    let work = LagSums {
        selection: Selection::new(lagged)?,
        weight: flat("weight", Some(weight), shape)?.unwrap_or_default(),
        pixels: Pixels::new(input, 0, kernel)?,
        window: Window {
            rows: 0..shape.0,
            n_columns: shape.1,
        },
    };
    with_spread(kernel, input, work)
}

struct LagSums<'a> {
    selection: Selection<'a>,
    weight: &'a [f32],
    pixels: Pixels<'a>,
    window: Window,
}

impl WithSpread for LagSums<'_> {
    type Output = Array3<f64>;

    fn run<S: Spread>(self, make: impl Fn() -> S + Sync) -> Array3<f64> {
        let tiles = tiles(self.pixels.map, &make());
        self.selection.sum(
            || Walk::new(make()),
            |walk, chosen, lags| {
                let mut sink = Pairs {
                    chosen,
                    classes: self.selection.classes,
                    weight: self.weight,
                    drop_scale: 0.0,
                    pieces: Vec::new(),
                    values: Vec::new(),
                    lags,
                };
                walk.around(&chosen.here, &self.pixels, &tiles, &self.window, &mut sink);
                sink.finish();
                sink.lags
            },
        )
    }
}

/// Sums of products of pairs of an image's pixels, as [`lag_sums`].
///
/// # Errors
/// [`ResampleError`] for arrays that do not fit and numbers that are not allowed.
pub fn lag_products(
    lagged: &Lagged<'_>,
    image: ArrayView2<'_, f32>,
) -> Result<Array3<f64>, ResampleError> {
    let (ny, nx) = lagged.classes.dim();
    let selection = Selection::new(lagged)?;
    let image = flat("image", Some(image), (ny, nx))?.unwrap_or_default();
    let reach = selection.reach;
    let one = |values: &mut Vec<f64>, chosen: &Chosen, mut lags: Lags| {
        let Boxed { rows, columns } = &chosen.here;
        let left = columns.start.saturating_sub(reach);
        let right = (columns.end + reach).min(nx);
        for other in rows.start.saturating_sub(reach)..(rows.end + reach).min(ny) {
            let pixels = &image[other * nx + left..other * nx + right];
            values.clear();
            values.extend(pixels.iter().map(|v| f64::from(*v)));
            let first_row = rows.start.max(other.saturating_sub(reach));
            for row in first_row..rows.end.min(other + reach + 1) {
                let dy = other as isize - row as isize;
                for column in columns.clone() {
                    let first = f64::from(image[row * nx + column]) * chosen.scale;
                    if first != 0.0 && selection.classes.at(row, column) == chosen.class {
                        let lag = [dy, left as isize - column as isize];
                        lags.add(usize::from(chosen.class), first, lag, values);
                    }
                }
            }
        }
        lags
    };
    Ok(selection.sum(Vec::new, one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array2};

    #[test]
    fn lags_beyond_the_reach_leave_no_trace() {
        let mut lags = Lags::new(2, 1);
        for dx in [-40, -4, 2, 50] {
            lags.add(1, 1.0, [0, dx], &[1.0, 1.0, 1.0]);
        }
        lags.add(1, 1.0, [2, 0], &[1.0]);
        assert!(lags.sums.iter().all(|sum| *sum == 0.0));
        lags.add(1, 2.0, [1, -3], &[1.0, 1.0, 3.0, 5.0, 7.0, 9.0]);
        assert_eq!(lags.sums[9 + 6..], [6.0, 10.0, 14.0]);
    }

    #[test]
    fn products_of_a_constant_image_count_the_pairs() {
        let (ny, nx) = (9, 11);
        let boxes = ndarray::arr2(&[[0, 0, 9, 11]]);
        let found = lag_products(
            &Lagged {
                boxes: boxes.view(),
                box_classes: Array1::zeros(1).view(),
                scales: Array1::ones(1).view(),
                classes: Array2::zeros((ny, nx)).view(),
                n_classes: 1,
                reach: 12,
            },
            Array2::ones((ny, nx)).view(),
        )
        .unwrap();
        for dy in -12_isize..=12 {
            for dx in -12_isize..=12 {
                let pairs = (9 - dy.abs()).max(0) * (11 - dx.abs()).max(0);
                let sum = found[[0, (dy + 12) as usize, (dx + 12) as usize]];
                assert!((sum - pairs as f64).abs() < 1e-9);
            }
        }
    }
}
