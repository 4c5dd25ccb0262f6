//! Pixels of many exposures on a grid of wavelength and distance from the trace.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, s};

use super::{Bins, SlitError, check_order, check_shape};

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
    let (across, along) = (x_edges.as_standard_layout(), y_edges.as_standard_layout());
    let (x_bins, y_bins) = (bins_of("x_edges", &across)?, bins_of("y_edges", &along)?);
    let shape = (y_edges.ncols() - 1, x_edges.ncols() - 1);
    let n_samples = (x_bins.len() * y_bins.len()) as f64;
    let mut out = Resampled::zeros(planes.nrows(), shape);
    let mut total = vec![[0.0; LANES]; shape.0 * shape.1];
    let mut part = vec![[0.0; LANES]; shape.0];
    for first in (0..planes.nrows().max(1)).step_by(LANES - FIXED) {
        let last = (first + LANES - FIXED).min(planes.nrows());
        let group = planes.slice(s![first..last, ..]);
        let adds = what_pixels_add(group, variance, weight, n_samples);
        total.fill([0.0; LANES]);
        for x_bins in &x_bins {
            let columns = pixels_of_columns(x, x_bins, shape.1);
            for (column, total) in columns.iter().zip(total.chunks_exact_mut(shape.0)) {
                for y_bins in &y_bins {
                    add_column(column, y, y_bins, &adds, n_samples, &mut part, total);
                }
            }
        }
        for (bin, sums) in total.iter().enumerate() {
            let at = (bin % shape.0, bin / shape.0);
            out.weight[at] = sums[0];
            out.variance[at] = sums[1];
            out.n_pixels[at] = sums[2];
            for (plane, sum) in (first..last).zip(&sums[FIXED..]) {
                out.sums[(plane, at.0, at.1)] = *sum;
            }
        }
    }
    Ok(out)
}

/// What lies together for a pixel or a bin: weight, variance, number, and up to five planes.
const LANES: usize = 8;
/// Those that are no planes.
const FIXED: usize = 3;

fn what_pixels_add(
    planes: ArrayView2<f64>,
    variance: ArrayView1<f64>,
    weight: ArrayView1<f64>,
    n_samples: f64,
) -> Vec<[f64; LANES]> {
    let of_pixel = |k: usize| {
        let (w, v) = (weight[k], variance[k]);
        let mut add = [0.0; LANES];
        add[0] = w / n_samples;
        add[1] = v * (w * w) / n_samples;
        add[2] = f64::from(u8::from(v + w > 0.0));
        for (sum, plane) in add[FIXED..].iter_mut().zip(planes.outer_iter()) {
            *sum = plane[k] * w / n_samples;
        }
        add
    };
    (0..weight.len()).map(of_pixel).collect()
}

/// The pixels in each bin across, in their order.
fn pixels_of_columns(x: ArrayView1<f64>, bins: &Bins, n_bins: usize) -> Vec<Vec<usize>> {
    let mut columns = vec![Vec::new(); n_bins];
    for (k, &x) in x.iter().enumerate() {
        if let Some(bin) = bins.of(x) {
            columns[bin].push(k);
        }
    }
    columns
}

/// Add the histogram of a column for one set of bins, for which `part` is 0 before and after; bins without weight add
/// nothing.
fn add_column(
    pixels: &[usize],
    y: ArrayView1<f64>,
    bins: &Bins,
    adds: &[[f64; LANES]],
    n_samples: f64,
    part: &mut [[f64; LANES]],
    total: &mut [[f64; LANES]],
) {
    for &k in pixels {
        if let Some(bin) = bins.of(y[k]) {
            let sums = &mut part[bin];
            sums.iter_mut().zip(&adds[k]).for_each(|(s, a)| *s += a);
        }
    }
    for (total, part) in total.iter_mut().zip(part) {
        if part[0] > 0.0 {
            part[2] /= n_samples;
            total.iter_mut().zip(&*part).for_each(|(t, s)| *t += *s);
        }
        *part = [0.0; LANES];
    }
}

/// Every row of edges as bins.
fn bins_of<'a>(
    name: &'static str,
    edges: &'a ndarray::CowArray<'_, f64, ndarray::Ix2>,
) -> Result<Vec<Bins<'a>>, SlitError> {
    let rows = edges.rows().into_iter();
    rows.map(|row| Bins::new(name, row.to_slice().unwrap_or_default()))
        .collect()
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
