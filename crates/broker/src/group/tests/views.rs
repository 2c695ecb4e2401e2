//! What administrators see and do: describe, list, delete, subscriptions.

use super::*;
use ResponseError::*;

#[test]
fn describing() {
    let mut f = Fixture::new();
    let none = f.groups.describe("g");
    assert_eq!((none.state.as_str(), none.members.len()), ("Dead", 0));
    let [a, b] = f.stable([consumer("a"), static_consumer("b")]);
    let stable = f.groups.describe("g");
    assert_eq!((stable.state.as_str(), &*stable.protocol_type, &*stable.protocol), ("Stable", "consumer", "range"));
    let member = |joined: &Joined, client_id: &str, instance: Option<&str>| DescribedMember {
        member: joined.member.clone(),
        instance: instance.map(Into::into),
        client_id: client_id.into(),
        client_host: "/127.0.0.1".into(),
        metadata: reads(&["t"]),
        assignment: joined.member.clone().into(),
    };
    assert_eq!(stable.members, [member(&a, "a", None), member(&b, "client", Some("b"))]);
    f.join(Join { member: a.member, ..consumer("a") });
    let preparing = f.groups.describe("g");
    assert_eq!((preparing.state.as_str(), &*preparing.protocol), ("PreparingRebalance", ""));
    assert!(preparing.members.iter().all(|member| member.metadata.is_empty() && member.assignment.is_empty()));
}

#[test]
fn listing() {
    let mut f = Fixture::new();
    f.stable([consumer("a")]);
    let listed = f.groups.list();
    let expected = Listing { group: "g".into(), protocol_type: "consumer".into(), state: State::Stable };
    assert_eq!(listed, [expected]);
    let matches = |states: &[&str], types: &[&str]| listed[0].matches(states, types);
    assert!(matches(&[], &[]) && matches(&["Empty", "stable"], &[]) && matches(&[], &["Classic"]));
    assert!(!matches(&["Empty"], &[]) && !matches(&[], &["consumer"]) && !matches(&["stable"], &["share"]));
}

#[test]
fn deleting() {
    let mut f = Fixture::new();
    assert_eq!(f.groups.delete("g"), Err(GroupIdNotFound));
    let [a] = f.stable([consumer("a")]);
    assert_eq!((f.groups.delete("g"), f.groups.is_empty("g")), (Err(NonEmptyGroup), false));
    f.leave(&a.member, None);
    let promised = f.promised(consumer("b"));
    assert_eq!((f.groups.is_empty("g"), f.groups.delete("g")), (true, Ok(())));
    assert_eq!((f.state(), f.groups.is_empty("g"), f.groups.next_deadline_ms()), (State::Dead, true, None));
    assert_eq!(f.join_now(promised).error, Some(UnknownMemberId));
}

#[test]
fn subscriptions() {
    let mut f = Fixture::new();
    assert_eq!(f.groups.subscribed_topics("g"), Subscription::Nothing);
    let with = |name: &str, metadata: Bytes| Join { protocols: vec![("range".into(), metadata)], ..consumer(name) };
    let [_, b] = f.stable([with("a", reads(&["t", "u"])), with("b", reads(&["v"]))]);
    let topics = |names: &[&str]| Subscription::Topics(names.iter().map(|name| name.to_string()).collect());
    assert_eq!(f.groups.subscribed_topics("g"), topics(&["t", "u", "v"]));
    f.join(Join { member: b.member, ..with("b", Bytes::from("rubbish")) });
    assert_eq!(f.groups.subscribed_topics("g"), Subscription::Unknown);
    f.join_now(Join { group: "h".into(), protocol_type: "connect".into(), version: 3, ..consumer("w") });
    assert_eq!(f.groups.subscribed_topics("h"), Subscription::NotConsumers);
    f.pass(5 * REBALANCE_MS);
    assert_eq!(f.groups.subscribed_topics("g"), Subscription::Nothing);
}

#[test]
fn broken_metadata_is_no_subscription() {
    let good = reads(&["topic"]);
    assert_eq!(subscription::topics(&good), Some(["topic".to_owned()].into()));
    for len in 0..good.len() - 4 {
        assert_eq!(subscription::topics(&good[..len]), None, "cut at {len}");
    }
    assert_eq!(subscription::topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
    assert_eq!(subscription::topics(&[0xff, 0xff, 0, 0, 0, 0]), None);
    assert_eq!(subscription::topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None, "not UTF-8");
}
