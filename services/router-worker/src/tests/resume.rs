//! Streams that break after their caller has seen their beginning, at an endpoint that goes on with them.

use super::{
    fake::{Fake, Reply},
    requests::{Bench, Chunks, ask_stream, body, code, request},
};
use crate::execute::Finished;
use serde_json::{Value, json};
use tollgate_schemas::{ApiType, AttemptAction, ErrorCode, Request};

fn delta(text: &str) -> String {
    let choice = json!({ "index": 0, "delta": { "content": text }, "finish_reason": null });
    json!({ "id": "first", "created": 7, "model": "m", "choices": [choice] }).to_string()
}

/// Says `mock: one ` and breaks. A first event that is read together with the break is never sent, so it comes alone.
fn broken() -> Reply {
    Reply::stream(&[&delta("mock: "), &delta("one ")]).slowly(30)
}

/// An endpoint whose first destination is at `url` and cannot go on with an answer; the others are the mock's models.
fn bench(url: &str, models: &[&str], more: &str) -> Bench {
    let fallback = |(at, model): (usize, &&str)| format!("{{ name: mock-{at}, provider: demo, model: {model} }}");
    let fallbacks: Vec<String> = models.iter().enumerate().map(fallback).collect();
    Bench::with_endpoints(&format!(
        "
  up: {{ kind: openai, base_url: \"{url}\" }}
endpoints:
  - name: chat
    destinations: [ {{ name: one, provider: up, model: m }} ]
    fallbacks: [ {} ]
    retry: {{ attempts: 1 }}
    {more}
",
        fallbacks.join(", ")
    ))
}

const RESUME: &str = "on_midstream_failure: resume";

fn asked(more: Value) -> Request {
    let mut asked = json!({ "model": "x", "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "one two three" }] });
    for (name, value) in more.as_object().expect("an object") {
        asked[name.as_str()] = value.clone();
    }
    request("chat", asked)
}

fn attempts(finished: &Finished) -> Vec<(&str, AttemptAction, Option<&str>)> {
    let attempts = finished.usage.attempts.iter();
    attempts.map(|a| (a.destination.as_str(), a.action, a.error_code.as_deref())).collect()
}

fn text(finished: &Finished) -> String {
    body(finished)["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn a_broken_stream_goes_on_elsewhere_and_is_one_answer() {
    use AttemptAction::{InitialAttempt, Resume};
    let fake = Fake::start(vec![broken(), broken()]).await;
    let bench = bench(&fake.url, &["mock"], &format!("{RESUME}\n    cache: {{ ttl: 1h }}"));
    for calls in 1..=2 {
        let (finished, chunks) = bench.run(&asked(json!({}))).await;
        assert_eq!((finished.terminal.status, code(&finished)), (200, None));
        assert_eq!((chunks.text().as_str(), text(&finished).as_str()), ("mock: one two three", "mock: one two three"));
        assert_eq!(attempts(&finished), [("one", InitialAttempt, Some("stream_cut_off")), ("mock-0", Resume, None)]);
        let documents = chunks.documents();
        assert!(documents.iter().all(|chunk| chunk["id"] == "first" && chunk["created"] == 7), "{documents:#?}");
        assert!(documents.iter().all(|chunk| chunk["choices"][0]["delta"].get("role").is_none()));
        let ends: Vec<_> = documents.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
        assert_eq!(ends, ["stop"]);
        let usage = documents.iter().map(|chunk| &chunk["usage"]).filter(|usage| usage.is_object());
        let usage: Vec<&Value> = usage.collect();
        // 13 characters and 10; then those 23, and 9: (n + 1) / 4 each.
        let row = &finished.usage;
        assert_eq!((row.input_tokens, row.output_tokens), (Some(3 + 6), Some(2 + 2)));
        assert_eq!((usage.len(), usage[0]["prompt_tokens"].as_i64()), (1, row.input_tokens));
        assert_eq!((usage[0]["completion_tokens"].as_i64(), usage[0]["total_tokens"].as_i64()), (Some(4), Some(13)));
        assert_eq!(body(&finished)["usage"]["total_tokens"], 13);
        assert_eq!((row.finish_reason.as_deref(), row.destination_name.as_deref()), (Some("stop"), Some("mock-0")));
        assert_eq!((row.cache_hit, fake.count()), (false, calls), "an answer of two calls is not kept");
    }
}

#[tokio::test]
async fn without_the_wish_or_without_anybody_it_ends_as_ever() {
    let plain = json!({});
    let silent = "on_midstream_failure: error";
    for (models, more, body) in [
        (&["mock"][..], silent, &plain),
        (&[][..], RESUME, &plain),
        (&["mock"][..], RESUME, &json!({ "response_format": { "type": "json_object" } })),
        (&["mock"][..], RESUME, &json!({ "n": 2 })),
    ] {
        let fake = Fake::start(vec![broken()]).await;
        let (finished, chunks) = bench(&fake.url, models, more).run(&asked(body.clone())).await;
        assert_eq!((code(&finished), finished.terminal.status), (Some(ErrorCode::ProviderError), 502));
        assert_eq!((chunks.text().as_str(), text(&finished).as_str()), ("mock: one ", "mock: one "));
        assert_eq!((finished.usage.attempts.len(), finished.usage.output_tokens), (1, Some(2)));
    }
}

#[tokio::test]
async fn whoever_breaks_it_off_is_asked_first_then_the_others_while_there_are_attempts() {
    use AttemptAction::{InitialAttempt, Resume};
    let cut = Some("stream_cut_off");
    // Two words a call, so three calls make five words.
    let bench = |attempts: u32| {
        Bench::with_endpoints(&format!(
            "
endpoints:
  - name: chat
    {RESUME}
    destinations: [ {{ name: m, provider: demo, model: mock-cut-2 }} ]
    retry: {{ attempts: 1, max_attempts: {attempts} }}
"
        ))
    };
    let (finished, chunks) = bench(3).run(&ask_stream("chat")).await;
    assert_eq!((finished.terminal.status, chunks.text().as_str()), (200, "mock: one two three"));
    assert_eq!(attempts(&finished), [("m", InitialAttempt, cut), ("m", Resume, cut), ("m", Resume, None)]);
    let (finished, chunks) = bench(2).run(&ask_stream("chat")).await;
    assert_eq!((code(&finished), chunks.text().as_str()), (Some(ErrorCode::ProviderError), "mock: one two three"));
    assert_eq!((attempts(&finished).len(), text(&finished).as_str()), (2, "mock: one two three"));
    let fake = Fake::start(vec![broken()]).await;
    let (finished, chunks) = self::bench(&fake.url, &["mock-500", "mock"], RESUME).run(&ask_stream("chat")).await;
    assert_eq!((finished.terminal.status, chunks.text().as_str()), (200, "mock: one two three"));
    let failed = ("mock-0", Resume, Some("server_error"));
    assert_eq!(attempts(&finished)[1..], [failed, ("mock-1", Resume, None)]);
}

#[tokio::test]
async fn callers_of_translated_apis_see_one_stream_too() {
    let user = json!([{ "role": "user", "content": "one two three" }]);
    let messages = json!({ "model": "x", "stream": true, "max_tokens": 50, "messages": user });
    let responses = json!({ "model": "x", "stream": true, "input": "one two three" });
    let all = |chunks: &Chunks, name: &str| -> String {
        let deltas = chunks.documents().into_iter().filter(|event| event["type"] == name);
        let text = |event: Value| event["delta"].as_str().or(event["delta"]["text"].as_str()).map(str::to_owned);
        deltas.filter_map(text).collect()
    };
    let count = |chunks: &Chunks, name: &str| chunks.documents().iter().filter(|event| event["type"] == name).count();

    let fake = Fake::start(vec![broken()]).await;
    let request_of = |api_type, body: &Value| Request { api_type, ..request("chat", body.clone()) };
    let (finished, chunks) = bench(&fake.url, &["mock"], RESUME).run(&request_of(ApiType::Messages, &messages)).await;
    assert_eq!(all(&chunks, "content_block_delta"), "mock: one two three");
    for once in ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"] {
        assert_eq!(count(&chunks, once), 1, "{once}");
    }
    let message = body(&finished);
    assert_eq!((&message["id"], &message["stop_reason"]), (&json!("first"), &json!("end_turn")));
    assert_eq!(message["content"], json!([{ "type": "text", "text": "mock: one two three" }]));
    assert_eq!(message["usage"]["output_tokens"].as_i64(), finished.usage.output_tokens);

    let fake = Fake::start(vec![broken()]).await;
    let (finished, chunks) = bench(&fake.url, &["mock"], RESUME).run(&request_of(ApiType::Responses, &responses)).await;
    assert_eq!(all(&chunks, "response.output_text.delta"), "mock: one two three");
    for once in ["response.created", "response.output_item.added", "response.output_item.done", "response.completed"] {
        assert_eq!(count(&chunks, once), 1, "{once}");
    }
    let numbers: Vec<_> = chunks.documents().iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    let response = body(&finished);
    assert_eq!(response["output"][0]["content"][0]["text"], "mock: one two three");
    assert_eq!((&response["status"], finished.usage.attempts.len()), (&json!("completed"), 2));
}
