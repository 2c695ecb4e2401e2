//! A message's stream.
//!
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::Beginning;
use serde_json::{Map, Value, json};
use tollgate_schemas::StreamEvent;

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
#[derive(Default)]
pub(super) struct Sent {
    any: bool,
    /// Blocks that have ended.
    done: usize,
    /// The block that is open: its index, what it was begun with and goes on with.
    open: Option<(u64, Beginning)>,
    /// Something that ends the message.
    is_ended: bool,
}

impl Sent {
    pub(super) fn note(&mut self, events: &[StreamEvent]) {
        self.any |= !events.is_empty();
        for event in events {
            let kind = event.event.as_deref().unwrap_or_default();
            if !kind.starts_with("content_block") {
                self.is_ended |= kind == "message_delta";
                continue;
            }
            let document = serde_json::from_str::<Value>(&event.data).unwrap_or_default();
            match kind {
                "content_block_start" => {
                    let mut beginning = Beginning::default();
                    beginning.add(spoken(&document["content_block"]));
                    self.open = document["index"].as_u64().map(|index| (index, beginning));
                }
                "content_block_stop" => {
                    self.done += 1;
                    self.open = None;
                }
                _ => {
                    if let Some((_, beginning)) = &mut self.open {
                        beginning.add(spoken(&document["delta"]));
                    }
                }
            }
        }
    }

    /// The events that make a stream of the whole message `body`, less what was sent, or why there are none.
    pub(super) fn rest(&self, body: &Value) -> Result<Vec<StreamEvent>, &'static str> {
        let whole = events(body);
        if !self.any {
            return Ok(whole);
        }
        if self.is_ended {
            return Err("it was cut within its end");
        }
        let blocks = body["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rest = Vec::new();
        let mut next = self.done;
        if let Some((index, beginning)) = &self.open {
            let block = blocks.get(next).filter(|block| matches!(block["type"].as_str(), Some("text" | "thinking")));
            let text = beginning.rest(spoken(block.ok_or("it was cut within a block that is no text")?))?;
            let delta = match block.and_then(|block| block["type"].as_str()) {
                Some("thinking") => json!({ "type": "thinking_delta", "thinking": text }),
                _ => json!({ "type": "text_delta", "text": text }),
            };
            rest.push(event("content_block_delta", json!({ "index": index, "delta": delta })));
            if let Some(signature) = block.map(|block| &block["signature"]).filter(|signature| signature.is_string()) {
                let delta = json!({ "type": "signature_delta", "signature": signature });
                rest.push(event("content_block_delta", json!({ "index": index, "delta": delta })));
            }
            rest.push(event("content_block_stop", json!({ "index": index })));
            next += 1;
        }
        for (index, block) in blocks.iter().enumerate().skip(next) {
            rest.extend(block_events(index, block));
        }
        rest.extend(whole.into_iter().rev().take(2).rev());
        Ok(rest)
    }

    /// The events that end it as a content filter does.
    pub(super) fn filtered(&self) -> Vec<StreamEvent> {
        let open = self.open.map(|(index, _)| event("content_block_stop", json!({ "index": index })));
        let delta = json!({ "stop_reason": "refusal", "stop_sequence": null });
        let ends = [
            event("message_delta", json!({ "delta": delta, "usage": { "output_tokens": 0 } })),
            event("message_stop", json!({})),
        ];
        open.into_iter().chain(ends).collect()
    }
}

/// The text of a block, or of a part of one.
fn spoken(block: &Value) -> &str {
    block["text"].as_str().or(block["thinking"].as_str()).or(block["partial_json"].as_str()).unwrap_or_default()
}

/// The events that make a stream of the whole message `body`.
fn events(body: &Value) -> Vec<StreamEvent> {
    let mut start = body.clone();
    let (reason, sequence) = (start["stop_reason"].take(), start["stop_sequence"].take());
    start["content"] = json!([]);
    let usage = start["usage"].clone();
    if let Some(usage) = start["usage"].as_object_mut() {
        // What is not written yet.
        usage.insert("output_tokens".to_owned(), 0.into());
    }
    let mut events = vec![event("message_start", json!({ "message": start }))];
    for (index, block) in body["content"].as_array().into_iter().flatten().enumerate() {
        events.extend(block_events(index, block));
    }
    let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
    events.push(event("message_delta", json!({ "delta": delta, "usage": usage })));
    events.push(event("message_stop", json!({})));
    events
}

/// A block in one piece: what a stream begins it with, what it adds, and its end.
fn block_events(index: usize, block: &Value) -> Vec<StreamEvent> {
    let mut start = block.clone();
    let mut taken = |name: &str, empty: Value| std::mem::replace(&mut start[name], empty);
    let deltas = match block["type"].as_str() {
        Some("text") => vec![json!({ "type": "text_delta", "text": taken("text", "".into()) })],
        Some("thinking") => {
            let thinking = json!({ "type": "thinking_delta", "thinking": taken("thinking", "".into()) });
            vec![thinking, json!({ "type": "signature_delta", "signature": taken("signature", "".into()) })]
        }
        Some("tool_use") => {
            let input = taken("input", json!({})).to_string();
            vec![json!({ "type": "input_json_delta", "partial_json": input })]
        }
        _ => Vec::new(),
    };
    let mut events = vec![event("content_block_start", json!({ "index": index, "content_block": start }))];
    let delta = |delta: Value| event("content_block_delta", json!({ "index": index, "delta": delta }));
    events.extend(deltas.into_iter().map(delta));
    events.push(event("content_block_stop", json!({ "index": index })));
    events
}

fn event(kind: &str, fields: Value) -> StreamEvent {
    let mut document = Map::from_iter([("type".to_owned(), Value::from(kind))]);
    if let Value::Object(fields) = fields {
        document.extend(fields);
    }
    StreamEvent { event: Some(kind.to_owned()), data: Value::Object(document).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_joins_what_was_sent_wherever_it_was_cut() {
        let body = json!({
            "id": "msg_1", "type": "message", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" },
                { "type": "text", "text": "h\u{e9}llo" },
                { "type": "tool_use", "id": "t", "name": "f", "input": { "a": 1 } },
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "usage": {},
        });
        let whole = events(&body);
        let text = |events: &[StreamEvent]| {
            let documents = events.iter().map(|event| serde_json::from_str::<Value>(&event.data).expect("JSON"));
            documents.map(|document| spoken(&document["delta"]).to_owned()).collect::<String>()
        };
        for cut in 0..whole.len() - 1 {
            let mut sent = Sent::default();
            sent.note(&whole[..cut]);
            let Ok(rest) = sent.rest(&body) else {
                assert!(cut > 8, "only a tool's block cannot be continued: {cut}");
                continue;
            };
            assert_eq!(text(&[&whole[..cut], &rest].concat()), text(&whole), "cut at {cut}");
            assert_eq!(rest.last(), whole.last());
        }
        let mut sent = Sent::default();
        sent.note(&[
            event("content_block_start", json!({ "index": 0, "content_block": { "type": "text", "text": "" } })),
            event("content_block_delta", json!({ "index": 0, "delta": { "type": "text_delta", "text": "other" } })),
        ]);
        let other = json!({ "type": "message", "content": [{ "type": "text", "text": "another text" }] });
        assert!(sent.rest(&other).is_err());
    }

    #[test]
    fn a_filter_closes_the_open_block() {
        let kinds = |sent: &Sent| sent.filtered().into_iter().filter_map(|event| event.event).collect::<Vec<_>>();
        let mut sent = Sent::default();
        assert_eq!(kinds(&sent), ["message_delta", "message_stop"]);
        sent.note(&[event("content_block_start", json!({ "index": 2 }))]);
        assert_eq!(kinds(&sent), ["content_block_stop", "message_delta", "message_stop"]);
        assert!(sent.filtered()[0].data.contains("\"index\":2") && sent.filtered()[1].data.contains("refusal"));
        sent.note(&[event("content_block_stop", json!({ "index": 2 }))]);
        assert_eq!(kinds(&sent).len(), 2);
    }

    #[test]
    fn a_whole_message_becomes_the_events_of_a_stream() {
        let body = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "chat",
            "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" },
                { "type": "text", "text": "hi" },
                { "type": "tool_use", "id": "t", "name": "f", "input": { "a": 1 } },
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "usage": { "input_tokens": 3, "output_tokens": 5 },
        });
        let events = events(&body);
        let kinds: Vec<&str> = events.iter().filter_map(|event| event.event.as_deref()).collect();
        let block = |deltas: usize| {
            let mut kinds = vec!["content_block_start"];
            kinds.extend(std::iter::repeat_n("content_block_delta", deltas));
            kinds.push("content_block_stop");
            kinds
        };
        let expected = [vec!["message_start"], block(2), block(1), block(1), vec!["message_delta", "message_stop"]];
        assert_eq!(kinds, expected.concat());
        let documents: Vec<Value> =
            events.iter().map(|event| serde_json::from_str(&event.data).expect("JSON")).collect();
        assert_eq!(documents[0]["message"]["content"], json!([]));
        assert_eq!(documents[0]["message"]["stop_reason"], Value::Null);
        assert_eq!(documents[5]["content_block"], json!({ "type": "text", "text": "" }));
        assert_eq!(documents[9]["delta"]["partial_json"], r#"{"a":1}"#);
        assert_eq!(documents[11]["delta"]["stop_reason"], "tool_use");
        assert_eq!(documents[11]["usage"]["output_tokens"], 5);
    }
}
