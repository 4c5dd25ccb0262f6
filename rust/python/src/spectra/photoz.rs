//! Fluxes in filters and photometric redshifts of `skymere._rust.spectra`.

use numpy::{
    PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyReadonlyArray4, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use skymere_core::spectra::{
    self as core, FilterCurve, Objects, Photometry, RestSpectra, SpectraError, TemplateGrid,
};

use crate::threads;

type TwoArrays<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<f64>>);

/// Integrals of spectra over filters at redshifts.
#[pyfunction]
#[pyo3(signature = (wave, flux, *, transmission, filters, redshifts))]
fn band_fluxes<'py>(
    py: Python<'py>,
    wave: PyReadonlyArray1<'py, f64>,
    flux: PyReadonlyArray2<'py, f64>,
    transmission: PyReadonlyArray2<'py, f64>,
    filters: Vec<(Vec<f64>, Vec<f64>, f64)>,
    redshifts: PyReadonlyArray1<'py, f64>,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let shape = [redshifts.len(), flux.shape()[0], filters.len()];
    let spectra = RestSpectra {
        wave: wave.as_slice()?,
        flux: flux.as_slice()?,
        transmission: transmission.as_slice()?,
    };
    let redshifts = redshifts.as_slice()?;
    let found = threads::run(py, || {
        let curves: Vec<FilterCurve> = filters
            .into_iter()
            .map(|(wave, throughput, norm)| FilterCurve {
                wave,
                throughput,
                norm,
            })
            .collect();
        core::band_fluxes(spectra, &curves, redshifts)
    })?;
    PyArray1::from_vec(py, found).reshape(shape)
}

/// Measured fluxes of objects and the templates that may explain them.
#[derive(FromPyObject)]
struct Given<'py> {
    grid: PyReadonlyArray4<'py, f64>,
    flux: PyReadonlyArray2<'py, f64>,
    variance: PyReadonlyArray2<'py, f64>,
    level: PyReadonlyArray2<'py, f64>,
    nodes: PyReadonlyArray2<'py, f64>,
    template_error: PyReadonlyArray2<'py, f64>,
}

/// The same as slices.
struct Slices<'a>(TemplateGrid<'a>, Photometry<'a>, &'a [f64]);

impl Given<'_> {
    fn slices(&self) -> PyResult<Slices<'_>> {
        let photometry = Photometry {
            flux: self.flux.as_slice()?,
            variance: self.variance.as_slice()?,
            level: self.level.as_slice()?,
            nodes: self.nodes.as_slice()?,
        };
        Ok(Slices(
            grid_of(&self.grid)?,
            photometry,
            self.template_error.as_slice()?,
        ))
    }
}

impl<'a> Slices<'a> {
    fn objects(&self) -> Result<Objects<'a>, SpectraError> {
        Objects::new(self.0, self.1, self.2)
    }
}

fn grid_of<'a>(grid: &'a PyReadonlyArray4<'_, f64>) -> PyResult<TemplateGrid<'a>> {
    let &[n_nodes, n_z, n_templates, n_bands] = grid.shape() else {
        return Err(PyValueError::new_err("a grid has four axes"));
    };
    Ok(TemplateGrid {
        fluxes: grid.as_slice()?,
        shape: [n_nodes, n_z, n_templates, n_bands],
    })
}

/// Chi square and logarithm of the product of variances of each object at each redshift.
#[pyfunction]
fn photoz_scan<'py>(py: Python<'py>, given: Given<'py>) -> PyResult<TwoArrays<'py>> {
    let (n, n_z) = (given.flux.shape()[0], given.grid.shape()[1]);
    let slices = given.slices()?;
    let (chi2, spread) = threads::run(py, || slices.objects().map(|all| all.scan()))?;
    Ok((
        PyArray1::from_vec(py, chi2).reshape([n, n_z])?,
        PyArray1::from_vec(py, spread).reshape([n, n_z])?,
    ))
}

/// Coefficients and model fluxes of each object at one redshift of the grid.
#[pyfunction]
fn photoz_fit<'py>(
    py: Python<'py>,
    given: Given<'py>,
    i_z: Vec<usize>,
) -> PyResult<TwoArrays<'py>> {
    let (n, shape) = (given.flux.shape()[0], given.grid.shape().to_vec());
    let slices = given.slices()?;
    let fits = threads::run(py, || slices.objects()?.fit_at(&i_z))?;
    Ok((
        PyArray1::from_vec(py, fits.coefficients).reshape([n, shape[2]])?,
        PyArray1::from_vec(py, fits.model).reshape([n, shape[3]])?,
    ))
}

/// Mean and variance of fluxes in other bands over p(z).
#[pyfunction]
fn photoz_predict<'py>(
    py: Python<'py>,
    given: Given<'py>,
    other: PyReadonlyArray4<'py, f64>,
    probability: PyReadonlyArray2<'py, f64>,
) -> PyResult<TwoArrays<'py>> {
    let shape = [given.flux.shape()[0], other.shape()[3]];
    let slices = given.slices()?;
    let (other, probability) = (grid_of(&other)?, probability.as_slice()?);
    let found = threads::run(py, || slices.objects()?.predict(other, probability))?;
    Ok((
        PyArray1::from_vec(py, found.mean).reshape(shape)?,
        PyArray1::from_vec(py, found.variance).reshape(shape)?,
    ))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(band_fluxes, m)?)?;
    m.add_function(wrap_pyfunction!(photoz_scan, m)?)?;
    m.add_function(wrap_pyfunction!(photoz_fit, m)?)?;
    m.add_function(wrap_pyfunction!(photoz_predict, m)?)
}
