//! Shapes in pixels, whatever frame they were drawn in.

use super::RegionError;

type Point = [f64; 2];
type Matrix = [Point; 2];

/// A shape in 0-based pixels.
///
/// Ellipses and boxes are given by the matrix that takes offsets from their centre to the plane in which they are the
/// unit circle or the square from -1 to 1. A circle on the sky is an ellipse in the pixels of any projection, to first
/// order, so that rotation, flip, scale and skew of an image are all in this matrix.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// An ellipse, with a hole where `inner` is not 0.
    Ellipse {
        /// Centre `x, y`.
        centre: Point,
        /// To the unit circle.
        to_unit: Matrix,
        /// Radius of the hole in the plane of the unit circle.
        inner: f64,
    },
    /// A parallelogram.
    Box {
        /// Centre `x, y`.
        centre: Point,
        /// To the square from -1 to 1.
        to_unit: Matrix,
    },
    /// A polygon; what its edges wind around an even number of times is outside.
    Polygon {
        /// Corners `x, y`.
        vertices: Vec<Point>,
    },
}

impl Shape {
    /// An ellipse or an elliptical annulus.
    ///
    /// # Errors
    /// [`RegionError`] when a number is not finite, the matrix has no inverse or the hole is not in `[0, 1)`.
    pub fn ellipse(centre: Point, to_unit: Matrix, inner: f64) -> Result<Self, RegionError> {
        check_linear(centre, to_unit)?;
        if !(0.0..1.0).contains(&inner) {
            return Err(RegionError::Inner(inner));
        }
        Ok(Self::Ellipse {
            centre,
            to_unit,
            inner,
        })
    }

    /// A box.
    ///
    /// # Errors
    /// [`RegionError`] when a number is not finite or the matrix has no inverse.
    pub fn rectangle(centre: Point, to_unit: Matrix) -> Result<Self, RegionError> {
        check_linear(centre, to_unit)?;
        Ok(Self::Box { centre, to_unit })
    }

    /// A polygon.
    ///
    /// # Errors
    /// [`RegionError`] when a number is not finite or there are fewer than three corners.
    pub fn polygon(vertices: Vec<Point>) -> Result<Self, RegionError> {
        if vertices.len() < 3 {
            return Err(RegionError::Vertices(vertices.len()));
        }
        finite("vertices", vertices.as_flattened())?;
        Ok(Self::Polygon { vertices })
    }

    /// Lowest and highest `x` and `y`.
    pub(super) fn bounds(&self) -> [Point; 2] {
        match self {
            Self::Ellipse {
                centre, to_unit, ..
            } => {
                let back = inverse(*to_unit);
                around(*centre, |i| back[i][0].hypot(back[i][1]))
            }
            Self::Box { centre, to_unit } => {
                let back = inverse(*to_unit);
                around(*centre, |i| back[i][0].abs() + back[i][1].abs())
            }
            Self::Polygon { vertices } => [0, 1].map(|i| {
                vertices
                    .iter()
                    .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| {
                        [low.min(v[i]), high.max(v[i])]
                    })
            }),
        }
    }

    /// For points in a row at height `y`, from `x0` in steps of 1, whether each lies inside; the outline is inside.
    pub(super) fn row(&self, y: f64, x0: f64, out_inside: &mut [bool]) {
        match self {
            Self::Ellipse {
                centre,
                to_unit,
                inner,
            } => along(out_inside, x0, |x| {
                let p = map(*to_unit, [x - centre[0], y - centre[1]]);
                let q = p[0] * p[0] + p[1] * p[1];
                q <= 1.0 && q >= inner * inner
            }),
            Self::Box { centre, to_unit } => along(out_inside, x0, |x| {
                let p = map(*to_unit, [x - centre[0], y - centre[1]]);
                p[0].abs() <= 1.0 && p[1].abs() <= 1.0
            }),
            Self::Polygon { vertices } => {
                let mut crossings = crossings(vertices, y);
                crossings.sort_by(f64::total_cmp);
                along(out_inside, x0, |x| {
                    crossings.partition_point(|&c| c <= x) % 2 == 1
                });
            }
        }
    }
}

/// Where the edges of a polygon cross a height; each edge owns its lower end, so that a corner counts once.
fn crossings(vertices: &[Point], y: f64) -> Vec<f64> {
    let next = vertices.iter().cycle().skip(1);
    vertices
        .iter()
        .zip(next)
        .filter(|(p, q)| (p[1] <= y) != (q[1] <= y))
        .map(|(p, q)| p[0] + (y - p[1]) / (q[1] - p[1]) * (q[0] - p[0]))
        .collect()
}

fn along(out_inside: &mut [bool], x0: f64, is_inside: impl Fn(f64) -> bool) {
    for (i, inside) in out_inside.iter_mut().enumerate() {
        *inside = is_inside(x0 + i as f64);
    }
}

fn around(centre: Point, reach: impl Fn(usize) -> f64) -> [Point; 2] {
    [0, 1].map(|i| [centre[i] - reach(i), centre[i] + reach(i)])
}

fn map(m: Matrix, p: Point) -> Point {
    m.map(|row| row[0] * p[0] + row[1] * p[1])
}

fn determinant(m: Matrix) -> f64 {
    m[0][0] * m[1][1] - m[0][1] * m[1][0]
}

fn inverse(m: Matrix) -> Matrix {
    let d = determinant(m);
    [[m[1][1] / d, -m[0][1] / d], [-m[1][0] / d, m[0][0] / d]]
}

fn finite(name: &'static str, values: &[f64]) -> Result<(), RegionError> {
    match values.iter().find(|v| !v.is_finite()) {
        Some(&value) => Err(RegionError::NotFinite { name, value }),
        None => Ok(()),
    }
}

fn check_linear(centre: Point, to_unit: Matrix) -> Result<(), RegionError> {
    finite("centre", &centre)?;
    finite("to_unit", to_unit.as_flattened())?;
    if inverse(to_unit)
        .as_flattened()
        .iter()
        .all(|v| v.is_finite())
    {
        return Ok(());
    }
    Err(RegionError::Singular(to_unit))
}
