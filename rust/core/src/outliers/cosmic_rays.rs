//! Cosmic rays by comparison with a model of the sky, blotted into the exposure's own pixels.

use ndarray::{Array2, ArrayView2, Zip};
use rayon::prelude::*;

use super::{OutliersError, check_shape, row, rows_of};
use crate::interrupt;
use crate::math::widest::{Work, run_widest};

/// Thresholds of [`flag_cosmic_rays`].
#[derive(Clone, Copy, Debug)]
pub struct CosmicRayParams {
    /// Thresholds in units of the noise: of a seed, and of a pixel beside a seed.
    pub snr: [f64; 2],
    /// How much of the model's steepness is added to them.
    pub scale: [f64; 2],
    /// How much of the steepness beyond three times the noise is added to both: spares the cores of undersampled
    /// stars, whose model is too low.
    pub core_scale: f64,
}

/// One exposure and its model, both in electron / s.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Calibrated pixels, sky included.
    pub data: ArrayView2<'a, f32>,
    /// The blotted model of the same pixels, sky included; NaN where there is none.
    pub model: ArrayView2<'a, f32>,
    /// Exposure time \[s\].
    pub exptime: f64,
    /// Read noise \[electron\].
    pub read_noise: f64,
    /// 1 sigma of every pixel, instead of the noise that follows from the model; one that is not finite counts as 0.
    pub error: Option<ArrayView2<'a, f32>>,
}

/// The larger of a number and another one that may be NaN, in one instruction.
#[inline(always)]
fn more(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// One row of [`Frame`] and which of its pixels deviate from the model by more than the first and the second limit.
struct Row<'a> {
    params: CosmicRayParams,
    exptime: f64,
    read_noise: f64,
    data: &'a [f32],
    /// The rows below, at and above; the row itself at a border.
    model: [&'a [f32]; 3],
    error: Option<&'a [f32]>,
    first: &'a mut [bool],
    second: &'a mut [bool],
}

impl Row<'_> {
    /// Largest absolute difference of the model to its four neighbours; neighbours outside or without a model do not
    /// count.
    #[inline(always)]
    fn steepness(&self, out: &mut [f32]) {
        let [below, at, above] = self.model;
        for (((steep, v), b), a) in out.iter_mut().zip(at).zip(below).zip(above) {
            *steep = more(more(0.0, (v - b).abs()), (v - a).abs());
        }
        for ((steep, v), next) in out.iter_mut().zip(at).zip(at.iter().skip(1)) {
            *steep = more(*steep, (v - next).abs());
        }
        for ((steep, v), last) in out.iter_mut().skip(1).zip(at.iter().skip(1)).zip(at) {
            *steep = more(*steep, (v - last).abs());
        }
    }

    /// 1 sigma of the data.
    #[inline(always)]
    fn noise(&self, out: &mut [f64]) {
        if let Some(error) = self.error {
            for (noise, sigma) in out.iter_mut().zip(error) {
                *noise = if sigma.is_finite() {
                    f64::from(*sigma)
                } else {
                    0.0
                };
            }
            return;
        }
        for (noise, model) in out.iter_mut().zip(self.model[1]) {
            let electrons =
                f64::from(*model).abs() * self.exptime + self.read_noise * self.read_noise;
            *noise = electrons.sqrt() / self.exptime;
        }
    }
}

impl Work for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let nx = self.data.len();
        let (mut steep, mut noise) = (vec![0.0; nx], vec![0.0; nx]);
        self.steepness(&mut steep);
        self.noise(&mut noise);
        let CosmicRayParams {
            snr,
            scale,
            core_scale,
        } = self.params;
        let (data, model) = (self.data, &self.model[1][..nx]);
        let (first, second) = (&mut self.first[..nx], &mut self.second[..nx]);
        for x in 0..nx {
            let deviation = (f64::from(data[x]) - f64::from(model[x])).abs();
            let (steep, noise) = (f64::from(steep[x]), noise[x]);
            let core = core_scale * (steep - 3.0 * noise).max(0.0);
            first[x] = deviation > scale[0] * steep + snr[0] * noise + core;
            second[x] = deviation > scale[1] * steep + snr[1] * noise + core;
        }
    }
}

/// Pixels hit by a cosmic ray: with `D` the [steepness] of the model and `noise` = sqrt(|model| t + RN^2) / t, those
/// with |data - model| > `scale[1]` D + `snr[1]` noise that have, in their 3x3 block, a pixel with
/// |data - model| > `scale[0]` D + `snr[0]` noise. To both limits `core_scale` max(D - 3 noise, 0) is added. A pixel that
/// is not finite, or has no model, is not flagged.
///
/// The sky is in the model, so it enters the noise once.
///
/// # Errors
/// [`OutliersError::Shape`] when the model has another shape than the data.
///
/// # Source
/// Gonzaga et al. 2012, The `DrizzlePac` Handbook, section 4.2.7.
pub fn flag_cosmic_rays(
    frame: &Frame<'_>,
    params: &CosmicRayParams,
) -> Result<Array2<bool>, OutliersError> {
    check_shape("model", frame.model.shape(), frame.data.shape())?;
    if let Some(error) = frame.error {
        check_shape("error", error.shape(), frame.data.shape())?;
    }
    let data = frame.data.as_standard_layout();
    let model = frame.model.as_standard_layout();
    let error = frame.error.as_ref().map(|e| e.as_standard_layout());
    let (ny, _) = data.dim();
    let [mut first, mut second] = [(); 2].map(|()| Array2::from_elem(data.dim(), false));
    rows_of(&mut first)
        .zip(rows_of(&mut second))
        .enumerate()
        .for_each(|(y, (first, second))| {
            interrupt::poll();
            run_widest(Row {
                params: *params,
                exptime: frame.exptime,
                read_noise: frame.read_noise,
                data: row(&data, y),
                model: [y.saturating_sub(1), y, (y + 1).min(ny - 1)].map(|y| row(&model, y)),
                error: error.as_ref().map(|e| row(e, y)),
                first,
                second,
            });
        });
    let near_seed = grow(first.view(), 3);
    Zip::from(&mut second)
        .and(&near_seed)
        .for_each(|hit, near| *hit &= near);
    Ok(second)
}

/// Set each pixel of which one of the others `from` is set.
fn add(to: &mut [bool], from: &[bool]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

/// Dilate a mask by a box of `side` x `side` pixels; a `side` of 1 changes nothing.
///
/// An even side reaches one pixel further towards lower indices.
#[must_use]
pub fn grow(mask: ArrayView2<'_, bool>, side: usize) -> Array2<bool> {
    let (before, after) = (side / 2, side.saturating_sub(1) / 2);
    let mask = mask.as_standard_layout();
    let (ny, nx) = mask.dim();
    let mut out = Array2::from_elem((ny, nx), false);
    rows_of(&mut out).enumerate().for_each(|(y, out)| {
        let mut near = vec![false; nx];
        for v in y.saturating_sub(after)..(y + before + 1).min(ny) {
            add(&mut near, row(&mask, v));
        }
        for shift in 0..=before.min(nx) {
            add(out, &near[shift..]);
        }
        for shift in 1..=after.min(nx) {
            add(&mut out[shift..], &near);
        }
    });
    out
}

/// Set the pixels that follow a set one within `length` rows, upwards or downwards: the charge that is left behind when
/// rows are shifted to an amplifier.
#[must_use]
pub fn trail(mask: ArrayView2<'_, bool>, length: usize, upwards: bool) -> Array2<bool> {
    let (ny, nx) = mask.dim();
    let mut out = mask.to_owned();
    for x in 0..nx {
        let mut left = 0;
        for i in 0..ny {
            let y = if upwards { i } else { ny - 1 - i };
            if mask[[y, x]] {
                left = length;
            } else if left > 0 {
                left -= 1;
                out[[y, x]] = true;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: CosmicRayParams = CosmicRayParams {
        snr: [3.5, 3.0],
        scale: [1.2, 0.7],
        core_scale: 0.0,
    };

    fn flags(data: &Array2<f32>, model: &Array2<f32>) -> Array2<bool> {
        let frame = Frame {
            data: data.view(),
            model: model.view(),
            exptime: 100.0,
            read_noise: 10.0,
            error: None,
        };
        flag_cosmic_rays(&frame, &PARAMS).unwrap()
    }

    #[test]
    fn a_cosmic_ray_is_flagged_with_its_wing() {
        // noise = sqrt(1 * 100 + 100) / 100 = 0.1414
        let model = Array2::from_elem((9, 9), 1.0_f32);
        let mut data = model.clone();
        data[[4, 4]] = 10.0;
        data[[4, 5]] = 1.0 + 3.2 * 0.1414;
        data[[1, 1]] = 1.0 + 3.2 * 0.1414;
        let mask = flags(&data, &model);
        assert!(mask[[4, 4]] && mask[[4, 5]]);
        assert_eq!(mask.iter().filter(|m| **m).count(), 2);
    }

    #[test]
    fn a_steep_model_forgives_a_misalignment() {
        let mut model = Array2::from_elem((9, 9), 1.0_f32);
        model[[4, 4]] = 100.0;
        let mut data = model.clone();
        data[[4, 4]] = 80.0;
        assert!(!flags(&data, &model).iter().any(|m| *m));
    }

    #[test]
    fn no_model_means_no_flag() {
        let mut model = Array2::from_elem((5, 5), 1.0_f32);
        model[[2, 2]] = f32::NAN;
        let data = Array2::from_elem((5, 5), 1.0).mapv(|v: f32| v);
        let mut hit = data.clone();
        hit[[2, 2]] = 1e4;
        assert!(!flags(&hit, &model).iter().any(|m| *m));
    }

    #[test]
    fn given_errors_replace_the_noise_of_the_model() {
        let model = Array2::from_elem((5, 5), 1.0_f32);
        let mut data = model.clone();
        data[[2, 2]] = 1.0 + 4.0 * 0.1414;
        let error = Array2::from_elem((5, 5), 0.2_f32);
        let mut frame = Frame {
            data: data.view(),
            model: model.view(),
            exptime: 100.0,
            read_noise: 10.0,
            error: None,
        };
        assert!(flag_cosmic_rays(&frame, &PARAMS).unwrap()[[2, 2]]);
        frame.error = Some(error.view());
        assert!(!flag_cosmic_rays(&frame, &PARAMS).unwrap()[[2, 2]]);
    }

    #[test]
    fn tails_follow_in_the_direction_of_the_read_out() {
        let mut mask = Array2::from_elem((6, 2), false);
        mask[[2, 1]] = true;
        let rows = |m: &Array2<bool>| -> Vec<usize> {
            m.indexed_iter()
                .filter(|(_, v)| **v)
                .map(|((y, _), _)| y)
                .collect()
        };
        assert_eq!(rows(&trail(mask.view(), 2, true)), [2, 3, 4]);
        assert_eq!(rows(&trail(mask.view(), 9, false)), [0, 1, 2]);
        assert_eq!(trail(mask.view(), 0, true), mask);
    }

    #[test]
    fn growing_covers_a_box() {
        let mut mask = Array2::from_elem((7, 7), false);
        mask[[3, 3]] = true;
        let grown = grow(mask.view(), 3);
        for ((y, x), value) in grown.indexed_iter() {
            assert_eq!(*value, (2..=4).contains(&y) && (2..=4).contains(&x));
        }
        assert_eq!(grow(mask.view(), 1), mask);
        assert_eq!(grow(mask.view(), 2).iter().filter(|m| **m).count(), 4);
    }
}
