//! Normal equations of templates and of columns that cover the whole image.

use std::ops::Range;

use rayon::prelude::*;

use super::templates::{Templates, common};
use super::{PhotometryError, check_length};
use crate::image::Plane;
use crate::interrupt;
use crate::math::widest::{Work, run_widest};

/// Partial sums of a product of vectors.
const LANES: usize = 8;

/// A column of the system that covers the whole image.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// The product of powers of x and y, each of which runs from -1 to 1 over the image.
    Power(i32, i32),
    /// Values at the pixels of the rows that are looked at.
    Plane(Plane<'a, f32>),
}

impl<'a> Column<'a> {
    /// Powers of x and y, and then planes of `n_rows` rows each, which lie below each other.
    ///
    /// # Errors
    /// When the planes do not come out even.
    pub fn list(
        powers: &[(i32, i32)],
        planes: Option<Plane<'a, f32>>,
        n_rows: usize,
    ) -> Result<Vec<Self>, PhotometryError> {
        let mut columns: Vec<Self> = powers.iter().map(|&(x, y)| Self::Power(x, y)).collect();
        if let Some(planes) = planes {
            let (ny, nx) = planes.shape();
            check_length("planes", ny, ny / n_rows.max(1) * n_rows)?;
            for pixels in planes.pixels().chunks_exact(n_rows * nx) {
                columns.push(Self::Plane(Plane::new("planes", pixels, (n_rows, nx))?));
            }
        }
        Ok(columns)
    }
}

impl Column<'_> {
    /// Its values in some columns of the row `row` of an image of `shape`, which is the `within`-th of those that are
    /// looked at.
    pub(super) fn fill(
        &self,
        row: usize,
        within: usize,
        shape: (usize, usize),
        columns: &Range<usize>,
        out: &mut [f64],
    ) {
        match self {
            Self::Power(px, py) => {
                let v = along(row, shape.0).powi(*py);
                for (x, value) in columns.clone().zip(out) {
                    *value = along(x, shape.1).powi(*px) * v;
                }
            }
            Self::Plane(plane) => out
                .iter_mut()
                .zip(&plane.row(within)[columns.clone()])
                .for_each(|(value, &p)| *value = f64::from(p)),
        }
    }
}

/// A pixel's place from -1 to 1 along an axis of `n`.
fn along(i: usize, n: usize) -> f64 {
    2.0 * i as f64 / (n.max(2) - 1) as f64 - 1.0
}

/// A column whose powers are known along both axes.
enum Known<'a> {
    Power {
        along_x: Vec<f64>,
        along_y: Vec<f64>,
    },
    Plane(Plane<'a, f32>),
}

impl<'a> Known<'a> {
    fn new(column: &Column<'a>, first: usize, n_rows: usize, shape: (usize, usize)) -> Self {
        let powers = |places: Range<usize>, n: usize, power: i32| -> Vec<f64> {
            places.map(|i| along(i, n).powi(power)).collect()
        };
        match *column {
            Column::Power(px, py) => Self::Power {
                along_x: powers(0..shape.1, shape.1, px),
                along_y: powers(first..first + n_rows, shape.0, py),
            },
            Column::Plane(plane) => Self::Plane(plane),
        }
    }

    /// Its product with a line in some columns of a row.
    #[inline(always)]
    fn times(&self, line: &[f64], within: usize, columns: &Range<usize>) -> f64 {
        match self {
            Self::Power { along_x, along_y } => {
                let sum: f64 = line
                    .iter()
                    .zip(&along_x[columns.clone()])
                    .map(|(a, b)| a * b)
                    .sum();
                along_y[within] * sum
            }
            Self::Plane(plane) => dot(line, &plane.row(within)[columns.clone()]),
        }
    }
}

/// The equations of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub diagonal: f64,
    /// With later sources that overlap.
    pub pairs: Vec<f64>,
    /// With the columns.
    pub border: Vec<f64>,
    pub right: f64,
}

/// `A^T W A` and `A^T W d` of templates and columns, summed row of the image after row, so that the bits do not depend
/// on how the image comes in blocks of rows.
#[derive(Clone, Debug)]
pub struct Normal {
    pub(super) rows: Vec<Row>,
    /// Among the columns, and their right side last.
    pub(super) corner: Vec<f64>,
    pub(super) n_columns: usize,
}

/// Rows of an image: values, and their weights, 0 where a pixel does not count.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Number of the first.
    pub first: usize,
    /// Values; finite where the weight is not 0.
    pub data: Plane<'a, f32>,
    /// Inverse variances.
    pub weight: Plane<'a, f32>,
}

/// The product of two vectors, in lanes.
#[inline(always)]
pub(super) fn dot(a: &[f64], b: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(x, &y)| x * f64::from(y))
        .sum();
    for (x, y) in a.zip(b) {
        for k in 0..LANES {
            sums[k] += x[k] * f64::from(y[k]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// What a source adds in some rows.
struct Add<'a> {
    row: &'a mut Row,
    source: usize,
    templates: &'a Templates,
    rows: &'a Rows<'a>,
    columns: &'a [Known<'a>],
}

impl Work for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let stamps = self.templates.stamps();
        let one = &stamps[self.source];
        let n_rows = self.rows.data.shape().0;
        let lines = common(&one.rows(), &(self.rows.first..self.rows.first + n_rows));
        let columns = one.columns();
        if lines.is_empty() {
            return;
        }
        let mut weighted = Vec::with_capacity(lines.len() * one.nx);
        for y in lines.clone() {
            let within = y - self.rows.first;
            let (w, t) = (
                &self.rows.weight.row(within)[columns.clone()],
                one.row(y, &columns),
            );
            let first = weighted.len();
            weighted.extend(w.iter().zip(t).map(|(&w, &t)| f64::from(w) * f64::from(t)));
            let line = &weighted[first..];
            self.row.diagonal += dot(line, t);
            let data = &self.rows.data.row(within)[columns.clone()];
            // Pixels without weight may hold anything.
            self.row.right += line
                .iter()
                .zip(data)
                .map(|(&a, &d)| if a == 0.0 { 0.0 } else { a * f64::from(d) })
                .sum::<f64>();
            for (sum, column) in self.row.border.iter_mut().zip(self.columns) {
                *sum += column.times(line, within, &columns);
            }
        }
        let later = self.templates.later(self.source);
        for (sum, &j) in self.row.pairs.iter_mut().zip(later) {
            let other = &stamps[j as usize];
            let shared = common(&columns, &other.columns());
            let from = shared.start - one.x0;
            for y in common(&lines, &other.rows()) {
                let first = (y - lines.start) * one.nx + from;
                *sum += dot(
                    &weighted[first..first + shared.len()],
                    other.row(y, &shared),
                );
            }
        }
    }
}

impl Normal {
    /// Of templates and a number of columns; all 0.
    #[must_use]
    pub fn new(templates: &Templates, n_columns: usize) -> Self {
        let rows = (0..templates.stamps().len())
            .map(|i| Row {
                pairs: vec![0.0; templates.later(i).len()],
                border: vec![0.0; n_columns],
                ..Row::default()
            })
            .collect();
        Self {
            rows,
            corner: vec![0.0; n_columns * (n_columns + 1)],
            n_columns,
        }
    }

    /// Add rows of the image; they must come in their order.
    ///
    /// # Errors
    /// When the rows are not of the image.
    pub fn add(
        &mut self,
        templates: &Templates,
        columns: &[Column<'_>],
        rows: &Rows<'_>,
    ) -> Result<(), PhotometryError> {
        let (n_rows, width) = rows.data.shape();
        rows.weight.of_shape("weight", (n_rows, width))?;
        check_length("columns", columns.len(), self.n_columns)?;
        check_length("width", width, templates.shape().1)?;
        let known: Vec<Known<'_>> = columns
            .iter()
            .map(|column| Known::new(column, rows.first, n_rows, templates.shape()))
            .collect();
        self.rows.par_iter_mut().enumerate().for_each(|(i, row)| {
            interrupt::poll();
            run_widest(Add {
                row,
                source: i,
                templates,
                rows,
                columns: &known,
            });
        });
        let k = self.n_columns;
        let of_row = |y: usize| {
            let (w, d) = (rows.weight.row(y), rows.data.row(y));
            let mut sums = vec![0.0; k * (k + 1)];
            let mut weighted = vec![0.0; width];
            for a in 0..k {
                columns[a].fill(
                    rows.first + y,
                    y,
                    templates.shape(),
                    &(0..width),
                    &mut weighted,
                );
                weighted
                    .iter_mut()
                    .zip(w)
                    .for_each(|(v, &w)| *v *= f64::from(w));
                for b in 0..k {
                    sums[a * (k + 1) + b] = known[b].times(&weighted, y, &(0..width));
                }
                sums[a * (k + 1) + k] = weighted
                    .iter()
                    .zip(d)
                    .map(|(&x, &v)| if x == 0.0 { 0.0 } else { x * f64::from(v) })
                    .sum();
            }
            sums
        };
        let by_row: Vec<Vec<f64>> = (0..n_rows).into_par_iter().map(of_row).collect();
        for sums in by_row {
            self.corner.iter_mut().zip(sums).for_each(|(a, b)| *a += b);
        }
        Ok(())
    }

    /// Number of sources.
    #[must_use]
    pub fn n_sources(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// The diagonal of the sources.
    #[must_use]
    pub fn diagonal(&self) -> Vec<f64> {
        self.rows.iter().map(|row| row.diagonal).collect()
    }

    /// The right side: sources, then columns.
    #[must_use]
    pub fn right(&self) -> Vec<f64> {
        let k = self.n_columns;
        let sources = self.rows.iter().map(|row| row.right);
        sources
            .chain((0..k).map(|a| self.corner[a * (k + 1) + k]))
            .collect()
    }

    /// The matrix times a vector of sources and columns.
    ///
    /// # Errors
    /// When the vector has another length.
    pub fn multiply(
        &self,
        templates: &Templates,
        vector: &[f64],
    ) -> Result<Vec<f64>, PhotometryError> {
        let (n, k) = (self.rows.len(), self.n_columns);
        check_length("vector", vector.len(), n + k)?;
        let mut out = vec![0.0; n + k];
        for (i, row) in self.rows.iter().enumerate() {
            out[i] += row.diagonal * vector[i];
            for (&j, value) in templates.later(i).iter().zip(&row.pairs) {
                out[i] += value * vector[j as usize];
                out[j as usize] += value * vector[i];
            }
            for (a, value) in row.border.iter().enumerate() {
                out[i] += value * vector[n + a];
                out[n + a] += value * vector[i];
            }
        }
        for a in 0..k {
            for b in 0..k {
                out[n + a] += self.corner[a * (k + 1) + b] * vector[n + b];
            }
        }
        Ok(out)
    }

    /// The pairs of sources, in the order of [`Templates::neighbours`].
    #[must_use]
    pub fn pairs(&self) -> Vec<f64> {
        self.rows.iter().flat_map(|r| r.pairs.clone()).collect()
    }
}
