//! Sources of an image for astrometry: where a Gaussian fits best, with the centroid in a window of the source's size.

use rayon::prelude::*;

use super::AlignError;
use crate::image::Plane;
use crate::interrupt;

/// Side of a square window in units of its Gaussian's sigma.
const WINDOW_SIGMA: f64 = 4.0;
/// Least part of the Gaussian's squares over the good pixels around a source.
const LEAST_CONTRAST: f64 = 0.5;
/// Steps of the centroid at most.
const STEPS: usize = 60;
/// A step that ends the iteration.
const LAST_STEP_PIX: f64 = 1e-5;
const SIGMA_PER_FWHM: f64 = 0.424_660_900_144_009_5;

/// How sources are found.
#[derive(Clone, Copy, Debug)]
pub struct FindParams {
    /// Full width at half maximum of the Gaussian with which sources are found [pix].
    pub fwhm_pix: f64,
    /// Half side of the square in which it is fitted, in units of its sigma; at least 2 pixels.
    pub n_sigma: f64,
    /// Least amplitude of the fit over its error.
    pub threshold: f64,
    /// A source is the best fit within so many pixels along each axis.
    pub separation_pix: usize,
    /// Sigma of the smallest window of a centroid [pix].
    pub min_window_pix: f64,
    /// Sigma of the largest one [pix].
    pub max_window_pix: f64,
}

/// One source.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Centroid [pix].
    pub x: f64,
    /// Centroid [pix].
    pub y: f64,
    /// 1 sigma of the centroid.
    pub x_err: f64,
    /// 1 sigma of the centroid.
    pub y_err: f64,
    /// Flux of a Gaussian with the window's content.
    pub flux: f64,
    /// The brightest pixel, sky subtracted.
    pub peak: f64,
    /// Amplitude of the best fit over its error.
    pub snr: f64,
    /// Sigma of the window of the centroid [pix].
    pub window: f64,
    /// Central pixel minus the mean of those around it, over the amplitude of the fit.
    pub sharpness: f64,
    /// `(xx - yy) / (xx + yy)` of the second moments in the window.
    pub roundness: f64,
}

impl Source {
    /// All numbers, in the order of the fields.
    #[must_use]
    pub fn row(&self) -> [f64; 10] {
        [
            self.x,
            self.y,
            self.x_err,
            self.y_err,
            self.flux,
            self.peak,
            self.snr,
            self.window,
            self.sharpness,
            self.roundness,
        ]
    }
}

/// The pixels of an image without its sky.
struct Image<'a> {
    signal: Plane<'a, f32>,
    noise: Plane<'a, f32>,
    good: Vec<f32>,
}

/// A Gaussian over a square, whose amplitude is fitted together with a constant to the good pixels around each pixel.
struct Gauss {
    values: Vec<f64>,
    half: usize,
    /// Sum of the squares of the Gaussian without its mean.
    contrast: f64,
}

/// The fit at a pixel.
#[derive(Clone, Copy)]
struct Amplitude {
    height: f64,
    snr: f64,
    mean: f64,
}

impl Gauss {
    fn new(sigma: f64, n_sigma: f64) -> Self {
        let half = ((n_sigma * sigma).ceil() as usize).max(2);
        let values: Vec<f64> = (0..=2 * half)
            .map(|k| {
                let u = (k as f64 - half as f64) / sigma;
                (-0.5 * u * u).exp()
            })
            .collect();
        let (sum, squares) = values
            .iter()
            .fold((0.0, 0.0), |(sum, squares), g| (sum + g, squares + g * g));
        let n = values.len() as f64;
        Self {
            values,
            half,
            contrast: squares * squares - (sum * sum / n) * (sum * sum / n),
        }
    }
}

/// Sums of `weights` times the pixels around each pixel, first along rows and then along columns.
fn separable(values: &[f32], (ny, nx): (usize, usize), weights: &[f64]) -> Vec<f32> {
    let half = weights.len() / 2;
    let mut across = vec![0.0_f32; values.len()];
    across
        .par_chunks_mut(nx)
        .zip(values.par_chunks(nx))
        .for_each(|(out, row)| {
            interrupt::poll();
            for (i, sum) in out.iter_mut().enumerate() {
                let first = i.saturating_sub(half);
                let last = (i + half + 1).min(nx);
                let terms = row[first..last].iter().zip(&weights[first + half - i..]);
                *sum = terms.map(|(v, w)| f64::from(*v) * w).sum::<f64>() as f32;
            }
        });
    let mut out = vec![0.0_f32; values.len()];
    out.par_chunks_mut(nx).enumerate().for_each(|(j, out)| {
        interrupt::poll();
        let first = j.saturating_sub(half);
        let last = (j + half + 1).min(ny);
        let mut sums = vec![0.0_f64; nx];
        for (row, w) in across[first * nx..last * nx]
            .chunks(nx)
            .zip(&weights[first + half - j..])
        {
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum += f64::from(*v) * w;
            }
        }
        for (value, sum) in out.iter_mut().zip(sums) {
            *value = sum as f32;
        }
    });
    out
}

impl Image<'_> {
    /// The best amplitudes of a Gaussian plus a constant at every pixel, by linear least squares.
    fn amplitudes(&self, gauss: &Gauss) -> Vec<Amplitude> {
        let shape = self.signal.shape();
        let square: Vec<f64> = gauss.values.iter().map(|g| g * g).collect();
        let ones = vec![1.0; gauss.values.len()];
        let data: Vec<f32> = self
            .signal
            .pixels()
            .iter()
            .zip(&self.good)
            .map(|(v, good)| if *good > 0.0 { *v } else { 0.0 })
            .collect();
        let [gd, d] = [&gauss.values, &ones].map(|k| separable(&data, shape, k));
        let [g, gg, n] = [&gauss.values, &square, &ones].map(|k| separable(&self.good, shape, k));
        let noise = self.noise.pixels();
        (0..data.len())
            .into_par_iter()
            .with_min_len(4096)
            .map(|k| {
                let [gd, d, g, gg, n] = [gd[k], d[k], g[k], gg[k], n[k]].map(f64::from);
                let contrast = gg - g * g / n;
                let height = (gd - g * d / n) / contrast;
                let sigma = f64::from(noise[k]) / contrast.sqrt();
                let counts = self.good[k] > 0.0 && contrast > LEAST_CONTRAST * gauss.contrast;
                Amplitude {
                    height,
                    snr: if counts { height / sigma } else { f64::NAN },
                    mean: d / n,
                }
            })
            .collect()
    }

    /// Value and variance of a good pixel.
    fn good_at(&self, i: i64, j: i64) -> Option<(f64, f64)> {
        let (ny, nx) = self.signal.shape();
        let (i, j) = (usize::try_from(i).ok()?, usize::try_from(j).ok()?);
        let is_good = i < nx && j < ny && self.good[j * nx + i] > 0.0;
        is_good.then(|| {
            let sigma = f64::from(self.noise.row(j)[i]);
            (f64::from(self.signal.row(j)[i]), sigma * sigma)
        })
    }

    /// Value and variance of a pixel; of the place opposite to it for a bad one, linear between the good pixels there.
    fn at(&self, i: i64, j: i64, [x, y]: [f64; 2]) -> (f64, f64) {
        if let Some(found) = self.good_at(i, j) {
            return found;
        }
        let (u, v) = (2.0 * x - i as f64, 2.0 * y - j as f64);
        let (left, bottom) = (u.floor(), v.floor());
        let (mut total, mut value, mut variance) = (0.0, 0.0, 0.0);
        for (a, b) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let share = |t: f64, k: i64| if k == 0 { 1.0 - t } else { t };
            let w = share(u - left, a) * share(v - bottom, b);
            if let Some((pixel, square)) = self.good_at(left as i64 + a, bottom as i64 + b) {
                total += w;
                value += w * pixel;
                variance += w * square;
            }
        }
        if total > 0.0 {
            (value / total, variance / total)
        } else {
            (0.0, 0.0)
        }
    }

    /// Moments in a Gaussian window: of order 0, 1 (x, y), 2 (xx, yy), and the variances of order 1.
    fn moments(&self, centre: [f64; 2], sigma: f64) -> Moments {
        let reach = WINDOW_SIGMA * sigma;
        let range = |c: f64| ((c - reach).ceil() as i64)..=((c + reach).floor() as i64);
        let mut sums = Moments::default();
        for j in range(centre[1]) {
            let dy = j as f64 - centre[1];
            for i in range(centre[0]) {
                let dx = i as f64 - centre[0];
                let w = (-0.5 * (dx * dx + dy * dy) / (sigma * sigma)).exp();
                let (value, variance) = self.at(i, j, centre);
                let wv = w * value;
                sums.zero += wv;
                sums.first[0] += wv * dx;
                sums.first[1] += wv * dy;
                sums.second[0] += wv * dx * dx;
                sums.second[1] += wv * dy * dy;
                sums.variance[0] += w * w * variance * dx * dx;
                sums.variance[1] += w * w * variance * dy * dy;
            }
        }
        sums
    }

    /// The centroid in a Gaussian window that grows until it has the source's own size; None when it is lost.
    fn centroid(&self, start: [f64; 2], sigma: f64, params: &FindParams) -> Option<Centroid> {
        let (mut centre, mut sigma) = (start, sigma);
        for step in 0..STEPS {
            let sums = self.moments(centre, sigma);
            if sums.zero <= 0.0 {
                return None;
            }
            // In a window of variance s^2 a Gaussian of variance v has v s^2 / (v + s^2).
            let inside =
                f64::midpoint(sums.second[0], sums.second[1]) / sums.zero / (sigma * sigma);
            let gain = 1.0 / (1.0 - inside.clamp(0.05, 0.9));
            let shift = sums.first.map(|s| gain * s / sums.zero);
            let wanted =
                (sigma * (gain - 1.0).sqrt()).clamp(params.min_window_pix, params.max_window_pix);
            let is_last =
                shift[0].hypot(shift[1]) < LAST_STEP_PIX && (wanted - sigma).abs() < 1e-3 * sigma;
            centre = [centre[0] + shift[0], centre[1] + shift[1]];
            let lost = (centre[0] - start[0]).hypot(centre[1] - start[1]) > 2.0 * sigma.max(1.0);
            if lost || !centre[0].is_finite() || !centre[1].is_finite() {
                return None;
            }
            if is_last || step + 1 == STEPS {
                let [xx, yy] = sums.second;
                return Some(Centroid {
                    centre,
                    error: sums.variance.map(|v| gain * v.sqrt() / sums.zero),
                    flux: gain * sums.zero,
                    sigma,
                    roundness: (xx - yy) / (xx + yy),
                });
            }
            // The window follows slowly, so that the two do not swing.
            sigma = (sigma * wanted).sqrt();
        }
        None
    }
}

#[derive(Default)]
struct Moments {
    zero: f64,
    first: [f64; 2],
    second: [f64; 2],
    variance: [f64; 2],
}

struct Centroid {
    centre: [f64; 2],
    error: [f64; 2],
    flux: f64,
    sigma: f64,
    roundness: f64,
}

fn check(params: &FindParams) -> Result<(), AlignError> {
    for (name, value) in [
        ("fwhm_pix", params.fwhm_pix),
        ("n_sigma", params.n_sigma),
        ("threshold", params.threshold),
        ("min_window_pix", params.min_window_pix),
        (
            "max_window_pix",
            params.max_window_pix - params.min_window_pix + f64::MIN_POSITIVE,
        ),
    ] {
        if !(value > 0.0 && value.is_finite()) {
            let wanted = "positive";
            return Err(AlignError::Number {
                name,
                value,
                wanted,
            });
        }
    }
    Ok(())
}

/// Find the sources of an image without sky; `noise` is 1 sigma of its pixels, `bad` those that are not used.
///
/// The sources are ordered by decreasing flux. Sources whose window reaches beyond the image are left out.
///
/// # Errors
/// [`AlignError`] for images that do not fit together and numbers that are not allowed.
///
/// # Source
/// Stetson 1987 (PASP 99, 191, equations 1 to 3) for the amplitude of a Gaussian over a constant. Bernstein & Jarvis
/// 2002 (AJ 123, 583, section 3) for the window that matches the source, which for a Gaussian is the weight of least
/// variance.
pub fn find(
    signal: Plane<'_, f32>,
    noise: Plane<'_, f32>,
    bad: Option<Plane<'_, bool>>,
    params: &FindParams,
) -> Result<Vec<Source>, AlignError> {
    check(params)?;
    let (ny, nx) = signal.shape();
    let noise = noise.of_shape("error", (ny, nx))?;
    let bad = bad.map(|bad| bad.of_shape("mask", (ny, nx))).transpose()?;
    let good = signal
        .pixels()
        .iter()
        .zip(noise.pixels())
        .enumerate()
        .map(|(k, (v, sigma))| {
            let is_good = bad.is_none_or(|bad| !bad.pixels()[k]);
            let is_known = v.is_finite() && sigma.is_finite() && *sigma > 0.0;
            if is_good && is_known { 1.0 } else { 0.0 }
        })
        .collect();
    let image = Image {
        signal,
        noise,
        good,
    };
    let sigma = params.fwhm_pix * SIGMA_PER_FWHM;
    let gauss = Gauss::new(sigma, params.n_sigma);
    let fits = image.amplitudes(&gauss);
    let reach = params.separation_pix.max(1);
    let is_best = |i: usize, j: usize| {
        let here = fits[j * nx + i].snr;
        here >= params.threshold
            && (j.saturating_sub(reach)..(j + reach + 1).min(ny)).all(|v| {
                (i.saturating_sub(reach)..(i + reach + 1).min(nx)).all(|u| {
                    let other = fits[v * nx + u].snr;
                    // The first of equal pixels is the best.
                    (u, v) == (i, j) || !(other > here || (other == here && (v, u) < (j, i)))
                })
            })
    };
    let edge = gauss.half;
    let mut sources: Vec<Source> = (edge..ny.saturating_sub(edge))
        .into_par_iter()
        .flat_map_iter(|j| {
            interrupt::poll();
            (edge..nx.saturating_sub(edge))
                .filter(|i| is_best(*i, j))
                .filter_map(|i| measure(&image, &fits[j * nx + i], [i, j], sigma, params))
                .collect::<Vec<_>>()
        })
        .collect();
    sources.sort_by(|a, b| b.flux.total_cmp(&a.flux));
    Ok(sources)
}

fn measure(
    image: &Image<'_>,
    fit: &Amplitude,
    [i, j]: [usize; 2],
    sigma: f64,
    params: &FindParams,
) -> Option<Source> {
    let start = sigma.clamp(params.min_window_pix, params.max_window_pix);
    let found = image.centroid([i as f64, j as f64], start, params)?;
    let (ny, nx) = image.signal.shape();
    let [x, y] = found.centre;
    let edge = 2.0 * found.sigma;
    let is_inside =
        x >= edge && y >= edge && x <= nx as f64 - 1.0 - edge && y <= ny as f64 - 1.0 - edge;
    is_inside.then(|| {
        let (peak, _) = image.at(i as i64, j as i64, [i as f64, j as f64]);
        Source {
            x,
            y,
            x_err: found.error[0],
            y_err: found.error[1],
            flux: found.flux,
            peak,
            snr: fit.snr,
            window: found.sigma,
            sharpness: (peak - fit.mean) / fit.height,
            roundness: found.roundness,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn star(x: f64, y: f64, sigma: f64, shape: (usize, usize)) -> Vec<f32> {
        let (ny, nx) = shape;
        (0..ny * nx)
            .map(|k| {
                let (dx, dy) = ((k % nx) as f64 - x, (k / nx) as f64 - y);
                (100.0 * (-0.5 * (dx * dx + dy * dy) / (sigma * sigma)).exp()) as f32
            })
            .collect()
    }

    const PARAMS: FindParams = FindParams {
        fwhm_pix: 3.0,
        n_sigma: 1.5,
        threshold: 5.0,
        separation_pix: 2,
        min_window_pix: 0.9,
        max_window_pix: 5.0,
    };

    #[test]
    fn a_star_is_found_where_it_is_also_beside_a_bad_pixel() {
        let shape = (31, 33);
        let mut data = star(16.3, 14.6, 1.6, shape);
        let noise = vec![1.0; data.len()];
        let mut bad = vec![false; data.len()];
        for spoilt in [false, true] {
            if spoilt {
                bad[15 * 33 + 18] = true;
                data[15 * 33 + 18] = f32::NAN;
            }
            let found = find(
                Plane::new("signal", &data, shape).unwrap(),
                Plane::new("noise", &noise, shape).unwrap(),
                Some(Plane::new("bad", &bad, shape).unwrap()),
                &PARAMS,
            )
            .unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            let tolerance = if spoilt { 0.02 } else { 1e-3 };
            assert!((found[0].x - 16.3).abs() < tolerance, "{}", found[0].x);
            assert!((found[0].y - 14.6).abs() < tolerance, "{}", found[0].y);
            assert!((found[0].window - 1.6).abs() < 0.1);
            let flux = 100.0 * 2.0 * std::f64::consts::PI * 1.6 * 1.6;
            assert!((found[0].flux / flux - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn a_constant_and_an_empty_image_have_no_sources() {
        for value in [0.0, 7.0] {
            let data = vec![value; 400];
            let noise = vec![1.0; 400];
            let plane = |d| Plane::new("signal", d, (20, 20)).unwrap();
            assert!(
                find(plane(&data), plane(&noise), None, &PARAMS)
                    .unwrap()
                    .is_empty()
            );
        }
    }
}
