//! The pixel map row by row, and what parts of it span on the output.

use std::ops::Range;

use crate::math::widest::{Work, run_widest};

/// A row of positions of the pixel map.
pub type MapRow<'a> = &'a [[f64; 2]];

/// The pixel map as rows.
#[derive(Clone, Copy)]
pub struct MapRows<'a> {
    /// All positions, row after row.
    pub positions: MapRow<'a>,
    /// Pixels in a row.
    pub nx: usize,
    /// Number of rows.
    pub ny: usize,
}

/// What a part of the pixel map spans along one axis of the output.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Lowest position; larger than `high` where every position is NaN.
    pub low: f64,
    /// Highest position.
    pub high: f64,
    /// Largest step between neighbouring pixels.
    pub steepest: f64,
}

/// Numbers that are compared together: x and y of four pixels.
const TOGETHER: usize = 8;

/// Extremes of positions, x and y in turn.
#[derive(Clone, Copy)]
struct Extremes {
    low: [f64; TOGETHER],
    high: [f64; TOGETHER],
    steepest: [f64; TOGETHER],
}

impl Extremes {
    const NONE: Self = Self {
        low: [f64::INFINITY; TOGETHER],
        high: [f64::NEG_INFINITY; TOGETHER],
        steepest: [0.0; TOGETHER],
    };

    /// Take in positions; comparisons with NaN are false, so NaN never counts.
    #[inline(always)]
    fn join(&mut self, positions: MapRow<'_>) {
        let mut join = |chunk: &[f64]| {
            for ((low, high), at) in self.low.iter_mut().zip(&mut self.high).zip(chunk) {
                *low = if at < low { *at } else { *low };
                *high = if at > high { *at } else { *high };
            }
        };
        let (chunks, rest) = positions.as_flattened().as_chunks::<TOGETHER>();
        for chunk in chunks {
            join(chunk);
        }
        join(rest);
    }

    /// Take in the distances of positions to as many neighbours.
    #[inline(always)]
    fn join_steps(&mut self, positions: MapRow<'_>, neighbours: MapRow<'_>) {
        let mut join = |here: &[f64], there: &[f64]| {
            for ((steepest, a), b) in self.steepest.iter_mut().zip(here).zip(there) {
                let step = (a - b).abs();
                *steepest = if step > *steepest { step } else { *steepest };
            }
        };
        let (here, here_rest) = positions.as_flattened().as_chunks::<TOGETHER>();
        let (there, there_rest) = neighbours.as_flattened().as_chunks::<TOGETHER>();
        for (a, b) in here.iter().zip(there) {
            join(a, b);
        }
        join(here_rest, there_rest);
    }

    /// In x and in y.
    #[inline(always)]
    fn finish(&self) -> [Extent; 2] {
        [0, 1].map(|axis| {
            let of = |values: &[f64; TOGETHER], f: fn(f64, f64) -> f64| {
                let mut along = values.iter().skip(axis).step_by(2).copied();
                along.next().map_or(f64::NAN, |first| along.fold(first, f))
            };
            Extent {
                low: of(&self.low, f64::min),
                high: of(&self.high, f64::max),
                steepest: of(&self.steepest, f64::max),
            }
        })
    }
}

/// Part of a pixel map whose extent is wanted.
struct Part<'a> {
    map: MapRows<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Work for Part<'_> {
    type Output = [Extent; 2];

    #[inline(always)]
    fn run(self) -> [Extent; 2] {
        let mut extremes = Extremes::NONE;
        let wide = self.columns.start.saturating_sub(1)..(self.columns.end + 1).min(self.map.nx);
        for j in self.rows.start.saturating_sub(1)..(self.rows.end + 1).min(self.map.ny) {
            let here = &self.map.row(j)[wide.clone()];
            extremes.join(here);
            extremes.join_steps(here, &self.map.row(j.saturating_sub(1))[wide.clone()]);
            if let ([_, right @ ..], [left @ .., _]) = (here, here) {
                extremes.join_steps(right, left);
            }
        }
        extremes.finish()
    }
}

impl<'a> MapRows<'a> {
    /// One row.
    #[must_use]
    pub fn row(&self, j: usize) -> MapRow<'a> {
        &self.positions[j * self.nx..(j + 1) * self.nx]
    }

    /// What the centres of some pixels and of those around them span, in x and in y.
    #[must_use]
    pub fn extent(&self, rows: Range<usize>, columns: Range<usize>) -> [Extent; 2] {
        run_widest(Part {
            map: *self,
            rows,
            columns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by looking at one pixel after the other.
    fn plain(map: MapRows<'_>, rows: &Range<usize>, columns: &Range<usize>) -> [Extent; 2] {
        [0, 1].map(|axis| {
            let (mut low, mut high, mut steepest) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
            for j in rows.start.saturating_sub(1)..(rows.end + 1).min(map.ny) {
                let first = columns.start.saturating_sub(1);
                for i in first..(columns.end + 1).min(map.nx) {
                    let at = map.row(j)[i][axis];
                    (low, high) = (low.min(at), high.max(at));
                    let mut others = vec![map.row(j.saturating_sub(1))[i][axis]];
                    if i > first {
                        others.push(map.row(j)[i - 1][axis]);
                    }
                    for other in others {
                        steepest = steepest.max((at - other).abs());
                    }
                }
            }
            Extent {
                low,
                high,
                steepest,
            }
        })
    }

    #[test]
    fn the_extent_of_a_part_is_that_of_its_pixels_and_their_neighbours() {
        let (nx, ny) = (23, 19);
        let mut positions: Vec<[f64; 2]> = (0..nx * ny)
            .map(|k| {
                let (i, j) = ((k % nx) as f64, (k / nx) as f64);
                [1.7 * i - 0.6 * j + (k as f64).sin(), 0.5 * i + 1.9 * j]
            })
            .collect();
        positions[5 * nx + 7] = [f64::NAN; 2];
        let map = MapRows {
            positions: &positions,
            nx,
            ny,
        };
        let parts = [
            (0..ny, 0..nx),
            (3..8, 2..11),
            (18..19, 22..23),
            (0..1, 0..4),
        ];
        for (rows, columns) in parts {
            let found = map.extent(rows.clone(), columns.clone());
            for (a, b) in found.iter().zip(plain(map, &rows, &columns)) {
                assert_eq!(
                    [a.low, a.high, a.steepest],
                    [b.low, b.high, b.steepest],
                    "{rows:?} {columns:?}"
                );
            }
        }
    }

    #[test]
    fn a_map_without_columns_has_no_extent() {
        let map = MapRows {
            positions: &[],
            nx: 0,
            ny: 4,
        };
        assert!(map.extent(0..4, 0..0).iter().all(|e| e.low > e.high));
    }
}
