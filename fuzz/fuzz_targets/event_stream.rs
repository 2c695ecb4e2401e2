//! Any bytes as Amazon's binary event stream, split in three ways: the messages, and what ends them, must be the same. The first
//! byte says the size of a piece, and how many bytes are headers where the checksums are made to fit.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((piece, stream)) = data.split_first() {
        tollgate_router_worker::fuzz::event_stream(stream, usize::from(*piece));
    }
});
