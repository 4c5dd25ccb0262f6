//! The pixels above a threshold of the filtered image, window by window, and how they are connected.

use rayon::prelude::*;

use super::SegmentationError;
use super::convolve::{BLOCK_ROWS, Filter, FilteredRow, Kernel};
use super::deblend::{Deblending, Pixel};
use super::detect::{DetectParams, NoiseOf};
use super::label::{Components, Run, components_of, runs_of_row};
use super::noise::Noise;
use crate::image::{Image, Plane};

/// A part of an image with a margin around it, as wide as the filters reach where the image goes on.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Background-subtracted pixels, margin included.
    pub data: Plane<'a, f32>,
    /// Their noise.
    pub noise: Noise<'a>,
    /// True where a pixel must not be used.
    pub mask: Option<Plane<'a, bool>>,
    /// Row and column of the window's first pixel in the image.
    pub origin: (usize, usize),
    /// First and last + 1 row, first and last + 1 column of the window without its margin, counted in the window.
    pub core: ([usize; 2], [usize; 2]),
}

impl Window<'_> {
    fn checked(self) -> Result<Self, SegmentationError> {
        let shape = self.data.shape();
        self.mask.map(|m| m.of_shape("mask", shape)).transpose()?;
        self.noise.of_shape(shape)?;
        let ([y0, y1], [x0, x1]) = self.core;
        if y0 > y1 || x0 > x1 || y1 > shape.0 || x1 > shape.1 {
            return Err(SegmentationError::Core {
                core: self.core,
                shape,
            });
        }
        Ok(self)
    }
}

/// What the filters make of a pixel of a run.
#[derive(Clone, Copy, Debug)]
struct Value {
    raw: f32,
    filtered: f32,
    significance: f32,
    sharp: f32,
    sharp_sigma: f32,
}

/// A run of an image and its lowest threshold.
#[derive(Clone, Copy, Debug)]
struct Piece {
    run: Run,
    lowest: f32,
    /// Where its values start.
    start: usize,
}

/// The runs above the threshold of the extent that were found so far.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pieces: Vec<Piece>,
    values: Vec<Value>,
    has_value: bool,
}

impl Scan {
    /// Filter a window and keep what is above the threshold in its core. Windows may come in any order; their cores
    /// must not overlap.
    ///
    /// # Errors
    /// When the shapes differ, or the core does not lie in the window.
    pub(super) fn add(
        &mut self,
        window: &Window<'_>,
        kernel: &Kernel,
        params: &DetectParams,
    ) -> Result<(), SegmentationError> {
        let Window {
            data, noise, mask, ..
        } = window.checked()?;
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
            Deblending::Saddles(_, Some(kernel)) => {
                Some(Filter::matched(data, kernel, &matched_weight))
            }
            _ => None,
        };
        let scanner = Scanner {
            window,
            filter,
            sharp,
            sigma,
            unit: noise.unit(),
            extent: params.extent as f32,
        };
        let [first, last] = window.core.0;
        let found: Vec<Self> = (0..(last - first).div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                crate::interrupt::poll();
                let y0 = first + block * BLOCK_ROWS;
                scanner.rows(y0, (y0 + BLOCK_ROWS).min(last))
            })
            .collect();
        for block in found {
            self.append(block);
        }
        Ok(())
    }

    fn append(&mut self, other: Self) {
        let offset = self.values.len();
        self.values.extend(other.values);
        self.pieces
            .extend(other.pieces.into_iter().map(|piece| Piece {
                start: piece.start + offset,
                ..piece
            }));
        self.has_value |= other.has_value;
    }

    /// Join what was found; None when no window had a pixel that can be used.
    pub(super) fn connected(mut self, params: &DetectParams) -> Option<Connected> {
        if !self.has_value {
            return None;
        }
        let place = |piece: &Piece| (piece.run.y, piece.run.start);
        if !self.pieces.is_sorted_by_key(place) {
            self.pieces.par_sort_unstable_by_key(place);
        }
        // A run that a border between windows has cut is one run of several pieces.
        let mut runs: Vec<Run> = Vec::with_capacity(self.pieces.len());
        let mut first_piece = Vec::with_capacity(self.pieces.len());
        for (i, piece) in self.pieces.iter().enumerate() {
            match runs.last_mut() {
                Some(last) if last.y == piece.run.y && last.end == piece.run.start => {
                    last.end = piece.run.end;
                }
                _ => {
                    runs.push(piece.run);
                    first_piece.push(i);
                }
            }
        }
        first_piece.push(self.pieces.len());
        Some(Connected {
            found: components_of(runs, params.connectivity),
            first_piece,
            pieces: self.pieces,
            values: self.values,
        })
    }
}

/// The pixels above the threshold of the extent, and how they are connected.
pub(super) struct Connected {
    found: Components,
    /// First piece of every run.
    first_piece: Vec<usize>,
    pieces: Vec<Piece>,
    values: Vec<Value>,
}

impl Connected {
    fn pieces_of(&self, run: usize) -> &[Piece] {
        &self.pieces[self.first_piece[run]..self.first_piece[run + 1]]
    }

    /// Runs and lowest threshold of every component with at least `min_area` pixels.
    pub(super) fn segments(&self, min_area: usize) -> Vec<(Vec<usize>, f32)> {
        let Components { runs, component, n } = &self.found;
        let mut area = vec![0_usize; *n];
        for (run, &component) in runs.iter().zip(component) {
            area[component] += run.end - run.start;
        }
        let mut place = vec![usize::MAX; *n];
        let mut large = Vec::new();
        for (i, &component) in component.iter().enumerate() {
            if area[component] < min_area {
                continue;
            }
            if place[component] == usize::MAX {
                place[component] = large.len();
                large.push((Vec::new(), f32::INFINITY));
            }
            let (runs, lowest): &mut (Vec<usize>, f32) = &mut large[place[component]];
            runs.push(i);
            *lowest = self
                .pieces_of(i)
                .iter()
                .fold(*lowest, |low, piece| low.min(piece.lowest));
        }
        large
    }

    /// The pixels of some runs, in raster order.
    pub(super) fn pixels(&self, runs: &[usize]) -> Vec<Pixel> {
        runs.iter()
            .flat_map(|&i| self.pieces_of(i))
            .flat_map(|piece| {
                let Run { y, start, end } = piece.run;
                let values = &self.values[piece.start..piece.start + end - start];
                (start..end).zip(values).map(move |(x, v)| Pixel {
                    x,
                    y,
                    raw: v.raw,
                    value: v.filtered,
                    significance: v.significance,
                    sharp: v.sharp,
                    sharp_sigma: v.sharp_sigma,
                })
            })
            .collect()
    }
}

/// Filters rows of a window and keeps what is above the threshold of the extent.
struct Scanner<'a> {
    window: &'a Window<'a>,
    filter: Filter<'a>,
    sharp: Option<Filter<'a>>,
    /// Noise that the filtered pixels are compared with, when it is not theirs.
    sigma: Option<Image<f32>>,
    unit: f32,
    extent: f32,
}

impl Scanner<'_> {
    fn rows(&self, y0: usize, y1: usize) -> Scan {
        let nx = self.filter.data.shape().1;
        let n_pixels = (y1 - y0) * nx;
        let (mut sharp, mut sharp_sigma) = (Vec::new(), Vec::new());
        if let Some(filter) = &self.sharp {
            sharp.resize(n_pixels, 0.0);
            filter.fill_block(y0, &mut sharp, |_, row| {
                let noise = row.noise.unwrap_or_default();
                sharp_sigma.extend(noise.iter().map(|n| n * self.unit));
            });
        }
        let mut scan = Scan::default();
        let (y_origin, x_origin) = self.window.origin;
        let [x0, x1] = self.window.core.1;
        let mut sigma = vec![self.unit; nx];
        let mut above = vec![0_u8; nx];
        self.filter
            .fill_block(y0, &mut vec![0.0; n_pixels], |y, row| {
                let noise = row.noise.or(self.sigma.as_ref().map(|s| s.view().row(y)));
                for (s, n) in sigma.iter_mut().zip(noise.unwrap_or_default()) {
                    *s = n * self.unit;
                }
                mark_above(row, &sigma, self.extent, &mut above);
                scan.has_value |= row.value[x0..x1].iter().any(|v| v.is_finite());
                let raw = self.filter.data.row(y);
                for run in runs_of_row(y, &above[x0..x1]) {
                    let part = run.start + x0..run.end + x0;
                    let lowest = sigma[part.clone()]
                        .iter()
                        .copied()
                        .fold(f32::INFINITY, f32::min);
                    scan.pieces.push(Piece {
                        run: Run {
                            y: y + y_origin,
                            start: part.start + x_origin,
                            end: part.end + x_origin,
                        },
                        lowest: lowest * self.extent,
                        start: scan.values.len(),
                    });
                    let row_start = (y - y0) * nx;
                    scan.values.extend(part.map(|x| Value {
                        raw: raw[x],
                        filtered: row.value[x],
                        significance: row.value[x] / sigma[x],
                        sharp: sharp.get(row_start + x).copied().unwrap_or(row.value[x]),
                        sharp_sigma: sharp_sigma.get(row_start + x).copied().unwrap_or(sigma[x]),
                    }));
                }
            });
        scan
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
