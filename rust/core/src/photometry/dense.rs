//! Dense fronts of a sparse factorisation.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, s};

/// Columns that are eliminated together.
const BLOCK: usize = 48;
/// Columns that are updated together, so that less than half of an update falls above the diagonal.
const STRIP: usize = 128;
/// A pivot that stands for infinity: what belongs to it becomes 0.
pub(super) const NO_PIVOT: f64 = 1e150;

/// Eliminate the first `n_own` columns of a symmetric matrix, of which the lower half counts: they become those of the
/// Cholesky factor, the rest what is left to factor. Pivots of at most `floor` become [`NO_PIVOT`]; returns where.
pub(super) fn eliminate(front: &mut Array2<f64>, n_own: usize, floor: f64) -> Vec<usize> {
    let m = front.nrows();
    let mut failed = Vec::new();
    for start in (0..n_own).step_by(BLOCK) {
        let end = (start + BLOCK).min(n_own);
        for j in start..end {
            let sum: f64 = (start..j).map(|k| front[[j, k]] * front[[j, k]]).sum();
            let left = front[[j, j]] - sum;
            let pivot = if left > floor {
                left.sqrt()
            } else {
                failed.push(j);
                NO_PIVOT
            };
            front[[j, j]] = pivot;
            for i in j + 1..end {
                let sum: f64 = (start..j).map(|k| front[[i, k]] * front[[j, k]]).sum();
                front[[i, j]] = (front[[i, j]] - sum) / pivot;
            }
        }
        if end == m {
            break;
        }
        let corner = front.slice(s![start..end, start..end]).to_owned();
        for mut row in front.slice_mut(s![end.., start..end]).rows_mut() {
            for j in 0..end - start {
                let sum: f64 = (0..j).map(|k| corner[[j, k]] * row[k]).sum();
                row[j] = (row[j] - sum) / corner[[j, j]];
            }
        }
        let (left, mut right) = front.view_mut().split_at(Axis(1), end);
        for first in (end..m).step_by(STRIP) {
            let last = (first + STRIP).min(m);
            let mut strip = right.slice_mut(s![first.., first - end..last - end]);
            let (rows, columns) = (
                left.slice(s![first.., start..end]),
                left.slice(s![first..last, start..end]),
            );
            general_mat_mul(-1.0, &rows, &columns.t(), 1.0, &mut strip);
        }
    }
    failed
}

/// The inverse of a lower triangular matrix.
pub(super) fn invert_lower(lower: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = lower.nrows();
    let mut inverse = Array2::<f64>::zeros((n, n));
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        // Rows of this block are the unit matrix minus what the rows above contribute.
        let mut rows = Array2::<f64>::zeros((end - start, end));
        if start > 0 {
            let mut before = rows.slice_mut(s![.., ..start]);
            general_mat_mul(
                -1.0,
                &lower.slice(s![start..end, ..start]),
                &inverse.slice(s![..start, ..start]),
                0.0,
                &mut before,
            );
        }
        for i in 0..end - start {
            rows[[i, start + i]] = 1.0;
            for k in 0..i {
                let factor = lower[[start + i, start + k]];
                let (above, mut here) = rows.view_mut().split_at(Axis(0), i);
                here.row_mut(0).scaled_add(-factor, &above.row(k));
            }
            let pivot = lower[[start + i, start + i]];
            rows.row_mut(i).mapv_inplace(|v| v / pivot);
        }
        inverse.slice_mut(s![start..end, ..end]).assign(&rows);
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positive(n: usize) -> Array2<f64> {
        let root = Array2::from_shape_fn((n, n), |(i, j)| {
            (((i * 31 + j * 17) % 23) as f64 - 11.0) / 11.0
        });
        root.dot(&root.t()) + Array2::<f64>::eye(n)
    }

    #[test]
    fn a_factor_times_itself_is_the_matrix() {
        for (n, own) in [(7, 7), (150, 150), (200, 90), (60, 0)] {
            let matrix = positive(n);
            let mut front = matrix.clone();
            assert!(eliminate(&mut front, own, 1e-12).is_empty());
            let mut lower = Array2::<f64>::zeros((n, own));
            for i in 0..n {
                for j in 0..own.min(i + 1) {
                    lower[[i, j]] = front[[i, j]];
                }
            }
            let product = lower.dot(&lower.t());
            for i in 0..n {
                for j in 0..=i {
                    let rest = if j >= own { front[[i, j]] } else { 0.0 };
                    assert!((product[[i, j]] + rest - matrix[[i, j]]).abs() < 1e-9 * n as f64);
                }
            }
        }
    }

    #[test]
    fn an_inverse_times_its_matrix_is_one() {
        let n = 130;
        let lower = Array2::from_shape_fn((n, n), |(i, j)| match i.cmp(&j) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 2.0 + (i % 3) as f64,
            std::cmp::Ordering::Greater => ((i * 7 + j * 3) % 5) as f64 / 50.0,
        });
        let one = lower.dot(&invert_lower(lower.view()));
        assert!(
            (one - Array2::<f64>::eye(n))
                .iter()
                .all(|v| v.abs() < 1e-12)
        );
    }

    #[test]
    fn a_row_that_depends_on_others_has_no_pivot() {
        let mut matrix = positive(5);
        for k in 0..5 {
            matrix[[4, k]] = matrix[[1, k]];
        }
        for k in 0..5 {
            matrix[[k, 4]] = matrix[[k, 1]];
        }
        assert_eq!(eliminate(&mut matrix, 5, 1e-10), vec![4]);
    }
}
