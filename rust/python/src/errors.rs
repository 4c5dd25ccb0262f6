//! From a room's error to the Python exception of its kind.

use pyo3::prelude::*;
use pyo3::types::PyType;
use skymere_core::error::{Kind, RoomError};

fn class_name(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidInput => "InvalidInputError",
        Kind::NoOverlap => "NoOverlapError",
        Kind::NoData => "NoDataError",
        Kind::Format => "FormatError",
        Kind::Storage => "StorageError",
    }
}

fn raise(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let made = py
        .import("skymere.errors")
        .and_then(|m| m.getattr(class))
        .and_then(|c| Ok(c.cast_into::<PyType>()?))
        .map(|c| PyErr::from_type(c, message.to_owned()));
    made.unwrap_or_else(|failure| failure)
}

/// The Python exception for a room's error.
pub fn from_room<E: RoomError>(py: Python<'_>, error: &E) -> PyErr {
    raise(py, class_name(error.kind()), &error.to_string())
}

/// `InternalError`: a fault of skymere itself.
pub fn internal(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "InternalError", message)
}
