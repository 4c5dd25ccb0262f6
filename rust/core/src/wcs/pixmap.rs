//! The exact map from the pixels of one TAN or TAN-SIP image to the pixels of another.

use ndarray::{Array2, Array3, ArrayView2, Axis};
use rayon::prelude::*;

use super::WcsError;
use super::distortion::RowPolynomial;
use super::fits_wcs::TanWcs;
use crate::interrupt;

/// The map between two images, ready for evaluation.
///
/// Undistorted pixels of two TAN images are related by one projective map, so no trigonometric function is needed and
/// nothing is lost by the way over degrees.
struct PixelMap<'a> {
    from: &'a TanWcs,
    to: &'a TanWcs,
    homography: [[f64; 3]; 3],
}

/// A [`PixelMap`] along one row.
struct RowMap<'a> {
    map: &'a PixelMap<'a>,
    y: f64,
    polynomial: Option<RowPolynomial>,
}

impl<'a> PixelMap<'a> {
    fn new(from: &'a TanWcs, to: &'a TanWcs) -> Self {
        Self {
            from,
            to,
            homography: from.homography_to(to),
        }
    }

    fn row(&'a self, y: f64) -> RowMap<'a> {
        RowMap {
            map: self,
            y,
            polynomial: self.from.sip().map(|sip| sip.row(y)),
        }
    }
}

impl RowMap<'_> {
    #[inline]
    fn at(&self, x: f64) -> [f64; 2] {
        let (from, to, h) = (self.map.from, self.map.to, &self.map.homography);
        let (mut u, mut v) = (x - from.crpix()[0], self.y - from.crpix()[1]);
        if let (Some(polynomial), Some(sip)) = (&self.polynomial, from.sip()) {
            let (f, g) = polynomial.shift(sip.u(x));
            u += f;
            v += g;
        }
        let w = h[2][0] * u + h[2][1] * v + h[2][2];
        if w <= 0.0 {
            return [f64::NAN; 2];
        }
        let px = (h[0][0] * u + h[0][1] * v + h[0][2]) / w + to.crpix()[0];
        let py = (h[1][0] * u + h[1][1] * v + h[1][2]) / w + to.crpix()[1];
        to.sip().map_or([px, py], |sip| sip.inverse(px, py).into())
    }
}

/// Output `(x, y)` of every pixel of an input image: `(ny, nx, 2)`; NaN where the sky of a pixel is on the far
/// hemisphere of `to`, or the distortion of `to` has no inverse.
#[must_use]
pub fn pixel_map(from: &TanWcs, to: &TanWcs, shape: [usize; 2]) -> Array3<f64> {
    let map = PixelMap::new(from, to);
    let mut out = Array3::zeros((shape[0], shape[1], 2));
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .enumerate()
        .with_min_len(16)
        .for_each(|(j, mut row)| {
            interrupt::poll();
            let along = map.row(j as f64);
            for (i, mut pixel) in row.outer_iter_mut().enumerate() {
                let [x, y] = along.at(i as f64);
                pixel[0] = x;
                pixel[1] = y;
            }
        });
    out
}

/// Output `(x, y)` of input positions `(n, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] when the positions are not pairs.
pub fn map_points(
    from: &TanWcs,
    to: &TanWcs,
    points: &ArrayView2<'_, f64>,
) -> Result<Array2<f64>, WcsError> {
    pairs(points)?;
    let map = PixelMap::new(from, to);
    Ok(each(points, |x, y| map.row(y).at(x)))
}

/// `(ra, dec)` [deg] of positions `(n, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] when the positions are not pairs.
pub fn sky_points(wcs: &TanWcs, points: &ArrayView2<'_, f64>) -> Result<Array2<f64>, WcsError> {
    pairs(points)?;
    Ok(each(points, |x, y| wcs.sky(x, y).into()))
}

/// Positions `(x, y)` of `(ra, dec)` [deg], `(n, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] when the sky positions are not pairs.
pub fn pixel_points(wcs: &TanWcs, points: &ArrayView2<'_, f64>) -> Result<Array2<f64>, WcsError> {
    pairs(points)?;
    Ok(each(points, |ra, dec| wcs.pixel(ra, dec).into()))
}

fn pairs(points: &ArrayView2<'_, f64>) -> Result<(), WcsError> {
    if points.ncols() == 2 {
        return Ok(());
    }
    Err(WcsError::Shape {
        name: "points",
        shape: points.shape().to_vec(),
        wanted: "(n, 2)",
    })
}

fn each(points: &ArrayView2<'_, f64>, f: impl Fn(f64, f64) -> [f64; 2] + Sync) -> Array2<f64> {
    let mut out = Array2::zeros(points.raw_dim());
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .with_min_len(1024)
        .zip(points.axis_iter(Axis(0)))
        .for_each(|(mut to, from)| {
            let [a, b] = f(from[0], from[1]);
            to[0] = a;
            to[1] = b;
        });
    out
}
