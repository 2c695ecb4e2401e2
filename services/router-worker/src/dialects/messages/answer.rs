//! A chat completion as a message.

use super::super::{arguments, text};
use serde_json::{Value, json};

/// A whole message, or what there is of one.
pub(super) fn message(completion: &Value, shown_model: &str) -> Value {
    let choice = &completion["choices"][0];
    json!({
        "id": completion["id"],
        "type": "message",
        "role": "assistant",
        "model": shown_model,
        "content": blocks(&choice["message"]),
        "stop_reason": choice["finish_reason"].as_str().map(stop_reason),
        "stop_sequence": null,
        "usage": usage(&completion["usage"]),
    })
}

/// Thinking first, then text, then tool calls: the order in which Claude writes them.
fn blocks(message: &Value) -> Vec<Value> {
    let thoughts = message["thinking_blocks"].as_array().into_iter().flatten();
    let mut blocks: Vec<Value> = thoughts.map(complete).collect();
    if blocks.is_empty()
        && let Some(thinking) = text(&message["reasoning_content"])
    {
        blocks.push(thinking_block(thinking));
    }
    for said in [&message["content"], &message["refusal"]].into_iter().filter_map(text) {
        blocks.push(json!({ "type": "text", "text": said }));
    }
    blocks.extend(message["tool_calls"].as_array().into_iter().flatten().map(tool_use));
    blocks
}

/// A block of thinking with its signature, if it was given none an empty one: clients expect a text.
fn complete(block: &Value) -> Value {
    let mut block = block.clone();
    if block["type"] == "thinking" && block["signature"].is_null() {
        block["signature"] = "".into();
    }
    block
}

/// Thinking that nobody signed: it cannot be sent back to a model.
pub(super) fn thinking_block(thinking: &str) -> Value {
    json!({ "type": "thinking", "thinking": thinking, "signature": "" })
}

fn tool_use(call: &Value) -> Value {
    let written = call["function"]["arguments"].as_str().unwrap_or_default();
    json!({
        "type": "tool_use",
        "id": call["id"],
        "name": call["function"]["name"],
        "input": arguments(written),
    })
}

/// A finish reason in Anthropic's words.
pub(super) fn stop_reason(finish_reason: &str) -> &'static str {
    match finish_reason {
        "length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

/// OpenAI's counts as Anthropic's, whose `input_tokens` leave out what was read from a cache or written to one.
pub(super) fn usage(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let details = &usage["prompt_tokens_details"];
    let (read, written) = (count(&details["cached_tokens"]), count(&details["cache_write_tokens"]));
    let mut out = json!({
        "input_tokens": count(&usage["prompt_tokens"]).saturating_sub(read).saturating_sub(written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": count(&usage["completion_tokens"]),
    });
    if let Some(thinking) = usage["completion_tokens_details"]["reasoning_tokens"].as_u64() {
        out["output_tokens_details"] = json!({ "thinking_tokens": thinking });
    }
    out
}
