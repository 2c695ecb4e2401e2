//! A Converse answer as a chat completion.

use super::super::{Answer, Asked, raw};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use serde_json::{Value, json};
use tollgate_schemas::TokenSource;

/// A whole answer. Converse gives it no id and does not name the model.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer that is not a JSON document"))?;
    let Some(blocks) = answer["output"]["message"]["content"].as_array() else {
        return Err(Failure::malformed("an answer that is not a message"));
    };
    let finish_reason = finish_reason(answer["stopReason"].as_str())?;
    let (message, output_chars) = message(blocks);
    let usage = usage(&answer["usage"]);
    let service_tier = &answer["serviceTier"]["type"];
    let completion = json!({
        "id": completion_id(asked),
        "object": "chat.completion",
        "created": asked.created,
        "model": asked.shown_model,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason }],
        "usage": usage.as_ref().map(openai_usage),
        "service_tier": service_tier,
    });
    Ok(Answer {
        body: raw(&completion),
        finish_reason: Some(finish_reason.to_owned()),
        usage,
        output_chars,
        response_model: None,
        service_tier: service_tier.as_str().map(str::to_owned),
    })
}

/// The answer's id for the caller.
pub(super) fn completion_id(asked: &Asked<'_>) -> String {
    format!("chatcmpl-{}", asked.request_id)
}

/// The assistant message and how many characters it holds. Reasoning goes to `reasoning_content`, the name other providers of
/// the chat format use, and what is signed or encrypted of it to `thinking_blocks`, to be sent back in a tool loop.
fn message(blocks: &[Value]) -> (Value, usize) {
    let (mut text, mut reasoning, mut thinking, mut calls) = (String::new(), String::new(), Vec::new(), Vec::new());
    let mut chars = 0;
    let texts = |list: &Value| -> String {
        list.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
    };
    for block in blocks {
        text.push_str(block["text"].as_str().unwrap_or_default());
        // The same text in pieces, each with its sources, which the chat format has no place for.
        text.push_str(&texts(&block["citationsContent"]["content"]));
        let content = &block["reasoningContent"];
        if let Some(part) = content["reasoningText"]["text"].as_str() {
            reasoning.push_str(part);
            thinking.extend(signed(part, content["reasoningText"]["signature"].as_str().unwrap_or_default()));
        }
        thinking.extend(redacted(content));
        if let Some(call) = block["toolUse"].as_object() {
            let arguments = call.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            chars += arguments.chars().count();
            calls.push(json!({
                "id": call.get("toolUseId"),
                "type": "function",
                "function": { "name": call.get("name"), "arguments": arguments },
            }));
        }
    }
    chars += text.chars().count() + reasoning.chars().count();
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    let mut out = json!({ "role": "assistant", "content": content, "refusal": null });
    if !reasoning.is_empty() {
        out["reasoning_content"] = reasoning.into();
    }
    if !thinking.is_empty() {
        out["thinking_blocks"] = thinking.into();
    }
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    (out, chars)
}

/// A thinking block. Models that sign nothing take nothing back.
pub(super) fn signed(text: &str, signature: &str) -> Option<Value> {
    let block = || json!({ "type": "thinking", "thinking": text, "signature": signature });
    (!signature.is_empty()).then(block)
}

/// Reasoning that came encrypted.
pub(super) fn redacted(content: &Value) -> Option<Value> {
    content["redactedContent"].as_str().map(|data| json!({ "type": "redacted_thinking", "data": data }))
}

/// A stop reason in OpenAI's words. An answer whose model went astray is the provider's fault: there is no word for it, and
/// another try may do better.
pub(super) fn finish_reason(stop_reason: Option<&str>) -> Result<&'static str, Failure> {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => Ok("length"),
        Some("tool_use") => Ok("tool_calls"),
        Some("guardrail_intervened" | "content_filtered") => Ok("content_filter"),
        Some(reason @ ("malformed_model_output" | "malformed_tool_use")) => {
            let failure = Failure::malformed("an answer that its model left malformed");
            Err(Failure { code: Some(reason.to_owned()), ..failure })
        }
        // end_turn, stop_sequence, and reasons yet to come
        _ => Ok("stop"),
    }
}

/// Reads Converse's usage document, whose `inputTokens` leave cache reads and writes out
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>). `None` if it has no counts.
pub(super) fn usage(document: &Value) -> Option<Usage> {
    let count = |name: &str| document[name].as_u64();
    let (read, write) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    let hour = |details: &Vec<Value>| {
        let hourly = details.iter().filter(|detail| detail["ttl"] == "1h");
        hourly.filter_map(|detail| detail["inputTokens"].as_u64()).fold(0, u64::saturating_add)
    };
    let tokens = Tokens {
        input: count("inputTokens")?.saturating_add(read.unwrap_or(0)).saturating_add(write.unwrap_or(0)),
        output: count("outputTokens").unwrap_or(0),
        cache_read: read,
        cache_write: write,
        cache_write_1h: document["cacheDetails"].as_array().map(hour),
        // Counted among the output, never by itself.
        reasoning: None,
    };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(document.to_string()) })
}

/// The same counts in OpenAI's shape, whose `prompt_tokens` include the cached ones.
pub(super) fn openai_usage(usage: &Usage) -> Value {
    let tokens = usage.tokens;
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input.saturating_add(tokens.output),
        "prompt_tokens_details": {
            "cached_tokens": tokens.cache_read.unwrap_or(0),
            "cache_write_tokens": tokens.cache_write.unwrap_or(0),
        },
        "completion_tokens_details": { "reasoning_tokens": tokens.reasoning.unwrap_or(0) },
    })
}
