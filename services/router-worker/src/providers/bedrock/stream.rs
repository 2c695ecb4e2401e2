//! A ConverseStream as chat completion chunks.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html>. A text block may come
//! without a start; the counts come last, behind `messageStop`. Unknown events are skipped.

use super::{
    super::{
        Answer, Asked, Decoded, Frame, StreamDecoder,
        answers::counts_and_writes,
        chunks::{Block, Chunks, document},
        eventstream::EXCEPTION,
    },
    error_name, failure,
    response::{completion_id, finish_reason, redacted, signed, usage},
    status_of_error,
};
use crate::failure::Failure;
use serde_json::{Value, json};

/// The state between two events.
pub(super) struct Decoder {
    chunks: Chunks,
    usage: Value,
    service_tier: Value,
    block: Block,
    stopped: bool,
    counted: bool,
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            chunks: Chunks::new(asked, completion_id(asked).into()),
            usage: Value::Null,
            service_tier: Value::Null,
            block: Block::default(),
            stopped: false,
            counted: false,
        }
    }

    fn block_start(&mut self, start: &Value) -> Decoded {
        let call = &start["toolUse"];
        if !call.is_object() {
            return Decoded::default();
        }
        self.block = Block::Tool;
        self.chunks.call_start(&call["toolUseId"], &call["name"], "")
    }

    fn block_delta(&mut self, delta: &Value) -> Decoded {
        if let Some(text) = delta["text"].as_str() {
            return self.chunks.chunk(json!({ "content": text }), None);
        }
        if let Some(part) = delta["toolUse"]["input"].as_str().filter(|part| !part.is_empty()) {
            let is_call = matches!(self.block, Block::Tool);
            return if is_call { self.chunks.call_more(part) } else { Decoded::default() };
        }
        self.reasoning(&delta["reasoningContent"])
    }

    fn reasoning(&mut self, content: &Value) -> Decoded {
        if let Some(block) = redacted(content) {
            return self.chunks.chunk(json!({ "thinking_blocks": [block] }), None);
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
        if more.is_empty() { Decoded::default() } else { self.chunks.chunk(json!({ "reasoning_content": more }), None) }
    }

    fn block_stop(&mut self) -> Decoded {
        match std::mem::take(&mut self.block) {
            Block::Thinking { text, signature } => match signed(&text, &signature) {
                Some(block) => self.chunks.chunk(json!({ "thinking_blocks": [block] }), None),
                None => Decoded::default(),
            },
            Block::Tool => self.chunks.call_end(),
            Block::Other => Decoded::default(),
        }
    }

    fn message_stop(&mut self, event: &Value) -> Result<Decoded, Failure> {
        let reason = finish_reason(event["stopReason"].as_str())?;
        self.stopped = true;
        Ok(self.chunks.chunk(json!({}), Some(reason)))
    }

    fn metadata(&mut self, event: &Value) -> Decoded {
        self.counted = true;
        self.usage = event["usage"].clone();
        self.service_tier = event["serviceTier"]["type"].clone();
        let counts = self.chunks.usage(usage(&self.usage).as_ref().map(counts_and_writes));
        Decoded { events: counts.into_iter().collect(), ..Decoded::default() }
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let event = document(frame)?;
        let name = frame.event.as_deref().unwrap_or_default();
        if let Some(exception) = name.strip_prefix(EXCEPTION) {
            let name = error_name(exception).unwrap_or_default();
            return Err(failure(status_of_error(&name), Some(&name), &event));
        }
        let decoded = match name {
            "messageStart" => self.chunks.first(),
            "contentBlockStart" => self.block_start(&event["start"]),
            "contentBlockDelta" => self.block_delta(&event["delta"]),
            "contentBlockStop" => self.block_stop(),
            "messageStop" => self.message_stop(&event)?,
            "metadata" => self.metadata(&event),
            // What is yet to come.
            _ => Decoded::default(),
        };
        self.chunks.bounded(decoded)
    }

    fn is_complete(&self) -> bool {
        self.stopped
    }

    fn is_done(&self) -> bool {
        self.stopped && self.counted
    }

    fn answer(self: Box<Self>) -> Answer {
        let usage = usage(&self.usage);
        let shown = usage.as_ref().map(counts_and_writes);
        self.chunks.answer(usage, shown, Some(self.service_tier))
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
