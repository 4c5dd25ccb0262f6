//! Detection: filter, threshold, label, deblend, clean.

use rayon::prelude::*;

use super::SegmentationError;
use super::clean::{Candidate, explained_by};
use super::convolve::{BLOCK_ROWS, Filter, FilteredRow, Kernel};
use super::deblend::{DeblendParams, Pixel, Scratch, pixels_of, split};
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
#[derive(Clone, Copy, Debug)]
pub struct DetectParams {
    /// Least value of a detected pixel [sigma].
    pub threshold: f64,
    /// Whose sigma.
    pub noise_of: NoiseOf,
    /// Which pixels are neighbours.
    pub connectivity: Connectivity,
    /// Least number of pixels of a source.
    pub min_area: usize,
    /// How blends are split; None = not at all.
    pub deblend: Option<DeblendParams>,
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
    let (filtered, found, thresholds) = scan(data, noise, mask, kernel, params);
    if !filtered.pixels().iter().any(|v| v.is_finite()) {
        return Err(SegmentationError::NoGoodPixel(data.pixels().len()));
    }
    let sources: Vec<Source> = large_components(&found, &thresholds, params.min_area)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, (runs, threshold)| {
            crate::interrupt::poll();
            let pixels = pixels_of(&runs, filtered.view());
            let parts = params.deblend.and_then(|d| {
                split(
                    &pixels,
                    threshold,
                    params.min_area,
                    params.connectivity,
                    &d,
                    scratch,
                )
            });
            sources_of(pixels, parts, threshold)
        })
        .flatten_iter()
        .collect();
    let sources = match params.clean {
        Some(beta) => cleaned(sources, params.min_area, beta),
        None => sources,
    };
    paint(sources, data)
}

/// The filtered image, its components above the threshold, and the lowest threshold of every run.
fn scan(
    data: Plane<'_, f32>,
    noise: Noise<'_>,
    mask: Option<Plane<'_, bool>>,
    kernel: &Kernel,
    params: &DetectParams,
) -> (Image<f32>, Components, Vec<f32>) {
    let nx = data.shape().1;
    let unit = noise.unit();
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
    let mut filtered = Image::empty(data.shape());
    let blocks = filtered.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        let mut runs = BlockRuns::default();
        let mut lowest: Vec<f32> = Vec::new();
        let mut threshold = vec![unit * params.threshold as f32; nx];
        let mut above = vec![0_u8; nx];
        filter.fill_block(y0, pixels, |y, row| {
            let noise = row.noise.or(sigma.as_ref().map(|s| s.view().row(y)));
            for (t, n) in threshold.iter_mut().zip(noise.unwrap_or_default()) {
                *t = n * unit * params.threshold as f32;
            }
            mark_above(row, &threshold, &mut above);
            let lowest = &mut lowest;
            let threshold = &threshold;
            let found = runs_of_row(y, &above).inspect(|run| {
                let part = &threshold[run.start..run.end];
                lowest.push(part.iter().copied().fold(f32::INFINITY, f32::min));
            });
            runs.push_row(found, params.connectivity, y == y0);
        });
        (runs, lowest)
    });
    let (blocks, lowest): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
    (
        filtered,
        join_blocks(blocks, params.connectivity),
        lowest.concat(),
    )
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

fn mark_above(row: &FilteredRow<'_>, threshold: &[f32], above: &mut [u8]) {
    for (((a, v), t), w) in above
        .iter_mut()
        .zip(row.value)
        .zip(threshold)
        .zip(row.weight)
    {
        *a = u8::from(v > t) & u8::from(*w > 0.0);
    }
}

/// Runs and lowest threshold of every component with at least `min_area` pixels.
fn large_components(
    found: &Components,
    thresholds: &[f32],
    min_area: usize,
) -> Vec<(Vec<Run>, f32)> {
    let mut area = vec![0_usize; found.n];
    for (run, &component) in found.runs.iter().zip(&found.component) {
        area[component] += run.end - run.start;
    }
    let mut place = vec![usize::MAX; found.n];
    let mut large = Vec::new();
    for ((run, &component), &threshold) in found.runs.iter().zip(&found.component).zip(thresholds) {
        if area[component] < min_area {
            continue;
        }
        if place[component] == usize::MAX {
            place[component] = large.len();
            large.push((Vec::new(), f32::INFINITY));
        }
        let (runs, lowest): &mut (Vec<Run>, f32) = &mut large[place[component]];
        runs.push(*run);
        *lowest = lowest.min(threshold);
    }
    large
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
        sources[part as usize].pixels.push(pixel);
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
