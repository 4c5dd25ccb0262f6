//! Errors of flux-weighted centres.

use super::aperture::Photometer;
use super::convolve::Kernel;
use super::correlation::Factors;
use super::label::Run;

/// Errors of a centre `(x, y)`, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct PositionErrors {
    /// Standard deviation of the column.
    pub x: f64,
    /// Standard deviation of the row.
    pub y: f64,
    /// Their covariance.
    pub covariance: f64,
}

impl PositionErrors {
    /// Errors of a centre that is a weighted sum of pixels along each axis.
    pub(super) fn of(photometer: &Photometer<'_>, along_x: &Factors, along_y: &Factors) -> Self {
        let xx = photometer.variance_of_sum(along_x);
        let yy = photometer.variance_of_sum(along_y);
        let both = photometer.variance_of_sum(&along_x.plus(1.0, along_y));
        Self {
            x: xx.sqrt(),
            y: yy.sqrt(),
            covariance: 0.5 * (both - xx - yy),
        }
    }

    pub(super) const UNKNOWN: Self = Self {
        x: f64::NAN,
        y: f64::NAN,
        covariance: f64::NAN,
    };
}

/// Derivatives of sums over pixels of the filtered image by the pixels of the image itself.
pub(super) struct Unfiltered<'a> {
    /// The image.
    pub photometer: &'a Photometer<'a>,
    /// Its filter.
    pub kernel: &'a Kernel,
}

impl Unfiltered<'_> {
    /// Zeros for all pixels from which those of the runs were filtered.
    pub(super) fn zeros(&self, runs: &[Run]) -> Factors {
        let (y, x) = self.kernel.reach();
        // A saddle may lie on a pixel of the neighbour.
        Factors::around(runs, (y + 1, x + 1))
    }

    /// Add `scale` times what each pixel counts in the filtered pixel `(x, y)`, of which missing ones are no part.
    pub(super) fn add(&self, factors: &mut Factors, x: usize, y: usize, scale: f64) {
        let image = self.photometer;
        let present = self.kernel.taps().filter(|&(dy, dx, _)| {
            image
                .index(x as isize + dx, y as isize + dy)
                .is_some_and(|i| {
                    image.data.pixels()[i].is_finite() && image.mask.is_none_or(|m| !m.pixels()[i])
                })
        });
        let norm: f64 = present.clone().map(|(_, _, tap)| tap).sum();
        for (dy, dx, tap) in present {
            factors.add(x as isize + dx, y as isize + dy, scale * tap / norm);
        }
    }
}

/// Where one can step from a segment into another one, on the filtered image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saddle {
    /// Its value.
    pub value: f32,
    /// Its column.
    pub x: usize,
    /// Its row.
    pub y: usize,
}

/// Height of the standard normal distribution, and its integral by the logistic function closest to it.
fn normal(z: f64) -> (f64, f64) {
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (density, 1.0 / (1.0 + (-1.702 * z).exp()))
}

/// Errors of the centre `(x0, y0)` of the pixels `(x, y, filtered value)` of a segment.
///
/// Its derivatives by the filtered pixels `f` are `(x - x0) / sum f`. Where only those above a saddle `s` count, one may
/// also come in or drop out: the mean of `f H(f - s)` over noise of width `sigma` changes by
/// `Phi(z) + s / sigma phi(z)` with `f`, `z = (f - s) / sigma`, and by `-s / sigma phi(z)` with `s`, the value of a pixel.
pub(super) fn position_errors(
    unfiltered: &Unfiltered<'_>,
    runs: &[Run],
    valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
    saddle: Option<Saddle>,
    (x0, y0): (f64, f64),
) -> PositionErrors {
    let image = unfiltered.photometer;
    let Some(variance) = image.variance else {
        return PositionErrors::UNKNOWN;
    };
    let nx = variance.shape().1;
    let floor = saddle.map_or(f32::NEG_INFINITY, |s| s.value);
    let finite = valued.filter(|&(_, _, value)| value.is_finite());
    let core = finite.clone().filter(|&(_, _, value)| value > floor);
    let flux: f64 = core.clone().map(|(_, _, value)| f64::from(value)).sum();
    if flux <= 0.0 {
        return PositionErrors::UNKNOWN;
    }
    let mut along_x = unfiltered.zeros(runs);
    let mut along_y = along_x.clone();
    if let Some(saddle) = saddle {
        let mut level = along_x.clone();
        unfiltered.add(&mut level, saddle.x, saddle.y, 1.0);
        // The filter's noise at other pixels is taken as that at the saddle times the ratio of the pixels' own.
        let at_saddle = f64::from(variance.row(saddle.y)[saddle.x]);
        let relative = (image.variance_of_sum(&level) / at_saddle).sqrt();
        let (mut by_x, mut by_y) = (0.0, 0.0);
        for (x, y, value) in finite {
            let sigma = relative * f64::from(variance.pixels()[y * nx + x]).sqrt();
            let (density, above) = normal((f64::from(value) - f64::from(floor)) / sigma);
            let crossing = f64::from(floor) / sigma * density;
            let (dx, dy) = ((x as f64 - x0) / flux, (y as f64 - y0) / flux);
            if !crossing.is_finite() {
                continue;
            }
            unfiltered.add(&mut along_x, x, y, dx * (above + crossing));
            unfiltered.add(&mut along_y, x, y, dy * (above + crossing));
            by_x -= dx * crossing;
            by_y -= dy * crossing;
        }
        along_x = along_x.plus(by_x, &level);
        along_y = along_y.plus(by_y, &level);
    } else {
        for (x, y, _) in core {
            unfiltered.add(&mut along_x, x, y, (x as f64 - x0) / flux);
            unfiltered.add(&mut along_y, x, y, (y as f64 - y0) / flux);
        }
    }
    PositionErrors::of(image, &along_x, &along_y)
}
