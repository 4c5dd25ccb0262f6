//! Noise of a spectrum: a banded covariance of its pixels, and values in units of it.

use super::SpectraError;
use super::templates::Column;

/// Part of a pixel's variance that those before it must leave.
const LEAST_PIVOT: f64 = 1e-10;
/// Part of the peak below which the end of a whitened column is left out: far below rounding.
const TAIL: f64 = 1e-22;

/// The covariance `L L^T` of the pixels that are used.
#[derive(Clone, Debug)]
pub struct Noise {
    n: usize,
    width: usize,
    /// Row `i` holds `L[i, i - 1]`, `L[i, i - 2]` and so on.
    below: Vec<f64>,
    /// `1 / L[i, i]`; 0 for pixels that are not used.
    inverse: Vec<f64>,
}

impl Noise {
    /// From the covariance of each pixel with itself and the `width - 1` after it.
    ///
    /// # Errors
    /// When lengths differ, no pixel is used, or the matrix is not positive definite.
    pub fn new(covariance: &[f64], width: usize, is_used: &[bool]) -> Result<Self, SpectraError> {
        let n = is_used.len();
        if covariance.len() != n * width || width == 0 {
            return Err(SpectraError::Length {
                name: "covariance",
                found: covariance.len(),
                expected: n * width.max(1),
            });
        }
        if !is_used.contains(&true) {
            return Err(SpectraError::NoPixel);
        }
        let reach = width - 1;
        let mut below = vec![0.0; n * reach];
        let mut inverse = vec![0.0; n];
        for i in (0..n).filter(|&i| is_used[i]) {
            let first = i.saturating_sub(reach);
            let mut left = covariance[i * width];
            for j in first..i {
                if !is_used[j] {
                    continue;
                }
                let known: f64 = (first..j)
                    .map(|l| below[i * reach + i - l - 1] * below_at(&below, reach, j, l))
                    .sum();
                let value = (covariance[j * width + i - j] - known) * inverse[j];
                below[i * reach + i - j - 1] = value;
                left -= value * value;
            }
            if left.is_nan() || left <= LEAST_PIVOT * covariance[i * width] {
                return Err(SpectraError::NotPositive { pixel: i });
            }
            inverse[i] = 1.0 / left.sqrt();
        }
        Ok(Self {
            n,
            width,
            below,
            inverse,
        })
    }

    /// Number of pixels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// First and last pixel that is used.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        let used = |w: &f64| *w > 0.0;
        let first = self.inverse.iter().position(used).unwrap_or(0);
        (first, self.inverse.iter().rposition(used).unwrap_or(0))
    }

    /// Values from a pixel on, in units of the noise: `L^-1 v`.
    #[must_use]
    pub fn whiten(&self, first: usize, values: &[f64]) -> Column {
        let reach = self.width - 1;
        let mut out: Vec<f64> = Vec::with_capacity(values.len() + reach);
        let mut peak: f64 = 0.0;
        for i in first..self.n {
            let at = i - first;
            if at >= values.len() {
                let tail = &out[at.saturating_sub(reach)..];
                if tail.iter().all(|v| v.abs() <= TAIL * peak) {
                    break;
                }
            }
            let known: f64 = (1..=reach.min(at))
                .map(|k| self.below[i * reach + k - 1] * out[at - k])
                .sum();
            let value = (values.get(at).copied().unwrap_or(0.0) - known) * self.inverse[i];
            peak = peak.max(value.abs());
            out.push(value);
        }
        Column { first, values: out }
    }
}

/// `L[j, l]`; 0 outside of the band.
fn below_at(below: &[f64], reach: usize, j: usize, l: usize) -> f64 {
    if j - l <= reach {
        below[j * reach + j - l - 1]
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whitened_squares_are_those_of_the_inverse_covariance(
            taps in prop::collection::vec(-0.4..0.4_f64, 2),
            scale in prop::collection::vec(0.5..2.0_f64, 14),
            used in prop::collection::vec(prop::bool::weighted(0.8), 14),
            values in prop::collection::vec(-1.0..1.0_f64, 9),
            first in 0..6_usize,
        ) {
            prop_assume!(used.contains(&true));
            // Noise of neighbours that share (1, a, b) of independent parts.
            let taps = [1.0, taps[0], taps[1]];
            let (n, width) = (14, 3);
            let mut band = vec![0.0; n * width];
            for i in 0..n {
                for k in 0..width.min(n - i) {
                    let shared: f64 = (0..width - k).map(|t| taps[t] * taps[t + k]).sum();
                    band[i * width + k] = shared * scale[i] * scale[i + k];
                }
            }
            let noise = Noise::new(&band, width, &used).unwrap();
            let column = noise.whiten(first, &values);
            // The same from the whole matrix of used pixels by Gauss elimination.
            let chosen: Vec<usize> = (0..n).filter(|&i| used[i]).collect();
            let m = chosen.len();
            let mut rows: Vec<Vec<f64>> = chosen.iter().map(|&i| {
                let mut row: Vec<f64> = chosen.iter().map(|&j| {
                    let (a, k) = (i.min(j), i.abs_diff(j));
                    if k < width { band[a * width + k] } else { 0.0 }
                }).collect();
                row.push(if (first..first + 9).contains(&i) { values[i - first] } else { 0.0 });
                row
            }).collect();
            let right: Vec<f64> = rows.iter().map(|r| r[m]).collect();
            for i in 0..m {
                let pivot = rows[i].clone();
                for (r, row) in rows.iter_mut().enumerate() {
                    if r != i {
                        let part = row[i] / pivot[i];
                        row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= part * p);
                    }
                }
            }
            let want: f64 = (0..m).map(|i| right[i] * rows[i][m] / rows[i][i]).sum();
            let found: f64 = column.values.iter().map(|v| v * v).sum();
            prop_assert!((found - want).abs() < 1e-9 * (1.0 + want), "{found} {want}");
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_is_an_error() {
        let failed = Noise::new(&[1.0, 1.2, 1.0, 0.0], 2, &[true, true]);
        assert!(matches!(
            failed,
            Err(SpectraError::NotPositive { pixel: 1 })
        ));
        // Alone, either pixel is fine.
        assert!(Noise::new(&[1.0, 1.2, 1.0, 0.0], 2, &[true, false]).is_ok());
    }
}
