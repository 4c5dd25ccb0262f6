//! Flux-weighted moments of a segment and their ellipse.

use std::f64::consts::FRAC_PI_4;

use super::lattice::snapped;

/// Variance of a uniform pixel [pix^2]: what a source of one pixel has along each axis.
const PIXEL_VARIANCE: f64 = 1.0 / 12.0;

/// Centre, second moments and ellipse of a source [pix]; the ellipse has one standard deviation along its axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ellipse {
    /// Flux-weighted mean column.
    pub x: f64,
    /// Flux-weighted mean row.
    pub y: f64,
    /// Variance along x.
    pub x2: f64,
    /// Variance along y.
    pub y2: f64,
    /// Covariance.
    pub xy: f64,
    /// Standard deviation along the major axis.
    pub a: f64,
    /// Standard deviation along the minor axis.
    pub b: f64,
    /// Angle of the major axis, from x towards y, in (-pi/2, pi/2] [rad].
    pub theta: f64,
}

impl Ellipse {
    /// The ellipse of pixels `(x, y, value)`. When the values do not weigh (their sum or a variance is not positive),
    /// all pixels count the same. None without pixels.
    ///
    /// # Source
    /// Bertin & Arnouts 1996 and the `SExtractor` manual, eqs. for `X2`, `Y2`, `XY`, `A`, `B`, `THETA`: a source thinner
    /// than a pixel gets the variance of a pixel on top.
    pub(super) fn of(pixels: impl Iterator<Item = (usize, usize, f32)> + Clone) -> Option<Self> {
        weighted(pixels.clone().map(|(x, y, v)| (x, y, f64::from(v))))
            .or_else(|| weighted(pixels.map(|(x, y, _)| (x, y, 1.0))))
    }

    /// This ellipse seen from another centre: second moments about `(x, y)`.
    ///
    /// # Source
    /// The parallel axis theorem.
    #[must_use]
    pub(super) fn about(&self, x: f64, y: f64) -> Self {
        let (dx, dy) = (self.x - x, self.y - y);
        Self::from_moments(
            x,
            y,
            self.x2 + dx * dx,
            self.y2 + dy * dy,
            self.xy + dx * dy,
        )
    }

    /// The ellipse with given centre and axes.
    #[must_use]
    pub fn with_axes(x: f64, y: f64, a: f64, b: f64, theta: f64) -> Self {
        let (sin, cos) = theta.sin_cos();
        let (a2, b2) = (a * a, b * b);
        Self {
            x,
            y,
            x2: a2 * cos * cos + b2 * sin * sin,
            y2: a2 * sin * sin + b2 * cos * cos,
            xy: (a2 - b2) * sin * cos,
            a,
            b,
            theta,
        }
    }

    fn from_moments(x: f64, y: f64, x2: f64, y2: f64, xy: f64) -> Self {
        let is_thin = x2 * y2 - xy * xy < PIXEL_VARIANCE * PIXEL_VARIANCE;
        let extra = if is_thin { PIXEL_VARIANCE } else { 0.0 };
        let (x2, y2) = (x2 + extra, y2 + extra);
        let difference = x2 - y2;
        let theta = if difference == 0.0 && xy == 0.0 {
            FRAC_PI_4
        } else {
            0.5 * (2.0 * xy).atan2(difference)
        };
        let mean = 0.5 * (x2 + y2);
        let spread = (0.25 * difference * difference + xy * xy).sqrt();
        // Of the two roots of the characteristic equation the smaller one would lose its digits in a difference.
        let major = mean + spread;
        Self {
            x,
            y,
            x2,
            y2,
            xy,
            a: major.sqrt(),
            b: ((x2 * y2 - xy * xy) / major).sqrt(),
            theta,
        }
    }

    /// Square of the elliptical radius of an offset, in units of the ellipse.
    pub(super) fn radius_squared(&self, dx: f64, dy: f64) -> f64 {
        (self.y2 * dx * dx + self.x2 * dy * dy - 2.0 * self.xy * dx * dy)
            / (self.x2 * self.y2 - self.xy * self.xy)
    }
}

fn weighted(pixels: impl Iterator<Item = (usize, usize, f64)>) -> Option<Ellipse> {
    let mut pixels = pixels.filter(|(_, _, v)| v.is_finite()).peekable();
    // Coordinates relative to the first pixel keep the second moments exact far from the origin.
    let &(x0, y0, _) = pixels.peek()?;
    let (x0, y0) = (x0 as f64, y0 as f64);
    let mut sum = [0.0; 6];
    for (x, y, v) in pixels {
        let (dx, dy) = (x as f64 - x0, y as f64 - y0);
        for (s, term) in sum.iter_mut().zip([1.0, dx, dy, dx * dx, dy * dy, dx * dy]) {
            *s += v * term;
        }
    }
    if sum[0] <= 0.0 {
        return None;
    }
    let [_, mx, my, mxx, myy, mxy] = sum.map(|s| s / sum[0]);
    let (x2, y2, xy) = (mxx - mx * mx, myy - my * my, mxy - mx * my);
    let rounding = -1e-9;
    if x2 < rounding || y2 < rounding || x2 * y2 - xy * xy < rounding {
        return None;
    }
    Some(Ellipse::from_moments(
        x0 + snapped(mx),
        y0 + snapped(my),
        x2.max(0.0),
        y2.max(0.0),
        xy,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_pixel_has_the_size_of_a_pixel() {
        let e = Ellipse::of([(5, 7, 3.0)].into_iter()).unwrap();
        assert_eq!((e.x, e.y), (5.0, 7.0));
        assert!((e.a - PIXEL_VARIANCE.sqrt()).abs() < 1e-12 && (e.b - e.a).abs() < 1e-12);
    }

    #[test]
    fn a_tilted_gaussian_gives_its_ellipse() {
        let (a, b, theta) = (4.0, 2.0, 0.6_f64);
        let pixels = (0..61)
            .flat_map(|y| (0..61).map(move |x| (x, y)))
            .map(move |(x, y)| {
                let (dx, dy) = (x as f64 - 30.3, y as f64 - 29.8);
                let u = (dx * theta.cos() + dy * theta.sin()) / a;
                let v = (-dx * theta.sin() + dy * theta.cos()) / b;
                (x, y, (-0.5 * (u * u + v * v)).exp() as f32)
            });
        let e = Ellipse::of(pixels).unwrap();
        assert!((e.x - 30.3).abs() < 1e-3 && (e.y - 29.8).abs() < 1e-3);
        assert!((e.a - a).abs() < 1e-3 && (e.b - b).abs() < 1e-3 && (e.theta - theta).abs() < 1e-3);
        assert!((e.radius_squared(a * theta.cos(), a * theta.sin()) - 1.0).abs() < 1e-2);
    }

    #[test]
    fn negative_pixels_fall_back_to_the_shape_of_the_segment() {
        let e = Ellipse::of([(0, 0, -1.0), (2, 0, -3.0)].into_iter()).unwrap();
        assert_eq!((e.x, e.y), (1.0, 0.0));
    }
}
