//! Emission lines: Gaussians integrated over pixels.

use super::resolution::Resolution;
use super::templates::Column;
use crate::math::gamma::normal_below;

/// Half of the width in which a line is drawn [sigma]; 1e-15 of its light is outside.
const REACH: f64 = 8.0;

/// Lines whose fluxes have fixed ratios.
#[derive(Clone, Debug)]
pub struct LineComplex {
    /// Wavelengths at rest [um].
    pub rest: Vec<f64>,
    /// Part of each in the flux of all; they sum to 1.
    pub parts: Vec<f64>,
    /// Redshifts above the first and up to the second have this complex.
    pub redshifts: [f64; 2],
    /// Their width in velocity, one sigma [km/s], where it is not that of the spectrum.
    pub velocity: Option<f64>,
}

impl LineComplex {
    /// The wavelength at rest of the strongest line, the first of equal ones.
    #[must_use]
    pub fn main(&self) -> f64 {
        let mut best = 0;
        for i in 1..self.parts.len() {
            if self.parts[i] > self.parts[best] {
                best = i;
            }
        }
        self.rest[best]
    }

    /// Mean flux density of the complex with a flux of 1 in each pixel [1 / um].
    #[must_use]
    pub fn draw(&self, edges: &[f64], resolution: &Resolution, z: f64) -> Column {
        let velocity = self.velocity.unwrap_or(resolution.velocity);
        let centres: Vec<(f64, f64)> = self
            .rest
            .iter()
            .map(|rest| rest * (1.0 + z))
            .map(|centre| (centre, resolution.sigma_of(centre, velocity)))
            .collect();
        let low = centres.iter().map(|(c, s)| c - REACH * s);
        let high = centres.iter().map(|(c, s)| c + REACH * s);
        let low = low.fold(f64::INFINITY, f64::min);
        let high = high.fold(f64::NEG_INFINITY, f64::max);
        let n = edges.len() - 1;
        let first = edges
            .partition_point(|&e| e <= low)
            .saturating_sub(1)
            .min(n);
        let last = edges.partition_point(|&e| e < high).min(n);
        let mut values = vec![0.0; last.saturating_sub(first)];
        for ((centre, sigma), part) in centres.iter().zip(&self.parts) {
            let start = edges.partition_point(|&e| e <= centre - REACH * sigma);
            let start = start.saturating_sub(1).max(first);
            let mut before = normal_below((edges[start] - centre) / sigma);
            for i in start..last {
                if edges[i] > centre + REACH * sigma {
                    break;
                }
                let after = normal_below((edges[i + 1] - centre) / sigma);
                values[i - first] += part * (after - before) / (edges[i + 1] - edges[i]);
                before = after;
            }
        }
        Column { first, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolution() -> Resolution {
        Resolution {
            wave: vec![0.5, 5.0],
            power: vec![40.0, 400.0],
            scale: 1.0,
            velocity: 100.0,
        }
    }

    #[test]
    fn the_flux_of_a_complex_inside_is_one_whatever_the_pixels() {
        let complex = LineComplex {
            rest: vec![0.5008, 0.4960],
            parts: vec![0.75, 0.25],
            redshifts: [-1.0, 99.0],
            velocity: None,
        };
        for step in [0.001, 0.013, 0.4] {
            let edges: Vec<f64> = (0..=(4.0 / step) as usize)
                .map(|i| 1.0 + step * i as f64)
                .collect();
            let drawn = complex.draw(&edges, &resolution(), 4.2);
            let flux: f64 = drawn.values.iter().map(|v| v * step).sum();
            assert!((flux - 1.0).abs() < 1e-12, "{flux}");
        }
    }

    #[test]
    fn a_line_beside_the_spectrum_leaves_what_falls_on_it() {
        let complex = LineComplex {
            rest: vec![1.0],
            parts: vec![1.0],
            redshifts: [-1.0, 99.0],
            velocity: None,
        };
        let edges: Vec<f64> = (0..=100).map(|i| 2.0 + 0.01 * f64::from(i)).collect();
        let flux = |z: f64| -> f64 {
            let drawn = complex.draw(&edges, &resolution(), z);
            drawn.values.iter().map(|v| v * 0.01).sum()
        };
        assert!((flux(1.0) - 0.5).abs() < 1e-12);
        assert_eq!(flux(0.2), 0.0);
        assert_eq!(flux(9.0), 0.0);
        assert_eq!(complex.main(), 1.0);
    }
}
