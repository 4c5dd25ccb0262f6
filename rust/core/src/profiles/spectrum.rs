//! Images and their Fourier transforms.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

use crate::image::Image;

/// Half of the transform of a real image: column `kx` after column, each with all `ky`.
pub(super) type Spectrum = Vec<Complex<f64>>;

/// Transforms of images of one shape.
pub(super) struct Transform {
    shape: (usize, usize),
    rows: Arc<dyn RealToComplex<f64>>,
    rows_back: Arc<dyn ComplexToReal<f64>>,
    columns: Arc<dyn Fft<f64>>,
    columns_back: Arc<dyn Fft<f64>>,
}

/// The least number from `n` on that has no prime factors but 2, 3, 5 and 7, and is even.
pub(super) fn fast_length(n: usize) -> usize {
    let is_fast = |mut m: usize| {
        for p in [2, 3, 5, 7] {
            while m.is_multiple_of(p) {
                m /= p;
            }
        }
        m == 1
    };
    let mut m = n.max(2).next_multiple_of(2);
    while !is_fast(m) {
        m += 2;
    }
    m
}

impl Transform {
    pub(super) fn new(shape: (usize, usize)) -> Self {
        let mut real = RealFftPlanner::new();
        let mut complex = FftPlanner::new();
        Self {
            shape,
            rows: real.plan_fft_forward(shape.1),
            rows_back: real.plan_fft_inverse(shape.1),
            columns: complex.plan_fft_forward(shape.0),
            columns_back: complex.plan_fft_inverse(shape.0),
        }
    }

    /// Number of columns of a spectrum.
    pub(super) fn n_columns(&self) -> usize {
        self.shape.1 / 2 + 1
    }

    /// A spectrum of nothing.
    pub(super) fn empty(&self) -> Spectrum {
        vec![Complex::new(0.0, 0.0); self.n_columns() * self.shape.0]
    }

    /// The transform of an image; its pixels are overwritten. Rows outside of `filled` are zero.
    pub(super) fn forward(&self, image: &mut [f64], filled: std::ops::Range<usize>) -> Spectrum {
        let ((ny, nx), nk) = (self.shape, self.n_columns());
        let zero = Complex::new(0.0, 0.0);
        let mut line = vec![zero; nk];
        let mut scratch = self.rows.make_scratch_vec();
        let mut spectrum = self.empty();
        for y in filled {
            let row = &mut image[y * nx..(y + 1) * nx];
            // Lengths are those of the plan, the one thing that can fail.
            let done = self.rows.process_with_scratch(row, &mut line, &mut scratch);
            debug_assert!(done.is_ok());
            for (k, value) in line.iter().enumerate() {
                spectrum[k * ny + y] = *value;
            }
        }
        self.columns.process(&mut spectrum);
        spectrum
    }

    /// The corner of the image of a spectrum, which is overwritten.
    pub(super) fn inverse(
        &self,
        spectrum: &mut [Complex<f64>],
        shape: (usize, usize),
    ) -> Image<f64> {
        /// Rows at a time, so that every line of the cache that is touched is used whole.
        const ROWS: usize = 4;
        let ((ny, nx), nk) = (self.shape, self.n_columns());
        let zero = Complex::new(0.0, 0.0);
        let mut scratch = vec![
            zero;
            self.columns_back
                .get_inplace_scratch_len()
                .max(self.rows_back.get_scratch_len())
        ];
        self.columns_back
            .process_with_scratch(spectrum, &mut scratch);
        let mut image = Image::empty(shape);
        let mut lines = vec![zero; ROWS * nk];
        let mut whole = vec![0.0; nx];
        let norm = 1.0 / (ny * nx) as f64;
        for (i, rows) in image.pixels_mut().chunks_mut(ROWS * shape.1).enumerate() {
            let (y, n_rows) = (i * ROWS, rows.len() / shape.1);
            for (k, column) in spectrum.chunks_exact(ny).enumerate() {
                for (j, value) in column[y..y + n_rows].iter().enumerate() {
                    lines[j * nk + k] = *value * norm;
                }
            }
            let pairs = rows
                .chunks_exact_mut(shape.1)
                .zip(lines.chunks_exact_mut(nk));
            for (row, line) in pairs {
                // These have no imaginary part but for rounding.
                line[0].im = 0.0;
                line[nk - 1].im = 0.0;
                let done = self
                    .rows_back
                    .process_with_scratch(line, &mut whole, &mut scratch);
                debug_assert!(done.is_ok());
                row.copy_from_slice(&whole[..shape.1]);
            }
        }
        image
    }

    /// Angular frequency [1/pix] of element `k` of a transform of `n`; that of waves of two pixels is negative.
    pub(super) fn frequency(k: usize, n: usize) -> f64 {
        let signed = if 2 * k < n {
            k as f64
        } else {
            k as f64 - n as f64
        };
        std::f64::consts::TAU * signed / n as f64
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_comes_back() {
        let (ny, nx) = (12, 10);
        let transform = Transform::new((ny, nx));
        let image: Vec<f64> = (0..ny * nx).map(|i| ((i * 7919) % 101) as f64).collect();
        let mut spectrum = transform.forward(&mut image.clone(), 0..ny);
        let back = transform.inverse(&mut spectrum, (ny, nx));
        assert!(
            image
                .iter()
                .zip(back.pixels())
                .all(|(a, b)| (a - b).abs() < 1e-10)
        );
    }

    #[test]
    fn fast_lengths_are_even_and_have_small_factors() {
        assert_eq!(
            [1, 7, 61, 124, 127, 151, 251].map(fast_length),
            [2, 8, 64, 126, 128, 160, 252]
        );
    }
}
