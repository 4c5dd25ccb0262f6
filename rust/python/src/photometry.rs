//! `skymere._rust.photometry`.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::photometry::{self as core, Column, Drawer, PhotometryError, PsfNodes, Rows};
use skymere_core::profiles::Sersic;

use crate::{images, threads};

/// What sources of flux 1 show on an image, and which of them overlap.
#[pyclass(frozen, module = "skymere._rust.photometry")]
struct Templates {
    inner: core::Templates,
    light: Vec<f64>,
}

#[pymethods]
impl Templates {
    /// Profiles, rows `(x, y, flux, r_e, n, q, theta)`, behind the PSF nodes; `windows` and `values` are those of given
    /// stamps.
    #[new]
    #[pyo3(signature = (rows, shape, psf, psf_x, psf_y, *, oversampling, enclosed, max_half, given, windows, values))]
    fn new(
        py: Python<'_>,
        rows: PyReadonlyArray2<'_, f64>,
        shape: (usize, usize),
        psf: PyReadonlyArray2<'_, f64>,
        psf_x: PyReadonlyArray1<'_, f64>,
        psf_y: PyReadonlyArray1<'_, f64>,
        oversampling: usize,
        enclosed: f64,
        max_half: usize,
        given: Vec<usize>,
        windows: Vec<[usize; 4]>,
        values: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Self> {
        let rows = images::plane(py, "rows", &rows)?;
        let psf = images::plane(py, "psf", &psf)?;
        let (x, y, values) = (psf_x.as_slice()?, psf_y.as_slice()?, values.as_slice()?);
        threads::run(py, || {
            let nodes = PsfNodes::new(psf, x, y, oversampling)?;
            let sources = Sersic::of_rows(rows)?;
            let (mut stamps, light) = core::draw(&sources, &nodes, shape, enclosed, max_half)?;
            core::replace(&mut stamps, shape, &given, &windows, values)?;
            Ok::<_, PhotometryError>(Self {
                inner: core::Templates::new(shape, stamps),
                light,
            })
        })
    }

    /// Light of each drawn stamp before it was cut to the image.
    fn light<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.light.clone().into_pyarray(py)
    }

    /// Light of each stamp on the image.
    fn inside<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let light = threads::run(py, || Ok::<_, PhotometryError>(self.inner.light()))?;
        Ok(light.into_pyarray(py))
    }

    /// First row, first column and shape of a stamp.
    fn window(&self, source: usize) -> Option<[usize; 4]> {
        self.inner.window(source)
    }

    /// The values of a stamp, row after row.
    fn values<'py>(&self, py: Python<'py>, source: usize) -> Bound<'py, PyArray1<f32>> {
        self.inner.values(source).into_pyarray(py)
    }

    /// Where the pairs of each source with later ones begin.
    fn offsets<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<usize>> {
        self.inner.offsets().to_vec().into_pyarray(py)
    }

    /// The later sources of all pairs.
    fn neighbours<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        self.inner.neighbours().to_vec().into_pyarray(py)
    }

    /// Sum of all models and columns at some rows of the image.
    #[pyo3(signature = (fluxes, powers, planes, levels, first, n_rows))]
    fn model<'py>(
        &self,
        py: Python<'py>,
        fluxes: PyReadonlyArray1<'py, f64>,
        powers: Vec<(i32, i32)>,
        planes: Option<PyReadonlyArray2<'py, f32>>,
        levels: PyReadonlyArray1<'py, f64>,
        first: usize,
        n_rows: usize,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let planes = images::optional_plane(py, "planes", planes.as_ref())?;
        let (fluxes, levels) = (fluxes.as_slice()?, levels.as_slice()?);
        let image = threads::run(py, || {
            let columns = Column::list(&powers, planes, n_rows)?;
            core::add_models(&self.inner, fluxes, &columns, levels, first, n_rows)
        })?;
        images::array(py, image)
    }

    /// Sum of the derivatives by moves along x and y, times factors.
    fn moved<'py>(
        &self,
        py: Python<'py>,
        by_x: PyReadonlyArray1<'py, f64>,
        by_y: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (by_x, by_y) = (by_x.as_slice()?, by_y.as_slice()?);
        let image = threads::run(py, || core::moved(&self.inner, by_x, by_y))?;
        images::array(py, image)
    }

    /// What noise of blank positions adds to each flux, of variances, covariances of pairs and with columns.
    #[pyo3(signature = (variance, pairs, border, powers, planes, noise, weight, places, positions, radius))]
    fn simulate<'py>(
        &self,
        py: Python<'py>,
        variance: PyReadonlyArray1<'py, f64>,
        pairs: PyReadonlyArray1<'py, f64>,
        border: PyReadonlyArray1<'py, f64>,
        powers: Vec<(i32, i32)>,
        planes: Option<PyReadonlyArray2<'py, f32>>,
        noise: PyReadonlyArray2<'py, f32>,
        weight: PyReadonlyArray2<'py, f32>,
        places: Vec<[f64; 2]>,
        positions: Vec<[f64; 2]>,
        radius: f64,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let planes = images::optional_plane(py, "planes", planes.as_ref())?;
        let noise = images::plane(py, "noise", &noise)?;
        let weight = images::plane(py, "weight", &weight)?;
        let inverse = core::Inverse {
            variance: variance.as_slice()?.to_vec(),
            pairs: pairs.as_slice()?.to_vec(),
            border: border.as_slice()?.to_vec(),
            corner: Vec::new(),
        };
        let found = threads::run(py, || {
            let columns = Column::list(&powers, planes, noise.shape().0)?;
            core::simulate(
                &self.inner,
                &inverse,
                &columns,
                noise,
                weight,
                &places,
                &positions,
                radius,
            )
        })?;
        images::array(py, found)
    }

    /// Variances of fluxes that covariances of shapes give; rows and PSF are those that the templates were drawn with.
    #[pyo3(signature = (rows, psf, psf_x, psf_y, *, oversampling, enclosed, max_half, variance, pairs, border, powers,
                        weight, fluxes, covariances))]
    fn shape_variances<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray2<'py, f64>,
        psf: PyReadonlyArray2<'py, f64>,
        psf_x: PyReadonlyArray1<'py, f64>,
        psf_y: PyReadonlyArray1<'py, f64>,
        oversampling: usize,
        enclosed: f64,
        max_half: usize,
        variance: PyReadonlyArray1<'py, f64>,
        pairs: PyReadonlyArray1<'py, f64>,
        border: PyReadonlyArray1<'py, f64>,
        powers: Vec<(i32, i32)>,
        weight: PyReadonlyArray2<'py, f32>,
        fluxes: PyReadonlyArray1<'py, f64>,
        covariances: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let rows = images::plane(py, "rows", &rows)?;
        let psf = images::plane(py, "psf", &psf)?;
        let weight = images::plane(py, "weight", &weight)?;
        let (x, y) = (psf_x.as_slice()?, psf_y.as_slice()?);
        let (fluxes, covariances) = (fluxes.as_slice()?, covariances.as_slice()?);
        let inverse = core::Inverse {
            variance: variance.as_slice()?.to_vec(),
            pairs: pairs.as_slice()?.to_vec(),
            border: border.as_slice()?.to_vec(),
            corner: Vec::new(),
        };
        let found = threads::run(py, || {
            let nodes = PsfNodes::new(psf, x, y, oversampling)?;
            let sources = Sersic::of_rows(rows)?;
            let shape = self.inner.shape();
            let drawer = Drawer::new(&sources, &nodes, shape, enclosed, max_half)?;
            let columns = Column::list(&powers, None, weight.shape().0)?;
            core::shape_variances(
                &drawer,
                &self.inner,
                &inverse,
                &columns,
                weight,
                fluxes,
                covariances,
            )
        })?;
        Ok(found.into_pyarray(py))
    }

    /// For each source chi square, pixels, seen part, move along x and y, and its significance.
    fn fits<'py>(
        &self,
        py: Python<'py>,
        fluxes: PyReadonlyArray1<'py, f64>,
        residual: PyReadonlyArray2<'py, f32>,
        weight: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let residual = images::plane(py, "residual", &residual)?;
        let weight = images::plane(py, "weight", &weight)?;
        let fluxes = fluxes.as_slice()?;
        let table = threads::run(py, || {
            core::fits_of(&self.inner, fluxes, residual, weight).map(|fits| core::table_of(&fits))
        })?;
        images::array(py, table)
    }
}

/// Normal equations of templates and of columns that cover the image.
#[pyclass(module = "skymere._rust.photometry")]
struct Normal(core::Normal);

#[pymethods]
impl Normal {
    #[new]
    fn new(templates: &Templates, n_columns: usize) -> Self {
        Self(core::Normal::new(&templates.inner, n_columns))
    }

    /// Add rows of the image, which come in their order.
    #[pyo3(signature = (templates, data, weight, powers, planes, first))]
    fn add(
        &mut self,
        py: Python<'_>,
        templates: &Templates,
        data: PyReadonlyArray2<'_, f32>,
        weight: PyReadonlyArray2<'_, f32>,
        powers: Vec<(i32, i32)>,
        planes: Option<PyReadonlyArray2<'_, f32>>,
        first: usize,
    ) -> PyResult<()> {
        let data = images::plane(py, "data", &data)?;
        let weight = images::plane(py, "weight", &weight)?;
        let planes = images::optional_plane(py, "planes", planes.as_ref())?;
        threads::run(py, || {
            let columns = Column::list(&powers, planes, data.shape().0)?;
            let rows = Rows {
                first,
                data,
                weight,
            };
            self.0.add(&templates.inner, &columns, &rows)
        })
    }

    /// The diagonal of the sources.
    fn diagonal<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.0.diagonal().into_pyarray(py)
    }

    /// The pairs of sources.
    fn pairs<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.0.pairs().into_pyarray(py)
    }

    /// The right side.
    fn right<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.0.right().into_pyarray(py)
    }

    /// The matrix times a vector.
    fn multiply<'py>(
        &self,
        py: Python<'py>,
        templates: &Templates,
        vector: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let vector = vector.as_slice()?;
        let product = threads::run(py, || self.0.multiply(&templates.inner, vector))?;
        Ok(product.into_pyarray(py))
    }
}

/// The factor of normal equations.
#[pyclass(frozen, module = "skymere._rust.photometry")]
struct Factor(core::Factor);

type Columns<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
);

#[pymethods]
impl Factor {
    #[new]
    fn new(
        py: Python<'_>,
        normal: &Normal,
        templates: &Templates,
        active: PyReadonlyArray1<'_, bool>,
    ) -> PyResult<Self> {
        let active = active.as_slice()?;
        threads::run(py, || {
            core::Factor::new(&normal.0, &templates.inner, active)
        })
        .map(Self)
    }

    /// Unknowns that others determine already.
    #[getter]
    fn failed(&self) -> Vec<u32> {
        self.0.failed().to_vec()
    }

    /// Numbers in the factor.
    #[getter]
    fn n_values(&self) -> usize {
        self.0.n_values()
    }

    /// Solve for a right side.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        right: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let right = right.as_slice()?;
        let found = threads::run(py, || self.0.solve(right))?;
        Ok(found.into_pyarray(py))
    }

    /// Variances, covariances of pairs, with columns, and among columns.
    fn inverse<'py>(&self, py: Python<'py>, n_pairs: usize) -> PyResult<Columns<'py>> {
        let found = threads::run(py, || {
            Ok::<_, PhotometryError>(core::Inverse::new(&self.0, n_pairs))
        })?;
        Ok((
            found.variance.into_pyarray(py),
            found.pairs.into_pyarray(py),
            found.border.into_pyarray(py),
            found.corner.into_pyarray(py),
        ))
    }
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Factor>()?;
    m.add_class::<Normal>()?;
    m.add_class::<Templates>()
}
