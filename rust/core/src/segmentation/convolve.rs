//! Convolution with a kernel, weighted pixel by pixel and renormalised where pixels are missing.

use super::SegmentationError;
use crate::image::{Image, Plane};
use crate::math::widest::{Work, run_widest};

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

    /// Convolve a row with the row of a product; other kernels take rows as they are.
    #[inline(always)]
    fn along_rows(&self, source: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        match &self.taps {
            Taps::Full(_) => out.copy_from_slice(source),
            Taps::Product { row, .. } => add_row(row, source, out),
        }
    }

    /// Convolution of rows that went through [`Kernel::along_rows`]; row `i` stands for row `y - ny / 2 + i` of the image.
    #[inline(always)]
    fn sum_rows(&self, source: &[Option<&[f32]>], out: &mut [f32]) {
        out.fill(0.0);
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
#[inline(always)]
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

/// A row of the image and of its weights, convolved along itself.
#[derive(Clone)]
struct WeightedRow {
    product: Vec<f32>,
    norm: Vec<f32>,
    noise: Vec<f32>,
    /// The weights as they are.
    weight: Vec<f32>,
    /// Whether all weights are 1.
    is_plain: bool,
}

impl WeightedRow {
    fn zeros(nx: usize) -> Self {
        let zeros = vec![0.0; nx];
        Self {
            product: zeros.clone(),
            norm: zeros.clone(),
            noise: zeros.clone(),
            weight: zeros,
            is_plain: false,
        }
    }
}

/// Takes up a row of data whose weights are in place.
struct TakeUp<'a> {
    data: &'a [f32],
    kernels: &'a Kernels<'a>,
    /// Memory for a row.
    product: &'a mut [f32],
    row: &'a mut WeightedRow,
}

impl Work for TakeUp<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (row, kernels) = (self.row, self.kernels);
        let mut n_plain = 0;
        for ((p, w), &v) in self.product.iter_mut().zip(&mut row.weight).zip(self.data) {
            let use_it = v.is_finite() && *w > 0.0;
            *w = if use_it { *w } else { 0.0 };
            *p = if use_it { *w * v } else { 0.0 };
            n_plain += u32::from(*w == 1.0);
        }
        row.is_plain = n_plain as usize == self.data.len();
        kernels.plain.along_rows(self.product, &mut row.product);
        if !row.is_plain {
            kernels.plain.along_rows(&row.weight, &mut row.norm);
            kernels.squared.along_rows(&row.weight, &mut row.noise);
        }
    }
}

/// A kernel, its square, and what they make of rows of ones.
struct Kernels<'a> {
    plain: &'a Kernel,
    squared: Kernel,
    ones: [Vec<f32>; 2],
    /// Sums far from the upper and the lower edge.
    inside: [Vec<f32>; 2],
}

impl<'a> Kernels<'a> {
    fn of(kernel: &'a Kernel, nx: usize) -> Self {
        let squared = kernel.squared();
        let along = |k: &Kernel| {
            let mut out = vec![0.0; nx];
            k.along_rows(&vec![1.0; nx], &mut out);
            out
        };
        let ones = [along(kernel), along(&squared)];
        let sums = |k: &Kernel, ones: &[f32]| {
            let mut out = vec![0.0; nx];
            k.sum_rows(&vec![Some(ones); k.ny], &mut out);
            out
        };
        let inside = [sums(kernel, &ones[0]), sums(&squared, &ones[1])];
        Self {
            plain: kernel,
            squared,
            ones,
            inside,
        }
    }
}

/// Sums the rows around one.
struct SumRows<'a> {
    kernels: &'a Kernels<'a>,
    /// None outside the image.
    around: &'a [Option<&'a WeightedRow>],
    value: &'a mut [f32],
    norm: &'a mut [f32],
    noise: Option<&'a mut [f32]>,
}

impl Work for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Kernels {
            plain,
            squared,
            ones,
            inside,
        } = self.kernels;
        let rows = |of: fn(&WeightedRow) -> &[f32]| -> Vec<Option<&[f32]>> {
            self.around.iter().map(|row| row.map(of)).collect()
        };
        let rows_or = |ones, of: fn(&WeightedRow) -> &[f32]| -> Vec<Option<&[f32]>> {
            let rows = self.around.iter();
            rows.map(|row| row.map(|row| if row.is_plain { ones } else { of(row) }))
                .collect()
        };
        plain.sum_rows(&rows(|row| &row.product), self.value);
        let is_plain = (self.around.iter()).all(|row| row.is_some_and(|row| row.is_plain));
        if is_plain {
            self.norm.copy_from_slice(&inside[0]);
        } else {
            plain.sum_rows(&rows_or(&ones[0], |row| &row.norm), self.norm);
        }
        for (v, n) in self.value.iter_mut().zip(&*self.norm) {
            *v = if *n > 0.0 { *v / n } else { f32::NAN };
        }
        let Some(noise) = self.noise else { return };
        if is_plain {
            noise.copy_from_slice(&inside[1]);
        } else {
            squared.sum_rows(&rows_or(&ones[1], |row| &row.noise), noise);
        }
        for (s, n) in noise.iter_mut().zip(&*self.norm) {
            *s = s.sqrt() / n;
        }
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

impl<'a> Filter<'a> {
    /// The filter whose values have a noise; the weights are inverse variances.
    pub(super) fn matched(
        data: Plane<'a, f32>,
        kernel: &'a Kernel,
        weight_of: &'a WeightOf<'a>,
    ) -> Self {
        Self {
            data,
            kernel,
            weight_of,
            with_noise: true,
        }
    }

    /// Filter the rows from `y0` on into `out`, and show every row to `seen`.
    pub(super) fn fill_block(
        &self,
        y0: usize,
        out: &mut [f32],
        mut seen: impl FnMut(usize, &FilteredRow<'_>),
    ) {
        let (ny, nx) = self.data.shape();
        let reach = self.kernel.reach().0;
        let kernels = Kernels::of(self.kernel, nx);
        // The rows under the kernel, row y in place y modulo their number.
        let n_held = self.kernel.ny;
        let mut held = vec![WeightedRow::zeros(nx); n_held];
        let (mut product, mut norm) = (vec![0.0; nx], vec![0.0; nx]);
        let mut noise = self.with_noise.then(|| vec![0.0; nx]);
        let mut next = y0.saturating_sub(reach);
        for (y, value) in (y0..).zip(out.chunks_exact_mut(nx)) {
            while next < (y + reach + 1).min(ny) {
                let row = &mut held[next % n_held];
                (self.weight_of)(next, &mut row.weight);
                run_widest(TakeUp {
                    data: self.data.row(next),
                    kernels: &kernels,
                    product: &mut product,
                    row,
                });
                next += 1;
            }
            let around: Vec<Option<&WeightedRow>> = (y..=y + 2 * reach)
                .map(|r| r.checked_sub(reach).filter(|&r| r < ny))
                .map(|r| r.map(|r| &held[r % n_held]))
                .collect();
            run_widest(SumRows {
                kernels: &kernels,
                around: &around,
                value,
                norm: &mut norm,
                noise: noise.as_deref_mut(),
            });
            seen(
                y,
                &FilteredRow {
                    value,
                    noise: noise.as_deref(),
                    weight: &held[y % n_held].weight,
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
