//! The service on real record types, without Kafka.

use super::*;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};
use tollgate_bus::replies::Waiters;
use tollgate_bus::{Headers, TopicName};
use tollgate_runtime::config::{Role, parse};
use tollgate_schemas::{Body, Caller, OnDisconnect, Reply, ReplyEvent, ReplyTo};

const CONFIG: &str = r#"
providers: { demo: { kind: mock } }
endpoints:
  - name: chat
    destinations: [ { name: d, provider: demo, model: m } ]
    tags: { cost_center: "7" }
    guardrails:
      input: { pii: { action: mask }, keywords: { action: block, words: [ "project orion" ] } }
      output: { keywords: { action: block, words: [ forbidden ] }, pii: { action: mask, entities: [ EMAIL_ADDRESS ] } }
  - name: free
    destinations: [ { name: d, provider: demo, model: m } ]
  - name: judged
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails:
      input: { pii: { action: mask }, safety: { action: block, judge: moderator }, topics: { deny: [ politics ], action: log, judge: reader } }
      output: { safety: { action: block, judge: moderator } }
  - name: lenient
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { input: { safety: { action: block, judge: moderator, on_judge_failure: allow } } }
  - name: filtered
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { on_block: content_filter, stream_window: 100, output: { safety: { action: block, judge: moderator } } }
  - name: kept
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { input: { safety: { action: block, judge: keeper } } }
  - name: restoring
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { input: { pii: { action: mask_and_restore } }, output: { pii: { action: block } } }
  - name: hashed
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { input: { pii: { action: hash } } }
guardrails: { hash_key: a-secret-of-more-than-32-characters }
judges:
  moderator: { kind: openai_moderation, provider: demo, model: omni }
  keeper: { kind: openai_moderation, provider: demo, model: omni, cache: { ttl: 1m } }
  reader: { kind: llm, endpoint: free }
"#;

/// Takes questions as the bus would, and answers as the judges would: a moderation flags what speaks of a bomb, whatever reads says that
/// it is politics. With `silent`, nobody answers.
#[derive(Default)]
struct Bench {
    waiters: Waiters,
    asked: Mutex<Vec<Request>>,
    /// What went to `replies`.
    replied: Mutex<Vec<Reply>>,
    /// What went to `cancellations`.
    called_off: Mutex<Vec<Cancellation>>,
    is_silent: bool,
    is_leaving: bool,
}

impl Bench {
    fn of(service: &Service) -> Self {
        Self { waiters: service.court.waiters().clone(), ..Self::default() }
    }

    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

impl Sends for Bench {
    async fn send(&self, record: Outgoing) -> Result<(), tollgate_bus::Error> {
        if record.topic == TopicName::Internal("replies") {
            let reply = serde_json::from_slice(&record.payload).expect("a reply");
            self.replied.lock().expect("no panic").push(reply);
            return Ok(());
        }
        if record.topic == TopicName::Internal("cancellations") {
            let cancellation = serde_json::from_slice(&record.payload).expect("a cancellation");
            self.called_off.lock().expect("no panic").push(cancellation);
            return Ok(());
        }
        assert_eq!(record.topic, TopicName::Internal("approved.judge"));
        let request: Request = serde_json::from_slice(&record.payload).expect("a request");
        let answer = match request.api_type {
            ApiType::Moderations => {
                let result = |input: &Value| {
                    let found = input.as_str().is_some_and(|text| text.contains("bomb"));
                    json!({ "flagged": found, "categories": { "violence": found } })
                };
                let body = text(&request.body);
                json!({ "results": body["input"].as_array().expect("a list").iter().map(result).collect::<Vec<_>>() })
            }
            _ => json!({ "choices": [{ "message": { "content": r#"{"violates":true,"category":"politics"}"# } }] }),
        };
        let terminal = Terminal { body: Some(Body::of(&answer).expect("JSON")), ..Terminal::answered("search") };
        let event = ReplyEvent::Terminal(Box::new(terminal));
        let reply = Reply { request_id: request.request_id, execution_id: ExecutionId::new(), boot_id: None, event };
        self.asked.lock().expect("no panic").push(request);
        if !self.is_silent {
            self.waiters.deliver(reply);
        }
        Ok(())
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving
    }
}

fn service() -> Service {
    let loaded = parse(CONFIG, Role::Guardrail, &|_| Ok(None)).expect("a valid configuration");
    let endpoints = Derived::fixed(crate::config::endpoints(&loaded.config).expect("valid guardrails"));
    let replies = Replies::at(5, uuid::Uuid::from_u128(7));
    Service::new(&loaded.config, endpoints, BlobStore::new(Arc::new(InMemory::new())), replies)
}

pub(crate) fn request(endpoint: &str, content: &str) -> Request {
    Request {
        request_id: RequestId::new(),
        lane: Lane::Interactive,
        endpoint: endpoint.into(),
        model: "gpt".into(),
        api_type: ApiType::ChatCompletions,
        stream: false,
        body: Body::of(&json!({"messages": [{"role": "user", "content": content}]})).expect("JSON"),
        caller: Caller { team: "search".into(), ..Caller::default() },
        reply: ReplyTo { partition: Some(3), boot_id: None, topic: None },
        tags: Default::default(),
        accepted_us: tollgate_schemas::now_us(),
        deadline_ms: tollgate_schemas::now_us() / 1000 + 60_000,
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

fn cancellation(request: &Request, team: &str) -> Cancellation {
    Cancellation { request_id: request.request_id, team: Some(team.into()), reason: "requested".into() }
}

fn incoming(value: Request) -> Incoming<Request> {
    Incoming {
        topic: "t".into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key: None,
        headers: Headers::default(),
        trace: TraceContext::new(),
        is_tombstone: false,
        value,
    }
}

async fn handled(service: &Service, value: Request) -> Vec<Outgoing> {
    handled_by(service, value, &Bench::of(service)).await
}

async fn handled_by(service: &Service, value: Request, bench: &Bench) -> Vec<Outgoing> {
    let outcome = service.request(incoming(value), bench).await.expect("records");
    assert!(outcome.dead_letter.is_none());
    outcome.emit
}

fn approved(records: &[Outgoing]) -> Request {
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].topic, TopicName::Internal("approved.interactive"));
    serde_json::from_slice(&records[0].payload).expect("a request")
}

/// The terminal and the usage row of an ended request.
fn ended(records: &[Outgoing]) -> (Terminal, UsageRow) {
    assert_eq!(records.len(), 2, "one reply, one row");
    assert_eq!(
        (&records[0].topic, records[0].partition),
        (&TopicName::Internal("replies"), Some(3)),
        "who waits comes first"
    );
    assert_eq!(records[1].topic, TopicName::Internal("usage"));
    let reply: Reply = serde_json::from_slice(&records[0].payload).expect("a reply");
    let usage = serde_json::from_slice(&records[1].payload).expect("a row");
    let ReplyEvent::Terminal(terminal) = reply.event else { panic!("a terminal") };
    (*terminal, usage)
}

fn text(body: &Body) -> Value {
    let Body::Inline(raw) = body else { panic!("inline") };
    serde_json::from_str(raw.get()).expect("JSON")
}

#[tokio::test]
async fn clean_requests_go_on_untouched_and_masked_ones_masked() {
    let service = service();
    let clean = request("chat", "hello");
    let before = serde_json::to_string(&clean.body).expect("JSON");
    let request_out = approved(&handled(&service, clean).await);
    assert_eq!(serde_json::to_string(&request_out.body).expect("JSON"), before);
    assert_eq!(request_out.guardrail_outcome.as_deref(), Some("passed"));
    assert!(request_out.policy_version.is_some());
    let masked = approved(&handled(&service, request("chat", "I am a@b.com")).await);
    assert_eq!(text(&masked.body)["messages"][0]["content"], "I am [EMAIL_ADDRESS_1]");
    assert_eq!(masked.guardrail_outcome.as_deref(), Some("masked"));
    let free = approved(&handled(&service, request("free", "I am a@b.com")).await);
    assert_eq!(text(&free.body)["messages"][0]["content"], "I am a@b.com");
    assert_eq!((free.guardrail_outcome.as_deref(), free.policy_version), (Some("none"), None));
}

/// Each check of a request or a row with its outcome.
fn told(checks: &[tollgate_schemas::GuardrailCheck]) -> Vec<(&str, &str)> {
    checks.iter().map(|check| (check.check.as_str(), check.outcome.as_str())).collect()
}

#[tokio::test]
async fn judges_are_asked_by_requests_of_their_own_about_what_is_left_of_a_text() {
    let service = service();
    let (bench, asked) = (Bench::of(&service), request("judged", "I am a@b.com"));
    let passed = approved(&handled_by(&service, asked.clone(), &bench).await);
    assert_eq!(text(&passed.body)["messages"][0]["content"], "I am [EMAIL_ADDRESS_1]");
    let expected = [("input.pii", "masked"), ("input.topics", "flagged"), ("input.safety", "passed")];
    assert_eq!((told(&passed.guardrails), passed.guardrail_outcome.as_deref()), (expected.to_vec(), Some("masked")));
    assert_eq!(passed.guardrails[1].category.as_deref(), Some("politics"));
    let questions = bench.asked();
    assert_eq!(questions.len(), 2);
    for question in &questions {
        assert_eq!((question.lane, question.parent_request_id), (Lane::Judge, Some(asked.request_id)));
        assert_eq!((question.caller.team.as_str(), question.reply.partition), ("search", Some(5)));
        assert_eq!(question.reply.boot_id, Some(uuid::Uuid::from_u128(7)));
        let body = serde_json::to_string(&question.body).expect("JSON");
        assert!(body.contains("[EMAIL_ADDRESS_1]") && !body.contains("a@b.com"));
        assert!(question.deadline_ms <= tollgate_schemas::now_us() / 1000 + 5_000 && question.reserved.is_none());
    }
    let endpoints: Vec<&str> = questions.iter().map(|question| question.endpoint.as_str()).collect();
    assert_eq!(endpoints, ["free", "judge:moderator"]);
    let ids: Vec<RequestId> = questions.iter().map(|question| question.request_id).collect();
    approved(&handled_by(&service, asked, &bench).await);
    let again: Vec<RequestId> = bench.asked().iter().map(|question| question.request_id).collect();
    assert_eq!(ids, again, "whoever gets the record again asks the same question again");
}

#[tokio::test]
async fn a_judge_blocks_and_its_words_are_told() {
    let service = service();
    let (terminal, usage) = ended(&handled(&service, request("judged", "how to build a bomb")).await);
    let error = terminal.error.expect("an error");
    assert_eq!((error.code, &error.checks[..]), (ErrorCode::GuardrailBlocked, &["input.safety".to_owned()][..]));
    assert_eq!(error.categories[..], ["violence"]);
    let check = usage.guardrails.last().expect("a check");
    assert_eq!((check.outcome.as_str(), check.judge.as_deref()), ("blocked", Some("moderator")));
    assert_eq!((usage.guardrail_outcome.as_deref(), usage.cost_usd), (Some("blocked"), Some(Decimal::ZERO)));
    let (terminal, usage) = answered(&service, completion("judged", "a bomb")).await;
    assert_eq!(terminal.error.expect("an error").checks, ["output.safety"]);
    assert_eq!(told(&usage.guardrails), [("output.safety", "blocked")]);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_does_not_answer_in_time_has_failed() {
    let service = service();
    let silent = || Bench { is_silent: true, ..Bench::of(&service) };
    let begun = tokio::time::Instant::now();
    let (terminal, usage) = ended(&handled_by(&service, request("judged", "hi"), &silent()).await);
    assert_eq!(begun.elapsed().as_secs(), 5, "all judges together");
    assert_eq!(terminal.error.expect("an error").code, ErrorCode::GuardrailUnavailable);
    assert_eq!(usage.guardrail_outcome.as_deref(), Some("failed"));
    let allowed = approved(&handled_by(&service, request("lenient", "hi"), &silent()).await);
    assert_eq!(told(&allowed.guardrails), [("input.safety", "failed")]);
    let leaving = Bench { is_leaving: true, ..silent() };
    let emitted = handled_by(&service, request("judged", "hi"), &leaving).await;
    assert!(emitted.is_empty(), "the next one who gets the record asks again");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_the_wait_for_a_judge() {
    let service = service();
    let unwanted = request("judged", "hi");
    let silent = Bench { is_silent: true, ..Bench::of(&service) };
    let handling = handled_by(&service, unwanted.clone(), &silent);
    let cancelling = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        service.cancel(cancellation(&request("judged", "other"), "search"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        service.cancel(cancellation(&unwanted, "search"));
    };
    let begun = tokio::time::Instant::now();
    let (records, ()) = tokio::join!(handling, cancelling);
    assert_eq!(ended(&records).0.error.expect("an error").code, ErrorCode::Cancelled);
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert!(service.court.waiters().is_empty(), "nobody waits any more");
    let called_off = std::mem::take(&mut *silent.called_off.lock().expect("no panic"));
    let of_search = called_off.iter().filter(|one| one.team.as_deref() == Some("search"));
    let called_off: HashSet<RequestId> = of_search.map(|one| one.request_id).collect();
    let asked: HashSet<RequestId> = silent.asked().iter().map(|question| question.request_id).collect();
    assert_eq!((asked.len(), called_off), (2, asked), "no model works on it any more");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_off_of_what_was_answered_or_goes_on_elsewhere() {
    let service = service();
    for bench in [Bench::of(&service), Bench { is_silent: true, is_leaving: true, ..Bench::of(&service) }] {
        handled_by(&service, request("judged", "hi"), &bench).await;
        assert_eq!(bench.asked().len(), 2);
        assert!(bench.called_off.lock().expect("no panic").is_empty());
    }
}

#[tokio::test]
async fn a_ruling_that_is_kept_is_given_again() {
    let service = service();
    let bench = Bench::of(&service);
    for content in ["hi", "hi", "a bomb", "a bomb", "hi"] {
        let outcome = service.request(incoming(request("kept", content)), &bench).await.expect("records");
        assert_eq!(outcome.emit.len(), if content == "hi" { 1 } else { 2 });
    }
    assert_eq!(bench.asked().len(), 2, "each text once");
}

#[tokio::test]
async fn many_at_once_get_each_their_own_verdict() {
    let service = service();
    let bench = Bench::of(&service);
    let one = |n: usize| {
        let content = if n.is_multiple_of(2) { format!("hello {n}") } else { format!("a bomb {n}") };
        handled_by(&service, request("judged", &content), &bench)
    };
    let all = futures::future::join_all((0..50).map(one)).await;
    for (n, records) in all.iter().enumerate() {
        assert_eq!(records.len(), if n % 2 == 0 { 1 } else { 2 }, "{n}");
    }
}

#[tokio::test]
async fn a_blocked_request_ends_with_an_error_and_a_free_row() {
    let (terminal, usage) = ended(&handled(&service(), request("chat", "about Project Orion")).await);
    let error = terminal.error.expect("an error");
    assert_eq!((terminal.status, error.code), (400, ErrorCode::GuardrailBlocked));
    assert_eq!(error.checks, ["input.keywords"]);
    assert_eq!((usage.status_code, usage.guardrail_outcome.as_deref()), (400, Some("blocked")));
    assert_eq!((usage.cost_usd, usage.price_status), (Some(Decimal::ZERO), Some(PriceStatus::Free)));
    assert_eq!(usage.endpoint_tags["cost_center"], "7");
    assert!(usage.policy_version.is_some() && usage.attempts.is_empty());
}

#[tokio::test]
async fn expired_cancelled_and_orphaned_requests_end() {
    let service = service();
    let code = |records: &[Outgoing]| ended(records).0.error.expect("an error").code;
    let mut late = request("chat", "hi");
    late.deadline_ms -= 120_000;
    assert_eq!(code(&handled(&service, late).await), ErrorCode::DeadlineExceeded);
    let unwanted = request("chat", "hi");
    service.cancel(cancellation(&unwanted, "another"));
    approved(&handled(&service, unwanted.clone()).await);
    service.cancel(cancellation(&unwanted, "search"));
    assert_eq!(code(&handled(&service, unwanted).await), ErrorCode::Cancelled);
    assert_eq!(code(&handled(&service, request("gone", "hi")).await), ErrorCode::ModelNotFound);
}

#[tokio::test]
async fn judge_requests_pass_unread() {
    let mut inner = request("chat", "about project orion, a@b.com");
    inner.lane = Lane::Judge;
    let records = handled(&service(), inner).await;
    assert_eq!(records[0].topic, TopicName::Internal("approved.judge"));
    let out: Request = serde_json::from_slice(&records[0].payload).expect("a request");
    assert_eq!(text(&out.body)["messages"][0]["content"], "about project orion, a@b.com");
}

fn completion(endpoint: &str, content: &str) -> Completion {
    let request = request(endpoint, "hi");
    let mut usage = UsageRow::of(&request, ExecutionId::new(), "main", "local", None);
    usage.guardrail_outcome = Some("masked".into());
    usage.cost_usd = Some(Decimal::ONE);
    let body = json!({"choices": [{"message": {"role": "assistant", "content": content}}]});
    let failed = Terminal::failed("search", cancelled());
    let terminal = Terminal {
        status: 200,
        error: None,
        body: Some(Body::of(&body).expect("JSON")),
        attempts: 2,
        destination: Some("d".into()),
        ..failed
    };
    Completion { request, terminal, usage }
}

async fn answered(service: &Service, completion: Completion) -> (Terminal, UsageRow) {
    answered_by(service, completion, &Bench::of(service)).await
}

async fn answered_by(service: &Service, completion: Completion, bench: &Bench) -> (Terminal, UsageRow) {
    let outcome = service.completion(completion, &TraceContext::new(), bench).await.expect("records");
    ended(&outcome.emit)
}

#[tokio::test]
async fn answers_pass_masked_or_blocked_and_are_billed_all_the_same() {
    let service = service();
    let (terminal, usage) = answered(&service, completion("chat", "fine")).await;
    assert_eq!((terminal.status, usage.guardrail_outcome.as_deref()), (200, Some("masked")));
    let (terminal, usage) = answered(&service, completion("chat", "mail a@b.com")).await;
    let body = text(&terminal.body.expect("an answer"));
    assert_eq!(body["choices"][0]["message"]["content"], "mail [EMAIL_ADDRESS_1]");
    assert_eq!((usage.guardrail_outcome.as_deref(), usage.cost_usd), (Some("masked"), Some(Decimal::ONE)));
    let (terminal, usage) = answered(&service, completion("chat", "a FORBIDDEN word")).await;
    assert!(terminal.body.is_none());
    assert_eq!((terminal.status, terminal.attempts, terminal.destination.as_deref()), (400, 2, Some("d")));
    assert_eq!(terminal.error.expect("an error").checks, ["output.keywords"]);
    assert_eq!((usage.guardrail_outcome.as_deref(), usage.cost_usd), (Some("blocked"), Some(Decimal::ONE)));
}

#[tokio::test]
async fn what_masking_took_comes_back_once_the_answer_has_passed_its_own_checks() {
    let service = service();
    let asked = approved(&handled(&service, request("restoring", "I am a@b.com")).await);
    assert_eq!(text(&asked.body)["messages"][0]["content"], "I am [EMAIL_ADDRESS_1]");
    assert_eq!((asked.guardrail_outcome.as_deref(), asked.restore.0.len()), (Some("masked"), 1));
    let completed = |content: &str| Completion { request: asked.clone(), ..completion("restoring", content) };
    let (terminal, usage) = answered(&service, completed("to [EMAIL_ADDRESS_1] and [EMAIL_ADDRESS_2]")).await;
    let body = text(&terminal.body.expect("an answer"));
    assert_eq!(body["choices"][0]["message"]["content"], "to a@b.com and [EMAIL_ADDRESS_2]");
    assert!(!serde_json::to_string(&usage).expect("JSON").contains("a@b.com"));
    let masked = Completion { request: Request { endpoint: "chat".into(), ..asked.clone() }, ..completed("x@y.org") };
    let (terminal, _) = answered(&service, masked).await;
    let body = text(&terminal.body.expect("an answer"));
    assert_eq!(body["choices"][0]["message"]["content"], "[EMAIL_ADDRESS_2]", "somebody else's value");
    let (terminal, _) = answered(&service, completed("to x@y.org")).await;
    assert_eq!(terminal.error.expect("an error").checks, ["output.pii"]);
    let (terminal, _) = answered(&service, completion("restoring", "to [EMAIL_ADDRESS_1]")).await;
    let body = text(&terminal.body.expect("an answer"));
    assert_eq!(body["choices"][0]["message"]["content"], "to [EMAIL_ADDRESS_1]", "another request's");
    let embeddings = Request { api_type: ApiType::Embeddings, ..request("restoring", "I am a@b.com") };
    let embeddings = approved(&handled(&service, embeddings).await);
    assert!(embeddings.restore.is_empty(), "vectors hold no text");
}

#[tokio::test]
async fn what_an_answer_repeats_of_masking_stays_and_its_own_values_get_other_placeholders() {
    let service = service();
    let asked = approved(&handled(&service, request("chat", "I am a@b.com")).await);
    assert_eq!(asked.masked, ["[EMAIL_ADDRESS_1]"]);
    let repeated = Completion { request: asked, ..completion("chat", "[EMAIL_ADDRESS_1], not x@y.org") };
    let body = text(&answered(&service, repeated).await.0.body.expect("an answer"));
    assert_eq!(body["choices"][0]["message"]["content"], "[EMAIL_ADDRESS_1], not [EMAIL_ADDRESS_2]");
}

#[tokio::test]
async fn a_hash_is_the_same_in_every_request() {
    let service = service();
    let hashed = async |content: &str| {
        let asked = approved(&handled(&service, request("hashed", content)).await);
        assert!(asked.restore.is_empty() && asked.guardrail_outcome.as_deref() == Some("masked"));
        text(&asked.body)["messages"][0]["content"].as_str().expect("text").to_owned()
    };
    let first = hashed("a@b.com").await;
    assert!(first.starts_with("[EMAIL_ADDRESS_") && first.len() == "[EMAIL_ADDRESS_]".len() + 16, "{first}");
    assert_eq!(hashed("write to A@b.com").await, format!("write to {first}"));
    assert_ne!(hashed("c@d.com").await, first);
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_checked_are_withheld() {
    let service = service();
    let silent = Bench { is_silent: true, ..Bench::of(&service) };
    let (terminal, usage) = answered_by(&service, completion("judged", "fine"), &silent).await;
    assert_eq!(terminal.error.expect("an error").code, ErrorCode::GuardrailUnavailable);
    assert_eq!((terminal.body.is_none(), usage.guardrail_outcome.as_deref()), (true, Some("failed")));
    let (terminal, _) = answered(&service, completion("gone", "fine")).await;
    assert_eq!((terminal.status, terminal.body.is_none()), (503, true));
}

/// One execution has one end, however often its completion is delivered and whatever was cancelled in between.
#[tokio::test]
async fn a_later_cancellation_replaces_no_answer() {
    let service = service();
    let first = completion("chat", "fine");
    let (terminal, usage) = answered(&service, first.clone()).await;
    service.cancel(cancellation(&first.request, "search"));
    let (again, row) = answered(&service, first).await;
    assert_eq!((again.status, text(&again.body.expect("an answer"))), (200, text(&terminal.body.expect("an answer"))));
    assert_eq!((row.execution_id, row.status_code), (usage.execution_id, usage.status_code));
}

mod ended;
mod storage;
mod streams;
