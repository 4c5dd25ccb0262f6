//! What all profiles have in common: ellipses, a size and one number for how steep they are.

use super::ProfileError;
use super::moffat::MoffatRadial;
use super::sersic::{Sersic, SersicRadial};
use crate::image::Plane;

/// Which formula a profile follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Sersic's, with its index.
    Sersic,
    /// Moffat's, with its exponent beta.
    Moffat,
}

impl Family {
    /// The family of a number: 0 for Sersic, 1 for Moffat.
    ///
    /// # Errors
    /// For others.
    pub fn of_number(number: f64) -> Result<Self, ProfileError> {
        if number == 0.0 {
            Ok(Self::Sersic)
        } else if number == 1.0 {
            Ok(Self::Moffat)
        } else {
            Err(ProfileError::Family(number))
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> f64 {
        match self {
            Self::Sersic => 0.0,
            Self::Moffat => 1.0,
        }
    }

    /// Least and largest index or exponent that can be drawn.
    pub(super) fn limits(self) -> (f64, f64) {
        match self {
            Self::Sersic => (0.1, 10.0),
            Self::Moffat => (1.1, 20.0),
        }
    }

    /// What index and exponent are counted from, so that their logarithms are smooth in the shape.
    fn zero(self) -> f64 {
        match self {
            Self::Sersic => 0.0,
            Self::Moffat => 1.0,
        }
    }

    /// The coordinate in which the index or exponent is tabulated and fitted: the logarithm above [`Self::zero`].
    pub(super) fn coordinate(self, n: f64) -> f64 {
        (n - self.zero()).ln()
    }

    /// The index or exponent of a coordinate.
    pub(super) fn of_coordinate(self, coordinate: f64) -> f64 {
        let (low, high) = self.limits();
        (self.zero() + coordinate.exp()).clamp(low, high)
    }

    /// Derivative of the index or exponent by the coordinate.
    pub(super) fn slope(self, n: f64) -> f64 {
        n - self.zero()
    }
}

/// An elliptical profile on pixels.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its formula.
    pub family: Family,
    /// Centre [pix].
    pub x: f64,
    /// Centre [pix].
    pub y: f64,
    /// All of its light, out to infinity.
    pub flux: f64,
    /// Semi-major axis of the ellipse that holds half of it [pix]; 0 for a point.
    pub r_e: f64,
    /// Index of a Sersic profile, exponent beta of a Moffat one.
    pub n: f64,
    /// Minor over major axis.
    pub q: f64,
    /// Angle of the major axis, from x towards y [rad].
    pub theta: f64,
}

impl From<Sersic> for Profile {
    fn from(one: Sersic) -> Self {
        Self {
            family: Family::Sersic,
            x: one.x,
            y: one.y,
            flux: one.flux,
            r_e: one.r_e,
            n: one.n,
            q: one.q,
            theta: one.theta,
        }
    }
}

impl Profile {
    /// A profile of a family with the parameters `(x, y, flux, r_e, n, q, theta)`.
    #[must_use]
    pub fn new(family: Family, [x, y, flux, r_e, n, q, theta]: [f64; 7]) -> Self {
        Self {
            family,
            x,
            y,
            flux,
            r_e,
            n,
            q,
            theta,
        }
    }

    /// The profiles of rows `(family, x, y, flux, r_e, n, q, theta)`.
    ///
    /// # Errors
    /// When a row has another length, or there is no such family.
    pub fn of_rows(rows: Plane<'_, f64>) -> Result<Vec<Self>, ProfileError> {
        let of_row = |row: &[f64]| match row {
            &[family, x, y, flux, r_e, n, q, theta] => Ok(Self::new(
                Family::of_number(family)?,
                [x, y, flux, r_e, n, q, theta],
            )),
            other => Err(ProfileError::Columns(other.len(), 8)),
        };
        rows.pixels().chunks(rows.shape().1).map(of_row).collect()
    }

    /// Its parameters.
    #[must_use]
    pub fn row(&self) -> [f64; 7] {
        [
            self.x, self.y, self.flux, self.r_e, self.n, self.q, self.theta,
        ]
    }

    /// Surface brightness at the half-light radius; NaN for a point.
    #[must_use]
    pub fn intensity(&self) -> f64 {
        if self.r_e > 0.0 {
            self.flux / self.q * Radial::of(self).value(self.r_e)
        } else {
            f64::NAN
        }
    }

    /// Semi-major axis of the ellipse that holds a part of the light.
    pub(super) fn radius(&self, part: f64) -> f64 {
        const STEPS: usize = 60;
        if self.r_e == 0.0 {
            return 0.0;
        }
        let radial = Radial::of(self);
        let (mut low, mut high) = (0.0, self.r_e);
        while radial.within(high) < part && high < 1e12 * self.r_e {
            (low, high) = (high, 2.0 * high);
        }
        for _ in 0..STEPS {
            let middle = 0.5 * (low + high);
            if radial.within(middle) < part {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }

    /// Check the parameters of the profile with this number.
    pub(super) fn check(&self, index: usize, may_be_point: bool) -> Result<(), ProfileError> {
        let finite = "finite";
        let (low, high) = self.family.limits();
        let (shape, rule) = match self.family {
            Family::Sersic => ("n", "between 0.1 and 10"),
            Family::Moffat => ("beta", "between 1.1 and 20"),
        };
        let rules = [
            ("x", self.x, self.x.is_finite(), finite),
            ("y", self.y, self.y.is_finite(), finite),
            ("flux", self.flux, self.flux.is_finite(), finite),
            ("theta", self.theta, self.theta.is_finite(), finite),
            (
                "r_e",
                self.r_e,
                (self.r_e > 0.0 || (may_be_point && self.r_e == 0.0)) && self.r_e.is_finite(),
                "positive",
            ),
            (shape, self.n, (low..=high).contains(&self.n), rule),
            (
                "q",
                self.q,
                self.q > 0.0 && self.q <= 1.0,
                "above 0 and at most 1",
            ),
        ];
        for (name, value, is_allowed, rule) in rules {
            if !is_allowed {
                return Err(ProfileError::Parameter {
                    name,
                    value,
                    index,
                    rule,
                });
            }
        }
        Ok(())
    }
}

/// Surface brightness at a radius, and the derivatives of its logarithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surface {
    pub value: f64,
    /// By index or exponent.
    pub by_n: f64,
    /// By the logarithm of the radius.
    pub by_ln_r: f64,
    /// By both.
    pub by_n_and_ln_r: f64,
}

/// A profile along its major axis, of unit flux in a circle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Radial {
    Sersic(SersicRadial),
    Moffat(MoffatRadial),
}

impl Radial {
    pub(super) fn of(profile: &Profile) -> Self {
        match profile.family {
            Family::Sersic => Self::Sersic(SersicRadial::new(profile.r_e, profile.n)),
            Family::Moffat => Self::Moffat(MoffatRadial::new(profile.r_e, profile.n)),
        }
    }

    /// Surface brightness at a radius.
    pub(super) fn value(&self, r: f64) -> f64 {
        match self {
            Self::Sersic(one) => one.value(r),
            Self::Moffat(one) => one.value(r),
        }
    }

    /// Surface brightness at a radius above 0, with its derivatives.
    pub(super) fn surface(&self, r: f64) -> Surface {
        match self {
            Self::Sersic(one) => one.surface(r),
            Self::Moffat(one) => one.surface(r),
        }
    }

    /// Light within a radius.
    pub(super) fn within(&self, r: f64) -> f64 {
        match self {
            Self::Sersic(one) => one.within(r),
            Self::Moffat(one) => one.within(r),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(family: Family, r_e: f64, n: f64) -> Profile {
        Profile::new(family, [0.0, 0.0, 1.0, r_e, n, 1.0, 0.0])
    }

    #[test]
    fn derivatives_are_differences() {
        for (family, r_e, n) in [
            (Family::Sersic, 2.0, 0.7),
            (Family::Sersic, 5.0, 4.0),
            (Family::Moffat, 2.0, 1.3),
            (Family::Moffat, 5.0, 4.5),
        ] {
            for r in [0.3, 2.0, 11.0] {
                let found = Radial::of(&profile(family, r_e, n)).surface(r);
                let ln =
                    |r_e: f64, n: f64, r: f64| Radial::of(&profile(family, r_e, n)).value(r).ln();
                let h = 1e-4;
                let slopes = [
                    (found.by_n, ln(r_e, n + h, r) - ln(r_e, n - h, r)),
                    (found.by_ln_r, (ln(r_e, n, r + h) - ln(r_e, n, r - h)) * r),
                ];
                let by_n = |r: f64| Radial::of(&profile(family, r_e, n)).surface(r).by_n;
                let both = (found.by_n_and_ln_r, (by_n(r + h) - by_n(r - h)) * r);
                for (slope, difference) in slopes.into_iter().chain([both]) {
                    let expected = difference / (2.0 * h);
                    assert!(
                        (slope - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                        "{family:?} {slope} {expected}"
                    );
                }
                assert!((found.value / ln(r_e, n, r).exp() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn light_within_a_radius_is_the_sum_of_the_surface() {
        for (family, n) in [
            (Family::Sersic, 0.5),
            (Family::Sersic, 1.0),
            (Family::Sersic, 4.0),
            (Family::Moffat, 1.2),
            (Family::Moffat, 3.0),
        ] {
            let radial = Radial::of(&profile(family, 2.0, n));
            let (steps, reach) = (200_000, 5.0);
            let step = reach / f64::from(steps);
            let sum: f64 = (0..steps)
                .map(|i| (f64::from(i) + 0.5) * step)
                .map(|r| 2.0 * std::f64::consts::PI * r * radial.value(r) * step)
                .sum();
            assert!((sum - radial.within(reach)).abs() < 1e-6, "{n} {sum}");
            assert!((radial.within(2.0) - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn radii_hold_the_part_that_is_asked() {
        for (family, n) in [(Family::Sersic, 4.0), (Family::Moffat, 2.5)] {
            let one = profile(family, 3.0, n);
            for part in [0.1, 0.5, 0.99] {
                let found = Radial::of(&one).within(one.radius(part));
                assert!((found - part).abs() < 1e-9, "{family:?} {part} {found}");
            }
        }
    }
}
