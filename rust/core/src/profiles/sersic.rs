//! The Sersic profile.

use super::ProfileError;
use super::profile::Surface;
use crate::image::Plane;
use crate::math::gamma::{incomplete_gamma, ln_gamma};

/// An elliptical Sersic profile of unit surface on pixels: `I(r) = I_e exp(-b ((r / r_e)^(1/n) - 1))`.
///
/// # Source
/// Sersic 1968, Atlas de Galaxias Australes; Ciotti & Bertin 1999, A&A 352, 447, eqs. 1 to 4 and 18.
#[derive(Clone, Copy, Debug)]
pub struct Sersic {
    /// Centre [pix].
    pub x: f64,
    /// Centre [pix].
    pub y: f64,
    /// All of its light, out to infinity.
    pub flux: f64,
    /// Semi-major axis of the ellipse that holds half of it [pix].
    pub r_e: f64,
    /// Index.
    pub n: f64,
    /// Minor over major axis.
    pub q: f64,
    /// Angle of the major axis, from x towards y [rad].
    pub theta: f64,
}

impl Sersic {
    /// The sources of rows `(x, y, flux, r_e, n, q, theta)`.
    ///
    /// # Errors
    /// When a row has another length.
    pub fn of_rows(rows: Plane<'_, f64>) -> Result<Vec<Self>, ProfileError> {
        let of_row = |row: &[f64]| match row {
            &[x, y, flux, r_e, n, q, theta] => Ok(Self {
                x,
                y,
                flux,
                r_e,
                n,
                q,
                theta,
            }),
            other => Err(ProfileError::Columns(other.len(), 7)),
        };
        rows.pixels().chunks(rows.shape().1).map(of_row).collect()
    }
}

/// The profile along its major axis, of unit flux in a circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct SersicRadial {
    r_e: f64,
    n: f64,
    b: f64,
    /// Surface brightness in the centre.
    centre: f64,
    /// Derivatives by the index of the logarithms of `b` and of the surface brightness in the centre.
    b_by_n: f64,
    centre_by_n: f64,
}

/// Step of the index for derivatives of `b` and of the gamma function.
const STEP_N: f64 = 1e-4;

/// `b` with half of the light within `r_e`: `P(2n, b) = 1/2`.
pub(super) fn scale(n: f64) -> f64 {
    let a = 2.0 * n;
    let mut b = (a - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * n * n)).max(1e-3);
    for _ in 0..20 {
        let density = ((a - 1.0) * b.ln() - b - ln_gamma(a)).exp();
        let step = (incomplete_gamma(a, b) - 0.5) / density;
        b = (b - step).max(0.5 * b);
        if step.abs() < 1e-13 * b {
            break;
        }
    }
    b
}

/// Logarithm of the surface brightness in the centre for `r_e = 1`.
fn ln_centre(n: f64, b: f64) -> f64 {
    2.0 * n * b.ln() - (2.0 * std::f64::consts::PI * n).ln() - ln_gamma(2.0 * n)
}

impl SersicRadial {
    pub(super) fn new(r_e: f64, n: f64) -> Self {
        let b = scale(n);
        let [(b_low, low), (b_high, high)] = [n - STEP_N, n + STEP_N].map(|n| {
            let b = scale(n);
            (b.ln(), ln_centre(n, b))
        });
        Self {
            r_e,
            n,
            b,
            centre: ln_centre(n, b).exp() / (r_e * r_e),
            b_by_n: 0.5 * (b_high - b_low) / STEP_N,
            centre_by_n: 0.5 * (high - low) / STEP_N,
        }
    }

    /// Surface brightness at a radius.
    pub(super) fn value(&self, r: f64) -> f64 {
        self.centre * (-self.b * (r / self.r_e).powf(1.0 / self.n)).exp()
    }

    /// Surface brightness at a radius above 0, with its derivatives.
    pub(super) fn surface(&self, r: f64) -> Surface {
        let ln_x = (r / self.r_e).ln();
        let z = self.b * (ln_x / self.n).exp();
        let ln_z_by_n = self.b_by_n - ln_x / (self.n * self.n);
        Surface {
            value: self.centre * (-z).exp(),
            by_n: self.centre_by_n - z * ln_z_by_n,
            by_ln_r: -z / self.n,
            by_n_and_ln_r: z / self.n * (1.0 / self.n - ln_z_by_n),
        }
    }

    /// Light within a radius.
    pub(super) fn within(&self, r: f64) -> f64 {
        incomplete_gamma(2.0 * self.n, self.b * (r / self.r_e).powf(1.0 / self.n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_light_is_within_the_effective_radius() {
        for n in [0.3, 0.5, 1.0, 2.5, 4.0, 6.2, 8.0] {
            let radial = SersicRadial::new(3.0, n);
            assert!((radial.within(3.0) - 0.5).abs() < 1e-12, "{n}");
        }
        assert!((scale(1.0) - 1.678_346_990_016_661).abs() < 1e-10);
        assert!((scale(4.0) - 7.669_249_442_500_806).abs() < 1e-10);
    }
}
