//! `skymere._rust.background`.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::background::{self, BackgroundError, MeshParams, Running, RunningParams, Sky};

use crate::{images, threads};

type Levels<'py> = (
    Bound<'py, PyArray2<f32>>,
    Bound<'py, PyArray2<f32>>,
    f64,
    f64,
);

type Cells<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

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

/// Level and rms of the cells of a window that begins with a cell, in rows; NaN where a cell has too few good pixels.
#[pyfunction]
#[pyo3(signature = (data, mask, *, box_size, clip_sigma, min_good_fraction))]
fn cells<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    box_size: usize,
    clip_sigma: f64,
    min_good_fraction: f64,
) -> PyResult<Cells<'py>> {
    let params = MeshParams {
        box_size,
        filter_size: 1,
        filter_threshold: 0.0,
        clip_sigma,
        min_good_fraction,
    };
    let data = images::plane(py, "data", &data)?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let found = threads::run(py, || background::cells(data, mask, &params))?;
    let column = |f: fn(&Sky) -> f64| -> Vec<f64> {
        let values = found.iter().map(|sky| sky.as_ref().map_or(f64::NAN, f));
        values.collect()
    };
    Ok((
        column(|sky| sky.level).into_pyarray(py),
        column(|sky| sky.rms).into_pyarray(py),
    ))
}

/// The background of an image of which the sky of the cells is known.
#[pyclass(frozen, module = "skymere._rust.background")]
struct Mesh(background::Mesh);

#[pymethods]
impl Mesh {
    #[new]
    #[pyo3(signature = (level, rms, ny, nx, *, box_size, filter_size, filter_threshold, min_good_fraction))]
    fn new(
        py: Python<'_>,
        level: PyReadonlyArray1<'_, f64>,
        rms: PyReadonlyArray1<'_, f64>,
        ny: usize,
        nx: usize,
        box_size: usize,
        filter_size: usize,
        filter_threshold: f64,
        min_good_fraction: f64,
    ) -> PyResult<Self> {
        let params = MeshParams {
            box_size,
            filter_size,
            filter_threshold,
            clip_sigma: f64::INFINITY,
            min_good_fraction,
        };
        let pairs = level.as_slice()?.iter().zip(rms.as_slice()?);
        let cells: Vec<Option<Sky>> = pairs
            .map(|(&level, &rms)| (!level.is_nan()).then_some(Sky { level, rms }))
            .collect();
        threads::run(py, || background::Mesh::new(&cells, (ny, nx), &params)).map(Self)
    }

    #[getter]
    fn level_global(&self) -> f64 {
        self.0.level_global
    }

    #[getter]
    fn rms_global(&self) -> f64 {
        self.0.rms_global
    }

    /// Sky level of a window.
    fn level<'py>(
        &self,
        py: Python<'py>,
        y0: usize,
        x0: usize,
        ny: usize,
        nx: usize,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let found = threads::run(py, || {
            Ok::<_, BackgroundError>(self.0.level((y0, x0), (ny, nx)))
        })?;
        images::array(py, found)
    }

    /// Standard deviation of the sky of a window.
    fn rms<'py>(
        &self,
        py: Python<'py>,
        y0: usize,
        x0: usize,
        ny: usize,
        nx: usize,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let found = threads::run(py, || {
            Ok::<_, BackgroundError>(self.0.rms((y0, x0), (ny, nx)))
        })?;
        images::array(py, found)
    }
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

/// Running median or mean of the good pixels.
#[pyfunction]
#[pyo3(signature = (data, mask, *, half, method, min_good))]
fn large_scale<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    half: usize,
    method: &str,
    min_good: usize,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let data = images::plane(py, "data", &data)?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let found = threads::run(py, || {
        let params = RunningParams {
            half,
            method: Running::from_name(method)?,
            min_good,
        };
        background::large_scale(data, mask, &params)
    })?;
    images::array(py, found)
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Mesh>()?;
    m.add_function(wrap_pyfunction!(cells, m)?)?;
    m.add_function(wrap_pyfunction!(estimate, m)?)?;
    m.add_function(wrap_pyfunction!(estimate_pedestal, m)?)?;
    m.add_function(wrap_pyfunction!(large_scale, m)?)
}
