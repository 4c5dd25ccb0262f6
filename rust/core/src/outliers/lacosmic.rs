//! Cosmic rays of a single exposure: sharper than anything that the optics let through (L.A.Cosmic).
//!
//! Medians cost most. Those of the noise and of the 3 x 3 pixels are made of all pixels side by side; larger structures
//! are asked for where the Laplacian over its noise alone is above the limit, for they only lessen it.

use std::cell::OnceCell;

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::lanes::LANES;
use super::medians::MedianRow;
use super::{OutliersError, check_shape, grow};
use crate::interrupt;
use crate::math::stats::median_in_place;
use crate::math::widest::{Work, run_widest};

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
    /// Whether all of the 3 x 3 and the 5 x 5 pixels around one are good and in the image.
    whole: [Vec<bool>; 2],
}

/// What is known of every good pixel of an [`Image`].
struct Planes {
    /// Median of the 3 x 3 pixels around it, NaN where none is good.
    small: Vec<f32>,
    /// 1 sigma as it would be without a cosmic ray.
    noise: Vec<f32>,
    /// The Laplacian over its noise; pixels of half the width double it.
    significance: Vec<f32>,
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

    /// Find the pixels whose windows are whole, which the good ones decide.
    fn find_whole(&mut self) {
        let bad = Array2::from_shape_fn((self.ny, self.nx), |(j, i)| !self.good[j * self.nx + i]);
        self.whole = [1, 2].map(|reach| {
            let inside = |at: usize, n: usize| at >= reach && at + reach < n;
            // Rows of medians are at least as long as the lanes are wide.
            let is_wide = self.nx >= LANES + 2 * reach;
            let near_bad = grow(bad.view(), 2 * reach + 1);
            let whole = |((j, i), near): ((usize, usize), &bool)| {
                is_wide && inside(i, self.nx) && inside(j, self.ny) && !near
            };
            near_bad.indexed_iter().map(whole).collect()
        });
    }

    /// [`Image::median`] of `SIDE` x `SIDE` around every pixel.
    fn medians<const SIDE: usize>(&self, plane: &[f32], whole: &[bool]) -> Vec<f32>
    where
        for<'a> MedianRow<'a, SIDE>: Work<Output = ()>,
    {
        let (nx, reach) = (self.nx, SIDE / 2);
        let mut out = vec![0.0; plane.len()];
        out.par_chunks_mut(nx.max(1))
            .enumerate()
            .for_each(|(j, out)| {
                interrupt::poll();
                if j >= reach && j + reach < self.ny && nx > 2 * reach {
                    run_widest(MedianRow {
                        rows: std::array::from_fn(|v| &plane[(j + v - reach) * nx..][..nx]),
                        out: &mut out[reach..nx - reach],
                    });
                }
                for (i, (median, whole)) in out.iter_mut().zip(&whole[j * nx..]).enumerate() {
                    if !whole {
                        *median = self.median(plane, i, j, reach);
                    }
                }
            });
        out
    }

    fn planes(&self) -> Planes {
        let nx = self.nx;
        let small = self.medians::<3>(&self.data, &self.whole[0]);
        let mut noise = self.medians::<5>(&self.variance, &self.whole[1]);
        let mut significance = vec![0.0; noise.len()];
        let width = nx.max(1);
        let rows = (significance.par_chunks_mut(width)).zip(noise.par_chunks_mut(width));
        rows.enumerate().for_each(|(j, (significance, noise))| {
            let row = |j: usize| &self.data[j * nx..][..nx];
            let is_good = |j: usize| &self.good[j * nx..][..nx];
            let near = [j.saturating_sub(1), j, (j + 1).min(self.ny - 1)];
            run_widest(SignificanceRow {
                data: near.map(row),
                good: near.map(is_good),
                background: self.background.map(|b| &b[j * nx..][..nx]),
                noise,
                out: significance,
            });
        });
        Planes {
            small,
            noise,
            significance,
        }
    }

    /// The significance of a pixel without the large structures.
    fn sharp_significance(&self, planes: &Planes, k: usize) -> f32 {
        let large = self.median(&planes.significance, k % self.nx, k / self.nx, 2);
        planes.significance[k] - large
    }

    /// What a star leaves between a small and a large median, over the noise.
    fn fine_structure(&self, planes: &Planes, k: usize) -> f32 {
        let mut window = Window::new();
        self.around(k % self.nx, k / self.nx, 3, |u, v| {
            let value = planes.small[v * self.nx + u];
            if !value.is_nan() {
                window.push(value);
            }
        });
        ((planes.small[k] - window.median()) / planes.noise[k]).max(LEAST_STRUCTURE)
    }

    /// Those of some pixels that are good and whose sharp significance is above a limit.
    fn above<'a>(
        &'a self,
        planes: &'a Planes,
        pixels: impl IndexedParallelIterator<Item = usize> + 'a,
        limit: f32,
    ) -> impl ParallelIterator<Item = (usize, f32)> + 'a {
        // No significance is negative, so neither is what is taken off.
        pixels
            .with_min_len(1024)
            .filter(move |k| self.good[*k] && planes.significance[*k] > limit)
            .map(move |k| (k, self.sharp_significance(planes, k)))
            .filter(move |(_, sharp)| *sharp > limit)
    }

    /// Pixels where cosmic rays begin, in order.
    fn seeds(&self, planes: &Planes, params: &LacosmicParams) -> Vec<usize> {
        self.above(planes, (0..self.good.len()).into_par_iter(), params.sigma)
            .filter(|(k, sharp)| *sharp > params.contrast * self.fine_structure(planes, *k))
            .map(|(k, _)| k)
            .collect()
    }

    /// Good pixels at most one away from some pixels whose Laplacian is above a limit, with those pixels; sorted.
    fn grow(&self, planes: &Planes, from: &[usize], limit: f32) -> Vec<usize> {
        let mut near = Vec::with_capacity(9 * from.len());
        for k in from {
            self.around(k % self.nx, k / self.nx, 1, |u, v| {
                near.push(v * self.nx + u);
            });
        }
        near.sort_unstable();
        near.dedup();
        self.above(planes, near.into_par_iter(), limit)
            .map(|(k, _)| k)
            .collect()
    }

    /// Values of a plane that replace those of `hit` pixels; none where no pixel is left around one.
    fn filled(
        &self,
        plane: &[f32],
        hit: &[bool],
        pixels: &[usize],
        fill: Fill,
    ) -> Vec<Option<f32>> {
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
                match fill {
                    _ if window.n == 0 => None,
                    Fill::Median => Some(window.median()),
                    Fill::Mean | Fill::Distance => Some((sum / total) as f32),
                }
            })
            .collect()
    }

    /// Median of the good ones of some values of all pixels.
    fn level(&self, values: impl Iterator<Item = f32>) -> f32 {
        let good = values.zip(&self.good).filter(|(_, good)| **good);
        median_in_place(&mut good.map(|(value, _)| value).collect::<Vec<_>>())
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

/// A row of [`Planes::noise`], of which the median of the variance is given, and of [`Planes::significance`].
struct SignificanceRow<'a> {
    /// The rows below, at and above; the row itself at a border.
    data: [&'a [f32]; 3],
    good: [&'a [bool]; 3],
    background: Option<&'a [f32]>,
    noise: &'a mut [f32],
    out: &'a mut [f32],
}

impl SignificanceRow<'_> {
    /// Positive part of the Laplacian of the image with pixels half as wide, mean of a pixel's four; `left` and `right`
    /// are the pixels beside it. Where a pixel is not good, the one in the middle counts.
    #[inline(always)]
    fn laplacian(&self, left: usize, x: usize, right: usize) -> f32 {
        let centre = self.data[1][x];
        let beside = |row: usize, x: usize| {
            let value = self.data[row][x];
            if self.good[row][x] { value } else { centre }
        };
        let (left, right) = (beside(1, left), beside(1, right));
        let (below, above) = (beside(0, x), beside(2, x));
        let part = |a: f32, b: f32| (2.0 * centre - a - b).max(0.0);
        0.25 * (part(left, below) + part(right, below) + part(left, above) + part(right, above))
    }
}

impl Work for SignificanceRow<'_> {
    type Output = ();

    #[expect(
        clippy::needless_range_loop,
        reason = "an iterator hides that the neighbours are within the row"
    )]
    #[inline(always)]
    fn run(mut self) {
        let nx = self.out.len();
        let (noise, out) = (
            std::mem::take(&mut self.noise),
            std::mem::take(&mut self.out),
        );
        let (noise, out) = (&mut noise[..nx], &mut out[..nx]);
        self.data = self.data.map(|row| &row[..nx]);
        self.good = self.good.map(|row| &row[..nx]);
        if let Some(background) = self.background {
            for (noise, background) in noise.iter_mut().zip(background) {
                *noise += background;
            }
        }
        for noise in noise.iter_mut() {
            *noise = noise.max(LEAST_VARIANCE).sqrt();
        }
        let last = nx - 1;
        out[0] = self.laplacian(0, 0, last.min(1));
        for x in 1..last {
            out[x] = self.laplacian(x - 1, x, x + 1);
        }
        out[last] = self.laplacian(last.saturating_sub(1), last, last);
        for (out, noise) in out.iter_mut().zip(noise) {
            *out /= 2.0 * *noise;
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
    let first_data = || total.iter().enumerate().map(|(k, d)| d - under(k));
    let first_variance = || variance.iter().enumerate().map(|(k, v)| v - under(k));
    let mut image = Image {
        ny,
        nx,
        data: first_data().collect(),
        variance: first_variance().collect(),
        background: background.as_deref(),
        good: vec![true; ny * nx],
        whole: [Vec::new(), Vec::new()],
    };
    let mask: Option<Vec<bool>> = mask.map(|m| m.iter().copied().collect());
    for k in 0..ny * nx {
        let is_known = image.data[k].is_finite() && image.variance[k].is_finite();
        image.good[k] = is_known && mask.as_ref().is_none_or(|m| !m[k]);
    }
    image.mask_saturated(&total, params.saturation);
    image.find_whole();
    let levels = [OnceCell::new(), OnceCell::new()];

    let mut hit = vec![false; ny * nx];
    for _ in 0..params.n_rounds {
        let planes = image.planes();
        let seeds = image.seeds(&planes, params);
        let grown = image.grow(&planes, &seeds, params.sigma);
        let found = image.grow(&planes, &grown, params.sigma_near);
        if found.is_empty() {
            break;
        }
        for k in found {
            hit[k] = true;
        }
        let pixels: Vec<usize> = (0..hit.len()).filter(|k| hit[*k]).collect();
        let data = image.filled(&image.data, &hit, &pixels, params.fill);
        let variance = image.filled(&image.variance, &hit, &pixels, params.fill);
        for (k, (d, v)) in pixels.iter().zip(data.into_iter().zip(variance)) {
            // Where nothing is left, the level of the whole image stands.
            let level = || *levels[0].get_or_init(|| image.level(first_data()));
            image.data[*k] = d.unwrap_or_else(level);
            let level = || *levels[1].get_or_init(|| image.level(first_variance()));
            image.variance[*k] = v.unwrap_or_else(level);
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
