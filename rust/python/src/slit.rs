//! Binding of `skymere_core::slit`.

use numpy::{
    IntoPyArray, PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use skymere_core::math::levmar::Stop;
use skymere_core::slit::{self, SlitError};

use crate::threads;

/// A profile: a Gaussian when there is no table.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ProfileWords<'py> {
    psf_wave: PyReadonlyArray1<'py, f64>,
    psf_fwhm: PyReadonlyArray1<'py, f64>,
    fwhm_per_sigma: f64,
    wing: Option<[f64; 3]>,
    table: Option<TableWords<'py>>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TableWords<'py> {
    values: PyReadonlyArray3<'py, f64>,
    y: PyReadonlyArray1<'py, f64>,
    wave: PyReadonlyArray1<'py, f64>,
    size: PyReadonlyArray1<'py, f64>,
}

impl ProfileWords<'_> {
    fn profile(&self) -> PyResult<slit::Profile<'_>> {
        Ok(match &self.table {
            Some(table) => slit::Profile::Table(slit::Table {
                values: table.values.as_array(),
                y: table.y.as_slice()?,
                wave: table.wave.as_slice()?,
                size: table.size.as_slice()?,
            }),
            None => slit::Profile::Gaussian {
                wave: self.psf_wave.as_slice()?,
                fwhm: self.psf_fwhm.as_slice()?,
                fwhm_per_sigma: self.fwhm_per_sigma,
                wing: self.wing,
            },
        })
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ExposureWords<'py> {
    wavelength: PyReadonlyArray3<'py, f64>,
    mask: PyReadonlyArray3<'py, bool>,
    trace: PyReadonlyArray2<'py, f64>,
    moves: Vec<bool>,
}

impl ExposureWords<'_> {
    fn exposures(&self) -> slit::Exposures<'_> {
        slit::Exposures {
            wavelength: self.wavelength.as_array(),
            mask: self.mask.as_array(),
            trace: self.trace.as_array(),
            moves: &self.moves,
        }
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct FitWords {
    degree: usize,
    fits_size: bool,
    positive_only: bool,
    huber: f64,
    size: (f64, f64),
    centre: (f64, f64),
    wall: f64,
    wall_at: (f64, f64),
    wall_steepness: (f64, f64),
    size_bounds: (f64, f64),
    centre_bounds: (f64, f64),
    max_evaluations: usize,
    tolerance: f64,
}

impl FitWords {
    fn params(&self) -> slit::TraceParams {
        slit::TraceParams {
            degree: self.degree,
            fits_size: self.fits_size,
            positive_only: self.positive_only,
            huber: self.huber,
            priors: slit::Priors {
                size: self.size,
                centre: self.centre,
                wall: self.wall,
                wall_at: self.wall_at,
                wall_steepness: self.wall_steepness,
                size_bounds: self.size_bounds,
                centre_bounds: self.centre_bounds,
            },
            stop: Stop {
                max_evaluations: self.max_evaluations,
                tolerance: self.tolerance,
            },
        }
    }
}

fn fitted(py: Python<'_>, fit: slit::Fitted) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    let [numerator, variance, denominator] = fit.columns;
    out.set_item("theta", fit.theta.into_pyarray(py))?;
    out.set_item("covariance", fit.covariance.into_pyarray(py))?;
    out.set_item("chi2_start", fit.chi2_start)?;
    out.set_item("chi2", fit.chi2)?;
    out.set_item("has_converged", fit.has_converged)?;
    out.set_item("n_evaluations", fit.n_evaluations)?;
    out.set_item("numerator", numerator.into_pyarray(py))?;
    out.set_item("numerator_variance", variance.into_pyarray(py))?;
    out.set_item("denominator", denominator.into_pyarray(py))?;
    out.set_item("profile", fit.profile.into_pyarray(py))?;
    out.set_item("n_pixels", fit.n_pixels)?;
    Ok(out)
}

type Plane<'py> = Bound<'py, PyArray2<f64>>;

/// Means of one position and of the others.
#[pyfunction]
fn make_difference<'py>(
    py: Python<'py>,
    data: PyReadonlyArray3<'py, f64>,
    sky: Option<PyReadonlyArray3<'py, f64>>,
    variance: PyReadonlyArray3<'py, f64>,
    read_variance: PyReadonlyArray3<'py, f64>,
    mask: PyReadonlyArray3<'py, bool>,
    negative_mask: PyReadonlyArray3<'py, bool>,
    is_positive: Vec<bool>,
    single_variances: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let frames = slit::Frames {
        single_variances,
        data: data.as_array(),
        sky: sky.as_ref().map(|s| s.as_array()),
        variance: variance.as_array(),
        read_variance: read_variance.as_array(),
        mask: mask.as_array(),
        negative_mask: negative_mask.as_array(),
    };
    let made = threads::run(py, || slit::make_difference(&frames, &is_positive))?;
    let out = PyDict::new(py);
    out.set_item("positive", made.positive.into_pyarray(py))?;
    out.set_item("negative", made.negative.into_pyarray(py))?;
    out.set_item("positive_sky", made.positive_sky.into_pyarray(py))?;
    out.set_item("negative_sky", made.negative_sky.into_pyarray(py))?;
    out.set_item("positive_variance", made.positive_variance.into_pyarray(py))?;
    out.set_item("negative_variance", made.negative_variance.into_pyarray(py))?;
    out.set_item("positive_read", made.positive_read.into_pyarray(py))?;
    out.set_item("negative_read", made.negative_read.into_pyarray(py))?;
    out.set_item("n_positive", made.n_positive.into_pyarray(py))?;
    out.set_item("n_negative", made.n_negative.into_pyarray(py))?;
    Ok(out)
}

/// The profile in every pixel of frames.
#[pyfunction]
fn evaluate_profile<'py>(
    py: Python<'py>,
    profile: ProfileWords<'py>,
    wavelength: PyReadonlyArray3<'py, f64>,
    trace: PyReadonlyArray2<'py, f64>,
    size: PyReadonlyArray1<'py, f64>,
) -> PyResult<Bound<'py, PyArray3<f64>>> {
    let model = profile.profile()?;
    let (wavelength, trace, size) = (wavelength.as_array(), trace.as_array(), size.as_array());
    let out = threads::run(py, || {
        slit::evaluate_profile(&model, wavelength, trace, size)
    })?;
    Ok(out.into_pyarray(py))
}

/// Fit width and trace to a difference of nods.
#[pyfunction]
fn fit_difference<'py>(
    py: Python<'py>,
    difference: PyReadonlyArray2<'py, f64>,
    variance: PyReadonlyArray2<'py, f64>,
    weight_variance: PyReadonlyArray2<'py, f64>,
    exposures: ExposureWords<'py>,
    is_positive: Vec<bool>,
    is_negative: Vec<bool>,
    profile: ProfileWords<'py>,
    starts: Vec<Vec<f64>>,
    params: FitWords,
) -> PyResult<Bound<'py, PyDict>> {
    let model = profile.profile()?;
    let (difference, variance) = (difference.as_array(), variance.as_array());
    let (weight_variance, params) = (weight_variance.as_array(), params.params());
    let exposures = exposures.exposures();
    let fit = threads::run(py, || {
        let data = slit::TraceData::of_difference(
            difference,
            variance,
            weight_variance,
            &exposures,
            &is_positive,
            &is_negative,
            model,
        )?;
        slit::fit_trace(&data, &starts, &params)
    })?;
    fitted(py, fit)
}

/// Fit width and trace to all frames with free levels of the sky.
#[pyfunction]
fn fit_frames<'py>(
    py: Python<'py>,
    data: PyReadonlyArray3<'py, f64>,
    variance: PyReadonlyArray3<'py, f64>,
    exposures: ExposureWords<'py>,
    sky: &str,
    profile: ProfileWords<'py>,
    starts: Vec<Vec<f64>>,
    params: FitWords,
) -> PyResult<Bound<'py, PyDict>> {
    let model = profile.profile()?;
    let (data, variance, params) = (data.as_array(), variance.as_array(), params.params());
    let exposures = exposures.exposures();
    let fit = threads::run(py, || {
        let sky = slit::Sky::from_name(sky)?;
        let data = slit::TraceData::of_frames(data, variance, &exposures, sky, model)?;
        slit::fit_trace(&data, &starts, &params)
    })?;
    fitted(py, fit)
}

type Planes<'py> = (
    Bound<'py, PyArray3<f64>>,
    Plane<'py>,
    Plane<'py>,
    Plane<'py>,
);

fn resampled(py: Python<'_>, out: slit::Resampled) -> Planes<'_> {
    (
        out.sums.into_pyarray(py),
        out.variance.into_pyarray(py),
        out.weight.into_pyarray(py),
        out.n_pixels.into_pyarray(py),
    )
}

/// Weighted histograms with shifted bins.
#[pyfunction]
fn pseudo_drizzle<'py>(
    py: Python<'py>,
    x: PyReadonlyArray1<'py, f64>,
    y: PyReadonlyArray1<'py, f64>,
    values: PyReadonlyArray2<'py, f64>,
    variance: PyReadonlyArray1<'py, f64>,
    weight: PyReadonlyArray1<'py, f64>,
    x_edges: PyReadonlyArray2<'py, f64>,
    y_edges: PyReadonlyArray2<'py, f64>,
) -> PyResult<Planes<'py>> {
    let (x, y, values) = (x.as_array(), y.as_array(), values.as_array());
    let (variance, weight) = (variance.as_array(), weight.as_array());
    let (x_edges, y_edges) = (x_edges.as_array(), y_edges.as_array());
    let out = threads::run(py, || {
        slit::pseudo_drizzle(x, y, values, variance, weight, x_edges, y_edges)
    })?;
    Ok(resampled(py, out))
}

/// Drizzle by the overlap of areas.
#[pyfunction]
fn overlap_drizzle<'py>(
    py: Python<'py>,
    centre: (PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>),
    width: (PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>),
    values: PyReadonlyArray2<'py, f64>,
    variance: PyReadonlyArray1<'py, f64>,
    weight: PyReadonlyArray1<'py, f64>,
    edges: (PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>),
) -> PyResult<Planes<'py>> {
    let centre = (centre.0.as_array(), centre.1.as_array());
    let width = (width.0.as_array(), width.1.as_array());
    let (values, variance, weight) = (values.as_array(), variance.as_array(), weight.as_array());
    let edges = (edges.0.as_slice()?, edges.1.as_slice()?);
    let out = threads::run(py, || {
        slit::overlap_drizzle(centre, width, values, variance, weight, edges)
    })?;
    Ok(resampled(py, out))
}

/// Sums of planes in bins of wavelength.
#[pyfunction]
fn bin_sums<'py>(
    py: Python<'py>,
    wavelength: PyReadonlyArray1<'py, f64>,
    width: Option<PyReadonlyArray1<'py, f64>>,
    edges: PyReadonlyArray1<'py, f64>,
    values: PyReadonlyArray2<'py, f64>,
) -> PyResult<Plane<'py>> {
    let (wavelength, values, edges) = (wavelength.as_array(), values.as_array(), edges.as_slice()?);
    let width = width.as_ref().map(|w| w.as_array());
    let out = threads::run(py, || slit::bin_sums(wavelength, width, edges, values))?;
    Ok(out.into_pyarray(py))
}

/// Covariance of sums in bins from the variances of the raw pixels.
#[pyfunction]
fn raw_covariance<'py>(
    py: Python<'py>,
    wavelength: PyReadonlyArray1<'py, f64>,
    width: Option<PyReadonlyArray1<'py, f64>>,
    edges: PyReadonlyArray1<'py, f64>,
    coefficient: PyReadonlyArray1<'py, f64>,
    exposure: PyReadonlyArray1<'py, i64>,
    pixel: PyReadonlyArray1<'py, i64>,
    position: PyReadonlyArray1<'py, i64>,
    variance: PyReadonlyArray2<'py, f64>,
    mask: PyReadonlyArray2<'py, bool>,
    n_negative: PyReadonlyArray2<'py, i64>,
) -> PyResult<Plane<'py>> {
    let (wavelength, edges) = (wavelength.as_array(), edges.as_slice()?);
    let width = width.as_ref().map(|w| w.as_array());
    let coefficient = coefficient.as_slice()?;
    let layout = slit::NodLayout {
        exposure: exposure.as_slice()?,
        pixel: pixel.as_slice()?,
        position: position.as_slice()?,
        variance: variance.as_array(),
        mask: mask.as_array(),
        n_negative: n_negative.as_array(),
    };
    let out = threads::run(py, || {
        let bins = slit::BinSums::new(wavelength, width, edges)?;
        Ok::<_, SlitError>(slit::raw_covariance(&bins, coefficient, &layout)?.values)
    })?;
    Ok(out.into_pyarray(py))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(make_difference, m)?)?;
    m.add_function(wrap_pyfunction!(evaluate_profile, m)?)?;
    m.add_function(wrap_pyfunction!(fit_difference, m)?)?;
    m.add_function(wrap_pyfunction!(fit_frames, m)?)?;
    m.add_function(wrap_pyfunction!(pseudo_drizzle, m)?)?;
    m.add_function(wrap_pyfunction!(overlap_drizzle, m)?)?;
    m.add_function(wrap_pyfunction!(bin_sums, m)?)?;
    m.add_function(wrap_pyfunction!(raw_covariance, m)?)
}
