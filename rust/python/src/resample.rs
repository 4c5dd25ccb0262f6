//! `skymere._rust.resample`: drizzle and blot.
#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use skymere_core::resample::blot::{self, Interpolation};
use skymere_core::resample::drizzle::{self, Input, Output};
use skymere_core::resample::kernels::Kernel;
use skymere_core::resample::scale;

use crate::errors;
use crate::threads::run;

type OutputArrays<'py> = (
    Bound<'py, PyArray2<f32>>,
    Bound<'py, PyArray2<f32>>,
    Option<Bound<'py, PyArray2<f32>>>,
    Bound<'py, PyArray3<i32>>,
    Option<Bound<'py, PyArray2<u32>>>,
);

fn arrays(py: Python<'_>, output: Output) -> OutputArrays<'_> {
    (
        output.data.into_pyarray(py),
        output.weight.into_pyarray(py),
        output.variance.map(|v| v.into_pyarray(py)),
        output.context.into_pyarray(py),
        output.dq.map(|dq| dq.into_pyarray(py)),
    )
}

/// An output to which exposures are added.
#[pyclass(module = "skymere._rust.resample")]
struct Drizzler {
    inner: drizzle::Drizzler,
}

#[pymethods]
impl Drizzler {
    #[new]
    fn new(
        py: Python<'_>,
        shape: [usize; 2],
        kernel: &str,
        pixfrac: f64,
        fillval: f32,
    ) -> PyResult<Self> {
        Kernel::from_name(kernel, pixfrac)
            .map(|kernel| Self {
                inner: drizzle::Drizzler::new(shape, kernel, fillval),
            })
            .map_err(|e| errors::from_room(py, &e))
    }

    #[pyo3(signature = (data, pixmap, weight, variance, dq, value_scale, pixel_scale_ratio))]
    fn add(
        &mut self,
        py: Python<'_>,
        data: PyReadonlyArray2<'_, f32>,
        pixmap: PyReadonlyArray3<'_, f64>,
        weight: Option<PyReadonlyArray2<'_, f32>>,
        variance: Option<PyReadonlyArray2<'_, f32>>,
        dq: Option<PyReadonlyArray2<'_, u32>>,
        value_scale: f64,
        pixel_scale_ratio: Option<f64>,
    ) -> PyResult<()> {
        let input = Input {
            data: data.as_array(),
            pixmap: pixmap.as_array(),
            weight: weight.as_ref().map(PyReadonlyArray2::as_array),
            variance: variance.as_ref().map(PyReadonlyArray2::as_array),
            dq: dq.as_ref().map(PyReadonlyArray2::as_array),
            value_scale,
            pixel_scale_ratio,
        };
        run(py, || self.inner.add(&input))
    }

    #[getter]
    fn n_exposures(&self) -> usize {
        self.inner.n_exposures()
    }

    fn read<'py>(&self, py: Python<'py>) -> PyResult<OutputArrays<'py>> {
        run(py, || self.inner.read()).map(|output| arrays(py, output))
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<OutputArrays<'py>> {
        run(py, || self.inner.finish()).map(|output| arrays(py, output))
    }
}

#[pyfunction(name = "blot")]
fn blot_image<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    pixmap: PyReadonlyArray3<'py, f64>,
    interpolation: &str,
    fillval: f32,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let (data, pixmap) = (data.as_array(), pixmap.as_array());
    run(py, || {
        Interpolation::from_name(interpolation)
            .and_then(|how| blot::blot(&data, &pixmap, how, fillval))
    })
    .map(|out| out.into_pyarray(py))
}

#[pyfunction]
fn pixel_scale_ratio(py: Python<'_>, pixmap: PyReadonlyArray3<'_, f64>) -> PyResult<f64> {
    let pixmap = pixmap.as_array();
    run(py, || scale::pixel_scale_ratio(&pixmap))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Drizzler>()?;
    m.add_function(wrap_pyfunction!(blot_image, m)?)?;
    m.add_function(wrap_pyfunction!(pixel_scale_ratio, m)?)
}
