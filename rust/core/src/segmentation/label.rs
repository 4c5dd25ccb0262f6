//! Connected components of a mask, found over runs of pixels.

use rayon::prelude::*;

use super::SegmentationError;
use crate::image::{Image, Plane};

/// Which pixels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Pixels that share a side.
    Four,
    /// Pixels that share a side or a corner.
    Eight,
}

impl TryFrom<usize> for Connectivity {
    type Error = SegmentationError;

    fn try_from(n: usize) -> Result<Self, SegmentationError> {
        match n {
            4 => Ok(Self::Four),
            8 => Ok(Self::Eight),
            _ => Err(SegmentationError::Connectivity(n)),
        }
    }
}

impl Connectivity {
    /// How far past its ends a run touches runs of the next row [pix].
    fn reach(self) -> usize {
        usize::from(self == Self::Eight)
    }
}

/// Pixels `start..end` of row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub y: usize,
    pub start: usize,
    pub end: usize,
}

/// Rows of an image that one thread scans.
pub(super) const BLOCK_ROWS: usize = 64;

/// Runs of a block of rows in raster order, and the forest of those that are linked.
#[derive(Default)]
pub(super) struct BlockRuns {
    runs: Vec<Run>,
    /// Index of a run of the same component, never above the run's own; roots point to themselves.
    parent: Vec<usize>,
    /// Runs of the last finished row.
    last_row: std::ops::Range<usize>,
    /// Runs of the first row.
    first_row: std::ops::Range<usize>,
}

impl BlockRuns {
    /// Append the runs of the next row and link them to the row before.
    pub(super) fn push_row(
        &mut self,
        runs: impl Iterator<Item = Run>,
        connectivity: Connectivity,
        is_first: bool,
    ) {
        let begin = self.runs.len();
        self.runs.extend(runs);
        let row = begin..self.runs.len();
        self.parent.extend(row.clone());
        link_rows(
            &self.runs,
            &mut self.parent,
            self.last_row.clone(),
            row.clone(),
            connectivity,
        );
        if is_first {
            self.first_row = row.clone();
        }
        self.last_row = row;
    }
}

/// Root of the tree of `i`; halves the path to it.
fn find(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

/// Join two trees under the lower root, so that a root is the first run of its component in raster order.
fn unite(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// Link the touching runs of two adjacent rows.
fn link_rows(
    runs: &[Run],
    parent: &mut [usize],
    upper: std::ops::Range<usize>,
    lower: std::ops::Range<usize>,
    connectivity: Connectivity,
) {
    let reach = connectivity.reach();
    let (mut i, mut j) = (upper.start, lower.start);
    while i < upper.end && j < lower.end {
        let (a, b) = (runs[i], runs[j]);
        if a.start < b.end + reach && b.start < a.end + reach {
            unite(parent, i, j);
        }
        if a.end < b.end {
            i += 1;
        } else {
            j += 1;
        }
    }
}

/// The runs of an image with the component of each: numbers from 0 in raster order of the first pixel.
#[derive(Default)]
pub(super) struct Components {
    pub runs: Vec<Run>,
    pub component: Vec<usize>,
    pub n: usize,
}

/// The components of runs in raster order.
pub(super) fn components_of(runs: Vec<Run>, connectivity: Connectivity) -> Components {
    let mut parent: Vec<usize> = (0..runs.len()).collect();
    let (mut upper, mut start) = (0..0, 0);
    while start < runs.len() {
        let y = runs[start].y;
        let end = start + runs[start..].partition_point(|run| run.y == y);
        if runs.get(upper.start).is_some_and(|run| run.y + 1 == y) {
            link_rows(&runs, &mut parent, upper, start..end, connectivity);
        }
        upper = start..end;
        start = end;
    }
    number(runs, parent)
}

/// Join the blocks of an image, given from top to bottom without gaps.
pub(super) fn join_blocks(blocks: Vec<BlockRuns>, connectivity: Connectivity) -> Components {
    let n_runs = blocks.iter().map(|b| b.runs.len()).sum();
    let mut runs = Vec::with_capacity(n_runs);
    let mut parent = Vec::with_capacity(n_runs);
    let mut last_row = 0..0;
    for block in blocks {
        let offset = runs.len();
        runs.extend(block.runs);
        parent.extend(block.parent.iter().map(|p| p + offset));
        let shift = |r: &std::ops::Range<usize>| r.start + offset..r.end + offset;
        link_rows(
            &runs,
            &mut parent,
            last_row,
            shift(&block.first_row),
            connectivity,
        );
        last_row = shift(&block.last_row);
    }
    number(runs, parent)
}

/// Number the trees of linked runs.
fn number(runs: Vec<Run>, parent: Vec<usize>) -> Components {
    let mut n = 0;
    let mut component = parent;
    for i in 0..component.len() {
        // A parent stands before its child, so it has been numbered already.
        component[i] = if component[i] == i {
            n += 1;
            n - 1
        } else {
            component[component[i]]
        };
    }
    Components { runs, component, n }
}

/// The runs of true pixels of one row.
pub(super) fn runs_of_row(y: usize, row: &[u8]) -> impl Iterator<Item = Run> + '_ {
    let mut x = 0;
    std::iter::from_fn(move || {
        let start = x + skip(&row[x..], 0);
        if start == row.len() {
            return None;
        }
        let end = start
            + 1
            + row[start + 1..]
                .iter()
                .position(|&v| v == 0)
                .unwrap_or(row.len() - start - 1);
        x = end;
        Some(Run { y, start, end })
    })
}

/// Length of the leading stretch of `value`, eight bytes at a time.
fn skip(row: &[u8], value: u8) -> usize {
    let words = row.chunks_exact(8);
    let whole = words.take_while(|w| w.iter().all(|&b| b == value)).count() * 8;
    whole + row[whole..].iter().take_while(|&&b| b == value).count()
}

/// Label the connected components of a mask (non-zero = in) from 1 in raster order of their first pixel; 0 is outside.
/// Returns the labels and their number.
///
/// # Errors
/// [`SegmentationError::TooManySources`] when 32 bits do not hold the labels.
///
/// # Source
/// Run-based two-pass labelling, He, Chao & Suzuki 2008, IEEE Trans. Image Process. 17, 749, with the blocks of rows
/// joined by union-find as in Wu, Otoo & Suzuki 2009, Pattern Anal. Applic. 12, 117.
pub fn label(
    mask: Plane<'_, u8>,
    connectivity: Connectivity,
) -> Result<(Image<i32>, usize), SegmentationError> {
    let (ny, nx) = mask.shape();
    let blocks: Vec<BlockRuns> = (0..ny.div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .map(|block| {
            crate::interrupt::poll();
            let mut found = BlockRuns::default();
            let y0 = block * BLOCK_ROWS;
            for y in y0..(y0 + BLOCK_ROWS).min(ny) {
                found.push_row(runs_of_row(y, mask.row(y)), connectivity, y == y0);
            }
            found
        })
        .collect();
    let found = join_blocks(blocks, connectivity);
    if i32::try_from(found.n).is_err() {
        return Err(SegmentationError::TooManySources(found.n));
    }
    let mut labels = Image::empty((ny, nx));
    labels.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        let first = found.runs.partition_point(|r| r.y < y0);
        for (run, component) in found.runs[first..].iter().zip(&found.component[first..]) {
            let row = (run.y - y0) * nx;
            let Some(part) = pixels.get_mut(row + run.start..row + run.end) else {
                break;
            };
            part.fill(*component as i32 + 1);
        }
    });
    Ok((labels, found.n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(rows: &[&str], connectivity: Connectivity) -> Vec<i32> {
        let pixels: Vec<u8> = rows
            .iter()
            .flat_map(|r| r.bytes().map(|b| u8::from(b == b'#')))
            .collect();
        let mask = Plane::new("mask", &pixels, (rows.len(), rows[0].len())).unwrap();
        label(mask, connectivity).unwrap().0.into_vec()
    }

    #[test]
    fn corners_connect_only_with_eight_neighbours() {
        let rows = ["#..", ".#.", "..#"];
        assert_eq!(
            labels(&rows, Connectivity::Eight),
            [1, 0, 0, 0, 1, 0, 0, 0, 1]
        );
        assert_eq!(
            labels(&rows, Connectivity::Four),
            [1, 0, 0, 0, 2, 0, 0, 0, 3]
        );
    }

    #[test]
    fn a_spiral_is_one_component() {
        let rows = ["#####", "....#", "###.#", "#...#", "#####"];
        assert!(labels(&rows, Connectivity::Four).iter().all(|&l| l <= 1));
    }

    #[test]
    fn labels_follow_the_first_pixel_in_raster_order() {
        let rows = ["..#", "#.#", "#.."];
        assert_eq!(
            labels(&rows, Connectivity::Four),
            [0, 0, 1, 2, 0, 1, 2, 0, 0]
        );
    }
}
