//! What uncertain shapes do to fluxes.

use rayon::prelude::*;

use super::draw::{Drawer, N_SHAPE};
use super::normal::{Column, dot};
use super::templates::{Stamp, Templates, common};
use super::{Inverse, PhotometryError, check_length};
use crate::image::Plane;
use crate::interrupt;
use crate::profiles::Profile;

/// Variances of fluxes from the covariances, row after row, of `r_e`, `n`, `q` and `theta` of each component that the
/// templates were drawn of: of the sources that own them, and those that overlap these.
///
/// # Notes
/// A shape of source j that is off by `e` changes the image by `f_j D_j e`, with the derivatives D of its template, and
/// the flux of source i by `u e` with `u = f_j sum_k C_ik t_k^T W D_j` over sources and columns k, so its variance by
/// `u S_j u^T`. Sources that do not overlap j do not count.
///
/// # Errors
/// When shapes or lengths differ, or a profile cannot be drawn.
pub fn shape_variances(
    drawer: &Drawer,
    components: &[Profile],
    owners: &[usize],
    templates: &Templates,
    inverse: &Inverse,
    columns: &[Column<'_>],
    weight: Plane<'_, f32>,
    fluxes: &[f64],
    covariances: &[f64],
) -> Result<Vec<f64>, PhotometryError> {
    let n = templates.stamps().len();
    check_length("fluxes", fluxes.len(), n)?;
    let n_parts = components.len();
    check_length("owners", owners.len(), n_parts)?;
    check_length(
        "covariances",
        covariances.len(),
        n_parts * N_SHAPE * N_SHAPE,
    )?;
    if let Some(&owner) = owners.iter().find(|&&owner| owner >= n) {
        return Err(PhotometryError::Owner {
            owner,
            n_sources: n,
        });
    }
    let planned = drawer.planned(components)?;
    check_length("border", inverse.border.len(), n * columns.len())?;
    let weight = weight.of_shape("weight", templates.shape())?;
    let neighbours = templates.all_neighbours();
    let parts: Vec<Vec<(usize, f64)>> = (0..n_parts)
        .into_par_iter()
        .map(|part| {
            interrupt::poll();
            let j = owners[part];
            let covariance = &covariances[part * N_SHAPE * N_SHAPE..][..N_SHAPE * N_SHAPE];
            let counts = fluxes[j] != 0.0 && covariance.iter().any(|&c| c != 0.0);
            let slopes = if counts {
                planned.by_shape(part)?
            } else {
                Vec::new()
            };
            if slopes.is_empty() {
                return Ok(Vec::new());
            }
            let mut group = vec![j];
            group.extend(neighbours[j].iter().map(|&(i, _)| i as usize));
            let across = products(templates, &group, columns, &slopes, weight);
            let of_one = |&i: &usize| {
                let mut u = [0.0; N_SHAPE];
                let mut add = |factor: f64, product: &[f64; N_SHAPE]| {
                    for k in 0..N_SHAPE {
                        u[k] += factor * product[k];
                    }
                };
                for (&k, product) in group.iter().zip(&across) {
                    add(entry(inverse, &neighbours[i], i, k), product);
                }
                for (c, product) in across[group.len()..].iter().enumerate() {
                    add(inverse.border[i * columns.len() + c], product);
                }
                let mut variance = 0.0;
                for a in 0..N_SHAPE {
                    for b in 0..N_SHAPE {
                        variance += u[a] * covariance[a * N_SHAPE + b] * u[b];
                    }
                }
                (i, fluxes[j] * fluxes[j] * variance)
            };
            Ok(group.iter().map(of_one).collect())
        })
        .collect::<Result<_, PhotometryError>>()?;
    let mut variances = vec![0.0; n];
    for (i, variance) in parts.into_iter().flatten() {
        variances[i] += variance;
    }
    Ok(variances)
}

/// Covariance of two sources; 0 for those that do not overlap.
fn entry(inverse: &Inverse, neighbours: &[(u32, usize)], i: usize, k: usize) -> f64 {
    if i == k {
        return inverse.variance[i];
    }
    let found = neighbours.binary_search_by_key(&k, |&(other, _)| other as usize);
    found.map_or(0.0, |place| inverse.pairs[neighbours[place].1])
}

/// `t^T W D` of the templates of a group, and then of the columns.
fn products(
    templates: &Templates,
    group: &[usize],
    columns: &[Column<'_>],
    slopes: &[Stamp],
    weight: Plane<'_, f32>,
) -> Vec<[f64; N_SHAPE]> {
    let one = &slopes[0];
    let mut products = vec![[0.0; N_SHAPE]; group.len() + columns.len()];
    let weighted: Vec<Vec<f64>> = slopes
        .iter()
        .map(|slope| {
            let rows = slope.values.chunks_exact(slope.nx.max(1));
            rows.zip(one.rows())
                .flat_map(|(row, y)| row.iter().zip(&weight.row(y)[one.columns()]))
                .map(|(&s, &w)| f64::from(s) * f64::from(w))
                .collect()
        })
        .collect();
    for (&i, product) in group.iter().zip(&mut products) {
        let stamp = &templates.stamps()[i];
        let shared = common(&one.columns(), &stamp.columns());
        for y in common(&one.rows(), &stamp.rows()) {
            let first = (y - one.y0) * one.nx + shared.start - one.x0;
            for (sum, line) in product.iter_mut().zip(&weighted) {
                *sum += dot(&line[first..first + shared.len()], stamp.row(y, &shared));
            }
        }
    }
    let mut values = vec![0.0; one.nx];
    for (column, product) in columns.iter().zip(&mut products[group.len()..]) {
        for y in one.rows() {
            column.fill(y, y, templates.shape(), &one.columns(), &mut values);
            let first = (y - one.y0) * one.nx;
            for (sum, line) in product.iter_mut().zip(&weighted) {
                *sum += line[first..]
                    .iter()
                    .zip(&values)
                    .map(|(a, b)| a * b)
                    .sum::<f64>();
            }
        }
    }
    products
}
