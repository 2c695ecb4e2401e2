//! Time-outs: sessions, rebalances, the sync barrier, the first joins, and connections that break.

use super::*;
use ResponseError::*;

#[test]
fn a_silent_member_is_out_after_its_session() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    f.pass(SESSION_MS - 1);
    assert_eq!(f.heartbeat(&b.member, b.generation), None);
    assert_eq!(f.state(), State::Stable);
    f.pass(1);
    assert_eq!(f.state(), State::PreparingRebalance);
    assert_eq!(f.heartbeat(&a.member, a.generation), Some(UnknownMemberId));
    let joined = f.join_now(Join { member: b.member.clone(), ..consumer("b") });
    assert_eq!(joined.leader, b.member);
}

#[test]
fn commits_keep_a_session_alive() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    for _ in 0..5 {
        f.pass(SESSION_MS - 1);
        assert_eq!(f.groups.may_commit(f.now_ms, "g", &a.member, a.generation, None), Ok(()));
    }
    f.pass(SESSION_MS);
    assert_eq!(f.state(), State::Empty);
}

#[test]
fn rejoins_and_syncs_keep_a_session_alive() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    for by_sync in [false, true] {
        f.pass(SESSION_MS - 1);
        f.heartbeat(&a.member, a.generation);
        let error = if by_sync {
            f.sync_now(sync(&b)).error
        } else {
            f.join_now(Join { member: b.member.clone(), ..consumer("b") }).error
        };
        assert_eq!((error, f.state()), (None, State::Stable));
    }
    f.pass(SESSION_MS - 1);
    assert_eq!(f.state(), State::Stable);
}

#[test]
fn who_waits_does_not_expire() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    let b = f.join(Join { version: 3, ..consumer("b") });
    for _ in 0..2 {
        f.pass(SESSION_MS - 1);
        assert_eq!(f.heartbeat(&a.member, a.generation), Some(RebalanceInProgress));
    }
    assert_eq!(f.joined(b), None);
    let token = f.join(Join { member: a.member.clone(), ..consumer("a") });
    assert_eq!(f.joined(token).map(|joined| joined.generation), f.joined(b).map(|joined| joined.generation));
    let b = f.sync(sync(&f.joined(b).unwrap()));
    f.pass(SESSION_MS - 1);
    f.heartbeat(&a.member, 2);
    f.pass(SESSION_MS - 1);
    f.sync_now(lead(&f.joined(token).unwrap()));
    assert_eq!((f.synced(b).unwrap().error, f.state()), (None, State::Stable));
    f.pass(SESSION_MS - 1);
    assert_eq!(f.state(), State::Stable, "sessions start with the answers");
    f.pass(1);
    assert_eq!(f.state(), State::Empty);
}

#[test]
fn who_does_not_rejoin_in_time_is_out_and_another_leads() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let longer = Join { rebalance_timeout_ms: 2 * REBALANCE_MS as i32, version: 3, ..consumer("c") };
    let token = f.join(longer);
    let mut waited_ms = 0;
    while f.joined(token).is_none() {
        f.heartbeat(&a.member, a.generation);
        f.heartbeat(&b.member, b.generation);
        f.pass(SESSION_MS / 2);
        waited_ms += SESSION_MS / 2;
    }
    assert_eq!(waited_ms, 2 * REBALANCE_MS, "the longest rebalance time-out counts");
    let joined = f.joined(token).unwrap();
    assert_eq!((joined.leader == joined.member, joined.members.len()), (true, 1));
}

#[test]
fn who_never_syncs_is_out() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let token = f.join(Join { member: a.member.clone(), ..consumer("a") });
    let b = f.join_now(Join { member: b.member, ..consumer("b") });
    f.sync_now(lead(&f.joined(token).unwrap()));
    assert_eq!(f.state(), State::Stable);
    let mut waited_ms = 0;
    while f.state() == State::Stable {
        f.heartbeat(&a.member, b.generation);
        f.heartbeat(&b.member, b.generation);
        f.pass(SESSION_MS / 2);
        waited_ms += SESSION_MS / 2;
    }
    assert_eq!(waited_ms, REBALANCE_MS);
    assert_eq!(f.heartbeat(&b.member, b.generation), Some(UnknownMemberId));
    assert_eq!(f.heartbeat(&a.member, b.generation), Some(RebalanceInProgress));
}

#[test]
fn a_leader_that_never_syncs_is_out() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    f.join(Join { member: a.member.clone(), ..consumer("a") });
    let b = f.join_now(Join { member: b.member, ..consumer("b") });
    let waits = f.sync(sync(&b));
    for _ in 0..6 {
        assert_eq!(f.synced(waits), None);
        assert_eq!(f.heartbeat(&a.member, b.generation), None);
        f.pass(SESSION_MS / 2);
    }
    assert_eq!(f.synced(waits).unwrap().error, Some(RebalanceInProgress));
    let joined = f.join_now(Join { member: b.member, ..consumer("b") });
    assert_eq!((joined.leader == joined.member, joined.members.len()), (true, 1));
}

#[test]
fn an_abandoned_join_holds_the_group_up_for_its_session_only() {
    let mut f = Fixture::new();
    let [a] = f.stable([consumer("a")]);
    let b = f.join(Join { version: 3, ..consumer("b") });
    f.pass(SESSION_MS - 1);
    f.heartbeat(&a.member, a.generation);
    f.abandon(b);
    let token = f.join(Join { member: a.member, ..consumer("a") });
    f.pass(SESSION_MS - 1);
    assert_eq!(f.joined(token), None);
    f.pass(1);
    assert_eq!(f.joined(token).unwrap().members.len(), 1);
    assert_eq!(f.joined(b), None);
}

#[test]
fn an_abandoned_leaders_place_is_taken() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let token = f.join(Join { member: a.member, ..consumer("a") });
    f.abandon(token);
    let token = f.join(Join { member: b.member.clone(), ..consumer("b") });
    assert_eq!(f.joined(token), None);
    f.pass(SESSION_MS);
    assert_eq!(f.joined(token).unwrap().leader, b.member);
}

#[test]
fn an_abandoned_sync_can_be_asked_for_again() {
    let mut f = Fixture::new();
    let [a, b] = f.stable([consumer("a"), consumer("b")]);
    let token = f.join(Join { member: a.member, ..consumer("a") });
    let b = f.join_now(Join { member: b.member, ..consumer("b") });
    let waits = f.sync(sync(&b));
    f.abandon(waits);
    f.abandon(waits);
    f.sync_now(lead(&f.joined(token).unwrap()));
    assert_eq!((f.synced(waits), f.sync_now(sync(&b)).assignment), (None, b.member.into()));
}

#[test]
fn the_first_joins_wait_while_members_keep_coming() {
    let mut f = Fixture::with(Limits { initial_delay_ms: 3_000, ..LIMITS });
    let member = || Join { version: 3, rebalance_timeout_ms: 7_000, ..consumer("c") };
    let first = f.join(member());
    f.pass(2_000);
    f.join(member());
    f.pass(3_999);
    assert_eq!(f.joined(first), None, "3 s, and 3 s more as another came");
    f.pass(1);
    assert_eq!(f.joined(first).unwrap().members.len(), 2);
    let mut f = Fixture::with(Limits { initial_delay_ms: 3_000, ..LIMITS });
    let first = f.join(member());
    for _ in 0..3 {
        f.pass(2_000);
        f.join(member());
    }
    f.pass(999);
    assert_eq!(f.joined(first), None);
    f.pass(1);
    assert_eq!(f.joined(first).unwrap().members.len(), 4, "no longer than the rebalance time-out");
}

#[test]
fn a_rebalance_time_out_that_is_missing_is_the_sessions() {
    let mut f = Fixture::new();
    let [a] = f.stable([Join { rebalance_timeout_ms: -1, version: 0, ..consumer("a") }]);
    let token = f.join(Join { rebalance_timeout_ms: -1, version: 0, ..consumer("b") });
    f.pass(SESSION_MS - 1);
    f.heartbeat(&a.member, a.generation);
    assert_eq!(f.joined(token), None);
    f.pass(1);
    assert_eq!(f.joined(token).unwrap().members.len(), 1);
}

#[test]
fn zero_and_extreme_times_do_no_harm() {
    for (now_ms, rebalance_timeout_ms) in [(0, 0), (i64::MAX - 1, i32::MAX), (i64::MIN, i32::MIN), (-5, 1)] {
        let mut f = Fixture::new();
        f.now_ms = now_ms;
        f.join_now(Join { version: 3, rebalance_timeout_ms, ..consumer("a") });
        f.join(Join { version: 3, rebalance_timeout_ms, ..consumer("b") });
        for _ in 0..4 {
            f.groups.poll(i64::MAX);
        }
        assert!(f.groups.waiting.is_empty());
    }
}

#[test]
fn deadlines_are_told() {
    let mut f = Fixture::new();
    let in_ms = |f: &Fixture| f.groups.next_deadline_ms().map(|due_ms| due_ms - f.now_ms);
    assert_eq!(in_ms(&f), None);
    let join = Join { version: 3, session_timeout_ms: 60_000, rebalance_timeout_ms: 5_000, ..consumer("a") };
    let a = f.join_now(join.clone());
    assert_eq!(in_ms(&f), Some(5_000), "until it must have synced");
    f.sync_now(lead(&a));
    assert_eq!(in_ms(&f), Some(60_000), "its session");
    f.pass(1_000);
    f.join(join);
    assert_eq!(in_ms(&f), Some(5_000), "until it must have joined");
    f.leave(&a.member, None);
    let b = f.groups.describe("g").members[0].member.clone();
    f.leave(&b, None);
    assert_eq!(in_ms(&f), Some(EMPTY_GROUP_KEPT_MS));
    f.promised(consumer("p"));
    assert_eq!(in_ms(&f), Some(SESSION_MS), "the promised id");
}
