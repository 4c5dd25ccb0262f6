//! Linear fits of templates to a spectrum, at one redshift or along a grid of them.

use rayon::prelude::*;

use super::SpectraError;
use super::templates::{Column, Templates};
use crate::interrupt;
use crate::math::least_squares::{Factor, solve_bounded};

/// Step in `ln(1 + z)` of the derivative by redshift.
const STEP: f64 = 1e-6;

/// A spectrum, what it is made of, and which parts may not be negative.
#[derive(Clone, Debug)]
pub struct Problem {
    edges: Vec<f64>,
    flux: Vec<f64>,
    /// Inverse variance; 0 for pixels that are not used.
    weight: Vec<f64>,
    templates: Templates,
    is_bounded: Vec<bool>,
    /// First and last wavelength that is used.
    range: [f64; 2],
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
        flux: Vec<f64>,
        weight: Vec<f64>,
        templates: Templates,
        is_bounded: Vec<bool>,
    ) -> Result<Self, SpectraError> {
        let n = flux.len();
        for (name, found, expected) in [
            ("edges", edges.len(), n + 1),
            ("weight", weight.len(), n),
            ("is_bounded", is_bounded.len(), templates.len()),
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
        let (Some(first), Some(last)) = (
            weight.iter().position(|w| *w > 0.0),
            weight.iter().rposition(|w| *w > 0.0),
        ) else {
            return Err(SpectraError::NoPixel);
        };
        let range = [middle(first), middle(last)];
        Ok(Self {
            edges,
            flux,
            weight,
            templates,
            is_bounded,
            range,
        })
    }

    /// Number of templates.
    #[must_use]
    pub fn n_templates(&self) -> usize {
        self.templates.len()
    }

    /// Chi square at each redshift.
    #[must_use]
    pub fn scan(&self, redshifts: &[f64]) -> Vec<f64> {
        redshifts
            .par_iter()
            .map(|&z| {
                interrupt::poll();
                let present = self.templates.present(z, self.range);
                let columns = self.templates.draw(&self.edges, z, &present);
                let (coefficients, _, _) = self.solve(&columns);
                self.chi2(&columns, &coefficients)
            })
            .collect()
    }

    /// All about the fit at one redshift.
    #[must_use]
    pub fn fit(&self, z: f64) -> LinearFit {
        let (n, m) = (self.flux.len(), self.templates.len());
        let present = self.templates.present(z, self.range);
        let columns = self.templates.draw(&self.edges, z, &present);
        let (coefficients, matrix, _) = self.solve(&columns);
        let moved = |step: f64| {
            let there = (1.0 + z) * step.exp() - 1.0;
            let columns = self.templates.draw(&self.edges, there, &present);
            self.model(&columns, &coefficients)
        };
        let (after, before) = (moved(STEP), moved(-STEP));
        let slope: Vec<f64> = after
            .iter()
            .zip(&before)
            .map(|(a, b)| (a - b) / (2.0 * STEP))
            .collect();
        // The redshift is one more unknown, whose template is the slope.
        let size = m + 1;
        let mut joint = vec![0.0; size * size];
        for i in 0..m {
            for j in 0..m {
                joint[i * size + j] = matrix[i * m + j];
            }
            let across: f64 = (columns[i].first..columns[i].end())
                .map(|p| columns[i].values[p - columns[i].first] * self.weight[p] * slope[p])
                .sum();
            joint[i * size + m] = across;
            joint[m * size + i] = across;
        }
        joint[m * size + m] = slope.iter().zip(&self.weight).map(|(s, w)| s * s * w).sum();
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
            chi2: self.chi2(&columns, &coefficients),
            coefficients,
            is_used,
            covariance: factor.inverse(size),
            design,
            slope,
        }
    }

    /// Best coefficients, the normal matrix and its factor.
    fn solve(&self, columns: &[Column]) -> (Vec<f64>, Vec<f64>, Factor) {
        let m = columns.len();
        let mut matrix = vec![0.0; m * m];
        let mut right = vec![0.0; m];
        let mut weighted = Vec::new();
        for (i, a) in columns.iter().enumerate() {
            weighted.clear();
            weighted.extend(
                a.values
                    .iter()
                    .zip(&self.weight[a.first..a.end()])
                    .map(|(v, w)| v * w),
            );
            right[i] = dot(&weighted, &self.flux[a.first..a.end()]);
            for (j, b) in columns.iter().enumerate().take(i + 1) {
                let (low, high) = (a.first.max(b.first), a.end().min(b.end()));
                if low < high {
                    let sum = dot(
                        &weighted[low - a.first..high - a.first],
                        &b.values[low - b.first..high - b.first],
                    );
                    matrix[i * m + j] = sum;
                    matrix[j * m + i] = sum;
                }
            }
        }
        let (mut x, factor) = solve_bounded(&matrix, &right, &self.is_bounded);
        // Normal equations lose half of the digits; what the residual still tells brings them back.
        let rest = self.residual(columns, &x);
        let slope: Vec<f64> = columns
            .iter()
            .map(|c| {
                (c.first..c.end())
                    .map(|p| c.values[p - c.first] * self.weight[p] * rest[p])
                    .sum()
            })
            .collect();
        for (i, step) in factor.solve(&slope).into_iter().enumerate() {
            x[i] += step;
            if self.is_bounded[i] {
                x[i] = x[i].max(0.0);
            }
        }
        (x, matrix, factor)
    }

    fn model(&self, columns: &[Column], coefficients: &[f64]) -> Vec<f64> {
        let mut model = vec![0.0; self.flux.len()];
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

    fn residual(&self, columns: &[Column], coefficients: &[f64]) -> Vec<f64> {
        let model = self.model(columns, coefficients);
        self.flux.iter().zip(model).map(|(f, m)| f - m).collect()
    }

    fn chi2(&self, columns: &[Column], coefficients: &[f64]) -> f64 {
        let rest = self.residual(columns, coefficients);
        rest.iter().zip(&self.weight).map(|(r, w)| r * r * w).sum()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
        Problem::new(edges, flux, vec![25.0; 300], templates, vec![is_bounded; n]).unwrap()
    }

    #[test]
    fn the_redshift_and_coefficients_that_were_put_in_come_out() {
        let truth = [1.0, 2.0, 1.5, 1.0, 2.0, 3.0, 1.0, 0.05, 0.08, 0.02];
        for is_bounded in [false, true] {
            let problem = problem(3.21, &truth, is_bounded);
            let redshifts: Vec<f64> = (0..500).map(|i| 1.21 + 0.01 * f64::from(i)).collect();
            let chi2 = problem.scan(&redshifts);
            let best = (0..500)
                .min_by(|&a, &b| chi2[a].total_cmp(&chi2[b]))
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
        let rise = 100.0 * problem.scan(&[z])[0];
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
    fn a_spectrum_without_pixels_is_an_error() {
        let edges = vec![1.0, 1.1, 1.2];
        let templates = templates(&[1.0; 10]);
        let failed = Problem::new(
            edges,
            vec![1.0; 2],
            vec![0.0; 2],
            templates,
            vec![false; 10],
        );
        assert!(matches!(failed, Err(SpectraError::NoPixel)));
    }
}
