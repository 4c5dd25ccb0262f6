//! Properties of coordinates: every map is undone by its inverse.
#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use proptest::prelude::*;
use skymere_core::wcs::distortion::Distortion;
use skymere_core::wcs::fits_wcs::TanWcs;
use skymere_core::wcs::lookup::Table;
use skymere_core::wcs::pixmap::{map_points, pixel_map};
use skymere_core::wcs::sip::Sip;

fn systems() -> impl Strategy<Value = TanWcs> {
    (
        0.0..360.0_f64,
        -90.0..90.0_f64,
        -3.2..3.2_f64,
        1e-5..5e-5_f64,
        prop::array::uniform6(-1.0..1.0_f64),
        prop::array::uniform4(any::<bool>()),
    )
        .prop_map(|(ra, dec, angle, scale, c, has)| {
            let (s, t) = (angle.sin() * scale, angle.cos() * scale);
            let a = array![
                [0.0, 0.0, c[0] * 1e-5],
                [0.0, c[1] * 1e-5, 0.0],
                [c[2] * 1e-5, 0.0, 0.0]
            ];
            let b = array![
                [0.0, 0.0, c[3] * 1e-5],
                [0.0, c[4] * 1e-5, 0.0],
                [c[5] * 1e-5, 0.0, 0.0]
            ];
            let shifts = array![
                [c[0] as f32, c[1] as f32],
                [c[2] as f32, c[3] as f32],
                [c[4] as f32, c[5] as f32]
            ];
            let table = |k: usize, crpix: f64| {
                has[k].then(|| {
                    Table::new(&shifts.view(), [crpix, 1.0], [1.0, 100.0], [700.0, 300.0]).unwrap()
                })
            };
            let distortion = Distortion {
                detector: [table(0, 1.5), table(1, 1.0)],
                sip: Some(Sip::new(&a.view(), &b.view(), [500.0, 500.0]).unwrap()),
                residual: [table(2, 0.5), table(3, 1.0)],
            };
            TanWcs::new(
                [ra, dec],
                [499.0, 498.0],
                [[-t, s], [s, t]],
                180.0,
                distortion,
            )
            .unwrap()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pixels_undo_sky(wcs in systems(), x in -50.0..1100.0_f64, y in -50.0..1100.0_f64) {
        let (ra, dec) = wcs.sky(x, y);
        let (px, py) = wcs.pixel(ra, dec);
        prop_assert!((px - x).abs() < 1e-7 && (py - y).abs() < 1e-7);
    }

    #[test]
    fn a_map_to_another_image_and_back_is_the_identity(wcs in systems(), turn in -1.0..1.0_f64) {
        let (ra, dec) = wcs.sky(300.0, 600.0);
        let (s, c) = (turn.sin() * 2e-5, turn.cos() * 2e-5);
        let other = TanWcs::new([ra, dec], [10.0, 20.0], [[-c, s], [s, c]], 170.0, Distortion::default()).unwrap();
        let map = pixel_map(&wcs, &other, [30, 40], 0);
        let flat = Array2::from_shape_vec((1200, 2), map.iter().copied().collect()).unwrap();
        let back = map_points(&other, &wcs, &flat.view()).unwrap();
        for (k, p) in back.outer_iter().enumerate() {
            prop_assert!((p[0] - (k % 40) as f64).abs() < 1e-8 && (p[1] - (k / 40) as f64).abs() < 1e-8);
        }
    }
}
