//! The answer of a job whose record became a dead letter while it was worked on: its handler panicked.

use super::{
    ID_HEADER, answer,
    parse::{self, CUSTOM_ID_MAX_BYTES, Job, Malformed},
    reply_key,
};
use crate::config::JobDoor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tollgate_bus::{Headers, Incoming, Outgoing};
use tollgate_schemas::{ApiError, ErrorCode, RequestId, TopicReply};

/// An internal error under what the job calls itself, as far as that can be read. Does not panic.
pub(super) fn answer_of(door: &JobDoor, id: RequestId, record: &Incoming<Vec<u8>>) -> Option<Outgoing> {
    answer_by(door, id, record, parse::job)
}

/// The same with what reads a job, which may be what has panicked.
fn answer_by(
    door: &JobDoor,
    id: RequestId,
    record: &Incoming<Vec<u8>>,
    read: impl FnOnce(&[u8], &Headers) -> Result<Job, Malformed>,
) -> Option<Outgoing> {
    let (custom_id, metadata) = match catch_unwind(AssertUnwindSafe(|| read(&record.value, &record.headers))) {
        Ok(Ok(job)) => (job.custom_id, job.metadata),
        Ok(Err(malformed)) => (malformed.custom_id, None),
        Err(_) => {
            let short = record.headers.get(ID_HEADER).filter(|id| id.len() <= CUSTOM_ID_MAX_BYTES);
            (short.map(str::to_owned), None)
        }
    };
    let message = "the job could not be processed; its record was moved to dead-letters; report it with the request id";
    let reply = TopicReply { topic: door.replies.clone(), key: reply_key(record), custom_id, metadata };
    answer(&reply, Some(id), &ApiError::new(ErrorCode::Internal, message), record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::sync::Semaphore;
    use tollgate_bus::TopicName;
    use tollgate_schemas::TraceContext;

    type Read = fn(&[u8], &Headers) -> Result<Job, Malformed>;

    /// The answer to a record of this value with a name in its header.
    fn answered(value: &[u8], read: Read) -> (RequestId, Outgoing, Value) {
        let door = JobDoor { team: "search".into(), replies: "t.out.search".into(), repeats: Semaphore::new(1) };
        let record = Incoming {
            topic: "t.in.search".to_owned(),
            partition: 3,
            offset: 41,
            timestamp_ms: 1_700_000_000_123,
            key: Some(b"key".to_vec()),
            headers: Headers::from_iter([(ID_HEADER.to_owned(), b"by header".to_vec())]),
            trace: TraceContext::new(),
            is_tombstone: false,
            value: value.to_vec(),
        };
        let id = RequestId::of_record("cluster", &record.topic, 3, 41, record.timestamp_ms);
        let answer = answer_by(&door, id, &record, read).expect("an answer");
        let line = serde_json::from_slice(&answer.payload).expect("a line");
        (id, answer, line)
    }

    #[test]
    fn it_is_an_internal_error_under_the_jobs_own_names() {
        let job = br#"{"custom_id":"mine","url":"/v1/chat/completions","body":{"model":"m"},"metadata":{"k":1}}"#;
        let (id, answer, line) = answered(job, parse::job);
        assert_eq!(
            (&answer.topic, answer.key.as_deref()),
            (&TopicName::Full("t.out.search".into()), Some(&b"key"[..]))
        );
        assert_eq!(line["id"], format!("batch_req_{id}"));
        assert_eq!((&line["custom_id"], &line["metadata"]), (&json!("mine"), &json!({"k": 1})));
        assert_eq!((&line["error"]["code"], &line["response"]), (&json!("internal_error"), &Value::Null));
    }

    #[test]
    fn what_cannot_be_read_again_is_answered_under_the_name_of_its_header() {
        let panics: Read = |_, _| panic!("as told");
        // A handler that only waited has let go of the value.
        let cases: [(&[u8], Read); 2] = [(b"{}", panics), (b"", parse::job)];
        for (value, read) in cases {
            let (id, _, line) = answered(value, read);
            assert_eq!((&line["id"], &line["custom_id"]), (&json!(format!("batch_req_{id}")), &json!("by header")));
            assert_eq!(line["error"]["code"], "internal_error");
        }
    }
}
