//! Exact overlap of an ellipse with pixels.

type Point = [f64; 2];

/// An ellipse around the origin, ready to be laid over pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    /// Rows of the matrix that maps the ellipse to the unit circle.
    to_circle: [Point; 2],
    /// Area of the ellipse over that of the unit circle.
    scale: f64,
    /// Largest length of half a pixel's diagonal in the circle's plane.
    half_diagonal: f64,
    /// Half widths along x and y.
    reach: Point,
    /// The ellipse is `xx x^2 + 2 xy x y + yy y^2 = 1`, with `xx yy - xy^2 = determinant`.
    xx: f64,
    xy: f64,
    determinant: f64,
}

impl Outline {
    /// Semi-axes `a, b`, the first one at `theta` from x towards y.
    pub(super) fn new(a: f64, b: f64, theta: f64) -> Self {
        let (sin, cos) = theta.sin_cos();
        let to_circle = [[cos / a, sin / a], [-sin / b, cos / b]];
        let mut outline = Self {
            to_circle,
            scale: a * b,
            half_diagonal: 0.0,
            reach: [(a * cos).hypot(b * sin), (a * sin).hypot(b * cos)],
            xx: (cos / a).powi(2) + (sin / b).powi(2),
            xy: cos * sin * (1.0 / (a * a) - 1.0 / (b * b)),
            determinant: (a * b).powi(-2),
        };
        let length = |p: Point| p[0].hypot(p[1]);
        outline.half_diagonal =
            length(outline.map([0.5, 0.5])).max(length(outline.map([0.5, -0.5])));
        outline
    }

    /// Distance of a point from the centre in units of the ellipse.
    pub(super) fn radius(&self, dx: f64, dy: f64) -> f64 {
        let [u, v] = self.map([dx, dy]);
        (u * u + v * v).sqrt()
    }

    /// Largest length of half a pixel's diagonal in units of the ellipse.
    pub(super) fn half_diagonal(&self) -> f64 {
        self.half_diagonal
    }

    /// Half widths along x and y.
    pub(super) fn reach(&self) -> Point {
        self.reach
    }

    /// Where the line of constant `dy` enters and leaves the ellipse.
    pub(super) fn chord(&self, dy: f64) -> Option<Point> {
        let square = self.xx - self.determinant * dy * dy;
        (square >= 0.0).then(|| {
            let (middle, half) = (-self.xy * dy / self.xx, square.sqrt() / self.xx);
            [middle - half, middle + half]
        })
    }

    /// Between which columns the pixels of the row at `dy` touch the ellipse, and between which they lie within it.
    pub(super) fn row(&self, dy: f64) -> (Point, Point) {
        let chords = [self.chord(dy - 0.5), self.chord(dy + 0.5)];
        let empty = [f64::INFINITY, f64::NEG_INFINITY];
        let mut outer = chords.iter().flatten().fold(empty, |outer, chord| {
            [outer[0].min(chord[0]), outer[1].max(chord[1])]
        });
        // The rightmost point; the leftmost one is opposite to it.
        let [x, y] = [self.reach[0], -self.xy / (self.determinant * self.reach[0])];
        if (y - dy).abs() <= 0.5 {
            outer[1] = x;
        }
        if (y + dy).abs() <= 0.5 {
            outer[0] = -x;
        }
        let inner = match chords {
            [Some(a), Some(b)] => [a[0].max(b[0]), a[1].min(b[1])],
            _ => empty,
        };
        (outer, inner)
    }

    fn map(&self, p: Point) -> Point {
        let [u, v] = &self.to_circle;
        [u[0] * p[0] + u[1] * p[1], v[0] * p[0] + v[1] * p[1]]
    }

    /// Area of the pixel around `(dx, dy)` that lies in the ellipse.
    pub(super) fn overlap(&self, dx: f64, dy: f64) -> f64 {
        let centre = self.map([dx, dy]);
        let q = centre[0] * centre[0] + centre[1] * centre[1];
        let (inner, outer) = (1.0 - self.half_diagonal, 1.0 + self.half_diagonal);
        if q >= outer * outer {
            return 0.0;
        }
        if inner > 0.0 && q <= inner * inner {
            return 1.0;
        }
        let corner = |x: f64, y: f64| self.map([dx + x, dy + y]);
        let corners = [
            corner(-0.5, -0.5),
            corner(0.5, -0.5),
            corner(0.5, 0.5),
            corner(-0.5, 0.5),
        ];
        let [a, b, c, d] = [0, 1, 2, 3].map(|k| (corners[k], dot(corners[k], corners[k])));
        let mut shared = Shared::default();
        for (p, q) in [(a, b), (b, c), (c, d), (d, a)] {
            shared.add_edge(p, q);
        }
        let holds_centre = dx.abs() <= 0.5 && dy.abs() <= 0.5;
        let area = shared.area(holds_centre) * self.scale;
        // Not a number for an ellipse that is none.
        if area > 0.0 { area.min(1.0) } else { 0.0 }
    }
}

fn cross(p: Point, q: Point) -> f64 {
    p[0] * q[1] - p[1] * q[0]
}

fn dot(p: Point, q: Point) -> f64 {
    p[0] * q[0] + p[1] * q[1]
}

/// What a polygon, edge by edge counter-clockwise, shares with the unit circle: triangles `(0, p, q)` where its edges
/// run within the circle, sectors where they run outside.
struct Shared {
    /// Twice the area of the triangles.
    triangles: f64,
    /// Product of complex numbers whose arguments are the angles of the sectors.
    turn: Point,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            triangles: 0.0,
            turn: [1.0, 0.0],
        }
    }
}

impl Shared {
    fn add_sector(&mut self, p: Point, q: Point) {
        let [re, im] = self.turn;
        let (d, c) = (dot(p, q), cross(p, q));
        self.turn = [re * d - im * c, re * c + im * d];
    }

    /// Add the edge from `p` to `q`, each with the square of its distance from the centre.
    fn add_edge(&mut self, (p, pp): (Point, f64), (q, qq): (Point, f64)) {
        if pp <= 1.0 && qq <= 1.0 {
            self.triangles += cross(p, q);
            return;
        }
        let d = [q[0] - p[0], q[1] - p[1]];
        let (dd, pd) = (dot(d, d), dot(p, d));
        let discriminant = pd * pd - dd * (pp - 1.0);
        let is_nearest_at_end = pd >= 0.0 || -pd >= dd;
        if discriminant <= 0.0 || (pp > 1.0 && qq > 1.0 && is_nearest_at_end) {
            self.add_sector(p, q);
            return;
        }
        let root = discriminant.sqrt();
        let at = |t: f64| [p[0] + t * d[0], p[1] + t * d[1]];
        let (mut from, mut to) = (p, q);
        if pp > 1.0 {
            from = at((-pd - root) / dd);
            self.add_sector(p, from);
        }
        if qq > 1.0 {
            to = at((-pd + root) / dd);
            self.add_sector(to, q);
        }
        self.triangles += cross(from, to);
    }

    /// The area. Sectors around the centre turn by up to a full circle, others by less than half of one.
    fn area(&self, holds_centre: bool) -> f64 {
        let mut turn = angle(self.turn[1], self.turn[0]);
        if holds_centre && (turn < 0.0 || self.triangles == 0.0) {
            turn += 2.0 * std::f64::consts::PI;
        }
        0.5 * (self.triangles + turn)
    }
}

/// `c.atan2(d)`, quickly for the small angles that pixels span: the half angle's series, whose next term is below 1e-17.
fn angle(c: f64, d: f64) -> f64 {
    if 2.0 * c.abs() >= d {
        return c.atan2(d);
    }
    let t = c / d;
    let half = t / (1.0 + (1.0 + t * t).sqrt());
    let square = -half * half;
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    2.0 * half * series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(a: f64, b: f64, theta: f64, dx: f64, dy: f64) -> f64 {
        let outline = Outline::new(a, b, theta);
        (-40..=40)
            .flat_map(|y| (-40..=40).map(move |x| (x, y)))
            .map(|(x, y)| outline.overlap(f64::from(x) - dx, f64::from(y) - dy))
            .sum()
    }

    #[test]
    fn the_overlaps_add_up_to_the_area_of_the_ellipse() {
        for (a, b, theta) in [
            (0.2, 0.1, 0.3),
            (1.0, 1.0, 0.0),
            (5.0, 2.0, 1.1),
            (33.0, 0.3, -0.7),
            (20.0, 19.0, 3.0),
        ] {
            let expected = std::f64::consts::PI * a * b;
            let found = total(a, b, theta, 0.37, -0.21);
            assert!(
                (found / expected - 1.0).abs() < 1e-11,
                "{a} {b} {theta}: {found} {expected}"
            );
        }
    }

    #[test]
    fn small_angles_are_those_of_atan2() {
        for i in -120..=120 {
            let (c, d) = (f64::from(i) * 0.005, 1.1);
            assert!((angle(c, d) - c.atan2(d)).abs() < 3e-16, "{c}");
        }
    }

    #[test]
    fn a_half_plane_cuts_a_pixel_in_half() {
        let outline = Outline::new(1e7, 1e7, 0.0);
        assert!((outline.overlap(1e7, 0.0) - 0.5).abs() < 1e-6);
    }
}
