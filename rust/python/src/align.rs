//! `skymere._rust.align`: sources, offsets, pairs and linear maps.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::align::{self, Clip, FindParams, Geometry};

use crate::{images, threads};

/// Rows of a few numbers as an array.
fn rows<const N: usize>(py: Python<'_>, rows: Vec<[f64; N]>) -> PyResult<Bound<'_, PyArray2<f64>>> {
    let n = rows.len();
    PyArray1::from_vec(py, rows.into_flattened()).reshape([n, N])
}

/// Positions `(n, 2)`.
fn positions<'a>(array: &'a PyReadonlyArray2<'_, f64>) -> PyResult<&'a [[f64; 2]]> {
    Ok(array.as_slice()?.as_chunks::<2>().0)
}

/// Sources as rows `x, y, x_err, y_err, flux, peak, snr, window, sharpness, roundness`.
#[pyfunction]
#[pyo3(signature = (data, error, mask, *, fwhm_pix, n_sigma, threshold, separation_pix, min_window_pix, max_window_pix))]
fn find<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    error: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    fwhm_pix: f64,
    n_sigma: f64,
    threshold: f64,
    separation_pix: usize,
    min_window_pix: f64,
    max_window_pix: f64,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let params = FindParams {
        fwhm_pix,
        n_sigma,
        threshold,
        separation_pix,
        min_window_pix,
        max_window_pix,
    };
    let data = images::plane(py, "data", &data)?;
    let error = images::plane(py, "error", &error)?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let found = threads::run(py, || align::find(data, error, mask, &params))?;
    rows(py, found.iter().map(align::Source::row).collect())
}

type Found = ([f64; 2], u32, f64, u32, bool);

/// `(shift, n_peak, n_chance, n_second, is_at_edge)`, or None without pairs.
#[pyfunction]
fn offset(
    py: Python<'_>,
    first: PyReadonlyArray2<'_, f64>,
    second: PyReadonlyArray2<'_, f64>,
    radius: f64,
    bin_size: f64,
) -> PyResult<Option<Found>> {
    let (first, second) = (positions(&first)?, positions(&second)?);
    let found = threads::run(py, || align::offset(first, second, radius, bin_size))?;
    Ok(found.map(|o| (o.shift, o.n_peak, o.n_chance, o.n_second, o.is_at_edge)))
}

/// Mutual nearest neighbours as rows `first, second, distance`.
#[pyfunction]
fn match_nearest<'py>(
    py: Python<'py>,
    first: PyReadonlyArray2<'py, f64>,
    second: PyReadonlyArray2<'py, f64>,
    radius: f64,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (first, second) = (positions(&first)?, positions(&second)?);
    let found = threads::run(py, || align::match_nearest(first, second, radius))?;
    rows(
        py,
        found
            .iter()
            .map(|(i, j, d)| [f64::from(*i), f64::from(*j), *d])
            .collect(),
    )
}

type Fitted<'py> = (
    [[f64; 2]; 2],
    [f64; 2],
    [f64; 2],
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyArray2<f64>>,
    [f64; 2],
    f64,
);

/// `(matrix, centre, shift, used, residuals, rms, mae)`.
#[pyfunction]
fn fit<'py>(
    py: Python<'py>,
    first: PyReadonlyArray2<'py, f64>,
    second: PyReadonlyArray2<'py, f64>,
    weight: PyReadonlyArray1<'py, f64>,
    fitgeom: &str,
    n_clip: usize,
    sigma: f64,
) -> PyResult<Fitted<'py>> {
    let (first, second) = (positions(&first)?, positions(&second)?);
    let weight = weight.as_slice()?;
    let clip = Clip { n_clip, sigma };
    let found = threads::run(py, || {
        Geometry::from_name(fitgeom)
            .and_then(|geometry| align::fit(first, second, weight, geometry, clip))
    })?;
    Ok((
        found.map.matrix,
        found.map.centre,
        found.map.shift,
        PyArray1::from_vec(py, found.used),
        rows(py, found.residuals)?,
        found.rms,
        found.mae,
    ))
}

/// Values between pixels; NaN beside bad pixels and outside.
#[pyfunction]
fn sample<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    points: PyReadonlyArray2<'py, f64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let data = images::plane(py, "data", &data)?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let points = positions(&points)?;
    let found = threads::run(py, || align::sample(data, mask, points))?;
    Ok(PyArray1::from_vec(py, found))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(find, m)?)?;
    m.add_function(wrap_pyfunction!(offset, m)?)?;
    m.add_function(wrap_pyfunction!(match_nearest, m)?)?;
    m.add_function(wrap_pyfunction!(fit, m)?)?;
    m.add_function(wrap_pyfunction!(sample, m)?)
}
