//! Fits of templates to beams.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyReadonlyArray3,
};
use pyo3::prelude::*;
use skymere_core::grism::{self as core, GrismError};

use super::Disperser;
use crate::spectra::Igm;
use crate::threads;

/// Templates.
#[pyclass(frozen, module = "skymere._rust.grism")]
pub(super) struct Bank(core::Bank);

#[pymethods]
impl Bank {
    #[new]
    #[pyo3(signature = (*, tables, lines, igm))]
    fn new(
        py: Python<'_>,
        tables: Vec<(PyReadonlyArray1<'_, f64>, PyReadonlyArray2<'_, f64>, bool)>,
        lines: Vec<(Vec<[f64; 3]>, bool)>,
        igm: Option<PyRef<'_, Igm>>,
    ) -> PyResult<Self> {
        let igm = igm.map(|igm| igm.0.clone());
        let tables = tables
            .iter()
            .map(|(wave, flux, is_fixed)| Ok((wave.as_slice()?, flux.as_slice()?, *is_fixed)))
            .collect::<PyResult<Vec<_>>>()?;
        threads::run(py, || {
            let tables = tables
                .iter()
                .map(|(wave, flux, is_fixed)| core::Tables::new(wave.to_vec(), flux, *is_fixed))
                .collect::<Result<Vec<_>, GrismError>>()?;
            let lines = lines
                .into_iter()
                .map(|(members, is_lorentzian)| core::Line::new(members, is_lorentzian))
                .collect();
            Ok::<_, GrismError>(core::Bank::new(tables, lines, igm))
        })
        .map(Self)
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct BeamWords<'py> {
    disperser: PyRef<'py, Disperser>,
    at: [i64; 2],
    total: f64,
    fitted: PyReadonlyArray2<'py, bool>,
    data: PyReadonlyArray1<'py, f64>,
    ivar: PyReadonlyArray1<'py, f64>,
    weight: PyReadonlyArray1<'py, f64>,
}

/// Beams, compressed.
#[pyclass(frozen, module = "skymere._rust.grism")]
pub(super) struct Fit(core::Fit);

type TrialWords<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<bool>>,
    Bound<'py, PyArray3<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray1<f64>>,
);

#[pymethods]
impl Fit {
    #[new]
    fn new(py: Python<'_>, beams: Vec<BeamWords<'_>>) -> PyResult<Self> {
        let beams = beams
            .iter()
            .map(|b| {
                let one = &*b.disperser;
                let (data, ivar, weight) =
                    (b.data.as_slice()?, b.ivar.as_slice()?, b.weight.as_slice()?);
                Ok((one, b.at, b.total, b.fitted.as_array(), data, ivar, weight))
            })
            .collect::<PyResult<Vec<_>>>()?;
        threads::run(py, || {
            let beams = beams
                .iter()
                .map(|(one, at, total, fitted, data, ivar, weight)| {
                    let sensitivity = one.order.sensitivity();
                    let (columns, stamp) = (&one.columns, &one.stamp);
                    core::FitBeam::new(
                        columns,
                        stamp,
                        sensitivity,
                        *at,
                        *total,
                        *fitted,
                        data,
                        ivar,
                        weight,
                    )
                })
                .collect::<Result<Vec<_>, GrismError>>()?;
            core::Fit::new(beams)
        })
        .map(Self)
    }

    /// Number of lists of columns that differ.
    #[getter]
    fn n_groups(&self) -> usize {
        self.0.n_groups()
    }

    /// Fits at redshifts.
    #[pyo3(signature = (bank, redshifts, *, bounds, background, huber, has_covariance, extra))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        bank: &Bank,
        redshifts: PyReadonlyArray1<'py, f64>,
        bounds: [Vec<f64>; 2],
        background: Option<[Vec<f64>; 2]>,
        huber: f64,
        has_covariance: bool,
        extra: Option<(Vec<f64>, PyReadonlyArray3<'py, f64>)>,
    ) -> PyResult<TrialWords<'py>> {
        let redshifts = redshifts.as_slice()?;
        let [lower, upper] = bounds;
        let options = core::FitOptions {
            lower,
            upper,
            background,
            huber,
            has_covariance,
        };
        let extra = extra
            .map(|(data, design)| {
                let design = design.as_slice()?.to_vec();
                Ok::<_, PyErr>(core::Extra { data, design })
            })
            .transpose()?;
        let (m, k) = (bank.0.len(), self.0.n_beams());
        let trials = threads::run(py, || {
            self.0.scan(&bank.0, redshifts, &options, extra.as_ref())
        })?;
        let n = trials.len();
        let [c, v, w] = if has_covariance { [m, k, m] } else { [0; 3] };
        let flat = |of: fn(&core::Trial) -> &Vec<f64>| -> Vec<f64> {
            trials.iter().flat_map(|t| of(t).iter().copied()).collect()
        };
        let free: Vec<bool> = trials
            .iter()
            .flat_map(|t| t.is_free.iter().copied())
            .collect();
        let one = |of: fn(&core::Trial) -> f64| -> Vec<f64> { trials.iter().map(of).collect() };
        Ok((
            one(|t| t.loss).into_pyarray(py),
            one(|t| t.chi2).into_pyarray(py),
            PyArray1::from_vec(py, flat(|t| &t.coefficients)).reshape([n, k + m])?,
            PyArray1::from_vec(py, free).reshape([n, k + m])?,
            PyArray1::from_vec(py, flat(|t| &t.covariance)).reshape([n, c, c])?,
            PyArray1::from_vec(py, flat(|t| &t.background_variance)).reshape([n, v])?,
            PyArray1::from_vec(py, flat(|t| &t.bound_variance)).reshape([n, w])?,
            one(|t| t.violation).into_pyarray(py),
        ))
    }
}

pub(super) fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Bank>()?;
    m.add_class::<Fit>()
}
