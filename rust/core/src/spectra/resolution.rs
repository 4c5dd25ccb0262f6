//! How wide a line is at a wavelength.

/// Speed of light [km/s].
pub const LIGHT_KM_S: f64 = 299_792.458;
/// Full width at half maximum of a Gaussian over its sigma: `2 sqrt(2 ln 2)`.
pub const FWHM_OVER_SIGMA: f64 = 2.354_820_045_030_949;

/// Resolving power of a spectrum, and the width of what it looks at.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// Wavelengths in rising order [um].
    pub wave: Vec<f64>,
    /// Wavelength over the full width at half maximum of an unresolved line.
    pub power: Vec<f64>,
    /// By which the powers are multiplied.
    pub scale: f64,
    /// Width of lines in velocity, one sigma [km/s].
    pub velocity: f64,
}

impl Resolution {
    /// Sigma of a line at an observed wavelength [um]: `s^2 / wave^2 = (v / c)^2 + (1 / (2.355 R))^2`.
    #[must_use]
    pub fn sigma(&self, wave: f64) -> f64 {
        self.sigma_of(wave, self.velocity)
    }

    /// The same for a source with a width of its own in velocity, one sigma [km/s].
    #[must_use]
    pub fn sigma_of(&self, wave: f64, velocity: f64) -> f64 {
        let instrument = 1.0 / (FWHM_OVER_SIGMA * self.scale * self.power_at(wave));
        wave * (velocity / LIGHT_KM_S).hypot(instrument)
    }

    /// Resolving power between the tabulated wavelengths; the nearest one outside.
    fn power_at(&self, wave: f64) -> f64 {
        let after = self.wave.partition_point(|&w| w <= wave);
        if after == 0 {
            return self.power[0];
        }
        if after == self.wave.len() {
            return self.power[after - 1];
        }
        let part = (wave - self.wave[after - 1]) / (self.wave[after] - self.wave[after - 1]);
        self.power[after - 1] + part * (self.power[after] - self.power[after - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_of_instrument_and_source_add_in_quadrature() {
        let resolution = Resolution {
            wave: vec![1.0, 2.0],
            power: vec![100.0, 300.0],
            scale: 0.5,
            velocity: 1000.0,
        };
        let instrument = 1.5 / (100.0 * 8.0_f64.mul_add(2.0_f64.ln(), 0.0).sqrt());
        let source = 1.5 * 1000.0 / LIGHT_KM_S;
        assert!((resolution.sigma(1.5) - instrument.hypot(source)).abs() < 1e-15);
        assert_eq!(resolution.power_at(0.5), 100.0);
        assert_eq!(resolution.power_at(2.5), 300.0);
    }
}
