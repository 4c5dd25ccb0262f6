//! Noise of Kron fluxes whose ellipse and radius are measured on the same noisy image.

use super::aperture::{Mirror, Photometer, touched};
use super::correlation::Factors;
use super::kron::KronParams;
use super::label::Run;
use super::moments::Ellipse;
use super::position::{Unfiltered, above};
use super::total::is_same;

/// Half width of the ring in which the light at an aperture's edge is averaged, in units of the aperture's radius, and at
/// least [pix].
const RING: (f64, f64) = (0.1, 0.5);

/// Half width of the ring along the edge of an ellipse at a radius, in units of the ellipse.
pub(super) fn half_ring(ellipse: &Ellipse, radius: f64) -> f64 {
    (RING.0 * radius).max(RING.1 / (ellipse.a * ellipse.b).sqrt())
}

/// Elliptical radius and its derivatives by the moments `x2, y2, xy`.
pub(super) fn radius(ellipse: &Ellipse, dx: f64, dy: f64) -> (f64, [f64; 3]) {
    let det = ellipse.x2 * ellipse.y2 - ellipse.xy * ellipse.xy;
    let r2 = ellipse.radius_squared(dx, dy);
    let by = [
        (dy * dy - r2 * ellipse.y2) / det,
        (dx * dx - r2 * ellipse.x2) / det,
        2.0 * (r2 * ellipse.xy - dx * dy) / det,
    ];
    let r = r2.sqrt();
    (r, by.map(|v| if r > 0.0 { 0.5 * v / r } else { 0.0 }))
}

/// `(image index, place, radius, its derivatives)` of the pixels within an elliptical radius.
fn within<'a>(
    image: &'a Photometer<'_>,
    ellipse: &'a Ellipse,
    label: i32,
    reach: f64,
) -> impl Iterator<Item = (usize, (isize, isize), f64, [f64; 3])> + 'a {
    let (ny, nx) = image.data.shape();
    let mirror = Mirror::at(ellipse.x, ellipse.y);
    let columns = touched(ellipse.x, reach * ellipse.x2.sqrt(), nx);
    touched(ellipse.y, reach * ellipse.y2.sqrt(), ny)
        .flat_map(move |y| columns.clone().map(move |x| (x, y)))
        .filter_map(move |(x, y)| {
            let (r, by) = radius(ellipse, x as f64 - ellipse.x, y as f64 - ellipse.y);
            if r > reach {
                return None;
            }
            let pixel = image.counted(&mirror, x, y, label)?;
            Some((pixel.i, pixel.at, r, by))
        })
}

/// How the second moments and the first Kron moment of a source move with the pixels of the detection image.
pub(super) struct ShapeNoise<'a> {
    detection: &'a Photometer<'a>,
    ellipse: Ellipse,
    label: i32,
    /// Radius of the Kron aperture, and its derivative by the first moment.
    radius: f64,
    by_moment: f64,
    /// Derivatives of `x2, y2, xy` by the pixels.
    moments: [Factors; 3],
    /// Derivatives of the first moment by the pixels, at a fixed ellipse, and by `x2, y2, xy`.
    kron: Factors,
    kron_by: [f64; 3],
}

impl<'a> ShapeNoise<'a> {
    /// Derivatives at the shape of a source; None where the light does not weigh.
    pub(super) fn new(
        unfiltered: &Unfiltered<'a>,
        runs: &[Run],
        valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
        ellipse: &Ellipse,
        label: i32,
        (params, kron_radius): (&KronParams, f64),
    ) -> Option<Self> {
        let detection = unfiltered.photometer;
        let extent = params.extent;
        let (mut light, mut moment) = (0.0, 0.0);
        let (mut slope, mut edge) = ([0.0; 3], [0.0; 3]);
        let ring = half_ring(ellipse, extent);
        for (i, _, r, by) in within(detection, ellipse, label, extent + ring) {
            let value = f64::from(detection.data.pixels()[i]);
            if r <= extent {
                light += value;
                moment += r * value;
            }
            for k in 0..3 {
                if r <= extent {
                    slope[k] += by[k] * value;
                }
                if (r - extent).abs() < ring {
                    edge[k] -= by[k] * value / (2.0 * ring);
                }
            }
        }
        let flux: f64 = valued
            .clone()
            .map(|(_, _, v)| f64::from(v))
            .filter(|v| v.is_finite())
            .sum();
        if !(light > 0.0 && moment > 0.0 && flux > 0.0 && ellipse.b > 0.0) {
            return None;
        }
        let first = moment / light;
        let kron_by = std::array::from_fn(|k| (slope[k] + (extent - first) * edge[k]) / light);
        let mut moments = [0, 1, 2].map(|_| Factors::around(runs, (0, 0)));
        for (x, y, value) in valued {
            if value.is_finite() {
                let (dx, dy) = (x as f64 - ellipse.x, y as f64 - ellipse.y);
                let by = [
                    dx * dx - ellipse.x2,
                    dy * dy - ellipse.y2,
                    dx * dy - ellipse.xy,
                ];
                for (factors, by) in moments.iter_mut().zip(by) {
                    factors.add(x as isize, y as isize, by / flux);
                }
            }
        }
        let mut kron = zeros(ellipse, extent);
        for (_, (x, y), r, _) in within(detection, ellipse, label, extent) {
            kron.add(x, y, (r - first) / light);
        }
        let mut noise = Self {
            detection,
            ellipse: *ellipse,
            label,
            radius: kron_radius,
            by_moment: params.factor,
            moments: moments.map(|by| unfiltered.factors(&by)),
            kron,
            kron_by,
        };
        let spread = detection
            .variance_of_sum(&noise.shape_factors(1.0, [0.0; 3]))
            .sqrt();
        let excess = params.factor * first - params.min_radius;
        noise.by_moment *= above(excess / (params.factor * spread));
        Some(noise)
    }

    /// Derivatives by the pixels of `by_first` times the first moment plus `by` times the second ones.
    pub(super) fn shape_factors(&self, by_first: f64, by: [f64; 3]) -> Factors {
        let mut factors = zeros(&self.ellipse, 0.0).united(&self.kron, by_first);
        let moments = self.moments.iter().zip(by).zip(self.kron_by);
        for ((moment, by), kron_by) in moments {
            factors = factors.united(moment, by + by_first * kron_by);
        }
        factors
    }

    /// Standard deviation of the Kron flux of a band, with `held` the factors of its pixels at a held aperture.
    ///
    /// The flux is `sum u d` at held `u`; it also moves with the second moments `m` and the first moment `r1` by
    /// `dF/dm` and `dF/dr1`, which the light in a ring along the aperture's edge gives, and those with the pixels of the
    /// detection image. Where the radius is near its least value, it moves with the probability that it is above.
    pub(super) fn flux_error(&self, band: &Photometer<'_>, held: &Factors) -> f64 {
        let (k, ring) = (self.radius, half_ring(&self.ellipse, self.radius));
        let (mut by_radius, mut by) = (0.0, [0.0; 3]);
        for (i, _, r, slope) in within(band, &self.ellipse, self.label, k + ring) {
            if (r - k).abs() < ring {
                let light = f64::from(band.data.pixels()[i]) / (2.0 * ring);
                by_radius += light;
                for (total, s) in by.iter_mut().zip(slope) {
                    *total -= light * s;
                }
            }
        }
        let shape = self.shape_factors(by_radius * self.by_moment, by);
        if is_same(band, self.detection) {
            return band.variance_of_sum(&held.united(&shape, 1.0)).sqrt();
        }
        let own = band.variance_of_sum(held);
        (own + self.detection.variance_of_sum(&shape)).sqrt()
    }
}

/// Zeros for the pixels within an elliptical radius and those opposite to them.
fn zeros(ellipse: &Ellipse, reach: f64) -> Factors {
    let half = [ellipse.x2, ellipse.y2].map(|v| reach * v.sqrt());
    let [x, y] = Mirror::window_around((ellipse.x, ellipse.y), half);
    Factors::zeros(x, y)
}
