//! Any bytes as the event stream of each kind of provider, decoded into the caller's events and one whole answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tollgate_router_worker::fuzz::stream(data);
});
