//! The scale of a pixel map.

use ndarray::ArrayView3;

use super::ResampleError;

/// Side of an output pixel over the side of an input pixel, from the median area of the mapped pixels.
///
/// # Errors
/// [`ResampleError::NoScale`] when no 2 x 2 pixels of the map are finite.
pub fn pixel_scale_ratio(pixmap: &ArrayView3<'_, f64>) -> Result<f64, ResampleError> {
    const SAMPLES_PER_AXIS: usize = 64;
    let (ny, nx, _) = pixmap.dim();
    let step = |n: usize| n.div_ceil(SAMPLES_PER_AXIS).max(1);
    let mut areas = Vec::new();
    for j in (0..ny.saturating_sub(1)).step_by(step(ny)) {
        for i in (0..nx.saturating_sub(1)).step_by(step(nx)) {
            let p = |dj: usize, di: usize, k: usize| pixmap[[j + dj, i + di, k]];
            let (ax, ay) = (p(1, 1, 0) - p(0, 0, 0), p(1, 1, 1) - p(0, 0, 1));
            let (bx, by) = (p(1, 0, 0) - p(0, 1, 0), p(1, 0, 1) - p(0, 1, 1));
            let area = 0.5 * (ax * by - ay * bx).abs();
            if area.is_finite() && area > 0.0 {
                areas.push(area);
            }
        }
    }
    let middle = areas.len() / 2;
    if areas.is_empty() {
        return Err(ResampleError::NoScale);
    }
    let (_, median, _) = areas.select_nth_unstable_by(middle, f64::total_cmp);
    Ok(1.0 / median.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn a_map_to_half_the_pixel_side_has_ratio_one_half() {
        let map = Array3::from_shape_fn((100, 90, 2), |(j, i, k)| {
            2.0 * if k == 0 { i as f64 } else { j as f64 }
        });
        assert!((pixel_scale_ratio(&map.view()).unwrap() - 0.5).abs() < 1e-12);
        let nan = Array3::from_elem((5, 5, 2), f64::NAN);
        assert_eq!(pixel_scale_ratio(&nan.view()), Err(ResampleError::NoScale));
    }
}
