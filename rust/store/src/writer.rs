//! Whole shards to disk: a shard is there whole or not at all. Its bytes survive a power cut; the entries of folders
//! do when whoever seals the group has synced them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use rayon::prelude::*;
use skymere_core::codec::{
    CodecError, ShardIndex, encode_with, quantum_exponent, round_to_quantum, round_weights,
};
use skymere_core::interrupt;

use crate::error::StoreError;
use crate::geometry::{Place, for_each_index, for_each_row, n_elements};
use crate::metadata::ArrayLayout;

/// What is done to the elements of an array of `float32` before they are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Nothing.
    None,
    /// Each image along the first axis is rounded to its own quantum, see [`quantum_exponent`].
    Quantise,
    /// Weights are rounded to 7 bits, see [`round_weights`].
    Weights,
}

impl Rounding {
    /// The rounding that a schema calls by this name; none without one.
    ///
    /// # Errors
    /// When there is no such rounding.
    pub fn named(name: Option<&str>) -> Result<Self, StoreError> {
        match name {
            None => Ok(Self::None),
            Some("quantise") => Ok(Self::Quantise),
            Some("weight7") => Ok(Self::Weights),
            Some(name) => Err(StoreError::Rounding {
                name: name.to_owned(),
            }),
        }
    }
}

/// Rows of an array along its first axis.
struct Rows<'a> {
    layout: ArrayLayout,
    /// First of them in the array.
    first: usize,
    /// Elements in C order.
    bytes: &'a [u8],
    rounding: Rounding,
    /// Of each row, when they are quantised.
    exponents: Vec<i8>,
}

/// Write the shards of an array whose `zarr.json` is in `folder` that hold the rows from `first` on; `bytes` are their
/// elements in C order. Whole shards only: the first row begins a shard, the last ends one or is the last of all.
///
/// A chunk that holds nothing but the fill value is absent, and so is a shard without chunks. One shard is written
/// and waits for the disk while the next is encoded. Returns the exponents of the rows when they are quantised.
///
/// # Errors
/// When the metadata are not those of such an array, the rows are not whole shards of it, or a file cannot be written.
pub fn write_rows(
    folder: &Path,
    first: usize,
    bytes: &[u8],
    rounding: Rounding,
) -> Result<Vec<i8>, StoreError> {
    let rows = Rows::new(folder, first, bytes, rounding)?;
    let (to_disk, encoded) = sync_channel::<(PathBuf, Vec<Option<Vec<u8>>>)>(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            encoded
                .into_iter()
                .try_for_each(|(path, chunks)| write_shard(&path, &chunks))
        });
        let outcome = for_each_index(&rows.shard_grid(), |step| {
            let mut shard = step.to_vec();
            shard[0] += first / rows.layout.shard[0];
            let path = folder.join(ArrayLayout::shard_name(&shard));
            let chunks = rows
                .encode_shard(&shard)
                .map_err(StoreError::in_shard(&path))?;
            if chunks.iter().any(Option::is_some) {
                // Fails only when the writer has stopped at an error, which is what is reported.
                drop(to_disk.send((path, chunks)));
            }
            Ok(())
        });
        drop(to_disk);
        match writer.join() {
            Ok(written) => written.and(outcome),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    })?;
    Ok(rows.exponents)
}

impl<'a> Rows<'a> {
    fn new(
        folder: &Path,
        first: usize,
        bytes: &'a [u8],
        rounding: Rounding,
    ) -> Result<Self, StoreError> {
        let layout = ArrayLayout::open(folder)?;
        let row = n_elements(&layout.shape[1..])
            .and_then(|n| n.checked_mul(layout.item))
            .unwrap_or(usize::MAX);
        let left = layout.shape[0].saturating_sub(first);
        let n_rows = bytes.len().checked_div(row).unwrap_or(left);
        let whole = n_rows == left || n_rows.is_multiple_of(layout.shard[0]);
        let expected = n_rows.min(left).saturating_mul(row);
        if bytes.len() != expected || !first.is_multiple_of(layout.shard[0]) || !whole {
            return Err(StoreError::Size {
                path: folder.to_owned(),
                found: bytes.len(),
                expected: left.saturating_mul(row),
            });
        }
        let is_f32 = layout.data_type == "float32";
        let mut rows = Self {
            layout,
            first,
            bytes,
            rounding: if is_f32 { rounding } else { Rounding::None },
            exponents: Vec::new(),
        };
        if rows.rounding == Rounding::Quantise && row > 0 {
            rows.exponents = bytes
                .par_chunks(row)
                .map_init(Vec::new, |image, bytes| {
                    interrupt::poll();
                    to_floats(bytes, image);
                    quantum_exponent(image)
                })
                .collect();
        }
        Ok(rows)
    }

    /// Shards along each axis.
    fn shard_grid(&self) -> Vec<usize> {
        let row = n_elements(&self.layout.shape[1..]).unwrap_or(0) * self.layout.item;
        let n_rows = self.bytes.len().checked_div(row).unwrap_or(0);
        let mut shape = self.layout.shape.clone();
        shape[0] = n_rows;
        shape
            .iter()
            .zip(&self.layout.shard)
            .map(|(n, s)| n.div_ceil(*s))
            .collect()
    }

    /// The encoded inner chunks of a shard, in the order of its index.
    fn encode_shard(&self, shard: &[usize]) -> Result<Vec<Option<Vec<u8>>>, CodecError> {
        let layout = &self.layout;
        let grid = layout.chunks_per_shard();
        let blank = layout.fill.repeat(layout.chunk_bytes() / layout.item);
        (0..n_elements(&grid).unwrap_or(0))
            .into_par_iter()
            .map_init(
                || (blank.clone(), Vec::new(), Vec::new()),
                |(chunk, floats, encoded), number| {
                    interrupt::poll();
                    let start = chunk_start(layout, &grid, shard, number);
                    let extent: Vec<usize> = (0..start.len())
                        .map(|a| layout.chunk[a].min(layout.shape[a].saturating_sub(start[a])))
                        .collect();
                    if extent.contains(&0) {
                        return Ok(None);
                    }
                    if extent != layout.chunk {
                        chunk.copy_from_slice(&blank);
                    }
                    self.gather(&start, &extent, chunk);
                    self.round(start[0], extent[0], chunk, floats);
                    if *chunk == blank {
                        return Ok(None);
                    }
                    encode_with(chunk, layout.item, layout.codec, encoded).map(Some)
                },
            )
            .collect()
    }

    /// Copy the elements of a chunk that are inside the array.
    fn gather(&self, start: &[usize], extent: &[usize], chunk: &mut [u8]) {
        let (mut from, origin) = (start.to_vec(), vec![0; start.len()]);
        from[0] -= self.first;
        let from = Place {
            start: &from,
            shape: &self.layout.shape,
        };
        let to = Place {
            start: &origin,
            shape: &self.layout.chunk,
        };
        for_each_row(extent, self.layout.item, from, to, |a, b, n| {
            chunk[b..b + n].copy_from_slice(&self.bytes[a..a + n]);
        });
    }

    /// Round the rows of a chunk that are inside the array.
    fn round(&self, first: usize, n_rows: usize, chunk: &mut [u8], floats: &mut Vec<f32>) {
        if self.rounding == Rounding::None {
            return;
        }
        let row = chunk.len() / self.layout.chunk[0];
        for (i, bytes) in chunk.chunks_exact_mut(row).take(n_rows).enumerate() {
            to_floats(bytes, floats);
            match self.rounding {
                Rounding::Quantise => {
                    round_to_quantum(floats, self.exponents[first - self.first + i]);
                }
                _ => round_weights(floats),
            }
            for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&*floats) {
                *bytes = value.to_le_bytes();
            }
        }
    }
}

fn to_floats(bytes: &[u8], floats: &mut Vec<f32>) {
    floats.clear();
    floats.extend(
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b)),
    );
}

/// First element of an inner chunk in the array.
fn chunk_start(layout: &ArrayLayout, grid: &[usize], shard: &[usize], number: usize) -> Vec<usize> {
    let mut start = vec![0; grid.len()];
    let mut rest = number;
    for axis in (0..grid.len()).rev() {
        start[axis] = shard[axis] * layout.shard[axis] + rest % grid[axis] * layout.chunk[axis];
        rest /= grid[axis];
    }
    start
}

/// Write a shard under another name, wait for the disk, then give it its name.
fn write_shard(path: &Path, chunks: &[Option<Vec<u8>>]) -> Result<(), StoreError> {
    let lengths: Vec<Option<usize>> = chunks.iter().map(|c| c.as_ref().map(Vec::len)).collect();
    let index = ShardIndex::of_lengths(&lengths).to_bytes();
    let folder = path.parent().unwrap_or(path);
    let temporary = path.with_extension("partial");
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&temporary)?;
        for chunk in chunks.iter().flatten() {
            file.write_all(chunk)?;
        }
        file.write_all(&index)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(StoreError::at(path))
}
