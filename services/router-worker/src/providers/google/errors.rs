//! What Google's error documents mean.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/troubleshooting>, <https://google.aip.dev/193> (the document) and
//! `google/rpc/error_details.proto` in googleapis/googleapis (its details).

use crate::failure::{Class, Failure};
use serde_json::Value;
use std::time::Duration;

/// An answer with a status that is no success.
pub(super) fn classify(status: u16, body: &[u8]) -> Failure {
    let document = serde_json::from_slice(body).unwrap_or(Value::Null);
    // A stream that fails before it begins may come as a list, in which the error is the only item.
    let document = match document {
        Value::Array(mut items) if !items.is_empty() => items.swap_remove(0),
        document => document,
    };
    failure(status, &document["error"])
}

/// An error inside a stream, whose 200 has been sent.
pub(super) fn in_stream(error: &Value) -> Failure {
    let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    failure(status.unwrap_or(500), error)
}

fn failure(status: u16, error: &Value) -> Failure {
    let message = error["message"].as_str().map(str::to_owned);
    let mut failure =
        Failure::of_status(status, message.unwrap_or_else(|| format!("the provider answered with status {status}")));
    failure.code = error["status"].as_str().map(str::to_owned);
    failure.retry_after = detail(error, "RetryInfo").and_then(|info| duration(info["retryDelay"].as_str()?));
    failure.request_id = detail(error, "RequestInfo").and_then(|info| info["requestId"].as_str().map(str::to_owned));
    // Both are 400s that are no fault of the request: a key that is not valid, an account that may not be served.
    let reason = detail(error, "ErrorInfo").and_then(|info| info["reason"].as_str());
    let is_key = reason.is_some_and(|reason| reason.starts_with("API_KEY_"));
    if failure.class == Class::Rejected && (is_key || error["status"] == "FAILED_PRECONDITION") {
        failure.class = Class::Refused;
    }
    failure
}

fn detail<'a>(error: &'a Value, name: &str) -> Option<&'a Value> {
    let is_it = |detail: &&Value| detail["@type"].as_str().is_some_and(|kind| kind.rsplit('.').next() == Some(name));
    error["details"].as_array()?.iter().find(is_it)
}

/// A duration in Protobuf's JSON: seconds with up to nine decimals and an `s`.
fn duration(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_say_how_long_to_wait_and_which_call_it_was() {
        let body = br#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37.5s"},
            {"@type":"type.googleapis.com/google.rpc.RequestInfo","requestId":"r-1"}]}}]"#;
        let failure = classify(429, body);
        assert_eq!(failure.retry_after, Some(Duration::from_millis(37_500)));
        assert_eq!((failure.class, failure.request_id.as_deref()), (Class::RateLimited, Some("r-1")));
        for bad in ["", "s", "-1s", "37", "NaNs"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
