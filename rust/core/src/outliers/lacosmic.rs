//! Cosmic rays of a single exposure: sharper than anything that the optics let through (L.A.Cosmic).
//!
//! Medians cost most. What they are for is asked at few pixels only: the Laplacian over a lower bound of the noise
//! leaves out all but a few candidates, whatever the median of the noise is.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::{OutliersError, check_shape};
use crate::interrupt;
use crate::math::stats::median_in_place;

/// Least variance, so that its root is not 0.
const LEAST_VARIANCE: f32 = 1e-5;
/// Least fine structure in units of the noise.
const LEAST_STRUCTURE: f32 = 0.01;

/// How a cosmic ray's pixel is filled, from the good pixels of the 5 x 5 around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Their mean.
    Mean,
    /// Their median.
    Median,
    /// Their mean weighted by the inverse of their distance.
    Distance,
}

impl Fill {
    /// The filling of that name.
    ///
    /// # Errors
    /// [`OutliersError::Name`].
    pub fn from_name(name: &str) -> Result<Self, OutliersError> {
        match name {
            "mean" => Ok(Self::Mean),
            "median" => Ok(Self::Median),
            "distance" => Ok(Self::Distance),
            _ => Err(OutliersError::Name {
                name: "fill",
                value: name.into(),
                wanted: "mean, median or distance",
            }),
        }
    }
}

/// Limits of L.A.Cosmic.
#[derive(Clone, Copy, Debug)]
pub struct LacosmicParams {
    /// Least Laplacian in units of its noise.
    pub sigma: f32,
    /// The same for pixels beside a cosmic ray.
    pub sigma_near: f32,
    /// Least Laplacian in units of the fine structure.
    pub contrast: f32,
    /// Level from which on the cores of stars are saturated.
    pub saturation: f32,
    /// Rounds of finding and filling at most.
    pub n_rounds: usize,
    /// How pixels are filled.
    pub fill: Fill,
}

/// An image while cosmic rays are taken out of it.
struct Image<'a> {
    ny: usize,
    nx: usize,
    /// Electrons without background.
    data: Vec<f32>,
    /// Variance without that of the background.
    variance: Vec<f32>,
    background: Option<&'a [f32]>,
    good: Vec<bool>,
}

/// Values around a pixel, at most 7 x 7.
struct Window {
    values: [f32; 49],
    n: usize,
}

impl Window {
    fn new() -> Self {
        Self {
            values: [0.0; 49],
            n: 0,
        }
    }

    fn push(&mut self, value: f32) {
        if let Some(place) = self.values.get_mut(self.n) {
            *place = value;
            self.n += 1;
        }
    }

    fn median(mut self) -> f32 {
        median_in_place(&mut self.values[..self.n])
    }
}

impl Image<'_> {
    /// Call `take` with each pixel at most `reach` away along an axis, row after row.
    #[inline]
    fn around(&self, i: usize, j: usize, reach: usize, mut take: impl FnMut(usize, usize)) {
        for v in j.saturating_sub(reach)..(j + reach + 1).min(self.ny) {
            for u in i.saturating_sub(reach)..(i + reach + 1).min(self.nx) {
                take(u, v);
            }
        }
    }

    /// Median of the good values of a plane around a pixel; NaN when there is none.
    fn median(&self, plane: &[f32], i: usize, j: usize, reach: usize) -> f32 {
        let mut window = Window::new();
        self.around(i, j, reach, |u, v| {
            let k = v * self.nx + u;
            if self.good[k] {
                window.push(plane[k]);
            }
        });
        window.median()
    }

    /// 1 sigma of a pixel, as it would be without a cosmic ray.
    fn noise(&self, i: usize, j: usize) -> f32 {
        let background = self.background.map_or(0.0, |b| b[j * self.nx + i]);
        (self.median(&self.variance, i, j, 2) + background)
            .max(LEAST_VARIANCE)
            .sqrt()
    }

    /// Positive part of the Laplacian of the image with pixels half as wide, mean of a pixel's four.
    #[inline]
    fn laplacian(&self, i: usize, j: usize) -> f32 {
        let k = j * self.nx + i;
        let centre = self.data[k];
        let beside = |is_inside: bool, at: usize| {
            if is_inside && self.good[at] {
                self.data[at]
            } else {
                centre
            }
        };
        let left = beside(i > 0, k.wrapping_sub(1));
        let right = beside(i + 1 < self.nx, k + 1);
        let below = beside(j > 0, k.wrapping_sub(self.nx));
        let above = beside(j + 1 < self.ny, k + self.nx);
        let part = |a: f32, b: f32| (2.0 * centre - a - b).max(0.0);
        0.25 * (part(left, below) + part(right, below) + part(left, above) + part(right, above))
    }

    /// The Laplacian over its noise; pixels of half the width double it.
    fn significance(&self, i: usize, j: usize) -> f32 {
        self.laplacian(i, j) / (2.0 * self.noise(i, j))
    }

    /// [`Image::significance`] without the large structures.
    fn sharp_significance(&self, i: usize, j: usize) -> f32 {
        let mut window = Window::new();
        self.around(i, j, 2, |u, v| {
            if self.good[v * self.nx + u] {
                window.push(self.significance(u, v));
            }
        });
        self.significance(i, j) - window.median()
    }

    /// What a star leaves between a small and a large median, over the noise.
    fn fine_structure(&self, i: usize, j: usize) -> f32 {
        let small = |u, v| self.median(&self.data, u, v, 1);
        let mut window = Window::new();
        self.around(i, j, 3, |u, v| {
            let value = small(u, v);
            if !value.is_nan() {
                window.push(value);
            }
        });
        ((small(i, j) - window.median()) / self.noise(i, j)).max(LEAST_STRUCTURE)
    }

    /// A lower bound of the variance around each pixel of a row: the smallest of the 5 x 5.
    fn least_variance(&self, j: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        scratch.clear();
        scratch.resize(self.nx, f32::INFINITY);
        for v in j.saturating_sub(2)..(j + 3).min(self.ny) {
            let row = &self.variance[v * self.nx..(v + 1) * self.nx];
            for (least, value) in scratch.iter_mut().zip(row) {
                *least = least.min(*value);
            }
        }
        for (i, least) in out.iter_mut().enumerate() {
            let near = &scratch[i.saturating_sub(2)..(i + 3).min(self.nx)];
            *least = near.iter().copied().fold(f32::INFINITY, f32::min);
        }
    }

    /// Pixels where cosmic rays begin, in order.
    fn seeds(&self, params: &LacosmicParams) -> Vec<usize> {
        (0..self.ny)
            .into_par_iter()
            .with_min_len(16)
            .map_init(
                || (vec![0.0; self.nx], Vec::new()),
                |(least, scratch), j| {
                    interrupt::poll();
                    self.least_variance(j, least, scratch);
                    let is_seed = |i: usize| {
                        let k = j * self.nx + i;
                        let limit = 4.0 * params.sigma * params.sigma;
                        let laplacian = self.laplacian(i, j);
                        let background = self.background.map_or(0.0, |b| b[k]);
                        let bound = (least[i] + background).max(LEAST_VARIANCE);
                        if !self.good[k] || laplacian * laplacian <= 0.999 * limit * bound {
                            return false;
                        }
                        let sharp = self.sharp_significance(i, j);
                        sharp > params.sigma && sharp > params.contrast * self.fine_structure(i, j)
                    };
                    let start = j * self.nx;
                    (0..self.nx)
                        .filter(|i| is_seed(*i))
                        .map(|i| start + i)
                        .collect::<Vec<_>>()
                },
            )
            .flatten_iter()
            .collect()
    }

    /// Good pixels at most one away from some pixels whose Laplacian is above a limit, with those pixels; sorted.
    fn grow(&self, from: &[usize], limit: f32) -> Vec<usize> {
        let mut near = Vec::with_capacity(9 * from.len());
        for k in from {
            self.around(k % self.nx, k / self.nx, 1, |u, v| {
                near.push(v * self.nx + u);
            });
        }
        near.sort_unstable();
        near.dedup();
        near.into_par_iter()
            .with_min_len(64)
            .filter(|k| self.good[*k] && self.sharp_significance(k % self.nx, k / self.nx) > limit)
            .collect()
    }

    /// Values of a plane that replace those of `hit` pixels; `fallback` where no pixel is left.
    fn filled(
        &self,
        plane: &[f32],
        hit: &[bool],
        pixels: &[usize],
        fill: Fill,
        fallback: f32,
    ) -> Vec<f32> {
        pixels
            .par_iter()
            .with_min_len(64)
            .map(|k| {
                let (i, j) = (k % self.nx, k / self.nx);
                let (mut window, mut total, mut sum) = (Window::new(), 0.0_f64, 0.0_f64);
                self.around(i, j, 2, |u, v| {
                    let at = v * self.nx + u;
                    if self.good[at] && !hit[at] {
                        let apart = (u as f64 - i as f64).hypot(v as f64 - j as f64);
                        let weight = if fill == Fill::Distance {
                            1.0 / apart
                        } else {
                            1.0
                        };
                        window.push(plane[at]);
                        total += weight;
                        sum += weight * f64::from(plane[at]);
                    }
                });
                if window.n == 0 {
                    fallback
                } else if fill == Fill::Median {
                    window.median()
                } else {
                    (sum / total) as f32
                }
            })
            .collect()
    }

    /// Median of the good values of a plane.
    fn level(&self, plane: &[f32]) -> f32 {
        let good = plane.iter().zip(&self.good).filter(|(_, good)| **good);
        median_in_place(&mut good.map(|(value, _)| *value).collect::<Vec<_>>())
    }

    /// Leave out the cores of saturated stars and what is around them.
    fn mask_saturated(&mut self, total: &[f32], saturation: f32) {
        let mut bad: Vec<usize> = (0..total.len())
            .filter(|k| self.good[*k] && total[*k] >= saturation)
            .filter(|k| self.median(total, k % self.nx, k / self.nx, 2) > saturation / 10.0)
            .collect();
        // Two steps of 5 x 5 without its corners.
        for _ in 0..2 {
            let mut grown = Vec::new();
            for k in bad {
                let (i, j) = (k % self.nx, k / self.nx);
                self.around(i, j, 2, |u, v| {
                    if u.abs_diff(i) + v.abs_diff(j) < 4 {
                        grown.push(v * self.nx + u);
                    }
                });
            }
            grown.sort_unstable();
            grown.dedup();
            bad = grown;
        }
        for k in bad {
            self.good[k] = false;
        }
    }
}

/// Find the cosmic rays of a single exposure and fill them.
///
/// `data` and `background` are in electrons, `variance` in electrons squared. Pixels of `mask`, and those that are not
/// finite, are neither found nor used. Returns the cosmic rays and the image without them.
///
/// # Errors
/// [`OutliersError::Shape`].
///
/// # Source
/// van Dokkum 2001 (PASP 113, 1420, sections 3.1 to 3.4): equations 7 to 13; growth as in its section 3.4.
pub fn lacosmic(
    data: ArrayView2<'_, f32>,
    variance: ArrayView2<'_, f32>,
    mask: Option<ArrayView2<'_, bool>>,
    background: Option<ArrayView2<'_, f32>>,
    params: &LacosmicParams,
) -> Result<(Array2<bool>, Array2<f32>), OutliersError> {
    let shape = data.shape();
    check_shape("variance", variance.shape(), shape)?;
    if let Some(mask) = &mask {
        check_shape("mask", mask.shape(), shape)?;
    }
    if let Some(background) = &background {
        check_shape("background", background.shape(), shape)?;
    }
    let (ny, nx) = data.dim();
    let total: Vec<f32> = data.iter().copied().collect();
    let background: Option<Vec<f32>> = background.map(|b| b.iter().copied().collect());
    let under = |k: usize| background.as_ref().map_or(0.0, |b| b[k]);
    let mut image = Image {
        ny,
        nx,
        data: total
            .iter()
            .enumerate()
            .map(|(k, d)| d - under(k))
            .collect(),
        variance: variance
            .iter()
            .enumerate()
            .map(|(k, v)| v - under(k))
            .collect(),
        background: background.as_deref(),
        good: vec![true; ny * nx],
    };
    let mask: Option<Vec<bool>> = mask.map(|m| m.iter().copied().collect());
    for k in 0..ny * nx {
        let is_known = image.data[k].is_finite() && image.variance[k].is_finite();
        image.good[k] = is_known && mask.as_ref().is_none_or(|m| !m[k]);
    }
    image.mask_saturated(&total, params.saturation);
    let levels = [image.level(&image.data), image.level(&image.variance)];

    let mut hit = vec![false; ny * nx];
    for _ in 0..params.n_rounds {
        let seeds = image.seeds(params);
        let grown = image.grow(&seeds, params.sigma);
        let found = image.grow(&grown, params.sigma_near);
        if found.is_empty() {
            break;
        }
        for k in found {
            hit[k] = true;
        }
        let pixels: Vec<usize> = (0..hit.len()).filter(|k| hit[*k]).collect();
        let data = image.filled(&image.data, &hit, &pixels, params.fill, levels[0]);
        let variance = image.filled(&image.variance, &hit, &pixels, params.fill, levels[1]);
        for (k, (d, v)) in pixels.iter().zip(data.into_iter().zip(variance)) {
            image.data[*k] = d;
            image.variance[*k] = v;
        }
    }
    let cleaned = (0..ny * nx)
        .map(|k| {
            if hit[k] {
                image.data[k] + under(k)
            } else {
                total[k]
            }
        })
        .collect();
    let as_image = |_| OutliersError::Length {
        name: "data",
        found: 0,
        expected: ny * nx,
    };
    Ok((
        Array2::from_shape_vec((ny, nx), hit).map_err(as_image)?,
        Array2::from_shape_vec((ny, nx), cleaned).map_err(as_image)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: LacosmicParams = LacosmicParams {
        sigma: 4.5,
        sigma_near: 1.35,
        contrast: 5.0,
        saturation: 65536.0,
        n_rounds: 4,
        fill: Fill::Median,
    };

    #[test]
    fn a_hit_pixel_is_found_and_filled_and_a_star_is_not() {
        let mut data = Array2::from_shape_fn((40, 40), |(j, i)| {
            let r2 = (i as f32 - 28.0).powi(2) + (j as f32 - 25.0).powi(2);
            100.0 + ((i * 7 + j * 13) % 5) as f32 + 5000.0 * (-0.5 * r2 / 2.25).exp()
        });
        data[[10, 12]] += 900.0;
        data[[0, 39]] += 900.0;
        let variance = data.mapv(|d| d + 25.0);
        let (mask, cleaned) = lacosmic(data.view(), variance.view(), None, None, &PARAMS).unwrap();
        assert!(mask[[10, 12]] && mask[[0, 39]]);
        assert_eq!(mask.iter().filter(|m| **m).count(), 2);
        assert!((cleaned[[10, 12]] - 102.0).abs() < 3.0);
        assert_eq!(cleaned[[25, 28]], data[[25, 28]]);
    }

    #[test]
    fn masked_pixels_and_nan_are_left_alone() {
        let mut data = Array2::from_elem((20, 20), 50.0_f32);
        data[[5, 5]] = 1e5;
        data[[9, 9]] = f32::NAN;
        let mask = Array2::from_shape_fn((20, 20), |place| place == (5, 5));
        let variance = Array2::from_elem((20, 20), 75.0_f32);
        let found = lacosmic(
            data.view(),
            variance.view(),
            Some(mask.view()),
            None,
            &PARAMS,
        );
        assert!(found.unwrap().0.iter().all(|hit| !hit));
        let wrong = Array2::from_elem((20, 21), 75.0_f32);
        assert!(lacosmic(data.view(), wrong.view(), None, None, &PARAMS).is_err());
    }
}
