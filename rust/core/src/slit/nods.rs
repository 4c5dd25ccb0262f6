//! Nod differences: the mean of one position less the mean of the others.

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
    let mut sums: [Array2<f64>; 4] = std::array::from_fn(|_| Array2::zeros((ny, nx)));
    let mut n: Array2<f64> = Array2::zeros((ny, nx));
    let single = |sum: f64, value: f64| f64::from(sum as f32 + value as f32);
    for i in (0..n_exposures).filter(|&i| is_positive[i] == wanted) {
        let of = |all: ArrayView3<'_, f64>| all.index_axis_move(Axis(0), i).to_owned();
        let data = frames.data.index_axis(Axis(0), i);
        let good = Zip::from(data)
            .and(frames.mask.index_axis(Axis(0), i))
            .map_collect(|d, &bad| !bad && d.is_finite());
        let planes = [
            Some(of(frames.data)),
            frames.sky.map(of),
            Some(of(frames.variance)),
            Some(of(frames.read_variance)),
        ];
        for (k, (sum, plane)) in sums.iter_mut().zip(planes).enumerate() {
            let Some(plane) = plane else { continue };
            let is_single = k >= 2 && frames.single_variances;
            Zip::from(sum)
                .and(&plane)
                .and(&good)
                .for_each(|sum, &value, &good| {
                    let more = if is_single {
                        single(*sum, value)
                    } else {
                        *sum + value
                    };
                    *sum = if good { more } else { *sum };
                });
        }
        Zip::from(&mut n)
            .and(counted.index_axis(Axis(0), i))
            .for_each(|n, &bad| *n += f64::from(u8::from(!bad)));
    }
    for (k, sum) in sums.iter_mut().enumerate() {
        Zip::from(sum).and(&n).for_each(|sum, &n| {
            *sum /= if k < 2 { n } else { n * n };
        });
    }
    sums
}
