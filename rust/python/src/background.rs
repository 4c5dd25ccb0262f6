//! `skymere._rust.background`.

use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::background::{self, MeshParams};

use crate::{images, threads};

type Levels<'py> = (
    Bound<'py, PyArray2<f32>>,
    Bound<'py, PyArray2<f32>>,
    f64,
    f64,
);

/// Mesh background: level, rms and the medians of both over the cells.
#[pyfunction]
#[pyo3(signature = (data, mask, *, box_size, filter_size, filter_threshold, clip_sigma, min_good_fraction))]
fn estimate<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    box_size: usize,
    filter_size: usize,
    filter_threshold: f64,
    clip_sigma: f64,
    min_good_fraction: f64,
) -> PyResult<Levels<'py>> {
    let params = MeshParams {
        box_size,
        filter_size,
        filter_threshold,
        clip_sigma,
        min_good_fraction,
    };
    let data = images::plane(py, "data", &data)?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let found = threads::run(py, || background::estimate(data, mask, &params))?;
    Ok((
        images::array(py, found.level)?,
        images::array(py, found.rms)?,
        found.level_global,
        found.rms_global,
    ))
}

/// Level, rms and number of pixels.
#[pyfunction]
#[pyo3(signature = (data, mask, *, statistic, bin_width, limits, n_clip, clip_sigma))]
fn estimate_pedestal<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    mask: PyReadonlyArray2<'py, bool>,
    statistic: &str,
    bin_width: f64,
    limits: [f64; 2],
    n_clip: usize,
    clip_sigma: [f64; 2],
) -> PyResult<(f64, f64, usize)> {
    let (data, mask) = (data.as_array(), mask.as_array());
    let sky = threads::run(py, || {
        let params = background::PedestalParams {
            statistic: background::Statistic::from_name(statistic)?,
            bin_width,
            limits,
            n_clip,
            clip_sigma,
        };
        background::estimate_pedestal(data, mask, &params)
    })?;
    Ok((sky.level, sky.rms, sky.n_pixels))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(estimate, m)?)?;
    m.add_function(wrap_pyfunction!(estimate_pedestal, m)?)
}
