//! `skymere._rust.profiles`.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use skymere_core::profiles::{
    self, Bounds, Convolver, Fit, Likelihood, N_SHAPE, N_SKY, ProfileError, Response, SceneImages,
    SceneParams, SceneSource, Sersic, StampParams, StampSizes, Stamps, Stop,
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
        likelihood: likelihood(is_poisson),
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
    Ok(flat(py, found.into_iter().map(row).collect()))
}

/// What the table of fits is made of.
fn flat<'py>(py: Python<'py>, rows: Vec<(Fit, String)>) -> Fits<'py> {
    let all = |of: &dyn Fn(&Fit) -> Vec<f64>| -> Bound<'py, PyArray1<f64>> {
        let values: Vec<f64> = rows.iter().flat_map(|(fit, _)| of(fit)).collect();
        values.into_pyarray(py)
    };
    let parameters = |fit: &Fit| {
        fit.sources
            .iter()
            .flat_map(Sersic::row)
            .chain(fit.sky)
            .collect()
    };
    let on_bound: Vec<bool> = rows
        .iter()
        .flat_map(|(fit, _)| fit.on_bound.clone())
        .collect();
    (
        all(&parameters),
        all(&|fit| fit.covariance.clone()),
        all(&Fit::numbers),
        on_bound.into_pyarray(py),
        rows.into_iter().map(|(_, message)| message).collect(),
    )
}

type SceneFits<'py> = (
    Fits<'py>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray2<f32>>,
);

/// All segments of an image fitted in groups: what `fit_stamps` returns, labels, labels of groups, numbers of their
/// sources, and the sum of the models.
#[pyfunction]
#[pyo3(signature = (data, variance, mask, labels, psf, *, centre, oversampling, has_pixel, reach, bounds, is_poisson, n_starts, max_evaluations, tolerance, sizes, max_members, n_passes))]
fn fit_scene<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    variance: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    labels: PyReadonlyArray2<'py, i32>,
    psf: PyReadonlyArray2<'py, f64>,
    centre: (f64, f64),
    oversampling: usize,
    has_pixel: bool,
    reach: f64,
    bounds: AllBounds,
    is_poisson: bool,
    n_starts: usize,
    max_evaluations: usize,
    tolerance: f64,
    sizes: (f64, f64, f64),
    max_members: usize,
    n_passes: usize,
) -> PyResult<SceneFits<'py>> {
    let images = SceneImages {
        data: images::plane(py, "data", &data)?,
        variance: images::plane(py, "variance", &variance)?,
        mask: images::optional_plane(py, "mask", mask.as_ref())?,
        labels: images::plane(py, "labels", &labels)?,
        psf: Response {
            image: images::plane(py, "psf", &psf)?,
            centre,
            oversampling,
            has_pixel,
        },
    };
    let (least, radii, window) = sizes;
    let params = SceneParams {
        fits: StampParams {
            reach,
            shape: bounds.0,
            sky: bounds.1,
            n_starts,
            stop: Stop {
                max_evaluations,
                tolerance,
            },
        },
        sizes: StampSizes {
            least,
            radii,
            reach: window,
        },
        max_members,
        n_passes,
        likelihood: likelihood(is_poisson),
    };
    let (sources, model) = threads::run(py, || profiles::fit_scene(&images, &params))?;
    let column = |of: &dyn Fn(&SceneSource) -> i32| -> Bound<'py, PyArray1<i32>> {
        sources.iter().map(of).collect::<Vec<_>>().into_pyarray(py)
    };
    let (labels, groups) = (column(&|s| s.label), column(&|s| s.group));
    let n_group = column(&|s| s.n_group as i32);
    let rows = sources.into_iter().map(|s| (s.fit, s.message)).collect();
    Ok((
        flat(py, rows),
        labels,
        groups,
        n_group,
        images::array(py, model)?,
    ))
}

fn likelihood(is_poisson: bool) -> Likelihood {
    if is_poisson {
        Likelihood::Poisson
    } else {
        Likelihood::Gaussian
    }
}

fn row(found: Result<Fit, ProfileError>) -> (Fit, String) {
    match found {
        Ok(fit) => (fit, String::new()),
        Err(error) => (Fit::none(1), error.to_string()),
    }
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(fit_scene, m)?)?;
    m.add_function(wrap_pyfunction!(fit_stamps, m)?)?;
    m.add_function(wrap_pyfunction!(render_convolved, m)?)?;
    m.add_function(wrap_pyfunction!(render_integrated, m)?)
}
