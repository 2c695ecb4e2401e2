//! A Messages stream as chat completion chunks.
//!
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>. Unknown event types are skipped, as its
//! versioning policy asks.

use super::{
    super::{
        Answer, Asked, Decoded, Frame, StreamDecoder,
        answers::counts_and_writes,
        chunks::{Block, Chunks, document},
    },
    response::finish_reason,
    status_of_error_type,
    usage::Told,
};
use crate::failure::Failure;
use serde_json::{Value, json};

/// The state between two events.
pub(super) struct Decoder {
    chunks: Chunks,
    response_model: Option<String>,
    usage: Told,
    block: Block,
    stop_reason: Option<String>,
    refusal: Value,
    complete: bool,
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            chunks: Chunks::new(asked, Value::Null),
            response_model: None,
            usage: Told::default(),
            block: Block::default(),
            stop_reason: None,
            refusal: Value::Null,
            complete: false,
        }
    }

    fn message_start(&mut self, message: &Value) -> Decoded {
        self.chunks.id = message["id"].clone();
        self.response_model = message["model"].as_str().map(str::to_owned);
        self.usage.learn(&message["usage"]);
        self.chunks.first()
    }

    fn block_start(&mut self, block: &Value) -> Decoded {
        match block["type"].as_str() {
            Some("tool_use") => {
                // Input comes in deltas; a server that puts all of it here is understood too.
                let whole = block["input"].as_object().filter(|input| !input.is_empty());
                let arguments = whole.map(|_| block["input"].to_string()).unwrap_or_default();
                self.block = Block::Tool;
                self.chunks.call_start(&block["id"], &block["name"], &arguments)
            }
            Some("thinking") => {
                self.block = Block::Thinking { text: String::new(), signature: String::new() };
                Decoded::default()
            }
            Some("redacted_thinking") => self.chunks.chunk(json!({ "thinking_blocks": [block] }), None),
            Some("text") if block["text"].as_str().is_some_and(|text| !text.is_empty()) => {
                self.chunks.chunk(json!({ "content": block["text"] }), None)
            }
            _ => Decoded::default(),
        }
    }

    fn block_delta(&mut self, delta: &Value) -> Decoded {
        match (delta["type"].as_str(), &mut self.block) {
            (Some("text_delta"), _) => self.chunks.chunk(json!({ "content": delta["text"] }), None),
            (Some("input_json_delta"), Block::Tool) => {
                self.chunks.call_more(delta["partial_json"].as_str().unwrap_or_default())
            }
            (Some("thinking_delta"), Block::Thinking { text, .. }) => {
                text.push_str(delta["thinking"].as_str().unwrap_or_default());
                self.chunks.chunk(json!({ "reasoning_content": delta["thinking"] }), None)
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
                self.chunks.chunk(json!({ "thinking_blocks": [block] }), None)
            }
            Block::Tool => self.chunks.call_end(),
            Block::Other => Decoded::default(),
        }
    }

    fn message_delta(&mut self, event: &Value) -> Decoded {
        if let Some(reason) = event["delta"]["stop_reason"].as_str() {
            self.stop_reason = Some(reason.to_owned());
        }
        self.refusal = event["delta"]["stop_details"]["explanation"].clone();
        self.usage.learn(&event["usage"]);
        Decoded::default()
    }

    fn message_stop(&mut self) -> Decoded {
        self.complete = true;
        let reason = finish_reason(self.stop_reason.as_deref());
        let delta = if self.refusal.is_null() { json!({}) } else { json!({ "refusal": self.refusal }) };
        let mut decoded = self.chunks.chunk(delta, Some(reason));
        decoded.events.extend(self.chunks.usage(self.usage.whole().as_ref().map(counts_and_writes)));
        decoded
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let event = document(frame)?;
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
        self.chunks.bounded(decoded)
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn is_done(&self) -> bool {
        self.complete
    }

    fn answer(self: Box<Self>) -> Answer {
        let has_ended = self.stop_reason.is_some();
        let usage = if has_ended { self.usage.whole() } else { self.usage.cut_off(self.chunks.chars()) };
        let shown = usage.as_ref().map(counts_and_writes);
        let answer = self.chunks.answer(usage, shown, Some(self.usage.document()["service_tier"].clone()));
        Answer { response_model: self.response_model, ..answer }
    }
}
