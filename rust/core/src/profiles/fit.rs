//! A Sersic profile and a level fitted to a stamp.

use super::ProfileError;
use super::convolved::{Convolver, Drawing};
use super::sersic::Sersic;
use crate::image::{Image, Plane};
use crate::math::levmar::{Minimum, Normal, Stop, covariance, minimise};

/// The parameters of [`Sersic`] and the level of the sky.
pub const N_FITTED: usize = 8;

/// What a fit may do.
#[derive(Clone, Copy, Debug)]
pub struct FitParams {
    /// Lowest and highest value of every parameter, in the order of [`Sersic`], then the sky; equal ones hold it.
    pub bounds: [(f64, f64); N_FITTED],
    /// Most evaluations of the model.
    pub max_evaluations: usize,
    /// Change of chi-square below which it has converged.
    pub tolerance: f64,
    /// Angles of the start, spread over half a turn, among which the best is taken [1].
    pub n_angles: usize,
}

/// A fitted profile.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// The profile.
    pub source: Sersic,
    /// Level of the sky.
    pub sky: f64,
    /// Covariance of its parameters and of the sky; NaN where the pixels do not tell.
    pub covariance: [[f64; N_FITTED]; N_FITTED],
    /// `sum (data - model)^2 / variance`.
    pub chi2: f64,
    /// Number of pixels that count.
    pub n_pixels: usize,
    /// Which parameters lie on a bound.
    pub on_bound: [bool; N_FITTED],
    /// Whether chi-square had converged.
    pub has_converged: bool,
    /// How often the model was evaluated.
    pub n_evaluations: usize,
}

/// Size and index are fitted by their logarithms, fluxes in units of the start, and the shape by the ellipticity
/// `(1 - q) (cos 2 theta, sin 2 theta)`, which is smooth where a source is round.
struct Scaled {
    flux: f64,
    least_q: f64,
}

/// Below this ellipticity a source has no angle.
const ROUND: f64 = 1e-6;

impl Scaled {
    fn inner(&self, source: &Sersic, sky: f64) -> [f64; N_FITTED] {
        let (sin, cos) = (2.0 * source.theta).sin_cos();
        let e = (1.0 - source.q).max(ROUND);
        [
            source.x,
            source.y,
            source.flux / self.flux,
            source.r_e.ln(),
            source.n.ln(),
            e * cos,
            e * sin,
            sky / self.flux,
        ]
    }

    /// The source and the level of the sky; None when it is too thin.
    fn outer(&self, p: &[f64; N_FITTED]) -> Option<(Sersic, f64)> {
        let source = Sersic {
            x: p[0],
            y: p[1],
            flux: p[2] * self.flux,
            r_e: p[3].exp(),
            n: p[4].exp(),
            q: 1.0 - p[5].hypot(p[6]),
            theta: 0.5 * p[6].atan2(p[5]),
        };
        (source.q >= self.least_q).then_some((source, p[7] * self.flux))
    }

    /// Derivatives of the outer parameters by the inner ones: a row for each outer one.
    fn jacobian(&self, source: &Sersic) -> [[f64; N_FITTED]; N_FITTED] {
        let (sin, cos) = (2.0 * source.theta).sin_cos();
        let e = (1.0 - source.q).max(ROUND);
        let mut by = [[0.0; N_FITTED]; N_FITTED];
        let alone = [
            (0, 1.0),
            (1, 1.0),
            (2, self.flux),
            (3, source.r_e),
            (4, source.n),
            (7, self.flux),
        ];
        for (i, slope) in alone {
            by[i][i] = slope;
        }
        (by[5][5], by[5][6]) = (-cos, -sin);
        (by[6][5], by[6][6]) = (-0.5 * sin / e, 0.5 * cos / e);
        by
    }

    fn bounds(&self, outer: &[(f64, f64); N_FITTED]) -> [(f64, f64); N_FITTED] {
        std::array::from_fn(|i| {
            let (low, high) = outer[i];
            match i {
                2 | 7 => (low / self.flux, high / self.flux),
                3 | 4 => (low.ln(), high.ln()),
                5 | 6 => (-1.0, 1.0),
                _ => (low, high),
            }
        })
    }
}

/// The pixels that a model is held against; those of weight 0 do not count.
struct Pixels<'a> {
    data: &'a [f32],
    weight: Vec<f64>,
}

/// Fit a profile to a stamp: the least chi-square within bounds. `variance` that is not positive and finite, data that
/// is not finite and masked pixels do not count.
///
/// # Errors
/// When shapes differ, no pixel counts, or a parameter of the start is not allowed.
pub fn fit_sersic(
    convolver: &Convolver,
    data: Plane<'_, f32>,
    variance: Plane<'_, f32>,
    mask: Option<Plane<'_, bool>>,
    start: &Sersic,
    sky: f64,
    params: &FitParams,
) -> Result<Fit, ProfileError> {
    let shape = convolver.shape();
    let data = data.of_shape("data", shape)?;
    let variance = variance.of_shape("variance", shape)?;
    let mask = mask.map(|m| m.of_shape("mask", shape)).transpose()?;
    start.check(0)?;
    let counts = |i: usize| {
        let v = variance.pixels()[i];
        data.pixels()[i].is_finite()
            && v > 0.0
            && v.is_finite()
            && !mask.is_some_and(|m| m.pixels()[i])
    };
    let weight: Vec<f64> = (0..data.pixels().len())
        .map(|i| {
            if counts(i) {
                1.0 / f64::from(variance.pixels()[i])
            } else {
                0.0
            }
        })
        .collect();
    let n_pixels = weight.iter().filter(|&&w| w > 0.0).count();
    if n_pixels == 0 {
        return Err(ProfileError::NoGoodPixel(weight.len()));
    }
    let pixels = Pixels {
        data: data.pixels(),
        weight,
    };
    let scaled = Scaled {
        flux: if start.flux == 0.0 {
            1.0
        } else {
            start.flux.abs()
        },
        least_q: params.bounds[5].0,
    };
    let bounds = scaled.bounds(&params.bounds);
    let stop = Stop {
        max_evaluations: params.max_evaluations,
        tolerance: params.tolerance,
    };
    let model = |p: &[f64; N_FITTED]| {
        let (source, sky) = scaled.outer(p)?;
        let drawing = convolver.draw_with_derivatives(&source).ok()?;
        Some(pixels.normal(&drawing, sky, &scaled.jacobian(&source)))
    };
    let started = |source: &Sersic| minimise(scaled.inner(source, sky), &bounds, stop, model);
    let found = (0..params.n_angles.max(1))
        .filter_map(|k| {
            let turn = std::f64::consts::PI * k as f64 / params.n_angles.max(1) as f64;
            started(&Sersic {
                theta: start.theta + turn,
                ..*start
            })
        })
        .min_by(|a, b| a.normal.cost.total_cmp(&b.normal.cost))
        .ok_or(ProfileError::NoGoodPixel(pixels.weight.len()))?;
    outcome(&found, &scaled, n_pixels).ok_or(ProfileError::NoGoodPixel(n_pixels))
}

fn outcome(found: &Minimum<N_FITTED>, scaled: &Scaled, n_pixels: usize) -> Option<Fit> {
    let (source, sky) = scaled.outer(&found.at)?;
    let by = scaled.jacobian(&source);
    let inner = covariance(&found.normal.curvature, &found.on_bound.map(|b| !b));
    let carried = |c: &[[f64; N_FITTED]; N_FITTED], i: usize, j: usize| -> f64 {
        (0..N_FITTED)
            .flat_map(|k| (0..N_FITTED).map(move |l| (k, l)))
            .map(|(k, l)| by[i][k] * c[k][l] * by[j][l])
            .sum()
    };
    let covariance = std::array::from_fn(|i| {
        std::array::from_fn(|j| inner.as_ref().map_or(f64::NAN, |c| carried(c, i, j)))
    });
    Some(Fit {
        source,
        sky,
        covariance,
        chi2: found.normal.cost,
        n_pixels,
        on_bound: found.on_bound,
        has_converged: found.has_converged,
        n_evaluations: found.n_evaluations,
    })
}

impl Pixels<'_> {
    /// Sums over the pixels for a model whose parameters have derivatives `jacobian` by those that are fitted.
    fn normal(
        &self,
        drawing: &Drawing,
        sky: f64,
        jacobian: &[[f64; N_FITTED]; N_FITTED],
    ) -> Normal<N_FITTED> {
        let mut normal = Normal {
            cost: 0.0,
            descent: [0.0; N_FITTED],
            curvature: [[0.0; N_FITTED]; N_FITTED],
        };
        let value = drawing.value.pixels();
        let by: Vec<&[f64]> = drawing.by.iter().map(Image::pixels).collect();
        for (i, &weight) in self.weight.iter().enumerate() {
            if weight == 0.0 {
                continue;
            }
            let residual = f64::from(self.data[i]) - value[i] - sky;
            let outer: [f64; N_FITTED] =
                std::array::from_fn(|k| by.get(k).map_or(1.0, |plane| plane[i]));
            let mut slope: [f64; N_FITTED] = std::array::from_fn(|k| jacobian[k][k] * outer[k]);
            slope[5] = jacobian[5][5] * outer[5] + jacobian[6][5] * outer[6];
            slope[6] = jacobian[5][6] * outer[5] + jacobian[6][6] * outer[6];
            normal.cost += weight * residual * residual;
            for k in 0..N_FITTED {
                let weighted = weight * slope[k];
                normal.descent[k] += weighted * residual;
                for (sum, slope) in normal.curvature[k].iter_mut().zip(&slope[..=k]) {
                    *sum += weighted * slope;
                }
            }
        }
        for k in 0..N_FITTED {
            for l in 0..k {
                normal.curvature[l][k] = normal.curvature[k][l];
            }
        }
        normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noiseless_source_is_recovered_from_afar() {
        let side = 48;
        let sigma: f64 = 1.3;
        let psf: Vec<f64> = (0..625)
            .map(|i| (f64::from(i % 25) - 12.0, f64::from(i / 25) - 12.0))
            .map(|(x, y)| {
                (-0.5 * (x * x + y * y) / (sigma * sigma)).exp()
                    / (std::f64::consts::TAU * sigma * sigma)
            })
            .collect();
        let psf = Plane::new("psf", &psf, (25, 25)).unwrap();
        let convolver = Convolver::new(psf, true, (side, side)).unwrap();
        for (r_e, n, q) in [(3.0, 1.0, 0.5), (5.0, 4.0, 0.8), (1.5, 2.0, 0.3)] {
            let truth = Sersic {
                x: 23.3,
                y: 24.9,
                flux: 1e4,
                r_e,
                n,
                q,
                theta: 0.7,
            };
            let mut image: Vec<f32> = convolver
                .draw(&[truth])
                .unwrap()
                .into_vec()
                .iter()
                .map(|&v| v as f32)
                .collect();
            for pixel in &mut image {
                *pixel += 2.0;
            }
            let variance = vec![1.0_f32; side * side];
            let start = Sersic {
                x: 24.0,
                y: 24.0,
                flux: 7e3,
                r_e: 4.0,
                n: 1.5,
                q: 0.8,
                theta: 0.0,
            };
            let params = FitParams {
                bounds: [
                    (20.0, 28.0),
                    (20.0, 28.0),
                    (0.0, 1e9),
                    (0.01, 100.0),
                    (0.1, 8.0),
                    (0.05, 1.0),
                    (-10.0, 10.0),
                    (-100.0, 100.0),
                ],
                max_evaluations: 100,
                tolerance: 1e-6,
                n_angles: 1,
            };
            let plane = |v| Plane::new("data", v, (side, side)).unwrap();
            let fit = fit_sersic(
                &convolver,
                plane(&image),
                plane(&variance),
                None,
                &start,
                0.0,
                &params,
            )
            .unwrap();
            assert!(fit.has_converged && fit.chi2 < 1e-2, "{fit:?}");
            assert!(
                (fit.source.r_e / r_e - 1.0).abs() < 1e-3 && (fit.source.n / n - 1.0).abs() < 2e-3,
                "{fit:?}"
            );
            assert!(
                (fit.source.q - q).abs() < 1e-3 && (fit.sky - 2.0).abs() < 1e-2,
                "{fit:?}"
            );
            assert!((0..N_FITTED).all(|i| fit.covariance[i][i] > 0.0));
            println!("{r_e} {n} {q}: {} evaluations", fit.n_evaluations);
        }
    }
}
