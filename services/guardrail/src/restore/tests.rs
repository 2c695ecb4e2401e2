//! What masking took comes back as it was, in every API and however a text is cut, and never to another request.

use super::events::Growing;
use super::*;
use crate::checks::keywords::Keywords;
use crate::checks::pii::{Entity, Pii};
use crate::checks::{Action, Check};
use crate::pipeline::{Configured, Policy, Side, Stage, Verdict, conclude, sift};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_schemas::StreamEvent;

fn restorer(pairs: &[(&str, &str)]) -> Restorer {
    let owned = pairs.iter().map(|(placeholder, value)| ((*placeholder).to_owned(), (*value).to_owned()));
    Restorer::new(Originals(owned.collect()))
}

fn jane() -> Restorer {
    restorer(&[
        ("[EMAIL_ADDRESS_1]", "jane \"j\" <a@b.com>"),
        ("[EMAIL_ADDRESS_11]", "c@d.com"),
        ("[URL_1]", "[URL_2]"),
    ])
}

fn text(restorer: &Restorer, masked: &str) -> String {
    restorer.text(masked).unwrap_or_else(|| masked.to_owned())
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("JSON")
}

fn answer(value: &Value) -> Value {
    let restored = jane().answer(&raw(value)).expect("restored");
    serde_json::from_str(restored.get()).expect("JSON")
}

#[test]
fn only_placeholders_that_were_handed_out_come_back() {
    let restorer = restorer(&[("[A_B_1]", "one"), ("[A_B_2]", "[A_B_1]")]);
    for (masked, expected) in [
        ("[A_B_1] and [A_B_1]", "one and one"),
        ("[A_B_2]", "[A_B_1]"),
        ("[[A_B_1]](x)", "[one](x)"),
        ("[A_B_[A_B_1]1]", "[A_B_one1]"),
        ("é[A_B_1]é", "éoneé"),
        ("[A_B_1", "[A_B_1"),
        ("[A_B_9] [a_b_1] [A\\_B\\_1] [ A_B_1 ]", "[A_B_9] [a_b_1] [A\\_B\\_1] [ A_B_1 ]"),
        ("[", "["),
        ("", ""),
    ] {
        assert_eq!(text(&restorer, masked), expected, "{masked}");
    }
    assert_eq!(Restorer::default().text("[A_B_1]"), None);
}

#[test]
fn a_part_is_held_back_only_while_it_may_become_a_placeholder() {
    let (restorer, mut growing, mut out) = (jane(), Growing::default(), 0);
    for (part, shown, held) in [
        ("to [EMAIL", "to ", 6),
        ("_ADDRESS_1", "", 16),
        ("1", "", 17),
        ("] [x", "c@d.com [x", 0),
        ("] [EMAIL_ADDRESS_2", "] [EMAIL_ADDRESS_2", 0),
        ("]a[[", "]a[", 1),
        ("URL_1", "", 6),
        ("] [", "[URL_2] ", 1),
    ] {
        let end = growing.push(&restorer, part).end;
        assert_eq!((growing.shown(&(out..growing.decided)).as_str(), end - growing.decided), (shown, held), "{part}");
        out = growing.decided;
    }
    growing.end();
    assert_eq!(growing.shown(&(out..growing.decided)), "[");
}

fn events(documents: &[Value]) -> Vec<StreamEvent> {
    documents.iter().map(|document| StreamEvent { event: None, data: document.to_string() }).collect()
}

fn documents(events: &[StreamEvent]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_str(&event.data).expect("JSON")).collect()
}

#[test]
fn events_keep_their_number_and_order_and_wait_only_for_placeholders() {
    let mut restoring = Restoring::new(jane().originals);
    let chunk = |delta: Value| json!({ "choices": [{ "index": 0, "delta": delta, "logprobs": { "content": [] } }] });
    let text = |content: &str| chunk(json!({ "content": content }));
    let plain =
        |content: &str| json!({ "choices": [{ "index": 0, "delta": { "content": content }, "logprobs": null }] });
    assert_eq!(documents(&restoring.push(events(&[text("hi "), text("to [EMAIL")]))), [plain("hi ")]);
    assert!(restoring.push(events(&[text("_ADDRESS_"), json!({ "usage": {}, "choices": [] })])).is_empty());
    let rest = restoring.push(events(&[text("11] and ["), text("x")]));
    let expected = [plain("to c@d.com"), plain(""), json!({ "usage": {}, "choices": [] }), plain(" and ["), plain("x")];
    assert_eq!(documents(&rest), expected);
    // A text that ends decides what it ends with, and what is no JSON waits for its turn.
    let mut last = events(&[text("[URL_")]);
    last.push(StreamEvent { event: None, data: "[DONE]".into() });
    assert!(restoring.push(last).is_empty());
    let rest: Vec<String> = restoring.end().into_iter().map(|event| event.data).collect();
    assert_eq!((rest[0].contains("[URL_"), rest[1].as_str(), rest.len()), (true, "[DONE]", 2));
}

#[test]
fn arguments_in_parts_are_json_with_the_values_in_it() {
    let to = |index: u64, part: &str| {
        let function = json!({ "arguments": part });
        json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [{ "index": index, "function": function }] } }] })
    };
    let mut restoring = Restoring::new(jane().originals);
    let parts =
        [to(0, r#"{"to": "[EMAIL_"#), to(1, r#"{"other""#), to(0, r#"ADDRESS_1]"}"#), to(1, r#": "[PERSON_1]"}"#)];
    let mut told = [String::new(), String::new()];
    for document in documents(&restoring.push(events(&parts))) {
        let call = &document["choices"][0]["delta"]["tool_calls"][0];
        let index = usize::try_from(call["index"].as_u64().expect("a number")).expect("small");
        told[index] += call["function"]["arguments"].as_str().expect("a text");
    }
    let told = told.map(|arguments| serde_json::from_str::<Value>(&arguments).expect("JSON"));
    assert_eq!(told, [json!({ "to": "jane \"j\" <a@b.com>" }), json!({ "other": "[PERSON_1]" })]);
}

#[test]
fn streams_of_other_apis_get_their_values_back() {
    let value = "c@d.com";
    let messages = |parts: [&str; 2]| {
        let delta = |text: &str| {
            let delta = json!({ "type": "text_delta", "text": text });
            json!({ "type": "content_block_delta", "index": 0, "delta": delta })
        };
        [delta(parts[0]), delta(parts[1]), json!({ "type": "content_block_stop", "index": 0 })]
    };
    let responses = |parts: [&str; 2], whole: &str| {
        let delta = |text: &str| json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text });
        let done = json!({ "type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": whole });
        [delta(parts[0]), delta(parts[1]), done]
    };
    let google = |parts: [&str; 2]| {
        parts.map(|text| json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": text }] } }] }))
    };
    let (cut, put) = (["to [EMAIL_ADDR", "ESS_11]!"], ["to c@d.com", "!"]);
    let restored = |masked: &[Value]| {
        let mut restoring = Restoring::new(jane().originals);
        let mut out = restoring.push(events(masked));
        out.extend(restoring.end());
        documents(&out)
    };
    assert_eq!(restored(&messages(cut)), messages(put));
    assert_eq!(restored(&responses(cut, "to [EMAIL_ADDRESS_11]!")), responses(put, &format!("to {value}!")));
    assert_eq!(restored(&google(cut)), google(put));
}

#[test]
fn answers_of_every_api_get_their_values_back() {
    let (masked, value) = ("to [EMAIL_ADDRESS_1], [PERSON_1]", "to jane \"j\" <a@b.com>, [PERSON_1]");
    let arguments = |to: &str| json!({ "to": to }).to_string();
    let chat = |to: &str| {
        json!({ "id": "[EMAIL_ADDRESS_1]", "choices": [{ "index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": to, "reasoning_content": to,
            "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": arguments(to) } }],
        }}]})
    };
    assert_eq!(answer(&chat(masked)), chat(value));
    let messages = |to: &str| {
        json!({ "type": "message", "role": "assistant", "content": [
            { "type": "thinking", "thinking": to, "signature": "s" },
            { "type": "text", "text": to },
            { "type": "tool_use", "id": "t", "name": "f", "input": { "to": [to] } },
        ]})
    };
    assert_eq!(answer(&messages(masked)), messages(value));
    let responses = |to: &str| {
        json!({ "object": "response", "output": [
            { "type": "reasoning", "summary": [{ "type": "summary_text", "text": to }] },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": to }] },
            { "type": "function_call", "name": "f", "arguments": arguments(to) },
        ]})
    };
    assert_eq!(answer(&responses(masked)), responses(value));
    let google = |to: &str| {
        json!({ "candidates": [{ "content": { "role": "model", "parts": [
            { "text": to, "thought": true },
            { "text": to },
            { "functionCall": { "name": "f", "args": { "to": to } } },
        ]}, "finishReason": "STOP" }]})
    };
    assert_eq!(answer(&google(masked)), google(value));
    let completions = |to: &str| json!({ "object": "text_completion", "choices": [{ "index": 0, "text": to }] });
    assert_eq!(answer(&completions(masked)), completions(value));
    assert!(jane().answer(&raw(&chat("nothing"))).is_none());
}

#[test]
fn no_value_is_printed() {
    let mut restoring = Restoring::new(jane().originals);
    restoring.push(events(&[json!({ "choices": [{ "index": 0, "delta": { "content": "[EMAIL_ADDRESS_1] [" } }] })]));
    assert!(!format!("{:?} {restoring:?}", jane()).contains("a@b.com"));
}

fn policy() -> Policy {
    let words = ["project orion", "email", "机"].map(str::to_owned);
    let checks = [
        ("input.keywords", Check::Keywords(Keywords::new(&words).expect("small"))),
        ("input.pii", Check::Pii(Pii::new(Entity::ALL, &[]).expect("defaults"))),
    ];
    let configured = |(name, check): (&str, Check)| Configured {
        name: name.into(),
        action: Action::MaskAndRestore,
        check: Arc::new(check),
    };
    let input = Stage { checks: checks.into_iter().map(configured).collect(), ..Stage::default() };
    Policy { version: None, input, output: Stage::default() }
}

fn checked(policy: &Policy, content: &str) -> Verdict {
    let body = raw(&json!({ "messages": [{ "role": "user", "content": content }] }));
    conclude(&policy.input, Side::Input, sift(&policy.input, Side::Input, body), Vec::new())
}

/// The text that goes to a provider, and what knows its values.
fn masked(policy: &Policy, content: &str) -> (String, Restorer) {
    let verdict = checked(policy, content);
    assert!(verdict.error.is_none());
    let text = verdict.body.map_or(content.to_owned(), |body| {
        let value: Value = serde_json::from_str(body.get()).expect("JSON");
        value["messages"][0]["content"].as_str().expect("text").to_owned()
    });
    (text, Restorer::new(verdict.restore))
}

#[test]
fn a_placeholder_that_the_caller_wrote_stays_as_it_is() {
    let mine = "[EMAIL_ADDRESS_1] and a@b.com";
    let (sent, restorer) = masked(&policy(), mine);
    assert_eq!(sent, "[EMAIL_ADDRESS_1] and [EMAIL_ADDRESS_2]");
    assert_eq!(text(&restorer, &sent), mine);
    assert_eq!(text(&restorer, "[EMAIL_ADDRESS_1]"), "[EMAIL_ADDRESS_1]");
    // Also where nobody masks anything, and behind two layers of escapes.
    let body = json!({ "tools": [{ "description": "[EMAIL_ADDRESS_1]" }], "messages": [
        { "role": "assistant", "tool_calls": [{ "function": { "arguments": r#"{"to":"\u005bEMAIL_ADDRESS_2]"}"# } }] },
        { "role": "user", "content": "a@b.com" },
    ]});
    let policy = policy();
    let sifted = sift(&policy.input, Side::Input, raw(&body));
    let verdict = conclude(&policy.input, Side::Input, sifted, Vec::new());
    let expected = BTreeMap::from([("[EMAIL_ADDRESS_3]".to_owned(), "a@b.com".to_owned())]);
    assert_eq!(verdict.restore, Originals(expected));
}

/// Texts that are dense in values and in what looks like placeholders.
fn texts() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a@b.com",
        "A@B.com",
        "4111 1111 1111 1111",
        "460-89-9847",
        "(212) 555-0123",
        "DE89370400440532013000",
        "https://x.org/?u=",
        "192.168.0.1",
        "project orion",
        "email",
        "[EMAIL_ADDRESS_1]",
        "[EMAIL_ADDRESS_",
        "[URL_2]",
        "[KEYWORD_1]",
        "[",
        "]",
        "_1]",
        " ",
        ".",
        "@",
        "\n",
        "\"",
        "\\",
        "é",
        "机",
        "7",
        "u:hunter22@h.io",
    ]);
    prop_oneof![proptest::collection::vec(part, 0..14).prop_map(|parts| parts.concat()), "\\PC{0,60}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_was_masked_comes_back(content in texts()) {
        let (sent, restorer) = masked(&policy(), &content);
        prop_assert_eq!(text(&restorer, &sent), content);
    }

    #[test]
    fn a_text_in_parts_is_the_whole_text(content in texts(), others in texts(), cuts in prop::collection::vec(0usize..200, 0..8)) {
        let (sent, restorer) = masked(&policy(), &content);
        // What a model makes of it: the same, and something else.
        let said = format!("{sent}{others}{sent}[");
        let mut places: Vec<usize> = cuts.into_iter().map(|at| said.floor_char_boundary(at.min(said.len()))).collect();
        places.sort_unstable();
        let (mut growing, mut parts, mut done) = (Growing::default(), Vec::new(), 0);
        for at in places.into_iter().chain([said.len()]) {
            parts.push(growing.push(&restorer, &said[done..at]));
            prop_assert!(at - growing.decided < restorer.longest.max(1));
            done = at;
        }
        growing.end();
        let out: String = parts.iter().map(|part| growing.shown(part)).collect();
        prop_assert_eq!(out, text(&restorer, &said));
    }

    #[test]
    fn two_requests_that_look_the_same_to_a_provider_get_each_their_own(one in "[a-z]{8}", other in "[a-z]{8}") {
        let (policy, said) = (policy(), |name: &str| format!("I am {name}@example.com"));
        let (sent, first) = masked(&policy, &said(&one));
        let (same, second) = masked(&policy, &said(&other));
        prop_assert_eq!((sent.as_str(), same.as_str()), ("I am [EMAIL_ADDRESS_1]", "I am [EMAIL_ADDRESS_1]"));
        prop_assert_eq!((text(&first, &sent), text(&second, &sent)), (said(&one), said(&other)));
    }
}
