//! `skymere._rust.profiles`.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use skymere_core::profiles::{
    self, Bounds, Convolver, Fit, Likelihood, N_SHAPE, N_SKY, ProfileError, Response, Sersic,
    StampParams, Stamps, Stop,
};

use crate::{images, threads};

/// Sersic profiles, rows `(x, y, flux, r_e, n, q, theta)`, integrated over the pixels.
#[pyfunction]
fn render_integrated<'py>(
    py: Python<'py>,
    sources: PyReadonlyArray2<'py, f64>,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let sources = images::plane(py, "sources", &sources)?;
    let image = threads::run(py, || {
        profiles::render_integrated(&Sersic::of_rows(sources)?, shape)
    })?;
    images::array(py, image)
}

/// Sersic profiles, rows `(x, y, flux, r_e, n, q, theta)`, convolved with an image of the PSF.
#[pyfunction]
fn render_convolved<'py>(
    py: Python<'py>,
    sources: PyReadonlyArray2<'py, f64>,
    psf: PyReadonlyArray2<'py, f64>,
    centre: (f64, f64),
    oversampling: usize,
    has_pixel: bool,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let sources = images::plane(py, "sources", &sources)?;
    let response = Response {
        image: images::plane(py, "psf", &psf)?,
        centre,
        oversampling,
        has_pixel,
    };
    let image = threads::run(py, || {
        Convolver::new(&response, shape)?.draw(&Sersic::of_rows(sources)?)
    })?;
    images::array(py, image)
}

/// Of flux, size, index, axis ratio and angle, and of the sky.
type AllBounds = ([Bounds; N_SHAPE - 2], [Bounds; N_SKY]);

type Fits<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<bool>>,
    Vec<String>,
);

/// One source fitted to each of many stamps: flat arrays of the parameters of the source and of the sky, of their
/// covariances, of `(chi2, n_pixels, n_free, n_evaluations, has_converged)` and of what lies on a bound, and messages.
#[pyfunction]
#[pyo3(signature = (data, variance, mask, psf, start, *, centre, oversampling, has_pixel, reach, bounds, is_poisson, n_starts, max_evaluations, tolerance))]
fn fit_stamps<'py>(
    py: Python<'py>,
    data: PyReadonlyArray3<'py, f32>,
    variance: PyReadonlyArray3<'py, f32>,
    mask: Option<PyReadonlyArray3<'py, bool>>,
    psf: PyReadonlyArray2<'py, f64>,
    start: PyReadonlyArray2<'py, f64>,
    centre: (f64, f64),
    oversampling: usize,
    has_pixel: bool,
    reach: f64,
    bounds: AllBounds,
    is_poisson: bool,
    n_starts: usize,
    max_evaluations: usize,
    tolerance: f64,
) -> PyResult<Fits<'py>> {
    let response = Response {
        image: images::plane(py, "psf", &psf)?,
        centre,
        oversampling,
        has_pixel,
    };
    let (ny, nx) = (data.shape()[1], data.shape()[2]);
    let stamps = Stamps {
        data: data.as_slice()?,
        variance: variance.as_slice()?,
        mask: mask.as_ref().map(|m| m.as_slice()).transpose()?,
        likelihood: if is_poisson {
            Likelihood::Poisson
        } else {
            Likelihood::Gaussian
        },
    };
    let start = start.as_slice()?;
    let params = StampParams {
        reach,
        shape: bounds.0,
        sky: bounds.1,
        n_starts,
        stop: Stop {
            max_evaluations,
            tolerance,
        },
    };
    let found = threads::run(py, || {
        let convolver = Convolver::new(&response, (ny, nx))?;
        profiles::fit_stamps(&convolver, &stamps, start.as_chunks().0, &params)
    })?;
    let rows: Vec<(Fit, String)> = found.into_iter().map(row).collect();
    let flat = |of: &dyn Fn(&Fit) -> Vec<f64>| -> Vec<f64> {
        rows.iter().flat_map(|(fit, _)| of(fit)).collect()
    };
    Ok((
        flat(&|fit| {
            fit.sources
                .iter()
                .flat_map(Sersic::row)
                .chain(fit.sky)
                .collect()
        })
        .into_pyarray(py),
        flat(&|fit| fit.covariance.clone()).into_pyarray(py),
        flat(&Fit::numbers).into_pyarray(py),
        rows.iter()
            .flat_map(|(fit, _)| fit.on_bound.clone())
            .collect::<Vec<_>>()
            .into_pyarray(py),
        rows.into_iter().map(|(_, message)| message).collect(),
    ))
}

fn row(found: Result<Fit, ProfileError>) -> (Fit, String) {
    match found {
        Ok(fit) => (fit, String::new()),
        Err(error) => (Fit::none(1), error.to_string()),
    }
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(fit_stamps, m)?)?;
    m.add_function(wrap_pyfunction!(render_convolved, m)?)?;
    m.add_function(wrap_pyfunction!(render_integrated, m)?)
}
