//! What is asked of a source, and where its fit begins.

use super::ProfileError;
use super::convolved::Convolver;
use super::fit::{Bounds, Component, Fit, N_SHAPE, N_SKY, Sky, fit_group};
use super::pixels::Pixels;
use super::profile::{Family, Profile};
use super::start::{Start, starts};
use crate::math::levmar::Stop;

/// A component that is to be fitted.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its formula.
    pub family: Family,
    /// Whether it has no size.
    pub is_point: bool,
    /// Where it begins; NaN is found from the light.
    pub given: [f64; N_SHAPE],
    /// What is allowed; bounds of the centre that are NaN are as far from the start as the centre may move.
    pub bounds: [Bounds; N_SHAPE],
    /// Place of an earlier component of the source whose centre it shares.
    pub centre_of: Option<usize>,
}

/// What fits of sources may do.
#[derive(Clone, Copy, Debug)]
pub struct StampParams {
    /// How far the centre may move from the start along each axis [pix].
    pub reach: f64,
    /// Bounds of the sky.
    pub sky: [Bounds; N_SKY],
    /// Most starts of a source.
    pub n_starts: usize,
    /// When the steps end.
    pub stop: Stop,
}

/// Standard deviations of chi-square above what noise makes it, from which on a fit is suspect.
const SUSPECT: f64 = 4.0;
/// Sizes of the components of a source, in units of its own: those of the first and of the last, start after start.
const SIZES: [(f64, f64); 4] = [(0.4, 1.2), (1.2, 0.4), (0.2, 1.0), (0.8, 1.6)];
/// Index of components whose start is not given, and exponents that are tried for a Moffat profile.
const INDEX: f64 = 1.5;
const BETAS: [f64; 4] = [3.0, 1.8, 6.0, 12.0];
/// Part of the light with which a component begins that would have none.
const LEAST_PART: f64 = 0.05;
/// Evaluations that find the fluxes of a start.
const FLUX_EVALUATIONS: usize = 8;

impl Asked {
    fn is_given(&self) -> bool {
        let needed = if self.is_point { 3 } else { N_SHAPE };
        let own = usize::from(self.centre_of.is_some()) * 2;
        self.given[own..needed].iter().all(|v| v.is_finite())
    }

    /// The component with the parameters that are given; None when one is missing.
    fn component(&self, reach: f64) -> Option<Component> {
        self.is_given().then(|| {
            let start = Profile::new(self.family, self.given);
            self.at(start, reach)
        })
    }

    /// The component with a start, moved within its bounds.
    fn at(&self, mut start: Profile, reach: f64) -> Component {
        let around = |centre: f64, (low, high): Bounds| {
            if low.is_nan() || high.is_nan() {
                (centre - reach, centre + reach)
            } else {
                (low, high)
            }
        };
        let mut bounds = self.bounds;
        bounds[0] = around(start.x, bounds[0]);
        bounds[1] = around(start.y, bounds[1]);
        if self.is_point {
            let held = (1.0, 1.0);
            [bounds[3], bounds[4], bounds[5], bounds[6]] = [held, (2.0, 2.0), held, (0.0, 0.0)];
            (start.n, start.q, start.theta) = (2.0, 1.0, 0.0);
        }
        let within = |value: f64, (low, high): Bounds| value.clamp(low, high);
        Component {
            start: Profile {
                x: within(start.x, bounds[0]),
                y: within(start.y, bounds[1]),
                flux: within(start.flux, bounds[2]),
                r_e: if self.is_point {
                    0.0
                } else {
                    within(start.r_e, bounds[3])
                },
                n: within(start.n, bounds[4]),
                q: within(start.q, bounds[5]),
                ..start
            },
            bounds,
            centre_of: self.centre_of,
        }
    }
}

/// The components of a source with the parameters that are given, those that share a centre at the owner's; None when a
/// parameter is missing.
pub(super) fn given_components(asked: &[Asked], reach: f64) -> Option<Vec<Component>> {
    let mut parts: Vec<Component> = Vec::with_capacity(asked.len());
    for one in asked {
        let mut own = *one;
        if let Some(owner) = one.centre_of {
            let owner = parts.get(owner)?;
            (own.given[0], own.given[1]) = (owner.start.x, owner.start.y);
            (own.bounds[0], own.bounds[1]) = (owner.bounds[0], owner.bounds[1]);
        }
        parts.push(own.component(reach)?);
    }
    Some(parts)
}

/// Fit the components of one source to a stamp, with the level of the sky that is given or NaN. What is not given of the
/// start comes from the moments of the light. More starts follow where a fit is suspect: it did not converge, ended on a
/// bound, or left too much; several components are begun twice in any case.
pub(super) fn fit_source(
    convolver: &Convolver,
    pixels: &Pixels,
    asked: &[Asked],
    sky: f64,
    params: &StampParams,
) -> Result<Fit, ProfileError> {
    let place = asked.first().map(|one| (one.given[0], one.given[1]));
    let centre = place.filter(|(x, y)| x.is_finite() && y.is_finite());
    let is_given = asked.iter().all(Asked::is_given) && sky.is_finite();
    let n_starts = if is_given { 1 } else { params.n_starts.max(1) };
    // Which of several components is the larger one is not known: the second start turns the sizes of the first around.
    let n_wide = asked.iter().filter(|one| !one.is_point).count();
    let least_starts = if n_wide > 1 { 2 } else { 1 };
    let mut failure = ProfileError::NoStart;
    let mut best: Option<Fit> = None;
    let found = starts(convolver, pixels, centre)?;
    for k in 0..n_starts.min(found.len()) {
        let begun = begin(convolver, pixels, &found, k, asked, sky, params)
            .and_then(|(parts, sky)| fit_group(convolver, pixels, &parts, &sky, params.stop));
        let fit = match begun {
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
        if k + 1 >= least_starts && best.as_ref().is_some_and(|best| !is_suspect(best)) {
            break;
        }
    }
    best.ok_or(failure)
}

fn is_suspect(fit: &Fit) -> bool {
    let dof = fit.n_pixels.saturating_sub(fit.n_free) as f64;
    let n = N_SHAPE * fit.sources.len();
    let is_held = (0..n).any(|i| i % N_SHAPE > 1 && fit.on_bound[i]);
    !fit.has_converged || is_held || fit.chi2 > dof + SUSPECT * (2.0 * dof).sqrt()
}

/// The start of this number, with what is given in its place, within the bounds.
fn begin(
    convolver: &Convolver,
    pixels: &Pixels,
    found: &[Start],
    number: usize,
    asked: &[Asked],
    sky: f64,
    params: &StampParams,
) -> Result<(Vec<Component>, Sky), ProfileError> {
    let is_single = asked.len() == 1;
    let light = &found[if is_single { number } else { 0 }];
    let n_wide = asked.iter().filter(|one| !one.is_point).count();
    let mut components: Vec<Component> = Vec::with_capacity(asked.len());
    let mut wide = 0;
    for one in asked {
        let pick = |k: usize, otherwise: f64| {
            if one.given[k].is_finite() {
                one.given[k]
            } else {
                otherwise
            }
        };
        let owner = one.centre_of.map(|owner| components[owner].start);
        let (x, y) = owner.map_or(
            (pick(0, light.source.x), pick(1, light.source.y)),
            |owner| (owner.x, owner.y),
        );
        let size = if n_wide > 1 {
            let (first, last) = SIZES[number % SIZES.len()];
            let part = wide as f64 / (n_wide - 1) as f64;
            first * (last / first).powf(part)
        } else {
            1.0
        };
        wide += usize::from(!one.is_point);
        let index = match one.family {
            Family::Moffat => BETAS[number % BETAS.len()],
            Family::Sersic if is_single => light.source.n,
            Family::Sersic => INDEX,
        };
        let row = [
            x,
            y,
            pick(2, light.source.flux / asked.len() as f64),
            pick(3, light.source.r_e * size),
            pick(4, index),
            pick(5, light.source.q),
            pick(6, light.source.theta),
        ];
        let mut component = one.at(Profile::new(one.family, row), params.reach);
        if let Some(owner) = one.centre_of {
            component.bounds[0] = components[owner].bounds[0];
            component.bounds[1] = components[owner].bounds[1];
        }
        components.push(component);
    }
    let mut sky = Sky {
        start: [if sky.is_finite() { sky } else { light.sky }, 0.0, 0.0],
        bounds: params.sky,
    };
    let is_plain = is_single && asked[0].family == Family::Sersic && !asked[0].is_point;
    if !is_plain && asked.iter().any(|one| one.given[2].is_nan()) {
        find_fluxes(convolver, pixels, asked, &mut components, &mut sky, params)?;
    }
    Ok((components, sky))
}

/// Fluxes that are not given, and the sky, by a fit with all else held.
fn find_fluxes(
    convolver: &Convolver,
    pixels: &Pixels,
    asked: &[Asked],
    components: &mut [Component],
    sky: &mut Sky,
    params: &StampParams,
) -> Result<(), ProfileError> {
    let held: Vec<Component> = components
        .iter()
        .zip(asked)
        .map(|(component, one)| {
            let row = component.start.row();
            let mut bounds = row.map(|v| (v, v));
            if component.start.r_e == 0.0 {
                bounds[3] = component.bounds[3];
            }
            if one.given[2].is_nan() {
                bounds[2] = component.bounds[2];
            }
            Component {
                bounds,
                ..*component
            }
        })
        .collect();
    let stop = Stop {
        max_evaluations: FLUX_EVALUATIONS.min(params.stop.max_evaluations),
        ..params.stop
    };
    let fit = fit_group(convolver, pixels, &held, sky, stop)?;
    let total: f64 = fit.sources.iter().map(|s| s.flux).sum();
    for ((component, found), one) in components.iter_mut().zip(&fit.sources).zip(asked) {
        if one.given[2].is_nan() {
            let (low, high) = component.bounds[2];
            let flux = if found.flux > 0.0 {
                found.flux
            } else {
                LEAST_PART * total.abs()
            };
            component.start.flux = flux.clamp(low, high);
        }
    }
    sky.start = fit.sky;
    Ok(())
}
