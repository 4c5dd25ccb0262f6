//! Gauss-Legendre nodes.

/// Nodes and weights on [-1, 1].
///
/// # Source
/// Abramowitz & Stegun 1964, eqs. 25.4.29 and 22.18: the roots of the Legendre polynomial by Newton steps.
pub(super) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let order = n as f64;
    (0..n)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (order + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (mut before, mut here) = (1.0, x);
                for k in 2..=n {
                    let k = k as f64;
                    (before, here) = (here, ((2.0 * k - 1.0) * x * here - (k - 1.0) * before) / k);
                }
                if n == 1 {
                    (before, here) = (1.0, x);
                }
                slope = order * (x * here - before) / (x * x - 1.0);
                let step = here / slope;
                x -= step;
                if step.abs() < 1e-15 {
                    break;
                }
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_of_twice_the_order_are_exact() {
        for n in [1, 2, 3, 4, 8, 24] {
            let nodes = gauss_legendre(n);
            for power in 0..2 * n as i32 {
                let sum: f64 = nodes.iter().map(|(x, w)| w * x.powi(power)).sum();
                let exact = if power % 2 == 0 {
                    2.0 / f64::from(power + 1)
                } else {
                    0.0
                };
                assert!((sum - exact).abs() < 1e-13, "{n} {power}");
            }
        }
    }
}
