//! A Messages stream as chat completion chunks.
//!
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>. Unknown event types are skipped, as its
//! versioning policy asks.

use super::{
    super::{Answer, Asked, Assembler, Decoded, Frame, StreamDecoder, raw},
    response::{finish_reason, openai_usage, usage},
    status_of_error_type,
};
use crate::{failure::Failure, tokens::estimate};
use serde_json::{Map, Value, json};
use tollgate_schemas::{StreamEvent, TokenSource};

/// The state between two events.
pub(super) struct Decoder {
    shown_model: String,
    wants_usage: bool,
    created: i64,
    id: Value,
    response_model: Option<String>,
    usage: Map<String, Value>,
    block: Block,
    tool_calls: usize,
    stop_reason: Option<String>,
    refusal: Value,
    complete: bool,
    assembler: Assembler,
}

/// The content block that is open.
#[derive(Default)]
enum Block {
    #[default]
    Other,
    Thinking {
        text: String,
        signature: String,
    },
    Tool {
        index: usize,
        has_arguments: bool,
    },
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            shown_model: asked.shown_model.to_owned(),
            wants_usage: asked.wants_usage_chunk(),
            created: asked.created,
            id: Value::Null,
            response_model: None,
            usage: Map::new(),
            block: Block::Other,
            tool_calls: 0,
            stop_reason: None,
            refusal: Value::Null,
            complete: false,
            assembler: Assembler::default(),
        }
    }

    /// A chunk for the caller; with a delta it also joins the answer.
    fn chunk(&mut self, delta: Value, finish: Option<&str>) -> Decoded {
        let choices = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]);
        let event = self.event(&choices, None);
        let content = match choices {
            Value::Array(choices) => self.assembler.choices(choices),
            _ => false,
        };
        Decoded { events: vec![event], content }
    }

    fn event(&self, choices: &Value, usage: Option<Value>) -> StreamEvent {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.shown_model,
            "choices": choices,
        });
        if self.wants_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        StreamEvent { event: None, data: chunk.to_string() }
    }

    /// Usage events are cumulative: later values replace earlier ones, `null`s say nothing.
    fn learn_usage(&mut self, document: &Value) {
        for (name, value) in document.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            self.usage.insert(name.clone(), value.clone());
        }
    }

    fn message_start(&mut self, message: &Value) -> Decoded {
        self.id = message["id"].clone();
        self.response_model = message["model"].as_str().map(str::to_owned);
        self.learn_usage(&message["usage"]);
        self.chunk(json!({ "role": "assistant", "content": "", "refusal": null }), None)
    }

    fn block_start(&mut self, block: &Value) -> Decoded {
        match block["type"].as_str() {
            Some("tool_use") => {
                let index = self.tool_calls;
                self.tool_calls += 1;
                // Input comes in deltas; a server that puts all of it here is understood too.
                let whole = block["input"].as_object().filter(|input| !input.is_empty());
                let arguments = whole.map(|_| block["input"].to_string()).unwrap_or_default();
                self.block = Block::Tool { index, has_arguments: !arguments.is_empty() };
                let function = json!({ "name": block["name"], "arguments": arguments });
                let call = json!({ "index": index, "id": block["id"], "type": "function", "function": function });
                self.chunk(json!({ "tool_calls": [call] }), None)
            }
            Some("thinking") => {
                self.block = Block::Thinking { text: String::new(), signature: String::new() };
                Decoded::default()
            }
            Some("redacted_thinking") => self.chunk(json!({ "thinking_blocks": [block] }), None),
            Some("text") if block["text"].as_str().is_some_and(|text| !text.is_empty()) => {
                self.chunk(json!({ "content": block["text"] }), None)
            }
            _ => Decoded::default(),
        }
    }

    fn block_delta(&mut self, delta: &Value) -> Decoded {
        match (delta["type"].as_str(), &mut self.block) {
            (Some("text_delta"), _) => self.chunk(json!({ "content": delta["text"] }), None),
            (Some("input_json_delta"), Block::Tool { index, has_arguments }) => {
                let index = *index;
                let Some(part) = delta["partial_json"].as_str().filter(|part| !part.is_empty()) else {
                    return Decoded::default();
                };
                *has_arguments = true;
                self.chunk(json!({ "tool_calls": [{ "index": index, "function": { "arguments": part } }] }), None)
            }
            (Some("thinking_delta"), Block::Thinking { text, .. }) => {
                text.push_str(delta["thinking"].as_str().unwrap_or_default());
                self.chunk(json!({ "reasoning_content": delta["thinking"] }), None)
            }
            (Some("signature_delta"), Block::Thinking { signature, .. }) => {
                signature.push_str(delta["signature"].as_str().unwrap_or_default());
                Decoded::default()
            }
            _ => Decoded::default(),
        }
    }

    fn block_stop(&mut self) -> Decoded {
        match std::mem::take(&mut self.block) {
            Block::Thinking { text, signature } => {
                let block = json!({ "type": "thinking", "thinking": text, "signature": signature });
                self.chunk(json!({ "thinking_blocks": [block] }), None)
            }
            // A call without arguments is `{}` in OpenAI's format, not an empty string.
            Block::Tool { index, has_arguments: false } => {
                self.chunk(json!({ "tool_calls": [{ "index": index, "function": { "arguments": "{}" } }] }), None)
            }
            _ => Decoded::default(),
        }
    }

    fn message_delta(&mut self, event: &Value) -> Decoded {
        if let Some(reason) = event["delta"]["stop_reason"].as_str() {
            self.stop_reason = Some(reason.to_owned());
        }
        self.refusal = event["delta"]["stop_details"]["explanation"].clone();
        self.learn_usage(&event["usage"]);
        Decoded::default()
    }

    fn message_stop(&mut self) -> Decoded {
        self.complete = true;
        let reason = finish_reason(self.stop_reason.as_deref());
        let delta = if self.refusal.is_null() { json!({}) } else { json!({ "refusal": self.refusal }) };
        let mut decoded = self.chunk(delta, Some(reason));
        if self.wants_usage
            && let Some(usage) = usage(&Value::Object(self.usage.clone()))
        {
            decoded.events.push(self.event(&json!([]), Some(openai_usage(&usage))));
        }
        decoded
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let event: Value = serde_json::from_str(&frame.data)
            .map_err(|_| Failure::malformed("a stream event that is not a JSON document"))?;
        let decoded = match event["type"].as_str() {
            Some("message_start") => self.message_start(&event["message"]),
            Some("content_block_start") => self.block_start(&event["content_block"]),
            Some("content_block_delta") => self.block_delta(&event["delta"]),
            Some("content_block_stop") => self.block_stop(),
            Some("message_delta") => self.message_delta(&event),
            Some("message_stop") => self.message_stop(),
            Some("error") => {
                let kind = event["error"]["type"].as_str().unwrap_or_default();
                return Err(super::failure(status_of_error_type(kind), &event["error"]));
            }
            // `ping`, and what is yet to come
            _ => Decoded::default(),
        };
        if self.assembler.is_too_large() {
            return Err(Failure::malformed("an answer that is too large"));
        }
        Ok(decoded)
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn is_done(&self) -> bool {
        self.complete
    }

    fn answer(self: Box<Self>) -> Answer {
        let document = Value::Object(self.usage);
        let mut assembler = self.assembler;
        let mut usage = usage(&document);
        if let Some(usage) = usage.as_mut().filter(|_| self.stop_reason.is_none()) {
            // Before the end the output count is a placeholder: the input is known, the output is estimated.
            usage.tokens.output = usage.tokens.output.max(estimate(assembler.chars()));
            usage.source = TokenSource::Estimated;
        }
        let (output_chars, finish_reason) = (assembler.chars(), assembler.finish_reason().map(str::to_owned));
        assembler.set("id", self.id);
        assembler.set("object", "chat.completion".into());
        assembler.set("created", self.created.into());
        assembler.set("model", self.shown_model.into());
        assembler.set("service_tier", document["service_tier"].clone());
        assembler.set("usage", usage.as_ref().map_or(Value::Null, openai_usage));
        Answer {
            body: raw(&assembler.into_completion()),
            finish_reason,
            usage,
            output_chars,
            response_model: self.response_model,
            service_tier: document["service_tier"].as_str().map(str::to_owned),
        }
    }
}
