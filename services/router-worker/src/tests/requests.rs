//! Whole requests: what the caller, the usage row and the provider see.

use super::fake::{Fake, Reply};
use crate::{
    allowance::Meters,
    attempt::{ChunkSink, Signals},
    cache::Cache,
    config::Router,
    execute::{Done, Executor, Finished, HELD_MAX_BYTES},
    patience::WAITING_IN_PLACE_MAX,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_runtime::{
    BlobStore,
    config::{self, Role},
    store,
};
use tollgate_schemas::{
    ApiType, AttemptAction, Body, Caller, ErrorCode, ExecutionId, Lane, OnDisconnect, PriceStatus, ReplyTo, Request,
    RequestId, StreamEvent, TokenSource,
};

pub(super) const ANSWER: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m-2026","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000000,"completion_tokens":100000,"total_tokens":1100000}}"#;

#[derive(Default)]
pub(super) struct Chunks(Vec<Vec<StreamEvent>>);

impl ChunkSink for Chunks {
    fn trying(&mut self, _: &str, _: u32) {}

    async fn send(&mut self, events: Vec<StreamEvent>) {
        self.0.push(events);
    }
}

impl Chunks {
    pub(super) fn documents(&self) -> Vec<Value> {
        self.0.iter().flatten().map(|event| serde_json::from_str(&event.data).expect("json")).collect()
    }

    pub(super) fn text(&self) -> String {
        let chunks = self.documents().into_iter();
        chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
    }
}

pub(super) struct Bench {
    pub(super) executor: Executor,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// An endpoint `chat` on `first`, with `second` as its fallback; `mock-…` models on an endpoint of their own.
    pub(super) fn new(first: &str, second: &str, extra: &str) -> Self {
        Self::with_retry(first, second, "backoff: 1ms", extra)
    }

    fn with_retry(first: &str, second: &str, retry: &str, extra: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let text = format!(
            r#"
data_dir: {}
providers:
  first: {{ kind: openai, base_url: "{first}", api_key: sk-first }}
  second: {{ kind: anthropic, base_url: "{second}", api_key: sk-second }}
  demo: {{ kind: mock }}
  tight: {{ kind: mock, concurrency: 2 }}
endpoints:
  - name: chat
    destinations: [ {{ name: one, provider: first, model: m }} ]
    fallbacks: [ {{ name: two, provider: second, model: claude-opus-4-8 }} ]
    retry: {{ {retry} }}
    timeout: {{ connect: 1s, first_byte: 300ms, between_chunks: 300ms, total: 2s }}
    tags: {{ cost_center: "1234" }}
    {extra}
  - {{ name: mock, destinations: [ {{ name: m, provider: demo, model: mock }} ] }}
  - {{ name: mock-429, destinations: [ {{ name: m, provider: demo, model: mock-429 }} ], retry: {{ attempts: 1 }} }}
  - {{ name: mock-timeout, destinations: [ {{ name: m, provider: demo, model: mock-timeout }} ], timeout: {{ total: 200ms }} }}
  - {{ name: narrow, destinations: [ {{ name: m, provider: demo, model: mock-slow-500000, concurrency: 1 }} ] }}
  - name: narrow-back
    destinations: [ {{ name: m, provider: demo, model: mock-slow-500000, concurrency: 1 }} ]
    fallbacks: [ {{ name: wide, provider: demo, model: mock }} ]
  - name: mock-checked
    destinations: [ {{ name: m, provider: demo, model: mock }} ]
    guardrails: {{ output: {{ keywords: {{ action: block, words: [ "secret" ] }} }} }}
  - {{ name: mock-500, destinations: [ {{ name: m, provider: demo, model: mock-500 }} ], retry: {{ attempts: 2, backoff: 1ms }} }}
  - {{ name: tight-narrow, destinations: [ {{ name: m, provider: tight, model: mock-slow-500000, concurrency: 1 }} ] }}
  - {{ name: tight-wide, destinations: [ {{ name: m, provider: tight, model: mock }} ] }}
  - name: limited
    destinations: [ {{ name: m, provider: demo, model: mock, limits: [ {{ requests: 2, per: minute }} ] }} ]
    fallbacks: [ {{ name: tokens, provider: demo, model: mock, limits: [ {{ tokens: 5000, per: hour }} ] }} ]
  - name: limited-tokens
    destinations: [ {{ name: m, provider: demo, model: mock, limits: [ {{ tokens: 5000, per: hour }} ] }} ]
  - {{ name: mock-slow, destinations: [ {{ name: m, provider: demo, model: mock-slow-30 }} ] }}
prices: [ {{ provider: first, model: m, input: 3, output: 6 }} ]
"#,
            folder.path().display()
        );
        Self::of(&text, folder)
    }

    /// With endpoints of one's own; `demo` is the mock provider.
    pub(super) fn with_endpoints(endpoints: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let data_dir = folder.path().display();
        let text = format!("data_dir: {data_dir}\nproviders:\n  demo: {{ kind: mock }}{endpoints}");
        Self::of(&text, folder)
    }

    fn of(text: &str, folder: tempfile::TempDir) -> Self {
        let loaded = config::parse(text, Role::RouterWorker, &|_| Ok(None)).expect("configuration");
        let blobs = BlobStore::new(store::open(&loaded.config).expect("store"));
        let router = Arc::new(Router::new(&loaded.config, None, None).expect("router"));
        let meters = Meters::open(&loaded.config).expect("open");
        let cache = Cache::open(&loaded.config.cache, "main").expect("open");
        Self {
            executor: Executor {
                router,
                blobs,
                places: Arc::new(Semaphore::new(WAITING_IN_PLACE_MAX)),
                held: Arc::new(Semaphore::new(HELD_MAX_BYTES)),
                meters: Arc::new(meters),
                cache: Arc::new(cache),
                bytes: 0,
            },
            _folder: folder,
        }
    }

    pub(super) async fn run(&self, request: &Request) -> (Finished, Chunks) {
        self.run_until(request, &CancellationToken::new()).await
    }

    pub(super) async fn run_until(&self, request: &Request, cancel: &CancellationToken) -> (Finished, Chunks) {
        let (done, chunks) = self.execute(request, cancel, &CancellationToken::new()).await;
        let Done::Ended(finished) = done else { panic!("{done:?}") };
        (*finished, chunks)
    }

    pub(super) async fn execute(
        &self,
        request: &Request,
        cancel: &CancellationToken,
        leaving: &CancellationToken,
    ) -> (Done, Chunks) {
        self.execute_until(request, Signals { cancel, leaving, handover: &CancellationToken::new() }).await
    }

    pub(super) async fn execute_until(&self, request: &Request, signals: Signals<'_>) -> (Done, Chunks) {
        let mut chunks = Chunks::default();
        let done = self.executor.execute(request, ExecutionId::new(), None, &mut chunks, signals).await;
        (done, chunks)
    }
}

pub(super) fn request(endpoint: &str, body: Value) -> Request {
    let now_us = tollgate_schemas::now_us();
    Request {
        request_id: RequestId::new(),
        lane: Lane::Interactive,
        endpoint: endpoint.to_owned(),
        model: "what-was-asked".to_owned(),
        api_type: ApiType::ChatCompletions,
        stream: body["stream"] == true,
        body: Body::of(&body).expect("json"),
        caller: Caller { team: "search".to_owned(), ..Caller::default() },
        reply: ReplyTo::NOBODY,
        tags: Default::default(),
        accepted_us: now_us,
        deadline_ms: now_us / 1000 + 60_000,
        api_headers: Default::default(),
        cache: Default::default(),
        on_disconnect: OnDisconnect::Cancel,
        parent_request_id: None,
        shadow: None,
        batch_id: None,
        idempotency_key: None,
        guardrail_outcome: None,
        guardrails: Vec::new(),
        policy_version: None,
        restore: Default::default(),
        masked: Vec::new(),
        reserved: None,
        waiting: None,
    }
}

/// A request that is not a stream.
pub(crate) fn ask(endpoint: &str) -> Request {
    request(endpoint, json!({ "model": "x", "messages": [{ "role": "user", "content": "one two three" }] }))
}

pub(super) fn ask_stream(endpoint: &str) -> Request {
    request(
        endpoint,
        json!({ "model": "x", "stream": true, "messages": [{ "role": "user", "content": "one two three" }] }),
    )
}

pub(super) fn body(finished: &Finished) -> Value {
    match &finished.terminal.body {
        Some(Body::Inline(raw)) => serde_json::from_str(raw.get()).expect("json"),
        other => panic!("{other:?}"),
    }
}

pub(super) fn code(finished: &Finished) -> Option<ErrorCode> {
    finished.terminal.error.as_ref().map(|error| error.code)
}

fn delta(text: &str) -> String {
    json!({ "id": "1", "created": 1, "model": "m", "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] }).to_string()
}

const FINISH: &str = r#"{"id":"1","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[tokio::test]
async fn an_answer_its_row_and_what_the_provider_saw() {
    let fake = Fake::start(vec![Reply::json(200, "x-request-id: req_9\r\n", ANSWER)]).await;
    let bench = Bench::new(&fake.url, "http://127.0.0.1:9", "");
    let (finished, chunks) = bench.run(&ask("chat")).await;
    assert!(chunks.0.is_empty() && finished.terminal.error.is_none() && !finished.is_checked);
    assert_eq!((finished.terminal.status, finished.terminal.attempts), (200, 1));
    assert_eq!(body(&finished)["model"], "what-was-asked");
    let row = &finished.usage;
    assert_eq!(
        (row.input_tokens, row.output_tokens, row.total_tokens),
        (Some(1_000_000), Some(100_000), Some(1_100_000))
    );
    assert_eq!(row.cost_usd.map(|usd| usd.to_string()).as_deref(), Some("3.6"));
    assert_eq!((row.price_status, row.token_source), (Some(PriceStatus::Priced), Some(TokenSource::Provider)));
    assert!(row.price_version.as_deref().is_some_and(|version| version.starts_with("config-")));
    assert_eq!((row.destination_name.as_deref(), row.destination_model.as_deref()), (Some("one"), Some("m")));
    assert_eq!(row.endpoint_tags["cost_center"], "1234");
    assert_eq!(row.finish_reason.as_deref(), Some("stop"));
    assert!(row.queue_ms.is_some() && row.time_to_first_byte_ms.is_some());
    let attempt = &row.attempts[0];
    assert_eq!((attempt.action, attempt.status_code), (AttemptAction::InitialAttempt, Some(200)));
    assert_eq!(attempt.provider_request_id.as_deref(), Some("req_9"));
    let seen = fake.requests.lock().expect("lock")[0].clone();
    assert!(
        seen.starts_with("POST /v1/chat/completions HTTP/1.1\r\n")
            && seen.contains("authorization: Bearer sk-first\r\n")
    );
    assert!(!seen.contains("accept-encoding"), "{seen}");
}

#[tokio::test]
async fn a_failing_provider_is_retried_then_replaced() {
    let refused = Reply::json(500, "", r#"{"error":{"message":"boom"}}"#);
    let first = Fake::start(vec![refused.clone(), refused]).await;
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-8", "stop_reason": "end_turn",
        "content": [{ "type": "text", "text": "Hi" }], "usage": { "input_tokens": 10, "output_tokens": 2 } });
    let second = Fake::start(vec![Reply::json(200, "request-id: req_a\r\n", &message.to_string())]).await;
    let bench = Bench::new(&first.url, &second.url, "");
    let (finished, _) = bench.run(&ask("chat")).await;
    assert_eq!(body(&finished)["choices"][0]["message"]["content"], "Hi");
    let actions: Vec<_> =
        finished.usage.attempts.iter().map(|a| (a.action, a.destination.as_str(), a.status_code, a.priority)).collect();
    let expected = [
        (AttemptAction::InitialAttempt, "one", Some(500), 1),
        (AttemptAction::Retry, "one", Some(500), 2),
        (AttemptAction::Fallback, "two", Some(200), 3),
    ];
    assert_eq!(actions, expected);
    assert_eq!(finished.usage.cost_usd.map(|usd| usd.to_string()).as_deref(), Some("0.0001"));
    assert_eq!((first.count(), second.count()), (2, 1));
    let seen = second.requests.lock().expect("lock")[0].clone();
    assert!(seen.starts_with("POST /v1/messages HTTP/1.1\r\n") && seen.contains("x-api-key: sk-second\r\n"), "{seen}");
    assert!(seen.contains("anthropic-version: 2023-06-01\r\n") && !seen.contains("sk-first"));
}

#[tokio::test]
async fn the_last_failure_decides_what_the_caller_hears() {
    let throttled = Reply::json(429, "retry-after: 17\r\n", "{}");
    for (first, second, status, expected, retry_after) in [
        (Reply::json(500, "", ""), throttled.clone(), 429, ErrorCode::RateLimitExceeded, Some("17")),
        (throttled.clone(), Reply::json(529, "", ""), 503, ErrorCode::Overloaded, Some("1")),
        (Reply::json(500, "", ""), Reply::json(503, "retry-after: 9\r\n", ""), 503, ErrorCode::Overloaded, Some("9")),
        (Reply::json(503, "", ""), Reply::json(500, "", ""), 502, ErrorCode::ProviderError, None),
        (
            throttled.clone(),
            Reply::json(401, "", r#"{"error":{"message":"sk-second is bad"}}"#),
            502,
            ErrorCode::ProviderError,
            None,
        ),
        (throttled.clone(), Reply::hang(), 504, ErrorCode::ProviderTimeout, None),
        (throttled.clone(), Reply::json(200, "", "<html>"), 502, ErrorCode::ProviderError, None),
    ] {
        let (first, second) = (Fake::start(vec![first]).await, Fake::start(vec![second]).await);
        let bench = Bench::with_retry(&first.url, &second.url, "attempts: 1", "");
        let (finished, _) = bench.run(&ask("chat")).await;
        let terminal = &finished.terminal;
        assert_eq!((terminal.status, code(&finished)), (status, Some(expected)));
        assert_eq!(terminal.headers.get("x-should-retry").map(String::as_str), Some("false"));
        assert_eq!(terminal.headers.get("retry-after").map(String::as_str), retry_after);
        assert!(!terminal.error.as_ref().expect("error").message.contains("sk-"));
        // Of a provider that said nothing nobody knows whether it worked, so the prompt counts.
        let is_unknown = expected == ErrorCode::ProviderTimeout;
        assert_eq!((finished.usage.input_tokens.is_some(), terminal.body.is_none()), (is_unknown, true));
    }
}

#[tokio::test]
async fn a_wrong_request_is_passed_on_and_ends_at_once() {
    let refusal = json!({ "error": { "message": "max_tokens is too large", "param": "max_tokens", "code": "x" } });
    let fake = Fake::start(vec![Reply::json(422, "", &refusal.to_string())]).await;
    let (finished, _) = Bench::new(&fake.url, "http://127.0.0.1:9", "").run(&ask("chat")).await;
    let error = finished.terminal.error.as_ref().expect("error");
    assert_eq!((finished.terminal.status, error.code), (422, ErrorCode::ProviderRejected));
    assert_eq!((error.message.as_str(), error.param.as_deref()), ("max_tokens is too large", Some("max_tokens")));
    assert_eq!((finished.terminal.attempts, finished.terminal.headers.len()), (1, 0));
}

#[tokio::test]
async fn what_only_one_destination_can_express_goes_there() {
    let body = json!({ "messages": [{ "role": "user", "content": "x" }], "n": 2 });
    let first = Fake::start(vec![Reply::json(200, "", ANSWER)]).await;
    let bench = Bench::new("http://127.0.0.1:9", &first.url, "");
    let (finished, _) = bench.run(&request("chat", body)).await;
    // The OpenAI one cannot be reached and the Anthropic one cannot take `n`: the failure that was met is reported.
    assert_eq!((code(&finished), first.count()), (Some(ErrorCode::ProviderError), 0));
    assert!(finished.usage.attempts.iter().all(|attempt| attempt.destination == "one"));
}

#[tokio::test]
async fn a_stream_is_sent_as_it_comes_and_kept_whole() {
    let (a, b) = (delta("Hel"), delta("lo"));
    let role =
        r#"{"id":"1","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let usage =
        r#"{"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}"#;
    // The connection stays open after `[DONE]`; nobody waits for its end.
    let fake = Fake::start(vec![Reply::stream(&[role, &a, &b, FINISH, usage, "[DONE]"]).and_hang()]).await;
    let bench = Bench::new(&fake.url, "http://127.0.0.1:9", "");
    let (finished, chunks) = bench.run(&ask_stream("chat")).await;
    assert_eq!(finished.terminal.status, 200, "{:?}", finished.terminal.error);
    assert_eq!(chunks.text(), "Hello");
    assert!(
        chunks.0.iter().flatten().all(|event| !event.data.contains("usage") && event.data.contains("what-was-asked"))
    );
    assert_eq!(body(&finished)["choices"][0]["message"]["content"], "Hello");
    assert_eq!((finished.usage.input_tokens, finished.usage.output_tokens), (Some(4), Some(2)));
    assert!(fake.requests.lock().expect("lock")[0].contains(r#""stream_options":{"include_usage":true}"#));
}

#[tokio::test]
async fn a_stream_that_fails_before_its_content_is_replaced_unseen() {
    let role = r#"{"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    for (broken, tokens) in [
        (Reply::stream(&[role]), None),
        (Reply::stream(&[role]).and_hang(), Some(3)),
        (Reply::stream(&[role, r#"{"error":{"message":"x"}}"#]), None),
    ] {
        let text = delta("fine");
        let fake = Fake::start(vec![broken, Reply::stream(&[&text, FINISH, "[DONE]"])]).await;
        let bench = Bench::new(&fake.url, "http://127.0.0.1:9", "");
        let (finished, chunks) = bench.run(&ask_stream("chat")).await;
        assert_eq!((finished.terminal.status, chunks.text().as_str()), (200, "fine"), "{:?}", finished.usage.attempts);
        assert_eq!(finished.usage.attempts[0].input_tokens, tokens);
        assert_eq!(finished.usage.attempts[1].action, AttemptAction::Retry);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_content_ends_with_both_and_is_billed() {
    let text = delta("12345678");
    for (reply, expected) in [
        (Reply::stream(&[&text]), ErrorCode::ProviderError),
        (Reply::stream(&[&text]).and_hang(), ErrorCode::ProviderTimeout),
        (Reply::stream(&[&text, "{broken"]), ErrorCode::ProviderError),
    ] {
        // A first event that is read together with the break is never sent, so it comes alone.
        let fake = Fake::start(vec![reply.clone().slowly(60), reply.slowly(60)]).await;
        let bench = Bench::new(&fake.url, "http://127.0.0.1:9", "");
        let (finished, chunks) = bench.run(&ask_stream("chat")).await;
        assert_eq!((code(&finished), chunks.text().as_str()), (Some(expected), "12345678"));
        assert_eq!(body(&finished)["choices"][0]["message"]["content"], "12345678");
        let row = &finished.usage;
        assert_eq!(
            (row.token_source, row.input_tokens, row.output_tokens),
            (Some(TokenSource::Estimated), Some(3), Some(2))
        );
        assert!(row.cost_usd.is_some_and(|usd| !usd.is_zero()));
        assert_eq!(fake.count(), 1);
    }
}

#[tokio::test]
async fn cancelling_stops_the_call_and_bills_what_came() {
    let text = delta("12345678");
    let fake = Fake::start(vec![Reply::stream(&[&text]).and_hang()]).await;
    let bench = Bench::new(&fake.url, "http://127.0.0.1:9", "");
    let (request, cancel) = (ask_stream("chat"), CancellationToken::new());
    let stopper = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        cancel.cancel();
    };
    let ((finished, chunks), ()) = tokio::join!(bench.run_until(&request, &cancel), stopper);
    assert_eq!((finished.terminal.status, code(&finished)), (499, Some(ErrorCode::Cancelled)));
    assert_eq!((chunks.text().as_str(), finished.usage.output_tokens), ("12345678", Some(2)));
    assert_eq!(finished.usage.attempts[0].error_code.as_deref(), Some("cancelled"));
    // What had come of nothing yet has cost its prompt: 13 characters at 3 dollars a million tokens.
    for request in [ask("chat"), ask_stream("chat")] {
        let fake = Fake::start(vec![Reply::hang()]).await;
        let (bench, cancel) = (Bench::new(&fake.url, "http://127.0.0.1:9", ""), CancellationToken::new());
        let stopper = async {
            while fake.count() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            cancel.cancel();
        };
        let ((finished, _), ()) = tokio::join!(bench.run_until(&request, &cancel), stopper);
        let row = &finished.usage;
        assert_eq!(
            (code(&finished), row.input_tokens, row.output_tokens),
            (Some(ErrorCode::Cancelled), Some(3), Some(0))
        );
        assert_eq!((row.price_status, row.token_source), (Some(PriceStatus::Priced), Some(TokenSource::Estimated)));
        assert_eq!(row.cost_usd.map(|usd| usd.to_string()).as_deref(), Some("0.000009"));
    }
    let (finished, _) = bench.run_until(&request, &cancel).await;
    assert_eq!((code(&finished), finished.terminal.attempts), (Some(ErrorCode::Cancelled), 0));
}

#[tokio::test]
async fn requests_that_never_reach_a_provider() {
    let bench = Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "");
    let expired = Request { deadline_ms: tollgate_schemas::now_us() / 1000 - 10_000, ..ask("chat") };
    let list = Request { body: Body::of(&json!([])).expect("json"), ..ask("chat") };
    for (request, expected) in [
        (ask("gone"), ErrorCode::ModelNotFound),
        (expired, ErrorCode::DeadlineExceeded),
        (list, ErrorCode::InvalidRequest),
    ] {
        let (finished, _) = bench.run(&request).await;
        assert_eq!((code(&finished), finished.terminal.attempts), (Some(expected), 0));
        assert_eq!((finished.usage.attempts.len(), finished.usage.price_status), (0, None));
    }
    let (finished, _) = bench.run(&ask("chat")).await;
    assert_eq!((code(&finished), finished.terminal.attempts), (Some(ErrorCode::ProviderError), 3));
}

#[tokio::test]
async fn checked_answers_go_in_chunks_only_where_they_are_checked_in_parts() {
    let text = delta("secret");
    let reply = Reply::stream(&[&text, FINISH, "[DONE]"]);
    let fake = Fake::start(vec![reply.clone(), reply.clone(), reply]).await;
    let checks = r#"guardrails: { stream: whole, output: { keywords: { action: block, words: [ "secret" ] } } }"#;
    let bench = Bench::new(&fake.url, "http://127.0.0.1:9", checks);
    let (finished, chunks) = bench.run(&ask_stream("chat")).await;
    assert!(finished.is_checked && chunks.0.is_empty());
    assert_eq!(body(&finished)["choices"][0]["message"]["content"], "secret");
    let judge = Request { lane: Lane::Judge, ..ask_stream("chat") };
    let (finished, chunks) = bench.run(&judge).await;
    assert!(!finished.is_checked && chunks.text() == "secret");
    let bench = Bench::new(&fake.url, "http://127.0.0.1:9", &checks.replace("stream: whole, ", ""));
    let (finished, chunks) = bench.run(&ask_stream("chat")).await;
    assert!(finished.is_checked && chunks.text() == "secret", "for the guardrail");
}

#[tokio::test]
async fn large_bodies_go_through_object_storage() {
    let bench = Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "");
    let text = "x".repeat(300_000);
    let mut request = request("mock", json!({ "messages": [{ "role": "user", "content": text }] }));
    if let Body::Inline(raw) = request.body {
        request.body = bench.executor.blobs.check_in("in", raw).await.expect("stored");
    }
    assert!(matches!(request.body, Body::Ref(_)));
    let (finished, _) = bench.run(&request).await;
    let Some(body @ Body::Ref(_)) = &finished.terminal.body else { panic!("{:?}", finished.terminal) };
    let answer = bench.executor.blobs.check_out(body).await.expect("read");
    assert!(answer.get().contains(&format!("mock: {text}")));
}

#[tokio::test]
async fn the_mock_answers_by_itself_for_free() {
    let bench = Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "");
    let (finished, _) = bench.run(&ask("mock")).await;
    assert_eq!(body(&finished)["choices"][0]["message"]["content"], "mock: one two three");
    let row = &finished.usage;
    // 13 and 19 characters, (n + 1) / 4.
    assert_eq!((row.input_tokens, row.output_tokens), (Some(3), Some(5)));
    assert_eq!(
        (row.cost_usd.map(|usd| usd.to_string()).as_deref(), row.price_status),
        (Some("0"), Some(PriceStatus::Free))
    );
    let (finished, chunks) = bench.run(&ask_stream("mock-slow")).await;
    assert_eq!((finished.terminal.status, chunks.text().as_str()), (200, "mock: one two three"));
    assert!(chunks.0.len() >= 4, "words come one by one: {}", chunks.0.len());
    let (finished, _) = bench.run(&ask("mock-429")).await;
    assert_eq!((finished.terminal.status, finished.terminal.headers["retry-after"].as_str()), (429, "1"));
    let (finished, _) = bench.run(&ask("mock-timeout")).await;
    assert_eq!((finished.terminal.status, code(&finished)), (504, Some(ErrorCode::ProviderTimeout)));
}
