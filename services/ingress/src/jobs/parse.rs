//! The three shapes of a job. Pure.
//!
//! * OpenAI's batch input line `{custom_id, method, url, body, metadata}`
//!   (<https://platform.openai.com/docs/api-reference/batch/request-input>);
//! * KubeAI's message `{metadata, path, body}` (<https://www.kubeai.org/concepts/messaging/>);
//! * a bare body with CloudEvents headers: `ce_id` names the job, `ce_subject` the path.
//!
//! A path is one that a caller over HTTP may call (`admit::Path`). Where the model stands in it the body is written anew, with that model.

use super::{ID_HEADER, bad_job};
use crate::{
    Called,
    admit::{Call, Path},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;
use tollgate_bus::Headers;
use tollgate_schemas::{ApiError, ApiType, CacheUse, headers};

/// A job as its record says it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) custom_id: Option<String>,
    pub(crate) api_type: ApiType,
    /// What its path says, for an API whose bodies do not.
    pub(crate) called: Option<Called>,
    pub(crate) body: Box<RawValue>,
    pub(crate) metadata: Option<Value>,
    /// From `ce_expirytime`, milliseconds since the Unix epoch.
    pub(crate) expires_ms: Option<i64>,
    /// From `tollgate-user`.
    pub(crate) user: Option<String>,
    /// From `tollgate-tags`, and from where callers of a path have some.
    pub(crate) tags: BTreeMap<String, String>,
    /// From headers of their names.
    pub(crate) api_headers: BTreeMap<String, String>,
    /// From `tollgate-cache`.
    pub(crate) cache: CacheUse,
    /// From `ce_id`; a custom id in the value is none.
    pub(crate) idempotency_key: Option<String>,
}

/// Why a record is no job, and the id it names nevertheless.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) custom_id: Option<String>,
    pub(crate) error: Box<ApiError>,
}

#[derive(Deserialize)]
struct Envelope {
    custom_id: Option<Value>,
    method: Option<String>,
    url: Option<String>,
    path: Option<String>,
    body: Option<Box<RawValue>>,
    metadata: Option<Value>,
}

/// Larger metadata is refused, because it travels in every record of the request and comes back with the answer.
pub(crate) const METADATA_MAX_BYTES: usize = 64 * 1024;

/// One of these is in every bare body.
const PROMPTS: [&str; 4] = ["\"messages\"", "\"input\"", "\"prompt\"", "\"contents\""];

/// Longer ids are refused, because they come back as record keys and headers.
pub(crate) const CUSTOM_ID_MAX_BYTES: usize = 512;

/// Reads a job. `all` are the record's headers.
pub(crate) fn job(value: &[u8], all: &Headers) -> Result<Job, Malformed> {
    let header_id = all.get(ID_HEADER).map(str::to_owned);
    let fail = |custom_id: Option<String>, message: &str| Malformed {
        custom_id: custom_id.filter(|id| id.len() <= CUSTOM_ID_MAX_BYTES),
        error: Box::new(bad_job(message)),
    };
    let Ok(text) = std::str::from_utf8(value) else {
        return Err(fail(header_id, "the record is not UTF-8"));
    };
    let envelope: Envelope = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) => {
            let short = |id: &String| id.len() <= CUSTOM_ID_MAX_BYTES;
            let custom_id = named(text).or(header_id).filter(short);
            return Err(Malformed { custom_id, error: Box::new(crate::admit::invalid(&error)) });
        }
    };
    let custom_id = match envelope.custom_id {
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(fail(header_id, "custom_id must be a string")),
        None => header_id,
    };
    let idempotency_key = all.get(ID_HEADER).filter(|key| !key.is_empty()).map(str::to_owned);
    if [&custom_id, &idempotency_key].into_iter().flatten().any(|id| id.len() > CUSTOM_ID_MAX_BYTES) {
        return Err(fail(custom_id, "custom_id and ce_id may have at most 512 bytes"));
    }
    if envelope.method.as_deref().is_some_and(|method| !method.eq_ignore_ascii_case("POST")) {
        return Err(fail(custom_id, "method must be POST"));
    }
    let (body, metadata, path) = match envelope.body {
        Some(body) => (body, envelope.metadata, envelope.url.or(envelope.path)),
        // A bare body: `metadata` and the like are the body's own.
        None => match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(body) if PROMPTS.iter().any(|name| text.contains(name)) => (body, None, None),
            _ => {
                let message =
                    "the record is no job: it has neither `body` nor `messages`, `input`, `prompt` or `contents`";
                return Err(fail(custom_id, message));
            }
        },
    };
    if metadata.as_ref().is_some_and(|metadata| metadata.to_string().len() > METADATA_MAX_BYTES) {
        return Err(fail(custom_id, "metadata may have at most 64 KiB"));
    }
    let path = path.or_else(|| all.get(headers::SUBJECT).map(str::to_owned));
    let Call { api_type, called, body, mut tags } = match call(path.as_deref(), body) {
        Ok(call) => call,
        Err(error) => return Err(Malformed { custom_id, error: Box::new(error) }),
    };
    let expires_ms = match all.get(headers::EXPIRY_TIME).map(chrono::DateTime::parse_from_rfc3339) {
        None => None,
        Some(Ok(time)) => Some(time.timestamp_millis()),
        Some(Err(_)) => return Err(fail(custom_id, "ce_expirytime must be an RFC 3339 time")),
    };
    // Text or not, a header that is there names somebody: one that cannot be read names nobody, which is refused.
    let user = all
        .iter()
        .any(|(name, _)| name == headers::USER)
        .then(|| all.get(headers::USER).unwrap_or_default().to_owned());
    match all.get(headers::TAGS).map(|tags| crate::admit::named_tags(tags, headers::TAGS)).transpose() {
        Ok(in_header) => tags.extend(in_header.unwrap_or_default()),
        Err(error) => return Err(fail(custom_id, &error.message)),
    }
    let Some(cache) = CacheUse::named(all.get(headers::CACHE).unwrap_or("use")) else {
        return Err(fail(custom_id, "tollgate-cache must be use, refresh or bypass"));
    };
    let api_headers = crate::admit::api_headers(api_type, |name| all.get(name).map(str::to_owned));
    Ok(Job { user, tags, api_headers, cache, custom_id, api_type, called, body, metadata, expires_ms, idempotency_key })
}

/// The call of a path; without one it is a chat.
fn call(path: Option<&str>, body: Box<RawValue>) -> Result<Call, ApiError> {
    let Some(path) = path.map_or(Some(Path::Api(ApiType::ChatCompletions)), Path::of) else {
        let known = ApiType::ALL.map(ApiType::path).join(", ");
        let message = format!("the job's url must be one of {known}, or a path of Databricks' or Azure OpenAI's");
        return Err(bad_job(message));
    };
    path.call(body)
}

/// The id a broken record names, if that much of it can be read.
fn named(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.get("custom_id")?.as_str().filter(|id| id.len() <= CUSTOM_ID_MAX_BYTES).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Job, Malformed> {
        job(text.as_bytes(), &Headers::default())
    }

    #[test]
    fn three_shapes() {
        let openai = parse(
            r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m"},"metadata":{"k":1}}"#,
        )
        .expect("job");
        assert_eq!((openai.custom_id.as_deref(), openai.body.get()), (Some("a"), r#"{"model":"m"}"#));
        let kubeai = parse(r#"{"metadata":{"a":1},"path":"/v1/chat/completions","body":{"model":"m"}}"#).expect("job");
        assert_eq!((kubeai.custom_id, kubeai.metadata), (None, Some(serde_json::json!({"a":1}))));
        let bare = parse(r#"{"model":"m","messages":[],"metadata":{"mine":"x"}}"#).expect("job");
        assert_eq!((bare.metadata, bare.body.get().len()), (None, 51));
        assert!(parse(r#"{"model":"m","prompt":"a"}"#).is_ok() && parse(r#"{"model":"m","question":"a"}"#).is_err());
    }

    #[test]
    fn the_url_of_a_content_names_its_model() {
        let line = |url: &str| parse(&format!(r#"{{"url":"{url}","body":{{"contents":[]}}}}"#)).map(|job| job.called);
        let called = line("/v1beta/models/openai%2Fgpt:generateContent").expect("job").expect("a model");
        assert_eq!((called.model.as_str(), called.stream), ("openai/gpt", false));
        assert!(line("/v1beta/models/m:embedContent").is_err());
        assert_eq!(line("/v1/chat/completions").expect("job"), None);
    }

    #[test]
    fn the_paths_of_other_gateways_are_those_of_jobs_too() {
        let body = r#"{"messages":[{"n":1.50}],"usage_context":{"project":"own","run":"7"}}"#;
        let line = |url: &str, tags: &str| {
            let headers = Headers::from_iter([(headers::TAGS.to_owned(), tags.as_bytes().to_vec())]);
            job(format!(r#"{{"custom_id":"a","url":"{url}","body":{body}}}"#).as_bytes(), &headers)
        };
        let found = line("/serving-endpoints/chat/invocations", "project=atlas").expect("job");
        assert_eq!((found.api_type, found.called), (ApiType::ChatCompletions, None));
        assert_eq!(found.body.get(), r#"{"messages":[{"n":1.50}],"model":"chat"}"#);
        assert_eq!((found.tags["project"].as_str(), found.tags["run"].as_str()), ("atlas", "7"), "the header holds");
        let azure = line("/openai/deployments/gpt/chat/completions?api-version=2024-10-21", "").expect("job");
        assert_eq!((azure.api_type, azure.tags.len()), (ApiType::ChatCompletions, 0));
        assert!(azure.body.get().contains(r#""model":"gpt""#));
        let plain = line("/v1/messages?beta=true", "").expect("job");
        assert_eq!((plain.api_type, plain.body.get()), (ApiType::Messages, body), "the bytes that came");
        let wrong = parse(r#"{"custom_id":"a","url":"/serving-endpoints/chat/invocations","body":{"question":"x"}}"#);
        let wrong = wrong.expect_err("no API's body");
        assert_eq!((wrong.custom_id.as_deref(), wrong.error.param.as_deref()), (Some("a"), Some("messages")));
    }

    #[test]
    fn headers_are_those_of_the_api_and_what_is_made_of_kept_answers() {
        let line = |url: &str, name: &str, value: &str| {
            let headers = Headers::from_iter([(name.to_owned(), value.as_bytes().to_vec())]);
            job(format!(r#"{{"url":"{url}","body":{{}}}}"#).as_bytes(), &headers)
        };
        let betas = |url: &str, value: &str| line(url, "anthropic-beta", value).expect("job").api_headers.into_values();
        assert_eq!(betas("/v1/messages", "a-2025,b-2025").collect::<Vec<_>>(), ["a-2025,b-2025"]);
        assert!(betas("/v1/chat/completions", "a-2025").next().is_none(), "another API");
        assert!(betas("/v1/messages", "a\nb").next().is_none(), "no HTTP header");
        let cache = |word: &str| line("/v1/messages", headers::CACHE, word).map(|job| job.cache);
        assert_eq!(cache("bypass").expect("job"), CacheUse::Bypass);
        assert!(cache("maybe").expect_err("no such word").error.message.contains("tollgate-cache"));
        assert_eq!(parse(r#"{"body":{}}"#).expect("job").cache, CacheUse::Use);
    }

    /// Found by fuzzing: a long number came back as its neighbour.
    #[test]
    fn metadata_is_echoed_as_it_was_read() {
        let line = |metadata: &str| {
            format!(r#"{{"body":{{"model":"m"}},"url":"/v1/chat/completions","metadata":{metadata}}}"#)
        };
        let read = |metadata: &str| parse(&line(metadata)).expect("job").metadata.expect("it has some");
        let first = read(r#"{"a":1111111000000000000000000005162284439997135075}"#);
        assert_eq!(read(&first.to_string()), first);
    }

    #[test]
    fn malformed_records_name_their_id_where_they_can() {
        let id = |text: &str| parse(text).expect_err("malformed").custom_id;
        assert_eq!(id(r#"{"custom_id":"a","body":{},"url":"/v1/nothing"}"#).as_deref(), Some("a"));
        assert_eq!(id(r#"{"custom_id":"a","method":5,"body":{}}"#).as_deref(), Some("a"));
        assert_eq!(id(r#"{"custom_id":"a","method":"GET","body":{}}"#).as_deref(), Some("a"));
        let large =
            format!(r#"{{"custom_id":"a","body":{{}},"metadata":{{"m":"{}"}}}}"#, "x".repeat(METADATA_MAX_BYTES));
        assert_eq!(id(&large).as_deref(), Some("a"));
        assert_eq!(id(r#"{"custom_id":7,"body":{}}"#), None);
        assert_eq!(id("not json"), None);
        assert_eq!(job(&[0xff, 0xfe], &Headers::default()).expect_err("malformed").custom_id, None);
    }

    /// Found by fuzzing.
    #[test]
    fn a_long_id_of_a_header_is_not_echoed() {
        let long = Headers::from_iter([(ID_HEADER.to_owned(), vec![b'x'; CUSTOM_ID_MAX_BYTES + 1])]);
        for text in ["{", "7", r#"{"body":{}}"#] {
            assert!(job(text.as_bytes(), &long).expect_err("malformed").custom_id.is_none(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = job(&bytes, &Headers::default());
        }
    }
}
