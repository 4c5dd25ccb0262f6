//! Properties of the mesh background on random skies.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use skymere_core::background::{
    BackgroundError, MeshParams, Running, RunningParams, estimate, large_scale,
};
use skymere_core::image::Plane;

const PARAMS: MeshParams = MeshParams {
    box_size: 16,
    filter_size: 3,
    filter_threshold: 0.0,
    clip_sigma: 3.0,
    min_good_fraction: 0.5,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_pixel_gets_a_finite_level_or_there_is_an_error(
        (shape, pixels) in (1_usize..50, 1_usize..50).prop_flat_map(|s| {
            let pixel = prop_oneof![6 => -5.0_f32..5.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(9e9)];
            (Just(s), prop::collection::vec(pixel, s.0 * s.1))
        }),
    ) {
        if let Ok(found) = estimate(Plane::new("data", &pixels, shape).unwrap(), None, &PARAMS) {
            prop_assert!(found.level.pixels().iter().all(|v| v.is_finite()));
            prop_assert!(found.rms.pixels().iter().all(|v| v.is_finite()));
            prop_assert!(found.rms_global >= 0.0);
        }
    }

    #[test]
    fn a_power_of_two_scales_level_and_noise_exactly(
        (shape, pixels) in (1_usize..50, 1_usize..50)
            .prop_flat_map(|s| (Just(s), prop::collection::vec(-5.0_f32..5.0, s.0 * s.1))),
    ) {
        let scaled: Vec<f32> = pixels.iter().map(|v| v * 8.0).collect();
        let small = estimate(Plane::new("data", &pixels, shape).unwrap(), None, &PARAMS).unwrap();
        let large = estimate(Plane::new("data", &scaled, shape).unwrap(), None, &PARAMS).unwrap();
        for (a, b) in small.level.pixels().iter().zip(large.level.pixels()) {
            prop_assert_eq!(a * 8.0, *b);
        }
        prop_assert_eq!(small.rms_global * 8.0, large.rms_global);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn running_medians_are_those_of_sorted_boxes(
        (shape, pixels) in (1_usize..90, 1_usize..90).prop_flat_map(|s| {
            let pixel = prop_oneof![6 => -5.0_f32..5.0, 1 => Just(f32::NAN), 1 => Just(1.5), 1 => Just(9e9)];
            (Just(s), prop::collection::vec(pixel, s.0 * s.1))
        }),
        half in 0_usize..45,
    ) {
        let data = Plane::new("data", &pixels, shape).unwrap();
        let params = RunningParams { half, method: Running::Median, min_good: 1 };
        let found = match large_scale(data, None, &params) {
            Err(BackgroundError::NoGoodPixel { .. }) => {
                prop_assert!(pixels.iter().all(|v| !v.is_finite()));
                return Ok(());
            }
            found => found.unwrap(),
        };
        for (i, &level) in found.pixels().iter().enumerate() {
            let (y, x) = (i / shape.1, i % shape.1);
            let mut values: Vec<f32> = (y.saturating_sub(half)..(y + half + 1).min(shape.0))
                .flat_map(|row| &data.row(row)[x.saturating_sub(half)..(x + half + 1).min(shape.1)])
                .copied()
                .filter(|v| v.is_finite())
                .collect();
            if values.is_empty() {
                prop_assert!(level.is_finite());
                continue;
            }
            values.sort_unstable_by(f32::total_cmp);
            let n = values.len();
            let middle = f64::midpoint(f64::from(values[(n - 1) / 2]), f64::from(values[n / 2]));
            prop_assert_eq!(level, middle as f32);
        }
    }
}
