//! The filtered image in units of its noise.

use super::SegmentationError;
use super::convolve::{BLOCK_ROWS, Filter, Kernel};
use super::noise::Noise;
use crate::image::{Image, Plane};

/// The image filtered with inverse variances as weights, over the noise that this leaves of independent pixels:
/// `sum k w d / sqrt(sum k^2 w)`. NaN at pixels that cannot be used.
///
/// # Errors
/// When the shapes differ.
pub fn filtered_snr(
    data: Plane<'_, f32>,
    noise: Noise<'_>,
    mask: Option<Plane<'_, bool>>,
    kernel: &Kernel,
) -> Result<Image<f32>, SegmentationError> {
    let shape = data.shape();
    let mask = mask.map(|m| m.of_shape("mask", shape)).transpose()?;
    let noise = noise.of_shape(shape)?;
    let unit = noise.unit();
    let weight_of = noise.weights(mask, true);
    let filter = Filter::matched(data, kernel, &weight_of);
    let mut out = Image::empty(shape);
    out.fill_blocks(BLOCK_ROWS, |y0, pixels| {
        let nx = shape.1;
        let mut filtered = vec![0.0; pixels.len()];
        filter.fill_block(y0, &mut filtered, |y, row| {
            let snr = &mut pixels[(y - y0) * nx..(y - y0 + 1) * nx];
            let sigmas = row.noise.unwrap_or_default();
            for (((out, &value), &sigma), &weight) in
                snr.iter_mut().zip(row.value).zip(sigmas).zip(row.weight)
            {
                *out = if weight > 0.0 {
                    value / (sigma * unit)
                } else {
                    f32::NAN
                };
            }
        });
    });
    Ok(out)
}
