//! Templates of sources on the pixels of an image.

use std::ops::Range;

use rayon::prelude::*;

use super::{PhotometryError, check_length};

/// Side of the cells in which stamps that overlap are looked for [pix].
const CELL: usize = 32;

/// Weights of the differences at 1 to 8 pixels whose sum is a derivative with an error of the order 17: 0.15 % for waves
/// of 4 pixels, 4 % for those of 3, of which a PSF lets little pass.
const DIFFERENCES: [f64; 8] = [
    8.0 / 9.0,
    -14.0 / 45.0,
    56.0 / 495.0,
    -7.0 / 198.0,
    56.0 / 6435.0,
    -2.0 / 1287.0,
    8.0 / 45045.0,
    -1.0 / 102_960.0,
];

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

    /// Derivatives by a move of the source along x and y.
    #[must_use]
    pub fn by_place(&self) -> [Vec<f32>; 2] {
        let at = |y: isize, x: isize| {
            let is_in = y >= 0 && x >= 0 && y < self.ny as isize && x < self.nx as isize;
            // Beyond the stamp goes on what its border has: a step to 0 would be a steep edge.
            let (y, x) = if is_in {
                (y, x)
            } else {
                (
                    y.clamp(0, self.ny as isize - 1),
                    x.clamp(0, self.nx as isize - 1),
                )
            };
            f64::from(self.values[y as usize * self.nx + x as usize])
        };
        let along = |dy: isize, dx: isize| {
            (0..self.values.len())
                .map(|i| {
                    let (y, x) = ((i / self.nx) as isize, (i % self.nx) as isize);
                    let slope: f64 = DIFFERENCES
                        .iter()
                        .zip(1..)
                        .map(|(w, k)| w * (at(y - k * dy, x - k * dx) - at(y + k * dy, x + k * dx)))
                        .sum();
                    slope as f32
                })
                .collect()
        };
        [along(0, 1), along(1, 0)]
    }
}

/// Put stamps that somebody made in the place of others: for each its source, its window `(y0, x0, ny, nx)`, and the
/// values of all, one after the other.
///
/// # Errors
/// When a window does not lie on the image of `shape`, or there are too few or too many values.
pub fn replace(
    stamps: &mut [Stamp],
    shape: (usize, usize),
    sources: &[usize],
    windows: &[[usize; 4]],
    values: &[f32],
) -> Result<(), PhotometryError> {
    check_length("windows", windows.len(), sources.len())?;
    let needed: usize = windows.iter().map(|w| w[2] * w[3]).sum();
    check_length("values", values.len(), needed)?;
    let mut rest = values;
    for (&i, &[y0, x0, ny, nx]) in sources.iter().zip(windows) {
        let (mine, others) = rest.split_at(ny * nx);
        rest = others;
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
        *stamp = Stamp {
            y0,
            x0,
            ny: if nx == 0 { 0 } else { ny },
            nx: if ny == 0 { 0 } else { nx },
            values: mine.to_vec(),
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
    fn derivatives_of_a_gaussian_are_its_own() {
        let (n, sigma, c) = (41, 1.3, 20.2);
        let value = |x: f64| (-0.5 * ((x - c) / sigma).powi(2)).exp();
        let one = Stamp {
            y0: 0,
            x0: 0,
            ny: n,
            nx: n,
            values: (0..n * n)
                .map(|i| (value((i % n) as f64) * value((i / n) as f64)) as f32)
                .collect(),
        };
        let [by_x, by_y] = one.by_place();
        for i in 0..n * n {
            let (x, y) = ((i % n) as f64, (i / n) as f64);
            let both = value(x) * value(y) / (sigma * sigma);
            assert!((f64::from(by_x[i]) - both * (x - c)).abs() < 4e-3);
            assert!((f64::from(by_y[i]) - both * (y - c)).abs() < 4e-3);
        }
    }
}
