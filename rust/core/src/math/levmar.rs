//! Least squares with bounds.

/// What a model says at a point: half the cost, its gradient and its curvature `J^T W J`.
#[derive(Clone, Debug)]
pub struct Normal<const N: usize> {
    /// `sum w r^2`.
    pub cost: f64,
    /// `J^T W r`, the direction of smaller cost.
    pub descent: [f64; N],
    /// `J^T W J`.
    pub curvature: [[f64; N]; N],
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Most evaluations of the model.
    pub max_evaluations: usize,
    /// Change of the cost below which it has converged.
    pub tolerance: f64,
}

/// Where the steps ended.
#[derive(Clone, Debug)]
pub struct Minimum<const N: usize> {
    /// The parameters.
    pub at: [f64; N],
    /// The model there.
    pub normal: Normal<N>,
    /// Which parameters lie on a bound and would leave it, or do not change the model.
    pub on_bound: [bool; N],
    /// Whether the cost had converged.
    pub has_converged: bool,
    /// How often the model was evaluated.
    pub n_evaluations: usize,
}

/// Minimise a cost within bounds by Levenberg-Marquardt steps in units of the curvature's diagonal. Parameters on a
/// bound that would leave it are held until the gradient points inwards; what else is not allowed the model says by
/// having no value there, and steps become shorter. None when the model has no value at the start.
///
/// # Source
/// Marquardt 1963, SIAM J. Appl. Math. 11, 431; damping as Nielsen 1999, IMM-REP-1999-05.
pub fn minimise<const N: usize>(
    start: [f64; N],
    bounds: &[(f64, f64); N],
    stop: Stop,
    mut model: impl FnMut(&[f64; N]) -> Option<Normal<N>>,
) -> Option<Minimum<N>> {
    let clamp = |p: [f64; N]| std::array::from_fn(|i| p[i].clamp(bounds[i].0, bounds[i].1));
    let mut at: [f64; N] = clamp(start);
    let mut here = model(&at)?;
    let (mut damping, mut growth) = (1e-3, 2.0);
    let mut has_converged = false;
    let mut n_evaluations = 1;
    while n_evaluations < stop.max_evaluations && !has_converged {
        let is_free: [bool; N] = free(&at, bounds, &here);
        let Some(step) = damped(&here, &is_free, damping) else {
            damping *= growth;
            growth *= 2.0;
            if damping > 1e12 {
                break;
            }
            continue;
        };
        let next: [f64; N] = clamp(std::array::from_fn(|i| at[i] + step[i]));
        let step: [f64; N] = std::array::from_fn(|i| next[i] - at[i]);
        let foreseen = foreseen(&here, &step);
        n_evaluations += 1;
        match model(&next) {
            Some(there) if there.cost <= here.cost => {
                let gained = here.cost - there.cost;
                has_converged = gained <= stop.tolerance && foreseen <= stop.tolerance;
                let ratio = gained / foreseen.max(f64::MIN_POSITIVE);
                damping *= (1.0 - (2.0 * ratio - 1.0).powi(3)).max(1.0 / 3.0);
                growth = 2.0;
                (at, here) = (next, there);
            }
            _ => {
                // Rounding is all that is left to gain.
                has_converged = foreseen <= 1e-3 * stop.tolerance;
                damping *= growth;
                growth *= 2.0;
                if damping > 1e12 {
                    break;
                }
            }
        }
    }
    let is_free = free(&at, bounds, &here);
    Some(Minimum {
        on_bound: is_free.map(|free| !free),
        at,
        normal: here,
        has_converged,
        n_evaluations,
    })
}

fn free<const N: usize>(at: &[f64; N], bounds: &[(f64, f64); N], here: &Normal<N>) -> [bool; N] {
    std::array::from_fn(|i| {
        let (low, high) = bounds[i];
        let slope = here.descent[i];
        let leaves = (at[i] <= low && slope < 0.0) || (at[i] >= high && slope > 0.0);
        !leaves && low < high && here.curvature[i][i] > 0.0
    })
}

/// The cost that a step gains if the model is linear.
fn foreseen<const N: usize>(here: &Normal<N>, step: &[f64; N]) -> f64 {
    let mut gain = 0.0;
    for i in 0..N {
        let bent: f64 = (0..N).map(|j| here.curvature[i][j] * step[j]).sum();
        gain += step[i] * (2.0 * here.descent[i] - bent);
    }
    gain
}

fn damped<const N: usize>(here: &Normal<N>, is_free: &[bool; N], damping: f64) -> Option<[f64; N]> {
    let mut matrix = held(&here.curvature, is_free);
    for (i, row) in matrix.iter_mut().enumerate() {
        row[i] *= 1.0 + damping;
    }
    let target = std::array::from_fn(|i| if is_free[i] { here.descent[i] } else { 0.0 });
    Some(cholesky(&matrix)?.solve(target))
}

/// A curvature in which parameters that are held stand alone.
fn held<const N: usize>(curvature: &[[f64; N]; N], is_free: &[bool; N]) -> [[f64; N]; N] {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| match (i == j, is_free[i] && is_free[j]) {
            (_, true) => curvature[i][j],
            (true, false) => 1.0,
            (false, false) => 0.0,
        })
    })
}

/// The covariance of the free parameters: the inverse of the curvature, 0 for those that are held; None when it is
/// singular.
#[must_use]
pub fn covariance<const N: usize>(
    curvature: &[[f64; N]; N],
    is_free: &[bool; N],
) -> Option<[[f64; N]; N]> {
    let factor = cholesky(&held(curvature, is_free))?;
    let mut inverse = [[0.0; N]; N];
    for j in 0..N {
        let column = factor.solve(std::array::from_fn(|i| if i == j { 1.0 } else { 0.0 }));
        for i in 0..N {
            inverse[i][j] = if is_free[i] && is_free[j] {
                column[i]
            } else {
                0.0
            };
        }
    }
    Some(inverse)
}

/// The lower triangle of a factorised matrix and the scales of its rows.
struct Cholesky<const N: usize> {
    lower: [[f64; N]; N],
    scale: [f64; N],
}

/// Factorise a positive definite matrix, its diagonal scaled to 1; None for others.
fn cholesky<const N: usize>(matrix: &[[f64; N]; N]) -> Option<Cholesky<N>> {
    const LEAST_PIVOT: f64 = 1e-14;
    let scale: [f64; N] = std::array::from_fn(|i| 1.0 / matrix[i][i].sqrt());
    if scale.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let mut lower = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let product: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let rest = matrix[i][j] * scale[i] * scale[j] - product;
            if i == j {
                if rest.is_nan() || rest <= LEAST_PIVOT {
                    return None;
                }
                lower[i][i] = rest.sqrt();
            } else {
                lower[i][j] = rest / lower[j][j];
            }
        }
    }
    Some(Cholesky { lower, scale })
}

impl<const N: usize> Cholesky<N> {
    fn solve(&self, target: [f64; N]) -> [f64; N] {
        let mut x: [f64; N] = std::array::from_fn(|i| target[i] * self.scale[i]);
        for i in 0..N {
            let before: f64 = (0..i).map(|k| self.lower[i][k] * x[k]).sum();
            x[i] = (x[i] - before) / self.lower[i][i];
        }
        for i in (0..N).rev() {
            let after: f64 = (i + 1..N).map(|k| self.lower[k][i] * x[k]).sum();
            x[i] = (x[i] - after) / self.lower[i][i];
        }
        std::array::from_fn(|i| x[i] * self.scale[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y = a exp(-b t)` through points of known a and b.
    fn decay(p: &[f64; 2]) -> Normal<2> {
        let mut normal = Normal {
            cost: 0.0,
            descent: [0.0; 2],
            curvature: [[0.0; 2]; 2],
        };
        for t in (0..20).map(|i| 0.2 * f64::from(i)) {
            let e = (-p[1] * t).exp();
            let residual = 3.0 * (-0.7 * t).exp() - p[0] * e;
            let slope = [e, -p[0] * t * e];
            normal.cost += residual * residual;
            for i in 0..2 {
                normal.descent[i] += slope[i] * residual;
                for j in 0..2 {
                    normal.curvature[i][j] += slope[i] * slope[j];
                }
            }
        }
        normal
    }

    const STOP: Stop = Stop {
        max_evaluations: 100,
        tolerance: 1e-16,
    };

    #[test]
    fn the_minimum_is_found_within_bounds() {
        let wide = [(-10.0, 10.0), (-10.0, 10.0)];
        let found = minimise([1.0, 3.0], &wide, STOP, |p| Some(decay(p))).unwrap();
        assert!(found.has_converged && found.on_bound == [false; 2]);
        assert!(
            (found.at[0] - 3.0).abs() < 1e-6 && (found.at[1] - 0.7).abs() < 1e-6,
            "{found:?}"
        );
        let narrow = [(-10.0, 2.0), (-10.0, 10.0)];
        let held = minimise([1.0, 3.0], &narrow, STOP, |p| Some(decay(p))).unwrap();
        assert_eq!((held.at[0], held.on_bound), (2.0, [true, false]));
        // Nothing better with the bound held.
        let nearby = [0.99, 1.01].map(|f| decay(&[2.0, f * held.at[1]]).cost);
        assert!(nearby.iter().all(|&cost| cost >= held.normal.cost));
        let covariance = covariance(&held.normal.curvature, &[false, true]).unwrap();
        assert!((covariance[1][1] * held.normal.curvature[1][1] - 1.0).abs() < 1e-12);
        assert_eq!(covariance[0], [0.0, 0.0]);
    }

    #[test]
    fn singular_curvatures_have_no_covariance() {
        assert!(covariance(&[[1.0, 1.0], [1.0, 1.0]], &[true, true]).is_none());
        assert!(covariance(&[[1.0, 1.0], [1.0, 1.0]], &[true, false]).is_some());
    }
}
