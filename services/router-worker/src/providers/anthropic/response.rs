//! A Messages answer as a chat completion.

use super::super::{Answer, Asked, raw};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use serde_json::{Value, json};
use tollgate_schemas::TokenSource;

/// A whole answer.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let message: Value =
        serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer that is not a JSON document"))?;
    let Some(blocks) = message["content"].as_array().filter(|_| message["type"] == "message") else {
        return Err(Failure::malformed("an answer that is not a message"));
    };
    let (out, output_chars) = self::message(blocks, &message["stop_details"]);
    let finish_reason = finish_reason(message["stop_reason"].as_str());
    let usage = usage(&message["usage"]);
    let completion = json!({
        "id": message["id"],
        "object": "chat.completion",
        "created": asked.created,
        "model": asked.shown_model,
        "choices": [{ "index": 0, "message": out, "logprobs": null, "finish_reason": finish_reason }],
        "usage": usage.as_ref().map(openai_usage),
        "service_tier": message["usage"]["service_tier"],
    });
    Ok(Answer {
        body: raw(&completion),
        finish_reason: Some(finish_reason.to_owned()),
        usage,
        output_chars,
        response_model: message["model"].as_str().map(str::to_owned),
        service_tier: message["usage"]["service_tier"].as_str().map(str::to_owned),
    })
}

/// The assistant message and how many characters it holds. Thinking goes to `reasoning_content`, the name other
/// providers of the chat format use, and, with its signature, to `thinking_blocks`, to be sent back in a tool loop.
fn message(blocks: &[Value], stop_details: &Value) -> (Value, usize) {
    let (mut text, mut reasoning, mut thinking, mut calls) = (String::new(), String::new(), Vec::new(), Vec::new());
    let mut chars = 0;
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => {
                reasoning.push_str(block["thinking"].as_str().unwrap_or_default());
                thinking.push(block.clone());
            }
            Some("redacted_thinking") => thinking.push(block.clone()),
            Some("tool_use") => {
                let arguments = block["input"].to_string();
                chars += arguments.chars().count();
                calls.push(json!({
                    "id": block["id"],
                    "type": "function",
                    "function": { "name": block["name"], "arguments": arguments },
                }));
            }
            // Blocks of server-side tools, which no translated request asks for.
            _ => {}
        }
    }
    chars += text.chars().count() + reasoning.chars().count();
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    let mut out = json!({ "role": "assistant", "content": content, "refusal": stop_details["explanation"] });
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

/// A stop reason in OpenAI's words.
pub(super) fn finish_reason(stop_reason: Option<&str>) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        // end_turn, stop_sequence, pause_turn, and reasons yet to come
        _ => "stop",
    }
}

/// Reads Anthropic's usage document, whose `input_tokens` leave cache reads and writes out. `None` if it has no counts.
pub(super) fn usage(document: &Value) -> Option<Usage> {
    let count = |name: &str| document[name].as_u64();
    let (read, write) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let tokens = Tokens {
        input: count("input_tokens")?.saturating_add(read.unwrap_or(0)).saturating_add(write.unwrap_or(0)),
        output: count("output_tokens").unwrap_or(0),
        cache_read: read,
        cache_write: write,
        cache_write_1h: document["cache_creation"]["ephemeral_1h_input_tokens"].as_u64(),
        reasoning: document["output_tokens_details"]["thinking_tokens"].as_u64(),
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
