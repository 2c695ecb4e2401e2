//! Bodies that are stored, and storage that is away.

use super::*;
use disk::Disk;

#[path = "../../../../../crates/runtime/testing/disk.rs"]
mod disk;

fn on_disk() -> (Service, Disk) {
    let mut service = service();
    let disk;
    (disk, service.blobs) = Disk::new();
    (service, disk)
}

fn long_text() -> String {
    format!("a@b.com {}", "lorem ipsum ".repeat(30_000))
}

async fn stored(service: &Service, body: Body) -> Body {
    let Body::Inline(raw) = body else { panic!("inline") };
    let body = service.blobs.check_in("id", raw).await.expect("stored");
    assert!(matches!(body, Body::Ref(_)));
    body
}

/// A job with a body that is stored.
async fn job(service: &Service) -> Request {
    let job = request("chat", &long_text());
    Request { lane: Lane::Batch, body: stored(service, job.body.clone()).await, ..job }
}

async fn answer_of_job(service: &Service) -> Completion {
    let mut completion = completion("chat", &long_text());
    completion.request.lane = Lane::Batch;
    completion.terminal.body = Some(stored(service, completion.terminal.body.expect("a body")).await);
    completion
}

#[tokio::test]
async fn stored_bodies_are_fetched_and_masked_ones_stored_anew() {
    let service = service();
    let mut large = request("chat", &long_text());
    large.body = stored(&service, large.body).await;
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

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_its_body_and_one_whose_body_is_gone_ends() {
    let (service, disk) = on_disk();
    let job = job(&service).await;
    disk.take_away();
    let clock = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        disk.bring_back();
    };
    let bench = Bench::of(&service);
    let (outcome, ()) = tokio::join!(service.request(incoming(job.clone()), &bench), clock);
    let out = outcome.expect("records").emit;
    assert_eq!((out.len(), &out[0].topic), (1, &TopicName::Internal("approved.batch")));
    disk.take_away();
    let leaving = Bench { is_leaving: true, ..Bench::of(&service) };
    assert!(handled_by(&service, job.clone(), &leaving).await.is_empty(), "the next one waits on");
    let cancelling = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        service.cancel(cancellation(&job, "search"));
    };
    let (records, ()) = tokio::join!(handled(&service, job.clone()), cancelling);
    assert_eq!(ended(&records).0.error.expect("an error").code, ErrorCode::Cancelled);
    assert_eq!(service.stored.available_permits(), bodies::JOBS_MAX_BYTES);
    disk.bring_back();
    disk.lose_bodies();
    let gone = Request { request_id: RequestId::new(), ..job };
    assert_eq!(ended(&handled(&service, gone).await).0.error.expect("an error").code, ErrorCode::Internal);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_stored_stays_in_its_record_and_a_jobs_is_waited_for() {
    let (service, disk) = on_disk();
    let waited_for = answer_of_job(&service).await;
    let mut late = waited_for.clone();
    late.request.deadline_ms = 0;
    disk.take_away();
    let (terminal, _) = answered(&service, completion("chat", &long_text())).await;
    let body = text(&terminal.body.expect("an answer")).to_string();
    assert!(body.contains("[EMAIL_ADDRESS_1] lorem"), "{} bytes", body.len());
    let (terminal, usage) = answered(&service, late).await;
    assert_eq!((terminal.headers["x-should-retry"].as_str(), usage.cost_usd), ("false", Some(Decimal::ONE)));
    let error = terminal.error.expect("an error");
    assert!(error.code == ErrorCode::Internal && error.message.contains("is billed"), "{}", error.message);
    let clock = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        disk.bring_back();
    };
    let ((terminal, _), ()) = tokio::join!(answered(&service, waited_for), clock);
    assert!(matches!(terminal.body, Some(Body::Ref(_))), "{:?}", terminal.error);
}
