//! One of Cohere's streams as chat completion chunks.
//!
//! Sources: <https://docs.cohere.com/docs/streaming> and <https://docs.cohere.com/docs/tool-use-streaming>. Events are told apart
//! by their `type`; unknown ones are skipped.

use super::{
    super::{
        Answer, Asked, Decoded, Frame, StreamDecoder,
        chunks::{Chunks, document},
    },
    response::{finish_reason, openai_usage, usage},
};
use crate::failure::{Class, Failure};
use serde_json::{Value, json};

/// The state between two events.
pub(super) struct Decoder {
    chunks: Chunks,
    usage: Value,
    complete: bool,
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self { chunks: Chunks::new(asked, Value::Null), usage: Value::Null, complete: false }
    }

    /// Text or reasoning, of a part's beginning or of what follows.
    fn content(&mut self, content: &Value) -> Decoded {
        let mut decoded = Decoded::default();
        for (theirs, ours) in [("thinking", "reasoning_content"), ("text", "content")] {
            if content[theirs].as_str().is_some_and(|text| !text.is_empty()) {
                let chunk = self.chunks.chunk(json!({ ours: content[theirs] }), None);
                decoded.events.extend(chunk.events);
                decoded.content |= chunk.content;
            }
        }
        decoded
    }

    fn message_end(&mut self, delta: &Value) -> Result<Decoded, Failure> {
        self.usage = delta["usage"].clone();
        if let Some(message) = delta["error"].as_str() {
            let code = Some("stream_error".to_owned());
            return Err(Failure { code, ..Failure::new(Class::Server, message) });
        }
        let reason = finish_reason(&delta["finish_reason"])?;
        self.complete = true;
        let mut decoded = self.chunks.chunk(json!({}), Some(reason));
        decoded.events.extend(self.chunks.usage(self.shown_usage()));
        Ok(decoded)
    }

    fn shown_usage(&self) -> Option<Value> {
        usage(&self.usage).map(|usage| openai_usage(&usage, &self.usage))
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        if frame.data == "[DONE]" {
            return Ok(Decoded::default());
        }
        let event = document(frame)?;
        let message = &event["delta"]["message"];
        let decoded = match event["type"].as_str() {
            Some("message-start") => {
                self.chunks.id = event["id"].clone();
                self.chunks.first()
            }
            Some("content-start" | "content-delta") => self.content(&message["content"]),
            Some("tool-plan-delta") => self.chunks.chunk(json!({ "tool_plan": message["tool_plan"] }), None),
            // The provider's own index counts plans and texts too.
            Some("tool-call-start") => {
                let call = &message["tool_calls"];
                let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
                self.chunks.call_start(&call["id"], &call["function"]["name"], arguments)
            }
            Some("tool-call-delta") => {
                let arguments = &message["tool_calls"]["function"]["arguments"];
                self.chunks.call_more(arguments.as_str().unwrap_or_default())
            }
            Some("tool-call-end") => self.chunks.call_end(),
            Some("citation-start") => self.chunks.chunk(json!({ "citations": [message["citations"]] }), None),
            Some("message-end") => self.message_end(&event["delta"])?,
            // An error document, where the status has been sent already.
            None if event["message"].is_string() => {
                return Err(Failure::new(Class::Server, event["message"].as_str().unwrap_or_default()));
            }
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
        let shown = self.shown_usage();
        self.chunks.answer(usage(&self.usage), shown, None)
    }
}
