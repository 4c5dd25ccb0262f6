//! What is left of an image when models are subtracted, and how well they fit.

use rayon::prelude::*;

use super::templates::{Stamp, Templates};
use super::{Column, PhotometryError, check_length};
use crate::image::{Image, Plane};
use crate::interrupt;

/// Rows that are filled together.
const BAND: usize = 32;
/// Pixels of a source are those with at least this part of its brightest one.
const LEAST_PART: f32 = 0.05;

/// How well a source's pixels are fitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceFit {
    /// Chi square of its pixels.
    pub chi2: f64,
    /// Number of its pixels with a weight.
    pub n_pix: usize,
    /// Light of the template on pixels with a weight, over that on the stamp within the image.
    pub seen: f64,
    /// Change of the place that the residual asks for, along x and y [pix]; 0 where it says nothing.
    pub move_by: [f64; 2],
    /// Its significance: the root of the chi square that the move saves.
    pub dipole: f64,
}

/// Fits as rows of chi square, pixels, seen part, move along x and y, and its significance.
#[must_use]
pub fn table_of(fits: &[SourceFit]) -> Image<f64> {
    let mut table = Image::empty((fits.len(), 6));
    for (row, fit) in table.pixels_mut().chunks_exact_mut(6).zip(fits) {
        row.copy_from_slice(&[
            fit.chi2,
            fit.n_pix as f64,
            fit.seen,
            fit.move_by[0],
            fit.move_by[1],
            fit.dipole,
        ]);
    }
    table
}

/// Sum of templates times `fluxes` and of columns times `levels`, at `n_rows` rows from `first` on.
///
/// # Errors
/// When lists differ in length.
pub fn add_models(
    templates: &Templates,
    fluxes: &[f64],
    columns: &[Column<'_>],
    levels: &[f64],
    first: usize,
    n_rows: usize,
) -> Result<Image<f64>, PhotometryError> {
    check_length("fluxes", fluxes.len(), templates.stamps().len())?;
    check_length("levels", levels.len(), columns.len())?;
    let nx = templates.shape().1;
    let mut image = Image::<f64>::empty((n_rows, nx));
    let bands = templates.by_rows(BAND);
    image
        .pixels_mut()
        .par_chunks_mut(nx)
        .enumerate()
        .for_each(|(within, line)| {
            interrupt::poll();
            let y = first + within;
            let mut values = vec![0.0; nx];
            for (column, level) in columns.iter().zip(levels) {
                column.fill(y, within, templates.shape(), &(0..nx), &mut values);
                line.iter_mut()
                    .zip(&values)
                    .for_each(|(sum, v)| *sum += level * v);
            }
            for &i in &bands[y / BAND] {
                let stamp = &templates.stamps()[i as usize];
                let flux = fluxes[i as usize];
                if stamp.rows().contains(&y) && flux != 0.0 {
                    let values = stamp.row(y, &stamp.columns());
                    line[stamp.columns()]
                        .iter_mut()
                        .zip(values)
                        .for_each(|(sum, &v)| *sum += flux * f64::from(v));
                }
            }
        });
    Ok(image)
}

/// Sum of the derivatives of templates by moves of their sources along x and y, times `by_x` and `by_y`.
///
/// # Errors
/// When lists differ in length, or templates were drawn without derivatives.
pub fn moved(
    templates: &Templates,
    by_x: &[f64],
    by_y: &[f64],
) -> Result<Image<f32>, PhotometryError> {
    check_length("by_x", by_x.len(), templates.stamps().len())?;
    check_length("by_y", by_y.len(), templates.stamps().len())?;
    let counts = |i: usize| by_x[i] != 0.0 || by_y[i] != 0.0;
    for (i, stamp) in templates.stamps().iter().enumerate() {
        if counts(i) {
            has_moves(stamp)?;
        }
    }
    let bands = templates.by_rows(BAND);
    let nx = templates.shape().1;
    let mut image = Image::<f32>::empty(templates.shape());
    image
        .pixels_mut()
        .par_chunks_mut(nx)
        .enumerate()
        .for_each(|(y, line)| {
            for &i in &bands[y / BAND] {
                let (i, stamp) = (i as usize, &templates.stamps()[i as usize]);
                if stamp.rows().contains(&y) && counts(i) {
                    let first = (y - stamp.y0) * stamp.nx;
                    let [along_x, along_y] =
                        [0, 1].map(|k| &stamp.by_place[k][first..first + stamp.nx]);
                    line[stamp.columns()]
                        .iter_mut()
                        .zip(along_x.iter().zip(along_y))
                        .for_each(|(sum, (&x, &y))| {
                            *sum += (by_x[i] * f64::from(x) + by_y[i] * f64::from(y)) as f32;
                        });
                }
            }
        });
    Ok(image)
}

/// An error unless a stamp has its derivatives.
fn has_moves(stamp: &Stamp) -> Result<(), PhotometryError> {
    check_length("by_place", stamp.by_place[0].len(), stamp.values.len())
}

/// How well each source fits, of the residual and the weights of the whole image.
///
/// # Notes
/// With the template's derivatives g by a move of the source by a pixel, times its flux, the residual r asks for the
/// move `m = (g^T W g)^-1 g^T W r`, which saves `m^T g^T W r` of chi square. Without a dipole that is a chi square of
/// two degrees of freedom.
///
/// # Errors
/// When shapes or lengths differ, or templates were drawn without derivatives.
pub fn fits_of(
    templates: &Templates,
    fluxes: &[f64],
    residual: Plane<'_, f32>,
    weight: Plane<'_, f32>,
) -> Result<Vec<SourceFit>, PhotometryError> {
    check_length("fluxes", fluxes.len(), templates.stamps().len())?;
    let residual = residual.of_shape("residual", templates.shape())?;
    let weight = weight.of_shape("weight", templates.shape())?;
    templates.stamps().iter().try_for_each(has_moves)?;
    let all = templates.stamps().par_iter().zip(fluxes);
    Ok(all
        .map(|(stamp, &flux)| fit_of(stamp, flux, residual, weight))
        .collect())
}

fn fit_of(stamp: &Stamp, flux: f64, residual: Plane<'_, f32>, weight: Plane<'_, f32>) -> SourceFit {
    let mut fit = SourceFit::default();
    if stamp.ny == 0 {
        return fit;
    }
    let [by_x, by_y] = &stamp.by_place;
    let least = LEAST_PART * stamp.values.iter().fold(0.0_f32, |a, &b| a.max(b));
    let (mut seen, mut light) = (0.0, 0.0);
    let (mut xx, mut xy, mut yy, mut xr, mut yr) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (k, &value) in stamp.values.iter().enumerate() {
        let (y, x) = (stamp.y0 + k / stamp.nx, stamp.x0 + k % stamp.nx);
        let w = f64::from(weight.row(y)[x]);
        light += f64::from(value);
        if w <= 0.0 {
            continue;
        }
        seen += f64::from(value);
        if value < least {
            continue;
        }
        let r = f64::from(residual.row(y)[x]);
        fit.chi2 += w * r * r;
        fit.n_pix += 1;
        let (gx, gy) = (flux * f64::from(by_x[k]), flux * f64::from(by_y[k]));
        xx += w * gx * gx;
        xy += w * gx * gy;
        yy += w * gy * gy;
        xr += w * gx * r;
        yr += w * gy * r;
    }
    fit.seen = if light == 0.0 { 0.0 } else { seen / light };
    let determinant = xx * yy - xy * xy;
    if determinant > 1e-12 * xx * yy {
        fit.move_by = [
            (yy * xr - xy * yr) / determinant,
            (xx * yr - xy * xr) / determinant,
        ];
        let saved = fit.move_by[0] * xr + fit.move_by[1] * yr;
        fit.dipole = saved.max(0.0).sqrt();
    }
    fit
}
