//! Columns of a dispersed image: where each puts the stamp, and how much light of a spectrum each has.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::GrismError;
use super::operator::Operator;
use super::order::{Order, Place, borders};
use super::sensitivity::Sensitivity;
use super::spline::weights;
use super::stamp::Stamp;

/// Pixels are cut into this many when light is placed within them.
const N_PARTS: usize = 4;
/// Columns beyond both ends that a spline reaches.
const REACH: i64 = 2;
/// Where grizli goes from the row of the trace to that below it.
const ROUNDING: f64 = 20.0;

/// Where the columns of an order lie, and which wavelengths they have.
#[derive(Clone, Debug)]
pub struct Columns {
    operator: Operator,
    first: i64,
    /// Rows by which the stamp is moved for its first weight.
    rows: Vec<i64>,
    weights: Vec<[f64; 4]>,
    /// Borders of pixels (grizli) or of their parts (spline) [Angstrom].
    edges: Vec<f64>,
}

/// Entries of a matrix that are not zero, column after column.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    /// Where each column begins.
    pub starts: Vec<i64>,
    /// Rows of the entries.
    pub rows: Vec<i64>,
    /// The entries.
    pub values: Vec<f64>,
}

impl Columns {
    /// Columns of an order for a source.
    #[must_use]
    pub fn new(order: &Order, place: &Place, operator: Operator) -> Self {
        let [first, end] = order.columns();
        match operator {
            Operator::Grizli => {
                let dx: Vec<f64> = (first..end).map(|k| k as f64).collect();
                let trace = order.trace(place, &dx);
                let rows = |dy: &f64| (dy + ROUNDING) as i64 - ROUNDING as i64;
                let split = |dy: &f64| {
                    let upper = dy - dy.floor();
                    [1.0 - upper, upper, 0.0, 0.0]
                };
                Self {
                    operator,
                    first,
                    rows: trace.dy.iter().map(rows).collect(),
                    weights: trace.dy.iter().map(split).collect(),
                    edges: borders(&trace.wave),
                }
            }
            Operator::Spline => {
                let dx: Vec<f64> = (first - REACH..end + REACH).map(|k| k as f64).collect();
                let trace = order.trace(place, &dx);
                let n = (end - first) as usize * N_PARTS;
                let parts: Vec<f64> = (0..=n)
                    .map(|i| first as f64 - 0.5 + i as f64 / N_PARTS as f64)
                    .collect();
                Self {
                    operator,
                    first: first - REACH,
                    rows: trace.dy.iter().map(|dy| dy.floor() as i64 - 1).collect(),
                    weights: trace.dy.iter().map(|dy| weights(dy - dy.floor())).collect(),
                    edges: order.trace(place, &parts).wave,
                }
            }
        }
    }

    /// Offset of the first column.
    #[must_use]
    pub fn first(&self) -> i64 {
        self.first
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows by which the stamp is moved in each column, for its first weight.
    #[must_use]
    pub fn rows(&self) -> &[i64] {
        &self.rows
    }

    /// Weights of the rows of each column.
    #[must_use]
    pub fn weights(&self) -> &[[f64; 4]] {
        &self.weights
    }

    /// Light of a spectrum [erg/s/cm2/A] in each column [e/s]; of 1 everywhere when there is none.
    #[must_use]
    pub fn light(&self, sensitivity: &Sensitivity, spectrum: Option<&Sensitivity>) -> Vec<f64> {
        match self.operator {
            Operator::Grizli => {
                let mut light = sensitivity.whole_integrals(&self.edges);
                if let Some(spectrum) = spectrum {
                    let means = spectrum.whole_integrals(&self.edges);
                    for ((light, mean), edge) in
                        light.iter_mut().zip(means).zip(self.edges.windows(2))
                    {
                        *light *= mean / (edge[1] - edge[0]).abs();
                    }
                }
                light
            }
            Operator::Spline => {
                let parts = match spectrum {
                    None => sensitivity.integrals(&self.edges),
                    Some(spectrum) => sensitivity.products(spectrum, &self.edges),
                };
                let mut light = vec![0.0; self.len()];
                for (i, part) in parts.iter().enumerate() {
                    // The middle of the part, from the first column that it reaches with its second spline.
                    let at = REACH as f64 - 0.5 + (i as f64 + 0.5) / N_PARTS as f64;
                    let k = at.floor();
                    for (tap, weight) in weights(at - k).iter().enumerate() {
                        light[k as usize + tap - 1] += part * weight;
                    }
                }
                light
            }
        }
    }

    /// # Errors
    /// When there is not one number for each column.
    pub fn check_light(&self, light: &[f64]) -> Result<(), GrismError> {
        if light.len() == self.len() {
            return Ok(());
        }
        Err(GrismError::Length {
            name: "light",
            found: light.len(),
            wanted: "as many as there are columns",
        })
    }

    /// Add a dispersed stamp to an image, in which the stamp's own first pixel is at `at` (row, column) and columns
    /// are as many pixels further as their offset; what lies outside is lost.
    pub fn draw(&self, stamp: &Stamp, light: &[f64], at: [i64; 2], mut out: ArrayViewMut2<f64>) {
        let (ny, nx) = (out.nrows() as i64, out.ncols() as i64);
        let mut begin = 0;
        while begin < self.len() {
            let row = self.rows[begin];
            let run = self.rows[begin..].iter().take_while(|&&r| r == row).count();
            for tap in 0..4 {
                let column: Vec<f64> = (begin..begin + run)
                    .map(|k| light[k] * self.weights[k][tap])
                    .collect();
                if column.iter().all(|&v| v == 0.0) {
                    continue;
                }
                for y in stamp.rows[0]..stamp.rows[1] {
                    let to = at[0] + stamp.origin[0] + y as i64 + row + tap as i64;
                    if to < 0 || to >= ny {
                        continue;
                    }
                    let mut line = out.row_mut(to as usize);
                    let Some(line) = line.as_slice_mut() else {
                        continue;
                    };
                    for (x, &value) in stamp.values.row(y).iter().enumerate() {
                        if value == 0.0 {
                            continue;
                        }
                        let left = at[1] + stamp.origin[1] + x as i64 + self.first + begin as i64;
                        let from = (-left).clamp(0, run as i64);
                        let end = (nx - left).clamp(from, run as i64);
                        let target = &mut line[(left + from) as usize..(left + end) as usize];
                        for (sum, c) in target.iter_mut().zip(&column[from as usize..end as usize])
                        {
                            *sum += value * c;
                        }
                    }
                }
            }
            begin += run;
        }
    }

    /// The matrix from the light of the columns to pixels: entries by pixel as `number` numbers them (row, column),
    /// which leaves out pixels with a negative number.
    #[must_use]
    pub fn matrix(&self, stamp: &Stamp, at: [i64; 2], number: ArrayView2<i64>) -> Sparse {
        let (ny, nx) = (number.nrows() as i64, number.ncols() as i64);
        let mut out = Sparse {
            starts: vec![0],
            ..Sparse::default()
        };
        let (height, width) = stamp.values.dim();
        for (k, &row) in self.rows.iter().enumerate() {
            let left = at[1] + stamp.origin[1] + self.first + k as i64;
            let top = at[0] + stamp.origin[0] + row;
            let mut sums: Array2<f64> = Array2::zeros((height + 3, width));
            for (tap, &weight) in self.weights[k].iter().enumerate() {
                if weight != 0.0 {
                    sums.slice_mut(ndarray::s![tap..tap + height, ..])
                        .scaled_add(weight, &stamp.values);
                }
            }
            for ((y, x), &value) in sums.indexed_iter() {
                let (y, x) = (top + y as i64, left + x as i64);
                if value == 0.0 || y < 0 || y >= ny || x < 0 || x >= nx {
                    continue;
                }
                let pixel = number[(y as usize, x as usize)];
                if pixel >= 0 {
                    out.rows.push(pixel);
                    out.values.push(value);
                }
            }
            out.starts.push(out.rows.len() as i64);
        }
        out
    }
}
