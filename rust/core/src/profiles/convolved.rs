//! Profiles convolved with a point-spread function, and their derivatives.

use std::sync::OnceLock;

use realfft::num_complex::Complex;

use super::ProfileError;
use super::folded::{Folded, N_PLANES, Nodes};
use super::hankel::{Hankel, Transformed};
use super::profile::{Family, Profile};
use super::spectrum::{Spectrum, Transform, fast_length};
use super::start::Moments;
use crate::image::{Image, Plane};

/// Frequencies at which the PSF has less than this part of its light do not count.
const LEAST_RESPONSE: f64 = 1e-9;
/// Pixels beyond the reach of the PSF at which a profile is what it is without one.
const REACH: usize = 4;

/// A point-spread function on pixels, which may be finer than those of an image.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Its image, which sums to the part of the light that it holds.
    pub image: Plane<'a, f64>,
    /// Where the source is on it, along y and x [pix of the image].
    pub centre: (f64, f64),
    /// How many of its pixels lie along a pixel of the stamp.
    pub oversampling: usize,
    /// Whether it holds the response of a pixel of the stamp. If not it gets it.
    pub has_pixel: bool,
}

/// Draws sources on stamps of one shape behind one point-spread function.
///
/// # Notes
/// The Fourier transform of an elliptical profile is a function of the elliptical frequency alone, so a source behind a PSF
/// is known at every frequency, and its image at the centres of the pixels is the inverse transform; the PSF holds the
/// response of a pixel, so that there is no other integral over it. Between its pixels the PSF is what its Fourier
/// transform says. Frequencies that the pixels of the stamp cannot hold appear at others, as they do in an image. What
/// the inverse transform repeats one period away is smooth on the stamp and is taken off.
///
/// # Source
/// Rowe et al. 2015, Astron. Comput. 10, 121, sect. 6, draw profiles by their transforms.
pub struct Convolver {
    shape: (usize, usize),
    transform: Transform,
    modes: Vec<Mode>,
    nodes: Nodes,
    /// Sum of the PSF.
    light: f64,
    /// Numbers of angular frequencies along y and x: the PSF may know finer ones than the stamp.
    fine: (usize, usize),
    /// Squares of the smallest and the largest frequency.
    k2: (f64, f64),
    /// Moments of a point in the middle of the stamp, when they were asked.
    seeing: OnceLock<Option<Moments>>,
}

/// A frequency [1/pix] that the PSF passes.
struct Mode {
    ky: f64,
    kx: f64,
    /// Their places in the tables of phases.
    at: (u32, u32),
    /// Element of the stamp's spectrum that it adds to.
    to: u32,
    psf: Complex<f64>,
}

/// A model and its derivatives by the parameters, in the order of [`Profile`].
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The light at each pixel.
    pub value: Image<f64>,
    /// Its derivatives.
    pub by: Vec<Image<f64>>,
}

impl Convolver {
    /// For stamps of `shape`.
    ///
    /// # Errors
    /// When a pixel of the PSF is not finite.
    pub fn new(psf: &Response<'_>, shape: (usize, usize)) -> Result<Self, ProfileError> {
        if psf.image.pixels().iter().any(|v| !v.is_finite()) {
            return Err(ProfileError::Psf);
        }
        let (py, px) = psf.image.shape();
        let s = psf.oversampling.max(1);
        let period = |n: usize, side: usize| {
            let reach = side.div_ceil(2 * s) + REACH;
            fast_length((n + reach).max(side.div_ceil(s) + 1))
        };
        let period = (period(shape.0, py), period(shape.1, px));
        let fine = (s * period.0, s * period.1);
        let transform = Transform::new(fine);
        let mut image = vec![0.0; fine.0 * fine.1];
        for (row, line) in psf
            .image
            .pixels()
            .chunks_exact(px)
            .zip(image.chunks_exact_mut(fine.1))
        {
            line[..px].copy_from_slice(row);
        }
        let spectrum = transform.forward(&mut image, 0..py);
        let light: f64 = psf.image.pixels().iter().sum();
        let scale = s as f64;
        let mut modes = Vec::new();
        for i in 0..fine.1 / 2 {
            for j in (0..fine.0).filter(|&j| 2 * j != fine.0) {
                let kx = Transform::frequency(i, fine.1) * scale;
                let ky = Transform::frequency(j, fine.0) * scale;
                let (sin, cos) = ((kx * psf.centre.1 + ky * psf.centre.0) / scale).sin_cos();
                let mut response = spectrum[i * fine.0 + j] * Complex::new(cos, sin);
                if !psf.has_pixel {
                    response *= of_pixel(kx) * of_pixel(ky);
                }
                if response.norm() < LEAST_RESPONSE * light.abs() {
                    continue;
                }
                let mode = |i: usize, j: usize, sign: f64, psf: Complex<f64>| {
                    let (column, row) = (i % period.1, j % period.0);
                    (2 * column <= period.1).then(|| Mode {
                        ky: sign * ky,
                        kx: sign * kx,
                        at: (j as u32, i as u32),
                        to: (column * period.0 + row) as u32,
                        psf,
                    })
                };
                modes.extend(mode(i, j, 1.0, response));
                if i > 0 && s > 1 {
                    // The other half of the frequencies, where the transform is the conjugate.
                    modes.extend(mode(
                        fine.1 - i,
                        (fine.0 - j) % fine.0,
                        -1.0,
                        response.conj(),
                    ));
                }
            }
        }
        modes.sort_by_key(|mode| mode.to);
        let k2 = |pick: fn(f64, f64) -> f64, start: f64| {
            let squares = modes.iter().map(|mode| mode.kx.powi(2) + mode.ky.powi(2));
            squares.filter(|&k2| k2 > 0.0).fold(start, pick)
        };
        Ok(Self {
            shape,
            transform: Transform::new(period),
            nodes: Nodes::new(shape),
            light,
            fine,
            k2: (k2(f64::min, f64::MAX), k2(f64::max, f64::MIN_POSITIVE)),
            modes,
            seeing: OnceLock::new(),
        })
    }

    /// Moments of a point in the middle of the stamp, which `measure` finds.
    pub(super) fn seeing(
        &self,
        measure: impl FnOnce(&Image<f64>) -> Option<Moments>,
    ) -> Result<Option<Moments>, ProfileError> {
        if let Some(known) = self.seeing.get() {
            return Ok(*known);
        }
        let point = self.draw(&[point_of(self.shape)])?;
        Ok(*self.seeing.get_or_init(|| measure(&point)))
    }

    /// Shape of the stamps.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// The sum of sources, whose centres must lie on the stamp.
    ///
    /// # Errors
    /// When a parameter is not allowed.
    pub fn draw<P>(&self, sources: &[P]) -> Result<Image<f64>, ProfileError>
    where
        P: Copy + Into<Profile>,
    {
        let mut sum = self.transform.empty();
        for (i, &source) in sources.iter().enumerate() {
            let source: Profile = source.into();
            self.check(&source, i)?;
            self.visit(&source, |to, phase, _, at| {
                sum[to] += phase * (source.flux * at.value);
            });
        }
        let mut stamp = self.stamp(&mut sum);
        for &source in sources {
            let source: Profile = source.into();
            if let Some(folded) = self.folded::<1>(&source) {
                let factor = self.light * source.flux;
                folded.take_off(&self.nodes, 0, factor, stamp.pixels_mut());
            }
        }
        Ok(stamp)
    }

    /// A source, whose centre must lie on the stamp, and its derivatives.
    ///
    /// # Errors
    /// When a parameter is not allowed.
    pub fn draw_with_derivatives<P>(&self, source: &P) -> Result<Drawing, ProfileError>
    where
        P: Copy + Into<Profile>,
    {
        let source: &Profile = &(*source).into();
        self.check(source, 0)?;
        let mut spectra: [Spectrum; N_PLANES] = std::array::from_fn(|_| self.transform.empty());
        let ellipse = Angles::new(source);
        let by_r_e = if source.r_e > 0.0 {
            1.0 / source.r_e
        } else {
            0.0
        };
        self.visit(source, |to, phase, mode, at| {
            let (by_q, by_theta) = ellipse.slopes(mode);
            let turned = Complex::new(phase.im, -phase.re) * (source.flux * at.value);
            let scaled = phase * source.flux;
            let by_ln_k = scaled * at.by_ln_k;
            spectra[0][to] += phase * at.value;
            spectra[1][to] += turned * mode.kx;
            spectra[2][to] += turned * mode.ky;
            spectra[3][to] += by_ln_k * by_r_e;
            spectra[4][to] += scaled * at.by_n;
            spectra[5][to] += by_ln_k * by_q;
            spectra[6][to] += by_ln_k * by_theta;
        });
        let mut planes = spectra.map(|mut spectrum| self.stamp(&mut spectrum));
        if let Some(folded) = self.folded::<N_PLANES>(source) {
            for (k, plane) in planes.iter_mut().enumerate() {
                let factor = self.light * if k == 0 { 1.0 } else { source.flux };
                folded.take_off(&self.nodes, k, factor, plane.pixels_mut());
            }
        }
        let by_flux = planes[0].clone();
        scale_by(planes[0].pixels_mut(), source.flux);
        let [value, by_x, by_y, by_r_e, by_n, by_q, by_theta] = planes;
        Ok(Drawing {
            value,
            by: vec![by_x, by_y, by_flux, by_r_e, by_n, by_q, by_theta],
        })
    }

    /// A source, whose centre must lie on the stamp, and its derivatives by x and y.
    ///
    /// # Notes
    /// A move multiplies the transform by a phase, so its derivative is the transform times `-i k`.
    ///
    /// # Errors
    /// When a parameter is not allowed.
    pub fn draw_with_moves<P>(&self, source: &P) -> Result<[Image<f64>; 3], ProfileError>
    where
        P: Copy + Into<Profile>,
    {
        let source: &Profile = &(*source).into();
        self.check(source, 0)?;
        let mut spectra: [Spectrum; 3] = std::array::from_fn(|_| self.transform.empty());
        let [value, by_x, by_y] = &mut spectra;
        self.visit(source, |to, phase, mode, at| {
            let light = phase * (source.flux * at.value);
            let turned = Complex::new(light.im, -light.re);
            value[to] += light;
            by_x[to] += turned * mode.kx;
            by_y[to] += turned * mode.ky;
        });
        let mut planes = spectra.map(|mut spectrum| self.stamp(&mut spectrum));
        if let Some(folded) = self.folded::<3>(source) {
            for (k, plane) in planes.iter_mut().enumerate() {
                let factor = self.light * source.flux;
                folded.take_off(&self.nodes, k, factor, plane.pixels_mut());
            }
        }
        Ok(planes)
    }

    fn check(&self, source: &Profile, index: usize) -> Result<(), ProfileError> {
        source.check(index, true)?;
        let inside = |x: f64, n: usize| x >= -0.5 && x <= n as f64 - 0.5;
        for (name, value, n) in [("x", source.x, self.shape.1), ("y", source.y, self.shape.0)] {
            if !inside(value, n) {
                return Err(ProfileError::Parameter {
                    name,
                    value,
                    index,
                    rule: "on the stamp",
                });
            }
        }
        Ok(())
    }

    /// Call for every mode with the element that it adds to, the PSF with the phase of the source's place, and the
    /// transform of its profile.
    #[inline(always)]
    fn visit(
        &self,
        source: &Profile,
        mut add: impl FnMut(usize, Complex<f64>, &Mode, Transformed),
    ) {
        let ellipse = Angles::new(source);
        let r2 = source.r_e * source.r_e;
        let (from, to) = (self.k2.0 * source.q * source.q, self.k2.1);
        let hankel = Hankel::new(source.family, source.n, from * r2, to * r2);
        let period = self.transform.shape();
        let phases = [
            turns(source.y, self.fine.0, period.0),
            turns(source.x, self.fine.1, period.1),
        ];
        for mode in &self.modes {
            let phase = mode.psf * phases[0][mode.at.0 as usize] * phases[1][mode.at.1 as usize];
            let k2 = ellipse.squared(mode);
            let at = if k2 > 0.0 && source.r_e > 0.0 {
                hankel.at(k2 * r2)
            } else {
                Transformed::OF_ALL
            };
            add(mode.to as usize, phase, mode, at);
        }
    }

    /// The stamp of a spectrum.
    fn stamp(&self, spectrum: &mut Spectrum) -> Image<f64> {
        self.transform.inverse(spectrum, self.shape)
    }

    /// What it repeats.
    fn folded<const N: usize>(&self, source: &Profile) -> Option<Folded<N>> {
        Folded::new(&self.nodes, source, self.transform.shape())
    }
}

/// A point in the middle of a stamp.
fn point_of((ny, nx): (usize, usize)) -> Profile {
    Profile {
        family: Family::Sersic,
        x: 0.5 * (nx as f64 - 1.0),
        y: 0.5 * (ny as f64 - 1.0),
        flux: 1.0,
        r_e: 0.0,
        n: 1.0,
        q: 1.0,
        theta: 0.0,
    }
}

fn scale_by(plane: &mut [f64], factor: f64) {
    for value in plane {
        *value *= factor;
    }
}

/// Phases `exp(-i k x)` of all `n` frequencies of a period.
fn turns(x: f64, n: usize, period: usize) -> Vec<Complex<f64>> {
    let scale = n as f64 / period as f64;
    (0..n)
        .map(|i| Complex::from_polar(1.0, -Transform::frequency(i, n) * scale * x))
        .collect()
}

/// Fourier transform of a pixel's side at an angular frequency [1/pix].
fn of_pixel(k: f64) -> f64 {
    if k == 0.0 {
        1.0
    } else {
        (0.5 * k).sin() / (0.5 * k)
    }
}

/// How a source stretches frequencies.
struct Angles {
    q: f64,
    sin: f64,
    cos: f64,
}

impl Angles {
    fn new(source: &Profile) -> Self {
        let (sin, cos) = source.theta.sin_cos();
        Self {
            q: source.q,
            sin,
            cos,
        }
    }

    /// Square of the elliptical frequency.
    fn squared(&self, mode: &Mode) -> f64 {
        let (ku, kv) = self.along(mode);
        ku * ku + self.q * self.q * kv * kv
    }

    fn along(&self, mode: &Mode) -> (f64, f64) {
        (
            self.cos * mode.kx + self.sin * mode.ky,
            self.cos * mode.ky - self.sin * mode.kx,
        )
    }

    /// Derivatives of the logarithm of the elliptical frequency by `q` and `theta`.
    fn slopes(&self, mode: &Mode) -> (f64, f64) {
        let (ku, kv) = self.along(mode);
        let k2 = (ku * ku + self.q * self.q * kv * kv).max(f64::MIN_POSITIVE);
        (
            self.q * kv * kv / k2,
            ku * kv * (1.0 - self.q * self.q) / k2,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn gaussian(side: usize, fwhm: f64) -> Vec<f64> {
        let sigma = fwhm / 2.354_820_045_030_949;
        let c = (side as f64 - 1.0) / 2.0;
        (0..side * side)
            .map(|i| ((i % side) as f64 - c, (i / side) as f64 - c))
            .map(|(x, y)| (-0.5 * (x * x + y * y) / (sigma * sigma)).exp() / (TAU * sigma * sigma))
            .collect()
    }

    fn response(image: Plane<'_, f64>) -> Response<'_> {
        let (ny, nx) = image.shape();
        Response {
            image,
            centre: (0.5 * (ny as f64 - 1.0), 0.5 * (nx as f64 - 1.0)),
            oversampling: 1,
            has_pixel: true,
        }
    }

    fn source(r_e: f64, n: f64, q: f64) -> Profile {
        Profile {
            family: Family::Sersic,
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
            let convolver = Convolver::new(&response(psf), (40, 44)).unwrap();
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
    fn moves_are_the_first_of_all_derivatives() {
        let psf = gaussian(75, 9.0);
        let fine = Response {
            oversampling: 3,
            ..response(Plane::new("psf", &psf, (75, 75)).unwrap())
        };
        let convolver = Convolver::new(&fine, (40, 44)).unwrap();
        for one in [source(4.0, 1.0, 0.5), source(9.0, 4.0, 0.3)] {
            let [value, by_x, by_y] = convolver.draw_with_moves(&one).unwrap();
            let all = convolver.draw_with_derivatives(&one).unwrap();
            for (found, expected) in [
                (&value, &all.value),
                (&by_x, &all.by[0]),
                (&by_y, &all.by[1]),
            ] {
                let peak = expected
                    .pixels()
                    .iter()
                    .fold(0.0_f64, |a, b| a.max(b.abs()));
                for (a, b) in found.pixels().iter().zip(expected.pixels()) {
                    assert!((a - b).abs() < 1e-12 * peak, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn derivatives_are_differences() {
        let psf = gaussian(25, 3.0);
        let psf = response(Plane::new("psf", &psf, (25, 25)).unwrap());
        let convolver = Convolver::new(&psf, (40, 44)).unwrap();
        for (family, r_e, n, q) in [
            (Family::Sersic, 4.0, 1.0, 0.5),
            (Family::Sersic, 2.0, 4.0, 0.8),
            (Family::Sersic, 0.5, 2.0, 0.3),
            (Family::Sersic, 9.0, 0.6, 0.15),
            (Family::Moffat, 4.0, 3.0, 0.5),
            (Family::Moffat, 2.0, 1.5, 0.8),
            (Family::Moffat, 6.0, 8.0, 0.3),
        ] {
            let here = Profile {
                family,
                ..source(r_e, n, q)
            };
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
