//! Templates and backgrounds fitted to all beams of a source, at one redshift or many.

use rayon::prelude::*;

use super::GrismError;
use super::bank::{Bank, Cells};
use super::columns::N_PARTS;
use super::compress::{Rows, Triangle};
use super::lanes::{LANES, Loss, Runs, padded};
use super::pixels::{FitBeam, spread};
use super::solution::Trial;
use super::trial::trial;
use crate::interrupt;
use crate::math::widest::{Work, run_widest};

/// How templates are fitted.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Least and largest factor of each template.
    pub lower: Vec<f64>,
    /// The largest.
    pub upper: Vec<f64>,
    /// Least and largest background of each beam; none is fitted when there are none.
    pub background: Option<[Vec<f64>; 2]>,
    /// Residuals beyond this count linearly; 0 or less: none does.
    pub huber: f64,
    /// Whether covariances are wanted.
    pub has_covariance: bool,
}

/// Measurements beside the beams, as photometry, in units of their errors.
#[derive(Clone, Debug)]
pub struct Extra {
    /// The measurements.
    pub data: Vec<f64>,
    /// Each template in each measurement, for each redshift.
    pub design: Vec<f64>,
}

/// Measurements beside the beams at one redshift.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub data: &'a [f64],
    /// Templates of each measurement, all of them.
    pub design: &'a [f64],
}

impl Extra {
    fn at(&self, i: usize, n_templates: usize) -> Beside<'_> {
        let size = self.data.len() * n_templates;
        Beside {
            data: &self.data,
            design: &self.design[i * size..(i + 1) * size],
        }
    }
}

/// Beams whose columns have the same wavelengths.
#[derive(Clone, Debug)]
pub(super) struct Group {
    cells: Cells,
    /// The first cell that is drawn.
    first_cell: usize,
    is_spread: bool,
    /// The first column, and how many.
    origin: i64,
    pub n: usize,
    pub triangle: Triangle,
    pub noise: Option<Triangle>,
    /// Pixels of each beam.
    runs: Vec<Runs>,
    /// Numbers of the beams.
    pub beams: Vec<usize>,
    /// Sums of weights, of weights times data, and of squared weights times variance of each beam.
    pub sums: Vec<[f64; 3]>,
}

/// All beams of a source, compressed.
#[derive(Clone, Debug)]
pub struct Fit {
    pub(super) groups: Vec<Group>,
    n_beams: usize,
    pub(super) range: [f64; 2],
}

impl Group {
    fn new(beams: &[(usize, FitBeam)]) -> Self {
        let reach: Vec<[i64; 2]> = beams.iter().map(|(_, b)| b.reach()).collect();
        let origin = reach.iter().map(|r| r[0]).min().unwrap_or(0);
        let end = reach.iter().map(|r| r[1]).max().unwrap_or(0);
        let n = (end - origin) as usize;
        let one = &beams[0].1;
        let all = one.cells.sensitivity.len() as i64;
        // A cell of a spline reaches four columns; the first one of column k is N_PARTS (k - 3) - 2 or later.
        let parts = N_PARTS as i64;
        let (low, high) = if one.is_spread {
            (parts * (origin - 3) - parts, parts * (end + 1))
        } else {
            (origin, end)
        };
        let (low, high) = (low.clamp(0, all - 1), high.clamp(1, all));
        let (low, high) = (low as usize, high.max(low + 1) as usize);
        let cells = Cells::new(
            one.cells.edges[low..=high].to_vec(),
            one.cells.sensitivity[low..high].to_vec(),
            one.cells.is_whole,
        );
        let rows: Vec<Rows> = beams
            .iter()
            .enumerate()
            .map(|(b, (_, beam))| Rows {
                background: vec![b; beam.rows.first.len()],
                ..beam.rows.clone()
            })
            .collect();
        let roots: Vec<&[f64]> = rows.iter().map(|r| r.root.as_slice()).collect();
        let triangle = Triangle::new(&rows, &roots, origin, n, rows.len());
        let has_noise = beams.iter().any(|(_, b)| b.noise.is_some());
        let noise = has_noise.then(|| {
            let roots: Vec<&[f64]> = beams
                .iter()
                .map(|(_, b)| b.noise.as_deref().unwrap_or(&b.rows.root))
                .collect();
            Triangle::new(&rows, &roots, origin, n, rows.len())
        });
        let sums = beams
            .iter()
            .map(|(_, b)| {
                let weighted = b.rows.root.iter().zip(&b.rows.data);
                let noise = b.noise.as_deref().unwrap_or(&b.rows.root);
                [
                    b.rows.root.iter().map(|r| r * r).sum(),
                    weighted.map(|(r, d)| r * r * d).sum(),
                    noise.iter().map(|r| r * r).sum(),
                ]
            })
            .collect();
        let runs = rows
            .iter()
            .map(|r| {
                let first = r.first.iter().map(|f| (f - origin) as usize);
                Runs::new(first, r.width, &r.values, &r.data, &r.root)
            })
            .collect();
        Self {
            cells,
            first_cell: low,
            is_spread: one.is_spread,
            origin,
            n,
            triangle,
            noise,
            runs,
            beams: beams.iter().map(|(i, _)| *i).collect(),
            sums,
        }
    }

    /// Light of templates in the columns, column after column with a whole number of lanes for each.
    pub fn light(&self, bank: &Bank, z: f64, present: &[usize]) -> Vec<f64> {
        let width = padded(present.len());
        let n_cells = self.cells.sensitivity.len();
        let mut light = vec![0.0; self.n * width];
        if self.is_spread {
            let mut parts = vec![0.0; n_cells * width];
            bank.draw(&self.cells, z, present, width, &mut parts);
            run_widest(Spread {
                parts: &parts,
                width,
                first_cell: self.first_cell,
                origin: self.origin,
                light: &mut light,
            });
        } else {
            // The first cell is that of the first column, or of a later one; none where all pixels are beyond the columns.
            let lead = self.first_cell as i64 - self.origin;
            if (0..self.n as i64).contains(&lead) {
                let from = &mut light[lead as usize * width..];
                bank.draw(&self.cells, z, present, width, from);
            }
        }
        light
    }

    /// Sum of the loss of residuals of columns with some light.
    pub fn loss(&self, mut light: Vec<f64>, backgrounds: &[f64], huber: f64) -> f64 {
        light.resize(self.n + LANES, 0.0);
        self.runs
            .iter()
            .zip(&self.beams)
            .map(|(runs, &beam)| {
                run_widest(Loss {
                    runs,
                    light: &light,
                    background: backgrounds[beam],
                    huber,
                })
            })
            .sum()
    }
}

/// Light of parts of pixels along the splines of their columns.
struct Spread<'a> {
    parts: &'a [f64],
    width: usize,
    first_cell: usize,
    origin: i64,
    light: &'a mut [f64],
}

impl Work for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let blocks = self.width / LANES;
        let (parts, _) = self.parts.as_chunks::<LANES>();
        let (light, _) = self.light.as_chunks_mut::<LANES>();
        let n = (light.len() / blocks.max(1)) as i64;
        for (i, part) in parts.chunks_exact(blocks.max(1)).enumerate() {
            let (first, weights) = spread(self.first_cell + i);
            for (tap, weight) in weights.iter().enumerate() {
                let to = (first + tap) as i64 - self.origin;
                if to >= 0 && to < n {
                    let row = &mut light[to as usize * blocks..][..blocks];
                    for (l, p) in row.iter_mut().zip(part) {
                        for k in 0..LANES {
                            l[k] += weight * p[k];
                        }
                    }
                }
            }
        }
    }
}

impl Fit {
    /// Compress beams; those with the same columns are added.
    ///
    /// # Errors
    /// When no pixel is fitted.
    pub fn new(beams: Vec<FitBeam>) -> Result<Self, GrismError> {
        let n_beams = beams.len();
        let mut sorted: Vec<Vec<(usize, FitBeam)>> = Vec::new();
        for (i, beam) in beams.into_iter().enumerate() {
            if beam.rows.first.is_empty() || beam.n == 0 {
                continue;
            }
            let same = sorted.iter_mut().find(|group| {
                let other = &group[0].1;
                other.edges == beam.edges
                    && other.is_spread == beam.is_spread
                    && other.rows.width == beam.rows.width
                    && other.cells.sensitivity == beam.cells.sensitivity
            });
            match same {
                Some(group) => group.push((i, beam)),
                None => sorted.push(vec![(i, beam)]),
            }
        }
        let groups: Vec<Group> = sorted.par_iter().map(|beams| Group::new(beams)).collect();
        if groups.is_empty() {
            return Err(GrismError::Length {
                name: "beams",
                found: 0,
                wanted: "one pixel that is fitted, or more",
            });
        }
        let ends: Vec<[f64; 2]> = groups.iter().map(|g| g.cells.range()).collect();
        let low = ends.iter().map(|e| e[0]).fold(f64::INFINITY, f64::min);
        let high = ends.iter().map(|e| e[1]).fold(0.0, f64::max);
        Ok(Self {
            groups,
            n_beams,
            range: [low, high],
        })
    }

    /// Number of beams.
    #[must_use]
    pub fn n_beams(&self) -> usize {
        self.n_beams
    }

    /// Number of lists of columns that differ.
    #[must_use]
    pub fn n_groups(&self) -> usize {
        self.groups.len()
    }

    /// # Errors
    /// When lists do not fit together.
    fn check(
        &self,
        bank: &Bank,
        n_redshifts: usize,
        options: &FitOptions,
        extra: Option<&Extra>,
    ) -> Result<(), GrismError> {
        let wrong = |name, found| GrismError::Length {
            name,
            found,
            wanted: "one for each template, beam or measurement",
        };
        for list in [&options.lower, &options.upper] {
            if list.len() != bank.len() {
                return Err(wrong("bounds", list.len()));
            }
        }
        if let Some(bounds) = &options.background
            && bounds.iter().any(|b| b.len() != self.n_beams)
        {
            return Err(wrong("background", bounds[0].len()));
        }
        if let Some(extra) = extra
            && extra.design.len() != n_redshifts * extra.data.len() * bank.len()
        {
            return Err(wrong("photometry", extra.design.len()));
        }
        Ok(())
    }

    /// Fit at each redshift.
    ///
    /// # Errors
    /// When lists do not fit together.
    pub fn scan(
        &self,
        bank: &Bank,
        redshifts: &[f64],
        options: &FitOptions,
        extra: Option<&Extra>,
    ) -> Result<Vec<Trial>, GrismError> {
        self.check(bank, redshifts.len(), options, extra)?;
        Ok(redshifts
            .par_iter()
            .enumerate()
            .map(|(i, &z)| {
                interrupt::poll();
                trial(self, bank, z, options, extra.map(|e| e.at(i, bank.len())))
            })
            .collect())
    }
}
