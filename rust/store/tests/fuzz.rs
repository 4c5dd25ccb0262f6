//! The fuzzer's functions over the kept corpus and over random changes of it, on any toolchain; `make fuzz` goes further.
#![allow(clippy::unwrap_used)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

const CHANGES: usize = 500;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n.max(1)
    }

    /// Flip, cut, repeat or overwrite a few bytes.
    fn change(&mut self, data: &mut Vec<u8>) {
        const STRANGE: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.below(4) {
            let at = self.below(data.len());
            match self.below(5) {
                0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
                1 => data.truncate(at),
                2 => {
                    let end = (at + self.below(16)).min(data.len());
                    let piece = data[at.min(end)..end].to_vec();
                    data.extend(piece);
                }
                3 => {
                    let value = STRANGE[self.below(6)];
                    let end = (at + 1 + self.below(8)).min(data.len());
                    data[at.min(end)..end].fill(value);
                }
                _ => data.insert(at, STRANGE[self.below(6)]),
            }
        }
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut random = Random(11);
    for (name, target) in harness::TARGETS {
        let seeds = corpus(name);
        assert!(!seeds.is_empty());
        for seed in &seeds {
            target(seed);
            for _ in 0..CHANGES {
                let mut data = seed.clone();
                random.change(&mut data);
                target(&data);
            }
        }
        target(&[]);
    }
}
