//! Profiles convolved with a point-spread function, and their derivatives.

use std::f64::consts::{PI, TAU};
use std::ops::Range;

use super::ProfileError;
use super::quadrature::gauss_legendre;
use super::sersic::{Radial, Sersic};
use super::spectrum::{Spectrum, Transform, fast_length};
use crate::image::{Image, Plane};

/// The core ends here, in pixels along the minor axis; beyond it the profile is sampled at pixels.
const CORE_PIX: f64 = 7.0;
/// The wing begins at this part of the core's radius: compact sources have none.
const WING: f64 = 0.25;
/// Pixels over which the light of a point is spread.
const SPREAD: usize = 6;
/// Shape of the spread, pi sqrt(11): its Fourier transform vanishes at one wave a pixel, so that sums are exact.
const SHAPE: f64 = PI * 3.316_624_790_355_4;
/// Least number of radii in the core, and more for each pixel of it.
const LEAST_RADII: usize = 32;
const RADII_PER_PIX: f64 = 2.2;
/// Radii of the core crowd towards the centre with this power.
const CROWDING: f64 = 3.0;
/// Points of a ring lie no farther apart than this [pix], and are no fewer than that.
const ARC_PIX: f64 = 0.6;
const LEAST_POINTS: usize = 16;
/// Planes that are convolved: the surface and its derivatives by `r_e`, `n`, `q` and `theta`.
const N_PLANES: usize = 5;

/// Draws sources on stamps of one shape behind one point-spread function.
///
/// # Notes
/// The PSF is an image at the pixels of the stamp that includes the response of a pixel, so a model at the centre of a
/// pixel is the profile convolved with the PSF, without another integral over the pixel. Between its pixels the PSF is
/// what its Fourier transform says. A profile is the sum of a core, which has a cusp, and a wing, which is smooth
/// enough to be sampled. The core is a sum of points on elliptical rings, at radii of a Gauss-Legendre rule; points are
/// spread over pixels, which the Fourier transform of the spread takes back.
///
/// # Source
/// Greengard & Lee 2004, SIAM Rev. 46, 443, for points in Fourier space; Fessler & Sutton 2003, IEEE Trans. Signal
/// Process. 51, 560, for the Kaiser-Bessel spread.
pub struct Convolver {
    shape: (usize, usize),
    /// Pixels beside the stamp whose light the PSF carries into it.
    margin: (usize, usize),
    transform: Transform,
    psf: Spectrum,
    /// What takes the spread back, along y and along x.
    sharpen: (Vec<f64>, Vec<f64>),
    spread: Spread,
}

/// A model and its derivatives by the parameters, in the order of [`Sersic`].
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The light at each pixel.
    pub value: Image<f64>,
    /// Its derivatives.
    pub by: Vec<Image<f64>>,
}

impl Convolver {
    /// For stamps of `shape` and a PSF that sums to the part of the light that it holds, with its centre in the middle.
    /// One without the pixel's response gets it.
    ///
    /// # Errors
    /// When a pixel of the PSF is not finite.
    pub fn new(
        psf: Plane<'_, f64>,
        has_pixel: bool,
        shape: (usize, usize),
    ) -> Result<Self, ProfileError> {
        if psf.pixels().iter().any(|v| !v.is_finite()) {
            return Err(ProfileError::Psf);
        }
        let (py, px) = psf.shape();
        let margin = (py / 2 + SPREAD, px / 2 + SPREAD);
        let side = (
            fast_length(shape.0 + 2 * margin.0),
            fast_length(shape.1 + 2 * margin.1),
        );
        let transform = Transform::new(side);
        let mut image = vec![0.0; side.0 * side.1];
        for y in 0..py {
            for x in 0..px {
                let row = (y + side.0 - py / 2) % side.0;
                let column = (x + side.1 - px / 2) % side.1;
                image[row * side.1 + column] += psf.pixels()[y * px + x];
            }
        }
        let mut spectrum = transform.forward(&mut image, 0..side.0);
        // The centre of an even side is half a pixel off.
        let even = [py, px].map(|n| if n % 2 == 0 { 0.5 } else { 0.0 });
        for (i, value) in spectrum.iter_mut().enumerate() {
            let kx = Transform::frequency(i / side.0, side.1);
            let ky = Transform::frequency(i % side.0, side.0);
            if even != [0.0, 0.0] {
                let (sin, cos) = (kx * even[1] + ky * even[0]).sin_cos();
                let (re, im) = (value.re, value.im);
                value.re = re * cos + im * sin;
                value.im = im * cos - re * sin;
            }
            if !has_pixel {
                *value *= of_pixel(kx) * of_pixel(ky);
            }
        }
        let taken_back = |n: usize, count: usize| {
            (0..count)
                .map(|k| 1.0 / Spread::transformed(Transform::frequency(k, n)))
                .collect()
        };
        let sharpen = (
            taken_back(side.0, side.0),
            taken_back(side.1, side.1 / 2 + 1),
        );
        Ok(Self {
            shape,
            margin,
            transform,
            psf: spectrum,
            sharpen,
            spread: Spread::new(),
        })
    }

    /// The sum of sources.
    ///
    /// # Errors
    /// When a parameter is not allowed.
    pub fn draw(&self, sources: &[Sersic]) -> Result<Image<f64>, ProfileError> {
        let mut sum: Option<Spectrum> = None;
        for (i, source) in sources.iter().enumerate() {
            source.check(i)?;
            let [mut one] = self.spectra::<1>(source);
            scale_by(source.flux, &mut one);
            sum = Some(match sum {
                None => one,
                Some(mut all) => {
                    all.iter_mut().zip(&one).for_each(|(a, b)| *a += b);
                    all
                }
            });
        }
        Ok(match sum {
            None => Image::empty(self.shape),
            Some(mut all) => self.stamp(&mut all),
        })
    }

    /// A source and its derivatives.
    ///
    /// # Errors
    /// When a parameter is not allowed.
    pub fn draw_with_derivatives(&self, source: &Sersic) -> Result<Drawing, ProfileError> {
        source.check(0)?;
        let [unit, r_e, n, q, theta] = self.spectra::<N_PLANES>(source);
        let (ny, nx) = self.transform.shape();
        let moved = |along: &dyn Fn(usize, usize) -> f64| {
            let mut out = unit.clone();
            for (i, value) in out.iter_mut().enumerate() {
                let k = source.flux * along(i / ny, i % ny);
                (value.re, value.im) = (k * value.im, -k * value.re);
            }
            self.stamp(&mut out)
        };
        // Waves of two pixels have no direction.
        let frequency = |k: usize, n: usize| {
            if 2 * k == n {
                0.0
            } else {
                Transform::frequency(k, n)
            }
        };
        let by_x = moved(&|kx, _| frequency(kx, nx));
        let by_y = moved(&|_, ky| frequency(ky, ny));
        let scaled = |mut spectrum: Spectrum| {
            scale_by(source.flux, &mut spectrum);
            self.stamp(&mut spectrum)
        };
        let by_flux = self.stamp(&mut unit.clone());
        let mut value = by_flux.clone();
        value
            .pixels_mut()
            .iter_mut()
            .for_each(|v| *v *= source.flux);
        Ok(Drawing {
            value,
            by: vec![
                by_x,
                by_y,
                by_flux,
                scaled(r_e),
                scaled(n),
                scaled(q),
                scaled(theta),
            ],
        })
    }

    /// The stamp of a spectrum.
    fn stamp(&self, spectrum: &mut Spectrum) -> Image<f64> {
        let image = self.transform.inverse(spectrum);
        let mut stamp = Image::empty(self.shape);
        let nx = self.transform.shape().1;
        for (y, row) in stamp
            .pixels_mut()
            .chunks_exact_mut(self.shape.1)
            .enumerate()
        {
            let first = (y + self.margin.0) * nx + self.margin.1;
            row.copy_from_slice(&image[first..first + self.shape.1]);
        }
        stamp
    }

    /// Spectra of the first `N` planes of a source of unit flux.
    fn spectra<const N: usize>(&self, source: &Sersic) -> [Spectrum; N] {
        let (ny, nx) = self.transform.shape();
        let ellipse = Ellipse::new(source, self.margin);
        let mut wing: [Vec<f64>; N] = std::array::from_fn(|_| vec![0.0; ny * nx]);
        for y in 0..ny {
            for x in 0..nx {
                let (dx, dy) = (x as f64 - ellipse.x, y as f64 - ellipse.y);
                let at = ellipse.at(dx, dy);
                let part = ellipse.wing(at.r);
                if part > 0.0 {
                    let values = ellipse.planes(&at);
                    for (plane, value) in wing.iter_mut().zip(values) {
                        plane[y * nx + x] = part * value;
                    }
                }
            }
        }
        let mut core: [Vec<f64>; N] = std::array::from_fn(|_| vec![0.0; ny * nx]);
        let rows = self.add_core(&ellipse, &mut core);
        let mut core = core.into_iter();
        wing.map(|mut plane| {
            let mut spectrum = self.transform.forward(&mut plane, 0..ny);
            if let Some(mut plane) = core.next() {
                let sharp = self.transform.forward(&mut plane, rows.clone());
                for (i, (sum, value)) in spectrum.iter_mut().zip(sharp).enumerate() {
                    *sum += value * (self.sharpen.0[i % ny] * self.sharpen.1[i / ny]);
                }
            }
            spectrum
                .iter_mut()
                .zip(&self.psf)
                .for_each(|(v, p)| *v *= p);
            spectrum
        })
    }

    /// Spread the points of the core over planes; returns the rows that hold them.
    fn add_core<const N: usize>(
        &self,
        ellipse: &Ellipse,
        planes: &mut [Vec<f64>; N],
    ) -> Range<usize> {
        let (ny, nx) = self.transform.shape();
        let (mut first, mut last) = (ny, 0);
        for ring in ellipse.rings() {
            for i in 0..ring.n_points {
                let angle = TAU * (i as f64 + 0.5) / ring.n_points as f64;
                let (dx, dy) = ellipse.point(ring.r, angle);
                let values = ellipse.planes(&ellipse.at(dx, dy));
                let (Some(across), Some(along)) = (
                    self.spread.over(ellipse.x + dx, nx),
                    self.spread.over(ellipse.y + dy, ny),
                ) else {
                    continue;
                };
                (first, last) = (first.min(along.0), last.max(along.0 + SPREAD));
                for (plane, value) in planes.iter_mut().zip(values) {
                    for (j, along_y) in along.1.iter().enumerate() {
                        let start = (along.0 + j) * nx + across.0;
                        let weight = ring.area * value * along_y;
                        for (pixel, along_x) in
                            plane[start..start + SPREAD].iter_mut().zip(&across.1)
                        {
                            *pixel += weight * along_x;
                        }
                    }
                }
            }
        }
        first.min(last)..last
    }
}

fn scale_by(factor: f64, spectrum: &mut Spectrum) {
    for value in spectrum {
        *value *= factor;
    }
}

/// Fourier transform of a pixel's side at an angular frequency [1/pix].
fn of_pixel(k: f64) -> f64 {
    if k == 0.0 {
        1.0
    } else {
        (0.5 * k).sin() / (0.5 * k)
    }
}

/// A source of unit flux in the pixels of a grid.
struct Ellipse {
    x: f64,
    y: f64,
    q: f64,
    sin: f64,
    cos: f64,
    radial: Radial,
    /// Where the core ends, along the major axis [pix].
    core: f64,
}

/// An offset from the centre along the axes, and the elliptical radius.
struct Place {
    u: f64,
    v: f64,
    r: f64,
}

/// A ring of points in the core, each of which stands for an area.
struct Ring {
    r: f64,
    n_points: usize,
    area: f64,
}

impl Ellipse {
    fn new(source: &Sersic, margin: (usize, usize)) -> Self {
        let (sin, cos) = source.theta.sin_cos();
        Self {
            x: source.x + margin.1 as f64,
            y: source.y + margin.0 as f64,
            q: source.q,
            sin,
            cos,
            radial: Radial::new(source.r_e, source.n),
            core: CORE_PIX / source.q,
        }
    }

    fn at(&self, dx: f64, dy: f64) -> Place {
        let (u, v) = (self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx);
        Place {
            u,
            v,
            r: u.hypot(v / self.q),
        }
    }

    /// Offset of a point of a ring.
    fn point(&self, r: f64, angle: f64) -> (f64, f64) {
        let (sin, cos) = angle.sin_cos();
        let (u, v) = (r * cos, self.q * r * sin);
        (self.cos * u - self.sin * v, self.sin * u + self.cos * v)
    }

    /// Part of the light at a radius that belongs to the wing: 0 in the centre and 1 beyond the core, with three
    /// continuous derivatives.
    fn wing(&self, r: f64) -> f64 {
        let t = (r / self.core - WING) / (1.0 - WING);
        if t <= 0.0 || t >= 1.0 {
            return t.clamp(0.0, 1.0);
        }
        t.powi(4) * (35.0 - t * (84.0 - t * (70.0 - 20.0 * t)))
    }

    /// The surface and its derivatives by `r_e`, `n`, `q` and `theta`.
    fn planes(&self, at: &Place) -> [f64; N_PLANES] {
        let surface = self.radial.surface(at.r);
        let value = surface.value / self.q;
        let q2 = self.q * self.q;
        let r2 = at.r * at.r;
        // r^2 = u^2 + v^2 / q^2, and u and v turn with theta.
        let ln_r_by_q = -at.v * at.v / (q2 * self.q * r2);
        let ln_r_by_theta = at.u * at.v * (1.0 - 1.0 / q2) / r2;
        [
            value,
            value * surface.by_r_e,
            value * surface.by_n,
            value * (surface.by_ln_r * ln_r_by_q - 1.0 / self.q),
            value * surface.by_ln_r * ln_r_by_theta,
        ]
    }

    fn rings(&self) -> Vec<Ring> {
        let n = LEAST_RADII.max((RADII_PER_PIX * self.core) as usize);
        gauss_legendre(n)
            .into_iter()
            .map(|(t, weight)| {
                let t = 0.5 * (t + 1.0);
                let r = self.core * t.powf(CROWDING);
                let width = 0.5 * weight * CROWDING * r / t;
                let n_points = LEAST_POINTS.max((TAU * r / ARC_PIX).ceil() as usize);
                let area = TAU * self.q * r * width / n_points as f64;
                Ring {
                    r,
                    n_points,
                    area: area * (1.0 - self.wing(r)),
                }
            })
            .collect()
    }
}

/// The Kaiser-Bessel window from a table.
struct Spread {
    table: Vec<f64>,
}

/// Entries of the table for each pixel.
const FINENESS: usize = 2048;

impl Spread {
    fn new() -> Self {
        let half = SPREAD as f64 / 2.0;
        let n = FINENESS * SPREAD / 2;
        let value = |i: usize| {
            let t = i as f64 / FINENESS as f64 / half;
            bessel_i0(SHAPE * (1.0 - t * t).max(0.0).sqrt()) / bessel_i0(SHAPE)
        };
        Self {
            table: (0..=n + 1).map(value).collect(),
        }
    }

    /// First pixel that a point reaches and its weights; None where they leave the grid.
    fn over(&self, x: f64, n: usize) -> Option<(usize, [f64; SPREAD])> {
        let first = (x - SPREAD as f64 / 2.0).ceil();
        if !(first >= 0.0 && first + SPREAD as f64 <= n as f64) {
            return None;
        }
        let weights = std::array::from_fn(|j| {
            let position = (first + j as f64 - x).abs() * FINENESS as f64;
            let i = (position as usize).min(self.table.len() - 2);
            let t = position - i as f64;
            self.table[i] + t * (self.table[i + 1] - self.table[i])
        });
        Some((first as usize, weights))
    }

    /// Its Fourier transform at an angular frequency [1/pix].
    fn transformed(k: f64) -> f64 {
        let half = SPREAD as f64 / 2.0;
        let s2 = SHAPE * SHAPE - (half * k).powi(2);
        let root = s2.abs().sqrt();
        let ratio = if root < 1e-8 {
            1.0
        } else if s2 > 0.0 {
            root.sinh() / root
        } else {
            root.sin() / root
        };
        2.0 * half * ratio / bessel_i0(SHAPE)
    }
}

/// The modified Bessel function of order 0, by its power series.
///
/// # Source
/// Abramowitz & Stegun 1964, eq. 9.6.12.
fn bessel_i0(x: f64) -> f64 {
    let quarter = 0.25 * x * x;
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..200 {
        let k = f64::from(k);
        term *= quarter / (k * k);
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(side: usize, fwhm: f64) -> Vec<f64> {
        let sigma = fwhm / 2.354_820_045_030_949;
        let c = (side as f64 - 1.0) / 2.0;
        (0..side * side)
            .map(|i| ((i % side) as f64 - c, (i / side) as f64 - c))
            .map(|(x, y)| (-0.5 * (x * x + y * y) / (sigma * sigma)).exp() / (TAU * sigma * sigma))
            .collect()
    }

    fn source(r_e: f64, n: f64, q: f64) -> Sersic {
        Sersic {
            x: 19.3,
            y: 21.6,
            flux: 5.0,
            r_e,
            n,
            q,
            theta: 0.7,
        }
    }

    #[test]
    fn a_gaussian_behind_a_gaussian_is_one() {
        // A Sersic profile of index 1/2 is a Gaussian with r_e = sigma sqrt(2 ln 2).
        let (fwhm, sigma) = (3.0, 2.5);
        for side in [31, 32] {
            let psf = gaussian(side, fwhm);
            let psf = Plane::new("psf", &psf, (side, side)).unwrap();
            let convolver = Convolver::new(psf, true, (40, 44)).unwrap();
            let one = source(sigma * (2.0 * 2.0_f64.ln()).sqrt(), 0.5, 1.0);
            let image = convolver.draw(&[one]).unwrap();
            let total = sigma * sigma + (fwhm / 2.354_820_045_030_949_f64).powi(2);
            let peak = 5.0 / (TAU * total);
            for (i, found) in image.pixels().iter().enumerate() {
                let (dx, dy) = ((i % 44) as f64 - one.x, (i / 44) as f64 - one.y);
                let expected = peak * (-0.5 * (dx * dx + dy * dy) / total).exp();
                assert!(
                    (found - expected).abs() < 1e-4 * peak,
                    "{side} {i}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn derivatives_are_differences() {
        let psf = gaussian(25, 3.0);
        let convolver =
            Convolver::new(Plane::new("psf", &psf, (25, 25)).unwrap(), true, (40, 44)).unwrap();
        for (r_e, n, q) in [
            (4.0, 1.0, 0.5),
            (2.0, 4.0, 0.8),
            (0.5, 2.0, 0.3),
            (9.0, 0.6, 0.15),
        ] {
            let here = source(r_e, n, q);
            let found = convolver.draw_with_derivatives(&here).unwrap();
            let peak = found.value.pixels().iter().fold(0.0_f64, |a, &b| a.max(b));
            let h = 4e-3;
            let moved = |k: usize, step: f64| {
                let mut p = here;
                *[
                    &mut p.x,
                    &mut p.y,
                    &mut p.flux,
                    &mut p.r_e,
                    &mut p.n,
                    &mut p.q,
                    &mut p.theta,
                ][k] += step;
                convolver.draw(&[p]).unwrap()
            };
            for (k, by) in found.by.iter().enumerate() {
                let (up, down) = (moved(k, h), moved(k, -h));
                let differences: Vec<f64> = up
                    .pixels()
                    .iter()
                    .zip(down.pixels())
                    .map(|(a, b)| (a - b) / (2.0 * h))
                    .collect();
                let largest = differences.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
                for (slope, expected) in by.pixels().iter().zip(&differences) {
                    assert!(
                        (slope - expected).abs() < 2e-3 * largest + 2e-4 * peak,
                        "{r_e} {n} {q} {k}: {slope} {expected}"
                    );
                }
            }
        }
    }
}
