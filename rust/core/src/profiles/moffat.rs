//! The Moffat profile.

use std::f64::consts::{LN_2, PI};

use super::profile::Surface;

/// The profile along its major axis, of unit flux in a circle: `I(r) = (beta - 1) / (pi a^2) (1 + (r / a)^2)^-beta`.
///
/// # Source
/// Moffat 1969, A&A 3, 455, eq. 7.
#[derive(Clone, Copy, Debug)]
pub(super) struct MoffatRadial {
    r_e: f64,
    beta: f64,
    /// Half-light radius over the scale `a`, and the derivative of its logarithm by `beta`.
    half: f64,
    half_by_beta: f64,
}

/// Half-light radius in units of the scale: `(1 + h^2)^(1 - beta) = 1/2`.
pub(super) fn half_light(beta: f64) -> f64 {
    ((LN_2 / (beta - 1.0)).exp() - 1.0).sqrt()
}

impl MoffatRadial {
    pub(super) fn new(r_e: f64, beta: f64) -> Self {
        let half = half_light(beta);
        let wing = beta - 1.0;
        Self {
            r_e,
            beta,
            half,
            half_by_beta: -0.5 * LN_2 * (half * half + 1.0) / (wing * wing * half * half),
        }
    }

    /// Square of a radius in units of the scale.
    fn squared(&self, r: f64) -> f64 {
        (r * self.half / self.r_e).powi(2)
    }

    pub(super) fn value(&self, r: f64) -> f64 {
        let scale = self.r_e / self.half;
        (self.beta - 1.0) / (PI * scale * scale) * (1.0 + self.squared(r)).powf(-self.beta)
    }

    pub(super) fn surface(&self, r: f64) -> Surface {
        let x2 = self.squared(r);
        // The derivative of ln(1 + x^2) by ln(r).
        let bend = 2.0 * x2 / (1.0 + x2);
        let steep = self.beta * bend;
        Surface {
            value: self.value(r),
            by_n: 1.0 / (self.beta - 1.0) + (2.0 - steep) * self.half_by_beta - x2.ln_1p(),
            by_ln_r: -steep,
            by_n_and_ln_r: -2.0 * steep / (1.0 + x2) * self.half_by_beta - bend,
        }
    }

    pub(super) fn within(&self, r: f64) -> f64 {
        -((1.0 - self.beta) * self.squared(r).ln_1p()).exp_m1()
    }
}
