//! Any bytes as a commit's metadata, which any tool may have written: what parses is written back as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_bus::fuzz::commit_metadata(data));
