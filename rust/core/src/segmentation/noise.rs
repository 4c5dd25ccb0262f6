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
    fn row(&self, y: usize, out: &mut [f32]) {
        match self {
            Self::Constant(sigma) => out.fill(*sigma),
            Self::Image(image) => out.copy_from_slice(image.row(y)),
        }
    }

    /// Any of the noise values, to which weights are normalised so that their squares stay within range.
    pub(super) fn unit(&self) -> f32 {
        match self {
            Self::Constant(sigma) => *sigma,
            Self::Image(image) => image
                .pixels()
                .iter()
                .copied()
                .find(|&s| is_noise(s))
                .unwrap_or(1.0),
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
        move |y, out| {
            self.row(y, out);
            for w in out.iter_mut() {
                let sigma = *w;
                *w = match (is_noise(sigma), is_matched) {
                    (false, _) => 0.0,
                    (true, true) => (unit / sigma) * (unit / sigma),
                    (true, false) => 1.0,
                };
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
/// With fewer negative pixels than this nothing is measured.
const MIN_NEGATIVE: usize = 256;
/// Upper quartile of the normal distribution: the median of |v| over sigma.
const QUARTILE: f64 = 0.674_489_750_196_081_7;

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
    let (ny, nx) = data.shape();
    let mask = mask.map(|m| m.of_shape("mask", (ny, nx))).transpose()?;
    let noise = noise.of_shape((ny, nx))?;
    let weight_of = noise.weights(mask, true);
    let filter = Filter {
        data,
        kernel,
        weight_of: &weight_of,
        with_noise: true,
    };
    let unit = noise.unit();
    let step = (ny * nx).div_ceil(N_SAMPLED);
    let depths: Vec<Vec<f32>> = (0..ny.div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .step_by(step)
        .map(|block| {
            interrupt::poll();
            let y0 = block * BLOCK_ROWS;
            let mut pixels = vec![0.0; BLOCK_ROWS.min(ny - y0) * nx];
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
    let mut depths = depths.concat();
    if depths.len() < MIN_NEGATIVE {
        return Ok(f64::NAN);
    }
    Ok(f64::from(median_in_place(&mut depths)) / QUARTILE)
}
