//! Least squares within bounds.

/// What a model says at a point.
#[derive(Clone, Debug)]
pub struct Normal {
    /// Twice the negative logarithm of the likelihood, but for a constant; `r^T W r` for Gaussian noise.
    pub cost: f64,
    /// `J^T W r`: half of what the cost falls with each parameter.
    pub descent: Vec<f64>,
    /// `J^T W J`, row after row: half the curvature of the cost.
    pub curvature: Vec<f64>,
}

/// What is minimised.
pub trait Problem {
    /// The model at a point; None where it has no value.
    fn evaluate(&mut self, at: &[f64]) -> Option<Normal>;

    /// Move a point to the nearest one that is allowed.
    fn clamp(&self, at: &mut [f64]);

    /// Unit directions, perpendicular to each other, that are fixed, or lead over a bound although the cost falls.
    fn held(&self, at: &[f64], normal: &Normal) -> Vec<Vec<f64>>;
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Most evaluations of the model.
    pub max_evaluations: usize,
    /// What the next step would gain in cost when it has converged.
    pub tolerance: f64,
}

/// Where the steps ended.
#[derive(Clone, Debug)]
pub struct Minimum {
    /// The parameters.
    pub at: Vec<f64>,
    /// The model there.
    pub normal: Normal,
    /// Directions that were held.
    pub held: Vec<Vec<f64>>,
    /// Whether the cost had converged.
    pub has_converged: bool,
    /// How often the model was evaluated.
    pub n_evaluations: usize,
}

const LARGEST_DAMPING: f64 = 1e12;

/// Minimise a cost by Levenberg-Marquardt steps in units of the curvature's diagonal. None when the model has no value
/// at the start.
///
/// # Source
/// Marquardt 1963, SIAM J. Appl. Math. 11, 431; damping as Nielsen 1999, IMM-REP-1999-05.
pub fn minimise(start: &[f64], stop: Stop, problem: &mut impl Problem) -> Option<Minimum> {
    let mut at = start.to_vec();
    problem.clamp(&mut at);
    let mut here = problem.evaluate(&at)?;
    let (mut damping, mut growth) = (1e-3, 2.0);
    let mut n_evaluations = 1;
    let mut held = problem.held(&at, &here);
    let mut has_converged = false;
    let moved = |at: &[f64], step: Option<Vec<f64>>, problem: &dyn Fn(&mut [f64])| {
        step.map(|step| {
            let mut next: Vec<f64> = at.iter().zip(&step).map(|(p, s)| p + s).collect();
            problem(&mut next);
            let step: Vec<f64> = next.iter().zip(at).map(|(to, from)| to - from).collect();
            (next, step)
        })
    };
    while damping < LARGEST_DAMPING {
        let reduced = Reduced::new(&here, &held);
        let clamp = |next: &mut [f64]| problem.clamp(next);
        // A short step gains little, wherever it is: what counts is what the whole one would.
        let whole = moved(&at, reduced.step(0.0), &clamp);
        if whole.is_some_and(|(_, step)| gain(&here, &step).abs() <= stop.tolerance) {
            has_converged = true;
            break;
        }
        let Some((next, step)) = moved(&at, reduced.step(damping), &clamp) else {
            damping *= growth;
            growth *= 2.0;
            continue;
        };
        let foreseen = gain(&here, &step);
        if n_evaluations == stop.max_evaluations {
            break;
        }
        n_evaluations += 1;
        match problem.evaluate(&next) {
            Some(there) if there.cost <= here.cost => {
                let ratio = (here.cost - there.cost) / foreseen.max(f64::MIN_POSITIVE);
                damping *= (1.0 - (2.0 * ratio - 1.0).powi(3)).max(1.0 / 3.0);
                growth = 2.0;
                (at, here) = (next, there);
                held = problem.held(&at, &here);
            }
            _ => {
                damping *= growth;
                growth *= 2.0;
            }
        }
    }
    Some(Minimum {
        at,
        normal: here,
        held,
        has_converged,
        n_evaluations,
    })
}

/// What a step gains in cost if the model is linear.
fn gain(here: &Normal, step: &[f64]) -> f64 {
    let n = step.len();
    let term = |i: usize| {
        let bent: f64 = (0..n).map(|j| here.curvature[i * n + j] * step[j]).sum();
        step[i] * (2.0 * here.descent[i] - bent)
    };
    (0..n).map(term).sum()
}

impl Minimum {
    /// Covariance of the parameters, 0 along directions that are held; None when the data do not tell them all.
    #[must_use]
    pub fn covariance(&self) -> Option<Vec<f64>> {
        let n = self.at.len();
        let reduced = Reduced::new(&self.normal, &self.held);
        let factor = Cholesky::new(&reduced.curvature, n)?;
        let mut covariance = vec![0.0; n * n];
        for j in 0..n {
            let unit: Vec<f64> = (0..n).map(|i| if i == j { 1.0 } else { 0.0 }).collect();
            for (i, value) in factor.solve(&unit).into_iter().enumerate() {
                covariance[i * n + j] = value;
            }
        }
        for (direction, own) in self.held.iter().zip(&reduced.along) {
            for i in 0..n {
                for j in 0..n {
                    covariance[i * n + j] -= direction[i] * direction[j] / own;
                }
            }
        }
        Some(covariance)
    }
}

/// Descent and curvature without the directions that are held, which have their own curvature and no slope.
struct Reduced {
    descent: Vec<f64>,
    curvature: Vec<f64>,
    /// Curvature along each direction that is held.
    along: Vec<f64>,
}

impl Reduced {
    fn new(normal: &Normal, held: &[Vec<f64>]) -> Self {
        let n = normal.descent.len();
        let mut reduced = Self {
            descent: normal.descent.clone(),
            curvature: normal.curvature.clone(),
            along: Vec::with_capacity(held.len()),
        };
        for h in held {
            let along: f64 = h.iter().zip(&reduced.descent).map(|(h, d)| h * d).sum();
            reduced
                .descent
                .iter_mut()
                .zip(h)
                .for_each(|(d, h)| *d -= along * h);
            // (1 - h h^T) C (1 - h h^T) + own h h^T, in which own keeps the scale of C
            let c = &reduced.curvature;
            let product: Vec<f64> = (0..n)
                .map(|i| (0..n).map(|j| c[i * n + j] * h[j]).sum())
                .collect();
            let twice: f64 = h.iter().zip(&product).map(|(h, p)| h * p).sum();
            let own = if twice > 0.0 { twice } else { 1.0 };
            reduced.along.push(own);
            for i in 0..n {
                for j in 0..n {
                    reduced.curvature[i * n + j] +=
                        h[i] * h[j] * (twice + own) - h[i] * product[j] - product[i] * h[j];
                }
            }
        }
        reduced
    }

    /// The damped step.
    fn step(&self, damping: f64) -> Option<Vec<f64>> {
        let n = self.descent.len();
        let mut damped = self.curvature.clone();
        (0..n).for_each(|i| damped[i * n + i] *= 1.0 + damping);
        Some(Cholesky::new(&damped, n)?.solve(&self.descent))
    }
}

/// The lower triangle of a factorised matrix and the scales of its rows.
struct Cholesky {
    lower: Vec<f64>,
    scale: Vec<f64>,
}

impl Cholesky {
    /// Factorise a positive definite matrix, its diagonal scaled to 1; None for others.
    fn new(matrix: &[f64], n: usize) -> Option<Self> {
        const LEAST_PIVOT: f64 = 1e-14;
        let scale: Vec<f64> = (0..n).map(|i| 1.0 / matrix[i * n + i].sqrt()).collect();
        if scale.iter().any(|s| !s.is_finite()) {
            return None;
        }
        let mut lower = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let product: f64 = (0..j).map(|k| lower[i * n + k] * lower[j * n + k]).sum();
                let rest = matrix[i * n + j] * scale[i] * scale[j] - product;
                if i == j {
                    if rest.is_nan() || rest <= LEAST_PIVOT {
                        return None;
                    }
                    lower[i * n + i] = rest.sqrt();
                } else {
                    lower[i * n + j] = rest / lower[j * n + j];
                }
            }
        }
        Some(Self { lower, scale })
    }

    fn solve(&self, target: &[f64]) -> Vec<f64> {
        let n = target.len();
        let mut x: Vec<f64> = target.iter().zip(&self.scale).map(|(t, s)| t * s).collect();
        for i in 0..n {
            let before: f64 = (0..i).map(|k| self.lower[i * n + k] * x[k]).sum();
            x[i] = (x[i] - before) / self.lower[i * n + i];
        }
        for i in (0..n).rev() {
            let after: f64 = (i + 1..n).map(|k| self.lower[k * n + i] * x[k]).sum();
            x[i] = (x[i] - after) / self.lower[i * n + i];
        }
        x.iter_mut().zip(&self.scale).for_each(|(x, s)| *x *= s);
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y = a exp(-b t)` through points of known a and b, with a at most `most`.
    struct Decay {
        most: f64,
    }

    impl Problem for Decay {
        fn evaluate(&mut self, at: &[f64]) -> Option<Normal> {
            let mut normal = Normal {
                cost: 0.0,
                descent: vec![0.0; 2],
                curvature: vec![0.0; 4],
            };
            for t in (0..20).map(|i| 0.2 * f64::from(i)) {
                let e = (-at[1] * t).exp();
                let residual = 3.0 * (-0.7 * t).exp() - at[0] * e;
                let slope = [e, -at[0] * t * e];
                normal.cost += residual * residual;
                for i in 0..2 {
                    normal.descent[i] += slope[i] * residual;
                    for j in 0..2 {
                        normal.curvature[2 * i + j] += slope[i] * slope[j];
                    }
                }
            }
            Some(normal)
        }

        fn clamp(&self, at: &mut [f64]) {
            at[0] = at[0].min(self.most);
        }

        fn held(&self, at: &[f64], normal: &Normal) -> Vec<Vec<f64>> {
            if at[0] >= self.most && normal.descent[0] > 0.0 {
                vec![vec![1.0, 0.0]]
            } else {
                Vec::new()
            }
        }
    }

    const STOP: Stop = Stop {
        max_evaluations: 100,
        tolerance: 1e-16,
    };

    #[test]
    fn the_minimum_is_found_within_bounds() {
        let found = minimise(&[1.0, 3.0], STOP, &mut Decay { most: 10.0 }).unwrap();
        assert!(found.has_converged && found.held.is_empty());
        assert!(
            (found.at[0] - 3.0).abs() < 1e-6 && (found.at[1] - 0.7).abs() < 1e-6,
            "{found:?}"
        );
        let mut narrow = Decay { most: 2.0 };
        let held = minimise(&[1.0, 3.0], STOP, &mut narrow).unwrap();
        assert_eq!((held.at[0], held.held.len()), (2.0, 1));
        // Nothing better with the bound held.
        for f in [0.99, 1.01] {
            let near = narrow.evaluate(&[2.0, f * held.at[1]]).unwrap();
            assert!(near.cost >= held.normal.cost);
        }
        let covariance = held.covariance().unwrap();
        assert!((covariance[3] * held.normal.curvature[3] - 1.0).abs() < 1e-12);
        assert!(
            covariance[..3].iter().all(|c| c.abs() < 1e-15),
            "{covariance:?}"
        );
    }

    #[test]
    fn singular_curvatures_have_no_covariance_and_held_directions_none() {
        let minimum = |held: Vec<Vec<f64>>| Minimum {
            at: vec![0.0; 2],
            normal: Normal {
                cost: 0.0,
                descent: vec![0.0; 2],
                curvature: vec![1.0; 4],
            },
            held,
            has_converged: true,
            n_evaluations: 1,
        };
        assert!(minimum(Vec::new()).covariance().is_none());
        let s = std::f64::consts::FRAC_1_SQRT_2;
        // Only the sum is known: with the difference held its variance is 1, and that of each 1/4.
        let covariance = minimum(vec![vec![s, -s]]).covariance().unwrap();
        assert!(
            covariance.iter().all(|c| (c - 0.25).abs() < 1e-12),
            "{covariance:?}"
        );
    }
}
