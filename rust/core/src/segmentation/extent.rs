//! Where the segments of a map are.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::SegmentationError;
use super::label::BLOCK_ROWS;
use super::segments::labelled_runs;
use crate::image::Plane;
use crate::interrupt;

/// The window of a segment and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First and last row.
    pub y: [usize; 2],
    /// First and last column.
    pub x: [usize; 2],
    /// Number of pixels.
    pub area: usize,
}

impl Extent {
    fn join(&mut self, other: Self) {
        self.y = [self.y[0].min(other.y[0]), self.y[1].max(other.y[1])];
        self.x = [self.x[0].min(other.x[0]), self.x[1].max(other.x[1])];
        self.area += other.area;
    }
}

/// The extent of every label, by increasing label.
///
/// # Errors
/// [`SegmentationError::NegativeLabel`].
pub fn extents(labels: Plane<'_, i32>) -> Result<BTreeMap<i32, Extent>, SegmentationError> {
    let ny = labels.shape().0;
    let blocks: Vec<BTreeMap<i32, Extent>> = (0..ny.div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .map(|block| {
            interrupt::poll();
            let mut found = BTreeMap::new();
            for y in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(ny) {
                add_row(&mut found, y, labels.row(y));
            }
            found
        })
        .collect();
    let mut all: BTreeMap<i32, Extent> = BTreeMap::new();
    for (label, extent) in blocks.into_iter().flatten() {
        all.entry(label)
            .and_modify(|e| e.join(extent))
            .or_insert(extent);
    }
    match all.first_key_value() {
        Some((&label, _)) if label < 0 => Err(SegmentationError::NegativeLabel(label)),
        _ => Ok(all),
    }
}

/// Add the runs of equal labels of a row.
fn add_row(found: &mut BTreeMap<i32, Extent>, y: usize, row: &[i32]) {
    for (label, run) in labelled_runs(y, row) {
        let extent = Extent {
            y: [y, y],
            x: [run.start, run.end - 1],
            area: run.end - run.start,
        };
        found
            .entry(label)
            .and_modify(|e| e.join(extent))
            .or_insert(extent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_the_windows_of_the_labels() {
        let mut labels = vec![0; 200 * 50];
        for (y, x, label) in [(0, 0, 7), (199, 49, 7), (100, 20, 3), (100, 21, 3)] {
            labels[y * 50 + x] = label;
        }
        let found = extents(Plane::new("labels", &labels, (200, 50)).unwrap()).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [3, 7]);
        assert_eq!(
            found[&3],
            Extent {
                y: [100, 100],
                x: [20, 21],
                area: 2
            }
        );
        assert_eq!(
            found[&7],
            Extent {
                y: [0, 199],
                x: [0, 49],
                area: 2
            }
        );
    }

    #[test]
    fn negative_labels_are_refused() {
        let labels = [0, -3, 1];
        assert!(extents(Plane::new("labels", &labels, (1, 3)).unwrap()).is_err());
    }
}
