//! What is done with bytes of any kind: each function must come back, whatever it is given. The fuzzer calls them, and so
//! does a test over the kept corpus.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io;
use std::path::Path;

use skymere_core::codec::{ShardIndex, decode};
use skymere_core::error::{Kind, RoomError};
use skymere_store::{ArrayLayout, ArrayReader, RemoteShards, ShardRanges, StoreError, Tail};

pub type Target = fn(&[u8]);

pub const TARGETS: [(&str, Target); 4] = [
    ("metadata", metadata),
    ("index", index),
    ("chunk", chunk),
    ("array", array),
];

/// Largest answer that is asked for [bytes].
const MOST: usize = 1 << 22;

/// The text of a `zarr.json`.
pub fn metadata(data: &[u8]) {
    if let Err(error) = ArrayLayout::from_json(data, Path::new("zarr.json")) {
        assert_eq!(error.kind(), Kind::Format);
    }
}

/// Two bytes that say how many chunks there are, eight with the bytes before the index, and the index.
pub fn index(data: &[u8]) {
    let Some((head, table)) = data.split_first_chunk::<10>() else {
        return;
    };
    let n_chunks = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let limit = u64::from_le_bytes(head[2..].try_into().unwrap());
    // Seldom would the checksum be right by chance.
    let sealed = [table, &crc32c::crc32c(table).to_le_bytes()].concat();
    for bytes in [table, &sealed] {
        if let Ok(found) = ShardIndex::parse(bytes, n_chunks, limit) {
            for chunk in 0..=n_chunks {
                if let Some((offset, length)) = found.get(chunk) {
                    assert!(offset.checked_add(length).is_some_and(|end| end <= limit));
                }
            }
        }
    }
}

/// A compressed chunk that should hold 64, 4096 or 131072 bytes.
pub fn chunk(data: &[u8]) {
    for n in [64, 4096, 131_072] {
        let mut out = vec![0; n];
        drop(decode(data, &mut out));
    }
}

/// Two bytes with the length of a `zarr.json`, which follows, and a shard, which every shard of the array is.
pub fn array(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Some((text, shard)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*head))) else {
        return;
    };
    let open = |shard: &[u8]| {
        let shards = Box::new(OneShard(shard.to_vec()));
        ArrayReader::open_remote(Path::new("array"), text, shards)
    };
    // Once as it is, and once with an index whose checksum is right.
    let mut sealed = shard.to_vec();
    if let Ok(layout) = ArrayLayout::from_json(text, Path::new("zarr.json")) {
        let n: usize = layout.chunks_per_shard().iter().product();
        let table = n.saturating_mul(16).saturating_add(4);
        if let Some(from) = sealed.len().checked_sub(table) {
            let end = sealed.len() - 4;
            let sum = crc32c::crc32c(&sealed[from..end]);
            sealed[end..].copy_from_slice(&sum.to_le_bytes());
        }
    }
    for bytes in [shard, &sealed] {
        if let Ok(reader) = open(bytes) {
            read(&reader);
        }
    }
}

fn read(reader: &ArrayReader) {
    let layout = reader.layout().clone();
    let origin = vec![0; layout.shape.len()];
    let whole = layout.n_bytes().is_some_and(|n| n <= MOST);
    let corner: Vec<usize> = layout.shape.iter().map(|&n| n.min(3)).collect();
    let extents = [if whole { layout.shape } else { corner.clone() }, corner];
    for extent in extents {
        match reader.read_boxes(&origin, &extent) {
            Ok(bytes) => assert_eq!(bytes.len() % layout.item, 0),
            Err(StoreError::Outside { .. } | StoreError::Size { .. }) => {
                panic!("a box inside the array was refused")
            }
            Err(_) => {}
        }
    }
}

struct OneShard(Vec<u8>);

impl RemoteShards for OneShard {
    fn tails(&self, shards: &[String], length: usize) -> io::Result<Vec<Tail>> {
        let from = self.0.len().saturating_sub(length);
        let tail = (self.0.len() as u64, self.0[from..].to_vec());
        Ok(vec![Some(tail); shards.len()])
    }

    fn ranges(&self, wanted: &[ShardRanges]) -> io::Result<Vec<Vec<Vec<u8>>>> {
        let part = |(a, b): (&u64, &u64)| self.0[*a as usize..*b as usize].to_vec();
        let read = |one: &ShardRanges| one.starts.iter().zip(&one.ends).map(part).collect();
        Ok(wanted.iter().map(read).collect())
    }
}
