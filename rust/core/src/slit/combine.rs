//! Pixels of many exposures on a grid of wavelength and distance from the trace.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2};
use rayon::prelude::*;

use super::{SlitError, bin_of, check_order, check_shape};

/// Sums on the grid `[y, x]`.
#[derive(Clone, Debug)]
pub struct Resampled {
    /// Weighted values of every plane; divided by `weight` they are the resampled values.
    pub sums: Array3<f64>,
    /// Variance of the sums.
    pub variance: Array2<f64>,
    /// Sum of the weights.
    pub weight: Array2<f64>,
    /// Number of pixels.
    pub n_pixels: Array2<f64>,
}

impl Resampled {
    fn zeros(n_planes: usize, shape: (usize, usize)) -> Self {
        Self {
            sums: Array3::zeros((n_planes, shape.0, shape.1)),
            variance: Array2::zeros(shape),
            weight: Array2::zeros(shape),
            n_pixels: Array2::zeros(shape),
        }
    }
}

fn check(
    n: usize,
    planes: ArrayView2<f64>,
    others: [(&'static str, ArrayView1<f64>); 3],
) -> Result<(), SlitError> {
    check_shape("values", planes.shape(), &[planes.nrows(), n])?;
    others
        .iter()
        .try_for_each(|(name, values)| check_shape(name, values.shape(), &[n]))
}

/// Weighted histograms for bins that are shifted by fractions of a bin, averaged: each row of `x_edges` and of `y_edges` is
/// one set of bins. A pixel that falls into several bins adds `f w^2 v` to the variance of each.
///
/// # Errors
/// When lengths differ or edges do not grow.
pub fn pseudo_drizzle(
    x: ArrayView1<f64>,
    y: ArrayView1<f64>,
    planes: ArrayView2<f64>,
    variance: ArrayView1<f64>,
    weight: ArrayView1<f64>,
    x_edges: ArrayView2<f64>,
    y_edges: ArrayView2<f64>,
) -> Result<Resampled, SlitError> {
    let n = x.len();
    check(
        n,
        planes,
        [("y", y), ("variance", variance), ("weight", weight)],
    )?;
    let bins = |name, edges: ArrayView2<f64>, values: ArrayView1<f64>| {
        let rows = edges.outer_iter().map(|edges| {
            let edges = edges.to_vec();
            check_order(name, &edges, 2)?;
            Ok(values.iter().map(|&v| bin_of(&edges, v)).collect())
        });
        rows.collect::<Result<Vec<Vec<Option<usize>>>, SlitError>>()
    };
    let (x_bins, y_bins) = (bins("x_edges", x_edges, x)?, bins("y_edges", y_edges, y)?);
    let shape = (y_edges.ncols() - 1, x_edges.ncols() - 1);
    let n_samples = (x_bins.len() * y_bins.len()) as f64;
    let samples: Vec<_> = x_bins
        .iter()
        .flat_map(|x| y_bins.iter().map(move |y| (x, y)))
        .collect();
    let histogram = |&(x_bins, y_bins): &(&Vec<Option<usize>>, &Vec<Option<usize>>)| {
        let mut out = Resampled::zeros(planes.nrows(), shape);
        for k in 0..n {
            let (Some(x), Some(y)) = (x_bins[k], y_bins[k]) else {
                continue;
            };
            let (w, v) = (weight[k], variance[k]);
            out.weight[(y, x)] += w / n_samples;
            out.variance[(y, x)] += v * (w * w) / n_samples;
            out.n_pixels[(y, x)] += f64::from(u8::from(v + w > 0.0));
            for (plane, values) in planes.outer_iter().enumerate() {
                out.sums[(plane, y, x)] += values[k] * w / n_samples;
            }
        }
        out
    };
    // One histogram after the other, so that the sums do not depend on the number of threads.
    let mut out = Resampled::zeros(planes.nrows(), shape);
    for some in samples.chunks(rayon::current_num_threads().max(1)) {
        let parts: Vec<Resampled> = some.par_iter().map(histogram).collect();
        for part in parts {
            for at in ndarray::indices(shape) {
                if part.weight[at] > 0.0 {
                    out.weight[at] += part.weight[at];
                    out.variance[at] += part.variance[at];
                    out.n_pixels[at] += part.n_pixels[at] / n_samples;
                    for plane in 0..planes.nrows() {
                        out.sums[(plane, at.0, at.1)] += part.sums[(plane, at.0, at.1)];
                    }
                }
            }
        }
    }
    Ok(out)
}

/// Bins that an interval overlaps, with the fraction of the interval in each.
pub(super) fn overlaps(edges: &[f64], centre: f64, width: f64) -> Vec<(usize, f64)> {
    let (low, high) = (centre - 0.5 * width, centre + 0.5 * width);
    if !(low.is_finite() && high > low) {
        return Vec::new();
    }
    let first = edges.partition_point(|&e| e <= low).saturating_sub(1);
    edges
        .windows(2)
        .enumerate()
        .skip(first)
        .take_while(|(_, bin)| bin[0] < high)
        .map(|(k, bin)| (k, (bin[1].min(high) - bin[0].max(low)) / width))
        .filter(|&(_, part)| part > 0.0)
        .collect()
}

/// Drizzle: every pixel is a rectangle that is shared among the bins by area; the variance takes squared weights.
///
/// # Errors
/// When lengths differ or edges do not grow.
pub fn overlap_drizzle(
    centre: (ArrayView1<f64>, ArrayView1<f64>),
    width: (ArrayView1<f64>, ArrayView1<f64>),
    planes: ArrayView2<f64>,
    variance: ArrayView1<f64>,
    weight: ArrayView1<f64>,
    edges: (&[f64], &[f64]),
) -> Result<Resampled, SlitError> {
    let n = centre.0.len();
    check(
        n,
        planes,
        [("y", centre.1), ("variance", variance), ("weight", weight)],
    )?;
    check(
        n,
        planes,
        [("width", width.0), ("height", width.1), ("weight", weight)],
    )?;
    check_order("x_edges", edges.0, 2)?;
    check_order("y_edges", edges.1, 2)?;
    let mut out = Resampled::zeros(planes.nrows(), (edges.1.len() - 1, edges.0.len() - 1));
    for k in 0..n {
        let across = overlaps(edges.0, centre.0[k], width.0[k]);
        for (y, part_y) in overlaps(edges.1, centre.1[k], width.1[k]) {
            for &(x, part_x) in &across {
                let part = part_x * part_y;
                let w = part * weight[k];
                out.weight[(y, x)] += w;
                out.variance[(y, x)] += w * w * variance[k];
                out.n_pixels[(y, x)] += part;
                for (plane, values) in planes.outer_iter().enumerate() {
                    out.sums[(plane, y, x)] += w * values[k];
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_shared_among_the_bins_it_overlaps() {
        let edges = [0.0, 1.0, 3.0];
        assert_eq!(overlaps(&edges, 1.0, 1.0), [(0, 0.5), (1, 0.5)]);
        assert_eq!(overlaps(&edges, 0.0, 2.0), [(0, 0.5)]);
        assert_eq!(overlaps(&edges, 3.0, 0.5), [(1, 0.5)]);
        assert!(
            overlaps(&edges, 4.0, 1.0).is_empty() && overlaps(&edges, f64::NAN, 1.0).is_empty()
        );
    }
}
