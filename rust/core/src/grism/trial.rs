//! The fit at one redshift: normal equations from the triangles, the solution, and what it leaves.

use super::bank::Bank;
use super::compress::{Triangle, dot};
use super::fit::{Beside, Fit, FitOptions};
use super::lanes::{Products, SumOfRows, padded, padded_row, rows_times};
use super::solution::{Normal, Solution, Trial, solve};
use crate::math::widest::run_widest;

/// Add the products of rows with each other and with what is beside them.
fn add_products(
    normal: &mut Normal,
    product: &[f64],
    triangle: &Triangle,
    beams: &[usize],
    has_data: bool,
) {
    let m = normal.n;
    let width = padded(m);
    run_widest(Products {
        rows: product,
        width,
        n: m,
        out: &mut normal.templates,
    });
    let add = |which: usize, out: &mut [f64]| {
        run_widest(SumOfRows {
            factors: triangle.right(which),
            rows: product,
            width,
            out,
        });
    };
    for (which, &beam) in beams.iter().enumerate() {
        add(which, &mut normal.cross[beam * m..][..m]);
    }
    if has_data {
        add(beams.len(), &mut normal.data);
    }
}

/// Templates at one redshift in all beams.
struct Drawn<'a> {
    fit: &'a Fit,
    /// The templates that reach the beams.
    present: Vec<usize>,
    n_all: usize,
    /// Their light in the columns of each group, and the triangle times it, in whole lanes.
    light: Vec<Vec<f64>>,
    products: Vec<Vec<f64>>,
    beside: Option<Beside<'a>>,
}

impl<'a> Drawn<'a> {
    fn new(fit: &'a Fit, bank: &Bank, z: f64, beside: Option<Beside<'a>>) -> Self {
        let [low, high] = fit.range;
        // Photometry may see templates that no beam does.
        let present = if beside.is_some() {
            (0..bank.len()).collect()
        } else {
            bank.present(z, low, high)
        };
        let m = present.len();
        let light: Vec<Vec<f64>> = fit
            .groups
            .iter()
            .map(|group| {
                if m > 0 {
                    group.light(bank, z, &present)
                } else {
                    Vec::new()
                }
            })
            .collect();
        let products = fit
            .groups
            .iter()
            .zip(&light)
            .map(|(group, light)| {
                let mut product = vec![0.0; light.len()];
                if m > 0 {
                    group.triangle.apply(light, padded(m), &mut product);
                }
                product
            })
            .collect();
        Self {
            fit,
            present,
            n_all: bank.len(),
            light,
            products,
            beside,
        }
    }

    fn normal(&self) -> Normal {
        let m = self.present.len();
        let mut normal = Normal::zeros(m, self.fit.n_beams());
        for (group, product) in self.fit.groups.iter().zip(&self.products) {
            if m > 0 {
                add_products(&mut normal, product, &group.triangle, &group.beams, true);
            }
            for (&beam, sums) in group.beams.iter().zip(&group.sums) {
                normal.own[beam] = sums[0];
                normal.own_data[beam] = sums[1];
            }
        }
        for (row, d) in self.rows_beside() {
            for (a, &t) in self.present.iter().enumerate() {
                normal.data[a] += d * row[t];
                for (b, &u) in self.present.iter().enumerate() {
                    normal.templates[a * m + b] += row[t] * row[u];
                }
            }
        }
        normal
    }

    /// Measurements beside the beams with their templates.
    fn rows_beside(&self) -> impl Iterator<Item = (&'a [f64], f64)> {
        let n = self.n_all.max(1);
        self.beside
            .into_iter()
            .flat_map(move |b| b.design.chunks_exact(n).zip(b.data.iter().copied()))
    }

    /// What factors leave of the measurements beside the beams.
    fn rest_beside(&self, x: &[f64]) -> Vec<f64> {
        let model =
            |row: &[f64]| -> f64 { self.present.iter().zip(x).map(|(&t, x)| row[t] * x).sum() };
        self.rows_beside().map(|(row, d)| d - model(row)).collect()
    }

    /// What factors and backgrounds leave of each row of the triangle of a group.
    fn rest(&self, g: usize, x: &[f64], b: &[f64]) -> Vec<f64> {
        let group = &self.fit.groups[g];
        let mut rest = rows_times(&self.products[g], &padded_row(x), group.n);
        for (which, &beam) in group.beams.iter().enumerate() {
            let back = b[beam];
            for (r, q) in rest.iter_mut().zip(group.triangle.right(which)) {
                *r += back * q;
            }
        }
        for (r, d) in rest.iter_mut().zip(group.triangle.right(group.beams.len())) {
            *r = d - *r;
        }
        rest
    }

    fn pull(&self, x: &[f64], b: &[f64]) -> Vec<f64> {
        let m = self.present.len();
        let mut out = vec![0.0; m];
        if m == 0 {
            return out;
        }
        for (g, product) in self.products.iter().enumerate() {
            run_widest(SumOfRows {
                factors: &self.rest(g, x, b),
                rows: product,
                width: padded(m),
                out: &mut out,
            });
        }
        for ((row, _), rest) in self.rows_beside().zip(self.rest_beside(x)) {
            for (o, &t) in out.iter_mut().zip(&self.present) {
                *o += rest * row[t];
            }
        }
        out
    }

    /// Sum of squares from the triangles, and sum of the loss of all pixels.
    fn cost(&self, x: &[f64], b: &[f64], huber: f64) -> [f64; 2] {
        let outside = self.rest_beside(x);
        let mut chi2: f64 = outside.iter().map(|r| r * r).sum();
        for (g, group) in self.fit.groups.iter().enumerate() {
            let rest = self.rest(g, x, b);
            chi2 += dot(&rest, &rest);
            let own: Vec<f64> = group.beams.iter().map(|&beam| b[beam]).collect();
            chi2 += group.triangle.rest(&own);
        }
        if huber <= 0.0 {
            return [chi2, chi2];
        }
        let x = padded_row(x);
        let mut loss: f64 = outside.iter().map(|r| loss_of(r.abs(), huber)).sum();
        for (group, light) in self.fit.groups.iter().zip(&self.light) {
            loss += group.loss(rows_times(light, &x, group.n), b, huber);
        }
        [chi2, loss]
    }

    /// Products of the free templates under the square of the weight times the variance; nothing when all weights are
    /// inverse variances.
    fn noise(&self, free: &[usize]) -> Option<Normal> {
        let m = self.present.len();
        if self.fit.groups.iter().all(|g| g.noise.is_none()) {
            return None;
        }
        let f = free.len();
        let mut few = Normal::zeros(f, self.fit.n_beams());
        for (group, light) in self.fit.groups.iter().zip(&self.light) {
            let triangle = group.noise.as_ref().unwrap_or(&group.triangle);
            for (&beam, sums) in group.beams.iter().zip(&group.sums) {
                few.own[beam] = sums[2];
            }
            if f == 0 {
                continue;
            }
            let mut own = vec![0.0; group.n * padded(f)];
            for (own, row) in own
                .chunks_exact_mut(padded(f))
                .zip(light.chunks_exact(padded(m)))
            {
                for (own, &i) in own.iter_mut().zip(free) {
                    *own = row[i];
                }
            }
            let mut product = vec![0.0; own.len()];
            triangle.apply(&own, padded(f), &mut product);
            add_products(&mut few, &product, triangle, &group.beams, false);
        }
        for (row, _) in self.rows_beside() {
            for (a, &i) in free.iter().enumerate() {
                for (b, &j) in free.iter().enumerate() {
                    few.templates[a * f + b] += row[self.present[i]] * row[self.present[j]];
                }
            }
        }
        let mut all = Normal::zeros(m, self.fit.n_beams());
        all.own.clone_from(&few.own);
        for (a, &i) in free.iter().enumerate() {
            for (b, &j) in free.iter().enumerate() {
                all.templates[i * m + j] = few.templates[a * f + b];
            }
            for beam in 0..self.fit.n_beams() {
                all.cross[beam * m + i] = few.cross[beam * f + a];
            }
        }
        Some(all)
    }

    /// Put a solution with its covariance into the order of all templates.
    fn outcome(&self, solution: &Solution, normal: &Normal, options: &FitOptions) -> Trial {
        let (k, m) = (self.fit.n_beams(), self.present.len());
        let (b, x) = solution.x.split_at(k);
        let [chi2, loss] = self.cost(x, b, options.huber);
        let (coefficients, is_free) = solution.spread(self.fit, self.n_all, &self.present);
        let mut out = Trial {
            loss,
            chi2,
            coefficients,
            is_free,
            violation: solution.violation,
            ..Trial::default()
        };
        if options.has_covariance {
            let free: Vec<usize> = (0..m).filter(|&i| solution.is_free[k + i]).collect();
            let (found, variances) = solution.covariance(k, self.noise(&free).as_ref());
            out.covariance = vec![0.0; self.n_all * self.n_all];
            out.bound_variance = vec![0.0; self.n_all];
            let bound = solution.bound_variance(normal);
            for (i, &t) in self.present.iter().enumerate() {
                out.bound_variance[t] = bound[i];
                for (j, &u) in self.present.iter().enumerate() {
                    out.covariance[t * self.n_all + u] = found[i * m + j];
                }
            }
            out.background_variance = variances;
        }
        out
    }
}

/// Huber's loss of a residual of `r` sigma.
pub(super) fn loss_of(r: f64, huber: f64) -> f64 {
    if huber > 0.0 && r > huber {
        huber * (2.0 * r - huber)
    } else {
        r * r
    }
}

/// Fit at one redshift.
pub(super) fn trial(
    fit: &Fit,
    bank: &Bank,
    z: f64,
    options: &FitOptions,
    beside: Option<Beside<'_>>,
) -> Trial {
    let [low, high] = fit.range;
    let thinned = bank.absorbed(z, low, high);
    let drawn = Drawn::new(fit, thinned.as_ref().unwrap_or(bank), z, beside);
    let normal = drawn.normal();
    let bounds = |list: &[f64]| -> Vec<f64> { drawn.present.iter().map(|&t| list[t]).collect() };
    let background = options
        .background
        .as_ref()
        .map(|[a, b]| [a.as_slice(), b.as_slice()]);
    let (lower, upper) = (bounds(&options.lower), bounds(&options.upper));
    let solution = solve(&normal, &lower, &upper, background, &|x, b| {
        drawn.pull(x, b)
    });
    drawn.outcome(&solution, &normal, options)
}
