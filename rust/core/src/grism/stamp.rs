//! The image of a source that is dispersed.

use ndarray::{Array2, ArrayView2, Axis};

use super::GrismError;
use super::operator::Operator;
use super::spline::{MARGIN, coefficients};

/// Coefficients below this part of the largest are left out.
const LEAST: f64 = 1e-5;

/// Image of one source, or the coefficients of its spline.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub(super) values: Array2<f64>,
    /// Row and column of its first value in the image that it was cut from.
    pub(super) origin: [i64; 2],
    /// Rows that hold something: first, one past the last.
    pub(super) rows: [usize; 2],
    /// The same of columns.
    pub(super) columns: [usize; 2],
}

impl Stamp {
    /// The pixels of an image that have a label.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn new(
        image: ArrayView2<f32>,
        labels: ArrayView2<i32>,
        label: i32,
        operator: Operator,
    ) -> Result<Self, GrismError> {
        let (ny, nx) = image.dim();
        if labels.dim() != (ny, nx) {
            return Err(GrismError::Shape {
                name: "segmentation",
                found: [labels.nrows(), labels.ncols()],
                wanted: [ny, nx],
            });
        }
        // grizli goes from the middle as far up as down, and leaves out the last two lines.
        let end = |n: usize| match operator {
            Operator::Grizli => 2 * (n / 2).saturating_sub(1),
            Operator::Spline => n,
        };
        let (end_y, end_x) = (end(ny), end(nx));
        let cut = Array2::from_shape_fn((ny, nx), |(y, x)| {
            let is_mine = labels[(y, x)] == label && y < end_y && x < end_x;
            if is_mine {
                f64::from(image[(y, x)])
            } else {
                0.0
            }
        });
        let (values, origin) = match operator {
            Operator::Grizli => (cut, [0, 0]),
            Operator::Spline => {
                let mut values = coefficients(cut.view());
                let largest = values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                values.mapv_inplace(|v| if v.abs() < LEAST * largest { 0.0 } else { v });
                (values, [-(MARGIN as i64); 2])
            }
        };
        let held = |axis: Axis| {
            let holds = |i: &usize| values.index_axis(axis, *i).iter().any(|&v| v != 0.0);
            let n = values.len_of(axis);
            let first = (0..n).find(holds).unwrap_or(0);
            [first, (0..n).rev().find(holds).map_or(first, |i| i + 1)]
        };
        Ok(Self {
            rows: held(Axis(0)),
            columns: held(Axis(1)),
            values,
            origin,
        })
    }
}
