//! The gamma function and its incomplete integral.

use realfft::num_complex::Complex;

/// Regularised lower incomplete gamma function `P(a, x)`: series below `a + 1`, Lentz's continued fraction above.
///
/// # Source
/// Abramowitz & Stegun 1964, eqs. 6.5.29 and 6.5.31.
#[must_use]
pub fn incomplete_gamma(a: f64, x: f64) -> f64 {
    const TERMS: usize = 300;
    const TINY: f64 = 1e-300;
    if x <= 0.0 {
        return 0.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for k in 1..TERMS {
            term *= x / (a + k as f64);
            sum += term;
            if term < sum * 1e-14 {
                break;
            }
        }
        return (scale * sum).min(1.0);
    }
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut h = d;
    for k in 1..TERMS {
        let k = k as f64;
        let an = -k * (k - a);
        b += 2.0;
        d = an * d + b;
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + an / c;
        c = if c.abs() < TINY { TINY } else { c };
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    (1.0 - scale * h).max(0.0)
}

/// Logarithm of the gamma function for `x > 0`: Stirling's series after a shift to large arguments.
///
/// # Source
/// Abramowitz & Stegun 1964, eqs. 6.1.15 and 6.1.41.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    const SHIFT: u32 = 10;
    let product: f64 = (0..SHIFT).map(|k| x + f64::from(k)).product();
    let z = x + f64::from(SHIFT);
    let z2 = z * z;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * z2)) / z2) / z;
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - product.ln()
}

/// Logarithm of the gamma function in the right half of the plane, up to a multiple of 2 pi i: Stirling's series after
/// a shift to large arguments.
///
/// # Source
/// Abramowitz & Stegun 1964, eqs. 6.1.15 and 6.1.41.
#[must_use]
pub fn ln_gamma_complex(z: Complex<f64>) -> Complex<f64> {
    const SHIFT: u32 = 10;
    let one = Complex::new(1.0, 0.0);
    let product = (0..SHIFT).fold(one, |product, k| product * (z + f64::from(k)));
    let z = z + f64::from(SHIFT);
    let z2 = z * z;
    let series = (one / 12.0 - (one / 360.0 - (one / 1260.0 - one / (1680.0 * z2)) / z2) / z2) / z;
    (z - 0.5) * z.ln() - z + 0.5 * std::f64::consts::TAU.ln() + series - product.ln()
}

/// The part of a normal distribution that lies below `t` sigma.
///
/// # Source
/// Abramowitz & Stegun 1964, eqs. 26.2.2 and 6.5.16.
#[must_use]
pub fn normal_below(t: f64) -> f64 {
    0.5 + 0.5 * incomplete_gamma(0.5, 0.5 * t * t).copysign(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_that_of_tables() {
        // Abramowitz & Stegun 1964, table 26.1.
        for (t, below) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_543),
            (-2.0, 0.022_750_131_948_179),
            (4.0, 0.999_968_328_758_167),
        ] {
            // As exact as `ln_gamma`.
            assert!(
                (normal_below(t) - below).abs() < 1e-10,
                "{t} {}",
                normal_below(t)
            );
        }
    }

    #[test]
    fn the_gamma_function_is_that_of_integers() {
        assert!((ln_gamma(5.0) - 24_f64.ln()).abs() < 1e-11);
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-9);
    }

    #[test]
    fn the_incomplete_integral_has_its_closed_form_for_whole_numbers() {
        for x in [0.1, 1.0, 3.7, 12.0, 40.0_f64] {
            let third = 1.0 - (-x).exp() * (1.0 + x + 0.5 * x * x);
            assert!((incomplete_gamma(3.0, x) - third).abs() < 1e-10, "{x}");
        }
    }
}
