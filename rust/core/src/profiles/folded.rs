//! What a transform of finite period repeats: the light of a source one and more periods away.

use std::f64::consts::{PI, TAU};

use super::profile::{Profile, Radial};

/// The light of a source of unit flux and its derivatives by the parameters in the order of [`Profile`], without that
/// by the flux: that is the light.
pub(super) const N_PLANES: usize = 7;
pub(super) type Light = [f64; N_PLANES];

/// Chebyshev nodes along an axis of the stamp, for what the nearest repetitions bring and for those beyond.
const N_NEAR: usize = 12;
const N_MIDDLE: usize = 5;
/// Repetitions that are summed one by one reach so many periods; of the rest the mean density counts.
const N_PERIODS: i32 = 4;
/// Light of a source that may be neglected.
const NEGLIGIBLE: f64 = 1e-6;
/// Angles of the integral over the light beyond.
const N_ANGLES: usize = 64;

/// Places on a stamp at which smooth light is known, and what carries it to the pixels.
pub(super) struct Nodes {
    shape: (usize, usize),
    near: [Vec<f64>; 2],
    middle: [Vec<f64>; 2],
    /// From nodes in the middle to near ones, along both axes, and from those to the pixels.
    to_near: [Vec<f64>; 2],
    to_pixels: [Vec<f64>; 2],
}

/// Chebyshev nodes between -0.5 and `n` - 0.5.
fn chebyshev(count: usize, n: usize) -> Vec<f64> {
    let place = |k: usize| ((k as f64 + 0.5) * PI / count as f64).cos();
    (0..count)
        .map(|k| 0.5 * n as f64 * (1.0 - place(k)) - 0.5)
        .collect()
}

/// Weights of the nodes for each place: rows of Lagrange polynomials.
fn lagrange(nodes: &[f64], places: &[f64]) -> Vec<f64> {
    let weight = |x: f64, k: usize| -> f64 {
        let others = nodes.iter().enumerate().filter(|&(j, _)| j != k);
        others
            .map(|(_, node)| (x - node) / (nodes[k] - node))
            .product()
    };
    places
        .iter()
        .flat_map(|&x| (0..nodes.len()).map(move |k| weight(x, k)))
        .collect()
}

impl Nodes {
    pub(super) fn new(shape: (usize, usize)) -> Self {
        let sides = [shape.0, shape.1];
        let near = sides.map(|n| chebyshev(N_NEAR, n));
        let middle = sides.map(|n| chebyshev(N_MIDDLE, n));
        let pixels = sides.map(|n| (0..n).map(|i| i as f64).collect::<Vec<_>>());
        Self {
            shape,
            to_near: [0, 1].map(|axis| lagrange(&middle[axis], &near[axis])),
            to_pixels: [0, 1].map(|axis| lagrange(&near[axis], &pixels[axis])),
            near,
            middle,
        }
    }
}

/// Smooth light at the near nodes of a stamp.
pub(super) struct Folded {
    at: Vec<Light>,
}

impl Folded {
    /// What repetitions of a source bring; None where that is negligible.
    pub(super) fn new(nodes: &Nodes, source: &Profile, period: (usize, usize)) -> Option<Self> {
        if source.r_e == 0.0 {
            return None;
        }
        let ellipse = Ellipse::new(source);
        let period = [period.0 as f64, period.1 as f64];
        let side = [nodes.shape.0 as f64, nodes.shape.1 as f64];
        let nearest = |times: f64| {
            (0..2)
                .map(|a| times * period[a] - side[a])
                .fold(f64::MAX, f64::min)
        };
        if ellipse.beyond(nearest(1.0)) < NEGLIGIBLE {
            return None;
        }
        let mut at = ellipse.sum(&nodes.near, period, 1..=1);
        if ellipse.beyond(nearest(2.0)) >= NEGLIGIBLE {
            let middle = ellipse.sum(&nodes.middle, period, 2..=N_PERIODS);
            let carried = carry(&middle, &nodes.to_near, (N_NEAR, N_NEAR));
            add(&mut at, &carried);
        }
        if ellipse.beyond((f64::from(N_PERIODS) + 0.5) * period[0].min(period[1])) >= NEGLIGIBLE {
            let far = far(source, period);
            add(&mut at, &vec![far; N_NEAR * N_NEAR]);
        }
        Some(Self { at })
    }

    /// One of the planes at every pixel of the stamp.
    pub(super) fn plane(&self, nodes: &Nodes, plane: usize) -> Vec<f64> {
        let at: Vec<[f64; 1]> = self.at.iter().map(|light| [light[plane]]).collect();
        carry(&at, &nodes.to_pixels, nodes.shape)
            .into_iter()
            .flatten()
            .collect()
    }
}

fn add(sum: &mut [Light], more: &[Light]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        for (sum, more) in sum.iter_mut().zip(more) {
            *sum += more;
        }
    }
}

/// Values on a grid of nodes carried to a grid of `shape`.
fn carry<const N: usize>(
    values: &[[f64; N]],
    by: &[Vec<f64>; 2],
    shape: (usize, usize),
) -> Vec<[f64; N]> {
    let (rows, columns) = (by[0].len() / shape.0, by[1].len() / shape.1);
    let mut out = vec![[0.0; N]; shape.0 * shape.1];
    for (y, out) in out.chunks_exact_mut(shape.1).enumerate() {
        let mut along = vec![[0.0; N]; columns];
        for (row, weight) in values.chunks_exact(columns).zip(&by[0][y * rows..]) {
            for (sum, value) in along.iter_mut().zip(row) {
                (0..N).for_each(|m| sum[m] += weight * value[m]);
            }
        }
        for (pixel, weights) in out.iter_mut().zip(by[1].chunks_exact(columns)) {
            for (weight, value) in weights.iter().zip(&along) {
                (0..N).for_each(|m| pixel[m] += weight * value[m]);
            }
        }
    }
    out
}

/// Mean density of the repetitions beyond: all light outside a box of `2 N_PERIODS + 1` periods, once a period.
fn far(source: &Profile, period: [f64; 2]) -> Light {
    const STEP: f64 = 1e-3;
    let density = |source: &Profile| {
        let ellipse = Ellipse::new(source);
        let half = period.map(|p| (f64::from(N_PERIODS) + 0.5) * p);
        let beyond = |i: usize| {
            let (sin, cos) = (TAU * (i as f64 + 0.5) / N_ANGLES as f64).sin_cos();
            let edge = (half[1] / cos.abs()).min(half[0] / sin.abs());
            let stretch = ellipse.place(cos, sin).r;
            ellipse.beyond(stretch * edge) / (source.q * stretch * stretch)
        };
        (0..N_ANGLES).map(beyond).sum::<f64>() / N_ANGLES as f64 / (period[0] * period[1])
    };
    let by = |change: &dyn Fn(&mut Profile, f64)| {
        let moved = |step: f64| {
            let mut other = *source;
            change(&mut other, step);
            density(&other)
        };
        (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
    };
    [
        density(source),
        0.0,
        0.0,
        by(&|s, step| s.r_e *= step.exp()) / source.r_e,
        by(&|s, step| s.n += step),
        by(&|s, step| s.q += step),
        by(&|s, step| s.theta += step),
    ]
}

/// A source of unit flux.
struct Ellipse {
    x: f64,
    y: f64,
    q: f64,
    sin: f64,
    cos: f64,
    radial: Radial,
}

/// An offset from the centre along the axes, and the elliptical radius.
struct Place {
    u: f64,
    v: f64,
    r: f64,
}

impl Ellipse {
    fn new(source: &Profile) -> Self {
        let (sin, cos) = source.theta.sin_cos();
        Self {
            x: source.x,
            y: source.y,
            q: source.q,
            sin,
            cos,
            radial: Radial::of(source),
        }
    }

    /// Light beyond an elliptical radius.
    fn beyond(&self, r: f64) -> f64 {
        1.0 - self.radial.within(r)
    }

    fn place(&self, dx: f64, dy: f64) -> Place {
        let (u, v) = (self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx);
        Place {
            u,
            v,
            r: u.hypot(v / self.q),
        }
    }

    fn light(&self, dx: f64, dy: f64) -> Light {
        let at = self.place(dx, dy);
        let surface = self.radial.surface(at.r);
        let value = surface.value / self.q;
        let q2 = self.q * self.q;
        let r2 = at.r * at.r;
        // r^2 = u^2 + v^2 / q^2, and u and v turn with theta.
        let by_ln_r = value * surface.by_ln_r;
        let (by_u, by_v) = (by_ln_r * at.u / r2, by_ln_r * at.v / (q2 * r2));
        [
            value,
            self.sin * by_v - self.cos * by_u,
            -self.sin * by_u - self.cos * by_v,
            value * surface.by_r_e,
            value * surface.by_n,
            -by_ln_r * at.v * at.v / (q2 * self.q * r2) - value / self.q,
            by_ln_r * at.u * at.v * (1.0 - 1.0 / q2) / r2,
        ]
    }

    /// The light of repetitions in square rings of periods, at a grid of nodes.
    fn sum(
        &self,
        nodes: &[Vec<f64>; 2],
        period: [f64; 2],
        rings: std::ops::RangeInclusive<i32>,
    ) -> Vec<Light> {
        let reach = *rings.end();
        let mut out = vec![[0.0; N_PLANES]; nodes[0].len() * nodes[1].len()];
        for (j, i) in (-reach..=reach).flat_map(|j| (-reach..=reach).map(move |i| (j, i))) {
            if !rings.contains(&i.abs().max(j.abs())) {
                continue;
            }
            let centre = (
                self.y + f64::from(j) * period[0],
                self.x + f64::from(i) * period[1],
            );
            let places = nodes[0]
                .iter()
                .flat_map(|&y| nodes[1].iter().map(move |&x| (y, x)));
            for (sum, (y, x)) in out.iter_mut().zip(places) {
                let light = self.light(x - centre.1, y - centre.0);
                (0..N_PLANES).for_each(|m| sum[m] += light[m]);
            }
        }
        out
    }
}
