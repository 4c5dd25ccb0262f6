//! Nod differences: the mean of one position less the mean of the others.

use ndarray::{Array2, ArrayView3};

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
    let plane = || Array2::zeros((shape.1, shape.2));
    let mut out = Difference {
        positive: plane(),
        negative: plane(),
        positive_sky: plane(),
        negative_sky: plane(),
        positive_variance: plane(),
        negative_variance: plane(),
        positive_read: plane(),
        negative_read: plane(),
        n_positive: Array2::zeros((shape.1, shape.2)),
        n_negative: Array2::zeros((shape.1, shape.2)),
    };
    for at @ (y, x) in ndarray::indices((shape.1, shape.2)) {
        let of = |wanted: bool, counted: ArrayView3<bool>| {
            let mut sums = [0.0; 4];
            let mut n = 0;
            let add = |sum: f64, value: f64| {
                if frames.single_variances {
                    f64::from(sum as f32 + value as f32)
                } else {
                    sum + value
                }
            };
            for i in (0..shape.0).filter(|&i| is_positive[i] == wanted) {
                if !frames.mask[(i, y, x)] && frames.data[(i, y, x)].is_finite() {
                    sums[0] += frames.data[(i, y, x)];
                    sums[1] += frames.sky.map_or(0.0, |sky| sky[(i, y, x)]);
                    sums[2] = add(sums[2], frames.variance[(i, y, x)]);
                    sums[3] = add(sums[3], frames.read_variance[(i, y, x)]);
                }
                n += u32::from(!counted[(i, y, x)]);
            }
            let m = f64::from(n);
            let means = [
                sums[0] / m,
                sums[1] / m,
                sums[2] / (m * m),
                sums[3] / (m * m),
            ];
            (means, n)
        };
        let (p, n_positive) = of(true, frames.mask);
        let (n, n_negative) = of(false, frames.negative_mask);
        out.positive[at] = p[0];
        out.positive_sky[at] = p[1];
        out.positive_variance[at] = p[2];
        out.positive_read[at] = p[3];
        out.negative[at] = n[0];
        out.negative_sky[at] = n[1];
        out.negative_variance[at] = n[2];
        out.negative_read[at] = n[3];
        out.n_positive[at] = n_positive;
        out.n_negative[at] = n_negative;
    }
    Ok(out)
}
