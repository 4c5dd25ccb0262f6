//! Registered images to one: median, mean, sum and minmed of their good values.

use ndarray::{Array2, ArrayView3, Zip, s};
use rayon::prelude::*;

use super::lanes::{LANES, Lane, Sorted, both, lane};
use super::{OutliersError, check_length, check_shape, grow, rows_of};
use crate::interrupt;
use crate::math::widest::{Work, run_widest};

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

    /// Give every row of all images to `fill`, in parallel, with what `out` has for it.
    fn for_rows<T: Send>(
        &self,
        out: impl IndexedParallelIterator<Item = T>,
        fill: impl Fn(Rows<'_>, T) + Sync,
    ) {
        let (values, mask) = (
            self.images.as_standard_layout(),
            self.mask.as_standard_layout(),
        );
        out.enumerate().for_each(|(y, out)| {
            interrupt::poll();
            let (values, mask) = (values.slice(s![.., y, ..]), mask.slice(s![.., y, ..]));
            let rows = Rows {
                values: (values.outer_iter()).filter_map(|v| v.to_slice()).collect(),
                mask: (mask.outer_iter()).filter_map(|m| m.to_slice()).collect(),
                limits: self.limits,
                all_if_none: self.all_if_none,
            };
            fill(rows, out);
        });
    }

    fn shape(&self) -> (usize, usize) {
        let (_, ny, nx) = self.images.dim();
        (ny, nx)
    }
}

/// One row of every image of a [`Stack`].
struct Rows<'a> {
    values: Vec<&'a [f32]>,
    mask: Vec<&'a [bool]>,
    limits: [f32; 2],
    all_if_none: bool,
}

/// The good values of [`LANES`] pixels.
struct Block {
    /// Which image is good where.
    good: Vec<Lane<bool>>,
    /// Number of good values.
    count: Lane<i32>,
    sorted: Sorted,
}

impl Block {
    fn new(n: usize) -> Self {
        Self {
            good: vec![[false; LANES]; n],
            count: [0; LANES],
            sorted: Sorted::new(n),
        }
    }

    /// Take the pixels from `x` on.
    #[inline(always)]
    fn fill(&mut self, rows: &Rows<'_>, x: usize) {
        self.count = [0; LANES];
        let images = rows.values.iter().zip(&rows.mask);
        for (k, (values, mask)) in images.clone().enumerate() {
            let (mut nan, mut bad) = ([f32::NAN; LANES], [true; LANES]);
            let (value, mask) = (lane(values, x, &mut nan), lane(mask, x, &mut bad));
            let good = &mut self.good[k];
            for l in 0..LANES {
                let inside = both(value[l] >= rows.limits[0], value[l] <= rows.limits[1]);
                good[l] = both(both(inside, value[l].is_finite()), !mask[l]);
                self.count[l] += i32::from(good[l]);
            }
            self.sorted.put(k, value, good);
        }
        if rows.all_if_none {
            let none = self.count.map(|n| n == 0);
            for (k, (values, _)) in images.enumerate() {
                let mut nan = [f32::NAN; LANES];
                let (value, good) = (lane(values, x, &mut nan), &mut self.good[k]);
                for l in 0..LANES {
                    let instead = both(none[l], value[l].is_finite());
                    good[l] |= instead;
                    self.count[l] += i32::from(instead);
                }
                self.sorted.put(k, value, good);
            }
        }
        self.sorted.sort();
    }

    /// Sum over the good images of a number that each image has.
    #[inline(always)]
    fn sum(&self, terms: &[f64]) -> Lane<f32> {
        let mut sum = [0.0; LANES];
        for (good, term) in self.good.iter().zip(terms) {
            let bits = term.to_bits();
            for l in 0..LANES {
                // 0 where the image is not good, without a branch.
                sum[l] += f64::from_bits(bits & u64::from(good[l]).wrapping_neg());
            }
        }
        sum.map(|v| v as f32)
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

/// A row of [`combine`].
struct CombineRow<'a> {
    rows: Rows<'a>,
    statistic: Statistic,
    n_low: i32,
    n_high: i32,
    out: &'a mut [f32],
}

impl Work for CombineRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut block = Block::new(self.rows.values.len());
        for (b, out) in self.out.chunks_mut(LANES).enumerate() {
            block.fill(&self.rows, b * LANES);
            let sorted = &block.sorted;
            let (mut low, mut kept) = ([0; LANES], block.count);
            for l in 0..LANES {
                low[l] = self.n_low.min((kept[l] - 1).max(0));
                kept[l] -= low[l];
                kept[l] -= self.n_high.min((kept[l] - 1).max(0));
            }
            let values = if self.statistic == Statistic::Median {
                sorted.median(&low, &kept)
            } else {
                let mut sum = sorted.sum(&low, &kept);
                for l in 0..LANES {
                    let n = if self.statistic == Statistic::Mean {
                        f64::from(kept[l])
                    } else {
                        1.0
                    };
                    sum[l] = if kept[l] > 0 { sum[l] / n } else { f64::NAN };
                }
                sum.map(|v| v as f32)
            };
            out.copy_from_slice(&values[..out.len()]);
        }
    }
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
    let n = stack.images.dim().0;
    let (n_low, n_high) = (n_low.min(n) as i32, n_high.min(n) as i32);
    let mut combined = Array2::zeros(stack.shape());
    stack.for_rows(rows_of(&mut combined), |rows, out| {
        run_widest(CombineRow {
            rows,
            statistic,
            n_low,
            n_high,
            out,
        });
    });
    combined
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

/// A row of [`minmed`].
struct MinmedRow<'a> {
    rows: Rows<'a>,
    exptime: &'a [f64],
    /// Of sky and read noise in each image \[electron^2\].
    variance: &'a [f64],
    params: MinmedParams,
    /// The result away from replaced pixels.
    out: &'a mut [f32],
    /// The result beside them.
    near: &'a mut [f32],
    /// Where `out` is the minimum.
    replaced: &'a mut [bool],
}

impl Work for MinmedRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let n = self.rows.values.len();
        let mut block = Block::new(n);
        let (out, near) = (self.out.chunks_mut(LANES), self.near.chunks_mut(LANES));
        let outs = out.zip(near).zip(self.replaced.chunks_mut(LANES));
        for (b, ((out, near), replaced)) in outs.enumerate() {
            block.fill(&self.rows, b * LANES);
            let sorted = &block.sorted;
            // Two images are averaged, and a single value is kept.
            let least = if n <= 2 { 2 } else { 1 };
            let kept = block.count.map(|m| if m > least { m - 1 } else { m });
            let median = sorted.median(&[0; LANES], &kept);
            let minimum = sorted.ranked(&[0; LANES]);
            let (weight, variance) = (block.sum(self.exptime), block.sum(self.variance));
            let (mut far, mut beside, mut is_high) = (median, median, [false; LANES]);
            for l in 0..LANES {
                let weight = f64::from(weight[l]);
                let electrons = f64::from(median[l]) * weight;
                let sigma = (electrons + f64::from(variance[l])).max(0.0).sqrt();
                let lowest = f64::from(minimum[l]) * weight;
                is_high[l] = both(n > 2, lowest < electrons - self.params.n_sigma_low * sigma);
                let is_high_near =
                    both(n > 2, lowest < electrons - self.params.n_sigma_near * sigma);
                far[l] = if is_high[l] { minimum[l] } else { median[l] };
                beside[l] = if is_high_near { minimum[l] } else { median[l] };
            }
            out.copy_from_slice(&far[..out.len()]);
            near.copy_from_slice(&beside[..near.len()]);
            replaced.copy_from_slice(&is_high[..replaced.len()]);
        }
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
    let variances: Vec<f64> = (0..n)
        .map(|k| sky[k] * exptime[k] + read_noise[k] * read_noise[k])
        .collect();

    let [mut out, mut near] = [(); 2].map(|()| Array2::zeros(stack.shape()));
    let mut replaced = Array2::from_elem(stack.shape(), false);
    let rows = rows_of(&mut out).zip(rows_of(&mut near));
    stack.for_rows(
        rows.zip(rows_of(&mut replaced)),
        |rows, ((out, near), replaced)| {
            run_widest(MinmedRow {
                rows,
                exptime,
                variance: &variances,
                params: *params,
                out,
                near,
                replaced,
            });
        },
    );
    let is_near = grow(replaced.view(), 2 * params.grow + 1);
    Zip::from(&mut out)
        .and(&near)
        .and(&is_near)
        .par_for_each(|out, near, is_near| *out = if *is_near { *near } else { *out });
    Ok(out)
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
