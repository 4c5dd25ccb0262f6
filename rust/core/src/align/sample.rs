//! Values of an image between its pixels, with bad pixels left out.

use rayon::prelude::*;

use super::AlignError;
use crate::image::Plane;
use crate::interrupt;

/// Positions that one thread takes at once.
const BLOCK: usize = 4096;

/// Weights of the four pixels around a position a part `t` of a pixel after the second.
fn cubic(t: f64) -> [f64; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        -0.5 * t + t2 - 0.5 * t3,
        1.0 - 2.5 * t2 + 1.5 * t3,
        0.5 * t + 2.0 * t2 - 1.5 * t3,
        -0.5 * t2 + 0.5 * t3,
    ]
}

/// The value at `(x, y)`, NaN where one of the sixteen pixels around it is bad or beyond the border.
fn value(data: Plane<'_, f32>, bad: Option<Plane<'_, bool>>, [x, y]: [f64; 2]) -> f64 {
    let (ny, nx) = data.shape();
    let (left, bottom) = (x.floor(), y.floor());
    // NaN fails both comparisons.
    let is_inside =
        left >= 1.0 && bottom >= 1.0 && left + 2.0 < nx as f64 && bottom + 2.0 < ny as f64;
    if !is_inside {
        return f64::NAN;
    }
    let (i, j) = (left as usize - 1, bottom as usize - 1);
    let (across, up) = (cubic(x - left), cubic(y - bottom));
    let mut total = 0.0;
    for (k, v) in up.iter().enumerate() {
        if bad.is_some_and(|bad| bad.row(j + k)[i..i + 4].contains(&true)) {
            return f64::NAN;
        }
        let row = &data.row(j + k)[i..i + 4];
        let sum: f64 = row.iter().zip(across).map(|(d, u)| f64::from(*d) * u).sum();
        total += v * sum;
    }
    total
}

/// Interpolate an image at positions `(x, y)`, 0-based, by cubic convolution.
///
/// # Errors
/// [`AlignError`] when the mask has another shape.
///
/// # Source
/// Keys 1981 (IEEE Trans. ASSP 29, 1153, equation 15).
pub fn sample(
    data: Plane<'_, f32>,
    bad: Option<Plane<'_, bool>>,
    points: &[[f64; 2]],
) -> Result<Vec<f64>, AlignError> {
    let bad = bad
        .map(|bad| bad.of_shape("mask", data.shape()))
        .transpose()?;
    let mut out = vec![0.0; points.len()];
    out.par_chunks_mut(BLOCK)
        .zip(points.par_chunks(BLOCK))
        .for_each(|(values, places)| {
            interrupt::poll();
            for (found, place) in values.iter_mut().zip(places) {
                *found = value(data, bad, *place);
            }
        });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(f: impl Fn(f64, f64) -> f64) -> Vec<f32> {
        (0..20 * 30)
            .map(|k| f(f64::from(k % 30), f64::from(k / 30)) as f32)
            .collect()
    }

    #[test]
    fn a_quadratic_surface_is_met_between_pixels() {
        let surface = |x: f64, y: f64| 3.0 + 0.5 * x - 0.25 * y + 0.125 * x * x - 0.0625 * y * y;
        let pixels = plane(surface);
        let data = Plane::new("data", &pixels, (20, 30)).unwrap();
        let points = [[5.3, 7.8], [1.0, 1.0], [27.9, 17.99], [10.0, 10.0]];
        for (found, [x, y]) in sample(data, None, &points).unwrap().iter().zip(points) {
            assert!((found - surface(x, y)).abs() < 1e-4, "{found} at {x} {y}");
        }
    }

    #[test]
    fn bad_pixels_and_what_is_outside_are_nan() {
        let pixels = plane(|_, _| 1.0);
        let data = Plane::new("data", &pixels, (20, 30)).unwrap();
        let mut mask = vec![false; 600];
        mask[10 * 30 + 10] = true;
        let bad = Plane::new("mask", &mask, (20, 30)).unwrap();
        let points = [
            [10.4, 10.4],
            [12.1, 10.0],
            [11.9, 10.0],
            [0.9, 5.0],
            [5.0, 18.0],
            [f64::NAN, 3.0],
            [-1e300, 1e300],
        ];
        let found = sample(data, Some(bad), &points).unwrap();
        let known: Vec<bool> = found.iter().map(|v| v.is_finite()).collect();
        assert_eq!(known, [false, true, false, false, false, false, false]);
        assert!((found[1] - 1.0).abs() < 1e-12);
    }
}
