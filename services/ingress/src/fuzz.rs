//! What the fuzzers of `fuzz/` call, and what they found: any bytes as a job or a body, and what must hold of what comes of it.
//!
//! Panics are how a fuzzer is told. Not compiled into the product.

use crate::{
    Admission, Called, Door, IngressConfig,
    admit::MODELS,
    jobs::parse::{self, CUSTOM_ID_MAX_BYTES, Job, METADATA_MAX_BYTES},
};
use object_store::memory::InMemory;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use tollgate_bus::{FromRecord, Headers};
use tollgate_runtime::config::{self, Role};
use tollgate_schemas::{ApiType, Body, Caller, ReplyTo, Request, RequestId, headers};

/// OpenAI's batch line.
#[derive(Serialize)]
struct Line<'a> {
    custom_id: Option<&'a str>,
    method: &'a str,
    url: &'a str,
    body: &'a RawValue,
    metadata: Option<&'a Value>,
}

/// A job that parses says the same when it is written as a batch line; one that does not still names no more than it may.
pub fn job(value: &[u8], id: Option<&[u8]>, subject: Option<&[u8]>, expires: Option<&[u8]>) {
    let given = [(headers::ID, id), (headers::SUBJECT, subject), (headers::EXPIRY_TIME, expires)];
    let given: Headers =
        given.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.as_ref()?.to_vec()))).collect();
    let job = match parse::job(value, &given) {
        Ok(job) => job,
        Err(malformed) => {
            assert!(malformed.custom_id.is_none_or(|id| id.len() <= CUSTOM_ID_MAX_BYTES), "a long id is not echoed");
            return;
        }
    };
    assert!(job.custom_id.as_ref().is_none_or(|id| id.len() <= CUSTOM_ID_MAX_BYTES));
    assert!(job.metadata.as_ref().is_none_or(|metadata| metadata.to_string().len() <= METADATA_MAX_BYTES));
    assert!(is_what_came(&job.body, value), "the body is the bytes that came");
    let url = url(&job);
    // Raw, because a body need only be JSON's grammar: it may hold half a surrogate pair, which is no text.
    let line = Line {
        custom_id: job.custom_id.as_deref(),
        method: "POST",
        url: &url,
        body: &job.body,
        metadata: job.metadata.as_ref(),
    };
    let line = serde_json::to_vec(&line).expect("a line");
    let again = parse::job(&line, &Headers::default()).expect("a batch line");
    assert_eq!((again.custom_id, again.metadata), (job.custom_id.clone(), job.metadata));
    assert_eq!((again.api_type, &again.called), (job.api_type, &job.called));
    let (expires_ms, idempotency_key) = (job.expires_ms, job.idempotency_key);
    admit(job.body, &Door::Topic { expires_ms, default_ms: 60_000, idempotency_key });
}

/// Whether a body is part of `value`, or all its fields are: but for the model, which a path of another gateway may have named. One
/// that such a path has taken a field from is written again.
fn is_what_came(body: &RawValue, value: &[u8]) -> bool {
    let came = |raw: &RawValue| value.windows(raw.get().len()).any(|part| part == raw.get().as_bytes());
    let fields = || serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(body.get());
    came(body) || fields().is_ok_and(|fields| fields.iter().all(|(name, raw)| name == "model" || came(raw)))
}

/// The path of a job's API, with its model where that stands in it.
fn url(job: &Job) -> String {
    let Some(Called { model, stream }) = &job.called else { return job.api_type.path().to_owned() };
    let model: String = model.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("{MODELS}/{model}:{}", if *stream { "streamGenerateContent" } else { "generateContent" })
}

/// A body at the HTTP door.
pub fn body(value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    // The door refuses what is no JSON document before admission.
    let Ok(body) = RawValue::from_string(text.to_owned()) else { return };
    admit(body, &Door::Http { idempotency_key: None });
}

/// What is admitted keeps its bytes and its bounds, and its record is read as it was written.
fn admit(body: Box<RawValue>, door: &Door) {
    static CONFIG: LazyLock<IngressConfig> = LazyLock::new(config);
    let admission = Admission {
        request_id: RequestId::new(),
        api_type: ApiType::ChatCompletions,
        called: None,
        api_headers: Default::default(),
        body: body.clone(),
        tags: Default::default(),
        cache: Default::default(),
        caller: Caller { team: "search".into(), ..Caller::default() },
        reply: ReplyTo::NOBODY,
        door,
    };
    let Ok(request) = admission.admit(&CONFIG) else { return };
    assert!(
        request.tags.len() <= 16 && request.caller.end_user.as_ref().is_none_or(|user| user.chars().count() <= 256)
    );
    assert!(matches!(&request.body, Body::Inline(kept) if kept.get() == body.get()));
    let record = serde_json::to_vec(&request).expect("a record");
    let read = Request::from_record(&record).expect("a record that was written is read");
    assert_eq!(serde_json::to_vec(&read).expect("a record"), record);
}

fn config() -> IngressConfig {
    let text = "
providers: { demo: { kind: mock } }
endpoints: [ { name: m, destinations: [ { name: d, provider: demo, model: mock-1 } ] } ]
teams: [ { name: search, endpoints: [ m ] } ]
";
    let loaded = config::parse(text, Role::Ingress, &|_| Ok(None)).expect("a configuration");
    IngressConfig::of(&Arc::new(loaded.config), Arc::new(InMemory::new()), None).expect("a configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_and_a_body_hold() {
        let bodies: [&[u8]; 6] = [
            br#"{"custom_id":"a","url":"/v1/chat/completions","body":{"model":"m","messages":[{}]},"metadata":{"a":1.5}}"#,
            br#"{"metadata":{"a":1},"path":"/v1/chat/completions","body":{"model":"m","messages":[{}]}}"#,
            br#"{"model":"m","messages":[{"role":"user"}],"user":"u","metadata":{"k":"v"}}"#,
            br#"{"url":"/v1beta/models/a%2Fm:generateContent","body":{"contents":[{}]}}"#,
            br#"{"url":"/serving-endpoints/a%2Fm/invocations","body":{"messages":[{"a":1.50}],"usage_context":{"a":"b"}}}"#,
            br#"{"url":"/serving-endpoints/chat/completions","body":{"messages":[{"a":1.50}],"usage_context":{"a":"b"}}}"#,
        ];
        for text in bodies {
            job(text, Some(b"id"), Some(b"/v1/chat/completions"), Some(b"2030-01-01T00:00:00Z"));
            body(text);
        }
    }
}
