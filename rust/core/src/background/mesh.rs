//! Mesh background: the sky of square cells, filtered and interpolated.

use std::ops::Add;

use rayon::prelude::*;

use super::BackgroundError;
use super::cell::{Sky, sky_of};
use super::spline::Surface;
use crate::image::{Image, Plane};
use crate::interrupt;

/// Parameters of [`estimate`].
#[derive(Clone, Copy, Debug)]
pub struct MeshParams {
    /// Side of a cell [pix].
    pub box_size: usize,
    /// Side of the median filter [cells]; 1 = none.
    pub filter_size: usize,
    /// A cell is replaced by the median around it when it differs by this much or more [unit of the data].
    pub filter_threshold: f64,
    /// Where the histogram of a cell is clipped [sigma].
    pub clip_sigma: f64,
    /// Fraction of good pixels without which a cell is filled from its neighbours.
    pub min_good_fraction: f64,
}

/// The smooth background of an image and its noise.
#[derive(Clone, Debug)]
pub struct Background {
    /// Sky level of every pixel.
    pub level: Image<f32>,
    /// Standard deviation of the sky of every pixel.
    pub rms: Image<f32>,
    /// Median of the level over the cells.
    pub level_global: f64,
    /// Median of the rms over the cells.
    pub rms_global: f64,
}

/// Rows of pixels that are interpolated as one block.
const BLOCK_ROWS: usize = 64;

/// Background and noise of an image on a mesh of cells. `mask` is true where a pixel must not be used; pixels that are
/// not finite are never used.
///
/// # Errors
/// When the shapes differ, a cell has no side, or no cell has enough good pixels.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393, section 3.
pub fn estimate(
    data: Plane<'_, f32>,
    mask: Option<Plane<'_, bool>>,
    params: &MeshParams,
) -> Result<Background, BackgroundError> {
    let shape = data.shape();
    let cells = cells(data, mask, params)?;
    let mesh = Mesh::new(&cells, shape, params)?;
    Ok(Background {
        level: mesh.level((0, 0), shape),
        rms: mesh.rms((0, 0), shape),
        level_global: mesh.level_global,
        rms_global: mesh.rms_global,
    })
}

/// Sky of the cells of an image, or of a window of one that begins with a cell, in rows; None where a cell has too few
/// good pixels.
///
/// # Errors
/// When the shapes differ or a cell has no side.
pub fn cells(
    data: Plane<'_, f32>,
    mask: Option<Plane<'_, bool>>,
    params: &MeshParams,
) -> Result<Vec<Option<Sky>>, BackgroundError> {
    let mask = mask.map(|m| m.of_shape("mask", data.shape())).transpose()?;
    let (n_y, n_x) = params.n_cells(data.shape())?;
    Ok((0..n_y * n_x)
        .into_par_iter()
        .map_init(Vec::new, |values, i| {
            interrupt::poll();
            cell_sky(data, mask, params, i / n_x, i % n_x, values)
        })
        .collect())
}

impl MeshParams {
    fn n_cells(&self, (ny, nx): (usize, usize)) -> Result<(usize, usize), BackgroundError> {
        if self.box_size == 0 {
            return Err(BackgroundError::BoxSize(0));
        }
        Ok((ny.div_ceil(self.box_size), nx.div_ceil(self.box_size)))
    }
}

/// The smooth background of an image and its noise, for any window of it.
#[derive(Clone, Debug)]
pub struct Mesh {
    level: Surface,
    rms: Surface,
    /// Median of the level over the cells.
    pub level_global: f64,
    /// Median of the rms over the cells.
    pub rms_global: f64,
}

impl Mesh {
    /// The mesh of an image of `shape` whose cells have this sky.
    ///
    /// # Errors
    /// When the number of cells is another one, a cell has no side, or none has a sky.
    pub fn new(
        cells: &[Option<Sky>],
        shape: (usize, usize),
        params: &MeshParams,
    ) -> Result<Self, BackgroundError> {
        let (n_y, n_x) = params.n_cells(shape)?;
        if cells.len() != n_y * n_x {
            return Err(BackgroundError::Cells {
                found: cells.len(),
                expected: n_y * n_x,
            });
        }
        let filled = fill_missing(cells, n_x).ok_or(BackgroundError::NoGoodCell {
            n_cells: cells.len(),
            box_size: params.box_size,
            fraction: params.min_good_fraction,
        })?;
        let level: Vec<f64> = filled.iter().map(|sky| sky.level).collect();
        let rms: Vec<f64> = filled.iter().map(|sky| sky.rms).collect();
        let (level, rms) = median_filter(&level, &rms, n_x, params);
        Ok(Self {
            level_global: median(&mut level.clone()),
            rms_global: median(&mut rms.clone()),
            level: Surface::new(level, n_y, n_x, params.box_size),
            rms: Surface::new(rms, n_y, n_x, params.box_size),
        })
    }

    /// Sky level of the pixels of a window.
    #[must_use]
    pub fn level(&self, origin: (usize, usize), shape: (usize, usize)) -> Image<f32> {
        drawn(&self.level, origin, shape)
    }

    /// Standard deviation of the sky of the pixels of a window.
    #[must_use]
    pub fn rms(&self, origin: (usize, usize), shape: (usize, usize)) -> Image<f32> {
        drawn(&self.rms, origin, shape)
    }
}

/// Sky of the cell in row `j`, column `i` of the mesh; None when it has too few good pixels.
fn cell_sky(
    data: Plane<'_, f32>,
    mask: Option<Plane<'_, bool>>,
    params: &MeshParams,
    j: usize,
    i: usize,
    values: &mut Vec<f32>,
) -> Option<Sky> {
    let (ny, nx) = data.shape();
    let size = params.box_size;
    let (y0, y1) = (j * size, ((j + 1) * size).min(ny));
    let (x0, x1) = (i * size, ((i + 1) * size).min(nx));
    values.clear();
    for y in y0..y1 {
        let row = &data.row(y)[x0..x1];
        match mask {
            None => values.extend_from_slice(row),
            Some(mask) => values.extend(
                row.iter()
                    .zip(&mask.row(y)[x0..x1])
                    .filter(|(_, bad)| !**bad)
                    .map(|(v, _)| v),
            ),
        }
    }
    if !values.iter().fold(true, |all, v| all & v.is_finite()) {
        values.retain(|v| v.is_finite());
    }
    let needed = params.min_good_fraction * ((y1 - y0) * (x1 - x0)) as f64;
    if (values.len() as f64) < needed {
        return None;
    }
    sky_of(values, params.clip_sigma)
}

/// The mesh with every missing cell replaced by the mean of the nearest good ones; None when there is no good one.
fn fill_missing(cells: &[Option<Sky>], n_x: usize) -> Option<Vec<Sky>> {
    if cells.iter().all(Option::is_none) {
        return None;
    }
    let beside = beside(cells, n_x);
    let nearest = |i: usize| -> Sky {
        interrupt::poll();
        let found = nearest_good(&beside, i, n_x);
        let good = || found.iter().filter_map(|&k| cells[k]);
        let n = found.len() as f64;
        Sky {
            level: good().map(|sky| sky.level).fold(0.0, f64::add) / n,
            rms: good().map(|sky| sky.rms).fold(0.0, f64::add) / n,
        }
    };
    Some(
        cells
            .par_iter()
            .enumerate()
            .map(|(i, sky)| sky.unwrap_or_else(|| nearest(i)))
            .collect(),
    )
}

/// The nearest good cells of the same row, at or before every cell and at or after it.
fn beside(cells: &[Option<Sky>], n_x: usize) -> Vec<[Option<usize>; 2]> {
    let mut beside = vec![[None; 2]; cells.len()];
    for first in (0..cells.len()).step_by(n_x) {
        let (mut before, mut after) = (None, None);
        for i in first..first + n_x {
            before = cells[i].map(|_| i).or(before);
            beside[i][0] = before;
        }
        for i in (first..first + n_x).rev() {
            after = cells[i].map(|_| i).or(after);
            beside[i][1] = after;
        }
    }
    beside
}

/// The good cells nearest to cell `i`, in rows; rows farther away than the nearest one found are not looked at.
fn nearest_good(beside: &[[Option<usize>; 2]], i: usize, n_x: usize) -> Vec<usize> {
    let (n_y, y, x) = (beside.len() / n_x, i / n_x, i % n_x);
    let mut best = usize::MAX;
    let mut found = Vec::new();
    for dy in 0..n_y {
        if dy * dy > best {
            break;
        }
        let rows = [y.checked_sub(dy), (dy > 0).then_some(y + dy)];
        for row in rows.into_iter().flatten().filter(|&row| row < n_y) {
            for k in beside[row * n_x + x].into_iter().flatten() {
                let distance = dy * dy + (k % n_x).abs_diff(x).pow(2);
                if distance < best {
                    best = distance;
                    found.clear();
                }
                if distance == best {
                    found.push(k);
                }
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Median of a list that is not empty; the mean of the two middle ones of an even number.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    if n % 2 == 1 {
        values[n / 2]
    } else {
        f64::midpoint(values[n / 2 - 1], values[n / 2])
    }
}

/// Median filter of both maps; towards the edge the window shrinks, so that it stays centred on its cell. The noise of
/// a cell is replaced where its level is.
fn median_filter(
    level: &[f64],
    rms: &[f64],
    n_x: usize,
    params: &MeshParams,
) -> (Vec<f64>, Vec<f64>) {
    let n_y = level.len() / n_x;
    let reach = params.filter_size / 2;
    let window = |map: &[f64], y: usize, x: usize| -> f64 {
        let ry = reach.min(y).min(n_y - 1 - y);
        let rx = reach.min(x).min(n_x - 1 - x);
        let mut values: Vec<f64> = (y - ry..=y + ry)
            .flat_map(|j| map[j * n_x + x - rx..=j * n_x + x + rx].iter().copied())
            .collect();
        median(&mut values)
    };
    (0..level.len())
        .map(|i| {
            let around = window(level, i / n_x, i % n_x);
            if (around - level[i]).abs() >= params.filter_threshold {
                (around, window(rms, i / n_x, i % n_x))
            } else {
                (level[i], rms[i])
            }
        })
        .unzip()
}

fn drawn(surface: &Surface, (top, left): (usize, usize), shape: (usize, usize)) -> Image<f32> {
    let mut out = Image::empty(shape);
    out.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        for (i, row) in pixels.chunks_mut(shape.1.max(1)).enumerate() {
            surface.fill_row(top + y0 + i, left, row);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_cells_get_the_mean_of_all_good_ones_at_the_least_distance() {
        let (n_y, n_x) = (23, 17);
        let hash = |i: usize| (i * 7919 + 13) % 1009;
        for rarity in [2, 5, 40, 100] {
            let cells: Vec<Option<Sky>> = (0..n_y * n_x)
                .map(|i| {
                    (hash(i) % rarity == 0).then_some(Sky {
                        level: 0.1 * hash(i) as f64,
                        rms: 0.3 + hash(i) as f64,
                    })
                })
                .collect();
            let distance = |i: usize, k: usize| {
                (i / n_x).abs_diff(k / n_x).pow(2) + (i % n_x).abs_diff(k % n_x).pow(2)
            };
            let filled = fill_missing(&cells, n_x).unwrap();
            for (i, sky) in filled.iter().enumerate() {
                let good = || (0..cells.len()).filter_map(|k| Some((k, cells[k]?)));
                let least = good().map(|(k, _)| distance(i, k)).min().unwrap();
                let (mut level, mut rms, mut n) = (0.0, 0.0, 0.0);
                for (_, near) in good().filter(|&(k, _)| distance(i, k) == least) {
                    level += near.level;
                    rms += near.rms;
                    n += 1.0;
                }
                assert_eq!((sky.level, sky.rms), (level / n, rms / n));
            }
        }
        assert!(fill_missing(&[None, None], 2).is_none());
    }
}
