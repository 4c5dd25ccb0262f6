//! Natural bicubic spline through the nodes of a regular mesh.

/// Values at the centres of square cells, interpolated to pixels.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    nodes: Vec<f64>,
    /// A sixth of the second derivative along y at every node, in cells.
    curvature_y: Vec<f64>,
    n_y: usize,
    n_x: usize,
    box_size: f64,
}

/// A sixth of the second derivative of the natural cubic spline through `f` at unit steps.
///
/// # Source
/// Press et al., Numerical Recipes, eq. 3.3.7 with unit steps: `c[i-1] + 4 c[i] + c[i+1] = f[i-1] - 2 f[i] + f[i+1]`.
fn curvature(f: &[f64]) -> Vec<f64> {
    let n = f.len();
    let mut c = vec![0.0; n];
    let mut above = vec![0.0; n];
    for i in 1..n.saturating_sub(1) {
        let pivot = 4.0 - above[i - 1];
        above[i] = 1.0 / pivot;
        c[i] = (f[i - 1] - 2.0 * f[i] + f[i + 1] - c[i - 1]) / pivot;
    }
    for i in (1..n.saturating_sub(1)).rev() {
        c[i] -= above[i] * c[i + 1];
    }
    c
}

/// Coefficients in powers of `u` of the spline between two nodes with values `f` and curvatures `c`.
fn polynomial(f: [f64; 2], c: [f64; 2]) -> [f64; 4] {
    [
        f[0],
        f[1] - f[0] - 2.0 * c[0] - c[1],
        3.0 * c[0],
        c[1] - c[0],
    ]
}

fn horner(p: [f64; 4], u: f64) -> f64 {
    p[0] + u * (p[1] + u * (p[2] + u * p[3]))
}

impl Surface {
    pub(super) fn new(nodes: Vec<f64>, n_y: usize, n_x: usize, box_size: usize) -> Self {
        let mut curvature_y = vec![0.0; nodes.len()];
        for x in 0..n_x {
            let column: Vec<f64> = (0..n_y).map(|y| nodes[y * n_x + x]).collect();
            for (y, c) in curvature(&column).into_iter().enumerate() {
                curvature_y[y * n_x + x] = c;
            }
        }
        Self {
            nodes,
            curvature_y,
            n_y,
            n_x,
            box_size: box_size as f64,
        }
    }

    /// Values of the nodes' columns at the pixel row `y`.
    fn nodes_at(&self, y: usize) -> Vec<f64> {
        if self.n_y == 1 {
            return self.nodes.clone();
        }
        let t = (y as f64 + 0.5) / self.box_size - 0.5;
        let cell = t.clamp(0.0, (self.n_y - 2) as f64).floor();
        let start = cell as usize * self.n_x;
        (start..start + self.n_x)
            .map(|i| {
                let f = [self.nodes[i], self.nodes[i + self.n_x]];
                let c = [self.curvature_y[i], self.curvature_y[i + self.n_x]];
                horner(polynomial(f, c), t - cell)
            })
            .collect()
    }

    /// The pixel row `y` from column `left` on.
    pub(super) fn fill_row(&self, y: usize, left: usize, out: &mut [f32]) {
        let f = self.nodes_at(y);
        if self.n_x == 1 {
            out.fill(f[0] as f32);
            return;
        }
        let c = curvature(&f);
        let right = left + out.len();
        let step = (1.0 / self.box_size) as f32;
        let mut start = 0;
        for cell in 0..self.n_x - 1 {
            let end = if cell + 2 == self.n_x {
                right.max(start)
            } else {
                ((cell as f64 + 1.5) * self.box_size - 0.5).ceil() as usize
            };
            let (from, to) = (start.max(left), end.min(right));
            if from < to {
                let p =
                    polynomial([f[cell], f[cell + 1]], [c[cell], c[cell + 1]]).map(|k| k as f32);
                let u0 = ((start as f64 + 0.5) / self.box_size - 0.5 - cell as f64) as f32;
                for (i, value) in (from - start..).zip(&mut out[from - left..to - left]) {
                    let u = u0 + i as f32 * step;
                    *value = p[0] + u * (p[1] + u * (p[2] + u * p[3]));
                }
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_reproduced_everywhere() {
        let nodes = (0..12)
            .map(|i| f64::from(i % 4) * 3.0 - f64::from(i / 4))
            .collect();
        let surface = Surface::new(nodes, 3, 4, 10);
        let mut row = vec![0.0; 37];
        for y in [0, 4, 17, 29] {
            surface.fill_row(y, 0, &mut row);
            for (x, &value) in row.iter().enumerate() {
                let expected =
                    ((x as f64 + 0.5) / 10.0 - 0.5) * 3.0 - ((y as f64 + 0.5) / 10.0 - 0.5);
                assert!((f64::from(value) - expected).abs() < 1e-5, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_part_of_a_row_has_the_same_bits() {
        let nodes = (0..20).map(|i| f64::from(i * i % 7)).collect();
        let surface = Surface::new(nodes, 4, 5, 8);
        let mut whole = vec![0.0; 39];
        surface.fill_row(13, 0, &mut whole);
        for (left, right) in [(0, 39), (5, 6), (3, 29), (38, 39), (20, 20)] {
            let mut part = vec![0.0; right - left];
            surface.fill_row(13, left, &mut part);
            assert_eq!(part, whole[left..right]);
        }
    }

    #[test]
    fn the_spline_solves_its_equations() {
        let f = [1.0, 4.0, -2.0, 7.0, 0.5];
        let c = curvature(&f);
        assert_eq!((c[0], c[4]), (0.0, 0.0));
        for i in 1..4 {
            let residual = c[i - 1] + 4.0 * c[i] + c[i + 1] - (f[i - 1] - 2.0 * f[i] + f[i + 1]);
            assert!(residual.abs() < 1e-12);
        }
    }
}
