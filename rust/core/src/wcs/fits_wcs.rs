//! A FITS WCS with TAN axes and any distortion of the detector.

use super::WcsError;
use super::distortion::Distortion;
use super::projection::TangentPlane;

/// A FITS WCS with TAN axes and any distortion of the detector, right ascension first.
///
/// # Source
/// Greisen & Calabretta 2002, A&A 395, 1061; Calabretta & Greisen 2002, A&A 395, 1077, section 2.4 (LONPOLE).
#[derive(Clone, Debug, PartialEq)]
pub struct TanWcs {
    crpix: [f64; 2],
    matrix: [[f64; 2]; 2],
    inverse: [[f64; 2]; 2],
    plane: TangentPlane,
    distortion: Distortion,
}

/// `m (x, y)`.
#[inline]
fn apply(m: &[[f64; 2]; 2], x: f64, y: f64) -> (f64, f64) {
    (m[0][0] * x + m[0][1] * y, m[1][0] * x + m[1][1] * y)
}

impl TanWcs {
    /// From the header's numbers: `crval` [deg], 0-based `crpix`, `matrix` [deg/pix] (CD, or CDELT times PC) and
    /// `lonpole` [deg].
    ///
    /// # Errors
    /// [`WcsError::NotFinite`] or [`WcsError::Singular`].
    pub fn new(
        crval: [f64; 2],
        crpix: [f64; 2],
        matrix: [[f64; 2]; 2],
        lonpole: f64,
        distortion: Distortion,
    ) -> Result<Self, WcsError> {
        for (name, numbers) in [
            ("crval", crval),
            ("crpix", crpix),
            ("matrix", matrix[0]),
            ("matrix", matrix[1]),
        ] {
            if !numbers.iter().all(|c| c.is_finite()) {
                return Err(WcsError::NotFinite { name });
            }
        }
        if !lonpole.is_finite() {
            return Err(WcsError::NotFinite { name: "lonpole" });
        }
        // The native longitude of the pole turns the plane by 180 - LONPOLE; TAN headers nearly always have 180.
        let (s, c) = if lonpole == 180.0 {
            (0.0, 1.0)
        } else {
            (180.0 - lonpole).to_radians().sin_cos()
        };
        let [[m00, m01], [m10, m11]] = matrix;
        let m = [
            [c * m00 - s * m10, c * m01 - s * m11],
            [s * m00 + c * m10, s * m01 + c * m11],
        ];
        let det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
        if !det.is_normal() {
            return Err(WcsError::Singular { m00, m01, m10, m11 });
        }
        let inverse = [
            [m[1][1] / det, -m[0][1] / det],
            [-m[1][0] / det, m[0][0] / det],
        ];
        Ok(Self {
            crpix,
            matrix: m,
            inverse,
            plane: TangentPlane::new(crval[0], crval[1]),
            distortion,
        })
    }

    /// The distortion of the detector.
    #[must_use]
    pub fn distortion(&self) -> &Distortion {
        &self.distortion
    }

    /// `ra, dec` [deg] of a 0-based pixel position.
    #[must_use]
    pub fn sky(&self, x: f64, y: f64) -> (f64, f64) {
        let [[x], [y]] = self.distortion.forward(&[x], &[y]);
        let (xi, eta) = apply(&self.matrix, x - self.crpix[0], y - self.crpix[1]);
        self.plane.sky(xi, eta)
    }

    /// 0-based pixel position of `ra, dec` [deg]; NaN for the far hemisphere.
    #[must_use]
    pub fn pixel(&self, ra: f64, dec: f64) -> (f64, f64) {
        let (xi, eta) = self.plane.plane(ra, dec);
        let (x, y) = apply(&self.inverse, xi, eta);
        let (x, y) = ([x + self.crpix[0]], [y + self.crpix[1]]);
        let [[x], [y]] = self.distortion.inverse(&x, &y);
        (x, y)
    }

    /// The projective map from undistorted 0-based pixels of this image to those of another: linear part, rotation of
    /// the sphere and inverse linear part in one matrix.
    #[must_use]
    pub fn homography_to(&self, other: &Self) -> [[f64; 3]; 3] {
        let ([x0, y0], [x1, y1]) = (self.crpix, other.crpix);
        let m = &self.matrix;
        let from = self.plane.homography_to(&other.plane).map(|row| {
            let x = row[0] * m[0][0] + row[1] * m[1][0];
            let y = row[0] * m[0][1] + row[1] * m[1][1];
            [x, y, row[2] - x * x0 - y * y0]
        });
        let to = &other.inverse;
        let mix = |a: f64, b: f64, c: f64| {
            [0, 1, 2].map(|k| a * from[0][k] + b * from[1][k] + c * from[2][k])
        };
        [
            mix(to[0][0], to[0][1], x1),
            mix(to[1][0], to[1][1], y1),
            from[2],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_undoes_sky() {
        let s = 3.5e-5;
        let wcs = TanWcs::new(
            [359.9999, 89.0],
            [10.0, 20.0],
            [[-s, 1e-6], [2e-6, s]],
            180.0,
            Distortion::default(),
        )
        .unwrap();
        let (ra, dec) = wcs.sky(512.25, -3.0);
        let (x, y) = wcs.pixel(ra, dec);
        assert!((x - 512.25).abs() < 1e-8 && (y + 3.0).abs() < 1e-8);
    }

    #[test]
    fn a_singular_matrix_is_refused() {
        let wcs = TanWcs::new(
            [0.0, 0.0],
            [0.0, 0.0],
            [[1.0, 2.0], [2.0, 4.0]],
            180.0,
            Distortion::default(),
        );
        assert!(matches!(wcs, Err(WcsError::Singular { .. })));
    }
}
