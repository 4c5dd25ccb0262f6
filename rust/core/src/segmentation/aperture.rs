//! Sums over elliptical apertures with exact overlap.

use super::SegmentationError;
use super::correlation::{Correlation, Factors};
use super::lattice::{ceil_at, floor_at};
use super::overlap::Outline;
use crate::image::Plane;
use rayon::prelude::*;

/// What a pixel of another source counts in an aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// As much as the pixel opposite to it with respect to the centre (`SExtractor`'s `MASK_TYPE CORRECT`).
    Mirror,
    /// Nothing (`BLANK`).
    Blank,
    /// As it is (`NONE`).
    Keep,
}

impl Neighbours {
    /// The rule of this name.
    ///
    /// # Errors
    /// [`SegmentationError::Neighbours`].
    pub fn from_name(name: &str) -> Result<Self, SegmentationError> {
        match name {
            "mirror" => Ok(Self::Mirror),
            "blank" => Ok(Self::Blank),
            "keep" => Ok(Self::Keep),
            other => Err(SegmentationError::Neighbours(other.to_owned())),
        }
    }
}

/// An elliptical aperture [pix]; `theta` from x towards y [rad].
#[derive(Clone, Copy, Debug)]
pub struct Aperture {
    /// Column of the centre.
    pub x: f64,
    /// Row of the centre.
    pub y: f64,
    /// First semi-axis.
    pub a: f64,
    /// Second semi-axis.
    pub b: f64,
    /// Angle of the first semi-axis.
    pub theta: f64,
}

/// What an aperture holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApertureSum {
    /// Sum of the pixels, each times its overlap; NaN where no pixel counts.
    pub flux: f64,
    /// Standard deviation of `flux`; NaN without variances.
    pub error: f64,
    /// Fraction of the aperture's area that belongs to other sources.
    pub foreign: f64,
    /// Fraction of the area that is bad or outside the image.
    pub bad: f64,
    /// Fraction of the area for which there was no replacement either.
    pub missing: f64,
}

/// An image to be measured, and which of its pixels count.
#[derive(Clone, Copy, Debug)]
pub struct Photometer<'a> {
    /// Background-subtracted pixels.
    pub data: Plane<'a, f32>,
    /// Their variances.
    pub variance: Option<Plane<'a, f32>>,
    /// True where a pixel must not be used.
    pub mask: Option<Plane<'a, bool>>,
    /// To which source a pixel belongs.
    pub labels: Option<Plane<'a, i32>>,
    /// What pixels of other sources count.
    pub neighbours: Neighbours,
    /// Noise of a sum over that of independent pixels.
    pub noise_correlation: f64,
    /// How the noise is correlated; it replaces `noise_correlation`.
    pub correlation: Option<&'a Correlation<'a>>,
}

/// A pixel that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// Its index, column and row.
    pub i: usize,
    pub at: (isize, isize),
    /// Whether it counts for itself and not for the one opposite to it.
    pub is_own: bool,
}

/// Why a pixel counts or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Foreign,
    Bad,
}

/// Whether a test holds for all values; without early exit, so that it is done for several at once.
#[inline]
fn all<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> bool {
    values.iter().fold(true, |all, &value| all & test(value))
}

impl Photometer<'_> {
    /// Check that all images have one shape.
    ///
    /// # Errors
    /// [`crate::image::ImageError::Shape`].
    pub(super) fn checked(self) -> Result<Self, SegmentationError> {
        let shape = self.data.shape();
        self.variance
            .map(|v| v.of_shape("variance", shape))
            .transpose()?;
        self.mask.map(|m| m.of_shape("mask", shape)).transpose()?;
        self.labels
            .map(|l| l.of_shape("labels", shape))
            .transpose()?;
        self.correlation.map(|c| c.check(shape)).transpose()?;
        Ok(self)
    }

    /// Index of a pixel, if it is in the image.
    pub(super) fn index(&self, x: isize, y: isize) -> Option<usize> {
        let (ny, nx) = self.data.shape();
        (x >= 0 && y >= 0 && (x as usize) < nx && (y as usize) < ny)
            .then(|| y as usize * nx + x as usize)
    }

    /// Whether the pixel with this index can be used at all, whoever owns it.
    pub(super) fn is_usable(&self, i: usize) -> bool {
        self.data.pixels()[i].is_finite()
            && self.mask.is_none_or(|m| !m.pixels()[i])
            && self
                .variance
                .is_none_or(|v| v.pixels()[i] >= 0.0 && v.pixels()[i].is_finite())
    }

    fn is_foreign(&self, i: usize, label: i32) -> bool {
        self.neighbours != Neighbours::Keep
            && self.labels.is_some_and(|l| {
                let owner = l.pixels()[i];
                owner != 0 && owner != label
            })
    }

    fn state(&self, i: usize, label: i32) -> State {
        if !self.is_usable(i) {
            State::Bad
        } else if self.is_foreign(i, label) {
            State::Foreign
        } else {
            State::Good
        }
    }

    /// The pixel opposite to one that does not count, if it may stand in for it and counts itself.
    fn stand_in(
        &self,
        centre: &Mirror,
        x: isize,
        y: isize,
        state: State,
        label: i32,
    ) -> Option<usize> {
        if state == State::Foreign && self.neighbours == Neighbours::Blank {
            return None;
        }
        let (x, y) = centre.opposite(x, y);
        self.index(x, y)
            .filter(|&i| self.state(i, label) == State::Good)
    }

    /// A pixel that counts, or the one that stands in for it.
    #[inline]
    pub(super) fn counted(
        &self,
        centre: &Mirror,
        x: isize,
        y: isize,
        label: i32,
    ) -> Option<Counted> {
        let here = self.index(x, y);
        let state = here.map_or(State::Bad, |i| self.state(i, label));
        let is_own = state == State::Good;
        let (i, at) = if is_own {
            (here, (x, y))
        } else {
            let opposite = self.stand_in(centre, x, y, state, label);
            (opposite, centre.opposite(x, y))
        };
        i.map(|i| Counted { i, at, is_own })
    }

    /// Index of a pixel that counts, or of the one that stands in for it.
    pub(super) fn counting(
        &self,
        centre: &Mirror,
        x: isize,
        y: isize,
        label: i32,
    ) -> Option<usize> {
        self.counted(centre, x, y, label).map(|pixel| pixel.i)
    }

    /// Index of the first of `n` pixels of a row, if all of them are in the image and can be used.
    pub(super) fn usable_run(&self, x: isize, y: isize, n: usize) -> Option<usize> {
        let first = self.index(x, y)?;
        if x as usize + n > self.data.shape().1 {
            return None;
        }
        let run = first..first + n;
        let is_usable = all(&self.data.pixels()[run.clone()], f32::is_finite)
            && (self.mask).is_none_or(|m| all(&m.pixels()[run.clone()], |bad| !bad))
            && (self.variance)
                .is_none_or(|v| all(&v.pixels()[run], |v| (v >= 0.0) & v.is_finite()));
        is_usable.then_some(first)
    }

    /// The same, if all of them count for a source themselves.
    pub(super) fn good_run(&self, x: isize, y: isize, n: usize, label: i32) -> Option<usize> {
        let is_own = |owner: i32| owner == 0 || owner == label;
        self.usable_run(x, y, n).filter(|&first| {
            let labels = self.labels.filter(|_| self.neighbours != Neighbours::Keep);
            labels.is_none_or(|l| all(&l.pixels()[first..first + n], is_own))
        })
    }

    pub(super) fn variance_of(&self, i: usize) -> f64 {
        self.variance.map_or(f64::NAN, |v| f64::from(v.pixels()[i]))
    }

    /// Variance of the sum of pixels times factors; NaN without variances.
    pub(super) fn variance_of_sum(&self, factors: &Factors) -> f64 {
        match (self.variance, self.correlation) {
            (Some(variance), Some(correlation)) => correlation.variance(factors, variance),
            (Some(variance), None) => {
                let independent: f64 = factors
                    .rows(variance.shape())
                    .flat_map(|(_, i, factors)| factors.iter().zip(&variance.pixels()[i..]))
                    .filter(|(_, v)| v.is_finite())
                    .map(|(u, &v)| u * u * f64::from(v))
                    .sum();
                self.noise_correlation.powi(2) * independent
            }
            (None, _) => f64::NAN,
        }
    }

    /// What every pixel counts in [`Photometer::sum`].
    pub(super) fn factors(&self, footprint: &Footprint, label: i32) -> Factors {
        let mut factors = footprint.zeros();
        for (x, y, overlap) in footprint.shares() {
            if let Some(pixel) = self.counted(&footprint.mirror, x, y, label) {
                factors.add(pixel.at.0, pixel.at.1, overlap);
            }
        }
        factors
    }

    /// Sum over an aperture of the source `label`.
    pub(super) fn sum(&self, footprint: &Footprint, label: i32) -> ApertureSum {
        let mut sums = Sums::default();
        for row in &footprint.rows {
            let overlaps = &footprint.overlaps[row.overlaps.clone()];
            if let Some(first) = self.good_run(row.x, row.y, overlaps.len(), label) {
                self.add_good(&mut sums, first, overlaps);
            } else {
                for (x, &overlap) in (row.x..).zip(overlaps) {
                    self.add(&mut sums, footprint, (x, row.y, overlap), label);
                }
            }
        }
        let area = footprint.area;
        let error = match self.correlation {
            Some(_) => self.variance_of_sum(&self.factors(footprint, label)).sqrt(),
            None if self.variance.is_none() => f64::NAN,
            None => self.noise_correlation * sums.variance.sqrt(),
        };
        let has_flux = sums.used > 0.0;
        ApertureSum {
            flux: if has_flux { sums.flux } else { f64::NAN },
            error: if has_flux { error } else { f64::NAN },
            foreign: sums.foreign / area,
            bad: (sums.bad + footprint.outside) / area,
            missing: (sums.missing + footprint.outside) / area,
        }
    }

    fn add_good(&self, sums: &mut Sums, first: usize, overlaps: &[f64]) {
        for (&value, overlap) in self.data.pixels()[first..].iter().zip(overlaps) {
            sums.flux += overlap * f64::from(value);
            sums.used += overlap;
        }
        if let Some(variance) = self.variance {
            for (&value, overlap) in variance.pixels()[first..].iter().zip(overlaps) {
                sums.variance += overlap * overlap * f64::from(value);
            }
        }
    }

    fn add(
        &self,
        sums: &mut Sums,
        footprint: &Footprint,
        (x, y, overlap): (isize, isize, f64),
        label: i32,
    ) {
        let here = self.index(x, y);
        let state = here.map_or(State::Bad, |i| self.state(i, label));
        if let (State::Good, Some(i)) = (state, here) {
            self.add_good(sums, i, &[overlap]);
            return;
        }
        if state == State::Foreign {
            sums.foreign += overlap;
        } else {
            sums.bad += overlap;
        }
        let Some(i) = self.stand_in(&footprint.mirror, x, y, state, label) else {
            sums.missing += overlap;
            return;
        };
        // The stand-in is summed with its own overlap as well: (o + p)^2 - p^2 is what this adds to the variance.
        let (mx, my) = footprint.mirror.opposite(x, y);
        let own = footprint.overlap(mx, my);
        sums.flux += overlap * f64::from(self.data.pixels()[i]);
        sums.variance += overlap * (overlap + 2.0 * own) * self.variance_of(i);
        sums.used += overlap;
    }
}

/// What an aperture holds, as areas and not as fractions.
#[derive(Default)]
struct Sums {
    flux: f64,
    variance: f64,
    used: f64,
    foreign: f64,
    bad: f64,
    missing: f64,
}

/// Reflection of pixels at a centre, rounded to pixels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mirror {
    x: isize,
    y: isize,
}

impl Mirror {
    pub(super) fn at(x: f64, y: f64) -> Self {
        Self {
            x: (2.0 * x + 0.5).floor() as isize,
            y: (2.0 * y + 0.5).floor() as isize,
        }
    }

    pub(super) fn opposite(&self, x: isize, y: isize) -> (isize, isize) {
        (self.x - x, self.y - y)
    }

    /// The window, as columns and rows, of the pixels within some reach of a centre and those opposite to them.
    pub(super) fn window_around((x, y): (f64, f64), [rx, ry]: [f64; 2]) -> [(isize, isize); 2] {
        let range = |c: f64, reach: f64| {
            (
                floor_at(c, -reach) as isize - 1,
                ceil_at(c, reach) as isize + 1,
            )
        };
        Self::at(x, y).window(range(x, rx), range(y, ry))
    }

    /// The smallest window, as columns and rows, that holds these and the pixels opposite to them.
    pub(super) fn window(
        &self,
        (x0, x1): (isize, isize),
        (y0, y1): (isize, isize),
    ) -> [(isize, isize); 2] {
        let both = |low: isize, high: isize, m: isize| (low.min(m - high), high.max(m - low));
        [both(x0, x1, self.x), both(y0, y1, self.y)]
    }
}

/// Pixels of a row from `x` on, and where the areas are that they share with an aperture.
#[derive(Clone, Debug)]
struct Row {
    x: isize,
    y: isize,
    overlaps: std::ops::Range<usize>,
}

/// The pixels of an aperture; used again for the next one, so that its memory is kept.
#[derive(Clone, Debug)]
pub(super) struct Footprint {
    rows: Vec<Row>,
    overlaps: Vec<f64>,
    mirror: Mirror,
    x: f64,
    y: f64,
    outline: Outline,
    area: f64,
    /// Area so far outside the image that its pixels are not listed.
    outside: f64,
}

impl Default for Footprint {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            overlaps: Vec::new(),
            mirror: Mirror::default(),
            x: 0.0,
            y: 0.0,
            outline: Outline::new(1.0, 1.0, 0.0),
            area: 1.0,
            outside: 0.0,
        }
    }
}

/// Pixels `low..=high` that a range around `centre` touches, cut to one image's width on either side of the image.
pub(super) fn touched(centre: f64, reach: f64, n: usize) -> std::ops::RangeInclusive<isize> {
    columns(centre, [-reach, reach], n)
}

/// Pixels `low..=high` that a range touches, given by its ends seen from a centre, cut in the same way.
pub(super) fn columns(
    centre: f64,
    [from, to]: [f64; 2],
    n: usize,
) -> std::ops::RangeInclusive<isize> {
    let n = n as f64;
    let low = floor_at(centre, from + 0.5).clamp(-n, 2.0 * n);
    let high = floor_at(centre, to + 0.5).clamp(-n - 1.0, 2.0 * n);
    low as isize..=high as isize
}

impl Footprint {
    /// Zeros for its pixels and those opposite to them.
    fn zeros(&self) -> Factors {
        let x0 = self.rows.iter().map(|r| r.x).min().unwrap_or(0);
        let ends = self.rows.iter().map(|r| r.x + r.overlaps.len() as isize);
        let y = |row: Option<&Row>| row.map(|r| r.y);
        let y0 = y(self.rows.first()).unwrap_or(0);
        let y1 = y(self.rows.last()).unwrap_or(-1);
        let [x, y] = self
            .mirror
            .window((x0, ends.max().unwrap_or(0) - 1), (y0, y1));
        Factors::zeros(x, y)
    }

    /// The pixels and the areas that they share with the aperture.
    fn shares(&self) -> impl Iterator<Item = (isize, isize, f64)> + '_ {
        self.rows.iter().flat_map(|row| {
            let overlaps = &self.overlaps[row.overlaps.clone()];
            (row.x..).zip(overlaps).map(|(x, &o)| (x, row.y, o))
        })
    }

    fn overlap(&self, x: isize, y: isize) -> f64 {
        self.outline.overlap(x as f64 - self.x, y as f64 - self.y)
    }

    /// Lay an aperture over the pixels of an image of `shape`.
    pub(super) fn lay(&mut self, aperture: &Aperture, shape: (usize, usize)) {
        self.rows.clear();
        self.overlaps.clear();
        self.outline = Outline::new(aperture.a, aperture.b, aperture.theta);
        (self.x, self.y) = (aperture.x, aperture.y);
        self.mirror = Mirror::at(aperture.x, aperture.y);
        self.area = std::f64::consts::PI * aperture.a * aperture.b;
        for y in touched(aperture.y, self.outline.reach()[1], shape.0) {
            let (outer, inner) = self.outline.row(y as f64 - aperture.y);
            let touched = columns(aperture.x, outer, shape.1);
            let first = ceil_at(aperture.x, inner[0] + 0.5);
            let last = floor_at(aperture.x, inner[1] - 0.5);
            let (x0, start) = (*touched.start(), self.overlaps.len());
            for x in touched {
                let is_within = (first..=last).contains(&(x as f64));
                let overlap = if is_within { 1.0 } else { self.overlap(x, y) };
                self.overlaps.push(overlap);
            }
            self.rows.push(Row {
                x: x0,
                y,
                overlaps: start..self.overlaps.len(),
            });
        }
        let listed: f64 = self.overlaps.iter().sum();
        let outside = self.area - listed;
        self.outside = if outside > 1e-9 * self.area {
            outside
        } else {
            0.0
        };
    }
}

/// What many apertures hold, one entry per aperture; see [`ApertureSum`].
#[derive(Clone, Debug, Default)]
pub struct ApertureSums {
    /// Sum of the pixels.
    pub flux: Vec<f64>,
    /// Standard deviation of `flux`.
    pub error: Vec<f64>,
    /// Fraction that belongs to other sources.
    pub foreign: Vec<f64>,
    /// Fraction that is bad or outside.
    pub bad: Vec<f64>,
    /// Fraction without replacement.
    pub missing: Vec<f64>,
}

/// The apertures of rows `(x, y, a, b, theta)`, each with its owner.
pub(super) fn rows<'a>(
    table: &'a [[f64; 5]],
    owner: &'a [i32],
) -> Result<impl IndexedParallelIterator<Item = (Aperture, i32)> + 'a, SegmentationError> {
    if owner.len() != table.len() {
        return Err(SegmentationError::Length {
            name: "label",
            found: owner.len(),
            expected: table.len(),
        });
    }
    Ok(table.par_iter().zip(owner).map(|(row, &label)| {
        let &[x, y, a, b, theta] = row;
        (Aperture { x, y, a, b, theta }, label)
    }))
}

/// Sum over many apertures, given as rows `(x, y, a, b, theta)`; aperture `i` belongs to the source `owner[i]`.
///
/// # Errors
/// When the shapes or the lengths differ.
pub fn sum_apertures(
    photometer: &Photometer<'_>,
    apertures: &[[f64; 5]],
    owner: &[i32],
) -> Result<ApertureSums, SegmentationError> {
    let photometer = photometer.checked()?;
    let shape = photometer.data.shape();
    let sums: Vec<ApertureSum> = rows(apertures, owner)?
        .map_init(Footprint::default, |footprint, (aperture, label)| {
            crate::interrupt::poll();
            footprint.lay(&aperture, shape);
            photometer.sum(footprint, label)
        })
        .collect();
    let column = |f: fn(&ApertureSum) -> f64| sums.iter().map(f).collect();
    Ok(ApertureSums {
        flux: column(|s| s.flux),
        error: column(|s| s.error),
        foreign: column(|s| s.foreign),
        bad: column(|s| s.bad),
        missing: column(|s| s.missing),
    })
}
