//! What policies decide, by table and by property.

use super::*;
use crate::checks::Check;
use crate::checks::keywords::Keywords;
use crate::checks::pii::{Entity, Pii};
use proptest::prelude::*;
use serde_json::{Value, json};

fn keywords(name: &'static str, action: Action, words: &[&str]) -> Configured {
    let words = words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    Configured { name, action, check: Check::Keywords(Keywords::new(&words).expect("small")) }
}

fn pii(name: &'static str, action: Action, entities: &[Entity]) -> Configured {
    Configured { name, action, check: Check::Pii(Pii::new(entities, &[]).expect("defaults")) }
}

fn unavailable(name: &'static str, action: Action) -> Configured {
    Configured { name, action, check: Check::Unavailable }
}

fn policy(input: Vec<Configured>) -> Policy {
    Policy { version: Some("v".into()), input: Stage { checks: input }, output: Stage::default() }
}

fn body(content: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(&json!({"model": "m", "messages": [{"role": "user", "content": content}]}))
        .expect("JSON")
}

fn content(body: &RawValue) -> String {
    let value: Value = serde_json::from_str(body.get()).expect("JSON");
    value["messages"][0]["content"].as_str().expect("text").to_owned()
}

#[test]
fn nothing_configured_is_none_and_nothing_found_is_passed() {
    let verdict = check_request(&policy(vec![]), &body("a@b.com"));
    assert_eq!((verdict.outcome, verdict.body.is_none(), verdict.error.is_none()), (Outcome::None, true, true));
    let verdict = check_request(&policy(vec![pii("input.pii", Action::Block, &[])]), &body("hello"));
    assert_eq!((verdict.outcome, verdict.error.is_none()), (Outcome::Passed, true));
}

#[test]
fn a_block_names_the_checks_and_never_the_text() {
    let policy = policy(vec![
        pii("input.pii", Action::Block, &[]),
        keywords("input.keywords", Action::Block, &["Project Orion"]),
        unavailable("input.topics", Action::Block),
    ]);
    let verdict = check_request(&policy, &body("mail a@b.com about project  orion"));
    let error = verdict.error.expect("blocked");
    assert_eq!((error.code, verdict.outcome), (ErrorCode::GuardrailBlocked, Outcome::Blocked));
    assert_eq!(error.checks, ["input.pii", "input.keywords"]);
    assert!(verdict.body.is_none());
    for secret in ["a@b.com", "orion", "Orion"] {
        assert!(!error.message.contains(secret), "{}", error.message);
    }
}

#[test]
fn a_check_that_cannot_run_never_passes() {
    for action in [Action::Block, Action::Mask] {
        let verdict = check_request(&policy(vec![unavailable("input.safety", action)]), &body("hi"));
        let error = verdict.error.expect("refused");
        assert_eq!((error.code, verdict.outcome), (ErrorCode::GuardrailUnavailable, Outcome::NotRun));
        assert_eq!(error.checks, ["input.safety"]);
    }
    let both = policy(vec![unavailable("input.injection", Action::Log), pii("input.pii", Action::Mask, &[])]);
    let verdict = check_request(&both, &body("a@b.com"));
    assert_eq!((verdict.outcome, verdict.error.is_none()), (Outcome::NotRun, true));
    assert_eq!(verdict.checks, [("input.injection", Outcome::NotRun), ("input.pii", Outcome::Masked)]);
    assert_eq!(content(&verdict.body.expect("masked")), "[EMAIL_ADDRESS_1]");
}

#[test]
fn log_only_counts_and_mask_rewrites() {
    let verdict = check_request(&policy(vec![pii("input.pii", Action::Log, &[])]), &body("a@b.com"));
    assert_eq!((verdict.outcome, verdict.body.is_none()), (Outcome::Flagged, true));
    let masked =
        policy(vec![keywords("input.keywords", Action::Mask, &["project orion"]), pii("input.pii", Action::Mask, &[])]);
    let verdict = check_request(&masked, &body("Tell a@b.com, c@d.org and A@B.com of Project Orion. SSN 460-89-9847"));
    let expected = "Tell [EMAIL_ADDRESS_1], [EMAIL_ADDRESS_2] and [EMAIL_ADDRESS_1] of [KEYWORD_1]. SSN [US_SSN_1]";
    assert_eq!(content(&verdict.body.expect("masked")), expected);
    assert_eq!(verdict.outcome, Outcome::Masked);
}

#[test]
fn placeholders_are_shared_by_all_messages_of_a_request() {
    let body = serde_json::value::to_raw_value(&json!({"messages": [
        {"role": "user", "content": "I am a@b.com"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "send", "arguments": "{\"to\":\"a@b.com\",\"phone\":2125550123}"}}]},
        {"role": "tool", "content": [{"type": "text", "text": "sent to x@y.org"}]},
    ]}));
    let verdict = check_request(&policy(vec![pii("input.pii", Action::Mask, &[])]), &body.expect("JSON"));
    let value: Value = serde_json::from_str(verdict.body.expect("masked").get()).expect("JSON");
    assert_eq!(value["messages"][0]["content"], "I am [EMAIL_ADDRESS_1]");
    let arguments = value["messages"][1]["tool_calls"][0]["function"]["arguments"].as_str().expect("text");
    assert_eq!(arguments, r#"{"to":"[EMAIL_ADDRESS_1]","phone":"[PHONE_NUMBER_1]"}"#);
    assert_eq!(value["messages"][2]["content"][0]["text"], "sent to [EMAIL_ADDRESS_2]");
}

#[test]
fn answers_have_their_own_checks() {
    let policy = Policy {
        version: None,
        input: Stage::default(),
        output: Stage { checks: vec![keywords("output.keywords", Action::Block, &["orion"])] },
    };
    let answer =
        serde_json::value::to_raw_value(&json!({"choices": [{"message": {"content": "Orion!"}}]})).expect("JSON");
    let verdict = check_answer(&policy, &answer);
    assert_eq!(verdict.error.expect("blocked").checks, ["output.keywords"]);
    assert_eq!(check_request(&policy, &body("orion")).outcome, Outcome::None);
}

#[test]
fn outcomes_are_ordered_by_gravity_and_parse_back() {
    assert!(
        Outcome::Masked < Outcome::NotRun && Outcome::NotRun < Outcome::Blocked && Outcome::Passed < Outcome::Flagged
    );
    for outcome in Outcome::ALL {
        assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
    }
}

/// Texts that are dense in values, their parts, separators and disguises.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a@b.com"),
        Just("x@y.co.uk"),
        Just("4111 1111 1111 1111"),
        Just("4111111111111111"),
        Just("460-89-9847"),
        Just("(212) 555-0123"),
        Just("+442079460018"),
        Just("DE89370400440532013000"),
        Just("GB82 WEST 1234 5698 7654 32"),
        Just("192.168.0.1"),
        Just("https://x.org/?u="),
        Just("943 476 5919"),
        Just("project orion"),
        Just("phone"),
        Just("ssn"),
        Just("[EMAIL_ADDRESS_1]"),
        Just("["),
        Just("]"),
        Just("_1]"),
        Just(" "),
        Just("-"),
        Just("."),
        Just("@"),
        Just(":"),
        Just("\u{200b}"),
        Just("１"),
        Just("ß"),
        Just("İ"),
        Just("机"),
        Just("\""),
        Just("\\"),
        Just("\n"),
        Just("7"),
        Just("a"),
        Just("+"),
        Just("("),
        Just(")"),
        Just("/"),
        Just("sk-aB3dE6gH9jK2mN5pQ8sTu"),
        Just("u:hunter22@h.io"),
    ];
    prop_oneof![proptest::collection::vec(part, 0..14).prop_map(|parts| parts.concat()), "\\PC{0,80}", ".{0,80}",]
}

fn masking() -> Policy {
    policy(vec![
        pii("input.pii", Action::Mask, Entity::ALL),
        keywords("input.keywords", Action::Mask, &["project orion", "email", "1", "机"]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn masking_is_idempotent_and_leaves_nothing(text in texts()) {
        let policy = masking();
        let verdict = check_request(&policy, &body(&text));
        prop_assert!(verdict.error.is_none());
        prop_assert_eq!(verdict.outcome == Outcome::Masked, verdict.body.is_some() || placeholder_only(&policy, &text));
        if let Some(masked) = verdict.body {
            let masked = content(&masked);
            let again = check_request(&policy, &body(&masked));
            prop_assert!(again.body.is_none(), "{masked:?} became {:?}", again.body.map(|b| content(&b)));
        }
    }

    #[test]
    fn a_known_value_never_survives(before in texts(), after in texts(), value in prop_oneof![
        Just("jane.roe@example.com"), Just("4012888888881881"), Just("536-90-4399"), Just("FR1420041010050500013M02606")]) {
        let text = format!("{before} {value} {after}");
        let verdict = check_request(&masking(), &body(&text));
        let masked = content(&verdict.body.expect("something was masked"));
        prop_assert!(!masked.contains(value), "{masked:?}");
    }
}

/// Findings inside the caller's own placeholders count as found, but there is nothing to replace.
fn placeholder_only(policy: &Policy, text: &str) -> bool {
    let mut texts = Texts { stage: &policy.input, hit: vec![false; 2], masker: Masker::default() };
    !texts.scan("", text, |_| true).is_empty()
}
