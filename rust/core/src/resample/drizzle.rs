//! Drizzle: exposures are added one at a time to an output that keeps weighted sums.
//!
//! The output is cut into blocks of rows, each the work of one thread. A block goes through the input pixels in their
//! order and takes those parts of their drops that lie in its rows, so the terms of every output pixel are added in
//! the order of the input whatever the blocks and threads are.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};
use rayon::prelude::*;

use super::ResampleError;
use super::kernels::{Kernel, MapRows, Point, Spread, Square, Turbo};
use super::scale;
use crate::interrupt;

/// Context bits in one plane.
pub const BITS_PER_PLANE: usize = 32;
/// Input pixels that share one entry in the table of output rows.
const SEGMENT: usize = 64;

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

/// The combined image.
#[derive(Clone, Debug)]
pub struct Output {
    /// Weighted mean; the fill value where the weight is 0.
    pub data: Array2<f32>,
    /// Sum of weights.
    pub weight: Array2<f32>,
    /// Variance of the weighted mean, when the exposures had one.
    pub variance: Option<Array2<f32>>,
    /// Bit `k % 32` of plane `k / 32` is set where exposure `k` contributed.
    pub context: Array3<i32>,
    /// Union of the contributors' data-quality bits, when the exposures had them.
    pub dq: Option<Array2<u32>>,
}

/// The sums `w` and `w d` of one output pixel.
type Sums = [f64; 2];

/// An output to which exposures are added.
#[derive(Debug)]
pub struct Drizzler {
    shape: [usize; 2],
    kernel: Kernel,
    fillval: f32,
    n_exposures: usize,
    sums: Vec<Sums>,
    /// Sums of `w^2 v`.
    variance: Option<Vec<f64>>,
    dq: Option<Vec<u32>>,
    context: Vec<Vec<i32>>,
    closed: Option<&'static str>,
}

/// A block of output rows.
struct Block<'a> {
    rows: Range<usize>,
    sums: &'a mut [Sums],
    context: &'a mut [i32],
    variance: Option<&'a mut [f64]>,
    dq: Option<&'a mut [u32]>,
}

/// The pixels of an exposure, flat.
struct Pixels<'a> {
    map: MapRows<'a>,
    data: &'a [f32],
    weight: Option<&'a [f32]>,
    variance: Option<&'a [f32]>,
    dq: Option<&'a [u32]>,
    value_scale: f64,
    bit: i32,
}

/// One input pixel that counts.
#[derive(Clone, Copy)]
struct Drop {
    weight: f64,
    value: f64,
    variance: f64,
    dq: u32,
}

fn flat<'a, T>(
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
    fn new(input: &Input<'a>, bit: i32, kernel: Kernel) -> Result<Self, ResampleError> {
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

    /// The pixel at a flat index, or None for one that does not count.
    #[inline]
    fn drop_at(&self, at: usize) -> Option<Drop> {
        let weight = self.weight.map_or(1.0, |w| f64::from(w[at]));
        let value = f64::from(self.data[at]) * self.value_scale;
        let variance = self.variance.map_or(0.0, |v| {
            f64::from(v[at]) * self.value_scale * self.value_scale
        });
        let counts =
            weight > 0.0 && weight.is_finite() && value.is_finite() && variance.is_finite();
        counts.then(|| Drop {
            weight,
            value,
            variance,
            dq: self.dq.map_or(0, |dq| dq[at]),
        })
    }
}

/// The output rows that each [`SEGMENT`] of input pixels can touch; first > last for none.
fn reach<S: Spread>(pixels: &Pixels<'_>, make: &(impl Fn() -> S + Sync)) -> Vec<(f32, f32)> {
    let MapRows { nx, ny, .. } = pixels.map;
    let n_segments = nx.div_ceil(SEGMENT);
    let mut table = vec![(f32::INFINITY, f32::NEG_INFINITY); n_segments * ny];
    table
        .par_chunks_mut(n_segments.max(1))
        .enumerate()
        .with_min_len(16)
        .for_each_init(make, |spread, (j, entries)| {
            for (s, entry) in entries.iter_mut().enumerate() {
                let columns = s * SEGMENT..((s + 1) * SEGMENT).min(nx);
                let n = columns.len();
                spread.prepare(pixels.map, j, columns);
                let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
                for k in 0..n {
                    let (a, b) = spread.extent(k);
                    low = low.min(a);
                    high = high.max(b);
                }
                // A pixel more than enough for the rounding to f32 of any image's rows.
                *entry = (low as f32 - 1.5, high as f32 + 1.5);
            }
        });
    table
}

impl Block<'_> {
    /// Add what the exposure's drops leave in this block.
    fn add<S: Spread>(
        &mut self,
        pixels: &Pixels<'_>,
        table: &[(f32, f32)],
        n_columns: usize,
        spread: &mut S,
    ) {
        let (first, end) = (self.rows.start as f32, self.rows.end as f32);
        let MapRows { nx, ny, .. } = pixels.map;
        let n_segments = nx.div_ceil(SEGMENT);
        let touches = |entry: &(f32, f32)| entry.0 < end && entry.1 > first;
        for (j, entries) in table.chunks_exact(n_segments.max(1)).enumerate().take(ny) {
            let mut s = 0;
            while let Some(skip) = entries[s..].iter().position(touches) {
                let from = s + skip;
                let to = entries[from..]
                    .iter()
                    .position(|e| !touches(e))
                    .map_or(n_segments, |n| from + n);
                self.add_row(
                    pixels,
                    j,
                    from * SEGMENT..(to * SEGMENT).min(nx),
                    n_columns,
                    spread,
                );
                s = to;
            }
        }
    }

    fn add_row<S: Spread>(
        &mut self,
        pixels: &Pixels<'_>,
        j: usize,
        columns: Range<usize>,
        n_columns: usize,
        spread: &mut S,
    ) {
        let (first, end) = (self.rows.start as f64 - 0.5, self.rows.end as f64 - 0.5);
        spread.prepare(pixels.map, j, columns.clone());
        for (k, i) in columns.enumerate() {
            let (low, high) = spread.extent(k);
            if !(low < end && high >= first) {
                continue;
            }
            let Some(drop) = pixels.drop_at(j * pixels.map.nx + i) else {
                continue;
            };
            let Self {
                rows,
                sums,
                context,
                variance,
                dq,
            } = self;
            spread.spread(k, rows.clone(), n_columns, |row, column, shares| {
                let start = (row - rows.start) * n_columns + column;
                let window = start..start + shares.len();
                for ((sums, context), share) in sums[window.clone()]
                    .iter_mut()
                    .zip(&mut context[window.clone()])
                    .zip(shares)
                {
                    if *share > 0.0 {
                        let w = share * drop.weight;
                        sums[0] += w;
                        sums[1] += w * drop.value;
                        *context |= pixels.bit;
                    }
                }
                if let Some(variance) = variance {
                    for (sum, share) in variance[window.clone()].iter_mut().zip(shares) {
                        let w = share * drop.weight;
                        *sum += w * w * drop.variance;
                    }
                }
                if let Some(dq) = dq {
                    for (bits, _) in dq[window]
                        .iter_mut()
                        .zip(shares)
                        .filter(|(_, share)| **share > 0.0)
                    {
                        *bits |= drop.dq;
                    }
                }
            });
        }
    }
}

impl Drizzler {
    /// An empty output.
    #[must_use]
    pub fn new(shape: [usize; 2], kernel: Kernel, fillval: f32) -> Self {
        Self {
            shape,
            kernel,
            fillval,
            n_exposures: 0,
            sums: vec![[0.0; 2]; shape[0] * shape[1]],
            variance: None,
            dq: None,
            context: Vec::new(),
            closed: None,
        }
    }

    /// Add an exposure.
    ///
    /// Pixels do not count whose weight is not positive, whose value, weight or variance is not finite, or whose drop
    /// has no finite corners. After an error the output is as before.
    ///
    /// # Errors
    /// [`ResampleError`] for arrays that do not fit, numbers that are not allowed, and a closed output.
    pub fn add(&mut self, input: &Input<'_>) -> Result<(), ResampleError> {
        self.check_open()?;
        if !input.value_scale.is_finite() {
            return Err(ResampleError::Number {
                name: "value_scale",
                value: input.value_scale,
                wanted: "finite",
            });
        }
        self.check_uniform(
            "variance",
            self.variance.is_some(),
            input.variance.is_some(),
        )?;
        self.check_uniform("dq", self.dq.is_some(), input.dq.is_some())?;
        let pixels = Pixels::new(
            input,
            1_i32 << (self.n_exposures % BITS_PER_PLANE),
            self.kernel,
        )?;
        match self.kernel {
            Kernel::Square { pixfrac } => self.add_with(&pixels, || Square::new(pixfrac)),
            Kernel::Turbo { pixfrac } => {
                let ratio = match input.pixel_scale_ratio {
                    Some(ratio) => ratio,
                    None => scale::pixel_scale_ratio(&input.pixmap)?,
                };
                if !(ratio > 0.0 && ratio.is_finite()) {
                    return Err(ResampleError::Number {
                        name: "pixel_scale_ratio",
                        value: ratio,
                        wanted: "positive",
                    });
                }
                self.add_with(&pixels, || Turbo::new(pixfrac, ratio));
            }
            Kernel::Point => self.add_with(&pixels, Point::default),
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), ResampleError> {
        self.closed
            .map_or(Ok(()), |reason| Err(ResampleError::Closed { reason }))
    }

    fn check_uniform(
        &self,
        name: &'static str,
        before: bool,
        given: bool,
    ) -> Result<(), ResampleError> {
        if self.n_exposures > 0 && before != given {
            return Err(ResampleError::Mixed {
                name,
                index: self.n_exposures,
                given,
            });
        }
        Ok(())
    }

    fn add_with<S: Spread>(&mut self, pixels: &Pixels<'_>, make: impl Fn() -> S + Sync) {
        self.closed = Some("an addition was interrupted and is half-made");
        let [ny, nx] = self.shape;
        let n = ny * nx;
        if self.n_exposures.is_multiple_of(BITS_PER_PLANE) {
            self.context.push(vec![0; n]);
        }
        if self.n_exposures == 0 {
            self.variance = pixels.variance.map(|_| vec![0.0; n]);
            self.dq = pixels.dq.map(|_| vec![0; n]);
        }
        let table = reach(pixels, &make);
        let block_rows = (ny / (8 * rayon::current_num_threads())).clamp(32, 256);
        self.blocks(block_rows)
            .into_par_iter()
            .for_each_init(&make, |spread, mut block| {
                interrupt::poll();
                block.add(pixels, &table, nx, spread);
            });
        self.n_exposures += 1;
        self.closed = None;
    }

    fn blocks(&mut self, block_rows: usize) -> Vec<Block<'_>> {
        let [ny, nx] = self.shape;
        let size = (block_rows * nx).max(1);
        let mut variance = self.variance.as_mut().map(|v| v.chunks_mut(size));
        let mut dq = self.dq.as_mut().map(|v| v.chunks_mut(size));
        let context = self
            .context
            .last_mut()
            .map_or(&mut [][..], Vec::as_mut_slice);
        self.sums
            .chunks_mut(size)
            .zip(context.chunks_mut(size))
            .enumerate()
            .map(|(b, (sums, context))| Block {
                rows: b * block_rows..((b + 1) * block_rows).min(ny),
                sums,
                context,
                variance: variance.as_mut().and_then(Iterator::next),
                dq: dq.as_mut().and_then(Iterator::next),
            })
            .collect()
    }

    /// Number of exposures that were added.
    #[must_use]
    pub fn n_exposures(&self) -> usize {
        self.n_exposures
    }

    /// The combined image of what was added so far.
    ///
    /// # Errors
    /// [`ResampleError::Closed`].
    pub fn read(&self) -> Result<Output, ResampleError> {
        self.check_open()?;
        let [ny, nx] = self.shape;
        let mut data = Array2::zeros((ny, nx));
        let mut weight = Array2::zeros((ny, nx));
        let mut variance = self.variance.as_ref().map(|_| Array2::zeros((ny, nx)));
        let fillval = self.fillval;
        let line = nx.max(1);
        let rows = |image: &mut Array2<f32>, f: &(dyn Fn(usize) -> f32 + Sync)| {
            if let Some(pixels) = image.as_slice_mut() {
                pixels
                    .par_chunks_mut(line)
                    .enumerate()
                    .with_min_len(16)
                    .for_each(|(j, row)| {
                        for (i, pixel) in row.iter_mut().enumerate() {
                            *pixel = f(j * line + i);
                        }
                    });
            }
        };
        rows(&mut data, &|k| {
            if self.sums[k][0] > 0.0 {
                (self.sums[k][1] / self.sums[k][0]) as f32
            } else {
                fillval
            }
        });
        rows(&mut weight, &|k| self.sums[k][0] as f32);
        if let (Some(image), Some(sums)) = (&mut variance, &self.variance) {
            rows(image, &|k| {
                let w = self.sums[k][0];
                if w > 0.0 {
                    (sums[k] / (w * w)) as f32
                } else {
                    fillval
                }
            });
        }
        let dq = self
            .dq
            .as_ref()
            .and_then(|bits| Array2::from_shape_vec((ny, nx), bits.clone()).ok());
        let planes = self.context.concat();
        let context =
            Array3::from_shape_vec((self.context.len(), ny, nx), planes).unwrap_or_default();
        Ok(Output {
            data,
            weight,
            variance,
            context,
            dq,
        })
    }

    /// The combined image; the output is closed and its memory given back.
    ///
    /// # Errors
    /// [`ResampleError::Closed`].
    pub fn finish(&mut self) -> Result<Output, ResampleError> {
        let output = self.read()?;
        self.closed = Some("it was finished");
        self.sums = Vec::new();
        self.variance = None;
        self.dq = None;
        self.context = Vec::new();
        Ok(output)
    }
}
