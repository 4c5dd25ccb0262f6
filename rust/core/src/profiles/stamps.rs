//! Single sources fitted on many stamps, in parallel.

use rayon::prelude::*;

use super::ProfileError;
use super::convolved::Convolver;
use super::fit::{Bounds, Component, Fit, Likelihood, N_SHAPE, N_SKY, Pixels, Sky, fit_group};
use super::start::{Start, starts};
use crate::image::Plane;
use crate::math::levmar::Stop;

/// What may be given of a start: the parameters of the source and the level of the sky.
pub const N_GIVEN: usize = N_SHAPE + 1;

/// What single fits may do.
#[derive(Clone, Copy, Debug)]
pub struct StampParams {
    /// How far the centre may move from the start along each axis [pix].
    pub reach: f64,
    /// Bounds of flux, size, index, axis ratio and angle.
    pub shape: [Bounds; N_SHAPE - 2],
    /// Bounds of the sky.
    pub sky: [Bounds; N_SKY],
    /// Most starts of a source.
    pub n_starts: usize,
    /// When the steps end.
    pub stop: Stop,
}

/// Standard deviations of chi-square above what noise makes it, from which on a fit is suspect.
const SUSPECT: f64 = 4.0;

/// Pixels of many stamps of one shape, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Stamps<'a> {
    /// The data.
    pub data: &'a [f32],
    /// Their variances.
    pub variance: &'a [f32],
    /// Which of them not to use.
    pub mask: Option<&'a [bool]>,
    /// What their noise follows.
    pub likelihood: Likelihood,
}

impl Stamps<'_> {
    fn pixels(&self, i: usize, shape: (usize, usize)) -> Result<Pixels, ProfileError> {
        let n = shape.0 * shape.1;
        let own = i * n..(i + 1) * n;
        let mask = self
            .mask
            .map(|m| Plane::new("mask", &m[own.clone()], shape));
        Pixels::new(
            Plane::new("data", &self.data[own.clone()], shape)?,
            Plane::new("variance", &self.variance[own], shape)?,
            mask.transpose()?,
            self.likelihood,
        )
    }
}

/// Fit a source to every stamp. Where it begins, parameters that are NaN come from the moments of the light.
/// More starts follow where a fit is suspect: it did not converge, ended on a bound, or left too much.
///
/// # Errors
/// When lengths differ; a stamp that cannot be fitted has an error of its own.
pub fn fit_stamps(
    convolver: &Convolver,
    stamps: &Stamps<'_>,
    given: &[[f64; N_GIVEN]],
    params: &StampParams,
) -> Result<Vec<Result<Fit, ProfileError>>, ProfileError> {
    let shape = convolver.shape();
    let n = given.len() * shape.0 * shape.1;
    let lengths = [
        stamps.data.len(),
        stamps.variance.len(),
        stamps.mask.map_or(n, <[bool]>::len),
    ];
    if let Some(&length) = lengths.iter().find(|&&length| length != n) {
        return Err(ProfileError::Length(length, n));
    }
    let fit = |(i, given): (usize, &[f64; N_GIVEN])| {
        fit_stamp(convolver, &stamps.pixels(i, shape)?, given, params)
    };
    Ok(given.par_iter().enumerate().map(fit).collect())
}

/// Fit a source to a stamp; see [`fit_stamps`].
pub(super) fn fit_stamp(
    convolver: &Convolver,
    pixels: &Pixels,
    given: &[f64; N_GIVEN],
    params: &StampParams,
) -> Result<Fit, ProfileError> {
    let centre = (given[0].is_finite() && given[1].is_finite()).then_some((given[0], given[1]));
    let is_given = given.iter().all(|value| value.is_finite());
    let n_starts = if is_given { 1 } else { params.n_starts.max(1) };
    let mut failure = ProfileError::NoStart;
    let mut best: Option<Fit> = None;
    for start in starts(convolver, pixels, centre)?.iter().take(n_starts) {
        let (component, sky) = begin(start, given, params);
        let fit = match fit_group(convolver, pixels, &[component], &sky, params.stop) {
            Ok(fit) => fit,
            Err(error) if best.is_none() => {
                failure = error;
                continue;
            }
            Err(_) => continue,
        };
        if best.as_ref().is_none_or(|best| fit.chi2 < best.chi2) {
            best = Some(fit);
        }
        if best.as_ref().is_some_and(|best| !is_suspect(best)) {
            break;
        }
    }
    best.ok_or(failure)
}

fn is_suspect(fit: &Fit) -> bool {
    let dof = fit.n_pixels.saturating_sub(fit.n_free) as f64;
    let is_held = fit.on_bound[2..N_SHAPE].iter().any(|&on| on);
    !fit.has_converged || is_held || fit.chi2 > dof + SUSPECT * (2.0 * dof).sqrt()
}

/// A start with what is given in its place, within the bounds.
fn begin(found: &Start, given: &[f64; N_GIVEN], params: &StampParams) -> (Component, Sky) {
    let pick = |k: usize, otherwise: f64| {
        if given[k].is_finite() {
            given[k]
        } else {
            otherwise
        }
    };
    let mut start = found.source;
    start.x = pick(0, start.x);
    start.y = pick(1, start.y);
    let around = |centre: f64| (centre - params.reach, centre + params.reach);
    let [flux, r_e, n, q, theta] = params.shape;
    let component = Component {
        bounds: [around(start.x), around(start.y), flux, r_e, n, q, theta],
        start: super::Sersic {
            flux: pick(2, start.flux).clamp(flux.0, flux.1),
            r_e: pick(3, start.r_e).clamp(r_e.0, r_e.1),
            n: pick(4, start.n).clamp(n.0, n.1),
            q: pick(5, start.q).clamp(q.0, q.1),
            theta: pick(6, start.theta),
            ..start
        },
    };
    let sky = Sky {
        start: [pick(N_SHAPE, found.sky), 0.0, 0.0],
        bounds: params.sky,
    };
    (component, sky)
}
