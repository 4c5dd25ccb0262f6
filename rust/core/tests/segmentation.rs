//! Properties of labelling, detection and apertures on random images.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use skymere_core::image::{Image, Plane};
use skymere_core::segmentation::{
    Assignment, Connectivity, DeblendParams, Deblending, DetectParams, Detector, Kernel,
    Neighbours, Noise, NoiseOf, Photometer, SaddleParams, Spacing, Window, label, sum_apertures,
};

/// Labels by flood fill in raster order.
fn flood_fill(mask: &[u8], (ny, nx): (usize, usize), connectivity: Connectivity) -> Vec<i32> {
    let mut labels = vec![0; mask.len()];
    let mut next = 0;
    for start in 0..mask.len() {
        if mask[start] == 0 || labels[start] != 0 {
            continue;
        }
        next += 1;
        let mut stack = vec![start];
        labels[start] = next;
        while let Some(i) = stack.pop() {
            let (y, x) = (i / nx, i % nx);
            for j in y.saturating_sub(1)..=(y + 1).min(ny - 1) {
                for k in x.saturating_sub(1)..=(x + 1).min(nx - 1) {
                    let n = j * nx + k;
                    let is_corner = j != y && k != x;
                    let is_neighbour = !is_corner || connectivity == Connectivity::Eight;
                    if is_neighbour && mask[n] != 0 && labels[n] == 0 {
                        labels[n] = next;
                        stack.push(n);
                    }
                }
            }
        }
    }
    labels
}

fn in_pool<T: Send>(threads: usize, job: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(job)
}

/// Labels of an image with unit noise, and their number.
fn detect(data: Plane<'_, f32>, kernel: &Kernel, params: &DetectParams) -> (Image<i32>, usize) {
    let (ny, nx) = data.shape();
    let mut detector = Detector::new((ny, nx), kernel.clone(), params.clone()).unwrap();
    let window = Window {
        data,
        noise: Noise::Constant(1.0),
        mask: None,
        origin: (0, 0),
        core: ([0, ny], [0, nx]),
    };
    detector.add(&window).unwrap();
    let found = detector.finish().unwrap();
    (found.labels((0, 0), (ny, nx)), found.n_sources())
}

fn pixels(n: usize) -> impl Strategy<Value = Vec<f32>> {
    let pixel = prop_oneof![8 => -1.0_f32..1.0, 2 => 1.0_f32..30.0, 1 => Just(f32::NAN)];
    prop::collection::vec(pixel, n)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn labels_are_those_of_a_flood_fill(
        (shape, mask) in (1_usize..150, 1_usize..40)
            .prop_flat_map(|s| (Just(s), prop::collection::vec(0_u8..2, s.0 * s.1))),
        eight in any::<bool>(),
    ) {
        let connectivity = if eight { Connectivity::Eight } else { Connectivity::Four };
        let plane = Plane::new("mask", &mask, shape).unwrap();
        let (found, n) = label(plane, connectivity).unwrap();
        let expected = flood_fill(&mask, shape, connectivity);
        prop_assert_eq!(n as i32, expected.iter().copied().max().unwrap_or(0));
        prop_assert_eq!(found.into_vec(), expected);
    }

    #[test]
    fn detection_does_not_depend_on_threads_and_keeps_its_promises(
        pixels in pixels(130 * 40),
        min_area in 1_usize..12,
        random in any::<bool>(),
        at_saddles in any::<bool>(),
        sharp in any::<bool>(),
        extent in 0.5..1.5,
        clean in prop::option::of(0.5..3.0),
    ) {
        let data = Plane::new("data", &pixels, (130, 40)).unwrap();
        let tent = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        let kernel = Kernel::new(Plane::new("kernel", &tent, (3, 3)).unwrap()).unwrap();
        let assignment = if random { Assignment::Random } else { Assignment::Likeliest };
        let deblend = if at_saddles {
            Deblending::Saddles(SaddleParams { min_prominence: 0.5, contrast: 0.0 }, sharp.then(|| kernel.clone()))
        } else {
            Deblending::Levels(DeblendParams { n_levels: 32, spacing: Spacing::Sinh, contrast: 0.005, assignment })
        };
        let params = DetectParams {
            threshold: 1.5,
            extent,
            noise_of: NoiseOf::Filtered,
            connectivity: Connectivity::Eight,
            min_area,
            deblend,
            clean,
        };
        let run = || detect(data, &kernel, &params);
        let (one, n): (Image<i32>, usize) = in_pool(1, run);
        let (three, _) = in_pool(3, run);
        prop_assert_eq!(one.pixels(), three.pixels());
        let mut area = vec![0; n + 1];
        for (&l, v) in one.pixels().iter().zip(&pixels) {
            area[l as usize] += 1;
            prop_assert!(l == 0 || v.is_finite());
        }
        prop_assert!(area[1..].iter().all(|&a| a >= min_area));
    }

    #[test]
    fn an_aperture_over_a_flat_image_holds_its_area(
        x in 0.0..60.0_f64,
        y in 0.0..50.0_f64,
        a in 0.1..30.0_f64,
        ratio in 0.05..1.0_f64,
        theta in -2.0..2.0_f64,
    ) {
        let flat = vec![1.0_f32; 50 * 60];
        let photometer = Photometer {
            data: Plane::new("data", &flat, (50, 60)).unwrap(),
            variance: None,
            mask: None,
            labels: None,
            neighbours: Neighbours::Mirror,
            noise_correlation: 1.0,
            correlation: None,
        };
        let area = std::f64::consts::PI * a * a * ratio;
        let sums = sum_apertures(&photometer, &[[x, y, a, a * ratio, theta]], &[0]).unwrap();
        let flux = if sums.flux[0].is_nan() { 0.0 } else { sums.flux[0] };
        prop_assert!((flux / area + sums.missing[0] - 1.0).abs() < 1e-7);
    }
}
