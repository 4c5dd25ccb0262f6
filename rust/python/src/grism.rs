//! `skymere._rust.grism`.

mod fit;

use std::sync::Arc;

use ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::grism::{self as core, GrismError, Operator, Sensitivity};

use crate::threads;

type Curve<'py> = (PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>);
/// Position of the wheel, `DISPX`, `DISPY` and `DISPL` of the first order, wavelength of the pivot.
type WheelWords = (f64, [Vec<Vec<f64>>; 3], f64);

fn curve(name: &'static str, words: &Curve<'_>) -> PyResult<(Vec<f64>, Vec<f64>, &'static str)> {
    Ok((
        words.0.as_slice()?.to_vec(),
        words.1.as_slice()?.to_vec(),
        name,
    ))
}

/// A trace and its wavelengths.
#[pyclass(frozen, module = "skymere._rust.grism")]
struct Law(core::Law);

#[pymethods]
impl Law {
    /// As aXe.
    #[staticmethod]
    #[pyo3(signature = (*, reference, x_offset, y_offset, dydx, dldp, degree, wheel))]
    fn polynomial(
        py: Python<'_>,
        reference: [f64; 2],
        x_offset: Vec<f64>,
        y_offset: Vec<f64>,
        dydx: Vec<Vec<f64>>,
        dldp: Vec<Vec<f64>>,
        degree: i64,
        wheel: Option<f64>,
    ) -> PyResult<Self> {
        threads::run(py, || {
            core::Polynomial::new(reference, x_offset, y_offset, dydx, dldp, degree, wheel)
        })
        .map(|law| Self(core::Law::Polynomial(law)))
    }

    /// As GRISMCONF.
    #[staticmethod]
    #[pyo3(signature = (terms, *, quarters, centre, offset, wheel, to_angstrom))]
    fn parametric(
        py: Python<'_>,
        terms: [Vec<Vec<f64>>; 3],
        quarters: u8,
        centre: [f64; 2],
        offset: Option<Vec<f64>>,
        wheel: Option<WheelWords>,
        to_angstrom: f64,
    ) -> PyResult<Self> {
        let turn = core::Turn { quarters, centre };
        threads::run(py, || {
            core::Parametric::new(terms, turn, offset, wheel, to_angstrom)
        })
        .map(|law| Self(core::Law::Parametric(law)))
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PlaceWords {
    x: f64,
    y: f64,
    wheel: Option<f64>,
    x_shift: f64,
    y_shift: f64,
}

impl PlaceWords {
    fn place(&self) -> core::Place {
        core::Place {
            x: self.x,
            y: self.y,
            wheel: self.wheel,
            x_shift: self.x_shift,
            y_shift: self.y_shift,
        }
    }
}

type TraceWords<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

/// A spectral order.
#[pyclass(frozen, module = "skymere._rust.grism")]
struct Order(Arc<core::Order>);

#[pymethods]
impl Order {
    #[new]
    fn new(
        py: Python<'_>,
        law: &Law,
        first: i64,
        end: i64,
        sensitivity: Curve<'_>,
    ) -> PyResult<Self> {
        let (wave, value, name) = curve("sensitivity", &sensitivity)?;
        let law = law.0.clone();
        threads::run(py, || {
            core::Order::new(law, first, end, Sensitivity::new(name, wave, value)?)
        })
        .map(|order| Self(Arc::new(order)))
    }

    /// Rows from the source and wavelengths at offsets.
    fn trace<'py>(
        &self,
        py: Python<'py>,
        place: PlaceWords,
        dx: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<TraceWords<'py>> {
        let dx = dx.as_slice()?;
        let trace = threads::run(py, || Ok::<_, GrismError>(self.0.trace(&place.place(), dx)))?;
        Ok((trace.dy.into_pyarray(py), trace.wave.into_pyarray(py)))
    }

    /// Integrals of the sensitivity over pixels with these wavelengths.
    fn integrals<'py>(
        &self,
        py: Python<'py>,
        wave: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let wave = wave.as_slice()?;
        let sums = threads::run(py, || {
            Ok::<_, GrismError>(self.0.sensitivity().of_pixels(wave))
        })?;
        Ok(sums.into_pyarray(py))
    }
}

/// One source through one order.
#[pyclass(frozen, module = "skymere._rust.grism")]
struct Disperser {
    order: Arc<core::Order>,
    stamp: core::Stamp,
    columns: core::Columns,
}

type RowWords<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<f64>>);

type SparseWords<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
);

#[pymethods]
impl Disperser {
    #[new]
    fn new(
        py: Python<'_>,
        order: &Order,
        place: PlaceWords,
        image: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray2<'_, i32>,
        label: i32,
        operator: &str,
    ) -> PyResult<Self> {
        let (image, labels) = (image.as_array(), labels.as_array());
        let order = Arc::clone(&order.0);
        threads::run(py, || {
            let operator = Operator::from_name(operator)?;
            Ok::<_, GrismError>(Self {
                stamp: core::Stamp::new(image, labels, label, operator)?,
                columns: core::Columns::new(&order, &place.place(), operator),
                order,
            })
        })
    }

    /// Offset of the first column.
    #[getter]
    fn first(&self) -> i64 {
        self.columns.first()
    }

    /// Rows by which the stamp is moved in each column, and the weights of the rows from there.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<RowWords<'py>> {
        let n = self.columns.len();
        let weights = self.columns.weights().concat();
        Ok((
            self.columns.rows().to_vec().into_pyarray(py),
            PyArray1::from_vec(py, weights).reshape([n, 4])?,
        ))
    }

    /// Light of a spectrum in each column; of 1 everywhere when there is none.
    fn light<'py>(
        &self,
        py: Python<'py>,
        spectrum: Option<Curve<'py>>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let spectrum = spectrum.map(|s| curve("spectrum", &s)).transpose()?;
        let light = threads::run(py, || {
            let spectrum = spectrum
                .map(|(wave, flux, name)| Sensitivity::new(name, wave, flux))
                .transpose()?;
            Ok::<_, GrismError>(
                self.columns
                    .light(self.order.sensitivity(), spectrum.as_ref()),
            )
        })?;
        Ok(light.into_pyarray(py))
    }

    /// The image of columns with some light.
    fn draw<'py>(
        &self,
        py: Python<'py>,
        light: PyReadonlyArray1<'py, f64>,
        shape: (usize, usize),
        at: [i64; 2],
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let light = light.as_slice()?;
        let image = threads::run(py, || {
            self.columns.check_light(light)?;
            let mut image = Array2::zeros(shape);
            self.columns.draw(&self.stamp, light, at, image.view_mut());
            Ok::<_, GrismError>(image)
        })?;
        Ok(image.into_pyarray(py))
    }

    /// Starts of columns, rows and values of the matrix from light to numbered pixels.
    fn matrix<'py>(
        &self,
        py: Python<'py>,
        at: [i64; 2],
        number: PyReadonlyArray2<'py, i64>,
    ) -> PyResult<SparseWords<'py>> {
        let number = number.as_array();
        let sparse = threads::run(py, || {
            Ok::<_, GrismError>(self.columns.matrix(&self.stamp, at, number))
        })?;
        Ok((
            sparse.starts.into_pyarray(py),
            sparse.rows.into_pyarray(py),
            sparse.values.into_pyarray(py),
        ))
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct SourceWords<'py> {
    label: i32,
    window: [usize; 3],
    place: PlaceWords,
    orders: Vec<Option<f64>>,
    spectrum: Option<(Curve<'py>, f64)>,
}

impl SourceWords<'_> {
    fn source(&self) -> PyResult<core::FrameSource> {
        let spectrum = self
            .spectrum
            .as_ref()
            .map(|(words, scale)| {
                let (wave, flux, name) = curve("spectra", words)?;
                Ok::<_, PyErr>((wave, flux, name, *scale))
            })
            .transpose()?;
        Ok(core::FrameSource {
            label: self.label,
            window: self.window,
            place: self.place.place(),
            orders: self.orders.clone(),
            spectrum: spectrum
                .map(|(wave, flux, name, scale)| {
                    let flux = Sensitivity::new(name, wave, flux)?;
                    Ok::<_, GrismError>(core::Spectrum { flux, scale })
                })
                .transpose()
                .map_err(|error| Python::attach(|py| crate::errors::from_room(py, &error)))?,
        })
    }
}

/// All orders of all sources of a frame.
#[pyfunction]
fn render_frame<'py>(
    py: Python<'py>,
    image: PyReadonlyArray2<'py, f32>,
    labels: PyReadonlyArray2<'py, i32>,
    orders: Vec<PyRef<'py, Order>>,
    sources: Vec<SourceWords<'py>>,
    operator: &str,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (image, labels) = (image.as_array(), labels.as_array());
    let orders: Vec<core::Order> = orders.iter().map(|o| (*o.0).clone()).collect();
    let sources = sources
        .iter()
        .map(SourceWords::source)
        .collect::<PyResult<Vec<_>>>()?;
    let frame = threads::run(py, || {
        let operator = Operator::from_name(operator)?;
        core::render_frame(image, labels, &orders, &sources, operator)
    })?;
    Ok(frame.into_pyarray(py))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Law>()?;
    m.add_class::<Order>()?;
    m.add_class::<Disperser>()?;
    fit::fill(m)?;
    m.add_function(wrap_pyfunction!(render_frame, m)?)
}
