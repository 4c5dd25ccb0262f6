//! `skymere._rust.resample`: drizzle and blot.

use numpy::{
    IntoPyArray, PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3,
    PyReadwriteArray1, PyReadwriteArray2, PyReadwriteArray3,
};
use pyo3::prelude::*;
use skymere_core::resample::blot::{self, Interpolation};
use skymere_core::resample::covariance::{self, Lagged};
use skymere_core::resample::drizzle::{self, Input, Sums};
use skymere_core::resample::kernels::Kernel;
use skymere_core::resample::scale;

use crate::threads::run;

/// An exposure without dq; `scales` are its `value_scale` and `pixel_scale_ratio`.
fn exposure<'a>(
    data: &'a PyReadonlyArray2<'_, f32>,
    pixmap: &'a PyReadonlyArray3<'_, f64>,
    weight: Option<&'a PyReadonlyArray2<'_, f32>>,
    variance: Option<&'a PyReadonlyArray2<'_, f32>>,
    (value_scale, pixel_scale_ratio): (f64, Option<f64>),
) -> Input<'a> {
    Input {
        data: data.as_array(),
        pixmap: pixmap.as_array(),
        weight: weight.map(PyReadonlyArray2::as_array),
        variance: variance.map(PyReadonlyArray2::as_array),
        dq: None,
        value_scale,
        pixel_scale_ratio,
    }
}

#[pyfunction]
fn add(
    py: Python<'_>,
    mut out_mean: PyReadwriteArray3<'_, f64>,
    mut out_context: PyReadwriteArray2<'_, i32>,
    mut out_variance: Option<PyReadwriteArray2<'_, f64>>,
    mut out_dq: Option<PyReadwriteArray2<'_, u32>>,
    data: PyReadonlyArray2<'_, f32>,
    pixmap: PyReadonlyArray3<'_, f64>,
    weight: Option<PyReadonlyArray2<'_, f32>>,
    variance: Option<PyReadonlyArray2<'_, f32>>,
    dq: Option<PyReadonlyArray2<'_, u32>>,
    value_scale: f64,
    pixel_scale_ratio: Option<f64>,
    kernel: &str,
    pixfrac: f64,
    index: usize,
    first: [usize; 2],
    n_columns: usize,
) -> PyResult<()> {
    let out = Sums {
        first,
        n_columns,
        mean: out_mean.as_array_mut(),
        context: out_context.as_array_mut(),
        variance: out_variance.as_mut().map(PyReadwriteArray2::as_array_mut),
        dq: out_dq.as_mut().map(PyReadwriteArray2::as_array_mut),
    };
    let scales = (value_scale, pixel_scale_ratio);
    let mut input = exposure(&data, &pixmap, weight.as_ref(), variance.as_ref(), scales);
    input.dq = dq.as_ref().map(PyReadonlyArray2::as_array);
    run(py, || {
        Kernel::from_name(kernel, pixfrac)
            .and_then(|kernel| drizzle::add(out, &input, kernel, index))
    })
}

#[pyfunction]
fn weighted_mean(
    py: Python<'_>,
    mean: PyReadonlyArray3<'_, f64>,
    fillval: f32,
    mut out_data: PyReadwriteArray2<'_, f32>,
    mut out_weight: PyReadwriteArray2<'_, f32>,
) -> PyResult<()> {
    let (mean, data, weight) = (
        mean.as_array(),
        out_data.as_array_mut(),
        out_weight.as_array_mut(),
    );
    run(py, || drizzle::weighted_mean(&mean, fillval, data, weight))
}

#[pyfunction]
fn mean_variance(
    py: Python<'_>,
    mean: PyReadonlyArray3<'_, f64>,
    variance: PyReadonlyArray2<'_, f64>,
    fillval: f32,
    mut out_variance: PyReadwriteArray2<'_, f32>,
) -> PyResult<()> {
    let (mean, variance, out) = (
        mean.as_array(),
        variance.as_array(),
        out_variance.as_array_mut(),
    );
    run(py, || {
        drizzle::mean_variance(&mean, &variance, fillval, out)
    })
}

#[pyfunction(name = "blot")]
fn blot_image<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    pixmap: PyReadonlyArray3<'py, f64>,
    interpolation: &str,
    sinscl: f64,
    fillval: f32,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let (data, pixmap) = (data.as_array(), pixmap.as_array());
    run(py, || {
        Interpolation::from_name(interpolation, sinscl)
            .and_then(|how| blot::blot(&data, &pixmap, how, fillval))
    })
    .map(|out| out.into_pyarray(py))
}

#[pyfunction]
fn pixel_scale_ratio(py: Python<'_>, pixmap: PyReadonlyArray3<'_, f64>) -> PyResult<f64> {
    let pixmap = pixmap.as_array();
    run(py, || scale::pixel_scale_ratio(&pixmap))
}

#[pyfunction]
fn add_sum_variances(
    py: Python<'_>,
    mut out_variance: PyReadwriteArray1<'_, f64>,
    boxes: PyReadonlyArray2<'_, i64>,
    factors: PyReadonlyArray1<'_, f64>,
    total_weight: PyReadonlyArray2<'_, f32>,
    data: PyReadonlyArray2<'_, f32>,
    pixmap: PyReadonlyArray3<'_, f64>,
    weight: Option<PyReadonlyArray2<'_, f32>>,
    variance: PyReadonlyArray2<'_, f32>,
    value_scale: f64,
    pixel_scale_ratio: Option<f64>,
    kernel: &str,
    pixfrac: f64,
) -> PyResult<()> {
    let scales = (value_scale, pixel_scale_ratio);
    let input = exposure(&data, &pixmap, weight.as_ref(), Some(&variance), scales);
    let out = out_variance.as_slice_mut()?;
    let (boxes, factors, total) = (
        boxes.as_array(),
        factors.as_slice()?,
        total_weight.as_array(),
    );
    run(py, || {
        Kernel::from_name(kernel, pixfrac)
            .and_then(|kernel| covariance::add_sums(out, &boxes, factors, total, &input, kernel))
    })
}

#[pyfunction]
fn lag_sums<'py>(
    py: Python<'py>,
    boxes: PyReadonlyArray2<'py, i64>,
    box_classes: PyReadonlyArray1<'py, u8>,
    scales: PyReadonlyArray1<'py, f64>,
    classes: PyReadonlyArray2<'py, u8>,
    n_classes: usize,
    reach: usize,
    total_weight: PyReadonlyArray2<'py, f32>,
    data: PyReadonlyArray2<'py, f32>,
    pixmap: PyReadonlyArray3<'py, f64>,
    weight: Option<PyReadonlyArray2<'py, f32>>,
    variance: PyReadonlyArray2<'py, f32>,
    value_scale: f64,
    pixel_scale_ratio: Option<f64>,
    kernel: &str,
    pixfrac: f64,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let lagged = Lagged {
        boxes: boxes.as_array(),
        box_classes: box_classes.as_array(),
        scales: scales.as_array(),
        classes: classes.as_array(),
        n_classes,
        reach,
    };
    let scales = (value_scale, pixel_scale_ratio);
    let input = exposure(&data, &pixmap, weight.as_ref(), Some(&variance), scales);
    let total = total_weight.as_array();
    run(py, || {
        Kernel::from_name(kernel, pixfrac)
            .and_then(|kernel| covariance::lag_sums(&lagged, total, &input, kernel))
    })
    .map(|out| out.into_pyarray(py))
}

#[pyfunction]
fn lag_products<'py>(
    py: Python<'py>,
    boxes: PyReadonlyArray2<'py, i64>,
    box_classes: PyReadonlyArray1<'py, u8>,
    scales: PyReadonlyArray1<'py, f64>,
    classes: PyReadonlyArray2<'py, u8>,
    n_classes: usize,
    reach: usize,
    image: PyReadonlyArray2<'py, f32>,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let lagged = Lagged {
        boxes: boxes.as_array(),
        box_classes: box_classes.as_array(),
        scales: scales.as_array(),
        classes: classes.as_array(),
        n_classes,
        reach,
    };
    let image = image.as_array();
    run(py, || covariance::lag_products(&lagged, image)).map(|out| out.into_pyarray(py))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(add, m)?)?;
    m.add_function(wrap_pyfunction!(weighted_mean, m)?)?;
    m.add_function(wrap_pyfunction!(mean_variance, m)?)?;
    m.add_function(wrap_pyfunction!(add_sum_variances, m)?)?;
    m.add_function(wrap_pyfunction!(lag_sums, m)?)?;
    m.add_function(wrap_pyfunction!(lag_products, m)?)?;
    m.add_function(wrap_pyfunction!(blot_image, m)?)?;
    m.add_function(wrap_pyfunction!(pixel_scale_ratio, m)?)
}
