use thiserror::Error;

use crate::error::{Kind, RoomError};

/// What can go wrong with encoded bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    /// More bytes than the container can hold.
    #[error("a chunk of {bytes} bytes cannot be encoded, at most {most} are allowed")]
    TooLarge {
        /// Size asked for.
        bytes: usize,
        /// Largest size.
        most: usize,
    },
    /// The compressor failed.
    #[error("a chunk of {bytes} bytes could not be compressed (blosc code {code})")]
    Compress {
        /// Size of the chunk.
        bytes: usize,
        /// What blosc returned.
        code: i32,
    },
    /// Bytes that are not a compressed chunk.
    #[error("{bytes} bytes are not a blosc chunk")]
    NotBlosc {
        /// Size of the bytes.
        bytes: usize,
    },
    /// A chunk of another size than the array has.
    #[error("a chunk decodes to {found} bytes, expected {expected}")]
    ChunkSize {
        /// Size that the chunk declares or decodes to.
        found: i64,
        /// Size of a chunk of the array.
        expected: usize,
    },
    /// The index of a shard has another size than its chunks need.
    #[error("the index of a shard has {found} bytes, expected {expected}")]
    IndexSize {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The index of a shard does not match its checksum.
    #[error("the index of a shard has checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Checksum of the bytes.
        found: u32,
        /// Checksum in the file.
        expected: u32,
    },
    /// The index of a shard points outside the shard.
    #[error("chunk {chunk} of a shard is at {offset}+{length}, beyond its {limit} bytes")]
    OutOfShard {
        /// Number of the chunk.
        chunk: usize,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// Bytes before the index.
        limit: u64,
    },
}

impl RoomError for CodecError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } | Self::Compress { .. } => Kind::InvalidInput,
            _ => Kind::Format,
        }
    }
}
