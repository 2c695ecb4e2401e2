//! Fields that a caller has named, and what stands beside an answer.

use super::super::{answer, request};
use super::run;
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn what_a_caller_has_named_is_text_whatever_its_name() {
    let pair = r#"{"id":"bad-1","index":"bad-2"}"#;
    for (body, expected) in [
        (format!(r#"{{"messages":[],"metadata":{pair}}}"#), "id bad-1 index bad-2"),
        (format!(r#"{{"contents":[],"labels":{pair}}}"#), "id bad-1 index bad-2"),
        (format!(r#"{{"messages":[{{"metadata":{pair},"content":"c"}}]}}"#), "id bad-1 index bad-2 c"),
        (format!(r#"{{"input":"i","prompt":{{"id":"pmpt_1","variables":{pair}}}}}"#), "i bad-1 bad-2"),
        (
            r#"{"messages":[],"metadata":{"x":[{"index":0},"bad-1"],"status":["bad-2"]}}"#.into(),
            "x index bad-1 status bad-2",
        ),
        (format!(r#"{{"messages":[],"unheard_of":{pair}}}"#), "id bad-1 index bad-2"),
        (
            format!(r#"{{"messages":[],"tools":[{{"input_schema":{{"examples":[{pair}]}}}}]}}"#),
            "examples id bad-1 index bad-2",
        ),
        (
            r#"{"messages":[],"tools":[{"parameters":{"properties":{"properties":{"default":{"type":"bad"}},"id":"bad"}}}]}"#.into(),
            "type bad id bad",
        ),
        (
            r#"{"messages":[],"tools":[{"parameters":{"properties":{"headers":{"description":"bad","type":"string"}}}}]}"#.into(),
            "headers bad",
        ),
        (
            r#"{"messages":[{"content":[{"text":"t","index":"bad","headers":"bad","safetyRatings":"bad"}]}]}"#.into(),
            "t bad bad bad",
        ),
    ] {
        let (changed, seen) = run(request, &body);
        assert_eq!(seen.join(" "), expected, "{body}");
        assert!(changed.is_some_and(|changed| !changed.contains("bad")), "{body}");
    }
}

#[test]
fn credentials_of_a_tools_server_stay_with_it() {
    let body = r#"{"messages":[],"tools":[{"type":"mcp","server_label":"l","headers":{"X-Api-Key":"bad","id":"bad"},
        "Authorization":"bad"}],
        "mcp_servers":[{"type":"url","name":"n","authorization_token":"bad"}]}"#;
    let (changed, seen) = run(request, body);
    assert_eq!(changed, None);
    assert_eq!(seen, ["server_label", "l", "headers", "Authorization", "n", "authorization_token"]);
    let (changed, _) = run(request, r#"{"messages":[],"metadata":{"headers":{"x":"bad"},"authorization":"bad"}}"#);
    assert!(changed.is_some_and(|changed| !changed.contains("bad")));
}

#[test]
fn a_key_of_a_cache_is_text() {
    let (changed, _) = run(request, r#"{"messages":[],"prompt_cache_key":"bad"}"#);
    assert_eq!(changed.as_deref(), Some(r#"{"messages":[],"prompt_cache_key":"[X]"}"#));
}

#[test]
fn what_stands_beside_an_answer_is_seen_in_every_api_and_what_its_request_had_is_not() {
    for (body, expected) in [
        (
            r#"{"object":"response","id":"bad","status":"failed","instructions":"bad","tools":[{"name":"bad"}],
                "metadata":{"k":"bad"},"prompt_cache_key":"bad","text":{"format":{"type":"text"}},"error":{"code":"c","message":"bad 1"},
                "output":[],"output_text":"bad 2"}"#,
            "code c message bad 1|bad 2",
        ),
        (
            r#"{"type":"message","id":"bad","role":"assistant","stop_sequence":"bad","stop_details":{"explanation":"bad 1"},"content":[]}"#,
            "explanation bad 1",
        ),
        (
            r#"{"candidates":[],"usageMetadata":{"trafficType":"bad"},"modelVersion":"bad","modelStatus":{"message":"bad 1"}}"#,
            "message bad 1",
        ),
        (r#"{"object":"list","data":[{"embedding":"bad"}],"model":"bad","warning":"bad 1"}"#, "bad 1"),
        (r#"{"id":"bad","results":[],"warning":"bad 1"}"#, "bad 1"),
    ] {
        let (changed, seen) = run(answer, body);
        assert_eq!(seen.join(" "), expected.replace('|', " "), "{body}");
        let changed = changed.expect("changed");
        let kept = changed.matches("bad").count() + expected.matches("bad").count();
        assert_eq!(kept, body.matches("bad").count(), "{changed}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "id",
        "type",
        "index",
        "headers",
        "properties",
        "name",
        "tools",
        "a b",
        "460-89-9847",
    ]);
    let leaf = prop_oneof![words.clone().prop_map(Value::from), any::<u8>().prop_map(Value::from), Just(Value::Null)];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((words.clone(), inner), 0..4).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            out.push(key.clone());
            strings(value, out);
        }),
        _ => {}
    }
}

proptest! {
    /// Every string, keys too, as often as it is there.
    #[test]
    fn all_of_what_a_caller_has_named_is_shown(value in any_json()) {
        let mut expected = Vec::new();
        strings(&value, &mut expected);
        for body in [
            format!(r#"{{"messages":[],"metadata":{value}}}"#),
            format!(r#"{{"contents":[],"labels":{value}}}"#),
            format!(r#"{{"messages":[],"unheard_of":{value}}}"#),
            format!(r#"{{"messages":[],"tools":[{{"parameters":{{"default":{value}}}}}]}}"#),
        ] {
            let (_, mut seen) = run(request, &body);
            seen.sort();
            expected.sort();
            prop_assert_eq!(&seen, &expected, "{}", body);
        }
    }
}
