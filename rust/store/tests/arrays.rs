//! Arrays come back from disk; damaged ones give errors.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use skymere_core::error::{Kind, RoomError};
use skymere_store::{ArrayReader, RemoteShards, Rounding, ShardRanges, Tail, write_rows};

fn metadata(shape: &[usize], shard: &[usize], chunk: &[usize]) -> String {
    format!(
        r#"{{"zarr_format":3,"node_type":"array","shape":{shape:?},"data_type":"int32","fill_value":7,
        "chunk_grid":{{"name":"regular","configuration":{{"chunk_shape":{shard:?}}}}},
        "chunk_key_encoding":{{"name":"default"}},
        "codecs":[{{"name":"sharding_indexed","configuration":{{"chunk_shape":{chunk:?},
        "codecs":[{{"name":"bytes"}},{{"name":"blosc"}}],
        "index_codecs":[{{"name":"bytes"}},{{"name":"crc32c"}}],"index_location":"end"}}}}]}}"#
    )
}

fn make(folder: &Path, shape: &[usize], shard: &[usize], chunk: &[usize], values: &[i32]) {
    fs::write(folder.join("zarr.json"), metadata(shape, shard, chunk)).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    write_rows(folder, 0, &bytes, Rounding::None).unwrap();
}

/// A store that gives what is in a folder, less `missing` bytes of each answer.
struct Folder {
    path: PathBuf,
    missing: usize,
}

impl RemoteShards for Folder {
    fn tails(&self, shards: &[String], length: usize) -> io::Result<Vec<Tail>> {
        let tail = |shard: &String| {
            let bytes = fs::read(self.path.join(shard)).ok()?;
            let from = bytes.len().saturating_sub(length);
            Some((bytes.len() as u64, bytes[from..].to_vec()))
        };
        Ok(shards.iter().map(tail).collect())
    }

    fn ranges(&self, wanted: &[ShardRanges]) -> io::Result<Vec<Vec<Vec<u8>>>> {
        let read = |one: &ShardRanges| {
            let bytes = fs::read(self.path.join(&one.shard))?;
            let part =
                |(a, b): (&u64, &u64)| bytes[*a as usize..*b as usize - self.missing].to_vec();
            Ok(one.starts.iter().zip(&one.ends).map(part).collect())
        };
        wanted.iter().map(read).collect()
    }
}

fn remote(folder: &Path, missing: usize) -> ArrayReader {
    let path = folder.to_owned();
    let metadata = fs::read(folder.join("zarr.json")).unwrap();
    ArrayReader::open_remote(folder, &metadata, Box::new(Folder { path, missing })).unwrap()
}

fn values_of(bytes: &[u8]) -> Vec<i32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|w| i32::from_le_bytes(*w)).collect()
}

fn axis() -> impl Strategy<Value = (usize, usize, usize, usize, usize)> {
    (0_usize..20, 1_usize..6, 1_usize..4).prop_flat_map(|(n, chunk, per)| {
        (0..=n).prop_flat_map(move |a| (a..=n).prop_map(move |b| (n, chunk * per, chunk, a, b - a)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_box_comes_back(axes in prop::collection::vec(axis(), 1..4), plain in 0_usize..3) {
        let folder = tempfile::tempdir().unwrap();
        let pick = |f: fn(&(usize, usize, usize, usize, usize)) -> usize| axes.iter().map(f).collect::<Vec<_>>();
        let (shape, shard, chunk) = (pick(|a| a.0), pick(|a| a.1), pick(|a| a.2));
        let (origin, extent) = (pick(|a| a.3), pick(|a| a.4));
        let n: usize = shape.iter().product();
        let values: Vec<i32> = (0..n as i32).map(|i| if i as usize % 3 < plain { 7 } else { i }).collect();
        make(folder.path(), &shape, &shard, &chunk, &values);
        let reader = ArrayReader::open(folder.path()).unwrap();
        let origins: Vec<i64> = origin.iter().map(|&o| o as i64).collect();
        let found = values_of(&reader.read_boxes(&origins.repeat(2), &extent).unwrap());
        let mut wanted = Vec::new();
        for (i, &value) in values.iter().enumerate() {
            let mut rest = i;
            let mut inside = true;
            for a in (0..shape.len()).rev() {
                let at = rest % shape[a];
                rest /= shape[a];
                inside &= at >= origin[a] && at < origin[a] + extent[a];
            }
            if inside {
                wanted.push(value);
            }
        }
        prop_assert_eq!(&found, &wanted.repeat(2));
        let far = remote(folder.path(), 0);
        for _ in 0..2 {
            let bytes = far.read_boxes(&origins.repeat(2), &extent).unwrap();
            prop_assert_eq!(&values_of(&bytes), &found);
        }
    }

    #[test]
    fn a_damaged_shard_is_an_error_or_some_numbers(at in 0_usize..100_000, byte in any::<u8>(), cut in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<i32> = (0..1000).map(|i| i * i).collect();
        make(folder.path(), &[1000], &[1024], &[128], &values);
        let shard = folder.path().join("c/0");
        let mut bytes = fs::read(&shard).unwrap();
        let n = bytes.len();
        if cut {
            bytes.truncate(at % n);
        } else {
            bytes[at % n] ^= byte;
        }
        fs::write(&shard, bytes).unwrap();
        let outcome = ArrayReader::open(folder.path()).unwrap().read_boxes(&[0], &[1000]);
        if let Err(error) = outcome {
            prop_assert_eq!(error.kind(), Kind::Format);
        }
    }
}

#[test]
fn a_store_that_gives_less_than_asked_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<i32> = (0..100).collect();
    make(folder.path(), &[100], &[32], &[8], &values);
    let outcome = remote(folder.path(), 1).read_boxes(&[3], &[50]);
    assert_eq!(outcome.unwrap_err().kind(), Kind::Storage);
    let shard = folder.path().join("c/1");
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[..20]).unwrap();
    let outcome = remote(folder.path(), 0).read_boxes(&[3], &[50]);
    assert_eq!(outcome.unwrap_err().kind(), Kind::Format);
}

#[test]
fn hostile_metadata_are_errors_and_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &[10], &[16], &[4], &[1; 10]);
    let huge = 1_usize << 60;
    for (shape, shard, chunk) in [
        (10, huge, 4),
        (huge, 16, huge),
        (10, 16, 0),
        (10, 0, 4),
        (10, 16, 3),
    ] {
        fs::write(
            folder.path().join("zarr.json"),
            metadata(&[shape], &[shard], &[chunk]),
        )
        .unwrap();
        let kind = match ArrayReader::open(folder.path()) {
            Ok(reader) => reader.read_boxes(&[0], &[10]).unwrap_err().kind(),
            Err(error) => error.kind(),
        };
        assert_eq!(kind, Kind::Format);
    }
    fs::write(
        folder.path().join("zarr.json"),
        metadata(&[huge], &[16], &[4]),
    )
    .unwrap();
    let reader = ArrayReader::open(folder.path());
    let outcome = reader.and_then(|r| r.read_boxes(&[0], &[huge]));
    assert!(matches!(
        outcome.unwrap_err().kind(),
        Kind::Format | Kind::Storage
    ));
    fs::write(folder.path().join("zarr.json"), "{]").unwrap();
    assert_eq!(
        ArrayReader::open(folder.path()).err().unwrap().kind(),
        Kind::Format
    );
}

#[test]
fn requests_outside_the_array_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &[10, 10], &[8, 8], &[4, 4], &[1; 100]);
    let reader = ArrayReader::open(folder.path()).unwrap();
    for (origin, extent) in [([-1, 0], [1, 1]), ([0, 5], [1, 6]), ([i64::MAX, 0], [1, 1])] {
        assert_eq!(
            reader.read_boxes(&origin, &extent).unwrap_err().kind(),
            Kind::InvalidInput
        );
    }
    assert_eq!(
        reader.read_boxes(&[0], &[1]).unwrap_err().kind(),
        Kind::InvalidInput
    );
    assert!(reader.read_boxes(&[], &[4, 4]).unwrap().is_empty());
}

#[test]
fn equal_arrays_have_equal_files_for_any_number_of_threads() {
    let values: Vec<i32> = (0..20_000).map(|i| i % 977).collect();
    let files = [1, 3].map(|n| {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap();
        pool.install(|| make(folder.path(), &[100, 200], &[64, 64], &[16, 16], &values));
        fs::read(folder.path().join("c/1/2")).unwrap()
    });
    assert_eq!(files[0], files[1]);
}
