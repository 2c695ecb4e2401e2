//! Streams that are made of whole answers, and those that are gone on with.

use super::*;
use proptest::prelude::*;

const BODY: &str = r#"{"id":"c","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"héllo world"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#;

fn body() -> Value {
    serde_json::from_str(BODY).expect("JSON")
}

fn event(delta: Value) -> StreamEvent {
    told(delta, Value::Null)
}

fn told(delta: Value, logprobs: Value) -> StreamEvent {
    let choice = json!({ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": null });
    StreamEvent { event: None, data: json!({ "choices": [choice] }).to_string() }
}

fn documents(events: &[StreamEvent]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_str(&event.data).expect("JSON")).collect()
}

/// Puts a delta into what came before it, as OpenAI's clients do.
fn merge(name: &str, into: &mut Value, from: &Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (into @ Value::Null, Value::Array(_)) => {
            *into = json!([]);
            merge(name, into, from);
        }
        (into @ Value::Null, Value::Object(_)) => {
            *into = json!({});
            merge(name, into, from);
        }
        (Value::String(old), Value::String(new)) if !matches!(name, "role" | "id" | "type" | "name") => {
            old.push_str(new);
        }
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                merge(name, old.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for item in new {
                let known = old.iter().position(|known| item["index"].is_u64() && known["index"] == item["index"]);
                match known {
                    Some(at) => merge("", &mut old[at], item),
                    None => old.push(item.clone()),
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The only choice of a stream: its message without what is empty and without indexes, log probabilities, and why it ended.
fn put_together(events: &[StreamEvent]) -> Value {
    let mut choice = json!({ "message": {}, "logprobs": null, "finish_reason": null });
    for chunk in documents(events) {
        for part in chunk["choices"].as_array().expect("choices") {
            merge("message", &mut choice["message"], &part["delta"]);
            merge("logprobs", &mut choice["logprobs"], &part["logprobs"]);
            merge("finish_reason", &mut choice["finish_reason"], &part["finish_reason"]);
        }
    }
    for call in choice["message"].get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        call.as_object_mut().expect("a call").remove("index");
    }
    choice["message"].as_object_mut().expect("a message").retain(|_, value| !value.is_null() && *value != "");
    choice
}

fn content(events: &[StreamEvent]) -> String {
    put_together(events)["message"]["content"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_rest_joins_what_was_sent() {
    let (mut sent, body) = (Sent::default(), body());
    assert_eq!(content(&sent.rest(&body).expect("whole")), "héllo world");
    sent.note(&[event(json!({ "role": "assistant", "content": "" })), event(json!({ "content": "héllo" }))]);
    let rest = sent.rest(&body).expect("rest");
    assert_eq!((content(&rest), rest.len()), (" world".to_owned(), 2));
    sent.note(&[event(json!({ "content": " word" }))]);
    assert!(sent.rest(&body).is_err(), "another text");
}

#[test]
fn calls_reasoning_and_signatures_behind_the_cut_are_sent_too() {
    let call = |name: &str, arguments: &str| json!({ "id": format!("call_{name}"), "type": "function", "function": { "name": name, "arguments": arguments } });
    let message = json!({
        "role": "assistant", "content": null, "reasoning_content": "Hm, well.", "refusal": null,
        "thinking_blocks": [{ "type": "thinking", "thinking": "Hm, well.", "signature": "s" }],
        "extra_content": { "google": { "thought_signature": "t" } },
        "tool_calls": [call("a", "{\"x\":1}"), call("b", "{}")],
    });
    let body = json!({ "id": "c", "created": 1, "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }] });
    let mut sent = Sent::default();
    sent.note(&[event(json!({ "role": "assistant", "content": "" })), event(json!({ "reasoning_content": "Hm," }))]);
    let rest = documents(&sent.rest(&body).expect("rest"));
    let delta = &rest[0]["choices"][0]["delta"];
    assert_eq!(
        (&delta["reasoning_content"], &delta["thinking_blocks"]),
        (&json!(" well."), &message["thinking_blocks"])
    );
    assert_eq!(delta["extra_content"], message["extra_content"]);
    assert_eq!((&delta["tool_calls"][1]["index"], &delta["tool_calls"][1]["id"]), (&json!(1), &json!("call_b")));
    assert_eq!(rest[1]["choices"][0]["finish_reason"], "tool_calls");
    let begun =
        json!({ "index": 0, "id": "call_a", "type": "function", "function": { "name": "a", "arguments": "{\"x\"" } });
    sent.note(&[
        event(json!({ "reasoning_content": " well." })),
        event(json!({ "thinking_blocks": message["thinking_blocks"], "extra_content": message["extra_content"] })),
        event(json!({ "tool_calls": [begun] })),
    ]);
    let mut second = call("b", "{}");
    second["index"] = json!(1);
    let left = json!({ "tool_calls": [{ "function": { "arguments": ":1}" }, "index": 0 }, second] });
    assert_eq!(documents(&sent.rest(&body).expect("rest"))[0]["choices"][0]["delta"], left);
}

#[test]
fn what_cannot_be_gone_on_with_is_an_error() {
    let whole = json!({ "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
        "content": "a", "reasoning_content": "b", "tool_calls": [{ "id": "c", "function": { "name": "f", "arguments": "{}" } }],
    } }] });
    for other in [
        json!({ "reasoning_content": "other" }),
        json!({ "refusal": "no" }),
        json!({ "thinking_blocks": [{ "thinking": "b" }] }),
        json!({ "tool_calls": [{ "index": 0, "id": "d" }] }),
        json!({ "tool_calls": [{ "index": 1, "id": "c" }] }),
        json!({ "tool_calls": [{ "id": "c", "function": { "name": "f", "arguments": "" } }] }),
    ] {
        let mut sent = Sent::default();
        sent.note(&[event(other.clone())]);
        assert!(sent.rest(&whole).is_err(), "{other}");
    }
    let mut sent = Sent::default();
    sent.note(&[told(json!({ "content": "a" }), json!({ "content": [{ "token": "a", "logprob": -1.0 }] }))]);
    assert!(sent.rest(&whole).is_err(), "log probabilities that the whole does not have");
}

#[test]
fn choices_end_one_by_one() {
    let choice = |index: u64| json!({ "index": index, "message": { "content": "ab" }, "finish_reason": "stop" });
    let body = json!({ "choices": [choice(0), choice(1), choice(2)] });
    let chunk = |choice: Value| StreamEvent { event: None, data: json!({ "choices": [choice] }).to_string() };
    let mut sent = Sent::default();
    sent.note(&[
        chunk(json!({ "index": 1, "delta": { "content": "a" }, "finish_reason": null })),
        chunk(json!({ "index": 0, "delta": { "content": "ab" }, "finish_reason": "stop" })),
    ]);
    let rest = documents(&sent.rest(&body).expect("rest"));
    let parts: Vec<_> = rest.iter().map(|chunk| &chunk["choices"][0]).collect();
    let said: Vec<_> = parts.iter().map(|part| (part["index"].as_u64(), part["delta"]["content"].as_str())).collect();
    assert_eq!(said, [(Some(1), Some("b")), (Some(1), None), (Some(2), Some("ab")), (Some(2), None)]);
}

#[test]
fn a_stream_of_a_whole_answer_has_all_its_fields() {
    let logprobs = json!({ "content": [{ "token": "hi", "logprob": -0.5, "top_logprobs": [] }], "refusal": null });
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "other", "service_tier": "default",
        "system_fingerprint": "fp", "usage": { "total_tokens": 3 }, "choices": [{
            "index": 0, "message": { "role": "assistant", "content": "hi" }, "logprobs": logprobs, "finish_reason": "stop",
            "content_filter_results": { "hate": { "filtered": false } },
        }],
    });
    let chunks = documents(
        &Sent { usage_wanted: true, model: "chat".to_owned(), ..Sent::default() }.rest(&body).expect("whole"),
    );
    assert_eq!(chunks.len(), 3);
    for chunk in &chunks {
        assert_eq!((&chunk["service_tier"], &chunk["system_fingerprint"]), (&json!("default"), &json!("fp")));
        assert_eq!((&chunk["object"], &chunk["model"]), (&json!("chat.completion.chunk"), &json!("chat")));
    }
    assert_eq!(chunks[0]["choices"][0]["logprobs"], logprobs);
    let end = json!({ "index": 0, "delta": {}, "finish_reason": "stop", "content_filter_results": { "hate": { "filtered": false } } });
    assert_eq!(chunks[1]["choices"], json!([end]));
    assert_eq!((chunks[0].get("usage"), &chunks[2]["usage"]), (None, &body["usage"]));
}

#[test]
fn a_filter_ends_the_choices_that_are_open() {
    let mut sent = Sent::default();
    let ended = json!({ "id": "c", "created": 1, "choices": [{ "index": 1, "delta": {}, "finish_reason": "stop" }] });
    sent.note(&[event(json!({ "content": "a" })), StreamEvent { event: None, data: ended.to_string() }]);
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

/// A piece of a stream. That of a call is of the call so far numbered, or of a new one.
#[derive(Debug, Clone)]
enum Piece {
    Text(&'static str, String),
    Probable(String),
    Call(u64, String),
    Thought(String),
    Signed(String),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = || "[a-zé]{0,3}";
    let name = prop_oneof![Just("content"), Just("reasoning_content"), Just("refusal")];
    let piece = prop_oneof![
        (name, text()).prop_map(|(name, text)| Piece::Text(name, text)),
        text().prop_map(Piece::Probable),
        (0..4u64, text()).prop_map(|(call, text)| Piece::Call(call, text)),
        text().prop_map(Piece::Thought),
        text().prop_map(Piece::Signed),
    ];
    prop::collection::vec(piece, 0..24)
}

/// The stream that the pieces make, without its end.
fn stream(pieces: &[Piece]) -> Vec<StreamEvent> {
    let mut calls = 0;
    let mut events = vec![event(json!({ "role": "assistant", "content": "" }))];
    for piece in pieces {
        events.push(match piece {
            Piece::Text(name, text) => event(json!({ *name: text })),
            Piece::Probable(text) => {
                told(json!({ "content": text }), json!({ "content": [{ "token": text, "logprob": -0.25 }] }))
            }
            Piece::Call(index, more) if *index < calls => {
                event(json!({ "tool_calls": [{ "index": index, "function": { "arguments": more } }] }))
            }
            Piece::Call(_, begun) => {
                let function = json!({ "name": "f", "arguments": begun });
                let call =
                    json!({ "index": calls, "id": format!("call_{calls}"), "type": "function", "function": function });
                calls += 1;
                event(json!({ "tool_calls": [call] }))
            }
            Piece::Thought(text) => {
                event(json!({ "thinking_blocks": [{ "type": "thinking", "thinking": text, "signature": "s" }] }))
            }
            Piece::Signed(text) => event(json!({ "extra_content": { "google": { "thought_signature": text } } })),
        });
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever a stream is cut, what was sent and the rest are the whole.
    #[test]
    fn a_stream_is_gone_on_with_wherever_it_was_cut(pieces in pieces(), cut in any::<prop::sample::Index>()) {
        let events = stream(&pieces);
        let mut whole = put_together(&events);
        (whole["index"], whole["finish_reason"]) = (json!(0), json!("stop"));
        let body = json!({ "id": "c", "created": 1, "choices": [whole] });
        let events = &events[..cut.index(events.len() + 1)];
        let mut sent = Sent::default();
        sent.note(events);
        let both = put_together(&[events, &sent.rest(&body).expect("rest")].concat());
        for name in ["message", "logprobs", "finish_reason"] {
            prop_assert_eq!(&both[name], &body["choices"][0][name], "{}", name);
        }
    }
}
