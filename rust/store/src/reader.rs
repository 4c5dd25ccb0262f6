//! Batches of boxes from disk: each shard's index is read once, each chunk with one positional read.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use skymere_core::codec::{ShardIndex, decode, index_len};
use skymere_core::interrupt;

use crate::error::StoreError;
use crate::geometry::{Place, for_each_index, for_each_row, n_elements, number_of};
use crate::metadata::ArrayLayout;

/// Open shards that are remembered.
const MOST_SHARDS: usize = 256;

/// A shard whose index has been read; absent ones hold nothing but the fill value.
type Shard = Option<Arc<OpenShard>>;

struct OpenShard {
    path: PathBuf,
    file: File,
    index: ShardIndex,
}

/// An array on disk, open for reading.
pub struct ArrayReader {
    folder: PathBuf,
    layout: ArrayLayout,
    shards: Mutex<HashMap<Vec<usize>, Shard>>,
}

/// A part of a box that one thread reads: the rows of one row of chunks.
struct Slab<'a> {
    start: Vec<usize>,
    extent: Vec<usize>,
    out: &'a mut [u8],
}

/// Memory that a thread uses again for each chunk.
#[derive(Default)]
struct Scratch {
    encoded: Vec<u8>,
    chunk: Vec<u8>,
}

impl ArrayReader {
    /// Open the array in a folder.
    ///
    /// # Errors
    /// When its `zarr.json` cannot be read or is not that of a sharded array of a lake.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            folder: folder.to_owned(),
            layout: ArrayLayout::open(folder)?,
            shards: Mutex::new(HashMap::new()),
        })
    }

    /// How the array is cut.
    #[must_use]
    pub fn layout(&self) -> &ArrayLayout {
        &self.layout
    }

    /// Read boxes of one size; `origins` holds the first element of each, one after the other. Returns the elements
    /// of all boxes in C order.
    ///
    /// # Errors
    /// When a box is not inside the array, memory runs out, or a shard cannot be read or is damaged.
    pub fn read_boxes(&self, origins: &[i64], extent: &[usize]) -> Result<Vec<u8>, StoreError> {
        let axes = self.layout.shape.len();
        let starts = origins
            .chunks(axes)
            .map(|origin| self.start_of(origin, extent))
            .collect::<Result<Vec<_>, _>>()?;
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let too_much = StoreError::Memory { bytes: usize::MAX };
        let each = n_elements(extent).and_then(|n| n.checked_mul(self.layout.item));
        let Some(bytes) = each.and_then(|n| n.checked_mul(starts.len())) else {
            return Err(too_much);
        };
        let mut out = Vec::new();
        out.try_reserve_exact(bytes)
            .map_err(|_| StoreError::Memory { bytes })?;
        out.resize(bytes, 0);
        self.slabs(&starts, extent, &mut out)
            .into_par_iter()
            .try_for_each_init(Scratch::default, |scratch, mut slab| {
                interrupt::poll();
                self.read_slab(&mut slab, scratch)
            })?;
        Ok(out)
    }

    fn start_of(&self, origin: &[i64], extent: &[usize]) -> Result<Vec<usize>, StoreError> {
        let shape = &self.layout.shape;
        let start: Vec<usize> = origin
            .iter()
            .filter_map(|&o| usize::try_from(o).ok())
            .collect();
        let inside = start.len() == shape.len()
            && extent.len() == shape.len()
            && (0..shape.len()).all(|a| {
                start[a]
                    .checked_add(extent[a])
                    .is_some_and(|end| end <= shape[a])
            });
        if inside {
            return Ok(start);
        }
        Err(StoreError::Outside {
            origin: origin.to_vec(),
            extent: extent.to_vec(),
            shape: shape.clone(),
        })
    }

    /// Cut boxes along the first axis where chunks end, together with their parts of `out`.
    fn slabs<'a>(
        &self,
        starts: &[Vec<usize>],
        extent: &[usize],
        out: &'a mut [u8],
    ) -> Vec<Slab<'a>> {
        let row = extent[1..].iter().product::<usize>() * self.layout.item;
        let mut rest = out;
        let mut slabs = Vec::new();
        for start in starts {
            let (mut first, end) = (start[0], start[0] + extent[0]);
            while first < end {
                let next = end.min((first / self.layout.chunk[0] + 1) * self.layout.chunk[0]);
                let (out, after) = rest.split_at_mut((next - first) * row);
                rest = after;
                let (mut start, mut extent) = (start.clone(), extent.to_vec());
                (start[0], extent[0]) = (first, next - first);
                slabs.push(Slab { start, extent, out });
                first = next;
            }
        }
        slabs
    }

    fn read_slab(&self, slab: &mut Slab<'_>, scratch: &mut Scratch) -> Result<(), StoreError> {
        if slab.out.is_empty() {
            return Ok(());
        }
        let chunk = &self.layout.chunk;
        let axes = 0..chunk.len();
        let first: Vec<usize> = axes.clone().map(|a| slab.start[a] / chunk[a]).collect();
        let count: Vec<usize> = axes
            .clone()
            .map(|a| (slab.start[a] + slab.extent[a]).div_ceil(chunk[a]) - first[a])
            .collect();
        for_each_index(&count, |step| {
            let index: Vec<usize> = axes.clone().map(|a| first[a] + step[a]).collect();
            let begin: Vec<usize> = axes
                .clone()
                .map(|a| (index[a] * chunk[a]).max(slab.start[a]))
                .collect();
            let end: Vec<usize> = axes
                .clone()
                .map(|a| ((index[a] + 1) * chunk[a]).min(slab.start[a] + slab.extent[a]))
                .collect();
            let extent: Vec<usize> = axes.clone().map(|a| end[a] - begin[a]).collect();
            let in_chunk: Vec<usize> = axes
                .clone()
                .map(|a| begin[a] - index[a] * chunk[a])
                .collect();
            let in_slab: Vec<usize> = axes.clone().map(|a| begin[a] - slab.start[a]).collect();
            let present = self.read_chunk(&index, scratch)?;
            let from = Place {
                start: &in_chunk,
                shape: chunk,
            };
            let to = Place {
                start: &in_slab,
                shape: &slab.extent,
            };
            for_each_row(&extent, self.layout.item, from, to, |a, b, n| {
                if present {
                    slab.out[b..b + n].copy_from_slice(&scratch.chunk[a..a + n]);
                } else {
                    for element in slab.out[b..b + n].chunks_exact_mut(self.layout.item) {
                        element.copy_from_slice(&self.layout.fill);
                    }
                }
            });
            Ok(())
        })
    }

    /// Decode a chunk into the scratch memory; false when it is absent.
    fn read_chunk(&self, index: &[usize], scratch: &mut Scratch) -> Result<bool, StoreError> {
        let per_shard = self.layout.chunks_per_shard();
        let shard: Vec<usize> = index.iter().zip(&per_shard).map(|(i, n)| i / n).collect();
        let inner: Vec<usize> = index.iter().zip(&per_shard).map(|(i, n)| i % n).collect();
        let Some(open) = self.shard(&shard)? else {
            return Ok(false);
        };
        let Some((offset, length)) = open.index.get(number_of(&inner, &per_shard)) else {
            return Ok(false);
        };
        // The index has been checked against the size of the file, so this is no more than the file has.
        scratch.encoded.resize(length as usize, 0);
        scratch.chunk.resize(self.layout.chunk_bytes(), 0);
        open.file
            .read_exact_at(&mut scratch.encoded, offset)
            .map_err(StoreError::at(&open.path))?;
        decode(&scratch.encoded, &mut scratch.chunk).map_err(StoreError::in_shard(&open.path))?;
        Ok(true)
    }

    fn shard(&self, shard: &[usize]) -> Result<Shard, StoreError> {
        let known = |shards: &HashMap<Vec<usize>, Shard>| shards.get(shard).cloned();
        let remembered = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known(&remembered) {
            return Ok(found);
        }
        drop(remembered);
        let opened = self.open_shard(shard)?;
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if shards.len() >= MOST_SHARDS {
            shards.clear();
        }
        shards.insert(shard.to_vec(), opened.clone());
        Ok(opened)
    }

    fn open_shard(&self, shard: &[usize]) -> Result<Shard, StoreError> {
        let path = self.folder.join(ArrayLayout::shard_name(shard));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let size = file.metadata().map_err(StoreError::at(&path))?.len();
        let n_chunks = n_elements(&self.layout.chunks_per_shard()).unwrap_or(usize::MAX);
        // Compared with the file before memory is taken, so that hostile metadata cannot ask for much.
        let length = index_len(n_chunks).filter(|&n| n as u64 <= size);
        let mut bytes = vec![0; length.unwrap_or(0)];
        let limit = size - bytes.len() as u64;
        file.read_exact_at(&mut bytes, limit)
            .map_err(StoreError::at(&path))?;
        let index =
            ShardIndex::parse(&bytes, n_chunks, limit).map_err(StoreError::in_shard(&path))?;
        Ok(Some(Arc::new(OpenShard { path, file, index })))
    }
}
