//! The part of a cost's curvature that products of first derivatives leave out, learned from how its slope changes.

use crate::math::levmar::Normal;

/// Least part of a diagonal element that a correction leaves.
const LEAST: f64 = 0.1;
/// A change of slope that is nearly perpendicular to the step says nothing.
const PERPENDICULAR: f64 = 1e-8;

/// Correction of the curvature, from the points where a cost was lowest so far.
///
/// Amplitudes of columns with little signal are noise, and outliers count less than their parabola: there steps that take
/// `J^T W J` as the curvature are too short or too long by a constant factor, and every one leaves a part of the way.
///
/// # Source
/// Dennis, Gay & Welsch 1981, ACM Trans. Math. Softw. 7, 348, with the symmetric rank-one update of Conn, Gould & Toint
/// 1991, Math. Prog. 50, 177.
#[derive(Clone, Debug, Default)]
pub(super) struct Secant {
    /// Where the cost was lowest, and what the model says there without correction.
    pub last: Option<(Vec<f64>, Normal)>,
    extra: Vec<f64>,
}

impl Secant {
    /// Learn from a point and return what the model says there, with the correction where it leaves a minimum. Parameters
    /// before `first` are fixed.
    pub fn corrected(&mut self, at: &[f64], normal: Normal, first: usize) -> Normal {
        let n = at.len();
        if let Some((from, before)) = &self.last
            && normal.cost <= before.cost
        {
            let step: Vec<f64> = at.iter().zip(from).map(|(to, from)| to - from).collect();
            let missing: Vec<f64> = (0..n)
                .map(|i| {
                    let known: f64 = (0..n)
                        .map(|j| (normal.curvature[i * n + j] + self.extra[i * n + j]) * step[j])
                        .sum();
                    let change = before.descent[i] - normal.descent[i];
                    if i < first { 0.0 } else { change - known }
                })
                .collect();
            let along = dot(&missing, &step);
            if along.abs() > PERPENDICULAR * (dot(&missing, &missing) * dot(&step, &step)).sqrt() {
                for i in 0..n {
                    for j in 0..n {
                        self.extra[i * n + j] += missing[i] * missing[j] / along;
                    }
                }
            }
            self.last = Some((at.to_vec(), normal.clone()));
        } else if self.last.is_none() {
            self.extra = vec![0.0; n * n];
            self.last = Some((at.to_vec(), normal.clone()));
        }
        let curvature: Vec<f64> = (normal.curvature.iter().zip(&self.extra))
            .map(|(own, extra)| own + extra)
            .collect();
        if has_minimum(&curvature, &normal.curvature, n, first) {
            Normal {
                curvature,
                ..normal
            }
        } else {
            normal
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Whether every pivot of a symmetric matrix is at least a part of another one's diagonal.
fn has_minimum(matrix: &[f64], plain: &[f64], n: usize, first: usize) -> bool {
    let mut left = matrix.to_vec();
    for k in first..n {
        let pivot = left[k * n + k];
        let own = matrix[k * n + k];
        // What other parameters take of a pivot may be much, but not all.
        if !(own >= LEAST * plain[k * n + k] && pivot > 1e-6 * own) {
            return false;
        }
        for i in k + 1..n {
            let part = left[i * n + k] / pivot;
            for j in k + 1..n {
                left[i * n + j] -= part * left[k * n + j];
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parabola of curvature `h` around 0, whose model knows only `known` of it.
    fn told(at: &[f64], h: [f64; 4], known: [f64; 4]) -> Normal {
        let slope = [h[0] * at[0] + h[1] * at[1], h[2] * at[0] + h[3] * at[1]];
        Normal {
            cost: dot(&slope, at),
            descent: slope.iter().map(|g| -g).collect(),
            curvature: known.to_vec(),
        }
    }

    #[test]
    fn two_steps_tell_the_curvature_of_a_parabola() {
        let (h, known) = ([3.0, 0.7, 0.7, 2.0], [2.0, 0.0, 0.0, 4.0]);
        let mut secant = Secant::default();
        let mut found = Vec::new();
        for at in [[2.0, 1.0], [1.5, -0.2], [0.4, 0.3]] {
            found = secant.corrected(&at, told(&at, h, known), 0).curvature;
        }
        for (found, true_value) in found.iter().zip(h) {
            assert!((found - true_value).abs() < 1e-12, "{found} {true_value}");
        }
        let (_, plain) = secant.last.unwrap();
        assert_eq!(plain.curvature, known);
    }

    #[test]
    fn a_point_that_is_no_better_and_a_curvature_without_minimum_change_nothing() {
        let known = [2.0, 0.0, 0.0, 4.0];
        let mut secant = Secant::default();
        for at in [[0.1, 0.1], [2.0, 1.0]] {
            let h = [3.0, 0.7, 0.7, 2.0];
            assert_eq!(
                secant.corrected(&at, told(&at, h, known), 0).curvature,
                known
            );
        }
        let mut secant = Secant::default();
        let saddle = [-3.0, 0.0, 0.0, 2.0];
        for at in [[0.1, 0.5], [0.4, 0.3]] {
            let found = secant.corrected(&at, told(&at, saddle, known), 0);
            assert_eq!(found.curvature, known);
        }
    }
}
