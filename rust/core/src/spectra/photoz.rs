//! Non-negative combinations of templates for the fluxes of many objects, at each redshift of a grid.

use rayon::prelude::*;

use super::SpectraError;
use crate::interrupt;

/// Templates that the chosen ones determine to this part of their own length are not added to them.
const LEAST_PART: f64 = 1e-11;
/// A template is added when that lowers chi square, by more than rounding.
const LEAST_GAIN: f64 = 1e-12;

/// Fluxes of templates in bands: for each node redshift after redshift, in it template after template, in it band after
/// band. An object sees the sum of the nodes with its own factors.
#[derive(Clone, Copy, Debug)]
pub struct TemplateGrid<'a> {
    /// All fluxes.
    pub fluxes: &'a [f64],
    /// Number of nodes, redshifts, templates, bands.
    pub shape: [usize; 4],
}

impl TemplateGrid<'_> {
    fn check(&self, name: &'static str) -> Result<(), SpectraError> {
        let expected = self.shape.iter().product();
        length(name, self.fluxes.len(), expected)
    }

    /// Templates in bands at a redshift, for factors of the nodes.
    fn at(&self, i_z: usize, factors: &[(usize, f64)], out: &mut [f64]) {
        let [_, n_z, n_templates, n_bands] = self.shape;
        let size = n_templates * n_bands;
        let part = |node: usize| &self.fluxes[(node * n_z + i_z) * size..][..size];
        if let [(node, factor)] = factors
            && factor.to_bits() == 1.0_f64.to_bits()
        {
            out.copy_from_slice(part(*node));
            return;
        }
        out.fill(0.0);
        for &(node, factor) in factors {
            for (value, flux) in out.iter_mut().zip(part(node)) {
                *value += factor * flux;
            }
        }
    }
}

/// Measured fluxes, object after object.
#[derive(Clone, Copy, Debug)]
pub struct Photometry<'a> {
    /// Flux of each object in each band.
    pub flux: &'a [f64],
    /// Its variance; infinite where it is not measured.
    pub variance: &'a [f64],
    /// The flux to which the error of the templates is relative.
    pub level: &'a [f64],
    /// Factor of each node of the grid.
    pub nodes: &'a [f64],
}

/// What fits at one redshift of each object.
#[derive(Clone, Debug)]
pub struct BestFits {
    /// Factor of each template.
    pub coefficients: Vec<f64>,
    /// Flux of the combination in each band.
    pub model: Vec<f64>,
}

/// Mean and variance over p(z) of the fluxes of the best combinations.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// Mean flux in each band.
    pub mean: Vec<f64>,
    /// Its variance: that of the factors, and that of the redshift.
    pub variance: Vec<f64>,
}

/// Many objects and the templates in their bands.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    grid: TemplateGrid<'a>,
    photometry: Photometry<'a>,
    /// Error of the templates relative to the flux, redshift after redshift; empty for none.
    template_error: &'a [f64],
    count: usize,
}

fn length(name: &'static str, found: usize, expected: usize) -> Result<(), SpectraError> {
    if found == expected {
        Ok(())
    } else {
        Err(SpectraError::Length {
            name,
            found,
            expected,
        })
    }
}

impl<'a> Objects<'a> {
    /// Check shapes and put together.
    ///
    /// # Errors
    /// When lengths do not fit together.
    pub fn new(
        grid: TemplateGrid<'a>,
        photometry: Photometry<'a>,
        template_error: &'a [f64],
    ) -> Result<Self, SpectraError> {
        grid.check("grid")?;
        let [n_nodes, n_z, _, n_bands] = grid.shape;
        let n_objects = photometry.flux.len() / n_bands.max(1);
        length("flux", photometry.flux.len(), n_objects * n_bands)?;
        length("variance", photometry.variance.len(), n_objects * n_bands)?;
        length("level", photometry.level.len(), n_objects * n_bands)?;
        length("nodes", photometry.nodes.len(), n_objects * n_nodes)?;
        if !template_error.is_empty() {
            length("template_error", template_error.len(), n_z * n_bands)?;
        }
        Ok(Self {
            grid,
            photometry,
            template_error,
            count: n_objects,
        })
    }

    /// Least chi square of each object at each redshift, and the logarithm of the product of all variances, less that
    /// of the first redshift; infinite where no template has flux in a band that was measured.
    #[must_use]
    pub fn scan(&self) -> (Vec<f64>, Vec<f64>) {
        let n_z = self.grid.shape[1];
        let mut chi2 = vec![0.0; self.count * n_z];
        let mut spread = vec![0.0; self.count * n_z];
        if n_z > 0 {
            chi2.par_chunks_mut(n_z)
                .zip(spread.par_chunks_mut(n_z))
                .enumerate()
                .for_each(|(i, (chi2, spread))| {
                    interrupt::poll();
                    let mut solver = self.solver(i);
                    for i_z in 0..n_z {
                        spread[i_z] = solver.load(i_z);
                        solver.solve();
                        chi2[i_z] = solver.chi2();
                    }
                    let first = spread[0];
                    for value in spread.iter_mut() {
                        *value -= first;
                    }
                });
        }
        (chi2, spread)
    }

    /// Best combination of each object at one redshift of the grid.
    ///
    /// # Errors
    /// When there is not one redshift for each object.
    pub fn fit_at(&self, i_z: &[usize]) -> Result<BestFits, SpectraError> {
        length("i_z", i_z.len(), self.count)?;
        let [_, n_z, n_templates, n_bands] = self.grid.shape;
        let mut coefficients = vec![0.0; self.count * n_templates];
        let mut model = vec![0.0; self.count * n_bands];
        if n_templates > 0 && n_bands > 0 {
            coefficients
                .par_chunks_mut(n_templates)
                .zip(model.par_chunks_mut(n_bands))
                .zip(i_z)
                .enumerate()
                .for_each(|(i, ((coefficients, model), i_z))| {
                    let mut solver = self.solver(i);
                    solver.load((*i_z).min(n_z - 1));
                    solver.solve();
                    coefficients.copy_from_slice(&solver.x);
                    for (x, template) in solver.x.iter().zip(solver.raw.chunks_exact(n_bands)) {
                        for (value, flux) in model.iter_mut().zip(template) {
                            *value += x * flux;
                        }
                    }
                });
        }
        Ok(BestFits {
            coefficients,
            model,
        })
    }

    /// Fluxes in other bands, averaged over p(z), which comes as the probability of each redshift of the grid.
    ///
    /// # Errors
    /// When lengths do not fit together.
    pub fn predict(
        &self,
        other: TemplateGrid<'_>,
        probability: &[f64],
    ) -> Result<Predicted, SpectraError> {
        other.check("other")?;
        let [n_nodes, n_z, n_templates, _] = self.grid.shape;
        let n_other = other.shape[3];
        length(
            "other",
            other.shape[..3].iter().product(),
            n_nodes * n_z * n_templates,
        )?;
        length("probability", probability.len(), self.count * n_z)?;
        let mut mean = vec![0.0; self.count * n_other];
        let mut variance = vec![0.0; self.count * n_other];
        if n_other > 0 && n_z > 0 {
            mean.par_chunks_mut(n_other)
                .zip(variance.par_chunks_mut(n_other))
                .zip(probability.par_chunks(n_z))
                .enumerate()
                .for_each(|(i, ((mean, variance), probability))| {
                    interrupt::poll();
                    self.predict_one(i, other, probability, mean, variance);
                });
        }
        Ok(Predicted { mean, variance })
    }

    fn predict_one(
        &self,
        i: usize,
        other: TemplateGrid<'_>,
        probability: &[f64],
        mean: &mut [f64],
        variance: &mut [f64],
    ) {
        let [_, _, n_templates, _] = self.grid.shape;
        let n_other = mean.len();
        let mut solver = self.solver(i);
        let mut seen = vec![0.0; n_templates * n_other];
        let mut squares = vec![0.0; n_other];
        for (i_z, &p) in probability.iter().enumerate() {
            if p.is_nan() || p <= 0.0 {
                continue;
            }
            solver.load(i_z);
            solver.solve();
            other.at(i_z, &solver.factors, &mut seen);
            for j in 0..n_other {
                let template = |t: usize| seen[t * n_other + j];
                let flux: f64 = (0..n_templates).map(|t| solver.x[t] * template(t)).sum();
                mean[j] += p * flux;
                squares[j] += p * flux * flux;
                variance[j] += p * solver.variance_of(template);
            }
        }
        for j in 0..n_other {
            variance[j] += (squares[j] - mean[j] * mean[j]).max(0.0);
        }
    }

    fn solver(&self, i: usize) -> Solver<'_> {
        let [n_nodes, _, n_templates, n_bands] = self.grid.shape;
        let row = |values: &'a [f64]| &values[i * n_bands..(i + 1) * n_bands];
        let factors = self.photometry.nodes[i * n_nodes..(i + 1) * n_nodes]
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, factor)| *factor != 0.0)
            .collect();
        Solver {
            grid: self.grid,
            template_error: self.template_error,
            flux: row(self.photometry.flux),
            variance: row(self.photometry.variance),
            level: row(self.photometry.level),
            factors,
            raw: vec![0.0; n_templates * n_bands],
            scaled: vec![0.0; n_templates * n_bands],
            squares: vec![0.0; n_templates],
            root: vec![0.0; n_bands],
            target: vec![0.0; n_bands],
            rest: vec![0.0; n_bands],
            x: vec![0.0; n_templates],
            chosen: Vec::with_capacity(n_templates),
            basis: vec![0.0; n_templates * n_bands],
            upper: vec![0.0; n_templates * n_templates],
            trial: vec![0.0; n_templates],
            has_model: false,
        }
    }
}

/// One object: its scaled templates, and the ones that were chosen, with an orthonormal basis of theirs.
struct Solver<'a> {
    grid: TemplateGrid<'a>,
    template_error: &'a [f64],
    flux: &'a [f64],
    variance: &'a [f64],
    level: &'a [f64],
    factors: Vec<(usize, f64)>,
    raw: Vec<f64>,
    /// Templates over errors.
    scaled: Vec<f64>,
    squares: Vec<f64>,
    /// Inverse errors.
    root: Vec<f64>,
    /// Fluxes over errors.
    target: Vec<f64>,
    rest: Vec<f64>,
    x: Vec<f64>,
    /// Templates above zero, in the order of the columns of `upper`.
    chosen: Vec<usize>,
    /// Orthonormal vectors of bands; the chosen templates are combinations of them, each of those up to its own.
    basis: Vec<f64>,
    /// Column by column: the factors of those combinations.
    upper: Vec<f64>,
    trial: Vec<f64>,
    has_model: bool,
}

impl Solver<'_> {
    /// Take the templates at a redshift; returns the logarithm of the product of all variances.
    fn load(&mut self, i_z: usize) -> f64 {
        let n = self.flux.len();
        self.grid.at(i_z, &self.factors, &mut self.raw);
        let error = self.template_error.get(i_z * n..(i_z + 1) * n);
        let mut spread = 0.0;
        for j in 0..n {
            let own = error.map_or(0.0, |e| e[j] * self.level[j]);
            let variance = self.variance[j] + own * own;
            let is_used = variance < f64::INFINITY;
            self.root[j] = if is_used { 1.0 / variance.sqrt() } else { 0.0 };
            self.target[j] = if is_used {
                self.flux[j] * self.root[j]
            } else {
                0.0
            };
            if is_used && error.is_some() {
                spread += variance.ln();
            }
        }
        self.has_model = false;
        for ((scaled, raw), square) in self
            .scaled
            .chunks_exact_mut(n)
            .zip(self.raw.chunks_exact(n))
            .zip(&mut self.squares)
        {
            for j in 0..n {
                scaled[j] = raw[j] * self.root[j];
            }
            *square = dot(scaled, scaled);
            self.has_model |= *square > 0.0;
        }
        spread
    }

    /// Non-negative least squares, from the templates that were chosen last.
    ///
    /// # Source
    /// Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23; started as in Bro & de Jong 1997,
    /// J. Chemometrics 11, 393.
    fn solve(&mut self) {
        let n = self.x.len();
        self.restart();
        let size = dot(&self.target, &self.target).sqrt();
        let mut blocked = 0_u128;
        // Each step lowers chi square, so no set of templates comes twice; the limit is for rounding alone.
        for _ in 0..3 * n + 10 {
            self.take_rest();
            let mut next = None;
            let mut most = LEAST_GAIN * size;
            for t in 0..n {
                if self.squares[t] > 0.0
                    && (t >= 128 || blocked & (1 << t) == 0)
                    && !self.chosen.contains(&t)
                {
                    let gain = dot(self.template(t), &self.rest) / self.squares[t].sqrt();
                    if gain > most {
                        (next, most) = (Some(t), gain);
                    }
                }
            }
            let Some(next) = next else { break };
            if !self.add(next) || !self.settle(next) {
                if next >= 128 {
                    break;
                }
                blocked |= 1 << next;
            } else {
                blocked = 0;
            }
        }
        self.take_rest();
    }

    fn template(&self, t: usize) -> &[f64] {
        let n = self.flux.len();
        &self.scaled[t * n..(t + 1) * n]
    }

    /// Keep those of the last templates that are above zero together.
    fn restart(&mut self) {
        let mut wanted = std::mem::take(&mut self.chosen);
        loop {
            self.rebuild(&wanted);
            wanted.clone_from(&self.chosen);
            self.aim();
            let trial = &self.trial;
            wanted.retain(|&t| trial[t] > 0.0);
            if wanted.len() == self.chosen.len() {
                break;
            }
        }
        self.x.copy_from_slice(&self.trial);
    }

    /// Move to the best point of the chosen templates, along the way giving up those that meet zero; false when the
    /// one that was added last is among them.
    fn settle(&mut self, newest: usize) -> bool {
        loop {
            self.aim();
            let below = |s: &Self, t: usize| s.trial[t] <= 0.0;
            if !self.chosen.iter().any(|&t| below(self, t)) {
                self.x.copy_from_slice(&self.trial);
                return true;
            }
            if below(self, newest) && self.x[newest] <= 0.0 {
                // Rounding alone said that it would help.
                let kept: Vec<usize> = self
                    .chosen
                    .iter()
                    .copied()
                    .filter(|&t| t != newest)
                    .collect();
                self.rebuild(&kept);
                return false;
            }
            let way = self
                .chosen
                .iter()
                .filter(|&&t| below(self, t))
                .map(|&t| self.x[t] / (self.x[t] - self.trial[t]))
                .fold(1.0, f64::min);
            let mut kept = Vec::with_capacity(self.chosen.len());
            for &t in &self.chosen {
                let met = below(self, t) && self.x[t] / (self.x[t] - self.trial[t]) <= way;
                self.x[t] += way * (self.trial[t] - self.x[t]);
                if met || self.x[t] <= 0.0 {
                    self.x[t] = 0.0;
                } else {
                    kept.push(t);
                }
            }
            self.rebuild(&kept);
        }
    }

    /// The basis of some templates; those that depend on the ones before them are left out.
    fn rebuild(&mut self, wanted: &[usize]) {
        self.chosen.clear();
        for &t in wanted {
            if !self.add(t) {
                self.x[t] = 0.0;
            }
        }
    }

    /// Add what is new in a template to the basis, by Gram & Schmidt done twice, which loses no digits.
    fn add(&mut self, t: usize) -> bool {
        let (n, size, k) = (self.flux.len(), self.x.len(), self.chosen.len());
        let (earlier, rest) = self.basis.split_at_mut(k * n);
        let Some(new) = rest.get_mut(..n) else {
            return false;
        };
        new.copy_from_slice(&self.scaled[t * n..(t + 1) * n]);
        let column = &mut self.upper[k * size..(k + 1) * size];
        column.fill(0.0);
        for _ in 0..2 {
            for (known, total) in earlier.chunks_exact(n).zip(column.iter_mut()) {
                let part = dot(known, new);
                subtract(new, part, known);
                *total += part;
            }
        }
        let length = dot(new, new).sqrt();
        if length.is_nan() || length <= LEAST_PART * self.squares[t].sqrt() {
            return false;
        }
        for value in new.iter_mut() {
            *value /= length;
        }
        column[k] = length;
        self.chosen.push(t);
        true
    }

    /// Best factors of the chosen templates, whatever their sign.
    fn aim(&mut self) {
        let (n, size, k) = (self.flux.len(), self.x.len(), self.chosen.len());
        self.trial.fill(0.0);
        let mut along: Vec<f64> = self
            .basis
            .chunks_exact(n)
            .take(k)
            .map(|known| dot(known, &self.target))
            .collect();
        for i in (0..k).rev() {
            let column = &self.upper[i * size..][..=i];
            let factor = along[i] / column[i];
            subtract(&mut along[..i], factor, column);
            self.trial[self.chosen[i]] = factor;
        }
    }

    fn take_rest(&mut self) {
        let n = self.flux.len();
        self.rest.copy_from_slice(&self.target);
        for &t in &self.chosen {
            subtract(&mut self.rest, self.x[t], &self.scaled[t * n..(t + 1) * n]);
        }
    }

    fn chi2(&self) -> f64 {
        if self.has_model {
            dot(&self.rest, &self.rest)
        } else {
            f64::INFINITY
        }
    }

    /// Variance of a sum of the chosen templates that has these fluxes for factors 1.
    fn variance_of(&self, flux: impl Fn(usize) -> f64) -> f64 {
        let size = self.x.len();
        let mut along: Vec<f64> = Vec::with_capacity(self.chosen.len());
        for (i, &t) in self.chosen.iter().enumerate() {
            let column = &self.upper[i * size..][..=i];
            along.push((flux(t) - dot(&along, column)) / column[i]);
        }
        dot(&along, &along)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Take a multiple of the first values of `known` off all values.
fn subtract(values: &mut [f64], factor: f64, known: &[f64]) {
    for (value, known) in values.iter_mut().zip(known) {
        *value -= factor * known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objects<'a>(
        fluxes: &'a [f64],
        shape: [usize; 4],
        flux: &'a [f64],
        variance: &'a [f64],
        nodes: &'a [f64],
    ) -> Objects<'a> {
        let photometry = Photometry {
            flux,
            variance,
            level: flux,
            nodes,
        };
        Objects::new(TemplateGrid { fluxes, shape }, photometry, &[]).unwrap()
    }

    proptest! {
        #[test]
        fn solutions_fulfil_the_conditions_of_karush_kuhn_and_tucker(
            fluxes in prop::collection::vec(0.0..1.0_f64, 3 * 9 * 5),
            flux in prop::collection::vec(-1.0..3.0_f64, 5),
            variance in prop::collection::vec(0.01..1.0_f64, 5),
        ) {
            // More templates than bands, and starts from the redshift before.
            let shape = [1, 3, 9, 5];
            let set = objects(&fluxes, shape, &flux, &variance, &[1.0]);
            let (chi2, _) = set.scan();
            for i_z in 0..3 {
                let fit = set.fit_at(&[i_z]).unwrap();
                let pull = |j: usize| (flux[j] - fit.model[j]) / variance[j].sqrt();
                let direct: f64 = (0..5).map(|j| pull(j).powi(2)).sum();
                prop_assert!((direct - chi2[i_z]).abs() < 1e-9 * (1.0 + direct));
                for t in 0..9 {
                    let template = &fluxes[(i_z * 9 + t) * 5..][..5];
                    let slope: f64 = (0..5).map(|j| template[j] * pull(j) / variance[j].sqrt()).sum();
                    prop_assert!(fit.coefficients[t] >= 0.0);
                    prop_assert!(slope < 1e-7);
                    prop_assert!(fit.coefficients[t] == 0.0 || slope.abs() < 1e-7);
                }
            }
        }
    }

    #[test]
    fn bands_that_were_not_measured_do_not_count_and_no_template_is_infinite() {
        let fluxes = [1.0, 2.0, 4.0, 0.0, 0.0, 7.0];
        let flux = [3.0, 6.0, f64::NAN];
        let set = objects(
            &fluxes,
            [1, 2, 1, 3],
            &flux,
            &[1.0, 1.0, f64::INFINITY],
            &[1.0],
        );
        let (chi2, _) = set.scan();
        assert!(chi2[0] < 1e-20 && chi2[1] == f64::INFINITY);
        let fit = set.fit_at(&[0]).unwrap();
        assert!((fit.model[2] - 12.0).abs() < 1e-12);
    }

    #[test]
    fn predicted_fluxes_have_the_variance_of_the_factors_and_of_the_redshift() {
        // One template in one band: its factor is flux / template, with the error over the template.
        let fluxes = [2.0, 4.0];
        let set = objects(&fluxes, [1, 2, 1, 1], &[8.0], &[0.25], &[1.0]);
        let other = TemplateGrid {
            fluxes: &[1.0, 1.0],
            shape: [1, 2, 1, 1],
        };
        let found = set.predict(other, &[0.5, 0.5]).unwrap();
        // Factors 4 and 2, variances 0.25 / 4 and 0.25 / 16.
        assert!((found.mean[0] - 3.0).abs() < 1e-12);
        assert!((found.variance[0] - (1.0 + 0.5 * (0.0625 + 0.015_625))).abs() < 1e-12);
    }

    #[test]
    fn the_nodes_of_a_grid_are_added_with_the_factors_of_the_object() {
        let fluxes = [1.0, 1.0, 3.0, 1.0];
        let set = objects(&fluxes, [2, 1, 1, 2], &[2.0, 1.0], &[1.0, 1.0], &[0.5, 0.5]);
        assert!(set.scan().0[0] < 1e-20);
    }
}
