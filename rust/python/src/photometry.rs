//! `skymere._rust.photometry`.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use skymere_core::photometry::{self as core, Column, PhotometryError, PsfNodes, Rows};

use crate::{images, threads};

/// Draws templates of an image; they share what its PSF costs.
#[pyclass(frozen, module = "skymere._rust.photometry")]
struct Drawer(core::Drawer);

#[pymethods]
impl Drawer {
    /// Of the PSF nodes of an image of `shape`.
    #[new]
    #[pyo3(signature = (psf, psf_x, psf_y, shape, *, oversampling, enclosed, max_half))]
    fn new(
        py: Python<'_>,
        psf: PyReadonlyArray2<'_, f64>,
        psf_x: PyReadonlyArray1<'_, f64>,
        psf_y: PyReadonlyArray1<'_, f64>,
        shape: (usize, usize),
        oversampling: usize,
        enclosed: f64,
        max_half: usize,
    ) -> PyResult<Self> {
        let psf = images::plane(py, "psf", &psf)?;
        let (x, y) = (psf_x.as_slice()?, psf_y.as_slice()?);
        threads::run(py, || {
            let nodes = PsfNodes::new(psf, x, y, oversampling)?;
            Ok::<_, PhotometryError>(Self(core::Drawer::new(nodes, shape, enclosed, max_half)))
        })
    }

    /// First row and column and number of both of the stamps of rows `(family, x, y, flux, r_e, n, q, theta)`.
    fn windows(
        &self,
        py: Python<'_>,
        rows: PyReadonlyArray1<'_, f64>,
    ) -> PyResult<Vec<[usize; 4]>> {
        let rows = rows.as_slice()?;
        threads::run(py, || {
            let sources = core::sources_of(rows)?;
            Ok::<_, PhotometryError>(self.0.windows(&sources))
        })
    }

    /// Templates of `n_sources` of components, rows `(family, x, y, flux, r_e, n, q, theta)`, that they own; `windows`,
    /// `values`, `by_x` and `by_y` are those of given stamps.
    #[pyo3(signature = (rows, owners, n_sources, *, has_moves, given, windows, values, by_x, by_y))]
    fn templates(
        &self,
        py: Python<'_>,
        rows: PyReadonlyArray1<'_, f64>,
        owners: Vec<usize>,
        n_sources: usize,
        has_moves: bool,
        given: Vec<usize>,
        windows: Vec<[usize; 4]>,
        values: PyReadonlyArray1<'_, f32>,
        by_x: PyReadonlyArray1<'_, f32>,
        by_y: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Templates> {
        let rows = rows.as_slice()?;
        let planes = [values.as_slice()?, by_x.as_slice()?, by_y.as_slice()?];
        threads::run(py, || {
            let shape = self.0.shape();
            let components = core::sources_of(rows)?;
            let mut stamps = self.0.draw(&components, &owners, n_sources, has_moves)?;
            core::replace(&mut stamps, shape, &given, &windows, planes)?;
            Ok::<_, PhotometryError>(Templates(core::Templates::new(shape, stamps)))
        })
    }

    /// Variances of fluxes that covariances of the components' shapes give; rows and owners are those of the templates.
    #[pyo3(signature = (templates, rows, owners, *, variance, pairs, border, powers, planes, weight, fluxes,
                        covariances))]
    fn shape_variances<'py>(
        &self,
        py: Python<'py>,
        templates: &Templates,
        rows: PyReadonlyArray1<'py, f64>,
        owners: Vec<usize>,
        variance: PyReadonlyArray1<'py, f64>,
        pairs: PyReadonlyArray1<'py, f64>,
        border: PyReadonlyArray1<'py, f64>,
        powers: Vec<(i32, i32)>,
        planes: Option<PyReadonlyArray2<'py, f32>>,
        weight: PyReadonlyArray2<'py, f32>,
        fluxes: PyReadonlyArray1<'py, f64>,
        covariances: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let rows = rows.as_slice()?;
        let planes = images::optional_plane(py, "planes", planes.as_ref())?;
        let weight = images::plane(py, "weight", &weight)?;
        let (fluxes, covariances) = (fluxes.as_slice()?, covariances.as_slice()?);
        let inverse = core::Inverse {
            variance: variance.as_slice()?.to_vec(),
            pairs: pairs.as_slice()?.to_vec(),
            border: border.as_slice()?.to_vec(),
            corner: Vec::new(),
        };
        let found = threads::run(py, || {
            let components = core::sources_of(rows)?;
            let columns = Column::list(&powers, planes, weight.shape().0)?;
            core::shape_variances(
                &self.0,
                &components,
                &owners,
                &templates.0,
                &inverse,
                &columns,
                weight,
                fluxes,
                covariances,
            )
        })?;
        Ok(found.into_pyarray(py))
    }
}

/// What sources of flux 1 show on an image, and which of them overlap.
#[pyclass(frozen, module = "skymere._rust.photometry")]
struct Templates(core::Templates);

#[pymethods]
impl Templates {
    /// Light of each stamp on the image.
    fn light<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let light = threads::run(py, || Ok::<_, PhotometryError>(self.0.light()))?;
        Ok(light.into_pyarray(py))
    }

    /// First row, first column and shape of a stamp.
    fn window(&self, source: usize) -> Option<[usize; 4]> {
        self.0.window(source)
    }

    /// The values of a stamp, row after row.
    fn values<'py>(&self, py: Python<'py>, source: usize) -> Bound<'py, PyArray1<f32>> {
        self.0.values(source).into_pyarray(py)
    }

    /// Where the pairs of each source with later ones begin.
    fn offsets<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<usize>> {
        self.0.offsets().to_vec().into_pyarray(py)
    }

    /// The later sources of all pairs.
    fn neighbours<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        self.0.neighbours().to_vec().into_pyarray(py)
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
            core::add_models(&self.0, fluxes, &columns, levels, first, n_rows)
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
        let image = threads::run(py, || core::moved(&self.0, by_x, by_y))?;
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
                &self.0, &inverse, &columns, noise, weight, &places, &positions, radius,
            )
        })?;
        images::array(py, found)
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
            core::fits_of(&self.0, fluxes, residual, weight).map(|fits| core::table_of(&fits))
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
        Self(core::Normal::new(&templates.0, n_columns))
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
            self.0.add(&templates.0, &columns, &rows)
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
        let product = threads::run(py, || self.0.multiply(&templates.0, vector))?;
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
        threads::run(py, || core::Factor::new(&normal.0, &templates.0, active)).map(Self)
    }

    /// Unknowns that others determine already.
    #[getter]
    fn failed(&self) -> Vec<u32> {
        self.0.failed().to_vec()
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
    m.add_class::<Drawer>()?;
    m.add_class::<Factor>()?;
    m.add_class::<Normal>()?;
    m.add_class::<Templates>()
}
