//! How well the profiles of columns fit, each with its own amplitude.

use super::columns::{Row, Scratch};
use super::lanes::{LANES, Lane};

/// Mean square of a profile without light.
const NOTHING: f64 = 1e-24;

/// Sums over columns: cost, half its slopes and curvature by offset of the trace and size; 0 without a profile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub is_fitted: [bool; LANES],
    pub cost: Lane,
    pub slope: [Lane; 2],
    pub curvature: [Lane; 3],
}

/// Sums over the columns of a block of Huber's loss, whose parabola ends at `delta`.
#[inline(always)]
pub(super) fn losses_of(rows: &[Row], scratch: &Scratch, delta: f64) -> Losses {
    let (mut dp, mut pp, mut all) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let mut slopes = [[0.0; LANES]; 4];
    for (row, value) in rows.iter().zip(&scratch.values) {
        for l in 0..LANES {
            let (w, d) = (row.weight[l], row.value[l]);
            let (p, by_y, by_size) = (value.p[l], value.by_y[l], value.by_size[l]);
            all[l] += w;
            dp[l] += w * d * p;
            pp[l] += w * p * p;
            slopes[0][l] += w * d * by_y;
            slopes[1][l] += w * p * by_y;
            slopes[2][l] += w * d * by_size;
            slopes[3][l] += w * p * by_size;
        }
    }
    let mut sums = Losses::default();
    let (mut a, mut a_y, mut a_size) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let mut counts = [0.0; LANES];
    for l in 0..LANES {
        // Of a profile that the sky's levels take away nothing but rounding is left.
        if pp[l] > NOTHING * all[l] {
            sums.is_fitted[l] = true;
            counts[l] = 1.0;
            a[l] = dp[l] / pp[l];
            a_y[l] = (slopes[0][l] - 2.0 * a[l] * slopes[1][l]) / pp[l];
            a_size[l] = (slopes[2][l] - 2.0 * a[l] * slopes[3][l]) / pp[l];
        }
    }
    for (row, value) in rows.iter().zip(&scratch.values) {
        for l in 0..LANES {
            let (p, inverse_error) = (value.p[l], counts[l] * row.inverse_error[l]);
            let residual = (row.value[l] - a[l] * p) * inverse_error;
            let by_y = (a[l] * value.by_y[l] + a_y[l] * p) * inverse_error;
            let by_size = (a[l] * value.by_size[l] + a_size[l] * p) * inverse_error;
            let size = residual.abs();
            // Half the square near 0, a line beyond delta; weights give the curvature of the parabola above it.
            let is_far = size > delta;
            let weight = if is_far { delta / size } else { 1.0 };
            let square = 0.5 * residual * residual;
            let line = delta * (size - 0.5 * delta);
            sums.cost[l] += if is_far { line } else { square };
            sums.slope[0][l] += weight * residual * by_y;
            sums.slope[1][l] += weight * residual * by_size;
            sums.curvature[0][l] += weight * by_y * by_y;
            sums.curvature[1][l] += weight * by_y * by_size;
            sums.curvature[2][l] += weight * by_size * by_size;
        }
    }
    sums
}
