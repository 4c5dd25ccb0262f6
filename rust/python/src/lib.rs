//! The binding: it converts, releases the interpreter lock, and calls. No loop, no default, no branch on data.

mod align;
mod background;
mod errors;
mod grism;
mod images;
mod lake;
mod memory;
mod outliers;
mod photometry;
mod profiles;
mod regions;
mod resample;
mod segmentation;
mod slit;
mod spectra;
mod threads;
mod wcs;

use pyo3::prelude::*;

/// Add a submodule under its full name, so that `import skymere._rust.<name>` and stub tests find it.
fn add_room(
    parent: &Bound<'_, PyModule>,
    name: &str,
    fill: fn(&Bound<'_, PyModule>) -> PyResult<()>,
) -> PyResult<()> {
    let py = parent.py();
    let room = PyModule::new(py, name)?;
    fill(&room)?;
    parent.add_submodule(&room)?;
    py.import("sys")?
        .getattr("modules")?
        .set_item(format!("skymere._rust.{name}"), room)
}

#[pymodule]
fn _rust(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    add_room(m, "align", align::fill)?;
    add_room(m, "background", background::fill)?;
    add_room(m, "grism", grism::fill)?;
    add_room(m, "outliers", outliers::fill)?;
    add_room(m, "photometry", photometry::fill)?;
    add_room(m, "profiles", profiles::fill)?;
    add_room(m, "regions", regions::fill)?;
    add_room(m, "segmentation", segmentation::fill)?;
    add_room(m, "slit", slit::fill)?;
    add_room(m, "resample", resample::fill)?;
    add_room(m, "spectra", spectra::fill)?;
    add_room(m, "lake", lake::fill)?;
    add_room(m, "threads", threads::fill)?;
    add_room(m, "wcs", wcs::fill)?;
    Ok(())
}
