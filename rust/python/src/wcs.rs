//! `skymere._rust.wcs`: TAN coordinates with distortion, pixel maps and sampled maps.

use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use skymere_core::wcs::distortion::{Distortion, Tables};
use skymere_core::wcs::fits_wcs::TanWcs;
use skymere_core::wcs::lookup::Table;
use skymere_core::wcs::sampled::{Axis1, Interpolation};
use skymere_core::wcs::sip::Sip;
use skymere_core::wcs::{WcsError, pixmap, sampled};

use crate::errors;
use crate::threads::run;

/// A FITS WCS with TAN axes and any distortion of the detector.
#[pyclass(frozen, module = "skymere._rust.wcs")]
struct Tan {
    inner: TanWcs,
}

type SipArrays<'py> = (
    PyReadonlyArray2<'py, f64>,
    PyReadonlyArray2<'py, f64>,
    [f64; 2],
);

/// Shifts, CRPIX, CRVAL and CDELT.
type TableArrays<'py> = (PyReadonlyArray2<'py, f32>, [f64; 2], [f64; 2], [f64; 2]);

type TablePair<'py> = [Option<TableArrays<'py>>; 2];

fn table(arrays: Option<TableArrays<'_>>) -> Result<Option<Table>, WcsError> {
    arrays
        .map(|(shifts, crpix, crval, cdelt)| Table::new(&shifts.as_array(), crpix, crval, cdelt))
        .transpose()
}

fn tables([x, y]: TablePair<'_>) -> Result<Tables, WcsError> {
    Ok([table(x)?, table(y)?])
}

fn distortion(
    sip: Option<SipArrays<'_>>,
    detector: TablePair<'_>,
    residual: TablePair<'_>,
) -> Result<Distortion, WcsError> {
    Ok(Distortion {
        detector: tables(detector)?,
        sip: sip
            .map(|(a, b, origin)| Sip::new(&a.as_array(), &b.as_array(), origin))
            .transpose()?,
        residual: tables(residual)?,
    })
}

#[pymethods]
impl Tan {
    #[new]
    #[pyo3(signature = (crval, crpix, matrix, lonpole, *, sip, detector, residual))]
    fn new(
        py: Python<'_>,
        crval: [f64; 2],
        crpix: [f64; 2],
        matrix: [[f64; 2]; 2],
        lonpole: f64,
        sip: Option<SipArrays<'_>>,
        detector: TablePair<'_>,
        residual: TablePair<'_>,
    ) -> PyResult<Self> {
        distortion(sip, detector, residual)
            .and_then(|distortion| TanWcs::new(crval, crpix, matrix, lonpole, distortion))
            .map(|inner| Self { inner })
            .map_err(|e| errors::from_room(py, &e))
    }

    fn sky<'py>(
        &self,
        py: Python<'py>,
        points: PyReadonlyArray2<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let points = points.as_array();
        run(py, || pixmap::sky_points(&self.inner, &points)).map(|out| out.into_pyarray(py))
    }

    fn pixels<'py>(
        &self,
        py: Python<'py>,
        sky: PyReadonlyArray2<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let sky = sky.as_array();
        run(py, || pixmap::pixel_points(&self.inner, &sky)).map(|out| out.into_pyarray(py))
    }

    fn map_points<'py>(
        &self,
        py: Python<'py>,
        to: &Self,
        points: PyReadonlyArray2<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let points = points.as_array();
        run(py, || pixmap::map_points(&self.inner, &to.inner, &points))
            .map(|out| out.into_pyarray(py))
    }

    fn pixel_map<'py>(
        &self,
        py: Python<'py>,
        to: &Self,
        shape: [usize; 2],
        first_row: usize,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        run(py, || {
            Ok::<_, WcsError>(pixmap::pixel_map(&self.inner, &to.inner, shape, first_row))
        })
        .map(|out| out.into_pyarray(py))
    }
}

fn axes(origin: [f64; 2], step: [f64; 2]) -> (Axis1, Axis1) {
    (
        Axis1 {
            origin: origin[0],
            step: step[0],
        },
        Axis1 {
            origin: origin[1],
            step: step[1],
        },
    )
}

#[pyfunction]
fn interpolate_to_pixels<'py>(
    py: Python<'py>,
    nodes: PyReadonlyArray3<'py, f64>,
    origin: [f64; 2],
    step: [f64; 2],
    shape: [usize; 2],
    interpolation: &str,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let nodes = nodes.as_array();
    let (y, x) = axes(origin, step);
    run(py, || {
        Interpolation::from_name(interpolation)
            .and_then(|how| sampled::to_pixels(&nodes, y, x, shape, how))
    })
    .map(|out| out.into_pyarray(py))
}

#[pyfunction]
fn interpolate_to_points<'py>(
    py: Python<'py>,
    nodes: PyReadonlyArray3<'py, f64>,
    origin: [f64; 2],
    step: [f64; 2],
    points: PyReadonlyArray2<'py, f64>,
    interpolation: &str,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (nodes, points) = (nodes.as_array(), points.as_array());
    let (y, x) = axes(origin, step);
    run(py, || {
        Interpolation::from_name(interpolation)
            .and_then(|how| sampled::to_points(&nodes, y, x, &points, how))
    })
    .map(|out| out.into_pyarray(py))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Tan>()?;
    m.add_function(wrap_pyfunction!(interpolate_to_pixels, m)?)?;
    m.add_function(wrap_pyfunction!(interpolate_to_points, m)?)
}
