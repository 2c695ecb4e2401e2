//! Assignments, generations, and what members may do in which state.

use super::*;
use ResponseError::*;

/// A group of two that is completing its rebalance.
fn completing(f: &mut Fixture) -> [Joined; 2] {
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let token = f.join(Join { member: a.member, ..consumer("a") });
    let b = f.join_now(Join { member: b.member, ..consumer("b") });
    [f.joined(token).unwrap(), b]
}

#[test]
fn the_leaders_sync_answers_everybody() {
    let mut f = Fixture::new();
    let [a, b] = completing(&mut f);
    let waits = f.sync(sync(&b));
    assert_eq!(f.synced(waits), None);
    let assignments = vec![(a.member.clone(), Bytes::from("one")), ("stranger".into(), Bytes::from("two"))];
    let led = f.sync_now(Sync { assignments, ..sync(&a) });
    assert_eq!((led.error, &led.assignment[..]), (None, &b"one"[..]));
    assert_eq!((led.protocol_type.as_deref(), led.protocol.as_deref()), (Some("consumer"), Some("range")));
    let synced = f.synced(waits).unwrap();
    assert_eq!((synced.error, synced.assignment.len()), (None, 0), "forgotten by the leader: nothing");
    assert_eq!(f.sync_now(sync(&a)).assignment, "one", "can be asked for again");
}

#[test]
fn only_the_leaders_assignments_count() {
    let mut f = Fixture::new();
    let [a, b] = completing(&mut f);
    let mine = vec![(b.member.clone(), Bytes::from("all"))];
    let waits = f.sync(Sync { assignments: mine.clone(), ..sync(&b) });
    f.sync_now(lead(&a));
    assert_eq!(f.synced(waits).unwrap().assignment, b.member);
    assert_eq!(f.sync_now(Sync { assignments: mine, ..sync(&b) }).assignment, b.member);
}

#[test]
fn syncs_are_checked() {
    let mut f = Fixture::new();
    assert_eq!(f.sync_now(Sync { group: String::new(), ..some_sync() }).error, Some(InvalidGroupId));
    assert_eq!(f.sync_now(some_sync()).error, Some(UnknownMemberId));
    let [a, b] = completing(&mut f);
    assert_eq!(f.sync_now(some_sync()).error, Some(UnknownMemberId));
    assert_eq!(f.sync_now(Sync { instance: Some("i".into()), ..sync(&b) }).error, Some(UnknownMemberId));
    assert_eq!(f.sync_now(Sync { generation: b.generation - 1, ..sync(&b) }).error, Some(IllegalGeneration));
    let other = Some("other".to_owned());
    let wrong_type = Sync { protocol_type: other.clone(), ..sync(&b) };
    assert_eq!(f.sync_now(wrong_type).error, Some(InconsistentGroupProtocol));
    assert_eq!(f.sync_now(Sync { protocol: other, ..sync(&b) }).error, Some(InconsistentGroupProtocol));
    let waits = f.sync(Sync { protocol_type: None, protocol: None, ..sync(&b) });
    f.sync_now(lead(&a));
    assert_eq!(f.synced(waits).unwrap().error, None);
}

fn some_sync() -> Sync {
    Sync {
        group: "g".into(),
        generation: 1,
        member: "x".into(),
        instance: None,
        protocol_type: None,
        protocol: None,
        assignments: vec![],
    }
}

#[test]
fn a_rebalance_sends_waiting_syncs_back() {
    let mut f = Fixture::new();
    let [a, b] = completing(&mut f);
    let waits = f.sync(sync(&b));
    f.join(Join { version: 3, ..consumer("c") });
    assert_eq!(f.synced(waits).unwrap().error, Some(RebalanceInProgress));
    assert_eq!(f.sync_now(lead(&a)).error, Some(RebalanceInProgress));
}

#[test]
fn a_repeated_sync_takes_the_place_of_the_first() {
    let mut f = Fixture::new();
    let [a, b] = completing(&mut f);
    let first = f.sync(sync(&b));
    let second = f.sync(sync(&b));
    assert_eq!((f.synced(first).unwrap().error, f.synced(second)), (Some(RebalanceInProgress), None));
    f.sync_now(lead(&a));
    assert_eq!(f.synced(second).unwrap().assignment, b.member);
}

#[test]
fn heartbeats_are_checked() {
    let mut f = Fixture::new();
    assert_eq!(f.groups.heartbeat(0, "", "x", 1, None), Some(InvalidGroupId));
    assert_eq!(f.heartbeat("x", 1), Some(UnknownMemberId));
    let [a, _] = completing(&mut f);
    assert_eq!(f.heartbeat("x", a.generation), Some(UnknownMemberId));
    assert_eq!(f.heartbeat(&a.member, a.generation - 1), Some(IllegalGeneration));
    assert_eq!(f.heartbeat(&a.member, a.generation), None, "while completing too");
    f.sync_now(lead(&a));
    assert_eq!(f.heartbeat(&a.member, a.generation), None);
}

#[test]
fn commits_are_checked() {
    let mut f = Fixture::new();
    let may = |f: &mut Fixture, member: &str, generation| f.groups.may_commit(f.now_ms, "g", member, generation, None);
    assert_eq!(may(&mut f, "", -1), Ok(()), "a consumer without a group");
    assert_eq!(may(&mut f, "x", 3), Err(IllegalGeneration));
    let [a, b] = completing(&mut f);
    assert_eq!(may(&mut f, &a.member, a.generation), Err(RebalanceInProgress), "the new owner may begin already");
    f.sync_now(lead(&a));
    assert_eq!(may(&mut f, &a.member, a.generation), Ok(()));
    assert_eq!(may(&mut f, &a.member, a.generation - 1), Err(IllegalGeneration));
    assert_eq!(may(&mut f, &a.member, -1), Err(IllegalGeneration));
    assert_eq!(may(&mut f, "x", a.generation), Err(UnknownMemberId));
    assert_eq!(may(&mut f, "", -1), Err(UnknownMemberId), "others may not while it has members");
    f.join(Join { version: 3, ..consumer("c") });
    assert_eq!(f.state(), State::PreparingRebalance);
    assert_eq!(may(&mut f, &b.member, b.generation), Ok(()), "before it gives its partitions up");
    f.pass(REBALANCE_MS + SESSION_MS);
    f.pass(REBALANCE_MS + SESSION_MS);
    assert_eq!((f.state(), may(&mut f, "", -1)), (State::Empty, Ok(())));
    assert_eq!(may(&mut f, &b.member, b.generation), Err(UnknownMemberId));
}

#[test]
fn leaving() {
    let mut f = Fixture::new();
    assert_eq!(f.groups.leave(0, "", &[]), Err(InvalidGroupId));
    assert_eq!(f.leave("x", None), Some(UnknownMemberId));
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    assert_eq!(f.leave("x", None), Some(UnknownMemberId));
    assert_eq!(f.leave("", None), Some(UnknownMemberId));
    assert_eq!(f.leave(&a.member, None), None);
    assert_eq!(f.heartbeat(&b.member, b.generation), Some(RebalanceInProgress));
    let alone = f.join_now(Join { member: b.member.clone(), ..consumer("b") });
    assert_eq!((alone.leader, alone.generation), (b.member.clone(), 3), "who is left leads");
    assert_eq!(f.leave(&b.member, None), None);
    assert_eq!(f.state(), State::Empty);
}

#[test]
fn who_leaves_gets_its_pending_answers() {
    let mut f = Fixture::new();
    let [a, b] = completing(&mut f);
    let waits = f.sync(sync(&b));
    f.leave(&b.member, None);
    assert_eq!(f.synced(waits).unwrap().error, Some(UnknownMemberId));
    let waits = f.join(Join { version: 3, ..consumer("c") });
    assert_eq!(f.state(), State::PreparingRebalance);
    let c = f.groups.describe("g").members.iter().map(|m| m.member.clone()).find(|m| m.starts_with("c-")).unwrap();
    f.leave(&c, None);
    let answer = f.joined(waits).unwrap();
    assert_eq!((answer.error, answer.member.as_str()), (Some(UnknownMemberId), ""));
    assert_eq!(f.join_now(Join { member: a.member, ..consumer("a") }).error, None);
}

#[test]
fn generations_go_on_counting_through_emptiness() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    assert_eq!(a.generation, 1);
    f.leave(&a.member, None);
    let [b] = f.stable([consumer("b")]);
    assert_eq!(b.generation, 3);
}
