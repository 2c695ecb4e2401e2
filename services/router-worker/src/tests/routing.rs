//! Which destination serves a request: strategies, priorities, sticky splits, fallbacks for certain failures, hedged calls.

use super::{
    fake::{Fake, Reply},
    requests::{Bench, ask, ask_stream, code},
};
use crate::execute::Finished;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use tollgate_schemas::{ApiType, AttemptAction, Body, Caller, ErrorCode, Lane, Request};

fn destination(finished: &Finished) -> &str {
    finished.usage.destination_name.as_deref().expect("somebody was called")
}

async fn served_by(bench: &Bench, request: &Request) -> String {
    let (finished, _) = bench.run(request).await;
    assert_eq!(finished.terminal.status, 200, "{:?}", finished.terminal.error);
    assert_eq!(finished.terminal.destination.as_deref(), Some(destination(&finished)));
    destination(&finished).to_owned()
}

#[tokio::test]
async fn the_cheapest_is_asked_first_and_what_has_no_price_last() {
    let bench = Bench::with_endpoints(
        "
endpoints:
  - name: chat
    routing: cheapest
    destinations:
      - { name: dear, provider: demo, model: dear }
      - { name: cheap, provider: demo, model: cheap }
      - { name: cheap-and-broken, provider: demo, model: mock-500 }
    retry: { attempts: 1 }
prices:
  - { provider: demo, model: dear, input: 5, output: 5 }
  - { provider: demo, model: cheap, input: 1, output: 5 }
  - { provider: demo, model: mock-500, input: 0.5, output: 1 }
",
    );
    let (finished, _) = bench.run(&ask("chat")).await;
    let tried: Vec<_> = finished.usage.attempts.iter().map(|attempt| attempt.destination.as_str()).collect();
    assert_eq!(tried, ["cheap-and-broken", "cheap"]);
}

#[tokio::test(start_paused = true)]
async fn the_fastest_is_found_out_and_asked_from_then_on() {
    let bench = Bench::with_endpoints(
        "
endpoints:
  - name: chat
    routing: fastest
    destinations:
      - { name: slow, provider: demo, model: mock-slow-400 }
      - { name: fast, provider: demo, model: mock-slow-20 }
",
    );
    for request in [ask("chat"), ask_stream("chat")] {
        let mut served = Vec::new();
        for _ in 0..8 {
            served.push(served_by(&bench, &request).await);
        }
        assert!(served[..2].contains(&"slow".to_owned()), "each is found out about: {served:?}");
        assert!(served[2..].iter().all(|name| name == "fast"), "{served:?}");
        // What is known grows old, so that a destination that has become fast is found again.
        tokio::time::sleep(Duration::from_secs(120)).await;
        let again = [served_by(&bench, &request).await, served_by(&bench, &request).await];
        assert!(again.contains(&"slow".to_owned()), "{again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_busy_gets_the_next_call_by_its_weight() {
    let bench = Bench::with_endpoints(
        "
endpoints:
  - name: chat
    routing: least_busy
    destinations:
      - { name: small, provider: demo, model: mock-slow-500, weight: 1 }
      - { name: large, provider: demo, model: mock-slow-500, weight: 3 }
",
    );
    let request = ask("chat");
    let calls = (0..12).map(|n| {
        let (bench, request) = (&bench, &request);
        async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            served_by(bench, request).await
        }
    });
    let served = futures::future::join_all(calls).await;
    assert_eq!(served.iter().filter(|name| *name == "large").count(), 9, "{served:?}");
}

#[tokio::test]
async fn a_lower_priority_is_asked_when_the_higher_one_fails() {
    let bench = Bench::with_endpoints(
        "
endpoints:
  - name: chat
    destinations:
      - { name: reserve, provider: demo, model: mock, weight: 100, priority: 1 }
      - { name: first, provider: demo, model: mock-500 }
    fallbacks: [ { name: last, provider: demo, model: mock } ]
    retry: { attempts: 1 }
",
    );
    let (finished, _) = bench.run(&ask("chat")).await;
    let tried: Vec<_> = finished.usage.attempts.iter().map(|attempt| attempt.destination.as_str()).collect();
    assert_eq!(tried, ["first", "reserve"]);
}

#[tokio::test]
async fn who_is_sticky_stays_and_the_others_are_split() {
    let bench = Bench::with_endpoints(
        "
endpoints:
  - name: by-key
    sticky: key
    destinations: [ { name: a, provider: demo, model: mock }, { name: b, provider: demo, model: mock } ]
  - name: by-user
    sticky: user
    destinations: [ { name: a, provider: demo, model: mock }, { name: b, provider: demo, model: mock } ]
",
    );
    for (endpoint, is_by_user) in [("by-key", false), ("by-user", true)] {
        let mut seen = Vec::new();
        for n in 0..20 {
            let id = Some(format!("{n}"));
            let caller = match is_by_user {
                true => Caller { end_user: id, key_id: Some("one".to_owned()), ..ask(endpoint).caller },
                false => Caller { key_id: id, ..ask(endpoint).caller },
            };
            let request = Request { caller, ..ask(endpoint) };
            let first = served_by(&bench, &request).await;
            for _ in 0..3 {
                assert_eq!(served_by(&bench, &request).await, first);
            }
            seen.push(first);
        }
        assert!(seen.iter().any(|name| name == "a") && seen.iter().any(|name| name == "b"), "{seen:?}");
    }
}

fn with_special_fallbacks(url: &str) -> Bench {
    Bench::with_endpoints(&format!(
        "
  up: {{ kind: openai, base_url: \"{url}\" }}
endpoints:
  - name: chat
    destinations: [ {{ name: small, provider: up, model: m }} ]
    fallbacks:
      - {{ name: large, provider: demo, model: mock, on: [ context_window ] }}
      - {{ name: open, provider: demo, model: mock, on: [ content_policy ] }}
      - {{ name: any, provider: demo, model: mock }}
    retry: {{ attempts: 1 }}
"
    ))
}

#[tokio::test]
async fn a_request_that_is_too_long_or_not_spoken_of_goes_to_the_model_that_takes_it() {
    let error = |code: &str| json!({ "error": { "message": "no", "code": code } }).to_string();
    let silent = json!({ "id": "1", "model": "m", "choices": [{ "index": 0, "finish_reason": "content_filter",
        "message": { "role": "assistant", "content": "" } }], "usage": { "prompt_tokens": 7, "completion_tokens": 0 } });
    for (reply, served, attempts) in [
        (Reply::json(400, "", &error("context_length_exceeded")), "large", 2),
        (Reply::json(400, "", &error("content_filter")), "open", 2),
        (Reply::json(200, "", &silent.to_string()), "open", 2),
        (Reply::json(500, "", "{}"), "any", 2),
    ] {
        let fake = Fake::start(vec![reply]).await;
        let (finished, _) = with_special_fallbacks(&fake.url).run(&ask("chat")).await;
        assert_eq!((finished.terminal.status, destination(&finished)), (200, served));
        assert_eq!((finished.usage.attempts.len(), finished.terminal.attempts), (attempts, 2));
    }
    let fake = Fake::start(vec![Reply::json(422, "", &error("bad"))]).await;
    let (finished, _) = with_special_fallbacks(&fake.url).run(&ask("chat")).await;
    assert_eq!((finished.terminal.attempts, code(&finished)), (1, Some(ErrorCode::ProviderRejected)));
}

#[tokio::test]
async fn who_has_no_such_fallback_is_told_what_it_is() {
    let refusal =
        json!({ "error": { "message": "This model's maximum context length is 8 tokens", "param": "messages" } });
    let fake = Fake::start(vec![Reply::json(400, "", &refusal.to_string())]).await;
    let (finished, _) = Bench::new(&fake.url, "http://127.0.0.1:9", "").run(&ask("chat")).await;
    let error = finished.terminal.error.as_ref().expect("error");
    assert_eq!((finished.terminal.status, error.code), (400, ErrorCode::ContextLengthExceeded));
    assert_eq!(
        (error.message.as_str(), error.param.as_deref()),
        ("This model's maximum context length is 8 tokens", Some("messages"))
    );
    assert_eq!(finished.terminal.attempts, 1);
}

fn hedged(first: &str, second: &str) -> Bench {
    Bench::with_endpoints(&format!(
        "
endpoints:
  - name: chat
    destinations: [ {{ name: one, provider: demo, model: {first} }} ]
    fallbacks: [ {{ name: two, provider: demo, model: {second} }} ]
    hedge: {{ after: 100ms }}
    retry: {{ attempts: 1 }}
    timeout: {{ first_byte: 5s, total: 5s }}
"
    ))
}

/// Destination, action and error of each attempt.
fn attempts(finished: &Finished) -> Vec<(&str, AttemptAction, Option<&str>)> {
    let attempts = finished.usage.attempts.iter();
    attempts.map(|a| (a.destination.as_str(), a.action, a.error_code.as_deref())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_faster_of_two_calls_has_the_caller_and_both_are_in_the_row() {
    use AttemptAction::{Fallback, Hedge, InitialAttempt};
    for (first, second, served, expected, ms) in [
        // Fast enough: nothing more is called.
        ("mock-slow-50", "mock", "one", vec![("one", InitialAttempt, None)], 50),
        (
            "mock-timeout",
            "mock-slow-50",
            "two",
            vec![("one", InitialAttempt, Some("outrun")), ("two", Hedge, None)],
            150,
        ),
        (
            "mock-slow-150",
            "mock-timeout",
            "one",
            vec![("one", InitialAttempt, None), ("two", Hedge, Some("outrun"))],
            150,
        ),
        (
            "mock-slow-150",
            "mock-500",
            "one",
            vec![("one", InitialAttempt, None), ("two", Hedge, Some("server_error"))],
            150,
        ),
        // Failed before the time of the second call: an ordinary fallback.
        ("mock-500", "mock", "two", vec![("one", InitialAttempt, Some("server_error")), ("two", Fallback, None)], 0),
    ] {
        for is_stream in [false, true] {
            let (bench, begun) = (hedged(first, second), Instant::now());
            let request = if is_stream { ask_stream("chat") } else { ask("chat") };
            let (finished, chunks) = bench.run(&request).await;
            assert_eq!((finished.terminal.status, destination(&finished)), (200, served), "{first} {second}");
            assert_eq!(attempts(&finished), expected);
            assert_eq!(finished.usage.attempts.iter().map(|a| a.priority).max(), i32::try_from(expected.len()).ok());
            assert!(!is_stream || chunks.text() == "mock: one two three", "{}", chunks.text());
            let whole = begun.elapsed() >= Duration::from_millis(ms);
            assert!(whole && (is_stream || begun.elapsed() < Duration::from_millis(ms + 20)), "{:?}", begun.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_calls_that_fail_end_the_request_and_a_cancelled_one_ends_both() {
    let (finished, _) = hedged("mock-timeout", "mock-500").run(&ask("chat")).await;
    assert_eq!((finished.terminal.attempts, code(&finished)), (2, Some(ErrorCode::ProviderTimeout)));
    let (bench, cancel) = (hedged("mock-timeout", "mock-timeout"), tokio_util::sync::CancellationToken::new());
    let request = ask("chat");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.cancel();
    };
    let ((finished, _), ()) = tokio::join!(bench.run_until(&request, &cancel), stop);
    assert_eq!(code(&finished), Some(ErrorCode::Cancelled));
    assert_eq!(finished.usage.attempts.iter().filter(|a| a.error_code.as_deref() == Some("cancelled")).count(), 2);
}

#[tokio::test]
async fn a_judge_is_an_endpoint_of_its_own() {
    let bench = Bench::with_endpoints(
        "
judges:
  moderator: { kind: openai_moderation, provider: demo, model: omni }
  reader: { kind: llm, endpoint: chat }
endpoints: [ { name: chat, destinations: [ { name: d, provider: demo, model: mock } ] } ]
",
    );
    let body = json!({ "input": ["a", "b"], "tollgate": { "stage": "input" } });
    let asked = Request {
        lane: Lane::Judge,
        api_type: ApiType::Moderations,
        body: Body::of(&body).expect("json"),
        ..ask("judge:moderator")
    };
    let (finished, _) = bench.run(&asked).await;
    let Some(Body::Inline(answer)) = &finished.terminal.body else { panic!("{:?}", finished.terminal) };
    assert_eq!(answer.get().matches("\"flagged\":false").count(), 2);
    let usage = &finished.usage;
    assert_eq!((destination(&finished), usage.destination_model.as_deref()), ("moderator", Some("omni")));
    assert_eq!((usage.lane.as_str(), usage.endpoint_name.as_str()), ("judge", "judge:moderator"));
    let (finished, _) = bench.run(&Request { lane: Lane::Judge, ..ask("chat") }).await;
    assert_eq!(finished.terminal.status, 200);
    let (finished, _) = bench.run(&ask("judge:reader")).await;
    assert_eq!(code(&finished), Some(ErrorCode::ModelNotFound), "it has an endpoint of the configuration");
}
