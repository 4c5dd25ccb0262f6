//! Windowed centroids.

use super::aperture::{Mirror, Photometer, touched};
use super::correlation::Factors;
use super::lattice::snapped;
use super::position::PositionErrors;

/// Pixels count within this many standard deviations of the window.
const REACH: f64 = 4.0;
const MAX_STEPS: usize = 30;
/// Steps end below this [pix].
const LAST_STEP: f64 = 2e-5;
/// The window's full width at half maximum is the diameter that holds half of the light: `sigma = 2 r / 2.3548`.
const SIGMA_PER_RADIUS: f64 = 0.849_321_8;
/// A centroid farther than this many half-light radii from where it started is none.
const FARTHEST: f64 = 1.0;

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
    /// Call `see` with image index, place, weight and offset of the pixels around `(x, y)`.
    fn each(
        &self,
        (x0, y0): (f64, f64),
        mut see: impl FnMut(usize, (isize, isize), f64, [f64; 2]),
    ) {
        let (ny, nx) = self.image.data.shape();
        let mirror = Mirror::at(x0, y0);
        let reach = REACH * self.sigma;
        let weight = |d: f64| (-0.5 * d * d / (self.sigma * self.sigma)).exp();
        let columns = touched(x0, reach, nx);
        let n = (columns.end() - columns.start() + 1).max(0) as usize;
        let across: Vec<f64> = columns.clone().map(|x| weight(x as f64 - x0)).collect();
        for y in touched(y0, reach, ny) {
            let dy = y as f64 - y0;
            let along = weight(dy);
            let good = (self.image).good_run(*columns.start(), y, n, self.label);
            for ((k, x), across) in columns.clone().enumerate().zip(&across) {
                let dx = x as f64 - x0;
                if dx * dx + dy * dy > reach * reach {
                    continue;
                }
                let here = good.map(|i| i + k);
                let here = here.or_else(|| self.image.counting(&mirror, x, y, self.label));
                if let Some(i) = here {
                    let at = ((i % nx) as isize, (i / nx) as isize);
                    see(i, at, across * along, [dx, dy]);
                }
            }
        }
    }

    fn value(&self, i: usize) -> f64 {
        f64::from(self.image.data.pixels()[i])
    }

    /// Sums of `w I` and `w I d`.
    fn moments(&self, centre: (f64, f64)) -> [f64; 3] {
        let mut sums = [0.0; 3];
        self.each(centre, |i, _, weight, [dx, dy]| {
            let light = weight * self.value(i);
            sums[0] += light;
            sums[1] += light * dx;
            sums[2] += light * dy;
        });
        sums
    }

    /// Errors of the root of `sum w I d = 0`: by the implicit function theorem the offset is `H^-1 sum w d n` for the
    /// noise `n`, with `H = sum w I (1 - d d^T / sigma^2)`.
    fn errors(&self, centre: (f64, f64)) -> PositionErrors {
        let s2 = self.sigma * self.sigma;
        let (mut hxx, mut hyy, mut hxy) = (0.0, 0.0, 0.0);
        self.each(centre, |i, _, weight, [dx, dy]| {
            let light = weight * self.value(i);
            hxx += light * (1.0 - dx * dx / s2);
            hyy += light * (1.0 - dy * dy / s2);
            hxy -= light * dx * dy / s2;
        });
        let determinant = hxx * hyy - hxy * hxy;
        if !(hxx > 0.0 && determinant > 0.0) {
            return PositionErrors::UNKNOWN;
        }
        let reach = REACH * self.sigma;
        let [x, y] = Mirror::window_around(centre, [reach, reach]);
        let mut along_x = Factors::zeros(x, y);
        let mut along_y = along_x.clone();
        self.each(centre, |_, (x, y), weight, [dx, dy]| {
            let scale = weight / determinant;
            along_x.add(x, y, scale * (hyy * dx - hxy * dy));
            along_y.add(x, y, scale * (hxx * dy - hxy * dx));
        });
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
