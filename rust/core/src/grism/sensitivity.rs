//! Curves that are straight between points, and their exact integrals over pixels.

use super::GrismError;
use super::order::borders;

/// A curve along wavelength, straight between its points and zero outside.
#[derive(Clone, Debug)]
pub struct Sensitivity {
    wave: Vec<f64>,
    value: Vec<f64>,
    /// Integral from the first point to each.
    below: Vec<f64>,
}

impl Sensitivity {
    /// # Errors
    /// When there are fewer than two points, lengths differ, or wavelengths do not rise.
    pub fn new(name: &'static str, wave: Vec<f64>, value: Vec<f64>) -> Result<Self, GrismError> {
        if wave.len() < 2 || wave.len() != value.len() {
            return Err(GrismError::Length {
                name,
                found: value.len(),
                wanted: "as many as wavelengths, two or more",
            });
        }
        let is_rising = wave.windows(2).all(|w| w[0] < w[1]);
        if !is_rising || wave.iter().any(|w| !w.is_finite()) {
            return Err(GrismError::Order(name));
        }
        let mut below = vec![0.0; wave.len()];
        for i in 1..wave.len() {
            below[i] = below[i - 1] + 0.5 * (value[i] + value[i - 1]) * (wave[i] - wave[i - 1]);
        }
        Ok(Self { wave, value, below })
    }

    /// The first and the last point.
    #[must_use]
    pub fn range(&self) -> [f64; 2] {
        [self.wave[0], self.wave[self.wave.len() - 1]]
    }

    fn piece(&self, wave: f64) -> usize {
        self.wave
            .partition_point(|&w| w <= wave)
            .clamp(1, self.wave.len() - 1)
            - 1
    }

    fn on_piece(&self, i: usize, wave: f64) -> f64 {
        let slope = (self.value[i + 1] - self.value[i]) / (self.wave[i + 1] - self.wave[i]);
        self.value[i] + slope * (wave - self.wave[i])
    }

    /// Integral from below all points.
    fn integral(&self, wave: f64) -> f64 {
        let [first, last] = self.range();
        if wave <= first {
            return 0.0;
        }
        if wave >= last {
            return self.below[self.below.len() - 1];
        }
        let i = self.piece(wave);
        let into = wave - self.wave[i];
        self.below[i] + 0.5 * into * (self.value[i] + self.on_piece(i, wave))
    }

    /// Integrals between borders that rise or fall, or do both.
    #[must_use]
    pub fn integrals(&self, edges: &[f64]) -> Vec<f64> {
        let at: Vec<f64> = edges.iter().map(|&edge| self.integral(edge)).collect();
        at.windows(2)
            .zip(edges.windows(2))
            .map(|(w, edge)| (w[1] - w[0]) * (edge[1] - edge[0]).signum())
            .collect()
    }

    /// The same, zero for a pixel that is not wholly between the first and the last point.
    #[must_use]
    pub fn whole_integrals(&self, edges: &[f64]) -> Vec<f64> {
        let [first, last] = self.range();
        let mut sums = self.integrals(edges);
        for (sum, edge) in sums.iter_mut().zip(edges.windows(2)) {
            if edge[0].min(edge[1]) < first || edge[0].max(edge[1]) > last {
                *sum = 0.0;
            }
        }
        sums
    }

    /// Integrals over pixels with these wavelengths in their middles; zero for those not wholly on the curve.
    #[must_use]
    pub fn of_pixels(&self, wave: &[f64]) -> Vec<f64> {
        match wave.len() {
            0 => Vec::new(),
            _ => self.whole_integrals(&borders(wave)),
        }
    }

    /// Integrals of the product with another curve between borders, which may rise, fall, or do both.
    #[must_use]
    pub fn products(&self, other: &Self, edges: &[f64]) -> Vec<f64> {
        let falls = edges.first() > edges.last();
        let is_even = if falls {
            edges.is_sorted_by(|a, b| a >= b)
        } else {
            edges.is_sorted()
        };
        if edges.len() > 2 && !is_even {
            let one = |edge: &[f64]| self.products(other, edge)[0];
            return edges.windows(2).map(one).collect();
        }
        let mut rising: Vec<f64> = edges.to_vec();
        if falls {
            rising.reverse();
        }
        let mut sums = self.rising_products(other, &rising);
        if falls {
            sums.reverse();
        }
        sums
    }

    fn rising_products(&self, other: &Self, edges: &[f64]) -> Vec<f64> {
        let (a, b) = (self.range(), other.range());
        let (first, last) = (a[0].max(b[0]), a[1].min(b[1]));
        let mut sums = vec![0.0; edges.len().saturating_sub(1)];
        let (mut i, mut j) = (self.piece(first), other.piece(first));
        for (sum, edge) in sums.iter_mut().zip(edges.windows(2)) {
            let (mut from, end) = (edge[0].max(first), edge[1].min(last));
            while from < end {
                while i + 2 < self.wave.len() && self.wave[i + 1] <= from {
                    i += 1;
                }
                while j + 2 < other.wave.len() && other.wave[j + 1] <= from {
                    j += 1;
                }
                let to = end.min(self.wave[i + 1]).min(other.wave[j + 1]);
                let product = |w: f64| self.on_piece(i, w) * other.on_piece(j, w);
                // Simpson's rule is exact for the product of two straight lines.
                let middle = product(0.5 * (from + to));
                *sum += (to - from) / 6.0 * (product(from) + 4.0 * middle + product(to));
                from = to;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_and_products_are_exact_in_both_directions() {
        let line = |n: usize, step: f64, f: fn(f64) -> f64| {
            let wave: Vec<f64> = (0..n).map(|i| 1.0 + step * i as f64).collect();
            let value = wave.iter().map(|&w| f(w)).collect();
            Sensitivity::new("a", wave, value).unwrap()
        };
        let (a, b) = (line(31, 0.1, |w| w), line(8, 0.5, |w| 2.0 - w));
        let edges = [0.5, 1.25, 2.0, 3.7, 9.0];
        let sums = a.integrals(&edges);
        assert!((sums[1] - (2.0 - 1.25 * 1.25 / 2.0)).abs() < 1e-14);
        let falling: Vec<f64> = edges.iter().rev().copied().collect();
        let below = line(31, 0.1, |w| -w);
        for (found, sum) in below.integrals(&falling).iter().rev().zip(&sums) {
            assert!((found + sum).abs() < 1e-14, "curves may be negative");
        }
        assert_eq!(a.whole_integrals(&edges)[0], 0.0);
        assert_eq!(a.whole_integrals(&edges)[3], 0.0);
        let product = |from: f64, to: f64| {
            let f = |w: f64| w * w - w * w * w / 3.0;
            f(to) - f(from)
        };
        let found = a.products(&b, &edges);
        let wanted = [
            product(1.0, 1.25),
            product(1.25, 2.0),
            product(2.0, 3.7),
            product(3.7, 4.0),
        ];
        for (f, w) in found.iter().zip(wanted) {
            assert!((f - w).abs() < 1e-13, "{f} {w}");
        }
        let falling: Vec<f64> = edges.iter().rev().copied().collect();
        let back: Vec<f64> = a.products(&b, &falling).into_iter().rev().collect();
        assert_eq!(back, found);
        // There and back again.
        let bent: Vec<f64> = edges
            .iter()
            .chain(falling.iter().skip(1))
            .copied()
            .collect();
        let both: Vec<f64> = found.iter().chain(found.iter().rev()).copied().collect();
        assert_eq!(a.products(&b, &bent), both);
        assert!(Sensitivity::new("a", vec![1.0, 1.0], vec![0.0, 0.0]).is_err());
    }
}
