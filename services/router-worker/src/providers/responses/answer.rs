//! A response's document: what it used, how it ended, and what stopped it.

use super::super::{Answer, Asked, Fields, completions};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tollgate_schemas::TokenSource;

/// Items that ask the caller to do something.
const CALLS: [&str; 6] =
    ["function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call", "computer_call"];

/// A whole answer. One that says that it failed is a failure, whatever its HTTP status.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let fields = Fields::of_answer(body)?;
    if fields.read::<String>("status").ok().flatten().as_deref() == Some("failed") {
        return Err(failed(&fields.read("error").ok().flatten().unwrap_or_default()));
    }
    answer(fields, asked.shown_model).ok_or_else(|| Failure::malformed("an answer that is not a response"))
}

/// The answer that a response is; `None` if it has no list of outputs.
pub(super) fn answer(response: Fields, shown_model: &str) -> Option<Answer> {
    let output: Vec<Value> = response.read("output").ok().flatten()?;
    Some(Answer {
        finish_reason: finish_reason(&response, &output),
        usage: response.get("usage").and_then(usage),
        output_chars: output.iter().map(chars).sum(),
        service_tier: response.read("service_tier").ok().flatten(),
        ..Answer::passed_on(response, shown_model)
    })
}

/// One word for one reason in the ledger, whichever API a caller speaks.
fn finish_reason(response: &Fields, output: &[Value]) -> Option<String> {
    let status: String = response.read("status").ok().flatten()?;
    let details: Value = response.read("incomplete_details").ok().flatten().unwrap_or_default();
    let is_call = |item: &Value| item["type"].as_str().is_some_and(|kind| CALLS.contains(&kind));
    let reason = match (status.as_str(), details["reason"].as_str()) {
        ("completed", _) if output.iter().any(is_call) => "tool_calls",
        ("completed", _) => "stop",
        ("incomplete", Some("max_output_tokens") | None) => "length",
        ("incomplete", Some(reason)) => reason,
        _ => return None,
    };
    Some(reason.to_owned())
}

/// The counts of a response. `None` if it has none.
fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Document {
        input_tokens: u64,
        output_tokens: u64,
        #[serde(default)]
        input_tokens_details: Option<Input>,
        #[serde(default)]
        output_tokens_details: Option<Output>,
    }
    #[derive(Deserialize, Default)]
    struct Input {
        cached_tokens: Option<u64>,
        cache_write_tokens: Option<u64>,
    }
    #[derive(Deserialize, Default)]
    struct Output {
        reasoning_tokens: Option<u64>,
    }
    let document: Document = serde_json::from_str(raw.get()).ok()?;
    let input = document.input_tokens_details.unwrap_or_default();
    let tokens = Tokens {
        input: document.input_tokens,
        output: document.output_tokens,
        cache_read: input.cached_tokens,
        cache_write: input.cache_write_tokens,
        cache_write_1h: None,
        reasoning: document.output_tokens_details.unwrap_or_default().reasoning_tokens,
    };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(raw.get().to_owned()) })
}

/// Characters of an item's texts and arguments.
pub(super) fn chars(item: &Value) -> usize {
    let count = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let parts = ["content", "summary"].into_iter().filter_map(|list| item[list].as_array()).flatten();
    let texts = parts.map(|part| count(&part["text"]) + count(&part["refusal"]));
    texts.sum::<usize>() + count(&item["arguments"]) + count(&item["input"])
}

/// The failure that an error of a response, or of its stream, stands for. It came with a 200, so the code alone tells the class.
pub(super) fn failed(error: &Value) -> Failure {
    let status = match error["code"].as_str().unwrap_or_default() {
        "rate_limit_exceeded" | "insufficient_quota" | "slow_down" => 429,
        "server_is_overloaded" => 503,
        "vector_store_timeout" => 504,
        "context_length_exceeded" => 400,
        code if code.starts_with("invalid_") || code.contains("image") || code.ends_with("_policy") => 400,
        _ => 500,
    };
    completions::failure(status, error)
}
