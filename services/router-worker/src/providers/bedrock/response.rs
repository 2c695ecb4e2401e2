//! A Converse answer as a chat completion.

use super::super::{
    Answer, Asked,
    answers::{Said, Whole, counts_and_writes, document},
};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use serde_json::{Value, json};
use tollgate_schemas::TokenSource;

/// A whole answer. Converse gives it no id and does not name the model.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let answer = document(body)?;
    let Some(blocks) = answer["output"]["message"]["content"].as_array() else {
        return Err(Failure::malformed("an answer that is not a message"));
    };
    let finish_reason = finish_reason(answer["stopReason"].as_str())?;
    let (said, usage) = (said(blocks), usage(&answer["usage"]));
    let (id, output_chars) = (completion_id(asked).into(), said.chars());
    let shown = usage.as_ref().map(counts_and_writes);
    let whole = Whole { id, output_chars, message: said.message(), logprobs: Value::Null, finish_reason, usage };
    Ok(whole.answer(asked, shown, Some(&answer["serviceTier"]["type"])))
}

/// The answer's id for the caller.
pub(super) fn completion_id(asked: &Asked<'_>) -> String {
    format!("chatcmpl-{}", asked.request_id)
}

/// What the blocks say; of reasoning what is signed or encrypted as blocks.
fn said(blocks: &[Value]) -> Said {
    let mut said = Said::default();
    let texts = |list: &Value| -> String {
        list.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
    };
    for block in blocks {
        said.text.push_str(block["text"].as_str().unwrap_or_default());
        // The same text in pieces, each with its sources, which the chat format has no place for.
        said.text.push_str(&texts(&block["citationsContent"]["content"]));
        let content = &block["reasoningContent"];
        if let Some(part) = content["reasoningText"]["text"].as_str() {
            said.reasoning.push_str(part);
            said.thinking.extend(signed(part, content["reasoningText"]["signature"].as_str().unwrap_or_default()));
        }
        said.thinking.extend(redacted(content));
        let call = &block["toolUse"];
        if call.is_object() {
            let arguments = call.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            said.call(&call["toolUseId"], &call["name"], arguments);
        }
    }
    said
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
