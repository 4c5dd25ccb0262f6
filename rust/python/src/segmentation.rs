//! `skymere._rust.segmentation`.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3,
};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use skymere_core::image::Plane;
use skymere_core::segmentation::{
    self as core, Assignment, BandMeasurements, Connectivity, Correlation, DeblendParams,
    Deblending, DetectParams, HeldShape, Kernel, KronParams, MeasureParams, Measurements,
    Neighbours, Noise, NoiseOf, Photometer, SaddleParams, SegmentationError, Spacing,
};

use crate::{errors, images, threads};

type Image<'py, T> = PyReadonlyArray2<'py, T>;
type Column<'py> = Bound<'py, PyArray1<f64>>;
type Labels<'py> = (Bound<'py, PyArray2<i32>>, usize);
type Positions<'py> = Bound<'py, PyArray1<usize>>;
type LevelParts = (usize, String, f64, bool);
type PeakLabels<'py> = (Bound<'py, PyArray2<i32>>, Positions<'py>, Positions<'py>);

fn checked<T>(py: Python<'_>, outcome: Result<T, SegmentationError>) -> PyResult<T> {
    outcome.map_err(|error| errors::from_room(py, &error))
}

fn kernel_of(py: Python<'_>, kernel: Option<&Image<'_, f32>>) -> PyResult<Kernel> {
    kernel.map_or(Ok(Kernel::identity()), |values| {
        let values = images::plane(py, "kernel", values)?;
        checked(py, Kernel::new(values))
    })
}

fn noise_of(is_filtered: bool) -> NoiseOf {
    if is_filtered {
        NoiseOf::Filtered
    } else {
        NoiseOf::Unfiltered
    }
}

fn levels(
    py: Python<'_>,
    (n_levels, spacing, contrast, is_random): LevelParts,
) -> PyResult<DeblendParams> {
    Ok(DeblendParams {
        n_levels,
        spacing: checked(py, Spacing::from_name(&spacing))?,
        contrast,
        assignment: if is_random {
            Assignment::Random
        } else {
            Assignment::Likeliest
        },
    })
}

fn deblending(
    py: Python<'_>,
    by_levels: Option<LevelParts>,
    at_saddles: Option<(f64, f64)>,
    sharp_kernel: Option<&Image<'_, f32>>,
) -> PyResult<Deblending> {
    let sharp = sharp_kernel
        .map(|kernel| kernel_of(py, Some(kernel)))
        .transpose()?;
    let saddles = at_saddles.map(|(min_prominence, contrast)| {
        let params = SaddleParams {
            min_prominence,
            contrast,
        };
        Deblending::Saddles(params, sharp)
    });
    let by_levels = by_levels.map(|params| levels(py, params)).transpose()?;
    Ok(by_levels
        .map(Deblending::Levels)
        .or(saddles)
        .unwrap_or(Deblending::None))
}

/// Connected components of a mask given as bytes.
#[pyfunction]
fn label<'py>(py: Python<'py>, mask: Image<'py, u8>, connectivity: usize) -> PyResult<Labels<'py>> {
    let connectivity = checked(py, Connectivity::try_from(connectivity))?;
    let mask = images::plane(py, "mask", &mask)?;
    let (labels, n) = threads::run(py, || core::label(mask, connectivity))?;
    Ok((images::array(py, labels)?, n))
}

/// Connected components of a mask given as bytes, and a dict of columns with their sizes and places.
#[pyfunction]
fn label_and_tally<'py>(
    py: Python<'py>,
    mask: Image<'py, u8>,
    connectivity: usize,
) -> PyResult<(Bound<'py, PyArray2<i32>>, Bound<'py, PyDict>)> {
    let connectivity = checked(py, Connectivity::try_from(connectivity))?;
    let mask = images::plane(py, "mask", &mask)?;
    let (labels, tallies) = threads::run(py, || core::label_and_tally(mask, connectivity))?;
    let column = |f: fn(&core::Tally) -> u64| -> Bound<'py, PyArray1<i64>> {
        let values: Vec<i64> = tallies.iter().map(|t| f(t) as i64).collect();
        values.into_pyarray(py)
    };
    let table = [
        ("area", column(|t| t.area)),
        ("x_min", column(|t| t.x[0])),
        ("x_max", column(|t| t.x[1])),
        ("y_min", column(|t| t.y[0])),
        ("y_max", column(|t| t.y[1])),
        ("x_sum", column(|t| t.x_sum)),
        ("y_sum", column(|t| t.y_sum)),
    ]
    .into_py_dict(py)?;
    Ok((images::array(py, labels)?, table))
}

/// Weighted convolution.
#[pyfunction]
fn convolve<'py>(
    py: Python<'py>,
    data: Image<'py, f32>,
    kernel: Image<'py, f32>,
    mask: Option<Image<'py, bool>>,
    weight: Option<Image<'py, f32>>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let kernel = kernel_of(py, Some(&kernel))?;
    let data = images::plane(py, "data", &data)?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let weight = images::optional_plane(py, "weight", weight.as_ref())?;
    let filtered = threads::run(py, || core::convolve(data, &kernel, mask, weight))?;
    images::array(py, filtered)
}

/// Noise of the filtered image over that of independent pixels.
#[pyfunction]
fn filtered_noise(
    py: Python<'_>,
    data: Image<'_, f32>,
    error: Option<Image<'_, f32>>,
    sigma: f32,
    mask: Option<Image<'_, bool>>,
    kernel: Option<Image<'_, f32>>,
) -> PyResult<f64> {
    let kernel = kernel_of(py, kernel.as_ref())?;
    let data = images::plane(py, "data", &data)?;
    let error = images::optional_plane(py, "error", error.as_ref())?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let noise = error.map_or(Noise::Constant(sigma), Noise::Image);
    let ratio = threads::run(py, || core::filtered_noise(data, noise, mask, &kernel))?;
    Ok(ratio)
}

/// Depths of the negative pixels in some rows of the filtered image.
#[pyfunction]
fn negative_depths<'py>(
    py: Python<'py>,
    data: Image<'py, f32>,
    error: Option<Image<'py, f32>>,
    sigma: f32,
    mask: Option<Image<'py, bool>>,
    kernel: Option<Image<'py, f32>>,
    rows: Vec<[usize; 2]>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let kernel = kernel_of(py, kernel.as_ref())?;
    let data = images::plane(py, "data", &data)?;
    let error = images::optional_plane(py, "error", error.as_ref())?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let noise = error.map_or(Noise::Constant(sigma), Noise::Image);
    let depths = threads::run(py, || {
        core::negative_depths(data, noise, mask, &kernel, &rows)
    })?;
    Ok(depths.into_pyarray(py))
}

/// Rows of an image on which its noise is measured.
#[pyfunction]
fn sampled_rows(ny: usize, nx: usize) -> Vec<[usize; 2]> {
    core::sampled_rows((ny, nx))
}

/// Noise behind the depths of negative pixels.
#[pyfunction]
fn noise_of_depths(depths: PyReadonlyArray1<'_, f32>) -> f64 {
    core::noise_of_depths(depths.as_array().to_vec())
}

/// Finds the sources of an image that is given window by window. Blends are split at `deblend_levels`
/// `(n_levels, spacing, contrast, is_random)` or at `saddles` `(min_prominence, contrast)` of the image under
/// `sharp_kernel`.
#[pyclass(module = "skymere._rust.segmentation")]
struct Detector(Option<core::Detector>);

#[pymethods]
impl Detector {
    #[new]
    #[pyo3(signature = (ny, nx, kernel, *, threshold, extent, is_filtered, connectivity, min_area, deblend_levels, saddles,
        sharp_kernel, clean))]
    fn new(
        py: Python<'_>,
        ny: usize,
        nx: usize,
        kernel: Option<Image<'_, f32>>,
        threshold: f64,
        extent: f64,
        is_filtered: bool,
        connectivity: usize,
        min_area: usize,
        deblend_levels: Option<LevelParts>,
        saddles: Option<(f64, f64)>,
        sharp_kernel: Option<Image<'_, f32>>,
        clean: Option<f64>,
    ) -> PyResult<Self> {
        let params = DetectParams {
            threshold,
            extent,
            noise_of: noise_of(is_filtered),
            connectivity: checked(py, Connectivity::try_from(connectivity))?,
            min_area,
            deblend: deblending(py, deblend_levels, saddles, sharp_kernel.as_ref())?,
            clean,
        };
        let kernel = kernel_of(py, kernel.as_ref())?;
        let detector = checked(py, core::Detector::new((ny, nx), kernel, params))?;
        Ok(Self(Some(detector)))
    }

    /// Rows and columns that a window needs around its core.
    fn margin(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        let detector = self.0.as_ref().ok_or(SegmentationError::Finished);
        Ok(checked(py, detector)?.margin())
    }

    /// Look at a window; `core` is its part without margin, `((y0, y1), (x0, x1))` counted in the window.
    fn add(
        &mut self,
        py: Python<'_>,
        data: Image<'_, f32>,
        error: Option<Image<'_, f32>>,
        sigma: f32,
        mask: Option<Image<'_, bool>>,
        origin: (usize, usize),
        core: ([usize; 2], [usize; 2]),
    ) -> PyResult<()> {
        let error = images::optional_plane(py, "error", error.as_ref())?;
        let window = core::Window {
            data: images::plane(py, "data", &data)?,
            noise: error.map_or(Noise::Constant(sigma), Noise::Image),
            mask: images::optional_plane(py, "mask", mask.as_ref())?,
            origin,
            core,
        };
        let detector = checked(py, self.0.as_mut().ok_or(SegmentationError::Finished))?;
        threads::run(py, || detector.add(&window))
    }

    /// Join what was found; the detector is empty afterwards.
    fn finish(&mut self, py: Python<'_>) -> PyResult<Detected> {
        let detector = checked(py, self.0.take().ok_or(SegmentationError::Finished))?;
        threads::run(py, || detector.finish()).map(Detected)
    }
}

/// The labels of an image that was given window by window.
#[pyclass(frozen, module = "skymere._rust.segmentation")]
struct Detected(core::Detected);

#[pymethods]
impl Detected {
    #[getter]
    fn n_sources(&self) -> usize {
        self.0.n_sources()
    }

    /// The labels of a window.
    fn labels<'py>(
        &self,
        py: Python<'py>,
        y0: usize,
        x0: usize,
        ny: usize,
        nx: usize,
    ) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let labels = threads::run(py, || {
            Ok::<_, SegmentationError>(self.0.labels((y0, x0), (ny, nx)))
        })?;
        images::array(py, labels)
    }
}

/// Segments split at their peaks; `deblend_levels` and `saddles` as in `Detector`.
#[pyfunction]
#[pyo3(signature = (data, labels, *, threshold, sigma, min_area, connectivity, deblend_levels, saddles))]
fn deblend<'py>(
    py: Python<'py>,
    data: Image<'py, f32>,
    labels: Image<'py, i32>,
    threshold: f32,
    sigma: f32,
    min_area: usize,
    connectivity: usize,
    deblend_levels: Option<LevelParts>,
    saddles: Option<(f64, f64)>,
) -> PyResult<Labels<'py>> {
    let deblending = deblending(py, deblend_levels, saddles, None)?;
    let connectivity = checked(py, Connectivity::try_from(connectivity))?;
    let data = images::plane(py, "data", &data)?;
    let labels = images::plane(py, "labels", &labels)?;
    let (labels, n) = threads::run(py, || {
        core::deblend(
            data,
            labels,
            (threshold, sigma),
            min_area,
            connectivity,
            &deblending,
        )
    })?;
    Ok((images::array(py, labels)?, n))
}

/// How the noise of an image is correlated, as Python hands it over.
#[derive(FromPyObject)]
struct NoiseParts<'py> {
    kernels: PyReadonlyArray3<'py, f64>,
    class_map: Image<'py, u8>,
    weight: Option<Image<'py, f32>>,
}

impl NoiseParts<'_> {
    fn view(&self, py: Python<'_>) -> PyResult<Correlation<'_>> {
        let (n_classes, _, side) = self.kernels.as_array().dim();
        let class_map = images::plane(py, "class_map", &self.class_map)?;
        let weight = images::optional_plane(py, "weight", self.weight.as_ref())?;
        let kernels = self.kernels.as_slice()?;
        checked(
            py,
            Correlation::new(kernels, (n_classes, side), class_map, weight),
        )
    }
}

/// An image with what belongs to it, as Python hands it over.
#[derive(FromPyObject)]
struct ImageParts<'py> {
    data: Image<'py, f32>,
    variance: Option<Image<'py, f32>>,
    mask: Option<Image<'py, bool>>,
    saturated: Option<Image<'py, bool>>,
    noise_correlation: f64,
    noise: Option<NoiseParts<'py>>,
    scale: f64,
}

impl ImageParts<'_> {
    fn correlation(&self, py: Python<'_>) -> PyResult<Option<Correlation<'_>>> {
        self.noise.as_ref().map(|noise| noise.view(py)).transpose()
    }

    fn view<'a>(
        &'a self,
        py: Python<'_>,
        correlation: Option<&'a Correlation<'a>>,
    ) -> PyResult<core::MeasureImage<'a>> {
        Ok(core::MeasureImage {
            data: images::plane(py, "data", &self.data)?,
            variance: images::optional_plane(py, "variance", self.variance.as_ref())?,
            mask: images::optional_plane(py, "mask", self.mask.as_ref())?,
            saturated: images::optional_plane(py, "saturated", self.saturated.as_ref())?,
            noise_correlation: self.noise_correlation,
            correlation,
            scale: self.scale,
        })
    }

    fn photometer<'a>(
        &'a self,
        py: Python<'_>,
        correlation: Option<&'a Correlation<'a>>,
        labels: Option<Plane<'a, i32>>,
        neighbours: &str,
    ) -> PyResult<Photometer<'a>> {
        let image = self.view(py, correlation)?;
        Ok(Photometer {
            data: image.data,
            variance: image.variance,
            mask: image.mask,
            labels,
            neighbours: checked(py, Neighbours::from_name(neighbours))?,
            noise_correlation: image.noise_correlation,
            correlation: image.correlation,
        })
    }
}

/// The rows of a table of `N` columns.
fn rows_of<'a, const N: usize>(
    py: Python<'_>,
    name: &'static str,
    table: &'a PyReadonlyArray2<'_, f64>,
) -> PyResult<&'a [[f64; N]]> {
    let found = table.as_array().ncols();
    let columns = (found == N)
        .then_some(())
        .ok_or(SegmentationError::Columns {
            name,
            found,
            expected: N,
        });
    checked(py, columns)?;
    Ok(table.as_slice()?.as_chunks().0)
}

/// Rows `(x, y, a, b, theta, kron_radius)`.
fn held_shapes(py: Python<'_>, rows: &PyReadonlyArray2<'_, f64>) -> PyResult<Vec<HeldShape>> {
    let shape = |row: &[f64; 6]| {
        let &[x, y, a, b, theta, kron_radius] = row;
        HeldShape {
            x,
            y,
            a,
            b,
            theta,
            kron_radius,
        }
    };
    Ok(rows_of(py, "shapes", rows)?.iter().map(shape).collect())
}

/// Shapes and fluxes of all segments, or of those that are wanted: a dict of columns, and under `bands` a list of such dicts.
#[pyfunction]
#[pyo3(signature = (
    labels, detection, kernel, bands, shapes, wanted, *, aperture_radii, kron_factor, kron_min_radius, kron_extent, neighbours, is_extended, has_moving_edges
))]
fn measure<'py>(
    py: Python<'py>,
    labels: Image<'py, i32>,
    detection: ImageParts<'py>,
    kernel: Option<Image<'py, f32>>,
    bands: Vec<ImageParts<'py>>,
    shapes: Option<PyReadonlyArray2<'py, f64>>,
    wanted: Option<PyReadonlyArray1<'py, i32>>,
    aperture_radii: Vec<f64>,
    kron_factor: f64,
    kron_min_radius: f64,
    kron_extent: f64,
    neighbours: &str,
    is_extended: bool,
    has_moving_edges: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let params = MeasureParams {
        aperture_radii,
        kron: KronParams {
            factor: kron_factor,
            min_radius: kron_min_radius,
            extent: kron_extent,
        },
        neighbours: checked(py, Neighbours::from_name(neighbours))?,
        is_extended,
        has_moving_edges,
    };
    let kernel = kernel_of(py, kernel.as_ref())?;
    let labels = images::plane(py, "labels", &labels)?;
    let held = shapes
        .as_ref()
        .map(|rows| held_shapes(py, rows))
        .transpose()?;
    let wanted = wanted.as_ref().map(|w| w.as_slice()).transpose()?;
    let correlation = detection.correlation(py)?;
    let detection = detection.view(py, correlation.as_ref())?;
    let correlations = bands
        .iter()
        .map(|b| b.correlation(py))
        .collect::<PyResult<Vec<_>>>()?;
    let bands = bands
        .iter()
        .zip(&correlations)
        .map(|(b, correlation)| b.view(py, correlation.as_ref()))
        .collect::<PyResult<Vec<_>>>()?;
    let found = threads::run(py, || {
        core::measure(
            labels,
            &detection,
            &kernel,
            &bands,
            held.as_deref(),
            wanted,
            &params,
        )
    })?;
    columns(py, found)
}

fn columns(py: Python<'_>, found: Measurements) -> PyResult<Bound<'_, PyDict>> {
    let bands = found.bands.into_iter().map(|band| band_columns(py, band));
    let bands = bands.collect::<PyResult<Vec<_>>>()?;
    let numbers = [
        ("x", found.x),
        ("x_err", found.x_err),
        ("y", found.y),
        ("y_err", found.y_err),
        ("xy_cov", found.xy_cov),
        ("x2", found.x2),
        ("y2", found.y2),
        ("xy", found.xy),
        ("a", found.a),
        ("b", found.b),
        ("theta", found.theta),
        ("kron_radius", found.kron_radius),
        ("r_half", found.r_half),
        ("reach_x", found.reach.iter().map(|r| r[0]).collect()),
        ("reach_y", found.reach.iter().map(|r| r[1]).collect()),
        ("x_win", found.x_win),
        ("x_win_err", found.x_win_err),
        ("y_win", found.y_win),
        ("y_win_err", found.y_win_err),
        ("xy_win_cov", found.xy_win_cov),
        ("r_20", found.r_20),
        ("r_80", found.r_80),
    ];
    let table = numbers
        .map(|(name, column)| (name, column.into_pyarray(py)))
        .into_py_dict(py)?;
    table.set_item("label", found.label.into_pyarray(py))?;
    table.set_item("x_peak", found.x_peak.into_pyarray(py))?;
    table.set_item("y_peak", found.y_peak.into_pyarray(py))?;
    table.set_item("area", found.area.into_pyarray(py))?;
    table.set_item("flags", found.flags.into_pyarray(py))?;
    table.set_item("bands", bands)?;
    Ok(table)
}

fn band_columns(py: Python<'_>, band: BandMeasurements) -> PyResult<Bound<'_, PyDict>> {
    let named = |name: &str, column: Vec<f64>| (name.to_owned(), column.into_pyarray(py));
    let circles = band
        .flux_aper
        .into_iter()
        .zip(band.flux_aper_err)
        .zip(1..)
        .flat_map(|((flux, error), k)| {
            [
                named(&format!("flux_aper{k}"), flux),
                named(&format!("flux_aper{k}_err"), error),
            ]
        });
    let table = [
        named("flux_iso", band.flux_iso),
        named("flux_iso_err", band.flux_iso_err),
        named("flux_auto", band.flux_auto),
        named("flux_auto_err", band.flux_auto_err),
        named("flux_auto_err_total", band.flux_auto_err_total),
        named("flux_total", band.flux_total),
        named("flux_total_err", band.flux_total_err),
    ]
    .into_iter()
    .chain(circles)
    .chain([named("peak", band.peak)])
    .into_py_dict(py)?;
    table.set_item("flags", band.flags.into_pyarray(py))?;
    Ok(table)
}

/// Sums over the apertures `(x, y, a, b, theta)`: flux, error, and the foreign, bad and missing fractions of the area.
#[pyfunction]
#[pyo3(signature = (image, labels, apertures, owner, *, neighbours))]
fn sum_apertures<'py>(
    py: Python<'py>,
    image: ImageParts<'py>,
    labels: Option<Image<'py, i32>>,
    apertures: PyReadonlyArray2<'py, f64>,
    owner: PyReadonlyArray1<'py, i32>,
    neighbours: &str,
) -> PyResult<[Column<'py>; 5]> {
    let labels = images::optional_plane(py, "labels", labels.as_ref())?;
    let correlation = image.correlation(py)?;
    let photometer = image.photometer(py, correlation.as_ref(), labels, neighbours)?;
    let (apertures, owner) = (rows_of(py, "apertures", &apertures)?, owner.as_slice()?);
    let sums = threads::run(py, || core::sum_apertures(&photometer, apertures, owner))?;
    Ok(
        [sums.flux, sums.error, sums.foreign, sums.bad, sums.missing]
            .map(|column| column.into_pyarray(py)),
    )
}

/// First moments of the light in units of the ellipses `(x, y, a, b, theta)`.
#[pyfunction]
#[pyo3(signature = (image, labels, ellipses, owner, *, extent, neighbours))]
fn kron_radii<'py>(
    py: Python<'py>,
    image: ImageParts<'py>,
    labels: Option<Image<'py, i32>>,
    ellipses: PyReadonlyArray2<'py, f64>,
    owner: PyReadonlyArray1<'py, i32>,
    extent: f64,
    neighbours: &str,
) -> PyResult<Column<'py>> {
    let labels = images::optional_plane(py, "labels", labels.as_ref())?;
    let photometer = image.photometer(py, None, labels, neighbours)?;
    let (ellipses, owner) = (rows_of(py, "ellipses", &ellipses)?, owner.as_slice()?);
    let radii = threads::run(py, || {
        core::kron_radii(&photometer, ellipses, owner, extent)
    })?;
    Ok(radii.into_pyarray(py))
}

/// Rows `label, y0, y1, x0, x1, area` of all labels; `y1`, `x1` are the last ones.
#[pyfunction]
fn extents(py: Python<'_>, labels: Image<'_, i32>) -> PyResult<Vec<[i64; 6]>> {
    let labels = images::plane(py, "labels", &labels)?;
    let found = threads::run(py, || core::extents(labels))?;
    Ok(found
        .iter()
        .map(|(&label, e)| {
            let [y0, y1, x0, x1, area] = [e.y[0], e.y[1], e.x[0], e.x[1], e.area].map(|v| v as i64);
            [i64::from(label), y0, y1, x0, x1, area]
        })
        .collect())
}

/// Distance of every pixel to the nearest True pixel.
#[pyfunction]
fn distance_to<'py>(
    py: Python<'py>,
    mask: Image<'py, bool>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let mask = images::plane(py, "mask", &mask)?;
    let found = threads::run(py, || Ok::<_, SegmentationError>(core::distance_to(mask)))?;
    images::array(py, found)
}

/// Pixels `y, x` by decreasing value that are apart from each other.
#[pyfunction]
fn farthest_places(
    py: Python<'_>,
    distance: Image<'_, f32>,
    threshold: f32,
    separation: f64,
    n_places: usize,
) -> PyResult<Vec<[usize; 2]>> {
    let distance = images::plane(py, "distance", &distance)?;
    threads::run(py, || {
        Ok::<_, SegmentationError>(core::farthest_places(
            distance, threshold, separation, n_places,
        ))
    })
}

/// Segments that grow from their peaks: labels, and the columns and rows of the peaks.
#[pyfunction]
#[pyo3(signature = (data, *, threshold, reach, min_area))]
fn peak_first<'py>(
    py: Python<'py>,
    data: Image<'py, f32>,
    threshold: f32,
    reach: usize,
    min_area: usize,
) -> PyResult<PeakLabels<'py>> {
    let params = core::PeakParams {
        threshold,
        reach,
        min_area,
    };
    let data = images::plane(py, "data", &data)?;
    let found = threads::run(py, || core::peak_first(data, &params))?;
    Ok((
        images::array(py, found.labels)?,
        found.x.into_pyarray(py),
        found.y.into_pyarray(py),
    ))
}

/// The filtered image in units of its noise.
#[pyfunction]
fn filtered_snr<'py>(
    py: Python<'py>,
    data: Image<'py, f32>,
    error: Option<Image<'py, f32>>,
    sigma: f32,
    mask: Option<Image<'py, bool>>,
    kernel: Option<Image<'py, f32>>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let kernel = kernel_of(py, kernel.as_ref())?;
    let data = images::plane(py, "data", &data)?;
    let error = images::optional_plane(py, "error", error.as_ref())?;
    let mask = images::optional_plane(py, "mask", mask.as_ref())?;
    let noise = error.map_or(Noise::Constant(sigma), Noise::Image);
    let snr = threads::run(py, || core::filtered_snr(data, noise, mask, &kernel))?;
    images::array(py, snr)
}

/// Sums of an image and its variance over every segment.
#[pyfunction]
fn segment_sums<'py>(
    py: Python<'py>,
    labels: Image<'py, i32>,
    data: Image<'py, f32>,
    variance: Image<'py, f32>,
) -> PyResult<Bound<'py, PyDict>> {
    let labels = images::plane(py, "labels", &labels)?;
    let data = images::plane(py, "data", &data)?;
    let variance = images::plane(py, "variance", &variance)?;
    let found = threads::run(py, || core::segment_sums(labels, data, variance))?;
    let table = PyDict::new(py);
    table.set_item("label", found.label.into_pyarray(py))?;
    table.set_item("area", found.area.into_pyarray(py))?;
    table.set_item("n_good", found.n_good.into_pyarray(py))?;
    table.set_item("flux", found.flux.into_pyarray(py))?;
    table.set_item("variance", found.variance.into_pyarray(py))?;
    Ok(table)
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(label, m)?)?;
    m.add_function(wrap_pyfunction!(label_and_tally, m)?)?;
    m.add_function(wrap_pyfunction!(convolve, m)?)?;
    m.add_function(wrap_pyfunction!(filtered_noise, m)?)?;
    m.add_function(wrap_pyfunction!(negative_depths, m)?)?;
    m.add_function(wrap_pyfunction!(sampled_rows, m)?)?;
    m.add_function(wrap_pyfunction!(noise_of_depths, m)?)?;
    m.add_class::<Detector>()?;
    m.add_class::<Detected>()?;
    m.add_function(wrap_pyfunction!(deblend, m)?)?;
    m.add_function(wrap_pyfunction!(measure, m)?)?;
    m.add_function(wrap_pyfunction!(sum_apertures, m)?)?;
    m.add_function(wrap_pyfunction!(kron_radii, m)?)?;
    m.add_function(wrap_pyfunction!(extents, m)?)?;
    m.add_function(wrap_pyfunction!(distance_to, m)?)?;
    m.add_function(wrap_pyfunction!(farthest_places, m)?)?;
    m.add_function(wrap_pyfunction!(peak_first, m)?)?;
    m.add_function(wrap_pyfunction!(filtered_snr, m)?)?;
    m.add_function(wrap_pyfunction!(segment_sums, m)?)
}
