//! Windowed centroids.

use super::aperture::{Mirror, Photometer, State, touched};
use super::correlation::Factors;
use super::lattice::{ceil_at, floor_at, snapped};
use super::position::PositionErrors;

/// Pixels count within this many standard deviations of the window.
const REACH: f64 = 4.0;
const MAX_STEPS: usize = 30;
/// Steps end below this [pix].
const LAST_STEP: f64 = 2e-5;
/// The window's full width at half maximum is the diameter that holds half of the light: `sigma = 2 r / 2.3548`.
const SIGMA_PER_RADIUS: f64 = 0.849_321_8;
/// A centroid farther than this many half-light radii from where it started is none.
const FARTHEST: f64 = 2.0;

/// How far from the first centre pixels count for a half-light radius.
pub(super) fn reach(half_light_radius: f64) -> f64 {
    (FARTHEST + REACH * SIGMA_PER_RADIUS) * half_light_radius
}

/// A windowed centroid and its errors, NaN where the steps do not settle.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowedCentre {
    pub x: f64,
    pub y: f64,
    pub errors: PositionErrors,
}

impl WindowedCentre {
    pub(super) const UNKNOWN: Self = Self {
        x: f64::NAN,
        y: f64::NAN,
        errors: PositionErrors::UNKNOWN,
    };
}

/// Pixels in a Gaussian window at a centre, those that do not count replaced by the ones opposite to it.
struct Window<'a> {
    image: &'a Photometer<'a>,
    label: i32,
    sigma: f64,
}

impl Window<'_> {
    /// `(image index, place, weight, offset)` of the pixels around `(x, y)`.
    fn pixels(
        &self,
        (x0, y0): (f64, f64),
    ) -> impl Iterator<Item = (usize, (isize, isize), f64, [f64; 2])> + '_ {
        let (ny, nx) = self.image.data.shape();
        let mirror = Mirror::at(x0, y0);
        let reach = REACH * self.sigma;
        let columns = touched(x0, reach, nx);
        touched(y0, reach, ny)
            .flat_map(move |y| columns.clone().map(move |x| (x, y)))
            .filter_map(move |(x, y)| {
                let d = [x as f64 - x0, y as f64 - y0];
                let r2 = d[0] * d[0] + d[1] * d[1];
                if r2 > reach * reach {
                    return None;
                }
                let here = self.image.index(x, y);
                let state = here.map_or(State::Bad, |i| self.image.state(i, self.label));
                let (i, at) = match (state, here) {
                    (State::Good, Some(i)) => (i, (x, y)),
                    _ => (
                        self.image.stand_in(&mirror, x, y, state, self.label)?,
                        mirror.opposite(x, y),
                    ),
                };
                let weight = (-0.5 * r2 / (self.sigma * self.sigma)).exp();
                Some((i, at, weight, d))
            })
    }

    fn value(&self, i: usize) -> f64 {
        f64::from(self.image.data.pixels()[i])
    }

    /// Sums of `w I` and `w I d`.
    fn moments(&self, centre: (f64, f64)) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for (i, _, weight, [dx, dy]) in self.pixels(centre) {
            let light = weight * self.value(i);
            sums[0] += light;
            sums[1] += light * dx;
            sums[2] += light * dy;
        }
        sums
    }

    /// Errors of the root of `sum w I d = 0`: by the implicit function theorem the offset is `H^-1 sum w d n` for the
    /// noise `n`, with `H = sum w I (1 - d d^T / sigma^2)`.
    fn errors(&self, centre: (f64, f64)) -> PositionErrors {
        let s2 = self.sigma * self.sigma;
        let (mut hxx, mut hyy, mut hxy) = (0.0, 0.0, 0.0);
        for (i, _, weight, [dx, dy]) in self.pixels(centre) {
            let light = weight * self.value(i);
            hxx += light * (1.0 - dx * dx / s2);
            hyy += light * (1.0 - dy * dy / s2);
            hxy -= light * dx * dy / s2;
        }
        let determinant = hxx * hyy - hxy * hxy;
        if !(hxx > 0.0 && determinant > 0.0) {
            return PositionErrors::UNKNOWN;
        }
        let reach = REACH * self.sigma;
        let range = |c: f64| {
            (
                floor_at(c, -reach) as isize - 1,
                ceil_at(c, reach) as isize + 1,
            )
        };
        let [x, y] = Mirror::at(centre.0, centre.1).window(range(centre.0), range(centre.1));
        let mut along_x = Factors::zeros(x, y);
        let mut along_y = along_x.clone();
        for (_, (x, y), weight, [dx, dy]) in self.pixels(centre) {
            let scale = weight / determinant;
            along_x.add(x, y, scale * (hyy * dx - hxy * dy));
            along_y.add(x, y, scale * (hxx * dy - hxy * dx));
        }
        PositionErrors::of(self.image, &along_x, &along_y)
    }
}

/// Centroid in a Gaussian window whose full width at half maximum is the diameter that holds half of the light.
///
/// # Source
/// The `SExtractor` manual, "Windowed positional parameters": `x <- x + 2 sum w I (x_i - x) / sum w I`.
pub(super) fn windowed_centre(
    image: &Photometer<'_>,
    label: i32,
    start: (f64, f64),
    half_light_radius: f64,
) -> WindowedCentre {
    let window = Window {
        image,
        label,
        sigma: half_light_radius * SIGMA_PER_RADIUS,
    };
    let farthest = FARTHEST * half_light_radius;
    let (mut x, mut y) = start;
    for _ in 0..MAX_STEPS {
        let [light, mx, my] = window.moments((x, y));
        let (dx, dy) = (2.0 * mx / light, 2.0 * my / light);
        x = snapped(x + dx);
        y = snapped(y + dy);
        let off = (x - start.0).hypot(y - start.1);
        if !(light > 0.0 && off <= farthest) {
            return WindowedCentre::UNKNOWN;
        }
        if dx.abs().max(dy.abs()) < LAST_STEP {
            return WindowedCentre {
                x,
                y,
                errors: window.errors((x, y)),
            };
        }
    }
    WindowedCentre::UNKNOWN
}
