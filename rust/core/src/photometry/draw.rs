//! Templates drawn from profiles behind a PSF that changes over the image.

use rayon::prelude::*;
use std::collections::BTreeMap;

use super::templates::Stamp;
use super::{PhotometryError, check_length};
use crate::image::{Image, Plane};
use crate::interrupt;
use crate::math::gamma::incomplete_gamma;
use crate::profiles::{Convolver, ProfileError, Response, Sersic};

/// Stamps are drawn with half sides of this ladder [pix], so that sources share the transform of the PSF.
const LEAST_HALF: f64 = 5.0;
const LADDER: f64 = 1.25;
/// Parameters of the shape: radius, index, axis ratio and angle.
pub(super) const N_SHAPE: usize = 4;
/// Spacing of the index in the table of radii.
const STEP_N: f64 = 0.05;

/// Effective PSFs, which hold the response of a pixel of the image, at the nodes of a grid of places.
pub struct PsfNodes<'a> {
    images: Vec<Plane<'a, f64>>,
    x: &'a [f64],
    y: &'a [f64],
    oversampling: usize,
}

impl<'a> PsfNodes<'a> {
    /// Images below each other, node row after node row, with `oversampling` pixels for each pixel of the image along an
    /// axis, at places that increase.
    ///
    /// # Errors
    /// When there are not as many rows as the nodes need, or a pixel is not finite.
    pub fn new(
        all: Plane<'a, f64>,
        x: &'a [f64],
        y: &'a [f64],
        oversampling: usize,
    ) -> Result<Self, PhotometryError> {
        let (n_nodes, (ny, nx)) = (x.len() * y.len(), all.shape());
        let each = ny / n_nodes.max(1);
        check_length("psf", ny, each * n_nodes)?;
        let images = all
            .pixels()
            .chunks_exact((each * nx).max(1))
            .map(|pixels| Plane::new("psf", pixels, (each, nx)))
            .collect::<Result<Vec<_>, _>>()?;
        let is_finite = |image: &Plane<'_, f64>| image.pixels().iter().all(|v| v.is_finite());
        if images.is_empty() || !images.iter().all(is_finite) {
            return Err(ProfileError::Psf.into());
        }
        Ok(Self {
            images,
            x,
            y,
            oversampling: oversampling.max(1),
        })
    }

    /// The nodes around a place and their weights: bilinear between nodes, constant outside of them.
    fn around(&self, x: f64, y: f64) -> Vec<(usize, f64)> {
        let (columns, rows) = (bracket(self.x, x), bracket(self.y, y));
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
        let of_one = |image: &Plane<'_, f64>| {
            let (ny, nx) = image.shape();
            let (cy, cx) = ((ny as f64 - 1.0) / 2.0, (nx as f64 - 1.0) / 2.0);
            let mut rings: Vec<(f64, f64)> = image
                .pixels()
                .iter()
                .enumerate()
                .map(|(i, &v)| (((i / nx) as f64 - cy).hypot((i % nx) as f64 - cx), v))
                .collect();
            rings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let total: f64 = image.pixels().iter().sum();
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

/// Radii that hold a part of a Sersic profile's light, over its effective radius.
struct Radii(Vec<f64>);

impl Radii {
    fn new(part: f64) -> Self {
        let n_steps = (10.0 / STEP_N) as usize;
        let ln_ratio = |i: usize| {
            let n = (i as f64 * STEP_N).max(0.1);
            let (outer, half) = (quantile(2.0 * n, part), quantile(2.0 * n, 0.5));
            n * (outer / half).ln()
        };
        Self((0..=n_steps).map(ln_ratio).collect())
    }

    fn of(&self, n: f64) -> f64 {
        let at = (n / STEP_N).clamp(0.0, self.0.len() as f64 - 1.0);
        let i = (at as usize).min(self.0.len() - 2);
        let part = at - i as f64;
        ((1.0 - part) * self.0[i] + part * self.0[i + 1]).exp()
    }
}

/// Where the incomplete gamma function reaches a part.
fn quantile(a: f64, part: f64) -> f64 {
    let (mut low, mut high) = (0.0, a + 10.0);
    while incomplete_gamma(a, high) < part {
        high *= 2.0;
    }
    for _ in 0..60 {
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
    source: Sersic,
    x: i64,
    y: i64,
    half: (i64, i64),
    class: usize,
}

/// Draws templates of profiles of unit flux, and their derivatives by the shape.
pub struct Drawer<'a> {
    psf: &'a PsfNodes<'a>,
    shape: (usize, usize),
    plans: Vec<Option<Plan>>,
    convolvers: BTreeMap<(usize, usize), Option<Convolver>>,
}

impl<'a> Drawer<'a> {
    /// For stamps that hold `enclosed` of the light or reach to `max_half` pixels from their middle, on an image of
    /// `shape`; a source with `r_e = 0` is a point.
    ///
    /// # Errors
    /// When a PSF cannot be used.
    pub fn new(
        sources: &[Sersic],
        psf: &'a PsfNodes<'a>,
        shape: (usize, usize),
        enclosed: f64,
        max_half: usize,
    ) -> Result<Self, PhotometryError> {
        // Of wide wings the sum counts: each of both, profile and PSF, may lose half.
        let part = 0.5 + 0.5 * enclosed;
        let (radii, reach) = (Radii::new(part), psf.radius(part));
        let plans: Vec<Option<Plan>> = sources
            .iter()
            .map(|one| plan(one, &radii, reach, shape, max_half))
            .collect();
        let mut convolvers: BTreeMap<(usize, usize), Option<Convolver>> = BTreeMap::new();
        for one in plans.iter().flatten() {
            for (node, _) in psf.around(one.source.x, one.source.y) {
                convolvers.entry((node, one.class)).or_default();
            }
        }
        convolvers
            .par_iter_mut()
            .try_for_each(|(&(node, half), slot)| {
                *slot = Some(convolver(&psf.images[node], half, psf.oversampling)?);
                Ok::<_, PhotometryError>(())
            })?;
        Ok(Self {
            psf,
            shape,
            plans,
            convolvers,
        })
    }

    /// Number of sources.
    #[must_use]
    pub fn n_sources(&self) -> usize {
        self.plans.len()
    }

    /// The stamp of a source, cut to the image, empty where it lies outside, and its light before the cut.
    ///
    /// # Errors
    /// When its profile cannot be drawn.
    pub fn stamp(&self, source: usize) -> Result<(Stamp, f64), PhotometryError> {
        let Some(plan) = &self.plans[source] else {
            return Ok((Stamp::default(), 0.0));
        };
        let mut values = vec![0.0; side(plan.half.0) * side(plan.half.1)];
        for (node, weight) in self.psf.around(plan.source.x, plan.source.y) {
            if let Some(Some(convolver)) = self.convolvers.get(&(node, plan.class)) {
                let image = convolver.draw(&[on_stamp(plan, weight)])?;
                add_image(plan, &image, &mut values);
            }
        }
        Ok((cut(plan, &values, self.shape), values.iter().sum()))
    }

    /// Derivatives of a source's stamp by `r_e`, `n`, `q` and `theta`; none for a point or outside of the image.
    ///
    /// # Errors
    /// When its profile cannot be drawn.
    pub fn by_shape(&self, source: usize) -> Result<Vec<Stamp>, PhotometryError> {
        let Some(plan) = self.plans[source].as_ref().filter(|p| p.source.r_e > 0.0) else {
            return Ok(Vec::new());
        };
        let n_values = side(plan.half.0) * side(plan.half.1);
        let mut values = vec![vec![0.0; n_values]; N_SHAPE];
        for (node, weight) in self.psf.around(plan.source.x, plan.source.y) {
            if let Some(Some(convolver)) = self.convolvers.get(&(node, plan.class)) {
                let drawing = convolver.draw_with_derivatives(&on_stamp(plan, weight))?;
                let slopes = drawing.by.iter().skip(drawing.by.len() - N_SHAPE);
                for (image, out) in slopes.zip(&mut values) {
                    add_image(plan, image, out);
                }
            }
        }
        Ok(values.iter().map(|v| cut(plan, v, self.shape)).collect())
    }
}

/// Templates of all sources, see [`Drawer`], and the light on each stamp before it was cut to the image.
///
/// # Errors
/// When a profile cannot be drawn.
pub fn draw(
    sources: &[Sersic],
    psf: &PsfNodes<'_>,
    shape: (usize, usize),
    enclosed: f64,
    max_half: usize,
) -> Result<(Vec<Stamp>, Vec<f64>), PhotometryError> {
    let drawer = Drawer::new(sources, psf, shape, enclosed, max_half)?;
    let drawn: Vec<(Stamp, f64)> = (0..drawer.n_sources())
        .into_par_iter()
        .map(|i| {
            interrupt::poll();
            drawer.stamp(i)
        })
        .collect::<Result<_, _>>()?;
    Ok(drawn.into_iter().unzip())
}

fn side(half: i64) -> usize {
    2 * half as usize + 1
}

fn plan(
    source: &Sersic,
    radii: &Radii,
    reach: f64,
    shape: (usize, usize),
    max_half: usize,
) -> Option<Plan> {
    let (sin, cos) = source.theta.sin_cos();
    let profile = if source.r_e > 0.0 {
        source.r_e * radii.of(source.n)
    } else {
        0.0
    };
    let (along_x, along_y) = (
        profile * cos.hypot(source.q * sin),
        profile * sin.hypot(source.q * cos),
    );
    let half = [along_y, along_x].map(|r| {
        let wanted = r.hypot(reach).ceil().max(LEAST_HALF);
        wanted.min(max_half.max(1) as f64) as i64
    });
    let (x, y) = (source.x.round() as i64, source.y.round() as i64);
    let is_on = x + half[1] >= 0
        && y + half[0] >= 0
        && x - half[1] < shape.1 as i64
        && y - half[0] < shape.0 as i64;
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
fn on_stamp(plan: &Plan, weight: f64) -> Sersic {
    let middle = plan.class as f64;
    Sersic {
        x: middle + plan.source.x - plan.x as f64,
        y: middle + plan.source.y - plan.y as f64,
        flux: weight,
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

fn cut(plan: &Plan, values: &[f64], shape: (usize, usize)) -> Stamp {
    let range = |middle: i64, half: i64, n: usize| {
        let first = (middle - half).max(0);
        first as usize..(middle + half + 1).clamp(first, n as i64) as usize
    };
    let rows = range(plan.y, plan.half.0, shape.0);
    let columns = range(plan.x, plan.half.1, shape.1);
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

    fn source(x: f64, y: f64, r_e: f64) -> Sersic {
        Sersic {
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
        let (stamps, light) = draw(&sources, &nodes, (50, 60), 0.999, 40).unwrap();
        for ((stamp, light), own) in stamps.iter().zip(&light).zip([0.0, sigma]) {
            assert!((light - 1.0).abs() < 2e-3, "{light}");
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
        let nodes = PsfNodes::new(
            Plane::new("psf", &psf, (41, 41)).unwrap(),
            &[0.0],
            &[0.0],
            1,
        )
        .unwrap();
        for (n, r_e) in [(0.5, 3.0), (1.0, 5.0), (2.5, 2.0), (4.0, 1.0)] {
            for enclosed in [0.9, 0.97, 0.99] {
                let one = Sersic {
                    n,
                    q: 0.4,
                    theta: 0.5,
                    ..source(300.2, 300.4, r_e)
                };
                let (_, light) = draw(&[one], &nodes, (600, 600), enclosed, 250).unwrap();
                assert!(
                    light[0] >= enclosed && light[0] < 1.001,
                    "{n} {r_e} {light:?}"
                );
            }
        }
    }

    #[test]
    fn sources_on_the_edge_are_cut_and_those_outside_are_empty() {
        let psf = gaussian(21, 1.5);
        let nodes = PsfNodes::new(
            Plane::new("psf", &psf, (21, 21)).unwrap(),
            &[0.0],
            &[0.0],
            1,
        )
        .unwrap();
        let sources = [source(0.0, 10.0, 0.0), source(-40.0, 10.0, 0.0)];
        let (stamps, light) = draw(&sources, &nodes, (30, 30), 0.99, 50).unwrap();
        assert_eq!((stamps[0].x0, stamps[1].ny), (0, 0));
        let inside: f32 = stamps[0].values.iter().sum();
        // The middle column is inside.
        assert!(light[0] > 0.99 && inside > 0.6 && inside < 0.65, "{inside}");
    }
}
