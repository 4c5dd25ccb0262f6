//! Radii of circles that hold a fraction of a source's light.

use super::aperture::{Mirror, Photometer, touched};
use super::overlap::Outline;

/// Factor between the radii at which the growing circle is tried.
const GROWTH: f64 = 1.2;
const FIRST_RADIUS: f64 = 0.5;
const MAX_STEPS: usize = 20;
/// Fraction of the radius to which it is found.
const ACCURACY: f64 = 1e-4;
/// Where a circle lacks or exceeds its light by more than this fraction of all, an estimate of what it holds will do.
const MARGIN: f64 = 0.1;
const HALF_DIAGONAL: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// A pixel around a source, or what stands in for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lit {
    dx: f64,
    dy: f64,
    r: f64,
    value: f64,
}

/// The light of a source out to a radius that grows when it is needed.
struct Disc<'a> {
    photometer: &'a Photometer<'a>,
    centre: (f64, f64),
    label: i32,
    pixels: &'a mut Vec<Lit>,
    reach: f64,
}

impl Disc<'_> {
    /// Take up all pixels that a circle touches; half of them are for the circles to come.
    fn cover(&mut self, radius: f64) {
        if radius + HALF_DIAGONAL <= self.reach {
            return;
        }
        self.reach = 1.5 * (radius + HALF_DIAGONAL) + 1.0;
        self.pixels.clear();
        let (x0, y0) = self.centre;
        let image = self.photometer;
        let (ny, nx) = image.data.shape();
        let mirror = Mirror::at(x0, y0);
        for y in touched(y0, self.reach, ny) {
            let dy = y as f64 - y0;
            let half = (self.reach.powi(2) - dy * dy).max(0.0).sqrt();
            let columns = touched(x0, half, nx);
            let n = (columns.end() - columns.start() + 1).max(0) as usize;
            let good = image.good_run(*columns.start(), y, n, self.label);
            for (k, x) in columns.enumerate() {
                let index = good
                    .map(|i| i + k)
                    .or_else(|| image.counting(&mirror, x, y, self.label));
                if let Some(i) = index {
                    let dx = x as f64 - x0;
                    self.pixels.push(Lit {
                        dx,
                        dy,
                        r: (dx * dx + dy * dy).sqrt(),
                        value: f64::from(image.data.pixels()[i]),
                    });
                }
            }
        }
    }

    /// What a circle holds.
    fn flux(&mut self, radius: f64) -> f64 {
        self.cover(radius);
        let circle = Outline::new(radius, radius, 0.0);
        let inner = radius - HALF_DIAGONAL;
        let outer = radius + HALF_DIAGONAL;
        let near = self.pixels.iter().filter(|p| p.r < outer);
        near.map(|p| {
            if p.r <= inner {
                p.value
            } else {
                p.value * circle.overlap(p.dx, p.dy)
            }
        })
        .sum()
    }

    /// About what a circle holds: as if every pixel were crossed by a straight line towards its centre.
    fn estimate(&mut self, radius: f64) -> f64 {
        self.cover(radius);
        let part = |p: &Lit| (radius - p.r + 0.5).clamp(0.0, 1.0);
        self.pixels.iter().map(|p| p.value * part(p)).sum()
    }
}

/// Smallest radius of a circle around `centre` that holds a fraction of a flux; NaN when none up to `max_radius` does.
///
/// # Source
/// The root is found by the Illinois variant of false position, Dowell & Jarratt 1971, BIT 11, 168.
pub(super) fn light_radius(
    photometer: &Photometer<'_>,
    centre: (f64, f64),
    label: i32,
    (total, fraction): (f64, f64),
    max_radius: f64,
    pixels: &mut Vec<Lit>,
) -> f64 {
    if !(total > 0.0 && max_radius > 0.0 && max_radius.is_finite()) {
        return f64::NAN;
    }
    let mut disc = Disc {
        photometer,
        centre,
        label,
        pixels,
        reach: 0.0,
    };
    let mut grown = |radius: f64| {
        let above = disc.estimate(radius) / total - fraction;
        if above.abs() > MARGIN {
            above
        } else {
            disc.flux(radius) / total - fraction
        }
    };
    let (mut low, mut f_low) = (0.0, -fraction);
    let mut high = FIRST_RADIUS.min(max_radius);
    let mut f_high = grown(high);
    while f_high < 0.0 {
        if high >= max_radius {
            return f64::NAN;
        }
        (low, f_low) = (high, f_high);
        high = (high * GROWTH).min(max_radius);
        f_high = grown(high);
    }
    for _ in 0..MAX_STEPS {
        if high - low < ACCURACY * high || f_high == 0.0 {
            break;
        }
        let radius = (high - f_high * (high - low) / (f_high - f_low)).clamp(low, high);
        let f = disc.flux(radius) / total - fraction;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Plane;
    use crate::segmentation::Neighbours;

    #[test]
    fn no_radius_is_larger_than_the_largest() {
        let pixels = [1.0_f32; 81];
        let photometer = Photometer {
            data: Plane::new("data", &pixels, (9, 9)).unwrap(),
            variance: None,
            mask: None,
            labels: None,
            neighbours: Neighbours::Keep,
            noise_correlation: 1.0,
            correlation: None,
        };
        let radius = |fraction, max_radius| {
            let total = (std::f64::consts::PI, fraction);
            light_radius(
                &photometer,
                (4.0, 4.0),
                0,
                total,
                max_radius,
                &mut Vec::new(),
            )
        };
        assert!((radius(0.04, 0.3) - 0.2).abs() < 1e-3);
        assert!(radius(0.16, 0.3).is_nan());
        assert!(radius(0.16, 0.0).is_nan());
        assert!((radius(1.0, 3.0) - 1.0).abs() < 1e-3);
    }
}
