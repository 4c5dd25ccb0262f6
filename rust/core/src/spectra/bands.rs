//! Flux densities of spectra in filters, exact for spectra and filters that are straight between their points.

use rayon::prelude::*;

use super::SpectraError;
use crate::interrupt;

/// A filter that is straight between its points and zero outside.
#[derive(Clone, Debug)]
pub struct FilterCurve {
    /// Wavelengths, rising.
    pub wave: Vec<f64>,
    /// Part of the photons that is counted.
    pub throughput: Vec<f64>,
    /// What the integral is divided by: that of `throughput / wave` without extinction.
    pub norm: f64,
}

/// Spectra at rest on the same wavelengths, one after the other, and what is between us and them.
#[derive(Clone, Copy, Debug)]
pub struct RestSpectra<'a> {
    /// Wavelengths at rest, rising.
    pub wave: &'a [f64],
    /// `f_lambda`, spectrum after spectrum.
    pub flux: &'a [f64],
    /// Transmission of the first points at each redshift, redshift after redshift; 1 for the other points.
    pub transmission: &'a [f64],
}

/// Integrals `int f(wave / (1 + z)) T wave dwave / norm` of every spectrum in every filter: redshift after redshift,
/// in it spectrum after spectrum, in it filter after filter.
///
/// # Errors
/// When lengths do not fit together.
pub fn band_fluxes(
    spectra: RestSpectra<'_>,
    filters: &[FilterCurve],
    redshifts: &[f64],
) -> Result<Vec<f64>, SpectraError> {
    let (n, n_z) = (spectra.wave.len(), redshifts.len());
    let n_spectra = spectra.flux.len() / n.max(1);
    let n_cut = spectra.transmission.len() / n_z.max(1);
    for (name, found, expected) in [
        ("flux", spectra.flux.len(), n_spectra * n),
        ("transmission", spectra.transmission.len(), n_cut * n_z),
    ] {
        if found != expected || n < 2 {
            return Err(SpectraError::Length {
                name,
                found,
                expected,
            });
        }
    }
    for filter in filters {
        if filter.throughput.len() != filter.wave.len() {
            return Err(SpectraError::Length {
                name: "throughput",
                found: filter.throughput.len(),
                expected: filter.wave.len(),
            });
        }
    }
    let mut out = vec![0.0; n_z * n_spectra * filters.len()];
    if out.is_empty() {
        return Ok(out);
    }
    out.par_chunks_mut(n_spectra * filters.len())
        .enumerate()
        .for_each(|(k, block)| {
            interrupt::poll();
            let cut = &spectra.transmission[k * n_cut..(k + 1) * n_cut];
            let mut weights = Vec::new();
            for (j, filter) in filters.iter().enumerate() {
                let first = point_weights(spectra.wave, 1.0 + redshifts[k], filter, &mut weights);
                for (at, weight) in weights.iter_mut().enumerate() {
                    *weight *= cut.get(first + at).copied().unwrap_or(1.0) / filter.norm;
                }
                for (i, flux) in spectra.flux.chunks_exact(n).enumerate() {
                    let seen = &flux[first..first + weights.len()];
                    block[i * filters.len() + j] =
                        seen.iter().zip(&weights).map(|(f, w)| f * w).sum();
                }
            }
        });
    Ok(out)
}

/// Factor of each point of a spectrum in the integral over a filter; returns the first point that has one.
///
/// Between neighbours of both sets of points spectrum, filter and wavelength are straight, so that their product is a
/// cubic polynomial, of which Simpson's rule gives the exact integral.
fn point_weights(rest: &[f64], stretch: f64, filter: &FilterCurve, out: &mut Vec<f64>) -> usize {
    out.clear();
    let wave = |i: usize| rest[i] * stretch;
    let n = filter.wave.len();
    if n < 2 {
        return 0;
    }
    let low = filter.wave[0].max(wave(0));
    let high = filter.wave[n - 1].min(wave(rest.len() - 1));
    if low >= high {
        return 0;
    }
    let first = rest
        .partition_point(|w| w * stretch <= low)
        .saturating_sub(1);
    let mut cell = first;
    let mut piece = filter
        .wave
        .partition_point(|w| *w <= low)
        .saturating_sub(1)
        .min(n - 2);
    let mut a = low;
    while a < high {
        while cell + 2 < rest.len() && wave(cell + 1) <= a {
            cell += 1;
        }
        out.resize(cell - first + 2, 0.0);
        while piece + 2 < n && filter.wave[piece + 1] <= a {
            piece += 1;
        }
        let b = wave(cell + 1).min(filter.wave[piece + 1]).min(high);
        let (left, right) = (wave(cell), wave(cell + 1));
        let into = |x: f64| (x - left) / (right - left);
        let (w0, w1) = (filter.wave[piece], filter.wave[piece + 1]);
        let (t0, t1) = (filter.throughput[piece], filter.throughput[piece + 1]);
        let seen = |x: f64| (t0 + (t1 - t0) * (x - w0) / (w1 - w0)) * x;
        let middle = 0.5 * (a + b);
        let step = (b - a) / 6.0;
        let (mut before, mut after) = (0.0, 0.0);
        for (x, part) in [(a, 1.0), (middle, 4.0), (b, 1.0)] {
            let (u, g) = (into(x), step * part * seen(x));
            before += (1.0 - u) * g;
            after += u * g;
        }
        let at = cell - first;
        out[at] += before;
        out[at + 1] += after;
        if b <= a {
            break;
        }
        a = b;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> FilterCurve {
        FilterCurve {
            wave: vec![1.0, 1.25, 1.5, 2.0],
            throughput: vec![0.0, 1.0, 0.8, 0.0],
            norm: 1.0,
        }
    }

    #[test]
    fn a_straight_spectrum_gives_the_integral_of_the_polynomial() {
        // f = 2 + 3 x at z = 0 on points that are not those of the filter.
        let wave: Vec<f64> = (0..60).map(|i| 0.5 + 0.037 * f64::from(i)).collect();
        let flux: Vec<f64> = wave.iter().map(|x| 2.0 + 3.0 * x).collect();
        let spectra = RestSpectra {
            wave: &wave,
            flux: &flux,
            transmission: &[],
        };
        let found = band_fluxes(spectra, &[filter()], &[0.0]).unwrap()[0];
        // Each piece of the filter by Gauss-Legendre of two points, which is exact for cubics.
        let filter = filter();
        let mut wanted = 0.0;
        for i in 0..3 {
            let (a, b) = (filter.wave[i], filter.wave[i + 1]);
            let (ta, tb) = (filter.throughput[i], filter.throughput[i + 1]);
            for sign in [-1.0, 1.0] {
                let u = 0.5 + sign * 0.5 / 3.0_f64.sqrt();
                let x = a + u * (b - a);
                wanted += 0.5 * (b - a) * (ta + u * (tb - ta)) * x * (2.0 + 3.0 * x);
            }
        }
        assert!((found / wanted - 1.0).abs() < 1e-13, "{found} {wanted}");
    }

    #[test]
    fn redshift_stretches_and_spectra_that_end_inside_count_as_far_as_they_go() {
        let wave = [0.5, 0.75, 1.0];
        let flux = [1.0, 1.0, 1.0];
        let spectra = RestSpectra {
            wave: &wave,
            flux: &flux,
            transmission: &[],
        };
        let flat = FilterCurve {
            wave: vec![1.0, 2.0],
            throughput: vec![1.0, 1.0],
            norm: 1.0,
        };
        let found = band_fluxes(spectra, &[flat], &[0.0, 0.5, 1.0, 3.0]).unwrap();
        for (value, wanted) in found.iter().zip([0.0, 0.625, 1.5, 0.0]) {
            assert!((value - wanted).abs() < 1e-14, "{value} {wanted}");
        }
    }
}
