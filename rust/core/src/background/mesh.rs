//! Mesh background: the sky of square cells, filtered and interpolated.

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
            None => values.extend(row.iter().filter(|v| v.is_finite())),
            Some(mask) => values.extend(
                row.iter()
                    .zip(&mask.row(y)[x0..x1])
                    .filter(|(v, bad)| v.is_finite() && !**bad)
                    .map(|(v, _)| v),
            ),
        }
    }
    let needed = params.min_good_fraction * ((y1 - y0) * (x1 - x0)) as f64;
    if (values.len() as f64) < needed {
        return None;
    }
    sky_of(values, params.clip_sigma)
}

/// The mesh with every missing cell replaced by the mean of the nearest good ones; None when there is no good one.
fn fill_missing(cells: &[Option<Sky>], n_x: usize) -> Option<Vec<Sky>> {
    let good: Vec<(usize, Sky)> = cells
        .iter()
        .enumerate()
        .filter_map(|(i, sky)| sky.map(|s| (i, s)))
        .collect();
    if good.is_empty() {
        return None;
    }
    let nearest = |i: usize| -> Sky {
        let mut best = usize::MAX;
        let (mut level, mut rms, mut n) = (0.0, 0.0, 0.0);
        for &(k, sky) in &good {
            let (dy, dx) = ((k / n_x).abs_diff(i / n_x), (k % n_x).abs_diff(i % n_x));
            let distance = dy * dy + dx * dx;
            if distance < best {
                best = distance;
                (level, rms, n) = (0.0, 0.0, 0.0);
            }
            if distance == best {
                level += sky.level;
                rms += sky.rms;
                n += 1.0;
            }
        }
        Sky {
            level: level / n,
            rms: rms / n,
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
