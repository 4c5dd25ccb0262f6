//! Cosmic rays by comparison with a model of the sky, blotted into the exposure's own pixels.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::{OutliersError, check_shape};
use crate::interrupt;

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

/// Largest absolute difference of a pixel to its four neighbours; neighbours outside or without a model do not count.
fn steepness(model: &ArrayView2<'_, f32>, y: usize, x: usize) -> f64 {
    let (ny, nx) = model.dim();
    let centre = model[[y, x]];
    let mut largest = 0.0_f32;
    let mut look = |yy: usize, xx: usize| {
        let difference = (centre - model[[yy, xx]]).abs();
        if difference > largest {
            largest = difference;
        }
    };
    if y > 0 {
        look(y - 1, x);
    }
    if y + 1 < ny {
        look(y + 1, x);
    }
    if x > 0 {
        look(y, x - 1);
    }
    if x + 1 < nx {
        look(y, x + 1);
    }
    f64::from(largest)
}

/// Does each pixel deviate from the model by more than the first and the second threshold?
fn deviates(frame: &Frame<'_>, params: &CosmicRayParams, y: usize, x: usize) -> [bool; 2] {
    let model = f64::from(frame.model[[y, x]]);
    let deviation = (f64::from(frame.data[[y, x]]) - model).abs();
    let noise = if let Some(error) = frame.error {
        let sigma = f64::from(error[[y, x]]);
        if sigma.is_finite() { sigma } else { 0.0 }
    } else {
        let electrons = model.abs() * frame.exptime + frame.read_noise * frame.read_noise;
        electrons.sqrt() / frame.exptime
    };
    let steep = steepness(&frame.model, y, x);
    let core = params.core_scale * (steep - 3.0 * noise).max(0.0);
    let limit = |i: usize| params.scale[i] * steep + params.snr[i] * noise + core;
    [deviation > limit(0), deviation > limit(1)]
}

/// Pixels hit by a cosmic ray: with `D` the [steepness] of the model and `noise` = sqrt(|model| t + RN^2) / t, those
/// with |data - model| > `scale[1]` D + `snr[1]` noise that have, in their 3x3 block, a pixel with
/// |data - model| > `scale[0]` D + `snr[0]` noise. To both limits `core_scale` max(D - 3 noise, 0) is added. A pixel that is not finite, or has no model, is not flagged.
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
    let shape = frame.data.dim();
    let mut levels = Array2::from_elem(shape, [false; 2]);
    levels
        .outer_iter_mut()
        .into_par_iter()
        .enumerate()
        .for_each(|(y, mut row)| {
            interrupt::poll();
            for (x, level) in row.iter_mut().enumerate() {
                *level = deviates(frame, params, y, x);
            }
        });
    let near_seed = grow(levels.mapv(|level| level[0]).view(), 3);
    Ok(ndarray::Zip::from(&levels)
        .and(&near_seed)
        .map_collect(|level, &near| level[1] && near))
}

/// Dilate a mask by a box of `side` x `side` pixels; a `side` of 1 changes nothing.
///
/// An even side reaches one pixel further towards lower indices.
#[must_use]
pub fn grow(mask: ArrayView2<'_, bool>, side: usize) -> Array2<bool> {
    let (before, after) = (side / 2, side.saturating_sub(1) / 2);
    let along = |line: &[bool], i: usize| -> bool {
        // A pixel is hit by every set pixel within `before` above and `after` below it.
        let first = i.saturating_sub(after);
        let last = (i + before).min(line.len() - 1);
        line[first..=last].iter().any(|m| *m)
    };
    let pass = |input: ArrayView2<'_, bool>| -> Array2<bool> {
        let mut out = Array2::from_elem(input.dim(), false);
        out.outer_iter_mut()
            .into_par_iter()
            .zip(input.outer_iter().into_par_iter())
            .for_each(|(mut row, line)| {
                let line: Vec<bool> = line.to_vec();
                if line.iter().any(|m| *m) {
                    for (i, value) in row.iter_mut().enumerate() {
                        *value = along(&line, i);
                    }
                }
            });
        out
    };
    if side <= 1 {
        return mask.to_owned();
    }
    let rows = pass(mask);
    let columns = pass(rows.t());
    columns.t().as_standard_layout().into_owned()
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
