//! A stream in another API's words as chunks of a chat completion: what is the same for every leaf that translates.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/streaming>. A leaf says what comes next; chunks are written here,
//! and put together into the whole answer.

use super::{Answer, Asked, Assembler, Content, Decoded, Frame, raw};
use crate::{failure::Failure, tokens::Usage};
use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// The document of one event.
pub(super) fn document(frame: &Frame) -> Result<Value, Failure> {
    serde_json::from_str(&frame.data).map_err(|_| Failure::malformed("a stream event that is not a JSON document"))
}

/// The content block that is open, where an answer comes in blocks.
#[derive(Default)]
pub(super) enum Block {
    #[default]
    Other,
    Thinking {
        text: String,
        signature: String,
    },
    Tool,
}

/// Writes the chunks of one answer.
pub(super) struct Chunks {
    /// The answer's id; `null` until the provider has said it.
    pub id: Value,
    shown_model: String,
    wants_usage: bool,
    created: i64,
    /// Calls begun so far; the last one is the one that grows.
    calls: usize,
    /// The last call has arguments.
    has_arguments: bool,
    assembler: Assembler,
}

impl Chunks {
    /// For the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>, id: Value) -> Self {
        Self {
            id,
            shown_model: asked.shown_model.to_owned(),
            wants_usage: asked.wants_usage_chunk(),
            created: asked.created,
            calls: 0,
            has_arguments: false,
            assembler: Assembler::default(),
        }
    }

    /// The first chunk, which says who speaks.
    pub(super) fn first(&mut self) -> Decoded {
        self.chunk(json!({ "role": "assistant", "content": "", "refusal": null }), None)
    }

    /// A chunk of the only choice.
    pub(super) fn chunk(&mut self, delta: Value, finish: Option<&str>) -> Decoded {
        self.choices(vec![json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish })])
    }

    /// A chunk for the caller, which joins the answer too.
    pub(super) fn choices(&mut self, choices: Vec<Value>) -> Decoded {
        let choices = Value::Array(choices);
        let event = self.event(&choices, None);
        let content = match choices {
            Value::Array(choices) => self.assembler.choices(choices),
            _ => Content::Nothing,
        };
        Decoded { events: vec![event], content }
    }

    /// A call begins; of its arguments that much is known.
    pub(super) fn call_start(&mut self, id: &Value, name: &Value, arguments: &str) -> Decoded {
        let function = json!({ "name": name, "arguments": arguments });
        let call = json!({ "index": self.calls, "id": id, "type": "function", "function": function });
        self.calls += 1;
        self.has_arguments = !arguments.is_empty();
        self.chunk(json!({ "tool_calls": [call] }), None)
    }

    /// More of the last call's arguments; nothing if there is none.
    pub(super) fn call_more(&mut self, arguments: &str) -> Decoded {
        let Some(index) = self.calls.checked_sub(1).filter(|_| !arguments.is_empty()) else {
            return Decoded::default();
        };
        self.has_arguments = true;
        self.chunk(json!({ "tool_calls": [{ "index": index, "function": { "arguments": arguments } }] }), None)
    }

    /// The last call is whole. One without arguments has `{}` in OpenAI's format, not an empty string.
    pub(super) fn call_end(&mut self) -> Decoded {
        if self.has_arguments { Decoded::default() } else { self.call_more("{}") }
    }

    /// The chunk with the counts, for a caller that wants it.
    pub(super) fn usage(&self, shown: Option<Value>) -> Option<StreamEvent> {
        shown.filter(|_| self.wants_usage).map(|shown| self.event(&json!([]), Some(shown)))
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

    /// Refuses an answer that has become too large.
    pub(super) fn bounded(&self, decoded: Decoded) -> Result<Decoded, Failure> {
        if self.assembler.is_too_large() {
            return Err(Failure::malformed("an answer that is too large"));
        }
        Ok(decoded)
    }

    /// Characters of text so far.
    pub(super) fn chars(&self) -> usize {
        self.assembler.chars()
    }

    /// Whether there are choices and each has a finish reason.
    pub(super) fn all_finished(&self) -> bool {
        self.assembler.all_finished()
    }

    /// The answer as far as it came, with `shown` as its usage. The leaf adds what its provider says beside.
    pub(super) fn answer(self, usage: Option<Usage>, shown: Option<Value>, service_tier: Option<Value>) -> Answer {
        let mut assembler = self.assembler;
        let (output_chars, finish_reason) = (assembler.chars(), assembler.finish_reason().map(str::to_owned));
        let tier = service_tier.as_ref().and_then(Value::as_str).map(str::to_owned);
        assembler.set("id", self.id);
        assembler.set("object", "chat.completion".into());
        assembler.set("created", self.created.into());
        assembler.set("model", self.shown_model.into());
        if let Some(service_tier) = service_tier {
            assembler.set("service_tier", service_tier);
        }
        assembler.set("usage", shown.unwrap_or(Value::Null));
        let body = raw(&assembler.into_completion());
        Answer { body, finish_reason, usage, output_chars, response_model: None, service_tier: tier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Fields;

    #[test]
    fn a_call_without_arguments_has_an_empty_object() {
        let chat = Fields::default();
        let mut chunks = Chunks::new(&Asked::of(&chat), Value::Null);
        assert!(chunks.call_end().events.is_empty() && chunks.call_more("{}").events.is_empty(), "no call yet");
        for (name, arguments) in [("a", ""), ("b", "{\"x\":"), ("c", "")] {
            chunks.call_start(&name.into(), &name.into(), arguments);
            if name == "b" {
                chunks.call_more("1}");
            }
            chunks.call_end();
            assert!(chunks.call_end().events.is_empty(), "it ends once");
        }
        let answer: Value = serde_json::from_str(chunks.answer(None, None, None).body.get()).expect("JSON");
        let calls = answer["choices"][0]["message"]["tool_calls"].as_array().expect("calls");
        let arguments: Vec<_> = calls.iter().map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(arguments, [Some("{}"), Some("{\"x\":1}"), Some("{}")]);
    }

    #[test]
    fn counts_are_shown_to_those_who_ask() {
        for (options, wants) in [(r#"{"stream_options":{"include_usage":true}}"#, true), ("{}", false)] {
            let chat = Fields::parse(options).expect("an object");
            let chunks = Chunks::new(&Asked::of(&chat), Value::Null);
            assert_eq!(chunks.usage(Some(json!({ "total_tokens": 1 }))).is_some(), wants);
            assert!(chunks.usage(None).is_none());
        }
    }
}
