//! What happens to pixels on their way to the disk and back: rounding, compression of chunks, the index of a shard.
//!
//! Bytes in, bytes out: files are the business of the crate `skymere-store`.

mod blosc;
mod error;
mod index;
mod quantise;
mod weight;

pub use blosc::{Codec, Compressor, Shuffle, decode, encode, encode_with};
pub use error::CodecError;
pub use index::{ShardIndex, index_len};
pub use quantise::{LOSSLESS, quantise, quantum_exponent, round_to_quantum};
pub use weight::round_weights;

// Stored bytes are little-endian and are used as they are.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "skymere needs a little-endian machine"
);
