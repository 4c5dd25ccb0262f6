//! `skymere._rust.profiles`.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use skymere_core::profiles::{
    self, Asked, Bounds, Family, Fit, Likelihood, N_SHAPE, N_SKY, Plan, Profile, ProfileError,
    Psfs, SceneImages, SceneParams, StampParams, StampSizes, Stamps, Stop,
};

use crate::{errors, images, threads};

/// Family, whether it is a point, the component whose centre it shares, start and bounds.
type AskedWords = (f64, bool, Option<usize>, [f64; N_SHAPE], [Bounds; N_SHAPE]);

/// What all fits take.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct FitWords {
    asked: Vec<AskedWords>,
    reach: f64,
    sky: [Bounds; N_SKY],
    is_poisson: bool,
    n_starts: usize,
    max_evaluations: usize,
    tolerance: f64,
}

impl FitWords {
    fn params(&self) -> StampParams {
        StampParams {
            reach: self.reach,
            sky: self.sky,
            n_starts: self.n_starts,
            stop: Stop {
                max_evaluations: self.max_evaluations,
                tolerance: self.tolerance,
            },
        }
    }

    fn likelihood(&self) -> Likelihood {
        if self.is_poisson {
            Likelihood::Poisson
        } else {
            Likelihood::Gaussian
        }
    }
}

/// The PSF: images below each other for the nodes of a grid of places.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PsfWords<'py> {
    images: PyReadonlyArray2<'py, f64>,
    x: Vec<f64>,
    y: Vec<f64>,
    centre: (f64, f64),
    oversampling: usize,
    has_pixel: bool,
}

impl PsfWords<'_> {
    fn psfs(&self, py: Python<'_>) -> PyResult<Psfs<'_>> {
        let all = images::plane(py, "psf", &self.images)?;
        Psfs::new(
            all,
            self.x.clone(),
            self.y.clone(),
            self.centre,
            self.oversampling,
            self.has_pixel,
        )
        .map_err(|error| errors::from_room(py, &error))
    }
}

/// What is asked of one source of a scene.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PlanWords<'py> {
    label: i32,
    asked: Vec<AskedWords>,
    start_sky: f64,
    sky: Option<[Bounds; N_SKY]>,
    is_held: bool,
    together: Option<i32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
}

impl PlanWords<'_> {
    fn plan(&self, py: Python<'_>) -> PyResult<Plan<'_>> {
        Ok(Plan {
            label: self.label,
            asked: asked(py, &self.asked)?,
            sky: self.start_sky,
            sky_bounds: self.sky,
            is_held: self.is_held,
            together: self.together,
            mask: images::optional_plane(py, "mask", self.mask.as_ref())?,
        })
    }
}

fn asked(py: Python<'_>, words: &[AskedWords]) -> PyResult<Vec<Asked>> {
    let one = |&(family, is_point, centre_of, given, bounds): &AskedWords| {
        Ok(Asked {
            family: Family::of_number(family)?,
            is_point,
            given,
            bounds,
            centre_of,
        })
    };
    let all: Result<Vec<Asked>, ProfileError> = words.iter().map(one).collect();
    all.map_err(|error| errors::from_room(py, &error))
}

/// Profiles, rows `(family, x, y, flux, r_e, n, q, theta)`, integrated over the pixels.
#[pyfunction]
fn render_integrated<'py>(
    py: Python<'py>,
    sources: PyReadonlyArray2<'py, f64>,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let sources = images::plane(py, "sources", &sources)?;
    let image = threads::run(py, || {
        profiles::render_integrated(&Profile::of_rows(sources)?, shape)
    })?;
    images::array(py, image)
}

/// Profiles, rows `(family, x, y, flux, r_e, n, q, theta)`, convolved with an image of the PSF.
#[pyfunction]
fn render_convolved<'py>(
    py: Python<'py>,
    sources: PyReadonlyArray2<'py, f64>,
    psf: PsfWords<'py>,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let sources = images::plane(py, "sources", &sources)?;
    let psfs = psf.psfs(py)?;
    let image = threads::run(py, || {
        psfs.convolver((0.0, 0.0), shape)?
            .draw(&Profile::of_rows(sources)?)
    })?;
    images::array(py, image)
}

type DrawnStamps<'py> = (Vec<Bound<'py, PyArray2<f64>>>, Vec<(i64, i64)>, Vec<String>);

/// Stamps of sources, each of which is some of the rows, as the numbers of rows say: images, their first pixels `(y, x)`,
/// and messages.
#[pyfunction]
fn draw_stamps<'py>(
    py: Python<'py>,
    rows: PyReadonlyArray2<'py, f64>,
    n_rows: Vec<usize>,
    psf: Option<PsfWords<'py>>,
    enclosed: f64,
    max_half: usize,
) -> PyResult<DrawnStamps<'py>> {
    let rows = images::plane(py, "rows", &rows)?;
    let psfs = psf.as_ref().map(|psf| psf.psfs(py)).transpose()?;
    let found = threads::run(py, || {
        let mut all = Profile::of_rows(rows)?.into_iter();
        let sources: Vec<Vec<Profile>> = n_rows
            .iter()
            .map(|&n| all.by_ref().take(n).collect())
            .collect();
        profiles::draw_stamps(&sources, psfs.as_ref(), enclosed, max_half)
    })?;
    let corners = found
        .iter()
        .map(|one| one.as_ref().map_or((0, 0), |s| s.corner));
    let corners = corners.collect();
    let message = |one: &Result<_, ProfileError>| {
        one.as_ref()
            .err()
            .map_or_else(String::new, ToString::to_string)
    };
    let messages = found.iter().map(message).collect();
    let image = |one: Result<profiles::StampOf, ProfileError>| {
        let image = one.map(|stamp| stamp.image);
        images::array(
            py,
            image.unwrap_or_else(|_| skymere_core::image::Image::empty((0, 0))),
        )
    };
    let stamps: PyResult<Vec<_>> = found.into_iter().map(image).collect();
    Ok((stamps?, corners, messages))
}

type Fits<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyArray1<f64>>,
    Vec<String>,
);

/// One source fitted to each of many stamps: flat arrays of the parameters of each component and of the sky, of their
/// covariances, of `Fit::numbers`, of what lies on a bound, and of the start, and messages.
#[pyfunction]
#[pyo3(signature = (data, variance, mask, psf, start, fits))]
fn fit_stamps<'py>(
    py: Python<'py>,
    data: PyReadonlyArray3<'py, f32>,
    variance: PyReadonlyArray3<'py, f32>,
    mask: Option<PyReadonlyArray3<'py, bool>>,
    psf: PsfWords<'py>,
    start: PyReadonlyArray2<'py, f64>,
    fits: FitWords,
) -> PyResult<(Fits<'py>, Bound<'py, PyArray1<f64>>)> {
    let psfs = psf.psfs(py)?;
    let asked = asked(py, &fits.asked)?;
    let (ny, nx) = (data.shape()[1], data.shape()[2]);
    let stamps = Stamps {
        data: data.as_slice()?,
        variance: variance.as_slice()?,
        mask: mask.as_ref().map(|m| m.as_slice()).transpose()?,
        likelihood: fits.likelihood(),
    };
    let start = start.as_slice()?;
    let found = threads::run(py, || {
        let convolver = psfs.convolver((0.0, 0.0), (ny, nx))?;
        let start = start.as_chunks().0;
        profiles::fit_stamps(&convolver, &stamps, start, &asked, &fits.params())
    })?;
    let families: Vec<Family> = asked.iter().map(|one| one.family).collect();
    let row = |one: Result<Fit, ProfileError>| match one {
        Ok(fit) => (fit, String::new()),
        Err(error) => (Fit::none(&families), error.to_string()),
    };
    let rows: Vec<(Fit, String)> = found.into_iter().map(row).collect();
    let joint = joint(py, &rows);
    Ok((flat(py, &rows), joint))
}

/// Covariances of all parameters of each fit, one after another.
fn joint<'py>(py: Python<'py>, rows: &[(Fit, String)]) -> Bound<'py, PyArray1<f64>> {
    let values = rows
        .iter()
        .flat_map(|(fit, _)| fit.covariance.iter().copied());
    values.collect::<Vec<f64>>().into_pyarray(py)
}

/// What the table of fits is made of.
fn flat<'py>(py: Python<'py>, rows: &[(Fit, String)]) -> Fits<'py> {
    let single = |(fit, message): &(Fit, String)| -> Vec<(Fit, String)> {
        let one = |c: usize| (fit.of_sources(c..c + 1), message.clone());
        (0..fit.sources.len()).map(one).collect()
    };
    let rows: Vec<(Fit, String)> = rows.iter().flat_map(single).collect();
    let all = |of: &dyn Fn(&Fit) -> Vec<f64>| -> Bound<'py, PyArray1<f64>> {
        let values: Vec<f64> = rows.iter().flat_map(|(fit, _)| of(fit)).collect();
        values.into_pyarray(py)
    };
    let values = |sources: &[Profile], sky: [f64; N_SKY]| -> Vec<f64> {
        sources.iter().flat_map(Profile::row).chain(sky).collect()
    };
    let on_bound: Vec<bool> = rows
        .iter()
        .flat_map(|(fit, _)| fit.on_bound.clone())
        .collect();
    (
        all(&|fit| values(&fit.sources, fit.sky)),
        all(&|fit| fit.covariance.clone()),
        all(&Fit::numbers),
        on_bound.into_pyarray(py),
        all(&|fit| values(&fit.start, fit.start_sky)),
        rows.into_iter().map(|(_, message)| message).collect(),
    )
}

type SceneFits<'py> = (
    Fits<'py>,
    Bound<'py, PyArray1<f64>>,
    Vec<i32>,
    Vec<Vec<i32>>,
    Bound<'py, PyArray2<f32>>,
);

/// What stamps and groups of a scene take.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct SceneWords {
    sizes: (f64, f64, f64),
    max_radii: f64,
    max_members: usize,
    n_passes: usize,
}

/// All segments of an image fitted in groups: what `fit_stamps` returns for each component of each, the covariances of all
/// parameters of each segment, and for each of them the label and the labels of its group; and the sum of the models.
#[pyfunction]
#[pyo3(signature = (data, variance, mask, labels, psf, plans, fits, scene))]
fn fit_scene<'py>(
    py: Python<'py>,
    data: PyReadonlyArray2<'py, f32>,
    variance: PyReadonlyArray2<'py, f32>,
    mask: Option<PyReadonlyArray2<'py, bool>>,
    labels: PyReadonlyArray2<'py, i32>,
    psf: PsfWords<'py>,
    plans: Vec<PlanWords<'py>>,
    fits: FitWords,
    scene: SceneWords,
) -> PyResult<SceneFits<'py>> {
    let psfs = psf.psfs(py)?;
    let images = SceneImages {
        data: images::plane(py, "data", &data)?,
        variance: images::plane(py, "variance", &variance)?,
        mask: images::optional_plane(py, "mask", mask.as_ref())?,
        labels: images::plane(py, "labels", &labels)?,
        psfs: &psfs,
    };
    let plans = plans.iter().map(|plan| plan.plan(py));
    let plans = plans.collect::<PyResult<Vec<Plan<'_>>>>()?;
    let (least, radii, window) = scene.sizes;
    let params = SceneParams {
        fits: fits.params(),
        asked: asked(py, &fits.asked)?,
        sizes: StampSizes {
            least,
            radii,
            reach: window,
        },
        max_radii: scene.max_radii,
        max_members: scene.max_members,
        n_passes: scene.n_passes,
        likelihood: fits.likelihood(),
    };
    let (sources, model) = threads::run(py, || profiles::fit_scene(&images, &plans, &params))?;
    let labels = sources.iter().map(|s| s.label).collect();
    let members = sources.iter().map(|s| s.members.clone()).collect();
    let rows: Vec<(Fit, String)> = sources.into_iter().map(|s| (s.fit, s.message)).collect();
    let joint = joint(py, &rows);
    let model = images::array(py, model)?;
    Ok((flat(py, &rows), joint, labels, members, model))
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(draw_stamps, m)?)?;
    m.add_function(wrap_pyfunction!(fit_scene, m)?)?;
    m.add_function(wrap_pyfunction!(fit_stamps, m)?)?;
    m.add_function(wrap_pyfunction!(render_convolved, m)?)?;
    m.add_function(wrap_pyfunction!(render_integrated, m)?)
}
