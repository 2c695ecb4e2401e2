//! Requests that nobody can serve at present: who waits, who is parked, who is told so. Time is paused where nothing leaves
//! the process.

use super::requests::{Bench, ask, code};
use crate::{execute::Done, park::Parked};
use tokio_util::sync::CancellationToken;
use tollgate_schemas::{AttemptAction, ErrorCode, Lane, Request, Waiting};

fn bench() -> Bench {
    Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "")
}

fn job(endpoint: &str) -> Request {
    Request { lane: Lane::Batch, ..ask(endpoint) }
}

async fn parked(bench: &Bench, request: &Request) -> (Parked, Waiting) {
    let never = CancellationToken::new();
    let (done, _) = bench.execute(request, &never, &never).await;
    let Done::Parked(parked) = done else { panic!("{done:?}") };
    let waiting = parked.request.waiting.clone().expect("it waits");
    (*parked, waiting)
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_in_place_for_a_while_and_then_parked_with_its_calls() {
    let bench = bench();
    let (first, waiting) = parked(&bench, &job("mock-429")).await;
    assert_eq!(first.topic.spec.name, "parked.10s");
    // Asked again each second for five seconds, then never more than once for each time it was parked.
    assert_eq!((waiting.parks, waiting.attempts.len()), (1, 6));
    let (second, waiting) = parked(&bench, &first.request).await;
    assert_eq!((waiting.parks, waiting.attempts.len()), (2, 7));
    let kinds: Vec<_> = waiting.attempts.iter().map(|a| (a.priority, a.action, a.status_code)).collect();
    assert_eq!(kinds[0], (1, AttemptAction::InitialAttempt, Some(429)));
    assert_eq!(kinds[6], (7, AttemptAction::Retry, Some(429)));
    // However it ends, the calls are in its row.
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (finished, _) = bench.run_until(&second.request, &cancel).await;
    assert_eq!((code(&finished), finished.terminal.attempts), (Some(ErrorCode::Cancelled), 7));
    let late = Request { deadline_ms: 0, ..second.request.clone() };
    let (finished, _) = bench.run(&late).await;
    assert_eq!((code(&finished), finished.usage.attempts.len()), (Some(ErrorCode::DeadlineExceeded), 7));
    let served = Request { endpoint: "mock".to_owned(), ..second.request };
    let (finished, _) = bench.run(&served).await;
    assert_eq!((finished.terminal.status, finished.terminal.attempts), (200, 8));
    assert_eq!(finished.usage.queue_ms, Some((waiting.attempts[0].start_time_us - served.accepted_us) / 1000));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_parks_what_waits_in_place() {
    let (bench, leaving) = (bench(), CancellationToken::new());
    leaving.cancel();
    let (done, _) = bench.execute(&job("mock-429"), &CancellationToken::new(), &leaving).await;
    let Done::Parked(parked) = done else { panic!("{done:?}") };
    assert_eq!(parked.request.waiting.expect("it waits").attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_waits_is_told_when_to_come_back() {
    let bench = bench();
    for _ in 0..2 {
        let (finished, _) = bench.run(&ask("mock-429")).await;
        assert_eq!((code(&finished), finished.terminal.attempts), (Some(ErrorCode::RateLimitExceeded), 1));
        assert_eq!(finished.terminal.headers["retry-after"], "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_destination_is_queued_for_left_or_waited_for() {
    let (bench, cancel) = (bench(), CancellationToken::new());
    let ask = |endpoint| Request { deadline_ms: i64::MAX / 2, ..ask(endpoint) };
    let (narrow, back) = (ask("narrow"), ask("narrow-back"));
    let others = async {
        let (_, waiting) = parked(&bench, &job("narrow")).await;
        assert_eq!((waiting.parks, waiting.attempts.len()), (0, 0));
        let (finished, _) = bench.run(&ask("narrow-back")).await;
        let destination = finished.terminal.destination.as_deref();
        assert_eq!((destination, finished.terminal.attempts), (Some("wide"), 1));
        let (finished, _) = bench.run(&ask("narrow")).await;
        assert_eq!((code(&finished), finished.terminal.attempts), (Some(ErrorCode::Overloaded), 0));
        assert!(finished.terminal.headers.contains_key("retry-after"));
        // The deadline is kept while queueing too, and nothing leaves for the provider after it.
        for lane in [Lane::Interactive, Lane::Batch] {
            let soon = Request { deadline_ms: tollgate_schemas::now_us() / 1000 - 2000, lane, ..ask("narrow") };
            let (finished, _) = bench.run(&soon).await;
            assert_eq!((code(&finished), finished.usage.attempts.len()), (Some(ErrorCode::DeadlineExceeded), 0));
        }
        cancel.cancel();
    };
    tokio::join!(bench.run_until(&narrow, &cancel), bench.run_until(&back, &cancel), others);
}

#[tokio::test]
async fn a_provider_that_is_down_is_still_tried_for_those_who_wait_and_spared_by_jobs() {
    let bench = bench();
    for _ in 0..4 {
        let (finished, _) = bench.run(&ask("chat")).await;
        assert_eq!(code(&finished), Some(ErrorCode::ProviderError));
        assert!(finished.terminal.attempts >= 1);
    }
    let open = |name: &str| bench.executor.router.endpoint(name).expect("there").destinations[0].health.cooling();
    assert!(open("chat").is_some() && open("mock").is_none());
    let leaving = CancellationToken::new();
    leaving.cancel();
    let (done, _) = bench.execute(&job("chat"), &CancellationToken::new(), &leaving).await;
    let Done::Parked(parked) = done else { panic!("{done:?}") };
    let attempts = parked.request.waiting.expect("it waits").attempts;
    assert!(attempts.iter().all(|attempt| attempt.destination == "two"), "{attempts:?}");
}
