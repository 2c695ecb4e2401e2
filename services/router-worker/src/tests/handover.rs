//! What happens to work that a process cannot finish, because it ends or because the body does not come.

use super::requests::{Bench, ask, ask_stream, code};
use crate::{attempt::Signals, execute::Done};
use object_store::{
    memory::InMemory,
    throttle::{ThrottleConfig, ThrottledStore},
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_runtime::BlobStore;
use tollgate_schemas::{Body, ErrorCode, Lane, Request, Waiting};

fn bench() -> Bench {
    Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "")
}

/// A request that nothing but a signal ends soon.
fn long(endpoint: &str) -> Request {
    Request { deadline_ms: i64::MAX / 2, ..ask(endpoint) }
}

/// Works on a request until the time to end in order is over, `after` from now.
async fn handed_over(bench: &Bench, request: &Request, after: Duration) -> Done {
    let (never, handover) = (CancellationToken::new(), CancellationToken::new());
    let clock = async {
        tokio::time::sleep(after).await;
        handover.cancel();
    };
    let signals = Signals { cancel: &never, leaving: &never, handover: &handover };
    tokio::join!(bench.execute_until(request, signals), clock).0.0
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_broken_off_is_carried_on_by_the_next_worker() {
    let bench = bench();
    for lane in Lane::ALL {
        let parks = Waiting { parks: 2, ..Waiting::default() };
        let request = Request { lane, waiting: Some(parks), ..long("narrow") };
        let done = handed_over(&bench, &request, Duration::from_secs(1)).await;
        let Done::HandedOver(given) = done else { panic!("{done:?}") };
        let waiting = given.waiting.clone().expect("it carries its call");
        assert_eq!((waiting.parks, waiting.attempts.len()), (2, 1));
        let call = &waiting.attempts[0];
        assert_eq!((call.error_code.as_deref(), call.input_tokens), (Some("worker_stopped"), Some(3)));
        let (finished, _) = bench.run(&Request { endpoint: "mock".to_owned(), ..*given }).await;
        let row = &finished.usage;
        assert_eq!((row.attempts.len(), finished.terminal.status), (2, 200));
        assert_eq!((row.input_tokens, row.output_tokens), (Some(6), Some(5)), "both are billed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_queues_is_handed_over_as_it_came() {
    let (bench, cancel) = (bench(), CancellationToken::new());
    let holder = long("narrow");
    let others = async {
        for lane in [Lane::Interactive, Lane::Batch] {
            let done = handed_over(&bench, &Request { lane, ..long("narrow") }, Duration::from_secs(1)).await;
            let Done::HandedOver(given) = done else { panic!("{done:?}") };
            assert!(given.waiting.is_none());
        }
        cancel.cancel();
    };
    tokio::join!(bench.run_until(&holder, &cancel), others);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_beginning_was_seen_ends_with_its_row() {
    let bench = bench();
    let done = handed_over(&bench, &ask_stream("mock-slow"), Duration::from_millis(100)).await;
    let Done::Ended(finished) = done else { panic!("{done:?}") };
    assert_eq!(code(&finished), Some(ErrorCode::StreamInterrupted));
    assert!(finished.terminal.body.is_some() && finished.usage.output_tokens > Some(0));
    assert_eq!(finished.usage.attempts[0].error_code.as_deref(), Some("worker_stopped"));
}

/// A bench whose object storage takes so long for each read, and a request whose body is there.
async fn slow_storage(endpoint: &str, wait: Duration) -> (Bench, Request) {
    let mut bench = bench();
    let store = ThrottledStore::new(InMemory::new(), ThrottleConfig { wait_get_per_call: wait, ..Default::default() });
    bench.executor.blobs = BlobStore::new(Arc::new(store));
    let text = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(300_000));
    let body = bench.executor.blobs.check_in("in", RawValue::from_string(text).expect("JSON")).await.expect("stored");
    assert!(matches!(body, Body::Ref(_)));
    (bench, Request { body, ..long(endpoint) })
}

/// A request with so much time left, the clocks' difference included.
fn due_in(request: &Request, left: Duration) -> Request {
    let now_ms = tollgate_schemas::now_us() / 1000;
    let left_ms = i64::try_from(left.as_millis()).expect("short");
    Request { deadline_ms: now_ms - tollgate_runtime::MAX_CLOCK_SKEW_MS + left_ms, ..request.clone() }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_holds_up_neither_cancellation_nor_deadline_nor_stop() {
    let (bench, request) = slow_storage("mock", Duration::from_secs(3600)).await;
    let began = Instant::now();
    let (finished, _) = bench.run(&due_in(&request, Duration::from_secs(30))).await;
    assert_eq!(code(&finished), Some(ErrorCode::DeadlineExceeded));
    let cancel = CancellationToken::new();
    let clock = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    };
    let ((finished, _), ()) = tokio::join!(bench.run_until(&request, &cancel), clock);
    assert_eq!(code(&finished), Some(ErrorCode::Cancelled));
    let done = handed_over(&bench, &request, Duration::from_secs(1)).await;
    assert!(matches!(done, Done::HandedOver(_)), "{done:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_body_takes_is_the_requests_own() {
    let (bench, request) = slow_storage("narrow", Duration::from_secs(20)).await;
    let began = Instant::now();
    let (finished, _) = bench.run(&due_in(&request, Duration::from_secs(30))).await;
    assert_eq!((code(&finished), finished.terminal.attempts), (Some(ErrorCode::DeadlineExceeded), 1));
    assert!(began.elapsed() <= Duration::from_secs(31), "{:?}", began.elapsed());
}
