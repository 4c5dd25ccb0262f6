//! What noise from elsewhere does to fluxes.

use rayon::prelude::*;

use super::normal::Column;
use super::templates::{Templates, common};
use super::{Inverse, PhotometryError, check_length};
use crate::image::{Image, Plane};
use crate::interrupt;

/// A realisation needs this part of the filter's variance on pixels that count.
const LEAST_USED: f64 = 0.8;

/// What the noise around each of `positions` `(x, y)`, moved by whole pixels to each source, adds to its flux: rows of
/// sources, NaN where too few pixels count.
///
/// `noise` is the residual over its error, and is moved in these units; `weight` are the inverse variances. Patches are
/// circles of `radius` pixels around `places` `(x, y)`.
///
/// # Notes
/// A flux is `f_i = sum_p g_i(p) d(p)` with the filter `g_i = w (sum_k C_ik t_k + sum_c C_ic s_c)`, of covariances C with
/// sources that overlap and with columns: the rows of the solution of the normal equations, for any number of right
/// sides at once. What the circle cuts off is made up for by the ratio of the filter's formal errors.
///
/// # Errors
/// When shapes or lengths differ.
pub fn simulate(
    templates: &Templates,
    inverse: &Inverse,
    columns: &[Column<'_>],
    noise: Plane<'_, f32>,
    weight: Plane<'_, f32>,
    places: &[[f64; 2]],
    positions: &[[f64; 2]],
    radius: f64,
) -> Result<Image<f32>, PhotometryError> {
    let n = templates.stamps().len();
    check_length("places", places.len(), n)?;
    check_length("variance", inverse.variance.len(), n)?;
    check_length("border", inverse.border.len(), n * columns.len())?;
    let noise = noise.of_shape("noise", templates.shape())?;
    let weight = weight.of_shape("weight", templates.shape())?;
    let neighbours = templates.all_neighbours();
    let mut all = Image::<f32>::empty((n, positions.len()));
    if positions.is_empty() {
        return Ok(all);
    }
    all.pixels_mut()
        .par_chunks_mut(positions.len())
        .enumerate()
        .for_each(|(i, row)| {
            interrupt::poll();
            let filter = filter_of(
                i,
                templates,
                inverse,
                &neighbours[i],
                columns,
                weight,
                places[i],
                radius,
            );
            for (value, position) in row.iter_mut().zip(positions) {
                let by = [0, 1].map(|k| position[k].round() as i64 - places[i][k].round() as i64);
                *value = moved_to(&filter, noise, by, inverse.variance[i]);
            }
        });
    Ok(all)
}

/// Pixels of a patch with the flux's answer to a noise of one sigma there.
fn filter_of(
    source: usize,
    templates: &Templates,
    inverse: &Inverse,
    neighbours: &[(u32, usize)],
    columns: &[Column<'_>],
    weight: Plane<'_, f32>,
    place: [f64; 2],
    radius: f64,
) -> Vec<(i64, i64, f64)> {
    let one = &templates.stamps()[source];
    let (rows, across) = (one.rows(), one.columns());
    let mut answer = vec![0.0; one.ny * one.nx];
    let mut add = |factor: f64, other: usize| {
        let stamp = &templates.stamps()[other];
        let shared = common(&across, &stamp.columns());
        for y in common(&rows, &stamp.rows()) {
            let first = (y - one.y0) * one.nx + shared.start - one.x0;
            answer[first..first + shared.len()]
                .iter_mut()
                .zip(stamp.row(y, &shared))
                .for_each(|(a, &t)| *a += factor * f64::from(t));
        }
    };
    add(inverse.variance[source], source);
    for &(j, pair) in neighbours {
        add(inverse.pairs[pair], j as usize);
    }
    let mut values = vec![0.0; one.nx];
    for (c, column) in columns.iter().enumerate() {
        let factor = inverse.border[source * columns.len() + c];
        for y in rows.clone() {
            column.fill(y, y, templates.shape(), &across, &mut values);
            answer[(y - one.y0) * one.nx..][..one.nx]
                .iter_mut()
                .zip(&values)
                .for_each(|(a, v)| *a += factor * v);
        }
    }
    let mut patch = Vec::new();
    for (k, value) in answer.iter().enumerate() {
        let (y, x) = (one.y0 + k / one.nx, one.x0 + k % one.nx);
        let w = f64::from(weight.row(y)[x]);
        if w > 0.0 && (x as f64 - place[0]).hypot(y as f64 - place[1]) <= radius {
            patch.push((y as i64, x as i64, value * w.sqrt()));
        }
    }
    patch
}

fn moved_to(patch: &[(i64, i64, f64)], noise: Plane<'_, f32>, by: [i64; 2], variance: f64) -> f32 {
    let (ny, nx) = noise.shape();
    let (mut sum, mut used, mut all) = (0.0, 0.0, 0.0);
    for &(y, x, value) in patch {
        let (y, x) = (y + by[1], x + by[0]);
        all += value * value;
        if y < 0 || x < 0 || y >= ny as i64 || x >= nx as i64 {
            continue;
        }
        let there = noise.row(y as usize)[x as usize];
        if there.is_finite() {
            used += value * value;
            sum += value * f64::from(there);
        }
    }
    if used > LEAST_USED * all {
        (sum * (variance / used).sqrt()) as f32
    } else {
        f32::NAN
    }
}
