//! Any bytes as each kind of internal record and as trace headers. What parses must be written and read again as the same.
#![no_main]

use serde::Serialize;
use tollgate_bus::FromRecord;
use tollgate_schemas::{Cancellation, Completion, Reply, Request, TraceContext, UsageRow};

fn record<T: FromRecord + Serialize>(data: &[u8]) {
    let Ok(value) = T::from_record(data) else { return };
    let written = serde_json::to_vec(&value).expect("a record can be written");
    let read = T::from_record(&written).expect("a record that was written is read");
    assert_eq!(serde_json::to_vec(&read).expect("a record can be written"), written);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    record::<Request>(data);
    record::<Completion>(data);
    record::<Reply>(data);
    record::<UsageRow>(data);
    record::<Cancellation>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let (parent, state) = text.split_once('\n').unwrap_or((text, ""));
        if let Some(context) = TraceContext::parse(parent, Some(state)) {
            // <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>: hex digits, nothing else.
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            assert!(digits(parent.trim()) || !parent.trim().starts_with("00"), "{parent}");
            assert_eq!(TraceContext::parse(&context.to_string(), Some(state)), Some(context));
        }
    }
});
