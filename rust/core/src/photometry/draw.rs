//! Templates drawn from profiles behind a PSF that changes over the image.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::templates::Stamp;
use super::{PhotometryError, check_length};
use crate::image::{Image, Plane};
use crate::interrupt;
use crate::math::gamma::incomplete_gamma;
use crate::profiles::{Convolver, Family, Profile, ProfileError, Response};

/// Stamps are drawn with half sides of this ladder [pix], so that sources share the transform of the PSF.
const LEAST_HALF: f64 = 5.0;
const LADDER: f64 = 1.12;
/// Parameters of the shape: radius, index, axis ratio and angle.
pub(super) const N_SHAPE: usize = 4;
/// Spacing of the index in the table of radii.
const STEP_N: f64 = 0.05;
/// Halvings of the interval in which a radius of the table is looked for.
const N_HALVINGS: usize = 24;

/// Sources of rows `(family, x, y, flux, r_e, n, q, theta)` one after the other, of which there may be none.
///
/// # Errors
/// When the last row is not complete.
pub fn sources_of(rows: &[f64]) -> Result<Vec<Profile>, PhotometryError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let n_columns = 8;
    check_length("rows", rows.len(), rows.len() / n_columns * n_columns)?;
    let plane = Plane::new("rows", rows, (rows.len() / n_columns, n_columns))?;
    Ok(Profile::of_rows(plane)?)
}

/// Effective PSFs, which hold the response of a pixel of the image, at the nodes of a grid of places.
pub struct PsfNodes {
    images: Vec<Vec<f64>>,
    shape: (usize, usize),
    x: Vec<f64>,
    y: Vec<f64>,
    oversampling: usize,
}

impl PsfNodes {
    /// Images below each other, node row after node row, with `oversampling` pixels for each pixel of the image along an
    /// axis, at places that increase.
    ///
    /// # Errors
    /// When there are not as many rows as the nodes need, or a pixel is not finite.
    pub fn new(
        all: Plane<'_, f64>,
        x: &[f64],
        y: &[f64],
        oversampling: usize,
    ) -> Result<Self, PhotometryError> {
        let (n_nodes, (ny, nx)) = (x.len() * y.len(), all.shape());
        let each = ny / n_nodes.max(1);
        check_length("psf", ny, each * n_nodes)?;
        let images: Vec<Vec<f64>> = all
            .pixels()
            .chunks_exact((each * nx).max(1))
            .map(<[f64]>::to_vec)
            .collect();
        if images.is_empty() || !all.pixels().iter().all(|v| v.is_finite()) {
            return Err(ProfileError::Psf.into());
        }
        Ok(Self {
            images,
            shape: (each, nx),
            x: x.to_vec(),
            y: y.to_vec(),
            oversampling: oversampling.max(1),
        })
    }

    fn image(&self, node: usize) -> Result<Plane<'_, f64>, PhotometryError> {
        Ok(Plane::new("psf", &self.images[node], self.shape)?)
    }

    /// The nodes around a place and their weights: bilinear between nodes, constant outside of them.
    fn around(&self, x: f64, y: f64) -> Vec<(usize, f64)> {
        let (columns, rows) = (bracket(&self.x, x), bracket(&self.y, y));
        rows.iter()
            .flat_map(|&(j, wy)| {
                columns
                    .iter()
                    .map(move |&(i, wx)| (j * self.x.len() + i, wx * wy))
            })
            .filter(|&(_, w)| w > 0.0)
            .collect()
    }

    /// Largest radius around the middle that holds a part of the light of a node's image [pix of the sky image].
    fn radius(&self, part: f64) -> f64 {
        let (ny, nx) = self.shape;
        let (cy, cx) = ((ny as f64 - 1.0) / 2.0, (nx as f64 - 1.0) / 2.0);
        let of_one = |image: &Vec<f64>| {
            let mut rings: Vec<(f64, f64)> = image
                .iter()
                .enumerate()
                .map(|(i, &v)| (((i / nx) as f64 - cy).hypot((i % nx) as f64 - cx), v))
                .collect();
            rings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let total: f64 = image.iter().sum();
            let mut within = 0.0;
            rings
                .iter()
                .find(|(_, v)| {
                    within += v;
                    within >= part * total
                })
                .or(rings.last())
                .map_or(0.0, |ring| ring.0)
        };
        let widest = self.images.iter().map(of_one).fold(0.0, f64::max);
        widest / self.oversampling as f64
    }
}

fn bracket(places: &[f64], value: f64) -> [(usize, f64); 2] {
    let last = places.len() - 1;
    let after = places.partition_point(|&p| p <= value);
    if after == 0 || after > last {
        return [(if after == 0 { 0 } else { last }, 1.0), (0, 0.0)];
    }
    let part = (value - places[after - 1]) / (places[after] - places[after - 1]);
    [(after - 1, 1.0 - part), (after, part)]
}

/// Radii that hold a part of a profile's light, over its half-light radius.
struct Radii {
    part: f64,
    /// Logarithms for Sersic profiles, at steps of the index.
    sersic: Vec<f64>,
}

impl Radii {
    fn new(part: f64) -> Self {
        let n_steps = (10.0 / STEP_N) as usize;
        let ln_ratio = |i: usize| {
            let n = (i as f64 * STEP_N).max(0.1);
            let (outer, half) = (quantile(2.0 * n, part), quantile(2.0 * n, 0.5));
            n * (outer / half).ln()
        };
        Self {
            part,
            sersic: (0..=n_steps).map(ln_ratio).collect(),
        }
    }

    fn of(&self, source: &Profile) -> f64 {
        match source.family {
            Family::Sersic => self.of_sersic(source.n),
            Family::Moffat => {
                // The light beyond r is (1 + (r / a)^2)^(1 - beta).
                let beyond = |light: f64| light.powf(1.0 / (1.0 - source.n)) - 1.0;
                (beyond(1.0 - self.part) / beyond(0.5)).sqrt()
            }
        }
    }

    fn of_sersic(&self, n: f64) -> f64 {
        let at = (n / STEP_N).clamp(0.0, self.sersic.len() as f64 - 1.0);
        let i = (at as usize).min(self.sersic.len() - 2);
        let part = at - i as f64;
        ((1.0 - part) * self.sersic[i] + part * self.sersic[i + 1]).exp()
    }
}

/// Where the incomplete gamma function reaches a part.
fn quantile(a: f64, part: f64) -> f64 {
    let (mut low, mut high) = (0.0, a + 10.0);
    while incomplete_gamma(a, high) < part {
        high *= 2.0;
    }
    for _ in 0..N_HALVINGS {
        let middle = 0.5 * (low + high);
        if incomplete_gamma(a, middle) < part {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// A source and the window that it is drawn in.
struct Plan {
    source: Profile,
    x: i64,
    y: i64,
    half: (i64, i64),
    class: usize,
}

/// A node of the PSF, and the half side of the stamps.
type Key = (usize, usize);
type Convolvers = BTreeMap<Key, Arc<Convolver>>;

/// Draws templates of profiles of unit flux on an image, and their derivatives.
pub struct Drawer {
    psf: PsfNodes,
    shape: (usize, usize),
    max_half: usize,
    radii: Radii,
    reach: f64,
    /// Those that were needed so far: all templates of an image share them.
    convolvers: Mutex<Convolvers>,
}

impl Drawer {
    /// For stamps that hold `enclosed` of the light or reach to `max_half` pixels from their middle, on an image of
    /// `shape`; a source with `r_e = 0` is a point.
    #[must_use]
    pub fn new(psf: PsfNodes, shape: (usize, usize), enclosed: f64, max_half: usize) -> Self {
        // Of wide wings the sum counts: each of both, profile and PSF, may lose half.
        let part = 0.5 + 0.5 * enclosed;
        Self {
            radii: Radii::new(part),
            reach: psf.radius(part),
            psf,
            shape,
            max_half,
            convolvers: Mutex::default(),
        }
    }

    /// `(ny, nx)` of the image.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// First row and column and number of both of the stamp of each source; all 0 outside of the image.
    #[must_use]
    pub fn windows(&self, sources: &[Profile]) -> Vec<[usize; 4]> {
        let window = |one: &Profile| {
            self.plan(one).map_or([0; 4], |plan| {
                let (rows, columns) = plan.cut(self.shape);
                [rows.start, columns.start, rows.len(), columns.len()]
            })
        };
        sources.iter().map(window).collect()
    }

    /// Templates of `n_sources`, the sums of the components that they own by `owners`, on the image; empty outside of
    /// it. `has_moves` asks for their derivatives by the place, too.
    ///
    /// # Errors
    /// When a component has no owner, or its profile cannot be drawn.
    pub fn draw(
        &self,
        components: &[Profile],
        owners: &[usize],
        n_sources: usize,
        has_moves: bool,
    ) -> Result<Vec<Stamp>, PhotometryError> {
        check_length("owners", owners.len(), components.len())?;
        if let Some(&owner) = owners.iter().find(|&&owner| owner >= n_sources) {
            return Err(PhotometryError::Owner { owner, n_sources });
        }
        let planned = self.planned(components)?;
        let parts: Vec<Stamp> = (0..components.len())
            .into_par_iter()
            .map(|i| {
                interrupt::poll();
                planned.stamp(i, has_moves)
            })
            .collect::<Result<_, _>>()?;
        let mut stamps = vec![Stamp::default(); n_sources];
        for (part, &owner) in parts.into_iter().zip(owners) {
            stamps[owner].join(part);
        }
        Ok(stamps)
    }

    /// Sources ready to be drawn.
    pub(super) fn planned(&self, sources: &[Profile]) -> Result<Planned<'_>, PhotometryError> {
        let plans: Vec<Option<Plan>> = sources.iter().map(|one| self.plan(one)).collect();
        let mut keys: Vec<Key> = plans
            .iter()
            .flatten()
            .flat_map(|plan| {
                let around = self.psf.around(plan.source.x, plan.source.y);
                around.into_iter().map(|(node, _)| (node, plan.class))
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        // No lock is held while threads work: one of them might wait for it.
        let known = self.locked().clone();
        let made: Convolvers = keys
            .par_iter()
            .filter(|key| !known.contains_key(key))
            .map(|&(node, half)| {
                let image = self.psf.image(node)?;
                let one = convolver(&image, half, self.psf.oversampling)?;
                Ok(((node, half), Arc::new(one)))
            })
            .collect::<Result<_, PhotometryError>>()?;
        let mut convolvers = self.locked();
        convolvers.extend(made);
        Ok(Planned {
            drawer: self,
            plans,
            convolvers: convolvers.clone(),
        })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Convolvers> {
        self.convolvers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, source: &Profile) -> Option<Plan> {
        let (sin, cos) = source.theta.sin_cos();
        let profile = if source.r_e > 0.0 {
            source.r_e * self.radii.of(source)
        } else {
            0.0
        };
        let (along_x, along_y) = (
            profile * cos.hypot(source.q * sin),
            profile * sin.hypot(source.q * cos),
        );
        let half = [along_y, along_x].map(|r| {
            let wanted = r.hypot(self.reach).ceil().max(LEAST_HALF);
            wanted.min(self.max_half.max(1) as f64) as i64
        });
        let (x, y) = (source.x.round() as i64, source.y.round() as i64);
        let is_on = x + half[1] >= 0
            && y + half[0] >= 0
            && x - half[1] < self.shape.1 as i64
            && y - half[0] < self.shape.0 as i64;
        let largest = half[0].max(half[1]) as f64;
        let rung = ((largest / LEAST_HALF).ln() / LADDER.ln()).ceil().max(0.0);
        let class = (LEAST_HALF * LADDER.powf(rung)).ceil() as usize;
        (is_on && source.x.is_finite() && source.y.is_finite()).then_some(Plan {
            source: *source,
            x,
            y,
            half: (half[0], half[1]),
            class,
        })
    }
}

/// Sources with their windows and what draws them.
pub(super) struct Planned<'a> {
    drawer: &'a Drawer,
    plans: Vec<Option<Plan>>,
    convolvers: Convolvers,
}

impl Planned<'_> {
    /// The stamp of a source, cut to the image, empty where it lies outside.
    fn stamp(&self, source: usize, has_moves: bool) -> Result<Stamp, PhotometryError> {
        let Some(plan) = &self.plans[source] else {
            return Ok(Stamp::default());
        };
        if !has_moves {
            let [values] = self.images(plan, |convolver, one| Ok([convolver.draw(&[*one])?]))?;
            return Ok(cut(plan, &values, self.drawer.shape));
        }
        let [values, by_x, by_y] =
            self.images(plan, |convolver, one| Ok(convolver.draw_with_moves(one)?))?;
        let by_place = [by_x, by_y].map(|v| cut(plan, &v, self.drawer.shape).values);
        Ok(Stamp {
            by_place,
            ..cut(plan, &values, self.drawer.shape)
        })
    }

    /// Derivatives of a source's stamp by `r_e`, `n`, `q` and `theta`; none for a point or outside of the image.
    pub(super) fn by_shape(&self, source: usize) -> Result<Vec<Stamp>, PhotometryError> {
        let Some(plan) = self.plans[source].as_ref().filter(|p| p.source.r_e > 0.0) else {
            return Ok(Vec::new());
        };
        let slopes: [Vec<f64>; N_SHAPE] = self.images(plan, |convolver, one| {
            let drawing = convolver.draw_with_derivatives(one)?;
            let [.., by_r_e, by_n, by_q, by_theta] = drawing.by.as_slice() else {
                return Err(ProfileError::Psf.into());
            };
            Ok([by_r_e, by_n, by_q, by_theta].map(Clone::clone))
        })?;
        Ok(slopes.map(|v| cut(plan, &v, self.drawer.shape)).to_vec())
    }

    /// Images of a source behind the PSFs of the nodes around it, added up on its window.
    fn images<const N: usize>(
        &self,
        plan: &Plan,
        draw: impl Fn(&Convolver, &Profile) -> Result<[Image<f64>; N], PhotometryError>,
    ) -> Result<[Vec<f64>; N], PhotometryError> {
        let n_values = side(plan.half.0) * side(plan.half.1);
        let mut sums: [Vec<f64>; N] = std::array::from_fn(|_| vec![0.0; n_values]);
        for (node, weight) in self.drawer.psf.around(plan.source.x, plan.source.y) {
            if let Some(convolver) = self.convolvers.get(&(node, plan.class)) {
                let drawn = draw(convolver, &on_stamp(plan, weight))?;
                for (image, sum) in drawn.iter().zip(&mut sums) {
                    add_image(plan, image, sum);
                }
            }
        }
        Ok(sums)
    }
}

fn side(half: i64) -> usize {
    2 * half as usize + 1
}

/// Draws stamps of a half side.
fn convolver(
    psf: &Plane<'_, f64>,
    half: usize,
    oversampling: usize,
) -> Result<Convolver, PhotometryError> {
    let side = 2 * half + 1;
    // Light from within the stamp comes from no farther than its diagonal.
    let far = 3 * half * oversampling;
    let (ny, nx) = psf.shape();
    let keep = |n: usize| {
        let cut = n.saturating_sub(2 * far + 2) / 2;
        cut..n - cut
    };
    let (rows, columns) = (keep(ny), keep(nx));
    let kept: Vec<f64> = rows
        .clone()
        .flat_map(|y| psf.row(y)[columns.clone()].iter().copied())
        .collect();
    let middle = |n: usize| 0.5 * (n as f64 - 1.0);
    let response = Response {
        image: Plane::new("psf", &kept, (rows.len(), columns.len()))?,
        centre: (middle(rows.len()), middle(columns.len())),
        oversampling,
        has_pixel: true,
    };
    Ok(Convolver::new(&response, (side, side))?)
}

/// A source on the pixels of its class.
fn on_stamp(plan: &Plan, weight: f64) -> Profile {
    let middle = plan.class as f64;
    Profile {
        x: middle + plan.source.x - plan.x as f64,
        y: middle + plan.source.y - plan.y as f64,
        flux: weight * plan.source.flux,
        ..plan.source
    }
}

/// Add what was drawn to the values of a stamp.
fn add_image(plan: &Plan, image: &Image<f64>, values: &mut [f64]) {
    let nx = image.shape().1;
    let (y0, x0) = (
        plan.class - plan.half.0 as usize,
        plan.class - plan.half.1 as usize,
    );
    for (j, row) in values.chunks_exact_mut(side(plan.half.1)).enumerate() {
        let there = &image.pixels()[(y0 + j) * nx + x0..];
        row.iter_mut().zip(there).for_each(|(v, p)| *v += p);
    }
}

impl Plan {
    /// Rows and columns of its window on an image of `shape`.
    fn cut(&self, shape: (usize, usize)) -> (Range<usize>, Range<usize>) {
        let range = |middle: i64, half: i64, n: usize| {
            let first = (middle - half).max(0);
            first as usize..(middle + half + 1).clamp(first, n as i64) as usize
        };
        (
            range(self.y, self.half.0, shape.0),
            range(self.x, self.half.1, shape.1),
        )
    }
}

fn cut(plan: &Plan, values: &[f64], shape: (usize, usize)) -> Stamp {
    let (rows, columns) = plan.cut(shape);
    let (below, left) = (
        (rows.start as i64 - plan.y + plan.half.0) as usize,
        (columns.start as i64 - plan.x + plan.half.1) as usize,
    );
    let width = side(plan.half.1);
    let values = (below..below + rows.len())
        .flat_map(|y| {
            let first = y * width + left;
            values[first..first + columns.len()]
                .iter()
                .map(|&v| v as f32)
        })
        .collect();
    Stamp {
        y0: rows.start,
        x0: columns.start,
        ny: rows.len(),
        nx: columns.len(),
        values,
        ..Stamp::default()
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn gaussian(side: usize, sigma: f64) -> Vec<f64> {
        let c = (side as f64 - 1.0) / 2.0;
        (0..side * side)
            .map(|i| ((i % side) as f64 - c, (i / side) as f64 - c))
            .map(|(x, y)| {
                (-0.5 * (x * x + y * y) / (sigma * sigma)).exp() / (2.0 * PI * sigma * sigma)
            })
            .collect()
    }

    fn one_node(psf: &[f64], side: usize) -> PsfNodes {
        let plane = Plane::new("psf", psf, (side, side)).unwrap();
        PsfNodes::new(plane, &[0.0], &[0.0], 1).unwrap()
    }

    fn light(stamp: &Stamp) -> f64 {
        stamp.values.iter().map(|&v| f64::from(v)).sum()
    }

    fn source(x: f64, y: f64, r_e: f64) -> Profile {
        Profile {
            family: Family::Sersic,
            x,
            y,
            flux: 1.0,
            r_e,
            n: 0.5,
            q: 1.0,
            theta: 0.0,
        }
    }

    #[test]
    fn points_and_profiles_between_nodes_are_gaussians_of_the_right_width() {
        // Fine pixels, two nodes with different widths: the mean of both, half way between them.
        let oversampling = 3;
        let (narrow, wide) = (gaussian(61, 3.0), gaussian(61, 4.5));
        let both = [narrow, wide].concat();
        let both = Plane::new("psf", &both, (122, 61)).unwrap();
        let nodes = PsfNodes::new(both, &[0.0, 60.0], &[0.0], oversampling).unwrap();
        let sigma = 1.7;
        let sources = [
            source(30.0, 25.3, 0.0),
            source(30.0, 25.3, sigma * (2.0 * 2.0_f64.ln()).sqrt()),
        ];
        let drawer = Drawer::new(nodes, (50, 60), 0.999, 40);
        let stamps = drawer.draw(&sources, &[0, 1], 2, false).unwrap();
        for (stamp, own) in stamps.iter().zip([0.0, sigma]) {
            assert!((light(stamp) - 1.0).abs() < 2e-3, "{}", light(stamp));
            for (i, &found) in stamp.values.iter().enumerate() {
                let dx = (stamp.x0 + i % stamp.nx) as f64 - 30.0;
                let dy = (stamp.y0 + i / stamp.nx) as f64 - 25.3;
                let expected: f64 = [1.0, 1.5]
                    .iter()
                    .map(|s| {
                        let s2 = s * s + own * own;
                        (-0.5 * (dx * dx + dy * dy) / s2).exp() / (4.0 * PI * s2)
                    })
                    .sum();
                assert!((f64::from(found) - expected).abs() < 2e-5, "{dx} {dy}");
            }
        }
    }

    #[test]
    fn stamps_hold_the_light_that_they_promise() {
        let psf = gaussian(41, 1.5);
        for (family, n, r_e) in [
            (Family::Sersic, 0.5, 3.0),
            (Family::Sersic, 1.0, 5.0),
            (Family::Sersic, 2.5, 2.0),
            (Family::Sersic, 4.0, 1.0),
            (Family::Moffat, 2.0, 3.0),
            (Family::Moffat, 4.5, 6.0),
        ] {
            for enclosed in [0.9, 0.97, 0.99] {
                let one = Profile {
                    family,
                    n,
                    q: 0.4,
                    theta: 0.5,
                    ..source(300.2, 300.4, r_e)
                };
                let drawer = Drawer::new(one_node(&psf, 41), (600, 600), enclosed, 250);
                let stamps = drawer.draw(&[one], &[0], 1, false).unwrap();
                let found = light(&stamps[0]);
                assert!(found >= enclosed && found < 1.001, "{n} {r_e} {found}");
            }
        }
    }

    #[test]
    fn sources_on_the_edge_are_cut_and_those_outside_are_empty() {
        let psf = gaussian(21, 1.5);
        let sources = [source(0.0, 10.0, 0.0), source(-40.0, 10.0, 0.0)];
        let drawer = Drawer::new(one_node(&psf, 21), (30, 30), 0.99, 50);
        let stamps = drawer.draw(&sources, &[0, 1], 2, false).unwrap();
        assert_eq!((stamps[0].x0, stamps[1].ny), (0, 0));
        let window = drawer.windows(&sources);
        let one = &stamps[0];
        assert_eq!(window, [[one.y0, one.x0, one.ny, one.nx], [0; 4]]);
        // The middle column is inside.
        assert!(light(one) > 0.6 && light(one) < 0.65, "{}", light(one));
    }

    #[test]
    fn derivatives_are_those_of_moved_sources_up_to_the_edge_of_the_image() {
        // A narrow PSF, of which pixels alone would not say the slope, and a middle on the edge.
        for (x, y, r_e) in [(0.2, 20.3, 0.0), (17.6, 0.9, 0.6), (20.1, 29.4, 2.5)] {
            let sigma = 0.75;
            let fine: Vec<f64> = gaussian(45, 3.0 * sigma);
            let nodes = || {
                let plane = Plane::new("psf", &fine, (45, 45)).unwrap();
                PsfNodes::new(plane, &[0.0], &[0.0], 3).unwrap()
            };
            let drawer = Drawer::new(nodes(), (30, 40), 0.99, 50);
            let here = drawer.draw(&[source(x, y, r_e)], &[0], 1, true).unwrap();
            let h = 1e-3;
            for axis in 0..2 {
                let moved = |by: f64| {
                    let one = source(
                        x + if axis == 0 { by } else { 0.0 },
                        y + if axis == 1 { by } else { 0.0 },
                        r_e,
                    );
                    drawer.draw(&[one], &[0], 1, false).unwrap()
                };
                let (up, down) = (moved(h), moved(-h));
                let slopes: Vec<f64> = up[0]
                    .values
                    .iter()
                    .zip(&down[0].values)
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)) / (2.0 * h))
                    .collect();
                let largest = slopes.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
                // Values are float32: their difference over the step has an error of some 1e-5.
                for (found, expected) in here[0].by_place[axis].iter().zip(&slopes) {
                    let off = f64::from(*found) - expected;
                    assert!(off.abs() < 2e-3 * largest + 5e-5, "{x} {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn components_of_a_source_are_added_up() {
        let psf = gaussian(21, 1.5);
        let drawer = Drawer::new(one_node(&psf, 21), (60, 60), 0.99, 50);
        let parts = [
            Profile {
                flux: 0.3,
                ..source(30.2, 25.0, 0.0)
            },
            Profile {
                flux: 0.7,
                ..source(30.2, 25.0, 4.0)
            },
        ];
        let both = drawer.draw(&parts, &[1, 1], 2, true).unwrap();
        let alone = drawer.draw(&parts, &[0, 1], 2, true).unwrap();
        assert_eq!(both[0].ny, 0);
        let (wide, small) = (&alone[1], &alone[0]);
        assert_eq!((both[1].ny, both[1].nx), (wide.ny, wide.nx));
        let sum = |stamp: &Stamp| stamp.by_place[0].iter().map(|v| v.abs()).sum::<f32>();
        assert!((light(&both[1]) - light(wide) - light(small)).abs() < 1e-6);
        assert!(sum(&both[1]) > sum(wide));
        assert!(drawer.draw(&parts, &[0, 2], 2, false).is_err());
    }
}
