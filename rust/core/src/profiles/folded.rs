//! What a transform of finite period repeats: the light of a source one and more periods away.

use std::f64::consts::{PI, TAU};

use super::octaves::{Cubic, Octaves};
use super::profile::{Profile, Radial};
use crate::math::widest::{Work, run_widest};

/// The light of a source of unit flux and its derivatives by the parameters in the order of [`Profile`], without that
/// by the flux: that is the light.
pub(super) const N_PLANES: usize = 7;

/// Chebyshev nodes along an axis of the stamp, for what the nearest repetitions bring and for those beyond.
const N_NEAR: usize = 12;
const N_MIDDLE: usize = 5;
/// Repetitions that are summed one by one reach so many periods; of the rest the mean density counts.
const N_PERIODS: i32 = 4;
/// Light of a source that may be neglected.
const NEGLIGIBLE: f64 = 1e-6;
/// Angles of the integral over the light beyond, of half a turn: the other half is the same.
const N_ANGLES: usize = 32;
/// Step of the index for derivatives of the light beyond.
const STEP_N: f64 = 1e-3;

/// Places on a stamp at which smooth light is known, and what carries it to the pixels.
pub(super) struct Nodes {
    shape: (usize, usize),
    near: [Vec<f64>; 2],
    middle: [Vec<f64>; 2],
    /// From nodes in the middle to near ones, along both axes.
    to_near: [Vec<f64>; 2],
    /// From those to the pixels: for each row the weights of its nodes, and for each node the weights in all columns.
    to_rows: Vec<f64>,
    to_columns: Vec<f64>,
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
        let to_pixels = |axis: usize| {
            let pixels: Vec<f64> = (0..sides[axis]).map(|i| i as f64).collect();
            lagrange(&near[axis], &pixels)
        };
        let along = to_pixels(1);
        let of_node = |k: usize| along.iter().skip(k).step_by(N_NEAR).copied();
        Self {
            shape,
            to_near: [0, 1].map(|axis| lagrange(&middle[axis], &near[axis])),
            to_rows: to_pixels(0),
            to_columns: (0..N_NEAR).flat_map(of_node).collect(),
            near,
            middle,
        }
    }
}

/// The first `N` planes of smooth light at the near nodes of a stamp.
pub(super) struct Folded<const N: usize> {
    at: Vec<[f64; N]>,
}

impl<const N: usize> Folded<N> {
    /// What repetitions of a source bring; None where that is negligible.
    pub(super) fn new(nodes: &Nodes, source: &Profile, period: (usize, usize)) -> Option<Self> {
        if source.r_e == 0.0 {
            return None;
        }
        let radial = Radial::of(source);
        let beyond = |r: f64| 1.0 - radial.within(r);
        let period = [period.0 as f64, period.1 as f64];
        let side = [nodes.shape.0 as f64, nodes.shape.1 as f64];
        let nearest = |times: f64| {
            (0..2)
                .map(|a| times * period[a] - side[a])
                .fold(f64::MAX, f64::min)
        };
        if beyond(nearest(1.0)) < NEGLIGIBLE {
            return None;
        }
        let has_middle = beyond(nearest(2.0)) >= NEGLIGIBLE;
        let n_periods = if has_middle { N_PERIODS } else { 1 };
        let furthest = (f64::from(n_periods) + 1.0) * period[0].hypot(period[1]) / source.q;
        let ellipse = Ellipse::new(source, &radial, (nearest(1.0), furthest));
        let mut at = ellipse.sum(&nodes.near, period, 1..=1);
        if has_middle {
            let middle = ellipse.sum(&nodes.middle, period, 2..=N_PERIODS);
            add(&mut at, &carry(&middle, &nodes.to_near));
        }
        if beyond((f64::from(N_PERIODS) + 0.5) * period[0].min(period[1])) >= NEGLIGIBLE {
            let far = far(source, period);
            add(&mut at, &[far; N_NEAR * N_NEAR]);
        }
        Some(Self { at })
    }

    /// Take one of the planes, times a factor, off every pixel of a stamp.
    pub(super) fn take_off(&self, nodes: &Nodes, plane: usize, factor: f64, stamp: &mut [f64]) {
        let at: Vec<f64> = self.at.iter().map(|light| factor * light[plane]).collect();
        run_widest(TakeOff {
            at: &at,
            nodes,
            stamp,
        });
    }
}

/// Takes values at the near nodes off all pixels.
struct TakeOff<'a> {
    at: &'a [f64],
    nodes: &'a Nodes,
    stamp: &'a mut [f64],
}

impl Work for TakeOff<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let nx = self.nodes.shape.1;
        let rows = self.stamp.chunks_exact_mut(nx);
        for (row, weights) in rows.zip(self.nodes.to_rows.chunks_exact(N_NEAR)) {
            let mut along = [0.0; N_NEAR];
            for (weight, values) in weights.iter().zip(self.at.chunks_exact(N_NEAR)) {
                for k in 0..N_NEAR {
                    along[k] += weight * values[k];
                }
            }
            let fours = self.nodes.to_columns.chunks_exact(4 * nx);
            for (columns, a) in fours.zip(along.chunks_exact(4)) {
                let (first, rest) = columns.split_at(nx);
                let (second, rest) = rest.split_at(nx);
                let (third, fourth) = rest.split_at(nx);
                for (x, pixel) in row.iter_mut().enumerate() {
                    *pixel -=
                        (a[0] * first[x] + a[1] * second[x]) + (a[2] * third[x] + a[3] * fourth[x]);
                }
            }
        }
    }
}

fn add<const N: usize>(sum: &mut [[f64; N]], more: &[[f64; N]]) {
    for (sum, more) in sum.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
        *sum += more;
    }
}

/// Values at the nodes in the middle carried to the near ones.
fn carry<const N: usize>(values: &[[f64; N]], by: &[Vec<f64>; 2]) -> Vec<[f64; N]> {
    let mut out = vec![[0.0; N]; N_NEAR * N_NEAR];
    let rows = out.chunks_exact_mut(N_NEAR);
    for (out, weights) in rows.zip(by[0].chunks_exact(N_MIDDLE)) {
        let mut along = [[0.0; N]; N_MIDDLE];
        for (row, weight) in values.chunks_exact(N_MIDDLE).zip(weights) {
            for (sum, value) in along.iter_mut().zip(row) {
                (0..N).for_each(|m| sum[m] += weight * value[m]);
            }
        }
        for (node, weights) in out.iter_mut().zip(by[1].chunks_exact(N_MIDDLE)) {
            for (weight, value) in weights.iter().zip(&along) {
                (0..N).for_each(|m| node[m] += weight * value[m]);
            }
        }
    }
    out
}

/// Mean density of the repetitions beyond: all light outside a box of `2 N_PERIODS + 1` periods, once a period.
fn far<const N: usize>(source: &Profile, period: [f64; 2]) -> [f64; N] {
    let half = period.map(|p| (f64::from(N_PERIODS) + 0.5) * p);
    let radial = Radial::of(source);
    let of_index = |n: f64| Radial::of(&Profile { n, ..*source });
    let (low, high) = source.family.limits();
    let indices = [-STEP_N, STEP_N].map(|step| (source.n + step).clamp(low, high));
    let neighbours = indices.map(of_index);
    let (sin, cos) = source.theta.sin_cos();
    let q2 = source.q * source.q;
    let (mut all, mut by_r_e, mut by_n, mut by_q, mut by_theta) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for i in 0..N_ANGLES {
        let (dy, dx) = (PI * (i as f64 + 0.5) / N_ANGLES as f64).sin_cos();
        let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
        // Elliptical over circular radius in this direction.
        let stretch2 = u * u + v * v / q2;
        let r = stretch2.sqrt() * (half[1] / dx.abs()).min(half[0] / dy.abs());
        let part = 1.0 / (source.q * stretch2);
        let beyond = 1.0 - radial.within(r);
        // Light beyond falls by so much with the logarithm of the radius.
        let fall = TAU * r * r * radial.value(r);
        all += part * beyond;
        if N == N_PLANES {
            let (by_q_of_r, by_theta_of_r) = (
                -v * v / (q2 * source.q * stretch2),
                u * v * (1.0 - 1.0 / q2) / stretch2,
            );
            by_r_e += part * fall / source.r_e;
            by_n += part * (neighbours[0].within(r) - neighbours[1].within(r));
            by_q -= part * (beyond / source.q + (2.0 * beyond + fall) * by_q_of_r);
            by_theta -= part * (2.0 * beyond + fall) * by_theta_of_r;
        }
    }
    let planes = [
        all,
        0.0,
        0.0,
        by_r_e,
        by_n / (indices[1] - indices[0]),
        by_q,
        by_theta,
    ];
    let mean = 1.0 / (N_ANGLES as f64 * period[0] * period[1]);
    std::array::from_fn(|m| mean * planes[m])
}

/// Nodes of the squared radius.
type Squared = Octaves<3>;

/// A source of unit flux.
struct Ellipse {
    x: f64,
    y: f64,
    r_e: f64,
    q: f64,
    sin: f64,
    cos: f64,
    /// For each cell of the squared elliptical radius the surface brightness, and its derivative by the index.
    cells: Vec<[Cubic; 2]>,
    first: usize,
}

impl Ellipse {
    /// Of which no place nearer or further than two elliptical radii is looked at.
    fn new(source: &Profile, radial: &Radial, (nearest, furthest): (f64, f64)) -> Self {
        let (sin, cos) = source.theta.sin_cos();
        let first = Squared::cell(nearest * nearest);
        let end = |cell: usize| {
            let at = radial.surface(Squared::node(cell).sqrt());
            let by_n = at.value * at.by_n;
            // Derivatives by the logarithm of the squared radius.
            [
                [at.value, 0.5 * at.value * at.by_ln_r],
                [
                    by_n,
                    0.5 * (by_n * at.by_ln_r + at.value * at.by_n_and_ln_r),
                ],
            ]
        };
        let mut low = end(first);
        let cells = (first..=Squared::cell(furthest * furthest))
            .map(|cell| {
                let high = end(cell + 1);
                let cubics = [0, 1].map(|m| Squared::cubic(cell, low[m], high[m]));
                low = high;
                cubics
            })
            .collect();
        Self {
            x: source.x,
            y: source.y,
            r_e: source.r_e,
            q: source.q,
            sin,
            cos,
            cells,
            first,
        }
    }

    #[inline(always)]
    fn light<const N: usize>(&self, dx: f64, dy: f64) -> [f64; N] {
        let (u, v) = (self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx);
        let q2 = self.q * self.q;
        let r2 = u * u + v * v / q2;
        let (cell, t) = (Squared::cell(r2), Squared::place(r2));
        let [surface, index] = &self.cells[cell - self.first];
        let value = surface.at(t) / self.q;
        if N == 1 {
            return [value; N];
        }
        let by_ln_r = 2.0 * surface.slope(t) * Squared::over_length(cell, t) / self.q;
        // r^2 = u^2 + v^2 / q^2, and u and v turn with theta.
        let (by_u, by_v) = (by_ln_r * u / r2, by_ln_r * v / (q2 * r2));
        let planes = [
            value,
            self.sin * by_v - self.cos * by_u,
            -self.sin * by_u - self.cos * by_v,
            -(2.0 * value + by_ln_r) / self.r_e,
            index.at(t) / self.q,
            -by_v * v / self.q - value / self.q,
            by_ln_r * u * v * (1.0 - 1.0 / q2) / r2,
        ];
        std::array::from_fn(|m| planes[m])
    }

    /// The light of repetitions in square rings of periods, at a grid of nodes.
    fn sum<const N: usize>(
        &self,
        nodes: &[Vec<f64>; 2],
        period: [f64; 2],
        rings: std::ops::RangeInclusive<i32>,
    ) -> Vec<[f64; N]> {
        let reach = *rings.end();
        let mut out = vec![[0.0; N]; nodes[0].len() * nodes[1].len()];
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
                let light: [f64; N] = self.light(x - centre.1, y - centre.0);
                (0..N).for_each(|m| sum[m] += light[m]);
            }
        }
        out
    }
}
