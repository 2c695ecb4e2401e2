//! Static members (KIP-345, KIP-814): they come back under a new id, fence the old one, and disturb nobody.

use super::*;
use ResponseError::*;

#[test]
fn a_follower_that_comes_back_makes_no_rebalance() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([static_consumer("a"), static_consumer("b")]);
    let back = f.join_now(static_consumer("b"));
    assert_ne!(back.member, b.member);
    assert_eq!((back.error, back.generation, back.leader.as_str()), (None, b.generation, a.member.as_str()));
    assert_eq!((f.state(), back.skip_assignment, back.members.len()), (State::Stable, false, 0));
    assert_eq!(f.sync_now(sync(&back)).assignment, b.member, "what the old id was given");
    assert_eq!(f.groups.heartbeat(f.now_ms, "g", &b.member, b.generation, Some("b")), Some(FencedInstanceId));
    assert_eq!(f.heartbeat(&b.member, b.generation), Some(UnknownMemberId));
    assert_eq!(f.groups.heartbeat(f.now_ms, "g", &back.member, b.generation, Some("b")), None);
}

#[test]
fn a_leader_that_comes_back_skips_the_assignment() {
    let mut f = Fixture::new();
    let [a, _] = f.stable([static_consumer("a"), static_consumer("b")]);
    let back = f.join_now(static_consumer("a"));
    assert_eq!((back.leader == back.member, back.skip_assignment, back.members.len()), (true, true, 2));
    assert_eq!((f.state(), back.generation), (State::Stable, a.generation));
}

#[test]
fn an_old_leader_that_comes_back_is_told_that_its_old_id_leads() {
    let mut f = Fixture::new();
    let [a, _] = f.stable([static_consumer("a"), static_consumer("b")]);
    let back = f.join_now(Join { version: 8, ..static_consumer("a") });
    assert_eq!((back.leader == a.member, back.skip_assignment, back.members.len()), (true, false, 0));
    // It leads all the same: its next join makes a rebalance.
    f.join(Join { member: back.member, ..static_consumer("a") });
    assert_eq!(f.state(), State::PreparingRebalance);
}

#[test]
fn coming_back_with_other_topics_or_protocols_makes_a_rebalance() {
    let protocols = |names: &[&str], topics: &[&str]| -> Vec<(String, Bytes)> {
        names.iter().map(|name| (name.to_string(), reads(topics))).collect()
    };
    for (changed, state) in [
        (protocols(&["x", "y"], &["t"]), State::Stable),
        (protocols(&["x"], &["t"]), State::Stable),
        (protocols(&["y", "x"], &["t"]), State::CompletingRebalance),
        (protocols(&["x", "y"], &["u"]), State::CompletingRebalance),
    ] {
        let mut f = Fixture::new();
        f.stable([Join { protocols: protocols(&["x", "y"], &["t"]), ..static_consumer("a") }]);
        f.join_now(Join { protocols: changed.clone(), ..static_consumer("a") });
        assert_eq!(f.state(), state, "{changed:?}");
    }
}

#[test]
fn owned_partitions_are_no_other_subscription() {
    let mut f = Fixture::new();
    let owned = [&reads(&["t"])[..], b"owned partitions"].concat();
    f.stable([Join { protocols: vec![("range".into(), owned.into())], ..static_consumer("a") }]);
    f.join_now(static_consumer("a"));
    assert_eq!(f.state(), State::Stable);
}

#[test]
fn coming_back_while_completing_makes_a_rebalance() {
    let mut f = Fixture::new();
    let a = f.join_now(static_consumer("a"));
    f.join(static_consumer("b"));
    let a = f.join_now(Join { member: a.member, ..static_consumer("a") });
    let joined = f.groups.describe("g").members;
    let b = joined.iter().find(|member| member.instance.as_deref() == Some("b")).unwrap();
    let waits = f.sync(Sync { member: b.member.clone(), ..sync(&a) });
    f.join(static_consumer("b"));
    assert_eq!(f.synced(waits).unwrap().error, Some(FencedInstanceId));
    assert_eq!(f.state(), State::PreparingRebalance);
    assert_eq!(f.join_now(Join { member: a.member, ..static_consumer("a") }).members.len(), 2);
}

#[test]
fn a_waiting_twin_is_fenced() {
    let mut f = Fixture::new();
    f.stable([static_consumer("a")]);
    let first = f.join(static_consumer("b"));
    let second = f.join(static_consumer("b"));
    let fenced = f.joined(first).unwrap();
    assert_eq!((fenced.error, fenced.member.starts_with("b-")), (Some(FencedInstanceId), true));
    assert_eq!(f.joined(second), None);
    assert_eq!(f.groups.describe("g").members.len(), 2);
}

#[test]
fn wrong_pairs_of_ids_are_refused() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([static_consumer("a"), consumer("b")]);
    let join = |member: &str, instance: &str| Join { member: member.into(), ..static_consumer(instance) };
    assert_eq!(f.join_now(join(&b.member, "a")).error, Some(FencedInstanceId));
    assert_eq!(f.join_now(join(&a.member, "z")).error, Some(UnknownMemberId));
    assert_eq!(f.sync_now(Sync { instance: Some("a".into()), ..sync(&b) }).error, Some(FencedInstanceId));
    assert_eq!(f.groups.may_commit(0, "g", &b.member, b.generation, Some("a")), Err(FencedInstanceId));
    assert_eq!(f.groups.may_commit(0, "g", &b.member, b.generation, Some("z")), Err(UnknownMemberId));
}

#[test]
fn an_administrator_removes_by_instance() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([static_consumer("a"), static_consumer("b")]);
    let leaver = |member: &str, instance: &str| Leaver { member: member.into(), instance: Some(instance.into()) };
    let leavers = [leaver("", "z"), leaver(&a.member, "b"), leaver(&a.member, "z"), leaver("", "a"), leaver("", "a")];
    let unknown = Some(UnknownMemberId);
    let left = f.groups.leave(f.now_ms, "g", &leavers);
    assert_eq!(left, Ok(vec![unknown, Some(FencedInstanceId), unknown, None, unknown]));
    assert_eq!(f.leave(&b.member, Some("b")), None);
    assert_eq!(f.state(), State::Empty);
}

#[test]
fn static_members_that_do_not_rejoin_in_time_are_out() {
    let mut f = Fixture::new();
    let long = Join { session_timeout_ms: 60_000, ..static_consumer("a") };
    let [a, b] = f.stable([long, static_consumer("b")]);
    let token = f.join(Join { member: b.member, protocols: vec![("range".into(), reads(&["u"]))], ..consumer("b") });
    f.pass(REBALANCE_MS - 1);
    assert_eq!(f.joined(token), None);
    f.pass(1);
    let joined = f.joined(token).unwrap();
    assert_eq!((joined.leader == joined.member, joined.members.len()), (true, 1));
    assert_eq!(f.heartbeat(&a.member, a.generation), Some(UnknownMemberId));
}
