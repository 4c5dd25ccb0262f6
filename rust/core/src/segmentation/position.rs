//! Errors of flux-weighted centres.

use super::aperture::Photometer;
use super::convolve::Kernel;
use super::correlation::Factors;
use super::label::Run;

/// Slope of the logistic function that is closest to the normal distribution.
const LOGISTIC: f64 = 1.702;

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

/// From sums over pixels of the filtered image to sums over those of the image itself.
pub(super) struct Unfiltered<'a> {
    /// The image.
    pub photometer: &'a Photometer<'a>,
    /// Its filter.
    pub kernel: &'a Kernel,
}

impl Unfiltered<'_> {
    /// What every pixel counts in a sum of filtered pixels times factors; missing ones are no part of it.
    pub(super) fn factors(&self, filtered: &Factors) -> Factors {
        let mut taps: Vec<(isize, isize, f64)> = self.kernel.taps().collect();
        taps.reverse();
        let block: Vec<f64> = taps.iter().map(|t| t.2).collect();
        let (ry, rx) = self.kernel.reach();
        let mut factors = filtered.zeros_around((ry, rx));
        let is_whole = factors.pixels_mut().all(|(x, y, _)| self.is_present(x, y));
        for (x, y, u) in filtered.non_zero() {
            let norm: f64 = if is_whole {
                1.0
            } else {
                let present = taps
                    .iter()
                    .filter(|(dy, dx, _)| self.is_present(x + dx, y + dy));
                present.map(|t| t.2).sum()
            };
            factors.add_block(
                x - rx as isize,
                y - ry as isize,
                &block,
                2 * rx + 1,
                u / norm,
            );
        }
        if !is_whole {
            for (x, y, u) in factors.pixels_mut() {
                if !self.is_present(x, y) {
                    *u = 0.0;
                }
            }
        }
        factors
    }

    fn is_present(&self, x: isize, y: isize) -> bool {
        let image = self.photometer;
        image.index(x, y).is_some_and(|i| {
            image.data.pixels()[i].is_finite() && image.mask.is_none_or(|m| !m.pixels()[i])
        })
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

impl Saddle {
    /// The highest of several.
    pub(super) fn highest(saddles: &[Self]) -> Option<Self> {
        let higher = |best: Self, s: &Self| if s.value > best.value { *s } else { best };
        let (first, rest) = saddles.split_first()?;
        Some(rest.iter().fold(*first, higher))
    }
}

/// Ratio of the values between which the light at the edge of a segment is counted.
const EDGE_RATIO: f64 = 1.6;

/// The edge of a segment that ends where its light falls below a threshold: it moves with the noise there.
#[derive(Clone, Debug)]
pub(super) struct MovingEdge {
    /// Pixels beside the sky.
    pixels: Vec<(usize, usize)>,
    /// How often more such a pixel counts than one inside.
    more: f64,
}

impl MovingEdge {
    /// The edge of pixels `(x, y, filtered value)`, those of them that are beside the sky.
    ///
    /// Where the light f falls with the slope g, noise d moves the edge by `d / g`, and the light at the edge, t, with
    /// it: the sum over the segment changes by `t / g` per length of the edge more. Over the whole edge that is
    /// `-t dA / dt`, with A the number of pixels above t, which is taken from the pixels between t and 1.6 t, t being the
    /// median of the pixels at the edge. None when that is not positive.
    pub(super) fn of(
        valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
        is_beside_sky: impl Fn(usize, usize) -> bool,
    ) -> Option<Self> {
        let finite = valued.filter(|v| v.2.is_finite());
        let (pixels, mut values): (Vec<_>, Vec<_>) = finite
            .clone()
            .filter(|&(x, y, _)| is_beside_sky(x, y))
            .map(|(x, y, value)| ((x, y), value))
            .unzip();
        if values.is_empty() {
            return None;
        }
        let middle = values.len() / 2;
        let threshold = f64::from(*values.select_nth_unstable_by(middle, f32::total_cmp).1);
        if threshold <= 0.0 {
            return None;
        }
        let near = threshold..EDGE_RATIO * threshold;
        let n = finite.filter(|v| near.contains(&f64::from(v.2))).count();
        let more = n as f64 / EDGE_RATIO.ln() / pixels.len() as f64;
        Some(Self { pixels, more })
    }
}

/// Integral of the standard normal distribution, by the logistic function closest to it.
pub(super) fn above(z: f64) -> f64 {
    1.0 / (1.0 + (-LOGISTIC * z).exp())
}

/// Errors of the centre `(x0, y0)` of the pixels `(x, y, filtered value)` of a segment.
///
/// Its derivatives by the filtered pixels `f` are `(x - x0) / sum f`. In a blend only what is above the highest saddle `s`
/// counts: over noise of width `sigma` the mean of `max(f - s, 0)` moves by `Phi((f - s) / sigma)` with `f`, and by as much
/// less with `s`. Which of the saddles is the highest may change too: each is with a probability that falls off as
/// `exp(1.702 (s_k - s) / sqrt(2) sigma)`, for two of them the logistic form of `Phi((s_1 - s_2) / sqrt(2) sigma)`.
/// A segment by itself ends at a threshold: its edge moves with the noise, see [`MovingEdge`].
pub(super) fn position_errors(
    unfiltered: &Unfiltered<'_>,
    runs: &[Run],
    valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
    saddles: &[Saddle],
    edge: Option<MovingEdge>,
    (x0, y0): (f64, f64),
) -> PositionErrors {
    let image = unfiltered.photometer;
    let Some(variance) = image.variance else {
        return PositionErrors::UNKNOWN;
    };
    // A saddle may lie on a pixel of the neighbour.
    let mut along_x = Factors::around(runs, (1, 1));
    let mut along_y = along_x.clone();
    let finite = valued.filter(|&(_, _, value)| value.is_finite());
    let highest = Saddle::highest(saddles);
    let above_saddle = |value: f32| match highest {
        Some(s) => f64::from(value - s.value).max(0.0),
        None => f64::from(value),
    };
    let flux: f64 = finite
        .clone()
        .map(|(_, _, value)| above_saddle(value))
        .sum();
    if flux <= 0.0 {
        return PositionErrors::UNKNOWN;
    }
    // The filter's noise at other pixels is taken as that at the saddle times the ratio of the pixels' own.
    let own = |x: usize, y: usize| f64::from(variance.row(y)[x]).sqrt();
    let relative = highest.map_or(0.0, |s| {
        let (x, y) = (s.x as isize, s.y as isize);
        let mut level = Factors::zeros((x, x), (y, y));
        level.add(x, y, 1.0);
        image.variance_of_sum(&unfiltered.factors(&level)).sqrt() / own(s.x, s.y)
    });
    if highest.is_some() && !(relative.is_finite() && relative > 0.0) {
        return PositionErrors::UNKNOWN;
    }
    let (mut by_x, mut by_y) = (0.0, 0.0);
    for (x, y, value) in finite {
        let counts = highest.map_or(1.0, |s| {
            above(f64::from(value - s.value) / (relative * own(x, y)))
        });
        if counts.is_finite() {
            let dx = counts * (x as f64 - x0) / flux;
            let dy = counts * (y as f64 - y0) / flux;
            along_x.add(x as isize, y as isize, dx);
            along_y.add(x as isize, y as isize, dy);
            by_x -= dx;
            by_y -= dy;
        }
    }
    if let Some(MovingEdge { pixels, more }) = edge {
        for (x, y) in pixels {
            along_x.add(x as isize, y as isize, more * (x as f64 - x0) / flux);
            along_y.add(x as isize, y as isize, more * (y as f64 - y0) / flux);
        }
    }
    if let Some(highest) = highest {
        let sigma = relative * own(highest.x, highest.y) * std::f64::consts::SQRT_2;
        let chance = |s: &Saddle| (LOGISTIC * f64::from(s.value - highest.value) / sigma).exp();
        let all: f64 = saddles.iter().map(chance).sum();
        for s in saddles {
            along_x.add(s.x as isize, s.y as isize, by_x * chance(s) / all);
            along_y.add(s.x as isize, s.y as isize, by_y * chance(s) / all);
        }
    }
    PositionErrors::of(
        image,
        &unfiltered.factors(&along_x),
        &unfiltered.factors(&along_y),
    )
}
