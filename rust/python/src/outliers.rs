//! Binding of `skymere_core::outliers`.

use numpy::{
    IntoPyArray, PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3,
};
use pyo3::prelude::*;
use skymere_core::outliers;

use crate::threads;

#[pyfunction]
fn low_pixels<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    sigma: f64,
    n_clip: usize,
    clip_sigma: f64,
    bin_width: f64,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let data = data.as_array();
    let params = outliers::StaticMaskParams {
        sigma,
        n_clip,
        clip_sigma,
        bin_width,
    };
    let mask = threads::run(py, || {
        Ok::<_, outliers::OutliersError>(outliers::low_pixels(data, &params))
    })?;
    Ok(mask.into_pyarray(py))
}

/// Median, mean or sum of the good values of registered images.
#[pyfunction]
#[pyo3(signature = (stack, mask, *, statistic, n_low, n_high, limits, all_if_none))]
fn combine<'py>(
    py: Python<'py>,
    stack: PyReadonlyArray3<'py, f32>,
    mask: PyReadonlyArray3<'py, bool>,
    statistic: &str,
    n_low: usize,
    n_high: usize,
    limits: [f32; 2],
    all_if_none: bool,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let (stack, mask) = (stack.as_array(), mask.as_array());
    let out = threads::run(py, || {
        let stack = outliers::Stack {
            limits,
            all_if_none,
            ..outliers::Stack::new(stack, mask)?
        };
        let statistic = outliers::Statistic::from_name(statistic)?;
        Ok::<_, outliers::OutliersError>(outliers::combine(&stack, statistic, n_low, n_high))
    })?;
    Ok(out.into_pyarray(py))
}

/// Median without the highest value, or the minimum where a cosmic ray is left.
#[pyfunction]
#[pyo3(signature = (stack, mask, *, exptime, sky, read_noise, n_sigma_low, n_sigma_near, grow, limits, all_if_none))]
fn minmed<'py>(
    py: Python<'py>,
    stack: PyReadonlyArray3<'py, f32>,
    mask: PyReadonlyArray3<'py, bool>,
    exptime: PyReadonlyArray1<'py, f64>,
    sky: PyReadonlyArray1<'py, f64>,
    read_noise: PyReadonlyArray1<'py, f64>,
    n_sigma_low: f64,
    n_sigma_near: f64,
    grow: usize,
    limits: [f32; 2],
    all_if_none: bool,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let (stack, mask) = (stack.as_array(), mask.as_array());
    let (exptime, sky, read_noise) = (exptime.as_slice()?, sky.as_slice()?, read_noise.as_slice()?);
    let params = outliers::MinmedParams {
        n_sigma_low,
        n_sigma_near,
        grow,
    };
    let out = threads::run(py, || {
        let stack = outliers::Stack {
            limits,
            all_if_none,
            ..outliers::Stack::new(stack, mask)?
        };
        outliers::minmed(&stack, exptime, sky, read_noise, &params)
    })?;
    Ok(out.into_pyarray(py))
}

#[pyfunction]
#[pyo3(signature = (data, model, error, *, exptime, read_noise, snr, scale, core_scale))]
fn flag_cosmic_rays<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    model: PyReadonlyArray2<'py, f32>,
    error: Option<PyReadonlyArray2<'py, f32>>,
    exptime: f64,
    read_noise: f64,
    snr: [f64; 2],
    scale: [f64; 2],
    core_scale: f64,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let frame = outliers::Frame {
        data: data.as_array(),
        model: model.as_array(),
        exptime,
        read_noise,
        error: error.as_ref().map(|e| e.as_array()),
    };
    let params = outliers::CosmicRayParams {
        snr,
        scale,
        core_scale,
    };
    Ok(threads::run(py, || outliers::flag_cosmic_rays(&frame, &params))?.into_pyarray(py))
}

/// Pixels that follow a set one in the direction of the read-out.
#[pyfunction]
fn trail<'py>(
    py: Python<'py>,
    mask: PyReadonlyArray2<'py, bool>,
    length: usize,
    upwards: bool,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let mask = mask.as_array();
    let out = threads::run(py, || {
        Ok::<_, outliers::OutliersError>(outliers::trail(mask, length, upwards))
    })?;
    Ok(out.into_pyarray(py))
}

#[pyfunction]
fn grow<'py>(
    py: Python<'py>,
    mask: PyReadonlyArray2<'py, bool>,
    side: usize,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let mask = mask.as_array();
    let out = threads::run(py, || {
        Ok::<_, outliers::OutliersError>(outliers::grow(mask, side))
    })?;
    Ok(out.into_pyarray(py))
}

type MaskAndImage<'py> = (Bound<'py, PyArray2<bool>>, Bound<'py, PyArray2<f32>>);

/// Cosmic rays of a single exposure, and the image without them.
#[pyfunction]
#[pyo3(signature = (data, variance, mask, background, *, sigma, sigma_near, contrast, saturation, n_rounds, fill))]
fn lacosmic<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    variance: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    background: Option<PyReadonlyArray2<'py, f32>>,
    sigma: f32,
    sigma_near: f32,
    contrast: f32,
    saturation: f32,
    n_rounds: usize,
    fill: &str,
) -> PyResult<MaskAndImage<'py>> {
    let (data, variance) = (data.as_array(), variance.as_array());
    let mask = mask.as_ref().map(|m| m.as_array());
    let background = background.as_ref().map(|b| b.as_array());
    let (hit, cleaned) = threads::run(py, || {
        let params = outliers::LacosmicParams {
            sigma,
            sigma_near,
            contrast,
            saturation,
            n_rounds,
            fill: outliers::Fill::from_name(fill)?,
        };
        outliers::lacosmic(data, variance, mask, background, &params)
    })?;
    Ok((hit.into_pyarray(py), cleaned.into_pyarray(py)))
}

/// The values of ranks in a window that runs along a list.
#[pyfunction]
fn running_ranks<'py>(
    py: Python<'py>,
    values: PyReadonlyArray1<'py, f64>,
    size: usize,
    ranks: Vec<usize>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let values = values.as_slice()?;
    let out = threads::run(py, || {
        Ok::<_, outliers::OutliersError>(outliers::running_ranks(values, size, &ranks))
    })?;
    Ok(out.into_pyarray(py))
}

/// Pixels that differ from the same place in the other exposures of a slit.
#[pyfunction]
#[pyo3(signature = (data, variance, wavelength, yslit, valid, *, threshold, threshold_single, relative_error,
    position_error, interpolation_error, sharp_threshold, sharp_ratio))]
fn local_outliers<'py>(
    py: Python<'py>,
    data: PyReadonlyArray3<'py, f64>,
    variance: PyReadonlyArray3<'py, f64>,
    wavelength: PyReadonlyArray3<'py, f64>,
    yslit: PyReadonlyArray3<'py, f64>,
    valid: PyReadonlyArray3<'py, bool>,
    threshold: f64,
    threshold_single: f64,
    relative_error: f64,
    position_error: f64,
    interpolation_error: f64,
    sharp_threshold: f64,
    sharp_ratio: f64,
) -> PyResult<Bound<'py, PyArray3<i8>>> {
    let stack = outliers::SlitStack {
        data: data.as_array(),
        variance: variance.as_array(),
        wavelength: wavelength.as_array(),
        yslit: yslit.as_array(),
        valid: valid.as_array(),
    };
    let params = outliers::LocalParams {
        threshold,
        threshold_single,
        relative_error,
        position_error,
        interpolation_error,
        sharp_threshold,
        sharp_ratio,
    };
    Ok(threads::run(py, || outliers::local_outliers(&stack, &params))?.into_pyarray(py))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(lacosmic, m)?)?;
    m.add_function(wrap_pyfunction!(local_outliers, m)?)?;
    m.add_function(wrap_pyfunction!(low_pixels, m)?)?;
    m.add_function(wrap_pyfunction!(running_ranks, m)?)?;
    m.add_function(wrap_pyfunction!(combine, m)?)?;
    m.add_function(wrap_pyfunction!(minmed, m)?)?;
    m.add_function(wrap_pyfunction!(flag_cosmic_rays, m)?)?;
    m.add_function(wrap_pyfunction!(trail, m)?)?;
    m.add_function(wrap_pyfunction!(grow, m)?)
}
