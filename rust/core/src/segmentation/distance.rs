//! How far every pixel is from the next pixel of a mask, and the places that are farthest.

use std::collections::HashMap;

use crate::image::{Image, Plane};
use crate::interrupt;

/// Rows in one block of work.
const BLOCK_ROWS: usize = 32;

/// Euclidean distance of every pixel's centre to the centre of the nearest True pixel; infinite when there is none.
///
/// # Source
/// Meijster, Roerdink & Hesselink 2000, in Mathematical Morphology and its Applications, 331: exact, in integers.
#[must_use]
pub fn distance_to(mask: Plane<'_, bool>) -> Image<f32> {
    let (ny, nx) = mask.shape();
    let mut distances = Image::empty((ny, nx));
    if !mask.pixels().iter().any(|&p| p) {
        distances.pixels_mut().fill(f32::INFINITY);
        return distances;
    }
    let columns = along_columns(mask);
    distances.fill_blocks(BLOCK_ROWS, |first, pixels| {
        for (row, out) in pixels.chunks_exact_mut(nx).enumerate() {
            let y = first + row;
            along_row(&columns[y * nx..(y + 1) * nx], out);
        }
    });
    distances
}

/// Distance to the nearest True pixel of the same column; the sum of both sides where there is none.
fn along_columns(mask: Plane<'_, bool>) -> Vec<i64> {
    let (ny, nx) = mask.shape();
    let nowhere = (ny + nx) as i64;
    let mut distance = vec![nowhere; nx * ny];
    for y in 0..ny {
        for (x, &is_true) in mask.row(y).iter().enumerate() {
            let before = if y == 0 {
                nowhere
            } else {
                distance[(y - 1) * nx + x]
            };
            distance[y * nx + x] = if is_true { 0 } else { nowhere.min(before + 1) };
        }
    }
    for y in (0..ny.saturating_sub(1)).rev() {
        for x in 0..nx {
            let after = distance[(y + 1) * nx + x] + 1;
            distance[y * nx + x] = distance[y * nx + x].min(after);
        }
    }
    distance
}

/// The lower envelope of the parabolas that the columns of a row put up.
fn along_row(column: &[i64], out: &mut [f32]) {
    let squared = |x: usize, i: usize| {
        let d = x as i64 - i as i64;
        d * d + column[i] * column[i]
    };
    // Which column is nearest, and from which x on.
    let mut stack: Vec<(usize, usize)> = vec![(0, 0)];
    for u in 1..column.len() {
        while stack
            .last()
            .is_some_and(|&(i, from)| squared(from, i) > squared(from, u))
        {
            stack.pop();
        }
        let Some(&(i, _)) = stack.last() else {
            stack.push((u, 0));
            continue;
        };
        let (ui, ii) = (u as i64, i as i64);
        let rise = ui * ui - ii * ii + column[u] * column[u] - column[i] * column[i];
        let from = 1 + rise.div_euclid(2 * (ui - ii));
        if (from as usize) < column.len() {
            stack.push((u, from as usize));
        }
    }
    for x in (0..column.len()).rev() {
        let Some(&(i, from)) = stack.last() else {
            return;
        };
        out[x] = (squared(x, i) as f64).sqrt() as f32;
        if x == from {
            stack.pop();
        }
    }
}

/// Pixels `(y, x)` by decreasing value, each at least `separation` from all before it; none of a value of at most
/// `threshold`. Of equal values the first in raster order comes first.
#[must_use]
pub fn farthest_places(
    distance: Plane<'_, f32>,
    threshold: f32,
    separation: f64,
    n_places: usize,
) -> Vec<[usize; 2]> {
    let nx = distance.shape().1;
    let values = distance.pixels();
    let mut order: Vec<usize> = (0..values.len())
        .filter(|&i| values[i] > threshold)
        .collect();
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]).then(i.cmp(&j)));
    let side = separation.max(1.0);
    let cell = |v: usize| (v as f64 / side).floor() as i64;
    let mut cells: HashMap<(i64, i64), Vec<[usize; 2]>> = HashMap::new();
    let mut chosen = Vec::new();
    for (n, &i) in order.iter().enumerate() {
        if chosen.len() >= n_places {
            break;
        }
        if n % 65536 == 0 {
            interrupt::poll();
        }
        let place = [i / nx, i % nx];
        let (cy, cx) = (cell(place[0]), cell(place[1]));
        let is_near = |other: &[usize; 2]| {
            let d = [0, 1].map(|k| other[k] as f64 - place[k] as f64);
            d[0] * d[0] + d[1] * d[1] < separation * separation
        };
        let is_free = (cy - 1..=cy + 1)
            .flat_map(|y| (cx - 1..=cx + 1).map(move |x| (y, x)))
            .all(|key| {
                !cells
                    .get(&key)
                    .is_some_and(|there| there.iter().any(is_near))
            });
        if is_free {
            cells.entry((cy, cx)).or_default().push(place);
            chosen.push(place);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute(mask: &[bool], (ny, nx): (usize, usize)) -> Vec<f32> {
        let all = || (0..ny * nx).map(|i| ((i / nx) as f64, (i % nx) as f64));
        all()
            .map(|(y, x)| {
                all()
                    .zip(mask)
                    .filter(|(_, m)| **m)
                    .map(|((v, u), _)| (y - v) * (y - v) + (x - u) * (x - u))
                    .fold(f64::INFINITY, f64::min)
                    .sqrt() as f32
            })
            .collect()
    }

    #[test]
    fn distances_are_those_of_all_pairs() {
        for (seed, (ny, nx)) in [(1_u64, (17, 23)), (5, (1, 40)), (9, (40, 1)), (2, (31, 30))] {
            let mut state = seed;
            let mask: Vec<bool> = (0..ny * nx)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    state >> 59 == 3
                })
                .collect();
            let found = distance_to(Plane::new("mask", &mask, (ny, nx)).unwrap());
            assert_eq!(found.pixels(), brute(&mask, (ny, nx)), "{ny} {nx}");
        }
    }

    #[test]
    fn the_places_are_apart_and_ordered() {
        let mut mask = vec![false; 60 * 80];
        mask[20 * 80 + 30] = true;
        let found = distance_to(Plane::new("mask", &mask, (60, 80)).unwrap());
        let places = farthest_places(found.view(), 6.0, 10.0, 1000);
        assert_eq!(places[0], [59, 79]);
        assert!(places.len() > 20);
        for (i, p) in places.iter().enumerate() {
            for q in &places[..i] {
                let d = (p[0] as f64 - q[0] as f64).hypot(p[1] as f64 - q[1] as f64);
                assert!(d >= 10.0);
            }
            assert!((p[0] as f64 - 20.0).hypot(p[1] as f64 - 30.0) > 6.0);
        }
        assert_eq!(farthest_places(found.view(), 6.0, 10.0, 3).len(), 3);
    }
}
