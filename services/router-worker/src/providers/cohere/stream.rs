//! One of Cohere's streams as chat completion chunks.
//!
//! Sources: <https://docs.cohere.com/docs/streaming> and <https://docs.cohere.com/docs/tool-use-streaming>. Events are told apart
//! by their `type`; unknown ones are skipped.

use super::{
    super::{Answer, Asked, Assembler, Decoded, Frame, StreamDecoder, raw},
    response::{finish_reason, openai_usage, usage},
};
use crate::failure::{Class, Failure};
use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// The state between two events.
pub(super) struct Decoder {
    shown_model: String,
    wants_usage: bool,
    created: i64,
    id: Value,
    usage: Value,
    /// Calls begun so far; the last one is the one that grows. The provider's own index counts plans and texts too.
    calls: usize,
    has_arguments: bool,
    complete: bool,
    assembler: Assembler,
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            shown_model: asked.shown_model.to_owned(),
            wants_usage: asked.wants_usage_chunk(),
            created: asked.created,
            id: Value::Null,
            usage: Value::Null,
            calls: 0,
            has_arguments: false,
            complete: false,
            assembler: Assembler::default(),
        }
    }

    /// A chunk for the caller; with a delta it also joins the answer.
    fn chunk(&mut self, delta: Value, finish: Option<&str>) -> Decoded {
        let choices = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]);
        let event = self.event(&choices, Value::Null);
        let content = match choices {
            Value::Array(choices) => self.assembler.choices(choices),
            _ => false,
        };
        Decoded { events: vec![event], content }
    }

    fn event(&self, choices: &Value, usage: Value) -> StreamEvent {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.shown_model,
            "choices": choices,
        });
        if self.wants_usage {
            chunk["usage"] = usage;
        }
        StreamEvent { event: None, data: chunk.to_string() }
    }

    /// Text or reasoning, of a part's beginning or of what follows.
    fn content(&mut self, content: &Value) -> Decoded {
        let mut decoded = Decoded::default();
        for (theirs, ours) in [("thinking", "reasoning_content"), ("text", "content")] {
            if content[theirs].as_str().is_some_and(|text| !text.is_empty()) {
                let chunk = self.chunk(json!({ ours: content[theirs] }), None);
                decoded.events.extend(chunk.events);
                decoded.content |= chunk.content;
            }
        }
        decoded
    }

    fn call_start(&mut self, call: &Value) -> Decoded {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        self.has_arguments = !arguments.is_empty();
        let function = json!({ "name": call["function"]["name"], "arguments": arguments });
        let call = json!({ "index": self.calls, "id": call["id"], "type": "function", "function": function });
        self.calls += 1;
        self.chunk(json!({ "tool_calls": [call] }), None)
    }

    /// More of the last call's arguments.
    fn call_delta(&mut self, arguments: &str) -> Decoded {
        let Some(index) = self.calls.checked_sub(1).filter(|_| !arguments.is_empty()) else {
            return Decoded::default();
        };
        self.has_arguments = true;
        self.chunk(json!({ "tool_calls": [{ "index": index, "function": { "arguments": arguments } }] }), None)
    }

    fn message_end(&mut self, delta: &Value) -> Result<Decoded, Failure> {
        self.usage = delta["usage"].clone();
        if let Some(message) = delta["error"].as_str() {
            let code = Some("stream_error".to_owned());
            return Err(Failure { code, ..Failure::new(Class::Server, message) });
        }
        let reason = finish_reason(&delta["finish_reason"])?;
        self.complete = true;
        let mut decoded = self.chunk(json!({}), Some(reason));
        if self.wants_usage
            && let Some(usage) = usage(&self.usage)
        {
            decoded.events.push(self.event(&json!([]), openai_usage(&usage, &self.usage)));
        }
        Ok(decoded)
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        if frame.data == "[DONE]" {
            return Ok(Decoded::default());
        }
        let event: Value = serde_json::from_str(&frame.data)
            .map_err(|_| Failure::malformed("a stream event that is not a JSON document"))?;
        let message = &event["delta"]["message"];
        let decoded = match event["type"].as_str() {
            Some("message-start") => {
                self.id = event["id"].clone();
                self.chunk(json!({ "role": "assistant", "content": "", "refusal": null }), None)
            }
            Some("content-start" | "content-delta") => self.content(&message["content"]),
            Some("tool-plan-delta") => self.chunk(json!({ "tool_plan": message["tool_plan"] }), None),
            Some("tool-call-start") => self.call_start(&message["tool_calls"]),
            Some("tool-call-delta") => {
                self.call_delta(message["tool_calls"]["function"]["arguments"].as_str().unwrap_or_default())
            }
            // A call without arguments is `{}` in OpenAI's format, not an empty string.
            Some("tool-call-end") if !self.has_arguments => self.call_delta("{}"),
            Some("citation-start") => self.chunk(json!({ "citations": [message["citations"]] }), None),
            Some("message-end") => self.message_end(&event["delta"])?,
            // An error document, where the status has been sent already.
            None if event["message"].is_string() => {
                return Err(Failure::new(Class::Server, event["message"].as_str().unwrap_or_default()));
            }
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
        let mut assembler = self.assembler;
        let usage = usage(&self.usage);
        let (output_chars, finish_reason) = (assembler.chars(), assembler.finish_reason().map(str::to_owned));
        assembler.set("id", self.id);
        assembler.set("object", "chat.completion".into());
        assembler.set("created", self.created.into());
        assembler.set("model", self.shown_model.into());
        let shown = usage.as_ref().map_or(Value::Null, |usage| openai_usage(usage, &self.usage));
        assembler.set("usage", shown);
        Answer {
            body: raw(&assembler.into_completion()),
            finish_reason,
            usage,
            output_chars,
            response_model: None,
            service_tier: None,
        }
    }
}
