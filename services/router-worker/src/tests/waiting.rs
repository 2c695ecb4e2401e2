//! Requests that nobody can serve at present: who waits, who is parked, who is told so. Time is paused where nothing leaves
//! the process.

use super::requests::{Bench, ask, code};
use crate::{
    execute::Done,
    gate::{CALLED_BYTES_MAX, QUEUED_MAX},
    park::Parked,
    patience::WAITING_IN_PLACE_MAX,
};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;
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

/// How many of so many jobs are parked within `moment`.
async fn parked_within(bench: &Bench, jobs: &[Request], moment: Duration) -> usize {
    let began = Instant::now();
    let each = jobs.iter().map(async |job| {
        parked(bench, job).await;
        began.elapsed()
    });
    join_all(each).await.into_iter().filter(|took| *took <= moment).count()
}

#[tokio::test(start_paused = true)]
async fn a_stalled_provider_leaves_the_slots_to_others() {
    let (bench, cancel) = (bench(), CancellationToken::new());
    let holder = Request { deadline_ms: i64::MAX / 2, ..ask("narrow") };
    let jobs: Vec<Request> = (0..1000).map(|_| job("narrow")).collect();
    let others = async {
        let at_once = parked_within(&bench, &jobs, Duration::ZERO).await;
        assert_eq!(jobs.len() - at_once, WAITING_IN_PLACE_MAX, "so many queue for the only place");
        cancel.cancel();
    };
    tokio::join!(bench.run_until(&holder, &cancel), others);
    assert_eq!(bench.executor.places.available_permits(), WAITING_IN_PLACE_MAX);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_look_again_while_a_probe_is_out_take_places_too() {
    let bench = bench();
    bench.run(&ask("mock-429")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let endpoint = bench.executor.router.endpoint("mock-429").expect("there");
    let _probe = endpoint.destinations[0].health.admit(false).expect("the probe");
    let jobs: Vec<Request> = (0..1000).map(|_| job("mock-429")).collect();
    let soon = parked_within(&bench, &jobs, Duration::from_millis(600)).await;
    assert_eq!(jobs.len() - soon, WAITING_IN_PLACE_MAX);
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_stalled_provider_are_turned_away_beyond_a_bound() {
    let (bench, cancel) = (bench(), CancellationToken::new());
    let callers: Vec<Request> =
        (0..QUEUED_MAX + 100).map(|_| Request { deadline_ms: i64::MAX / 2, ..ask("narrow") }).collect();
    let (began, mut turned_away) = (Instant::now(), 0);
    let each = callers.iter().map(|caller| bench.run_until(caller, &cancel));
    let mut each: futures::stream::FuturesUnordered<_> = each.collect();
    while let Some((finished, _)) = futures::StreamExt::next(&mut each).await {
        if code(&finished) == Some(ErrorCode::Overloaded) {
            assert!(began.elapsed().is_zero() && finished.terminal.headers.contains_key("retry-after"));
            turned_away += 1;
        }
        // One of them has the place; those who queue are let go.
        if turned_away == 99 {
            cancel.cancel();
        }
    }
    assert_eq!(turned_away, 99);
}

/// A provider that answers nothing and another one, and requests of 1 MiB each as the lane's consumer counts them.
fn bench_of_large() -> Bench {
    let mut bench = Bench::with_endpoints(
        "
  other: { kind: mock }
endpoints:
  - { name: stalls, destinations: [ { name: m, provider: demo, model: mock-slow-500000 } ] }
  - { name: well, destinations: [ { name: m, provider: other, model: mock } ] }
",
    );
    bench.executor.bytes = 1 << 20;
    bench
}

#[tokio::test(start_paused = true)]
async fn a_stalled_provider_leaves_bytes_of_a_lane_to_others() {
    let (bench, cancel, began) = (bench_of_large(), CancellationToken::new(), Instant::now());
    let (leaving, called) = (CancellationToken::new(), CALLED_BYTES_MAX >> 20);
    let jobs: Vec<Request> = (0..100).map(|_| job("stalls")).collect();
    let each = jobs.iter().map(async |job| match bench.execute(job, &cancel, &leaving).await.0 {
        Done::Parked(parked) => {
            assert!(parked.request.waiting.is_some_and(|waiting| waiting.attempts.is_empty()));
            Some(began.elapsed())
        }
        _ => None,
    });
    let others = async {
        let (finished, _) = bench.run(&job("well")).await;
        assert_eq!(finished.terminal.status, 200, "{:?}", finished.terminal.error);
        tokio::time::sleep(Duration::from_secs(6)).await;
        cancel.cancel();
    };
    let (parked, ()) = tokio::join!(join_all(each), others);
    let at_once = parked.iter().flatten().filter(|after| after.is_zero()).count();
    let (later, under_way) =
        (parked.iter().flatten().count() - at_once, parked.iter().filter(|parked| parked.is_none()).count());
    assert_eq!((under_way, later, at_once), (called, 6, jobs.len() - called - 6), "six of them queue");
}

#[tokio::test(start_paused = true)]
async fn callers_with_large_requests_of_a_stalled_provider_are_turned_away() {
    let (bench, cancel, began) = (bench_of_large(), CancellationToken::new(), Instant::now());
    let callers: Vec<Request> = (0..100).map(|_| ask("stalls")).collect();
    let each = callers.iter().map(async |caller| {
        let (finished, _) = bench.run_until(caller, &cancel).await;
        let is_turned_away = code(&finished) == Some(ErrorCode::Overloaded);
        assert_eq!(is_turned_away, finished.terminal.headers.contains_key("retry-after"));
        is_turned_away && began.elapsed().is_zero()
    });
    let others = async {
        let (finished, _) = bench.run(&ask("well")).await;
        assert_eq!(finished.terminal.status, 200, "{:?}", finished.terminal.error);
        cancel.cancel();
    };
    let (turned_away, ()) = tokio::join!(join_all(each), others);
    let turned_away = turned_away.into_iter().filter(|is_turned_away| *is_turned_away).count();
    assert_eq!(turned_away, callers.len() - (CALLED_BYTES_MAX >> 20) - 6, "the others have a call or queue");
}

#[tokio::test(start_paused = true)]
async fn a_narrow_model_leaves_its_providers_places_to_others() {
    let (bench, cancel) = (bench(), CancellationToken::new());
    let slow: Vec<Request> = (0..3).map(|_| Request { deadline_ms: i64::MAX / 2, ..ask("tight-narrow") }).collect();
    let others = async {
        let (finished, _) = bench.run(&ask("tight-wide")).await;
        assert_eq!(finished.terminal.status, 200, "{:?}", finished.terminal.error);
        cancel.cancel();
    };
    tokio::join!(join_all(slow.iter().map(|slow| bench.run_until(slow, &cancel))), others);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_parked_without_a_call_has_its_retries_yet() {
    let bench = bench();
    let calls = async |waiting: Option<Waiting>| {
        let (finished, _) = bench.run(&Request { waiting, ..job("mock-500") }).await;
        finished.terminal.attempts
    };
    let parked_for_a_place = Waiting { parks: 0, ..Waiting::default() };
    assert_eq!((calls(None).await, calls(Some(parked_for_a_place)).await), (2, 2));
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
    for _ in 0..2 {
        let (finished, _) = bench.run(&ask("chat")).await;
        assert_eq!(code(&finished), Some(ErrorCode::ProviderError));
        assert!(finished.terminal.attempts >= 1 && !finished.terminal.headers.contains_key("retry-after"));
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        let (finished, _) = bench.run(&ask("chat")).await;
        assert!(finished.terminal.attempts >= 1);
        told.push((code(&finished), finished.terminal.headers.contains_key("retry-after")));
    }
    assert_eq!(told.last(), Some(&(Some(ErrorCode::Overloaded), true)), "once all circuits are open: {told:?}");
    let open = |name: &str| bench.executor.router.endpoint(name).expect("there").destinations[0].health.cooling();
    assert!(open("chat").is_some() && open("mock").is_none());
    let leaving = CancellationToken::new();
    leaving.cancel();
    let (done, _) = bench.execute(&job("chat"), &CancellationToken::new(), &leaving).await;
    let Done::Parked(parked) = done else { panic!("{done:?}") };
    assert!(parked.request.waiting.expect("it waits").attempts.is_empty());
}
