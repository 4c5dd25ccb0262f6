//! Kron radius and half-light radius.

use rayon::prelude::*;

use super::SegmentationError;
use super::aperture::{Aperture, Footprint, Mirror, Photometer, State, rows, touched};
use super::moments::Ellipse;

/// Parameters of the Kron aperture, in units of the source's ellipse.
#[derive(Clone, Copy, Debug)]
pub struct KronParams {
    /// The aperture is this many first moments large.
    pub factor: f64,
    /// Its smallest radius.
    pub min_radius: f64,
    /// The first moment is taken within this radius.
    pub extent: f64,
}

/// First moment of the light's elliptical radius, `sum r I / sum I` over the pixels with `r <= extent`; NaN when a sum
/// is not positive.
///
/// # Source
/// Kron 1980, `ApJS` 43, 305; Bertin & Arnouts 1996, eq. for `r1`, with pixels of other sources as for the flux.
#[must_use]
pub fn kron_radius(photometer: &Photometer<'_>, ellipse: &Ellipse, label: i32, extent: f64) -> f64 {
    let (ny, nx) = photometer.data.shape();
    let mirror = Mirror::at(ellipse.x, ellipse.y);
    let (mut moment, mut light) = (0.0, 0.0);
    for y in touched(ellipse.y, extent * ellipse.y2.sqrt(), ny) {
        for x in touched(ellipse.x, extent * ellipse.x2.sqrt(), nx) {
            let r2 = ellipse.radius_squared(x as f64 - ellipse.x, y as f64 - ellipse.y);
            if r2 > extent * extent {
                continue;
            }
            let here = photometer.index(x, y);
            let state = here.map_or(State::Bad, |i| photometer.state(i, label));
            let counts = match (state, here) {
                (State::Good, Some(i)) => Some(i),
                _ => photometer.stand_in(&mirror, x, y, state, label),
            };
            if let Some(i) = counts {
                let value = f64::from(photometer.data.pixels()[i]);
                moment += r2.sqrt() * value;
                light += value;
            }
        }
    }
    if moment > 0.0 && light > 0.0 {
        moment / light
    } else {
        f64::NAN
    }
}

/// [`kron_radius`] of many ellipses, given as rows `(x, y, a, b, theta)`.
///
/// # Errors
/// When the shapes or the lengths differ.
pub fn kron_radii(
    photometer: &Photometer<'_>,
    ellipses: &[f64],
    owner: &[i32],
    extent: f64,
) -> Result<Vec<f64>, SegmentationError> {
    let photometer = photometer.checked()?;
    Ok(rows(ellipses, owner)?
        .map(|(e, label)| {
            crate::interrupt::poll();
            let ellipse = Ellipse::with_axes(e.x, e.y, e.a, e.b, e.theta);
            kron_radius(&photometer, &ellipse, label, extent)
        })
        .collect())
}

impl KronParams {
    /// Radius of the Kron aperture for a first moment (NaN gives the smallest one). No light within the extent has a mean
    /// radius beyond it; where negative pixels say so, the aperture would have no end.
    pub(super) fn radius(&self, first_moment: f64) -> f64 {
        (self.factor * first_moment.clamp(0.0, self.extent)).max(self.min_radius)
    }
}

/// Factor between the radii at which the growing circle is tried.
const GROWTH: f64 = 1.2;
const FIRST_RADIUS: f64 = 0.5;
const MAX_STEPS: usize = 20;
/// Fraction of the radius to which it is found.
const ACCURACY: f64 = 1e-4;

/// Smallest radius of a circle around `(x, y)` that holds a fraction of a flux; NaN when none up to `max_radius` does.
///
/// # Source
/// The root is found by the Illinois variant of false position, Dowell & Jarratt 1971, BIT 11, 168.
pub(super) fn light_radius(
    photometer: &Photometer<'_>,
    (x, y): (f64, f64),
    label: i32,
    (total, fraction): (f64, f64),
    max_radius: f64,
    footprint: &mut Footprint,
) -> f64 {
    if !(total > 0.0 && max_radius.is_finite()) {
        return f64::NAN;
    }
    let shape = photometer.data.shape();
    let mut above = |radius: f64| {
        let circle = Aperture {
            x,
            y,
            a: radius,
            b: radius,
            theta: 0.0,
        };
        footprint.lay(&circle, shape);
        let flux = photometer.sum(footprint, label).flux;
        if flux.is_nan() {
            -fraction
        } else {
            flux / total - fraction
        }
    };
    let (mut low, mut f_low) = (0.0, -fraction);
    let mut high = FIRST_RADIUS;
    let mut f_high = above(high);
    while f_high < 0.0 {
        if high >= max_radius {
            return f64::NAN;
        }
        (low, f_low) = (high, f_high);
        high = (high * GROWTH).min(max_radius);
        f_high = above(high);
    }
    for _ in 0..MAX_STEPS {
        if high - low < ACCURACY * high || f_high == 0.0 {
            break;
        }
        let radius = (high - f_high * (high - low) / (f_high - f_low)).clamp(low, high);
        let f = above(radius);
        if f.abs() < 0.1 * ACCURACY {
            return radius;
        }
        if f < 0.0 {
            (low, f_low) = (radius, f);
            f_high *= 0.5;
        } else {
            (high, f_high) = (radius, f);
            f_low *= 0.5;
        }
    }
    high
}
