//! Masked median and minmed of registered images.

use ndarray::{Array2, ArrayView2, ArrayView3};
use rayon::prelude::*;

use super::{OutliersError, check_length, check_shape, grow};
use crate::interrupt;

/// The good values at one position, sorted.
fn good_values(
    stack: &ArrayView3<'_, f32>,
    mask: &ArrayView3<'_, bool>,
    y: usize,
    x: usize,
    out: &mut Vec<f32>,
) {
    out.clear();
    for k in 0..stack.dim().0 {
        let value = stack[[k, y, x]];
        if !mask[[k, y, x]] && value.is_finite() {
            out.push(value);
        }
    }
    out.sort_unstable_by(f32::total_cmp);
}

fn median_of_sorted(values: &[f32]) -> f32 {
    let n = values.len();
    match n {
        0 => f32::NAN,
        _ if n % 2 == 1 => values[n / 2],
        _ => f32::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Fill an image row by row in parallel; `fill` gets a scratch vector of its own.
fn fill_rows(
    shape: (usize, usize),
    fill: impl Fn(usize, usize, &mut Vec<f32>) -> f32 + Sync,
) -> Array2<f32> {
    let mut out = Array2::zeros(shape);
    out.outer_iter_mut()
        .into_par_iter()
        .enumerate()
        .for_each_init(Vec::new, |scratch, (y, mut row)| {
            interrupt::poll();
            for (x, value) in row.iter_mut().enumerate() {
                *value = fill(y, x, scratch);
            }
        });
    out
}

/// Median of the good values at every position; NaN where there is none.
///
/// `stack` and `mask` are `(n_images, ny, nx)`, `mask` true = do not use.
///
/// # Errors
/// [`OutliersError::Shape`] when the shapes differ.
pub fn masked_median(
    stack: ArrayView3<'_, f32>,
    mask: ArrayView3<'_, bool>,
) -> Result<Array2<f32>, OutliersError> {
    check_shape("mask", mask.shape(), stack.shape())?;
    let (_, ny, nx) = stack.dim();
    Ok(fill_rows((ny, nx), |y, x, scratch| {
        good_values(&stack, &mask, y, x, scratch);
        median_of_sorted(scratch)
    }))
}

/// Thresholds of [`masked_minmed`].
#[derive(Clone, Copy, Debug)]
pub struct MinmedParams {
    /// The minimum replaces a median that is higher than it by this many sigma.
    pub n_sigma_low: f64,
    /// The same, beside a pixel that was replaced.
    pub n_sigma_near: f64,
    /// Pixels within this many rows and columns of a replaced one are beside it.
    pub grow: usize,
}

/// One image's part in the noise of a minmed.
struct Replace<'a> {
    median: ArrayView2<'a, f32>,
    minimum: Array2<f32>,
    weight: Array2<f32>,
    variance: Array2<f32>,
}

impl Replace<'_> {
    /// Is the minimum below the median by more than `n_sigma` sigma, in electrons?
    fn is_low(&self, y: usize, x: usize, n_sigma: f64) -> bool {
        let at = [y, x];
        let weight = f64::from(self.weight[at]);
        let median = f64::from(self.median[at]) * weight;
        let sigma = (median + f64::from(self.variance[at])).max(0.0).sqrt();
        f64::from(self.minimum[at]) * weight < median - n_sigma * sigma
    }
}

/// `AstroDrizzle`'s minmed: the median without the highest value, or the minimum where that median is too high to be
/// noise, because a cosmic ray survived in it.
///
/// Two images are averaged, and a single good value is kept. With `M` the median, `W` the summed exposure time of the
/// good values and `V` = sum(sky x time + read noise^2) over them, the minimum `m` is used where
/// `m W < M W - n_sigma sqrt(max(M W + V, 0))`.
///
/// `stack` and `mask` are `(n_images, ny, nx)` in electron / s with the sky subtracted; `exptime`, `sky` \[electron /
/// s\] and `read_noise` \[electron\] have one entry for each image.
///
/// # Errors
/// [`OutliersError`] when shapes or lengths differ.
///
/// # Source
/// Gonzaga et al. 2012, The `DrizzlePac` Handbook, section 4.2.5.
pub fn masked_minmed(
    stack: ArrayView3<'_, f32>,
    mask: ArrayView3<'_, bool>,
    exptime: &[f64],
    sky: &[f64],
    read_noise: &[f64],
    params: &MinmedParams,
) -> Result<Array2<f32>, OutliersError> {
    check_shape("mask", mask.shape(), stack.shape())?;
    let (n, ny, nx) = stack.dim();
    check_length("exptime", exptime.len(), n)?;
    check_length("sky", sky.len(), n)?;
    check_length("read_noise", read_noise.len(), n)?;
    let good = |k: usize, y: usize, x: usize| !mask[[k, y, x]] && stack[[k, y, x]].is_finite();
    let sum_good = |terms: &[f64], y: usize, x: usize| -> f32 {
        (0..n)
            .filter(|&k| good(k, y, x))
            .map(|k| terms[k])
            .sum::<f64>() as f32
    };
    let variances: Vec<f64> = (0..n)
        .map(|k| sky[k] * exptime[k] + read_noise[k] * read_noise[k])
        .collect();

    let median = fill_rows((ny, nx), |y, x, scratch| {
        good_values(&stack, &mask, y, x, scratch);
        match (n, scratch.len()) {
            (..=2, 2) => f32::midpoint(scratch[0], scratch[1]),
            (_, 0 | 1) => median_of_sorted(scratch),
            (_, m) => median_of_sorted(&scratch[..m - 1]),
        }
    });
    if n <= 2 {
        return Ok(median);
    }
    let replace = Replace {
        median: median.view(),
        minimum: fill_rows((ny, nx), |y, x, scratch| {
            good_values(&stack, &mask, y, x, scratch);
            scratch.first().copied().unwrap_or(f32::NAN)
        }),
        weight: fill_rows((ny, nx), |y, x, _| sum_good(exptime, y, x)),
        variance: fill_rows((ny, nx), |y, x, _| sum_good(&variances, y, x)),
    };
    let replaced =
        Array2::from_shape_fn((ny, nx), |(y, x)| replace.is_low(y, x, params.n_sigma_low));
    let near = grow(replaced.view(), 2 * params.grow + 1);
    Ok(fill_rows((ny, nx), |y, x, _| {
        let n_sigma = if near[[y, x]] {
            params.n_sigma_near
        } else {
            params.n_sigma_low
        };
        if replace.is_low(y, x, n_sigma) {
            replace.minimum[[y, x]]
        } else {
            median[[y, x]]
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    const PARAMS: MinmedParams = MinmedParams {
        n_sigma_low: 4.0,
        n_sigma_near: 3.0,
        grow: 1,
    };

    #[test]
    fn the_median_skips_masked_and_infinite_values() {
        let stack = Array3::from_shape_vec((4, 1, 1), vec![1.0, 2.0, f32::INFINITY, 50.0]).unwrap();
        let mask = Array3::from_shape_vec((4, 1, 1), vec![false, false, false, true]).unwrap();
        assert_eq!(
            masked_median(stack.view(), mask.view()).unwrap()[[0, 0]],
            1.5
        );
        let none = Array3::from_elem((4, 1, 1), true);
        assert!(masked_median(stack.view(), none.view()).unwrap()[[0, 0]].is_nan());
    }

    #[test]
    fn a_cosmic_ray_in_two_of_three_exposures_gives_the_minimum() {
        let mut stack = Array3::from_elem((3, 3, 3), 1.0_f32);
        stack[[0, 1, 1]] = 100.0;
        stack[[1, 1, 1]] = 120.0;
        let mask = Array3::from_elem((3, 3, 3), false);
        let out = masked_minmed(
            stack.view(),
            mask.view(),
            &[100.0; 3],
            &[0.5; 3],
            &[5.0; 3],
            &PARAMS,
        )
        .unwrap();
        assert!(out.iter().all(|&v| v == 1.0), "{out}");
    }

    #[test]
    fn a_single_good_value_is_kept() {
        let stack = Array3::from_shape_vec((3, 1, 1), vec![7.0, 1.0, 2.0]).unwrap();
        let mask = Array3::from_shape_vec((3, 1, 1), vec![false, true, true]).unwrap();
        let out = masked_minmed(
            stack.view(),
            mask.view(),
            &[1.0; 3],
            &[0.0; 3],
            &[0.0; 3],
            &PARAMS,
        )
        .unwrap();
        assert_eq!(out[[0, 0]], 7.0);
    }
}
