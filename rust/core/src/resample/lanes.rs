//! Areas that small quadrilaterals have in common with pixels, several at a time and without branches.
//!
//! [`super::overlap`] walks along the edges of one drop; its branches are different for every drop, and guessing them
//! wrong costs more than the arithmetic. Here the drops of a few input pixels lie side by side in the lanes of vector
//! registers, and every edge is integrated over every pixel of a small box. The area to the right of a piece of an
//! edge inside of a pixel is the mean of `clamp(u, 0, 1)` along it times its height, with `u` the distance of the
//! edge to the pixel's right side. Every lane does the same operations whatever its neighbours are.

use super::overlap::Quad;

/// Drops that are treated together.
pub const LANES: usize = 16;
/// Largest side of a drop's box in pixels.
pub const LARGEST_BOX: usize = 8;

/// One number of each drop.
type Lane = [f64; LANES];

/// The areas of [`LANES`] drops: `[row][column]` of each drop's own box.
pub type Areas = [[Lane; LARGEST_BOX]; LARGEST_BOX];

/// The corners of [`LANES`] drops relative to their boxes, whose pixels span `i .. i + 1`.
#[derive(Clone, Debug)]
pub struct Drops {
    x: [Lane; 4],
    y: [Lane; 4],
    /// First column and row of each drop's box.
    pub left: Lane,
    /// First row of each drop's box.
    pub bottom: Lane,
    /// Columns of the largest box.
    pub n_columns: usize,
    /// Rows of the largest box.
    pub n_rows: usize,
    /// Rows of each drop's box.
    pub rows: [usize; LANES],
}

impl Default for Drops {
    fn default() -> Self {
        let zero = [0.0; LANES];
        Self {
            x: [zero; 4],
            y: [zero; 4],
            left: zero,
            bottom: zero,
            n_columns: 0,
            n_rows: 0,
            rows: [0; LANES],
        }
    }
}

/// Rounding to multiples of 2^-44 pixel, so that differences of positions below 16 are exact.
#[inline(always)]
fn quantised(x: f64) -> f64 {
    const HALF_WAY: f64 = 384.0;
    (x + HALF_WAY) - HALF_WAY
}

impl Drops {
    /// No drops.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Put a drop into a lane; false when its box is too large (or not finite), and then it has no area here.
    #[inline(always)]
    pub fn set(&mut self, lane: usize, quad: &Quad) -> bool {
        let (x, y) = (quad.x.map(|x| x + 0.5), quad.y.map(|y| y + 0.5));
        let (left, right) = (floor(smallest(x)), floor(largest(x)));
        let (bottom, top) = (floor(smallest(y)), floor(largest(y)));
        let (columns, rows) = (right - left + 1.0, top - bottom + 1.0);
        let most = LARGEST_BOX as f64;
        if !(columns <= most
            && rows <= most
            && left.abs() < FARTHEST_PIX
            && bottom.abs() < FARTHEST_PIX)
        {
            for k in 0..4 {
                self.x[k][lane] = 0.0;
                self.y[k][lane] = 0.0;
            }
            return false;
        }
        for k in 0..4 {
            self.x[k][lane] = quantised(x[k] - left);
            self.y[k][lane] = y[k] - bottom;
        }
        self.left[lane] = left;
        self.bottom[lane] = bottom;
        self.n_columns = self.n_columns.max(columns as usize);
        self.rows[lane] = rows as usize;
        self.n_rows = self.n_rows.max(rows as usize);
        true
    }
}

/// Positions beyond this are on no image.
const FARTHEST_PIX: f64 = 1e9;

/// The smallest of the corners.
#[inline(always)]
#[must_use]
pub fn smallest(v: [f64; 4]) -> f64 {
    less(less(v[0], v[1]), less(v[2], v[3]))
}

/// The largest of the corners.
#[inline(always)]
#[must_use]
pub fn largest(v: [f64; 4]) -> f64 {
    more(more(v[0], v[1]), more(v[2], v[3]))
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

/// `floor` for positions below 2^31, without a call; anything else gives a number beyond [`FARTHEST_PIX`].
#[inline(always)]
fn floor(x: f64) -> f64 {
    let whole = f64::from(x as i32);
    if whole > x { whole - 1.0 } else { whole }
}

/// The areas of drops in the pixels of their boxes, with the sign of [`super::overlap`].
#[inline(always)]
fn integrate(drops: &Drops, areas: &mut Areas) {
    let (n_rows, n_columns) = (
        drops.n_rows.min(LARGEST_BOX),
        drops.n_columns.min(LARGEST_BOX),
    );
    for row in areas.iter_mut().take(n_rows) {
        for cell in row.iter_mut().take(n_columns) {
            *cell = [0.0; LANES];
        }
    }
    for k in 0..4 {
        let n = (k + 1) & 3;
        edge(
            &drops.x[k],
            &drops.y[k],
            &drops.x[n],
            &drops.y[n],
            n_columns,
            &mut areas[..n_rows],
        );
    }
}

/// Add the areas of one edge to every row.
#[inline(always)]
fn edge(
    xa: &Lane,
    ya: &Lane,
    xb: &Lane,
    yb: &Lane,
    n_columns: usize,
    areas: &mut [[Lane; LARGEST_BOX]],
) {
    let mut slope = [0.0; LANES];
    let mut sign = [0.0; LANES];
    for l in 0..LANES {
        let dy = yb[l] - ya[l];
        sign[l] = if dy > 0.0 { -1.0 } else { 1.0 };
        slope[l] = if dy == 0.0 { 0.0 } else { (xb[l] - xa[l]) / dy };
    }
    // Where the edge enters the row.
    let (mut x0, mut y0) = ([0.0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        let is_up = ya[l] < yb[l];
        x0[l] = if is_up { xa[l] } else { xb[l] };
        y0[l] = less(ya[l], yb[l]);
    }
    for (j, row) in areas.iter_mut().enumerate() {
        let next = (j + 1) as f64;
        let (mut x1, mut y1) = ([0.0; LANES], [0.0; LANES]);
        let (mut height, mut per_x) = ([0.0; LANES], [0.0; LANES]);
        for l in 0..LANES {
            let (low, high) = (less(ya[l], yb[l]), more(ya[l], yb[l]));
            y1[l] = more(less(next, high), low);
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn integrate_avx512(drops: &Drops, areas: &mut Areas) {
    integrate(drops, areas);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn integrate_avx2(drops: &Drops, areas: &mut Areas) {
    integrate(drops, areas);
}

/// The areas of drops in the pixels of their boxes; positive for corners that run counter-clockwise.
///
/// The widest vector registers of the processor are used. None of the variants fuses a multiplication with an
/// addition, so all give the same bits.
#[inline]
#[allow(unsafe_code)]
pub fn areas(drops: &Drops, out: &mut Areas) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has the instructions that the function was compiled for.
            return unsafe { integrate_avx512(drops, out) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions that the function was compiled for.
            return unsafe { integrate_avx2(drops, out) };
        }
    }
    integrate(drops, out);
}
