//! Any bytes as each kind of internal record and as trace headers. What parses must be written and read again as the same.
//! And any bytes as a record that cannot be processed: if it names a request, that one is ended, whole and in order.

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;
use tollgate_bus::{FromRecord, TopicName, end::poisoned_request};
use tollgate_schemas::{
    Cancellation, Change, Completion, Cooldown, IdempotencyRecord, Produced, Reply, ReplyEvent, Request, RequestId,
    TraceContext, UsageRow,
};

fn record<T: FromRecord + Serialize>(data: &[u8]) {
    let Ok(value) = T::from_record(data) else { return };
    let written = serde_json::to_vec(&value).expect("a record can be written");
    let read = T::from_record(&written).expect("a record that was written is read");
    assert_eq!(serde_json::to_vec(&read).expect("a record can be written"), written);
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// The requests that a record may be about, and whether somebody waits for their answer: itself, or the one inside. A whole record
/// may hold what is not even text in fields that nobody reads.
fn named(data: &[u8]) -> Vec<(RequestId, bool)> {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        return vec![(request.request_id, request.shadow.is_none())];
    }
    if let Ok(Completion { request, .. }) = serde_json::from_slice(data) {
        return vec![(request.request_id, request.shadow.is_none())];
    }
    let fields: Fields = serde_json::from_slice(data).unwrap_or_default();
    let inner = fields.get("request").and_then(|request| serde_json::from_str::<Fields>(request.get()).ok());
    let awaited = |fields: &Fields| {
        fields.get("shadow").is_none_or(|shadow| serde_json::from_str::<String>(shadow.get()).is_err())
    };
    let all = [Some(fields), inner].into_iter().flatten();
    all.filter_map(|fields| Some((serde_json::from_str(fields.get("request_id")?.get()).ok()?, awaited(&fields))))
        .collect()
}

fn poisoned(data: &[u8]) {
    let records = poisoned_request(data, "fuzz", "local", &TraceContext::new());
    let named = named(data);
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        // A record with a request inside is about that one alone, and a chunk of a stream ends none.
        if let Ok(broken) = serde_json::from_slice::<Value>(data) {
            let may_name_one = broken.get("request").is_some() || broken.get("seq").is_some();
            assert!(named.is_empty() || may_name_one, "a request that is named is not ended");
        }
        return;
    };
    assert_eq!(last.topic, TopicName::Internal("usage"));
    let row = UsageRow::from_record(&last.payload).expect("its row can be read");
    assert_eq!(last.key.as_deref(), Some(row.request_id.to_string().as_bytes()));
    if records.len() == 1 {
        assert!(named.contains(&(row.request_id, false)), "nobody is told of {}, of {named:?}", row.request_id);
        return;
    }
    assert_eq!(first.topic, TopicName::Internal("replies"));
    let between = &records[1..records.len() - 1];
    assert!(between.len() <= 1 && between.iter().all(|record| matches!(record.topic, TopicName::Full(_))));
    let reply = Reply::from_record(&first.payload).expect("its end can be read");
    let ReplyEvent::Terminal(terminal) = reply.event else { panic!("a chunk ends nothing") };
    assert!(terminal.error.is_some() && terminal.body.is_none());
    assert!(named.contains(&(reply.request_id, true)), "it ended {} of {named:?}", reply.request_id);
    assert_eq!((row.request_id, row.execution_id), (reply.request_id, reply.execution_id));
}

pub(crate) fn run(data: &[u8]) {
    record::<Request>(data);
    record::<Produced>(data);
    record::<Reply>(data);
    record::<UsageRow>(data);
    record::<Cancellation>(data);
    record::<Change>(data);
    record::<Cooldown>(data);
    record::<IdempotencyRecord>(data);
    poisoned(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let (parent, state) = text.split_once('\n').unwrap_or((text, ""));
        if let Some(context) = TraceContext::parse(parent, Some(state)) {
            // <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>: hex digits, nothing else.
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            assert!(digits(parent.trim()) || !parent.trim().starts_with("00"), "{parent}");
            assert_eq!(TraceContext::parse(&context.to_string(), Some(state)), Some(context));
        }
    }
}
