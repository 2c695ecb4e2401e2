//! Who gets in, under which id and protocol, and what a join sets off.

use super::*;
use ResponseError::*;

#[test]
fn lone_consumer_starts_at_once() {
    let mut f = Fixture::new();
    let first = f.join_now(consumer("c"));
    assert_eq!((first.error, first.generation), (Some(MemberIdRequired), -1));
    assert_eq!(first.member, "c-00000000-0000-0000-0000-000000000001");
    assert_eq!(f.state(), State::Empty);
    let joined = f.join_now(Join { member: first.member.clone(), ..consumer("c") });
    assert_eq!((joined.error, joined.generation, joined.leader.as_str()), (None, 1, first.member.as_str()));
    assert_eq!((joined.protocol_type.as_deref(), joined.protocol.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!(joined.members, [JoinedMember { member: first.member, instance: None, metadata: reads(&["t"]) }]);
    assert_eq!(f.state(), State::CompletingRebalance);
    assert_eq!(f.sync_now(lead(&joined)).assignment, joined.member);
    assert_eq!(f.state(), State::Stable);
}

#[test]
fn old_versions_and_static_members_need_no_id_first() {
    let mut f = Fixture::new();
    assert_eq!(f.join_now(Join { version: 3, ..consumer("c") }).error, None);
    let mut f = Fixture::new();
    let joined = f.join_now(static_consumer("i"));
    assert_eq!((joined.error, joined.member.starts_with("i-")), (None, true));
    assert_eq!(joined.members[0].instance.as_deref(), Some("i"));
}

#[test]
fn a_second_member_makes_a_rebalance() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    let b = f.promised(consumer("b"));
    assert_eq!(f.state(), State::Stable, "a promise alone disturbs nobody");
    let b = f.join(b);
    assert_eq!((f.state(), f.joined(b)), (State::PreparingRebalance, None));
    assert_eq!(f.heartbeat(&a.member, 1), Some(RebalanceInProgress));
    let again = f.join_now(Join { member: a.member.clone(), ..consumer("a") });
    let b = f.joined(b).unwrap();
    assert_eq!((again.generation, b.generation), (2, 2));
    assert_eq!((again.leader.as_str(), b.leader.as_str()), (a.member.as_str(), a.member.as_str()));
    assert_eq!((again.members.len(), b.members.len()), (2, 0), "only the leader gets the list");
}

#[test]
fn pending_ids_hold_up_a_rebalance_until_they_are_void() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    let never = f.promised(consumer("never"));
    let token = f.join(Join { member: a.member.clone(), ..consumer("a") });
    assert_eq!(f.joined(token), None);
    f.pass(SESSION_MS - 1);
    assert_eq!(f.joined(token), None);
    f.pass(1);
    assert_eq!(f.joined(token).unwrap().generation, 2);
    assert_eq!(f.join_now(never).error, Some(UnknownMemberId));
}

#[test]
fn pending_ids_do_not_hold_up_the_first_members() {
    let mut f = Fixture::new();
    f.promised(consumer("never"));
    let a = f.promised(consumer("a"));
    assert_eq!(f.join_now(a).generation, 1);
}

#[test]
fn pending_ids_can_leave_and_are_not_for_static_members() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    let b = f.promised(consumer("b"));
    assert_eq!(f.join_now(Join { instance: Some("i".into()), ..b.clone() }).error, Some(UnknownMemberId));
    let token = f.join(Join { member: a.member.clone(), ..consumer("a") });
    assert_eq!(f.joined(token), None);
    assert_eq!(f.leave(&b.member, None), None);
    assert_eq!(f.joined(token).unwrap().generation, 2);
}

#[test]
fn unknown_ids_are_refused() {
    let mut f = Fixture::new();
    let unknown = Join { member: "x".into(), ..consumer("c") };
    assert_eq!(f.join_now(unknown.clone()).error, Some(UnknownMemberId));
    assert_eq!(f.state(), State::Dead, "no group is made for it");
    f.stable([consumer("a")]);
    let answer = f.join_now(unknown);
    assert_eq!((answer.error, answer.member.as_str()), (Some(UnknownMemberId), "x"));
}

#[test]
fn invalid_requests_are_refused() {
    let mut f = Fixture::new();
    for group in [String::new(), "g".repeat(GROUP_ID_MAX_BYTES + 1)] {
        assert_eq!(f.join_now(Join { group, ..consumer("c") }).error, Some(InvalidGroupId));
    }
    for session_timeout_ms in [i32::MIN, 0, 999, 60_001] {
        assert_eq!(f.join_now(Join { session_timeout_ms, ..consumer("c") }).error, Some(InvalidSessionTimeout));
    }
    assert_eq!(f.join_now(Join { protocols: vec![], ..consumer("c") }).error, Some(InconsistentGroupProtocol));
    let no_type = Join { protocol_type: String::new(), ..consumer("c") };
    assert_eq!(f.join_now(no_type).error, Some(InconsistentGroupProtocol));
    let long = "n".repeat(NAME_MAX_BYTES + 1);
    assert_eq!(f.join_now(static_consumer(&long)).error, Some(InvalidRequest));
    assert_eq!(f.join_now(Join { protocol_type: long.clone(), ..consumer("c") }).error, Some(InvalidRequest));
    assert_eq!(f.join_now(Join { protocols: vec![(long, Bytes::new())], ..consumer("c") }).error, Some(InvalidRequest));
    assert!(f.groups.list().is_empty());
}

fn protocols(names: &[&str]) -> Vec<(String, Bytes)> {
    names.iter().map(|name| (name.to_string(), reads(&["t"]))).collect()
}

#[test]
fn protocols_must_have_one_in_common() {
    let mut f = Fixture::new();
    f.stable([Join { protocols: protocols(&["x", "y"]), ..consumer("a") }]);
    let other_type = Join { protocol_type: "connect".into(), protocols: protocols(&["x"]), ..consumer("b") };
    assert_eq!(f.join_now(other_type).error, Some(InconsistentGroupProtocol));
    let none = Join { protocols: protocols(&["z"]), ..consumer("b") };
    assert_eq!(f.join_now(none).error, Some(InconsistentGroupProtocol));
    f.promised(Join { protocols: protocols(&["z", "y"]), ..consumer("b") });
}

#[test]
fn the_protocol_with_most_votes_wins() {
    let mut f = Fixture::new();
    let member = |names| Join { version: 3, protocols: protocols(names), ..consumer("c") };
    let a = f.join_now(member(&["only-a", "x", "y"]));
    assert_eq!(a.protocol.as_deref(), Some("only-a"));
    f.join(member(&["y", "x", "only-b"]));
    f.join(member(&["y", "x"]));
    let a = f.join_now(Join { member: a.member, ..member(&["only-a", "x", "y"]) });
    assert_eq!((a.protocol.as_deref(), a.members.len()), (Some("y"), 3));
}

#[test]
fn with_equal_votes_the_lower_member_id_decides() {
    let mut f = Fixture::new();
    let member = |client_id: &str, names| Join { version: 3, protocols: protocols(names), ..consumer(client_id) };
    let b = f.join_now(member("b", &["y", "x"]));
    f.join(member("a", &["x", "y"]));
    assert_eq!(f.join_now(Join { member: b.member, ..member("b", &["y", "x"]) }).protocol.as_deref(), Some("x"));
}

#[test]
fn follower_rejoin_with_the_same_metadata_changes_nothing() {
    let mut f = Fixture::new();
    let [_, b] = f.stable([consumer("a"), consumer("b")]);
    let again = f.join_now(Join { member: b.member.clone(), ..consumer("b") });
    assert_eq!(again, b);
    assert_eq!(f.state(), State::Stable);
    assert_eq!(f.sync_now(sync(&again)).assignment, b.member);
}

#[test]
fn follower_rejoin_with_other_metadata_makes_a_rebalance() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let changed = Join { member: b.member, protocols: vec![("range".into(), reads(&["t", "u"]))], ..consumer("b") };
    let token = f.join(changed);
    assert_eq!((f.joined(token), f.state()), (None, State::PreparingRebalance));
    let a = f.join_now(Join { member: a.member, ..consumer("a") });
    assert_eq!(a.members.iter().filter(|member| member.metadata == reads(&["t", "u"])).count(), 1);
}

#[test]
fn leader_rejoin_in_stable_makes_a_rebalance() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let token = f.join(Join { member: a.member, ..consumer("a") });
    assert_eq!((f.joined(token), f.state()), (None, State::PreparingRebalance));
    f.join_now(Join { member: b.member, ..consumer("b") });
    assert_eq!(f.joined(token).unwrap().generation, 3);
}

#[test]
fn rejoin_while_completing_repeats_the_answer_or_rebalances() {
    let mut f = Fixture::new();
    let a = f.promised(consumer("a"));
    let joined = f.join_now(a.clone());
    assert_eq!(f.join_now(a.clone()), joined, "the leader gets the list again");
    let changed = f.join_now(Join { protocols: vec![("range".into(), reads(&["u"]))], ..a });
    assert_eq!(changed.generation, joined.generation + 1);
}

#[test]
fn a_repeated_join_takes_the_place_of_the_first() {
    let mut f = Fixture::new();
    f.stable([consumer("a")]);
    let b = f.promised(consumer("b"));
    let first = f.join(b.clone());
    let second = f.join(b);
    assert_eq!(f.joined(first).unwrap().error, Some(RebalanceInProgress));
    assert_eq!(f.joined(second), None);
}
