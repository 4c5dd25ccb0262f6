//! Total fluxes: a Sersic curve of growth fitted to the light in elliptical annuli.

use super::aperture::{Counted, Mirror, Photometer, touched};
use super::correlation::Factors;
use super::moments::Ellipse;
use super::overlap::Outline;
use super::sersic_growth::{Growth, LN_N, growth};
use super::shape_noise::{ShapeNoise, half_ring, radius};

/// The inner disc and the annuli around it.
const N_ZONES: usize = 10;
/// Radius of the disc in units of the source's ellipse: within it seeing shapes the profile.
const DISC: f64 = 1.5;
/// The last annulus ends at this many Kron radii, and not before this radius.
const REACH_KRON: f64 = 1.6;
const LEAST_REACH: f64 = 7.5;
/// Part of a zone that may be missing.
const MAX_MISSING: f64 = 0.5;
/// Logarithm of the number of half-light radii at which a profile ends: 8, as for the de Vaucouleurs profiles of the SDSS.
const LN_END: f64 = 2.079_441_541_679_836;
/// No profile is right to more than this fraction of all light in a zone, nor its total to more than the second.
const ZONE_SCATTER: f64 = 0.001;
const TOTAL_SCATTER: f64 = 0.0085;
/// Where a part of a zone belongs to other sources their wings reach into the rest: times that part, the fraction by
/// which its flux may be off.
const CONTAMINATION: f64 = 8.0;
/// Weak priors: mean and width of the logarithms of the half-light radius, in units of the ellipse, and of the index.
const PRIOR_RADIUS: (f64, f64) = (0.53, 0.5);
const PRIOR_INDEX: (f64, f64) = (0.18, 0.55);
/// Discs and spheroids lie on both sides of the mean: what the priors leave open is so many times their widths.
const TWO_KINDS: f64 = 1.4;
const LN_RADIUS: (f64, f64) = (-1.6, 3.4);
const MAX_STEPS: usize = 40;

type Zones = [f64; N_ZONES];

/// A pixel, the zone it shares area with, and how much.
#[derive(Clone, Copy, Debug)]
struct Share {
    x: isize,
    y: isize,
    zone: usize,
    overlap: f64,
}

/// A pixel that counts for a zone, and how much.
struct Counting {
    pixel: Counted,
    zone: usize,
    overlap: f64,
}

/// The zones of a source; used again for the next one, so that its memory is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Annuli {
    shares: Vec<Share>,
    mirror: Mirror,
    window: [(isize, isize); 2],
    outer: Zones,
    area: Zones,
}

/// What a band holds in the zones.
#[derive(Clone, Copy, Debug, Default)]
struct Light {
    flux: Zones,
    variance: Zones,
    /// What makes up for the part that is missing; 0 for zones that do not count.
    scale: Zones,
    /// Part of the variance that is no noise: real light and neighbours differ from a profile by its root.
    scatter: Zones,
}

/// A fitted profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    amplitude: f64,
    ln_radius: f64,
    ln_index: f64,
    /// Derivatives of amplitude, radius and index by the fluxes of the zones.
    gain: [[f64; 3]; N_ZONES],
    /// The same by the means of the priors of radius and index, each in units of its width.
    by_prior: [[f64; 3]; 2],
}

/// Radius of the last zone in units of the source's ellipse.
pub(super) fn reach(kron_radius: f64) -> f64 {
    (REACH_KRON * kron_radius).max(LEAST_REACH)
}

impl Annuli {
    /// Lay the zones of an ellipse over the pixels of an image of `shape`.
    pub(super) fn lay(&mut self, ellipse: &Ellipse, kron_radius: f64, shape: (usize, usize)) {
        self.shares.clear();
        let reach = reach(kron_radius);
        let growth = (reach / DISC).powf(1.0 / (N_ZONES - 1) as f64);
        self.outer = std::array::from_fn(|k| DISC * growth.powi(k as i32));
        let outlines = self
            .outer
            .map(|r| Outline::new(r * ellipse.a, r * ellipse.b, ellipse.theta));
        self.mirror = Mirror::at(ellipse.x, ellipse.y);
        let discs = self
            .outer
            .map(|r| std::f64::consts::PI * r * r * ellipse.a * ellipse.b);
        self.area = std::array::from_fn(|k| discs[k] - if k == 0 { 0.0 } else { discs[k - 1] });
        let [reach_x, reach_y] = outlines[N_ZONES - 1].reach();
        let unit = Outline::new(ellipse.a, ellipse.b, ellipse.theta);
        let rows = touched(ellipse.y, reach_y, shape.0);
        let columns = touched(ellipse.x, reach_x, shape.1);
        self.window = self.mirror.window(
            (*columns.start(), *columns.end()),
            (*rows.start(), *rows.end()),
        );
        for y in rows {
            for x in columns.clone() {
                let (dx, dy) = (x as f64 - ellipse.x, y as f64 - ellipse.y);
                let mut within = 0.0;
                let inner = unit.radius(dx, dy) - unit.half_diagonal();
                let first = self.outer.partition_point(|&r| r <= inner);
                for (zone, outline) in outlines.iter().enumerate().skip(first) {
                    let overlap = outline.overlap(dx, dy);
                    if overlap > within {
                        self.shares.push(Share {
                            x,
                            y,
                            zone,
                            overlap: overlap - within,
                        });
                        within = overlap;
                    }
                    if within >= 1.0 {
                        break;
                    }
                }
            }
        }
    }

    /// The pixels that count, with the zones and areas they count for.
    fn counting<'a>(
        &'a self,
        image: &'a Photometer<'_>,
        label: i32,
    ) -> impl Iterator<Item = Counting> + 'a {
        self.shares.iter().filter_map(move |share| {
            let pixel = image.counted(&self.mirror, share.x, share.y, label)?;
            Some(Counting {
                pixel,
                zone: share.zone,
                overlap: share.overlap,
            })
        })
    }

    fn light(&self, image: &Photometer<'_>, label: i32) -> Light {
        let mut light = Light::default();
        let (mut used, mut own) = ([0.0; N_ZONES], [0.0; N_ZONES]);
        for p in self.counting(image, label) {
            let (zone, overlap) = (p.zone, p.overlap);
            if p.pixel.is_own {
                own[zone] += overlap;
            }
            light.flux[zone] += overlap * f64::from(image.data.pixels()[p.pixel.i]);
            light.variance[zone] += overlap * overlap * image.variance_of(p.pixel.i);
            used[zone] += overlap;
        }
        let correlation = image.noise_correlation.powi(2);
        let whole: f64 = light.flux.iter().sum();
        for k in 0..N_ZONES {
            let part = used[k] / self.area[k];
            light.scale[k] = if part > 1.0 - MAX_MISSING {
                1.0 / part
            } else {
                0.0
            };
            light.flux[k] *= light.scale[k];
            let noise = if image.variance.is_some() {
                light.variance[k] * correlation * light.scale[k].powi(2)
            } else {
                0.0
            };
            let replaced = (1.0 - own[k] / self.area[k]).max(0.0);
            light.scatter[k] =
                (ZONE_SCATTER * whole).powi(2) + (CONTAMINATION * replaced * light.flux[k]).powi(2);
            light.variance[k] = noise + light.scatter[k];
        }
        light
    }

    /// Derivatives of what a band holds in the zones by the second moments of the ellipse: those of the light along
    /// their edges.
    fn slopes(&self, image: &Photometer<'_>, label: i32, ellipse: &Ellipse) -> [[f64; 3]; N_ZONES] {
        let rings = self.outer.map(|r| half_ring(ellipse, r));
        let mut slopes = [[0.0; 3]; N_ZONES];
        for p in self.counting(image, label) {
            let (x, y) = p.pixel.at;
            let (r, by) = radius(ellipse, x as f64 - ellipse.x, y as f64 - ellipse.y);
            let light = p.overlap * f64::from(image.data.pixels()[p.pixel.i]);
            // Rings of edges farther than two zones away do not reach here.
            let next = self.outer.partition_point(|&e| e < r);
            for k in next.saturating_sub(3)..(next + 3).min(N_ZONES) {
                if (r - self.outer[k]).abs() < rings[k] {
                    for (m, by) in by.iter().enumerate() {
                        let slope = light * by / (2.0 * rings[k]);
                        slopes[k][m] -= slope;
                        if k + 1 < N_ZONES {
                            slopes[k + 1][m] += slope;
                        }
                    }
                }
            }
        }
        slopes
    }

    /// Factors of the pixels for derivatives by the fluxes of the zones.
    fn factors(&self, image: &Photometer<'_>, label: i32, by_zone: &Zones) -> Factors {
        let mut factors = Factors::zeros(self.window[0], self.window[1]);
        for p in self.counting(image, label) {
            let (x, y) = p.pixel.at;
            factors.add(x, y, by_zone[p.zone] * p.overlap);
        }
        factors
    }
}

/// Fractions of a profile's light in the zones.
fn zone_growth(outer: &Zones, ln_radius: f64, ln_index: f64) -> [Growth; N_ZONES] {
    let mut within = Growth::default();
    outer.map(|r| {
        let next = growth(r.ln() - ln_radius, ln_index);
        let zone = Growth {
            value: next.value - within.value,
            by_ln_x: next.by_ln_x - within.by_ln_x,
            by_ln_n: next.by_ln_n - within.by_ln_n,
        };
        within = next;
        zone
    })
}

impl Light {
    /// Standard deviation of a sum over the zones about that of the profile, by the scatter of real ones.
    fn misfit(&self, by_zone: &Zones) -> f64 {
        let term = |k: usize| (by_zone[k] / self.scale[k]).powi(2) * self.scatter[k];
        (0..N_ZONES)
            .filter(|&k| self.scale[k] > 0.0)
            .map(term)
            .sum::<f64>()
            .sqrt()
    }
}

/// `x` with `a x = b` for a positive definite matrix; None when it is singular.
fn solve(a: &[[f64; 3]; 3], b: [f64; 3]) -> Option<[f64; 3]> {
    let minor = |i: usize, j: usize| {
        let (p, q) = ((i + 1) % 3, (i + 2) % 3);
        let (r, s) = ((j + 1) % 3, (j + 2) % 3);
        a[p][r] * a[q][s] - a[p][s] * a[q][r]
    };
    let determinant: f64 = (0..3).map(|j| a[0][j] * minor(0, j)).sum();
    let x = std::array::from_fn(|j| (0..3).map(|i| minor(i, j) * b[i]).sum::<f64>() / determinant);
    (determinant > 0.0 && x.iter().all(|v: &f64| v.is_finite())).then_some(x)
}

/// The fit's sums at one point: negative log-posterior, its gradient and curvature; the amplitude is in units of
/// `unit`, so that all parameters are of order one.
struct Sums {
    cost: f64,
    gradient: [f64; 3],
    curvature: [[f64; 3]; 3],
    slopes: [[f64; 3]; N_ZONES],
}

fn sums(outer: &Zones, light: &Light, unit: f64, p: [f64; 3]) -> Sums {
    let zones = zone_growth(outer, p[1], p[2]);
    let mut out = Sums {
        cost: 0.0,
        gradient: [0.0; 3],
        curvature: [[0.0; 3]; 3],
        slopes: [[0.0; 3]; N_ZONES],
    };
    for (k, zone) in zones.iter().enumerate() {
        if light.scale[k] == 0.0 {
            continue;
        }
        let weight = unit * unit / light.variance[k];
        let slope = [zone.value, -p[0] * zone.by_ln_x, p[0] * zone.by_ln_n];
        let residual = light.flux[k] / unit - p[0] * zone.value;
        out.cost += weight * residual * residual;
        out.slopes[k] = slope;
        for i in 0..3 {
            out.gradient[i] += weight * slope[i] * residual;
            for j in 0..3 {
                out.curvature[i][j] += weight * slope[i] * slope[j];
            }
        }
    }
    for (i, (mean, width)) in [(1, PRIOR_RADIUS), (2, PRIOR_INDEX)] {
        let off = (p[i] - mean) / width;
        out.cost += off * off;
        out.gradient[i] -= off / width;
        out.curvature[i][i] += 1.0 / (width * width);
    }
    out
}

/// The likeliest profile by Levenberg-Marquardt steps; None when there is too little light.
///
/// # Source
/// Marquardt 1963, SIAM J. Appl. Math. 11, 431.
fn fit(outer: &Zones, light: &Light) -> Option<Profile> {
    let unit: f64 = light.flux.iter().sum();
    let n_zones = light.scale.iter().filter(|&&s| s > 0.0).count();
    let is_weighted = (0..N_ZONES)
        .all(|k| light.scale[k] == 0.0 || (light.variance[k] > 0.0 && light.flux[k].is_finite()));
    if !(unit > 0.0 && n_zones >= 3 && is_weighted && light.scale[0] > 0.0) {
        return None;
    }
    let mut p = [1.0, PRIOR_RADIUS.0, PRIOR_INDEX.0];
    let mut here = sums(outer, light, unit, p);
    let mut damping = 1e-3;
    for _ in 0..MAX_STEPS {
        let mut damped = here.curvature;
        for (i, row) in damped.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let step = solve(&damped, here.gradient)?;
        let next = [
            p[0] + step[0],
            (p[1] + step[1]).clamp(LN_RADIUS.0, LN_RADIUS.1),
            (p[2] + step[2]).clamp(LN_N.0, LN_N.1),
        ];
        let there = sums(outer, light, unit, next);
        if there.cost < here.cost {
            let is_done = here.cost - there.cost < 1e-9 * (1.0 + there.cost);
            (p, here) = (next, there);
            damping *= 0.2;
            if is_done {
                break;
            }
        } else {
            damping *= 5.0;
            if damping > 1e6 {
                break;
            }
        }
    }
    let moved = |pull: [f64; 3]| solve(&here.curvature, pull).map(|[a, r, n]| [unit * a, r, n]);
    let mut gain = [[0.0; 3]; N_ZONES];
    for (k, gain) in gain.iter_mut().enumerate() {
        if light.scale[k] > 0.0 {
            let weight = unit / light.variance[k];
            *gain = moved(here.slopes[k].map(|s| s * weight))?;
        }
    }
    Some(Profile {
        amplitude: unit * p[0],
        ln_radius: p[1],
        ln_index: p[2],
        gain,
        by_prior: [
            moved([0.0, 1.0 / PRIOR_RADIUS.1, 0.0])?,
            moved([0.0, 0.0, 1.0 / PRIOR_INDEX.1])?,
        ],
    })
}

/// Total of a profile in a band.
struct Scaled {
    flux: f64,
    /// Derivatives by the zones of the band.
    own: Zones,
    /// Derivatives by the zones of the detection image where that is another one.
    of_shape: Zones,
    /// Standard deviation that the priors leave.
    of_prior: f64,
}

/// A total flux and its standard deviation about the true one: noise, what the priors leave open, and what real light
/// differs from a profile by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    pub flux: f64,
    pub error: f64,
}

impl Total {
    const UNKNOWN: Self = Self {
        flux: f64::NAN,
        error: f64::NAN,
    };
}

/// Total fluxes of a source in all bands: the profile is fitted to the detection image and scaled to every band, so
/// colours are those of one profile. With `noise` the errors hold for ellipses that are measured anew.
pub(super) fn totals(
    annuli: &Annuli,
    detection: &Photometer<'_>,
    bands: &[Photometer<'_>],
    (label, ellipse): (i32, &Ellipse),
    noise: Option<&ShapeNoise<'_>>,
) -> Vec<Total> {
    let detected = annuli.light(detection, label);
    let Some(profile) = fit(&annuli.outer, &detected) else {
        return vec![Total::UNKNOWN; bands.len()];
    };
    let total = |band: &Photometer<'_>| {
        let light = annuli.light(band, label);
        let Scaled {
            flux,
            own,
            of_shape,
            of_prior,
        } = if is_same(band, detection) {
            profile.own_total(&light)
        } else {
            profile.scaled_total(annuli, &detected, &light)
        };
        let misfit = light
            .misfit(&own)
            .hypot(detected.misfit(&of_shape))
            .hypot(TWO_KINDS * of_prior)
            .hypot(TOTAL_SCATTER * flux);
        let mut shape = annuli.factors(detection, label, &of_shape);
        if let Some(noise) = noise {
            let slopes = annuli.slopes(band, label, ellipse);
            let by = std::array::from_fn(|m| (0..N_ZONES).map(|k| own[k] * slopes[k][m]).sum());
            shape = shape.united(&noise.shape_factors(0.0, by), 1.0);
        }
        let own = annuli.factors(band, label, &own);
        let error = if is_same(band, detection) {
            error_of(band, &own.united(&shape, 1.0))
        } else {
            error_of(band, &own).hypot(error_of(detection, &shape))
        };
        Total {
            flux,
            error: error.hypot(misfit),
        }
    };
    bands.iter().map(total).collect()
}

/// Whether two photometers look at the same pixels.
pub(super) fn is_same(band: &Photometer<'_>, detection: &Photometer<'_>) -> bool {
    std::ptr::eq(band.data.pixels(), detection.data.pixels())
}

fn error_of(image: &Photometer<'_>, factors: &Factors) -> f64 {
    image.variance_of_sum(factors).sqrt()
}

impl Profile {
    /// Total of the image that the profile was fitted to.
    fn own_total(&self, light: &Light) -> Scaled {
        let end = growth(LN_END, self.ln_index);
        let by = |[amplitude, _, index]: [f64; 3]| {
            end.value * amplitude + self.amplitude * end.by_ln_n * index
        };
        Scaled {
            flux: self.amplitude * end.value,
            own: std::array::from_fn(|k| light.scale[k] * by(self.gain[k])),
            of_shape: [0.0; N_ZONES],
            of_prior: by(self.by_prior[0]).hypot(by(self.by_prior[1])),
        }
    }

    /// Total of another band: the amplitude of the same profile.
    fn scaled_total(&self, annuli: &Annuli, detected: &Light, light: &Light) -> Scaled {
        let end = growth(LN_END, self.ln_index);
        let zones = zone_growth(&annuli.outer, self.ln_radius, self.ln_index);
        let weight: Zones = std::array::from_fn(|k| {
            if light.scale[k] > 0.0 && light.variance[k] > 0.0 {
                1.0 / light.variance[k]
            } else {
                0.0
            }
        });
        let sum =
            |f: &dyn Fn(usize) -> f64| -> f64 { (0..N_ZONES).map(|k| weight[k] * f(k)).sum() };
        let norm = sum(&|k| zones[k].value.powi(2));
        let amplitude = sum(&|k| zones[k].value * light.flux[k]) / norm;
        let slope = |by: &dyn Fn(&Growth) -> f64| {
            sum(&|k| by(&zones[k]) * (light.flux[k] - 2.0 * amplitude * zones[k].value)) / norm
        };
        let by_radius = -end.value * slope(&|g| g.by_ln_x);
        let by_index = end.value * slope(&|g| g.by_ln_n) + amplitude * end.by_ln_n;
        let by = |[_, radius, index]: [f64; 3]| by_radius * radius + by_index * index;
        Scaled {
            flux: amplitude * end.value,
            own: std::array::from_fn(|k| {
                light.scale[k] * end.value * weight[k] * zones[k].value / norm
            }),
            of_shape: std::array::from_fn(|k| detected.scale[k] * by(self.gain[k])),
            of_prior: by(self.by_prior[0]).hypot(by(self.by_prior[1])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, Plane};
    use crate::segmentation::Neighbours;

    fn disc(n: usize, radius: f64, flux: f64) -> Image<f32> {
        let mut image = Image::empty((n, n));
        let scale = radius / 1.678_346_99;
        for (k, pixel) in image.pixels_mut().iter_mut().enumerate() {
            let (x, y) = ((k % n) as f64, (k / n) as f64);
            let c = (n / 2) as f64;
            let r = (x - c).hypot(y - c);
            *pixel =
                (flux / (2.0 * std::f64::consts::PI * scale * scale) * (-r / scale).exp()) as f32;
        }
        image
    }

    #[test]
    fn an_exponential_disc_has_its_whole_flux_in_two_bands() {
        let n = 301;
        let (image, other) = (disc(n, 8.0, 1000.0), disc(n, 8.0, 250.0));
        let variance = vec![1e-4_f32; n * n];
        let photometer = |image: &'static Image<f32>, variance: &'static [f32]| Photometer {
            data: image.view(),
            variance: Some(Plane::new("variance", variance, (n, n)).unwrap()),
            mask: None,
            labels: None,
            neighbours: Neighbours::Mirror,
            noise_correlation: 1.0,
            correlation: None,
        };
        let image = Box::leak(Box::new(image));
        let other = Box::leak(Box::new(other));
        let variance: &'static [f32] = Box::leak(variance.into_boxed_slice());
        let (detection, band) = (photometer(image, variance), photometer(other, variance));
        let ellipse = Ellipse::with_axes(150.0, 150.0, 7.0, 7.0, 0.0);
        let mut annuli = Annuli::default();
        annuli.lay(&ellipse, 3.5, (n, n));
        let found = totals(&annuli, &detection, &[detection, band], (0, &ellipse), None);
        assert!((found[0].flux / 1000.0 - 1.0).abs() < 0.02, "{found:?}");
        assert!(
            (found[1].flux / found[0].flux - 0.25).abs() < 0.002,
            "{found:?}"
        );
        assert!(
            found.iter().all(|t| t.error > 0.0 && t.error < 10.0),
            "{found:?}"
        );
    }

    #[test]
    fn three_equations_are_solved() {
        let a = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let x = solve(&a, [5.5, 4.2, 2.7]).unwrap();
        assert!(x.iter().all(|v| (v - 1.0).abs() < 1e-12), "{x:?}");
        assert!(solve(&[[0.0; 3]; 3], [1.0; 3]).is_none());
    }
}
