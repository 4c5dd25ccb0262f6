//! One sky level for a whole image.

use ndarray::ArrayView2;

use super::BackgroundError;
use crate::math::stats::{histogram_mode, median_in_place, moments_within};

/// What stands for the level of the pixels that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Their median.
    Median,
    /// The peak of their histogram.
    Mode,
    /// Their mean.
    Mean,
}

impl Statistic {
    /// The statistic of a name.
    ///
    /// # Errors
    /// [`BackgroundError::Statistic`] when there is none.
    pub fn from_name(name: &str) -> Result<Self, BackgroundError> {
        match name {
            "median" => Ok(Self::Median),
            "mode" => Ok(Self::Mode),
            "mean" => Ok(Self::Mean),
            other => Err(BackgroundError::Statistic(other.to_owned())),
        }
    }
}

/// Limits, clipping and statistic of [`estimate_pedestal`].
#[derive(Clone, Copy, Debug)]
pub struct PedestalParams {
    /// What is the level.
    pub statistic: Statistic,
    /// Width of a bin of the histogram for the mode, in units of the standard deviation.
    pub bin_width: f64,
    /// Pixels outside of these values do not count at all.
    pub limits: [f64; 2],
    /// Number of clipping iterations.
    pub n_clip: usize,
    /// Lower and upper limit, in units of the standard deviation, around the mean.
    pub clip_sigma: [f64; 2],
}

/// A sky level and the scatter around it.
#[derive(Clone, Copy, Debug)]
pub struct Pedestal {
    /// The statistic of the pixels that were kept.
    pub level: f64,
    /// Their standard deviation.
    pub rms: f64,
    /// Their number.
    pub n_pixels: usize,
}

/// Median, mode or mean of the good pixels after clipping around the mean.
///
/// # Errors
/// [`BackgroundError`] when the mask has another shape or no pixel is good.
///
/// # Source
/// Gonzaga et al. 2012, The `DrizzlePac` Handbook, section 4.2.3 (`skystat`, `skywidth`, `skylower` ...).
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
    let within = |v: f32| (params.limits[0]..=params.limits[1]).contains(&f64::from(v));
    let good = data
        .iter()
        .zip(&mask)
        .filter(|(v, bad)| !**bad && v.is_finite() && within(**v));
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
        level: match params.statistic {
            Statistic::Median => f64::from(median_in_place(&mut values)),
            Statistic::Mode => histogram_mode(&values, &kept, params.bin_width),
            Statistic::Mean => kept.mean,
        },
        rms,
        n_pixels: values.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    const PARAMS: PedestalParams = PedestalParams {
        statistic: Statistic::Median,
        bin_width: 0.1,
        limits: [f64::NEG_INFINITY, f64::INFINITY],
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
    fn each_statistic_is_that_of_the_pixels_between_the_limits() {
        let values = [0.0, 1.0, 1.0, 1.0, 2.0, 5.0, 900.0];
        let data = Array2::from_shape_fn((1, 7), |(_, x)| values[x]);
        let mask = Array2::from_elem((1, 7), false);
        let level = |statistic| {
            let params = PedestalParams {
                statistic,
                limits: [0.5, 100.0],
                ..PARAMS
            };
            let sky = estimate_pedestal(data.view(), mask.view(), &params).unwrap();
            assert_eq!(sky.n_pixels, 5);
            sky.level
        };
        assert_eq!(level(Statistic::Median), 1.0);
        assert_eq!(level(Statistic::Mean), 2.0);
        assert!((level(Statistic::Mode) - 1.0).abs() < 0.2);
    }

    #[test]
    fn an_image_without_a_good_pixel_is_an_error() {
        let data = Array2::from_elem((2, 2), f32::NAN);
        let mask = Array2::from_elem((2, 2), false);
        let error = estimate_pedestal(data.view(), mask.view(), &PARAMS).unwrap_err();
        assert!(error.to_string().contains("none of its 4 pixels"));
    }
}
