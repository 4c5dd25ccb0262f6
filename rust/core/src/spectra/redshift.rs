//! Linear fits of templates to a spectrum, at one redshift or along a grid of them.

use rayon::prelude::*;

use super::SpectraError;
use super::noise::Noise;
use super::templates::{Column, Templates};
use crate::interrupt;
use crate::math::least_squares::{Factor, solve_bounded};

/// Step in `ln(1 + z)` of the derivative by redshift.
const STEP: f64 = 1e-6;

/// A spectrum, what it is made of, which parts may not be negative, and what is known of them before.
#[derive(Clone, Debug)]
pub struct Problem {
    edges: Vec<f64>,
    /// The spectrum in units of its noise.
    white: Column,
    noise: Noise,
    templates: Templates,
    is_bounded: Vec<bool>,
    /// Inverse variance of the factor of each template around 0; 0 where nothing is known.
    prior: Vec<f64>,
    /// First and last wavelength that is used.
    range: [f64; 2],
}

/// A trial redshift.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Least sum of squared residuals over their errors.
    pub chi2: f64,
    /// `-2 ln p(data | z)` of all factors of the templates, up to a constant, where some have a prior; else `chi2`.
    pub cost: f64,
}

/// A fit at one redshift.
#[derive(Clone, Debug)]
pub struct LinearFit {
    /// Sum of squared residuals over their errors.
    pub chi2: f64,
    /// Factor of each template; 0 for those that do not count.
    pub coefficients: Vec<f64>,
    /// Whether each template is present at this redshift and determined by the data.
    pub is_used: Vec<bool>,
    /// Covariance of the coefficients and, last, of `ln(1 + z)`, without bounds; NaN where not used.
    pub covariance: Vec<f64>,
    /// Each template, pixel after pixel.
    pub design: Vec<f64>,
    /// Change of the model with `ln(1 + z)` in each pixel.
    pub slope: Vec<f64>,
}

impl Problem {
    /// Check shapes and put together.
    ///
    /// # Errors
    /// When lengths differ.
    pub fn new(
        edges: Vec<f64>,
        flux: &[f64],
        noise: Noise,
        templates: Templates,
        is_bounded: Vec<bool>,
        prior: Vec<f64>,
    ) -> Result<Self, SpectraError> {
        let n = flux.len();
        for (name, found, expected) in [
            ("edges", edges.len(), n + 1),
            ("covariance", noise.len(), n),
            ("is_bounded", is_bounded.len(), templates.len()),
            ("prior", prior.len(), templates.len()),
        ] {
            if found != expected {
                return Err(SpectraError::Length {
                    name,
                    found,
                    expected,
                });
            }
        }
        let middle = |i: usize| 0.5 * (edges[i] + edges[i + 1]);
        let (first, last) = noise.range();
        let range = [middle(first), middle(last)];
        Ok(Self {
            edges,
            white: noise.whiten(0, flux),
            noise,
            templates,
            is_bounded,
            prior,
            range,
        })
    }

    /// Number of templates.
    #[must_use]
    pub fn n_templates(&self) -> usize {
        self.templates.len()
    }

    /// What each redshift costs.
    #[must_use]
    pub fn scan(&self, redshifts: &[f64]) -> Vec<Trial> {
        redshifts
            .par_iter()
            .map(|&z| {
                interrupt::poll();
                let present = self.templates.present(z, self.range);
                let columns = self.whitened(&self.templates.draw(&self.edges, z, &present));
                let fit = self.solve(&columns);
                let chi2 = self.chi2(&columns, &fit.coefficients);
                let cost = if self.prior.iter().any(|p| *p > 0.0) {
                    self.marginal(&columns, &fit)
                } else {
                    chi2
                };
                Trial { chi2, cost }
            })
            .collect()
    }

    /// All about the fit at one redshift.
    #[must_use]
    pub fn fit(&self, z: f64) -> LinearFit {
        let (n, m) = (self.edges.len() - 1, self.templates.len());
        let present = self.templates.present(z, self.range);
        let columns = self.templates.draw(&self.edges, z, &present);
        let white = self.whitened(&columns);
        let Solution {
            coefficients,
            matrix,
            ..
        } = self.solve(&white);
        let moved = |step: f64| {
            let there = (1.0 + z) * step.exp() - 1.0;
            let columns = self.templates.draw(&self.edges, there, &present);
            model(&columns, &coefficients, n)
        };
        let (after, before) = (moved(STEP), moved(-STEP));
        let slope: Vec<f64> = after
            .iter()
            .zip(&before)
            .map(|(a, b)| (a - b) / (2.0 * STEP))
            .collect();
        // The redshift is one more unknown, whose template is the slope.
        let white_slope = self.noise.whiten(0, &slope);
        let size = m + 1;
        let mut joint = vec![0.0; size * size];
        for i in 0..m {
            for j in 0..m {
                joint[i * size + j] = matrix[i * m + j];
            }
            let across = overlap(&white[i], &white_slope);
            joint[i * size + m] = across;
            joint[m * size + i] = across;
        }
        joint[m * size + m] = overlap(&white_slope, &white_slope);
        let all: Vec<usize> = (0..size).collect();
        let factor = Factor::new(&joint, size, &all);
        let mut design = vec![0.0; m * n];
        for (row, column) in design.chunks_exact_mut(n).zip(&columns) {
            row[column.first..column.end()].copy_from_slice(&column.values);
        }
        let mut is_used = vec![false; m];
        factor
            .used()
            .iter()
            .filter(|&&i| i < m)
            .for_each(|&i| is_used[i] = true);
        LinearFit {
            chi2: self.chi2(&white, &coefficients),
            coefficients,
            is_used,
            covariance: factor.inverse(size),
            design,
            slope,
        }
    }

    fn whitened(&self, columns: &[Column]) -> Vec<Column> {
        columns
            .iter()
            .map(|c| self.noise.whiten(c.first, &c.values))
            .collect()
    }

    /// Best coefficients of whitened columns.
    fn solve(&self, columns: &[Column]) -> Solution {
        let m = columns.len();
        let mut matrix = vec![0.0; m * m];
        for (i, a) in columns.iter().enumerate() {
            for (j, b) in columns.iter().enumerate().take(i + 1) {
                let sum = overlap(a, b);
                matrix[i * m + j] = sum;
                matrix[j * m + i] = sum;
            }
        }
        let right: Vec<f64> = columns.iter().map(|c| overlap(c, &self.white)).collect();
        let (mut x, factor) = solve_bounded(&matrix, &right, &self.is_bounded);
        // Normal equations lose half of the digits; what the residual still tells brings them back.
        let step = factor.solve(&self.pull(columns, &x));
        for (i, step) in step.into_iter().enumerate() {
            x[i] += step;
            if self.is_bounded[i] {
                x[i] = x[i].max(0.0);
            }
        }
        Solution {
            coefficients: x,
            matrix,
            right,
        }
    }

    /// `-2 ln` of the likelihood integrated over all factors: with `N` the normal matrix and `P` the prior, the least
    /// `chi2 + x^T P x`, plus `ln det(N + P) - ln det P`. Factors without a prior count as they are, so columns that do
    /// not move leave a constant.
    fn marginal(&self, columns: &[Column], fit: &Solution) -> f64 {
        let m = columns.len();
        let mut matrix = fit.matrix.clone();
        for (i, p) in self.prior.iter().enumerate() {
            matrix[i * m + i] += p;
        }
        let all: Vec<usize> = (0..m).collect();
        let factor = Factor::new(&matrix, m, &all);
        let mut x = factor.solve(&fit.right);
        let mut rest = self.pull(columns, &x);
        for ((r, p), value) in rest.iter_mut().zip(&self.prior).zip(&x) {
            *r -= p * value;
        }
        for (value, step) in x.iter_mut().zip(factor.solve(&rest)) {
            *value += step;
        }
        let known = self.prior.iter().zip(&x).filter(|(p, _)| **p > 0.0);
        let spent: f64 = known.map(|(p, x)| p * x * x - p.ln()).sum();
        self.chi2(columns, &x) + spent + factor.ln_determinant()
    }

    /// What the residual tells of each column.
    fn pull(&self, columns: &[Column], x: &[f64]) -> Vec<f64> {
        let values = self.residual(columns, x);
        let rest = Column { first: 0, values };
        columns.iter().map(|c| overlap(c, &rest)).collect()
    }

    fn residual(&self, columns: &[Column], coefficients: &[f64]) -> Vec<f64> {
        let model = model(columns, coefficients, self.white.values.len());
        let pairs = self.white.values.iter().zip(model);
        pairs.map(|(f, m)| f - m).collect()
    }

    fn chi2(&self, columns: &[Column], coefficients: &[f64]) -> f64 {
        let rest = self.residual(columns, coefficients);
        rest.iter().map(|r| r * r).sum()
    }
}

/// Best coefficients, the normal matrix and the right side.
struct Solution {
    coefficients: Vec<f64>,
    matrix: Vec<f64>,
    right: Vec<f64>,
}

fn model(columns: &[Column], coefficients: &[f64], n: usize) -> Vec<f64> {
    let mut model = vec![0.0; n];
    for (column, c) in columns.iter().zip(coefficients) {
        for (out, value) in model[column.first..column.end()]
            .iter_mut()
            .zip(&column.values)
        {
            *out += c * value;
        }
    }
    model
}

/// Sum of products where both are.
fn overlap(a: &Column, b: &Column) -> f64 {
    let (low, high) = (a.first.max(b.first), a.end().min(b.end()));
    if low >= high {
        return 0.0;
    }
    let pairs = a.values[low - a.first..high - a.first]
        .iter()
        .zip(&b.values[low - b.first..high - b.first]);
    pairs.map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectra::lines::LineComplex;
    use crate::spectra::resolution::Resolution;
    use crate::spectra::templates::bsplines;

    fn templates(edges: &[f64]) -> Templates {
        let places: Vec<f64> = (0..edges.len() - 1).map(|i| i as f64).collect();
        let line = |rest: f64| LineComplex {
            rest: vec![rest],
            parts: vec![1.0],
            redshifts: [-1.0, 99.0],
            velocity: None,
        };
        Templates {
            fixed: bsplines(&places, 7, 3, [0.0, places.len() as f64 - 1.0]),
            tables: Vec::new(),
            lines: vec![line(0.5), line(0.6563), line(0.3727)],
            resolution: Resolution {
                wave: vec![1.0, 5.0],
                power: vec![100.0, 300.0],
                scale: 1.0,
                velocity: 100.0,
            },
            igm: None,
        }
    }

    fn problem(z: f64, truth: &[f64], is_bounded: bool) -> Problem {
        let edges: Vec<f64> = (0..=300).map(|i| 1.0 + 0.01 * f64::from(i)).collect();
        let templates = templates(&edges);
        let present = templates.present(z, [1.0, 4.0]);
        let columns = templates.draw(&edges, z, &present);
        let mut flux = vec![0.0; 300];
        for (column, c) in columns.iter().zip(truth) {
            for (p, v) in column.values.iter().enumerate() {
                flux[column.first + p] += c * v;
            }
        }
        let n = templates.len();
        let noise = Noise::new(&[0.04; 300], 1, &[true; 300]).unwrap();
        let bounds = vec![is_bounded; n];
        Problem::new(edges, &flux, noise, templates, bounds, vec![0.0; n]).unwrap()
    }

    #[test]
    fn the_redshift_and_coefficients_that_were_put_in_come_out() {
        let truth = [1.0, 2.0, 1.5, 1.0, 2.0, 3.0, 1.0, 0.05, 0.08, 0.02];
        for is_bounded in [false, true] {
            let problem = problem(3.21, &truth, is_bounded);
            let redshifts: Vec<f64> = (0..500).map(|i| 1.21 + 0.01 * f64::from(i)).collect();
            let chi2 = problem.scan(&redshifts);
            let best = (0..500)
                .min_by(|&a, &b| chi2[a].cost.total_cmp(&chi2[b].cost))
                .unwrap();
            assert!((redshifts[best] - 3.21).abs() < 1e-9);
            let fit = problem.fit(3.21);
            assert!(fit.chi2 < 1e-16, "{}", fit.chi2);
            for (found, wanted) in fit.coefficients.iter().zip(truth) {
                assert!((found - wanted).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_curvature_by_redshift_is_that_of_the_scan() {
        let truth = [1.0, 2.0, 1.5, 1.0, 2.0, 3.0, 1.0, 0.05, 0.08, 0.02];
        let problem = problem(3.21, &truth, false);
        let fit = problem.fit(3.21);
        let size = problem.n_templates() + 1;
        let sigma = fit.covariance[size * size - 1].sqrt();
        // Near the minimum, where the models are still linear.
        let z = 4.21 * (0.1 * sigma).exp() - 1.0;
        let rise = 100.0 * problem.scan(&[z])[0].chi2;
        assert!((rise - 1.0).abs() < 0.01, "{rise}");
    }

    #[test]
    fn absorption_is_no_line_where_lines_are_positive() {
        let truth = [1.0, 2.0, 1.5, 1.0, 2.0, 3.0, 1.0, -0.05, 0.08, 0.02];
        let fit = problem(3.21, &truth, true).fit(3.21);
        assert_eq!(fit.coefficients[7], 0.0);
        assert!(fit.chi2 > 1.0);
        assert!(fit.coefficients.iter().all(|c| *c >= 0.0));
    }

    #[test]
    fn a_likelihood_integrated_over_a_line_is_that_of_its_covariance() {
        // One pixel that sees nothing but a line: data of variance s^2 + (T a)^2.
        let templates = Templates {
            fixed: Vec::new(),
            lines: vec![templates(&[1.0; 10]).lines[0].clone()],
            ..templates(&[1.0; 10])
        };
        let edges = vec![0.9, 1.1];
        let column = templates.draw(&edges, 1.0, &[true])[0].values[0];
        let noise = Noise::new(&[0.25], 1, &[true]).unwrap();
        let (flux, prior) = (3.0, 1.0 / 16.0);
        let problem =
            Problem::new(edges, &[flux], noise, templates, vec![false], vec![prior]).unwrap();
        let trials = problem.scan(&[1.0, 3.0]);
        let variance = 0.25 + 16.0 * column * column;
        let with = flux * flux / variance + (variance / 0.25).ln();
        assert!((trials[0].cost - with).abs() < 1e-12, "{}", trials[0].cost);
        assert!(trials[0].chi2 < 1e-20);
        // At a redshift without the line nothing is integrated.
        assert!((trials[1].cost - flux * flux / 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_spectrum_without_pixels_is_an_error() {
        let failed = Noise::new(&[1.0; 2], 1, &[false; 2]);
        assert!(matches!(failed, Err(SpectraError::NoPixel)));
    }
}
