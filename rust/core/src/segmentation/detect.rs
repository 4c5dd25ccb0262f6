//! Detection: filter, threshold, label, deblend, clean.

use rayon::prelude::*;

use super::SegmentationError;
use super::clean::{Candidate, explained_by};
use super::convolve::{BLOCK_ROWS, Kernel};
use super::deblend::{Deblending, Pixel, Scratch};
use super::label::{Connectivity, Run};
use super::moments::Ellipse;
use super::scan::{Scan, Window};
use crate::image::Image;

/// Whose noise the threshold is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseOf {
    /// That of the filtered pixel; the filter weighs with the inverse variances.
    Filtered,
    /// That of the pixels under the filter, their variances averaged with it, while the filtered value is compared
    /// (`SExtractor`).
    Unfiltered,
}

/// Parameters of a [`Detector`].
#[derive(Clone, Debug)]
pub struct DetectParams {
    /// Least value of the brightest pixel of a source [sigma].
    pub threshold: f64,
    /// Least value of the pixels around it [sigma].
    pub extent: f64,
    /// Whose sigma.
    pub noise_of: NoiseOf,
    /// Which pixels are neighbours.
    pub connectivity: Connectivity,
    /// Least number of pixels of a source.
    pub min_area: usize,
    /// How blends are split.
    pub deblend: Deblending,
    /// Exponent of the wing that may explain a detection; None = keep all.
    pub clean: Option<f64>,
}

/// A detected source.
#[derive(Debug)]
pub(super) struct Source {
    pixels: Vec<Pixel>,
    /// Threshold of the segment that it comes from.
    threshold: f32,
    /// First pixel of that segment.
    segment: (usize, usize),
}

/// The sources among what was scanned; None when no pixel could be used.
fn found(scan: Scan, params: &DetectParams) -> Option<Vec<Source>> {
    let connected = scan.connected(params)?;
    let sources: Vec<Source> = connected
        .segments(params.min_area)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, (runs, threshold)| {
            crate::interrupt::poll();
            let pixels = connected.pixels(&runs);
            let parts = params.deblend.parts(
                &pixels,
                (threshold, params.threshold),
                params.min_area,
                params.connectivity,
                scratch,
            );
            let mut sources = sources_of(pixels, parts, threshold);
            sources.retain(|s| s.pixels.len() >= params.min_area && s.reaches(params.threshold));
            sources
        })
        .flatten_iter()
        .collect();
    Some(match params.clean {
        Some(beta) => cleaned(sources, params.min_area, beta),
        None => sources,
    })
}

/// Finds the sources of a background-subtracted image that is given window by window; the labels are the same, bit by
/// bit, for any windows in any order.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393. The runs of all windows are joined as in Wu, Otoo & Suzuki 2009, Pattern Anal. Applic. 12, 117.
#[derive(Debug)]
pub struct Detector {
    scan: Scan,
    kernel: Kernel,
    params: DetectParams,
    shape: (usize, usize),
}

impl Detector {
    /// A detector for an image of `shape` `(ny, nx)`.
    ///
    /// # Errors
    /// When the number of levels of the deblending is not allowed.
    pub fn new(
        shape: (usize, usize),
        kernel: Kernel,
        params: DetectParams,
    ) -> Result<Self, SegmentationError> {
        params.deblend.check()?;
        Ok(Self {
            scan: Scan::default(),
            kernel,
            params,
            shape,
        })
    }

    /// Rows and columns that a window needs around its core.
    #[must_use]
    pub fn margin(&self) -> (usize, usize) {
        let (y, x) = self.kernel.reach();
        match &self.params.deblend {
            Deblending::Saddles(_, Some(sharp)) => {
                let (sy, sx) = sharp.reach();
                (y.max(sy), x.max(sx))
            }
            _ => (y, x),
        }
    }

    /// Look at a window; the cores of all windows together are the image.
    ///
    /// # Errors
    /// When the shapes differ, or the core does not lie in the window.
    pub fn add(&mut self, window: &Window<'_>) -> Result<(), SegmentationError> {
        self.scan.add(window, &self.kernel, &self.params)
    }

    /// Join what was found; label 1 is the brightest source.
    ///
    /// # Errors
    /// When no pixel can be used or there are too many sources.
    pub fn finish(self) -> Result<Detected, SegmentationError> {
        let n_pixels = self.shape.0 * self.shape.1;
        let sources =
            found(self.scan, &self.params).ok_or(SegmentationError::NoGoodPixel(n_pixels))?;
        Detected::new(sources)
    }
}

/// The labels of an image, as runs from top to bottom.
#[derive(Clone, Debug)]
pub struct Detected {
    runs: Vec<(Run, i32)>,
    n: usize,
}

impl Detected {
    fn new(sources: Vec<Source>) -> Result<Self, SegmentationError> {
        let ranked = ranked(sources)?;
        let n = ranked.len();
        let mut runs: Vec<(Run, i32)> = ranked
            .into_par_iter()
            .enumerate()
            .flat_map_iter(|(i, source)| {
                let label = i as i32 + 1;
                source.runs().into_iter().map(move |run| (run, label))
            })
            .collect();
        runs.par_sort_unstable_by_key(|(run, _)| (run.y, run.start));
        Ok(Self { runs, n })
    }

    /// Number of sources.
    #[must_use]
    pub fn n_sources(&self) -> usize {
        self.n
    }

    /// The labels of the window of `shape` whose first pixel is at `(y0, x0)`.
    #[must_use]
    pub fn labels(&self, (y0, x0): (usize, usize), shape: (usize, usize)) -> Image<i32> {
        let mut labels = Image::empty(shape);
        let nx = shape.1;
        labels.fill_blocks(BLOCK_ROWS, |first, pixels| {
            let rows = pixels.len() / nx.max(1);
            let (top, bottom) = (y0 + first, y0 + first + rows);
            let from = self.runs.partition_point(|(run, _)| run.y < top);
            for (run, label) in self.runs[from..]
                .iter()
                .take_while(|(run, _)| run.y < bottom)
            {
                let start = run.start.clamp(x0, x0 + nx) - x0;
                let end = run.end.clamp(x0, x0 + nx) - x0;
                pixels[(run.y - top) * nx..][start..end].fill(*label);
            }
        });
        labels
    }
}

impl Source {
    /// Its pixels as runs.
    fn runs(mut self) -> Vec<Run> {
        self.pixels.sort_unstable_by_key(|p| (p.y, p.x));
        let mut runs: Vec<Run> = Vec::new();
        for Pixel { x, y, .. } in self.pixels {
            match runs.last_mut() {
                Some(run) if run.y == y && run.end == x => run.end += 1,
                _ => runs.push(Run {
                    y,
                    start: x,
                    end: x + 1,
                }),
            }
        }
        runs
    }

    fn reaches(&self, threshold: f64) -> bool {
        self.pixels
            .iter()
            .any(|p| f64::from(p.significance) >= threshold)
    }
}

/// The sources of a segment, given the part of each of its pixels.
pub(super) fn sources_of(
    pixels: Vec<Pixel>,
    parts: Option<(Vec<u32>, usize)>,
    threshold: f32,
) -> Vec<Source> {
    let segment = pixels.first().map_or((0, 0), |p| (p.x, p.y));
    let Some((part_of, n)) = parts else {
        return vec![Source {
            pixels,
            threshold,
            segment,
        }];
    };
    let mut sources: Vec<Source> = (0..n)
        .map(|_| Source {
            pixels: Vec::new(),
            threshold,
            segment,
        })
        .collect();
    for (pixel, part) in pixels.into_iter().zip(part_of) {
        if let Some(source) = sources.get_mut(part as usize) {
            source.pixels.push(pixel);
        }
    }
    sources
}

/// What is left without the detections that a brighter one explains: those split from the same segment go back to it,
/// others become sky.
fn cleaned(sources: Vec<Source>, min_area: usize, beta: f64) -> Vec<Source> {
    let candidates: Vec<Candidate> = sources
        .par_iter()
        .filter_map(|s| candidate(s, min_area))
        .collect();
    if candidates.len() != sources.len() {
        return sources;
    }
    let eater = explained_by(&candidates, beta);
    let mut kept: Vec<Option<Source>> = sources.into_iter().map(Some).collect();
    for (i, eater) in eater.into_iter().enumerate() {
        if let Some(eater) = eater
            && let Some(eaten) = kept[i].take()
            && let Some(source) = kept[eater].as_mut()
            && source.segment == eaten.segment
        {
            source.pixels.extend(eaten.pixels);
        }
    }
    kept.into_iter().flatten().collect()
}

/// None for a source without pixels.
fn candidate(source: &Source, min_area: usize) -> Option<Candidate> {
    let values = source.pixels.iter().map(|p| (p.x, p.y, p.value));
    let ellipse = Ellipse::of(values.clone())?;
    let mut excess: Vec<f32> = source
        .pixels
        .iter()
        .map(|p| p.value - source.threshold)
        .collect();
    let rank = min_area.clamp(1, excess.len()) - 1;
    let (_, excess, _) = excess.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
    Some(Candidate {
        ellipse,
        n_pixels: source.pixels.len(),
        flux: values.map(|(_, _, v)| f64::from(v)).sum(),
        threshold: f64::from(source.threshold),
        excess: f64::from(*excess),
    })
}

/// The sources, the brightest one of the unfiltered image first.
fn ranked(sources: Vec<Source>) -> Result<Vec<Source>, SegmentationError> {
    if i32::try_from(sources.len()).is_err() {
        return Err(SegmentationError::TooManySources(sources.len()));
    }
    let mut ranked: Vec<(f64, Source)> = sources
        .into_par_iter()
        .map(|source| {
            let values = source
                .pixels
                .iter()
                .map(|p| p.raw)
                .filter(|v| v.is_finite());
            (values.map(f64::from).sum(), source)
        })
        .collect();
    // Sources stand in raster order of their segment here, and a stable sort keeps that among equals.
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(ranked.into_iter().map(|(_, source)| source).collect())
}

/// Draw the sources, the brightest one with label 1.
pub(super) fn paint(
    sources: Vec<Source>,
    (ny, nx): (usize, usize),
) -> Result<(Image<i32>, usize), SegmentationError> {
    let ranked = ranked(sources)?;
    let mut labels = Image::empty((ny, nx));
    let out = labels.pixels_mut();
    for (label, source) in (1..).zip(&ranked) {
        for pixel in &source.pixels {
            out[pixel.y * nx + pixel.x] = label;
        }
    }
    Ok((labels, ranked.len()))
}
