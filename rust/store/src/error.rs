use std::path::{Path, PathBuf};

use skymere_core::codec::CodecError;
use skymere_core::error::{Kind, RoomError};
use thiserror::Error;

/// What can go wrong between an array and its files.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The metadata are not those of an array that this crate reads.
    #[error("{path}: {message}")]
    Metadata {
        /// The `zarr.json`.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A shard holds something else than it should.
    #[error("{path}: {source}")]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is wrong.
        source: CodecError,
    },
    /// A request outside the array.
    #[error("a box of {extent:?} at {origin:?} is not inside an array of shape {shape:?}")]
    Outside {
        /// First element.
        origin: Vec<i64>,
        /// Size of the box.
        extent: Vec<usize>,
        /// Size of the array.
        shape: Vec<usize>,
    },
    /// An array of another size than the metadata say.
    #[error("an array of {found} bytes was given for {path}, which needs {expected}")]
    Size {
        /// The array.
        path: PathBuf,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// A rounding that does not exist.
    #[error("rounding {name:?} is not one of \"quantise\", \"weight7\"")]
    Rounding {
        /// What was asked for.
        name: String,
    },
    /// More memory than there is.
    #[error("{bytes} bytes of memory could not be had")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl StoreError {
    /// Name the path of a failure of the file system.
    pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Name the shard in which bytes are wrong.
    pub fn in_shard(path: &Path) -> impl FnOnce(CodecError) -> Self + use<'_> {
        move |source| Self::Shard {
            path: path.to_owned(),
            source,
        }
    }
}

impl RoomError for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } | Self::Memory { .. } => Kind::Storage,
            Self::Metadata { .. } => Kind::Format,
            Self::Shard { source, .. } => source.kind(),
            Self::Outside { .. } | Self::Size { .. } | Self::Rounding { .. } => Kind::InvalidInput,
        }
    }
}
