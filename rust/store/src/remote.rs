//! Shards in an object store: requests are slow, so each asks for much.

use std::io;

/// Ranges of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRanges {
    /// Its name inside the array.
    pub shard: String,
    /// First byte of each range.
    pub starts: Vec<u64>,
    /// End of each range, exclusive.
    pub ends: Vec<u64>,
}

/// Size of a shard and its last bytes; `None` when it is not there.
pub type Tail = Option<(u64, Vec<u8>)>;

/// The shards of an array in an object store.
pub trait RemoteShards: Send + Sync {
    /// Size and last bytes, at most `length`, of each shard.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    fn tails(&self, shards: &[String], length: usize) -> io::Result<Vec<Tail>>;

    /// The bytes of all ranges of each shard.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    fn ranges(&self, wanted: &[ShardRanges]) -> io::Result<Vec<Vec<Vec<u8>>>>;
}
