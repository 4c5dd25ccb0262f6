//! Positions, shapes, fluxes and flags of all segments.

use rayon::prelude::*;

use super::SegmentationError;
use super::aperture::{Aperture, ApertureSum, Footprint, Neighbours, Photometer};
use super::convolve::{Kernel, convolve};
use super::correlation::{Correlation, Factors};
use super::extended::{Extended, ExtendedBand, Scratch, Source};
use super::kron::{KronParams, kron_radius};
use super::label::Run;
use super::light_radius::light_radius;
use super::moments::Ellipse;
use super::position::{MovingEdge, PositionErrors, Saddle, Unfiltered, position_errors};
use super::reach::reach;
use super::segments::Segments;
use crate::image::{Image, Plane};

/// Bits of a source's flags.
#[derive(Clone, Copy, Debug)]
pub struct Flags;

impl Flags {
    /// More than a tenth of the Kron aperture belongs to other sources or is bad.
    pub const NEIGHBOUR: u32 = 1;
    /// The segment touches another one.
    pub const BLENDED: u32 = 2;
    /// Pixels of the segment are masked (saturated, bad) or not finite.
    pub const BAD_PIXELS: u32 = 4;
    /// The segment reaches the edge of the image or of what is covered.
    pub const EDGE: u32 = 8;
    /// Part of an aperture is bad or outside, and nothing could stand in for it.
    pub const APERTURE_INCOMPLETE: u32 = 16;
    /// Pixels of the segment are saturated.
    pub const SATURATED: u32 = 32;
    /// The segment reaches the edge of the image.
    pub const TILE_EDGE: u32 = 64;
}

/// Fraction of the Kron aperture that neighbours may hold before the source is flagged.
const CROWDED_FRACTION: f64 = 0.1;

/// An image of one band.
#[derive(Clone, Copy, Debug)]
pub struct MeasureImage<'a> {
    /// Background-subtracted pixels.
    pub data: Plane<'a, f32>,
    /// Their variances.
    pub variance: Option<Plane<'a, f32>>,
    /// True where a pixel must not be used.
    pub mask: Option<Plane<'a, bool>>,
    /// True where a pixel is saturated; it is used all the same.
    pub saturated: Option<Plane<'a, bool>>,
    /// Noise of a sum over that of independent pixels.
    pub noise_correlation: f64,
    /// How the noise is correlated; it replaces `noise_correlation`.
    pub correlation: Option<&'a Correlation<'a>>,
    /// Unit of the catalogue's fluxes per unit of the data.
    pub scale: f64,
}

/// Centre, ellipse and Kron radius of a source that were found before.
#[derive(Clone, Copy, Debug)]
pub struct HeldShape {
    /// Column of the centre [pix].
    pub x: f64,
    /// Row of the centre [pix].
    pub y: f64,
    /// Standard deviation along the major axis [pix].
    pub a: f64,
    /// Standard deviation along the minor axis [pix].
    pub b: f64,
    /// Angle of the major axis [rad].
    pub theta: f64,
    /// Radius of the Kron aperture in units of `a`.
    pub kron_radius: f64,
}

/// Parameters of [`measure`].
#[derive(Clone, Debug)]
pub struct MeasureParams {
    /// Radii of the circular apertures [pix].
    pub aperture_radii: Vec<f64>,
    /// The Kron aperture.
    pub kron: KronParams,
    /// What pixels of other sources count.
    pub neighbours: Neighbours,
    /// Whether to measure windowed centroids, concentrations, total fluxes and the noise of the Kron aperture's shape.
    pub is_extended: bool,
    /// Whether segments end where the noise lets them, as those of a detection do; else at places that are given.
    pub has_moving_edges: bool,
}

/// Fluxes in one band, one entry per source; errors are NaN without variances.
#[derive(Clone, Debug, Default)]
pub struct BandMeasurements {
    /// Sum over the segment.
    pub flux_iso: Vec<f64>,
    /// Its standard deviation.
    pub flux_iso_err: Vec<f64>,
    /// Sum over the Kron aperture.
    pub flux_auto: Vec<f64>,
    /// Its standard deviation.
    pub flux_auto_err: Vec<f64>,
    /// The same with the noise of the aperture's shape; empty unless extended.
    pub flux_auto_err_total: Vec<f64>,
    /// Flux of the profile; empty unless extended.
    pub flux_total: Vec<f64>,
    /// Its standard deviation.
    pub flux_total_err: Vec<f64>,
    /// Sums over the circles: one list per radius.
    pub flux_aper: Vec<Vec<f64>>,
    /// Their standard deviations.
    pub flux_aper_err: Vec<Vec<f64>>,
    /// Brightest pixel of the segment.
    pub peak: Vec<f64>,
    /// [`Flags::BAD_PIXELS`] and [`Flags::APERTURE_INCOMPLETE`] of this band.
    pub flags: Vec<u32>,
}

/// What [`measure`] finds, one entry per source in the order of the labels.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// Label of the source.
    pub label: Vec<i32>,
    /// Column of the centre [pix].
    pub x: Vec<f64>,
    /// Its standard deviation.
    pub x_err: Vec<f64>,
    /// Row of the centre [pix].
    pub y: Vec<f64>,
    /// Its standard deviation.
    pub y_err: Vec<f64>,
    /// Covariance of the errors of `x` and `y` [pix^2].
    pub xy_cov: Vec<f64>,
    /// Number of pixels.
    pub area: Vec<i64>,
    /// Variance along x [pix^2].
    pub x2: Vec<f64>,
    /// Variance along y [pix^2].
    pub y2: Vec<f64>,
    /// Covariance [pix^2].
    pub xy: Vec<f64>,
    /// Standard deviation along the major axis [pix].
    pub a: Vec<f64>,
    /// Standard deviation along the minor axis [pix].
    pub b: Vec<f64>,
    /// Angle of the major axis [rad].
    pub theta: Vec<f64>,
    /// Radius of the Kron aperture in units of `a`.
    pub kron_radius: Vec<f64>,
    /// Radius of the circle with half of the Kron flux [pix].
    pub r_half: Vec<f64>,
    /// Half widths along x and y of the window around the centre on which all of it depends, the segment apart [pix].
    pub reach: Vec<[f64; 2]>,
    /// Column of the brightest pixel of the segment.
    pub x_peak: Vec<i64>,
    /// Its row.
    pub y_peak: Vec<i64>,
    /// Column of the windowed centroid [pix]; this and the following are empty unless extended.
    pub x_win: Vec<f64>,
    /// Its standard deviation.
    pub x_win_err: Vec<f64>,
    /// Row of the windowed centroid [pix].
    pub y_win: Vec<f64>,
    /// Its standard deviation.
    pub y_win_err: Vec<f64>,
    /// Covariance of the errors of `x_win` and `y_win` [pix^2].
    pub xy_win_cov: Vec<f64>,
    /// Radius of the circle with 20 % of the Kron flux [pix].
    pub r_20: Vec<f64>,
    /// Radius of the circle with 80 % of the Kron flux [pix].
    pub r_80: Vec<f64>,
    /// Bits of [`Flags`] on the detection image.
    pub flags: Vec<u32>,
    /// The bands in the order given.
    pub bands: Vec<BandMeasurements>,
}

struct BandRow {
    iso: ApertureSum,
    auto: ApertureSum,
    circles: Vec<ApertureSum>,
    peak: f64,
    flags: u32,
}

struct Row {
    label: i32,
    area: i64,
    ellipse: Ellipse,
    position: PositionErrors,
    kron_radius: f64,
    r_half: f64,
    reach: [f64; 2],
    peak: (usize, usize),
    extended: Option<Extended>,
    flags: u32,
    bands: Vec<BandRow>,
}

/// Measure every segment: shapes on the detection image filtered with `kernel`, the Kron radius on the detection image
/// itself, fluxes in every band through the same segments and apertures. With `held`, one shape per label in their order,
/// the apertures stay as they are given. With `wanted` only these labels are measured, among all the others.
///
/// Each number is the same, bit by bit, in any window of an image that holds the segment with a margin of one pixel more
/// than the kernel reaches, and [`Measurements::reach`] around its centre where the image goes on.
///
/// # Errors
/// When the shapes differ, a label is negative or the number of held shapes is not that of the labels.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393, section 6, with exact overlap of pixels and apertures.
pub fn measure(
    labels: Plane<'_, i32>,
    detection: &MeasureImage<'_>,
    kernel: &Kernel,
    bands: &[MeasureImage<'_>],
    held: Option<&[HeldShape]>,
    wanted: Option<&[i32]>,
    params: &MeasureParams,
) -> Result<Measurements, SegmentationError> {
    let mut segments = Segments::of(labels)?;
    if let Some(wanted) = wanted {
        segments.keep(wanted);
    }
    let n = segments.labels().len();
    if let Some(held) = held.filter(|shapes| shapes.len() != n) {
        return Err(SegmentationError::Length {
            name: "shapes",
            found: held.len(),
            expected: n,
        });
    }
    let filtered = convolve(detection.data, kernel, detection.mask, None)?;
    let job = Job {
        labels,
        filtered: &filtered,
        kernel,
        detection: photometer(detection, labels, params.neighbours)?,
        bands: bands
            .iter()
            .map(|b| photometer(b, labels, params.neighbours))
            .collect::<Result<_, _>>()?,
        saturated: detection.saturated,
        band_saturated: bands.iter().map(|b| b.saturated).collect(),
        params,
    };
    let rows: Vec<Row> = (0..n)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, i| {
            crate::interrupt::poll();
            let shape = held.map(|shapes| shapes[i]);
            job.row(segments.labels()[i], segments.runs(i), shape, scratch)
        })
        .collect();
    let scales: Vec<f64> = bands.iter().map(|b| b.scale).collect();
    Ok(columns(rows, &scales, params.aperture_radii.len()))
}

fn photometer<'a>(
    image: &MeasureImage<'a>,
    labels: Plane<'a, i32>,
    neighbours: Neighbours,
) -> Result<Photometer<'a>, SegmentationError> {
    image
        .saturated
        .map(|s| s.of_shape("saturated", labels.shape()))
        .transpose()?;
    Photometer {
        data: image.data.of_shape("data", labels.shape())?,
        variance: image.variance,
        mask: image.mask,
        labels: Some(labels),
        neighbours,
        noise_correlation: image.noise_correlation,
        correlation: image.correlation,
    }
    .checked()
}

struct Job<'a> {
    labels: Plane<'a, i32>,
    filtered: &'a Image<f32>,
    kernel: &'a Kernel,
    detection: Photometer<'a>,
    bands: Vec<Photometer<'a>>,
    saturated: Option<Plane<'a, bool>>,
    band_saturated: Vec<Option<Plane<'a, bool>>>,
    params: &'a MeasureParams,
}

fn pixels(runs: &[Run]) -> impl Iterator<Item = (usize, usize)> + Clone + '_ {
    runs.iter()
        .flat_map(|r| (r.start..r.end).map(move |x| (x, r.y)))
}

impl Job<'_> {
    fn row(&self, label: i32, runs: &[Run], held: Option<HeldShape>, scratch: &mut Scratch) -> Row {
        let footprint = &mut scratch.footprint;
        let saddles = self.saddles(label, runs);
        let ellipse = held.map_or_else(
            || self.ellipse(runs, Saddle::highest(&saddles)),
            |s| Ellipse::with_axes(s.x, s.y, s.a, s.b, s.theta),
        );
        let position = self.position_errors(runs, &saddles, &ellipse);
        // Only fluxes that go into the table need their errors.
        let detection = Photometer {
            variance: None,
            correlation: None,
            ..self.detection
        };
        let radius = held.map_or_else(
            || self.kron_radius(&ellipse, label),
            |shape| shape.kron_radius,
        );
        let shape = self.labels.shape();
        let auto_aperture = Aperture {
            x: ellipse.x,
            y: ellipse.y,
            a: radius * ellipse.a,
            b: radius * ellipse.b,
            theta: ellipse.theta,
        };
        footprint.lay(&auto_aperture, shape);
        let detected = detection.sum(footprint, label);
        let auto = self.band_sums(footprint, label);
        let circles: Vec<Vec<ApertureSum>> = self
            .params
            .aperture_radii
            .iter()
            .map(|&r| {
                let circle = Aperture {
                    a: r,
                    b: r,
                    theta: 0.0,
                    ..auto_aperture
                };
                footprint.lay(&circle, shape);
                self.band_sums(footprint, label)
            })
            .collect();
        let bands = self
            .bands
            .iter()
            .enumerate()
            .map(|(k, image)| {
                let circles = circles.iter().map(|c| c[k]).collect();
                let mut row = band_row(image, runs, auto[k], circles);
                if is_saturated(self.band_saturated[k], runs) {
                    row.flags |= Flags::SATURATED;
                }
                row
            })
            .collect();
        let r_half = light_radius(
            &detection,
            (ellipse.x, ellipse.y),
            label,
            (detected.flux, 0.5),
            auto_aperture.a,
            &mut scratch.light,
        );
        let extended = self.params.is_extended.then(|| {
            scratch.footprint.lay(&auto_aperture, shape);
            let source = Source {
                label,
                runs,
                ellipse: &ellipse,
                kron: &self.params.kron,
                kron_radius: radius,
                flux: detected.flux,
                half_light_radius: r_half,
                is_held: held.is_some(),
            };
            let unfiltered = self.unfiltered();
            Extended::of(
                &source,
                &unfiltered,
                &self.bands,
                self.valued(runs),
                scratch,
            )
        });
        Row {
            label,
            area: runs.iter().map(|r| (r.end - r.start) as i64).sum(),
            ellipse,
            position,
            kron_radius: radius,
            r_half,
            reach: reach(&ellipse, radius, r_half, self.params),
            peak: self.peak(runs),
            extended,
            flags: self.flags(label, runs, &detected),
            bands,
        }
    }

    fn band_sums(&self, footprint: &Footprint, label: i32) -> Vec<ApertureSum> {
        self.bands
            .iter()
            .map(|image| image.sum(footprint, label))
            .collect()
    }

    fn kron_radius(&self, ellipse: &Ellipse, label: i32) -> f64 {
        let kron = &self.params.kron;
        kron.radius(kron_radius(&self.detection, ellipse, label, kron.extent))
    }

    /// Pixels of a segment and their filtered values.
    fn valued<'b>(
        &'b self,
        runs: &'b [Run],
    ) -> impl Iterator<Item = (usize, usize, f32)> + Clone + 'b {
        let image = self.filtered.view();
        pixels(runs).map(move |(x, y)| (x, y, image.row(y)[x]))
    }

    /// Shape of a segment. The centre of a blended one is that of its core, the pixels above the highest saddle
    /// towards a touching segment: farther out the pixels were shared out among the blend.
    ///
    /// # Source
    /// `SExtractor` keeps the barycentre of the branch from before the faint pixels are shared out in the same way.
    fn ellipse(&self, runs: &[Run], saddle: Option<Saddle>) -> Ellipse {
        let valued = self.valued(runs);
        let whole = Ellipse::of(valued.clone())
            .or_else(|| Ellipse::of(pixels(runs).map(|(x, y)| (x, y, 1.0))));
        let core = saddle.and_then(|s| {
            let above = valued.map(move |(x, y, value)| (x, y, value - s.value));
            Ellipse::of(above.filter(|&(_, _, value)| value > 0.0))
        });
        match (whole, core) {
            (Some(whole), Some(core)) => Ellipse {
                x: core.x,
                y: core.y,
                ..whole
            },
            (Some(whole), None) => whole,
            (None, _) => Ellipse::with_axes(f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN),
        }
    }

    fn position_errors(
        &self,
        runs: &[Run],
        saddles: &[Saddle],
        ellipse: &Ellipse,
    ) -> PositionErrors {
        let centre = (ellipse.x, ellipse.y);
        let edge = if self.params.has_moving_edges && saddles.is_empty() {
            MovingEdge::of(self.valued(runs), |x, y| {
                self.beside(x, y).any(|owner| owner == 0)
            })
        } else {
            None
        };
        let pixels = self.valued(runs);
        position_errors(&self.unfiltered(), runs, pixels, saddles, edge, centre)
    }

    /// Labels of the up to four pixels that share a side with one.
    fn beside(&self, x: usize, y: usize) -> impl Iterator<Item = i32> + '_ {
        let (ny, nx) = self.labels.shape();
        [(0, 1), (2, 1), (1, 0), (1, 2)]
            .into_iter()
            .map(move |(i, j)| ((x + i).wrapping_sub(1), (y + j).wrapping_sub(1)))
            .filter(move |&(i, j)| i < nx && j < ny)
            .map(|(i, j)| self.labels.row(j)[i])
    }

    fn unfiltered(&self) -> Unfiltered<'_> {
        Unfiltered {
            photometer: &self.detection,
            kernel: self.kernel,
        }
    }

    /// Brightest usable pixel of a segment, the first of equals; its first pixel when none is usable.
    fn peak(&self, runs: &[Run]) -> (usize, usize) {
        let nx = self.labels.shape().1;
        let first = runs.first().map_or((0, 0), |r| (r.start, r.y));
        let usable = pixels(runs).filter(|&(x, y)| self.detection.is_usable(y * nx + x));
        let brightest = usable.fold((f32::NEG_INFINITY, first), |best, (x, y)| {
            let value = self.detection.data.row(y)[x];
            if value > best.0 {
                (value, (x, y))
            } else {
                best
            }
        });
        brightest.1
    }

    /// Labels of the pixels around `(x, y)` and their places.
    fn around(&self, x: usize, y: usize) -> impl Iterator<Item = (usize, usize, i32)> + '_ {
        let (ny, nx) = self.labels.shape();
        (y.saturating_sub(1)..=(y + 1).min(ny - 1)).flat_map(move |j| {
            let row = self.labels.row(j);
            (x.saturating_sub(1)..=(x + 1).min(nx - 1)).map(move |i| (i, j, row[i]))
        })
    }

    /// Where one can step from this segment into another one; the value is the lower one of the two pixels, both of which
    /// have one.
    fn saddles(&self, label: i32, runs: &[Run]) -> Vec<Saddle> {
        let image = self.filtered.view();
        runs.iter()
            .filter(|run| self.touches_another(label, run))
            .flat_map(|run| (run.start..run.end).map(|x| (x, run.y)))
            .flat_map(|(x, y)| {
                let here = image.row(y)[x];
                self.around(x, y)
                    .filter(move |&(_, _, owner)| owner != 0 && owner != label)
                    .map(move |(i, j, _)| (i, j, image.row(j)[i]))
                    .filter(move |(_, _, there)| here.is_finite() && there.is_finite())
                    .map(move |(i, j, there)| {
                        let (value, x, y) = if there < here {
                            (there, i, j)
                        } else {
                            (here, x, y)
                        };
                        Saddle { value, x, y }
                    })
            })
            .collect()
    }

    fn touches_another(&self, label: i32, run: &Run) -> bool {
        let (ny, nx) = self.labels.shape();
        (run.y.saturating_sub(1)..=(run.y + 1).min(ny - 1)).any(|y| {
            let around = &self.labels.row(y)[run.start.saturating_sub(1)..(run.end + 1).min(nx)];
            around.iter().any(|&owner| owner != 0 && owner != label)
        })
    }

    fn flags(&self, label: i32, runs: &[Run], auto: &ApertureSum) -> u32 {
        let (ny, nx) = self.labels.shape();
        let mut flags = 0;
        if is_saturated(self.saturated, runs) {
            flags |= Flags::SATURATED;
        }
        if auto.foreign + auto.bad > CROWDED_FRACTION {
            flags |= Flags::NEIGHBOUR;
        }
        if auto.missing > 0.0 {
            flags |= Flags::APERTURE_INCOMPLETE;
        }
        for &Run { y, start, end } in runs {
            let usable = (self.detection).usable_run(start as isize, y as isize, end - start);
            if usable.is_none() {
                flags |= Flags::BAD_PIXELS;
            }
            if start == 0 || y == 0 || end == nx || y + 1 == ny {
                flags |= Flags::EDGE | Flags::TILE_EDGE;
            }
            let around = start.saturating_sub(1)..(end + 1).min(nx);
            for j in y.saturating_sub(1)..(y + 2).min(ny) {
                let owners = &self.labels.row(j)[around.clone()];
                if owners.iter().any(|&owner| owner != 0 && owner != label) {
                    flags |= Flags::BLENDED;
                }
                let values = &self.detection.data.row(j)[around.clone()];
                if values.iter().any(|v| v.is_nan()) {
                    flags |= Flags::EDGE;
                }
            }
        }
        flags
    }
}

fn is_saturated(saturated: Option<Plane<'_, bool>>, runs: &[Run]) -> bool {
    saturated.is_some_and(|s| {
        runs.iter()
            .any(|r| s.row(r.y)[r.start..r.end].contains(&true))
    })
}

fn band_row(
    image: &Photometer<'_>,
    runs: &[Run],
    auto: ApertureSum,
    circles: Vec<ApertureSum>,
) -> BandRow {
    let nx = image.data.shape().1;
    let (mut flux, mut variance, mut peak) = (0.0, 0.0, f64::NAN);
    let (mut n_good, mut n_bad) = (0_usize, 0_usize);
    let mut factors = image.correlation.map(|_| Factors::around(runs, (0, 0)));
    for &Run { y, start, end } in runs {
        let usable = image.usable_run(start as isize, y as isize, end - start);
        for x in start..end {
            let i = y * nx + x;
            if usable.is_none() && !image.is_usable(i) {
                n_bad += 1;
                continue;
            }
            let value = f64::from(image.data.pixels()[i]);
            n_good += 1;
            flux += value;
            variance += image.variance_of(i);
            peak = value.max(peak);
            if let Some(factors) = &mut factors {
                factors.add(x as isize, y as isize, 1.0);
            }
        }
    }
    let error = factors.map_or_else(
        || image.noise_correlation * variance.sqrt(),
        |factors| image.variance_of_sum(&factors).sqrt(),
    );
    let bad = n_bad as f64 / (n_bad + n_good) as f64;
    let has_flux = n_good > 0;
    let is_incomplete = auto.missing > 0.0 || circles.iter().any(|c| c.missing > 0.0);
    BandRow {
        iso: ApertureSum {
            flux: if has_flux { flux } else { f64::NAN },
            error: if has_flux { error } else { f64::NAN },
            foreign: 0.0,
            bad,
            missing: bad,
        },
        auto,
        circles,
        peak,
        flags: if n_bad > 0 { Flags::BAD_PIXELS } else { 0 }
            | if is_incomplete {
                Flags::APERTURE_INCOMPLETE
            } else {
                0
            },
    }
}

fn columns(rows: Vec<Row>, scales: &[f64], n_circles: usize) -> Measurements {
    let mut table = Measurements::default();
    for &scale in scales {
        let column = |f: &dyn Fn(&BandRow) -> f64| -> Vec<f64> {
            let k = table.bands.len();
            rows.iter().map(|row| scale * f(&row.bands[k])).collect()
        };
        let extended = |f: &dyn Fn(&ExtendedBand) -> f64| -> Vec<f64> {
            let k = table.bands.len();
            let all = rows.iter().filter_map(|row| row.extended.as_ref());
            all.map(|e| scale * f(&e.bands[k])).collect()
        };
        let band = BandMeasurements {
            flux_iso: column(&|b| b.iso.flux),
            flux_iso_err: column(&|b| b.iso.error),
            flux_auto: column(&|b| b.auto.flux),
            flux_auto_err: column(&|b| b.auto.error),
            flux_auto_err_total: extended(&|b| b.auto_error),
            flux_total: extended(&|b| b.total.flux),
            flux_total_err: extended(&|b| b.total.error),
            flux_aper: (0..n_circles)
                .map(|c| column(&|b| b.circles[c].flux))
                .collect(),
            flux_aper_err: (0..n_circles)
                .map(|c| column(&|b| b.circles[c].error))
                .collect(),
            peak: column(&|b| b.peak),
            flags: rows
                .iter()
                .map(|row| row.bands[table.bands.len()].flags)
                .collect(),
        };
        table.bands.push(band);
    }
    for row in rows {
        let e = row.ellipse;
        table.label.push(row.label);
        table.area.push(row.area);
        table.flags.push(row.flags);
        table.reach.push(row.reach);
        table.x_peak.push(row.peak.0 as i64);
        table.y_peak.push(row.peak.1 as i64);
        if let Some(e) = &row.extended {
            for (column, value) in [
                (&mut table.x_win, e.window.x),
                (&mut table.x_win_err, e.window.errors.x),
                (&mut table.y_win, e.window.y),
                (&mut table.y_win_err, e.window.errors.y),
                (&mut table.xy_win_cov, e.window.errors.covariance),
                (&mut table.r_20, e.radii[0]),
                (&mut table.r_80, e.radii[1]),
            ] {
                column.push(value);
            }
        }
        for (column, value) in [
            (&mut table.x, e.x),
            (&mut table.x_err, row.position.x),
            (&mut table.y, e.y),
            (&mut table.y_err, row.position.y),
            (&mut table.xy_cov, row.position.covariance),
            (&mut table.x2, e.x2),
            (&mut table.y2, e.y2),
            (&mut table.xy, e.xy),
            (&mut table.a, e.a),
            (&mut table.b, e.b),
            (&mut table.theta, e.theta),
            (&mut table.kron_radius, row.kron_radius),
            (&mut table.r_half, row.r_half),
        ] {
            column.push(value);
        }
    }
    table
}
