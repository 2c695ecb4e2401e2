//! Any bytes as a record of a team's in topic, and as the body of a call. Headers follow the value, each after a byte that no UTF-8
//! text holds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0xff);
    let value = parts.next().unwrap_or_default();
    tollgate_ingress::fuzz::job(value, parts.next(), parts.next(), parts.next());
    tollgate_ingress::fuzz::body(value);
});
