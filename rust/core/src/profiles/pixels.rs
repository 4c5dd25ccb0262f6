//! The pixels of a stamp and how a model is compared with them.

use super::ProfileError;
use crate::image::Plane;
use crate::math::sums::dot;

/// What the noise of a pixel follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likelihood {
    /// The variance that is given.
    Gaussian,
    /// Counts: the variance is the model.
    Poisson,
}

/// Counts below which a model is bent so that it stays positive.
const LEAST_COUNTS: f64 = 1e-3;

/// The pixels that are fitted; those of weight 0 do not count.
#[derive(Clone, Debug)]
pub struct Pixels {
    shape: (usize, usize),
    data: Vec<f64>,
    weight: Vec<f64>,
    /// Roots of the weights.
    root: Vec<f64>,
    /// Light of other sources, which is not in the data any more but in the noise of counts; empty for none.
    others: Vec<f64>,
    likelihood: Likelihood,
    /// Place `(x, y)` where the level of the sky is that of its plane [pix].
    sky_at: (f64, f64),
}

impl Pixels {
    /// Pixels that are finite, have a positive and finite variance, and are not masked. For counts the variance only
    /// says which of them there are.
    ///
    /// # Errors
    /// When shapes differ or no pixel counts.
    pub fn new(
        data: Plane<'_, f32>,
        variance: Plane<'_, f32>,
        mask: Option<Plane<'_, bool>>,
        likelihood: Likelihood,
    ) -> Result<Self, ProfileError> {
        let shape = data.shape();
        let variance = variance.of_shape("variance", shape)?;
        let mask = mask.map(|m| m.of_shape("mask", shape)).transpose()?;
        let counts = |i: usize, v: f32| {
            let is_number = data.pixels()[i].is_finite() && v > 0.0 && v.is_finite();
            is_number && !mask.is_some_and(|m| m.pixels()[i])
        };
        let weigh = |(i, &v): (usize, &f32)| {
            if counts(i, v) {
                1.0 / f64::from(v)
            } else {
                0.0
            }
        };
        let weight: Vec<f64> = variance.pixels().iter().enumerate().map(weigh).collect();
        let known =
            |(&value, &weight): (&f32, &f64)| if weight > 0.0 { f64::from(value) } else { 0.0 };
        let data = data.pixels().iter().zip(&weight).map(known).collect();
        if weight.iter().all(|&w| w == 0.0) {
            return Err(ProfileError::NoGoodPixel(weight.len()));
        }
        Ok(Self {
            shape,
            data,
            root: weight.iter().map(|w| w.sqrt()).collect(),
            weight,
            others: Vec::new(),
            likelihood,
            sky_at: (0.5 * (shape.1 as f64 - 1.0), 0.5 * (shape.0 as f64 - 1.0)),
        })
    }

    /// The same pixels with the level of the sky counted at a place `(x, y)`, and not in the middle.
    pub(super) fn with_sky_at(self, place: (f64, f64)) -> Self {
        Self {
            sky_at: place,
            ..self
        }
    }

    /// Place `(x, y)` at which the level of the sky counts.
    pub(super) fn sky_at(&self) -> (f64, f64) {
        self.sky_at
    }

    /// The same pixels less the light of other sources, whose noise stays.
    pub(super) fn without(mut self, others: &[f32]) -> Self {
        for ((value, &weight), &light) in self.data.iter_mut().zip(&self.weight).zip(others) {
            if weight > 0.0 {
                *value -= f64::from(light);
            }
        }
        if self.likelihood == Likelihood::Poisson {
            self.others = others.iter().map(|&light| f64::from(light)).collect();
        }
        self
    }

    /// Shape of the stamp.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// What their noise follows.
    #[must_use]
    pub fn likelihood(&self) -> Likelihood {
        self.likelihood
    }

    /// The pixels; those that do not count are 0.
    #[must_use]
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// The inverse variances.
    #[must_use]
    pub fn weight(&self) -> &[f64] {
        &self.weight
    }

    pub(super) fn n_pixels(&self) -> usize {
        self.weight.iter().filter(|&&w| w > 0.0).count()
    }

    /// What must be added to a model at least so that counts can come from it.
    pub(super) fn lack(&self, model: &[f64]) -> f64 {
        if self.likelihood == Likelihood::Gaussian {
            return 0.0;
        }
        let counts = (0..model.len()).filter(|&i| self.weight[i] > 0.0);
        let least = counts
            .map(|i| model[i] + self.other(i))
            .fold(f64::MAX, f64::min);
        (LEAST_COUNTS - least).max(0.0)
    }

    fn other(&self, i: usize) -> f64 {
        self.others.get(i).copied().unwrap_or(0.0)
    }

    /// How well the pixels `from..from + model.len()` agree with a model: twice the negative logarithm of the likelihood,
    /// but for a constant. `root` gets the factors that turn derivatives of the model into those of the residuals, and
    /// `residual` the residuals, both in units of the noise. Counts of a model `m` below a least one `l` have the mean
    /// `l exp(m / l - 1)`.
    ///
    /// # Source
    /// Cash 1979, `ApJ` 228, 939, eq. 6, less its value for a perfect model.
    #[inline(always)]
    pub(super) fn compare(
        &self,
        from: usize,
        model: &[f64],
        root: &mut [f64],
        residual: &mut [f64],
    ) -> f64 {
        let own = from..from + model.len();
        if self.likelihood == Likelihood::Gaussian {
            root.copy_from_slice(&self.root[own.clone()]);
            let pairs = self.data[own].iter().zip(model).zip(&*root);
            for (residual, ((d, m), w)) in residual.iter_mut().zip(pairs) {
                *residual = (d - m) * w;
            }
            return dot(residual, residual);
        }
        let mut cost = 0.0;
        for ((i, &m), (root, residual)) in own.zip(model).zip(root.iter_mut().zip(residual)) {
            (*root, *residual) = (0.0, 0.0);
            if self.weight[i] == 0.0 {
                continue;
            }
            let (d, m) = (self.data[i] + self.other(i), m + self.other(i));
            let (ln_mean, bent) = if m < LEAST_COUNTS {
                let bend = m / LEAST_COUNTS - 1.0;
                (LEAST_COUNTS.ln() + bend, bend.exp())
            } else {
                (m.ln(), 1.0)
            };
            let mean = ln_mean.exp();
            cost += 2.0 * (mean - d + if d > 0.0 { d * (d.ln() - ln_mean) } else { 0.0 });
            let noise = mean.sqrt().max(f64::MIN_POSITIVE);
            *root = bent / noise;
            *residual = (d - mean) / noise;
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_of_cashs_statistic_are_differences_above_and_below_the_least_counts() {
        let data = [0.0_f32, 3.0];
        let plane = Plane::new("data", &data, (1, 2)).unwrap();
        let ones = [1.0_f32; 2];
        let variance = Plane::new("variance", &ones, (1, 2)).unwrap();
        let pixels = Pixels::new(plane, variance, None, Likelihood::Poisson).unwrap();
        for m in [-2e-3, 5e-4, 0.4, 7.0] {
            for i in 0..2 {
                let at = |step: f64| {
                    let mut model = [1.0, 1.0];
                    model[i] = m + step;
                    let (mut root, mut residual) = ([0.0; 2], [0.0; 2]);
                    let cost = pixels.compare(0, &model, &mut root, &mut residual);
                    (cost, -2.0 * root[i] * residual[i])
                };
                let h = 1e-7;
                let slope = (at(h).0 - at(-h).0) / (2.0 * h);
                let expected = at(0.0).1;
                assert!(
                    (slope - expected).abs() < 1e-4 * (1.0 + slope.abs()),
                    "{m} {i}: {slope} {expected}"
                );
            }
        }
        assert_eq!(pixels.lack(&[-0.5, 1.0]), 0.5 + LEAST_COUNTS);
    }
}
