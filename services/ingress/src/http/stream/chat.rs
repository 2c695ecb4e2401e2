//! A chat completion's stream.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/streaming>.

use super::{Beginning, wants_usage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollgate_schemas::{Request, StreamEvent};

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
#[derive(Default)]
pub(super) struct Sent {
    any: bool,
    /// Of choice 0.
    content: Beginning,
    /// Something that cannot be continued from the whole answer: tool calls, or other choices.
    beyond_content: bool,
    finished: bool,
    /// Of each choice that has begun, whether it has ended.
    choices: BTreeMap<u32, bool>,
    /// As the chunks have them.
    id: Value,
    created: Value,
    usage_wanted: bool,
    model: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    created: Value,
    #[serde(default)]
    choices: Vec<ChunkChoice>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    tool_calls: Option<serde::de::IgnoredAny>,
}

impl Sent {
    /// Nothing yet of the answer to this request.
    pub(super) fn of(request: &Request) -> Self {
        Self { usage_wanted: wants_usage(request), model: request.model.clone(), ..Self::default() }
    }

    pub(super) fn note(&mut self, events: &[StreamEvent]) {
        self.any = true;
        for chunk in events.iter().filter_map(|e| serde_json::from_str::<Chunk>(&e.data).ok()) {
            (self.id, self.created) = (chunk.id, chunk.created);
            for choice in chunk.choices {
                *self.choices.entry(choice.index).or_default() |= choice.finish_reason.is_some();
                self.content.add(choice.delta.content.as_deref().unwrap_or_default());
                self.beyond_content |= choice.index > 0 || choice.delta.tool_calls.is_some();
                self.finished |= choice.finish_reason.is_some();
            }
        }
    }

    /// The events that make a stream of the whole answer `body`, less what was sent, or why there are none.
    pub(super) fn rest(&self, body: &Value) -> Result<Vec<StreamEvent>, &'static str> {
        if self.any && self.beyond_content {
            return Err("it was cut within tool calls");
        }
        let mut events = Vec::new();
        for choice in body["choices"].as_array().into_iter().flatten() {
            if !self.any {
                events.extend(self.whole_choice(body, choice));
                continue;
            }
            let content = choice["message"]["content"].as_str().unwrap_or_default();
            let rest = self.content.rest(content)?;
            if !rest.is_empty() {
                events.push(self.chunk(body, &choice["index"], json!({ "content": rest }), &Value::Null));
            }
        }
        if self.any && !self.finished {
            let choice = &body["choices"][0];
            events.push(self.chunk(body, &choice["index"], json!({}), &choice["finish_reason"]));
        }
        if self.usage_wanted && !body["usage"].is_null() {
            let mut last = self.envelope(body);
            last["choices"] = json!([]);
            last["usage"] = body["usage"].clone();
            events.push(StreamEvent { event: None, data: last.to_string() });
        }
        Ok(events)
    }

    /// The events that end it as a content filter does: of each choice that has not ended.
    pub(super) fn filtered(&self) -> Vec<StreamEvent> {
        let body = json!({ "id": self.id, "created": self.created });
        let open = self.choices.iter().filter(|(_, is_finished)| !**is_finished);
        open.map(|(index, _)| self.chunk(&body, &json!(index), json!({}), &json!("content_filter"))).collect()
    }

    /// A message as the chunks a streaming provider would have sent, content in one piece.
    fn whole_choice(&self, body: &Value, choice: &Value) -> Vec<StreamEvent> {
        let mut delta = choice["message"].clone();
        if let Some(calls) = delta["tool_calls"].as_array_mut() {
            for (index, call) in calls.iter_mut().enumerate() {
                call["index"] = index.into();
            }
        }
        let index = &choice["index"];
        vec![self.chunk(body, index, delta, &Value::Null), self.chunk(body, index, json!({}), &choice["finish_reason"])]
    }

    fn chunk(&self, body: &Value, index: &Value, delta: Value, finish: &Value) -> StreamEvent {
        let mut chunk = self.envelope(body);
        chunk["choices"] = json!([{ "index": index, "delta": delta, "finish_reason": finish }]);
        StreamEvent { event: None, data: chunk.to_string() }
    }

    fn envelope(&self, body: &Value) -> Value {
        json!({ "id": body["id"], "object": "chat.completion.chunk", "created": body["created"], "model": self.model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":"c","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"héllo world"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#;

    fn body() -> Value {
        serde_json::from_str(BODY).expect("JSON")
    }

    fn event(delta: Value) -> StreamEvent {
        StreamEvent {
            event: None,
            data: json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }).to_string(),
        }
    }

    fn content(events: &[StreamEvent]) -> String {
        let parsed = events.iter().filter_map(|e| serde_json::from_str::<Chunk>(&e.data).ok());
        parsed.flat_map(|c| c.choices).filter_map(|c| c.delta.content).collect()
    }

    #[test]
    fn the_rest_joins_what_was_sent() {
        let (mut sent, body) = (Sent::default(), body());
        assert_eq!(content(&sent.rest(&body).expect("whole")), "héllo world");
        sent.note(&[event(json!({ "role": "assistant", "content": "" })), event(json!({ "content": "héllo" }))]);
        let rest = sent.rest(&body).expect("rest");
        assert_eq!((content(&rest), rest.len()), (" world".to_owned(), 2));
        sent.note(&[event(json!({ "tool_calls": [] }))]);
        assert!(sent.rest(&body).expect_err("cut").contains("tool calls"));
    }

    #[test]
    fn a_filter_ends_the_choices_that_are_open() {
        let mut sent = Sent::default();
        sent.note(&[
            event(json!({ "content": "a" })),
            StreamEvent {
                event: None,
                data: json!({ "id": "c", "created": 1, "choices": [{ "index": 1, "delta": {}, "finish_reason": "stop" }] })
                    .to_string(),
            },
        ]);
        let events = sent.filtered();
        let document: Value = serde_json::from_str(&events[0].data).expect("JSON");
        assert_eq!((events.len(), &document["id"]), (1, &json!("c")));
        let expected = json!([{ "index": 0, "delta": {}, "finish_reason": "content_filter" }]);
        assert_eq!(document["choices"], expected);
    }

    #[test]
    fn usage_only_if_asked() {
        let count = |usage_wanted| Sent { usage_wanted, ..Sent::default() }.rest(&body()).expect("whole").len();
        assert_eq!((count(false), count(true)), (2, 3));
    }
}
