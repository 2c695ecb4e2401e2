//! A response: what it says of itself and of its request, and the items of its output.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/object>. Ids are made of the request's, so that a stream, its whole
//! answer and a stored copy name the same things.

use crate::providers::Asked;
use serde_json::{Value, json};

/// The longest field of a request that its response repeats, in bytes. It stands in three events of a stream, two of which wait
/// for the first content; clients have what they sent.
const REPEATED_MAX_BYTES: usize = 64 * 1024;

/// What a response says beside its output.
#[derive(Clone)]
pub(super) struct Head {
    /// The request's id, in hexadecimal digits.
    id: String,
    fields: Value,
}

impl Head {
    /// Of the answer to `asked`, whose body is the caller's.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        let id = asked.request_id.to_string().replace('-', "");
        let given = |name: &str| {
            let raw = asked.chat.get(name).filter(|raw| raw.get().len() <= REPEATED_MAX_BYTES)?;
            serde_json::from_str::<Value>(raw.get()).ok()
        };
        let or = |name: &str, default: Value| given(name).unwrap_or(default);
        let mut text = json!({ "format": { "type": "text" } });
        if let Some(Value::Object(given)) = given("text") {
            given.into_iter().for_each(|(name, value)| text[name] = value);
        }
        let fields = json!({
            "id": format!("resp_{id}"),
            "object": "response",
            "created_at": asked.created,
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": or("instructions", Value::Null),
            "max_output_tokens": or("max_output_tokens", Value::Null),
            "max_tool_calls": or("max_tool_calls", Value::Null),
            "model": asked.shown_model,
            "output": [],
            "parallel_tool_calls": or("parallel_tool_calls", true.into()),
            "previous_response_id": null,
            "prompt_cache_key": or("prompt_cache_key", Value::Null),
            "reasoning": or("reasoning", json!({ "effort": null, "summary": null })),
            "safety_identifier": or("safety_identifier", Value::Null),
            "service_tier": or("service_tier", "auto".into()),
            "store": false,
            "temperature": or("temperature", Value::Null),
            "text": text,
            "tool_choice": or("tool_choice", "auto".into()),
            "tools": or("tools", json!([])),
            "top_logprobs": or("top_logprobs", 0.into()),
            "top_p": or("top_p", Value::Null),
            "truncation": "disabled",
            "usage": null,
            "user": or("user", Value::Null),
            "metadata": or("metadata", json!({})),
        });
        Self { id, fields }
    }

    /// Sets what the answer says of itself.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.fields[name] = value;
    }

    /// The response so far.
    pub(super) fn response(&self) -> Value {
        self.fields.clone()
    }

    /// The id of the item at that place.
    pub(super) fn item_id(&self, item: &Item, at: usize) -> String {
        let kind = match item {
            Item::Reasoning(_) => "rs",
            Item::Message(_) => "msg",
            Item::Call { .. } => "fc",
        };
        format!("{kind}_{}{at:04x}", self.id)
    }

    /// The id of a call that its provider gave none.
    pub(super) fn call_id(&self, at: usize) -> String {
        format!("call_{}{at:04x}", self.id)
    }
}

/// An item of the output, as far as it has come.
#[derive(Clone)]
pub(super) enum Item {
    /// What the model thought, as the one part of a summary.
    Reasoning(String),
    /// What it said.
    Message(Vec<Part>),
    /// A call of a function.
    Call {
        /// By the chunks.
        index: u64,
        call_id: Value,
        name: Value,
        arguments: String,
    },
}

/// A part of a message.
#[derive(Clone)]
pub(super) struct Part {
    /// It says why there is no more, rather than what was asked for.
    pub is_refusal: bool,
    pub text: String,
    pub logprobs: Vec<Value>,
}

impl Part {
    /// Without a text yet.
    pub(super) fn new(is_refusal: bool) -> Self {
        Self { is_refusal, text: String::new(), logprobs: Vec::new() }
    }

    /// As a document.
    pub(super) fn document(&self) -> Value {
        if self.is_refusal {
            return json!({ "type": "refusal", "refusal": self.text });
        }
        json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs })
    }
}

impl Item {
    /// As a document.
    pub(super) fn document(&self, id: &str, status: &str) -> Value {
        match self {
            Item::Reasoning(text) => {
                json!({ "id": id, "type": "reasoning", "summary": [summary(text)] })
            }
            Item::Message(parts) => {
                let content: Vec<Value> = parts.iter().map(Part::document).collect();
                json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
            }
            Item::Call { call_id, name, arguments, .. } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments,
            }),
        }
    }
}

/// A part of a summary.
pub(super) fn summary(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

/// OpenAI's counts of a chat as those of a response; `null` if there are none.
pub(super) fn usage(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    if !usage["prompt_tokens"].is_u64() {
        return Value::Null;
    }
    let (input, output) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
    let (of_input, of_output) = (&usage["prompt_tokens_details"], &usage["completion_tokens_details"]);
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": count(&of_input["cached_tokens"]),
            "cache_write_tokens": count(&of_input["cache_write_tokens"]),
        },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": count(&of_output["reasoning_tokens"]) },
        "total_tokens": input.saturating_add(output),
    })
}
