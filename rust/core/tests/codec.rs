//! Properties of the rounding and of the chunks.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use skymere_core::codec::{
    Codec, Compressor, LOSSLESS, Shuffle, decode, encode, quantise, round_weights,
};

const ZSTD: Codec = Codec {
    compressor: Compressor::Zstd,
    level: 3,
    shuffle: Shuffle::Bits,
    block: 0,
};
const FAST: Codec = Codec {
    level: 2,
    shuffle: Shuffle::Bytes,
    block: 1 << 17,
    ..ZSTD
};
const SCRATCH: Codec = Codec {
    compressor: Compressor::Lz4,
    level: 5,
    shuffle: Shuffle::None,
    block: 0,
};

fn pixel() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1.0e3_f32..1.0e3,
        1 => -1.0e30_f32..1.0e30,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
    ]
}

proptest! {
    #[test]
    fn rounding_stays_within_half_a_quantum(values in prop::collection::vec(pixel(), 0..200)) {
        let mut rounded = values.clone();
        let exponent = quantise(&mut rounded);
        let quantum = if exponent == LOSSLESS { 0.0 } else { f64::from(exponent).exp2() };
        for (&before, &after) in values.iter().zip(&rounded) {
            if before.is_finite() {
                prop_assert!((f64::from(after) - f64::from(before)).abs() <= quantum / 2.0);
            } else {
                prop_assert_eq!(before.to_bits(), after.to_bits());
            }
        }
        let mut again = rounded.clone();
        if quantise(&mut again) == exponent {
            prop_assert_eq!(
                again.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                rounded.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn weights_keep_eight_bits_of_precision(values in prop::collection::vec(pixel(), 0..200)) {
        let mut rounded = values.clone();
        round_weights(&mut rounded);
        for (&before, &after) in values.iter().zip(&rounded) {
            if before.is_finite() {
                prop_assert!((after - before).abs() <= before.abs() / 256.0);
            } else {
                prop_assert_eq!(before.to_bits(), after.to_bits());
            }
        }
    }

    #[test]
    fn chunks_come_back(raw in prop::collection::vec(any::<u8>(), 1..5000), item in 1_usize..9) {
        for codec in [ZSTD, FAST, SCRATCH] {
            let encoded = encode(&raw, item, codec).unwrap();
            let mut back = vec![0; raw.len()];
            decode(&encoded, &mut back).unwrap();
            prop_assert_eq!(&back, &raw);
            prop_assert!(decode(&encoded, &mut vec![0; raw.len() + 1]).is_err());
        }
    }

    #[test]
    fn garbage_is_an_error_or_some_bytes(garbage in prop::collection::vec(any::<u8>(), 0..300), size in 0_usize..500) {
        let mut out = vec![0; size];
        let _ = decode(&garbage, &mut out);
    }

    #[test]
    fn a_damaged_chunk_never_crashes(at in 0_usize..10_000, bit in 0_u8..8, cut in 0_usize..10_000) {
        let raw: Vec<u8> = (0..4096_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        let mut encoded = encode(&raw, 4, ZSTD).unwrap();
        let n = encoded.len();
        encoded[at % n] ^= 1 << bit;
        let mut out = vec![0; raw.len()];
        let _ = decode(&encoded, &mut out);
        let _ = decode(&encoded[..cut % n], &mut out);
    }
}
