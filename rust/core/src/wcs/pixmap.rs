//! The exact map from the pixels of one TAN image, with or without distortion, to the pixels of another.
//!
//! A few pixels of a row lie side by side in the lanes of vector registers; what a lane does depends on its own pixel
//! only.

use std::mem::MaybeUninit;

use ndarray::{Array2, Array3, ArrayView2, Axis};
use rayon::prelude::*;

use super::WcsError;
use super::distortion::Row;
use super::fits_wcs::TanWcs;
use crate::interrupt;
use crate::math::widest::{Work, run_widest};

/// Pixels that are treated together.
const LANES: usize = 16;
/// Rows between two questions for Ctrl-C.
const BLOCK_ROWS: usize = 16;

/// The map between two images, ready for evaluation.
///
/// Undistorted pixels of two TAN images are related by one projective map, so no trigonometric function is needed and
/// nothing is lost by the way over degrees.
struct PixelMap<'a> {
    from: &'a TanWcs,
    to: &'a TanWcs,
    homography: [[f64; 3]; 3],
}

impl<'a> PixelMap<'a> {
    fn new(from: &'a TanWcs, to: &'a TanWcs) -> Self {
        Self {
            from,
            to,
            homography: from.homography_to(to),
        }
    }

    /// Pixels of `to` of undistorted pixels of `from`.
    #[inline(always)]
    fn project<const N: usize>(&self, [u, v]: &[[f64; N]; 2]) -> [[f64; N]; 2] {
        let h = &self.homography;
        let mut out = [[0.0; N]; 2];
        for l in 0..N {
            let w = h[2][0] * u[l] + h[2][1] * v[l] + h[2][2];
            let per_w = if w > 0.0 { 1.0 / w } else { f64::NAN };
            out[0][l] = (h[0][0] * u[l] + h[0][1] * v[l] + h[0][2]) * per_w;
            out[1][l] = (h[1][0] * u[l] + h[1][1] * v[l] + h[1][2]) * per_w;
        }
        if !self.to.distortion().is_none() {
            let [x, y] = &out;
            out = self.to.distortion().inverse(x, y);
        }
        out
    }

    /// The output `x, y, x, y, ...` of a few pixels of a row.
    #[inline(always)]
    fn pairs(&self, along: &Row<'_>, first: usize) -> [MaybeUninit<f64>; 2 * LANES] {
        let mut x = [first as f64; LANES];
        for (l, x) in x.iter_mut().enumerate() {
            *x += l as f64;
        }
        let [px, py] = self.project(&along.undistorted(&x));
        let mut pairs = [MaybeUninit::new(0.0); 2 * LANES];
        for l in 0..LANES {
            pairs[2 * l] = MaybeUninit::new(px[l]);
            pairs[2 * l + 1] = MaybeUninit::new(py[l]);
        }
        pairs
    }

    /// Write the output of the pixels of the row `y`.
    #[inline(always)]
    fn fill(&self, y: f64, row: &mut [MaybeUninit<f64>]) {
        let along = self.from.distortion().row(y);
        let (whole, rest) = row.as_chunks_mut::<{ 2 * LANES }>();
        let n_whole = whole.len();
        for (k, to) in whole.iter_mut().enumerate() {
            *to = self.pairs(&along, k * LANES);
        }
        if let Some(last) = self.pairs(&along, n_whole * LANES).get(..rest.len()) {
            rest.copy_from_slice(last);
        }
    }
}

/// The output of the pixels of a row.
struct FillRow<'a> {
    map: &'a PixelMap<'a>,
    y: f64,
    row: &'a mut [MaybeUninit<f64>],
}

impl Work for FillRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.map.fill(self.y, self.row);
    }
}

/// Output `(x, y)` of the pixels of an input image from a row on: `(ny, nx, 2)`; NaN where the sky of a pixel is on the
/// far hemisphere of `to`, or the distortion of `to` has no inverse.
#[must_use]
#[allow(unsafe_code)]
pub fn pixel_map(from: &TanWcs, to: &TanWcs, shape: [usize; 2], first_row: usize) -> Array3<f64> {
    let map = PixelMap::new(from, to);
    let mut out = Array3::uninit((shape[0], shape[1], 2));
    let Some(flat) = out.as_slice_mut() else {
        return Array3::from_elem(out.raw_dim(), f64::NAN);
    };
    let row_length = 2 * shape[1];
    flat.par_chunks_mut((BLOCK_ROWS * row_length).max(1))
        .enumerate()
        .for_each(|(block, rows)| {
            interrupt::poll();
            for (j, row) in rows.chunks_mut(row_length).enumerate() {
                run_widest(FillRow {
                    map: &map,
                    y: (first_row + block * BLOCK_ROWS + j) as f64,
                    row,
                });
            }
        });
    // SAFETY: `flat` is the whole array, its chunks are whole rows, and `fill` writes every number of a row.
    unsafe { out.assume_init() }
}

/// Output `(x, y)` of input positions `(n, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] when the positions are not pairs.
pub fn map_points(
    from: &TanWcs,
    to: &TanWcs,
    points: &ArrayView2<'_, f64>,
) -> Result<Array2<f64>, WcsError> {
    pairs(points)?;
    let map = PixelMap::new(from, to);
    Ok(each(points, |x, y| {
        let [[x], [y]] = map.project(&from.distortion().forward(&[x], &[y]));
        [x, y]
    }))
}

/// `(ra, dec)` [deg] of positions `(n, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] when the positions are not pairs.
pub fn sky_points(wcs: &TanWcs, points: &ArrayView2<'_, f64>) -> Result<Array2<f64>, WcsError> {
    pairs(points)?;
    Ok(each(points, |x, y| wcs.sky(x, y).into()))
}

/// Positions `(x, y)` of `(ra, dec)` [deg], `(n, 2)`.
///
/// # Errors
/// [`WcsError::Shape`] when the sky positions are not pairs.
pub fn pixel_points(wcs: &TanWcs, points: &ArrayView2<'_, f64>) -> Result<Array2<f64>, WcsError> {
    pairs(points)?;
    Ok(each(points, |ra, dec| wcs.pixel(ra, dec).into()))
}

fn pairs(points: &ArrayView2<'_, f64>) -> Result<(), WcsError> {
    if points.ncols() == 2 {
        return Ok(());
    }
    Err(WcsError::Shape {
        name: "points",
        shape: points.shape().to_vec(),
        wanted: "(n, 2)",
    })
}

fn each(points: &ArrayView2<'_, f64>, f: impl Fn(f64, f64) -> [f64; 2] + Sync) -> Array2<f64> {
    let mut out = Array2::zeros(points.raw_dim());
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .with_min_len(1024)
        .zip(points.axis_iter(Axis(0)))
        .for_each(|(mut to, from)| {
            let [a, b] = f(from[0], from[1]);
            to[0] = a;
            to[1] = b;
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::widest::run_each;
    use crate::wcs::distortion::Distortion;
    use crate::wcs::lookup::Table;
    use crate::wcs::sip::Sip;
    use ndarray::array;

    fn distorted(has_tables: bool) -> Distortion {
        let a = array![[0.0, 0.0, 1e-6], [0.0, 8e-6, 0.0], [-3e-5, 0.0, 0.0]];
        let shifts = array![[0.0_f32, 0.3, -0.2], [0.1, 0.2, -0.5]];
        let table = || Table::new(&shifts.view(), [1.0; 2], [1.0; 2], [20.0; 2]).ok();
        Distortion {
            detector: [has_tables.then(table).flatten(), None],
            sip: Sip::new(&a.view(), &a.t(), [20.0, 30.0]).ok(),
            residual: [None, has_tables.then(table).flatten()],
        }
    }

    fn wcs(ra: f64, distortion: Distortion) -> TanWcs {
        let matrix = [[-3e-5, 1e-6], [2e-6, 3e-5]];
        TanWcs::new([ra, -30.0], [20.0, 30.0], matrix, 180.0, distortion).unwrap()
    }

    /// The bits of a row.
    #[derive(Clone, Copy)]
    struct BitsOfRow<'a>(&'a PixelMap<'a>);

    impl Work for BitsOfRow<'_> {
        type Output = Vec<u64>;

        #[inline(always)]
        fn run(self) -> Vec<u64> {
            let mut row = [0.0; 2 * 53].map(MaybeUninit::new);
            self.0.fill(7.0, &mut row);
            // SAFETY: every number was initialised before it was filled.
            #[allow(unsafe_code)]
            row.iter()
                .map(|x| unsafe { x.assume_init() }.to_bits())
                .collect()
        }
    }

    #[test]
    fn every_variant_gives_the_bits_of_the_plain_one() {
        let (plain, full) = (distorted(false), distorted(true));
        for (from, to) in [(&plain, Distortion::default()), (&full, plain.clone())] {
            let (from, to) = (wcs(10.0, from.clone()), wcs(10.001, to));
            let found = run_each(BitsOfRow(&PixelMap::new(&from, &to)));
            assert!(found.iter().all(|bits| *bits == found[0]));
        }
    }

    #[test]
    fn a_map_is_its_points() {
        let (from, to) = (wcs(10.0, distorted(true)), wcs(10.001, distorted(false)));
        let map = pixel_map(&from, &to, [2, 37], 0);
        assert_eq!(
            pixel_map(&from, &to, [1, 37], 1),
            map.slice(ndarray::s![1.., .., ..])
        );
        let points = Array2::from_shape_fn((74, 2), |(k, axis)| [k % 37, k / 37][axis] as f64);
        let each = map_points(&from, &to, &points.view()).unwrap();
        for (a, b) in map.iter().zip(&each) {
            assert!((a - b).abs() < 1e-10);
        }
        assert!(pixel_map(&from, &to, [3, 0], 0).is_empty());
    }
}
