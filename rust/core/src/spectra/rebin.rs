//! Tabulated spectra on pixels of an instrument: smeared with its resolution and integrated over each pixel.

use super::igm::Igm;
use super::resolution::Resolution;

/// The Gaussian is steps of a third of its sigma out to five; their own width is taken off its variance.
const N_NODES: i32 = 15;
const NODE: f64 = 1.0 / 3.0;

/// A spectrum at rest, straight between its points and zero outside.
#[derive(Clone, Debug)]
pub struct Tabulated {
    wave: Vec<f64>,
    flux: Vec<f64>,
    /// Integral from the first point to each, and the integral of that.
    below: Vec<f64>,
    twice: Vec<f64>,
}

impl Tabulated {
    /// Wavelengths must rise.
    #[must_use]
    pub fn new(wave: Vec<f64>, flux: Vec<f64>) -> Self {
        let mut below = vec![0.0; wave.len()];
        let mut twice = vec![0.0; wave.len()];
        for i in 1..wave.len() {
            let width = wave[i] - wave[i - 1];
            below[i] = below[i - 1] + 0.5 * (flux[i] + flux[i - 1]) * width;
            let bend = (2.0 * flux[i - 1] + flux[i]) / 6.0;
            twice[i] = twice[i - 1] + width * (below[i - 1] + bend * width);
        }
        Self {
            wave,
            flux,
            below,
            twice,
        }
    }

    /// Flux at a wavelength at rest.
    fn flux_at(&self, wave: f64) -> f64 {
        let last = self.wave.len() - 1;
        if wave < self.wave[0] || wave > self.wave[last] {
            return 0.0;
        }
        let i = self.wave.partition_point(|&w| w <= wave).clamp(1, last);
        let part = (wave - self.wave[i - 1]) / (self.wave[i] - self.wave[i - 1]);
        self.flux[i - 1] + part * (self.flux[i] - self.flux[i - 1])
    }

    /// The spectrum behind what is between it and us at a redshift, from an observed wavelength [um] on; nothing when no
    /// part of that is absorbed.
    #[must_use]
    pub fn absorbed(&self, igm: &Igm, z: f64, low: f64) -> Option<Self> {
        let (low, high) = (low / (1.0 + z), igm.longest());
        let start = self.wave[0];
        if low.max(start) >= high {
            return None;
        }
        let mut wave = igm.nodes(low.max(start), high);
        let end = self.wave.partition_point(|&w| w <= high);
        let own = self.wave[..end].iter().filter(|w| **w >= low);
        wave.extend(own);
        wave.sort_by(f64::total_cmp);
        wave.dedup();
        let mut flux: Vec<f64> = wave
            .iter()
            .map(|&w| self.flux_at(w) * igm.transmission(w * (1.0 + z), z))
            .collect();
        wave.extend(&self.wave[end..]);
        flux.extend(&self.flux[end..]);
        Some(Self::new(wave, flux))
    }

    /// Twofold integral of all below a wavelength at rest; `near` is where the last search ended.
    fn integral(&self, wave: f64, near: &mut usize) -> f64 {
        let last = self.wave.len() - 1;
        if wave <= self.wave[0] {
            return 0.0;
        }
        if wave >= self.wave[last] {
            return self.twice[last] + (wave - self.wave[last]) * self.below[last];
        }
        let mut i = (*near).min(last - 1);
        if wave < self.wave[i] {
            i = self.wave[..i].partition_point(|&w| w <= wave) - 1;
        } else {
            // Pixels come in their order, so the place is not far: look ever further, then in between.
            let (mut next, mut step) = (i + 1, 1);
            while self.wave[next] <= wave {
                i = next;
                next = (next + step).min(last);
                step *= 2;
            }
            i += self.wave[i..next].partition_point(|&w| w <= wave) - 1;
        }
        *near = i;
        let (width, into) = (self.wave[i + 1] - self.wave[i], wave - self.wave[i]);
        let slope = (self.flux[i + 1] - self.flux[i]) / width;
        let bend = 0.5 * self.flux[i] + slope * into / 6.0;
        self.twice[i] + into * (self.below[i] + bend * into)
    }

    /// Mean flux density in pixels at a redshift; the value of the table where it is constant.
    #[must_use]
    pub fn draw(&self, edges: &[f64], resolution: &Resolution, z: f64) -> Vec<f64> {
        let narrower = 1.0 - NODE * NODE / 12.0;
        let weights: Vec<f64> = (-N_NODES..=N_NODES)
            .map(|k| (-0.5 * (f64::from(k) * NODE).powi(2) / narrower).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let stretch = 1.0 / (1.0 + z);
        let mut places = vec![(0, 0); weights.len() + 1];
        edges
            .windows(2)
            .map(|edge| {
                let step = NODE * resolution.sigma(0.5 * (edge[0] + edge[1]));
                let mut box_at = |k: usize| {
                    let shift = (k as f64 - f64::from(N_NODES) - 0.5) * step;
                    let near = &mut places[k];
                    self.integral((edge[1] + shift) * stretch, &mut near.1)
                        - self.integral((edge[0] + shift) * stretch, &mut near.0)
                };
                let mut before = box_at(0);
                let mut sum = 0.0;
                for (k, weight) in weights.iter().enumerate() {
                    let after = box_at(k + 1);
                    sum += weight * (after - before);
                    before = after;
                }
                sum / (total * stretch * stretch * step * (edge[1] - edge[0]))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectra::lines::LineComplex;

    fn resolution() -> Resolution {
        Resolution {
            wave: vec![0.5, 5.0],
            power: vec![100.0, 100.0],
            scale: 1.0,
            velocity: 0.0,
        }
    }

    #[test]
    fn straight_spectra_stay_as_they_are() {
        let table = Tabulated::new(vec![0.1, 1.0, 9.0], vec![0.1, 1.0, 9.0]);
        let edges: Vec<f64> = (0..=50).map(|i| 2.0 + 0.02 * f64::from(i)).collect();
        let drawn = table.draw(&edges, &resolution(), 1.0);
        for (value, edge) in drawn.iter().zip(edges.windows(2)) {
            assert!((value - 0.25 * (edge[0] + edge[1])).abs() < 1e-9);
        }
    }

    #[test]
    fn a_narrow_triangle_becomes_a_line() {
        let (centre, half) = (1.0, 2e-4);
        let table = Tabulated::new(
            vec![0.1, centre - half, centre, centre + half, 5.0],
            vec![0.0, 0.0, 1.0 / half, 0.0, 0.0],
        );
        let line = LineComplex {
            rest: vec![centre],
            parts: vec![1.0],
            redshifts: [-1.0, 99.0],
            velocity: None,
        };
        let edges: Vec<f64> = (0..=200).map(|i| 2.0 + 0.01 * f64::from(i)).collect();
        let z = 2.003;
        let drawn = table.draw(&edges, &resolution(), z);
        let exact = line.draw(&edges, &resolution(), z);
        let peak = exact.values.iter().copied().fold(0.0, f64::max);
        // The table keeps its height when it is stretched, so its flux grows by 1 + z.
        for (i, value) in drawn.iter().enumerate() {
            let at = i.wrapping_sub(exact.first);
            let want = (1.0 + z) * exact.values.get(at).copied().unwrap_or(0.0);
            // The line has the width of its centre, the pixels of the table their own: a difference of 1 per cent.
            assert!(
                (value - want).abs() < 0.02 * peak * (1.0 + z),
                "{i} {value} {want}"
            );
        }
        let flux: f64 = drawn.iter().map(|v| v * 0.01).sum();
        assert!((flux - (1.0 + z)).abs() < 0.01, "{flux}");
    }
}
