//! The distortion of a detector: what comes between its pixels and the linear part of a WCS.

use super::lookup::Table;
use super::sip::{RowPolynomial, Sip};

/// Look-up tables of the shifts in x and in y, where there are any.
pub type Tables = [Option<Table>; 2];

/// From distorted to undistorted pixels: the tables of D2IMFILE come first; at the pixel that they give, SIP and the
/// tables of NPOLFILE are taken, and both are added.
///
/// # Source
/// Hack et al. 2012, TSR 2012-01, "Distortion correction in HST FITS files", section 2; the order is astropy's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distortion {
    /// Detector to image (D2IM).
    pub detector: Tables,
    /// The polynomial.
    pub sip: Option<Sip>,
    /// What the polynomial leaves (NPOL, in headers CPDIS).
    pub residual: Tables,
}

/// A [`Distortion`] along one row of an image.
#[derive(Debug)]
pub enum Row<'a> {
    /// SIP and nothing else.
    Polynomial(f64, RowPolynomial),
    /// Anything else.
    Any(f64, &'a Distortion),
}

impl Row<'_> {
    /// Undistorted `x` and `y` of the columns `x`.
    #[inline(always)]
    #[must_use]
    pub fn undistorted<const N: usize>(&self, x: &[f64; N]) -> [[f64; N]; 2] {
        match self {
            Self::Polynomial(y, polynomial) => sums([x, &[*y; N]], &polynomial.shift(x)),
            Self::Any(y, distortion) => distortion.forward(x, &[*y; N]),
        }
    }
}

#[inline(always)]
fn sums<const N: usize>(at: [&[f64; N]; 2], shift: &[[f64; N]; 2]) -> [[f64; N]; 2] {
    let mut out = *shift;
    for k in 0..2 {
        for l in 0..N {
            out[k][l] += at[k][l];
        }
    }
    out
}

/// Positions with the shifts of tables.
#[inline(always)]
fn moved<const N: usize>(tables: &Tables, by: [[f64; N]; 2], at: [&[f64; N]; 2]) -> [[f64; N]; 2] {
    let mut out = by;
    for (to, table) in out.iter_mut().zip(tables) {
        if let Some(table) = table {
            table.add_to(to, at[0], at[1]);
        }
    }
    out
}

impl Distortion {
    /// Whether pixels stay where they are.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.sip.is_none() && !self.has_tables()
    }

    fn has_tables(&self) -> bool {
        self.detector
            .iter()
            .chain(&self.residual)
            .any(Option::is_some)
    }

    /// The distortion along the row `y`.
    #[must_use]
    pub fn row(&self, y: f64) -> Row<'_> {
        match &self.sip {
            Some(sip) if !self.has_tables() => Row::Polynomial(y, sip.row(y)),
            _ => Row::Any(y, self),
        }
    }

    /// Undistorted pixels of distorted ones.
    #[inline(always)]
    #[must_use]
    pub fn forward<const N: usize>(&self, x: &[f64; N], y: &[f64; N]) -> [[f64; N]; 2] {
        let [x, y] = &moved(&self.detector, [*x, *y], [x, y]);
        let corrected = match &self.sip {
            Some(sip) => sums([x, y], &sip.shift(x, y)),
            None => [*x, *y],
        };
        moved(&self.residual, corrected, [x, y])
    }

    /// Distorted pixels of undistorted ones, by Newton's iteration on the forward map with the derivatives of the
    /// polynomial; those of the tables are so small that it converges without them. NaN where it does not converge.
    ///
    /// The inverse polynomials AP, BP of a header are approximate and not used.
    #[inline(always)]
    #[must_use]
    pub fn inverse<const N: usize>(&self, x: &[f64; N], y: &[f64; N]) -> [[f64; N]; 2] {
        const MOST_ITERATIONS: usize = 30;
        const CONVERGED_PIX: f64 = 1e-11;
        let (mut px, mut py) = (*x, *y);
        let mut is_found = [false; N];
        for _ in 0..MOST_ITERATIONS {
            let [fx, fy] = self.forward(&px, &py);
            let [[fu, fv], [gu, gv]] = match &self.sip {
                Some(sip) => sip.gradient(&px, &py),
                None => [[[0.0; N]; 2]; 2],
            };
            for l in 0..N {
                let (ex, ey) = (fx[l] - x[l], fy[l] - y[l]);
                let (xx, yy) = (1.0 + fu[l], 1.0 + gv[l]);
                let per_det = 1.0 / (xx * yy - fv[l] * gu[l]);
                let dx = (yy * ex - fv[l] * ey) * per_det;
                let dy = (xx * ey - gu[l] * ex) * per_det;
                // What has converged stays, so that a result does not depend on its neighbours.
                px[l] -= if is_found[l] { 0.0 } else { dx };
                py[l] -= if is_found[l] { 0.0 } else { dy };
                let near = CONVERGED_PIX * (1.0 + 0.01 * px[l].abs().max(py[l].abs()));
                // Also where there is no position: NaN is not larger.
                is_found[l] |= !(dx.abs() > near || dy.abs() > near);
            }
            if is_found.iter().all(|found| *found) {
                break;
            }
        }
        for l in 0..N {
            if !(is_found[l] && px[l].is_finite() && py[l].is_finite()) {
                (px[l], py[l]) = (f64::NAN, f64::NAN);
            }
        }
        [px, py]
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

    fn table(cdelt: f64) -> Table {
        let values = array![[0.0_f32, 0.3, -0.2], [0.1, 0.2, -0.5], [-0.1, 0.4, 0.0]];
        Table::new(&values.view(), [1.0; 2], [1.0; 2], [cdelt; 2]).unwrap()
    }

    fn full() -> Distortion {
        Distortion {
            detector: [Some(table(512.0)), None],
            sip: Some(sip()),
            residual: [Some(table(300.0)), Some(table(256.0))],
        }
    }

    #[test]
    fn detector_tables_come_first_and_the_others_are_added_to_the_polynomial() {
        let (x, y) = ([100.0], [70.0]);
        let d = full();
        let mut px = x;
        table(512.0).add_to(&mut px, &x, &y);
        let [f, g] = sip().shift(&px, &y);
        let (mut wx, mut wy) = ([px[0] + f[0]], [y[0] + g[0]]);
        table(300.0).add_to(&mut wx, &px, &y);
        table(256.0).add_to(&mut wy, &px, &y);
        assert_eq!(d.forward(&x, &y), [wx, wy]);
    }

    #[test]
    fn inverse_undoes_forward_also_through_tables() {
        let polynomial = Distortion {
            sip: Some(sip()),
            ..Distortion::default()
        };
        let tables = Distortion {
            sip: None,
            ..full()
        };
        for d in [polynomial, tables, full(), Distortion::default()] {
            let (x, y) = ([0.0, 1013.0, -50.0, 506.0], [0.0, 0.0, 1100.0, 507.0]);
            let [fx, fy] = d.forward(&x, &y);
            let [bx, by] = d.inverse(&fx, &fy);
            for l in 0..4 {
                assert!((bx[l] - x[l]).abs() < 2e-10 && (by[l] - y[l]).abs() < 2e-10);
            }
        }
    }

    #[test]
    fn a_position_does_not_depend_on_its_neighbours() {
        let (x, y) = ([0.0, f64::NAN, -50.0, 1e7], [0.0, 3.0, 1100.0, 507.0]);
        let [fx, fy] = full().forward(&x, &y);
        let [bx, by] = full().inverse(&fx, &fy);
        for l in 0..4 {
            let alone = full().inverse(&[fx[l]], &[fy[l]]);
            assert_eq!(alone[0][0].to_bits(), bx[l].to_bits());
            assert_eq!(alone[1][0].to_bits(), by[l].to_bits());
        }
    }

    #[test]
    fn a_row_is_the_same_as_its_pixels() {
        let x = [3.0, 512.0, 900.0];
        let d = Distortion {
            sip: Some(sip()),
            ..Distortion::default()
        };
        let (along, each) = (d.row(333.0).undistorted(&x), d.forward(&x, &[333.0; 3]));
        for k in 0..2 {
            for l in 0..3 {
                assert!((along[k][l] - each[k][l]).abs() < 1e-12);
            }
        }
    }
}
