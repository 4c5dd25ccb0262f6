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

    fn map(&self, p: Point) -> Point {
        self.to_circle.map(|row| row[0] * p[0] + row[1] * p[1])
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
        let area: f64 = (0..4)
            .map(|i| wedge(corners[i], corners[(i + 1) % 4]))
            .sum();
        (area.abs() * self.scale).min(1.0)
    }
}

fn cross(p: Point, q: Point) -> f64 {
    p[0] * q[1] - p[1] * q[0]
}

fn dot(p: Point, q: Point) -> f64 {
    p[0] * q[0] + p[1] * q[1]
}

/// Signed area of the sector of the unit circle between two directions.
fn sector(p: Point, q: Point) -> f64 {
    0.5 * angle(cross(p, q), dot(p, q))
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

/// Signed area of the triangle `(0, p, q)` within the unit circle; summed over the edges of a polygon this is the area
/// that the polygon shares with the circle.
fn wedge(p: Point, q: Point) -> f64 {
    let d = [q[0] - p[0], q[1] - p[1]];
    let (dd, pd) = (dot(d, d), dot(p, d));
    let discriminant = pd * pd - dd * (dot(p, p) - 1.0);
    if discriminant <= 0.0 {
        return sector(p, q);
    }
    let root = discriminant.sqrt();
    let (enter, leave) = ((-pd - root) / dd, (-pd + root) / dd);
    if leave <= 0.0 || enter >= 1.0 {
        return sector(p, q);
    }
    let at = |t: f64| [p[0] + t * d[0], p[1] + t * d[1]];
    let (mut area, mut from, mut to) = (0.0, p, q);
    if enter > 0.0 {
        from = at(enter);
        area += sector(p, from);
    }
    if leave < 1.0 {
        to = at(leave);
        area += sector(to, q);
    }
    area + 0.5 * cross(from, to)
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
