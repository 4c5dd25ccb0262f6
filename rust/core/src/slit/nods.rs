//! Nod differences: the mean of one position less the mean of the others.

use std::ops::Deref;

use ndarray::{Array2, ArrayView3, Axis, Zip};

use super::{SlitError, check_shape};

/// Frames of one slitlet.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    /// Fluxes.
    pub data: ArrayView3<'a, f64>,
    /// Sky that was subtracted.
    pub sky: Option<ArrayView3<'a, f64>>,
    /// Variance.
    pub variance: ArrayView3<'a, f64>,
    /// Variance of the read noise.
    pub read_variance: ArrayView3<'a, f64>,
    /// True = do not use.
    pub mask: ArrayView3<'a, bool>,
    /// True = not counted in the mean of the negative nods.
    pub negative_mask: ArrayView3<'a, bool>,
    /// Whether variances are added in single precision.
    pub single_variances: bool,
}

/// One position less the others; NaN where one of both has no pixel.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Mean fluxes.
    pub positive: Array2<f64>,
    /// Mean fluxes of the others.
    pub negative: Array2<f64>,
    /// Mean sky.
    pub positive_sky: Array2<f64>,
    /// Mean sky of the others.
    pub negative_sky: Array2<f64>,
    /// Variances of the means.
    pub positive_variance: Array2<f64>,
    /// Variances of the means of the others.
    pub negative_variance: Array2<f64>,
    /// Variances of the read noise of the means.
    pub positive_read: Array2<f64>,
    /// Variances of the read noise of the means of the others.
    pub negative_read: Array2<f64>,
    /// How many pixels were averaged.
    pub n_positive: Array2<u32>,
    /// How many pixels the mean of the others was divided by.
    pub n_negative: Array2<u32>,
}

/// Average the frames of a position and those of the others.
///
/// # Errors
/// When shapes differ.
pub fn make_difference(frames: &Frames, is_positive: &[bool]) -> Result<Difference, SlitError> {
    let shape = frames.data.dim();
    let expected = [shape.0, shape.1, shape.2];
    check_shape("variance", frames.variance.shape(), &expected)?;
    check_shape("read_variance", frames.read_variance.shape(), &expected)?;
    check_shape("mask", frames.mask.shape(), &expected)?;
    check_shape("negative_mask", frames.negative_mask.shape(), &expected)?;
    check_shape("position", &[is_positive.len()], &[shape.0])?;
    if let Some(sky) = frames.sky {
        check_shape("sky", sky.shape(), &expected)?;
    }
    let [positive, positive_sky, positive_variance, positive_read] =
        sums_of(frames, is_positive, true, frames.mask);
    let [negative, negative_sky, negative_variance, negative_read] =
        sums_of(frames, is_positive, false, frames.negative_mask);
    let count = |wanted: bool, mask: ArrayView3<bool>| {
        let mut n = Array2::zeros((shape.1, shape.2));
        for i in (0..shape.0).filter(|&i| is_positive[i] == wanted) {
            Zip::from(&mut n)
                .and(mask.index_axis(Axis(0), i))
                .for_each(|n, &bad| *n += u32::from(!bad));
        }
        n
    };
    Ok(Difference {
        positive,
        negative,
        positive_sky,
        negative_sky,
        positive_variance,
        negative_variance,
        positive_read,
        negative_read,
        n_positive: count(true, frames.mask),
        n_negative: count(false, frames.negative_mask),
    })
}

/// Means of data and sky, and variances of these means, over the pixels that are counted.
fn sums_of(
    frames: &Frames,
    is_positive: &[bool],
    wanted: bool,
    counted: ArrayView3<bool>,
) -> [Array2<f64>; 4] {
    let (n_exposures, ny, nx) = frames.data.dim();
    let mut sums: [Vec<f64>; 4] = std::array::from_fn(|_| vec![0.0; ny * nx]);
    let mut n = vec![0.0; ny * nx];
    for i in (0..n_exposures).filter(|&i| is_positive[i] == wanted) {
        // All bits where a pixel is good, so that what is not adds 0.
        let data = Plane::of(frames.data, i);
        let mask = Plane::of(frames.mask, i);
        let good: Vec<u64> = (data.iter().zip(mask.iter()))
            .map(|(d, &bad)| u64::from(!bad && d.is_finite()).wrapping_neg())
            .collect();
        add(&mut sums[0], &data, &good);
        if let Some(sky) = frames.sky {
            add(&mut sums[1], &Plane::of(sky, i), &good);
        }
        let add = if frames.single_variances {
            add_single
        } else {
            add
        };
        add(&mut sums[2], &Plane::of(frames.variance, i), &good);
        add(&mut sums[3], &Plane::of(frames.read_variance, i), &good);
        for (n, &bad) in n.iter_mut().zip(Plane::of(counted, i).iter()) {
            *n += f64::from(u8::from(!bad));
        }
    }
    let squares: Vec<f64> = n.iter().map(|n| n * n).collect();
    for (k, sum) in sums.iter_mut().enumerate() {
        let over = if k < 2 { &n } else { &squares };
        sum.iter_mut().zip(over).for_each(|(sum, n)| *sum /= n);
    }
    sums.map(|sum| Array2::from_shape_fn((ny, nx), |(y, x)| sum[y * nx + x]))
}

/// An exposure as a list of pixels.
enum Plane<'a, T> {
    View(&'a [T]),
    Copy(Vec<T>),
}

impl<'a, T: Copy> Plane<'a, T> {
    fn of(all: ArrayView3<'a, T>, i: usize) -> Self {
        let plane = all.index_axis_move(Axis(0), i);
        match plane.to_slice() {
            Some(view) => Self::View(view),
            None => Self::Copy(plane.iter().copied().collect()),
        }
    }
}

impl<T> Deref for Plane<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::View(view) => view,
            Self::Copy(copy) => copy,
        }
    }
}

fn masked(value: f64, good: u64) -> f64 {
    f64::from_bits(value.to_bits() & good)
}

fn add(sums: &mut [f64], plane: &[f64], good: &[u64]) {
    for ((sum, &value), &good) in sums.iter_mut().zip(plane).zip(good) {
        *sum += masked(value, good);
    }
}

fn add_single(sums: &mut [f64], plane: &[f64], good: &[u64]) {
    for ((sum, &value), &good) in sums.iter_mut().zip(plane).zip(good) {
        *sum = f64::from(*sum as f32 + masked(value, good) as f32);
    }
}
