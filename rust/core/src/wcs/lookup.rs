//! Look-up tables of a distortion: those of NPOLFILE (CPDIS) and of D2IMFILE.

use ndarray::{Array2, ArrayView2};

use super::WcsError;

/// Nodes along one axis: node `k` is at the pixel `x` where `per_pixel x + offset = k`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Nodes {
    per_pixel: f64,
    offset: f64,
    last: f64,
}

impl Nodes {
    /// The cell of a position, the last one also for its upper border, and how far into the cell it is in [0, 1];
    /// positions beyond the nodes are at the nearest border. Without branches and without calls.
    #[inline(always)]
    fn cell(self, position: f64) -> (usize, f64) {
        // Numbers in [2^52, 2^53) are whole, and their low bits count them.
        const WHOLE: f64 = 4_503_599_627_370_496.0;
        let at = position * self.per_pixel + self.offset;
        let at = if at < 0.0 { 0.0 } else { at };
        let at = if at > self.last { self.last } else { at };
        let nearest = (at + WHOLE) - WHOLE;
        let below = if nearest > at { nearest - 1.0 } else { nearest };
        let cell = if below < self.last {
            below
        } else {
            self.last - 1.0
        };
        let count = (cell + WHOLE).to_bits() ^ WHOLE.to_bits();
        (count as usize, at - cell)
    }
}

/// Shifts of one axis [pix] at the nodes of a regular grid, bilinear between them and constant beyond.
///
/// # Source
/// Calabretta, Valdes, Greisen & Allen 2004, "Representations of distortions in FITS world coordinate systems" (draft
/// Paper IV), section 4: node `p` of an axis, counted from 1, is at the 1-based pixel `CRVAL + (p - CRPIX) CDELT`.
/// That nothing is extrapolated is how astropy reads the tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    shifts: Vec<f32>,
    columns: usize,
    x: Nodes,
    y: Nodes,
}

impl Table {
    /// From the shifts `(ny, nx)` and the header's CRPIX, CRVAL [pix] and CDELT [pix], x first.
    ///
    /// # Errors
    /// [`WcsError::Shape`] for an empty table, [`WcsError::NotFinite`] also when CDELT is 0.
    pub fn new(
        shifts: &ArrayView2<'_, f32>,
        crpix: [f64; 2],
        crval: [f64; 2],
        cdelt: [f64; 2],
    ) -> Result<Self, WcsError> {
        let (rows, columns) = shifts.dim();
        if rows == 0 || columns == 0 {
            return Err(WcsError::Shape {
                name: "table",
                shape: vec![rows, columns],
                wanted: "(ny, nx) with ny, nx >= 1",
            });
        }
        if !shifts.iter().all(|shift| shift.is_finite()) {
            return Err(WcsError::NotFinite { name: "table" });
        }
        let nodes = |axis: usize, n: usize| {
            let per_pixel = 1.0 / cdelt[axis];
            let offset = (1.0 - crval[axis]) * per_pixel + crpix[axis] - 1.0;
            if !(per_pixel.is_finite() && offset.is_finite()) {
                return Err(WcsError::NotFinite {
                    name: "crpix, crval, 1 / cdelt of a table",
                });
            }
            Ok(Nodes {
                per_pixel,
                offset,
                last: (n.max(2) - 1) as f64,
            })
        };
        let (x, y) = (nodes(0, columns)?, nodes(1, rows)?);
        // A single node is the same everywhere along its axis, as two equal ones are.
        let twice = Array2::from_shape_fn((rows.max(2), columns.max(2)), |(j, i)| {
            shifts[[j.min(rows - 1), i.min(columns - 1)]]
        });
        Ok(Self {
            columns: columns.max(2),
            shifts: twice.into_raw_vec_and_offset().0,
            x,
            y,
        })
    }

    /// Add the shifts [pix] at 0-based pixels `(x, y)`.
    #[inline(always)]
    pub fn add_to<const N: usize>(&self, to: &mut [f64; N], x: &[f64; N], y: &[f64; N]) {
        let shifts = self.shifts.as_slice();
        for l in 0..N {
            let ((i, right), (j, up)) = (self.x.cell(x[l]), self.y.cell(y[l]));
            let node = j * self.columns + i;
            let [a, b] = pair(shifts, node);
            let [c, d] = pair(shifts, node + self.columns);
            to[l] +=
                (a * (1.0 - right) + b * right) * (1.0 - up) + (c * (1.0 - right) + d * right) * up;
        }
    }
}

/// A node and its neighbour to the right.
#[inline(always)]
fn pair(shifts: &[f32], node: usize) -> [f64; 2] {
    match shifts.get(node..node + 2) {
        Some(&[left, right]) => [left.into(), right.into()],
        _ => [f64::NAN; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn at(table: &Table, x: f64, y: f64) -> f64 {
        let mut shift = [0.0];
        table.add_to(&mut shift, &[x], &[y]);
        shift[0]
    }

    #[test]
    fn nodes_cells_and_what_is_beyond_the_border() {
        let values = array![[0.0_f32, 1.0, 4.0], [2.0, 3.0, 8.0]];
        let table = Table::new(&values.view(), [1.0, 1.0], [11.0, 5.0], [10.0, 4.0]).unwrap();
        // CRVAL is 1-based: the first node is at pixel (10, 4).
        for (x, y, want) in [
            (10.0, 4.0, 0.0),
            (20.0, 4.0, 1.0),
            (30.0, 8.0, 8.0),
            (15.0, 4.0, 0.5),
            (25.0, 6.0, 4.0),
            (-100.0, 4.0, 0.0),
            (1e9, 1e9, 8.0),
            (1e9, -1e9, 4.0),
        ] {
            assert!((at(&table, x, y) - want).abs() < 1e-12, "{x} {y}");
        }
    }

    #[test]
    fn one_row_is_the_same_at_every_height() {
        let table = Table::new(&array![[1.0_f32, 3.0]].view(), [1.0; 2], [1.0; 2], [2.0; 2]);
        let table = table.unwrap();
        for y in [-5.0, 0.0, 7.5] {
            assert!((at(&table, 1.0, y) - 2.0).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = array![[1.0_f32, 3.0]];
        let new = |values: &Array2<f32>, crval: f64, cdelt: f64| {
            Table::new(&values.view(), [1.0; 2], [crval, 1.0], [1.0, cdelt])
        };
        assert!(new(&good, 1.0, 1.0).is_ok());
        for wrong in [
            new(&good, 1.0, 0.0),
            new(&good, f64::NAN, 1.0),
            new(&array![[f32::NAN]], 1.0, 1.0),
        ] {
            assert!(matches!(wrong, Err(WcsError::NotFinite { .. })));
        }
        assert!(matches!(
            new(&Array2::zeros((0, 3)), 1.0, 1.0),
            Err(WcsError::Shape { .. })
        ));
    }
}
