//! The index at the end of a shard: where each inner chunk is.

use super::CodecError;

const ABSENT: u64 = u64::MAX;
const ENTRY: usize = 16;
const CHECKSUM: usize = 4;

/// Bytes of the index of a shard with `n_chunks` inner chunks; `None` when that number is absurd.
#[must_use]
pub fn index_len(n_chunks: usize) -> Option<usize> {
    n_chunks.checked_mul(ENTRY)?.checked_add(CHECKSUM)
}

/// Where each inner chunk of a shard is; an absent one holds nothing but the fill value.
///
/// # Source
/// Zarr v3 codec `sharding_indexed` with index codecs `bytes` (little-endian) and `crc32c`, index at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndex {
    entries: Vec<(u64, u64)>,
}

impl ShardIndex {
    /// The index of chunks of these lengths, one after the other from the first byte of the shard.
    #[must_use]
    pub fn of_lengths(lengths: &[Option<usize>]) -> Self {
        let mut at = 0_u64;
        let entries = lengths
            .iter()
            .map(|length| match length {
                None => (ABSENT, ABSENT),
                Some(length) => {
                    let entry = (at, *length as u64);
                    at += *length as u64;
                    entry
                }
            })
            .collect();
        Self { entries }
    }

    /// The index in the last bytes of a shard; `limit` is the number of bytes before it.
    ///
    /// # Errors
    /// When the bytes have another length than `n_chunks` need, a wrong checksum, or point outside the shard.
    pub fn parse(bytes: &[u8], n_chunks: usize, limit: u64) -> Result<Self, CodecError> {
        let expected = index_len(n_chunks).unwrap_or(usize::MAX);
        let wrong_size = CodecError::IndexSize {
            found: bytes.len(),
            expected,
        };
        if bytes.len() != expected {
            return Err(wrong_size);
        }
        let (table, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(wrong_size)?;
        let (found, expected) = (crc32c::crc32c(table), u32::from_le_bytes(*checksum));
        if found != expected {
            return Err(CodecError::Checksum { found, expected });
        }
        let (words, _) = table.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let entries: Vec<(u64, u64)> = pairs
            .iter()
            .map(|[offset, length]| (u64::from_le_bytes(*offset), u64::from_le_bytes(*length)))
            .collect();
        let outside = entries.iter().position(|&(offset, length)| {
            (offset, length) != (ABSENT, ABSENT)
                && offset.checked_add(length).is_none_or(|end| end > limit)
        });
        match outside {
            Some(chunk) => Err(CodecError::OutOfShard {
                chunk,
                offset: entries[chunk].0,
                length: entries[chunk].1,
                limit,
            }),
            None => Ok(Self { entries }),
        }
    }

    /// The bytes of the index.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self
            .entries
            .iter()
            .flat_map(|(offset, length)| [offset.to_le_bytes(), length.to_le_bytes()].concat())
            .collect();
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Offset and length of a chunk; `None` when it is absent.
    #[must_use]
    pub fn get(&self, chunk: usize) -> Option<(u64, u64)> {
        self.entries
            .get(chunk)
            .copied()
            .filter(|&entry| entry != (ABSENT, ABSENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_comes_back_from_its_bytes() {
        let index = ShardIndex::of_lengths(&[Some(5), None, Some(7)]);
        let bytes = index.to_bytes();
        assert_eq!(ShardIndex::parse(&bytes, 3, 12), Ok(index.clone()));
        assert_eq!(index.get(2), Some((5, 7)));
        assert_eq!(index.get(1), None);
        assert_eq!(index.get(3), None);
    }

    #[test]
    fn damaged_index_is_an_error() {
        let mut bytes = ShardIndex::of_lengths(&[Some(5), Some(7)]).to_bytes();
        let outside = ShardIndex::parse(&bytes, 2, 11);
        assert!(matches!(
            outside,
            Err(CodecError::OutOfShard { chunk: 1, .. })
        ));
        assert!(matches!(
            ShardIndex::parse(&bytes, 3, 12),
            Err(CodecError::IndexSize { .. })
        ));
        bytes[3] ^= 1;
        assert!(matches!(
            ShardIndex::parse(&bytes, 2, 12),
            Err(CodecError::Checksum { .. })
        ));
    }
}
