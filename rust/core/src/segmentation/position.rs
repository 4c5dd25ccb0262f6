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
        Factors::around(runs, self.kernel.reach())
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

/// Errors of the centre `(x0, y0)` of the pixels `(x, y, filtered value)` of a segment: its derivatives by the filtered
/// pixels are `(x - x0) / sum f`.
pub(super) fn position_errors(
    unfiltered: &Unfiltered<'_>,
    runs: &[Run],
    core: impl Iterator<Item = (usize, usize, f32)> + Clone,
    (x0, y0): (f64, f64),
) -> PositionErrors {
    let core = core.filter(|&(_, _, value)| value.is_finite());
    let flux: f64 = core.clone().map(|(_, _, value)| f64::from(value)).sum();
    if unfiltered.photometer.variance.is_none() || flux <= 0.0 {
        return PositionErrors::UNKNOWN;
    }
    let mut along_x = unfiltered.zeros(runs);
    let mut along_y = along_x.clone();
    for (x, y, _) in core {
        unfiltered.add(&mut along_x, x, y, (x as f64 - x0) / flux);
        unfiltered.add(&mut along_y, x, y, (y as f64 - y0) / flux);
    }
    PositionErrors::of(unfiltered.photometer, &along_x, &along_y)
}
