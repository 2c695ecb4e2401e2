//! Any bytes as a request of any api and version: it must end, without a panic and in little memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollgate_broker::fuzz::frame(data));
