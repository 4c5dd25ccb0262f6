//! Width of a profile and offset of its trace: objective, derivatives and fit.
//!
//! In every column the amplitude is the linear one that fits best, so the parameters are the size of the source and the
//! coefficients of a polynomial that is added to the trace.

use ndarray::Array2;

use super::SlitError;
use super::columns::TraceData;
use super::profile::Value;
use super::secant::Secant;
use crate::math::levmar::{self, Minimum, Normal, Problem, Stop};

/// Mean square of a profile without light.
const NOTHING: f64 = 1e-24;
/// Step of the columns in which starts are compared.
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
    /// Columns are taken in steps of this.
    step: usize,
    data: &'a TraceData<'b>,
    params: &'a TraceParams,
    values: Vec<Value>,
    secant: Secant,
}

/// Sums over a column: cost, half its slopes and curvature by offset of the trace and size.
#[derive(Default)]
struct ColumnSums {
    cost: f64,
    slope: [f64; 2],
    curvature: [f64; 3],
}

impl Objective<'_, '_> {
    fn column(&mut self, x: usize, offset: f64, size: f64) -> Option<ColumnSums> {
        let data = self.data;
        data.column(x, offset, size, self.params.positive_only, &mut self.values);
        let pixels = &data.pixels[data.starts[x]..data.starts[x + 1]];
        let (mut dp, mut pp, mut all) = (0.0, 0.0, 0.0);
        let mut slopes = [0.0; 4];
        for (pixel, value) in pixels.iter().zip(&self.values) {
            let w = pixel.weight;
            all += w;
            dp += w * pixel.value * value.p;
            pp += w * value.p * value.p;
            slopes[0] += w * pixel.value * value.by_y;
            slopes[1] += w * value.p * value.by_y;
            slopes[2] += w * pixel.value * value.by_size;
            slopes[3] += w * value.p * value.by_size;
        }
        // Of a profile that the sky's levels take away nothing but rounding is left.
        if pp <= NOTHING * all {
            return None;
        }
        let a = dp / pp;
        let a_y = (slopes[0] - 2.0 * a * slopes[1]) / pp;
        let a_size = (slopes[2] - 2.0 * a * slopes[3]) / pp;
        let delta = self.params.huber;
        let mut sums = ColumnSums::default();
        for (pixel, value) in pixels.iter().zip(&self.values) {
            let residual = (pixel.value - a * value.p) * pixel.inverse_error;
            let by_y = (a * value.by_y + a_y * value.p) * pixel.inverse_error;
            let by_size = (a * value.by_size + a_size * value.p) * pixel.inverse_error;
            let size = residual.abs();
            // Half the square near 0, a line beyond delta; weights give the curvature of the parabola above it.
            let weight = if size <= delta {
                sums.cost += 0.5 * residual * residual;
                1.0
            } else {
                sums.cost += delta * (size - 0.5 * delta);
                delta / size
            };
            sums.slope[0] += weight * residual * by_y;
            sums.slope[1] += weight * residual * by_size;
            sums.curvature[0] += weight * by_y * by_y;
            sums.curvature[1] += weight * by_y * by_size;
            sums.curvature[2] += weight * by_size * by_size;
        }
        Some(sums)
    }

    fn place(&self, x: usize) -> f64 {
        let nx = self.data.shape.1 as f64;
        (x as f64 - nx / 2.0) / nx
    }

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
        let n = at.len();
        let mut normal = Normal {
            cost: 0.0,
            descent: vec![0.0; n],
            curvature: vec![0.0; n * n],
        };
        let mut by_theta = vec![0.0; n - 1];
        let mut has_column = false;
        for x in (0..self.data.shape.1).step_by(self.step) {
            let place = self.place(x);
            let offset = at[1..].iter().fold(0.0, |sum, c| sum * place + c);
            let Some(sums) = self.column(x, offset, at[0]) else {
                continue;
            };
            has_column = true;
            // The distance falls by the powers of the place when the coefficients grow.
            let mut power = 1.0;
            for slope in by_theta.iter_mut().rev() {
                *slope = -power;
                power *= place;
            }
            normal.cost += 2.0 * sums.cost;
            normal.descent[0] += sums.slope[1];
            normal.curvature[0] += sums.curvature[2];
            for (i, slope) in by_theta.iter().enumerate() {
                normal.descent[i + 1] += slope * sums.slope[0];
                normal.curvature[i + 1] += slope * sums.curvature[1];
                normal.curvature[(i + 1) * n] += slope * sums.curvature[1];
                for (j, other) in by_theta.iter().enumerate() {
                    normal.curvature[(i + 1) * n + j + 1] += slope * other * sums.curvature[0];
                }
            }
        }
        self.add_priors(at, &mut normal);
        if !(has_column && normal.cost.is_finite()) {
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
        values: Vec::new(),
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
        n_pixels: data.pixels.len(),
        theta: found.at,
    })
}

/// Sums of the amplitude of every column, and the profile of every pixel.
fn measure(objective: &mut Objective, at: &[f64]) -> ([Vec<f64>; 3], Array2<f64>) {
    let (ny, nx) = objective.data.shape;
    let mut columns = [vec![0.0; nx], vec![0.0; nx], vec![0.0; nx]];
    let mut profile = Array2::from_elem((ny, nx), f64::NAN);
    for x in 0..nx {
        let place = objective.place(x);
        let offset = at[1..].iter().fold(0.0, |sum, c| sum * place + c);
        let data = objective.data;
        data.column(
            x,
            offset,
            at[0],
            objective.params.positive_only,
            &mut objective.values,
        );
        let pixels = &data.pixels[data.starts[x]..data.starts[x + 1]];
        for (pixel, value) in pixels.iter().zip(&objective.values) {
            let p = value.p;
            columns[0][x] += pixel.value * p * pixel.weight;
            columns[1][x] += pixel.variance * p * p * pixel.weight * pixel.weight;
            columns[2][x] += p * p * pixel.weight;
            profile[(pixel.row, x)] = p;
        }
    }
    (columns, profile)
}
