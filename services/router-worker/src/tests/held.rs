//! What is held of a stream before its first content: refusals, which a fallback may do better than, and large beginnings.

use super::{
    fake::{Fake, Reply},
    requests::{Bench, Chunks, request},
};
use crate::execute::Finished;
use serde_json::{Value, json};
use tollgate_schemas::{ApiType, Request};

/// A provider's own API: its kind as the configuration has it, the API, a request, and a stream that says no more than that the
/// model will not speak of it.
type Refusal = (&'static str, ApiType, Value, Vec<Value>);

fn refusals() -> Vec<Refusal> {
    let said = || json!([{ "role": "user", "content": "one two three" }]);
    let chat = |choices: Value, usage: Value| json!({ "id": "c", "created": 1, "model": "m", "choices": choices, "usage": usage });
    let choice = |delta: Value, reason: Value| json!([{ "index": 0, "delta": delta, "finish_reason": reason }]);
    let usage = json!({ "prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8 });
    let response = |status: &str, more: Value| {
        let mut response = json!({ "id": "r", "object": "response", "status": status, "model": "m", "output": [] });
        response.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        response
    };
    let withheld = json!({ "incomplete_details": { "reason": "content_filter" },
        "usage": { "input_tokens": 7, "output_tokens": 1, "total_tokens": 8 } });
    vec![
        (
            "openai",
            ApiType::ChatCompletions,
            json!({ "model": "x", "messages": said(), "stream_options": { "include_usage": true } }),
            vec![
                chat(choice(json!({ "role": "assistant", "content": "", "refusal": null }), Value::Null), Value::Null),
                chat(choice(json!({ "refusal": "I will not." }), Value::Null), Value::Null),
                chat(choice(json!({}), json!("content_filter")), Value::Null),
                chat(json!([]), usage),
            ],
        ),
        (
            "anthropic",
            ApiType::Messages,
            json!({ "model": "x", "max_tokens": 9, "messages": said() }),
            vec![
                json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant", "model": "m",
                    "content": [], "stop_reason": null, "usage": { "input_tokens": 7, "output_tokens": 1 } } }),
                json!({ "type": "message_delta", "delta": { "stop_reason": "refusal" }, "usage": { "output_tokens": 1 } }),
                json!({ "type": "message_stop" }),
            ],
        ),
        (
            "gemini",
            ApiType::GenerateContent,
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "one two three" }] }] }),
            vec![json!({ "promptFeedback": { "blockReason": "SAFETY" }, "modelVersion": "m",
                "usageMetadata": { "promptTokenCount": 7, "totalTokenCount": 7 } })],
        ),
        (
            "openai, preset: openai",
            ApiType::Responses,
            json!({ "model": "x", "input": "one two three" }),
            vec![
                json!({ "type": "response.created", "sequence_number": 0, "response": response("in_progress", json!({})) }),
                json!({ "type": "response.incomplete", "sequence_number": 1, "response": response("incomplete", withheld) }),
            ],
        ),
    ]
}

/// With `fallbacks` behind a provider of that kind at `url`.
fn bench(kind: &str, url: &str, fallbacks: &str) -> Bench {
    Bench::with_endpoints(&format!(
        "
  up: {{ kind: {kind}, base_url: \"{url}\", api_key: k }}
endpoints:
  - name: chat
    destinations: [ {{ name: shy, provider: up, model: m }} ]
    fallbacks: [ {fallbacks} ]
    retry: {{ attempts: 1 }}
"
    ))
}

const OPEN: &str = "{ name: open, provider: demo, model: mock, on: [ content_policy ] }";

fn asked(api_type: ApiType, body: &Value) -> Request {
    let mut body = body.clone();
    if api_type != ApiType::GenerateContent {
        body["stream"] = true.into();
    }
    Request { api_type, stream: true, ..request("chat", body) }
}

fn streamed(events: &[Value]) -> Reply {
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    Reply::stream(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

fn sent(chunks: &Chunks) -> String {
    chunks.documents().iter().map(Value::to_string).collect()
}

fn is_refusal(text: &str) -> bool {
    ["content_filter", "\"refusal\":\"I", "\"stop_reason\":\"refusal\"", "SAFETY"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// Destinations that were called, and their codes of failures.
fn tried(finished: &Finished) -> Vec<(&str, Option<&str>)> {
    let attempts = finished.usage.attempts.iter();
    attempts.map(|attempt| (attempt.destination.as_str(), attempt.error_code.as_deref())).collect()
}

#[tokio::test]
async fn a_stream_that_only_refuses_is_not_shown_where_another_model_may_speak_of_it() {
    for (kind, api_type, body, events) in refusals() {
        let fake = Fake::start(vec![streamed(&events)]).await;
        let (finished, chunks) = bench(kind, &fake.url, OPEN).run(&asked(api_type, &body)).await;
        assert_eq!((finished.terminal.status, finished.terminal.attempts), (200, 2), "{kind} {:?}", finished.terminal);
        assert_eq!(finished.terminal.destination.as_deref(), Some("open"), "{kind}");
        assert!(sent(&chunks).contains("three") && !is_refusal(&sent(&chunks)), "{kind}: {}", sent(&chunks));
        let refused = &finished.usage.attempts[0];
        assert_eq!((refused.destination.as_str(), refused.input_tokens), ("shy", Some(7)), "{kind}: it is billed");
    }
}

#[tokio::test]
async fn a_stream_that_only_refuses_passes_as_it_came_where_nobody_may_speak_of_it() {
    for (kind, api_type, body, events) in refusals() {
        for fallbacks in ["", "{ name: other, provider: demo, model: mock }"] {
            let fake = Fake::start(vec![streamed(&events)]).await;
            let (finished, chunks) = bench(kind, &fake.url, fallbacks).run(&asked(api_type, &body)).await;
            assert_eq!((finished.terminal.status, tried(&finished)), (200, vec![("shy", None)]), "{kind}");
            assert_eq!((chunks.documents().len(), is_refusal(&sent(&chunks))), (events.len(), true), "{kind}");
            assert_eq!(finished.usage.input_tokens, Some(7), "{kind}");
            assert!(finished.usage.time_to_first_byte_ms.is_some(), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_refusal_that_was_held_goes_out_whole_if_nobody_does_better() {
    for (kind, api_type, body, events) in refusals() {
        let fake = Fake::start(vec![streamed(&events)]).await;
        let broken = "{ name: open, provider: demo, model: mock-500, on: [ content_policy ] }";
        let (finished, chunks) = bench(kind, &fake.url, broken).run(&asked(api_type, &body)).await;
        assert_eq!((finished.terminal.status, finished.terminal.destination.as_deref()), (200, Some("shy")), "{kind}");
        assert_eq!(tried(&finished), [("shy", None), ("open", Some("server_error"))], "{kind}");
        assert!(chunks.documents().is_empty(), "{kind}: a stream of it is made at the door");
        assert!(is_refusal(&super::requests::body(&finished).to_string()), "{kind}");
    }
}

#[tokio::test]
async fn a_stream_that_refuses_behind_content_or_at_length_is_shown() {
    let (kind, api_type, body, events) = refusals().swap_remove(0);
    let delta = |delta: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": null });
        json!({ "id": "c", "created": 1, "model": "m", "choices": [choice] })
    };
    let long = || delta(json!({ "refusal": "I will not. ".repeat(40_000) }));
    for first in [vec![delta(json!({ "content": "Well," }))], vec![long(), long(), long()]] {
        let events: Vec<Value> = events[..1].iter().chain(&first).chain(&events[1..]).cloned().collect();
        let fake = Fake::start(vec![streamed(&events)]).await;
        let (finished, chunks) = bench(kind, &fake.url, OPEN).run(&asked(api_type, &body)).await;
        assert_eq!((tried(&finished), chunks.documents().len()), (vec![("shy", None)], events.len()));
        assert_eq!(finished.usage.finish_reason.as_deref(), Some("content_filter"));
    }
}

/// OpenAI's API repeats instructions and tools in the first two events.
fn answering(instructions: &str) -> Vec<Value> {
    let response = |status: &str| {
        json!({ "id": "r", "object": "response", "status": status, "model": "m", "instructions": instructions,
            "output": [], "usage": { "input_tokens": 7, "output_tokens": 1, "total_tokens": 8 } })
    };
    vec![
        json!({ "type": "response.created", "sequence_number": 0, "response": response("in_progress") }),
        json!({ "type": "response.in_progress", "sequence_number": 1, "response": response("in_progress") }),
        json!({ "type": "response.completed", "sequence_number": 2, "response": response("completed") }),
    ]
}

#[tokio::test]
async fn large_instructions_break_no_stream() {
    let body = json!({ "model": "x", "input": "hi" });
    let fake = Fake::start(vec![streamed(&answering(&"x".repeat(700_000)))]).await;
    let bench = bench("openai, preset: openai", &fake.url, "");
    let (finished, chunks) = bench.run(&asked(ApiType::Responses, &body)).await;
    assert_eq!((finished.terminal.status, chunks.documents().len()), (200, 3), "{:?}", finished.terminal.error);
}

/// More in a row than the failures that open a circuit: if it were open, the fallback alone would be called.
#[tokio::test]
async fn an_event_that_is_too_large_is_no_sign_of_illness() {
    let body = json!({ "model": "x", "input": "hi" });
    let fake = Fake::start(vec![streamed(&answering(&"x".repeat(1_100_000))); 7]).await;
    let bench = bench("openai, preset: openai", &fake.url, "{ name: well, provider: demo, model: mock }");
    for _ in 0..7 {
        let (finished, _) = bench.run(&asked(ApiType::Responses, &body)).await;
        assert_eq!(tried(&finished), [("shy", Some("malformed_response")), ("well", None)]);
    }
}
