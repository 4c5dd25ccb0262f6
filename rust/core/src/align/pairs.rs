//! Which position of one list belongs to which of another, without comparing every one with every other.

use std::cmp::Reverse;
use std::collections::HashMap;

use rayon::prelude::*;

use super::AlignError;

/// Most cells along an axis of the histogram of offsets.
const MOST_BINS: f64 = 4096.0;
/// Rounds in which the offset becomes the mean of the pairs around it.
const ROUNDS: usize = 20;

/// Positions in square cells, of which only the neighbours of a position need be searched.
struct Cells<'a> {
    positions: &'a [[f64; 2]],
    side: f64,
    /// Indices of the positions in each cell, in increasing order.
    members: HashMap<[i64; 2], Vec<u32>>,
}

impl<'a> Cells<'a> {
    fn new(positions: &'a [[f64; 2]], side: f64) -> Self {
        let mut members: HashMap<[i64; 2], Vec<u32>> = HashMap::new();
        for (k, position) in positions.iter().enumerate() {
            if position.iter().all(|c| c.is_finite()) {
                let cell = position.map(|c| (c / side).floor() as i64);
                members.entry(cell).or_default().push(k as u32);
            }
        }
        Self {
            positions,
            side,
            members,
        }
    }

    /// The positions less than a cell's side away along each axis: their indices and differences from `place`.
    fn around(&self, place: [f64; 2]) -> impl Iterator<Item = (u32, [f64; 2])> {
        let [x, y] = place.map(|c| (c / self.side).floor() as i64);
        let cells = (y - 1..=y + 1).flat_map(move |y| (x - 1..=x + 1).map(move |x| [x, y]));
        cells
            .filter_map(|cell| self.members.get(&cell))
            .flatten()
            .map(move |&k| {
                let other = self.positions[k as usize];
                (k, [other[0] - place[0], other[1] - place[1]])
            })
            .filter(|(_, d)| d.iter().all(|d| d.abs() < self.side))
    }

    /// The nearest position within `radius`; of several the first.
    fn nearest(&self, place: [f64; 2], radius: f64) -> Option<(u32, f64)> {
        let mut best: Option<(u32, f64)> = None;
        for (k, d) in self.around(place) {
            let distance = d[0].hypot(d[1]);
            let is_better = best.is_none_or(|(other, least)| (distance, k) < (least, other));
            if distance <= radius && is_better {
                best = Some((k, distance));
            }
        }
        best
    }
}

/// The offset at which most positions of two lists fall together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// Second list minus first.
    pub shift: [f64; 2],
    /// Pairs within 1.5 bins of the peak of the histogram, along each axis.
    pub n_peak: u32,
    /// Pairs that chance would put there.
    pub n_chance: f64,
    /// Pairs at the best place that is not beside the peak.
    pub n_second: u32,
    /// Whether the peak is at the border of the histogram, so that the offset may lie beyond it.
    pub is_at_edge: bool,
}

fn positive(name: &'static str, value: f64) -> Result<(), AlignError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    let wanted = "positive";
    Err(AlignError::Number {
        name,
        value,
        wanted,
    })
}

/// The offset between two lists from a histogram of the differences up to `radius` along each axis; None without pairs.
///
/// Only differences within the radius are formed; the histogram begins at `-radius`, whether or not that is a whole
/// number of bins.
///
/// # Errors
/// [`AlignError::Number`].
pub fn offset(
    first: &[[f64; 2]],
    second: &[[f64; 2]],
    radius: f64,
    bin: f64,
) -> Result<Option<Offset>, AlignError> {
    positive("radius", radius)?;
    positive("bin", bin)?;
    let n = (2.0 * radius / bin).ceil();
    if n > MOST_BINS {
        let (name, value, wanted) = ("bin", bin, "at least 1/2048 of the radius");
        return Err(AlignError::Number {
            name,
            value,
            wanted,
        });
    }
    let n = n as usize;
    let cells = Cells::new(second, radius);
    let place = |d: [f64; 2]| {
        let [i, j] = d.map(|d| (((d + radius) / bin) as usize).min(n - 1));
        j * n + i
    };
    let counts = first
        .par_chunks(1024)
        .fold(
            || vec![0_u32; n * n],
            |mut counts, chunk| {
                for (_, d) in chunk.iter().flat_map(|p| cells.around(*p)) {
                    counts[place(d)] += 1;
                }
                counts
            },
        )
        .reduce(
            || vec![0_u32; n * n],
            |mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                a
            },
        );
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return Ok(None);
    }
    let box_sum = |at: usize| -> u32 {
        let (j, i) = (at / n, at % n);
        let columns = i.saturating_sub(1)..(i + 2).min(n);
        (j.saturating_sub(1)..(j + 2).min(n))
            .flat_map(|v| columns.clone().map(move |u| v * n + u))
            .map(|k| counts[k])
            .sum()
    };
    let boxes: Vec<u32> = (0..n * n)
        .into_par_iter()
        .with_min_len(4096)
        .map(box_sum)
        .collect();
    let first_of_most = |keep: &dyn Fn(usize) -> bool| {
        (0..n * n)
            .filter(|k| keep(*k))
            .max_by_key(|k| (boxes[*k], counts[*k], Reverse(*k)))
    };
    let Some(peak) = first_of_most(&|_| true) else {
        return Ok(None);
    };
    let (j, i) = (peak / n, peak % n);
    let is_beside = |k: usize| (k / n).abs_diff(j) <= 2 && (k % n).abs_diff(i) <= 2;
    let n_second = first_of_most(&|k| !is_beside(k)).map_or(0, |k| boxes[k]);
    let area = 9.0 / (n * n) as f64;
    let start = [i, j].map(|k| (k as f64 + 0.5) * bin - radius);
    Ok(Some(Offset {
        shift: mean_around(first, &cells, start, 2.0 * bin),
        n_peak: boxes[peak],
        n_chance: f64::from(total - boxes[peak]) * area,
        n_second,
        is_at_edge: [i, j].iter().any(|k| *k == 0 || *k + 1 == n),
    }))
}

/// Move an offset to the mean of the differences within a radius of it, until it stays.
fn mean_around(first: &[[f64; 2]], cells: &Cells<'_>, start: [f64; 2], radius: f64) -> [f64; 2] {
    let mut shift = start;
    for _ in 0..ROUNDS {
        let (mut n, mut sum) = (0.0, [0.0; 2]);
        for (_, d) in first.iter().flat_map(|p| cells.around(*p)) {
            if (d[0] - shift[0]).hypot(d[1] - shift[1]) <= radius {
                n += 1.0;
                sum = [sum[0] + d[0], sum[1] + d[1]];
            }
        }
        let next = if n > 0.0 { sum.map(|s| s / n) } else { shift };
        if next == shift {
            break;
        }
        shift = next;
    }
    shift
}

/// Pairs of positions each of which is the nearest to the other, not farther apart than `radius`: indices and distance,
/// in the order of the first list.
///
/// # Errors
/// [`AlignError::Number`].
pub fn match_nearest(
    first: &[[f64; 2]],
    second: &[[f64; 2]],
    radius: f64,
) -> Result<Vec<(u32, u32, f64)>, AlignError> {
    positive("radius", radius)?;
    let (here, there) = (
        Cells::new(first, 1.01 * radius),
        Cells::new(second, 1.01 * radius),
    );
    Ok(first
        .par_iter()
        .enumerate()
        .with_min_len(256)
        .filter_map(|(k, place)| {
            let (partner, distance) = there.nearest(*place, radius)?;
            let (back, _) = here.nearest(second[partner as usize], radius)?;
            (back as usize == k).then_some((k as u32, partner, distance))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scatter(n: u32, side: f64) -> Vec<[f64; 2]> {
        let mut state = 12345_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64 * side
        };
        (0..n).map(|_| [next(), next()]).collect()
    }

    #[test]
    fn the_offset_is_found_among_strangers_for_a_radius_that_is_no_whole_number() {
        let first = scatter(300, 1000.0);
        let mut second: Vec<_> = first.iter().map(|p| [p[0] + 11.3, p[1] - 7.9]).collect();
        second.extend(scatter(400, 990.0).iter().skip(300));
        let found = offset(&first, &second, 25.24, 1.0).unwrap().unwrap();
        assert!((found.shift[0] - 11.3).abs() < 0.05, "{found:?}");
        assert!((found.shift[1] + 7.9).abs() < 0.05);
        assert!(found.n_peak >= 300 && f64::from(found.n_peak) > 20.0 * found.n_chance);
        assert!(!found.is_at_edge);
        assert!(offset(&first, &[], 5.0, 1.0).unwrap().is_none());
        // All pairs fall into one corner of one bin.
        let same: Vec<_> = first.iter().map(|p| [p[0] + 2.99, p[1] + 2.99]).collect();
        let found = offset(&first, &same, 10.0, 1.0).unwrap().unwrap();
        assert!((found.shift[0] - 2.99).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn pairs_are_mutual_and_unique() {
        let first = [[0.0, 0.0], [0.4, 0.0], [5.0, 5.0], [f64::NAN, 1.0]];
        let second = [[0.3, 0.0], [5.0, 7.0], [0.31, 0.0]];
        let pairs = match_nearest(&first, &second, 1.0).unwrap();
        assert_eq!(pairs.len(), 1);
        assert_eq!((pairs[0].0, pairs[0].1), (1, 2));
        assert!(match_nearest(&first, &second, 0.0).is_err());
    }
}
