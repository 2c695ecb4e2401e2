//! A ConverseStream as chat completion chunks.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html>. A text block may come
//! without a start; the counts come last, behind `messageStop`. Unknown events are skipped.

use super::{
    super::{Answer, Asked, Assembler, Decoded, Frame, StreamDecoder, eventstream::EXCEPTION, raw},
    error_name, failure,
    response::{completion_id, finish_reason, openai_usage, redacted, signed, usage},
    status_of_error,
};
use crate::failure::Failure;
use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// The state between two events.
pub(super) struct Decoder {
    shown_model: String,
    wants_usage: bool,
    created: i64,
    id: String,
    usage: Value,
    service_tier: Value,
    block: Block,
    tool_calls: usize,
    stopped: bool,
    counted: bool,
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
            id: completion_id(asked),
            usage: Value::Null,
            service_tier: Value::Null,
            block: Block::Other,
            tool_calls: 0,
            stopped: false,
            counted: false,
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

    fn block_start(&mut self, start: &Value) -> Decoded {
        let Some(call) = start["toolUse"].as_object() else { return Decoded::default() };
        let index = self.tool_calls;
        self.tool_calls += 1;
        self.block = Block::Tool { index, has_arguments: false };
        let function = json!({ "name": call.get("name"), "arguments": "" });
        let call = json!({ "index": index, "id": call.get("toolUseId"), "type": "function", "function": function });
        self.chunk(json!({ "tool_calls": [call] }), None)
    }

    fn block_delta(&mut self, delta: &Value) -> Decoded {
        if let Some(text) = delta["text"].as_str() {
            return self.chunk(json!({ "content": text }), None);
        }
        if let Some(part) = delta["toolUse"]["input"].as_str().filter(|part| !part.is_empty()) {
            let Block::Tool { index, has_arguments } = &mut self.block else { return Decoded::default() };
            *has_arguments = true;
            let call = json!({ "index": *index, "function": { "arguments": part } });
            return self.chunk(json!({ "tool_calls": [call] }), None);
        }
        self.reasoning(&delta["reasoningContent"])
    }

    fn reasoning(&mut self, content: &Value) -> Decoded {
        if let Some(block) = redacted(content) {
            return self.chunk(json!({ "thinking_blocks": [block] }), None);
        }
        let part = |name: &str| content[name].as_str().unwrap_or_default();
        let (more, more_signature) = (part("text"), part("signature"));
        if more.is_empty() && more_signature.is_empty() {
            return Decoded::default();
        }
        if !matches!(self.block, Block::Thinking { .. }) {
            self.block = Block::Thinking { text: String::new(), signature: String::new() };
        }
        if let Block::Thinking { text, signature } = &mut self.block {
            text.push_str(more);
            signature.push_str(more_signature);
        }
        if more.is_empty() { Decoded::default() } else { self.chunk(json!({ "reasoning_content": more }), None) }
    }

    fn block_stop(&mut self) -> Decoded {
        match std::mem::take(&mut self.block) {
            Block::Thinking { text, signature } => match signed(&text, &signature) {
                Some(block) => self.chunk(json!({ "thinking_blocks": [block] }), None),
                None => Decoded::default(),
            },
            // A call without arguments is `{}` in OpenAI's format, not an empty string.
            Block::Tool { index, has_arguments: false } => {
                self.chunk(json!({ "tool_calls": [{ "index": index, "function": { "arguments": "{}" } }] }), None)
            }
            _ => Decoded::default(),
        }
    }

    fn message_stop(&mut self, event: &Value) -> Result<Decoded, Failure> {
        let reason = finish_reason(event["stopReason"].as_str())?;
        self.stopped = true;
        Ok(self.chunk(json!({}), Some(reason)))
    }

    fn metadata(&mut self, event: &Value) -> Decoded {
        self.counted = true;
        self.usage = event["usage"].clone();
        self.service_tier = event["serviceTier"]["type"].clone();
        let counts = usage(&self.usage).filter(|_| self.wants_usage);
        let events = counts.map(|usage| self.event(&json!([]), Some(openai_usage(&usage))));
        Decoded { events: events.into_iter().collect(), content: false }
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let event: Value = serde_json::from_str(&frame.data)
            .map_err(|_| Failure::malformed("a stream event that is not a JSON document"))?;
        let name = frame.event.as_deref().unwrap_or_default();
        if let Some(exception) = name.strip_prefix(EXCEPTION) {
            let name = error_name(exception).unwrap_or_default();
            return Err(failure(status_of_error(&name), Some(&name), &event));
        }
        let decoded = match name {
            "messageStart" => self.chunk(json!({ "role": "assistant", "content": "", "refusal": null }), None),
            "contentBlockStart" => self.block_start(&event["start"]),
            "contentBlockDelta" => self.block_delta(&event["delta"]),
            "contentBlockStop" => self.block_stop(),
            "messageStop" => self.message_stop(&event)?,
            "metadata" => self.metadata(&event),
            // What is yet to come.
            _ => Decoded::default(),
        };
        if self.assembler.is_too_large() {
            return Err(Failure::malformed("an answer that is too large"));
        }
        Ok(decoded)
    }

    fn is_complete(&self) -> bool {
        self.stopped
    }

    fn is_done(&self) -> bool {
        self.stopped && self.counted
    }

    fn answer(self: Box<Self>) -> Answer {
        let usage = usage(&self.usage);
        let mut assembler = self.assembler;
        let (output_chars, finish_reason) = (assembler.chars(), assembler.finish_reason().map(str::to_owned));
        let service_tier = self.service_tier.as_str().map(str::to_owned);
        assembler.set("id", self.id.into());
        assembler.set("object", "chat.completion".into());
        assembler.set("created", self.created.into());
        assembler.set("model", self.shown_model.into());
        assembler.set("service_tier", self.service_tier);
        assembler.set("usage", usage.as_ref().map_or(Value::Null, openai_usage));
        Answer {
            body: raw(&assembler.into_completion()),
            finish_reason,
            usage,
            output_chars,
            response_model: None,
            service_tier,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Fields;

    fn decoder() -> Decoder {
        let chat = Fields::default();
        Decoder::new(&Asked { stream: true, ..Asked::of(&chat) })
    }

    fn frame(event: &str, data: &str) -> Frame {
        Frame { event: Some(event.to_owned()), data: data.to_owned() }
    }

    #[test]
    fn exceptions_end_a_stream_each_in_its_class() {
        let cases = [
            ("throttlingException", r#"{"message":"slow down"}"#, "RateLimited", "ThrottlingException"),
            ("modelTimeoutException", "{}", "Timeout", "ModelTimeoutException"),
            ("modelStreamErrorException", r#"{"originalStatusCode":400}"#, "Server", "ModelStreamErrorException"),
            ("serviceUnavailableException", "{}", "Server", "ServiceUnavailableException"),
            ("internalServerException", "{}", "Server", "InternalServerException"),
            ("validationException", r#"{"message":"no"}"#, "Rejected", "ValidationException"),
            ("somethingNew", "{}", "Server", "SomethingNew"),
        ];
        for (name, data, class, code) in cases {
            let failure = decoder().frame(&frame(&format!("{EXCEPTION}{name}"), data)).expect_err("it ends");
            assert_eq!((format!("{:?}", failure.class).as_str(), failure.error_code().as_str()), (class, code));
        }
        assert!(decoder().frame(&frame("messageStart", "{")).is_err(), "no document");
        assert!(decoder().frame(&frame("throttlingException", "{}")).is_ok(), "an event, not an exception");
    }

    #[test]
    fn an_answer_is_whole_without_its_counts_but_not_if_its_model_went_astray() {
        let mut decoder = decoder();
        let mut take = |event, data| decoder.frame(&frame(event, data));
        take("contentBlockDelta", r#"{"delta":{"reasoningContent":{"text":"Hm."}}}"#).expect("decodes");
        take("contentBlockDelta", r#"{"delta":{"reasoningContent":{"redactedContent":"cmVk"}}}"#).expect("decodes");
        take("contentBlockStop", "{}").expect("decodes");
        let failure = take("messageStop", r#"{"stopReason":"malformed_tool_use"}"#).expect_err("astray");
        assert_eq!(failure.error_code(), "malformed_tool_use");
        take("messageStop", r#"{"stopReason":"end_turn"}"#).expect("decodes");
        assert!(decoder.is_complete() && !decoder.is_done());
        let answer = Box::new(decoder).answer();
        assert!(answer.usage.is_none());
        let body: Value = serde_json::from_str(answer.body.get()).expect("JSON");
        let message = &body["choices"][0]["message"];
        assert_eq!(message["reasoning_content"], "Hm.");
        let blocks = json!([{ "type": "redacted_thinking", "data": "cmVk" }]);
        assert_eq!(message["thinking_blocks"], blocks, "reasoning that nobody signed is not sent back");
    }
}
