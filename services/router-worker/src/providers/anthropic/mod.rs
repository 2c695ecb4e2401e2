//! Anthropic's Messages API, with chat translated both ways.
//!
//! Sources: <https://platform.claude.com/docs/en/api/messages>, `…/build-with-claude/streaming`,
//! `…/build-with-claude/structured-outputs`, `…/build-with-claude/extended-thinking` and `…/api/errors`. What the
//! Messages API cannot express is refused with the name of the field, never dropped. No idempotency key is sent: the
//! reference documents none.

mod count;
mod messages;
mod native;
mod request;
mod response;
mod stream;
mod usage;

use super::{Answer, Asked, Continuation, Encoded, Leaving, StreamDecoder, Wire, prefill};
use crate::failure::{Class, Failure};
use serde::Deserialize;
use serde_json::Value;

pub(super) use count::Count;
pub(super) use native::Native;

/// Version of the API, <https://platform.claude.com/docs/en/api/versioning>.
const API_VERSION: &str = "2023-06-01";

/// The leaf.
#[derive(Debug)]
pub(super) struct Anthropic;

impl Wire for Anthropic {
    fn otel_name(&self) -> &'static str {
        "anthropic"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let begun = prefill::chat(asked)?;
        let asked = &Asked { chat: begun.as_ref().unwrap_or(asked.chat), ..*asked };
        Ok(Encoded::new("/messages", request::encode(asked)?.to_string()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        response::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::new(asked))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        #[derive(Deserialize)]
        struct Document {
            error: Value,
            request_id: Option<String>,
        }
        match serde_json::from_slice::<Document>(body) {
            Ok(document) => Failure { request_id: document.request_id, ..failure(status, &document.error) },
            Err(_) => failure(status, &Value::Null),
        }
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        let key = key.map(|key| ("x-api-key", key.to_owned()));
        Ok(key.into_iter().chain([("anthropic-version", API_VERSION.to_owned())]).collect())
    }

    fn request_id_header(&self) -> &'static str {
        "request-id"
    }

    fn takes_marks(&self) -> bool {
        true
    }

    fn continues(&self, model: &str) -> Option<Continuation> {
        prefill::continues(model)
    }
}

/// The failure that an error object stands for.
fn failure(status: u16, error: &Value) -> Failure {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let message = text(&error["message"]).unwrap_or_else(|| format!("the provider answered with status {status}"));
    let mut failure = Failure::of_status(status, message);
    failure.code = text(&error["type"]);
    // A monthly spend limit is a 429 too, but waiting does not cure it.
    if failure.class == Class::RateLimited && error["details"]["error_code"] == "enforced_spend_limit_reached" {
        failure.class = Class::Refused;
    }
    failure
}

/// The status that an error type has outside a stream; inside one the 200 has been sent.
fn status_of_error_type(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}
