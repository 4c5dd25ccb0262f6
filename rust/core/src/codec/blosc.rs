//! Compression of one chunk: blosc, through the C library that all Zarr readers use.

use std::ffi::{CStr, c_int, c_void};

use super::CodecError;

/// What finds the repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// zstd: what is kept.
    Zstd,
    /// lz4: scratch.
    Lz4,
}

/// How the bytes of a chunk are sorted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// Not at all.
    None,
    /// First the first bytes of all elements, then the second bytes, and so on.
    Bytes,
    /// The same with bits.
    Bits,
}

/// How chunks are compressed: the `configuration` of the codec `blosc` of Zarr v3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// What finds the repetitions.
    pub compressor: Compressor,
    /// From 1, fast, to 9, small.
    pub level: u8,
    /// How bytes are sorted before.
    pub shuffle: Shuffle,
    /// Bytes that are compressed together; 0 leaves it to the library.
    pub block: usize,
}

impl Codec {
    fn name(self) -> &'static CStr {
        match self.compressor {
            Compressor::Zstd => c"zstd",
            Compressor::Lz4 => c"lz4",
        }
    }

    fn shuffle(self) -> c_int {
        match self.shuffle {
            Shuffle::None => 0,
            Shuffle::Bytes => 1,
            Shuffle::Bits => 2,
        }
    }
}

/// Largest chunk: blosc counts bytes in 32 bits, and nobody makes chunks of a quarter of that.
const MOST: usize = 1 << 28;

/// Compress a chunk of elements of `item` bytes.
///
/// # Errors
/// When the chunk is larger than 256 MiB, or an element larger than 255 bytes, or the library fails.
pub fn encode(raw: &[u8], item: usize, codec: Codec) -> Result<Vec<u8>, CodecError> {
    encode_with(raw, item, codec, &mut Vec::new())
}

/// The same as [`encode`], with memory that is used again: fresh pages for each chunk would cost a tenth of the time.
///
/// # Errors
/// Those of [`encode`].
pub fn encode_with(
    raw: &[u8],
    item: usize,
    codec: Codec,
    scratch: &mut Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    if raw.len() > MOST || codec.block > MOST || item > 255 {
        return Err(CodecError::TooLarge {
            bytes: raw.len(),
            most: MOST,
        });
    }
    scratch.resize(raw.len() + blosc_src::BLOSC_MAX_OVERHEAD as usize, 0);
    let code = ffi::compress(raw, item, codec, scratch);
    usize::try_from(code)
        .ok()
        .filter(|&n| n > 0)
        .and_then(|n| scratch.get(..n))
        .map(<[u8]>::to_vec)
        .ok_or(CodecError::Compress {
            bytes: raw.len(),
            code,
        })
}

/// Decompress a chunk into `out`, which it must fill.
///
/// # Errors
/// When the bytes are not a blosc chunk, or one of another size.
pub fn decode(encoded: &[u8], out: &mut [u8]) -> Result<(), CodecError> {
    let declared = ffi::declared_len(encoded).ok_or(CodecError::NotBlosc {
        bytes: encoded.len(),
    })?;
    if declared != out.len() {
        return Err(CodecError::ChunkSize {
            found: declared as i64,
            expected: out.len(),
        });
    }
    let found = ffi::decompress(encoded, out);
    if usize::try_from(found) == Ok(out.len()) {
        Ok(())
    } else {
        Err(CodecError::ChunkSize {
            found: i64::from(found),
            expected: out.len(),
        })
    }
}

/// The only place that calls C.
#[allow(unsafe_code)]
mod ffi {
    use super::{Codec, c_int, c_void};

    pub fn compress(raw: &[u8], item: usize, codec: Codec, out: &mut [u8]) -> c_int {
        // SAFETY: `raw` and `out` are valid for their lengths, which are passed along; the library writes at most
        // `out.len()` bytes; the name is a C string; the context-free call shares no state between threads.
        unsafe {
            blosc_src::blosc_compress_ctx(
                c_int::from(codec.level.min(9)),
                codec.shuffle(),
                item,
                raw.len(),
                raw.as_ptr().cast::<c_void>(),
                out.as_mut_ptr().cast::<c_void>(),
                out.len(),
                codec.name().as_ptr(),
                codec.block,
                1,
            )
        }
    }

    pub fn declared_len(encoded: &[u8]) -> Option<usize> {
        let mut length = 0_usize;
        // SAFETY: `encoded` is valid for its length, which is passed along; the call reads the header only after
        // checking that it is there, and compares the length in it with `encoded.len()`.
        let code = unsafe {
            blosc_src::blosc_cbuffer_validate(
                encoded.as_ptr().cast::<c_void>(),
                encoded.len(),
                &raw mut length,
            )
        };
        (code >= 0).then_some(length)
    }

    pub fn decompress(encoded: &[u8], out: &mut [u8]) -> c_int {
        // SAFETY: `declared_len` has accepted `encoded`, so the library never reads beyond it; it writes at most
        // `out.len()` bytes to `out`.
        unsafe {
            blosc_src::blosc_decompress_ctx(
                encoded.as_ptr().cast::<c_void>(),
                out.as_mut_ptr().cast::<c_void>(),
                out.len(),
                1,
            )
        }
    }
}
