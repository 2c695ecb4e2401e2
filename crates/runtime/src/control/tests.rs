//! The fold and the overlay, from records to a configuration.

use super::*;
use crate::config::{Role, parse};
use serde_json::{Value, json};
use tollgate_schemas::{Actor, ObjectKind};

const FILE: &str = "
providers: { demo: { kind: mock } }
endpoints: [ { name: chat, destinations: [ { name: mock, provider: demo, model: mock-1 } ] } ]
teams: [ { name: search, endpoints: [ chat ] } ]
keys: [ { name: web, team: search, sha256: '0000000000000000000000000000000000000000000000000000000000000000' } ]
";

fn control() -> Control {
    let control = Control::new(parse(FILE, Role::All, &|_| Ok(None)).expect("valid").config);
    control.caught_up();
    control
}

fn change(kind: ObjectKind, name: &str, replaces: Option<i64>, value: Option<Value>) -> Change {
    Change {
        change_id: uuid::Uuid::new_v4(),
        kind,
        name: name.to_owned(),
        replaces,
        value: value.map(|value| serde_json::value::to_raw_value(&value).expect("json")),
        by: Actor { name: "root".to_owned(), role: "admin".to_owned(), ip_address: None },
        at_us: 0,
    }
}

fn send(control: &Control, offset: i64, change: &Change) -> Verdict {
    let mut verdict = control.expect(change.change_id).expect("room");
    control.apply(offset, &serde_json::to_vec(change).expect("json"));
    verdict.try_recv().expect("a verdict")
}

#[test]
fn the_topic_wins_over_the_file_and_the_first_of_two_changes_wins() {
    let control = control();
    let seen = control.subscribe();
    let team = |endpoints: Value| Some(json!({ "name": "search", "endpoints": endpoints, "limits": [] }));
    let first = change(ObjectKind::Team, "search", Some(0), team(json!([])));
    let second = change(ObjectKind::Team, "search", Some(0), team(json!(["chat"])));
    assert_eq!(send(&control, 4, &first), Verdict::Applied(5));
    assert_eq!(send(&control, 5, &second), Verdict::Stale(Some(5)));
    assert!(control.config().team("search").expect("still there").endpoints.is_empty());
    assert!(seen.has_changed().expect("open"));
    let third = change(ObjectKind::Team, "search", Some(5), team(json!(["chat"])));
    assert_eq!(send(&control, 6, &third), Verdict::Applied(7));
    assert_eq!(control.config().team("search").expect("still there").endpoints, ["chat"]);
    assert_eq!(control.history().len(), 3);
}

#[test]
fn what_is_removed_on_the_topic_is_gone_though_the_file_holds_it() {
    let control = control();
    assert_eq!(send(&control, 0, &change(ObjectKind::Key, "web", Some(0), None)), Verdict::Applied(1));
    assert!(control.config().keys.is_empty());
    assert_eq!(send(&control, 1, &change(ObjectKind::Key, "web", Some(1), None)), Verdict::Stale(None));
    let again = json!({ "name": "web", "team": "search", "sha256": "1".repeat(64) });
    assert_eq!(send(&control, 2, &change(ObjectKind::Key, "web", None, Some(again))), Verdict::Applied(3));
    assert_eq!(control.config().keys[0].id(), "1111111111111111");
}

#[test]
fn what_refers_to_something_gone_allows_nothing() {
    let control = control();
    let (verdict, problems) = control.preview(&change(ObjectKind::Team, "search", Some(0), None));
    assert_eq!((verdict, problems.len()), (Verdict::Applied(1), 1));
    assert_eq!(control.config().teams.len(), 1, "a preview changes nothing");
    send(&control, 0, &change(ObjectKind::Provider, "demo", Some(0), None));
    let config = control.config();
    assert!(config.endpoints.is_empty() && config.teams[0].endpoints.is_empty());
    assert!(control.problems().iter().any(|problem| problem.path == "endpoints[chat]"));
    send(&control, 1, &change(ObjectKind::Provider, "demo", None, Some(json!({ "kind": "mock" }))));
    assert_eq!((control.config().endpoints.len(), control.problems().len()), (1, 0));
}

#[test]
fn an_object_that_does_not_parse_is_left_out_and_named() {
    let control = control();
    let bad = json!({ "name": "chat", "destinatons": [] });
    send(&control, 0, &change(ObjectKind::Endpoint, "chat", Some(0), Some(bad)));
    assert!(control.config().endpoint("chat").is_none());
    assert!(control.problems().iter().any(|problem| problem.path.starts_with("endpoints[chat]")));
    control.apply(1, b"{");
    assert!(control.config().endpoint("chat").is_none());
}

#[test]
fn nothing_is_resolved_in_what_comes_by_topic() {
    let control = control();
    let provider = json!({ "kind": "openai", "base_url": "https://example.com/${HOME}" });
    send(&control, 0, &change(ObjectKind::Provider, "other", None, Some(provider)));
    let config = control.config();
    assert_eq!(config.providers["other"].base_url.as_deref(), Some("https://example.com/${HOME}"));
}

#[test]
fn a_named_policy_is_where_endpoints_refer_to_it() {
    let control = control();
    let policy = json!({ "input": { "keywords": { "action": "block", "words": ["orion"] } } });
    send(&control, 0, &change(ObjectKind::Guardrail, "strict", None, Some(policy)));
    let endpoint = json!({ "name": "chat", "guardrails": { "policy": "strict" },
        "destinations": [{ "name": "mock", "provider": "demo", "model": "mock-2" }] });
    send(&control, 1, &change(ObjectKind::Endpoint, "chat", Some(0), Some(endpoint)));
    let config = control.config();
    let chat = config.endpoint("chat").expect("there");
    assert!(chat.guardrails.input.any() && chat.destinations[0].model == "mock-2");
    send(&control, 2, &change(ObjectKind::Guardrail, "strict", Some(1), None));
    assert!(control.config().endpoint("chat").is_none(), "never without its checks");
}

#[test]
fn whose_policy_is_gone_may_use_nothing() {
    let control = control();
    let policy = json!({ "input": { "keywords": { "action": "block", "words": ["orion"] } } });
    send(&control, 0, &change(ObjectKind::Guardrail, "strict", None, Some(policy)));
    let own = json!({ "policy": "strict" });
    let team = json!({ "name": "search", "endpoints": ["chat"], "guardrails": own });
    send(&control, 1, &change(ObjectKind::Team, "search", Some(0), Some(team)));
    let key = json!({ "name": "web", "team": "search", "sha256": "0".repeat(64), "guardrails": own });
    send(&control, 2, &change(ObjectKind::Key, "web", Some(0), Some(key)));
    let config = control.config();
    let has_checks = |own: Option<&config::Guardrails>| own.is_some_and(|own| own.input.any());
    assert!(has_checks(config.teams[0].guardrails.as_ref()) && has_checks(config.keys[0].guardrails.as_ref()));
    send(&control, 3, &change(ObjectKind::Guardrail, "strict", Some(1), None));
    let config = control.config();
    assert!(config.teams[0].endpoints.is_empty() && config.keys.is_empty());
}
