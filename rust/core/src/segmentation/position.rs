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

/// Flux and centre of the pixels above a floor; None when they do not weigh.
fn centroid(
    valued: impl Iterator<Item = (usize, usize, f32)>,
    floor: f32,
) -> Option<(f64, f64, f64)> {
    let (mut flux, mut mx, mut my) = (0.0, 0.0, 0.0);
    for (x, y, value) in valued.filter(|&(_, _, value)| value > floor && value.is_finite()) {
        let value = f64::from(value);
        flux += value;
        mx += value * x as f64;
        my += value * y as f64;
    }
    (flux > 0.0).then(|| (flux, mx / flux, my / flux))
}

/// Errors of the centre `(x0, y0)` of the pixels `(x, y, filtered value)` of a segment that lie above a saddle: its
/// derivatives by the filtered pixels are `(x - x0) / sum f`, and it moves with the noise of the saddle, by the slope
/// between one standard deviation below and above.
pub(super) fn position_errors(
    unfiltered: &Unfiltered<'_>,
    runs: &[Run],
    valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
    saddle: Option<Saddle>,
    (x0, y0): (f64, f64),
) -> PositionErrors {
    let image = unfiltered.photometer;
    let floor = saddle.map_or(f32::NEG_INFINITY, |s| s.value);
    let Some((flux, _, _)) = centroid(valued.clone(), floor) else {
        return PositionErrors::UNKNOWN;
    };
    if image.variance.is_none() {
        return PositionErrors::UNKNOWN;
    }
    let mut along_x = unfiltered.zeros(runs);
    let mut along_y = along_x.clone();
    for (x, y, value) in valued.clone() {
        if value > floor && value.is_finite() {
            unfiltered.add(&mut along_x, x, y, (x as f64 - x0) / flux);
            unfiltered.add(&mut along_y, x, y, (y as f64 - y0) / flux);
        }
    }
    if let Some(saddle) = saddle {
        let mut level = unfiltered.zeros(runs);
        unfiltered.add(&mut level, saddle.x, saddle.y, 1.0);
        let sigma = image.variance_of_sum(&level).sqrt();
        let at = |sign: f64| centroid(valued.clone(), (f64::from(floor) + sign * sigma) as f32);
        if let (Some((_, xu, yu)), Some((_, xl, yl))) = (at(1.0), at(-1.0)) {
            along_x = along_x.plus((xu - xl) / (2.0 * sigma), &level);
            along_y = along_y.plus((yu - yl) / (2.0 * sigma), &level);
        }
    }
    PositionErrors::of(image, &along_x, &along_y)
}
