//! Large-scale background: the median or the mean of the good pixels in a box around every pixel.

use rayon::prelude::*;

use super::BackgroundError;
use super::boxcar::means;
use super::sliding::medians;
use crate::image::{Image, Plane};
use crate::interrupt;

/// What is taken of the good pixels of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// Their median; the mean of the two middle ones of an even number.
    Median,
    /// Their mean.
    Mean,
}

impl Running {
    /// The method of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_name(name: &str) -> Result<Self, BackgroundError> {
        match name {
            "running_median" => Ok(Self::Median),
            "boxcar_mean" => Ok(Self::Mean),
            _ => Err(BackgroundError::Running(name.to_owned())),
        }
    }
}

/// Parameters of [`large_scale`].
#[derive(Clone, Copy, Debug)]
pub struct RunningParams {
    /// Pixels of a box on each side of its middle, which ends at the border of the image.
    pub half: usize,
    /// What is taken of a box.
    pub method: Running,
    /// Good pixels without which a box has no value.
    pub min_good: usize,
}

/// Rows that are written as one block.
const BLOCK_ROWS: usize = 64;

/// The running median or mean of an image, without the pixels that `mask` names and those that are not finite. A pixel
/// whose box has too few good ones gets the mean of the values at the least distance from it.
///
/// # Errors
/// When the shapes differ or no box has enough good pixels.
pub fn large_scale(
    data: Plane<'_, f32>,
    mask: Option<Plane<'_, bool>>,
    params: &RunningParams,
) -> Result<Image<f32>, BackgroundError> {
    let mask = mask.map(|m| m.of_shape("mask", data.shape())).transpose()?;
    let good = Good { data, mask };
    let min_good = params.min_good.max(1);
    let level = match params.method {
        Running::Median => medians(good, params.half, min_good),
        Running::Mean => means(good, params.half, min_good),
    };
    without_holes(level)
}

/// The pixels of an image that count.
#[derive(Clone, Copy)]
pub(super) struct Good<'a> {
    data: Plane<'a, f32>,
    mask: Option<Plane<'a, bool>>,
}

impl Good<'_> {
    pub(super) fn shape(&self) -> (usize, usize) {
        self.data.shape()
    }

    /// Pixels from `x0` to `x1` of a row; None where one does not count.
    pub(super) fn row(
        &self,
        y: usize,
        x0: usize,
        x1: usize,
    ) -> impl Iterator<Item = Option<f32>> + '_ {
        let bad = self.mask.map(|mask| &mask.row(y)[x0..x1]);
        self.data.row(y)[x0..x1]
            .iter()
            .enumerate()
            .map(move |(i, &value)| {
                (value.is_finite() && !bad.is_some_and(|bad| bad[i])).then_some(value)
            })
    }
}

/// An image put together from tiles, each of them with its first row, first column and width.
pub(super) fn joined(
    shape: (usize, usize),
    rows_of_tiles: usize,
    tiles: &[(usize, usize, usize, Vec<f32>)],
) -> Image<f32> {
    let mut out = Image::empty(shape);
    out.fill_blocks(rows_of_tiles, |y0, pixels| {
        for (_, x0, width, values) in tiles.iter().filter(|tile| tile.0 == y0) {
            for (row, from) in pixels.chunks_mut(shape.1).zip(values.chunks(*width)) {
                row[*x0..x0 + width].copy_from_slice(from);
            }
        }
    });
    out
}

/// The image with NaN replaced by the mean of the values at the least distance.
fn without_holes(level: Image<f32>) -> Result<Image<f32>, BackgroundError> {
    let (ny, nx) = level.shape();
    let n_holes = level.pixels().par_iter().filter(|v| v.is_nan()).count();
    if n_holes == 0 {
        return Ok(level);
    }
    if n_holes == ny * nx {
        return Err(BackgroundError::NoGoodPixel { n_pixels: ny * nx });
    }
    let beside = Beside::new(level.view());
    let mut out = level.clone();
    out.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        let mut found = Vec::new();
        for (i, value) in pixels.iter_mut().enumerate().filter(|(_, v)| v.is_nan()) {
            beside.nearest(y0 + i / nx, i % nx, &mut found);
            let total: f64 = found.iter().map(|&k| f64::from(level.pixels()[k])).sum();
            *value = (total / found.len() as f64) as f32;
            if i % 1024 == 0 {
                interrupt::poll();
            }
        }
    });
    Ok(out)
}

const NONE: u32 = u32::MAX;

/// The nearest columns of the same row that have a value, at or before every pixel and at or after it.
struct Beside {
    before: Vec<u32>,
    after: Vec<u32>,
    shape: (usize, usize),
}

impl Beside {
    fn new(level: Plane<'_, f32>) -> Self {
        let (ny, nx) = level.shape();
        let (mut before, mut after) = (vec![NONE; ny * nx], vec![NONE; ny * nx]);
        before
            .par_chunks_mut(nx)
            .zip(after.par_chunks_mut(nx))
            .enumerate()
            .for_each(|(y, (before, after))| {
                let row = level.row(y);
                let mut last = NONE;
                for (x, value) in row.iter().enumerate() {
                    last = if value.is_nan() { last } else { x as u32 };
                    before[x] = last;
                }
                last = NONE;
                for (x, value) in row.iter().enumerate().rev() {
                    last = if value.is_nan() { last } else { x as u32 };
                    after[x] = last;
                }
            });
        Self {
            before,
            after,
            shape: (ny, nx),
        }
    }

    /// Pixels with a value at the least distance, in rows; rows farther away than the nearest one are not looked at.
    fn nearest(&self, y: usize, x: usize, found: &mut Vec<usize>) {
        let (ny, nx) = self.shape;
        let mut best = usize::MAX;
        found.clear();
        for dy in 0..ny {
            if dy * dy > best {
                break;
            }
            let rows = [y.checked_sub(dy), (dy > 0).then_some(y + dy)];
            for row in rows.into_iter().flatten().filter(|&row| row < ny) {
                let at = row * nx + x;
                for column in [self.before[at], self.after[at]] {
                    if column == NONE {
                        continue;
                    }
                    let distance = dy * dy + (column as usize).abs_diff(x).pow(2);
                    if distance < best {
                        best = distance;
                        found.clear();
                    }
                    if distance == best {
                        found.push(row * nx + column as usize);
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
    }
}
