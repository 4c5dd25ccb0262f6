//! A map that is known at the nodes of a regular grid, interpolated to pixels.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};
use rayon::prelude::*;

use super::WcsError;
use crate::interrupt;

/// How the map runs between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Bilinear in the cell.
    Linear,
    /// Lagrange polynomial through four nodes per axis; one-sided at the border.
    Cubic,
}

impl Interpolation {
    /// The interpolation of that name.
    ///
    /// # Errors
    /// [`WcsError::Name`].
    pub fn from_name(name: &str) -> Result<Self, WcsError> {
        match name {
            "linear" => Ok(Self::Linear),
            "cubic" => Ok(Self::Cubic),
            _ => Err(WcsError::Name { value: name.into() }),
        }
    }

    fn n_nodes(self) -> usize {
        match self {
            Self::Linear => 2,
            Self::Cubic => 4,
        }
    }
}

/// Where the nodes of one axis are: `origin + k step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis1 {
    /// Position of the first node [pix].
    pub origin: f64,
    /// Distance of the nodes [pix].
    pub step: f64,
}

/// First node and weights of a stencil.
struct Stencil {
    first: usize,
    weights: [f64; 4],
}

impl Axis1 {
    /// The stencil for a position; outside of the nodes the polynomial of the nearest cell goes on.
    fn stencil(self, position: f64, n: usize, how: Interpolation) -> Stencil {
        let at = (position - self.origin) / self.step;
        let margin = match how {
            Interpolation::Linear => 0.0,
            Interpolation::Cubic => 1.0,
        };
        let last = n.saturating_sub(how.n_nodes());
        let first = ((at.floor() - margin).max(0.0) as usize).min(last);
        let t = at - first as f64;
        let weights = match how {
            Interpolation::Linear => [1.0 - t, t, 0.0, 0.0],
            Interpolation::Cubic => {
                let (a, b, c) = (t - 1.0, t - 2.0, t - 3.0);
                [
                    -a * b * c / 6.0,
                    t * b * c / 2.0,
                    -t * a * c / 2.0,
                    t * a * b / 6.0,
                ]
            }
        };
        Stencil { first, weights }
    }
}

fn check(
    nodes: &ArrayView3<'_, f64>,
    y: Axis1,
    x: Axis1,
    how: Interpolation,
) -> Result<(), WcsError> {
    let (my, mx, pair) = nodes.dim();
    if pair != 2 || my.min(mx) < how.n_nodes() {
        let wanted = match how {
            Interpolation::Linear => "(my, mx, 2) with my, mx >= 2",
            Interpolation::Cubic => "(my, mx, 2) with my, mx >= 4",
        };
        return Err(WcsError::Shape {
            name: "nodes",
            shape: nodes.shape().to_vec(),
            wanted,
        });
    }
    for axis in [y, x] {
        if !(axis.step > 0.0 && axis.step.is_finite()) {
            return Err(WcsError::Step { step: axis.step });
        }
        if !axis.origin.is_finite() {
            return Err(WcsError::NotFinite { name: "origin" });
        }
    }
    Ok(())
}

fn weighted<const N: usize>(
    values: impl Iterator<Item = [f64; N]>,
    weights: &[f64; 4],
) -> [f64; N] {
    let mut sum = [0.0; N];
    for (value, weight) in values.zip(weights) {
        for (sum, value) in sum.iter_mut().zip(value) {
            *sum += value * weight;
        }
    }
    sum
}

/// Interpolate nodes `(my, mx, 2)` to every pixel of an image: `(ny, nx, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] for too few nodes, [`WcsError::Step`], [`WcsError::NotFinite`].
pub fn to_pixels(
    nodes: &ArrayView3<'_, f64>,
    y: Axis1,
    x: Axis1,
    shape: [usize; 2],
    how: Interpolation,
) -> Result<Array3<f64>, WcsError> {
    check(nodes, y, x, how)?;
    let (my, mx, _) = nodes.dim();
    let taps = how.n_nodes();
    let columns: Vec<Stencil> = (0..shape[1])
        .map(|i| x.stencil(i as f64, mx, how))
        .collect();
    let mut out = Array3::zeros((shape[0], shape[1], 2));
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .enumerate()
        .with_min_len(16)
        .for_each(|(j, mut row)| {
            interrupt::poll();
            let vertical = y.stencil(j as f64, my, how);
            let rows = nodes.slice(s![vertical.first..vertical.first + taps, .., ..]);
            let line: Vec<[f64; 2]> = (0..mx)
                .map(|k| {
                    weighted(
                        rows.outer_iter().map(|r| [r[[k, 0]], r[[k, 1]]]),
                        &vertical.weights,
                    )
                })
                .collect();
            for (mut pixel, column) in row.outer_iter_mut().zip(&columns) {
                let taken = line.iter().skip(column.first).take(taps).copied();
                let [px, py] = weighted(taken, &column.weights);
                pixel[0] = px;
                pixel[1] = py;
            }
        });
    Ok(out)
}

/// Interpolate nodes `(my, mx, 2)` to positions `(n, 2)` given as `(x, y)`.
///
/// # Errors
/// As [`to_pixels`].
pub fn to_points(
    nodes: &ArrayView3<'_, f64>,
    y: Axis1,
    x: Axis1,
    points: &ArrayView2<'_, f64>,
    how: Interpolation,
) -> Result<Array2<f64>, WcsError> {
    check(nodes, y, x, how)?;
    if points.ncols() != 2 {
        return Err(WcsError::Shape {
            name: "points",
            shape: points.shape().to_vec(),
            wanted: "(n, 2)",
        });
    }
    let (my, mx, _) = nodes.dim();
    let taps = how.n_nodes();
    let mut out = Array2::zeros(points.raw_dim());
    for (mut to, point) in out.outer_iter_mut().zip(points.outer_iter()) {
        let (v, h) = (y.stencil(point[1], my, how), x.stencil(point[0], mx, how));
        let block = nodes.slice(s![v.first..v.first + taps, h.first..h.first + taps, ..]);
        let lines = block
            .outer_iter()
            .map(|row| weighted(row.outer_iter().map(|p| [p[0], p[1]]), &h.weights));
        let [px, py] = weighted(lines, &v.weights);
        to[0] = px;
        to[1] = py;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn nodes(f: impl Fn(f64, f64) -> f64, y: Axis1, x: Axis1, my: usize, mx: usize) -> Array3<f64> {
        Array3::from_shape_fn((my, mx, 2), |(j, i, k)| {
            let value = f(x.origin + i as f64 * x.step, y.origin + j as f64 * y.step);
            if k == 0 { value } else { -value }
        })
    }

    #[test]
    fn cubic_is_exact_for_cubics_also_at_the_border() {
        let f = |x: f64, y: f64| 1.0 + x * 0.1 + 1e-3 * x * x * y - 1e-4 * y * y * y;
        let (y, x) = (
            Axis1 {
                origin: 0.0,
                step: 7.0,
            },
            Axis1 {
                origin: 0.0,
                step: 5.5,
            },
        );
        let grid = nodes(f, y, x, 5, 6);
        let out = to_pixels(&grid.view(), y, x, [29, 28], Interpolation::Cubic).unwrap();
        for ((j, i, k), value) in out.indexed_iter() {
            let want = f(i as f64, j as f64) * if k == 0 { 1.0 } else { -1.0 };
            assert!((value - want).abs() < 1e-11, "{j} {i} {value} {want}");
        }
        let points = to_points(
            &grid.view(),
            y,
            x,
            &array![[3.25, 20.5]].view(),
            Interpolation::Cubic,
        )
        .unwrap();
        assert!((points[[0, 0]] - f(3.25, 20.5)).abs() < 1e-11);
    }

    #[test]
    fn linear_is_exact_at_nodes_and_half_way_between() {
        let (y, x) = (
            Axis1 {
                origin: -1.0,
                step: 10.0,
            },
            Axis1 {
                origin: -1.0,
                step: 10.0,
            },
        );
        let grid = nodes(|x, y| x * x + y, y, x, 4, 4);
        let out = to_pixels(&grid.view(), y, x, [20, 20], Interpolation::Linear).unwrap();
        assert!((out[[9, 9, 0]] - 90.0).abs() < 1e-12);
        assert!((out[[9, 14, 0]] - f64::midpoint(81.0, 361.0) - 9.0).abs() < 1e-12);
    }

    #[test]
    fn too_few_nodes_are_refused() {
        let axis = Axis1 {
            origin: 0.0,
            step: 1.0,
        };
        let grid = Array3::zeros((3, 9, 2));
        assert!(to_pixels(&grid.view(), axis, axis, [4, 4], Interpolation::Cubic).is_err());
    }
}
