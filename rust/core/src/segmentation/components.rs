//! Connected components of a mask: their labels, and where they are.

use rayon::prelude::*;

use super::SegmentationError;
use super::label::{BLOCK_ROWS, Connectivity, Run, find, link_rows, number, runs_of_row, unite};
use crate::image::{Image, Plane};

/// Pixels `start..end` of a row, and their node in the forest of their block.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    node: u32,
}

/// Columns of a row with which 32 bits count the pixels of a block.
const MOST_COLUMNS: usize = u32::MAX as usize / BLOCK_ROWS;

/// The runs of a block of rows. Those that touch none above begin a node of the forest, the others belong to one.
#[derive(Default)]
struct Block {
    spans: Vec<Span>,
    /// Where the spans of each row end.
    row_ends: Vec<usize>,
    parent: Vec<usize>,
}

impl Block {
    /// Append the runs of a row; those of the row above start at `first`.
    fn add_row(&mut self, row: &[u8], mut first: usize, reach: usize) {
        let last = self.spans.len();
        for Run { start, end, .. } in runs_of_row(0, row) {
            while first < last && self.spans[first].end as usize + reach <= start {
                first += 1;
            }
            let mut node = None;
            for above in &self.spans[first..last] {
                if above.start as usize >= end + reach {
                    break;
                }
                let above = above.node as usize;
                node = Some(match node {
                    None => find(&mut self.parent, above),
                    Some(node) => unite(&mut self.parent, node, above),
                });
            }
            let node = node.unwrap_or_else(|| {
                self.parent.push(self.parent.len());
                self.parent.len() - 1
            });
            self.spans.push(Span {
                start: start as u32,
                end: end as u32,
                node: node as u32,
            });
        }
        self.row_ends.push(self.spans.len());
    }

    fn row(&self, i: usize) -> &[Span] {
        let start = if i == 0 { 0 } else { self.row_ends[i - 1] };
        &self.spans[start..self.row_ends[i]]
    }

    fn runs(&self, i: usize) -> Vec<Run> {
        let spans = self.row(i).iter();
        let run = |s: &Span| Run {
            y: i,
            start: s.start as usize,
            end: s.end as usize,
        };
        spans.map(run).collect()
    }
}

/// The components of a mask, numbered from 0 in raster order of their first pixel.
struct Found {
    blocks: Vec<Block>,
    /// Where the nodes of each block start.
    first_node: Vec<usize>,
    /// The component of each node.
    component: Vec<usize>,
    n: usize,
}

impl Found {
    fn in_mask(mask: Plane<'_, u8>, connectivity: Connectivity) -> Result<Self, SegmentationError> {
        let (ny, nx) = mask.shape();
        if nx > MOST_COLUMNS {
            return Err(SegmentationError::TooWide {
                found: nx,
                most: MOST_COLUMNS,
            });
        }
        let blocks: Vec<Block> = (0..ny.div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                crate::interrupt::poll();
                let mut found = Block::default();
                let mut above = 0;
                for y in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(ny) {
                    let first = above;
                    above = found.spans.len();
                    found.add_row(mask.row(y), first, connectivity.reach());
                }
                found
            })
            .collect();
        let found = Self::joined(blocks, connectivity);
        match i32::try_from(found.n) {
            Ok(_) => Ok(found),
            Err(_) => Err(SegmentationError::TooManySources(found.n)),
        }
    }

    /// Link the last row of each block with the first of the next one.
    fn joined(blocks: Vec<Block>, connectivity: Connectivity) -> Self {
        let mut parent: Vec<usize> = Vec::new();
        let mut first_node = Vec::new();
        for block in &blocks {
            let offset = parent.len();
            first_node.push(offset);
            parent.extend(block.parent.iter().map(|p| p + offset));
        }
        for (i, pair) in blocks.windows(2).enumerate() {
            let [upper, lower] = pair else { continue };
            let last = upper.row_ends.len() - 1;
            let (above, below) = (upper.row(last), lower.row(0));
            link_rows(&upper.runs(last), &lower.runs(0), connectivity, |a, b| {
                let a = first_node[i] + above[a].node as usize;
                let b = first_node[i + 1] + below[b].node as usize;
                unite(&mut parent, a, b);
            });
        }
        let (component, n) = number(parent);
        Self {
            blocks,
            first_node,
            component,
            n,
        }
    }

    /// An image of `shape` with the components' numbers from 1 on.
    fn labels(&self, shape: (usize, usize)) -> Image<i32> {
        let mut labels = Image::empty(shape);
        labels.fill_blocks(BLOCK_ROWS, |y0, pixels| {
            let i = y0 / BLOCK_ROWS;
            let component = &self.component[self.first_node[i]..];
            for (y, row) in pixels.chunks_exact_mut(shape.1).enumerate() {
                for span in self.blocks[i].row(y) {
                    let label = component[span.node as usize] as i32 + 1;
                    row[span.start as usize..span.end as usize].fill(label);
                }
            }
        });
        labels
    }

    fn tallies(&self) -> Vec<Tally> {
        let of_nodes: Vec<Vec<Tally>> = (self.blocks.par_iter().enumerate())
            .map(|(i, block)| {
                let mut tallies = vec![Tally::EMPTY; block.parent.len()];
                for y in 0..block.row_ends.len() {
                    for span in block.row(y) {
                        tallies[span.node as usize].add((BLOCK_ROWS * i + y) as u64, *span);
                    }
                }
                tallies
            })
            .collect();
        let mut tallies = vec![Tally::EMPTY; self.n];
        for (tally, &component) in of_nodes.iter().flatten().zip(&self.component) {
            tallies[component].join(tally);
        }
        tallies
    }
}

/// Size and place of a component.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Number of pixels.
    pub area: u64,
    /// First and last column.
    pub x: [u64; 2],
    /// First and last row.
    pub y: [u64; 2],
    /// Sum of the columns of the pixels.
    pub x_sum: u64,
    /// Sum of their rows.
    pub y_sum: u64,
}

impl Tally {
    const EMPTY: Self = Self {
        area: 0,
        x: [u64::MAX, 0],
        y: [u64::MAX, 0],
        x_sum: 0,
        y_sum: 0,
    };

    fn add(&mut self, y: u64, span: Span) {
        let (start, end) = (u64::from(span.start), u64::from(span.end));
        let n = end - start;
        self.join(&Self {
            area: n,
            x: [start, end - 1],
            y: [y, y],
            // Of two factors of which one is even.
            x_sum: n * (start + end - 1) / 2,
            y_sum: n * y,
        });
    }

    fn join(&mut self, other: &Self) {
        self.area += other.area;
        self.x = [self.x[0].min(other.x[0]), self.x[1].max(other.x[1])];
        self.y = [self.y[0].min(other.y[0]), self.y[1].max(other.y[1])];
        self.x_sum += other.x_sum;
        self.y_sum += other.y_sum;
    }
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
    let found = Found::in_mask(mask, connectivity)?;
    Ok((found.labels(mask.shape()), found.n))
}

/// [`label`] with size and place of every component, from the same runs.
///
/// # Errors
/// As [`label`].
pub fn label_and_tally(
    mask: Plane<'_, u8>,
    connectivity: Connectivity,
) -> Result<(Image<i32>, Vec<Tally>), SegmentationError> {
    let found = Found::in_mask(mask, connectivity)?;
    Ok((found.labels(mask.shape()), found.tallies()))
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
    fn rows_that_are_too_wide_are_named() {
        let nx = MOST_COLUMNS + 1;
        let row = vec![0_u8; nx];
        let mask = Plane::new("mask", &row, (1, nx)).unwrap();
        let said = label(mask, Connectivity::Four).unwrap_err().to_string();
        assert!(said.contains(&format!("{nx} columns")), "{said}");
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

    #[test]
    fn tallies_are_those_of_the_pixels() {
        let mut pixels = vec![0_u8; 150 * 9];
        for y in 60..140 {
            pixels[y * 9 + 4 + y % 2] = 1;
        }
        pixels[8] = 1;
        let mask = Plane::new("mask", &pixels, (150, 9)).unwrap();
        let (_, tallies) = label_and_tally(mask, Connectivity::Eight).unwrap();
        let [dot, line] = tallies.as_slice() else {
            panic!("{tallies:?}")
        };
        assert_eq!((dot.area, dot.x, dot.y), (1, [8, 8], [0, 0]));
        assert_eq!((line.area, line.x, line.y), (80, [4, 5], [60, 139]));
        assert_eq!((line.x_sum, line.y_sum), (40 * 4 + 40 * 5, 80 * 199 / 2));
    }
}
