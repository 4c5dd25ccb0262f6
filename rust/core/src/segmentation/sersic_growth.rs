//! Curves of growth of Sersic profiles.

use std::sync::OnceLock;

use crate::math::gamma::incomplete_gamma;

/// Logarithms of the smallest and largest Sersic index.
pub(super) const LN_N: (f64, f64) = (-1.203_972_804_325_936, 2.079_441_541_679_836);
const LN_X: (f64, f64) = (-4.0, 5.0);
const STEP_X: f64 = 0.02;
const STEP_N: f64 = 0.04;

/// A value and its derivatives by the logarithms of radius and index.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub value: f64,
    pub by_ln_x: f64,
    pub by_ln_n: f64,
}

/// Fraction of the light of an untruncated Sersic profile within `exp(ln_x)` half-light radii, from a table with cubic
/// interpolation.
///
/// # Source
/// Ciotti & Bertin 1999, A&A 352, 447, eqs. 2 (`L(r) = P(2n, b x^(1/n))`) and 18 (`b`).
pub(super) fn growth(ln_x: f64, ln_n: f64) -> Growth {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::new).at(ln_x, ln_n)
}

struct Table {
    columns: usize,
    rows: usize,
    values: Vec<f64>,
}

impl Table {
    fn new() -> Self {
        let columns = ((LN_X.1 - LN_X.0) / STEP_X).round() as usize + 1;
        let rows = ((LN_N.1 - LN_N.0) / STEP_N).ceil() as usize + 1;
        let values = (0..rows)
            .flat_map(|j| {
                let n = (LN_N.0 + j as f64 * STEP_N).exp();
                (0..columns).map(move |i| fraction((LN_X.0 + i as f64 * STEP_X).exp(), n))
            })
            .collect();
        Self {
            columns,
            rows,
            values,
        }
    }

    fn at(&self, ln_x: f64, ln_n: f64) -> Growth {
        let (i, u) = cell((ln_x - LN_X.0) / STEP_X, self.columns);
        let (j, v) = cell((ln_n - LN_N.0) / STEP_N, self.rows);
        let column = |k: usize| (i + k).saturating_sub(1).min(self.columns - 1);
        let along_x = [0, 1, 2, 3].map(|k: usize| {
            let row = (j + k).saturating_sub(1).min(self.rows - 1) * self.columns;
            cubic([0, 1, 2, 3].map(|k| self.values[row + column(k)]), u)
        });
        let (value, by_row) = cubic(along_x.map(|(value, _)| value), v);
        let (by_column, _) = cubic(along_x.map(|(_, slope)| slope), v);
        Growth {
            value,
            by_ln_x: by_column / STEP_X,
            by_ln_n: by_row / STEP_N,
        }
    }
}

/// Value and slope at `t` between the second and the third of four nodes: without kinks at the nodes, on which a fit
/// would come to rest.
///
/// # Source
/// Catmull & Rom 1974, in Computer Aided Geometric Design, 317.
fn cubic([a, b, c, d]: [f64; 4], t: f64) -> (f64, f64) {
    let (p, q, r) = (
        c - a,
        2.0 * a - 5.0 * b + 4.0 * c - d,
        3.0 * (b - c) + d - a,
    );
    (
        b + 0.5 * t * (p + t * (q + t * r)),
        0.5 * (p + t * (2.0 * q + 3.0 * t * r)),
    )
}

/// The interval of a grid of `n` nodes that holds a position, and where in it; positions outside count as at its ends.
fn cell(position: f64, n: usize) -> (usize, f64) {
    let inside = position.clamp(0.0, (n - 1) as f64);
    let i = (inside as usize).min(n - 2);
    (i, inside - i as f64)
}

fn fraction(x: f64, n: f64) -> f64 {
    let b = 2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * n * n);
    incomplete_gamma(2.0 * n, b * x.powf(1.0 / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_light_is_within_the_half_light_radius() {
        for n in [0.5, 1.0, 2.0, 4.0, 7.0_f64] {
            // The series for b is good to 5e-4 at n = 0.5 and better beyond.
            assert!((growth(0.0, n.ln()).value - 0.5).abs() < 4e-4, "{n}");
        }
    }

    #[test]
    fn an_exponential_disc_has_its_closed_form() {
        for x in [0.3, 1.0, 2.5, 6.0_f64] {
            let t = 1.678_346_99 * x;
            let expected = 1.0 - (1.0 + t) * (-t).exp();
            assert!((fraction(x, 1.0) - expected).abs() < 1e-5, "{x}");
            assert!((growth(x.ln(), 0.0).value - expected).abs() < 2e-5, "{x}");
        }
    }

    #[test]
    fn derivatives_are_differences() {
        let (x, n, h) = (0.3, 0.5, 1e-3);
        let g = growth(x, n);
        let dx = (growth(x + h, n).value - growth(x - h, n).value) / (2.0 * h);
        let dn = (growth(x, n + h).value - growth(x, n - h).value) / (2.0 * h);
        assert!((g.by_ln_x - dx).abs() < 1e-5 && (g.by_ln_n - dn).abs() < 1e-5);
    }
}
