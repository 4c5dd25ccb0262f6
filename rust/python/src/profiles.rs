//! `skymere._rust.profiles`.

use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::profiles::{self, Convolver, Sersic};

use crate::{images, threads};

/// Sersic profiles, rows `(x, y, flux, r_e, n, q, theta)`, integrated over the pixels.
#[pyfunction]
fn render_integrated<'py>(
    py: Python<'py>,
    sources: PyReadonlyArray2<'py, f64>,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let sources = images::plane(py, "sources", &sources)?;
    let image = threads::run(py, || {
        profiles::render_integrated(&Sersic::of_rows(sources)?, shape)
    })?;
    images::array(py, image)
}

/// Sersic profiles, rows `(x, y, flux, r_e, n, q, theta)`, convolved with an image of the PSF.
#[pyfunction]
fn render_convolved<'py>(
    py: Python<'py>,
    sources: PyReadonlyArray2<'py, f64>,
    psf: PyReadonlyArray2<'py, f64>,
    has_pixel: bool,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let sources = images::plane(py, "sources", &sources)?;
    let psf = images::plane(py, "psf", &psf)?;
    let image = threads::run(py, || {
        Convolver::new(psf, has_pixel, shape)?.draw(&Sersic::of_rows(sources)?)
    })?;
    images::array(py, image)
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(render_convolved, m)?)?;
    m.add_function(wrap_pyfunction!(render_integrated, m)?)
}
