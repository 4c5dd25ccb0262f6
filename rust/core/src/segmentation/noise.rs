//! The noise of an image, and what a filter makes of it.

use rayon::prelude::*;

use super::SegmentationError;
use super::convolve::{BLOCK_ROWS, Filter, Kernel};
use crate::image::Plane;
use crate::interrupt;
use crate::math::stats::median_in_place;

/// The noise of an image.
#[derive(Clone, Copy, Debug)]
pub enum Noise<'a> {
    /// The same everywhere.
    Constant(f32),
    /// That of every pixel; pixels where it is not positive and finite are not used.
    Image(Plane<'a, f32>),
}

impl<'a> Noise<'a> {
    /// The noise to which weights are normalised so that their squares stay within range: a power of two, except for a
    /// constant, so that filtered values do not depend on it.
    pub(super) fn unit(&self) -> f32 {
        match self {
            Self::Constant(sigma) => *sigma,
            Self::Image(image) => image
                .pixels()
                .iter()
                .copied()
                .find(|&s| is_noise(s))
                .map_or(1.0, |s| s.log2().round().exp2()),
        }
    }

    /// This noise, if it is that of an image of this shape.
    ///
    /// # Errors
    /// When it is of another shape.
    pub(super) fn of_shape(self, shape: (usize, usize)) -> Result<Self, SegmentationError> {
        if let Self::Image(image) = self {
            image.of_shape("error", shape)?;
        }
        Ok(self)
    }

    /// Weights of the pixels of a row for the filter: inverse variances in units of [`Noise::unit`] when
    /// `is_matched`, else 1; 0 where a pixel cannot be used.
    pub(super) fn weights(
        self,
        mask: Option<Plane<'a, bool>>,
        is_matched: bool,
    ) -> impl Fn(usize, &mut [f32]) + Sync + 'a {
        let unit = self.unit();
        let weight = move |sigma: f32| match (is_noise(sigma), is_matched) {
            (false, _) => 0.0,
            (true, true) => (unit / sigma) * (unit / sigma),
            (true, false) => 1.0,
        };
        move |y, out| {
            match self {
                Self::Constant(sigma) => out.fill(weight(sigma)),
                Self::Image(image) => {
                    for (w, &sigma) in out.iter_mut().zip(image.row(y)) {
                        *w = weight(sigma);
                    }
                }
            }
            if let Some(mask) = mask {
                for (w, &bad) in out.iter_mut().zip(mask.row(y)) {
                    *w = if bad { 0.0 } else { *w };
                }
            }
        }
    }
}

fn is_noise(sigma: f32) -> bool {
    sigma > 0.0 && sigma.is_finite()
}

/// Pixels that are looked at, about; a larger image is sampled in whole blocks of rows.
const N_SAMPLED: usize = 1 << 22;
/// Strips over which they are spread at least; those of a wide image are narrower than a block.
const MIN_STRIPS: usize = 16;
/// With fewer negative pixels than this nothing is measured.
const MIN_NEGATIVE: usize = 256;
/// Upper quartile of the normal distribution: the median of |v| over sigma.
const QUARTILE: f64 = 0.674_489_750_196_081_7;

/// The rows on which [`filtered_noise`] looks at an image: first and last + 1.
#[must_use]
pub fn sampled_rows((ny, nx): (usize, usize)) -> Vec<[usize; 2]> {
    let step = (ny * nx).div_ceil(N_SAMPLED).max(1);
    let stride = BLOCK_ROWS * step;
    if step == 1 || ny.div_ceil(stride) >= MIN_STRIPS {
        let blocks = (0..ny).step_by(stride);
        return blocks.map(|y0| [y0, (y0 + BLOCK_ROWS).min(ny)]).collect();
    }
    let n_strips = MIN_STRIPS.min(ny);
    let n_rows = (N_SAMPLED / (MIN_STRIPS * nx)).clamp(1, BLOCK_ROWS);
    (0..n_strips)
        .map(|k| k * ny / n_strips)
        .map(|y0| [y0, y0 + n_rows])
        .collect()
}

/// How far the negative pixels of some rows of the filtered image are below zero, in units of what the noise would be
/// if that of neighbouring pixels were independent.
///
/// # Errors
/// When the shapes differ.
pub fn negative_depths(
    data: Plane<'_, f32>,
    noise: Noise<'_>,
    mask: Option<Plane<'_, bool>>,
    kernel: &Kernel,
    rows: &[[usize; 2]],
) -> Result<Vec<f32>, SegmentationError> {
    let (ny, nx) = data.shape();
    let mask = mask.map(|m| m.of_shape("mask", (ny, nx))).transpose()?;
    let noise = noise.of_shape((ny, nx))?;
    let weight_of = noise.weights(mask, true);
    let filter = Filter::matched(data, kernel, &weight_of);
    let unit = noise.unit();
    let depths: Vec<Vec<f32>> = rows
        .par_iter()
        .map(|&[y0, y1]| {
            interrupt::poll();
            let mut pixels = vec![0.0; (y1.min(ny).saturating_sub(y0)) * nx];
            let mut depths = Vec::new();
            filter.fill_block(y0, &mut pixels, |_, row| {
                let sigmas = row.noise.unwrap_or_default();
                for ((&value, &sigma), &weight) in row.value.iter().zip(sigmas).zip(row.weight) {
                    if weight > 0.0 && value < 0.0 {
                        depths.push(-value / (sigma * unit));
                    }
                }
            });
            depths
        })
        .collect();
    Ok(depths.concat())
}

/// The noise behind the depths of negative pixels: their median over 0.6745; NaN when there are too few of them.
#[must_use]
pub fn noise_of_depths(mut depths: Vec<f32>) -> f64 {
    if depths.len() < MIN_NEGATIVE {
        return f64::NAN;
    }
    f64::from(median_in_place(&mut depths)) / QUARTILE
}

/// The noise of the filtered image over what it would be if the noise of neighbouring pixels were independent, measured
/// on the pixels below zero, which sources do not reach: `median(|f| / sigma_f) / 0.6745` of those. NaN when there are
/// too few of them.
///
/// # Errors
/// When the shapes differ.
pub fn filtered_noise(
    data: Plane<'_, f32>,
    noise: Noise<'_>,
    mask: Option<Plane<'_, bool>>,
    kernel: &Kernel,
) -> Result<f64, SegmentationError> {
    let rows = sampled_rows(data.shape());
    negative_depths(data, noise, mask, kernel, &rows).map(noise_of_depths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_narrow_images_are_sampled_in_whole_blocks() {
        assert_eq!(sampled_rows((0, 9)), Vec::<[usize; 2]>::new());
        assert_eq!(sampled_rows((100, 9)), [[0, 64], [64, 100]]);
        let rows = sampled_rows((40_000, 3000));
        let expected = (0..40_000).step_by(64 * 29);
        assert!(rows.into_iter().eq(expected.map(|y| [y, y + 64])));
    }

    #[test]
    fn the_rows_of_a_wide_image_are_spread_over_its_height() {
        for (ny, nx) in [
            (100_000, 100_000),
            (5000, 5000),
            (1000, 8000),
            (20, 1 << 20),
            (3, 1 << 22),
        ] {
            let rows = sampled_rows((ny, nx));
            assert_eq!(rows.len(), ny.min(16));
            assert!(rows.windows(2).all(|pair| pair[0][1] <= pair[1][0]));
            assert!(rows.iter().all(|[y0, y1]| y0 < y1));
            assert!(rows[rows.len() - 1][1] <= ny);
            assert!(rows[rows.len() - 1][0] >= ny - ny.div_ceil(16));
            let n_sampled: usize = rows.iter().map(|[y0, y1]| (y1 - y0) * nx).sum();
            assert!(n_sampled <= N_SAMPLED.max(16 * nx));
        }
    }
}
