//! The pixels of beams that share their columns, and what is left of them for fits: a small triangle.

use super::lanes::BandTimesRows;
use crate::math::widest::run_widest;

/// Pixels of a beam that are fitted: each is a sum over a few columns that follow each other.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The first column of each pixel.
    pub first: Vec<i64>,
    /// Columns of each pixel.
    pub width: usize,
    /// Part of the light of its columns in each pixel, pixel after pixel.
    pub values: Vec<f64>,
    /// The data.
    pub data: Vec<f64>,
    /// Square root of the weight.
    pub root: Vec<f64>,
    /// The number of the background of each pixel.
    pub background: Vec<usize>,
}

/// `R` of `Q R = sqrt(W) [A, B, d]`: columns of light, backgrounds, data.
///
/// # Source
/// Rows in the order of their first column never fill a band: Golub & Van Loan 2013, Matrix Computations, 5.2 (Givens).
#[derive(Clone, Debug)]
pub struct Triangle {
    /// Columns of light.
    pub n: usize,
    /// Numbers of each row, from the diagonal.
    pub width: usize,
    band: Vec<f64>,
    /// Each background, then the data, in all rows.
    right: Vec<f64>,
    n_right: usize,
    /// What is left of backgrounds and data.
    tail: Vec<f64>,
}

impl Triangle {
    /// Columns are counted from `origin`; there are `n`.
    #[must_use]
    pub fn new(
        rows: &[Rows],
        roots: &[&[f64]],
        origin: i64,
        n: usize,
        n_background: usize,
    ) -> Self {
        let width = rows.iter().map(|r| r.width).max().unwrap_or(0);
        let n_right = n_background + 1;
        let mut out = Self {
            n,
            width,
            band: vec![0.0; n * width],
            right: vec![0.0; n * n_right],
            n_right,
            tail: vec![0.0; n_right * n_right],
        };
        let mut order: Vec<(i64, usize, usize)> = rows
            .iter()
            .enumerate()
            .flat_map(|(b, r)| r.first.iter().enumerate().map(move |(i, f)| (*f, b, i)))
            .collect();
        order.sort_unstable();
        let mut line = vec![0.0; width];
        let mut right = vec![0.0; n_right];
        for (first, b, i) in order {
            let (r, root) = (&rows[b], roots[b][i]);
            if root == 0.0 {
                continue;
            }
            line.fill(0.0);
            for (to, v) in line.iter_mut().zip(&r.values[i * r.width..][..r.width]) {
                *to = root * v;
            }
            right.fill(0.0);
            right[r.background[i]] = root;
            right[n_background] = root * r.data[i];
            out.take((first - origin) as usize, &mut line, &mut right);
        }
        out.right = (0..n_right * n)
            .map(|at| out.right[(at % n.max(1)) * n_right + at / n.max(1)])
            .collect();
        out
    }

    /// Turn one more row into the triangle.
    fn take(&mut self, first: usize, line: &mut [f64], right: &mut [f64]) {
        let (w, m) = (self.width, self.n_right);
        for j in 0..w {
            if line[j] == 0.0 {
                continue;
            }
            let row = &mut self.band[(first + j) * w..][..w - j];
            let own = &mut self.right[(first + j) * m..][..m];
            let (a, b) = (row[0], line[j]);
            let length = (a * a + b * b).sqrt();
            let (c, s) = (a / length, b / length);
            turn(c, s, row, &mut line[j..]);
            turn(c, s, own, right);
        }
        for j in 0..m {
            if right[j] == 0.0 {
                continue;
            }
            let row = &mut self.tail[j * m + j..(j + 1) * m];
            let length = (row[0] * row[0] + right[j] * right[j]).sqrt();
            let (c, s) = (row[0] / length, right[j] / length);
            turn(c, s, row, &mut right[j..]);
        }
    }

    /// Rows of the triangle times columns of light, `width` numbers for each.
    pub fn apply(&self, light: &[f64], width: usize, out: &mut [f64]) {
        run_widest(BandTimesRows {
            band: &self.band,
            band_width: self.width,
            rows: light,
            width,
            out,
        });
    }

    /// A background, or the data after all of them, in each row.
    #[must_use]
    pub fn right(&self, which: usize) -> &[f64] {
        &self.right[which * self.n..][..self.n]
    }

    /// Sum of the squares that backgrounds `b` leave of the data beyond the columns of light.
    #[must_use]
    pub fn rest(&self, backgrounds: &[f64]) -> f64 {
        let m = self.n_right;
        let mut sum = 0.0;
        for j in 0..m {
            let row = &self.tail[j * m..][..m];
            let model: f64 = row.iter().zip(backgrounds).map(|(r, b)| r * b).sum();
            sum += (row[m - 1] - model).powi(2);
        }
        sum
    }
}

/// Sum of products, in four sums side by side.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (x, x_rest) = a[..n].as_chunks::<4>();
    let (y, y_rest) = b[..n].as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (x, y) in x.iter().zip(y) {
        for k in 0..4 {
            sums[k] += x[k] * y[k];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

fn turn(c: f64, s: f64, row: &mut [f64], line: &mut [f64]) {
    for (r, l) in row.iter_mut().zip(line.iter_mut()) {
        let (a, b) = (*r, *l);
        *r = c * a + s * b;
        *l = c * b - s * a;
    }
}
