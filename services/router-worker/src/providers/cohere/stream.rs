//! One of Cohere's streams as chat completion chunks.
//!
//! Sources: <https://docs.cohere.com/docs/streaming> and <https://docs.cohere.com/docs/tool-use-streaming>. Events are told apart
//! by their `type`; unknown ones are skipped.

use super::{
    super::{
        Answer, Asked, Decoded, Frame, StreamDecoder,
        chunks::{Chunks, document},
    },
    response::{finish_reason, logprobs, openai_usage, usage},
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

    /// Text or reasoning, of a part's beginning or of what follows; `probable`: the text's log probabilities, if they are told.
    fn content(&mut self, content: &Value, probable: &Value) -> Decoded {
        let mut decoded = Decoded::default();
        for (theirs, ours) in [("thinking", "reasoning_content"), ("text", "content")] {
            if content[theirs].as_str().is_some_and(|text| !text.is_empty()) {
                let is_told = theirs == "text" && probable.is_object();
                let logprobs = logprobs(if is_told { std::slice::from_ref(probable) } else { &[] });
                let delta = json!({ ours: content[theirs] });
                let choice = json!({ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": null });
                let chunk = self.chunks.choices(vec![choice]);
                decoded.events.extend(chunk.events);
                decoded.content = decoded.content.max(chunk.content);
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
            Some("content-start" | "content-delta") => self.content(&message["content"], &event["logprobs"]),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Fields;

    #[test]
    fn log_probabilities_come_with_their_text() {
        let chat = Fields::default();
        let mut decoder = Decoder::new(&Asked::of(&chat));
        let delta = |content: Value, logprobs: Value| {
            let delta = json!({ "message": { "content": content } });
            json!({ "type": "content-delta", "index": 0, "delta": delta, "logprobs": logprobs })
        };
        let events = [
            json!({ "type": "message-start", "id": "c-1" }),
            delta(json!({ "thinking": "Hm." }), json!({ "text": "Hm.", "token_ids": [1], "logprobs": [-1.0] })),
            delta(json!({ "text": "Good" }), json!({ "text": "Good", "token_ids": [2], "logprobs": [-0.25] })),
            delta(json!({ "text": " day" }), json!({ "text": " day", "token_ids": [3, 4], "logprobs": [-0.5, -0.25] })),
            delta(json!({ "text": "!" }), Value::Null),
            json!({ "type": "message-end", "delta": { "finish_reason": "COMPLETE" } }),
        ];
        for event in events {
            decoder.frame(&Frame { event: None, data: event.to_string() }).expect("decodes");
        }
        let answer: Value = serde_json::from_str(Box::new(decoder).answer().body.get()).expect("JSON");
        let token = |token: &str, logprob: f64| json!({ "token": token, "logprob": logprob, "bytes": null, "top_logprobs": [] });
        let choice = &answer["choices"][0];
        assert_eq!(choice["message"]["content"], "Good day!");
        assert_eq!(choice["logprobs"]["content"], json!([token("Good", -0.25), token(" day", -0.75)]));
    }
}
