//! Profiles and a sky fitted together to a stamp.

use std::f64::consts::PI;
use std::ops::Range;

use super::ProfileError;
use super::convolved::{Convolver, Drawing};
use super::pixels::{Likelihood, Pixels};
use super::profile::{Family, Profile};
use crate::interrupt;
use crate::math::levmar::{Minimum, Normal, Problem, Stop, minimise};
use crate::math::sums::dot;
use crate::math::widest::{Work, run_widest};

/// Parameters of a source, in the order of [`Profile::row`].
pub const N_SHAPE: usize = 7;
/// Parameters of the sky: its level in the middle of the stamp (of a group, at its brightest segment) and its slopes along
/// x and y [1/pix].
pub const N_SKY: usize = 3;

/// Lowest and highest value; equal ones hold a parameter.
pub type Bounds = (f64, f64);

/// A source to be fitted; without a size it is a point.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Where the steps start.
    pub start: Profile,
    /// What is allowed, in the order of [`Profile::row`]; angles count modulo half a turn.
    pub bounds: [Bounds; N_SHAPE],
    /// Place of an earlier one whose centre it shares.
    pub centre_of: Option<usize>,
}

/// The level and the slopes of the sky.
#[derive(Clone, Copy, Debug)]
pub struct Sky {
    /// Where the steps start.
    pub start: [f64; N_SKY],
    /// What is allowed.
    pub bounds: [Bounds; N_SKY],
}

/// What was fitted: all parameters of every source, then those of the sky.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The sources.
    pub sources: Vec<Profile>,
    /// The sky.
    pub sky: [f64; N_SKY],
    /// Where the steps started.
    pub start: Vec<Profile>,
    /// The sky there.
    pub start_sky: [f64; N_SKY],
    /// Their covariance, row after row; 0 for what was held, NaN where the pixels do not tell.
    pub covariance: Vec<f64>,
    /// Which of them lie on a bound.
    pub on_bound: Vec<bool>,
    /// How many of them are free.
    pub n_free: usize,
    /// `sum (data - model)^2 / variance`, or Cash's statistic.
    pub chi2: f64,
    /// Number of pixels that count.
    pub n_pixels: usize,
    /// Whether the cost had converged.
    pub has_converged: bool,
    /// How often the model was evaluated.
    pub n_evaluations: usize,
}

impl Fit {
    /// What there is of a fit that failed: NaN.
    #[must_use]
    pub fn none(families: &[Family]) -> Self {
        let n = N_SHAPE * families.len() + N_SKY;
        let of_family = |&family: &Family| Profile::new(family, [f64::NAN; N_SHAPE]);
        let sources: Vec<Profile> = families.iter().map(of_family).collect();
        Self {
            start: sources.clone(),
            sources,
            sky: [f64::NAN; N_SKY],
            start_sky: [f64::NAN; N_SKY],
            covariance: vec![f64::NAN; n * n],
            on_bound: vec![false; n],
            n_free: 0,
            chi2: f64::NAN,
            n_pixels: 0,
            has_converged: false,
            n_evaluations: 0,
        }
    }

    /// Some of the sources, with the sky and the numbers of all.
    #[must_use]
    pub fn of_sources(&self, which: Range<usize>) -> Self {
        let n = N_SHAPE * self.sources.len() + N_SKY;
        let own: Vec<usize> = (N_SHAPE * which.start..N_SHAPE * which.end)
            .chain(n - N_SKY..n)
            .collect();
        let element = |&i: &usize| own.iter().map(move |&j| self.covariance[i * n + j]);
        Self {
            sources: self.sources[which.clone()].to_vec(),
            start: self.start[which].to_vec(),
            covariance: own.iter().flat_map(element).collect(),
            on_bound: own.iter().map(|&i| self.on_bound[i]).collect(),
            ..self.clone()
        }
    }

    /// Chi-square, numbers of pixels, of free parameters and of evaluations, 1 when it has converged, and the surface
    /// brightness at the half-light radius of the first source.
    #[must_use]
    pub fn numbers(&self) -> Vec<f64> {
        let counts = [
            self.n_pixels,
            self.n_free,
            self.n_evaluations,
            usize::from(self.has_converged),
        ];
        let intensity = self.sources.first().map_or(f64::NAN, Profile::intensity);
        std::iter::once(self.chi2)
            .chain(counts.map(|n| n as f64))
            .chain([intensity])
            .collect()
    }
}

/// Size and index are fitted by their logarithms (beta by that of `beta - 1`) and the shape by the ellipticity `(1 - q) (cos 2 theta, sin 2 theta)`,
/// which is smooth where a source is round.
struct Inner;

/// Derivatives of size and index, and of `(q, theta)`, by the inner parameters.
type Slopes = (f64, f64, [[f64; 2]; 2]);

/// Shapes this near to a bound lie on it: they come from two components.
const AT_EDGE: f64 = 1e-9;
/// No source is rounder than this, so that it has an angle.
const ROUND: f64 = 1e-6;
/// Sizes of points, which have none [pix].
const POINT: f64 = 1e-3;

impl Inner {
    fn of(source: &Profile) -> [f64; N_SHAPE] {
        let (sin, cos) = (2.0 * source.theta).sin_cos();
        let e = (1.0 - source.q).max(ROUND);
        [
            source.x,
            source.y,
            source.flux,
            source.r_e.max(POINT * POINT).ln(),
            source.family.coordinate(source.n),
            e * cos,
            e * sin,
        ]
    }

    fn source(family: Family, p: &[f64]) -> Profile {
        Profile {
            family,
            x: p[0],
            y: p[1],
            flux: p[2],
            r_e: p[3].exp(),
            n: family.of_coordinate(p[4]),
            q: 1.0 - p[5].hypot(p[6]),
            theta: 0.5 * p[6].atan2(p[5]),
        }
    }

    /// Derivatives of the outer parameters by the inner ones: those of size and index, and of `(q, theta)` by the two
    /// components of the ellipticity.
    fn slopes(source: &Profile) -> Slopes {
        let (sin, cos) = (2.0 * source.theta).sin_cos();
        let e = (1.0 - source.q).max(ROUND);
        let shape = [[-cos, -sin], [-0.5 * sin / e, 0.5 * cos / e]];
        (source.r_e, source.family.slope(source.n), shape)
    }
}

/// An angle between two that lie less than half a turn apart, or the nearer of them.
fn clamp_angle(theta: f64, (low, high): Bounds) -> f64 {
    if high - low >= PI {
        return theta;
    }
    let middle = 0.5 * (low + high);
    let off = (theta - middle + 0.5 * PI).rem_euclid(PI) - 0.5 * PI;
    middle + off.clamp(low - middle, high - middle)
}

/// Whether an angle lies on the lower and on the upper one of two that lie less than half a turn apart.
fn at_edges(theta: f64, (low, high): Bounds) -> [bool; 2] {
    if high - low >= PI {
        return [false; 2];
    }
    let middle = 0.5 * (low + high);
    let off = (theta - middle + 0.5 * PI).rem_euclid(PI) - 0.5 * PI;
    [
        off <= low - middle + AT_EDGE,
        off >= high - middle - AT_EDGE,
    ]
}

struct Group<'a> {
    convolver: &'a Convolver,
    pixels: &'a Pixels,
    components: &'a [Component],
    sky: &'a Sky,
}

impl Group<'_> {
    fn n_parameters(&self) -> usize {
        N_SHAPE * self.components.len() + N_SKY
    }

    fn sources(&self, at: &[f64]) -> Vec<Profile> {
        let drawn = |(p, component): (&[f64], &Component)| {
            let mut source = Inner::source(component.start.family, p);
            if let Some(owner) = component.centre_of {
                (source.x, source.y) = (at[N_SHAPE * owner], at[N_SHAPE * owner + 1]);
            }
            if component.is_point() {
                source.r_e = 0.0;
            }
            source
        };
        at.chunks_exact(N_SHAPE)
            .zip(self.components)
            .map(drawn)
            .collect()
    }

    /// The sky along a row of pixels.
    #[inline(always)]
    fn sky_of(&self, y: usize, sky: &[f64]) -> impl Fn(usize) -> f64 {
        let (at_x, at_y) = self.pixels.sky_at();
        let (level, slope) = (sky[0] + sky[2] * (y as f64 - at_y), sky[1]);
        move |x| level + slope * (x as f64 - at_x)
    }

    /// Raise the sky of a start from which counts cannot come.
    fn make_positive(&self, start: &mut [f64]) -> Result<(), ProfileError> {
        self.clamp(start);
        let n = start.len();
        let mut model = self.convolver.draw(&self.sources(start))?.into_vec();
        let sky = &start[n - N_SKY..];
        for (y, row) in model.chunks_exact_mut(self.pixels.shape().1).enumerate() {
            let sky = self.sky_of(y, sky);
            row.iter_mut()
                .enumerate()
                .for_each(|(x, value)| *value += sky(x));
        }
        start[n - N_SKY] += self.pixels.lack(&model);
        Ok(())
    }

    /// Whether bounds leave nothing of an inner parameter.
    fn is_fixed(&self, i: usize) -> bool {
        self.bound(i).is_some_and(|(low, high)| low >= high)
    }

    /// Bounds of inner parameters that are bounded one by one.
    fn bound(&self, i: usize) -> Option<Bounds> {
        if i >= N_SHAPE * self.components.len() {
            return Some(self.sky.bounds[i - N_SHAPE * self.components.len()]);
        }
        let component = &self.components[i / N_SHAPE];
        let (low, high) = component.bounds[i % N_SHAPE];
        let family = component.start.family;
        match i % N_SHAPE {
            0..=2 => Some((low, high)),
            3 => Some((low.ln(), high.ln())),
            4 => Some((family.coordinate(low), family.coordinate(high))),
            _ => None,
        }
    }
}

impl Component {
    fn is_point(&self) -> bool {
        self.start.r_e == 0.0
    }
}

/// What a drawing says of the pixels, row by row.
struct Rows<'a> {
    group: &'a Group<'a>,
    sky: &'a [f64],
    drawings: &'a [Drawing],
    /// Of each source those of the outer parameters by the inner ones.
    slopes: Vec<Slopes>,
}

impl Rows<'_> {
    /// Write the model of a row, and its derivatives by the inner parameters one after the other.
    #[inline(always)]
    fn draw(&self, y: usize, model: &mut [f64], slopes: &mut [f64]) {
        let nx = model.len();
        let (at_x, at_y) = self.group.pixels.sky_at();
        let row = y * nx..(y + 1) * nx;
        let (of_sources, of_sky) = slopes.split_at_mut(N_SHAPE * self.drawings.len() * nx);
        let [level, along_x, along_y] = [0, nx, 2 * nx].map(|k| k..k + nx);
        of_sky[level].fill(1.0);
        for (x, value) in of_sky[along_x].iter_mut().enumerate() {
            *value = x as f64 - at_x;
        }
        let dy = y as f64 - at_y;
        of_sky[along_y].fill(dy);
        let sky = self.group.sky_of(y, self.sky);
        for (x, value) in model.iter_mut().enumerate() {
            *value = sky(x);
        }
        for (c, drawing) in self.drawings.iter().enumerate() {
            for (sum, value) in model.iter_mut().zip(&drawing.value.pixels()[row.clone()]) {
                *sum += value;
            }
            let (before, from_here) = of_sources.split_at_mut(N_SHAPE * c * nx);
            let planes = &mut from_here[..N_SHAPE * nx];
            let (by_size, by_index, [[q1, q2], [t1, t2]]) = self.slopes[c];
            let scales = [1.0, 1.0, 1.0, by_size, by_index];
            for ((plane, by), scale) in planes.chunks_exact_mut(nx).zip(&drawing.by).zip(scales) {
                for (to, from) in plane.iter_mut().zip(&by.pixels()[row.clone()]) {
                    *to = scale * from;
                }
            }
            let (by_q, by_theta) = (
                &drawing.by[5].pixels()[row.clone()],
                &drawing.by[6].pixels()[row.clone()],
            );
            let (first, second) = planes[5 * nx..].split_at_mut(nx);
            for (x, (first, second)) in first.iter_mut().zip(second).enumerate() {
                *first = q1 * by_q[x] + t1 * by_theta[x];
                *second = q2 * by_q[x] + t2 * by_theta[x];
            }
            if let Some(owner) = self.group.components[c].centre_of {
                // Its centre moves with the owner's, and not by itself.
                let own = &mut before[N_SHAPE * owner * nx..][..2 * nx];
                for (sum, value) in own.iter_mut().zip(&mut planes[..2 * nx]) {
                    *sum += *value;
                    *value = 0.0;
                }
            }
        }
    }
}

impl Work for Rows<'_> {
    type Output = Normal;

    #[inline(always)]
    fn run(self) -> Normal {
        let (ny, nx) = self.group.pixels.shape();
        let n = self.group.n_parameters();
        let [mut model, mut root, mut residual] = [0; 3].map(|_| vec![0.0; nx]);
        let mut slopes = vec![0.0; n * nx];
        let mut normal = Normal {
            cost: 0.0,
            descent: vec![0.0; n],
            curvature: vec![0.0; n * n],
        };
        let is_free: Vec<bool> = (0..n).map(|i| !self.group.is_fixed(i)).collect();
        for y in 0..ny {
            self.draw(y, &mut model, &mut slopes);
            normal.cost += self
                .group
                .pixels
                .compare(y * nx, &model, &mut root, &mut residual);
            let free = || (0..n).filter(|&k| is_free[k]);
            for k in free() {
                let plane = &mut slopes[k * nx..(k + 1) * nx];
                for (value, root) in plane.iter_mut().zip(&root) {
                    *value *= root;
                }
                normal.descent[k] += dot(plane, &residual);
            }
            for k in free() {
                for l in free().take_while(|&l| l <= k) {
                    normal.curvature[k * n + l] +=
                        dot(&slopes[k * nx..][..nx], &slopes[l * nx..][..nx]);
                }
            }
        }
        for k in 0..n {
            for l in 0..k {
                normal.curvature[l * n + k] = normal.curvature[k * n + l];
            }
        }
        normal
    }
}

impl Problem for Group<'_> {
    fn evaluate(&mut self, at: &[f64]) -> Option<Normal> {
        interrupt::poll();
        let sources = self.sources(at);
        let drawings = sources
            .iter()
            .map(|source| self.convolver.draw_with_derivatives(source))
            .collect::<Result<Vec<_>, _>>()
            .ok()?;
        let normal = run_widest(Rows {
            group: self,
            sky: &at[at.len() - N_SKY..],
            drawings: &drawings,
            slopes: sources.iter().map(Inner::slopes).collect(),
        });
        normal.cost.is_finite().then_some(normal)
    }

    fn clamp(&self, at: &mut [f64]) {
        for (i, value) in at.iter_mut().enumerate() {
            if let Some((low, high)) = self.bound(i) {
                *value = value.clamp(low, high);
            }
        }
        for (p, component) in at.chunks_exact_mut(N_SHAPE).zip(self.components) {
            let (low, high) = component.bounds[5];
            let e = p[5].hypot(p[6]).clamp(1.0 - high, 1.0 - low).max(ROUND);
            let theta = clamp_angle(0.5 * p[6].atan2(p[5]), component.bounds[6]);
            let (sin, cos) = (2.0 * theta).sin_cos();
            (p[5], p[6]) = (e * cos, e * sin);
        }
        for (c, component) in self.components.iter().enumerate() {
            if let Some(owner) = component.centre_of {
                at.copy_within(N_SHAPE * owner..N_SHAPE * owner + 2, N_SHAPE * c);
            }
        }
    }

    fn held(&self, at: &[f64], normal: &Normal) -> Vec<Vec<f64>> {
        let n = self.n_parameters();
        let unit = |of: &[(usize, f64)]| {
            let mut direction = vec![0.0; n];
            for &(i, value) in of {
                direction[i] = value;
            }
            direction
        };
        let leaves = |value: f64, descent: f64, (low, high): Bounds| {
            low >= high || (value <= low && descent < 0.0) || (value >= high && descent > 0.0)
        };
        let mut held = Vec::new();
        for (i, &value) in at.iter().enumerate() {
            if let Some(bounds) = self.bound(i) {
                let is_idle = normal.curvature[i * n + i] <= 0.0;
                if is_idle || leaves(value, normal.descent[i], bounds) {
                    held.push(unit(&[(i, 1.0)]));
                }
            }
        }
        for (c, (p, component)) in at.chunks_exact(N_SHAPE).zip(self.components).enumerate() {
            let (i, j) = (N_SHAPE * c + 5, N_SHAPE * c + 6);
            let e = p[5].hypot(p[6]);
            let (cos, sin) = (p[5] / e, p[6] / e);
            let (along, across) = (unit(&[(i, cos), (j, sin)]), unit(&[(i, -sin), (j, cos)]));
            let slope = |d: &[f64]| d[i] * normal.descent[i] + d[j] * normal.descent[j];
            let (low, high) = component.bounds[5];
            let roundness = (1.0 - high, 1.0 - low);
            let is_idle = normal.curvature[i * n + i] <= 0.0;
            // A source that may be round stays free to turn over.
            if is_idle
                || low >= high
                || (e >= roundness.1 - AT_EDGE && slope(&along) > 0.0)
                || (high < 1.0 && e <= roundness.0 + AT_EDGE && slope(&along) < 0.0)
            {
                held.push(along);
            }
            let [is_low, is_high] = at_edges(0.5 * p[6].atan2(p[5]), component.bounds[6]);
            // A circle has no angle.
            if is_idle
                || roundness.1 <= ROUND
                || component.bounds[6].0 >= component.bounds[6].1
                || (is_low && slope(&across) < 0.0)
                || (is_high && slope(&across) > 0.0)
            {
                held.push(across);
            }
        }
        held
    }
}

/// Fit sources and a sky to the pixels of a stamp: the likeliest parameters within bounds.
///
/// # Errors
/// When shapes differ, the start is not allowed, or there are fewer pixels than parameters.
pub fn fit_group(
    convolver: &Convolver,
    pixels: &Pixels,
    components: &[Component],
    sky: &Sky,
    stop: Stop,
) -> Result<Fit, ProfileError> {
    if pixels.shape() != convolver.shape() {
        return Err(ProfileError::Shapes {
            pixels: pixels.shape(),
            stamp: convolver.shape(),
        });
    }
    for (i, component) in components.iter().enumerate() {
        component.start.check(i, true)?;
        if component.centre_of.is_some_and(|owner| owner >= i) {
            return Err(ProfileError::Centre(i));
        }
    }
    let mut group = Group {
        convolver,
        pixels,
        components,
        sky,
    };
    let mut start: Vec<f64> = components
        .iter()
        .flat_map(|c| Inner::of(&c.start))
        .collect();
    start.extend(sky.start);
    if pixels.likelihood() == Likelihood::Poisson {
        group.make_positive(&mut start)?;
    }
    let found = minimise(&start, stop, &mut group).ok_or(ProfileError::NoStart)?;
    let fit = outcome(&group, &start, &found);
    if fit.n_pixels < fit.n_free {
        return Err(ProfileError::TooFewPixels {
            pixels: fit.n_pixels,
            parameters: fit.n_free,
        });
    }
    Ok(fit)
}

/// What a minimum means for the parameters.
fn outcome(group: &Group<'_>, start: &[f64], found: &Minimum) -> Fit {
    let n = group.n_parameters();
    let sources = group.sources(&found.at);
    // Rows of the derivatives of the outer parameters by the inner ones.
    let mut by = vec![0.0; n * n];
    (0..n).for_each(|i| by[i * n + i] = 1.0);
    for (c, source) in sources.iter().enumerate() {
        let first = N_SHAPE * c;
        let (by_size, by_index, shape) = Inner::slopes(source);
        by[(first + 3) * n + first + 3] = by_size;
        by[(first + 4) * n + first + 4] = by_index;
        for (i, row) in shape.iter().enumerate() {
            for (j, &slope) in row.iter().enumerate() {
                by[(first + 5 + i) * n + first + 5 + j] = slope;
            }
        }
    }
    let mut covariance = found.covariance().map_or_else(
        || vec![f64::NAN; n * n],
        |inner| {
            let half = product(&by, &inner, n, false);
            product(&half, &by, n, true)
        },
    );
    let mut on_bound = vec![false; n];
    for direction in &found.held {
        for (i, on) in on_bound.iter_mut().enumerate() {
            // What does not change the model is held, too, wherever it is.
            let is_at = |(low, high): Bounds| found.at[i] <= low || found.at[i] >= high;
            *on |= direction[i] != 0.0 && group.bound(i).is_some_and(is_at);
        }
    }
    for (c, (source, component)) in sources.iter().zip(group.components).enumerate() {
        let (low, high) = component.bounds[5];
        on_bound[N_SHAPE * c + 5] =
            source.q <= low + AT_EDGE || (source.q >= high - AT_EDGE && high < 1.0);
        on_bound[N_SHAPE * c + 6] = at_edges(source.theta, component.bounds[6]).contains(&true);
    }
    let bounds = group
        .components
        .iter()
        .flat_map(|c| c.bounds)
        .chain(group.sky.bounds);
    // A circle has no angle.
    let is_circle = |c: usize| {
        let part = group.components.get(c);
        part.is_some_and(|one| one.bounds[5].0 >= 1.0 - ROUND)
    };
    for (i, (low, high)) in bounds.enumerate() {
        let is_held = low >= high || (i % N_SHAPE == 6 && is_circle(i / N_SHAPE));
        // Rounding leaves a trace of what the directions that were held had.
        if is_held || on_bound[i] {
            (0..n).for_each(|j| (covariance[i * n + j], covariance[j * n + i]) = (0.0, 0.0));
        }
        on_bound[i] &= !is_held;
    }
    for (c, component) in group.components.iter().enumerate() {
        let Some(owner) = component.centre_of else {
            continue;
        };
        for k in 0..2 {
            let (from, to) = (N_SHAPE * owner + k, N_SHAPE * c + k);
            on_bound[to] = on_bound[from];
            (0..n).for_each(|j| covariance[to * n + j] = covariance[from * n + j]);
            (0..n).for_each(|j| covariance[j * n + to] = covariance[j * n + from]);
        }
    }
    let (start, start_sky) = (group.sources(start), {
        let mut sky = [0.0; N_SKY];
        sky.copy_from_slice(&start[n - N_SKY..]);
        sky
    });
    let mut sky = [0.0; N_SKY];
    sky.copy_from_slice(&found.at[n - N_SKY..]);
    Fit {
        sources,
        sky,
        start,
        start_sky,
        covariance,
        on_bound,
        n_free: n - found.held.len(),
        chi2: found.normal.cost,
        n_pixels: group.pixels.n_pixels(),
        has_converged: found.has_converged,
        n_evaluations: found.n_evaluations,
    }
}

/// `a b`, or `a b^T`.
fn product(a: &[f64], b: &[f64], n: usize, is_transposed: bool) -> Vec<f64> {
    let element = |i: usize, j: usize| -> f64 {
        (0..n)
            .map(|k| {
                a[i * n + k]
                    * if is_transposed {
                        b[j * n + k]
                    } else {
                        b[k * n + j]
                    }
            })
            .sum()
    };
    (0..n * n).map(|k| element(k / n, k % n)).collect()
}
