//! The gnomonic (TAN) projection.

/// The plane that touches the sky at one point, with axes to the east and to the north.
///
/// # Source
/// Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3, written with unit vectors: a point `(xi, eta)` of the
/// plane is the direction `r + xi e + eta n`.
#[derive(Clone, Debug, PartialEq)]
pub struct TangentPlane {
    /// Unit vectors to the tangent point, to the east and to the north.
    basis: [[f64; 3]; 3],
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

impl TangentPlane {
    /// The plane that touches the sky at `ra, dec` [deg].
    #[must_use]
    pub fn new(ra: f64, dec: f64) -> Self {
        let (sin_a, cos_a) = ra.to_radians().sin_cos();
        let (sin_d, cos_d) = dec.to_radians().sin_cos();
        Self {
            basis: [
                [cos_d * cos_a, cos_d * sin_a, sin_d],
                [-sin_a, cos_a, 0.0],
                [-sin_d * cos_a, -sin_d * sin_a, cos_d],
            ],
        }
    }

    /// `ra, dec` [deg] of a point of the plane [deg], with `ra` in [0, 360).
    #[must_use]
    pub fn sky(&self, xi: f64, eta: f64) -> (f64, f64) {
        let [r, e, n] = self.basis;
        let (xi, eta) = (xi.to_radians(), eta.to_radians());
        let at = |k: usize| r[k] + xi * e[k] + eta * n[k];
        let (x, y, z) = (at(0), at(1), at(2));
        let ra = y.atan2(x).to_degrees().rem_euclid(360.0);
        (ra, z.atan2(x.hypot(y)).to_degrees())
    }

    /// The point of the plane [deg] for `ra, dec` [deg]; NaN for the far hemisphere.
    #[must_use]
    pub fn plane(&self, ra: f64, dec: f64) -> (f64, f64) {
        let (sin_a, cos_a) = ra.to_radians().sin_cos();
        let (sin_d, cos_d) = dec.to_radians().sin_cos();
        let v = [cos_d * cos_a, cos_d * sin_a, sin_d];
        let w = dot(v, self.basis[0]);
        if w > 0.0 {
            let scale = 1.0_f64.to_degrees() / w;
            (dot(v, self.basis[1]) * scale, dot(v, self.basis[2]) * scale)
        } else {
            (f64::NAN, f64::NAN)
        }
    }

    /// The projective map from this plane to another: `(xi', eta', 1) ~ M (xi, eta, 1)`, both in degrees.
    #[must_use]
    pub fn homography_to(&self, other: &Self) -> [[f64; 3]; 3] {
        let deg = 1.0_f64.to_degrees();
        let [r, e, n] = self.basis;
        let row =
            |b: [f64; 3], unit: f64| [dot(b, e) * unit, dot(b, n) * unit, dot(b, r) * unit * deg];
        let [r_to, e_to, n_to] = other.basis;
        [row(e_to, 1.0), row(n_to, 1.0), row(r_to, 1.0 / deg)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plane_undoes_sky_also_near_the_poles() {
        for (ra0, dec0) in [
            (10.0, -30.0),
            (359.9999, 89.9999),
            (0.0, 90.0),
            (123.0, -90.0),
            (0.0, 0.0),
        ] {
            let plane = TangentPlane::new(ra0, dec0);
            for (xi, eta) in [(0.0, 0.0), (0.1, -0.2), (-3.0, 1.0)] {
                let (ra, dec) = plane.sky(xi, eta);
                let (a, b) = plane.plane(ra, dec);
                assert!(
                    (a - xi).abs() < 1e-12 && (b - eta).abs() < 1e-12,
                    "{ra0} {dec0} {xi} {eta}: {a} {b}"
                );
            }
        }
    }

    #[test]
    fn the_far_hemisphere_is_nan() {
        assert!(TangentPlane::new(0.0, 0.0).plane(180.0, 0.0).0.is_nan());
    }

    #[test]
    fn homography_equals_the_way_over_the_sky() {
        let (a, b) = (
            TangentPlane::new(53.1, -27.8),
            TangentPlane::new(53.4, -27.5),
        );
        let m = a.homography_to(&b);
        let (xi, eta) = (0.02, -0.07);
        let h = m.map(|row| row[0] * xi + row[1] * eta + row[2]);
        let (ra, dec) = a.sky(xi, eta);
        let (u, v) = b.plane(ra, dec);
        assert!((h[0] / h[2] - u).abs() < 1e-13 && (h[1] / h[2] - v).abs() < 1e-13);
    }
}
