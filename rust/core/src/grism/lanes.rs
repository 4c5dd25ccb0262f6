//! Loops over rows whose numbers are filled up with zeros to whole vector registers.
//!
//! Sums are made lane by lane, so that they have the same bits with every kind of register.

use crate::math::widest::{Work, run_widest};

/// Numbers that are treated together.
pub(super) const LANES: usize = 8;

type Lanes = [f64; LANES];

/// The length of rows of `n` numbers.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// A list filled up with zeros to a whole row.
pub(super) fn padded_row(x: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; padded(x.len())];
    out[..x.len()].copy_from_slice(x);
    out
}

#[inline(always)]
fn total(sum: Lanes) -> f64 {
    let [a, b, c, d, e, f, g, h] = sum;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

/// `out_i = sum_j band_ij row_(i+j)`: a band of `band_width` times rows of `width` numbers.
pub(super) struct BandTimesRows<'a> {
    pub band: &'a [f64],
    pub band_width: usize,
    pub rows: &'a [f64],
    pub width: usize,
    pub out: &'a mut [f64],
}

impl Work for BandTimesRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let blocks = self.width / LANES;
        let (rows, _) = self.rows.as_chunks::<LANES>();
        let (out, _) = self.out.as_chunks_mut::<LANES>();
        let bands = self.band.chunks_exact(self.band_width.max(1));
        for ((i, band), out) in bands.enumerate().zip(out.chunks_exact_mut(blocks.max(1))) {
            sum_of_rows(band, &rows[i * blocks..], blocks, |b, sum| out[b] = sum);
        }
    }
}

/// The sums of rows of `blocks` blocks times their factors, block by block.
#[inline(always)]
fn sum_of_rows(factors: &[f64], rows: &[Lanes], blocks: usize, mut take: impl FnMut(usize, Lanes)) {
    let mut first = 0;
    while first < blocks {
        // With sums for several blocks at a time, additions need not wait for each other.
        match blocks - first {
            1 => first += some_blocks::<1>(factors, rows, blocks, first, &mut take),
            2 | 3 => first += some_blocks::<2>(factors, rows, blocks, first, &mut take),
            _ => first += some_blocks::<4>(factors, rows, blocks, first, &mut take),
        }
    }
}

#[inline(always)]
fn some_blocks<const B: usize>(
    factors: &[f64],
    rows: &[Lanes],
    blocks: usize,
    first: usize,
    take: &mut impl FnMut(usize, Lanes),
) -> usize {
    let mut sums = [[0.0; LANES]; B];
    for (f, row) in factors.iter().zip(rows.chunks_exact(blocks)) {
        let row = &row[first..][..B];
        for (sum, row) in sums.iter_mut().zip(row) {
            for k in 0..LANES {
                sum[k] += f * row[k];
            }
        }
    }
    for (b, sum) in sums.into_iter().enumerate() {
        take(first + b, sum);
    }
    B
}

/// Rows of one half of a block of products.
const HALF: usize = 4;

/// Add the products of the columns of rows with each other to a matrix of `n` x `n`.
pub(super) struct Products<'a> {
    pub rows: &'a [f64],
    pub width: usize,
    pub n: usize,
    pub out: &'a mut [f64],
}

impl Work for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (blocks, n) = (self.width / LANES, self.n);
        let (rows, _) = self.rows.as_chunks::<LANES>();
        for right in 0..blocks {
            for left in 0..=right {
                for half in 0..LANES / HALF {
                    let top = left * LANES + half * HALF;
                    if top >= n {
                        continue;
                    }
                    let mut sums = [[0.0; LANES]; HALF];
                    for row in rows.chunks_exact(blocks) {
                        let (a, b) = (&row[left][half * HALF..][..HALF], &row[right]);
                        for (sum, a) in sums.iter_mut().zip(a) {
                            for k in 0..LANES {
                                sum[k] += a * b[k];
                            }
                        }
                    }
                    for (i, sum) in (top..n).zip(&sums) {
                        for (j, s) in (right * LANES..n).zip(sum) {
                            self.out[i * n + j] += s;
                            if left != right {
                                self.out[j * n + i] += s;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Add rows times their factors to a list.
pub(super) struct SumOfRows<'a> {
    pub factors: &'a [f64],
    pub rows: &'a [f64],
    pub width: usize,
    pub out: &'a mut [f64],
}

impl Work for SumOfRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (rows, _) = self.rows.as_chunks::<LANES>();
        let out = self.out;
        sum_of_rows(self.factors, rows, self.width / LANES, |b, sum| {
            for (o, s) in out[b * LANES..].iter_mut().zip(sum) {
                *o += s;
            }
        });
    }
}

/// `out_i = row_i x` with `x` as long as a row.
pub(super) struct RowsTimes<'a> {
    pub rows: &'a [f64],
    pub x: &'a [f64],
    pub out: &'a mut [f64],
}

impl Work for RowsTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (x, _) = self.x.as_chunks::<LANES>();
        let (rows, _) = self.rows.as_chunks::<LANES>();
        for (out, row) in self.out.iter_mut().zip(rows.chunks_exact(x.len().max(1))) {
            let mut sum = [0.0; LANES];
            for (row, x) in row.iter().zip(x) {
                for k in 0..LANES {
                    sum[k] += row[k] * x[k];
                }
            }
            *out = total(sum);
        }
    }
}

/// Light of all columns of some rows: what factors of templates leave, or nothing without a template.
pub(super) fn rows_times(rows: &[f64], x: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n];
    run_widest(RowsTimes {
        rows,
        x,
        out: &mut out,
    });
    out
}

/// Pixels of a beam, in runs along a row of the detector: in each, a pixel begins with the column after that of the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// The first column of the first pixel of each run.
    first: Vec<usize>,
    /// Columns of each pixel.
    width: usize,
    /// Parts of light of the columns of the pixels of a run, beside each other.
    values: Vec<Lanes>,
    data: Vec<Lanes>,
    /// Root of the weight, 0 where there is no pixel.
    root: Vec<Lanes>,
}

impl Runs {
    /// Pixels with their first columns, `width` parts of light each, data and roots of weights.
    pub(super) fn new(
        first: impl Iterator<Item = usize>,
        width: usize,
        values: &[f64],
        data: &[f64],
        root: &[f64],
    ) -> Self {
        let mut out = Self {
            width,
            ..Self::default()
        };
        let mut next = 0;
        for (i, first) in first.enumerate() {
            let is_same = out
                .first
                .last()
                .is_some_and(|&start| first >= start + next && first < start + LANES);
            if !is_same {
                out.first.push(first);
                out.values.extend(std::iter::repeat_n([0.0; LANES], width));
                out.data.push([0.0; LANES]);
                out.root.push([0.0; LANES]);
            }
            let run = out.first.len() - 1;
            let lane = first - out.first[run];
            for (to, v) in out.values[run * width..]
                .iter_mut()
                .zip(&values[i * width..][..width])
            {
                to[lane] = *v;
            }
            out.data[run][lane] = data[i];
            out.root[run][lane] = root[i];
            next = lane + 1;
        }
        out
    }
}

/// Sum of the loss of what light of columns and a background leave of the data. There must be `LANES - 1` more columns
/// than any pixel has.
pub(super) struct Loss<'a> {
    pub runs: &'a Runs,
    pub light: &'a [f64],
    pub background: f64,
    pub huber: f64,
}

impl Work for Loss<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let (runs, huber) = (self.runs, self.huber);
        let mut models = vec![[0.0; LANES]; runs.first.len()];
        let parts = runs.values.chunks_exact(runs.width.max(1));
        for ((&first, values), out) in runs.first.iter().zip(parts).zip(&mut models) {
            let columns = self.light[first..]
                .windows(LANES)
                .filter_map(|c| c.first_chunk::<LANES>());
            let mut model = [self.background; LANES];
            for (v, c) in values.iter().zip(columns) {
                for k in 0..LANES {
                    model[k] += v[k] * c[k];
                }
            }
            *out = model;
        }
        let mut all = [0.0; LANES];
        for ((model, data), root) in models.iter().zip(&runs.data).zip(&runs.root) {
            for k in 0..LANES {
                let r = (root[k] * (model[k] - data[k])).abs();
                let low = r.min(huber);
                // Squares up to the limit, a straight line beyond it.
                all[k] += low * (2.0 * r - low);
            }
        }
        total(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn sums_over_padded_rows_are_those_of_plain_loops() {
        let (n, m, w) = (23, 11, 5);
        let width = padded(m);
        let mut rows = numbers(n * width, 1);
        for row in rows.chunks_exact_mut(width) {
            row[m..].fill(0.0);
        }
        let at = |i: usize, k: usize| rows[i * width + k];
        let band = numbers(n * w, 2);
        let mut out = vec![0.0; n * width];
        run_widest(BandTimesRows {
            band: &band,
            band_width: w,
            rows: &rows,
            width,
            out: &mut out,
        });
        let mut products = vec![0.0; m * m];
        run_widest(Products {
            rows: &rows,
            width,
            n: m,
            out: &mut products,
        });
        let factors = numbers(n, 3);
        let mut sums = vec![0.0; m];
        run_widest(SumOfRows {
            factors: &factors,
            rows: &rows,
            width,
            out: &mut sums,
        });
        let x = numbers(m, 4);
        let times = rows_times(&rows, &padded_row(&x), n);
        for i in 0..n {
            for k in 0..m {
                let wanted: f64 = (0..w.min(n - i))
                    .map(|j| band[i * w + j] * at(i + j, k))
                    .sum();
                assert!((out[i * width + k] - wanted).abs() < 1e-14);
            }
            let wanted: f64 = (0..m).map(|k| at(i, k) * x[k]).sum();
            assert!((times[i] - wanted).abs() < 1e-14);
        }
        for a in 0..m {
            let wanted: f64 = (0..n).map(|i| factors[i] * at(i, a)).sum();
            assert!((sums[a] - wanted).abs() < 1e-14);
            for b in 0..m {
                let wanted: f64 = (0..n).map(|i| at(i, a) * at(i, b)).sum();
                assert!((products[a * m + b] - wanted).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn the_loss_of_runs_is_that_of_each_pixel() {
        let width = 4;
        // Two rows of the detector with gaps, and one pixel by itself.
        let first = [0, 1, 2, 5, 6, 7, 8, 9, 1, 2, 13, 0];
        let n = first.len();
        let (values, data, root) = (numbers(n * width, 5), numbers(n, 6), numbers(n, 7));
        let light = [numbers(17, 8), vec![0.0; LANES - 1]].concat();
        let runs = Runs::new(first.into_iter(), width, &values, &data, &root);
        let (background, huber) = (0.1, 0.05);
        let wanted: f64 = (0..n)
            .map(|i| {
                let model: f64 = (0..width)
                    .map(|j| values[i * width + j] * light[first[i] + j])
                    .sum();
                let r = (root[i] * (model + background - data[i])).abs();
                if r > huber {
                    huber * (2.0 * r - huber)
                } else {
                    r * r
                }
            })
            .sum();
        let found = run_widest(Loss {
            runs: &runs,
            light: &light,
            background,
            huber,
        });
        assert!((found - wanted).abs() < 1e-14, "{found} {wanted}");
    }
}
