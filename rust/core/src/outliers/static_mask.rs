//! The static mask: pixels that lie far below the sky in one image.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::math::stats::{histogram_mode, moments_within};

/// Thresholds of [`low_pixels`].
#[derive(Clone, Copy, Debug)]
pub struct StaticMaskParams {
    /// A pixel below mode - `sigma` x rms is bad.
    pub sigma: f64,
    /// Number of clipping iterations of the rms.
    pub n_clip: usize,
    /// Clipping limit in units of the rms.
    pub clip_sigma: f64,
    /// Width of a bin of the histogram, in units of the rms.
    pub bin_width: f64,
}

/// Pixels below the mode of the image by more than `sigma` times its clipped rms; pixels that are not finite too.
///
/// An image without two distinct values has no low pixels.
///
/// # Source
/// `AstroDrizzle`'s static mask (Gonzaga et al. 2012, The `DrizzlePac` Handbook, section 4.2.2).
#[must_use]
pub fn low_pixels(data: ArrayView2<'_, f32>, params: &StaticMaskParams) -> Array2<bool> {
    let finite: Vec<f32> = data.iter().copied().filter(|v| v.is_finite()).collect();
    let not_finite = || data.mapv(|v| !v.is_finite());
    let all = moments_within(&finite, f64::NEG_INFINITY, f64::INFINITY);
    if all.count < 2 || all.std == 0.0 {
        return not_finite();
    }
    let mut kept = moments_within(&finite, all.min, all.max);
    for _ in 0..params.n_clip {
        let reach = params.clip_sigma * kept.std;
        kept = moments_within(
            &finite,
            all.min.max(kept.mean - reach),
            all.max.min(kept.mean + reach),
        );
    }
    if kept.count < 2 || kept.std == 0.0 {
        return not_finite();
    }
    let limit = histogram_mode(&finite, &kept, params.bin_width) - params.sigma * kept.std;
    let mut mask = Array2::from_elem(data.dim(), false);
    mask.outer_iter_mut()
        .into_par_iter()
        .zip(data.outer_iter().into_par_iter())
        .for_each(|(mut out, row)| {
            for (o, &v) in out.iter_mut().zip(row) {
                *o = !v.is_finite() || f64::from(v) < limit;
            }
        });
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: StaticMaskParams = StaticMaskParams {
        sigma: 4.0,
        n_clip: 3,
        clip_sigma: 3.0,
        bin_width: 0.1,
    };

    fn noise(i: usize) -> f32 {
        // Sum of four uniform numbers of a small congruential generator: nearly Gaussian, sigma 0.577.
        let mut s = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
        let mut total = 0.0;
        for _ in 0..4 {
            s = s
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            total += (s >> 40) as f32 / (1_u64 << 24) as f32 - 0.5;
        }
        total
    }

    #[test]
    fn a_dead_pixel_is_found_and_the_sky_is_not() {
        let mut data = Array2::from_shape_fn((100, 100), |(y, x)| 10.0 + noise(100 * y + x));
        data[[3, 4]] = 0.0;
        data[[5, 6]] = f32::NAN;
        let mask = low_pixels(data.view(), &PARAMS);
        assert!(mask[[3, 4]] && mask[[5, 6]]);
        assert_eq!(mask.iter().filter(|m| **m).count(), 2);
    }

    #[test]
    fn a_constant_image_has_no_low_pixels() {
        let data = Array2::from_elem((5, 5), 1.0);
        assert!(!low_pixels(data.view(), &PARAMS).iter().any(|m| *m));
    }
}
