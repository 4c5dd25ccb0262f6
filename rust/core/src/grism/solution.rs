//! From the normal equations of templates and backgrounds to a fit at one redshift.

use super::compress::dot;
use super::fit::Fit;
use crate::math::bounded::{Bounded, solve_between};

/// A fit at one redshift.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Sum of the loss of all residuals over their errors.
    pub loss: f64,
    /// Sum of their squares, from the triangles alone.
    pub chi2: f64,
    /// Backgrounds, then templates; 0 where a template is absent.
    pub coefficients: Vec<f64>,
    /// Whether each is present and not at a bound.
    pub is_free: Vec<bool>,
    /// Covariance of the templates; 0 where not free. Empty unless asked for.
    pub covariance: Vec<f64>,
    /// Variance of each background.
    pub background_variance: Vec<f64>,
    /// Variance of templates that are at a bound, as if they alone left it.
    pub bound_variance: Vec<f64>,
    /// What the conditions of Karush, Kuhn and Tucker forbid, over the largest slope at zero.
    pub violation: f64,
}

/// Sums of products of templates (present ones), backgrounds and data.
#[derive(Clone, Debug)]
pub(super) struct Normal {
    /// Number of templates.
    pub n: usize,
    /// Templates with each other.
    pub templates: Vec<f64>,
    /// Each background with the templates.
    pub cross: Vec<f64>,
    /// Each background with itself; they share no pixel.
    pub own: Vec<f64>,
    /// Templates with data.
    pub data: Vec<f64>,
    /// Backgrounds with data.
    pub own_data: Vec<f64>,
}

impl Normal {
    pub(super) fn zeros(n: usize, n_background: usize) -> Self {
        Self {
            n,
            templates: vec![0.0; n * n],
            cross: vec![0.0; n * n_background],
            own: vec![0.0; n_background],
            data: vec![0.0; n],
            own_data: vec![0.0; n_background],
        }
    }

    fn cross_of(&self, b: usize) -> &[f64] {
        &self.cross[b * self.n..][..self.n]
    }

    /// Templates when each background is at its best.
    fn reduced(&self) -> (Vec<f64>, Vec<f64>) {
        let n = self.n;
        let (mut matrix, mut right) = (self.templates.clone(), self.data.clone());
        for (b, &own) in self.own.iter().enumerate().filter(|(_, o)| **o > 0.0) {
            let cross = self.cross_of(b);
            for i in 0..n {
                let part = cross[i] / own;
                if part != 0.0 {
                    right[i] -= part * self.own_data[b];
                    for (m, c) in matrix[i * n..][..n].iter_mut().zip(cross) {
                        *m -= part * c;
                    }
                }
            }
        }
        (matrix, right)
    }

    /// The best backgrounds of templates with some factors.
    pub(super) fn backgrounds(&self, x: &[f64]) -> Vec<f64> {
        (0..self.own.len())
            .map(|b| {
                let model: f64 = self.cross_of(b).iter().zip(x).map(|(c, x)| c * x).sum();
                if self.own[b] > 0.0 {
                    (self.own_data[b] - model) / self.own[b]
                } else {
                    0.0
                }
            })
            .collect()
    }

    /// All unknowns, backgrounds first.
    fn full(&self) -> (Vec<f64>, Vec<f64>) {
        let (n, k) = (self.n, self.own.len());
        let size = n + k;
        let mut matrix = vec![0.0; size * size];
        for b in 0..k {
            matrix[b * size + b] = self.own[b];
            for (i, c) in self.cross_of(b).iter().enumerate() {
                matrix[b * size + k + i] = *c;
                matrix[(k + i) * size + b] = *c;
            }
        }
        for i in 0..n {
            matrix[(k + i) * size + k..][..n].copy_from_slice(&self.templates[i * n..][..n]);
        }
        (matrix, [self.own_data.as_slice(), &self.data].concat())
    }
}

/// Unknowns between their bounds, and the inverse that their covariance is made of.
pub(super) struct Solution {
    /// Backgrounds, then present templates.
    pub x: Vec<f64>,
    pub is_free: Vec<bool>,
    /// Inverse of the normal equations of the free unknowns, 0 elsewhere.
    pub inverse: Vec<f64>,
    pub violation: f64,
}

/// Products of the templates with what templates and backgrounds leave of the data.
pub(super) type Pull<'a> = &'a dyn Fn(&[f64], &[f64]) -> Vec<f64>;

/// Solve with templates and backgrounds between their bounds. `pull` gives products of the templates with the residual.
pub(super) fn solve(
    normal: &Normal,
    lower: &[f64],
    upper: &[f64],
    background: Option<[&[f64]; 2]>,
    pull: Pull<'_>,
) -> Solution {
    let (n, k) = (normal.n, normal.own.len());
    let size = n + k;
    let Some([low, high]) = background else {
        let refine = |x: &[f64]| pull(x, &vec![0.0; k]);
        let found = solve_between(&normal.templates, &normal.data, lower, upper, Some(&refine));
        let mut out = Solution::zeros(size, found.violation);
        out.take_templates(&found, k);
        return out;
    };
    let (matrix, right) = normal.reduced();
    let refine = |x: &[f64]| pull(x, &normal.backgrounds(x));
    let found = solve_between(&matrix, &right, lower, upper, Some(&refine));
    let best = normal.backgrounds(&found.x);
    let is_inside = (0..k).all(|b| best[b] >= low[b] && best[b] <= high[b]);
    if is_inside {
        let mut out = Solution::zeros(size, found.violation);
        out.take_templates(&found, k);
        out.take_backgrounds(normal, &best, &found.free);
        return out;
    }
    let (matrix, right) = normal.full();
    let all_lower = [low, lower].concat();
    let all_upper = [high, upper].concat();
    let refine = |x: &[f64]| {
        let (b, t) = x.split_at(k);
        let own = (0..k).map(|i| {
            let model: f64 = normal.cross_of(i).iter().zip(t).map(|(c, x)| c * x).sum();
            normal.own_data[i] - model - normal.own[i] * b[i]
        });
        own.chain(pull(t, b)).collect()
    };
    let found = solve_between(&matrix, &right, &all_lower, &all_upper, Some(&refine));
    let mut out = Solution::zeros(size, found.violation);
    out.take(&found, 0);
    out
}

impl Solution {
    fn zeros(size: usize, violation: f64) -> Self {
        Self {
            x: vec![0.0; size],
            is_free: vec![false; size],
            inverse: vec![0.0; size * size],
            violation,
        }
    }

    fn take(&mut self, found: &Bounded, first: usize) {
        let (size, m) = (self.x.len(), found.free.len());
        self.x[first..].copy_from_slice(&found.x);
        for (a, &i) in found.free.iter().enumerate() {
            self.is_free[first + i] = true;
            for (b, &j) in found.free.iter().enumerate() {
                self.inverse[(first + i) * size + first + j] = found.inverse[a * m + b];
            }
        }
    }

    fn take_templates(&mut self, found: &Bounded, k: usize) {
        self.take(found, k);
    }

    /// Backgrounds that follow the templates: `b = (d - c x) / o`.
    fn take_backgrounds(&mut self, normal: &Normal, best: &[f64], free: &[usize]) {
        let (k, size) = (best.len(), self.x.len());
        for b in (0..k).filter(|&b| normal.own[b] > 0.0) {
            self.x[b] = best[b];
            self.is_free[b] = true;
            let cross = normal.cross_of(b);
            for &j in free {
                let sum: f64 = free
                    .iter()
                    .map(|&i| cross[i] * self.inverse[(k + i) * size + k + j])
                    .sum();
                let value = -sum / normal.own[b];
                self.inverse[b * size + k + j] = value;
                self.inverse[(k + j) * size + b] = value;
            }
        }
        for b in (0..k).filter(|&b| normal.own[b] > 0.0) {
            for c in (0..k).filter(|&c| normal.own[c] > 0.0) {
                let sum: f64 = free
                    .iter()
                    .map(|&i| normal.cross_of(b)[i] * self.inverse[c * size + k + i])
                    .sum();
                let own = if b == c { 1.0 / normal.own[b] } else { 0.0 };
                self.inverse[b * size + c] = own - sum / normal.own[b];
            }
        }
    }

    /// Covariance of the free templates and variances of the backgrounds. With `noise`, the products under the square
    /// of the weight times the variance, that of the weighted estimator: `J M J` with the inverse `J`.
    pub(super) fn covariance(&self, k: usize, noise: Option<&Normal>) -> (Vec<f64>, Vec<f64>) {
        let size = self.x.len();
        let n = size - k;
        let mut covariance = vec![0.0; n * n];
        let row = |i: usize| &self.inverse[i * size..][..size];
        let Some(noise) = noise else {
            for i in 0..n {
                covariance[i * n..][..n].copy_from_slice(&row(k + i)[k..]);
            }
            return (covariance, (0..k).map(|b| row(b)[b]).collect());
        };
        let free: Vec<usize> = (0..n).filter(|&i| self.is_free[k + i]).collect();
        let through = |j: &[f64]| -> (Vec<f64>, Vec<f64>) {
            let (b, t) = j.split_at(k);
            let own = (0..k)
                .map(|c| {
                    let cross = noise.cross_of(c);
                    noise.own[c] * b[c] + free.iter().map(|&i| cross[i] * t[i]).sum::<f64>()
                })
                .collect();
            let mut templates = vec![0.0; n];
            for &i in &free {
                let sum: f64 = free
                    .iter()
                    .map(|&l| noise.templates[i * n + l] * t[l])
                    .sum();
                let cross: f64 = (0..k).map(|c| noise.cross[c * n + i] * b[c]).sum();
                templates[i] = sum + cross;
            }
            (own, templates)
        };
        let product = |j: &[f64], (own, templates): &(Vec<f64>, Vec<f64>)| -> f64 {
            let (b, t) = j.split_at(k);
            let first: f64 = b.iter().zip(own).map(|(a, c)| a * c).sum();
            first + free.iter().map(|&i| t[i] * templates[i]).sum::<f64>()
        };
        for &i in &free {
            let moved = through(row(k + i));
            for &j in &free {
                covariance[j * n + i] = product(row(k + j), &moved);
            }
        }
        let variances = (0..k).map(|b| product(row(b), &through(row(b)))).collect();
        (covariance, variances)
    }

    /// Variance of each template at a bound if it left it, the others free or not as they are.
    pub(super) fn bound_variance(&self, normal: &Normal) -> Vec<f64> {
        let (n, k) = (normal.n, normal.own.len());
        let size = self.x.len();
        let free: Vec<usize> = (0..size).filter(|&i| self.is_free[i]).collect();
        let f = free.len();
        let inverse: Vec<f64> = free
            .iter()
            .flat_map(|&i| free.iter().map(move |&j| self.inverse[i * size + j]))
            .collect();
        (0..n)
            .map(|t| {
                let own = normal.templates[t * n + t];
                if self.is_free[k + t] || own <= 0.0 {
                    return 0.0;
                }
                let row: Vec<f64> = free
                    .iter()
                    .map(|&i| {
                        if i < k {
                            normal.cross[i * n + t]
                        } else {
                            normal.templates[t * n + i - k]
                        }
                    })
                    .collect();
                let less: f64 = row
                    .iter()
                    .zip(inverse.chunks_exact(f.max(1)))
                    .map(|(r, inverse)| r * dot(inverse, &row))
                    .sum();
                let left = own - less;
                if left > 1e-12 * own {
                    1.0 / left
                } else {
                    f64::INFINITY
                }
            })
            .collect()
    }

    /// Put into the order of all templates.
    pub(super) fn spread(
        &self,
        fit: &Fit,
        n_all: usize,
        present: &[usize],
    ) -> (Vec<f64>, Vec<bool>) {
        let k = fit.n_beams();
        let mut x = vec![0.0; k + n_all];
        let mut free = vec![false; k + n_all];
        x[..k].copy_from_slice(&self.x[..k]);
        free[..k].copy_from_slice(&self.is_free[..k]);
        for (i, &t) in present.iter().enumerate() {
            x[k + t] = self.x[k + i];
            free[k + t] = self.is_free[k + i];
        }
        (x, free)
    }
}
