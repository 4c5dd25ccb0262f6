//! Whole shards to disk: a shard is there whole or not at all, and survives a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use skymere_core::codec::{Codec, ShardIndex, encode};
use skymere_core::interrupt;

use crate::error::StoreError;
use crate::geometry::{Place, for_each_index, for_each_row, n_elements};
use crate::metadata::ArrayLayout;

/// Write all shards of an array whose `zarr.json` is in `folder`; `bytes` are its elements in C order.
///
/// A chunk that holds nothing but the fill value is absent, and so is a shard without chunks.
///
/// # Errors
/// When the metadata are not those of such an array, the array has another size, or a file cannot be written.
pub fn write_array(folder: &Path, bytes: &[u8], codec: Codec) -> Result<(), StoreError> {
    let layout = ArrayLayout::open(folder)?;
    let expected = layout.n_bytes().unwrap_or(usize::MAX);
    if bytes.len() != expected {
        return Err(StoreError::Size {
            path: folder.to_owned(),
            found: bytes.len(),
            expected,
        });
    }
    let grid: Vec<usize> = layout
        .shape
        .iter()
        .zip(&layout.shard)
        .map(|(n, s)| n.div_ceil(*s))
        .collect();
    for_each_index(&grid, |shard| {
        let chunks = encode_chunks(&layout, bytes, shard, codec)
            .map_err(|error| error.in_file(folder, shard))?;
        if chunks.iter().all(Option::is_none) {
            return Ok(());
        }
        write_shard(&folder.join(ArrayLayout::shard_name(shard)), &chunks)
    })
}

/// A failure to encode, whose file is not named yet.
struct Unnamed(skymere_core::codec::CodecError);

impl Unnamed {
    fn in_file(self, folder: &Path, shard: &[usize]) -> StoreError {
        StoreError::in_shard(&folder.join(ArrayLayout::shard_name(shard)))(self.0)
    }
}

/// The encoded inner chunks of a shard, in the order of its index.
fn encode_chunks(
    layout: &ArrayLayout,
    bytes: &[u8],
    shard: &[usize],
    codec: Codec,
) -> Result<Vec<Option<Vec<u8>>>, Unnamed> {
    let grid = layout.chunks_per_shard();
    (0..n_elements(&grid).unwrap_or(0))
        .into_par_iter()
        .map(|number| {
            interrupt::poll();
            let start = chunk_start(layout, &grid, shard, number);
            let extent: Vec<usize> = (0..start.len())
                .map(|a| layout.chunk[a].min(layout.shape[a].saturating_sub(start[a])))
                .collect();
            if extent.contains(&0) {
                return Ok(None);
            }
            let chunk = gather(layout, bytes, &start, &extent);
            if chunk.chunks_exact(layout.item).all(|v| v == layout.fill) {
                return Ok(None);
            }
            encode(&chunk, layout.item, codec)
                .map(Some)
                .map_err(Unnamed)
        })
        .collect()
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

/// The elements of a chunk; those beyond the edge of the array are the fill value.
fn gather(layout: &ArrayLayout, bytes: &[u8], start: &[usize], extent: &[usize]) -> Vec<u8> {
    let mut chunk = layout.fill.repeat(layout.chunk_bytes() / layout.item);
    let origin = vec![0; start.len()];
    let from = Place {
        start,
        shape: &layout.shape,
    };
    let to = Place {
        start: &origin,
        shape: &layout.chunk,
    };
    for_each_row(extent, layout.item, from, to, |a, b, n| {
        chunk[b..b + n].copy_from_slice(&bytes[a..a + n]);
    });
    chunk
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
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(StoreError::at(path))
}
