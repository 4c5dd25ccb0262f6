//! Cubic B-splines through the pixels of an image.

use ndarray::{Array2, ArrayView2, ArrayViewMut1};

/// Rows and columns of zeros around an image; its spline has decayed to 3e-5 there.
pub(super) const MARGIN: usize = 8;
/// Pole of the filter: `sqrt(3) - 2`.
const POLE: f64 = -0.267_949_192_431_122_7;

/// Values of the four splines that are not zero at `t` in `[0, 1)` after the second of their centres.
pub(super) fn weights(t: f64) -> [f64; 4] {
    let s = 1.0 - t;
    [
        s * s * s / 6.0,
        2.0 / 3.0 - 0.5 * t * t * (2.0 - t),
        2.0 / 3.0 - 0.5 * s * s * (2.0 - s),
        t * t * t / 6.0,
    ]
}

/// Coefficients along one line of values with zeros beyond its ends.
fn filter(mut line: ArrayViewMut1<f64>) {
    let n = line.len();
    for i in 1..n {
        line[i] += POLE * line[i - 1];
    }
    // What the first pass leaves beyond the end decays, and the second pass collects it.
    line[n - 1] *= -POLE / (1.0 - POLE * POLE);
    for i in (0..n - 1).rev() {
        line[i] = POLE * (line[i + 1] - line[i]);
    }
    line.mapv_inplace(|v| 6.0 * v);
}

/// Coefficients of the spline through an image, `MARGIN` larger on every side.
pub(super) fn coefficients(image: ArrayView2<f64>) -> Array2<f64> {
    let (ny, nx) = image.dim();
    let mut out = Array2::zeros((ny + 2 * MARGIN, nx + 2 * MARGIN));
    out.slice_mut(ndarray::s![MARGIN..MARGIN + ny, MARGIN..MARGIN + nx])
        .assign(&image);
    out.rows_mut().into_iter().for_each(filter);
    out.columns_mut().into_iter().for_each(filter);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spline_goes_through_the_pixels_and_keeps_the_sum() {
        let image = Array2::from_shape_fn((9, 11), |(y, x)| ((y * 7 + x * 5) % 6) as f64);
        let c = coefficients(image.view());
        let w = weights(0.0);
        for ((y, x), value) in image.indexed_iter() {
            let mut sum = 0.0;
            for (j, wy) in w.iter().enumerate() {
                for (i, wx) in w.iter().enumerate() {
                    sum += wy * wx * c[(y + MARGIN + j - 1, x + MARGIN + i - 1)];
                }
            }
            assert!((sum - value).abs() < 1e-12, "{sum} {value}");
        }
        // The spline beyond the margin is cut off.
        assert!((c.sum() - image.sum()).abs() < 1e-3 * image.sum());
    }

    #[test]
    fn weights_sum_to_one_and_are_symmetric() {
        for t in [0.0, 0.2, 0.5, 0.9] {
            let (w, v) = (weights(t), weights(1.0 - t));
            assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-15);
            assert!((0..4).all(|i| (w[i] - v[3 - i]).abs() < 1e-15));
        }
    }
}
