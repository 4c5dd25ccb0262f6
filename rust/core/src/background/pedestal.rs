//! One sky level for a whole image.

use ndarray::ArrayView2;

use super::BackgroundError;
use crate::math::stats::{median_in_place, moments_within};

/// Clipping of [`estimate_pedestal`].
#[derive(Clone, Copy, Debug)]
pub struct PedestalParams {
    /// Number of clipping iterations.
    pub n_clip: usize,
    /// Lower and upper limit, in units of the standard deviation, around the mean.
    pub clip_sigma: [f64; 2],
}

/// A sky level and the scatter around it.
#[derive(Clone, Copy, Debug)]
pub struct Pedestal {
    /// Median of the pixels that were kept.
    pub level: f64,
    /// Their standard deviation.
    pub rms: f64,
    /// Their number.
    pub n_pixels: usize,
}

/// Median of the good pixels after clipping around the mean.
///
/// # Errors
/// [`BackgroundError`] when the mask has another shape or no pixel is good.
///
/// # Source
/// Gonzaga et al. 2012, The `DrizzlePac` Handbook, section 4.2.3 (`skystat` median).
pub fn estimate_pedestal(
    data: ArrayView2<'_, f32>,
    mask: ArrayView2<'_, bool>,
    params: &PedestalParams,
) -> Result<Pedestal, BackgroundError> {
    if mask.dim() != data.dim() {
        return Err(BackgroundError::Shape {
            found: mask.shape().to_vec(),
            expected: data.shape().to_vec(),
        });
    }
    let good = data
        .iter()
        .zip(&mask)
        .filter(|(v, bad)| !**bad && v.is_finite());
    let mut values: Vec<f32> = good.map(|(v, _)| *v).collect();
    if values.is_empty() {
        return Err(BackgroundError::NoGoodPixel {
            n_pixels: data.len(),
        });
    }
    let mut kept = moments_within(&values, f64::NEG_INFINITY, f64::INFINITY);
    for _ in 0..params.n_clip {
        let low = kept.mean - params.clip_sigma[0] * kept.std;
        let high = kept.mean + params.clip_sigma[1] * kept.std;
        let next = moments_within(&values, low, high);
        if next.count < 2 || next.count == kept.count {
            break;
        }
        kept = next;
    }
    values.retain(|&v| f64::from(v) >= kept.min && f64::from(v) <= kept.max);
    let rms = if kept.count > 1 { kept.std } else { 0.0 };
    Ok(Pedestal {
        level: f64::from(median_in_place(&mut values)),
        rms,
        n_pixels: values.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    const PARAMS: PedestalParams = PedestalParams {
        n_clip: 5,
        clip_sigma: [4.0, 4.0],
    };

    #[test]
    fn bright_and_masked_pixels_do_not_raise_the_level() {
        let mut data = Array2::from_shape_fn((50, 50), |(y, x)| ((y * 7 + x * 3) % 11) as f32);
        let mut mask = Array2::from_elem((50, 50), false);
        data[[3, 3]] = 1e6;
        data[[4, 4]] = f32::NAN;
        for x in 0..50 {
            data[[10, x]] = 9.0;
            mask[[10, x]] = true;
        }
        let sky = estimate_pedestal(data.view(), mask.view(), &PARAMS).unwrap();
        assert_eq!(sky.level, 5.0);
        assert_eq!(sky.n_pixels, 2448);
    }

    #[test]
    fn an_image_without_a_good_pixel_is_an_error() {
        let data = Array2::from_elem((2, 2), f32::NAN);
        let mask = Array2::from_elem((2, 2), false);
        let error = estimate_pedestal(data.view(), mask.view(), &PARAMS).unwrap_err();
        assert!(error.to_string().contains("none of its 4 pixels"));
    }
}
