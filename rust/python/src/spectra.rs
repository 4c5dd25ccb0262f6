//! `skymere._rust.spectra`.

mod photoz;

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::spectra::{
    self as core, Column, LineComplex, Noise, Resolution, SeriesLine, SpectraError, Tabulated,
};

use crate::threads;

/// Wavelengths at rest, parts in the flux, redshifts and maybe the width of lines with fixed ratios.
type LineWords = (Vec<f64>, Vec<f64>, [f64; 2], Option<f64>);

/// B-splines at places, row after row.
#[pyfunction]
fn bsplines<'py>(
    py: Python<'py>,
    places: PyReadonlyArray1<'py, f64>,
    n_functions: usize,
    degree: usize,
    limits: [f64; 2],
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let places = places.as_slice()?;
    let drawn = threads::run(py, || {
        core::bspline_rows(places, n_functions, degree, limits)
    })?;
    PyArray1::from_vec(py, drawn).reshape([n_functions, places.len()])
}

/// Absorption by neutral hydrogen between a source and us.
#[pyclass(frozen, module = "skymere._rust.spectra")]
pub(crate) struct Igm(pub(crate) core::Igm);

#[pymethods]
impl Igm {
    #[new]
    fn new(lines: Vec<(f64, [f64; 3], [f64; 2])>) -> Self {
        let lines = lines.into_iter().map(|(rest, forest, damped)| SeriesLine {
            rest,
            forest,
            damped,
        });
        Self(core::Igm::new(lines.collect()))
    }

    /// Wavelengths at rest [um] between which the part of the light that arrives is straight.
    fn nodes(&self, low: f64, high: f64) -> Vec<f64> {
        self.0.nodes(low, high)
    }

    /// Part of the light that arrives at observed wavelengths [um].
    fn transmission<'py>(
        &self,
        py: Python<'py>,
        wave: PyReadonlyArray1<'py, f64>,
        z: f64,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let wave = wave.as_slice()?;
        let passed = threads::run(py, || {
            let one = |w: &f64| self.0.transmission(*w, z);
            Ok::<_, SpectraError>(wave.iter().map(one).collect::<Vec<_>>())
        })?;
        Ok(passed.into_pyarray(py))
    }
}

/// A spectrum and what it is made of.
#[pyclass(frozen, module = "skymere._rust.spectra")]
struct Problem(core::Problem);

type TrialWords<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

type FitWords<'py> = (
    f64,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray1<f64>>,
);

#[pymethods]
impl Problem {
    #[new]
    #[pyo3(signature = (
        edges, flux, covariance, is_used, *, fixed, tables, lines, resolution, scale_disp, vel_width, igm, is_bounded,
        prior
    ))]
    fn new(
        py: Python<'_>,
        edges: Vec<f64>,
        flux: Vec<f64>,
        covariance: PyReadonlyArray2<'_, f64>,
        is_used: Vec<bool>,
        fixed: PyReadonlyArray2<'_, f64>,
        tables: Vec<(Vec<f64>, Vec<f64>)>,
        lines: Vec<LineWords>,
        resolution: (Vec<f64>, Vec<f64>),
        scale_disp: f64,
        vel_width: f64,
        igm: Option<PyRef<'_, Igm>>,
        is_bounded: Vec<bool>,
        prior: Vec<f64>,
    ) -> PyResult<Self> {
        let fixed = fixed.as_array();
        let width = covariance.as_array().ncols();
        let covariance = covariance.as_slice()?;
        let igm = igm.map(|igm| igm.0.clone());
        threads::run(py, || {
            let templates = core::Templates {
                fixed: fixed
                    .rows()
                    .into_iter()
                    .map(|row| Column::of(&row.to_vec()))
                    .collect(),
                tables: tables
                    .into_iter()
                    .map(|(wave, flux)| Tabulated::new(wave, flux))
                    .collect(),
                lines: lines
                    .into_iter()
                    .map(|(rest, parts, redshifts, velocity)| LineComplex {
                        rest,
                        parts,
                        redshifts,
                        velocity,
                    })
                    .collect(),
                resolution: Resolution {
                    wave: resolution.0,
                    power: resolution.1,
                    scale: scale_disp,
                    velocity: vel_width,
                },
                igm,
            };
            let noise = Noise::new(covariance, width, &is_used)?;
            core::Problem::new(edges, &flux, noise, templates, is_bounded, prior)
        })
        .map(Self)
    }

    /// Chi square and cost at each redshift.
    fn scan<'py>(
        &self,
        py: Python<'py>,
        redshifts: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<TrialWords<'py>> {
        let redshifts = redshifts.as_slice()?;
        let trials = threads::run(py, || Ok::<_, SpectraError>(self.0.scan(redshifts)))?;
        let (chi2, cost): (Vec<_>, Vec<_>) = trials.iter().map(|t| (t.chi2, t.cost)).unzip();
        Ok((chi2.into_pyarray(py), cost.into_pyarray(py)))
    }

    /// Chi square, coefficients, which of them count, covariance with `ln(1 + z)`, templates, slope.
    fn fit<'py>(&self, py: Python<'py>, z: f64) -> PyResult<FitWords<'py>> {
        let fit = threads::run(py, || Ok::<_, SpectraError>(self.0.fit(z)))?;
        let (m, n) = (fit.coefficients.len(), fit.slope.len());
        Ok((
            fit.chi2,
            fit.coefficients.into_pyarray(py),
            fit.is_used.into_pyarray(py),
            PyArray1::from_vec(py, fit.covariance).reshape([m + 1, m + 1])?,
            PyArray1::from_vec(py, fit.design).reshape([m, n])?,
            fit.slope.into_pyarray(py),
        ))
    }
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Igm>()?;
    m.add_class::<Problem>()?;
    photoz::fill(m)?;
    m.add_function(wrap_pyfunction!(bsplines, m)?)
}
