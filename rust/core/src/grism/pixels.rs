//! The pixels of one beam that are fitted, and the cells in which its light is counted.

use ndarray::ArrayView2;

use super::GrismError;
use super::bank::Cells;
use super::columns::{Columns, N_PARTS, REACH};
use super::compress::Rows;
use super::operator::Operator;
use super::sensitivity::Sensitivity;
use super::spline::weights;
use super::stamp::Stamp;

/// A beam as it is fitted.
#[derive(Clone, Debug)]
pub struct FitBeam {
    /// Borders of the cells of all columns, which tell beams of the same columns.
    pub(super) edges: Vec<f64>,
    /// Cells of all columns.
    pub(super) cells: Cells,
    /// The fitted pixels; columns are counted from the first of the beam.
    pub(super) rows: Rows,
    /// Root of the square of the weight times the variance: what noise adds to products with the weight.
    pub(super) noise: Option<Vec<f64>>,
    /// Whether cells are parts of pixels that splines spread over columns.
    pub(super) is_spread: bool,
    /// How many columns.
    pub(super) n: usize,
}

impl FitBeam {
    /// The pixels that `number` does not leave out (negative), with their data, inverse variances and weights.
    ///
    /// # Errors
    /// When lengths differ.
    pub fn new(
        columns: &Columns,
        stamp: &Stamp,
        sensitivity: &Sensitivity,
        at: [i64; 2],
        total: f64,
        fitted: ArrayView2<bool>,
        data: &[f64],
        ivar: &[f64],
        weight: &[f64],
    ) -> Result<Self, GrismError> {
        let count = fitted.iter().filter(|f| **f).count();
        for (name, found) in [
            ("data", data.len()),
            ("ivar", ivar.len()),
            ("weight", weight.len()),
        ] {
            if found != count {
                return Err(GrismError::Length {
                    name,
                    found,
                    wanted: "as many as pixels that are fitted",
                });
            }
        }
        let (cells, is_spread) = cells_of(columns, sensitivity);
        let [c0, c1] = stamp.columns;
        let [r0, r1] = stamp.rows;
        let (width, n) = (c1 - c0, columns.len());
        let taps = columns.operator.taps();
        let left = at[1] + stamp.origin[1] + columns.first;
        let top = at[0] + stamp.origin[0];
        let mut rows = Rows {
            first: Vec::with_capacity(count),
            width,
            values: vec![0.0; count * width],
            data: data.to_vec(),
            root: ivar
                .iter()
                .zip(weight)
                .map(|(i, w)| (i * w).sqrt())
                .collect(),
            background: vec![0; count],
        };
        let places = fitted.indexed_iter().filter(|(_, f)| **f).map(|(at, _)| at);
        for ((y, x), line) in places.zip(rows.values.chunks_exact_mut(width.max(1))) {
            // The column that puts the last column of the stamp here comes first.
            let first = x as i64 - left - (c1 as i64 - 1);
            rows.first.push(first);
            for (j, value) in line.iter_mut().enumerate() {
                let k = first + j as i64;
                if k < 0 || k >= n as i64 {
                    continue;
                }
                let row = y as i64 - top - columns.rows[k as usize];
                let w = &columns.weights[k as usize];
                for (tap, weight) in w.iter().enumerate().take(taps) {
                    let from = row - tap as i64;
                    if from >= r0 as i64 && from < r1 as i64 {
                        *value += weight * stamp.values[(from as usize, c1 - 1 - j)] / total;
                    }
                }
            }
        }
        let is_even = weight.iter().all(|w| *w == 1.0);
        let noise =
            (!is_even).then(|| ivar.iter().zip(weight).map(|(i, w)| i.sqrt() * w).collect());
        Ok(Self {
            edges: columns.edges.clone(),
            cells,
            rows,
            noise,
            is_spread,
            n,
        })
    }

    /// First and one past the last column that reaches a fitted pixel.
    pub(super) fn reach(&self) -> [i64; 2] {
        let first = self.rows.first.iter().copied().min().unwrap_or(0);
        let last = self.rows.first.iter().copied().max().unwrap_or(0);
        [first, last + self.rows.width as i64]
    }
}

fn cells_of(columns: &Columns, sensitivity: &Sensitivity) -> (Cells, bool) {
    let edges = columns.edges.clone();
    let widths: Vec<f64> = edges.windows(2).map(|e| (e[1] - e[0]).abs()).collect();
    let is_spread = columns.operator == Operator::Spline;
    let levels = if is_spread {
        sensitivity.integrals(&edges)
    } else {
        sensitivity.whole_integrals(&edges)
    };
    let low = edges.iter().copied().fold(f64::INFINITY, f64::min);
    let high = edges.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let line = if is_spread {
        Sensitivity::new("w", vec![low, high], vec![low, high]).ok()
    } else {
        None
    };
    let moments = line.map(|line| sensitivity.products(&line, &edges));
    let sensitivity = (0..widths.len())
        .map(|i| {
            let middle = 0.5 * (edges[i] + edges[i + 1]);
            let h = widths[i];
            let slope = moments
                .as_ref()
                .map_or(0.0, |m| 12.0 * (m[i] - middle * levels[i]) / h.powi(3));
            [levels[i] / h, slope]
        })
        .collect();
    (Cells::new(edges, sensitivity, !is_spread), is_spread)
}

/// Where cells go: the first of the columns that each reaches, counted from the first of all, and its weights.
pub(super) fn spread(cell: usize) -> (usize, [f64; 4]) {
    let at = REACH as f64 - 0.5 + (cell as f64 + 0.5) / N_PARTS as f64;
    (at.floor() as usize - 1, weights(at - at.floor()))
}
