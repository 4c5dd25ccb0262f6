//! Whole shards and batches of chunks to and from disk: sharded Zarr v3 arrays as skymere's lakes have them.
//!
//! What the bytes of a chunk mean is the business of `skymere_core::codec`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod geometry;
mod metadata;
mod reader;
mod remote;
mod writer;

pub use error::StoreError;
pub use metadata::ArrayLayout;
pub use reader::ArrayReader;
pub use remote::{RemoteShards, ShardRanges, Tail};
pub use writer::{Rounding, write_rows};
