//! Outliers in the exposures of a slit: running ranks along sorted pixels, and the same place in the other exposures.

use ndarray::{Array2, Array3, ArrayView3};
use rayon::prelude::*;

use super::{OutliersError, check_shape};

/// A number whose order is that of `f64::total_cmp`, and the way back.
fn ordered(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The values of some ranks in a window that runs along a list, a row for each rank; the list is mirrored at its ends,
/// each end repeated.
///
/// The window of entry `i` begins at `i - size / 2`. A size of 0 counts as 1, a rank beyond the window as its last.
#[must_use]
pub fn running_ranks(values: &[f64], size: usize, ranks: &[usize]) -> Array2<f64> {
    let n = values.len();
    let mut out = Array2::zeros((ranks.len(), n));
    if n == 0 {
        return out;
    }
    let size = size.max(1);
    let (period, half) = (2 * n, size / 2);
    // The mirrored list, which begins `half` before the first value; integers compare faster than numbers.
    let mirrored: Vec<i64> = (0..n + size)
        .map(|k| {
            let place = (k + period - half % period) % period;
            let value = values[if place < n { place } else { period - 1 - place }];
            ordered(value.to_bits() as i64)
        })
        .collect();
    let mut window = mirrored[..size].to_vec();
    window.sort_unstable();
    for i in 0..n {
        for (mut row, &rank) in out.rows_mut().into_iter().zip(ranks) {
            row[i] = f64::from_bits(ordered(window[rank.min(size - 1)]) as u64);
        }
        let (old, new) = (mirrored[i], mirrored[i + size]);
        let gone = window.partition_point(|&v| v < old);
        let here = window.partition_point(|&v| v < new);
        // Only what lies between the two places moves.
        if here > gone {
            window.copy_within(gone + 1..here, gone);
            window[here - 1] = new;
        } else {
            window.copy_within(here..gone, here + 1);
            window[here] = new;
        }
    }
    out
}

/// Limits of [`local_outliers`].
#[derive(Clone, Copy, Debug)]
pub struct LocalParams {
    /// Sigmas from the same place in at least half of the other exposures.
    pub threshold: f64,
    /// The same where only one other exposure shows it.
    pub threshold_single: f64,
    /// Error of the comparison in units of the flux.
    pub relative_error: f64,
    /// Error of the comparison in pixels.
    pub position_error: f64,
    /// Error of the comparison in units of what the interpolation changes.
    pub interpolation_error: f64,
    /// Sigmas from the median of the eight neighbours, where fewer than two other exposures show the place.
    pub sharp_threshold: f64,
    /// The same in units of the neighbour that is farthest from the median.
    pub sharp_ratio: f64,
}

/// The exposures of a slit, each of shape `(n, ny, nx)`.
#[derive(Clone, Copy, Debug)]
pub struct SlitStack<'a> {
    /// Values.
    pub data: ArrayView3<'a, f64>,
    /// Their variances.
    pub variance: ArrayView3<'a, f64>,
    /// Wavelength.
    pub wavelength: ArrayView3<'a, f64>,
    /// Distance from the trace in pixels.
    pub yslit: ArrayView3<'a, f64>,
    /// True = good.
    pub valid: ArrayView3<'a, bool>,
}

struct Expected {
    value: f64,
    variance: f64,
}

impl SlitStack<'_> {
    fn get(&self, e: usize, y: i64, x: i64) -> Option<f64> {
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        let is_good = *self.valid.get((e, y, x))?;
        is_good.then(|| self.data[(e, y, x)])
    }

    /// Wavelengths per column.
    fn slope(&self, e: usize, y: usize, x: usize) -> Option<f64> {
        let here = self.wavelength[(e, y, x)];
        let right = self.wavelength.get((e, y, x + 1)).map(|w| w - here);
        let left = x.checked_sub(1).map(|l| here - self.wavelength[(e, y, l)]);
        let usable = |d: &f64| d.is_finite() && *d != 0.0;
        match (left.filter(usable), right.filter(usable)) {
            (Some(l), Some(r)) => Some(0.5 * (l + r)),
            (Some(d), None) | (None, Some(d)) => Some(d),
            (None, None) => None,
        }
    }

    /// The pixel of another exposure nearest to a place, and how far the place is from its centre.
    fn find(
        &self,
        e: usize,
        (y, x): (usize, usize),
        wave: f64,
        distance: f64,
    ) -> Option<(usize, usize, f64, f64)> {
        let (_, ny, nx) = self.data.dim();
        let (mut row, mut column) = (y as i64, x as i64);
        for _ in 0..4 {
            let (r, c) = (usize::try_from(row).ok()?, usize::try_from(column).ok()?);
            if r >= ny || c >= nx {
                return None;
            }
            let dy = distance - self.yslit[(e, r, c)];
            if !dy.is_finite() {
                return None;
            }
            // First the row: along the slit the wavelength may be unknown where the search begins.
            if dy.abs() > 0.55 {
                row += dy.round() as i64;
                continue;
            }
            let dx = (wave - self.wavelength[(e, r, c)]) / self.slope(e, r, c)?;
            if !dx.is_finite() {
                return None;
            }
            if dx.abs() > 0.55 {
                column += dx.round() as i64;
                continue;
            }
            return Some((r, c, dy, dx));
        }
        None
    }

    /// What another exposure shows at a place: a parabola in both directions through 3 x 3 pixels.
    fn expect(
        &self,
        e: usize,
        pixel: (usize, usize),
        wave: f64,
        distance: f64,
        params: &LocalParams,
    ) -> Option<Expected> {
        let (r, c, dy, dx) = self.find(e, pixel, wave, distance)?;
        let (row, column) = (r as i64, c as i64);
        let centre = self.get(e, row, column)?;
        let weights = |d: f64| [0.5 * d * (d - 1.0), 1.0 - d * d, 0.5 * d * (d + 1.0)];
        let (wy, wx) = (weights(dy), weights(dx));
        // A pixel that is missing lies on the line through its opposite and the centre.
        let value = |j: i64, i: i64| {
            let here = self.get(e, row + j, column + i);
            let opposite = || self.get(e, row - j, column - i).map(|v| 2.0 * centre - v);
            here.or_else(opposite).unwrap_or(centre)
        };
        let noise = self.variance[(e, r, c)];
        let (mut sum, mut variance) = (0.0, 0.0);
        for (j, wj) in (-1..=1).zip(wy) {
            for (i, wi) in (-1..=1).zip(wx) {
                let w = wj * wi;
                sum += w * value(j, i);
                variance += w * w * noise;
            }
        }
        let along_y = 0.5 * (value(1, 0) - value(-1, 0));
        let along_x = 0.5 * (value(0, 1) - value(0, -1));
        let position = params.position_error.powi(2) * (along_y * along_y + along_x * along_x);
        let interpolation = (params.interpolation_error * (sum - centre)).powi(2);
        let relative = (params.relative_error * sum).powi(2);
        Some(Expected {
            value: sum,
            variance: variance + position + interpolation + relative,
        })
    }

    /// By how many sigmas a pixel sticks out of its eight neighbours, if it is sharper than a source can be; else 0.
    fn sharpness(&self, e: usize, y: usize, x: usize, params: &LocalParams) -> f64 {
        let (row, column) = (y as i64, x as i64);
        let mut near: Vec<f64> = (-1..=1)
            .flat_map(|j| (-1..=1).map(move |i| (j, i)))
            .filter(|&at| at != (0, 0))
            .filter_map(|(j, i)| self.get(e, row + j, column + i))
            .collect();
        if near.len() < 5 {
            return 0.0;
        }
        near.sort_by(f64::total_cmp);
        let n = near.len();
        let median = 0.5 * (near[(n - 1) / 2] + near[n / 2]);
        let excess = self.data[(e, y, x)] - median;
        let farthest = if excess > 0.0 {
            near[n - 1] - median
        } else {
            median - near[0]
        };
        // The variance of a median of n Gaussian numbers is pi / 2 n.
        let variance = self.variance[(e, y, x)] * (1.0 + std::f64::consts::FRAC_PI_2 / n as f64);
        if excess.abs() > params.sharp_ratio * farthest {
            excess / variance.sqrt()
        } else {
            0.0
        }
    }

    fn judge(&self, e: usize, y: usize, x: usize, params: &LocalParams) -> i8 {
        if !self.valid[(e, y, x)] {
            return 0;
        }
        let (wave, distance) = (self.wavelength[(e, y, x)], self.yslit[(e, y, x)]);
        let (value, variance) = (self.data[(e, y, x)], self.variance[(e, y, x)]);
        let mut sigmas: Vec<f64> = (0..self.data.dim().0)
            .filter(|&other| other != e)
            .filter_map(|other| self.expect(other, (y, x), wave, distance, params))
            .map(|there| (value - there.value) / (variance + there.variance).sqrt())
            .collect();
        sigmas.sort_by(f64::total_cmp);
        let n = sigmas.len();
        if n > 1 {
            let (low, high) = (sigmas[n - 1 - (n - 1) / 2], sigmas[(n - 1) / 2]);
            return i8::from(high > params.threshold) - i8::from(low < -params.threshold);
        }
        let sharp = self.sharpness(e, y, x, params);
        let Some(&only) = sigmas.first() else {
            return i8::from(sharp > params.sharp_threshold)
                - i8::from(sharp < -params.sharp_threshold);
        };
        // Of two exposures that differ either may be wrong; too low is told from the other being too high by sharpness.
        let high = only > params.threshold_single
            || (only > params.threshold && sharp > params.sharp_threshold);
        let low = only < -params.threshold && sharp < -params.sharp_threshold;
        i8::from(high) - i8::from(low)
    }
}

/// Pixels that differ from the same place in the other exposures: 1 too high, -1 too low.
///
/// The same place is the same wavelength and distance from the trace, so an emission line is where it is in the others.
///
/// # Errors
/// When the shapes differ.
pub fn local_outliers(
    stack: &SlitStack<'_>,
    params: &LocalParams,
) -> Result<Array3<i8>, OutliersError> {
    let shape = stack.data.shape();
    check_shape("variance", stack.variance.shape(), shape)?;
    check_shape("wavelength", stack.wavelength.shape(), shape)?;
    check_shape("yslit", stack.yslit.shape(), shape)?;
    check_shape("valid", stack.valid.shape(), shape)?;
    let (n, ny, nx) = stack.data.dim();
    let mut out = Array3::zeros((n, ny, nx));
    if let Some(cells) = out.as_slice_mut()
        && nx > 0
    {
        cells
            .par_chunks_mut(nx)
            .enumerate()
            .for_each(|(k, row): (usize, &mut [i8])| {
                for (x, cell) in row.iter_mut().enumerate() {
                    *cell = stack.judge(k / ny, k % ny, x, params);
                }
            });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: LocalParams = LocalParams {
        threshold: 3.2,
        threshold_single: 4.5,
        relative_error: 0.03,
        position_error: 0.05,
        interpolation_error: 0.3,
        sharp_threshold: 4.5,
        sharp_ratio: 2.5,
    };

    #[test]
    fn running_ranks_are_those_of_each_sorted_window_of_the_mirrored_list() {
        let values = [3.0, 1.0, -4.0, 1.0, -0.0, 0.0, -9.0, 2.0];
        let n = values.len() as i64;
        for size in [1_usize, 2, 5, 6, 20] {
            let ranks = [0, size / 2, size - 1];
            let rows = running_ranks(&values, size, &ranks);
            for (rank, found) in ranks.into_iter().zip(rows.rows()) {
                for i in 0..n {
                    let first = i - size as i64 / 2;
                    let mut window: Vec<f64> = (first..first + size as i64)
                        .map(|k| {
                            let k = k.rem_euclid(2 * n);
                            values[if k < n { k } else { 2 * n - 1 - k } as usize]
                        })
                        .collect();
                    window.sort_by(f64::total_cmp);
                    assert_eq!(found[i as usize], window[rank], "{size} {rank} {i}");
                }
            }
        }
    }

    /// Three exposures of a source that moves by five rows, with a line; without noise.
    fn nods(dither: &[f64]) -> [Array3<f64>; 4] {
        let shape = (dither.len(), 20, 40);
        let yslit = Array3::from_shape_fn(shape, |(e, y, _)| y as f64 - 10.0 - dither[e]);
        let wave = Array3::from_shape_fn(shape, |(_, _, x)| 1.0 + 0.01 * x as f64);
        let data = Array3::from_shape_fn(shape, |(e, y, x)| {
            let line = 1.0 + 60.0 * (-0.5 * ((x as f64 - 20.2) / 0.9).powi(2)).exp();
            line * 5.0 * (-0.5 * (yslit[(e, y, x)] / 0.9_f64).powi(2)).exp()
        });
        let variance = Array3::ones(shape);
        [data, variance, wave, yslit]
    }

    fn judge(parts: &[Array3<f64>; 4]) -> Array3<i8> {
        let valid = Array3::from_elem(parts[0].raw_dim(), true);
        let stack = SlitStack {
            data: parts[0].view(),
            variance: parts[1].view(),
            wavelength: parts[2].view(),
            yslit: parts[3].view(),
            valid: valid.view(),
        };
        local_outliers(&stack, &PARAMS).unwrap()
    }

    #[test]
    fn a_line_is_kept_and_a_pixel_beside_it_is_found_whatever_its_sign() {
        let mut parts = nods(&[0.0, 5.1, -5.1]);
        assert!(judge(&parts).iter().all(|f| *f == 0));
        parts[0][(0, 11, 25)] += 12.0;
        parts[0][(1, 3, 8)] -= 12.0;
        let found = judge(&parts);
        assert_eq!((found[(0, 11, 25)], found[(1, 3, 8)]), (1, -1));
        assert_eq!(found.iter().filter(|f| **f != 0).count(), 2);
    }

    #[test]
    fn one_exposure_by_itself_has_only_what_is_sharper_than_a_line() {
        let mut parts = nods(&[0.3]);
        parts[0][(0, 2, 30)] += 9.0;
        let found = judge(&parts);
        assert_eq!(found[(0, 2, 30)], 1);
        assert_eq!(found.iter().filter(|f| **f != 0).count(), 1);
    }
}
