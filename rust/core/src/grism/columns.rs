//! Columns of a dispersed image: where each puts the stamp, and how much light of a spectrum each has.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::GrismError;
use super::operator::Operator;
use super::order::{Order, Place, borders};
use super::sensitivity::Sensitivity;
use super::spline::weights;
use super::stamp::Stamp;
use crate::math::widest::{Work, run_widest};

/// Pixels are cut into this many when light is placed within them.
pub(super) const N_PARTS: usize = 4;
/// Columns beyond both ends that a spline reaches.
pub(super) const REACH: i64 = 2;
/// Where grizli goes from the row of the trace to that below it.
const ROUNDING: f64 = 20.0;

/// Where the columns of an order lie, and which wavelengths they have.
#[derive(Clone, Debug)]
pub struct Columns {
    pub(super) operator: Operator,
    pub(super) first: i64,
    /// Rows by which the stamp is moved for its first weight.
    pub(super) rows: Vec<i64>,
    pub(super) weights: Vec<[f64; 4]>,
    /// Borders of pixels (grizli) or of their parts (spline) [Angstrom].
    pub(super) edges: Vec<f64>,
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

/// A stamp that is dispersed into an image.
struct Draw<'a> {
    columns: &'a Columns,
    stamp: &'a Stamp,
    light: &'a [f64],
    at: [i64; 2],
    out: ArrayViewMut2<'a, f64>,
}

impl Work for Draw<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.columns
            .draw_plain(self.stamp, self.light, self.at, self.out);
    }
}

/// Add the rows of a stamp that meet in one pixel, each times its weights, along the columns `from` to `end`.
#[inline(always)]
fn add_taps(target: &mut [f64], taps: &[Vec<f64>], v: [f64; 4], from: usize, end: usize) {
    match taps {
        [a, b] => {
            let (a, b) = (&a[from..end], &b[from..end]);
            for ((sum, a), b) in target.iter_mut().zip(a).zip(b) {
                *sum += v[0] * a + v[1] * b;
            }
        }
        [a, b, c, d] => {
            let (a, b) = (&a[from..end], &b[from..end]);
            let (c, d) = (&c[from..end], &d[from..end]);
            for ((((sum, a), b), c), d) in target.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *sum += (v[0] * a + v[1] * b) + (v[2] * c + v[3] * d);
            }
        }
        _ => {}
    }
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
    pub fn draw(&self, stamp: &Stamp, light: &[f64], at: [i64; 2], out: ArrayViewMut2<f64>) {
        run_widest(Draw {
            columns: self,
            stamp,
            light,
            at,
            out,
        });
    }

    #[inline(always)]
    fn draw_plain(&self, stamp: &Stamp, light: &[f64], at: [i64; 2], mut out: ArrayViewMut2<f64>) {
        let (ny, nx) = (out.nrows() as i64, out.ncols() as i64);
        let mut begin = 0;
        while begin < self.len() {
            let row = self.rows[begin];
            let run = self.rows[begin..].iter().take_while(|&&r| r == row).count();
            let taps: Vec<Vec<f64>> = (0..self.operator.taps())
                .map(|tap| {
                    (begin..begin + run)
                        .map(|k| light[k] * self.weights[k][tap])
                        .collect()
                })
                .collect();
            let top = at[0] + stamp.origin[0] + row;
            let last = stamp.rows[1] + taps.len() - 1;
            for y in stamp.rows[0]..last {
                let to = top + y as i64;
                if to < 0 || to >= ny {
                    continue;
                }
                let mut line = out.row_mut(to as usize);
                let Some(line) = line.as_slice_mut() else {
                    continue;
                };
                for x in stamp.columns[0]..stamp.columns[1] {
                    let value = |tap: usize| {
                        let is_in = y >= tap && y - tap < stamp.values.nrows();
                        if is_in {
                            stamp.values[(y - tap, x)]
                        } else {
                            0.0
                        }
                    };
                    let values: [f64; 4] =
                        std::array::from_fn(|tap| if tap < taps.len() { value(tap) } else { 0.0 });
                    if values == [0.0; 4] {
                        continue;
                    }
                    let left = at[1] + stamp.origin[1] + x as i64 + self.first + begin as i64;
                    let from = (-left).clamp(0, run as i64);
                    let end = (nx - left).clamp(from, run as i64);
                    if from == end {
                        continue;
                    }
                    let target = &mut line[(left + from) as usize..(left + end) as usize];
                    add_taps(target, &taps, values, from as usize, end as usize);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grism::law::{Law, Polynomial};

    fn order() -> Order {
        let law = Polynomial::new(
            [0.0; 2],
            vec![0.0],
            vec![0.0],
            vec![vec![2.3], vec![0.05]],
            vec![vec![9000.0], vec![45.0]],
            1,
            None,
        )
        .unwrap();
        let wave: Vec<f64> = (0..200).map(|i| 9500.0 + 20.0 * f64::from(i)).collect();
        let value = (0..200).map(|i| f64::from(i * (199 - i))).collect();
        let sensitivity = Sensitivity::new("sensitivity", wave, value).unwrap();
        Order::new(Law::Polynomial(law), 5, 105, sensitivity).unwrap()
    }

    #[test]
    fn images_are_the_matrix_times_the_light_and_hold_all_of_it() {
        let order = order();
        let place = Place {
            x: 20.0,
            y: 20.0,
            wheel: None,
            x_shift: 0.0,
            y_shift: 0.0,
        };
        let image = Array2::from_shape_fn((20, 20), |(y, x)| {
            (-0.2 * ((y as f32 - 9.0).powi(2) + (x as f32 - 8.5).powi(2))).exp()
        });
        let labels = image.mapv(|v| i32::from(v > 0.01));
        let held: f32 = image.iter().filter(|&&v| v > 0.01).sum();
        for operator in [Operator::Grizli, Operator::Spline] {
            let stamp = Stamp::new(image.view(), labels.view(), 1, operator).unwrap();
            let columns = Columns::new(&order, &place, operator);
            let light = columns.light(order.sensitivity(), None);
            let mut out = Array2::zeros((40, 160));
            let at = [10, 10];
            columns.draw(&stamp, &light, at, out.view_mut());
            let wanted: f64 = light.iter().sum::<f64>() * f64::from(held);
            assert!((out.sum() / wanted - 1.0).abs() < 1e-4, "{operator:?}");
            let number = Array2::from_shape_fn((40, 160), |(y, x)| (y * 160 + x) as i64);
            let matrix = columns.matrix(&stamp, at, number.view());
            let mut again: Array2<f64> = Array2::zeros((40, 160));
            for (k, range) in matrix.starts.windows(2).enumerate() {
                for i in range[0] as usize..range[1] as usize {
                    let pixel = matrix.rows[i] as usize;
                    again[(pixel / 160, pixel % 160)] += matrix.values[i] * light[k];
                }
            }
            let peak = out.iter().copied().fold(0.0, f64::max);
            assert!(
                out.iter()
                    .zip(&again)
                    .all(|(a, b)| (a - b).abs() < 1e-12 * peak)
            );
        }
    }

    #[test]
    fn the_light_of_a_spectrum_is_its_product_with_the_sensitivity() {
        let (order, wave) = (order(), vec![9000.0, 11000.0, 14000.0]);
        let place = Place {
            x: 0.0,
            y: 0.0,
            wheel: None,
            x_shift: 0.0,
            y_shift: 0.0,
        };
        let spectrum = Sensitivity::new("spectrum", wave, vec![1.0, 4.0, 0.5]).unwrap();
        let columns = Columns::new(&order, &place, Operator::Spline);
        let light: f64 = columns
            .light(order.sensitivity(), Some(&spectrum))
            .iter()
            .sum();
        let whole: f64 = order
            .sensitivity()
            .products(&spectrum, &[9203.0, 13725.0])
            .iter()
            .sum();
        assert!((light / whole - 1.0).abs() < 1e-3, "{light} {whole}");
    }
}
