//! Answers that are given again: what their callers are told, and whose are not kept.

use super::{
    fake::{Fake, Reply},
    requests::{ANSWER, Bench, request},
};
use crate::execute::Finished;
use serde_json::{Value, json};
use tollgate_schemas::{ApiType, Request};

fn header<'f>(finished: &'f Finished, name: &str) -> Option<&'f str> {
    finished.terminal.headers.get(name).map(String::as_str)
}

#[tokio::test]
async fn a_hit_tells_what_the_first_answer_told_and_costs_nothing() {
    let fake = Fake::start(vec![Reply::json(200, "", ANSWER)]).await;
    let bench = Bench::new(&fake.url, "http://127.0.0.1:9", "cache: { ttl: 1h }\n    on_unsupported: drop");
    let body = json!({ "model": "x", "max_tokens": 9, "top_k": 5, "messages": [{ "role": "user", "content": "hi" }] });
    let asked = Request { api_type: ApiType::Messages, ..request("chat", body) };
    let (first, _) = bench.run(&asked).await;
    let (second, _) = bench.run(&asked).await;
    let told = |finished: &Finished| (finished.terminal.dropped(), finished.terminal.destination.clone());
    assert_eq!(told(&first), (vec!["top_k".to_owned()], Some("one".to_owned())));
    assert_eq!(told(&second), told(&first));
    assert_eq!((header(&first, "x-tollgate-cache"), header(&second, "x-tollgate-cache")), (Some("miss"), Some("hit")));
    assert_eq!(
        (header(&first, "x-tollgate-cost-usd"), header(&second, "x-tollgate-cost-usd")),
        (Some("3.6"), Some("0"))
    );
    assert_eq!((second.terminal.attempts, second.usage.saved_usd, fake.count()), (0, first.usage.cost_usd, 1));
}

#[tokio::test]
async fn a_conversation_that_its_provider_keeps_goes_on_each_time() {
    let answer = json!({ "id": "resp_2", "object": "response", "status": "completed", "model": "m", "output": [
        { "id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [
            { "type": "output_text", "text": "more", "annotations": [] },
        ] },
    ], "usage": { "input_tokens": 3, "output_tokens": 1, "total_tokens": 4 } });
    let fake = Fake::start(vec![Reply::json(200, "", &answer.to_string()); 5]).await;
    let bench = Bench::with_endpoints(&format!(
        "
  own: {{ kind: openai, preset: openai, base_url: \"{}\", api_key: sk-own }}
endpoints:
  - name: chat
    destinations: [ {{ name: one, provider: own, model: m }} ]
    allow_store: true
    cache: {{ ttl: 1h }}
",
        fake.url
    ));
    for (name, value, expected) in [
        ("previous_response_id", json!("resp_1"), [None, None]),
        ("conversation", json!({ "id": "conv_1" }), [None, None]),
        ("conversation", Value::Null, [Some("miss"), Some("hit")]),
    ] {
        let body = json!({ "model": "x", "input": "go on", name: value });
        let asked = Request { api_type: ApiType::Responses, ..request("chat", body) };
        for expected in expected {
            let (finished, _) = bench.run(&asked).await;
            assert!(finished.terminal.error.is_none(), "{:?}", finished.terminal.error);
            assert_eq!(header(&finished, "x-tollgate-cache"), expected, "{name}");
        }
    }
    assert_eq!(fake.count(), 5);
}
