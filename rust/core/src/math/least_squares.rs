//! Linear least squares from normal equations, with unknowns that may have to stay above zero.

/// Unknowns that the ones before them determine to this part of their own square are left out.
const LEAST_PIVOT: f64 = 1e-11;

/// The lower triangle of normal equations of some unknowns, their diagonal scaled to 1.
#[derive(Clone, Debug)]
pub struct Factor {
    /// The unknowns, in their order.
    used: Vec<usize>,
    lower: Vec<f64>,
    scale: Vec<f64>,
}

impl Factor {
    /// Factorise the rows and columns of a symmetric matrix that are `wanted`; those that depend on the ones before
    /// them, or are zero, are left out.
    #[must_use]
    pub fn new(matrix: &[f64], n: usize, wanted: &[usize]) -> Self {
        let width = wanted.len();
        let (mut used, mut scale) = (Vec::with_capacity(width), Vec::with_capacity(width));
        let mut lower = vec![0.0; width * width];
        for &i in wanted {
            let own = matrix[i * n + i];
            if own.is_nan() || own <= 0.0 {
                continue;
            }
            let (k, inverse) = (used.len(), 1.0 / own.sqrt());
            for j in 0..k {
                let mut rest: f64 = matrix[i * n + used[j]] * inverse * scale[j];
                for l in 0..j {
                    rest -= lower[k * width + l] * lower[j * width + l];
                }
                lower[k * width + j] = rest / lower[j * width + j];
            }
            let pivot = 1.0 - (0..k).map(|l| lower[k * width + l].powi(2)).sum::<f64>();
            if pivot > LEAST_PIVOT {
                lower[k * width + k] = pivot.sqrt();
                used.push(i);
                scale.push(inverse);
            }
        }
        // The rows keep the stride of the first guess of their number.
        let k = used.len();
        let packed = (0..k * k)
            .map(|at| lower[(at / k) * width + at % k])
            .collect();
        Self {
            used,
            lower: packed,
            scale,
        }
    }

    /// The unknowns that are solved for.
    #[must_use]
    pub fn used(&self) -> &[usize] {
        &self.used
    }

    /// Logarithm of the determinant of the rows and columns that are used.
    #[must_use]
    pub fn ln_determinant(&self) -> f64 {
        let k = self.used.len();
        let own = |(i, s): (usize, &f64)| 2.0 * (self.lower[i * k + i].ln() - s.ln());
        self.scale.iter().enumerate().map(own).sum()
    }

    /// Solve for a right side of all unknowns; 0 for those left out.
    #[must_use]
    pub fn solve(&self, right: &[f64]) -> Vec<f64> {
        let k = self.used.len();
        let mut x: Vec<f64> = self
            .used
            .iter()
            .zip(&self.scale)
            .map(|(&i, s)| right[i] * s)
            .collect();
        for i in 0..k {
            let before: f64 = (0..i).map(|j| self.lower[i * k + j] * x[j]).sum();
            x[i] = (x[i] - before) / self.lower[i * k + i];
        }
        for i in (0..k).rev() {
            let after: f64 = (i + 1..k).map(|j| self.lower[j * k + i] * x[j]).sum();
            x[i] = (x[i] - after) / self.lower[i * k + i];
        }
        let mut all = vec![0.0; right.len()];
        for ((&i, value), s) in self.used.iter().zip(x).zip(&self.scale) {
            all[i] = value * s;
        }
        all
    }

    /// The inverse of the matrix, row after row; NaN for unknowns that are left out.
    #[must_use]
    pub fn inverse(&self, n: usize) -> Vec<f64> {
        let mut inverse = vec![f64::NAN; n * n];
        let mut unit = vec![0.0; n];
        for &j in &self.used {
            unit[j] = 1.0;
            let column = self.solve(&unit);
            unit[j] = 0.0;
            for &i in &self.used {
                inverse[i * n + j] = column[i];
            }
        }
        inverse
    }
}

/// Minimise `x^T N x - 2 x^T r` with some unknowns not below zero; the unknowns beside those at the bound come with their
/// factor.
///
/// # Source
/// Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23; on normal equations as Bro & de Jong 1997,
/// J. Chemometrics 11, 393.
#[must_use]
pub fn solve_bounded(matrix: &[f64], right: &[f64], is_bounded: &[bool]) -> (Vec<f64>, Factor) {
    let n = right.len();
    let mut is_free: Vec<bool> = is_bounded.iter().map(|b| !b).collect();
    let chosen = |is_free: &[bool]| -> Vec<usize> { (0..n).filter(|&i| is_free[i]).collect() };
    let mut factor = Factor::new(matrix, n, &chosen(&is_free));
    let mut x = factor.solve(right);
    // Each step lowers the cost, so no set of free unknowns comes twice; the limit is for rounding alone.
    for _ in 0..3 * n + 10 {
        let slope = |i: usize| {
            let bent: f64 = (0..n).map(|j| matrix[i * n + j] * x[j]).sum();
            right[i] - bent
        };
        let gain = |i: usize| slope(i) / matrix[i * n + i].sqrt();
        let largest = right
            .iter()
            .enumerate()
            .map(|(i, r)| (r / matrix[i * n + i].sqrt()).abs())
            .filter(|r| r.is_finite())
            .fold(0.0, f64::max);
        let next = (0..n)
            .filter(|&i| !is_free[i] && matrix[i * n + i] > 0.0)
            .map(|i| (i, gain(i)))
            .filter(|(_, g)| *g > 1e-10 * largest)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((next, _)) = next else { break };
        is_free[next] = true;
        loop {
            factor = Factor::new(matrix, n, &chosen(&is_free));
            let target = factor.solve(right);
            let below: Vec<usize> = (0..n)
                .filter(|&i| is_free[i] && is_bounded[i] && target[i] <= 0.0)
                .collect();
            if below.is_empty() {
                x = target;
                break;
            }
            // Go towards the target until the first unknown meets the bound.
            let way = below
                .iter()
                .map(|&i| x[i] / (x[i] - target[i]))
                .filter(|w| w.is_finite())
                .fold(1.0, f64::min);
            for i in 0..n {
                x[i] += way * (target[i] - x[i]);
            }
            for i in below {
                if x[i] <= 0.0 || x[i].abs() < 1e-14 * target[i].abs() {
                    x[i] = 0.0;
                    is_free[i] = false;
                }
            }
            if !is_free[next] {
                break;
            }
        }
        if !is_free[next] {
            factor = Factor::new(matrix, n, &chosen(&is_free));
            break;
        }
    }
    (x, factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(rows: &[f64], y: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
        let m = y.len();
        let at = |k: usize, i: usize| rows[k * n + i];
        let matrix = (0..n * n)
            .map(|ij| (0..m).map(|k| at(k, ij / n) * at(k, ij % n)).sum())
            .collect();
        let right = (0..n)
            .map(|i| (0..m).map(|k| at(k, i) * y[k]).sum())
            .collect();
        (matrix, right)
    }

    #[test]
    fn a_dependent_unknown_is_left_out_and_the_rest_is_solved() {
        // The third column is the sum of the first two.
        let rows = [1.0, 0.0, 1.0, 0.0, 2.0, 2.0, 1.0, 1.0, 2.0];
        let (matrix, right) = normal(&rows, &[3.0, 4.0, 5.0], 3);
        let factor = Factor::new(&matrix, 3, &[0, 1, 2]);
        assert_eq!(factor.used(), [0, 1]);
        let x = factor.solve(&right);
        assert!((x[0] - 3.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12 && x[2] == 0.0);
        let inverse = factor.inverse(3);
        assert!(inverse[8].is_nan());
        // Of (2 1; 1 5).
        assert!((factor.ln_determinant() - 9.0_f64.ln()).abs() < 1e-12);
        // (2 1; 1 5)^-1
        assert!((inverse[0] - 5.0 / 9.0).abs() < 1e-12 && (inverse[1] + 1.0 / 9.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn bounded_solutions_fulfil_the_conditions_of_karush_kuhn_and_tucker(
            rows in prop::collection::vec(-1.0..1.0_f64, 60),
            y in prop::collection::vec(-1.0..1.0_f64, 10),
            n_free in 0..4_usize,
        ) {
            let n = 6;
            let (matrix, right) = normal(&rows, &y, n);
            let is_bounded: Vec<bool> = (0..n).map(|i| i >= n_free).collect();
            let (x, _) = solve_bounded(&matrix, &right, &is_bounded);
            for i in 0..n {
                let slope = right[i] - (0..n).map(|j| matrix[i * n + j] * x[j]).sum::<f64>();
                prop_assert!(!is_bounded[i] || x[i] >= 0.0);
                if is_bounded[i] && x[i] == 0.0 {
                    prop_assert!(slope < 1e-8);
                } else {
                    prop_assert!(slope.abs() < 1e-8);
                }
            }
        }
    }
}
