//! `skymere._rust.profiles`.

use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::profiles::{self, Sersic};

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

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(render_integrated, m)?)
}
