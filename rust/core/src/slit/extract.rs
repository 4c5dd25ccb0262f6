//! One spectrum from a table of pixels: sums in bins of wavelength, and their covariance from the raw pixels.

use ndarray::{Array2, ArrayView1, ArrayView2};

use super::combine::overlaps;
use super::{Bins, SlitError, check_shape};

/// A pixel's share in a bin.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Row of the table.
    pub row: usize,
    /// Bin of wavelength.
    pub bin: usize,
    /// Part of the pixel in the bin.
    pub part: f64,
}

/// Which bins the pixels of a table belong to.
#[derive(Clone, Debug)]
pub struct BinSums {
    entries: Vec<Entry>,
    n_bins: usize,
}

impl BinSums {
    /// Pixels by the bin of their centre, or shared by overlap when they have a width.
    ///
    /// # Errors
    /// When lengths differ or edges do not grow.
    pub fn new(
        wavelength: ArrayView1<f64>,
        width: Option<ArrayView1<f64>>,
        edges: &[f64],
    ) -> Result<Self, SlitError> {
        let bins = Bins::new("edges", edges)?;
        if let Some(width) = width {
            check_shape("width", width.shape(), wavelength.shape())?;
        }
        let mut entries = Vec::with_capacity(wavelength.len());
        for (row, &wave) in wavelength.iter().enumerate() {
            match width {
                None => entries.extend(bins.of(wave).map(|bin| Entry {
                    row,
                    bin,
                    part: 1.0,
                })),
                Some(width) => {
                    let shares = overlaps(edges, wave, width[row]);
                    entries.extend(
                        shares
                            .into_iter()
                            .map(|(bin, part)| Entry { row, bin, part }),
                    );
                }
            }
        }
        Ok(Self {
            entries,
            n_bins: edges.len() - 1,
        })
    }

    /// Sums of every plane in every bin, in the order of the rows.
    ///
    /// # Errors
    /// When a plane is too short.
    pub fn sums(&self, planes: ArrayView2<f64>) -> Result<Array2<f64>, SlitError> {
        let n = self.entries.iter().map(|e| e.row + 1).max().unwrap_or(0);
        if planes.ncols() < n {
            check_shape("values", planes.shape(), &[planes.nrows(), n])?;
        }
        let mut out = Array2::zeros((planes.nrows(), self.n_bins));
        for (plane, mut sums) in planes.outer_iter().zip(out.outer_iter_mut()) {
            for entry in &self.entries {
                sums[entry.bin] += entry.part * plane[entry.row];
            }
        }
        Ok(out)
    }
}

/// Sums of planes in bins; see [`BinSums`].
///
/// # Errors
/// When lengths differ or edges do not grow.
pub fn bin_sums(
    wavelength: ArrayView1<f64>,
    width: Option<ArrayView1<f64>>,
    edges: &[f64],
    planes: ArrayView2<f64>,
) -> Result<Array2<f64>, SlitError> {
    check_shape(
        "values",
        planes.shape(),
        &[planes.nrows(), wavelength.len()],
    )?;
    BinSums::new(wavelength, width, edges)?.sums(planes)
}

/// How the rows of a table were made of raw pixels: `data[exposure] - mean of data at other positions`.
#[derive(Clone, Copy, Debug)]
pub struct NodLayout<'a> {
    /// Exposure of every row.
    pub exposure: &'a [i64],
    /// Pixel of every row.
    pub pixel: &'a [i64],
    /// Position of every exposure.
    pub position: &'a [i64],
    /// Variance of the raw pixels, `[exposure, pixel]`.
    pub variance: ArrayView2<'a, f64>,
    /// True = not in the mean of the other positions.
    pub mask: ArrayView2<'a, bool>,
    /// Number the mean was divided by, `[position of the exposure, pixel]`; 0 = nothing was subtracted.
    pub n_negative: ArrayView2<'a, i64>,
}

/// Upper part of a banded symmetric matrix.
#[derive(Clone, Debug)]
pub struct Band {
    /// `[bin, k]` = covariance of a bin with the k-th after it.
    pub values: Array2<f64>,
}

/// Covariance of sums over bins, `sum_row part coefficient[row] value[row]`, from the variances of the raw pixels.
///
/// # Errors
/// When lengths differ or an index is out of range.
pub fn raw_covariance(
    bins: &BinSums,
    coefficient: &[f64],
    layout: &NodLayout,
) -> Result<Band, SlitError> {
    let (n_exposures, n_pixels) = layout.variance.dim();
    let n = coefficient.len();
    check_shape(
        "exposure",
        &[layout.exposure.len(), layout.pixel.len()],
        &[n, n],
    )?;
    check_shape("position", &[layout.position.len()], &[n_exposures])?;
    check_shape("mask", layout.mask.shape(), &[n_exposures, n_pixels])?;
    check_shape(
        "n_negative",
        layout.n_negative.shape(),
        &[n_exposures, n_pixels],
    )?;
    let index = |name, value: i64, end: usize| {
        usize::try_from(value)
            .ok()
            .filter(|&k| k < end)
            .ok_or(SlitError::Value {
                name,
                value: value as f64,
                wanted: "an index of the raw frames",
            })
    };
    // Entries sorted by pixel: only those of one pixel share raw values.
    let mut entries = Vec::with_capacity(bins.entries.len());
    for entry in &bins.entries {
        check_shape("coefficient", &[n], &[n.max(entry.row + 1)])?;
        let i = index("exposure", layout.exposure[entry.row], n_exposures)?;
        let q = index("pixel", layout.pixel[entry.row], n_pixels)?;
        entries.push((q, i, entry.bin, entry.part * coefficient[entry.row]));
    }
    entries.sort_by_key(|e| (e.0, e.1, e.2));
    let same_pixel = || entries.chunk_by(|a, b| a.0 == b.0);
    let span = |some: &[(usize, usize, usize, f64)]| {
        let (low, high) = some
            .iter()
            .fold((usize::MAX, 0), |(l, h), e| (l.min(e.2), h.max(e.2)));
        high - low + 1
    };
    let width = same_pixel().map(span).max().unwrap_or(1);
    let mut values = Array2::zeros((bins.n_bins, width));
    let mut shares: Vec<(usize, f64)> = Vec::new();
    for some in same_pixel() {
        let q = some[0].0;
        for raw in 0..n_exposures {
            shares.clear();
            for &(_, i, bin, coefficient) in some {
                let part = if i == raw {
                    1.0
                } else if layout.position[i] != layout.position[raw]
                    && !layout.mask[(raw, q)]
                    && layout.n_negative[(i, q)] > 0
                {
                    -1.0 / layout.n_negative[(i, q)] as f64
                } else {
                    continue;
                };
                shares.push((bin, part * coefficient));
            }
            let variance = layout.variance[(raw, q)];
            for &(a, ca) in &shares {
                for &(b, cb) in &shares {
                    if b >= a {
                        values[(a, b - a)] += ca * cb * variance;
                    }
                }
            }
        }
    }
    Ok(Band { values })
}
