#![no_main]

#[allow(dead_code)]
#[path = "../../store/tests/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::metadata(data));
