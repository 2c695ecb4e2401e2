//! One of Cohere's answers as a chat completion.

use super::super::{
    Answer, Asked,
    answers::{Said, Whole, document, sums},
};
use crate::{
    failure::{Class, Failure},
    tokens::{Tokens, Usage},
};
use serde_json::{Value, json};
use tollgate_schemas::TokenSource;

/// A whole answer. The provider does not repeat the model.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let answer = document(body)?;
    if !answer["message"].is_object() {
        return Err(Failure::malformed("an answer without a message"));
    }
    let finish_reason = finish_reason(&answer["finish_reason"])?;
    let (message, output_chars) = message(&answer["message"]);
    let usage = usage(&answer["usage"]);
    let shown = usage.as_ref().map(|usage| openai_usage(usage, &answer["usage"]));
    let logprobs = logprobs(answer["logprobs"].as_array().map_or(&[][..], Vec::as_slice));
    let whole = Whole { id: answer["id"].clone(), message, output_chars, logprobs, finish_reason, usage };
    Ok(whole.answer(asked, shown, None))
}

/// The assistant's message and how many characters it holds.
fn message(message: &Value) -> (Value, usize) {
    let mut said = Said { calls: message["tool_calls"].as_array().cloned().unwrap_or_default(), ..Said::default() };
    for part in message["content"].as_array().into_iter().flatten() {
        match part["type"].as_str() {
            Some("text") => said.text.push_str(part["text"].as_str().unwrap_or_default()),
            Some("thinking") => said.reasoning.push_str(part["thinking"].as_str().unwrap_or_default()),
            _ => {}
        }
    }
    let plan = message["tool_plan"].as_str().unwrap_or_default();
    let chars = said.chars() + plan.chars().count();
    let mut out = said.message();
    if !plan.is_empty() {
        out["tool_plan"] = plan.into();
    }
    if message["citations"].as_array().is_some_and(|citations| !citations.is_empty()) {
        out["citations"] = message["citations"].clone();
    }
    (out, chars)
}

/// Log probabilities in OpenAI's shape. Each item is of a piece of the text. Of one that is several tokens nothing says which of it
/// is whose, so it counts as one token, as probable as all of them together.
pub(super) fn logprobs(items: &[Value]) -> Value {
    if items.is_empty() {
        return Value::Null;
    }
    let of = |item: &Value| {
        let all = item["logprobs"].as_array().into_iter().flatten().filter_map(Value::as_f64);
        let token = item["text"].as_str().unwrap_or_default();
        json!({ "token": token, "logprob": all.sum::<f64>(), "bytes": null, "top_logprobs": [] })
    };
    json!({ "content": items.iter().map(of).collect::<Vec<_>>(), "refusal": null })
}

/// A finish reason in OpenAI's words. Errors if the provider broke off.
pub(super) fn finish_reason(reason: &Value) -> Result<&'static str, Failure> {
    let broken = |class, code: &str| {
        Err(Failure { code: Some(code.to_owned()), ..Failure::new(class, "the provider broke off the answer") })
    };
    match reason.as_str() {
        Some("MAX_TOKENS") => Ok("length"),
        Some("TOOL_CALL") => Ok("tool_calls"),
        Some("ERROR") => broken(Class::Server, "finish_reason_error"),
        Some("TIMEOUT") => broken(Class::Timeout, "finish_reason_timeout"),
        // COMPLETE, STOP_SEQUENCE, and reasons yet to come
        _ => Ok("stop"),
    }
}

/// Reads Cohere's usage document: the billed units, which are what the price is of, else the tokens. `None` if it has neither.
/// Cache reads are counted among the tokens and not among the billed units, and have no price of their own: so they are not told
/// apart here.
pub(super) fn usage(document: &Value) -> Option<Usage> {
    // Counts are written as floats now and then; what is cut off is no token.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small and not negative")]
    let count = |value: &Value| value.as_f64().map(|count| count as u64);
    let counts = |part: &Value| Some((count(&part["input_tokens"])?, count(&part["output_tokens"]).unwrap_or(0)));
    let (input, output) = counts(&document["billed_units"]).or_else(|| counts(&document["tokens"]))?;
    let tokens = Tokens { input, output, ..Tokens::default() };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(document.to_string()) })
}

/// The same counts in OpenAI's shape, with what came from a cache if the provider says so.
pub(super) fn openai_usage(usage: &Usage, document: &Value) -> Value {
    let mut out = sums(usage);
    if document["cached_tokens"].is_number() {
        out["prompt_tokens_details"] = json!({ "cached_tokens": document["cached_tokens"] });
    }
    out
}
