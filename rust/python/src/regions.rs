//! `skymere._rust.regions`.

use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::regions::{self, Membership, RegionError, Shape, stamp};

use crate::{errors, images, threads};

type Stamped<'py> = (usize, usize, Bound<'py, PyArray2<bool>>);

fn stamped<'py>(
    py: Python<'py>,
    region: Result<Shape, RegionError>,
    shape: (usize, usize),
    membership: &str,
) -> PyResult<Stamped<'py>> {
    let region = region.map_err(|error| errors::from_room(py, &error))?;
    let found = threads::run(py, || {
        Membership::from_name(membership).map(|rule| stamp(&region, shape, rule))
    })?;
    Ok((found.y0, found.x0, images::array(py, found.inside)?))
}

/// Pixels of an ellipse or an annulus.
#[pyfunction]
fn stamp_ellipse<'py>(
    py: Python<'py>,
    centre: [f64; 2],
    to_unit: [[f64; 2]; 2],
    inner: f64,
    shape: (usize, usize),
    membership: &str,
) -> PyResult<Stamped<'py>> {
    stamped(
        py,
        Shape::ellipse(centre, to_unit, inner),
        shape,
        membership,
    )
}

/// Pixels of a box.
#[pyfunction]
fn stamp_box<'py>(
    py: Python<'py>,
    centre: [f64; 2],
    to_unit: [[f64; 2]; 2],
    shape: (usize, usize),
    membership: &str,
) -> PyResult<Stamped<'py>> {
    stamped(py, Shape::rectangle(centre, to_unit), shape, membership)
}

/// Pixels of a polygon.
#[pyfunction]
fn stamp_polygon<'py>(
    py: Python<'py>,
    vertices: Vec<[f64; 2]>,
    shape: (usize, usize),
    membership: &str,
) -> PyResult<Stamped<'py>> {
    stamped(py, Shape::polygon(vertices), shape, membership)
}

/// Corners `x, y` of the closed outlines of a mask.
#[pyfunction]
fn outlines(
    py: Python<'_>,
    mask: PyReadonlyArray2<'_, bool>,
    tolerance: f64,
) -> PyResult<Vec<Vec<[f64; 2]>>> {
    let mask = images::plane(py, "mask", &mask)?;
    threads::run(py, || {
        Ok::<_, RegionError>(regions::outlines(mask, tolerance))
    })
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(stamp_ellipse, m)?)?;
    m.add_function(wrap_pyfunction!(stamp_box, m)?)?;
    m.add_function(wrap_pyfunction!(stamp_polygon, m)?)?;
    m.add_function(wrap_pyfunction!(outlines, m)?)
}
