//! The lake's bytes: rounding, whole shards out, batches of boxes in.

use std::io;
use std::path::PathBuf;

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use rayon::prelude::*;
use skymere_core::codec::{self, CodecError};
use skymere_core::interrupt;
use skymere_store as store;

use crate::{errors, threads};

/// Round each row to its own quantum; returns the rounded rows and the exponents.
#[pyfunction]
#[allow(clippy::type_complexity)]
fn quantise<'py>(
    py: Python<'py>,
    images: PyReadonlyArray2<'py, f32>,
) -> PyResult<(Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<i8>>)> {
    let n_pixels = images.shape()[1].max(1);
    let mut rounded = images.as_array().to_owned();
    let values = rounded.as_slice_mut().unwrap_or_default();
    let exponents = threads::run(py, || {
        let exponents = values.par_chunks_mut(n_pixels).map(|image| {
            interrupt::poll();
            codec::quantise(image)
        });
        Ok::<Vec<i8>, CodecError>(exponents.collect())
    })?;
    Ok((rounded.into_pyarray(py), exponents.into_pyarray(py)))
}

/// Round weights to 7 bits of mantissa.
#[pyfunction]
fn round_weights<'py>(
    py: Python<'py>,
    weights: PyReadonlyArray2<'py, f32>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let n_pixels = weights.shape()[1].max(1);
    let mut rounded = weights.as_array().to_owned();
    let values = rounded.as_slice_mut().unwrap_or_default();
    threads::run(py, || {
        values.par_chunks_mut(n_pixels).for_each(|image| {
            interrupt::poll();
            codec::round_weights(image);
        });
        Ok::<(), CodecError>(())
    })?;
    Ok(rounded.into_pyarray(py))
}

/// Write the shards of the array whose `zarr.json` is in `folder` that hold the rows from `first` on.
#[pyfunction]
fn write_rows<'py>(
    py: Python<'py>,
    folder: PathBuf,
    first: usize,
    elements: PyReadonlyArray1<'py, u8>,
    rounding: Option<String>,
) -> PyResult<Bound<'py, PyArray1<i8>>> {
    let elements = elements.as_slice()?;
    let exponents = threads::run(py, || {
        let rounding = store::Rounding::named(rounding.as_deref())?;
        store::write_rows(&folder, first, elements, rounding)
    })?;
    Ok(exponents.into_pyarray(py))
}

/// Two methods of a Python object that ask an object store; the interpreter lock is held while they start and end.
struct PythonShards {
    tails: Py<PyAny>,
    ranges: Py<PyAny>,
}

impl store::RemoteShards for PythonShards {
    fn tails(&self, shards: &[String], length: usize) -> io::Result<Vec<store::Tail>> {
        Python::attach(|py| self.tails.call1(py, (shards, length))?.extract(py))
            .map_err(io::Error::other)
    }

    fn ranges(&self, wanted: &[store::ShardRanges]) -> io::Result<Vec<Vec<Vec<u8>>>> {
        let asked: Vec<_> = wanted
            .iter()
            .map(|one| (&one.shard, &one.starts, &one.ends))
            .collect();
        Python::attach(|py| self.ranges.call1(py, (asked,))?.extract(py)).map_err(io::Error::other)
    }
}

/// An array, open for reading.
#[pyclass(frozen, module = "skymere._rust.lake")]
struct ArrayReader(store::ArrayReader);

#[pymethods]
impl ArrayReader {
    #[new]
    fn new(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        threads::run(py, || store::ArrayReader::open(&folder)).map(Self)
    }

    /// Open an array in an object store: its name in errors, the text of its `zarr.json`, and how to ask for bytes.
    #[staticmethod]
    fn remote(
        py: Python<'_>,
        name: PathBuf,
        metadata: Vec<u8>,
        tails: Py<PyAny>,
        ranges: Py<PyAny>,
    ) -> PyResult<Self> {
        let shards = Box::new(PythonShards { tails, ranges });
        threads::run(py, || {
            store::ArrayReader::open_remote(&name, &metadata, shards)
        })
        .map(Self)
    }

    /// Read boxes of one size; returns their elements as bytes.
    fn read_boxes<'py>(
        &self,
        py: Python<'py>,
        origins: PyReadonlyArray2<'py, i64>,
        extent: Vec<usize>,
    ) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let origins = origins.as_slice()?;
        let n_bytes = self
            .0
            .n_bytes(origins, &extent)
            .map_err(|error| errors::from_room(py, &error))?;
        // Memory of numpy's comes in huge pages, which are several times faster to touch for the first time.
        let elements = PyArray1::<u8>::zeros(py, n_bytes, false);
        let mut out = elements.readwrite();
        let out = out.as_slice_mut()?;
        threads::run(py, || self.0.read_into(origins, &extent, out))?;
        Ok(elements)
    }
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(quantise, m)?)?;
    m.add_function(wrap_pyfunction!(round_weights, m)?)?;
    m.add_function(wrap_pyfunction!(write_rows, m)?)?;
    m.add_class::<ArrayReader>()
}
