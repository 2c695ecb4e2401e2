//! Requests whose answers are to have something back: their answers go by the guardrail, and what is to be put back goes with the request's own
//! records and with nothing else.

use super::requests::{Bench, ask, ask_stream, body};
use crate::{
    execute::{Done, Finished},
    service::effects,
};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;
use tollgate_schemas::{Completion, ExecutionId, Lane, Originals, Request, TraceContext};

const ENDPOINTS: &str = "
endpoints:
  - name: chat
    destinations: [ { name: main, provider: demo, model: mock } ]
    cache: { ttl: 1m }
    shadows: [ { name: candidate, provider: demo, model: mock, share: 1, tags: { a: b } } ]
  - name: throttled
    destinations: [ { name: main, provider: demo, model: mock-429 } ]
    retry: { attempts: 1 }
";

fn originals() -> Originals {
    Originals(BTreeMap::from([("[EMAIL_ADDRESS_1]".to_owned(), "jane@example.com".to_owned())]))
}

/// The values of all records that the end of a request causes.
fn records(finished: Finished, request: &Request) -> Vec<String> {
    let done = Done::Ended(Box::new(finished));
    let records = effects(done, request, ExecutionId::new(), None, &TraceContext::new()).expect("JSON");
    records.into_iter().map(|record| String::from_utf8(record.payload).expect("UTF-8")).collect()
}

#[tokio::test]
async fn an_answer_that_is_to_have_something_back_goes_by_the_guardrail_and_no_other_does() {
    let bench = Bench::with_endpoints(ENDPOINTS);
    let asked = Request { restore: originals(), ..ask_stream("chat") };
    // The second one is answered from the cache, whole.
    for sent in ["mock: one two three", ""] {
        let (finished, chunks) = bench.run(&asked).await;
        assert_eq!((finished.is_checked, chunks.text().as_str()), (true, sent));
        assert_eq!(body(&finished)["choices"][0]["message"]["content"], "mock: one two three");
        let records = records(finished, &asked);
        let completion: Completion = serde_json::from_str(&records[0]).expect("a completion");
        assert_eq!(completion.request.restore, originals());
        for other in &records[1..] {
            assert!(!other.contains("jane@example.com"), "a shadow's copy");
        }
    }
    let (finished, _) = bench.run(&ask_stream("chat")).await;
    assert!(!finished.is_checked, "nothing is to be put back");
    let judge = Request { lane: Lane::Judge, ..asked };
    assert!(!bench.run(&judge).await.0.is_checked);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_keeps_it() {
    let bench = Bench::with_endpoints(ENDPOINTS);
    let asked = Request { restore: originals(), lane: Lane::Batch, ..ask("throttled") };
    let never = CancellationToken::new();
    let (done, _) = bench.execute(&asked, &never, &never).await;
    let Done::Parked(parked) = &done else { panic!("{done:?}") };
    assert_eq!(parked.request.restore, originals());
    assert!(!format!("{done:?}").contains("jane"));
}
