//! Properties of drizzle: weight is conserved, windows and blocks change nothing, lanes and walks agree.
#![allow(clippy::unwrap_used)]

use ndarray::{Array2, Array3};
use proptest::prelude::*;
use skymere_core::resample::drizzle::{Input, Sums, add};
use skymere_core::resample::kernels::Kernel;
use skymere_core::resample::lanes::{Areas, Drops, areas};
use skymere_core::resample::overlap::{Coverage, Quad};

const OUTPUT: usize = 60;

fn affine(matrix: [f64; 4], shift: [f64; 2], n: usize) -> Array3<f64> {
    let middle = (n as f64 - 1.0) / 2.0;
    Array3::from_shape_fn((n, n, 2), |(j, i, k)| {
        let (x, y) = (i as f64 - middle, j as f64 - middle);
        matrix[2 * k] * x + matrix[2 * k + 1] * y + shift[k] + OUTPUT as f64 / 2.0
    })
}

fn drizzle(pixmap: &Array3<f64>, kernel: Kernel, shape: [usize; 2]) -> (Array3<f64>, Array2<i32>) {
    drizzle_window(pixmap, kernel, [0, 0], shape, shape[1])
}

fn drizzle_window(
    pixmap: &Array3<f64>,
    kernel: Kernel,
    first: [usize; 2],
    shape: [usize; 2],
    n_columns: usize,
) -> (Array3<f64>, Array2<i32>) {
    let data = Array2::from_shape_fn((pixmap.shape()[0], pixmap.shape()[1]), |(j, i)| {
        (1 + i + 3 * j) as f32
    });
    let mut mean = Array3::zeros((shape[0], shape[1], 2));
    let mut context = Array2::zeros(shape);
    let input = Input {
        data: data.view(),
        pixmap: pixmap.view(),
        weight: None,
        variance: None,
        dq: None,
        value_scale: 1.0,
        pixel_scale_ratio: Some(1.0),
    };
    let sums = Sums {
        first,
        n_columns,
        mean: mean.view_mut(),
        context: context.view_mut(),
        variance: None,
        dq: None,
    };
    add(sums, &input, kernel, 3).unwrap();
    (mean, context)
}

fn matrices() -> impl Strategy<Value = [f64; 4]> {
    (0.2..3.0_f64, 0.2..3.0_f64, -3.2..3.2_f64, any::<bool>()).prop_map(|(a, b, angle, flip)| {
        let (s, c) = angle.sin_cos();
        let a = if flip { -a } else { a };
        [a * c, -b * s, a * s, b * c]
    })
}

fn quads() -> impl Strategy<Value = Quad> {
    (
        matrices(),
        -9.0..69.0_f64,
        -9.0..69.0_f64,
        prop::array::uniform8(-0.05..0.05_f64),
    )
        .prop_map(|(m, x, y, bend)| {
            let corner = |k: usize, u: f64, v: f64| {
                (
                    x + m[0] * u + m[1] * v + bend[2 * k],
                    y + m[2] * u + m[3] * v + bend[2 * k + 1],
                )
            };
            let corners = [
                corner(0, -0.5, -0.5),
                corner(1, 0.5, -0.5),
                corner(2, 0.5, 0.5),
                corner(3, -0.5, 0.5),
            ];
            Quad {
                x: corners.map(|c| c.0),
                y: corners.map(|c| c.1),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weight_and_flux_of_drops_inside_are_conserved(matrix in matrices(), x in -3.0..3.0_f64, y in -3.0..3.0_f64,
                                                     pixfrac in 0.05..1.5_f64) {
        let n = 9;
        let map = affine(matrix, [x, y], n);
        let (mean, context) = drizzle(&map, Kernel::Square { pixfrac }, [OUTPUT, OUTPUT]);
        let sum = |k: usize| mean.index_axis(ndarray::Axis(2), k).sum();
        let flux: f64 = (0..n * n).map(|k| (1 + k % n + 3 * (k / n)) as f64).sum();
        prop_assert!((sum(0) - (n * n) as f64).abs() < 1e-9);
        prop_assert!((sum(1) - flux).abs() < 1e-9 * flux);
        for ((j, i), bits) in context.indexed_iter() {
            prop_assert_eq!(*bits, if mean[[j, i, 0]] > 0.0 { 8 } else { 0 });
        }
    }

    #[test]
    fn lanes_and_walks_along_the_edges_agree(drops in prop::collection::vec(quads(), 1..16)) {
        let mut lanes = Drops::default();
        for (lane, quad) in drops.iter().enumerate() {
            lanes.set(lane, quad);
        }
        let mut found = Areas::default();
        areas(&lanes, &mut found);
        for (lane, quad) in drops.iter().enumerate() {
            let mut image = Array2::<f64>::zeros((OUTPUT, OUTPUT));
            Coverage::default().spread(quad, 0..OUTPUT, OUTPUT, |row, column, shares| {
                for (k, share) in shares.iter().enumerate() {
                    image[[row, column + k]] += share;
                }
            });
            prop_assert!(!found.left[lane].is_nan());
            let (left, bottom) = (found.left[lane] as i64, found.bottom[lane] as i64);
            for (j, row) in found.areas.iter().enumerate().take(found.rows[lane] as usize) {
                for (i, area) in row.iter().enumerate().take(found.n_columns) {
                    let (y, x) = (bottom + j as i64, left + i as i64);
                    if let (Ok(y), Ok(x)) = (usize::try_from(y), usize::try_from(x)) {
                        let share = area[lane] * 2.0 / found.twice_area[lane];
                        prop_assert!((share - image.get([y, x]).copied().unwrap_or(share)).abs() < 2e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_and_threads_change_no_bit(matrix in matrices(), n_threads in 2..9_usize) {
        let map = affine(matrix, [0.3, -0.7], 40);
        let with = |n: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| drizzle(&map, Kernel::Square { pixfrac: 0.8 }, [300, OUTPUT]))
        };
        prop_assert_eq!(with(1), with(n_threads));
    }

    #[test]
    fn a_window_has_the_bits_of_the_whole_output(matrix in matrices(), at in (0..30_usize, 0..30_usize),
                                                 size in (1..40_usize, 1..40_usize), pixfrac in 0.05..1.5_f64) {
        let map = affine(matrix, [0.3, -0.7], 40);
        let shape = [size.0, size.1.min(OUTPUT - at.1)];
        let window = ndarray::s![at.0..at.0 + shape[0], at.1..at.1 + shape[1]];
        for kernel in [
            Kernel::Square { pixfrac },
            Kernel::Turbo { pixfrac },
            Kernel::Gaussian { pixfrac },
            Kernel::Lanczos { order: 3, step: 0.0 },
            Kernel::Point,
        ] {
            let (mean, context) = drizzle(&map, kernel, [80, OUTPUT]);
            let (part, bits) = drizzle_window(&map, kernel, [at.0, at.1], shape, OUTPUT);
            prop_assert_eq!(part, mean.slice(ndarray::s![at.0..at.0 + shape[0], at.1..at.1 + shape[1], ..]));
            prop_assert_eq!(bits, context.slice(window));
        }
    }

    #[test]
    fn positions_of_any_size_are_harmless(values in prop::collection::vec(
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1e300), -1e12..1e12_f64, -99.0..99.0_f64], 32)) {
        let map = Array3::from_shape_vec((4, 4, 2), values).unwrap();
        for kernel in [Kernel::Square { pixfrac: 1.0 }, Kernel::Turbo { pixfrac: 1.0 }, Kernel::Point] {
            let (mean, _) = drizzle(&map, kernel, [20, 30]);
            prop_assert!(mean.iter().all(|v| v.is_finite() && *v >= 0.0));
            prop_assert!(mean.index_axis(ndarray::Axis(2), 0).sum() <= 16.0 + 1e-9);
        }
    }
}
