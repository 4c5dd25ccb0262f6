//! The SIP distortion polynomial.

use ndarray::ArrayView2;

use super::WcsError;

/// Highest number of coefficients per axis: order 9 and the constant.
pub const MAX_COEFFICIENTS: usize = 10;

/// `[p][q]` multiplies `u^p v^q`.
type Coefficients = [[f64; MAX_COEFFICIENTS]; MAX_COEFFICIENTS];

/// Coefficients of the powers of `u` for one `v`; a row of an image shares them.
#[derive(Clone, Debug)]
pub struct RowPolynomial {
    origin: f64,
    order: usize,
    a: [f64; MAX_COEFFICIENTS],
    b: [f64; MAX_COEFFICIENTS],
}

impl RowPolynomial {
    /// The shifts `f` and `g` [pix] at the columns `x`.
    #[inline(always)]
    #[must_use]
    pub fn shift<const N: usize>(&self, x: &[f64; N]) -> [[f64; N]; 2] {
        let (mut f, mut g) = ([0.0; N], [0.0; N]);
        for (a, b) in self.a[..=self.order]
            .iter()
            .zip(&self.b[..=self.order])
            .rev()
        {
            for l in 0..N {
                let u = x[l] - self.origin;
                f[l] = f[l] * u + a;
                g[l] = g[l] * u + b;
            }
        }
        [f, g]
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
    a: Coefficients,
    b: Coefficients,
}

fn fill(name: &'static str, given: &ArrayView2<'_, f64>) -> Result<Coefficients, WcsError> {
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
    for (p, (to, from)) in filled.iter_mut().zip(given.rows()).enumerate() {
        // Terms beyond the order, p + q > ORDER, are no part of the polynomial.
        for (to, from) in to.iter_mut().zip(from).take(rows - p) {
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
        let collapse = |table: &Coefficients| {
            table.map(|powers| {
                powers
                    .iter()
                    .take(self.order + 1)
                    .rev()
                    .fold(0.0, |sum, c| sum * v + c)
            })
        };
        RowPolynomial {
            origin: self.origin[0],
            order: self.order,
            a: collapse(&self.a),
            b: collapse(&self.b),
        }
    }

    /// The shifts `f` and `g` [pix] at pixels.
    #[inline(always)]
    #[must_use]
    pub fn shift<const N: usize>(&self, x: &[f64; N], y: &[f64; N]) -> [[f64; N]; 2] {
        let (mut f, mut g) = ([0.0; N], [0.0; N]);
        for p in (0..=self.order).rev() {
            let (mut a, mut b) = ([0.0; N], [0.0; N]);
            let q = 0..=self.order - p;
            for (c, d) in self.a[p][q.clone()].iter().zip(&self.b[p][q]).rev() {
                for l in 0..N {
                    let v = y[l] - self.origin[1];
                    a[l] = a[l] * v + c;
                    b[l] = b[l] * v + d;
                }
            }
            for l in 0..N {
                let u = x[l] - self.origin[0];
                f[l] = f[l] * u + a[l];
                g[l] = g[l] * u + b[l];
            }
        }
        [f, g]
    }

    /// Derivatives of the shifts: `[[df/dx, df/dy], [dg/dx, dg/dy]]`.
    #[inline(always)]
    #[must_use]
    pub fn gradient<const N: usize>(&self, x: &[f64; N], y: &[f64; N]) -> [[[f64; N]; 2]; 2] {
        [&self.a, &self.b].map(|table| {
            let (mut value, mut du, mut dv) = ([0.0; N], [0.0; N], [0.0; N]);
            for p in (0..=self.order).rev() {
                let (mut c, mut dc) = ([0.0; N], [0.0; N]);
                for coefficient in table[p][..=self.order - p].iter().rev() {
                    for l in 0..N {
                        let v = y[l] - self.origin[1];
                        dc[l] = dc[l] * v + c[l];
                        c[l] = c[l] * v + coefficient;
                    }
                }
                for l in 0..N {
                    let u = x[l] - self.origin[0];
                    du[l] = du[l] * u + value[l];
                    value[l] = value[l] * u + c[l];
                    dv[l] = dv[l] * u + dc[l];
                }
            }
            [du, dv]
        })
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
    fn the_shift_is_the_sum_of_its_terms_also_along_a_row() {
        let (x, y) = ([12.0, 700.0], 900.5);
        let along = sip().row(y).shift(&x);
        let at = sip().shift(&x, &[y; 2]);
        for l in 0..2 {
            let (u, v): (f64, f64) = (x[l] - 506.0, y - 507.0);
            let f = 1e-6 * v * v + 8e-6 * u * v - 3e-5 * u * u;
            let g = 2e-5 * v * v - 5e-6 * u * v + 4e-6 * u * u;
            for [a, b] in [along, at] {
                assert!((a[l] - f).abs() < 1e-12 && (b[l] - g).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_shift() {
        let (x, y, h) = (12.0, 900.5, 0.5);
        let found = sip().gradient(&[x], &[y]);
        for (k, [in_x, in_y]) in found.iter().enumerate() {
            // Central differences of a quadratic are exact.
            let dx = sip().shift(&[x + h], &[y])[k][0] - sip().shift(&[x - h], &[y])[k][0];
            let dy = sip().shift(&[x], &[y + h])[k][0] - sip().shift(&[x], &[y - h])[k][0];
            assert!((in_x[0] - dx).abs() < 1e-12 && (in_y[0] - dy).abs() < 1e-12);
        }
    }

    #[test]
    fn terms_beyond_the_order_do_not_count() {
        let a = array![[0.0, 0.0, 1e-6], [0.0, 8e-6, 5.0], [-3e-5, 5.0, 5.0]];
        let with = Sip::new(&a.view(), &a.view(), [0.0; 2]).unwrap();
        assert!((with.shift(&[1.0], &[1.0])[0][0] + 2.1e-5).abs() < 1e-18);
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
