//! Weights of the pixels around a position along one axis, for interpolations that are products of two axes.

use std::f64::consts::{FRAC_PI_2, PI};

/// Steps of a pixel for which weights are kept; lines between them are off by less than the rounding of `f32`.
const PHASES: usize = 4096;

/// Along one axis, the `N` pixels that an interpolation takes, and their weights.
pub trait Axis<const N: usize>: Sync {
    /// The stencil around a position; it begins beyond the image, or has NaN weights, for NaN and beyond 2^31.
    fn around(&self, x: f64) -> Stencil<N>;
}

/// The pixels around a position and their weights.
#[derive(Clone, Copy, Debug)]
pub struct Stencil<const N: usize> {
    /// First pixel; negative or too large where the stencil reaches beyond the image.
    pub first: i32,
    /// Weights.
    pub weights: [f32; N],
}

/// The pixel in which the position lies.
#[derive(Clone, Copy, Debug)]
pub struct Nearest;

/// A line between two pixels.
#[derive(Clone, Copy, Debug)]
pub struct Linear;

/// The weights of `N` pixels for every fraction of a pixel.
///
/// An even number of pixels lies on both sides of a position between the centres of two pixels; an odd number around
/// the pixel in which the position is.
#[derive(Clone, Debug)]
pub struct Taps<const N: usize> {
    /// For the phases `0 ..= PHASES` and one more.
    table: Vec<[f32; N]>,
}

impl<const N: usize> Taps<N> {
    const IS_ODD: bool = N % 2 == 1;

    /// Tabulate weights: `weight(k, t)` is that of a pixel `k` pixels from the one at or before the position, which is
    /// `t` from it (`0 <= t < 1`; for odd `N` `-0.5 <= t < 0.5`). They are divided by their sum.
    fn tabulate(weight: impl Fn(i32, f64) -> f64) -> Self {
        let back = Self::back();
        let table = (0..PHASES + 2)
            .map(|phase| {
                let mut t = phase as f64 / PHASES as f64;
                if Self::IS_ODD {
                    t -= 0.5;
                }
                let mut weights = [0.0; N];
                for (k, w) in (-back..).zip(&mut weights) {
                    *w = weight(k, t);
                }
                let sum: f64 = weights.iter().sum();
                weights.map(|w| (w / sum) as f32)
            })
            .collect();
        Self { table }
    }

    /// Pixels before the one at or before the position.
    fn back() -> i32 {
        (N as i32 - 1) / 2
    }

    /// The polynomial of order `N - 1` through `N` pixels (Lagrange).
    #[must_use]
    pub fn lagrange() -> Self {
        let nodes = -Self::back()..N as i32 - Self::back();
        Self::tabulate(|k, t| {
            nodes
                .clone()
                .filter(|m| *m != k)
                .map(|m| (t - f64::from(m)) / f64::from(k - m))
                .product()
        })
    }

    /// `sinc(u) sinc(2 u / N)`, 0 from `N / 2` on, divided by its sum, so that a constant stays what it is.
    ///
    /// # Source
    /// Duchon 1979, Journal of Applied Meteorology 18, 1016.
    #[must_use]
    pub fn lanczos() -> Self {
        let order = N as f64 / 2.0;
        Self::tabulate(|k, t| {
            let u = f64::from(k) - t;
            if u.abs() < order {
                sinc(u) * sinc(u / order)
            } else {
                0.0
            }
        })
    }

    /// A sinc of the distance times `scale` that falls off as a squared cosine of the pixel's number, divided by its
    /// sum.
    #[must_use]
    pub fn sinc(scale: f64) -> Self {
        Self::tabulate(|k, t| {
            let fall = (FRAC_PI_2 * f64::from(k) / f64::from(Self::back())).cos();
            let shift = t * scale;
            // sin(pi (k - shift)) is sin(pi shift) up to its sign, which all pixels share.
            if shift == 0.0 {
                return if k == 0 { 1.0 } else { 0.0 };
            }
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            sign * fall * fall / (f64::from(k) - shift)
        })
    }
}

/// `floor` without a call, and how far the position is beyond it; saturates.
#[inline]
fn floor(x: f64) -> (i32, f64) {
    let cut = x as i32;
    let whole = if f64::from(cut) > x {
        cut.saturating_sub(1)
    } else {
        cut
    };
    (whole, x - f64::from(whole))
}

impl<const N: usize> Axis<N> for Taps<N> {
    #[inline]
    fn around(&self, x: f64) -> Stencil<N> {
        let (whole, t) = floor(if Self::IS_ODD { x + 0.5 } else { x });
        let at = t * PHASES as f64;
        let phase = at as usize;
        let part = (at - phase as f64) as f32;
        let found = self
            .table
            .get(phase..phase + 2)
            .and_then(|pair| pair.first_chunk::<2>());
        let Some([low, high]) = found else {
            let (first, weights) = (i32::MIN, [0.0; N]);
            return Stencil { first, weights };
        };
        let mut weights = *low;
        for (weight, high) in weights.iter_mut().zip(high) {
            *weight += part * (high - *weight);
        }
        Stencil {
            first: whole.saturating_sub(Self::back()),
            weights,
        }
    }
}

impl Axis<1> for Nearest {
    #[inline]
    fn around(&self, x: f64) -> Stencil<1> {
        let (first, t) = floor(x + 0.5);
        let weights = [if t < 1.0 { 1.0 } else { f32::NAN }];
        Stencil { first, weights }
    }
}

impl Axis<2> for Linear {
    #[inline]
    fn around(&self, x: f64) -> Stencil<2> {
        let (first, t) = floor(x);
        let weights = [(1.0 - t) as f32, t as f32];
        Stencil { first, weights }
    }
}

fn sinc(u: f64) -> f64 {
    if u == 0.0 {
        1.0
    } else {
        (PI * u).sin() / (PI * u)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(taps: &Taps<N>, exact: impl Fn(f64) -> f64, tolerance: f64) {
        for step in 0..1000 {
            let x = 50.0 + f64::from(step) * 0.001_237;
            let Stencil { first, weights } = taps.around(x);
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            assert!((sum - 1.0).abs() < 5e-7);
            let value: f64 = (first..)
                .zip(weights)
                .map(|(i, w)| f64::from(w) * exact(f64::from(i)))
                .sum();
            assert!((value - exact(x)).abs() < tolerance, "{x} {value}");
        }
    }

    #[test]
    fn each_kind_follows_a_smooth_function() {
        let wave = |x: f64| (0.3 * x).sin();
        check(&Taps::<6>::lagrange(), wave, 2e-5);
        check(&Taps::<6>::lanczos(), wave, 2e-2);
        check(&Taps::<10>::lanczos(), wave, 5e-3);
        check(&Taps::<15>::sinc(1.0), wave, 1e-3);
    }

    #[test]
    fn a_pixel_s_centre_is_that_pixel() {
        assert_eq!(
            Taps::<6>::lagrange().around(7.0).weights,
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
        );
        let Stencil { first, weights } = Taps::<15>::sinc(0.8).around(7.0);
        assert_eq!(first, 0);
        assert!((weights[7] - 1.0).abs() < 1e-6);
        let lanczos = Taps::<6>::lanczos().around(7.0).weights;
        assert!((lanczos[2] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn nowhere_is_beyond_every_image() {
        let taps = Taps::<6>::lagrange();
        for x in [f64::NAN, f64::INFINITY, -1e300, 3e9] {
            let first = taps.around(x).first;
            assert!(!(0..1_000_000).contains(&first) || x.is_nan(), "{x}");
        }
        assert!(taps.around(f64::NAN).weights[0].is_nan());
        assert!(Nearest.around(f64::NAN).weights[0].is_nan());
        assert_eq!(taps.around(-0.25).first, -3);
    }
}
