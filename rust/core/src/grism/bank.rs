//! Templates and the light that they put into the cells of a beam at a redshift.

use std::ops::Range;

use super::GrismError;
use crate::math::normal::NormalIntegral;
use crate::math::widest::{Work, run_widest};
use crate::spectra::Igm;

/// Half of the width in which a Gaussian is drawn [sigma]; 1e-15 of its light is outside.
const REACH: f64 = 8.0;
/// The same of a Lorentzian, in half widths at half maximum: 50 sigma of the Gaussian as wide as it, as in grizli. 1.5 % of
/// an endless one is outside, and its light within is 1.
const REACH_LORENTZIAN: f64 = 50.0 * 2.0 / 2.354_820_045_030_949_3;
/// Spectra of a table that are treated together.
const FOUR: usize = 4;
/// Nodes beside the expected one that are tried before the whole list is searched.
const NEARBY: usize = 8;
/// Angstrom per um.
const ANGSTROM: f64 = 1e4;

/// Spectra at rest on one list of wavelengths, straight between them and zero outside; node after node, with all
/// spectra beside each other.
#[derive(Clone, Debug)]
pub struct Tables {
    wave: Vec<f64>,
    n: usize,
    /// Numbers of each node: spectra, then zeros up to whole lanes.
    stride: usize,
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
        let stride = if n == 1 { 1 } else { n.next_multiple_of(FOUR) };
        let mut flux = vec![0.0; m * stride];
        for (t, one) in spectra.chunks_exact(m).enumerate() {
            for (node, f) in flux.chunks_exact_mut(stride).zip(one) {
                node[t] = *f;
            }
        }
        let support = spectra
            .chunks_exact(m)
            .map(|one| {
                let first = one.iter().position(|f| *f != 0.0).unwrap_or(m - 1);
                let last = one.iter().rposition(|f| *f != 0.0).unwrap_or(0);
                [wave[first.saturating_sub(1)], wave[(last + 1).min(m - 1)]]
            })
            .collect();
        Ok(Self::filled(wave, [n, stride], flux, support, is_fixed))
    }

    fn filled(
        wave: Vec<f64>,
        [n, stride]: [usize; 2],
        flux: Vec<f64>,
        support: Vec<[f64; 2]>,
        is_fixed: bool,
    ) -> Self {
        let (mut below, mut moment) = (vec![0.0; flux.len()], vec![0.0; flux.len()]);
        for i in 1..wave.len() {
            let (a, b) = (wave[i - 1], wave[i]);
            let step = b - a;
            for t in 0..n {
                let (k, last) = (i * stride + t, (i - 1) * stride + t);
                let (f, g) = (flux[last], flux[k]);
                below[k] = below[last] + 0.5 * step * (f + g);
                moment[k] = moment[last] + step / 6.0 * (f * (2.0 * a + b) + g * (a + 2.0 * b));
            }
        }
        Self {
            wave,
            n,
            stride,
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
        // What is let through has steps at the lines of the series, far narrower than those between points of a template.
        let own = &self.wave[from..end];
        let bluest = own[0] / ANGSTROM;
        // To the last bit, so that the edge itself is among them.
        let end_um = (own[own.len() - 1] / ANGSTROM).min(igm.longest());
        let nodes = igm.nodes(bluest, end_um);
        let mut wave: Vec<f64> = nodes.iter().map(|w| w * ANGSTROM).collect();
        wave.extend(own);
        wave.sort_by(f64::total_cmp);
        wave.dedup();
        let mut flux = vec![0.0; wave.len() * self.stride];
        let mut i = 0;
        for (w, row) in wave.iter().zip(flux.chunks_exact_mut(self.stride)) {
            while i + 2 < own.len() && own[i + 1] <= *w {
                i += 1;
            }
            let part = ((w - own[i]) / (own[i + 1] - own[i])).clamp(0.0, 1.0);
            let passed = if *w < reddest {
                igm.transmission(w * (1.0 + z) / ANGSTROM, z)
            } else {
                1.0
            };
            let ends = &self.flux[(from + i) * self.stride..][..2 * self.stride];
            let (left, right) = ends.split_at(self.stride);
            for ((out, f), g) in row.iter_mut().zip(left).zip(right) {
                *out = passed * ((1.0 - part) * f + part * g);
            }
        }
        Some(Self::filled(
            wave,
            [self.n, self.stride],
            flux,
            self.support.clone(),
            false,
        ))
    }

    /// First and last wavelength at which any spectrum may not be zero.
    fn reach(&self) -> [f64; 2] {
        let (low, high) = (
            self.support.iter().map(|s| s[0]),
            self.support.iter().map(|s| s[1]),
        );
        [
            low.fold(f64::INFINITY, f64::min),
            high.fold(f64::NEG_INFINITY, f64::max),
        ]
    }

    /// Integral of all spectra up to a wavelength at rest, and of their product with it; `near` is where the last
    /// search ended.
    #[inline(always)]
    fn integrals<const L: usize>(
        &self,
        wave: f64,
        near: &mut Near,
        below: &mut [[f64; L]],
        moment: Option<&mut [[f64; L]]>,
    ) {
        let (n, last) = (self.stride / L, self.wave.len() - 1);
        if wave <= self.wave[0] {
            below.fill([0.0; L]);
            if let Some(moment) = moment {
                moment.fill([0.0; L]);
            }
            return;
        }
        if wave >= self.wave[last] {
            below.copy_from_slice(node(&self.below, n, last));
            if let Some(moment) = moment {
                moment.copy_from_slice(node(&self.moment, n, last));
            }
            return;
        }
        let i = find(&self.wave, wave, near);
        let (a, into) = (self.wave[i], wave - self.wave[i]);
        let part = into / (self.wave[i + 1] - a);
        let (f, g, base) = (
            node::<L>(&self.flux, n, i),
            node::<L>(&self.flux, n, i + 1),
            node::<L>(&self.below, n, i),
        );
        // Of a straight line: into (f + (g - f) part / 2).
        let (left, right) = (into * (1.0 - 0.5 * part), 0.5 * into * part);
        for (((sum, base), f), g) in below.iter_mut().zip(base).zip(f).zip(g) {
            for k in 0..L {
                sum[k] = base[k] + left * f[k] + right * g[k];
            }
        }
        if let Some(moment) = moment {
            let base = node::<L>(&self.moment, n, i);
            // The same times (a + x): int x (1 - x / h) dx and int x x / h dx.
            let (l, r) = (
                a * left + into * into * (0.5 - part / 3.0),
                a * right + into * into * part / 3.0,
            );
            for (((sum, base), f), g) in moment.iter_mut().zip(base).zip(f).zip(g) {
                for k in 0..L {
                    sum[k] = base[k] + l * f[k] + r * g[k];
                }
            }
        }
    }
}

/// The numbers of a node.
#[inline(always)]
fn node<const L: usize>(all: &[f64], n: usize, i: usize) -> &[[f64; L]] {
    &all.as_chunks::<L>().0[i * n..][..n]
}

/// The node at or before a wavelength inside the list, searched from where the last one was.
#[inline(always)]
fn find(wave: &[f64], at: f64, near: &mut Near) -> usize {
    let last = wave.len() - 1;
    let mut i = near.at.saturating_add_signed(near.step).min(last - 1);
    let is_here = |i: usize| wave[i] <= at && at < wave[i + 1];
    // Pixels and nodes are both nearly even, so that the next step is about as wide as the last.
    for _ in 0..NEARBY {
        if wave[i] > at {
            i = i.saturating_sub(1);
        } else if wave[i + 1] <= at {
            i = (i + 1).min(last - 1);
        } else {
            break;
        }
    }
    if !is_here(i) {
        i = wave
            .partition_point(|&w| w <= at)
            .saturating_sub(1)
            .min(last - 1);
    }
    *near = Near {
        at: i,
        step: i as isize - near.at as isize,
    };
    i
}

/// Where the last search ended, and how far that was from the one before it.
#[derive(Clone, Copy, Debug, Default)]
struct Near {
    at: usize,
    step: isize,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Its width is one sigma.
    Gaussian,
    /// Its width is half of that at half maximum.
    Lorentzian,
}

impl Shape {
    /// Half of the width in which it is drawn, in units of its width.
    fn reach(self) -> f64 {
        match self {
            Self::Gaussian => REACH,
            Self::Lorentzian => REACH_LORENTZIAN,
        }
    }

    /// Light of a line with a width of 1 up to a place `t`, and what `-t` times the light up to there integrates to; both
    /// but for a constant.
    #[inline(always)]
    fn integrals(self, normal: &NormalIntegral, t: f64) -> (f64, f64) {
        match self {
            Self::Gaussian => normal.with_density(t),
            Self::Lorentzian => {
                let t = t.clamp(-REACH_LORENTZIAN, REACH_LORENTZIAN);
                let whole = 2.0 * REACH_LORENTZIAN.atan();
                (t.atan() / whole, -0.5 * (t * t).ln_1p() / whole)
            }
        }
    }
}

/// Lines with fixed ratios, of one flux.
#[derive(Clone, Debug)]
pub struct Line {
    /// Wavelength at rest [Angstrom], part in the flux, width over wavelength.
    pub members: Vec<[f64; 3]>,
    /// Of each of them.
    pub shape: Shape,
}

impl Line {
    /// Gaussians, or Lorentzians.
    #[must_use]
    pub fn new(members: Vec<[f64; 3]>, is_lorentzian: bool) -> Self {
        let shape = if is_lorentzian {
            Shape::Lorentzian
        } else {
            Shape::Gaussian
        };
        Self { members, shape }
    }

    fn support(&self) -> [f64; 2] {
        let reach = self.shape.reach();
        let ends = |sign: f64| {
            self.members
                .iter()
                .map(move |[rest, _, width]| rest * (1.0 + sign * reach * width))
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
    /// Whether borders rise, or fall; not known where a trace is bent so that they do both.
    is_rising: Option<bool>,
}

impl Cells {
    /// As the fields are called.
    #[must_use]
    pub fn new(edges: Vec<f64>, sensitivity: Vec<[f64; 2]>, is_whole: bool) -> Self {
        let is_falling = || edges.is_sorted_by(|a, b| a >= b);
        let is_rising = if edges.is_sorted() {
            Some(true)
        } else {
            is_falling().then_some(false)
        };
        Self {
            edges,
            sensitivity,
            is_whole,
            is_rising,
        }
    }

    /// The least and the largest wavelength.
    #[must_use]
    pub fn range(&self) -> [f64; 2] {
        let low = self.edges.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.edges.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [low, high]
    }

    /// The cells that reach between two wavelengths, and perhaps others.
    fn between(&self, low: f64, high: f64) -> Range<usize> {
        let n = self.sensitivity.len();
        let [begin, end] = match self.is_rising {
            Some(true) => [low, high].map(|w| self.edges.partition_point(|&e| e <= w)),
            Some(false) => [high, low].map(|w| self.edges.partition_point(|&e| e >= w)),
            None => [0, n],
        };
        begin.saturating_sub(1).min(n)..end.min(n)
    }

    /// 1 where wavelengths rise from the begin of a cell to its end, -1 where they fall.
    fn sign(&self, i: usize) -> f64 {
        (self.edges[i + 1] - self.edges[i]).signum()
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

    /// Light of the templates `present` in each cell, cell after cell with `width` numbers for each, in a list of zeros.
    pub fn draw(&self, cells: &Cells, z: f64, present: &[usize], width: usize, out: &mut [f64]) {
        let (mut at, mut first) = (0, 0);
        for table in &self.tables {
            let has = present.get(at) == Some(&first);
            if has {
                run_widest(DrawTables {
                    table,
                    cells,
                    z,
                    at,
                    width,
                    out: &mut *out,
                });
                at += table.n;
            }
            first += table.n;
        }
        for (column, t) in present.iter().enumerate().skip(at) {
            draw_line(&self.lines[t - first], cells, z, column, width, out);
        }
    }
}

/// Light of the spectra of a table, from the number `at` of each cell.
struct DrawTables<'a> {
    table: &'a Tables,
    cells: &'a Cells,
    z: f64,
    at: usize,
    width: usize,
    out: &'a mut [f64],
}

impl Work for DrawTables<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if self.table.stride == 1 {
            self.draw::<1>();
        } else {
            self.draw::<FOUR>();
        }
    }
}

impl DrawTables<'_> {
    #[inline(always)]
    fn draw<const L: usize>(self) {
        let (table, cells) = (self.table, self.cells);
        let stretch = if table.is_fixed { 1.0 } else { 1.0 + self.z };
        let (n, shrink) = (table.n, 1.0 / stretch);
        let [first, last] = table.ends();
        let has_slope = !cells.is_whole;
        let [low, high] = table.reach().map(|w| w * stretch);
        let there = cells.between(low, high);
        let mut near = Near::default();
        let lanes = table.stride / L;
        let [mut old, mut new] = [vec![[0.0; L]; lanes], vec![[0.0; L]; lanes]];
        let [mut old_moment, mut new_moment] = [vec![[0.0; L]; lanes], vec![[0.0; L]; lanes]];
        let start = cells.edges[there.start] * shrink;
        table.integrals(
            start,
            &mut near,
            &mut old,
            has_slope.then_some(old_moment.as_mut_slice()),
        );
        for i in there {
            let [level, slope] = cells.sensitivity[i];
            let sign = cells.sign(i);
            let (a, b) = (cells.edges[i] * shrink, cells.edges[i + 1] * shrink);
            table.integrals(
                b,
                &mut near,
                &mut new,
                has_slope.then_some(new_moment.as_mut_slice()),
            );
            let is_in = !cells.is_whole || (a.min(b) >= first && a.max(b) <= last);
            if is_in {
                // S = level + slope (w - middle), in observed wavelengths.
                let middle = 0.5 * (cells.edges[i] + cells.edges[i + 1]);
                let (level, slope) = if has_slope {
                    (sign * (level - slope * middle), sign * slope * stretch)
                } else {
                    (sign * level, 0.0)
                };
                for ((new, old), (more, less)) in new
                    .iter()
                    .zip(&mut old)
                    .zip(new_moment.iter().zip(&old_moment))
                {
                    for k in 0..L {
                        old[k] = level * (new[k] - old[k]) + slope * (more[k] - less[k]);
                    }
                }
                self.out[i * self.width + self.at..][..n].copy_from_slice(&old.as_flattened()[..n]);
            }
            std::mem::swap(&mut old, &mut new);
            std::mem::swap(&mut old_moment, &mut new_moment);
        }
    }
}

fn draw_line(line: &Line, cells: &Cells, z: f64, at: usize, width: usize, out: &mut [f64]) {
    let reach = line.shape.reach();
    for [rest, part, width_of] in &line.members {
        let centre = rest * (1.0 + z);
        let scale = centre * width_of;
        let (from, to) = (centre - reach * scale, centre + reach * scale);
        let there = cells.between(from, to);
        if there.is_empty() {
            continue;
        }
        let normal = NormalIntegral::shared();
        let integrals = |wave: f64| line.shape.integrals(normal, (wave - centre) / scale);
        let mut old = integrals(cells.edges[there.start]);
        for i in there {
            let (a, b) = (cells.edges[i], cells.edges[i + 1]);
            let new = integrals(b);
            let [level, slope] = cells.sensitivity[i];
            // int G = d Phi, int (w - c) G = -sigma d phi; of a Lorentzian arctan and half the logarithm of 1 + t^2.
            let (flux, lever) = (new.0 - old.0, -scale * (new.1 - old.1));
            let sign = cells.sign(i);
            let (flux, lever) = (sign * flux, sign * lever);
            let arm = centre - 0.5 * (a + b);
            out[i * width + at] += part * ((level + slope * arm) * flux + slope * lever);
            old = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectra::SeriesLine;

    const CENTRE: f64 = 12_000.0;
    const WIDTH: f64 = 30.0;

    /// Cells with a sensitivity of 1 along borders.
    fn cells(edges: &[f64]) -> Cells {
        Cells::new(edges.to_vec(), vec![[1.0, 0.0]; edges.len() - 1], false)
    }

    fn drawn(bank: &Bank, cells: &Cells, z: f64) -> Vec<f64> {
        let mut out = vec![0.0; cells.sensitivity.len()];
        bank.draw(cells, z, &[0], 1, &mut out);
        out
    }

    #[test]
    fn the_edge_of_the_forest_is_a_step_between_two_points_of_a_template() {
        let igm = Igm::new(vec![SeriesLine {
            rest: 0.121_567,
            forest: [0.01; 3],
            damped: [0.0; 2],
        }]);
        let table = Tables::new(vec![1000.0, 1210.0, 1225.0, 1500.0], &[1.0; 4], false).unwrap();
        let bank = Bank::new(vec![table], vec![], Some(igm.clone()));
        let (z, n) = (3.0, 1000);
        let edges: Vec<f64> = (0..=40).map(|k| 4800.0 + 5.0 * f64::from(k)).collect();
        let absorbed = bank.absorbed(z, 4800.0, 5000.0).unwrap();
        let found = drawn(&absorbed, &cells(&edges), z);
        assert!(found[0] < 0.3 * found[39]);
        for (found, edge) in found.iter().zip(edges.windows(2)) {
            let step = (edge[1] - edge[0]) / f64::from(n);
            let at = |i: i32| edge[0] + step * (f64::from(i) + 0.5);
            let sum: f64 = (0..n).map(|i| igm.transmission(at(i) / ANGSTROM, z)).sum();
            // The edge cuts one of the steps.
            assert!((found - sum * step / (1.0 + z)).abs() < step / (1.0 + z));
        }
    }

    #[test]
    fn cells_of_a_bent_trace_have_the_light_of_their_wavelengths() {
        let table = Tables::new(vec![1000.0, 1180.0, 1300.0], &[1.0, 4.0, 2.0], false).unwrap();
        let line = Line::new(vec![[1220.0, 1.0, 1e-3]], false);
        let there: Vec<f64> = (0..=40).map(|k| 4700.0 + 10.0 * f64::from(k)).collect();
        let bent: Vec<f64> = there
            .iter()
            .chain(there.iter().rev().skip(1))
            .copied()
            .collect();
        for bank in [
            Bank::new(vec![table], vec![], None),
            Bank::new(vec![], vec![line], None),
        ] {
            let wanted = drawn(&bank, &cells(&there), 3.0);
            assert!(wanted.iter().sum::<f64>() > 0.5);
            let found = drawn(&bank, &cells(&bent), 3.0);
            for (i, wanted) in wanted.iter().enumerate() {
                for found in [found[i], found[79 - i]] {
                    assert!((found - wanted).abs() < 1e-12, "{i} {found} {wanted}");
                }
            }
        }
    }

    fn drawn_line(shape: Shape, edges: &[f64], sensitivity: impl Fn(f64) -> [f64; 2]) -> Vec<f64> {
        let middles = edges.windows(2).map(|e| 0.5 * (e[0] + e[1]));
        let cells = Cells::new(edges.to_vec(), middles.map(sensitivity).collect(), false);
        let line = Line {
            members: vec![[CENTRE / 1.5, 1.0, WIDTH / CENTRE]],
            shape,
        };
        let mut out = vec![0.0; cells.sensitivity.len()];
        draw_line(&line, &cells, 0.5, 0, 1, &mut out);
        out
    }

    fn lorentzian(wave: f64) -> f64 {
        let t = (wave - CENTRE) / WIDTH;
        if t.abs() > REACH_LORENTZIAN {
            return 0.0;
        }
        1.0 / (1.0 + t * t) / (2.0 * REACH_LORENTZIAN.atan() * WIDTH)
    }

    /// Middle sums of a thousand steps.
    fn summed(a: f64, b: f64, of: impl Fn(f64) -> f64) -> f64 {
        let step = (b - a) / 1000.0;
        (0..1000)
            .map(|i| of(a + (f64::from(i) + 0.5) * step) * step)
            .sum()
    }

    #[test]
    fn all_light_of_a_lorentzian_is_within_its_reach_whatever_the_cells() {
        for step in [3.0, 24.4, 171.0] {
            let edges: Vec<f64> = (0..=(8000.0 / step) as usize)
                .map(|i| 8000.0 + step * i as f64)
                .collect();
            let flux: f64 = drawn_line(Shape::Lorentzian, &edges, |_| [1.0, 0.0])
                .iter()
                .sum();
            assert!((flux - 1.0).abs() < 1e-12, "{step}: {flux}");
        }
    }

    #[test]
    fn cells_have_the_integral_of_a_lorentzian_and_the_sensitivity_in_either_direction() {
        let rising: Vec<f64> = (0..=90).map(|i| 10_500.0 + 33.3 * f64::from(i)).collect();
        let falling: Vec<f64> = rising.iter().rev().copied().collect();
        let [level, slope] = [2.0, 3e-4];
        for edges in [rising, falling] {
            let out = drawn_line(Shape::Lorentzian, &edges, |middle| {
                [level + slope * (middle - CENTRE), slope]
            });
            for (e, found) in edges.windows(2).zip(out) {
                let (a, b) = (e[0].min(e[1]), e[0].max(e[1]));
                let of = |w: f64| (level + slope * (w - CENTRE)) * lorentzian(w);
                let wanted = summed(a, b, of);
                // A cell with an end of the line in it is summed to a thousandth of that.
                assert!((found - wanted).abs() < 2e-6, "{a}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn a_gaussian_and_a_lorentzian_of_the_same_width_have_half_of_their_height_at_the_same_place() {
        let sigma = WIDTH / (2.0 * 2.0_f64.ln()).sqrt();
        let line = |shape, width: f64| {
            let line = Line::new(
                vec![[CENTRE, 1.0, width / CENTRE]],
                shape == Shape::Lorentzian,
            );
            let edges: Vec<f64> = vec![
                CENTRE - 0.01,
                CENTRE + 0.01,
                CENTRE + WIDTH - 0.01,
                CENTRE + WIDTH + 0.01,
            ];
            let mut out = vec![0.0; 3];
            draw_line(&line, &cells(&edges), 0.0, 0, 1, &mut out);
            out[2] / out[0]
        };
        assert!((line(Shape::Gaussian, sigma) - 0.5).abs() < 1e-6);
        assert!((line(Shape::Lorentzian, WIDTH) - 0.5).abs() < 1e-6);
    }
}
