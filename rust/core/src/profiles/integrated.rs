//! Profiles integrated over pixels.

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::ProfileError;
use super::profile::{Profile, Radial};
use super::quadrature::gauss_legendre;
use crate::image::Image;
use crate::interrupt;

/// Pixels within this many of their own diagonals of the centre are integrated along their edges.
const NEAR: f64 = 4.0;
/// Nodes along each axis of a pixel farther out.
const FAR_NODES: usize = 3;
/// Nodes of an edge, and more for each unit of the variable along it.
const EDGE_NODES: usize = 4;
const NODES_PER_UNIT: f64 = 4.0;
const MOST_NODES: usize = 48;
/// Logarithmic steps of the table of the light within a radius.
const STEP: f64 = 0.02;

/// Draw profiles, integrated over the pixels, into an image of `shape`.
///
/// # Errors
/// When a parameter is not allowed.
///
/// # Notes
/// In coordinates `w` in which the source is a circle the light in a pixel is `sum F(r) dtheta / 2 pi` along its edges,
/// with the light `F` within a radius: Green's theorem, exact for pixels with the centre as well. Far from the centre
/// the profile is smooth, and a few points of each pixel do.
pub fn render_integrated(
    sources: &[Profile],
    shape: (usize, usize),
) -> Result<Image<f64>, ProfileError> {
    for (i, source) in sources.iter().enumerate() {
        source.check(i, false)?;
    }
    let drawn: Vec<Drawn> = sources.iter().map(Drawn::new).collect();
    let far = Nodes::pixel();
    let edges = Nodes::edges();
    let mut image = Image::empty(shape);
    image
        .pixels_mut()
        .par_chunks_mut(shape.1.max(1))
        .enumerate()
        .for_each(|(y, row)| {
            interrupt::poll();
            for source in &drawn {
                for (x, pixel) in row.iter_mut().enumerate() {
                    *pixel += source.light_in(x as f64, y as f64, &far, &edges);
                }
            }
        });
    Ok(image)
}

/// Nodes of Gauss-Legendre rules.
struct Nodes {
    rules: Vec<Vec<(f64, f64)>>,
}

impl Nodes {
    fn pixel() -> Self {
        Self {
            rules: vec![gauss_legendre(FAR_NODES)],
        }
    }

    fn edges() -> Self {
        Self {
            rules: (0..=MOST_NODES).map(|n| gauss_legendre(n.max(1))).collect(),
        }
    }
}

/// A source with what is needed to draw it.
struct Drawn {
    source: Profile,
    radial: Radial,
    /// Takes offsets of pixels to coordinates in which the source is a circle.
    to_circle: [[f64; 2]; 2],
    growth: Growth,
}

impl Drawn {
    fn new(source: &Profile) -> Self {
        let (sin, cos) = source.theta.sin_cos();
        let radial = Radial::of(source);
        Self {
            source: *source,
            radial,
            to_circle: [[cos, sin], [-sin / source.q, cos / source.q]],
            growth: Growth::new(radial, source.r_e),
        }
    }

    fn to_circle(&self, x: f64, y: f64) -> [f64; 2] {
        let (dx, dy) = (x - self.source.x, y - self.source.y);
        self.to_circle.map(|[a, b]| a * dx + b * dy)
    }

    /// The light in the pixel at `(x, y)`.
    fn light_in(&self, x: f64, y: f64, far: &Nodes, edges: &Nodes) -> f64 {
        let [u, v] = self.to_circle(x, y);
        let diagonal = |sign: f64| {
            let [a, b] = self.to_circle;
            (a[0] + sign * a[1]).hypot(b[0] + sign * b[1])
        };
        let part = if u.hypot(v) < NEAR * diagonal(1.0).max(diagonal(-1.0)) {
            self.by_edges(x, y, edges)
        } else {
            self.by_points(x, y, &far.rules[0])
        };
        self.source.flux * part
    }

    fn by_points(&self, x: f64, y: f64, nodes: &[(f64, f64)]) -> f64 {
        let mut sum = 0.0;
        for (dy, wy) in nodes {
            for (dx, wx) in nodes {
                let [u, v] = self.to_circle(x + 0.5 * dx, y + 0.5 * dy);
                sum += 0.25 * wx * wy * self.radial.value(u.hypot(v));
            }
        }
        sum / self.source.q
    }

    fn by_edges(&self, x: f64, y: f64, edges: &Nodes) -> f64 {
        let corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
            .map(|(dx, dy)| self.to_circle(x + dx, y + dy));
        (0..4)
            .map(|k| self.along(corners[k], corners[(k + 1) % 4], edges))
            .sum()
    }

    /// `int F dtheta / 2 pi` along an edge. With the distance d of its line from the centre and `s = |d| sinh t` along
    /// it, `dtheta = dt / cosh t` and `r = |d| cosh t`.
    fn along(&self, from: [f64; 2], to: [f64; 2], edges: &Nodes) -> f64 {
        let step = [to[0] - from[0], to[1] - from[1]];
        let length = step[0].hypot(step[1]);
        let direction = step.map(|v| v / length);
        let d = from[0] * direction[1] - from[1] * direction[0];
        if d == 0.0 {
            return 0.0;
        }
        let at = |p: [f64; 2]| ((p[0] * direction[0] + p[1] * direction[1]) / d.abs()).asinh();
        let (first, last) = (at(from), at(to));
        let n = (EDGE_NODES + (NODES_PER_UNIT * (last - first)) as usize).min(MOST_NODES);
        let (middle, half) = (0.5 * (first + last), 0.5 * (last - first));
        let sum: f64 = edges.rules[n]
            .iter()
            .map(|(t, weight)| {
                let cosh = (middle + half * t).cosh();
                weight * self.growth.within(d.abs() * cosh) / cosh
            })
            .sum();
        d.signum() * half * sum / TAU
    }
}

/// The light within a radius, from a table in the logarithm of the radius with cubic interpolation.
struct Growth {
    first: f64,
    /// Values and derivatives by the number of the node.
    nodes: Vec<(f64, f64)>,
    /// Surface brightness below the first node.
    centre: f64,
    radial: Radial,
}

impl Growth {
    fn new(radial: Radial, r_e: f64) -> Self {
        let (first, last) = ((1e-6 * r_e).min(1e-4).ln(), (1e4 * r_e).max(10.0).ln());
        let n = ((last - first) / STEP).ceil() as usize + 1;
        let nodes = (0..n)
            .map(|i| {
                let r = (first + i as f64 * STEP).exp();
                (radial.within(r), TAU * r * r * radial.value(r) * STEP)
            })
            .collect();
        Self {
            first,
            nodes,
            centre: radial.value(0.0),
            radial,
        }
    }

    fn within(&self, r: f64) -> f64 {
        let position = (r.ln() - self.first) / STEP;
        if position <= 0.0 {
            return 0.5 * TAU * r * r * self.centre;
        }
        let i = position as usize;
        if i + 1 >= self.nodes.len() {
            return self.radial.within(r);
        }
        let t = position - i as f64;
        let ((a, slope_a), (b, slope_b)) = (self.nodes[i], self.nodes[i + 1]);
        let c = 3.0 * (b - a) - 2.0 * slope_a - slope_b;
        let e = 2.0 * (a - b) + slope_a + slope_b;
        a + t * (slope_a + t * (c + t * e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Family;
    use super::*;

    fn source(r_e: f64, n: f64, q: f64) -> Profile {
        Profile {
            family: Family::Sersic,
            x: 20.3,
            y: 19.6,
            flux: 7.0,
            r_e,
            n,
            q,
            theta: 0.7,
        }
    }

    #[test]
    fn the_light_of_a_compact_source_is_all_on_the_image() {
        for (r_e, n, q) in [
            (0.3, 0.5, 1.0),
            (0.3, 1.0, 0.1),
            (2.0, 1.0, 0.4),
            (1.5, 0.5, 0.2),
        ] {
            let image = render_integrated(&[source(r_e, n, q)], (41, 43)).unwrap();
            let sum: f64 = image.pixels().iter().sum();
            assert!((sum / 7.0 - 1.0).abs() < 1e-6, "{r_e} {n} {q} {sum}");
        }
    }

    #[test]
    fn edges_and_points_agree_where_they_meet() {
        let (far, edges) = (
            Nodes {
                rules: vec![gauss_legendre(12)],
            },
            Nodes::edges(),
        );
        for (r_e, n, q) in [
            (0.3, 0.5, 1.0),
            (2.0, 1.0, 0.4),
            (5.0, 4.0, 0.1),
            (0.5, 6.2, 0.8),
        ] {
            let drawn = Drawn::new(&source(r_e, n, q));
            for (x, y) in [(24.0, 20.0), (20.0, 25.0), (17.0, 16.0), (31.0, 26.0)] {
                let (a, b) = (
                    drawn.by_edges(x, y, &edges),
                    drawn.by_points(x, y, &far.rules[0]),
                );
                assert!(
                    (a - b).abs() < 1e-8 + 1e-6 * b,
                    "{r_e} {n} {q} ({x}, {y}): {a} {b}"
                );
            }
        }
    }

    #[test]
    fn parameters_that_no_profile_has_are_named() {
        let bad = Profile {
            q: 1.2,
            ..source(1.0, 1.0, 1.0)
        };
        let said = render_integrated(&[source(1.0, 1.0, 1.0), bad], (5, 5))
            .unwrap_err()
            .to_string();
        assert_eq!(
            said,
            "q: 1.2 of source 1 is not allowed, it must be above 0 and at most 1"
        );
    }
}
