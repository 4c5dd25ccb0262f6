//! The SIP distortion polynomial.

use ndarray::ArrayView2;

use super::WcsError;

/// Highest number of coefficients per axis: order 9 and the constant.
pub const MAX_COEFFICIENTS: usize = 10;

/// Coefficients of the powers of `u` for one `v`; a row of an image shares them.
#[derive(Clone, Debug)]
pub struct RowPolynomial {
    order: usize,
    a: [f64; MAX_COEFFICIENTS],
    b: [f64; MAX_COEFFICIENTS],
}

impl RowPolynomial {
    /// The shift `(f, g)` [pix] at `u`.
    #[inline]
    #[must_use]
    pub fn shift(&self, u: f64) -> (f64, f64) {
        let (mut f, mut g) = (0.0, 0.0);
        for (a, b) in self.a.iter().zip(&self.b).take(self.order + 1).rev() {
            f = f * u + a;
            g = g * u + b;
        }
        (f, g)
    }
}

/// The SIP polynomial: pixel offsets `(u, v)` from its origin become `(u + f, v + g)`.
///
/// # Source
/// Shupe et al. 2005, ADASS XIV, ASP 347, 491, equations 2 and 3: `f = sum A_pq u^p v^q`, `g = sum B_pq u^p v^q`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sip {
    /// 0-based pixel to which `u, v` refer.
    origin: [f64; 2],
    order: usize,
    a: [[f64; MAX_COEFFICIENTS]; MAX_COEFFICIENTS],
    b: [[f64; MAX_COEFFICIENTS]; MAX_COEFFICIENTS],
}

fn fill(
    name: &'static str,
    given: &ArrayView2<'_, f64>,
) -> Result<[[f64; MAX_COEFFICIENTS]; MAX_COEFFICIENTS], WcsError> {
    let (rows, columns) = given.dim();
    if rows != columns || rows == 0 || rows > MAX_COEFFICIENTS {
        return Err(WcsError::SipShape {
            name,
            shape: [rows, columns],
            most: MAX_COEFFICIENTS,
        });
    }
    if !given.iter().all(|c| c.is_finite()) {
        return Err(WcsError::NotFinite { name });
    }
    let mut filled = [[0.0; MAX_COEFFICIENTS]; MAX_COEFFICIENTS];
    for (to, from) in filled.iter_mut().zip(given.rows()) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
    Ok(filled)
}

impl Sip {
    /// From the coefficients `A[p, q]`, `B[p, q]` and the 0-based origin.
    ///
    /// # Errors
    /// [`WcsError::SipShape`] or [`WcsError::NotFinite`].
    pub fn new(
        a: &ArrayView2<'_, f64>,
        b: &ArrayView2<'_, f64>,
        origin: [f64; 2],
    ) -> Result<Self, WcsError> {
        if !origin.iter().all(|c| c.is_finite()) {
            return Err(WcsError::NotFinite { name: "sip_crpix" });
        }
        let order = a.nrows().max(b.nrows()).saturating_sub(1);
        Ok(Self {
            origin,
            order,
            a: fill("sip_a", a)?,
            b: fill("sip_b", b)?,
        })
    }

    /// The polynomial along the row `y`.
    #[must_use]
    pub fn row(&self, y: f64) -> RowPolynomial {
        let v = y - self.origin[1];
        let collapse = |table: &[[f64; MAX_COEFFICIENTS]; MAX_COEFFICIENTS]| {
            table.map(|powers| {
                powers
                    .iter()
                    .take(self.order + 1)
                    .rev()
                    .fold(0.0, |sum, c| sum * v + c)
            })
        };
        RowPolynomial {
            order: self.order,
            a: collapse(&self.a),
            b: collapse(&self.b),
        }
    }

    /// `u` of the column `x`.
    #[inline]
    #[must_use]
    pub fn u(&self, x: f64) -> f64 {
        x - self.origin[0]
    }

    /// Distorted pixel to undistorted pixel.
    #[must_use]
    pub fn forward(&self, x: f64, y: f64) -> (f64, f64) {
        let (f, g) = self.row(y).shift(self.u(x));
        (x + f, y + g)
    }

    /// Undistorted pixel to distorted pixel, by Newton's iteration on the forward polynomial; NaN where that does not
    /// converge. The inverse polynomials AP, BP of a header are approximate and not used.
    #[must_use]
    pub fn inverse(&self, x: f64, y: f64) -> (f64, f64) {
        const MOST_ITERATIONS: usize = 30;
        const CONVERGED_PIX: f64 = 1e-11;
        let (mut px, mut py) = (x, y);
        for _ in 0..MOST_ITERATIONS {
            let (fx, fy) = self.forward(px, py);
            let (ex, ey) = (fx - x, fy - y);
            let [[xx, xy], [yx, yy]] = self.jacobian(px, py);
            let det = xx * yy - xy * yx;
            let (dx, dy) = ((yy * ex - xy * ey) / det, (xx * ey - yx * ex) / det);
            px -= dx;
            py -= dy;
            if dx.abs().max(dy.abs()) <= CONVERGED_PIX * (1.0 + 0.01 * px.abs().max(py.abs())) {
                return (px, py);
            }
        }
        (f64::NAN, f64::NAN)
    }

    /// Derivatives of the forward map.
    fn jacobian(&self, x: f64, y: f64) -> [[f64; 2]; 2] {
        let (u, v) = (x - self.origin[0], y - self.origin[1]);
        let gradient = |table: &[[f64; MAX_COEFFICIENTS]; MAX_COEFFICIENTS]| {
            let (mut du, mut dv, mut value) = (0.0, 0.0, 0.0);
            for powers in table.iter().take(self.order + 1).rev() {
                let (mut c, mut dc) = (0.0, 0.0);
                for p in powers.iter().take(self.order + 1).rev() {
                    dc = dc * v + c;
                    c = c * v + p;
                }
                du = du * u + value;
                value = value * u + c;
                dv = dv * u + dc;
            }
            (du, dv)
        };
        let ((fu, fv), (gu, gv)) = (gradient(&self.a), gradient(&self.b));
        [[1.0 + fu, fv], [gu, 1.0 + gv]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn sip() -> Sip {
        let a = array![[0.0, 0.0, 1e-6], [0.0, 8e-6, 0.0], [-3e-5, 0.0, 0.0]];
        let b = array![[0.0, 0.0, 2e-5], [0.0, -5e-6, 0.0], [4e-6, 0.0, 0.0]];
        Sip::new(&a.view(), &b.view(), [506.0, 507.0]).unwrap()
    }

    #[test]
    fn forward_is_the_sum_of_its_terms() {
        let (x, y) = (12.0, 900.5);
        let (u, v): (f64, f64) = (x - 506.0, y - 507.0);
        let (fx, fy) = sip().forward(x, y);
        assert!((fx - (x + 1e-6 * v * v + 8e-6 * u * v - 3e-5 * u * u)).abs() < 1e-12);
        assert!((fy - (y + 2e-5 * v * v - 5e-6 * u * v + 4e-6 * u * u)).abs() < 1e-12);
    }

    #[test]
    fn inverse_undoes_forward() {
        for (x, y) in [(0.0, 0.0), (1013.0, 0.0), (-50.0, 1100.0), (506.0, 507.0)] {
            let (fx, fy) = sip().forward(x, y);
            let (bx, by) = sip().inverse(fx, fy);
            assert!((bx - x).abs() < 1e-11 && (by - y).abs() < 1e-11);
        }
    }

    #[test]
    fn coefficients_must_be_square() {
        let wrong = array![[0.0, 1.0]];
        let right = array![[0.0]];
        assert!(matches!(
            Sip::new(&wrong.view(), &right.view(), [0.0; 2]),
            Err(WcsError::SipShape { .. })
        ));
    }
}
