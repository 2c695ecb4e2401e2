//! Rows of requests that end without a verdict: they name every check, and none of them as passed.

use super::*;

/// What a row says of each check.
fn told(usage: &UsageRow) -> Vec<(&str, &str, Option<&str>)> {
    let told = usage.guardrails.iter().map(|it| (it.check.as_str(), it.outcome.as_str(), it.judge.as_deref()));
    told.collect()
}

const OF_JUDGED: [(&str, &str, Option<&str>); 3] = [
    ("input.pii", "not_run", None),
    ("input.topics", "not_run", Some("reader")),
    ("input.safety", "not_run", Some("moderator")),
];

#[tokio::test]
async fn a_request_that_ends_before_its_checks_names_each_as_not_run() {
    let service = service();
    let mut late = request("judged", "hi");
    late.deadline_ms -= 120_000;
    let unwanted = request("judged", "hi");
    service.cancel(cancellation(&unwanted, "search"));
    for request in [late, unwanted] {
        let (_, usage) = ended(&handled(&service, request).await);
        assert_eq!((told(&usage), usage.guardrail_outcome.as_deref()), (OF_JUDGED.to_vec(), Some("not_run")));
        assert!(usage.policy_version.is_some());
    }
    let mut free = request("free", "hi");
    free.deadline_ms -= 120_000;
    let (_, usage) = ended(&handled(&service, free).await);
    assert_eq!((told(&usage), usage.guardrail_outcome.as_deref()), (Vec::new(), None), "there are no checks");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cancelled_while_a_judge_is_asked_names_each_check() {
    let service = service();
    let silent = Bench { is_silent: true, ..Bench::of(&service) };
    let asked = request("judged", "hi");
    let cancellation = cancellation(&asked, "search");
    let (records, ()) = tokio::join!(handled_by(&service, asked, &silent), async { service.cancel(cancellation) });
    let (terminal, usage) = ended(&records);
    assert_eq!(terminal.error.expect("an error").code, ErrorCode::Cancelled);
    assert_eq!((told(&usage), usage.guardrail_outcome.as_deref()), (OF_JUDGED.to_vec(), Some("not_run")));
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_cannot_be_read_names_each_check() {
    let service = service();
    let mut lost = request("judged", "hi");
    let raw =
        serde_json::value::to_raw_value(&json!({ "messages": [{ "role": "user", "content": "x".repeat(400_000) }] }));
    lost.body = service.blobs.check_in("id", raw.expect("JSON")).await.expect("stored");
    let Body::Ref(stored) = lost.body else { panic!("a claim check") };
    lost.body = Body::Ref(tollgate_schemas::body::BlobRef { sha256: "0".repeat(64), ..stored });
    let (terminal, usage) = ended(&handled(&service, lost).await);
    assert_eq!(terminal.error.expect("an error").code, ErrorCode::Internal);
    assert_eq!((told(&usage), usage.guardrail_outcome.as_deref()), (OF_JUDGED.to_vec(), Some("not_run")));
}

#[tokio::test]
async fn the_call_of_a_judge_has_no_checks_however_it_ends() {
    let mut call = request("judged", "hi");
    (call.lane, call.deadline_ms) = (Lane::Judge, 0);
    let (_, usage) = ended(&handled(&service(), call).await);
    assert_eq!((told(&usage), usage.guardrail_outcome.as_deref()), (Vec::new(), None));
}
