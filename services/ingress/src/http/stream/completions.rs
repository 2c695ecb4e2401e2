//! A text completion's stream.
//!
//! Source: <https://platform.openai.com/docs/api-reference/completions>. There is a choice for each prompt and each of its `n`
//! answers, and their texts may come side by side, so what was sent is counted for each.

use super::{Beginning, wants_usage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollgate_schemas::{Request, StreamEvent};

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
#[derive(Default)]
pub(super) struct Sent {
    /// By their index. The router bounds how many an answer may have.
    choices: BTreeMap<u64, Choice>,
    /// Log probabilities, which say themselves again in the whole answer: where they were cut is not known.
    beyond_text: bool,
    /// As the chunks have them.
    id: Value,
    created: Value,
    usage_wanted: bool,
    model: String,
}

#[derive(Default)]
struct Choice {
    text: Beginning,
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
    text: Option<String>,
    logprobs: Option<serde::de::IgnoredAny>,
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
                sent.text.add(choice.text.as_deref().unwrap_or_default());
                sent.is_finished |= choice.finish_reason.is_some();
                self.beyond_text |= choice.logprobs.is_some();
            }
        }
    }

    /// The events that make a stream of the whole answer `body`, less what was sent, or why there are none.
    pub(super) fn rest(&self, body: &Value) -> Result<Vec<StreamEvent>, &'static str> {
        if self.beyond_text {
            return Err("it was cut within log probabilities");
        }
        let mut events = Vec::new();
        for choice in body["choices"].as_array().into_iter().flatten() {
            let sent = choice["index"].as_u64().and_then(|index| self.choices.get(&index));
            if sent.is_some_and(|sent| sent.is_finished) {
                continue;
            }
            let text = choice["text"].as_str().unwrap_or_default();
            let rest = sent.map_or(Ok(text), |sent| sent.text.rest(text))?;
            let choice = json!({
                "index": choice["index"],
                "text": rest,
                "logprobs": choice["logprobs"],
                "finish_reason": choice["finish_reason"],
            });
            events.push(self.chunk(body, json!([choice]), None));
        }
        if self.usage_wanted && !body["usage"].is_null() {
            events.push(self.chunk(body, json!([]), Some(&body["usage"])));
        }
        Ok(events)
    }

    /// The events that end it as a content filter does: of each choice that has not ended.
    pub(super) fn filtered(&self) -> Vec<StreamEvent> {
        let body = json!({ "id": self.id, "created": self.created });
        let open = self.choices.iter().filter(|(_, choice)| !choice.is_finished);
        let end =
            |index: &u64| json!([{ "index": index, "text": "", "logprobs": null, "finish_reason": "content_filter" }]);
        open.map(|(index, _)| self.chunk(&body, end(index), None)).collect()
    }

    fn chunk(&self, body: &Value, choices: Value, usage: Option<&Value>) -> StreamEvent {
        let mut chunk = json!({
            "id": body["id"],
            "object": "text_completion",
            "created": body["created"],
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        StreamEvent { event: None, data: chunk.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":"c","created":1,"choices":[{"index":0,"text":"héllo world","logprobs":null,"finish_reason":"stop"},{"index":1,"text":"bye","logprobs":null,"finish_reason":"length"}],"usage":{"total_tokens":3}}"#;

    fn body() -> Value {
        serde_json::from_str(BODY).expect("JSON")
    }

    fn event(choice: Value) -> StreamEvent {
        StreamEvent { event: None, data: json!({ "choices": [choice] }).to_string() }
    }

    fn told(events: &[StreamEvent]) -> Vec<(u64, String, Option<String>)> {
        let parsed = events.iter().filter_map(|e| serde_json::from_str::<Chunk>(&e.data).ok());
        parsed.flat_map(|c| c.choices).map(|c| (c.index, c.text.unwrap_or_default(), c.finish_reason)).collect()
    }

    #[test]
    fn the_rest_of_each_choice_joins_what_was_sent() {
        let (mut sent, body) = (Sent::default(), body());
        let stop = || Some("stop".to_owned());
        let length = || Some("length".to_owned());
        let whole = vec![(0, "héllo world".to_owned(), stop()), (1, "bye".to_owned(), length())];
        assert_eq!(told(&sent.rest(&body).expect("whole")), whole);
        sent.note(&[event(json!({ "index": 0, "text": "héllo" })), event(json!({ "index": 1, "text": "by" }))]);
        let rest = vec![(0, " world".to_owned(), stop()), (1, "e".to_owned(), length())];
        assert_eq!(told(&sent.rest(&body).expect("rest")), rest);
        sent.note(&[event(json!({ "index": 1, "text": "e", "finish_reason": "length" }))]);
        assert_eq!(told(&sent.rest(&body).expect("rest")), rest[..1]);
        sent.note(&[event(json!({ "index": 0, "text": " ", "logprobs": { "tokens": [" "] } }))]);
        assert!(sent.rest(&body).expect_err("cut").contains("log probabilities"));
    }

    #[test]
    fn a_filter_ends_the_choices_that_are_open() {
        let mut sent = Sent::default();
        sent.note(&[
            event(json!({ "index": 0, "text": "a", "finish_reason": "stop" })),
            event(json!({ "index": 1, "text": "b" })),
        ]);
        assert_eq!(told(&sent.filtered()), [(1, String::new(), Some("content_filter".to_owned()))]);
    }

    #[test]
    fn usage_only_if_asked() {
        let count = |usage_wanted| Sent { usage_wanted, ..Sent::default() }.rest(&body()).expect("whole").len();
        assert_eq!((count(false), count(true)), (2, 3));
    }
}
