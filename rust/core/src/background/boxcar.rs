//! Means of the good pixels in boxes, in as many operations for any size of the box.

use rayon::prelude::*;

use super::running::{Good, joined};
use crate::image::Image;
use crate::interrupt;

/// Columns that are summed together along y.
const STRIP: usize = 16;

/// Means of the good pixels within `half` pixels along both axes of every pixel; NaN where there are fewer than
/// `min_good`.
pub(super) fn means(good: Good<'_>, half: usize, min_good: usize) -> Image<f32> {
    let (ny, nx) = good.shape();
    let mut sums = vec![[0.0_f64; 2]; ny * nx];
    sums.par_chunks_mut(nx).enumerate().for_each(|(y, out)| {
        interrupt::poll();
        let row = good.row(y, 0, nx);
        let values: Vec<[f64; 2]> = row
            .map(|v| v.map_or([0.0; 2], |v| [f64::from(v), 1.0]))
            .collect();
        running_sums(&values, half, 1, out);
    });
    let strips: Vec<_> = (0..nx)
        .into_par_iter()
        .step_by(STRIP)
        .map(|x0| {
            interrupt::poll();
            let width = STRIP.min(nx - x0);
            let rows = sums.chunks(nx).map(|row| &row[x0..x0 + width]);
            let values: Vec<[f64; 2]> = rows.flatten().copied().collect();
            let mut boxes = vec![[0.0; 2]; values.len()];
            running_sums(&values, half, width, &mut boxes);
            let level = boxes.into_iter().map(|[sum, n]| {
                if n < min_good as f64 {
                    f32::NAN
                } else {
                    (sum / n) as f32
                }
            });
            (0, x0, width, level.collect())
        })
        .collect();
    joined((ny, nx), ny, &strips)
}

/// Sums over `half` rows before and after every row of `width` columns, less at both ends.
///
/// Rows are cut into blocks as long as the window, which is then the end of one block and the beginning of the next: sums
/// from the border of a block lose nothing to values that are not in the window, as differences of running sums would.
///
/// # Source
/// van Herk 1992, Pattern Recognition Letters 13, 517 (there for the largest value).
fn running_sums(values: &[[f64; 2]], half: usize, width: usize, out: &mut [[f64; 2]]) {
    let n = values.len() / width;
    let half = half.min(n - 1);
    let length = 2 * half + 1;
    // Rows before the first and behind the last one are 0.
    let padded = n + 2 * half;
    let at = |j: usize, c: usize| -> [f64; 2] {
        match j.checked_sub(half) {
            Some(row) if row < n => values[row * width + c],
            _ => [0.0; 2],
        }
    };
    let add = |a: [f64; 2], b: [f64; 2]| [a[0] + b[0], a[1] + b[1]];
    let mut from_first = vec![[0.0; 2]; padded * width];
    let mut to_last = vec![[0.0; 2]; padded * width];
    for j in 0..padded {
        for c in 0..width {
            let before = if j % length == 0 {
                [0.0; 2]
            } else {
                from_first[(j - 1) * width + c]
            };
            from_first[j * width + c] = add(before, at(j, c));
        }
    }
    for j in (0..padded).rev() {
        for c in 0..width {
            let after = if j + 1 == padded || (j + 1) % length == 0 {
                [0.0; 2]
            } else {
                to_last[(j + 1) * width + c]
            };
            to_last[j * width + c] = add(after, at(j, c));
        }
    }
    for j in 0..n {
        for c in 0..width {
            let tail = from_first[(j + length - 1) * width + c];
            out[j * width + c] = if j % length == 0 {
                tail
            } else {
                add(to_last[j * width + c], tail)
            };
        }
    }
}
