//! Areas that small quadrilaterals have in common with pixels, several at a time and without branches.
//!
//! [`super::overlap`] walks along the edges of one drop; its branches are different for every drop, and guessing them
//! wrong costs more than the arithmetic. Here the drops of a few input pixels lie side by side in the lanes of vector
//! registers, and every edge is integrated over every pixel of a small box. The area to the right of a piece of an
//! edge inside of a pixel is the mean of `clamp(u, 0, 1)` along it times its height, with `u` the distance of the
//! edge to the pixel's right side. What a lane does depends on its own drop only, whatever its neighbours are.

use super::overlap::{FARTHEST_PIX, Quad};
use crate::math::widest::{Work, run_widest};

/// Drops that are treated together.
pub const LANES: usize = 16;
/// Largest side of a drop's box in pixels.
pub const LARGEST_BOX: usize = 8;

/// One number of each drop.
type Lane = [f64; LANES];

/// The corners of [`LANES`] drops on the output; pixel `i` spans `i - 0.5 .. i + 0.5`.
#[derive(Clone, Debug)]
pub struct Drops {
    x: [Lane; 4],
    y: [Lane; 4],
}

impl Default for Drops {
    fn default() -> Self {
        Self {
            x: [[0.0; LANES]; 4],
            y: [[0.0; LANES]; 4],
        }
    }
}

impl Drops {
    /// Put a drop into a lane.
    #[inline]
    pub fn set(&mut self, lane: usize, quad: &Quad) {
        for k in 0..4 {
            self.x[k][lane] = quad.x[k];
            self.y[k][lane] = quad.y[k];
        }
    }
}

/// The boxes of [`LANES`] drops and the areas in their pixels.
#[derive(Clone, Debug)]
pub struct Areas {
    /// `[row][column]` of each drop's own box, with the sign of its corners' order.
    pub areas: [[Lane; LARGEST_BOX]; LARGEST_BOX],
    /// First column of the box; NaN for a drop that is too large, folded over or nowhere.
    pub left: Lane,
    /// First row of the box.
    pub bottom: Lane,
    /// Rows of the box.
    pub rows: Lane,
    /// Twice the drop's area, with its sign.
    pub twice_area: Lane,
    /// Columns of the widest box.
    pub n_columns: usize,
}

impl Default for Areas {
    fn default() -> Self {
        let zero = [0.0; LANES];
        let areas = [[zero; LARGEST_BOX]; LARGEST_BOX];
        Self {
            areas,
            left: zero,
            bottom: zero,
            rows: zero,
            twice_area: zero,
            n_columns: 0,
        }
    }
}

/// The smaller of two numbers, in one instruction.
#[inline(always)]
fn less(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// The larger of two numbers, in one instruction.
#[inline(always)]
fn more(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// `a && b` without a branch.
#[inline(always)]
fn both(a: bool, b: bool) -> bool {
    a & b
}

#[inline(always)]
fn smallest(v: [f64; 4]) -> f64 {
    less(less(v[0], v[1]), less(v[2], v[3]))
}

#[inline(always)]
fn largest(v: [f64; 4]) -> f64 {
    more(more(v[0], v[1]), more(v[2], v[3]))
}

/// `floor` for positions below 2^31, without a call; anything else is beyond [`FARTHEST_PIX`] or NaN as before.
#[inline(always)]
fn floor(x: f64) -> f64 {
    let whole = f64::from(x as i32);
    if whole > x { whole - 1.0 } else { whole }
}

/// Rounding to multiples of 2^-44 pixel, so that differences of positions below 16 are exact.
#[inline(always)]
fn quantised(x: f64) -> f64 {
    const HALF_WAY: f64 = 384.0;
    (x + HALF_WAY) - HALF_WAY
}

#[inline(always)]
fn fold(lanes: &Lane, f: impl Fn(f64, f64) -> f64) -> f64 {
    lanes.iter().skip(1).fold(lanes[0], |a, b| f(a, *b))
}

/// Corners relative to their boxes, whose pixels span `i .. i + 1`.
struct Relative {
    x: [Lane; 4],
    y: [Lane; 4],
    n_rows: usize,
}

/// Find the boxes and their sizes.
#[inline(always)]
fn place(drops: &Drops, out: &mut Areas) -> Relative {
    let zero = [0.0; LANES];
    let (mut x, mut y) = ([zero; 4], [zero; 4]);
    let mut columns = zero;
    for l in 0..LANES {
        let px = [drops.x[0][l], drops.x[1][l], drops.x[2][l], drops.x[3][l]];
        let py = [drops.y[0][l], drops.y[1][l], drops.y[2][l], drops.y[3][l]];
        let (left, right) = (floor(smallest(px) + 0.5), floor(largest(px) + 0.5));
        let (bottom, top) = (floor(smallest(py) + 0.5), floor(largest(py) + 0.5));
        let (mut qx, mut qy) = ([0.0; 4], [0.0; 4]);
        for k in 0..4 {
            qx[k] = quantised(px[k] + 0.5 - left);
            qy[k] = py[k] + 0.5 - bottom;
        }
        // The two triangles on both sides of a diagonal, as in `Quad::twice_area`.
        let (dx, dy) = (qx[2] - qx[0], qy[2] - qy[0]);
        let a = (qx[1] - qx[0]) * dy - (qy[1] - qy[0]) * dx;
        let b = dx * (qy[3] - qy[0]) - dy * (qx[3] - qx[0]);
        let most = LARGEST_BOX as f64 - 1.0;
        let is_small = both(right - left <= most, top - bottom <= most);
        let is_near = both(
            more(right, top) < FARTHEST_PIX,
            less(left, bottom) > -FARTHEST_PIX,
        );
        let is_whole = both(a * b >= 0.0, a + b != 0.0);
        let fits = both(is_small, both(is_near, is_whole));
        out.twice_area[l] = if fits { a + b } else { 0.0 };
        out.left[l] = if fits { left } else { f64::NAN };
        out.bottom[l] = bottom;
        out.rows[l] = if fits { top - bottom + 1.0 } else { 0.0 };
        columns[l] = if fits { right - left + 1.0 } else { 0.0 };
        for k in 0..4 {
            x[k][l] = if fits { qx[k] } else { 0.0 };
            y[k][l] = if fits { qy[k] } else { 0.0 };
        }
    }
    out.n_columns = fold(&columns, more) as usize;
    Relative {
        x,
        y,
        n_rows: fold(&out.rows, more) as usize,
    }
}

/// Add the areas of one edge to the rows that it crosses.
#[inline(always)]
fn edge(
    [xa, xb]: [&Lane; 2],
    [ya, yb]: [&Lane; 2],
    n_columns: usize,
    areas: &mut [[Lane; LARGEST_BOX]],
) {
    let zero = [0.0; LANES];
    let (mut slope, mut sign, mut low, mut high) = (zero, zero, zero, zero);
    let (mut x0, mut y0) = (zero, zero);
    for l in 0..LANES {
        let dy = yb[l] - ya[l];
        sign[l] = if dy > 0.0 { -1.0 } else { 1.0 };
        slope[l] = if dy == 0.0 { 0.0 } else { (xb[l] - xa[l]) / dy };
        low[l] = less(ya[l], yb[l]);
        high[l] = more(ya[l], yb[l]);
        // Where the edge enters its first row.
        x0[l] = if dy > 0.0 { xa[l] } else { xb[l] };
        y0[l] = low[l];
    }
    let first = fold(&low, less) as usize;
    let end = fold(&high, more).ceil() as usize;
    for (j, row) in areas.iter_mut().enumerate().take(end).skip(first) {
        let next = (j + 1) as f64;
        let (mut x1, mut y1, mut height, mut per_x) = (zero, zero, zero, zero);
        for l in 0..LANES {
            y1[l] = more(less(next, high[l]), low[l]);
            let x = xa[l] + (y1[l] - ya[l]) * slope[l];
            x1[l] = quantised(more(less(x, more(xa[l], xb[l])), less(xa[l], xb[l])));
            let dy = sign[l] * (y1[l] - y0[l]);
            let dx = x0[l] - x1[l];
            // A vertical piece has one distance, all others the mean over their width.
            height[l] = if dx == 0.0 { dy } else { 0.0 };
            per_x[l] = if dx == 0.0 { 0.0 } else { dy / dx };
        }
        for (i, cell) in row.iter_mut().enumerate().take(n_columns) {
            let right = (i + 1) as f64;
            for l in 0..LANES {
                let (u0, u1) = (right - x0[l], right - x1[l]);
                let (v0, v1) = (more(less(u0, 1.0), 0.0), more(less(u1, 1.0), 0.0));
                let beyond = more(u1, 1.0) - more(u0, 1.0);
                let inside = 0.5 * (v1 - v0) * (v1 + v0);
                cell[l] += (inside + beyond) * per_x[l] + v0 * height[l];
            }
        }
        x0 = x1;
        y0 = y1;
    }
}

#[inline(always)]
fn integrate(drops: &Drops, out: &mut Areas) {
    let at = place(drops, out);
    let (n_rows, n_columns) = (at.n_rows.min(LARGEST_BOX), out.n_columns.min(LARGEST_BOX));
    for row in out.areas.iter_mut().take(n_rows) {
        for cell in row.iter_mut().take(n_columns) {
            *cell = [0.0; LANES];
        }
    }
    for k in 0..4 {
        let n = (k + 1) & 3;
        edge(
            [&at.x[k], &at.x[n]],
            [&at.y[k], &at.y[n]],
            n_columns,
            &mut out.areas[..n_rows],
        );
    }
}

impl Work for (&Drops, &mut Areas) {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        integrate(self.0, self.1);
    }
}

/// The areas of drops in the pixels of their boxes.
pub fn areas(drops: &Drops, out: &mut Areas) {
    run_widest((drops, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::widest::run_each;

    /// Drops of all sizes and turns, some folded, some far away, from a linear congruential generator.
    fn drops(state: &mut u64) -> Drops {
        let mut next = || {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut drops = Drops::default();
        for lane in 0..LANES {
            let (x, y, side) = (50.0 * next(), 50.0 * next(), 6.0 * next());
            let mut corner = |at: f64, far: f64| at + side * far + 0.2 * (next() - 0.5);
            let quad = Quad {
                x: [0.0, 1.0, 1.0, 0.0].map(|far| corner(x, far)),
                y: [0.0, 0.0, 1.0, 1.0].map(|far| corner(y, far)),
            };
            drops.set(lane, &quad);
        }
        drops
    }

    fn bits(areas: &Areas) -> Vec<u64> {
        let (mut all, columns) = (Vec::new(), areas.n_columns);
        for lane in 0..LANES {
            all.extend([areas.left, areas.bottom, areas.rows, areas.twice_area].map(|v| v[lane]));
            for row in areas.areas.iter().take(areas.rows[lane] as usize) {
                all.extend(row.iter().take(columns).map(|cell| cell[lane]));
            }
        }
        all.into_iter().map(f64::to_bits).collect()
    }

    /// The areas of drops, as a value.
    #[derive(Clone, Copy)]
    struct AreasOf<'a>(&'a Drops);

    impl Work for AreasOf<'_> {
        type Output = Areas;

        #[inline(always)]
        fn run(self) -> Areas {
            let mut areas = Areas::default();
            integrate(self.0, &mut areas);
            areas
        }
    }

    #[test]
    fn every_variant_gives_the_bits_of_the_plain_one() {
        let mut state = 1;
        for _ in 0..2000 {
            let drops = drops(&mut state);
            let found = run_each(AreasOf(&drops));
            assert!(found.iter().all(|areas| bits(areas) == bits(&found[0])));
        }
    }
}
