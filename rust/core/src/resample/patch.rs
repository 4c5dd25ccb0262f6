//! The sums of a few drops in the output pixels around them.

use std::ops::Range;

use super::lanes::LARGEST_BOX;

/// Pixels that are added together.
pub const CHUNK: usize = 4;

/// The sums of `w` and of `w d` of one output pixel.
pub type Pair = [f64; 2];

/// What one input pixel hands on.
#[derive(Clone, Copy, Debug)]
pub struct Drop {
    /// Weight.
    pub weight: f64,
    /// Value.
    pub value: f64,
    /// Variance of the value; 0 when there is none.
    pub variance: f64,
    /// Data-quality bits; 0 when there are none.
    pub dq: u32,
}

/// What takes the shares of drops in output pixels.
pub trait Sink {
    /// The shares of the next drop follow.
    fn begin(&mut self, _drop: &Drop) {}

    /// What a drop leaves in a row, from a column on.
    fn add(&mut self, drop: &Drop, row: usize, column: usize, shares: &[f64]);

    /// As [`Sink::add`], with shares `across` times `height`; zeros fill the last chunk.
    #[inline]
    fn add_product(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        across: &[[f64; CHUNK]],
        height: f64,
    ) {
        for (k, widths) in across.iter().enumerate() {
            let shares = widths.map(|width| width * height);
            self.add(drop, row, column + k * CHUNK, &shares);
        }
    }

    /// As [`Sink::add`], for a row whose length the compiler knows; shares of 0 may lie beyond the output.
    #[inline]
    fn add_box<const N: usize>(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        shares: &[f64; N],
    ) {
        self.add(drop, row, column, shares);
    }
}

/// What is kept besides the mean.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Sums of squared weights times variances.
    pub variance: bool,
    /// Data-quality bits.
    pub dq: bool,
    /// Where shares were positive.
    pub signs: bool,
}

/// The sums of the drops of one tile. They stay in the processor's caches while the drops come in.
#[derive(Debug, Default)]
pub struct Patch {
    /// Output rows.
    pub rows: Range<usize>,
    /// Output columns.
    pub columns: Range<usize>,
    /// The columns and room to the right for shares of 0, since small drops come in boxes of one width.
    stride: usize,
    mean: Vec<Pair>,
    variance: Vec<f64>,
    dq: Vec<u32>,
    /// Whether a share was positive; for kernels with negative ones, whose sum of weights does not say it.
    positive: Vec<bool>,
}

impl Patch {
    /// Zero sums for the output pixels `rows`, `columns`.
    pub fn reset(&mut self, rows: Range<usize>, columns: Range<usize>, keep: Keep) {
        self.stride = columns.len() + LARGEST_BOX;
        let n = rows.len() * self.stride;
        (self.rows, self.columns) = (rows, columns);
        self.mean.clear();
        self.mean.resize(n, [0.0; 2]);
        self.variance.clear();
        self.variance.resize(if keep.variance { n } else { 0 }, 0.0);
        self.dq.clear();
        self.dq.resize(if keep.dq { n } else { 0 }, 0);
        self.positive.clear();
        self.positive.resize(if keep.signs { n } else { 0 }, false);
    }

    #[inline]
    fn start(&self, row: usize, column: usize) -> usize {
        (row - self.rows.start) * self.stride + column - self.columns.start
    }

    #[inline]
    fn add_fixed<const N: usize>(&mut self, drop: &Drop, start: usize, shares: &[f64; N]) {
        let window = start..start + N;
        if let Some(pairs) = self.mean[window.clone()].first_chunk_mut::<N>() {
            let product = drop.weight * drop.value;
            for (pair, share) in pairs.iter_mut().zip(shares) {
                *pair = [pair[0] + share * drop.weight, pair[1] + share * product];
            }
        }
        if !self.variance.is_empty() {
            for (sum, share) in self.variance[window.clone()].iter_mut().zip(shares) {
                let w = share * drop.weight;
                *sum += w * w * drop.variance;
            }
        }
        if !self.dq.is_empty() {
            for (bits, share) in self.dq[window.clone()].iter_mut().zip(shares) {
                *bits |= if *share == 0.0 { 0 } else { drop.dq };
            }
        }
        if !self.positive.is_empty() {
            for (is_positive, share) in self.positive[window].iter_mut().zip(shares) {
                *is_positive |= *share > 0.0;
            }
        }
    }

    fn window(&self, row: usize) -> Range<usize> {
        let start = self.start(row, self.columns.start);
        start..start + self.columns.len()
    }

    /// Sums of weights and of weighted values in a row.
    #[must_use]
    pub fn mean(&self, row: usize) -> &[Pair] {
        &self.mean[self.window(row)]
    }

    /// Sums of squared weights times variances in a row.
    #[must_use]
    pub fn variance(&self, row: usize) -> &[f64] {
        &self.variance[self.window(row)]
    }

    /// Whether the drops contributed to the `column`th pixel of a row, with these sums.
    #[inline]
    #[must_use]
    pub fn contributed(&self, row: usize, column: usize, sums: Pair) -> bool {
        if self.positive.is_empty() {
            sums[0] > 0.0
        } else {
            self.positive[self.start(row, self.columns.start) + column]
        }
    }

    /// Unions of bits in a row.
    #[must_use]
    pub fn dq(&self, row: usize) -> &[u32] {
        &self.dq[self.window(row)]
    }
}

impl Sink for Patch {
    #[inline]
    fn add(&mut self, drop: &Drop, row: usize, column: usize, shares: &[f64]) {
        let start = self.start(row, column);
        let (chunks, rest) = shares.as_chunks::<CHUNK>();
        for (k, chunk) in chunks.iter().enumerate() {
            self.add_fixed(drop, start + k * CHUNK, chunk);
        }
        for (k, share) in rest.iter().enumerate() {
            self.add_fixed(drop, start + chunks.len() * CHUNK + k, &[*share]);
        }
    }

    #[inline]
    fn add_product(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        across: &[[f64; CHUNK]],
        height: f64,
    ) {
        let start = self.start(row, column);
        for (k, widths) in across.iter().enumerate() {
            self.add_fixed(drop, start + k * CHUNK, &widths.map(|width| width * height));
        }
    }

    #[inline]
    fn add_box<const N: usize>(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        shares: &[f64; N],
    ) {
        self.add_fixed(drop, self.start(row, column), shares);
    }
}
