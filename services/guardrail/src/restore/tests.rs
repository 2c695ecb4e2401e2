//! What masking took comes back as it was, in every API and however a text is cut, and never to another request.

use super::*;
use crate::checks::keywords::Keywords;
use crate::checks::pii::{Entity, Pii};
use crate::checks::{Action, Check};
use crate::pipeline::{Configured, Policy, Side, Stage, Verdict, conclude, sift};
use proptest::prelude::*;
use serde_json::{Value, json};

fn restorer(pairs: &[(&str, &str)]) -> Restorer {
    let owned = pairs.iter().map(|(placeholder, value)| ((*placeholder).to_owned(), (*value).to_owned()));
    Restorer::new(Originals(owned.collect()))
}

fn jane() -> Restorer {
    restorer(&[("[EMAIL_ADDRESS_1]", "jane \"j\" <a@b.com>"), ("[EMAIL_ADDRESS_11]", "c@d.com"), ("[URL_1]", "[URL_2]")])
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
    let (restorer, mut restoring) = (jane(), Restoring::default());
    for (part, out, held) in [
        ("to [EMAIL", "to ", 6),
        ("_ADDRESS_1", "", 16),
        ("1", "", 17),
        ("] [x", "c@d.com [x", 0),
        ("] [EMAIL_ADDRESS_2", "] [EMAIL_ADDRESS_2", 0),
        ("]a[[", "]a[", 1),
        ("URL_1", "", 6),
        ("] [", "[URL_2] ", 1),
    ] {
        assert_eq!((restoring.push(&restorer, part).as_str(), restoring.held()), (out, held), "{part}");
    }
    assert_eq!(restoring.end(), "[");
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
fn inside_json_a_value_stands_as_json_writes_it() {
    let parts = [r#"{"to": "[EMAIL_"#, r#"ADDRESS_1]"}"#];
    let (restorer, mut restoring) = (jane().inside_json(), Restoring::default());
    let written: String = parts.iter().map(|part| restoring.push(&restorer, part)).collect();
    let arguments: Value = serde_json::from_str(&(written + &restoring.end())).expect("JSON");
    assert_eq!(arguments, json!({ "to": "jane \"j\" <a@b.com>" }));
}

#[test]
fn no_value_is_printed() {
    assert!(!format!("{:?}", jane()).contains("a@b.com"));
}

fn policy() -> Policy {
    let words = ["project orion", "email", "机"].map(str::to_owned);
    let checks = [
        ("input.keywords", Check::Keywords(Keywords::new(&words).expect("small"))),
        ("input.pii", Check::Pii(Pii::new(Entity::ALL, &[]).expect("defaults"))),
    ];
    let configured =
        |(name, check): (&str, Check)| Configured { name: name.into(), action: Action::MaskAndRestore, check };
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
fn what_the_caller_wrote_himself_stays_his() {
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
        let (mut restoring, mut out, mut done) = (Restoring::default(), String::new(), 0);
        for at in places.into_iter().chain([said.len()]) {
            out += &restoring.push(&restorer, &said[done..at]);
            prop_assert!(restoring.held() <= restorer.longest);
            done = at;
        }
        out += &restoring.end();
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
