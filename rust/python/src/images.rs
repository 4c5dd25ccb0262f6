//! Images on their way in and out: borrowed going in, handed over without a copy coming out.

use numpy::{Element, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::image::{Image, ImageError, Plane};

use crate::errors;

/// A C-ordered array as the core's image.
pub fn plane<'a, T: Element>(
    py: Python<'_>,
    name: &'static str,
    array: &'a PyReadonlyArray2<'_, T>,
) -> PyResult<Plane<'a, T>> {
    let shape = array.as_array().dim();
    let checked = array
        .as_slice()
        .map_err(|_| ImageError::Empty { name, shape })
        .and_then(|pixels| Plane::new(name, pixels, shape));
    checked.map_err(|error| errors::from_room(py, &error))
}

/// [`plane`] of an array that may be absent.
pub fn optional_plane<'a, T: Element>(
    py: Python<'_>,
    name: &'static str,
    array: Option<&'a PyReadonlyArray2<'_, T>>,
) -> PyResult<Option<Plane<'a, T>>> {
    array.map(|a| plane(py, name, a)).transpose()
}

/// The core's image as an array.
pub fn array<T: Element + Copy + Default + Send>(
    py: Python<'_>,
    image: Image<T>,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let shape = image.shape();
    PyArray1::from_vec(py, image.into_vec()).reshape([shape.0, shape.1])
}
