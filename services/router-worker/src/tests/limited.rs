//! Limits of destinations: who is let through, who goes elsewhere, who waits, and what is counted.

use super::requests::{Bench, ask, code};
use crate::execute::Done;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tollgate_schemas::{Body, ErrorCode, Lane, Request, Reserved};

fn bench() -> Bench {
    Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "")
}

/// A request for up to so many tokens.
fn ask_for(max_tokens: u64) -> Request {
    let body =
        json!({ "model": "x", "max_tokens": max_tokens, "messages": [{ "role": "user", "content": "one two" }] });
    Request { body: Body::of(&body).expect("json"), ..ask("limited") }
}

async fn destinations(bench: &Bench, requests: impl IntoIterator<Item = Request>) -> Vec<String> {
    let mut found = Vec::new();
    for request in requests {
        let (finished, _) = bench.run(&request).await;
        assert_eq!((finished.terminal.status, finished.usage.attempts.len()), (200, 1));
        found.extend(finished.terminal.destination);
    }
    found
}

#[tokio::test]
async fn a_destination_whose_limit_is_reached_is_passed_over_and_what_was_not_used_comes_back() {
    let bench = bench();
    // 3,000 of 5,000 tokens are taken each time, and a few are used.
    let found = destinations(&bench, (0..8).map(|_| ask_for(3_000))).await;
    assert_eq!(found, [["m"; 2].as_slice(), ["tokens"; 6].as_slice()].concat());
    // What admission has estimated holds.
    let reserved = Reserved { input_tokens: 9, output_tokens: 6_000, max_output_tokens: None };
    let (finished, _) = bench.run(&Request { reserved: Some(reserved), ..ask_for(1) }).await;
    assert_eq!(code(&finished), Some(ErrorCode::RateLimitExceeded));
}

#[tokio::test]
async fn a_caller_is_told_when_to_come_back_and_a_job_waits() {
    let bench = bench();
    destinations(&bench, [ask_for(1), ask_for(1)]).await;
    let large = ask_for(6_000);
    let (finished, _) = bench.run(&large).await;
    assert_eq!((finished.terminal.status, code(&finished)), (429, Some(ErrorCode::RateLimitExceeded)));
    let wait: u64 = finished.terminal.headers["retry-after"].parse().expect("seconds");
    assert!((1..=62).contains(&wait), "{wait}");
    assert!(finished.usage.attempts.is_empty() && !finished.terminal.headers.contains_key("x-should-retry"));
    let job = Request { lane: Lane::Batch, deadline_ms: large.deadline_ms + 3_600_000, ..large };
    let (done, _) = bench.execute(&job, &CancellationToken::new(), &CancellationToken::new()).await;
    assert!(matches!(done, Done::Parked(_)), "{done:?}");
}

#[tokio::test]
async fn what_can_never_fit_is_told_so() {
    let bench = bench();
    let only_tokens = Request { endpoint: "limited-tokens".to_owned(), ..ask_for(6_000) };
    let (finished, _) = bench.run(&only_tokens).await;
    let error = finished.terminal.error.expect("an error");
    assert!(error.message.contains("more tokens than"), "{error:?}");
    assert_eq!(finished.terminal.headers.get("retry-after"), None);
    assert_eq!(finished.terminal.headers["x-should-retry"], "false");
}
