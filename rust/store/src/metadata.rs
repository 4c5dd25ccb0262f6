//! The part of a `zarr.json` that says where elements are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use skymere_core::codec::{Codec, Compressor, Shuffle};

use crate::error::StoreError;
use crate::geometry::n_elements;

/// Largest `zarr.json` that is read.
const MOST_METADATA: u64 = 1 << 24;
/// Largest inner chunk [bytes].
const MOST_CHUNK: usize = 1 << 28;
const MOST_AXES: usize = 8;

/// How an array is cut into shards and chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayLayout {
    /// Elements along each axis.
    pub shape: Vec<usize>,
    /// Elements of a shard along each axis; multiples of `chunk`.
    pub shard: Vec<usize>,
    /// Elements of an inner chunk along each axis.
    pub chunk: Vec<usize>,
    /// Name of the type of an element.
    pub data_type: String,
    /// Bytes of an element.
    pub item: usize,
    /// The element that absent chunks are made of.
    pub fill: Vec<u8>,
    /// How chunks are compressed.
    pub codec: Codec,
}

impl ArrayLayout {
    /// Read the `zarr.json` in the folder of an array.
    ///
    /// # Errors
    /// When it cannot be read, or is not the metadata of a sharded array with the codecs of a lake.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("zarr.json");
        let mut text = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MOST_METADATA).read_to_end(&mut text))
            .map_err(StoreError::at(&path))?;
        Self::from_json(&text, &path)
    }

    /// The layout in the text of a `zarr.json`; `path` names it in an error.
    ///
    /// # Errors
    /// When it is not the metadata of a sharded array with the codecs of a lake.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, StoreError> {
        let tree: Value = serde_json::from_slice(text).unwrap_or(Value::Null);
        Self::parse(&tree).map_err(|message| StoreError::Metadata {
            path: path.to_owned(),
            message,
        })
    }

    /// The layout in the tree of a `zarr.json`, or what is wrong with it.
    ///
    /// # Errors
    /// When it is not the metadata of a sharded array with the codecs of a lake.
    pub fn parse(tree: &Value) -> Result<Self, String> {
        expect(tree, "/zarr_format", &Value::from(3))?;
        expect(tree, "/node_type", &Value::from("array"))?;
        expect(tree, "/chunk_grid/name", &Value::from("regular"))?;
        expect(tree, "/chunk_key_encoding/name", &Value::from("default"))?;
        expect(tree, "/codecs/0/name", &Value::from("sharding_indexed"))?;
        expect_names(tree, "/codecs", &["sharding_indexed"])?;
        let sharding = "/codecs/0/configuration";
        expect_names(tree, &format!("{sharding}/codecs"), &["bytes", "blosc"])?;
        expect_names(
            tree,
            &format!("{sharding}/index_codecs"),
            &["bytes", "crc32c"],
        )?;
        if let Some(place) = tree.pointer(&format!("{sharding}/index_location"))
            && place != "end"
        {
            return Err(format!("index_location is {place}, it must be \"end\""));
        }
        let shape = sizes(tree, "/shape")?;
        let shard = sizes(tree, "/chunk_grid/configuration/chunk_shape")?;
        let chunk = sizes(tree, &format!("{sharding}/chunk_shape"))?;
        let name = tree
            .pointer("/data_type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let fill = fill_bytes(name, tree.pointer("/fill_value").unwrap_or(&Value::Null))?;
        let layout = Self {
            shape,
            shard,
            chunk,
            data_type: name.to_owned(),
            item: fill.len(),
            fill,
            codec: codec(tree.pointer(&format!("{sharding}/codecs/1/configuration")))?,
        };
        layout.check().map(|()| layout)
    }

    fn check(&self) -> Result<(), String> {
        let axes = self.shape.len();
        if axes == 0
            || axes > MOST_AXES
            || self.shard.len() != axes
            || self.chunk.len() != axes
            || self.chunk.contains(&0)
            || self.shard.contains(&0)
            || self.shard.iter().zip(&self.chunk).any(|(s, c)| s % c != 0)
        {
            return Err(format!(
                "shape {:?}, shard {:?} and chunk {:?} do not fit together",
                self.shape, self.shard, self.chunk
            ));
        }
        let bytes = n_elements(&self.chunk).and_then(|n| n.checked_mul(self.item));
        if bytes.is_none_or(|n| n > MOST_CHUNK) {
            return Err(format!(
                "chunk {:?} is larger than {MOST_CHUNK} bytes",
                self.chunk
            ));
        }
        if n_elements(&self.chunks_per_shard()).is_none() || self.n_bytes().is_none() {
            return Err(format!(
                "shape {:?} or shard {:?} is too large",
                self.shape, self.shard
            ));
        }
        Ok(())
    }

    /// Inner chunks of a shard along each axis.
    #[must_use]
    pub fn chunks_per_shard(&self) -> Vec<usize> {
        self.shard
            .iter()
            .zip(&self.chunk)
            .map(|(s, c)| s / c)
            .collect()
    }

    /// Bytes of an inner chunk.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        self.chunk.iter().product::<usize>() * self.item
    }

    /// Bytes of the whole array; `None` when they do not fit.
    #[must_use]
    pub fn n_bytes(&self) -> Option<usize> {
        n_elements(&self.shape)?.checked_mul(self.item)
    }

    /// File of a shard inside the folder of the array.
    #[must_use]
    pub fn shard_name(shard: &[usize]) -> String {
        shard
            .iter()
            .fold("c".to_owned(), |name, i| format!("{name}/{i}"))
    }
}

fn expect(tree: &Value, at: &str, wanted: &Value) -> Result<(), String> {
    match tree.pointer(at) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("{at} is {found}, it must be {wanted}")),
        None => Err(format!("{at} is missing, it must be {wanted}")),
    }
}

fn expect_names(tree: &Value, at: &str, wanted: &[&str]) -> Result<(), String> {
    let found: Vec<&str> = tree
        .pointer(at)
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .map(|codec| {
                    codec
                        .pointer("/name")
                        .and_then(Value::as_str)
                        .unwrap_or("?")
                })
                .collect()
        })
        .unwrap_or_default();
    if found == wanted {
        return Ok(());
    }
    Err(format!("{at} are {found:?}, they must be {wanted:?}"))
}

fn sizes(tree: &Value, at: &str) -> Result<Vec<usize>, String> {
    tree.pointer(at)
        .and_then(Value::as_array)
        .and_then(|list| {
            list.iter()
                .map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()))
                .collect()
        })
        .ok_or_else(|| format!("{at} is not a list of sizes"))
}

/// The codec in the configuration of `blosc`; what it leaves open is as in most lakes.
fn codec(configuration: Option<&Value>) -> Result<Codec, String> {
    let tree = configuration.unwrap_or(&Value::Null);
    let word = |name: &str, otherwise: &'static str| match tree.get(name) {
        None => Ok(otherwise.to_owned()),
        Some(Value::String(word)) => Ok(word.clone()),
        Some(other) => Err(format!("blosc: {name} is {other}, it must be a word")),
    };
    let number = |name: &str, otherwise: u64, most: u64| match tree.get(name) {
        None => Ok(otherwise),
        Some(value) => value
            .as_u64()
            .filter(|&n| n <= most)
            .ok_or_else(|| format!("blosc: {name} is {value}, it must be 0 to {most}")),
    };
    let compressor = match word("cname", "zstd")?.as_str() {
        "lz4" => Compressor::Lz4,
        // Whatever compressed it, the chunk itself says so; only arrays that are written need it.
        _ => Compressor::Zstd,
    };
    let shuffle = match word("shuffle", "bitshuffle")?.as_str() {
        "noshuffle" => Shuffle::None,
        "shuffle" => Shuffle::Bytes,
        "bitshuffle" => Shuffle::Bits,
        other => return Err(format!("blosc: there is no shuffle {other:?}")),
    };
    Ok(Codec {
        compressor,
        level: u8::try_from(number("clevel", 3, 9)?).unwrap_or(9),
        shuffle,
        block: usize::try_from(number("blocksize", 0, MOST_CHUNK as u64)?).unwrap_or(0),
    })
}

fn fill_bytes(data_type: &str, value: &Value) -> Result<Vec<u8>, String> {
    let number = match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    };
    let whole = value.as_i64();
    let bytes = match data_type {
        "float32" => number.map(|v| (v as f32).to_le_bytes().to_vec()),
        "float64" => number.map(|v| v.to_le_bytes().to_vec()),
        "int8" => whole
            .and_then(|v| i8::try_from(v).ok())
            .map(|v| v.to_le_bytes().to_vec()),
        "uint8" => whole
            .and_then(|v| u8::try_from(v).ok())
            .map(|v| v.to_le_bytes().to_vec()),
        "int16" => whole
            .and_then(|v| i16::try_from(v).ok())
            .map(|v| v.to_le_bytes().to_vec()),
        "uint16" => whole
            .and_then(|v| u16::try_from(v).ok())
            .map(|v| v.to_le_bytes().to_vec()),
        "int32" => whole
            .and_then(|v| i32::try_from(v).ok())
            .map(|v| v.to_le_bytes().to_vec()),
        "uint32" => whole
            .and_then(|v| u32::try_from(v).ok())
            .map(|v| v.to_le_bytes().to_vec()),
        "int64" => whole.map(|v| v.to_le_bytes().to_vec()),
        "uint64" => value.as_u64().map(|v| v.to_le_bytes().to_vec()),
        _ => {
            return Err(format!(
                "data_type {data_type:?} is not a number that lakes store"
            ));
        }
    };
    bytes.ok_or_else(|| format!("fill_value {value} is not a {data_type}"))
}
