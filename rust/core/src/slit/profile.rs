//! How light spreads across the slit: a Gaussian integrated over pixels, or a table.

use ndarray::{Array3, ArrayView1, ArrayView2, ArrayView3};

use super::lanes::{LANES, Lane};
use super::{SlitError, check_order, check_shape};
use crate::math::normal::NormalIntegral;

/// Gaussians of which all pixels are farther away are not evaluated: the integral is 1/2 to 1e-12 there.
const REACH: f64 = 7.0;

/// A profile of unit integral, of the distance from the trace, the wavelength and the size of the source.
#[derive(Clone, Debug)]
pub enum Profile<'a> {
    /// A Gaussian of variance `(fwhm / fwhm_per_sigma)^2 + size^2`.
    Gaussian {
        /// Nodes of the PSF's width.
        wave: &'a [f64],
        /// Full width at half maximum at the nodes.
        fwhm: &'a [f64],
        /// Full width of a standard deviation.
        fwhm_per_sigma: f64,
        /// A second Gaussian: amplitude, width over that of the first, offset.
        wing: Option<[f64; 3]>,
    },
    /// Linear interpolation in a table.
    Table(Table<'a>),
}

/// Pixel-integrated profiles on a grid of distance, wavelength and size; 0 beyond the distances, the nearest node beyond
/// wavelengths and sizes.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// Profiles `[distance, wavelength, size]`.
    pub values: ArrayView3<'a, f64>,
    /// Nodes of the distance.
    pub y: &'a [f64],
    /// Nodes of the wavelength.
    pub wave: &'a [f64],
    /// Nodes of the size.
    pub size: &'a [f64],
}

/// A profile and its derivatives with the distance and the size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Value {
    pub p: f64,
    pub by_y: f64,
    pub by_size: f64,
}

/// The same of several pixels side by side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Values {
    pub p: Lane,
    pub by_y: Lane,
    pub by_size: Lane,
}

/// The interval of a value between nodes, looked for where the last one was, and where in it; ends hold.
fn place(nodes: &[f64], value: f64, last_found: &mut usize) -> (usize, f64) {
    let last = nodes.len() - 1;
    if last == 0 || value <= nodes[0] {
        return (0, 0.0);
    }
    let mut k = (*last_found).min(last - 1);
    if value < nodes[k] || (k < last - 1 && value >= nodes[k + 1]) {
        k = nodes.partition_point(|&n| n <= value).clamp(1, last) - 1;
        *last_found = k;
    }
    (k, ((value - nodes[k]) / (nodes[k + 1] - nodes[k])).min(1.0))
}

fn interpolate(nodes: &[f64], values: &[f64], at: f64, last_found: &mut usize) -> f64 {
    let (k, part) = place(nodes, at, last_found);
    if part == 0.0 {
        return values[k];
    }
    values[k] + part * (values[k + 1] - values[k])
}

/// A value, or 0.
#[inline(always)]
pub(super) fn unless(is_zero: bool, value: f64) -> f64 {
    if is_zero { 0.0 } else { value }
}

/// Gaussian of an inverse width integrated over a pixel at y, and its derivatives with y and the width.
///
/// There is no branch in it, so that loops over it use vector registers.
#[inline(always)]
fn gaussian(normal: &NormalIntegral, y: f64, inverse: f64) -> Value {
    let (low, high) = ((y - 0.5) * inverse, (y + 0.5) * inverse);
    let (left, at_low) = normal.with_density(low);
    let (right, at_high) = normal.with_density(high);
    Value {
        p: right - left,
        by_y: (at_high - at_low) * inverse,
        by_size: (low * at_low - high * at_high) * inverse,
    }
}

/// A Gaussian, with the one on top of it, for the variance of the PSF and the size of the source.
#[inline(always)]
fn with_wing(
    normal: &NormalIntegral,
    wing: Option<[f64; 3]>,
    key: f64,
    y: f64,
    size: f64,
) -> Value {
    let inverse = 1.0 / (key + size * size).sqrt();
    let mut value = gaussian(normal, y, inverse);
    let mut by_s = value.by_size;
    if let Some([amplitude, scale, offset]) = wing {
        let more = gaussian(normal, y + offset, inverse / scale);
        value.p += amplitude * more.p;
        value.by_y += amplitude * more.by_y;
        by_s += amplitude * scale * more.by_size;
    }
    value.by_size = by_s * size * inverse;
    value
}

/// The same side by side: a loop of its own, as closures are not compiled with the registers of their caller.
#[inline(always)]
fn all_with_wing(
    normal: &NormalIntegral,
    wing: Option<[f64; 3]>,
    key: &Lane,
    y: &Lane,
    size: f64,
) -> Values {
    let mut out = Values::default();
    for l in 0..LANES {
        let value = with_wing(normal, wing, key[l], y[l], size);
        out.p[l] = value.p;
        out.by_y[l] = value.by_y;
        out.by_size[l] = value.by_size;
    }
    out
}

impl Profile<'_> {
    /// Check the nodes.
    pub(super) fn check(&self) -> Result<(), SlitError> {
        match self {
            Self::Gaussian { wave, fwhm, .. } => {
                check_order("psf_wave", wave, 1)?;
                check_shape("psf_fwhm", &[fwhm.len()], &[wave.len()])
            }
            Self::Table(table) => {
                check_order("y", table.y, 2)?;
                check_order("wave", table.wave, 1)?;
                check_order("size", table.size, 1)?;
                let expected = [table.y.len(), table.wave.len(), table.size.len()];
                check_shape("values", table.values.shape(), &expected)
            }
        }
    }

    /// What a pixel of some wavelength needs to know: the variance of the PSF, or the place in the table. The place
    /// that was found last is where the next one is looked for.
    pub(super) fn key(&self, wavelength: f64, last_found: &mut usize) -> f64 {
        match self {
            Self::Gaussian {
                wave,
                fwhm,
                fwhm_per_sigma,
                ..
            } => (interpolate(wave, fwhm, wavelength, last_found) / fwhm_per_sigma).powi(2),
            Self::Table(table) => {
                let (k, part) = place(table.wave, wavelength, last_found);
                k as f64 + part
            }
        }
    }

    /// The profile at a distance from the trace.
    fn at(&self, key: f64, y: f64, size: f64) -> Value {
        match self {
            Self::Gaussian { wing, .. } => with_wing(NormalIntegral::shared(), *wing, key, y, size),
            Self::Table(table) => table.at(key, y, size),
        }
    }

    /// Profiles at distances from the trace, side by side; None where all are 0.
    #[inline(always)]
    pub(super) fn at_lane(
        &self,
        normal: &NormalIntegral,
        key: &Lane,
        y: &Lane,
        size: f64,
    ) -> Option<Values> {
        match self {
            Self::Gaussian { wing: None, .. } => {
                let mut is_lit = false;
                for l in 0..LANES {
                    let beyond = (y[l].abs() - 0.5).max(0.0);
                    let nearness = REACH * REACH * 1.001 * (key[l] + size * size) - beyond * beyond;
                    // A distance that is not a number has to be seen in the result.
                    is_lit |= nearness >= 0.0 || nearness.is_nan();
                }
                if !is_lit {
                    return None;
                }
                Some(all_with_wing(normal, None, key, y, size))
            }
            Self::Gaussian { wing, .. } => Some(all_with_wing(normal, *wing, key, y, size)),
            Self::Table(table) => {
                let mut out = Values::default();
                for l in 0..LANES {
                    let value = table.at(key[l], y[l], size);
                    out.p[l] = value.p;
                    out.by_y[l] = value.by_y;
                    out.by_size[l] = value.by_size;
                }
                Some(out)
            }
        }
    }
}

impl Table<'_> {
    fn at(&self, key: f64, y: f64, size: f64) -> Value {
        let last = self.y.len() - 1;
        if !(self.y[0]..=self.y[last]).contains(&y) {
            return Value::default();
        }
        let (i, fy) = place(self.y, y, &mut 0);
        let (j, fw) = (key as usize, key.fract());
        let (k, fs) = place(self.size, size, &mut 0);
        let j_next = (j + 1).min(self.wave.len() - 1);
        let k_next = (k + 1).min(self.size.len() - 1);
        let along = |i: usize, k: usize| {
            let (a, b) = (self.values[(i, j, k)], self.values[(i, j_next, k)]);
            a + fw * (b - a)
        };
        let corners = [
            along(i, k),
            along(i + 1, k),
            along(i, k_next),
            along(i + 1, k_next),
        ];
        let low = corners[0] + fs * (corners[2] - corners[0]);
        let high = corners[1] + fs * (corners[3] - corners[1]);
        let small = corners[0] + fy * (corners[1] - corners[0]);
        let large = corners[2] + fy * (corners[3] - corners[2]);
        let is_inside = k_next > k && (self.size[k]..=self.size[k_next]).contains(&size);
        Value {
            p: low + fy * (high - low),
            by_y: (high - low) / (self.y[i + 1] - self.y[i]),
            by_size: if is_inside {
                (large - small) / (self.size[k_next] - self.size[k])
            } else {
                0.0
            },
        }
    }
}

/// The profile in every pixel of frames: at row less trace; NaN where the wavelength is not finite.
///
/// # Errors
/// When shapes differ or nodes do not grow.
pub fn evaluate_profile(
    profile: &Profile,
    wavelength: ArrayView3<f64>,
    trace: ArrayView2<f64>,
    size: ArrayView1<f64>,
) -> Result<Array3<f64>, SlitError> {
    let (n, _, nx) = wavelength.dim();
    check_shape("trace", trace.shape(), &[n, nx])?;
    check_shape("size", size.shape(), &[n])?;
    profile.check()?;
    let mut last_found = 0;
    Ok(Array3::from_shape_fn(wavelength.dim(), |(i, y, x)| {
        let wave = wavelength[(i, y, x)];
        if wave.is_finite() {
            let from_trace = y as f64 - trace[(i, x)];
            let key = profile.key(wave, &mut last_found);
            profile.at(key, from_trace, size[i]).p
        } else {
            f64::NAN
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::widest::{Work, run_each};
    use ndarray::Array3;

    fn has_its_derivatives(profile: &Profile, key: f64, y: f64, size: f64) {
        let h = 1e-5;
        let value = profile.at(key, y, size);
        let by_y = (profile.at(key, y + h, size).p - profile.at(key, y - h, size).p) / (2.0 * h);
        let by_size = (profile.at(key, y, size + h).p - profile.at(key, y, size - h).p) / (2.0 * h);
        assert!((value.by_y - by_y).abs() < 1e-8, "{y} {value:?} {by_y}");
        assert!(
            (value.by_size - by_size).abs() < 1e-8,
            "{y} {value:?} {by_size}"
        );
    }

    #[derive(Clone, Copy)]
    struct Side<'a>(&'a Profile<'a>, Lane, Lane);

    impl Work for Side<'_> {
        type Output = Option<Values>;

        #[inline(always)]
        fn run(self) -> Self::Output {
            (self.0).at_lane(NormalIntegral::shared(), &self.1, &self.2, 0.6)
        }
    }

    #[test]
    fn pixels_side_by_side_have_the_bits_of_each_by_itself_with_every_kind_of_register() {
        for wing in [None, Some([0.3, 2.5, 0.2])] {
            let profile = Profile::Gaussian {
                wave: &[1.0, 5.0],
                fwhm: &[1.0, 2.0],
                fwhm_per_sigma: 2.35,
                wing,
            };
            let key: Lane = std::array::from_fn(|l| 0.2 + 0.05 * l as f64);
            for first in [-20.0, -9.3, -1.0, 3.0, 1e9] {
                let y: Lane = std::array::from_fn(|l| first + 0.31 * l as f64);
                for found in run_each(Side(&profile, key, y)) {
                    let found = found.unwrap_or_default();
                    for l in 0..LANES {
                        let alone = profile.at(key[l], y[l], 0.6);
                        let is_near = first > -9.0 && first < 9.0;
                        let same = |a: f64, b: f64| a == b || (!is_near && (a - b).abs() < 1e-10);
                        assert!(same(found.p[l], alone.p), "{}", y[l]);
                        assert!(same(found.by_y[l], alone.by_y), "{}", y[l]);
                        assert!(same(found.by_size[l], alone.by_size), "{}", y[l]);
                    }
                }
            }
            let missing = run_each(Side(&profile, key, [f64::NAN; LANES]));
            assert!(missing.iter().flatten().count() == missing.len());
        }
    }

    #[test]
    fn derivatives_are_differences_of_the_profile() {
        let wing = Some([0.3, 2.5, 0.2]);
        for wing in [None, wing] {
            let profile = Profile::Gaussian {
                wave: &[1.0, 5.0],
                fwhm: &[1.0, 2.0],
                fwhm_per_sigma: 2.35,
                wing,
            };
            let key = profile.key(2.0, &mut 0);
            assert!((key - (1.25_f64 / 2.35).powi(2)).abs() < 1e-15);
            for y in [-3.3, -0.7, 0.0, 0.41, 2.2] {
                has_its_derivatives(&profile, key, y, 0.6);
            }
            let whole: f64 = (-30..=30)
                .map(|k| profile.at(key, f64::from(k) + 0.3, 0.6).p)
                .sum();
            assert!((whole - wing.map_or(1.0, |w| 1.0 + w[0])).abs() < 1e-12);
        }
        let (y, wave, size) = ([-2.0, 0.0, 1.0, 3.0], [1.0, 2.0], [0.0, 0.5, 2.0]);
        let values = Array3::from_shape_fn((4, 2, 3), |(i, j, k)| {
            (i as f64 - 1.5).powi(2) + j as f64 * (1.0 + i as f64) + (k * k) as f64
        });
        let profile = Profile::Table(Table {
            values: values.view(),
            y: &y,
            wave: &wave,
            size: &size,
        });
        for at in [-1.3, 0.4, 2.2] {
            has_its_derivatives(&profile, profile.key(1.3, &mut 5), at, 0.8);
            has_its_derivatives(&profile, profile.key(7.0, &mut 0), at, 5.0);
        }
        assert_eq!(profile.at(0.0, 3.01, 0.5).p, 0.0);
    }
}
