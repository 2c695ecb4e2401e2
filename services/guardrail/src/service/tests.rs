//! The service on real record types, without Kafka.

use super::*;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tollgate_bus::{Headers, TopicName};
use tollgate_runtime::config::{Role, parse};
use tollgate_schemas::{ApiType, Caller, OnDisconnect, Reply, ReplyEvent, ReplyTo, RequestId};

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
    guardrails: { input: { injection: { action: log } }, output: { safety: { action: block } } }
"#;

fn service() -> Service {
    let loaded = parse(CONFIG, Role::Guardrail, &|_| Ok(None)).expect("a valid configuration");
    let endpoints = Derived::fixed(crate::config::endpoints(&loaded.config).expect("valid guardrails"));
    Service::new(&loaded.config, endpoints, BlobStore::new(Arc::new(InMemory::new())))
}

fn request(endpoint: &str, content: &str) -> Request {
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
    let outcome = service.request(incoming(value)).await.expect("records");
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
    let judged = approved(&handled(&service, request("judged", "hi")).await);
    assert_eq!(judged.guardrail_outcome.as_deref(), Some("not_run"));
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

#[tokio::test]
async fn stored_bodies_are_fetched_and_masked_ones_stored_anew() {
    let service = service();
    let mut large = request("chat", "");
    let content = format!("a@b.com {}", "lorem ipsum ".repeat(30_000));
    let raw =
        serde_json::value::to_raw_value(&json!({"messages": [{"role": "user", "content": content}]})).expect("JSON");
    large.body = service.blobs.check_in("id", raw).await.expect("stored");
    let Body::Ref(before) = large.body.clone() else { panic!("a claim check") };
    let out = approved(&handled(&service, large.clone()).await);
    let Body::Ref(after) = &out.body else { panic!("a claim check") };
    assert_ne!(before.path, after.path);
    let body = service.blobs.check_out(&out.body).await.expect("readable");
    assert!(body.get().contains("[EMAIL_ADDRESS_1] lorem") && !body.get().contains("a@b.com"));
    large.body = Body::Ref(tollgate_schemas::body::BlobRef { sha256: "0".repeat(64), ..before });
    tokio::time::pause();
    let (terminal, _) = ended(&handled(&service, large).await);
    assert_eq!(terminal.error.expect("an error").code, ErrorCode::Internal);
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
    let outcome = service.completion(completion, &TraceContext::new()).await.expect("records");
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
async fn answers_that_cannot_be_checked_are_withheld() {
    let service = service();
    let (terminal, usage) = answered(&service, completion("judged", "fine")).await;
    assert_eq!(terminal.error.expect("an error").code, ErrorCode::GuardrailUnavailable);
    assert_eq!((terminal.body.is_none(), usage.guardrail_outcome.as_deref()), (true, Some("not_run")));
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
