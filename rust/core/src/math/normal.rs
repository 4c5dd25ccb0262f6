//! The normal distribution and its integral.

use std::sync::LazyLock;

/// Nodes for each unit; within half of their distance six derivatives give the integral to 2e-15.
const PER_UNIT: f64 = 32.0;
/// Beyond it the integral is 1/2 to the last bit.
const REACH: f64 = 8.5;
/// A power of two, so that a masked index is within the table.
const N_NODES: usize = 512;
/// Added to a number below it, it leaves the nearest integer in the last bits.
const ROUNDING: f64 = 4_503_599_627_370_496.0;

/// Taylor series of the integral of the standard normal density around evenly spaced nodes.
///
/// There is no branch in it: a loop over an array takes as many at once as the vector registers have lanes.
#[derive(Debug)]
pub struct NormalIntegral {
    series: Box<[[f64; 8]; N_NODES]>,
}

static SHARED: LazyLock<NormalIntegral> = LazyLock::new(|| {
    let mut series = Box::new([[0.0; 8]; N_NODES]);
    let last = (REACH * PER_UNIT) as usize;
    let mut integral = 0.0;
    for (k, row) in series[..last].iter_mut().enumerate() {
        let terms = series_at(k as f64 / PER_UNIT);
        *row = [
            integral, terms[1], terms[2], terms[3], terms[4], terms[5], terms[6], 0.0,
        ];
        integral += (1..LONG)
            .rev()
            .fold(0.0, |sum, j| (sum + terms[j]) / PER_UNIT);
    }
    series[last][0] = 0.5;
    NormalIntegral { series }
});

/// Terms that carry the integral over a whole step.
const LONG: usize = 16;

/// Coefficients of `integral from t to t + d` in powers of d: those of `He_n(t) phi(t)`.
fn series_at(t: f64) -> [f64; LONG] {
    let mut terms = [0.0; LONG];
    // phi^(n) = -t phi^(n - 1) - (n - 1) phi^(n - 2)
    let mut last = (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let mut before = 0.0;
    let mut factorial = 1.0;
    for (n, term) in terms.iter_mut().enumerate().skip(1) {
        factorial *= n as f64;
        *term = last / factorial;
        let order = n as f64;
        (last, before) = (-t * last - (order - 1.0) * before, last);
    }
    terms
}

impl NormalIntegral {
    /// The table, which is made once.
    #[must_use]
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Integral of the density from 0 to t, and the density at t; both are right to about 1e-14.
    #[must_use]
    #[inline(always)]
    pub fn with_density(&self, t: f64) -> (f64, f64) {
        let size = t.abs();
        // Not `min`, which would make a number of NaN.
        let size = if size > REACH { REACH } else { size };
        let rounded = size * PER_UNIT + ROUNDING;
        let c = &self.series[rounded.to_bits() as usize & (N_NODES - 1)];
        let d = size - (rounded - ROUNDING) / PER_UNIT;
        let integral =
            c[0] + d * (c[1] + d * (c[2] + d * (c[3] + d * (c[4] + d * (c[5] + d * c[6])))));
        let density = c[1]
            + d * (2.0 * c[2]
                + d * (3.0 * c[3] + d * (4.0 * c[4] + d * (5.0 * c[5] + d * 6.0 * c[6]))));
        (integral.copysign(t), density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_are_those_of_tables_and_densities_those_of_the_formula() {
        let normal = NormalIntegral::shared();
        // Abramowitz & Stegun 1964, table 26.1, less 1/2.
        for (t, integral) in [
            (0.0, 0.0),
            (0.5, 0.191_462_461_274_013),
            (1.0, 0.341_344_746_068_543),
            (1.96, 0.475_002_104_851_780),
            (3.0, 0.498_650_101_968_370),
        ] {
            assert!((normal.with_density(t).0 - integral).abs() < 2e-14, "{t}");
            assert!((normal.with_density(-t).0 + integral).abs() < 2e-14, "{t}");
        }
        for k in -300..300 {
            let t = 0.0371 * f64::from(k);
            let phi = (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((normal.with_density(t).1 - phi).abs() < 1e-12, "{t}");
        }
        assert!((normal.with_density(8.4999).0 - 0.5).abs() < 1e-14);
        for t in [8.5, 9.0, f64::INFINITY] {
            assert_eq!(normal.with_density(t), (0.5, 0.0));
            assert_eq!(normal.with_density(-t), (-0.5, 0.0));
        }
        assert!(normal.with_density(f64::NAN).0.is_nan());
    }
}
