//! Embeddings of every kind, from fixtures: what is sent for what came in, and back, and what is refused.

use super::fixtures::{asked, fixtures, kinds, of};
use crate::providers::{Fields, Wire};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_schemas::ApiType;

fn wire(fixture: &Value) -> Arc<dyn Wire> {
    of(fixture["kind"].as_str().expect("a kind")).speaks(ApiType::Embeddings).expect("an API of its own")
}

fn body(request: &Value) -> Fields {
    Fields::parse(&request.to_string()).expect("an object")
}

#[test]
fn requests_answers_and_counts() {
    let fixtures = fixtures("embeddings");
    for (name, fixture) in &fixtures {
        let (wire, body) = (wire(fixture), body(&fixture["request"]));
        let asked = asked(&body, fixture);
        let encoded = wire.encode(&asked).expect("expressible");
        let sent: Value = serde_json::from_str(&encoded.body).expect("JSON");
        assert_eq!(sent, fixture["upstream"], "{name}: upstream");
        assert_eq!(encoded.path, fixture["path"], "{name}: path");
        let answer = wire.decode(&asked, fixture["response"].to_string().as_bytes()).expect("decodes");
        let shown: Value = serde_json::from_str(answer.body.get()).expect("JSON");
        assert_eq!(shown, fixture["answer"], "{name}: answer");
        let usage = answer.usage_or_estimate(&asked);
        assert_eq!(json!(usage.tokens.input), fixture["tokens"], "{name}: tokens");
        assert_eq!(json!(usage.source), fixture["counted_by"], "{name}: who counted");
        assert_eq!(usage.tokens.output, 0, "{name}: output");
    }
    for (name, kind) in kinds() {
        let has_fixture = fixtures.iter().any(|(_, fixture)| fixture["kind"] == name);
        assert_eq!(kind.speaks(ApiType::Embeddings).is_some(), has_fixture, "{name}");
    }
}

#[test]
fn what_a_kind_cannot_express_is_refused_by_name() {
    let mut seen = 0;
    for (name, fixture) in fixtures("embeddings") {
        for (field, value) in fixture["inexpressible"].as_object().into_iter().flatten() {
            let mut request = fixture["request"].clone();
            request[field] = value.clone();
            let failure = wire(&fixture).encode(&asked(&body(&request), &fixture)).expect_err("refused");
            assert_eq!(failure.param.as_deref(), Some(field.as_str()), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 20);
}

#[test]
fn a_model_of_bedrock_says_whose_words_it_takes() {
    let request = body(&json!({ "input": "a" }));
    for (model, body) in [
        ("amazon.titan-embed-text-v1", Some(json!({ "inputText": "a" }))),
        (
            "us.cohere.embed-v4:0",
            Some(json!({ "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"] })),
        ),
        ("anthropic.claude-x", None),
    ] {
        let fixture = json!({ "kind": "bedrock", "model": model });
        let sent = wire(&fixture).encode(&asked(&request, &fixture));
        let sent = sent.map(|encoded| serde_json::from_str::<Value>(&encoded.body).expect("JSON"));
        assert_eq!(sent.ok(), body, "{model}");
    }
}

#[test]
fn answers_that_make_no_sense_are_the_providers_fault() {
    for (name, fixture) in fixtures("embeddings") {
        let body = body(&fixture["request"]);
        let nonsense = r#"{"data":"x","embeddings":["x"],"predictions":[{}],"embedding":"x"}"#;
        for answer in ["", "<html></html>", "[]", "{}", "null", nonsense] {
            let failure = wire(&fixture).decode(&asked(&body, &fixture), answer.as_bytes()).expect_err("nonsense");
            assert_eq!(failure.error_code(), "malformed_response", "{name}: {answer}");
        }
    }
}
