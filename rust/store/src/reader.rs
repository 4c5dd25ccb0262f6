//! Batches of boxes: each shard's index is read once. On a disk each chunk is one positional read; of an object store,
//! all chunks of a batch are asked for at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use skymere_core::codec::{CodecError, ShardIndex, decode, index_len};
use skymere_core::interrupt;

use crate::error::StoreError;
use crate::geometry::{Place, for_each_index, for_each_row, n_elements, number_of};
use crate::metadata::ArrayLayout;
use crate::remote::{RemoteShards, ShardRanges};

/// Open shards that are remembered.
const MOST_SHARDS: usize = 256;
/// Decoded bytes of the chunks that are fetched from an object store before they are decoded.
const MOST_AHEAD: usize = 1 << 28;
/// Bytes by which a compressed chunk can be longer than it was.
const OVERHEAD: usize = 1 << 10;

/// A shard whose index has been read; absent ones hold nothing but the fill value.
type Shard = Option<Arc<OpenShard>>;

struct OpenShard {
    path: PathBuf,
    /// None when it is in an object store.
    file: Option<File>,
    index: ShardIndex,
}

/// An array, open for reading.
pub struct ArrayReader {
    /// Its name in errors, when it is in an object store.
    folder: PathBuf,
    layout: ArrayLayout,
    remote: Option<Box<dyn RemoteShards>>,
    shards: Mutex<HashMap<Vec<usize>, Shard>>,
}

/// A part of a box that one thread reads: the rows of one row of chunks.
struct Slab<'a> {
    start: Vec<usize>,
    extent: Vec<usize>,
    out: &'a mut [u8],
}

/// Encoded chunks of an object store, by shard and number in it; those that are absent are left out.
type Fetched = HashMap<(Vec<usize>, usize), Vec<u8>>;

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
            remote: None,
            shards: Mutex::new(HashMap::new()),
        })
    }

    /// Open an array in an object store, whose `zarr.json` holds `metadata`.
    ///
    /// # Errors
    /// When that is not the metadata of a sharded array of a lake.
    pub fn open_remote(
        name: &Path,
        metadata: &[u8],
        remote: Box<dyn RemoteShards>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            folder: name.to_owned(),
            layout: ArrayLayout::from_json(metadata, &name.join("zarr.json"))?,
            remote: Some(remote),
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
        let mut out = vec![0; self.n_bytes(origins, extent)?];
        self.read_into(origins, extent, &mut out)?;
        Ok(out)
    }

    /// Bytes of boxes of one size, which memory can hold.
    ///
    /// # Errors
    /// When a box is not inside the array, or memory does not have so much.
    pub fn n_bytes(&self, origins: &[i64], extent: &[usize]) -> Result<usize, StoreError> {
        for origin in origins.chunks(self.layout.shape.len()) {
            self.start_of(origin, extent)?;
        }
        let n_boxes = origins.len() / self.layout.shape.len();
        let each = n_elements(extent).and_then(|n| n.checked_mul(self.layout.item));
        let bytes = each.and_then(|n| n.checked_mul(n_boxes));
        bytes
            .filter(|&n| Vec::<u8>::new().try_reserve_exact(n).is_ok())
            .ok_or(StoreError::Memory {
                bytes: bytes.unwrap_or(usize::MAX),
            })
    }

    /// The same as [`Self::read_boxes`], into memory of the size that [`Self::n_bytes`] says.
    ///
    /// # Errors
    /// When a box is not inside the array, `out` has another size, or a shard cannot be read or is damaged.
    pub fn read_into(
        &self,
        origins: &[i64],
        extent: &[usize],
        out: &mut [u8],
    ) -> Result<(), StoreError> {
        let axes = self.layout.shape.len();
        let starts = origins
            .chunks(axes)
            .map(|origin| self.start_of(origin, extent))
            .collect::<Result<Vec<_>, _>>()?;
        let expected = self.n_bytes(origins, extent)?;
        if out.len() != expected {
            return Err(StoreError::Size {
                path: self.folder.clone(),
                found: out.len(),
                expected,
            });
        }
        let mut slabs = self.slabs(&starts, extent, out);
        while !slabs.is_empty() {
            let later = slabs.split_off(self.n_ahead(&slabs));
            let fetched = match &self.remote {
                Some(remote) => self.fetch(remote.as_ref(), &slabs)?,
                None => Fetched::new(),
            };
            slabs
                .into_par_iter()
                .try_for_each_init(Scratch::default, |scratch, mut slab| {
                    interrupt::poll();
                    self.read_slab(&mut slab, &fetched, scratch)
                })?;
            slabs = later;
        }
        Ok(())
    }

    /// How many slabs are read at once: all of them, but no more than memory holds of an object store.
    fn n_ahead(&self, slabs: &[Slab<'_>]) -> usize {
        if self.remote.is_none() {
            return slabs.len();
        }
        let mut bytes = 0_usize;
        let within = slabs.iter().take_while(|slab| {
            let (_, count) = self.chunks_of(slab);
            let chunks = n_elements(&count).unwrap_or(usize::MAX);
            bytes = bytes.saturating_add(chunks.saturating_mul(self.layout.chunk_bytes()));
            bytes <= MOST_AHEAD
        });
        within.count().max(1)
    }

    /// Fetch the encoded chunks that slabs need from an object store.
    fn fetch(&self, remote: &dyn RemoteShards, slabs: &[Slab<'_>]) -> Result<Fetched, StoreError> {
        let mut wanted: BTreeMap<Vec<usize>, BTreeSet<usize>> = BTreeMap::new();
        for slab in slabs.iter().filter(|slab| !slab.out.is_empty()) {
            let (first, count) = self.chunks_of(slab);
            for_each_index(&count, |step| {
                let index: Vec<usize> = first.iter().zip(step).map(|(f, s)| f + s).collect();
                let (shard, number) = self.place_of(&index);
                wanted.entry(shard).or_default().insert(number);
                Ok::<(), StoreError>(())
            })?;
        }
        let known = self.open_remotely(remote, wanted.keys())?;
        let mut asked = Vec::new();
        for (shard, numbers) in &wanted {
            let Some(open) = known.get(shard).and_then(Option::as_ref) else {
                continue;
            };
            let mut ranges = ShardRanges {
                shard: ArrayLayout::shard_name(shard),
                ..ShardRanges::default()
            };
            let mut present = Vec::new();
            for &number in numbers {
                if let Some((offset, length)) = self.chunk_range(open, number)? {
                    ranges.starts.push(offset);
                    ranges.ends.push(offset + length);
                    present.push((shard.clone(), number));
                }
            }
            if !present.is_empty() {
                asked.push((present, ranges));
            }
        }
        let (places, ranges): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        if ranges.is_empty() {
            return Ok(Fetched::new());
        }
        let found = remote
            .ranges(&ranges)
            .map_err(StoreError::at(&self.folder))?;
        let length = |one: &ShardRanges| -> Vec<u64> {
            one.starts
                .iter()
                .zip(&one.ends)
                .map(|(a, b)| b - a)
                .collect()
        };
        let whole = found.len() == ranges.len()
            && ranges.iter().zip(&found).all(|(one, chunks)| {
                length(one) == chunks.iter().map(|c| c.len() as u64).collect::<Vec<_>>()
            });
        if !whole {
            return Err(self.cut_short());
        }
        Ok(places
            .into_iter()
            .flatten()
            .zip(found.into_iter().flatten())
            .collect())
    }

    /// The indices of shards; those that are not remembered are asked for.
    fn open_remotely<'a>(
        &self,
        remote: &dyn RemoteShards,
        shards: impl Iterator<Item = &'a Vec<usize>>,
    ) -> Result<HashMap<Vec<usize>, Shard>, StoreError> {
        let mut remembered = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, unknown): (Vec<_>, Vec<_>) =
            shards.partition(|shard| remembered.contains_key(*shard));
        let mut open: HashMap<Vec<usize>, Shard> = known
            .into_iter()
            .filter_map(|shard| Some((shard.clone(), remembered.get(shard)?.clone())))
            .collect();
        if unknown.is_empty() {
            return Ok(open);
        }
        let n_chunks = n_elements(&self.layout.chunks_per_shard()).unwrap_or(usize::MAX);
        let names: Vec<String> = unknown.iter().map(|s| ArrayLayout::shard_name(s)).collect();
        let tails = remote
            .tails(&names, index_len(n_chunks).unwrap_or(usize::MAX))
            .map_err(StoreError::at(&self.folder))?;
        if tails.len() != names.len() {
            return Err(self.cut_short());
        }
        if remembered.len() + unknown.len() > MOST_SHARDS {
            remembered.clear();
        }
        for ((shard, name), tail) in unknown.into_iter().zip(&names).zip(tails) {
            let path = self.folder.join(name);
            let opened = tail
                .map(|(size, bytes)| {
                    let limit = size.saturating_sub(bytes.len() as u64);
                    let index = ShardIndex::parse(&bytes, n_chunks, limit)
                        .map_err(StoreError::in_shard(&path))?;
                    let path = path.clone();
                    Ok::<_, StoreError>(Arc::new(OpenShard {
                        path,
                        file: None,
                        index,
                    }))
                })
                .transpose()?;
            open.insert(shard.clone(), opened.clone());
            remembered.insert(shard.clone(), opened);
        }
        Ok(open)
    }

    /// The store has given less than it was asked for.
    fn cut_short(&self) -> StoreError {
        StoreError::at(&self.folder)(Error::from(ErrorKind::UnexpectedEof))
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

    /// The first chunk that a slab needs, and how many along each axis.
    fn chunks_of(&self, slab: &Slab<'_>) -> (Vec<usize>, Vec<usize>) {
        let chunk = &self.layout.chunk;
        let first: Vec<usize> = (0..chunk.len()).map(|a| slab.start[a] / chunk[a]).collect();
        let count = (0..chunk.len())
            .map(|a| (slab.start[a] + slab.extent[a]).div_ceil(chunk[a]) - first[a])
            .collect();
        (first, count)
    }

    /// The shard of a chunk, and its number in it.
    fn place_of(&self, chunk: &[usize]) -> (Vec<usize>, usize) {
        let per_shard = self.layout.chunks_per_shard();
        let shard = chunk.iter().zip(&per_shard).map(|(i, n)| i / n).collect();
        let inner: Vec<usize> = chunk.iter().zip(&per_shard).map(|(i, n)| i % n).collect();
        (shard, number_of(&inner, &per_shard))
    }

    /// Where an encoded chunk is; `None` when it is absent.
    fn chunk_range(
        &self,
        open: &OpenShard,
        number: usize,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let most = self.layout.chunk_bytes() + OVERHEAD;
        match open.index.get(number) {
            Some((_, length)) if length > most as u64 => {
                Err(StoreError::in_shard(&open.path)(CodecError::ChunkSize {
                    found: i64::try_from(length).unwrap_or(i64::MAX),
                    expected: most,
                }))
            }
            range => Ok(range),
        }
    }

    fn read_slab(
        &self,
        slab: &mut Slab<'_>,
        fetched: &Fetched,
        scratch: &mut Scratch,
    ) -> Result<(), StoreError> {
        if slab.out.is_empty() {
            return Ok(());
        }
        let chunk = &self.layout.chunk;
        let axes = 0..chunk.len();
        let (first, count) = self.chunks_of(slab);
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
            let present = self.read_chunk(&index, fetched, scratch)?;
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
    fn read_chunk(
        &self,
        index: &[usize],
        fetched: &Fetched,
        scratch: &mut Scratch,
    ) -> Result<bool, StoreError> {
        let (shard, number) = self.place_of(index);
        scratch.chunk.resize(self.layout.chunk_bytes(), 0);
        if self.remote.is_some() {
            let key = (shard, number);
            let Some(encoded) = fetched.get(&key) else {
                return Ok(false);
            };
            decode(encoded, &mut scratch.chunk).map_err(|error| {
                let path = self.folder.join(ArrayLayout::shard_name(&key.0));
                StoreError::in_shard(&path)(error)
            })?;
            return Ok(true);
        }
        let Some(open) = self.shard(&shard)? else {
            return Ok(false);
        };
        let (Some((offset, length)), Some(file)) = (self.chunk_range(&open, number)?, &open.file)
        else {
            return Ok(false);
        };
        scratch.encoded.resize(length as usize, 0);
        file.read_exact_at(&mut scratch.encoded, offset)
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
        let file = Some(file);
        Ok(Some(Arc::new(OpenShard { path, file, index })))
    }
}
