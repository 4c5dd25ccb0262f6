//! Templates and the light that they put into the cells of a beam at a redshift.

use super::GrismError;
use crate::math::normal::NormalIntegral;
use crate::spectra::Igm;

/// Half of the width in which a line is drawn [sigma]; 1e-15 of its light is outside.
const REACH: f64 = 8.0;
/// Angstrom per um.
const ANGSTROM: f64 = 1e4;

/// Spectra at rest on one list of wavelengths, straight between them and zero outside; node after node, with all
/// spectra beside each other.
#[derive(Clone, Debug)]
pub struct Tables {
    wave: Vec<f64>,
    n: usize,
    flux: Vec<f64>,
    /// Integral from the first node, and that of the product with the wavelength.
    below: Vec<f64>,
    moment: Vec<f64>,
    /// First and last wavelength of each spectrum at which it may not be zero.
    support: Vec<[f64; 2]>,
    /// Observed wavelengths do not change with redshift.
    is_fixed: bool,
}

impl Tables {
    /// Spectra one after the other [Angstrom].
    ///
    /// # Errors
    /// When lengths differ or wavelengths do not rise.
    pub fn new(wave: Vec<f64>, spectra: &[f64], is_fixed: bool) -> Result<Self, GrismError> {
        let m = wave.len();
        if m < 2 || !spectra.len().is_multiple_of(m) {
            return Err(GrismError::Length {
                name: "templates",
                found: spectra.len(),
                wanted: "as many as wavelengths, two or more, for each",
            });
        }
        if wave.windows(2).any(|w| w[1] <= w[0]) || wave.iter().any(|w| !w.is_finite()) {
            return Err(GrismError::Order("templates"));
        }
        let n = spectra.len() / m;
        let flux: Vec<f64> = (0..m * n)
            .map(|at| spectra[(at % n) * m + at / n])
            .collect();
        let support = spectra
            .chunks_exact(m)
            .map(|one| {
                let first = one.iter().position(|f| *f != 0.0).unwrap_or(m - 1);
                let last = one.iter().rposition(|f| *f != 0.0).unwrap_or(0);
                [wave[first.saturating_sub(1)], wave[(last + 1).min(m - 1)]]
            })
            .collect();
        Ok(Self::filled(wave, n, flux, support, is_fixed))
    }

    fn filled(
        wave: Vec<f64>,
        n: usize,
        flux: Vec<f64>,
        support: Vec<[f64; 2]>,
        is_fixed: bool,
    ) -> Self {
        let (mut below, mut moment) = (vec![0.0; flux.len()], vec![0.0; flux.len()]);
        for i in 1..wave.len() {
            let (a, b) = (wave[i - 1], wave[i]);
            let step = b - a;
            for t in 0..n {
                let (k, last) = (i * n + t, (i - 1) * n + t);
                let (f, g) = (flux[last], flux[k]);
                below[k] = below[last] + 0.5 * step * (f + g);
                moment[k] = moment[last] + step / 6.0 * (f * (2.0 * a + b) + g * (a + 2.0 * b));
            }
        }
        Self {
            wave,
            n,
            flux,
            below,
            moment,
            support,
            is_fixed,
        }
    }

    fn ends(&self) -> [f64; 2] {
        [self.wave[0], self.wave[self.wave.len() - 1]]
    }

    /// The spectra between two wavelengths at rest behind what is between them and us.
    fn absorbed(&self, igm: &Igm, z: f64, low: f64, high: f64) -> Option<Self> {
        let reddest = igm.longest() * ANGSTROM;
        if self.is_fixed || low >= reddest || self.wave[0] >= reddest {
            return None;
        }
        let m = self.wave.len();
        let from = self.wave.partition_point(|&w| w < low).saturating_sub(1);
        let end = (self.wave.partition_point(|&w| w <= high) + 1).clamp(from + 1, m);
        if end - from < 2 {
            return None;
        }
        let wave = self.wave[from..end].to_vec();
        let mut flux = self.flux[from * self.n..end * self.n].to_vec();
        for (w, row) in wave.iter().zip(flux.chunks_exact_mut(self.n)) {
            if *w < reddest {
                let passed = igm.transmission(w * (1.0 + z) / ANGSTROM, z);
                for f in row {
                    *f *= passed;
                }
            }
        }
        Some(Self::filled(
            wave,
            self.n,
            flux,
            self.support.clone(),
            false,
        ))
    }

    /// Integral of all spectra up to a wavelength at rest, and of their product with it; `near` is where the last
    /// search ended.
    fn integrals(
        &self,
        wave: f64,
        near: &mut usize,
        below: &mut [f64],
        moment: Option<&mut [f64]>,
    ) {
        let (n, last) = (self.n, self.wave.len() - 1);
        if wave <= self.wave[0] {
            below.fill(0.0);
            if let Some(moment) = moment {
                moment.fill(0.0);
            }
            return;
        }
        if wave >= self.wave[last] {
            below.copy_from_slice(&self.below[last * n..]);
            if let Some(moment) = moment {
                moment.copy_from_slice(&self.moment[last * n..]);
            }
            return;
        }
        let i = find(&self.wave, wave, near);
        let (a, into) = (self.wave[i], wave - self.wave[i]);
        let part = into / (self.wave[i + 1] - a);
        let (f, g) = (&self.flux[i * n..][..n], &self.flux[(i + 1) * n..][..n]);
        let base = &self.below[i * n..][..n];
        // Of a straight line: into (f + (g - f) part / 2).
        let (left, right) = (into * (1.0 - 0.5 * part), 0.5 * into * part);
        for t in 0..n {
            below[t] = base[t] + left * f[t] + right * g[t];
        }
        if let Some(moment) = moment {
            let base = &self.moment[i * n..][..n];
            // The same times (a + x): int x (1 - x / h) dx and int x x / h dx.
            let (l, r) = (
                a * left + into * into * (0.5 - part / 3.0),
                a * right + into * into * part / 3.0,
            );
            for t in 0..n {
                moment[t] = base[t] + l * f[t] + r * g[t];
            }
        }
    }
}

/// The node at or before a wavelength inside the list, searched from where the last one was.
fn find(wave: &[f64], at: f64, near: &mut usize) -> usize {
    let last = wave.len() - 1;
    let start = (*near).min(last - 1);
    let (mut low, mut high);
    if wave[start] <= at {
        let mut step = 1;
        (low, high) = (start, (start + 1).min(last));
        while wave[high] <= at && high < last {
            low = high;
            high = (high + step).min(last);
            step *= 2;
        }
    } else {
        let mut step = 1;
        (low, high) = (start.saturating_sub(1), start);
        while wave[low] > at && low > 0 {
            high = low;
            low = low.saturating_sub(step);
            step *= 2;
        }
    }
    let found = low + wave[low..=high].partition_point(|&w| w <= at);
    let found = found.saturating_sub(1).min(last - 1);
    *near = found;
    found
}

/// Gaussian lines with fixed ratios, of one flux.
#[derive(Clone, Debug)]
pub struct Line {
    /// Wavelength at rest [Angstrom], part in the flux, sigma over wavelength.
    pub members: Vec<[f64; 3]>,
}

impl Line {
    fn support(&self) -> [f64; 2] {
        let ends = |sign: f64| {
            self.members
                .iter()
                .map(move |[rest, _, width]| rest * (1.0 + sign * REACH * width))
        };
        [
            ends(-1.0).fold(f64::INFINITY, f64::min),
            ends(1.0).fold(f64::NEG_INFINITY, f64::max),
        ]
    }
}

/// Everything that a source may be made of: tables, then lines.
#[derive(Clone, Debug)]
pub struct Bank {
    tables: Vec<Tables>,
    lines: Vec<Line>,
    igm: Option<Igm>,
    support: Vec<[f64; 2]>,
}

/// The cells in which light is counted: pixels, or parts of them, with the sensitivity in each.
#[derive(Clone, Debug)]
pub struct Cells {
    /// Borders [Angstrom], one more than cells.
    pub edges: Vec<f64>,
    /// Mean sensitivity and its slope around the middle of each cell.
    pub sensitivity: Vec<[f64; 2]>,
    /// Spectra that end within a cell have nothing in it.
    pub is_whole: bool,
}

impl Cells {
    fn range(&self) -> [f64; 2] {
        let (a, b) = (self.edges[0], self.edges[self.edges.len() - 1]);
        [a.min(b), a.max(b)]
    }
}

impl Bank {
    /// Tables first.
    #[must_use]
    pub fn new(tables: Vec<Tables>, lines: Vec<Line>, igm: Option<Igm>) -> Self {
        let support = tables
            .iter()
            .flat_map(|table| table.support.iter().copied())
            .chain(lines.iter().map(Line::support))
            .collect();
        Self {
            tables,
            lines,
            igm,
            support,
        }
    }

    /// Number of templates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.support.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.support.is_empty()
    }

    /// Templates that reach between two observed wavelengths; those of one table all or none, and those that do not
    /// move by their place at redshift 0.
    #[must_use]
    pub fn present(&self, z: f64, low: f64, high: f64) -> Vec<usize> {
        let is_in = |t: &usize| {
            let [a, b] = self.support[*t];
            a * (1.0 + z) < high && b * (1.0 + z) > low
        };
        let mut out = Vec::with_capacity(self.len());
        let mut first = 0;
        for table in &self.tables {
            let is_near = |t: usize| {
                let [a, b] = self.support[t];
                if table.is_fixed {
                    a < high && b > low
                } else {
                    is_in(&t)
                }
            };
            if (first..first + table.n).any(is_near) {
                out.extend(first..first + table.n);
            }
            first += table.n;
        }
        out.extend((first..self.len()).filter(is_in));
        out
    }

    /// Tables behind what is between them and us, where that takes something.
    #[must_use]
    pub fn absorbed(&self, z: f64, low: f64, high: f64) -> Option<Self> {
        let igm = self.igm.as_ref()?;
        let (low, high) = (low / (1.0 + z), high / (1.0 + z));
        if low >= igm.longest() * ANGSTROM {
            return None;
        }
        let tables = self
            .tables
            .iter()
            .map(|t| t.absorbed(igm, z, low, high).unwrap_or_else(|| t.clone()))
            .collect();
        Some(Self {
            tables,
            lines: self.lines.clone(),
            igm: None,
            support: self.support.clone(),
        })
    }

    /// Light of the templates `present` in each cell, cell after cell with `width` numbers for each.
    pub fn draw(&self, cells: &Cells, z: f64, present: &[usize], width: usize, out: &mut [f64]) {
        out.fill(0.0);
        let (mut at, mut first) = (0, 0);
        for table in &self.tables {
            let has = present.get(at) == Some(&first);
            if has {
                draw_tables(table, cells, z, at, width, out);
                at += table.n;
            }
            first += table.n;
        }
        for (column, t) in present.iter().enumerate().skip(at) {
            draw_line(&self.lines[t - first], cells, z, column, width, out);
        }
    }
}

fn draw_tables(table: &Tables, cells: &Cells, z: f64, at: usize, width: usize, out: &mut [f64]) {
    let stretch = if table.is_fixed { 1.0 } else { 1.0 + z };
    let (n, shrink) = (table.n, 1.0 / stretch);
    let [first, last] = table.ends();
    let is_rising = cells.edges[0] < cells.edges[cells.edges.len() - 1];
    let sign = if is_rising { 1.0 } else { -1.0 };
    let has_slope = !cells.is_whole;
    let mut near = 0;
    let [mut old, mut new] = [vec![0.0; n], vec![0.0; n]];
    let [mut old_moment, mut new_moment] = [vec![0.0; n], vec![0.0; n]];
    table.integrals(
        cells.edges[0] * shrink,
        &mut near,
        &mut old,
        has_slope.then_some(old_moment.as_mut_slice()),
    );
    for (i, [level, slope]) in cells.sensitivity.iter().enumerate() {
        let (a, b) = (cells.edges[i] * shrink, cells.edges[i + 1] * shrink);
        table.integrals(
            b,
            &mut near,
            &mut new,
            has_slope.then_some(new_moment.as_mut_slice()),
        );
        let is_in = !cells.is_whole || (a.min(b) >= first && a.max(b) <= last);
        if is_in {
            let row = &mut out[i * width + at..][..n];
            if has_slope {
                // S = level + slope (w - middle), in observed wavelengths.
                let middle = 0.5 * (cells.edges[i] + cells.edges[i + 1]);
                let (level, slope) = (sign * (level - slope * middle), sign * slope * stretch);
                for t in 0..n {
                    row[t] = level * (new[t] - old[t]) + slope * (new_moment[t] - old_moment[t]);
                }
            } else {
                let level = sign * level;
                for t in 0..n {
                    row[t] = level * (new[t] - old[t]);
                }
            }
        }
        std::mem::swap(&mut old, &mut new);
        std::mem::swap(&mut old_moment, &mut new_moment);
    }
}

fn draw_line(line: &Line, cells: &Cells, z: f64, at: usize, width: usize, out: &mut [f64]) {
    let [low, high] = cells.range();
    let is_rising = cells.edges[0] < cells.edges[cells.edges.len() - 1];
    let n = cells.sensitivity.len();
    for [rest, part, width_of] in &line.members {
        let centre = rest * (1.0 + z);
        let sigma = centre * width_of;
        let (from, to) = (centre - REACH * sigma, centre + REACH * sigma);
        if to < low || from > high {
            continue;
        }
        let begin = if is_rising {
            cells.edges.partition_point(|&e| e <= from)
        } else {
            cells.edges.partition_point(|&e| e >= to)
        };
        let begin = begin.saturating_sub(1);
        let normal = NormalIntegral::shared();
        let mut old = normal.with_density((cells.edges[begin] - centre) / sigma);
        for i in begin..n {
            let (a, b) = (cells.edges[i], cells.edges[i + 1]);
            if (is_rising && a > to) || (!is_rising && a < from) {
                break;
            }
            let new = normal.with_density((b - centre) / sigma);
            let [level, slope] = cells.sensitivity[i];
            // int G = d Phi, int (w - c) G = -sigma d phi.
            let (flux, lever) = (new.0 - old.0, -sigma * (new.1 - old.1));
            let (flux, lever) = if is_rising {
                (flux, lever)
            } else {
                (-flux, -lever)
            };
            let arm = centre - 0.5 * (a + b);
            out[i * width + at] += part * ((level + slope * arm) * flux + slope * lever);
            old = new;
        }
    }
}
