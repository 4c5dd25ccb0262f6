//! Noise of weighted sums of pixels whose noise is correlated.

use super::SegmentationError;
use super::label::Run;
use crate::image::{ImageError, Plane};

/// How the noise of an image is correlated between its pixels, by class of position.
#[derive(Clone, Debug)]
pub struct Correlation<'a> {
    class_map: Plane<'a, u8>,
    weight: Option<Plane<'a, f32>>,
    n_classes: usize,
    /// Distances `(dy, dx)` of one half of the plane, and the kernels of all classes there.
    lags: Vec<(isize, isize, Vec<f64>)>,
}

impl<'a> Correlation<'a> {
    /// Kernels of shape `(n_classes, side, side)`, the class of every pixel (others are in none) and the weights of
    /// the image, of which the background's variance is a multiple of the inverse.
    ///
    /// # Errors
    /// When the kernels are no odd squares, or the images differ in shape.
    pub fn new(
        kernels: &[f64],
        (n_classes, side): (usize, usize),
        class_map: Plane<'a, u8>,
        weight: Option<Plane<'a, f32>>,
    ) -> Result<Self, SegmentationError> {
        if side.is_multiple_of(2) {
            return Err(SegmentationError::EvenKernels(side));
        }
        let expected = n_classes * side * side;
        if kernels.len() != expected {
            return Err(SegmentationError::Length {
                name: "kernels",
                found: kernels.len(),
                expected,
            });
        }
        weight
            .map(|w| w.of_shape("weight", class_map.shape()))
            .transpose()?;
        let at = |class: usize, i: usize| kernels[class * side * side + i];
        let last = side * side - 1;
        // A kernel is symmetric, so one half of the distances stands for both.
        let lags = (last / 2..=last)
            .map(|i| {
                let value = |c| 0.5 * (at(c, i) + at(c, last - i));
                let half = (side / 2) as isize;
                (
                    (i / side) as isize - half,
                    (i % side) as isize - half,
                    (0..n_classes).map(value).collect::<Vec<f64>>(),
                )
            })
            .filter(|(_, _, values)| values.iter().any(|&k| k != 0.0))
            .collect();
        Ok(Self {
            class_map,
            weight,
            n_classes,
            lags,
        })
    }

    /// Check the shape of the images.
    ///
    /// # Errors
    /// [`ImageError::Shape`].
    pub(super) fn check(&self, shape: (usize, usize)) -> Result<(), ImageError> {
        self.class_map.of_shape("class_map", shape).map(|_| ())
    }

    /// Variance of `sum_i u_i D_i` for the factors `u` and the pixels' own variances `V`.
    ///
    /// The covariance of two pixels is `(V_i W_i + V_j W_j) / 2 / sqrt(W_i W_j)` times the mean of their classes' kernels
    /// at their distance. `V W` changes with the sources' own noise, of which a drizzled pixel has the mean over those
    /// that it shares input with, hence the arithmetic mean; `1 / W` changes with the number of exposures, hence the
    /// geometric one.
    pub(super) fn variance(&self, factors: &Factors, variance: Plane<'_, f32>) -> f64 {
        let scaled = Scaled::of(self, factors, variance);
        let classes = &scaled.class[..];
        let first = classes.iter().copied().find(|&c| c != NO_CLASS);
        let Some(class) = first else { return f64::NAN };
        let is_uniform = classes.iter().all(|&c| c == class || c == NO_CLASS);
        let total: f64 = self
            .lags
            .iter()
            .map(|(dy, dx, kernels)| {
                let pairs = if is_uniform {
                    kernels[usize::from(class)] * scaled.products(*dy, *dx)
                } else {
                    scaled.products_by_class(*dy, *dx, kernels)
                };
                if (*dy, *dx) == (0, 0) {
                    pairs
                } else {
                    2.0 * pairs
                }
            })
            .sum();
        // `f64::max` would make 0 of NaN.
        if total < 0.0 { 0.0 } else { total }
    }
}

const NO_CLASS: u8 = u8::MAX;

/// Factors of the pixels of a window, 0 for those that do not count.
#[derive(Clone, Debug, Default)]
pub(super) struct Factors {
    x0: isize,
    y0: isize,
    width: usize,
    height: usize,
    values: Vec<f64>,
}

impl Factors {
    /// Zeros for the columns and rows of a window, ends included.
    pub(super) fn zeros(x: (isize, isize), y: (isize, isize)) -> Self {
        let width = (x.1 - x.0 + 1).max(0) as usize;
        let height = (y.1 - y.0 + 1).max(0) as usize;
        Self {
            x0: x.0,
            y0: y.0,
            width,
            height,
            values: vec![0.0; width * height],
        }
    }

    /// Zeros for the pixels of runs and a margin around them.
    pub(super) fn around(runs: &[Run], margin: (usize, usize)) -> Self {
        let x0 = runs.iter().map(|r| r.start).min().unwrap_or(0) as isize;
        let x1 = runs.iter().map(|r| r.end).max().unwrap_or(0) as isize - 1;
        let y0 = runs.iter().map(|r| r.y).min().unwrap_or(0) as isize;
        let y1 = runs.iter().map(|r| r.y).max().unwrap_or(0) as isize;
        let (my, mx) = (margin.0 as isize, margin.1 as isize);
        Self::zeros((x0 - mx, x1 + mx), (y0 - my, y1 + my))
    }

    /// Add to the factor of a pixel; one outside the window is left out.
    pub(super) fn add(&mut self, x: isize, y: isize, value: f64) {
        let (i, j) = (x - self.x0, y - self.y0);
        if i >= 0 && j >= 0 && (i as usize) < self.width && (j as usize) < self.height {
            self.values[j as usize * self.width + i as usize] += value;
        }
    }

    /// Zeros for a window with a margin around this one.
    pub(super) fn zeros_around(&self, (my, mx): (usize, usize)) -> Self {
        let (width, height) = (self.width + 2 * mx, self.height + 2 * my);
        Self {
            x0: self.x0 - mx as isize,
            y0: self.y0 - my as isize,
            width,
            height,
            values: vec![0.0; width * height],
        }
    }

    /// Add a block of `width` columns, whose first pixel is `(x, y)`; it lies in the window.
    pub(super) fn add_block(
        &mut self,
        x: isize,
        y: isize,
        block: &[f64],
        width: usize,
        scale: f64,
    ) {
        let first = (y - self.y0) as usize * self.width + (x - self.x0) as usize;
        let rows = self.values[first..].chunks_mut(self.width);
        for (row, added) in rows.zip(block.chunks_exact(width)) {
            for (value, add) in row.iter_mut().zip(added) {
                *value += scale * add;
            }
        }
    }

    /// Columns, rows and factors of all pixels of the window.
    pub(super) fn pixels_mut(&mut self) -> impl Iterator<Item = (isize, isize, &mut f64)> {
        let (x0, y0) = (self.x0, self.y0);
        self.values
            .chunks_mut(self.width.max(1))
            .zip(y0..)
            .flat_map(move |(row, y)| {
                row.iter_mut()
                    .zip(x0..)
                    .map(move |(value, x)| (x, y, value))
            })
    }

    /// Columns, rows and factors of the pixels that count.
    pub(super) fn non_zero(&self) -> impl Iterator<Item = (isize, isize, f64)> + '_ {
        let (x0, y0) = (self.x0, self.y0);
        self.values
            .chunks(self.width.max(1))
            .zip(y0..)
            .flat_map(move |(row, y)| {
                row.iter()
                    .zip(x0..)
                    .filter(|(u, _)| **u != 0.0)
                    .map(move |(&u, x)| (x, y, u))
            })
    }

    /// These factors plus `scale` times those of the same window.
    pub(super) fn plus(&self, scale: f64, other: &Self) -> Self {
        let sum = self.values.iter().zip(&other.values);
        Self {
            values: sum.map(|(u, v)| u + scale * v).collect(),
            ..*self
        }
    }

    /// These factors plus `scale` times those of another window, in a window that holds both.
    pub(super) fn united(&self, other: &Self, scale: f64) -> Self {
        let end = |f: &Self| (f.x0 + f.width as isize - 1, f.y0 + f.height as isize - 1);
        let ((ax, ay), (bx, by)) = (end(self), end(other));
        let mut sum = Self::zeros(
            (self.x0.min(other.x0), ax.max(bx)),
            (self.y0.min(other.y0), ay.max(by)),
        );
        for (factors, scale) in [(self, 1.0), (other, scale)] {
            if factors.width > 0 {
                sum.add_block(
                    factors.x0,
                    factors.y0,
                    &factors.values,
                    factors.width,
                    scale,
                );
            }
        }
        sum
    }

    /// The rows within an image of `shape`: position of their first pixel in the window, its index in the image, factors.
    pub(super) fn rows(
        &self,
        (ny, nx): (usize, usize),
    ) -> impl Iterator<Item = (usize, usize, &[f64])> + '_ {
        let inside = |start: isize, n: usize, size: usize| {
            let first = (-start).clamp(0, n as isize);
            let end = (size as isize - start).clamp(first, n as isize);
            (first as usize, end as usize)
        };
        let (left, right) = inside(self.x0, self.width, nx);
        let (top, bottom) = inside(self.y0, self.height, ny);
        (top..bottom).filter(move |_| left < right).map(move |j| {
            let start = j * self.width;
            let y = (self.y0 + j as isize) as usize;
            let x = (self.x0 + left as isize) as usize;
            let row = &self.values[start + left..start + right];
            (start + left, y * nx + x, row)
        })
    }

    /// Pixels that count: position in the window, index in an image of `shape`, factor.
    pub(super) fn counting(
        &self,
        shape: (usize, usize),
    ) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let pixels = self.rows(shape).flat_map(|(k, i, row)| {
            let places = (k..).zip(i..);
            places.zip(row).map(|((k, i), &u)| (k, i, u))
        });
        pixels.filter(|&(_, _, u)| u != 0.0)
    }
}

/// Factors times the two powers of variance and weight whose products are covariances.
struct Scaled {
    width: usize,
    height: usize,
    /// `u / sqrt(W)`.
    plain: Vec<f64>,
    /// `u V sqrt(W)`.
    noisy: Vec<f64>,
    class: Vec<u8>,
}

impl Scaled {
    fn of(correlation: &Correlation<'_>, factors: &Factors, variance: Plane<'_, f32>) -> Self {
        let n = factors.values.len();
        let mut scaled = Self {
            width: factors.width,
            height: factors.height,
            plain: vec![0.0; n],
            noisy: vec![0.0; n],
            class: vec![NO_CLASS; n],
        };
        for (k, i, u) in factors.counting(variance.shape()) {
            let class = correlation.class_map.pixels()[i];
            let v = f64::from(variance.pixels()[i]);
            let weight = correlation.weight.map_or(1.0, |w| f64::from(w.pixels()[i]));
            if usize::from(class) < correlation.n_classes && weight > 0.0 && v.is_finite() {
                let root = weight.sqrt();
                scaled.plain[k] = u / root;
                scaled.noisy[k] = u * v * root;
                scaled.class[k] = class;
            }
        }
        scaled
    }

    /// First pixels of the two runs that a distance joins in every row, and the runs' length; none where the window is
    /// narrower than the distance.
    fn joined(&self, dy: isize, dx: isize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let from = (-dx).max(0) as usize;
        let to = dx.max(0) as usize;
        let dy = dy as usize;
        let n = self.width.saturating_sub(from + to);
        let n_rows = if n > 0 {
            self.height.saturating_sub(dy)
        } else {
            0
        };
        (0..n_rows).map(move |y| (y * self.width + from, (y + dy) * self.width + to, n))
    }

    /// Sum over the pairs at a distance of `(noisy_i plain_j + plain_i noisy_j) / 2`.
    fn products(&self, dy: isize, dx: isize) -> f64 {
        self.joined(dy, dx)
            .map(|(i, j, n)| {
                dot(&self.noisy[i..i + n], &self.plain[j..j + n])
                    + dot(&self.plain[i..i + n], &self.noisy[j..j + n])
            })
            .sum::<f64>()
            * 0.5
    }

    /// The same times the mean of the kernels of both pixels.
    fn products_by_class(&self, dy: isize, dx: isize, kernels: &[f64]) -> f64 {
        let kernel = |k: usize| kernels.get(usize::from(self.class[k])).map_or(0.0, |&v| v);
        self.joined(dy, dx)
            .flat_map(|(i, j, n)| (i..i + n).zip(j..j + n))
            .map(|(i, j)| {
                (self.noisy[i] * self.plain[j] + self.plain[i] * self.noisy[j])
                    * (kernel(i) + kernel(j))
            })
            .sum::<f64>()
            * 0.25
    }
}

/// Scalar product in four strands, which fit into vector registers; their order is fixed.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut strands = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4
        .remainder()
        .iter()
        .zip(b4.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a4.zip(b4) {
        for k in 0..4 {
            strands[k] += x[k] * y[k];
        }
    }
    rest + (strands[0] + strands[1]) + (strands[2] + strands[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::{Neighbours, Photometer};

    /// Covariance by its definition, over all pairs.
    fn slow(
        u: &[f64],
        v: &[f32],
        w: &[f32],
        class: &[u8],
        kernels: &[f64],
        n: usize,
        side: usize,
    ) -> f64 {
        let half = (side / 2) as isize;
        let mut total = 0.0;
        for i in 0..u.len() {
            for j in 0..u.len() {
                let dy = (j / n) as isize - (i / n) as isize;
                let dx = (j % n) as isize - (i % n) as isize;
                if dy.abs() > half || dx.abs() > half {
                    continue;
                }
                let lag = ((dy + half) as usize) * side + (dx + half) as usize;
                let k = |p: usize| kernels[usize::from(class[p]) * side * side + lag];
                let (vi, vj) = (f64::from(v[i]), f64::from(v[j]));
                let (wi, wj) = (f64::from(w[i]), f64::from(w[j]));
                total += u[i] * u[j] * 0.5 * (vi * wi + vj * wj) / (wi * wj).sqrt()
                    * 0.5
                    * (k(i) + k(j));
            }
        }
        total
    }

    #[test]
    fn the_variance_is_the_sum_over_all_pairs_in_one_class_and_in_two() {
        let n = 12;
        let hash = |i: usize| ((i * 7919 + 13) % 101) as f64 / 101.0;
        let u: Vec<f64> = (0..n * n).map(|i| hash(i) - 0.3).collect();
        let v: Vec<f32> = (0..n * n).map(|i| 0.5 + hash(3 * i) as f32).collect();
        let w: Vec<f32> = (0..n * n).map(|i| 1.0 + hash(5 * i + 1) as f32).collect();
        let kernel = [0.1, 0.3, 0.2, 0.4, 1.0, 0.4, 0.2, 0.3, 0.1];
        let kernels: Vec<f64> = kernel
            .iter()
            .copied()
            .chain(kernel.map(|k| k * k))
            .collect();
        for is_mixed in [false, true] {
            let class: Vec<u8> = (0..n * n)
                .map(|i| u8::from(is_mixed && i % n > 5))
                .collect();
            let class_map = Plane::new("class_map", &class, (n, n)).unwrap();
            let weight = Plane::new("weight", &w, (n, n)).unwrap();
            let correlation = Correlation::new(&kernels, (2, 3), class_map, Some(weight)).unwrap();
            let mut factors = Factors::zeros((0, n as isize - 1), (0, n as isize - 1));
            for (i, &value) in u.iter().enumerate() {
                factors.add((i % n) as isize, (i / n) as isize, value);
            }
            let found = correlation.variance(&factors, Plane::new("v", &v, (n, n)).unwrap());
            let expected = slow(&u, &v, &w, &class, &kernels, n, 3);
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn a_window_narrower_than_the_kernel_has_its_variance() {
        let kernel: Vec<f64> = (-3_i32..=3)
            .flat_map(|y| (-3_i32..=3).map(move |x| (-0.2 * f64::from(x * x + y * y)).exp()))
            .collect();
        let (class, ones) = ([0_u8; 81], [1.0_f32; 81]);
        let class_map = Plane::new("class_map", &class, (9, 9)).unwrap();
        let variance = Plane::new("variance", &ones, (9, 9)).unwrap();
        let correlation = Correlation::new(&kernel, (1, 7), class_map, None).unwrap();
        for ((width, height), near) in [((1, 4), 2), ((4, 1), 2)] {
            let mut factors = Factors::zeros((near, near + width - 1), (near, near + height - 1));
            for y in near..near + height {
                for x in near..near + width {
                    factors.add(x, y, 1.0);
                }
            }
            let mut row = [0.0; 81];
            for (x, y, u) in factors.non_zero() {
                row[(y * 9 + x) as usize] = u;
            }
            let expected = slow(&row, &ones, &ones, &class, &kernel, 9, 7);
            let found = correlation.variance(&factors, variance);
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn an_unknown_factor_makes_the_variance_unknown() {
        let (class, ones) = ([0_u8; 9], [1.0_f32; 9]);
        let class_map = Plane::new("class_map", &class, (3, 3)).unwrap();
        let correlation = Correlation::new(&[1.0], (1, 1), class_map, None).unwrap();
        let mut factors = Factors::zeros((0, 2), (0, 2));
        factors.add(1, 1, f64::NAN);
        let variance = Plane::new("variance", &ones, (3, 3)).unwrap();
        for correlation in [Some(&correlation), None] {
            let photometer = Photometer {
                data: variance,
                variance: Some(variance),
                mask: None,
                labels: None,
                neighbours: Neighbours::Keep,
                noise_correlation: 1.0,
                correlation,
            };
            assert!(photometer.variance_of_sum(&factors).is_nan());
        }
    }

    #[test]
    fn kernels_that_are_no_odd_squares_are_refused() {
        let class = [0_u8];
        let class_map = Plane::new("class_map", &class, (1, 1)).unwrap();
        let said = |kernels: &[f64], side| {
            let outcome = Correlation::new(kernels, (1, side), class_map, None);
            outcome.unwrap_err().to_string()
        };
        assert!(said(&[1.0; 16], 4).contains("sides of 4 pixels"));
        assert!(said(&[1.0; 8], 3).contains("8 entries"));
    }
}
