//! Linear least squares from normal equations, with unknowns between bounds.

/// Unknowns that the ones before them determine to this part of their own square are left out.
const LEAST_PIVOT: f64 = 1e-12;
/// Slopes below this part of the largest are zero.
const LEAST_SLOPE: f64 = 1e-10;

/// What is left of the right side: `r - N x`.
pub type Rest<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// Cholesky factor of some rows and columns of a matrix whose diagonal is scaled to 1; it grows row by row.
#[derive(Clone, Debug)]
pub struct Growing<'a> {
    matrix: &'a [f64],
    n: usize,
    scale: &'a [f64],
    used: Vec<usize>,
    lower: Vec<f64>,
}

impl<'a> Growing<'a> {
    fn new(matrix: &'a [f64], n: usize, scale: &'a [f64]) -> Self {
        Self {
            matrix,
            n,
            scale,
            used: Vec::with_capacity(n),
            lower: Vec::with_capacity(n * (n + 1) / 2),
        }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.lower[i * (i + 1) / 2..][..=i]
    }

    /// Add an unknown; false when those before determine it.
    fn push(&mut self, i: usize) -> bool {
        if self.scale[i] == 0.0 {
            return false;
        }
        let k = self.used.len();
        let start = self.lower.len();
        for j in 0..k {
            let u = self.used[j];
            let mut rest = self.matrix[i * self.n + u] * self.scale[i] * self.scale[u];
            let (before, own) = self.lower.split_at(start);
            let row = &before[j * (j + 1) / 2..][..=j];
            for l in 0..j {
                rest -= own[l] * row[l];
            }
            let value = rest / row[j];
            self.lower.push(value);
        }
        let pivot = 1.0 - self.lower[start..].iter().map(|v| v * v).sum::<f64>();
        if pivot > LEAST_PIVOT {
            self.lower.push(pivot.sqrt());
            self.used.push(i);
            true
        } else {
            self.lower.truncate(start);
            false
        }
    }

    fn rebuild(&mut self, wanted: &[usize]) -> Vec<usize> {
        self.used.clear();
        self.lower.clear();
        wanted.iter().copied().filter(|&i| !self.push(i)).collect()
    }

    /// Solve for the right side of the unknowns that are used, in their order.
    fn solve(&self, right: &mut [f64]) {
        let k = self.used.len();
        for (r, &u) in right.iter_mut().zip(&self.used) {
            *r *= self.scale[u];
        }
        for i in 0..k {
            let row = self.row(i);
            let before: f64 = (0..i).map(|j| row[j] * right[j]).sum();
            right[i] = (right[i] - before) / row[i];
        }
        for i in (0..k).rev() {
            right[i] /= self.row(i)[i];
            let value = right[i];
            for (r, l) in right[..i].iter_mut().zip(self.row(i)) {
                *r -= l * value;
            }
        }
        for (r, &u) in right.iter_mut().zip(&self.used) {
            *r *= self.scale[u];
        }
    }

    /// The inverse of the rows and columns that are used, in their order.
    fn inverse(&self) -> Vec<f64> {
        let k = self.used.len();
        let mut inverse = vec![0.0; k * k];
        let mut unit = vec![0.0; k];
        for j in 0..k {
            unit.fill(0.0);
            unit[j] = 1.0;
            self.solve(&mut unit);
            for i in 0..k {
                inverse[i * k + j] = unit[i];
            }
        }
        inverse
    }
}

/// Where unknowns begin: at a bound, or at 0 where they have none.
fn begin(scale: &[f64], lower: &[f64], upper: &[f64]) -> Vec<f64> {
    let start = |i: usize| match (scale[i] > 0.0, lower[i].is_finite(), upper[i].is_finite()) {
        (false, ..) => 0.0_f64.clamp(lower[i], upper[i]),
        (_, true, _) => lower[i],
        (_, _, true) => upper[i],
        _ => 0.0,
    };
    (0..scale.len()).map(start).collect()
}

/// The largest slope that the conditions of Karush, Kuhn and Tucker forbid.
fn violation(x: &[f64], slope: &[f64], scale: &[f64], lower: &[f64], upper: &[f64]) -> f64 {
    (0..x.len())
        .filter(|&i| scale[i] > 0.0)
        .map(|i| {
            let g = slope[i] * scale[i];
            let is_allowed = (x[i] <= lower[i] && g <= 0.0) || (x[i] >= upper[i] && g >= 0.0);
            if is_allowed { 0.0 } else { g.abs() }
        })
        .fold(0.0, f64::max)
}

/// The least squares solution between bounds.
#[derive(Clone, Debug)]
pub struct Bounded {
    /// The unknowns.
    pub x: Vec<f64>,
    /// The unknowns that are not at a bound.
    pub free: Vec<usize>,
    /// Inverse of the rows and columns of those that are free, in their order.
    pub inverse: Vec<f64>,
    /// The largest slope that the conditions of Karush, Kuhn and Tucker forbid, over the largest of all at the start.
    pub violation: f64,
}

/// Minimise `x^T N x - 2 x^T r` with `lower <= x <= upper`; at least one bound of each unknown is finite, or both are
/// not. `refine` gives `r - N x` more exactly than the normal equations can.
///
/// # Source
/// Stark & Parker 1995, Computational Statistics 10, 129 (BVLS); Lawson & Hanson 1974, chapter 23.
#[must_use]
pub fn solve_between(
    matrix: &[f64],
    right: &[f64],
    lower: &[f64],
    upper: &[f64],
    refine: Option<Rest<'_>>,
) -> Bounded {
    let n = right.len();
    let scale: Vec<f64> = (0..n)
        .map(|i| matrix[i * n + i])
        .map(|own| if own > 0.0 { 1.0 / own.sqrt() } else { 0.0 })
        .collect();
    let is_loose = |i: usize| lower[i] == f64::NEG_INFINITY && upper[i] == f64::INFINITY;
    let mut x = begin(&scale, lower, upper);
    let mut factor = Growing::new(matrix, n, &scale);
    for i in (0..n).filter(|&i| is_loose(i)) {
        factor.push(i);
    }
    let slopes = |x: &[f64]| -> Vec<f64> {
        let mut out = right.to_vec();
        for (j, &v) in x.iter().enumerate() {
            if v != 0.0 {
                for (o, m) in out.iter_mut().zip(&matrix[j * n..][..n]) {
                    *o -= m * v;
                }
            }
        }
        out
    };
    let largest = slopes(&vec![0.0; n])
        .iter()
        .zip(&scale)
        .map(|(r, s)| (r * s).abs())
        .fold(0.0, f64::max);
    let target = |factor: &Growing, x: &[f64]| -> Vec<f64> {
        // The step from here, whose right side is the slope.
        let slope = slopes(x);
        let mut step: Vec<f64> = factor.used.iter().map(|&i| slope[i]).collect();
        factor.solve(&mut step);
        factor
            .used
            .iter()
            .zip(step)
            .map(|(&i, s)| x[i] + s)
            .collect()
    };
    let mut blocked = vec![false; n];
    settle(&mut factor, &mut x, lower, upper, &target);
    for _ in 0..6 * n + 10 {
        let slope = slopes(&x);
        let gain = |i: usize| {
            let g = slope[i] * scale[i];
            let is_low = x[i] <= lower[i];
            let is_high = x[i] >= upper[i];
            match (is_low, is_high) {
                (true, true) => 0.0,
                (true, _) => g,
                (_, true) => -g,
                _ => g.abs(),
            }
        };
        let next = (0..n)
            .filter(|i| !blocked[*i] && scale[*i] > 0.0 && !factor.used.contains(i))
            .map(|i| (i, gain(i)))
            .filter(|(_, g)| *g > LEAST_SLOPE * largest)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((next, _)) = next else { break };
        if !factor.push(next) {
            blocked[next] = true;
            continue;
        }
        let before = x[next];
        settle(&mut factor, &mut x, lower, upper, &target);
        if x[next] == before && !factor.used.contains(&next) {
            // It only moves away from what is allowed: rounding in nearly dependent unknowns.
            blocked[next] = true;
        } else {
            blocked.fill(false);
        }
    }
    if let Some(refine) = refine {
        let rest = refine(&x);
        let mut step: Vec<f64> = factor.used.iter().map(|&i| rest[i]).collect();
        factor.solve(&mut step);
        for (&i, s) in factor.used.iter().zip(step) {
            x[i] = (x[i] + s).clamp(lower[i], upper[i]);
        }
    }
    let slope = refine.map_or_else(|| slopes(&x), |refine| refine(&x));
    let violation = violation(&x, &slope, &scale, lower, upper);
    let inverse = factor.inverse();
    Bounded {
        x,
        free: factor.used,
        inverse,
        violation: if largest > 0.0 {
            violation / largest
        } else {
            0.0
        },
    }
}

/// Go to the least cost of the free unknowns, and give up those that meet a bound on the way.
fn settle(
    factor: &mut Growing,
    x: &mut [f64],
    lower: &[f64],
    upper: &[f64],
    target: &dyn Fn(&Growing, &[f64]) -> Vec<f64>,
) {
    while !factor.used.is_empty() {
        let wanted = target(factor, x);
        let mut way: f64 = 1.0;
        for (&i, &w) in factor.used.iter().zip(&wanted) {
            if w < lower[i] {
                way = way.min((lower[i] - x[i]) / (w - x[i]));
            } else if w > upper[i] {
                way = way.min((upper[i] - x[i]) / (w - x[i]));
            }
        }
        let way = if way.is_finite() {
            way.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let mut kept = Vec::with_capacity(factor.used.len());
        for (&i, &w) in factor.used.iter().zip(&wanted) {
            let next = x[i] + way * (w - x[i]);
            let size = 1e-14 * (w - x[i]).abs();
            if w < lower[i] && next <= lower[i] + size {
                x[i] = lower[i];
            } else if w > upper[i] && next >= upper[i] - size {
                x[i] = upper[i];
            } else {
                x[i] = next;
                kept.push(i);
            }
        }
        if kept.len() == factor.used.len() {
            return;
        }
        factor.rebuild(&kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn solutions_between_bounds_fulfil_the_conditions_of_karush_kuhn_and_tucker(
            rows in prop::collection::vec(-1.0..1.0_f64, 70),
            y in prop::collection::vec(-1.0..1.0_f64, 10),
            n_loose in 0..3_usize,
            width in 0.1..2.0_f64,
        ) {
            let n = 7;
            let at = |k: usize, i: usize| rows[k * n + i];
            let matrix: Vec<f64> = (0..n * n)
                .map(|ij| (0..10).map(|k| at(k, ij / n) * at(k, ij % n)).sum())
                .collect();
            let right: Vec<f64> = (0..n).map(|i| (0..10).map(|k| at(k, i) * y[k]).sum()).collect();
            let lower: Vec<f64> = (0..n)
                .map(|i| if i < n_loose { f64::NEG_INFINITY } else { -0.1 * (i % 3) as f64 })
                .collect();
            let upper: Vec<f64> = (0..n)
                .map(|i| if i < n_loose || i % 2 == 0 { f64::INFINITY } else { width })
                .collect();
            let found = solve_between(&matrix, &right, &lower, &upper, None);
            for i in 0..n {
                let slope = right[i] - (0..n).map(|j| matrix[i * n + j] * found.x[j]).sum::<f64>();
                prop_assert!(found.x[i] >= lower[i] && found.x[i] <= upper[i]);
                if found.x[i] > lower[i] && found.x[i] < upper[i] {
                    prop_assert!(slope.abs() < 1e-7, "{i} {slope}");
                } else if found.x[i] <= lower[i] {
                    prop_assert!(slope < 1e-7);
                } else {
                    prop_assert!(slope > -1e-7);
                }
            }
            prop_assert!(found.violation < 1e-7);
        }
    }
}
