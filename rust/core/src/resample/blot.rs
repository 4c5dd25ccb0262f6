//! Sampling an image at mapped positions.

use ndarray::{Array2, ArrayView2, ArrayView3, Axis as NdAxis};
use rayon::prelude::*;

use super::ResampleError;
use super::taps::{Axis, Linear, Nearest, Stencil, Taps};
use crate::interrupt;

/// How an image is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// The pixel in which the position lies.
    Nearest,
    /// Bilinear.
    Linear,
    /// Cubic Lagrange polynomial in each axis.
    Poly3,
    /// Quintic Lagrange polynomial in each axis.
    Poly5,
    /// A sinc of the distance times a scale over 15 pixels in each axis.
    Sinc {
        /// Factor of the distances.
        scale: f64,
    },
    /// A windowed sinc over 6 pixels in each axis.
    Lanczos3,
    /// A windowed sinc over 10 pixels in each axis.
    Lanczos5,
}

impl Interpolation {
    /// The interpolation of that name; `sinscl` is the scale of `sinc`.
    ///
    /// # Errors
    /// [`ResampleError::Name`] or [`ResampleError::Number`].
    pub fn from_name(name: &str, sinscl: f64) -> Result<Self, ResampleError> {
        if !(sinscl > 0.0 && sinscl <= 1.0) {
            return Err(ResampleError::Number {
                name: "sinscl",
                value: sinscl,
                wanted: "positive and at most 1",
            });
        }
        match name {
            "nearest" => Ok(Self::Nearest),
            "linear" => Ok(Self::Linear),
            "poly3" => Ok(Self::Poly3),
            "poly5" => Ok(Self::Poly5),
            "sinc" => Ok(Self::Sinc { scale: sinscl }),
            "lanczos3" => Ok(Self::Lanczos3),
            "lanczos5" => Ok(Self::Lanczos5),
            _ => Err(ResampleError::Name {
                name: "interpolation",
                value: name.into(),
                wanted: "nearest, linear, poly3, poly5, sinc, lanczos3 or lanczos5",
            }),
        }
    }
}

/// The pixels of the image that is sampled.
#[derive(Clone, Copy)]
struct Image<'a> {
    data: &'a [f32],
    nx: usize,
    ny: usize,
}

impl Image<'_> {
    /// The weighted sum over a stencil; NaN when part of it is beyond the image.
    #[inline]
    fn sum<const N: usize>(&self, x: &Stencil<N>, y: &Stencil<N>) -> f32 {
        let (Ok(left), Ok(bottom)) = (usize::try_from(x.first), usize::try_from(y.first)) else {
            return f32::NAN;
        };
        if left + N > self.nx || bottom + N > self.ny {
            return f32::NAN;
        }
        let start = bottom * self.nx + left;
        let Some(window) = self.data.get(start..start + (N - 1) * self.nx + N) else {
            return f32::NAN;
        };
        let mut columns = [0.0; N];
        for (weight, row) in y.weights.iter().zip(window.chunks(self.nx)) {
            if let Some(row) = row.first_chunk::<N>() {
                for (sum, value) in columns.iter_mut().zip(row) {
                    *sum += weight * value;
                }
            }
        }
        columns.iter().zip(&x.weights).map(|(v, w)| v * w).sum()
    }

    /// The sample of the highest order up to `order` that has a stencil, at last the pixel itself.
    #[cold]
    fn fall_back(&self, [x, y]: [f64; 2], order: usize) -> Option<f32> {
        let Self { data, nx, ny } = *self;
        let of_order = |least: usize, sample: fn(&[f32], usize, usize, f64, f64) -> Option<f64>| {
            (order >= least)
                .then(|| sample(data, nx, ny, x, y))
                .flatten()
        };
        of_order(5, polynomial::<6>)
            .or_else(|| of_order(3, polynomial::<4>))
            .or_else(|| of_order(1, polynomial::<2>))
            .or_else(|| nearest(data, nx, ny, x, y))
            .map(|value| value as f32)
    }
}

/// `1 / product of (k - m)` over all `m != k` of `0 .. N`.
const fn inverse_denominators<const N: usize>() -> [f64; N] {
    let mut inverse = [1.0; N];
    let mut k = 0;
    while k < N {
        let mut m = 0;
        while m < N {
            if m != k {
                inverse[k] /= k as f64 - m as f64;
            }
            m += 1;
        }
        k += 1;
    }
    inverse
}

/// Lagrange weights of `N` nodes at the integers `0 .. N` for the position `t`.
#[inline]
fn lagrange<const N: usize>(t: f64) -> [f64; N] {
    let mut weights = const { inverse_denominators::<N>() };
    let (mut before, mut after) = (1.0, 1.0);
    for k in 0..N {
        weights[k] *= before;
        before *= t - k as f64;
        let mirrored = N - 1 - k;
        weights[mirrored] *= after;
        after *= t - mirrored as f64;
    }
    weights
}

/// The polynomial through `N x N` pixels around a position; None when one of them is off the image or not finite.
#[inline]
fn polynomial<const N: usize>(data: &[f32], nx: usize, ny: usize, x: f64, y: f64) -> Option<f64> {
    let back = (N / 2 - 1) as f64;
    if x > nx as f64 - 1.0 || y > ny as f64 - 1.0 {
        return None;
    }
    // A position on the last pixel's centre belongs to the cell before it.
    let (left, bottom) = (
        x.floor().min(nx as f64 - 2.0) - back,
        y.floor().min(ny as f64 - 2.0) - back,
    );
    if left < 0.0 || bottom < 0.0 || left + N as f64 > nx as f64 || bottom + N as f64 > ny as f64 {
        return None;
    }
    let (wx, wy) = (lagrange::<N>(x - left), lagrange::<N>(y - bottom));
    let mut start = bottom as usize * nx + left as usize;
    let mut sum = 0.0;
    for w in wy {
        let row = &data[start..start + N];
        sum += w * row
            .iter()
            .zip(&wx)
            .map(|(value, w)| f64::from(*value) * w)
            .sum::<f64>();
        start += nx;
    }
    sum.is_finite().then_some(sum)
}

fn nearest(data: &[f32], nx: usize, ny: usize, x: f64, y: f64) -> Option<f64> {
    let (i, j) = ((x + 0.5).floor(), (y + 0.5).floor());
    let inside = i >= 0.0 && j >= 0.0 && i < nx as f64 && j < ny as f64;
    let value = inside.then(|| f64::from(data[j as usize * nx + i as usize]))?;
    value.is_finite().then_some(value)
}

/// Where something is sampled, and what is there when nothing is.
struct Job<'a> {
    image: Image<'a>,
    positions: &'a [[f64; 2]],
    fillval: f32,
}

impl Job<'_> {
    /// Sample with one stencil, and with polynomials up to `order` where it does not fit.
    fn run<const N: usize>(&self, out: &mut Array2<f32>, axis: &impl Axis<N>, order: usize) {
        let width = out.ncols();
        out.axis_iter_mut(NdAxis(0))
            .into_par_iter()
            .zip(self.positions.par_chunks(width))
            .with_min_len(8)
            .for_each(|(row, positions)| {
                interrupt::poll();
                for (value, position) in row.into_iter().zip(positions) {
                    *value = self.sample(*position, axis, order);
                }
            });
    }

    #[inline]
    fn sample<const N: usize>(&self, position: [f64; 2], axis: &impl Axis<N>, order: usize) -> f32 {
        let [x, y] = position;
        let sum = self.image.sum(&axis.around(x), &axis.around(y));
        if sum.is_finite() {
            return sum;
        }
        self.image
            .fall_back(position, order)
            .unwrap_or(self.fillval)
    }
}

/// Sample `data` at the positions `pixmap` `(ny, nx, 2)`.
///
/// Where a stencil reaches beyond the image or over a pixel that is not finite, the next lower order is taken, down to
/// the pixel itself; positions outside of every pixel, in one that is not finite, or NaN, give `fillval`.
///
/// # Errors
/// [`ResampleError::Layout`] or [`ResampleError::Shape`].
pub fn blot(
    data: &ArrayView2<'_, f32>,
    pixmap: &ArrayView3<'_, f64>,
    how: Interpolation,
    fillval: f32,
) -> Result<Array2<f32>, ResampleError> {
    let (ny, nx) = data.dim();
    let (my, mx, pair) = pixmap.dim();
    if pair != 2 {
        return Err(ResampleError::Shape {
            name: "pixmap",
            shape: pixmap.shape().to_vec(),
            wanted: vec![my, mx, 2],
        });
    }
    let pixels = data
        .as_slice()
        .ok_or(ResampleError::Layout { name: "data" })?;
    let positions = pixmap
        .as_slice()
        .ok_or(ResampleError::Layout { name: "pixmap" })?
        .as_chunks::<2>()
        .0;
    let mut out = Array2::from_elem((my, mx), fillval);
    if mx == 0 {
        return Ok(out);
    }
    let job = Job {
        image: Image {
            data: pixels,
            nx,
            ny,
        },
        positions,
        fillval,
    };
    match how {
        Interpolation::Nearest => job.run(&mut out, &Nearest, 0),
        Interpolation::Linear => job.run(&mut out, &Linear, 1),
        Interpolation::Poly3 => job.run(&mut out, &Taps::<4>::lagrange(), 3),
        Interpolation::Poly5 => job.run(&mut out, &Taps::<6>::lagrange(), 5),
        Interpolation::Sinc { scale } => job.run(&mut out, &Taps::<15>::sinc(scale), 5),
        Interpolation::Lanczos3 => job.run(&mut out, &Taps::<6>::lanczos(), 5),
        Interpolation::Lanczos5 => job.run(&mut out, &Taps::<10>::lanczos(), 5),
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};

    #[test]
    fn lagrange_weights_sum_to_one_and_pick_a_node() {
        assert!((lagrange::<6>(2.37).iter().sum::<f64>() - 1.0).abs() < 1e-14);
        assert_eq!(lagrange::<4>(2.0), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn orders_fall_at_the_border_and_beside_nan() {
        let mut data = Array2::from_shape_fn((9, 9), |(j, i)| (i + 10 * j) as f32);
        data[[4, 4]] = f32::NAN;
        let at = |x: f64, y: f64, how| {
            let map = Array3::from_shape_vec((1, 1, 2), vec![x, y]).unwrap();
            blot(&data.view(), &map.view(), how, -1.0).unwrap()[[0, 0]]
        };
        for how in [
            Interpolation::Linear,
            Interpolation::Poly3,
            Interpolation::Poly5,
            Interpolation::Lanczos3,
        ] {
            assert!((at(1.25, 6.5, how) - 66.25).abs() < 1e-4);
            assert!((at(8.0, 8.0, how) - 88.0).abs() < 1e-4);
            assert!((at(3.5, 2.5, how) - 28.5).abs() < 1e-4);
            assert_eq!(at(8.4, 8.4, how), 88.0);
            assert_eq!(at(3.4, 4.0, how), 43.0);
            assert_eq!(at(4.2, 4.0, how), -1.0);
            assert_eq!(at(8.6, 3.0, how), -1.0);
            assert_eq!(at(f64::NAN, 3.0, how), -1.0);
        }
    }

    #[test]
    fn an_image_of_one_pixel_can_be_sampled() {
        let data = array![[3.0_f32]];
        let map = Array3::zeros((2, 2, 2));
        assert_eq!(
            blot(&data.view(), &map.view(), Interpolation::Poly5, 0.0).unwrap(),
            array![[3.0, 3.0], [3.0, 3.0]]
        );
    }
}
