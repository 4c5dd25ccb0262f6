//! Drizzle: exposures are added one at a time to an output that keeps weighted sums.
//!
//! The output is cut into blocks of rows, each the work of one thread. A block goes through the input in tiles of a
//! fixed size and order, and adds those parts of a tile's drops that lie in its rows to its pixels. So the terms of every
//! output pixel are added in one order whatever the blocks and threads are.

use std::array;
use std::hint;
use std::iter;
use std::ops::Range;

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};
use rayon::prelude::*;

use super::ResampleError;
use super::drops::{CHUNK, Drop, Pair, Sink};
use super::kernels::{Kernel, Spread, Window, touched};
use super::map_rows::MapRows;
use super::spreads::{WithSpread, with_spread};
use crate::interrupt;
use crate::math::widest::{Work, run_widest};

/// Context bits in one plane.
pub const BITS_PER_PLANE: usize = 32;
/// Output pixels that are one task's work in the last division.
const PIXELS_PER_TASK: usize = 1 << 15;
/// Side of the tiles in which input pixels are added: their drops stay in the processor's caches on rotated maps too.
const TILE: usize = 32;
/// Output pixels whose sums are in one line of the cache.
const PAIRS_PER_LINE: usize = 4;
/// More than the rounding of positions.
const ROUNDING_PIX: f64 = 1.0;

/// What of an exposure is drizzled.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Pixel values.
    pub data: ArrayView2<'a, f32>,
    /// Output `(x, y)` of every pixel.
    pub pixmap: ArrayView3<'a, f64>,
    /// Weight of every pixel; 1 when absent.
    pub weight: Option<ArrayView2<'a, f32>>,
    /// Variance of every pixel.
    pub variance: Option<ArrayView2<'a, f32>>,
    /// Data-quality bits of every pixel.
    pub dq: Option<ArrayView2<'a, u32>>,
    /// Factor of the values.
    pub value_scale: f64,
    /// Side of an output pixel over the side of an input pixel; measured from the pixel map when absent.
    pub pixel_scale_ratio: Option<f64>,
}

/// The sums of an output, or of a window of it, which belong to the caller and grow with every exposure.
pub struct Sums<'a> {
    /// Row and column of the output with which the sums begin.
    pub first: [usize; 2],
    /// Columns of the whole output.
    pub n_columns: usize,
    /// `(ny, nx, 2)`: sums of `w` and of `w d`.
    pub mean: ArrayViewMut3<'a, f64>,
    /// `(ny, nx)`: the plane of context bits in which the exposure is.
    pub context: ArrayViewMut2<'a, i32>,
    /// `(ny, nx)`: sums of `w^2 v`.
    pub variance: Option<ArrayViewMut2<'a, f64>>,
    /// `(ny, nx)`: union of data-quality bits.
    pub dq: Option<ArrayViewMut2<'a, u32>>,
}

/// The sums of an output, flat.
struct FlatSums<'a> {
    first: [usize; 2],
    n_columns: usize,
    shape: [usize; 2],
    mean: &'a mut [Pair],
    context: &'a mut [i32],
    variance: Option<&'a mut [f64]>,
    dq: Option<&'a mut [u32]>,
}

/// A block of output rows, or of the columns of them that a window has.
struct Block<'a> {
    rows: Range<usize>,
    columns: Range<usize>,
    /// Columns of the whole output: shares are those of a drop that no window cuts.
    n_columns: usize,
    bit: i32,
    mean: &'a mut [Pair],
    context: &'a mut [i32],
    variance: Option<&'a mut [f64]>,
    dq: Option<&'a mut [u32]>,
}

/// The pixels of an exposure, flat.
pub(super) struct Pixels<'a> {
    pub(super) map: MapRows<'a>,
    data: &'a [f32],
    weight: Option<&'a [f32]>,
    variance: Option<&'a [f32]>,
    dq: Option<&'a [u32]>,
    value_scale: f64,
    bit: i32,
}

pub(super) fn flat<'a, T>(
    name: &'static str,
    view: Option<ArrayView2<'a, T>>,
    shape: (usize, usize),
) -> Result<Option<&'a [T]>, ResampleError> {
    let Some(view) = view else {
        return Ok(None);
    };
    if view.dim() != shape {
        let wanted = vec![shape.0, shape.1];
        return Err(ResampleError::Shape {
            name,
            shape: view.shape().to_vec(),
            wanted,
        });
    }
    view.to_slice()
        .map(Some)
        .ok_or(ResampleError::Layout { name })
}

impl<'a> Pixels<'a> {
    pub(super) fn new(input: &Input<'a>, bit: i32, kernel: Kernel) -> Result<Self, ResampleError> {
        let (ny, nx) = input.data.dim();
        if input.pixmap.shape() != [ny, nx, 2] {
            let wanted = vec![ny, nx, 2];
            return Err(ResampleError::Shape {
                name: "pixmap",
                shape: input.pixmap.shape().to_vec(),
                wanted,
            });
        }
        if matches!(kernel, Kernel::Square { .. }) && ny.min(nx) < 2 {
            return Err(ResampleError::TooSmall { ny, nx });
        }
        let positions = input
            .pixmap
            .to_slice()
            .ok_or(ResampleError::Layout { name: "pixmap" })?
            .as_chunks::<2>()
            .0;
        let data = input
            .data
            .to_slice()
            .ok_or(ResampleError::Layout { name: "data" })?;
        Ok(Self {
            map: MapRows { positions, nx, ny },
            data,
            weight: flat("weight", input.weight, (ny, nx))?,
            variance: flat("variance", input.variance, (ny, nx))?,
            dq: flat("dq", input.dq, (ny, nx))?,
            value_scale: input.value_scale,
            bit,
        })
    }

    /// The pixel at a flat index, and whether it counts.
    #[inline(always)]
    pub(super) fn drop_at(&self, at: usize) -> (Drop, bool) {
        let weight = self.weight.map_or(1.0, |w| f64::from(w[at]));
        let value = f64::from(self.data[at]) * self.value_scale;
        let variance = self.variance.map_or(0.0, |v| {
            f64::from(v[at]) * self.value_scale * self.value_scale
        });
        // A sum is finite if all its terms are.
        let counts = weight > 0.0 && (weight + value + variance).is_finite();
        let dq = self.dq.map_or(0, |dq| dq[at]);
        let drop = Drop {
            weight,
            value,
            variance,
            dq,
        };
        (drop, counts)
    }
}

/// A tile of input pixels and what its drops can touch of the output.
pub(super) struct Tile {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// In x and in y: lowest and highest position of the drops.
    pub(super) bounds: [[f64; 2]; 2],
    /// In x and in y: how far a drop reaches from its centre.
    pub(super) margins: [f64; 2],
}

/// What a thread needs besides the output.
struct Scratch<S> {
    spread: S,
    /// Room for the prepared drops of a tile that count, and what they hold.
    which: Vec<usize>,
    drops: Vec<Drop>,
}

/// The tiles of an exposure in the order in which they are added.
pub(super) fn tiles<S: Spread>(map: MapRows<'_>, spread: &S) -> Vec<Tile> {
    let across = map.nx.div_ceil(TILE).max(1);
    (0..across * map.ny.div_ceil(TILE))
        .into_par_iter()
        .with_min_len(8)
        .map(|k| {
            let (bottom, left) = (k / across * TILE, k % across * TILE);
            let rows = bottom..(bottom + TILE).min(map.ny);
            let columns = left..(left + TILE).min(map.nx);
            let extents = map.extent(rows.clone(), columns.clone());
            let margins = extents.map(|extent| spread.margin(extent.steepest) + ROUNDING_PIX);
            let bounds =
                [0, 1].map(|k: usize| [extents[k].low - margins[k], extents[k].high + margins[k]]);
            Tile {
                rows,
                columns,
                bounds,
                margins,
            }
        })
        .collect()
}

impl Block<'_> {
    /// Add what the exposure's drops leave in this block.
    #[inline(always)]
    fn add_drops<S: Spread>(
        &mut self,
        pixels: &Pixels<'_>,
        tiles: &[Tile],
        scratch: &mut Scratch<S>,
    ) {
        let window = Window {
            rows: self.rows.clone(),
            n_columns: self.n_columns,
        };
        for tile in tiles {
            let rows = touched(tile.bounds[1], &window.rows);
            let columns = touched(tile.bounds[0], &self.columns);
            if !rows.is_empty() && !columns.is_empty() {
                self.fetch(rows, columns);
                scratch.spread_tile(pixels, tile, &window, self);
            }
        }
    }

    #[inline(always)]
    fn start(&self, row: usize, column: usize) -> usize {
        (row - self.rows.start) * self.columns.len() + (column - self.columns.start)
    }

    /// Whether so many shares from a column on begin and end in the window.
    #[inline(always)]
    fn holds(&self, column: usize, n: usize) -> bool {
        column >= self.columns.start && column + n <= self.columns.end
    }

    /// Read part of the sums, so that they are in the processor's cache: the loads of a row do not wait for each other,
    /// as those of the drops do.
    #[inline(always)]
    fn fetch(&self, rows: Range<usize>, columns: Range<usize>) {
        for row in rows {
            let here = self.start(row, columns.start)..self.start(row, columns.end);
            let mean = self.mean[here.clone()].iter().step_by(PAIRS_PER_LINE);
            let bits = self.context[here].iter().step_by(4 * PAIRS_PER_LINE);
            let sum: f64 = mean
                .map(|[w, _]| *w)
                .fold(0.0, |a, b| if a > b { a } else { b });
            hint::black_box((sum, bits.fold(0, |a, b| a | b)));
        }
    }

    /// Add those of the shares from a pixel on that lie in the window.
    #[cold]
    fn add_cut(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        shares: impl Iterator<Item = f64>,
    ) {
        for (k, share) in shares.enumerate() {
            if self.holds(column + k, 1) {
                self.add_chunks(drop, self.start(row, column + k), iter::once([share]));
            }
        }
    }

    /// Add shares from a pixel of the block on.
    #[inline(always)]
    fn add_chunks<const N: usize>(
        &mut self,
        drop: &Drop,
        start: usize,
        chunks: impl ExactSizeIterator<Item = [f64; N]> + Clone,
    ) {
        let window = start..start + chunks.len() * N;
        let Drop { weight, value, .. } = *drop;
        let product = weight * value;
        let mean = self.mean[window.clone()].as_chunks_mut::<N>().0;
        for (pairs, shares) in mean.iter_mut().zip(chunks.clone()) {
            for (pair, share) in pairs.iter_mut().zip(shares) {
                *pair = [pair[0] + share * weight, pair[1] + share * product];
            }
        }
        let context = self.context[window.clone()].as_chunks_mut::<N>().0;
        for (bits, shares) in context.iter_mut().zip(chunks.clone()) {
            *bits = array::from_fn(|k| bits[k] | if shares[k] > 0.0 { self.bit } else { 0 });
        }
        if let Some(variance) = &mut self.variance {
            let sums = variance[window.clone()].as_chunks_mut::<N>().0;
            for (sums, shares) in sums.iter_mut().zip(chunks.clone()) {
                for (sum, share) in sums.iter_mut().zip(shares) {
                    let w = share * weight;
                    *sum += w * w * drop.variance;
                }
            }
        }
        if let Some(dq) = &mut self.dq {
            let union = dq[window].as_chunks_mut::<N>().0;
            for (bits, shares) in union.iter_mut().zip(chunks) {
                for (bits, share) in bits.iter_mut().zip(shares) {
                    *bits |= if share == 0.0 { 0 } else { drop.dq };
                }
            }
        }
    }
}

impl Sink for Block<'_> {
    #[inline(always)]
    fn add(&mut self, drop: &Drop, row: usize, column: usize, shares: &[f64]) {
        if !self.holds(column, shares.len()) {
            return self.add_cut(drop, row, column, shares.iter().copied());
        }
        let start = self.start(row, column);
        let (chunks, rest) = shares.as_chunks::<CHUNK>();
        self.add_chunks(drop, start, chunks.iter().copied());
        let start = start + chunks.len() * CHUNK;
        self.add_chunks(drop, start, rest.iter().map(|share| [*share]));
    }

    #[inline(always)]
    fn add_product(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        across: &[[f64; CHUNK]],
        height: f64,
    ) {
        let chunks = across.iter().map(|widths| widths.map(|w| w * height));
        if !self.holds(column, across.len() * CHUNK) {
            return self.add_cut(drop, row, column, chunks.flatten());
        }
        self.add_chunks(drop, self.start(row, column), chunks);
    }

    #[inline(always)]
    fn add_box<const N: usize>(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        shares: &[f64; N],
    ) {
        if !self.holds(column, N) {
            return self.add_cut(drop, row, column, shares.iter().copied());
        }
        self.add_chunks(drop, self.start(row, column), iter::once(*shares));
    }
}

impl<S: Spread> Scratch<S> {
    /// Spread a tile's drops.
    #[inline(always)]
    fn spread_tile(
        &mut self,
        pixels: &Pixels<'_>,
        tile: &Tile,
        window: &Window,
        block: &mut Block<'_>,
    ) {
        let low = window.rows.start as f64 - 0.5 - tile.margins[1];
        let high = window.rows.end as f64 - 0.5 + tile.margins[1];
        let mut n = 0;
        for (row, j) in tile.rows.clone().enumerate() {
            let first = j * pixels.map.nx + tile.columns.start;
            let positions = &pixels.map.row(j)[tile.columns.clone()];
            for (column, [_, y]) in positions.iter().enumerate() {
                // The next drop overwrites one that does not count: a branch would often be guessed wrong.
                let (drop, counts) = pixels.drop_at(first + column);
                self.which[n] = row * tile.columns.len() + column;
                self.drops[n] = drop;
                n += usize::from(counts && *y >= low && *y <= high);
            }
        }
        if n > 0 {
            self.spread
                .prepare(pixels.map, tile.rows.clone(), tile.columns.clone());
            self.spread
                .spread(&self.which[..n], &self.drops[..n], window, block);
        }
    }
}

fn flat_mut<'a, T>(
    name: &'static str,
    view: ArrayViewMut2<'a, T>,
    shape: [usize; 2],
) -> Result<&'a mut [T], ResampleError> {
    if view.shape() != shape {
        return Err(ResampleError::Shape {
            name,
            shape: view.shape().to_vec(),
            wanted: shape.to_vec(),
        });
    }
    view.into_slice().ok_or(ResampleError::Layout { name })
}

impl<'a> FlatSums<'a> {
    fn new(sums: Sums<'a>) -> Result<Self, ResampleError> {
        let (ny, nx, pair) = sums.mean.dim();
        let shape = [ny, nx];
        if pair != 2 {
            let name = "out_mean";
            return Err(ResampleError::Shape {
                name,
                shape: sums.mean.shape().to_vec(),
                wanted: vec![ny, nx, 2],
            });
        }
        let mean = sums
            .mean
            .into_slice()
            .ok_or(ResampleError::Layout { name: "out_mean" })?;
        Ok(Self {
            first: sums.first,
            n_columns: sums.n_columns,
            shape,
            mean: mean.as_chunks_mut::<2>().0,
            context: flat_mut("out_context", sums.context, shape)?,
            variance: sums
                .variance
                .map(|v| flat_mut("out_variance", v, shape))
                .transpose()?,
            dq: sums
                .dq
                .map(|dq| flat_mut("out_dq", dq, shape))
                .transpose()?,
        })
    }

    fn blocks(self, block_rows: usize, bit: i32) -> Vec<Block<'a>> {
        let [ny, nx] = self.shape;
        let size = (block_rows * nx).max(1);
        let mut variance = self.variance.map(|v| v.chunks_mut(size));
        let mut dq = self.dq.map(|v| v.chunks_mut(size));
        self.mean
            .chunks_mut(size)
            .zip(self.context.chunks_mut(size))
            .enumerate()
            .map(|(b, (mean, context))| Block {
                rows: self.first[0] + b * block_rows
                    ..self.first[0] + ((b + 1) * block_rows).min(ny),
                columns: self.first[1]..self.first[1] + nx,
                n_columns: self.n_columns,
                bit,
                mean,
                context,
                variance: variance.as_mut().and_then(Iterator::next),
                dq: dq.as_mut().and_then(Iterator::next),
            })
            .collect()
    }
}

/// Add an exposure, the `index`th, to the sums of an output.
///
/// Pixels do not count whose weight is not positive, whose value, weight or variance is not finite, or whose drop has
/// no finite corners or is folded over. After an error the sums are as before.
///
/// # Errors
/// [`ResampleError`] for arrays that do not fit and numbers that are not allowed.
pub fn add(
    out: Sums<'_>,
    input: &Input<'_>,
    kernel: Kernel,
    index: usize,
) -> Result<(), ResampleError> {
    let (ny, nx, _) = out.mean.dim();
    if out.first[1].saturating_add(nx) > out.n_columns || out.first[0].checked_add(ny).is_none() {
        return Err(ResampleError::Number {
            name: "first",
            value: out.first[1] as f64,
            wanted: "such that the window lies on the output",
        });
    }
    if !input.value_scale.is_finite() {
        return Err(ResampleError::Number {
            name: "value_scale",
            value: input.value_scale,
            wanted: "finite",
        });
    }
    for (name, kept, given) in [
        ("variance", out.variance.is_some(), input.variance.is_some()),
        ("dq", out.dq.is_some(), input.dq.is_some()),
    ] {
        if kept != given {
            return Err(ResampleError::Mixed { name, index, given });
        }
    }
    let pixels = Pixels::new(input, 1_i32 << (index % BITS_PER_PLANE), kernel)?;
    let sums = FlatSums::new(out)?;
    with_spread(kernel, input, Adding { sums, pixels })
}

/// An exposure that is to be added to the sums of an output.
struct Adding<'a> {
    sums: FlatSums<'a>,
    pixels: Pixels<'a>,
}

impl WithSpread for Adding<'_> {
    type Output = ();

    fn run<S: Spread>(self, make: impl Fn() -> S + Sync) {
        add_with(self.sums, &self.pixels, make);
    }
}

fn add_with<S: Spread>(sums: FlatSums<'_>, pixels: &Pixels<'_>, make: impl Fn() -> S + Sync) {
    let [ny, _] = sums.shape;
    let tiles = tiles(pixels.map, &make());
    let block_rows = (ny / (4 * rayon::current_num_threads())).clamp(32, 512);
    let scratch = || Scratch {
        spread: make(),
        which: vec![0; TILE * TILE],
        drops: vec![Drop::default(); TILE * TILE],
    };
    sums.blocks(block_rows, pixels.bit)
        .into_par_iter()
        .for_each_init(scratch, |scratch, block| {
            interrupt::poll();
            run_widest(AddDrops {
                block,
                pixels,
                tiles: &tiles,
                scratch,
            });
        });
}

/// Add what an exposure's drops leave in a block.
struct AddDrops<'a, 'b, S> {
    block: Block<'a>,
    pixels: &'b Pixels<'b>,
    tiles: &'b [Tile],
    scratch: &'b mut Scratch<S>,
}

impl<S: Spread> Work for AddDrops<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.block.add_drops(self.pixels, self.tiles, self.scratch);
    }
}

/// Write the weighted mean and the weight; `fillval` where the weight is 0.
///
/// # Errors
/// [`ResampleError`] for arrays that do not fit.
pub fn weighted_mean(
    mean: &ArrayView3<'_, f64>,
    fillval: f32,
    out_data: ArrayViewMut2<'_, f32>,
    out_weight: ArrayViewMut2<'_, f32>,
) -> Result<(), ResampleError> {
    let pairs = pairs(mean)?;
    let shape = [mean.shape()[0], mean.shape()[1]];
    let data = flat_mut("out_data", out_data, shape)?;
    let weight = flat_mut("out_weight", out_weight, shape)?;
    data.par_iter_mut()
        .zip(weight)
        .zip(pairs)
        .with_min_len(PIXELS_PER_TASK)
        .for_each(|((d, w), [sum, product])| {
            *w = *sum as f32;
            *d = if *w == 0.0 {
                fillval
            } else {
                (product / sum) as f32
            };
        });
    Ok(())
}

/// Write the variance of the weighted mean; `fillval` where the weight is 0.
///
/// # Errors
/// [`ResampleError`] for arrays that do not fit.
pub fn mean_variance(
    mean: &ArrayView3<'_, f64>,
    variance: &ArrayView2<'_, f64>,
    fillval: f32,
    out_variance: ArrayViewMut2<'_, f32>,
) -> Result<(), ResampleError> {
    let pairs = pairs(mean)?;
    let shape = (mean.shape()[0], mean.shape()[1]);
    let sums = flat("variance", Some(*variance), shape)?.unwrap_or_default();
    let out = flat_mut("out_variance", out_variance, shape.into())?;
    out.par_iter_mut()
        .zip(sums)
        .zip(pairs)
        .with_min_len(PIXELS_PER_TASK)
        .for_each(|((v, sum), [w, _])| {
            *v = if *w as f32 == 0.0 {
                fillval
            } else {
                (sum / (w * w)) as f32
            };
        });
    Ok(())
}

fn pairs<'a>(mean: &'a ArrayView3<'_, f64>) -> Result<&'a [Pair], ResampleError> {
    let name = "mean";
    if mean.shape()[2] != 2 {
        let wanted = vec![mean.shape()[0], mean.shape()[1], 2];
        return Err(ResampleError::Shape {
            name,
            shape: mean.shape().to_vec(),
            wanted,
        });
    }
    Ok(mean
        .as_slice()
        .ok_or(ResampleError::Layout { name })?
        .as_chunks::<2>()
        .0)
}
