//! A chat completion's stream.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/streaming>.

use super::{
    seen::{Seen, first_delta},
    wants_usage,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tollgate_schemas::{Request, StreamEvent};

/// Fields of an answer that chunks have in a form of their own.
const HEAD: [&str; 6] = ["id", "object", "created", "model", "choices", "usage"];
/// The same of a choice. What else stands in one says how things are at its end (Azure's `content_filter_results`).
const OF_CHOICE: [&str; 4] = ["index", "message", "logprobs", "finish_reason"];

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
#[derive(Default)]
pub(super) struct Sent {
    /// By their index. The router bounds how many an answer may have.
    choices: BTreeMap<u64, Choice>,
    /// As the chunks have them.
    id: Value,
    created: Value,
    usage_wanted: bool,
    model: String,
}

#[derive(Default)]
struct Choice {
    message: Seen,
    logprobs: Seen,
    is_finished: bool,
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
    index: u64,
    #[serde(default)]
    delta: Value,
    #[serde(default)]
    logprobs: Value,
    finish_reason: Option<String>,
}

impl Sent {
    /// Nothing yet of the answer to this request.
    pub(super) fn of(request: &Request) -> Self {
        Self { usage_wanted: wants_usage(request), model: request.model.clone(), ..Self::default() }
    }

    pub(super) fn note(&mut self, events: &[StreamEvent]) {
        for chunk in events.iter().filter_map(|e| serde_json::from_str::<Chunk>(&e.data).ok()) {
            (self.id, self.created) = (chunk.id, chunk.created);
            for choice in chunk.choices {
                let sent = self.choices.entry(choice.index).or_default();
                sent.message.add("message", &choice.delta);
                sent.logprobs.add("logprobs", &choice.logprobs);
                sent.is_finished |= choice.finish_reason.is_some();
            }
        }
    }

    /// The events that make a stream of the whole answer `body`, less what was sent, or why there are none.
    pub(super) fn rest(&self, body: &Value) -> Result<Vec<StreamEvent>, &'static str> {
        let mut events = Vec::new();
        for choice in body["choices"].as_array().into_iter().flatten() {
            let (delta, logprobs) = match choice["index"].as_u64().and_then(|index| self.choices.get(&index)) {
                Some(sent) if sent.is_finished => continue,
                Some(sent) => (
                    sent.message.rest("message", &choice["message"])?,
                    sent.logprobs.rest("logprobs", &choice["logprobs"])?,
                ),
                None => (Some(whole(&choice["message"])), Some(choice["logprobs"].clone())),
            };
            let index = &choice["index"];
            if delta.is_some() || logprobs.is_some() {
                let (delta, logprobs) = (delta.unwrap_or_else(|| json!({})), logprobs.unwrap_or_default());
                let begun = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null });
                events.push(self.chunk(body, begun));
            }
            let mut end = json!({ "index": index, "delta": {}, "finish_reason": choice["finish_reason"] });
            copy(choice, &OF_CHOICE, &mut end);
            events.push(self.chunk(body, end));
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
        let open = self.choices.iter().filter(|(_, choice)| !choice.is_finished);
        let end = |index: &u64| json!({ "index": index, "delta": {}, "finish_reason": "content_filter" });
        open.map(|(index, _)| self.chunk(&body, end(index))).collect()
    }

    fn chunk(&self, body: &Value, choice: Value) -> StreamEvent {
        let mut chunk = self.envelope(body);
        chunk["choices"] = json!([choice]);
        StreamEvent { event: None, data: chunk.to_string() }
    }

    /// What stands beside the choices.
    fn envelope(&self, body: &Value) -> Value {
        let (id, created) = (&body["id"], &body["created"]);
        let mut chunk = json!({ "id": id, "object": "chat.completion.chunk", "created": created, "model": self.model });
        copy(body, &HEAD, &mut chunk);
        chunk
    }
}

/// A message as the delta that a streaming provider would have sent if it had sent all of it at once.
fn whole(message: &Value) -> Value {
    let fields = message.as_object().into_iter().flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), first_delta(name, value))).collect::<Map<_, _>>())
}

/// Copies the fields of an object, but for some.
fn copy(from: &Value, but: &[&str], into: &mut Value) {
    for (name, value) in from.as_object().into_iter().flatten().filter(|(name, _)| !but.contains(&name.as_str())) {
        into[name.as_str()] = value.clone();
    }
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
