//! Convolution with a kernel, weighted pixel by pixel and renormalised where pixels are missing.

use std::borrow::Cow;

use super::SegmentationError;
use crate::image::{Image, Plane};

/// A convolution kernel with odd sides, normalised to a sum of 1; a product of a column and a row is kept as these.
#[derive(Clone, Debug)]
pub struct Kernel {
    taps: Taps,
    ny: usize,
    nx: usize,
}

#[derive(Clone, Debug)]
enum Taps {
    Full(Vec<f32>),
    Product { column: Vec<f32>, row: Vec<f32> },
}

/// A kernel is a product when no tap differs from it by more than this fraction of the largest.
const RANK_ONE: f64 = 1e-6;

impl Kernel {
    /// The kernel with these values, normalised.
    ///
    /// # Errors
    /// [`SegmentationError::Kernel`] when a side is even, a value not finite or the sum not positive.
    pub fn new(values: Plane<'_, f32>) -> Result<Self, SegmentationError> {
        let shape = values.shape();
        let sum: f64 = values.pixels().iter().map(|&v| f64::from(v)).sum();
        if shape.0.is_multiple_of(2) || shape.1.is_multiple_of(2) || !(sum.is_finite() && sum > 0.0)
        {
            return Err(SegmentationError::Kernel { shape, sum });
        }
        Ok(Self {
            taps: Taps::of(values, sum),
            ny: shape.0,
            nx: shape.1,
        })
    }

    /// The kernel that changes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self {
            taps: Taps::Full(vec![1.0]),
            ny: 1,
            nx: 1,
        }
    }

    /// Half widths along y and x.
    pub(super) fn reach(&self) -> (usize, usize) {
        (self.ny / 2, self.nx / 2)
    }

    /// What the pixels at the distances `(dy, dx)` count in the filtered one.
    pub(super) fn taps(&self) -> impl Iterator<Item = (isize, isize, f64)> + Clone + '_ {
        let (ry, rx) = (self.reach().0 as isize, self.reach().1 as isize);
        (0..self.ny * self.nx).map(move |k| {
            let (j, i) = (k / self.nx, k % self.nx);
            let value = match &self.taps {
                Taps::Full(values) => f64::from(values[k]),
                Taps::Product { column, row } => f64::from(column[j]) * f64::from(row[i]),
            };
            (ry - j as isize, rx - i as isize, value)
        })
    }

    fn squared(&self) -> Self {
        let squares = |values: &[f32]| values.iter().map(|k| k * k).collect();
        Self {
            taps: match &self.taps {
                Taps::Full(values) => Taps::Full(squares(values)),
                Taps::Product { column, row } => Taps::Product {
                    column: squares(column),
                    row: squares(row),
                },
            },
            ..*self
        }
    }

    /// The row taps as a list of rows; all rows of a product are the one that is convolved first.
    fn along_rows(&self, source: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        match &self.taps {
            Taps::Full(_) => out.copy_from_slice(source),
            Taps::Product { row, .. } => add_row(row, source, out),
        }
    }

    /// Add to `out` the convolution of rows that went through [`Kernel::along_rows`]; row `i` stands for row
    /// `y - ny / 2 + i` of the image.
    fn add_rows(&self, source: &[Option<&[f32]>], out: &mut [f32]) {
        for (i, row) in source.iter().rev().enumerate() {
            let Some(row) = row else { continue };
            match &self.taps {
                Taps::Full(values) => {
                    add_row(&values[i * self.nx..(i + 1) * self.nx], row, out);
                }
                Taps::Product { column, .. } => {
                    let tap = column[i];
                    for (o, &v) in out.iter_mut().zip(*row) {
                        *o += tap * v;
                    }
                }
            }
        }
    }
}

impl Taps {
    fn of(values: Plane<'_, f32>, sum: f64) -> Self {
        let (ny, nx) = values.shape();
        let pixels = values.pixels();
        let at = |y: usize, x: usize| f64::from(pixels[y * nx + x]);
        let largest = (0..pixels.len()).fold(0, |best, i| {
            if pixels[i].abs() > pixels[best].abs() {
                i
            } else {
                best
            }
        });
        let (cy, cx) = (largest / nx, largest % nx);
        let peak = at(cy, cx);
        let is_product = (0..ny).all(|y| {
            (0..nx)
                .all(|x| (at(y, x) - at(y, cx) * at(cy, x) / peak).abs() <= RANK_ONE * peak.abs())
        });
        if !is_product || ny == 1 {
            return Self::Full(
                pixels
                    .iter()
                    .map(|&v| (f64::from(v) / sum) as f32)
                    .collect(),
            );
        }
        let row_sum: f64 = (0..nx).map(|x| at(cy, x)).sum();
        Self::Product {
            column: (0..ny)
                .map(|y| (at(y, cx) / peak * row_sum / sum) as f32)
                .collect(),
            row: (0..nx).map(|x| (at(cy, x) / row_sum) as f32).collect(),
        }
    }
}

/// Add to `out` the convolution of a row with taps around their middle.
fn add_row(taps: &[f32], source: &[f32], out: &mut [f32]) {
    let (half, nx) = (taps.len() / 2, out.len());
    for (i, &tap) in taps.iter().enumerate() {
        // out[x] += tap * source[x + half - i]
        let (to, from) = (i.saturating_sub(half), half.saturating_sub(i));
        let n = nx.saturating_sub(to + from);
        if n == 0 {
            continue;
        }
        for (o, &v) in out[to..to + n].iter_mut().zip(&source[from..from + n]) {
            *o += tap * v;
        }
    }
}

/// A pixel's part in the filter: 0 = do not use.
pub(super) type WeightOf<'a> = dyn Fn(usize, &mut [f32]) + Sync + 'a;

/// Rows of an image times its weights, and the weights, for a block of rows and a margin around it.
struct Weighted {
    y0: isize,
    nx: usize,
    product: Vec<f32>,
    weight: Vec<f32>,
    /// Rows whose weights are all 1.
    plain: Vec<bool>,
}

impl Weighted {
    fn new(data: Plane<'_, f32>, weight_of: &WeightOf<'_>, y0: isize, y1: isize) -> Self {
        let (ny, nx) = data.shape();
        let n_rows = (y1 - y0) as usize;
        let mut block = Self {
            y0,
            nx,
            product: vec![0.0; n_rows * nx],
            weight: vec![0.0; n_rows * nx],
            plain: vec![true; n_rows],
        };
        for i in 0..n_rows {
            let Some(y) = (y0 + i as isize)
                .try_into()
                .ok()
                .filter(|&y: &usize| y < ny)
            else {
                block.plain[i] = false;
                continue;
            };
            let range = i * nx..(i + 1) * nx;
            let (product, weight) = (&mut block.product[range.clone()], &mut block.weight[range]);
            weight_of(y, weight);
            for ((p, w), &v) in product.iter_mut().zip(weight.iter_mut()).zip(data.row(y)) {
                let use_it = v.is_finite() && *w > 0.0;
                *w = if use_it { *w } else { 0.0 };
                *p = if use_it { *w * v } else { 0.0 };
            }
            block.plain[i] = weight.iter().all(|&w| w == 1.0);
        }
        block
    }

    /// All rows convolved along themselves; weights (`not_plain`) need that only where some differ from 1.
    fn along_rows<'a>(
        &self,
        kernel: &Kernel,
        values: &'a [f32],
        not_plain: bool,
    ) -> Cow<'a, [f32]> {
        if matches!(kernel.taps, Taps::Full(_)) {
            return Cow::Borrowed(values);
        }
        if not_plain && self.plain.iter().all(|&plain| plain) {
            return Cow::Borrowed(values);
        }
        let mut along = vec![0.0; values.len()];
        for (source, out) in values
            .chunks_exact(self.nx)
            .zip(along.chunks_exact_mut(self.nx))
        {
            kernel.along_rows(source, out);
        }
        Cow::Owned(along)
    }

    fn row<'a>(&self, values: &'a [f32], y: isize) -> &'a [f32] {
        let i = (y - self.y0) as usize;
        &values[i * self.nx..(i + 1) * self.nx]
    }
}

/// One row of a filtered image.
pub(super) struct FilteredRow<'a> {
    /// `sum k w d / sum k w`; NaN where no pixel counts.
    pub value: &'a [f32],
    /// `sqrt(sum k^2 w) / sum k w`: the noise of `value` when the weights are inverse variances.
    pub noise: Option<&'a [f32]>,
    /// Weights of the row's own pixels.
    pub weight: &'a [f32],
}

/// Filters blocks of rows of an image.
pub(super) struct Filter<'a> {
    pub data: Plane<'a, f32>,
    pub kernel: &'a Kernel,
    pub weight_of: &'a WeightOf<'a>,
    pub with_noise: bool,
}

impl Filter<'_> {
    /// Filter the rows from `y0` on into `out`, and show every row to `seen`.
    pub(super) fn fill_block(
        &self,
        y0: usize,
        out: &mut [f32],
        mut seen: impl FnMut(usize, &FilteredRow<'_>),
    ) {
        let (ny, nx) = self.data.shape();
        let half = (self.kernel.ny / 2) as isize;
        let n_rows = out.len() / nx;
        let (first, last) = (y0 as isize - half, (y0 + n_rows) as isize + half);
        let block = Weighted::new(self.data, self.weight_of, first, last);
        let squares = self.kernel.squared();
        let ones = vec![1.0; nx];
        let plain_sums = |kernel: &Kernel| -> Vec<f32> {
            let (mut along, mut sums) = (vec![0.0; nx], vec![0.0; nx]);
            kernel.along_rows(&ones, &mut along);
            kernel.add_rows(&vec![Some(along.as_slice()); kernel.ny], &mut sums);
            sums
        };
        let (plain_norm, plain_noise) = (plain_sums(self.kernel), plain_sums(&squares));
        let product = block.along_rows(self.kernel, &block.product, false);
        let weight = block.along_rows(self.kernel, &block.weight, true);
        let weight_squares = if self.with_noise {
            block.along_rows(&squares, &block.weight, true)
        } else {
            Cow::Borrowed(block.weight.as_slice())
        };
        let mut norm = vec![0.0; nx];
        let mut noise = vec![0.0; nx];
        for (i, value) in out.chunks_exact_mut(nx).enumerate() {
            let y = y0 + i;
            let around = y as isize - half..=y as isize + half;
            let inside = |r: isize| r >= 0 && (r as usize) < ny;
            let rows = |values| -> Vec<Option<&[f32]>> {
                around
                    .clone()
                    .map(|r| inside(r).then(|| block.row(values, r)))
                    .collect()
            };
            let is_plain = around
                .clone()
                .all(|r| inside(r) && block.plain[(r - first) as usize]);
            value.fill(0.0);
            self.kernel.add_rows(&rows(&product), value);
            if is_plain {
                norm.copy_from_slice(&plain_norm);
                noise.copy_from_slice(&plain_noise);
            } else {
                norm.fill(0.0);
                self.kernel.add_rows(&rows(&weight), &mut norm);
                if self.with_noise {
                    noise.fill(0.0);
                    squares.add_rows(&rows(&weight_squares), &mut noise);
                }
            }
            for (v, n) in value.iter_mut().zip(&norm) {
                *v = if *n > 0.0 { *v / n } else { f32::NAN };
            }
            if self.with_noise {
                for (s, n) in noise.iter_mut().zip(&norm) {
                    *s = s.sqrt() / n;
                }
            }
            seen(
                y,
                &FilteredRow {
                    value,
                    noise: self.with_noise.then_some(noise.as_slice()),
                    weight: block.row(&block.weight, y as isize),
                },
            );
        }
    }
}

/// Rows filtered as one block.
pub(super) const BLOCK_ROWS: usize = 64;

/// Weights of the row `y` from a mask and a weight image; 1 where neither says anything.
pub(super) fn weights_from<'a>(
    mask: Option<Plane<'a, bool>>,
    weight: Option<Plane<'a, f32>>,
) -> impl Fn(usize, &mut [f32]) + Sync + 'a {
    move |y, out| {
        match weight {
            Some(weight) => out.copy_from_slice(weight.row(y)),
            None => out.fill(1.0),
        }
        if let Some(mask) = mask {
            for (w, &bad) in out.iter_mut().zip(mask.row(y)) {
                if bad {
                    *w = 0.0;
                }
            }
        }
    }
}

/// Weighted convolution `sum k w d / sum k w`: pixels that are masked, not finite, of zero weight or outside the image
/// do not count; NaN where none does. With inverse variances as weights this is a matched filter.
///
/// # Errors
/// When the shapes differ.
pub fn convolve(
    data: Plane<'_, f32>,
    kernel: &Kernel,
    mask: Option<Plane<'_, bool>>,
    weight: Option<Plane<'_, f32>>,
) -> Result<Image<f32>, SegmentationError> {
    let shape = data.shape();
    let mask = mask.map(|m| m.of_shape("mask", shape)).transpose()?;
    let weight = weight.map(|w| w.of_shape("weight", shape)).transpose()?;
    let weight_of = weights_from(mask, weight);
    let filter = Filter {
        data,
        kernel,
        weight_of: &weight_of,
        with_noise: false,
    };
    let mut out = Image::empty(shape);
    out.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        filter.fill_block(y0, pixels, |_, _| ());
    });
    Ok(out)
}
