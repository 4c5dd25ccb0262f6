//! Sums over segments.

use rayon::prelude::*;

use super::SegmentationError;
use super::segments::Segments;
use crate::image::Plane;

/// Sums over the pixels of every segment, by increasing label.
#[derive(Debug, Default)]
pub struct SegmentSums {
    /// The labels.
    pub label: Vec<i32>,
    /// Number of pixels.
    pub area: Vec<i64>,
    /// Number of pixels that are finite.
    pub n_good: Vec<i64>,
    /// Sum of those [unit].
    pub flux: Vec<f64>,
    /// Sum of their variances [unit^2].
    pub variance: Vec<f64>,
}

/// Sum an image and its variance over every segment; pixels whose value or variance is not finite do not count.
///
/// # Errors
/// When the shapes differ or a label is negative.
pub fn segment_sums(
    labels: Plane<'_, i32>,
    data: Plane<'_, f32>,
    variance: Plane<'_, f32>,
) -> Result<SegmentSums, SegmentationError> {
    let data = data.of_shape("data", labels.shape())?;
    let variance = variance.of_shape("variance", labels.shape())?;
    let segments = Segments::of(labels)?;
    let sums: Vec<(i64, i64, f64, f64)> = (0..segments.labels().len())
        .into_par_iter()
        .map(|i| {
            let (mut area, mut n, mut flux, mut square) = (0, 0, 0.0, 0.0);
            for run in segments.runs(i) {
                let pixels = &data.row(run.y)[run.start..run.end];
                area += pixels.len() as i64;
                for (&v, &s) in pixels.iter().zip(&variance.row(run.y)[run.start..run.end]) {
                    if v.is_finite() && s.is_finite() {
                        n += 1;
                        flux += f64::from(v);
                        square += f64::from(s);
                    }
                }
            }
            (area, n, flux, square)
        })
        .collect();
    Ok(SegmentSums {
        label: segments.labels().to_vec(),
        area: sums.iter().map(|s| s.0).collect(),
        n_good: sums.iter().map(|s| s.1).collect(),
        flux: sums.iter().map(|s| s.2).collect(),
        variance: sums.iter().map(|s| s.3).collect(),
    })
}
