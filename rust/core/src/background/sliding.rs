//! Medians of the good pixels in boxes, exact, in about as many operations for any size of the box.
//!
//! Medians of boxes that overlap are close to each other. In a tile of the image only those values that may be one are
//! ranked and kept in a set while the box slides over the tile; of all others it is enough to count the ones below,
//! which an integral image does. Where a median turns out not to be among the candidates, there are taken more of them.

use rayon::prelude::*;

use super::running::{Good, joined};
use crate::image::Image;
use crate::interrupt;

/// Least and greatest side of a tile [pix]; between them it is that of the box.
const SIDES: (usize, usize) = (64, 512);
/// Values of a box that are looked at to guess its median.
const SAMPLE: usize = 2048;
/// Boxes of fewer pixels have medians that scatter over most values: all of them are candidates.
const FEW: usize = 1024;
/// Half-widths of the range of candidates [sigma of the median of a sample].
const WIDTHS: [f64; 2] = [4.0, 16.0];
/// The key of a pixel that does not count; no finite value has it.
const BAD: u32 = u32::MAX;

/// Medians of the good pixels within `half` pixels along both axes of every pixel; NaN where there are fewer than
/// `min_good`.
pub(super) fn medians(good: Good<'_>, half: usize, min_good: usize) -> Image<f32> {
    let (ny, nx) = good.shape();
    let side = (2 * half + 1).clamp(SIDES.0, SIDES.1);
    let (rows, columns) = (ny.div_ceil(side), nx.div_ceil(side));
    let tiles: Vec<_> = (0..rows * columns)
        .into_par_iter()
        .map(|i| {
            interrupt::poll();
            let (y0, x0) = (i / columns * side, i % columns * side);
            let (y1, x1) = ((y0 + side).min(ny), (x0 + side).min(nx));
            let tile = Tile::new(good, (y0, y1), (x0, x1), half);
            (y0, x0, x1 - x0, tile.medians(min_good))
        })
        .collect();
    joined((ny, nx), side, &tiles)
}

/// Keys in the order of the values.
fn key_of(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

fn value_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 {
        key & !(1 << 31)
    } else {
        !key
    })
}

/// A tile of pixels whose medians are wanted, and all pixels that their boxes reach.
struct Tile {
    keys: Vec<u32>,
    /// Rows and columns of `keys`.
    shape: (usize, usize),
    /// The wanted ones among them, first and behind the last.
    y: (usize, usize),
    x: (usize, usize),
    half: usize,
}

impl Tile {
    fn new(good: Good<'_>, y: (usize, usize), x: (usize, usize), half: usize) -> Self {
        let (ny, nx) = good.shape();
        let (top, left) = (y.0.saturating_sub(half), x.0.saturating_sub(half));
        let (bottom, right) = ((y.1 + half).min(ny), (x.1 + half).min(nx));
        let mut keys = Vec::with_capacity((bottom - top) * (right - left));
        for row in top..bottom {
            keys.extend(good.row(row, left, right).map(|v| v.map_or(BAD, key_of)));
        }
        Self {
            keys,
            shape: (bottom - top, right - left),
            y: (y.0 - top, y.1 - top),
            x: (x.0 - left, x.1 - left),
            half,
        }
    }

    fn medians(&self, min_good: usize) -> Vec<f32> {
        let area = (2 * self.half + 1).saturating_pow(2);
        for width in WIDTHS {
            if area < FEW {
                break;
            }
            let range = self.range_of_medians(width);
            if let Some(found) = range.and_then(|range| self.medians_within(range, min_good)) {
                return found;
            }
        }
        // All values are candidates, so that this cannot fail.
        self.medians_within((0, BAD - 1), min_good)
            .unwrap_or_else(|| vec![f32::NAN; (self.y.1 - self.y.0) * (self.x.1 - self.x.0)])
    }

    /// The box around a pixel: first row and behind the last, first column and behind the last.
    fn window(&self, y: usize, x: usize) -> [usize; 4] {
        let (ny, nx) = self.shape;
        let h = self.half;
        [
            y.saturating_sub(h),
            (y + h + 1).min(ny),
            x.saturating_sub(h),
            (x + h + 1).min(nx),
        ]
    }

    /// Keys between which all medians of the tile may lie, by samples of nine of its boxes.
    fn range_of_medians(&self, width: f64) -> Option<(u32, u32)> {
        let mut range: Option<(u32, u32)> = None;
        let three = |(first, end): (usize, usize)| [first, usize::midpoint(first, end), end - 1];
        for y in three(self.y) {
            for x in three(self.x) {
                let [y0, y1, x0, x1] = self.window(y, x);
                let (columns, n) = (x1 - x0, (y1 - y0) * (x1 - x0));
                // An odd step sees other columns in each row.
                let step = n.div_ceil(SAMPLE) | 1;
                let mut sample: Vec<u32> = (0..n)
                    .step_by(step)
                    .map(|i| self.keys[(y0 + i / columns) * self.shape.1 + x0 + i % columns])
                    .filter(|&key| key != BAD)
                    .collect();
                if sample.len() < 2 * width as usize {
                    continue;
                }
                sample.sort_unstable();
                let n = sample.len() as f64;
                let (low, high) = (
                    n / 2.0 - width / 2.0 * n.sqrt(),
                    n / 2.0 + width / 2.0 * n.sqrt(),
                );
                let low = if low < 0.0 { 0 } else { sample[low as usize] };
                let high = sample.get(high as usize).copied().unwrap_or(BAD - 1);
                range = Some(range.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
            }
        }
        range
    }

    /// Medians of all boxes; None when one is not within a range of keys.
    fn medians_within(&self, range: (u32, u32), min_good: usize) -> Option<Vec<f32>> {
        let (width, h) = (self.shape.1, self.half);
        let counts = Counts::new(self, range.0);
        let mut candidates = Candidates::new(self, range);
        let mut out = vec![f32::NAN; (self.y.1 - self.y.0) * (self.x.1 - self.x.0)];
        let n_x = self.x.1 - self.x.0;
        // The box goes to and fro.
        let [_, _, mut left, mut right] = self.window(self.y.0, self.x.0);
        for (i, y) in (self.y.0..self.y.1).enumerate() {
            let [top, bottom, ..] = self.window(y, self.x.0);
            candidates.move_to_rows(top, bottom, left, right);
            for step in 0..n_x {
                let column = if i % 2 == 0 { step } else { n_x - 1 - step };
                let x = self.x.0 + column;
                let (want_left, want_right) = (x.saturating_sub(h), (x + h + 1).min(width));
                while right < want_right {
                    candidates.add(right);
                    right += 1;
                }
                while left > want_left {
                    left -= 1;
                    candidates.add(left);
                }
                while right > want_right {
                    right -= 1;
                    candidates.remove(right);
                }
                while left < want_left {
                    candidates.remove(left);
                    left += 1;
                }
                let (n, below) = counts.within([top, bottom, left, right]);
                if n < min_good {
                    continue;
                }
                let first = ((n - 1) / 2).checked_sub(below)?;
                let low = candidates.nth(first)?;
                out[i * n_x + column] = if n % 2 == 1 {
                    value_of(low)
                } else {
                    let high = candidates.nth(first + 1)?;
                    f64::midpoint(f64::from(value_of(low)), f64::from(value_of(high))) as f32
                };
            }
        }
        Some(out)
    }
}

/// Numbers of good pixels, and of those below a key, within any box.
struct Counts {
    /// Integral image, a row and a column of 0 before it: good pixels in the lower half of the bits, those below above.
    sums: Vec<u64>,
    width: usize,
}

impl Counts {
    fn new(tile: &Tile, low: u32) -> Self {
        let width = tile.shape.1 + 1;
        let mut sums = vec![0; (tile.shape.0 + 1) * width];
        for (y, row) in tile.keys.chunks(tile.shape.1).enumerate() {
            let (above, here) = sums[y * width..(y + 2) * width].split_at_mut(width);
            let mut in_row = 0;
            for (x, &key) in row.iter().enumerate() {
                in_row += u64::from(key != BAD) + (u64::from(key < low) << 32);
                here[x + 1] = above[x + 1] + in_row;
            }
        }
        Self { sums, width }
    }

    fn within(&self, [y0, y1, x0, x1]: [usize; 4]) -> (usize, usize) {
        let at = |y: usize, x: usize| self.sums[y * self.width + x];
        let both = at(y1, x1) + at(y0, x0) - at(y0, x1) - at(y1, x0);
        ((both & 0xffff_ffff) as usize, (both >> 32) as usize)
    }
}

/// Candidates for a median: all of a tile in their order, and the set of those that are in the box.
struct Candidates {
    /// Keys by rank.
    keys: Vec<u32>,
    /// Row and rank of the candidates of one column after the other, down the rows.
    rows: Vec<u32>,
    ranks: Vec<u32>,
    /// Of every column the candidates in the rows of the box, first and behind the last, and behind all of its own.
    spans: Vec<[usize; 3]>,
    /// A bit for every rank that is in the box.
    set: Vec<u64>,
    n_set: usize,
    /// A word of the set, and how many bits are set before it.
    word: usize,
    before: usize,
}

impl Candidates {
    fn new(tile: &Tile, (low, high): (u32, u32)) -> Self {
        let width = tile.shape.1;
        let is_candidate = |key: u32| key >= low && key <= high && key != BAD;
        let mut counts = vec![0_usize; width];
        let mut ordered: Vec<u64> = Vec::new();
        for (i, &key) in tile
            .keys
            .iter()
            .enumerate()
            .filter(|&(_, &key)| is_candidate(key))
        {
            counts[i % width] += 1;
            ordered.push(u64::from(key) << 32 | i as u64);
        }
        ordered.sort_unstable();
        let mut rank_of = vec![0_u32; tile.keys.len()];
        for (rank, &one) in ordered.iter().enumerate() {
            rank_of[(one & 0xffff_ffff) as usize] = rank as u32;
        }
        let mut first = 0;
        let mut spans = Vec::with_capacity(width);
        for &n in &counts {
            spans.push([first, first, first + n]);
            first += n;
        }
        let mut next: Vec<usize> = spans.iter().map(|span| span[0]).collect();
        let (mut rows, mut ranks) = (vec![0; ordered.len()], vec![0; ordered.len()]);
        for (i, _) in tile
            .keys
            .iter()
            .enumerate()
            .filter(|&(_, &key)| is_candidate(key))
        {
            let place = &mut next[i % width];
            (rows[*place], ranks[*place]) = ((i / width) as u32, rank_of[i]);
            *place += 1;
        }
        Self {
            set: vec![0; ordered.len() / 64 + 1],
            keys: ordered.into_iter().map(|one| (one >> 32) as u32).collect(),
            rows,
            ranks,
            spans,
            n_set: 0,
            word: 0,
            before: 0,
        }
    }

    /// Move the box, which has the columns from `left` to `right`, to rows that are not above those it had.
    fn move_to_rows(&mut self, top: usize, bottom: usize, left: usize, right: usize) {
        for column in 0..self.spans.len() {
            let inside = column >= left && column < right;
            let [mut first, mut end, last] = self.spans[column];
            while end < last && (self.rows[end] as usize) < bottom {
                if inside {
                    self.insert(self.ranks[end]);
                }
                end += 1;
            }
            while first < end && (self.rows[first] as usize) < top {
                if inside {
                    self.take(self.ranks[first]);
                }
                first += 1;
            }
            self.spans[column] = [first, end, last];
        }
    }

    fn add(&mut self, column: usize) {
        let [first, end, _] = self.spans[column];
        for i in first..end {
            self.insert(self.ranks[i]);
        }
    }

    fn remove(&mut self, column: usize) {
        let [first, end, _] = self.spans[column];
        for i in first..end {
            self.take(self.ranks[i]);
        }
    }

    fn insert(&mut self, rank: u32) {
        let word = (rank / 64) as usize;
        self.set[word] |= 1 << (rank % 64);
        self.n_set += 1;
        self.before += usize::from(word < self.word);
    }

    fn take(&mut self, rank: u32) {
        let word = (rank / 64) as usize;
        self.set[word] &= !(1 << (rank % 64));
        self.n_set -= 1;
        self.before -= usize::from(word < self.word);
    }

    /// Key of the n-th candidate in the box, from 0 on; None when there are not so many.
    fn nth(&mut self, n: usize) -> Option<u32> {
        if n >= self.n_set {
            return None;
        }
        while self.before > n {
            self.word -= 1;
            self.before -= self.set[self.word].count_ones() as usize;
        }
        loop {
            let here = self.set[self.word].count_ones() as usize;
            if self.before + here > n {
                break;
            }
            self.before += here;
            self.word += 1;
        }
        let mut bits = self.set[self.word];
        for _ in self.before..n {
            bits &= bits - 1;
        }
        Some(self.keys[64 * self.word + bits.trailing_zeros() as usize])
    }
}
