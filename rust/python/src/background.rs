//! Binding of `skymere_core::background`.

use numpy::PyReadonlyArray2;
use pyo3::prelude::*;
use skymere_core::background;

use crate::threads;

/// Level, rms and number of pixels.
#[pyfunction]
fn estimate_pedestal<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    mask: PyReadonlyArray2<'py, bool>,
    n_clip: usize,
    clip_sigma: [f64; 2],
) -> PyResult<(f64, f64, usize)> {
    let (data, mask) = (data.as_array(), mask.as_array());
    let params = background::PedestalParams { n_clip, clip_sigma };
    let sky = threads::run(py, || background::estimate_pedestal(data, mask, &params))?;
    Ok((sky.level, sky.rms, sky.n_pixels))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(estimate_pedestal, m)?)
}
