//! Templates of sources on the pixels of an image.

use std::ops::Range;

use rayon::prelude::*;

use super::{PhotometryError, check_length};

/// Side of the cells in which stamps that overlap are looked for [pix].
const CELL: usize = 32;

/// What a source of flux 1 shows in a window of the image.
#[derive(Clone, Debug, Default)]
pub struct Stamp {
    /// First row.
    pub y0: usize,
    /// First column.
    pub x0: usize,
    /// Number of rows; 0 for a source without a template.
    pub ny: usize,
    /// Number of columns.
    pub nx: usize,
    /// Row after row.
    pub values: Vec<f32>,
    /// Derivatives by a move of the source along x and y; empty when nobody asked for them.
    pub by_place: [Vec<f32>; 2],
}

impl Stamp {
    /// Its rows on the image.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.y0..self.y0 + self.ny
    }

    /// Its columns on the image.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.x0..self.x0 + self.nx
    }

    /// The values of a row of the image in some of its columns, which must be of the stamp.
    pub(super) fn row(&self, y: usize, columns: &Range<usize>) -> &[f32] {
        let first = (y - self.y0) * self.nx + columns.start - self.x0;
        &self.values[first..first + columns.len()]
    }

    /// Add another stamp: the window becomes the smallest one that holds both.
    pub(super) fn join(&mut self, other: Stamp) {
        if other.ny == 0 || other.nx == 0 {
            return;
        }
        if self.ny == 0 || self.nx == 0 {
            *self = other;
            return;
        }
        let end = |a: &Range<usize>, b: &Range<usize>| a.end.max(b.end);
        let (y0, x0) = (self.y0.min(other.y0), self.x0.min(other.x0));
        let ny = end(&self.rows(), &other.rows()) - y0;
        let nx = end(&self.columns(), &other.columns()) - x0;
        let both = |pick: fn(&Stamp) -> &Vec<f32>| {
            let mut sum = vec![0.0; ny * nx];
            for one in [&*self, &other] {
                for (j, row) in pick(one).chunks_exact(one.nx).enumerate() {
                    let first = (one.y0 + j - y0) * nx + one.x0 - x0;
                    sum[first..first + one.nx]
                        .iter_mut()
                        .zip(row)
                        .for_each(|(s, v)| *s += v);
                }
            }
            sum
        };
        let values = both(|s| &s.values);
        let by_place = if self.by_place[0].is_empty() {
            Default::default()
        } else {
            [both(|s| &s.by_place[0]), both(|s| &s.by_place[1])]
        };
        *self = Stamp {
            y0,
            x0,
            ny,
            nx,
            values,
            by_place,
        };
    }
}

/// Put stamps that somebody made in the place of others: for each its source, its window `(y0, x0, ny, nx)`, and the
/// values and derivatives by x and y of all, one after the other.
///
/// # Errors
/// When a window does not lie on the image of `shape`, or there are too few or too many values.
pub fn replace(
    stamps: &mut [Stamp],
    shape: (usize, usize),
    sources: &[usize],
    windows: &[[usize; 4]],
    planes: [&[f32]; 3],
) -> Result<(), PhotometryError> {
    check_length("windows", windows.len(), sources.len())?;
    let needed: usize = windows.iter().map(|w| w[2] * w[3]).sum();
    for (name, plane) in ["values", "by_x", "by_y"].into_iter().zip(planes) {
        check_length(name, plane.len(), needed)?;
    }
    let mut first = 0;
    for (&i, &[y0, x0, ny, nx]) in sources.iter().zip(windows) {
        let own = first..first + ny * nx;
        first = own.end;
        let n_stamps = stamps.len();
        let fits = y0 + ny <= shape.0 && x0 + nx <= shape.1;
        let Some(stamp) = stamps.get_mut(i).filter(|_| fits) else {
            return Err(PhotometryError::Window {
                source_number: i,
                n_sources: n_stamps,
                window: [y0, x0, ny, nx],
                shape,
            });
        };
        let [values, by_x, by_y] = planes.map(|plane| plane[own.clone()].to_vec());
        *stamp = Stamp {
            y0,
            x0,
            ny: if nx == 0 { 0 } else { ny },
            nx: if ny == 0 { 0 } else { nx },
            values,
            by_place: [by_x, by_y],
        };
    }
    Ok(())
}

/// The templates of all sources of an image.
#[derive(Debug)]
pub struct Templates {
    shape: (usize, usize),
    stamps: Vec<Stamp>,
    offsets: Vec<usize>,
    neighbours: Vec<u32>,
}

/// The common part of two ranges.
pub(super) fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

impl Templates {
    /// Of stamps that lie on an image of `shape`.
    #[must_use]
    pub fn new(shape: (usize, usize), stamps: Vec<Stamp>) -> Self {
        let (offsets, neighbours) = overlaps(shape, &stamps);
        Self {
            shape,
            stamps,
            offsets,
            neighbours,
        }
    }

    /// `(ny, nx)` of the image.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// One stamp for each source.
    #[must_use]
    pub fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    /// Light of each stamp on the image.
    #[must_use]
    pub fn light(&self) -> Vec<f64> {
        let of = |stamp: &Stamp| stamp.values.iter().map(|&v| f64::from(v)).sum();
        self.stamps.par_iter().map(of).collect()
    }

    /// First row, first column and shape of a stamp; None without one.
    #[must_use]
    pub fn window(&self, source: usize) -> Option<[usize; 4]> {
        let stamp = self.stamps.get(source).filter(|s| s.ny > 0);
        stamp.map(|s| [s.y0, s.x0, s.ny, s.nx])
    }

    /// The values of a stamp; none without one.
    #[must_use]
    pub fn values(&self, source: usize) -> Vec<f32> {
        self.stamps
            .get(source)
            .map_or_else(Vec::new, |s| s.values.clone())
    }

    /// Where the pairs of each source begin among [`Self::neighbours`].
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The later sources whose stamps overlap that of a source, increasing.
    #[must_use]
    pub fn later(&self, source: usize) -> &[u32] {
        &self.neighbours[self.offsets[source]..self.offsets[source + 1]]
    }

    /// The sources whose stamps overlap, later ones only, source after source.
    #[must_use]
    pub fn neighbours(&self) -> &[u32] {
        &self.neighbours
    }

    /// For each source all that overlap it, increasing, with the places of their pairs.
    #[must_use]
    pub fn all_neighbours(&self) -> Vec<Vec<(u32, usize)>> {
        let mut all: Vec<Vec<(u32, usize)>> = vec![Vec::new(); self.stamps.len()];
        for i in 0..self.stamps.len() {
            for pair in self.offsets[i]..self.offsets[i + 1] {
                let j = self.neighbours[pair];
                all[i].push((j, pair));
                all[j as usize].push((i as u32, pair));
            }
        }
        all.par_iter_mut().for_each(|list| list.sort_unstable());
        all
    }

    /// Sources whose stamps have a part in each band of `side` rows, increasing.
    pub(super) fn by_rows(&self, side: usize) -> Vec<Vec<u32>> {
        let mut bands = vec![Vec::new(); self.shape.0.div_ceil(side)];
        for (i, stamp) in self.stamps.iter().enumerate() {
            if stamp.ny > 0 {
                for band in &mut bands[stamp.y0 / side..=(stamp.y0 + stamp.ny - 1) / side] {
                    band.push(i as u32);
                }
            }
        }
        bands
    }
}

fn overlaps(shape: (usize, usize), stamps: &[Stamp]) -> (Vec<usize>, Vec<u32>) {
    let across = shape.1.div_ceil(CELL);
    let cells_of = |s: &Stamp| {
        let end = |first: usize, n: usize| {
            if n == 0 {
                0
            } else {
                (first + n - 1) / CELL + 1
            }
        };
        (s.y0 / CELL..end(s.y0, s.ny), s.x0 / CELL..end(s.x0, s.nx))
    };
    let mut cells: Vec<Vec<u32>> = vec![Vec::new(); shape.0.div_ceil(CELL) * across];
    for (i, stamp) in stamps.iter().enumerate() {
        let (rows, columns) = cells_of(stamp);
        for y in rows {
            for x in columns.clone() {
                cells[y * across + x].push(i as u32);
            }
        }
    }
    let lists: Vec<Vec<u32>> = stamps
        .par_iter()
        .enumerate()
        .map(|(i, stamp)| {
            let (rows, columns) = cells_of(stamp);
            let mut found = Vec::new();
            for y in rows {
                for x in columns.clone() {
                    let there = &cells[y * across + x];
                    let later = there.partition_point(|&j| j as usize <= i);
                    found.extend(there[later..].iter().copied().filter(|&j| {
                        let other = &stamps[j as usize];
                        !common(&stamp.rows(), &other.rows()).is_empty()
                            && !common(&stamp.columns(), &other.columns()).is_empty()
                    }));
                }
            }
            found.sort_unstable();
            found.dedup();
            found
        })
        .collect();
    let mut offsets = Vec::with_capacity(stamps.len() + 1);
    offsets.push(0);
    let mut neighbours = Vec::new();
    for list in lists {
        neighbours.extend(list);
        offsets.push(neighbours.len());
    }
    (offsets, neighbours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(y0: usize, x0: usize, ny: usize, nx: usize) -> Stamp {
        Stamp {
            y0,
            x0,
            ny,
            nx,
            values: vec![1.0; ny * nx],
            ..Stamp::default()
        }
    }

    #[test]
    fn overlaps_are_those_of_all_pairs() {
        let stamps: Vec<Stamp> = (0..60_usize)
            .map(|i| {
                stamp(
                    (i * 37) % 180,
                    (i * 53) % 150,
                    i % 21,
                    if i % 21 == 0 { 0 } else { 3 + (i * 7) % 40 },
                )
            })
            .collect();
        let templates = Templates::new((220, 200), stamps.clone());
        for i in 0..stamps.len() {
            let expected: Vec<u32> = (i + 1..stamps.len())
                .filter(|&j| {
                    let (a, b) = (&stamps[i], &stamps[j]);
                    a.ny > 0
                        && b.ny > 0
                        && a.y0 < b.y0 + b.ny
                        && b.y0 < a.y0 + a.ny
                        && a.x0 < b.x0 + b.nx
                        && b.x0 < a.x0 + a.nx
                })
                .map(|j| j as u32)
                .collect();
            assert_eq!(templates.later(i), expected, "{i}");
        }
    }

    #[test]
    fn joined_stamps_are_sums_on_the_smallest_window() {
        let mut one = stamp(3, 5, 4, 3);
        one.by_place = [vec![2.0; 12], vec![0.5; 12]];
        let mut other = stamp(5, 4, 6, 2);
        other.by_place = [vec![1.0; 12], vec![1.0; 12]];
        one.join(other);
        one.join(Stamp::default());
        assert_eq!((one.y0, one.x0, one.ny, one.nx), (3, 4, 8, 4));
        assert_eq!(one.values.iter().sum::<f32>(), 24.0);
        // Both have the pixel in row 5 and column 5.
        assert_eq!((one.values[2 * 4 + 1], one.values[0]), (2.0, 0.0));
        assert_eq!((one.by_place[0][9], one.by_place[1][9]), (3.0, 1.5));
    }
}
