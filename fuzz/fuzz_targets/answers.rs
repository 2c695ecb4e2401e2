//! Any bytes as a whole answer or an error document of each kind of provider, and as a caller's body translated for it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tollgate_router_worker::fuzz::answer(data);
    tollgate_router_worker::fuzz::request(data);
});
