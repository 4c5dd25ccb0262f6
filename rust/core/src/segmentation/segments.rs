//! The pixels of every segment, as runs grouped by label.

use rayon::prelude::*;

use super::SegmentationError;
use super::label::{BLOCK_ROWS, Run};
use crate::image::Plane;

/// Runs grouped by label: labels increase, and the runs of a label are in raster order.
pub(super) struct Segments {
    runs: Vec<Run>,
    start: Vec<usize>,
    labels: Vec<i32>,
}

impl Segments {
    /// The segments of a label image.
    ///
    /// # Errors
    /// [`SegmentationError::NegativeLabel`].
    pub(super) fn of(labels: Plane<'_, i32>) -> Result<Self, SegmentationError> {
        let ny = labels.shape().0;
        let blocks: Vec<Vec<(i32, Run)>> = (0..ny.div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                crate::interrupt::poll();
                let y0 = block * BLOCK_ROWS;
                (y0..(y0 + BLOCK_ROWS).min(ny))
                    .flat_map(|y| labelled_runs(y, labels.row(y)))
                    .collect()
            })
            .collect();
        let mut found = blocks.concat();
        if let Some(&(label, _)) = found.iter().find(|(label, _)| *label < 0) {
            return Err(SegmentationError::NegativeLabel(label));
        }
        found.sort_by_key(|&(label, _)| label);
        let mut segments = Self {
            runs: Vec::with_capacity(found.len()),
            start: Vec::new(),
            labels: Vec::new(),
        };
        for (label, run) in found {
            if segments.labels.last() != Some(&label) {
                segments.labels.push(label);
                segments.start.push(segments.runs.len());
            }
            segments.runs.push(run);
        }
        segments.start.push(segments.runs.len());
        Ok(segments)
    }

    /// Leave out all labels but these.
    pub(super) fn keep(&mut self, wanted: &[i32]) {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let kept: Vec<usize> = (0..self.labels.len())
            .filter(|&i| wanted.binary_search(&self.labels[i]).is_ok())
            .collect();
        let mut runs = Vec::new();
        let mut start = vec![0];
        for &i in &kept {
            runs.extend_from_slice(self.runs(i));
            start.push(runs.len());
        }
        self.labels = kept.iter().map(|&i| self.labels[i]).collect();
        (self.runs, self.start) = (runs, start);
    }

    pub(super) fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// The runs of the `i`-th label.
    pub(super) fn runs(&self, i: usize) -> &[Run] {
        &self.runs[self.start[i]..self.start[i + 1]]
    }
}

/// The runs of equal non-zero labels of one row.
pub(super) fn labelled_runs(y: usize, row: &[i32]) -> impl Iterator<Item = (i32, Run)> + '_ {
    let mut x = 0;
    std::iter::from_fn(move || {
        let start = x + skip_sky(&row[x..])?;
        let label = row[start];
        let end = row[start..]
            .iter()
            .position(|&l| l != label)
            .map_or(row.len(), |n| start + n);
        x = end;
        Some((label, Run { y, start, end }))
    })
}

/// Place of the first label, looked for in 16 pixels at once.
fn skip_sky(row: &[i32]) -> Option<usize> {
    let is_sky = |pixels: &&[i32; 16]| pixels.iter().fold(0, |any, l| any | l) == 0;
    let n_sky = 16 * row.as_chunks().0.iter().take_while(is_sky).count();
    let place = row[n_sky..].iter().position(|&l| l != 0)?;
    Some(n_sky + place)
}
