//! Shadows: which requests are copied, what a copy says, who works on it, and that its end is its row alone.

use super::{
    fake::{Fake, Reply},
    requests::{Bench, ask, ask_stream, code},
};
use crate::{
    execute::{Done, Finished},
    service::effects,
};
use serde_json::json;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;
use tollgate_bus::TopicName;
use tollgate_schemas::{
    ApiType, Body, CacheUse, Caller, ErrorCode, ExecutionId, Lane, Request, RequestId, Reserved, TopicReply,
    TraceContext,
};

const ANSWER: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}"#;

/// `chat` has the shadow `candidate`, of a model of the mock, and a fallback that would answer; `up` is at `url`.
fn bench(candidate: &str, share: f64, url: &str) -> Bench {
    let checks = "guardrails: { output: { keywords: { action: block, words: [ secret ] } } }";
    let shadow = format!(
        "[ {{ name: candidate, provider: demo, model: {candidate}, share: {share}, tags: {{ experiment: next }} }} ]"
    );
    Bench::with_endpoints(&format!(
        "
  up: {{ kind: openai, preset: openai, base_url: \"{url}\" }}
teams: [ {{ name: lab, endpoints: [ chat ] }} ]
endpoints:
  - name: chat
    destinations: [ {{ name: main, provider: demo, model: mock }} ]
    fallbacks: [ {{ name: second, provider: demo, model: mock }} ]
    hedge: {{ after: 1ms }}
    retry: {{ attempts: 1 }}
    tags: {{ cost_center: \"7\" }}
    shadows: {shadow}
  - name: kept
    destinations: [ {{ name: main, provider: demo, model: mock }} ]
    cache: {{ ttl: 1h }}
    shadows: {shadow}
  - name: checked
    destinations: [ {{ name: main, provider: demo, model: mock }} ]
    {checks}
    shadows: {shadow}
  - {{ name: failing, destinations: [ {{ name: main, provider: demo, model: mock-500 }} ], retry: {{ attempts: 1 }}, shadows: {shadow} }}
  - name: two
    destinations: [ {{ name: main, provider: demo, model: mock }} ]
    shadows:
      - {{ name: upstream, provider: up, model: gpt-next, share: 1, tags: {{ experiment: next }}, team: lab }}
      - {{ name: candidate, provider: demo, model: mock, share: 1, tags: {{ experiment: next }} }}
"
    ))
}

const NOWHERE: &str = "http://127.0.0.1:9";

/// Where what a request causes goes.
fn topics(done: Done, request: &Request) -> Vec<TopicName> {
    let records = effects(done, request, ExecutionId::new(), None, &TraceContext::new()).expect("JSON");
    records.into_iter().map(|record| record.topic).collect()
}

fn internal(names: &[&'static str]) -> Vec<TopicName> {
    names.iter().copied().map(TopicName::Internal).collect()
}

fn ended(finished: Finished) -> Done {
    Done::Ended(Box::new(finished))
}

/// The only copy of a request that is answered.
async fn copy_of(bench: &Bench, request: &Request) -> Request {
    let (finished, _) = bench.run(request).await;
    assert_eq!(finished.terminal.status, 200, "{:?}", finished.terminal.error);
    let [copy] = finished.copies.as_slice() else { panic!("{:?}", finished.copies) };
    copy.clone()
}

#[tokio::test]
async fn a_copy_asks_the_same_and_is_on_nobodys_account() {
    let bench = bench("mock", 1.0, NOWHERE);
    let named = |text: &str| Some(text.to_owned());
    let caller = Caller { key_id: named("k"), user_id: named("u"), end_user: named("e"), ..ask("chat").caller };
    let mut request = Request {
        caller,
        tags: BTreeMap::from([("project".to_owned(), "x".to_owned())]),
        idempotency_key: named("i"),
        batch_id: named("b"),
        guardrail_outcome: named("masked"),
        reserved: Some(Reserved { input_tokens: 9, output_tokens: 9, max_output_tokens: Some(9) }),
        ..ask_stream("chat")
    };
    let topic = "tollgate.out.search".to_owned();
    request.reply.topic = Some(TopicReply { topic, key: None, custom_id: None, metadata: None });
    let copy = copy_of(&bench, &request).await;
    assert_eq!(copy.request_id, RequestId::of_child(request.request_id, "candidate"));
    assert_eq!((copy.parent_request_id, copy.shadow.as_deref()), (Some(request.request_id), Some("candidate")));
    assert_eq!((copy.lane, copy.stream, copy.cache), (Lane::Batch, false, CacheUse::Bypass));
    assert_eq!((json!(copy.body), &copy.model), (json!(request.body), &request.model));
    assert_eq!(json!(copy.caller), json!(Caller::default()));
    assert_eq!(json!(copy.reply), json!({ "partition": null, "boot_id": null }));
    assert_eq!(copy.tags, BTreeMap::from([("experiment".to_owned(), "next".to_owned())]));
    assert_eq!(copy.deadline_ms - copy.accepted_us / 1000, 540_000);
    assert!(copy.idempotency_key.is_none() && copy.batch_id.is_none() && copy.guardrail_outcome.is_none());
    assert!(copy.reserved.is_none() && copy.waiting.is_none());
    // A request that is worked on again has the same copy.
    assert_eq!(copy_of(&bench, &request).await.request_id, copy.request_id);

    let (finished, chunks) = bench.run(&copy).await;
    assert!(chunks.text().is_empty() && finished.copies.is_empty());
    let row = &finished.usage;
    assert_eq!((row.parent_request_id, row.endpoint_name.as_str()), (Some(request.request_id), "chat"));
    assert_eq!((row.lane.as_str(), row.stream, row.team.as_str()), ("batch", false, ""));
    assert_eq!((&row.request_tags, row.endpoint_tags["cost_center"].as_str()), (&copy.tags, "7"));
    assert_eq!((row.destination_name.as_deref(), row.attempts.len()), (Some("candidate"), 1));
    assert!(row.is_internal() && row.requester.is_none() && row.key_id.is_none() && row.user_id.is_none());
    assert_eq!(topics(ended(finished), &copy), internal(&["usage"]));
}

#[tokio::test]
async fn every_shadow_has_its_copy_and_a_provider_is_never_asked_for_a_stream() {
    let fake = Fake::start(vec![Reply::json(200, "", ANSWER)]).await;
    let bench = bench("mock", 1.0, &fake.url);
    let body = json!({ "model": "x", "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "one" }] });
    let request = Request { stream: true, body: Body::of(&body).expect("JSON"), ..ask("two") };
    let (finished, _) = bench.run(&request).await;
    let [upstream, candidate] = finished.copies.as_slice() else { panic!("{:?}", finished.copies) };
    assert_ne!(upstream.request_id, candidate.request_id);
    let (finished, _) = bench.run(upstream).await;
    assert_eq!((finished.terminal.status, finished.usage.team.as_str()), (200, "lab"));
    let seen = fake.requests.lock().expect("lock")[0].clone();
    assert!(seen.contains("gpt-next") && !seen.contains("stream"), "{seen}");
}

#[tokio::test]
async fn what_nobody_was_answered_is_not_copied() {
    let bench = bench("mock", 1.0, NOWHERE);
    let (finished, _) = bench.run(&ask("failing")).await;
    assert!(finished.terminal.error.is_some() && finished.copies.is_empty());
    let judge = Request { lane: Lane::Judge, ..ask("chat") };
    let (finished, _) = bench.run(&judge).await;
    assert!(finished.terminal.error.is_none() && finished.copies.is_empty());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (finished, _) = bench.run_until(&ask("chat"), &cancel).await;
    assert!(code(&finished) == Some(ErrorCode::Cancelled) && finished.copies.is_empty());
    let (made, _) = bench.run(&ask("kept")).await;
    let (again, _) = bench.run(&ask("kept")).await;
    assert_eq!((made.usage.cache_hit, made.copies.len()), (false, 1));
    assert_eq!((again.usage.cache_hit, again.copies.len()), (true, 0));
}

#[tokio::test]
async fn the_share_is_drawn_by_the_requests_id() {
    let bench = bench("mock", 0.25, NOWHERE);
    let mut copied = 0;
    for _ in 0..400 {
        let request = ask("chat");
        let (first, _) = bench.run(&request).await;
        let (second, _) = bench.run(&request).await;
        assert_eq!(first.copies.len(), second.copies.len());
        copied += first.copies.len();
    }
    // 25 % of 400, and five standard deviations.
    assert!((57..144).contains(&copied), "{copied}");
}

#[tokio::test]
async fn a_candidate_that_fails_has_no_other_in_its_place_and_tells_nobody() {
    let bench = bench("mock-500", 1.0, NOWHERE);
    let copy = copy_of(&bench, &ask("chat")).await;
    let (finished, _) = bench.run(&copy).await;
    assert_eq!(code(&finished), Some(ErrorCode::ProviderError));
    let tried: Vec<_> = finished.usage.attempts.iter().map(|attempt| attempt.destination.as_str()).collect();
    assert_eq!(tried, ["candidate"]);
    assert_eq!(topics(ended(finished), &copy), internal(&["usage"]));
}

#[tokio::test]
async fn a_shadow_that_has_gone_ends_its_copies_with_a_row() {
    let bench = bench("mock", 1.0, NOWHERE);
    let copy = copy_of(&bench, &ask("chat")).await;
    let of_another = Request { shadow: Some("former".to_owned()), ..copy.clone() };
    for gone in [of_another, Request { endpoint: "former".to_owned(), ..copy }] {
        let (finished, _) = bench.run(&gone).await;
        assert_eq!((code(&finished), finished.usage.attempts.len()), (Some(ErrorCode::ModelNotFound), 0));
        assert_eq!(finished.usage.request_tags["experiment"], "next");
        assert_eq!(topics(ended(finished), &gone), internal(&["usage"]));
    }
}

#[tokio::test]
async fn an_answer_that_is_checked_is_copied_before_and_the_copys_is_not_checked() {
    let bench = bench("mock", 1.0, NOWHERE);
    let request = ask("checked");
    let (finished, _) = bench.run(&request).await;
    let copy = finished.copies[0].clone();
    assert_eq!(topics(ended(finished), &request), internal(&["completions", "approved.batch"]));
    let (finished, _) = bench.run(&copy).await;
    assert!(finished.terminal.error.is_none() && !finished.is_checked);
    assert_eq!(topics(ended(finished), &copy), internal(&["usage"]));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_throttles_has_its_copies_wait() {
    let bench = bench("mock-429", 1.0, NOWHERE);
    let copy = copy_of(&bench, &ask("chat")).await;
    let never = CancellationToken::new();
    let (done, _) = bench.execute(&copy, &never, &never).await;
    let Done::Parked(parked) = &done else { panic!("{done:?}") };
    assert_eq!(parked.request.shadow, copy.shadow);
    assert_eq!(topics(done, &copy), internal(&["parked.10s"]));
}

#[tokio::test]
async fn a_conversation_that_a_provider_keeps_is_not_gone_on_with() {
    let fake = Fake::start(vec![Reply::json(200, "", ANSWER)]).await;
    let bench = bench("mock", 1.0, &fake.url);
    let body = json!({ "model": "x", "input": "and then?", "previous_response_id": "resp_1" });
    let (shadow, body) = (Some("upstream".to_owned()), Body::of(&body).expect("JSON"));
    let copy = Request { api_type: ApiType::Responses, lane: Lane::Batch, shadow, body, ..ask("two") };
    let (finished, _) = bench.run(&copy).await;
    assert_eq!((code(&finished), fake.count()), (Some(ErrorCode::InvalidRequest), 0));
}
