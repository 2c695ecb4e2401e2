//! Any bytes as a provider's event stream, split in three ways: the frames must be the same. The first byte says the size of a piece.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((piece, stream)) = data.split_first() {
        tollgate_router_worker::fuzz::sse(stream, usize::from(*piece));
    }
});
