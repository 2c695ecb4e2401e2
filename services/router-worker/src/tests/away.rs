//! Object storage that is away: nothing that was accepted or paid for is lost.

use super::requests::{Bench, ask, code, request};
use crate::execute::{Done, HELD_MAX_BYTES};
use disk::Disk;
use serde_json::{json, value::RawValue};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_schemas::{Body, ErrorCode, Lane, Request};

#[path = "../../../../crates/runtime/testing/disk.rs"]
mod disk;

/// More than a record takes.
const HUGE: usize = 3_200_000;

fn bench() -> (Bench, Disk) {
    let mut bench = Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "");
    let disk;
    (disk, bench.executor.blobs) = Disk::new();
    (bench, disk)
}

/// A question of so many characters to a model that repeats it.
fn large(lane: Lane, characters: usize) -> Request {
    let asked = request("mock", json!({ "messages": [{ "role": "user", "content": "x".repeat(characters) }] }));
    Request { lane, ..asked }
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_stays_in_its_record_if_that_takes_it() {
    let (bench, disk) = bench();
    disk.take_away();
    for lane in Lane::ALL {
        let (finished, _) = bench.run(&large(lane, 300_000)).await;
        let Some(Body::Inline(answer)) = &finished.terminal.body else { panic!("{:?}", finished.terminal.error) };
        assert!(answer.get().len() > 300_000 && finished.terminal.status == 200);
    }
    // What else the record has to carry takes its room.
    let mut tagged = large(Lane::Interactive, 2_000_000);
    assert!(bench.run(&tagged).await.0.terminal.body.is_some());
    tagged.tags.insert("note".to_owned(), "y".repeat(1_000_000));
    assert!(bench.run(&tagged).await.0.terminal.body.is_none());
}

#[tokio::test]
async fn a_caller_whose_answer_fits_nowhere_is_told_that_it_was_billed() {
    let (bench, disk) = bench();
    disk.take_away();
    let (finished, _) = bench.run(&large(Lane::Interactive, HUGE)).await;
    let error = finished.terminal.error.expect("an error");
    assert!(error.code == ErrorCode::Internal && error.message.contains("is billed"), "{}", error.message);
    assert_eq!(finished.terminal.headers["x-should-retry"], "false");
    assert_eq!((finished.usage.attempts.len(), finished.usage.cost_usd.is_some()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_with_an_answer_that_fits_nowhere() {
    let (bench, disk) = bench();
    disk.take_away();
    let job = large(Lane::Batch, HUGE);
    let clock = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        disk.bring_back();
    };
    let ((finished, _), ()) = tokio::join!(bench.run(&job), clock);
    assert!(matches!(finished.terminal.body, Some(Body::Ref(_))), "{:?}", finished.terminal.error);
    assert_eq!(finished.terminal.attempts, 1);
    disk.take_away();
    let (finished, _) = bench.run(&job).await;
    assert_eq!(finished.terminal.headers["x-should-retry"], "false", "its deadline has passed");
    assert_eq!(bench.executor.held.available_permits(), HELD_MAX_BYTES);
    let began = Instant::now();
    let all = u32::try_from(HELD_MAX_BYTES).expect("small");
    let _others = bench.executor.held.try_acquire_many(all).expect("free");
    let (finished, _) = bench.run(&large(Lane::Batch, HUGE)).await;
    assert!(code(&finished) == Some(ErrorCode::Internal) && began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_job_whose_body_cannot_be_read_waits_and_one_whose_body_is_gone_ends() {
    let (bench, disk) = bench();
    let text = json!({ "messages": [{ "role": "user", "content": "x".repeat(300_000) }] }).to_string();
    let body = bench.executor.blobs.check_in("in", RawValue::from_string(text).expect("JSON")).await.expect("stored");
    let job = Request { lane: Lane::Batch, body, ..ask("mock") };
    disk.take_away();
    let (finished, _) = bench.run(&Request { lane: Lane::Interactive, ..job.clone() }).await;
    assert_eq!(code(&finished), Some(ErrorCode::Internal));
    let never = CancellationToken::new();
    let (done, _) = bench.execute(&job, &never, &never).await;
    let Done::Parked(parked) = done else { panic!("{done:?}") };
    let waiting = parked.request.waiting.clone().expect("it waits");
    assert_eq!((parked.topic.spec.name, waiting.parks, waiting.attempts.len()), ("parked.10s", 0, 0));
    let (finished, _) = bench.run(&Request { deadline_ms: 0, ..parked.request.clone() }).await;
    assert_eq!(code(&finished), Some(ErrorCode::DeadlineExceeded));
    disk.bring_back();
    let (finished, _) = bench.run(&parked.request).await;
    assert_eq!(finished.terminal.status, 200);
    disk.lose_bodies();
    let (finished, _) = bench.run(&parked.request).await;
    assert_eq!(code(&finished), Some(ErrorCode::Internal));
}
