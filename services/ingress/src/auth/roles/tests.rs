//! Every role, kind and verb, written out.

use super::*;
use serde_json::json;

fn actor(role: AdminRole) -> Actor {
    let user = Some("me".to_owned());
    match role {
        AdminRole::Admin | AdminRole::Analyst => {
            Actor { name: "x".into(), user, role: Some(role), teams: BTreeMap::new() }
        }
        _ => Actor { name: "x".into(), user, role: None, teams: BTreeMap::from([("mine".to_owned(), role)]) },
    }
}

/// Per kind: what may be done to one of the actor's own, of its team, of another team, of no team; `crud` or less.
type Table = [(ObjectKind, [&'static str; 4]); 9];

const ALL: [&str; 4] = ["crud"; 4];
const READ: [&str; 4] = ["r"; 4];
const NONE: [&str; 4] = [""; 4];
const TEAMS: [&str; 4] = ["r", "r", "", ""];

fn table(role: AdminRole) -> Table {
    use ObjectKind::{Budget, Credential, Endpoint, Guardrail, Key, Price, Provider, Team, User};
    let everywhere =
        |cell| [Provider, Credential, Endpoint, Guardrail, Team, User, Key, Budget, Price].map(|kind| (kind, cell));
    match role {
        AdminRole::Admin => everywhere(ALL),
        AdminRole::Analyst => everywhere(READ),
        AdminRole::TeamAdmin => [
            (Provider, NONE),
            (Credential, NONE),
            (Endpoint, NONE),
            (Guardrail, NONE),
            (Team, TEAMS),
            (User, ["cru", "cru", "", ""]),
            (Key, ["crud", "crud", "", ""]),
            (Budget, TEAMS),
            (Price, NONE),
        ],
        AdminRole::Member => [
            (Provider, NONE),
            (Credential, NONE),
            (Endpoint, NONE),
            (Guardrail, NONE),
            (Team, TEAMS),
            (User, TEAMS),
            (Key, ["crud", "r", "", ""]),
            (Budget, TEAMS),
            (Price, NONE),
        ],
    }
}

/// A kind that is of no team stands in the last column alone, whoever asks.
fn owners() -> [Owner<'static>; 4] {
    [
        Owner { team: Some("mine"), user: Some("me") },
        Owner { team: Some("mine"), user: Some("you") },
        Owner { team: Some("other"), user: Some("me") },
        Owner { team: None, user: None },
    ]
}

#[test]
fn every_role_kind_and_verb() {
    let verbs = [(Action::Create, 'c'), (Action::Read, 'r'), (Action::Update, 'u'), (Action::Delete, 'd')];
    for role in [AdminRole::Admin, AdminRole::TeamAdmin, AdminRole::Member, AdminRole::Analyst] {
        let table = table(role);
        assert!(ObjectKind::ALL.iter().all(|kind| table.iter().any(|(there, _)| there == kind)), "every kind");
        for (kind, cells) in table {
            for (owner, allowed) in owners().into_iter().zip(cells) {
                for (action, letter) in verbs {
                    let found = may(&actor(role), action, kind, owner);
                    assert_eq!(found, allowed.contains(letter), "{role:?} {action:?} {kind:?} {owner:?}");
                }
            }
        }
    }
    let nobody = Actor { name: "x".into(), user: None, role: None, teams: BTreeMap::new() };
    for (kind, owner) in ObjectKind::ALL.into_iter().flat_map(|kind| owners().map(|owner| (kind, owner))) {
        assert!(verbs.iter().all(|(action, _)| !may(&nobody, *action, kind, owner)));
    }
}

#[test]
fn a_key_without_an_owner_is_no_members_own() {
    let mut member = actor(AdminRole::Member);
    let of_nobody = Owner { team: Some("mine"), user: None };
    assert!(!may(&member, Action::Delete, ObjectKind::Key, of_nobody));
    member.user = None;
    assert!(!may(&member, Action::Delete, ObjectKind::Key, of_nobody));
}

#[test]
fn keys_are_not_handed_over_and_members_leave_limits_alone() {
    let key = |team: &str, user: &str, limits: serde_json::Value| -> Key {
        serde_json::from_value(json!({ "name": "k", "team": team, "sha256": "0", "user": user, "limits": limits }))
            .expect("a key")
    };
    let limit = || json!([{ "requests": 1, "per": "minute" }]);
    let (mine, limited) = (key("mine", "me", json!([])), key("mine", "me", limit()));
    let (yours, elsewhere) = (key("mine", "you", json!([])), key("other", "me", json!([])));
    let (member, lead) = (actor(AdminRole::Member), actor(AdminRole::TeamAdmin));
    for (before, after, for_member, for_lead) in [
        (None, Some(&mine), true, true),
        (Some(&mine), Some(&mine), true, true),
        (Some(&limited), None, true, true),
        (Some(&limited), Some(&limited), true, true),
        (Some(&limited), Some(&mine), false, true),
        (None, Some(&limited), false, true),
        (Some(&mine), Some(&yours), false, true),
        (Some(&yours), Some(&mine), false, true),
        (Some(&mine), Some(&elsewhere), false, false),
        (Some(&elsewhere), Some(&mine), false, false),
    ] {
        assert_eq!(may_write_key(&member, before, after), for_member, "member {before:?} {after:?}");
        assert_eq!(may_write_key(&lead, before, after), for_lead, "team admin {before:?} {after:?}");
        assert!(may_write_key(&actor(AdminRole::Admin), before, after));
        assert!(!may_write_key(&actor(AdminRole::Analyst), before, after));
    }
}

#[test]
fn nobody_but_an_admin_makes_the_checks_of_a_key_weaker() {
    let key = |team: &str, guardrails: serde_json::Value| -> Key {
        let value = json!({ "name": "k", "team": team, "sha256": "0", "user": "me", "guardrails": guardrails });
        serde_json::from_value(value).expect("a key")
    };
    let words = json!({ "keywords": { "action": "block", "words": ["x"] } });
    let (plain, strict) = (key("mine", json!(null)), key("mine", json!({ "input": words })));
    let weaker = key("mine", json!({ "allow_weaker": true, "input": words }));
    let weakest = key("mine", json!({ "allow_weaker": true }));
    let elsewhere = key("also", json!({ "allow_weaker": true }));
    let (member, mut lead) = (actor(AdminRole::Member), actor(AdminRole::TeamAdmin));
    lead.teams.insert("also".to_owned(), AdminRole::TeamAdmin);
    for (before, after, for_member, for_lead) in [
        (None, &strict, false, true),
        (None, &weakest, false, false),
        (Some(&plain), &strict, false, true),
        (Some(&strict), &strict, true, true),
        (Some(&strict), &plain, false, true),
        (Some(&strict), &weaker, false, false),
        (Some(&weaker), &weaker, true, true),
        (Some(&weaker), &weakest, false, false),
        (Some(&weaker), &strict, false, true),
        (Some(&weakest), &elsewhere, false, false),
    ] {
        assert_eq!(may_write_key(&member, before, Some(after)), for_member, "member {before:?} {after:?}");
        assert_eq!(may_write_key(&lead, before, Some(after)), for_lead, "team admin {before:?} {after:?}");
        assert!(may_write_key(&actor(AdminRole::Admin), before, Some(after)));
    }
}

#[test]
fn a_team_admin_decides_who_is_in_its_team_and_nothing_else_of_them() {
    let user = |more: serde_json::Value| -> User {
        let mut value = json!({ "name": "u" });
        value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(value).expect("a user")
    };
    let in_mine = || user(json!({ "teams": [ { "name": "mine" } ] }));
    let in_both = || user(json!({ "teams": [ { "name": "other" }, { "name": "mine", "role": "team_admin" } ] }));
    let in_other = || user(json!({ "teams": [ { "name": "other" } ] }));
    let lead = actor(AdminRole::TeamAdmin);
    let allowed: [(Option<User>, Option<User>); 4] = [
        (None, Some(in_mine())),
        (Some(in_other()), Some(in_both())),
        (Some(in_both()), Some(in_other())),
        (Some(in_mine()), Some(user(json!({})))),
    ];
    for (before, after) in &allowed {
        assert!(may_write_user(&lead, before.as_ref(), after.as_ref()), "{before:?} {after:?}");
        assert!(!may_write_user(&actor(AdminRole::Member), before.as_ref(), after.as_ref()));
    }
    let refused: [(Option<User>, Option<User>); 8] = [
        (None, Some(user(json!({})))),
        (None, Some(in_both())),
        (None, Some(user(json!({ "role": "admin", "teams": [ { "name": "mine" } ] })))),
        (Some(in_mine()), Some(user(json!({ "role": "analyst", "teams": [ { "name": "mine" } ] })))),
        (Some(in_mine()), Some(user(json!({ "teams": [ { "name": "mine", "role": "admin" } ] })))),
        (Some(in_mine()), Some(user(json!({ "enabled": false, "teams": [ { "name": "mine" } ] })))),
        (Some(in_both()), Some(in_mine())),
        (Some(in_mine()), None),
    ];
    for (before, after) in &refused {
        assert!(!may_write_user(&lead, before.as_ref(), after.as_ref()), "{before:?} {after:?}");
        assert!(may_write_user(&actor(AdminRole::Admin), before.as_ref(), after.as_ref()));
        assert!(!may_write_user(&actor(AdminRole::Analyst), before.as_ref(), after.as_ref()));
    }
}
