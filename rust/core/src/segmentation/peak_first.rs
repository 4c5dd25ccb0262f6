//! Segments that grow from their peaks: a watershed with a reach.

use std::sync::atomic::{AtomicI32, Ordering};

use rayon::prelude::*;

use super::SegmentationError;
use super::components::label;
use super::label::{BLOCK_ROWS, Connectivity};
use crate::image::{Image, Plane};
use crate::interrupt;

/// Parameters of [`peak_first`].
#[derive(Clone, Copy, Debug)]
pub struct PeakParams {
    /// Least value of a pixel of a segment [unit of the data].
    pub threshold: f32,
    /// Steps along rows and columns from which a pixel joins a segment that is there already [pix].
    pub reach: usize,
    /// Least number of pixels of a segment.
    pub min_area: usize,
}

/// Segments and their peaks, in the order of their labels.
#[derive(Debug)]
pub struct PeakSegments {
    /// Labels from 1 by decreasing peak; 0 is sky.
    pub labels: Image<i32>,
    /// Columns of the peaks.
    pub x: Vec<usize>,
    /// Rows of the peaks.
    pub y: Vec<usize>,
}

/// A pixel above the threshold; `index` counts along rows.
#[derive(Clone, Copy, Debug)]
struct Pixel {
    value: f32,
    index: usize,
}

impl Pixel {
    /// Bright ones first, equal ones in raster order.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other
            .value
            .total_cmp(&self.value)
            .then(self.index.cmp(&other.index))
    }
}

/// Segment the pixels that are not below the threshold, brightest first. A pixel takes the label that stands nearest to
/// it within `reach` (in steps along rows and columns; of several equally near labelled pixels the one nearest to its
/// own segment's peak, then the first in raster order), or becomes the peak of a new segment. Then pixels that are not
/// 4-connected to their peak become sky, and, brightest peak first, a segment below `min_area` goes to the large
/// segment that it touches (of several, the one whose peak is nearest to the touching pixel), or becomes sky.
///
/// # Errors
/// [`SegmentationError::NoGoodPixel`] when no pixel is finite, [`SegmentationError::TooManySources`].
///
/// # Source
/// The rules of the program `make_detect` of C. Schreiber's deblending pipeline.
///
/// A pixel's label hangs on brighter pixels within the reach only, so groups of pixels that are farther apart than that
/// are segmented in parallel, with the labels of the serial order.
pub fn peak_first(
    data: Plane<'_, f32>,
    params: &PeakParams,
) -> Result<PeakSegments, SegmentationError> {
    if !data.pixels().par_iter().any(|v| v.is_finite()) {
        return Err(SegmentationError::NoGoodPixel(data.pixels().len()));
    }
    let (ny, nx) = data.shape();
    let map = Map {
        labels: (0..ny * nx).map(|_| AtomicI32::new(0)).collect(),
        ny,
        nx,
        reach: params.reach,
    };
    let groups: Vec<(Vec<Pixel>, Vec<Seed>)> = groups(data, params)?
        .into_par_iter()
        .map(|mut pixels| {
            interrupt::poll();
            pixels.par_sort_unstable_by(Pixel::order);
            let mut seeds = map.grow(&pixels);
            map.cut_islands(&pixels, &mut seeds);
            map.hand_over(&mut seeds, params.min_area);
            (pixels, seeds)
        })
        .collect();
    let mut ranked: Vec<(Pixel, usize, usize)> = Vec::new();
    for (g, (_, seeds)) in groups.iter().enumerate() {
        let kept = seeds.iter().enumerate().filter(|(_, seed)| seed.is_kept);
        ranked.extend(kept.map(|(k, seed)| (seed.peak, g, k)));
    }
    if i32::try_from(ranked.len()).is_err() {
        return Err(SegmentationError::TooManySources(ranked.len()));
    }
    ranked.par_sort_unstable_by(|a, b| a.0.order(&b.0));
    let mut ids: Vec<Vec<i32>> = groups
        .iter()
        .map(|(_, seeds)| vec![0; seeds.len()])
        .collect();
    for (id, &(_, g, k)) in (1..).zip(&ranked) {
        ids[g][k] = id;
    }
    groups.par_iter().zip(&ids).for_each(|((pixels, _), ids)| {
        for pixel in pixels {
            let id = map.segment(pixel.index).map_or(0, |k| ids[k]);
            map.labels[pixel.index].store(id, Ordering::Relaxed);
        }
    });
    Ok(PeakSegments {
        x: ranked.iter().map(|(peak, _, _)| peak.index % nx).collect(),
        y: ranked.iter().map(|(peak, _, _)| peak.index / nx).collect(),
        labels: map.into_image(),
    })
}

/// The pixels above the threshold in groups that are farther apart than the reach. Cells of `reach + 1` pixels make
/// them: what is within the reach lies in the same cell or in one beside it.
fn groups(data: Plane<'_, f32>, params: &PeakParams) -> Result<Vec<Vec<Pixel>>, SegmentationError> {
    let (ny, nx) = data.shape();
    let side = params.reach.saturating_add(1).min(ny.max(nx));
    let shape = (ny.div_ceil(side), nx.div_ceil(side));
    let is_bright = |v: f32| v >= params.threshold && v.is_finite();
    let mut cells = Image::<u8>::empty(shape);
    cells.fill_blocks(1, |cy, row| {
        for y in cy * side..((cy + 1) * side).min(ny) {
            for (cell, part) in row.iter_mut().zip(data.row(y).chunks(side)) {
                *cell |= u8::from(part.iter().any(|&v| is_bright(v)));
            }
        }
    });
    let (cells, n) = label(cells.view(), Connectivity::Eight)?;
    let rows: Vec<Vec<(usize, Pixel)>> = (0..ny.div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .map(|block| {
            interrupt::poll();
            let mut found = Vec::new();
            for y in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(ny) {
                let of_cell = cells.view().row(y / side);
                for (x, &value) in data.row(y).iter().enumerate() {
                    if is_bright(value) {
                        let index = y * nx + x;
                        // 0 and -0 are equal.
                        let value = value + 0.0;
                        found.push((of_cell[x / side] as usize - 1, Pixel { value, index }));
                    }
                }
            }
            found
        })
        .collect();
    let mut groups = vec![Vec::new(); n];
    for (group, pixel) in rows.into_iter().flatten() {
        groups[group].push(pixel);
    }
    Ok(groups)
}

/// A segment of a group.
struct Seed {
    peak: Pixel,
    area: usize,
    /// Its pixels, breadth-first from the peak; only known once islands are cut.
    pixels: Vec<usize>,
    is_kept: bool,
}

/// The label image while segments grow. A pixel of the `k`-th segment of its group holds `-1 - k` until it is known to be
/// connected to the peak, then `k + 1`. Groups never touch each other's pixels, so the order of their loads and stores
/// does not matter.
struct Map {
    labels: Vec<AtomicI32>,
    ny: usize,
    nx: usize,
    reach: usize,
}

/// Pixels of a group between two looks at Ctrl-C.
const POLL_PIXELS: usize = 1 << 20;

impl Map {
    fn get(&self, index: usize) -> i32 {
        self.labels[index].load(Ordering::Relaxed)
    }

    fn set(&self, index: usize, label: i32) {
        self.labels[index].store(label, Ordering::Relaxed);
    }

    /// The segment of a pixel, connected to the peak or not.
    fn pending(&self, index: usize) -> Option<usize> {
        (self.get(index).unsigned_abs() as usize).checked_sub(1)
    }

    /// The segment to whose peak a pixel is connected.
    fn segment(&self, index: usize) -> Option<usize> {
        usize::try_from(self.get(index)).ok()?.checked_sub(1)
    }

    fn squared_distance(&self, a: usize, b: usize) -> usize {
        let (dy, dx) = (
            (a / self.nx).abs_diff(b / self.nx),
            (a % self.nx).abs_diff(b % self.nx),
        );
        dy * dy + dx * dx
    }

    /// The pixels that share a side with one, in raster order.
    fn beside(&self, index: usize) -> impl Iterator<Item = usize> + use<> {
        let n = self.labels.len();
        let x = index % self.nx;
        let left = if x > 0 { index - 1 } else { n };
        let right = if x + 1 < self.nx { index + 1 } else { n };
        [index.wrapping_sub(self.nx), left, right, index + self.nx]
            .into_iter()
            .filter(move |&at| at < n)
    }

    /// The pixels `ring` steps away, in raster order.
    fn ring(&self, index: usize, ring: usize) -> impl Iterator<Item = usize> + '_ {
        let (y, x) = (index / self.nx, index % self.nx);
        let rows = y.saturating_sub(ring)..=y.saturating_add(ring).min(self.ny - 1);
        rows.flat_map(move |row| {
            let across = ring - row.abs_diff(y);
            let left = x.checked_sub(across);
            let right = Some(x + across).filter(|&right| across > 0 && right < self.nx);
            left.into_iter()
                .chain(right)
                .map(move |column| row * self.nx + column)
        })
    }

    /// The segment that a pixel joins.
    fn nearest(&self, index: usize, seeds: &[Seed]) -> Option<usize> {
        let far = self.reach.min(self.ny + self.nx);
        let first = (far > 0).then(|| self.closest(self.beside(index), seeds));
        // Only the tops of bumps look any further.
        first
            .flatten()
            .or_else(|| (2..=far).find_map(|ring| self.closest(self.ring(index, ring), seeds)))
    }

    /// The segment among those of some pixels whose peak is nearest to its pixel.
    fn closest(&self, pixels: impl Iterator<Item = usize>, seeds: &[Seed]) -> Option<usize> {
        pixels
            .filter_map(|at| self.pending(at).map(|k| (at, k)))
            .min_by_key(|&(at, k)| (self.squared_distance(at, seeds[k].peak.index), at))
            .map(|(_, k)| k)
    }

    /// Label the pixels of a group, which stand in their order.
    fn grow(&self, pixels: &[Pixel]) -> Vec<Seed> {
        let mut seeds: Vec<Seed> = Vec::new();
        for part in pixels.chunks(POLL_PIXELS) {
            interrupt::poll();
            for &pixel in part {
                let k = self.nearest(pixel.index, &seeds).unwrap_or_else(|| {
                    seeds.push(Seed {
                        peak: pixel,
                        area: 0,
                        pixels: Vec::new(),
                        is_kept: true,
                    });
                    seeds.len() - 1
                });
                // More segments than labels are an error later on; they never wrap before memory ends.
                self.set(pixel.index, -1 - i32::try_from(k).unwrap_or(i32::MAX - 1));
            }
        }
        seeds
    }

    /// Make sky of the pixels that are not connected to the peak of their segment.
    fn cut_islands(&self, pixels: &[Pixel], seeds: &mut [Seed]) {
        for (label, seed) in (1..).zip(seeds) {
            self.set(seed.peak.index, label);
            let mut reached = vec![seed.peak.index];
            let mut i = 0;
            while let Some(&at) = reached.get(i) {
                for beside in self.beside(at) {
                    if self.get(beside) == -label {
                        self.set(beside, label);
                        reached.push(beside);
                    }
                }
                i += 1;
            }
            seed.area = reached.len();
            seed.pixels = reached;
        }
        for pixel in pixels {
            if self.get(pixel.index) < 0 {
                self.set(pixel.index, 0);
            }
        }
    }

    /// Give small segments to large ones that they touch.
    fn hand_over(&self, seeds: &mut [Seed], min_area: usize) {
        for k in 0..seeds.len() {
            if seeds[k].area >= min_area {
                continue;
            }
            let pixels = std::mem::take(&mut seeds[k].pixels);
            seeds[k].is_kept = false;
            let heir = pixels
                .iter()
                .flat_map(|&at| self.beside(at))
                .filter_map(|at| self.segment(at).map(|l| (at, l)))
                .filter(|&(_, l)| seeds[l].area >= min_area)
                .min_by_key(|&(at, l)| (self.squared_distance(at, seeds[l].peak.index), at))
                .map(|(at, _)| self.get(at));
            for at in pixels {
                self.set(at, heir.unwrap_or(0));
            }
        }
    }

    fn into_image(self) -> Image<i32> {
        let mut image = Image::empty((self.ny, self.nx));
        for (out, label) in image.pixels_mut().iter_mut().zip(self.labels) {
            *out = label.into_inner();
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f32], nx: usize, reach: usize, min_area: usize) -> Vec<i32> {
        let data = Plane::new("data", values, (values.len() / nx, nx)).unwrap();
        let params = PeakParams {
            threshold: 1.0,
            reach,
            min_area,
        };
        peak_first(data, &params).unwrap().labels.into_vec()
    }

    #[test]
    fn a_peak_within_the_reach_of_a_brighter_one_is_no_segment() {
        let row = [1.0, 9.0, 3.0, 2.0, 7.0, 1.0];
        assert_eq!(labels(&row, 6, 2, 1), [1, 1, 1, 2, 2, 2]);
        assert_eq!(labels(&row, 6, 3, 1), [1; 6]);
    }

    #[test]
    fn islands_become_sky() {
        assert_eq!(
            labels(&[9.0, 0.0, 5.0, 0.0, 0.0, 3.0], 6, 2, 1),
            [1, 0, 0, 0, 0, 2]
        );
    }

    #[test]
    fn small_segments_go_to_large_ones_that_they_touch() {
        let row = [9.0, 8.0, 7.0, 2.0, 5.0, 0.0, 4.0];
        assert_eq!(labels(&row, 7, 1, 3), [1, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn labels_follow_the_peaks_and_equal_peaks_the_raster() {
        let row = [5.0, 0.0, 0.0, 6.0, 0.0, 0.0, 5.0];
        assert_eq!(labels(&row, 7, 1, 1), [2, 0, 0, 1, 0, 0, 3]);
    }

    #[test]
    fn pixels_that_are_not_finite_are_sky() {
        let row = [f32::NAN, 4.0, f32::INFINITY, 3.0];
        assert_eq!(labels(&row, 4, 1, 1), [0, 1, 0, 2]);
    }
}
