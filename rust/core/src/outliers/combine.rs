//! Registered images to one: median, mean, sum and minmed of their good values.

use ndarray::{Array2, ArrayView2, ArrayView3};
use rayon::prelude::*;

use super::{OutliersError, check_length, check_shape, grow};
use crate::interrupt;

/// Registered images and which of their values are good.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// `(n_images, ny, nx)`.
    pub images: ArrayView3<'a, f32>,
    /// The same shape, true = do not use.
    pub mask: ArrayView3<'a, bool>,
    /// Values outside of these are not used.
    pub limits: [f32; 2],
    /// Where no value is good, all that are finite are (the i-variants of `AstroDrizzle`).
    pub all_if_none: bool,
}

impl<'a> Stack<'a> {
    /// Images without limits, NaN where no value is good.
    ///
    /// # Errors
    /// [`OutliersError::Shape`] when the shapes differ.
    pub fn new(
        images: ArrayView3<'a, f32>,
        mask: ArrayView3<'a, bool>,
    ) -> Result<Self, OutliersError> {
        check_shape("mask", mask.shape(), images.shape())?;
        Ok(Self {
            images,
            mask,
            limits: [f32::NEG_INFINITY, f32::INFINITY],
            all_if_none: false,
        })
    }

    /// Give the number and the value of every good image at one position to `take`.
    fn for_good(&self, y: usize, x: usize, mut take: impl FnMut(usize, f32)) {
        let n = self.images.dim().0;
        let mut any = false;
        for k in 0..n {
            let value = self.images[[k, y, x]];
            let inside = value >= self.limits[0] && value <= self.limits[1];
            if inside && value.is_finite() && !self.mask[[k, y, x]] {
                any = true;
                take(k, value);
            }
        }
        if any || !self.all_if_none {
            return;
        }
        for k in 0..n {
            let value = self.images[[k, y, x]];
            if value.is_finite() {
                take(k, value);
            }
        }
    }

    /// The good values at one position, sorted.
    fn good_values(&self, y: usize, x: usize, out: &mut Vec<f32>) {
        out.clear();
        self.for_good(y, x, |_, value| out.push(value));
        out.sort_unstable_by(f32::total_cmp);
    }

    /// Sum over the good images at one position of a number that each image has.
    fn sum_good(&self, terms: &[f64], y: usize, x: usize) -> f32 {
        let mut sum = 0.0;
        self.for_good(y, x, |k, _| sum += terms[k]);
        sum as f32
    }

    fn shape(&self) -> (usize, usize) {
        let (_, ny, nx) = self.images.dim();
        (ny, nx)
    }
}

/// How the good values of a position become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Their median, the mean of the two middle values of an even number.
    Median,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

impl Statistic {
    /// The statistic of a name.
    ///
    /// # Errors
    /// [`OutliersError::Name`] when there is none.
    pub fn from_name(name: &str) -> Result<Self, OutliersError> {
        match name {
            "median" => Ok(Self::Median),
            "mean" => Ok(Self::Mean),
            "sum" => Ok(Self::Sum),
            other => Err(OutliersError::Name {
                name: "combine",
                value: other.to_owned(),
                wanted: "median, mean or sum",
            }),
        }
    }
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

/// Median, mean or sum of the good values at every position, without the `n_low` lowest and the `n_high` highest; NaN
/// where there is none. At least one value is kept, and the lowest go first.
#[must_use]
pub fn combine(
    stack: &Stack<'_>,
    statistic: Statistic,
    n_low: usize,
    n_high: usize,
) -> Array2<f32> {
    fill_rows(stack.shape(), |y, x, scratch| {
        stack.good_values(y, x, scratch);
        let n = scratch.len();
        let low = n_low.min(n.saturating_sub(1));
        let high = n_high.min(n.saturating_sub(1 + low));
        let kept = &scratch[low..n - high];
        let sum = || kept.iter().map(|&v| f64::from(v)).sum::<f64>();
        match statistic {
            _ if kept.is_empty() => f32::NAN,
            Statistic::Median => median_of_sorted(kept),
            Statistic::Mean => (sum() / kept.len() as f64) as f32,
            Statistic::Sum => sum() as f32,
        }
    })
}

/// Thresholds of [`minmed`].
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
/// The images are in electron / s with the sky subtracted; `exptime`, `sky` \[electron / s\] and `read_noise`
/// \[electron\] have one entry for each.
///
/// # Errors
/// [`OutliersError`] when lengths differ.
///
/// # Source
/// Gonzaga et al. 2012, The `DrizzlePac` Handbook, section 4.2.5.
pub fn minmed(
    stack: &Stack<'_>,
    exptime: &[f64],
    sky: &[f64],
    read_noise: &[f64],
    params: &MinmedParams,
) -> Result<Array2<f32>, OutliersError> {
    let n = stack.images.dim().0;
    check_length("exptime", exptime.len(), n)?;
    check_length("sky", sky.len(), n)?;
    check_length("read_noise", read_noise.len(), n)?;
    let shape = stack.shape();
    let variances: Vec<f64> = (0..n)
        .map(|k| sky[k] * exptime[k] + read_noise[k] * read_noise[k])
        .collect();

    let median = fill_rows(shape, |y, x, scratch| {
        stack.good_values(y, x, scratch);
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
        minimum: fill_rows(shape, |y, x, scratch| {
            stack.good_values(y, x, scratch);
            scratch.first().copied().unwrap_or(f32::NAN)
        }),
        weight: fill_rows(shape, |y, x, _| stack.sum_good(exptime, y, x)),
        variance: fill_rows(shape, |y, x, _| stack.sum_good(&variances, y, x)),
    };
    let replaced = Array2::from_shape_fn(shape, |(y, x)| replace.is_low(y, x, params.n_sigma_low));
    let near = grow(replaced.view(), 2 * params.grow + 1);
    Ok(fill_rows(shape, |y, x, _| {
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

    fn combined(stack: &Stack<'_>, statistic: Statistic, n_low: usize, n_high: usize) -> f32 {
        combine(stack, statistic, n_low, n_high)[[0, 0]]
    }

    #[test]
    fn each_statistic_is_that_of_the_good_values() {
        let images =
            Array3::from_shape_vec((5, 1, 1), vec![1.0, 2.0, f32::INFINITY, 50.0, 6.0]).unwrap();
        let mask =
            Array3::from_shape_vec((5, 1, 1), vec![false, false, false, true, false]).unwrap();
        let stack = Stack::new(images.view(), mask.view()).unwrap();
        assert_eq!(combined(&stack, Statistic::Median, 0, 0), 2.0);
        assert_eq!(combined(&stack, Statistic::Mean, 0, 0), 3.0);
        assert_eq!(combined(&stack, Statistic::Sum, 0, 0), 9.0);
        assert_eq!(combined(&stack, Statistic::Mean, 1, 0), 4.0);
        assert_eq!(combined(&stack, Statistic::Mean, 0, 1), 1.5);
        assert_eq!(combined(&stack, Statistic::Sum, 1, 9), 2.0);
        assert_eq!(combined(&stack, Statistic::Sum, 9, 9), 6.0);
        let limited = Stack {
            limits: [1.5, 10.0],
            ..stack
        };
        assert_eq!(combined(&limited, Statistic::Sum, 0, 0), 8.0);
    }

    #[test]
    fn where_all_are_masked_all_are_used_only_if_asked_for() {
        let images = Array3::from_shape_vec((3, 1, 1), vec![1.0, 2.0, f32::NAN]).unwrap();
        let mask = Array3::from_elem((3, 1, 1), true);
        let stack = Stack::new(images.view(), mask.view()).unwrap();
        assert!(combined(&stack, Statistic::Sum, 0, 0).is_nan());
        let all = Stack {
            all_if_none: true,
            ..stack
        };
        assert_eq!(combined(&all, Statistic::Sum, 0, 0), 3.0);
    }

    #[test]
    fn a_cosmic_ray_in_two_of_three_exposures_gives_the_minimum() {
        let mut stack = Array3::from_elem((3, 3, 3), 1.0_f32);
        stack[[0, 1, 1]] = 100.0;
        stack[[1, 1, 1]] = 120.0;
        let mask = Array3::from_elem((3, 3, 3), false);
        let out = minmed(
            &Stack::new(stack.view(), mask.view()).unwrap(),
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
        let out = minmed(
            &Stack::new(stack.view(), mask.view()).unwrap(),
            &[1.0; 3],
            &[0.0; 3],
            &[0.0; 3],
            &PARAMS,
        )
        .unwrap();
        assert_eq!(out[[0, 0]], 7.0);
    }
}
