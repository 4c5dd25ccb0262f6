//! Exact areas that a quadrilateral has in common with the pixels of a grid.
//!
//! Every edge of the quadrilateral is cut at the borders of the pixels. A piece of height `dy` in one column takes
//! `dy` times its mean distance to the pixel's right side from that pixel and the whole of `dy` from every pixel to
//! the right, so that the edges leave differences along each row whose running sum is the area. The work grows with
//! the circumference of the drop, not with the number of pixels in its box, and each row is treated by itself, so
//! any window of rows gives the same bits.

use std::ops::Range;

/// Shares below this fraction of a drop are rounding, not overlap.
pub(super) const SMALLEST_SHARE: f64 = 1e-12;
/// Positions beyond this are on no image, and their fractions of a pixel are lost.
pub(super) const FARTHEST_PIX: f64 = 1e9;

/// A drop on the output grid: four corners in order around it.
#[derive(Clone, Copy, Debug)]
pub struct Quad {
    /// Corner columns; pixel `i` spans `i - 0.5 .. i + 0.5`.
    pub x: [f64; 4],
    /// Corner rows.
    pub y: [f64; 4],
}

fn smallest(v: [f64; 4]) -> f64 {
    v[0].min(v[1]).min(v[2].min(v[3]))
}

fn largest(v: [f64; 4]) -> f64 {
    v[0].max(v[1]).max(v[2].max(v[3]))
}

impl Quad {
    /// Twice the signed area; 0 for drops whose corners are folded over.
    #[inline]
    #[must_use]
    pub fn twice_area(&self) -> f64 {
        let (a, b) = self.triangles();
        if a * b >= 0.0 { a + b } else { 0.0 }
    }

    /// Twice the signed areas of the two triangles on both sides of a diagonal.
    #[inline]
    fn triangles(&self) -> (f64, f64) {
        let (x, y) = (&self.x, &self.y);
        let (dx, dy) = (x[2] - x[0], y[2] - y[0]);
        (
            (x[1] - x[0]) * dy - (y[1] - y[0]) * dx,
            dx * (y[3] - y[0]) - dy * (x[3] - x[0]),
        )
    }
}

/// The box of a drop in pixels, and what of it is inside of a window.
struct Boxed {
    /// First column and row of the box.
    left: f64,
    bottom: f64,
    /// Window in columns and rows relative to the box.
    columns: Range<usize>,
    rows: Range<usize>,
    is_whole: bool,
}

/// `low .. high` cut to `0 .. n`, relative to `low`.
fn cut(low: f64, high: f64, window: &Range<usize>) -> Range<usize> {
    let first = (window.start as f64 - low).max(0.0);
    let end = (window.end as f64 - low).min(high - low + 1.0).max(first);
    first as usize..end as usize
}

impl Boxed {
    #[inline]
    fn new(quad: &Quad, rows: &Range<usize>, n_columns: usize) -> Option<Self> {
        let (left, right) = (smallest(quad.x).floor(), largest(quad.x).floor());
        let (bottom, top) = (smallest(quad.y).floor(), largest(quad.y).floor());
        let inside = left >= -FARTHEST_PIX
            && bottom >= -FARTHEST_PIX
            && right <= FARTHEST_PIX
            && top <= FARTHEST_PIX;
        if !inside {
            return None;
        }
        let columns = cut(left, right, &(0..n_columns));
        let rows = cut(bottom, top, rows);
        let is_whole = columns.start == 0 && left + columns.end as f64 > right;
        (!columns.is_empty() && !rows.is_empty()).then_some(Self {
            left,
            bottom,
            columns,
            rows,
            is_whole,
        })
    }
}

/// Room for the differences along the rows of one drop.
#[derive(Debug, Default)]
pub struct Coverage {
    differences: Vec<f64>,
    shares: Vec<f64>,
}

impl Coverage {
    /// Share of the drop in each pixel: calls `sink(row, first column, shares)` for the rows inside of `rows`. The
    /// shares of a drop that lies on the image add up to 1; drops whose corners are folded over have none.
    #[inline]
    pub fn spread(
        &mut self,
        quad: &Quad,
        rows: Range<usize>,
        n_columns: usize,
        mut sink: impl FnMut(usize, usize, &[f64]),
    ) {
        let twice_area = quad.twice_area();
        if twice_area == 0.0 {
            return;
        }
        // Pixel i spans i .. i + 1 from here on.
        let shifted = Quad {
            x: quad.x.map(|x| x + 0.5),
            y: quad.y.map(|y| y + 0.5),
        };
        let Some(window) = Boxed::new(&shifted, &rows, n_columns) else {
            return;
        };
        let width = window.columns.len();
        let stride = width + 2;
        self.differences.clear();
        self.differences.resize(stride * window.rows.len(), 0.0);
        // Exact: both numbers are multiples of the same unit in the last place.
        let x = shifted.x.map(|x| x - window.left);
        let y = shifted.y.map(|y| y - window.bottom);
        for k in 0..4 {
            let n = (k + 1) & 3;
            self.edge(&window, stride, [x[k], y[k]], [x[n], y[n]]);
        }
        let scale = 2.0 / twice_area;
        let first_row = (window.bottom + window.rows.start as f64) as usize;
        let first_column = (window.left + window.columns.start as f64) as usize;
        self.shares.resize(width.max(self.shares.len()), 0.0);
        for (k, differences) in self.differences.chunks_exact(stride).enumerate() {
            let mut area = 0.0;
            for (share, difference) in self.shares.iter_mut().zip(differences).take(width) {
                area += difference;
                let value = area * scale;
                *share = if value > SMALLEST_SHARE { value } else { 0.0 };
            }
            sink(first_row + k, first_column, &self.shares[..width]);
        }
    }

    /// Leave the differences of one edge.
    #[inline]
    fn edge(&mut self, window: &Boxed, stride: usize, from: [f64; 2], to: [f64; 2]) {
        // The sign makes the area positive when the corners run as `Quad::triangles` counts them.
        let (sign, [xa, ya], [xb, yb]) = if from[1] < to[1] {
            (-1.0, from, to)
        } else {
            (1.0, to, from)
        };
        if ya == yb {
            return;
        }
        let slope = (xb - xa) / (yb - ya);
        let (least, most) = if xa < xb { (xa, xb) } else { (xb, xa) };
        let first = (ya as usize).max(window.rows.start);
        let last = (yb.ceil() as usize).min(window.rows.end);
        for row in first..last {
            let (low, high) = (row as f64, (row + 1) as f64);
            let (y0, x0) = if ya >= low {
                (ya, xa)
            } else {
                (low, (xa + (low - ya) * slope).clamp(least, most))
            };
            let (y1, x1) = if yb <= high {
                (yb, xb)
            } else {
                (high, (xa + (high - ya) * slope).clamp(least, most))
            };
            let start = (row - window.rows.start) * stride;
            let differences = &mut self.differences[start..start + stride];
            let dy = sign * (y1 - y0);
            let (x0, x1) = if x0 <= x1 { (x0, x1) } else { (x1, x0) };
            if window.is_whole {
                piece(differences, dy, x0, x1);
            } else {
                piece_in_window(differences, &window.columns, dy, x0, x1);
            }
        }
    }
}

/// The differences of a piece of an edge inside of one row, from column position `x0` to `x1 >= x0`.
#[inline]
fn piece(differences: &mut [f64], dy: f64, x0: f64, x1: f64) {
    let (c0, c1) = (x0 as usize, x1 as usize);
    if c0 == c1 {
        let right = dy * (0.5 * (x0 + x1) - c0 as f64);
        differences[c0] += dy - right;
        differences[c0 + 1] += right;
        return;
    }
    let slope = dy / (x1 - x0);
    let part = (c0 + 1) as f64 - x0;
    let d = slope * part;
    let inside = 0.5 * d * part;
    differences[c0] += inside;
    differences[c0 + 1] += d - inside;
    for c in c0 + 1..c1 {
        differences[c] += 0.5 * slope;
        differences[c + 1] += 0.5 * slope;
    }
    let part = x1 - c1 as f64;
    let d = slope * part;
    let outside = 0.5 * d * part;
    differences[c1] += d - outside;
    differences[c1 + 1] += outside;
}

/// As [`piece`], for a box of which some columns are not on the image: what lies to the left of the window counts in
/// full for its first column, what lies to the right not at all.
fn piece_in_window(differences: &mut [f64], columns: &Range<usize>, dy: f64, x0: f64, x1: f64) {
    let (start, end) = (columns.start as f64, columns.end as f64);
    if x1 <= start {
        differences[0] += dy;
    } else if x0 < end {
        let per_column = if x1 > x0 { dy / (x1 - x0) } else { 0.0 };
        let mut rest = dy;
        let (mut low, mut high) = (x0, x1);
        if low < start {
            let left = per_column * (start - low);
            differences[0] += left;
            rest -= left;
            low = start;
        }
        if high > end {
            rest -= per_column * (high - end);
            high = end;
        }
        piece(differences, rest, low - start, high - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(quad: &Quad, rows: Range<usize>, nx: usize) -> Vec<(usize, usize, f64)> {
        let mut found = Vec::new();
        Coverage::default().spread(quad, rows, nx, |j, i0, shares| {
            found.extend(
                shares
                    .iter()
                    .enumerate()
                    .filter(|s| *s.1 > 0.0)
                    .map(|(k, s)| (j, i0 + k, *s)),
            );
        });
        found
    }

    #[test]
    fn a_pixel_on_itself_has_one_share() {
        let quad = Quad {
            x: [2.5, 3.5, 3.5, 2.5],
            y: [4.5, 4.5, 5.5, 5.5],
        };
        assert_eq!(shares(&quad, 0..10, 10), vec![(5, 3, 1.0)]);
        let flipped = Quad {
            x: [3.5, 2.5, 2.5, 3.5],
            y: quad.y,
        };
        assert_eq!(shares(&flipped, 0..10, 10), vec![(5, 3, 1.0)]);
    }

    #[test]
    fn a_diamond_is_shared_by_symmetry() {
        let quad = Quad {
            x: [2.0, 3.0, 4.0, 3.0],
            y: [3.0, 2.0, 3.0, 4.0],
        };
        let found = shares(&quad, 0..10, 10);
        let at = |j, i| {
            found
                .iter()
                .find(|s| s.0 == j && s.1 == i)
                .map_or(0.0, |s| s.2)
        };
        assert!((at(3, 3) - 0.5).abs() < 1e-15);
        for (j, i) in [(2, 3), (4, 3), (3, 2), (3, 4)] {
            assert!((at(j, i) - 0.125).abs() < 1e-15, "{j} {i} {}", at(j, i));
        }
    }

    #[test]
    fn a_window_changes_no_share() {
        let quad = Quad {
            x: [-1.3, 7.9, 9.2, 0.4],
            y: [-2.2, -0.7, 8.8, 6.1],
        };
        let whole = shares(&quad, 0..9, 8);
        let mut parts = Vec::new();
        for j in 0..9 {
            parts.extend(shares(&quad, j..j + 1, 8));
        }
        assert_eq!(whole, parts);
        let wide = shares(
            &Quad {
                x: quad.x.map(|x| x + 5.0),
                y: quad.y.map(|y| y + 5.0),
            },
            0..20,
            20,
        );
        assert!((wide.iter().map(|s| s.2).sum::<f64>() - 1.0).abs() < 1e-14);
        for (j, i, share) in whole {
            let other = wide
                .iter()
                .find(|s| s.0 == j + 5 && s.1 == i + 5)
                .unwrap()
                .2;
            assert!((share - other).abs() < 1e-15, "{j} {i}");
        }
    }

    #[test]
    fn folded_and_empty_drops_have_no_share() {
        assert!(
            shares(
                &Quad {
                    x: [1.0, 2.0, 1.0, 2.0],
                    y: [1.0, 2.0, 2.0, 1.0]
                },
                0..9,
                9
            )
            .is_empty()
        );
        assert!(
            shares(
                &Quad {
                    x: [1.0; 4],
                    y: [1.0; 4]
                },
                0..9,
                9
            )
            .is_empty()
        );
        assert!(
            shares(
                &Quad {
                    x: [f64::NAN; 4],
                    y: [1.0; 4]
                },
                0..9,
                9
            )
            .is_empty()
        );
        let far = Quad {
            x: [1e300, -1e300, -1e300, 1e300],
            y: [1e300, 1e300, -1e300, -1e300],
        };
        assert!(shares(&far, 0..9, 9).is_empty());
    }
}
