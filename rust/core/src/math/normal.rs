//! The normal distribution and its integral.

use std::sync::LazyLock;

/// Distance of the nodes; within half of it six derivatives give the integral to 2e-15.
const STEP: f64 = 1.0 / 32.0;
/// Beyond it the integral is 1/2 to the last bit.
const REACH: f64 = 8.5;
const N_TERMS: usize = 7;

/// Taylor series of the integral around each node.
static SERIES: LazyLock<Vec<[f64; N_TERMS]>> = LazyLock::new(|| {
    let n = (REACH / STEP) as usize + 2;
    let mut series = Vec::with_capacity(n);
    let mut integral = 0.0;
    for k in 0..n {
        let terms = series_at(k as f64 * STEP);
        series.push([
            integral, terms[1], terms[2], terms[3], terms[4], terms[5], terms[6],
        ]);
        integral += (1..LONG).rev().fold(0.0, |sum, j| (sum + terms[j]) * STEP);
    }
    series
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

/// Integral of the standard normal density from 0 to t, and the density at t.
///
/// Both are right to about 1e-14.
#[must_use]
#[inline(always)]
pub fn integral_and_density(t: f64) -> (f64, f64) {
    let size = t.abs();
    if size.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    if size >= REACH {
        return (0.5_f64.copysign(t), 0.0);
    }
    let node = (size / STEP + 0.5) as usize;
    let c = &SERIES[node];
    let d = size - node as f64 * STEP;
    let integral = c[0] + d * (c[1] + d * (c[2] + d * (c[3] + d * (c[4] + d * (c[5] + d * c[6])))));
    let density = c[1]
        + d * (2.0 * c[2]
            + d * (3.0 * c[3] + d * (4.0 * c[4] + d * (5.0 * c[5] + d * 6.0 * c[6]))));
    (integral.copysign(t), density)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_are_those_of_tables_and_densities_those_of_the_formula() {
        // Abramowitz & Stegun 1964, table 26.1, less 1/2.
        for (t, integral) in [
            (0.0, 0.0),
            (0.5, 0.191_462_461_274_013),
            (1.0, 0.341_344_746_068_543),
            (1.96, 0.475_002_104_851_780),
            (3.0, 0.498_650_101_968_370),
        ] {
            assert!((integral_and_density(t).0 - integral).abs() < 2e-14, "{t}");
            assert!((integral_and_density(-t).0 + integral).abs() < 2e-14, "{t}");
        }
        for k in -300..300 {
            let t = 0.0371 * f64::from(k);
            let phi = (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((integral_and_density(t).1 - phi).abs() < 1e-12, "{t}");
        }
        assert!((integral_and_density(8.4999).0 - 0.5).abs() < 1e-14);
        assert!(integral_and_density(f64::NAN).0.is_nan());
    }
}
