//! How light spreads across the slit: a Gaussian integrated over pixels, or a table.

use ndarray::{Array3, ArrayView1, ArrayView2, ArrayView3};

use super::{SlitError, check_order, check_shape};
use crate::math::normal;

/// Beyond so many sigma a Gaussian has no light: its integral is 1/2 to 1e-12.
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

/// The interval of a value between nodes and where in it; ends hold.
fn place(nodes: &[f64], value: f64) -> (usize, f64) {
    let last = nodes.len() - 1;
    if last == 0 || value <= nodes[0] {
        return (0, 0.0);
    }
    let k = nodes.partition_point(|&n| n <= value).clamp(1, last) - 1;
    (k, ((value - nodes[k]) / (nodes[k + 1] - nodes[k])).min(1.0))
}

fn interpolate(nodes: &[f64], values: &[f64], at: f64) -> f64 {
    let (k, part) = place(nodes, at);
    if part == 0.0 {
        return values[k];
    }
    values[k] + part * (values[k + 1] - values[k])
}

/// Gaussian of width s and its inverse integrated over a pixel at y, and its derivatives with y and s.
#[inline(always)]
fn gaussian(y: f64, s: f64, inverse: f64) -> Value {
    if y.abs() > REACH * s + 0.5 {
        return Value::default();
    }
    let (low, high) = ((y - 0.5) * inverse, (y + 0.5) * inverse);
    let (left, at_low) = normal::integral_and_density(low);
    let (right, at_high) = normal::integral_and_density(high);
    Value {
        p: right - left,
        by_y: (at_high - at_low) * inverse,
        by_size: (low * at_low - high * at_high) * inverse,
    }
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

    /// What a pixel of some wavelength needs to know: the variance of the PSF, or the place in the table.
    pub(super) fn key(&self, wavelength: f64) -> f64 {
        match self {
            Self::Gaussian {
                wave,
                fwhm,
                fwhm_per_sigma,
                ..
            } => (interpolate(wave, fwhm, wavelength) / fwhm_per_sigma).powi(2),
            Self::Table(table) => {
                let (k, part) = place(table.wave, wavelength);
                k as f64 + part
            }
        }
    }

    /// The profile at a distance from the trace.
    #[inline(always)]
    pub(super) fn at(&self, key: f64, y: f64, size: f64) -> Value {
        match self {
            Self::Gaussian { wing, .. } => {
                let s = (key + size * size).sqrt();
                let inverse = 1.0 / s;
                let mut value = gaussian(y, s, inverse);
                let mut by_s = value.by_size;
                if let Some([amplitude, scale, offset]) = wing {
                    let more = gaussian(y + offset, s * scale, inverse / scale);
                    value.p += amplitude * more.p;
                    value.by_y += amplitude * more.by_y;
                    by_s += amplitude * scale * more.by_size;
                }
                value.by_size = if s > 0.0 { by_s * size * inverse } else { 0.0 };
                value
            }
            Self::Table(table) => table.at(key, y, size),
        }
    }
}

impl Table<'_> {
    fn at(&self, key: f64, y: f64, size: f64) -> Value {
        let last = self.y.len() - 1;
        if !(self.y[0]..=self.y[last]).contains(&y) {
            return Value::default();
        }
        let (i, fy) = place(self.y, y);
        let (j, fw) = (key as usize, key.fract());
        let (k, fs) = place(self.size, size);
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
    Ok(Array3::from_shape_fn(wavelength.dim(), |(i, y, x)| {
        let wave = wavelength[(i, y, x)];
        if wave.is_finite() {
            let from_trace = y as f64 - trace[(i, x)];
            profile.at(profile.key(wave), from_trace, size[i]).p
        } else {
            f64::NAN
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let key = profile.key(2.0);
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
            has_its_derivatives(&profile, profile.key(1.3), at, 0.8);
            has_its_derivatives(&profile, profile.key(7.0), at, 5.0);
        }
        assert_eq!(profile.at(0.0, 3.01, 0.5).p, 0.0);
    }
}
