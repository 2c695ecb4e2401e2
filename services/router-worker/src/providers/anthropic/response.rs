//! A Messages answer as a chat completion.

use super::{
    super::{
        Answer, Asked,
        answers::{Said, Whole, counts_and_writes, document},
    },
    usage::usage,
};
use crate::failure::Failure;
use serde_json::Value;

/// A whole answer.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let message = document(body)?;
    let Some(blocks) = message["content"].as_array().filter(|_| message["type"] == "message") else {
        return Err(Failure::malformed("an answer that is not a message"));
    };
    let said = said(blocks, &message["stop_details"]);
    let usage = usage(&message["usage"]);
    let shown = usage.as_ref().map(counts_and_writes);
    let whole = Whole {
        id: message["id"].clone(),
        output_chars: said.chars(),
        message: said.message(),
        logprobs: Value::Null,
        finish_reason: finish_reason(message["stop_reason"].as_str()),
        usage,
    };
    let answer = whole.answer(asked, shown, Some(&message["usage"]["service_tier"]));
    Ok(Answer { response_model: message["model"].as_str().map(str::to_owned), ..answer })
}

/// What the blocks say; thinking with its signature.
fn said(blocks: &[Value], stop_details: &Value) -> Said {
    let mut said = Said { refusal: stop_details["explanation"].clone(), ..Said::default() };
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => said.text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => {
                said.reasoning.push_str(block["thinking"].as_str().unwrap_or_default());
                said.thinking.push(block.clone());
            }
            Some("redacted_thinking") => said.thinking.push(block.clone()),
            Some("tool_use") => said.call(&block["id"], &block["name"], block["input"].to_string()),
            // Blocks of server-side tools, which no translated request asks for.
            _ => {}
        }
    }
    said
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
