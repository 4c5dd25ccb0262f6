//! Detection: filter, threshold, label, deblend, clean.

use rayon::prelude::*;

use super::SegmentationError;
use super::clean::{Candidate, explained_by};
use super::convolve::{BLOCK_ROWS, Filter, FilteredRow, Kernel};
use super::deblend::{Deblending, Pixel, Scratch};
use super::label::{BlockRuns, Components, Connectivity, Run, join_blocks, runs_of_row};
use super::moments::Ellipse;
use super::noise::Noise;
use crate::image::{Image, Plane};

/// Whose noise the threshold is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseOf {
    /// That of the filtered pixel; the filter weighs with the inverse variances.
    Filtered,
    /// That of the pixels under the filter, their variances averaged with it, while the filtered value is compared
    /// (`SExtractor`).
    Unfiltered,
}

/// Parameters of [`detect`].
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

/// Find the sources of a background-subtracted image. Labels are ordered by decreasing flux; 0 is sky. Returns the
/// labels and their number. `mask` is true where a pixel must not be used.
///
/// # Errors
/// When the shapes differ, no pixel can be used or there are too many sources.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393.
pub fn detect(
    data: Plane<'_, f32>,
    noise: Noise<'_>,
    mask: Option<Plane<'_, bool>>,
    kernel: &Kernel,
    params: &DetectParams,
) -> Result<(Image<i32>, usize), SegmentationError> {
    let shape = data.shape();
    let mask = mask.map(|m| m.of_shape("mask", shape)).transpose()?;
    let noise = noise.of_shape(shape)?;
    let found = Scan::of(data, noise, mask, kernel, params)
        .ok_or(SegmentationError::NoGoodPixel(data.pixels().len()))?;
    let sources: Vec<Source> = found
        .segments(params)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, (runs, threshold)| {
            crate::interrupt::poll();
            let pixels = found.pixels(&runs);
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
    let sources = match params.clean {
        Some(beta) => cleaned(sources, params.min_area, beta),
        None => sources,
    };
    paint(sources, data)
}

impl Source {
    fn reaches(&self, threshold: f64) -> bool {
        self.pixels
            .iter()
            .any(|p| f64::from(p.significance) >= threshold)
    }
}

/// What the filters make of a pixel of a run.
#[derive(Clone, Copy, Debug)]
struct Value {
    filtered: f32,
    significance: f32,
    sharp: f32,
    sharp_sigma: f32,
}

/// The pixels above the threshold of the extent, and how they are connected.
struct Scan {
    found: Components,
    /// Lowest threshold of every run.
    lowest: Vec<f32>,
    /// The values of all runs, one after the other, and where those of each run start.
    values: Vec<Value>,
    start: Vec<usize>,
}

/// What is found in one block of rows.
#[derive(Default)]
struct Block {
    runs: BlockRuns,
    lowest: Vec<f32>,
    values: Vec<Value>,
    has_value: bool,
}

impl Scan {
    /// Filter and threshold an image; None when it has no pixel that can be used.
    fn of(
        data: Plane<'_, f32>,
        noise: Noise<'_>,
        mask: Option<Plane<'_, bool>>,
        kernel: &Kernel,
        params: &DetectParams,
    ) -> Option<Self> {
        let is_matched = params.noise_of == NoiseOf::Filtered;
        let weight_of = noise.weights(mask, is_matched);
        let filter = Filter {
            data,
            kernel,
            weight_of: &weight_of,
            with_noise: is_matched,
        };
        let sigma = match (params.noise_of, noise) {
            (NoiseOf::Unfiltered, Noise::Image(image)) => Some(mean_noise(image, &filter)),
            _ => None,
        };
        let matched_weight = noise.weights(mask, true);
        let sharp = match &params.deblend {
            Deblending::Saddles(_, Some(kernel)) => Some(Filter {
                data,
                kernel,
                weight_of: &matched_weight,
                with_noise: true,
            }),
            _ => None,
        };
        let scanner = Scanner {
            filter,
            sharp,
            sigma,
            unit: noise.unit(),
            params,
        };
        let blocks: Vec<Block> = (0..data.shape().0.div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                crate::interrupt::poll();
                scanner.block(block * BLOCK_ROWS)
            })
            .collect();
        if !blocks.iter().any(|block| block.has_value) {
            return None;
        }
        let mut scan = Self {
            found: Components::default(),
            lowest: Vec::new(),
            values: Vec::new(),
            start: Vec::new(),
        };
        let mut all_runs = Vec::with_capacity(blocks.len());
        for block in blocks {
            scan.lowest.extend(block.lowest);
            scan.values.extend(block.values);
            all_runs.push(block.runs);
        }
        scan.found = join_blocks(all_runs, params.connectivity);
        let lengths = scan.found.runs.iter().map(|r| r.end - r.start);
        scan.start = lengths
            .scan(0, |end, n| {
                *end += n;
                Some(*end - n)
            })
            .collect();
        Some(scan)
    }

    /// Runs and lowest threshold of every component with at least `min_area` pixels.
    fn segments(&self, params: &DetectParams) -> Vec<(Vec<usize>, f32)> {
        let Components { runs, component, n } = &self.found;
        let mut area = vec![0_usize; *n];
        for (run, &component) in runs.iter().zip(component) {
            area[component] += run.end - run.start;
        }
        let mut place = vec![usize::MAX; *n];
        let mut large = Vec::new();
        for (i, &component) in component.iter().enumerate() {
            if area[component] < params.min_area {
                continue;
            }
            if place[component] == usize::MAX {
                place[component] = large.len();
                large.push((Vec::new(), f32::INFINITY));
            }
            let (runs, lowest): &mut (Vec<usize>, f32) = &mut large[place[component]];
            runs.push(i);
            *lowest = lowest.min(self.lowest[i]);
        }
        large
    }

    /// The pixels of some runs, in raster order.
    fn pixels(&self, runs: &[usize]) -> Vec<Pixel> {
        runs.iter()
            .flat_map(|&i| {
                let Run { y, start, end } = self.found.runs[i];
                let values = &self.values[self.start[i]..self.start[i] + end - start];
                (start..end).zip(values).map(move |(x, v)| Pixel {
                    x,
                    y,
                    value: v.filtered,
                    significance: v.significance,
                    sharp: v.sharp,
                    sharp_sigma: v.sharp_sigma,
                })
            })
            .collect()
    }
}

/// Filters blocks of rows and keeps what is above the threshold of the extent.
struct Scanner<'a> {
    filter: Filter<'a>,
    sharp: Option<Filter<'a>>,
    /// Noise that the filtered pixels are compared with, when it is not theirs.
    sigma: Option<Image<f32>>,
    unit: f32,
    params: &'a DetectParams,
}

impl Scanner<'_> {
    fn block(&self, y0: usize) -> Block {
        let (ny, nx) = self.filter.data.shape();
        let n_pixels = BLOCK_ROWS.min(ny - y0) * nx;
        let (mut sharp, mut sharp_sigma) = (Vec::new(), Vec::new());
        if let Some(filter) = &self.sharp {
            sharp.resize(n_pixels, 0.0);
            filter.fill_block(y0, &mut sharp, |_, row| {
                let noise = row.noise.unwrap_or_default();
                sharp_sigma.extend(noise.iter().map(|n| n * self.unit));
            });
        }
        let mut block = Block::default();
        let extent = self.params.extent as f32;
        let mut sigma = vec![self.unit; nx];
        let mut above = vec![0_u8; nx];
        self.filter
            .fill_block(y0, &mut vec![0.0; n_pixels], |y, row| {
                let noise = row.noise.or(self.sigma.as_ref().map(|s| s.view().row(y)));
                for (s, n) in sigma.iter_mut().zip(noise.unwrap_or_default()) {
                    *s = n * self.unit;
                }
                mark_above(row, &sigma, extent, &mut above);
                block.has_value |= row.value.iter().any(|v| v.is_finite());
                let (lowest, values) = (&mut block.lowest, &mut block.values);
                let found = runs_of_row(y, &above).inspect(|run| {
                    let part = run.start..run.end;
                    let least = sigma[part.clone()]
                        .iter()
                        .copied()
                        .fold(f32::INFINITY, f32::min);
                    let row_start = (y - y0) * nx;
                    values.extend(part.map(|x| Value {
                        filtered: row.value[x],
                        significance: row.value[x] / sigma[x],
                        sharp: sharp.get(row_start + x).copied().unwrap_or(row.value[x]),
                        sharp_sigma: sharp_sigma.get(row_start + x).copied().unwrap_or(sigma[x]),
                    }));
                    lowest.push(least * extent);
                });
                block
                    .runs
                    .push_row(found, self.params.connectivity, y == y0);
            });
        block
    }
}

/// Square root of the variance averaged with the filter, in units of [`Noise::unit`].
fn mean_noise(error: Plane<'_, f32>, filter: &Filter<'_>) -> Image<f32> {
    let unit = Noise::Image(error).unit();
    let mut variance = Image::empty(error.shape());
    variance.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        let sigmas = (y0..).flat_map(|y| error.row(y)).take(pixels.len());
        for (v, sigma) in pixels.iter_mut().zip(sigmas) {
            *v = (sigma / unit) * (sigma / unit);
        }
    });
    let averaged = Filter {
        data: variance.view(),
        with_noise: false,
        ..*filter
    };
    let mut noise = Image::empty(error.shape());
    noise.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        averaged.fill_block(y0, pixels, |_, _| ());
        for v in pixels {
            *v = v.sqrt();
        }
    });
    noise
}

fn mark_above(row: &FilteredRow<'_>, sigma: &[f32], extent: f32, above: &mut [u8]) {
    for (((a, v), s), w) in above.iter_mut().zip(row.value).zip(sigma).zip(row.weight) {
        *a = u8::from(*v > s * extent) & u8::from(*w > 0.0);
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

/// None for a source without pixels, which does not occur.
fn candidate(source: &Source, min_area: usize) -> Option<Candidate> {
    let values = source.pixels.iter().map(|p| (p.x, p.y, p.value));
    let mut excess: Vec<f32> = source
        .pixels
        .iter()
        .map(|p| p.value - source.threshold)
        .collect();
    let rank = min_area.clamp(1, excess.len().max(1)) - 1;
    let (_, excess, _) = excess.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
    Some(Candidate {
        ellipse: Ellipse::of(values.clone())?,
        n_pixels: source.pixels.len(),
        flux: values.map(|(_, _, v)| f64::from(v)).sum(),
        threshold: f64::from(source.threshold),
        excess: f64::from(*excess),
    })
}

/// Draw the sources, the brightest one in `data` with label 1.
pub(super) fn paint(
    sources: Vec<Source>,
    data: Plane<'_, f32>,
) -> Result<(Image<i32>, usize), SegmentationError> {
    let n = sources.len();
    if i32::try_from(n).is_err() {
        return Err(SegmentationError::TooManySources(n));
    }
    let mut ranked: Vec<(f64, Source)> = sources
        .into_par_iter()
        .map(|source| {
            let values = source
                .pixels
                .iter()
                .map(|p| data.row(p.y)[p.x])
                .filter(|v| v.is_finite());
            (values.map(f64::from).sum(), source)
        })
        .collect();
    // Sources stand in raster order of their segment here, and a stable sort keeps that among equals.
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let (ny, nx) = data.shape();
    let mut labels = Image::empty((ny, nx));
    let out = labels.pixels_mut();
    for (label, (_, source)) in (1..).zip(&ranked) {
        for pixel in &source.pixels {
            out[pixel.y * nx + pixel.x] = label;
        }
    }
    Ok((labels, n))
}
