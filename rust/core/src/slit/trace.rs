//! Width of a profile and offset of its trace: objective, derivatives and fit.
//!
//! In every column the amplitude is the linear one that fits best, so the parameters are the size of the source and the
//! coefficients of a polynomial that is added to the trace.

use ndarray::Array2;

use super::SlitError;
use super::columns::{Scratch, TraceData};
use super::lanes::{LANES, Lane};
use super::losses::{Losses, losses_of};
use super::secant::Secant;
use crate::math::levmar::{self, Minimum, Normal, Problem, Stop};
use crate::math::widest::{Work, run_widest};

/// Step of the blocks of columns in which starts are compared.
const COARSE: usize = 5;

/// What is known about the parameters before the fit, and how far they may go.
#[derive(Clone, Copy, Debug)]
pub struct Priors {
    /// Mean and width of the size.
    pub size: (f64, f64),
    /// Mean and width of every coefficient of the trace.
    pub centre: (f64, f64),
    /// Height of the logistic walls of the size; 0 = none.
    pub wall: f64,
    /// Places of the lower and the upper wall.
    pub wall_at: (f64, f64),
    /// Their steepness.
    pub wall_steepness: (f64, f64),
    /// Bounds of the size.
    pub size_bounds: (f64, f64),
    /// Bounds of every coefficient.
    pub centre_bounds: (f64, f64),
}

/// How a trace is fitted.
#[derive(Clone, Copy, Debug)]
pub struct TraceParams {
    /// Degree of the polynomial.
    pub degree: usize,
    /// Whether the size is fitted.
    pub fits_size: bool,
    /// Only the positive part of the profile counts.
    pub positive_only: bool,
    /// Residual from which on the loss grows linearly.
    pub huber: f64,
    /// Priors and bounds.
    pub priors: Priors,
    /// When to stop; no evaluation = the objective at the start.
    pub stop: Stop,
}

/// A fitted trace.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Size, then the coefficients, highest power first.
    pub theta: Vec<f64>,
    /// Covariance of `theta`; NaN when the data do not tell it.
    pub covariance: Vec<f64>,
    /// Objective at the first start.
    pub chi2_start: f64,
    /// Objective at the end.
    pub chi2: f64,
    /// Whether the objective had converged.
    pub has_converged: bool,
    /// How often the objective was evaluated.
    pub n_evaluations: usize,
    /// Numerator, its variance, and denominator of the amplitude of every column.
    pub columns: [Vec<f64>; 3],
    /// Mean profile of the difference, NaN where no pixel was fitted; without meaning for frames.
    pub profile: Array2<f64>,
    /// Number of pixels.
    pub n_pixels: usize,
}

struct Objective<'a, 'b> {
    /// Blocks of columns are taken in steps of this.
    step: usize,
    data: &'a TraceData<'b>,
    params: &'a TraceParams,
    scratch: Scratch,
    secant: Secant,
}

/// The sums over all columns.
struct AllColumns<'o, 'a, 'b> {
    objective: &'o mut Objective<'a, 'b>,
    at: &'o [f64],
}

impl Work for AllColumns<'_, '_, '_> {
    type Output = Option<Normal>;

    #[inline(always)]
    fn run(self) -> Option<Normal> {
        let (objective, at) = (self.objective, self.at);
        let (data, params) = (objective.data, objective.params);
        let n = at.len();
        let mut normal = Normal {
            cost: 0.0,
            descent: vec![0.0; n],
            curvature: vec![0.0; n * n],
        };
        let mut has_column = false;
        for block in (0..data.n_blocks()).step_by(objective.step) {
            let (places, offset) = offsets(data.shape.1, block, &at[1..]);
            let scratch = &mut objective.scratch;
            data.fill_profiles(block, &offset, at[0], params.positive_only, scratch);
            let losses = losses_of(data.rows(block), scratch, params.huber);
            has_column |= losses.is_fitted.contains(&true);
            add_losses(&losses, &places, &mut normal);
        }
        has_column.then_some(normal)
    }
}

/// Places of a block's columns, and the polynomial there.
#[inline(always)]
fn offsets(nx: usize, block: usize, coefficients: &[f64]) -> (Lane, Lane) {
    let (mut places, mut offset) = ([0.0; LANES], [0.0; LANES]);
    let n = nx as f64;
    for (l, place) in places.iter_mut().enumerate() {
        *place = ((block * LANES + l) as f64 - n / 2.0) / n;
    }
    for c in coefficients {
        for l in 0..LANES {
            offset[l] = offset[l] * places[l] + c;
        }
    }
    (places, offset)
}

#[inline(always)]
fn moment(values: &Lane, powers: &Lane) -> f64 {
    let mut sum = 0.0;
    for l in 0..LANES {
        sum += values[l] * powers[l];
    }
    sum
}

/// Sums over columns by size and coefficients: with these the distance falls by the powers of the place.
#[inline(always)]
fn add_losses(losses: &Losses, places: &Lane, normal: &mut Normal) {
    let n = normal.descent.len();
    normal.cost += 2.0 * losses.cost.iter().sum::<f64>();
    normal.descent[0] += losses.slope[1].iter().sum::<f64>();
    normal.curvature[0] += losses.curvature[2].iter().sum::<f64>();
    // The moments of order i + j are those of the coefficients i and j, counted from the last.
    let mut powers = [1.0; LANES];
    for order in 0..2 * n - 3 {
        let bend = moment(&losses.curvature[0], &powers);
        for i in order.saturating_sub(n - 2)..=order.min(n - 2) {
            normal.curvature[(n - 1 - i) * n + n - 1 - (order - i)] += bend;
        }
        if order < n - 1 {
            let k = n - 1 - order;
            let mixed = moment(&losses.curvature[1], &powers);
            normal.descent[k] -= moment(&losses.slope[0], &powers);
            normal.curvature[k] -= mixed;
            normal.curvature[k * n] -= mixed;
        }
        for l in 0..LANES {
            powers[l] *= places[l];
        }
    }
}

impl Objective<'_, '_> {
    fn add_priors(&self, at: &[f64], normal: &mut Normal) {
        let n = at.len();
        let priors = &self.params.priors;
        let mut add = |k: usize, cost: f64, slope: f64, curvature: f64| {
            normal.cost += 2.0 * cost;
            normal.descent[k] -= slope;
            normal.curvature[k * n + k] += curvature.max(0.0);
        };
        for (k, &value) in at.iter().enumerate() {
            let (mean, width) = if k == 0 { priors.size } else { priors.centre };
            if width.is_finite() {
                let away = (value - mean) / width;
                add(k, 0.5 * away * away, away / width, 1.0 / (width * width));
            }
        }
        if priors.wall > 0.0 {
            let mut wall = |at_wall: f64, steepness: f64| {
                let part = 1.0 / (1.0 + (-steepness * (at[0] - at_wall)).exp());
                let slope = priors.wall * steepness * part * (1.0 - part);
                let bend = slope * steepness * (1.0 - 2.0 * part);
                add(0, priors.wall * part, slope, bend);
            };
            wall(priors.wall_at.1, priors.wall_steepness.1);
            wall(priors.wall_at.0, -priors.wall_steepness.0);
        }
    }

    fn bounds(&self, k: usize) -> (f64, f64) {
        match k {
            0 => self.params.priors.size_bounds,
            _ => self.params.priors.centre_bounds,
        }
    }
}

impl Problem for Objective<'_, '_> {
    fn evaluate(&mut self, at: &[f64]) -> Option<Normal> {
        let mut normal = run_widest(AllColumns {
            objective: self,
            at,
        })?;
        self.add_priors(at, &mut normal);
        if !normal.cost.is_finite() {
            return None;
        }
        let first = usize::from(!self.params.fits_size);
        Some(self.secant.corrected(at, normal, first))
    }

    fn clamp(&self, at: &mut [f64]) {
        for (k, value) in at.iter_mut().enumerate() {
            if k > 0 || self.params.fits_size {
                let (low, high) = self.bounds(k);
                *value = value.clamp(low, high);
            }
        }
    }

    fn held(&self, at: &[f64], normal: &Normal) -> Vec<Vec<f64>> {
        let is_held = |k: usize| {
            let (low, high) = self.bounds(k);
            (k == 0 && !self.params.fits_size)
                || (at[k] <= low && normal.descent[k] < 0.0)
                || (at[k] >= high && normal.descent[k] > 0.0)
        };
        let unit = |k: usize| (0..at.len()).map(|j| f64::from(u8::from(j == k))).collect();
        (0..at.len()).filter(|&k| is_held(k)).map(unit).collect()
    }
}

/// Fit a trace from the best of several starts.
///
/// # Errors
/// When a start has the wrong length, or no column has a profile there.
pub fn fit_trace(
    data: &TraceData,
    starts: &[Vec<f64>],
    params: &TraceParams,
) -> Result<Fitted, SlitError> {
    let mut objective = Objective {
        step: 1,
        data,
        params,
        scratch: Scratch::default(),
        secant: Secant::default(),
    };
    for start in starts {
        super::check_shape("start", &[start.len()], &[params.degree + 2])?;
    }
    let Some(first) = starts.first() else {
        return Err(SlitError::NoPixel("start"));
    };
    let at_first = objective
        .evaluate(first)
        .ok_or(SlitError::NoPixel("start"))?;
    let mut n_evaluations = 1;
    let chi2_start = 0.5 * at_first.cost;
    let found = if params.stop.max_evaluations == 0 {
        Minimum {
            held: objective.held(first, &at_first),
            at: first.clone(),
            normal: at_first,
            has_converged: false,
            n_evaluations: 0,
        }
    } else {
        // Which start is best shows in a part of the columns.
        objective.step = COARSE;
        let mut best = (f64::INFINITY, first.clone());
        for start in starts {
            let mut at = start.clone();
            objective.clamp(&mut at);
            let cost = objective.evaluate(&at).map_or(f64::INFINITY, |n| n.cost);
            if cost < best.0 {
                best = (cost, at);
            }
        }
        objective.step = 1;
        objective.secant = Secant::default();
        let mut minimum = levmar::minimise(&best.1, params.stop, &mut objective)
            .ok_or(SlitError::NoPixel("start"))?;
        n_evaluations += minimum.n_evaluations;
        // Errors are those of the products of derivatives alone.
        if let Some((_, plain)) = objective.secant.last.take() {
            minimum.normal = plain;
        }
        minimum
    };
    let n = found.at.len();
    let covariance = found.covariance().unwrap_or_else(|| vec![f64::NAN; n * n]);
    let (columns, profile) = measure(&mut objective, &found.at);
    Ok(Fitted {
        covariance,
        chi2_start,
        chi2: 0.5 * found.normal.cost,
        has_converged: found.has_converged,
        n_evaluations,
        columns,
        profile,
        n_pixels: data.n_pixels,
        theta: found.at,
    })
}

/// Sums of the amplitude of every column, and the profile of every pixel.
fn measure(objective: &mut Objective, at: &[f64]) -> ([Vec<f64>; 3], Array2<f64>) {
    let (ny, nx) = objective.data.shape;
    let mut columns = [vec![0.0; nx], vec![0.0; nx], vec![0.0; nx]];
    let mut profile = Array2::from_elem((ny, nx), f64::NAN);
    let data = objective.data;
    for block in 0..data.n_blocks() {
        let (_, offset) = offsets(nx, block, &at[1..]);
        let positive_only = objective.params.positive_only;
        data.fill_profiles(block, &offset, at[0], positive_only, &mut objective.scratch);
        for (row, value) in data.rows(block).iter().zip(&objective.scratch.values) {
            for l in (0..LANES).filter(|&l| row.weight[l] > 0.0) {
                let (x, p, w) = (block * LANES + l, value.p[l], row.weight[l]);
                columns[0][x] += row.value[l] * p * w;
                columns[1][x] += row.variance[l] * p * p * w * w;
                columns[2][x] += p * p * w;
                profile[(row.y, x)] = p;
            }
        }
    }
    (columns, profile)
}
