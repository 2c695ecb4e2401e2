//! What is bounded, and that it is.

use super::*;
use ResponseError::*;

fn in_group(group: impl Into<String>) -> Join {
    Join { version: 3, group: group.into(), ..consumer("c") }
}

#[test]
fn members_of_a_group() {
    let mut f = Fixture::new();
    let first = f.join_now(in_group("g"));
    f.join(in_group("g"));
    f.join(Join { version: 3, ..static_consumer("i") });
    f.promised(consumer("promised"));
    for join in [in_group("g"), consumer("c"), static_consumer("j")] {
        let answer = f.join_now(join);
        assert_eq!((answer.error, answer.member.as_str()), (Some(GroupMaxSizeReached), ""));
    }
    let waits = f.join(static_consumer("i"));
    assert_eq!(f.joined(waits), None, "a static member may come back");
    let waits = f.join(Join { member: first.member, ..in_group("g") });
    f.pass(SESSION_MS);
    assert_eq!(f.joined(waits).unwrap().members.len(), 3);
}

#[test]
fn groups_that_are_empty_make_room() {
    let mut f = Fixture::new();
    for group in ["a", "b", "c", "d"] {
        f.join_now(in_group(group));
        f.now_ms += 1;
    }
    let refused = f.join_now(in_group("e"));
    assert_eq!(refused.error, Some(GroupMaxSizeReached));
    f.pass(SESSION_MS - 2);
    assert_eq!(f.groups.describe("b").state, State::Empty);
    f.join_now(in_group("e"));
    assert_eq!((f.groups.describe("a").state, f.groups.list().len()), (State::Dead, 4), "the longest empty goes");
}

#[test]
fn empty_groups_are_forgotten() {
    let mut f = Fixture::new();
    f.join_now(in_group("g"));
    f.pass(SESSION_MS + EMPTY_GROUP_KEPT_MS - 1);
    assert_eq!(f.state(), State::Empty);
    f.pass(1);
    assert_eq!((f.state(), f.groups.next_deadline_ms()), (State::Dead, None));
    assert!(f.groups.groups.is_empty() && f.groups.timers.is_empty() && f.groups.waiting.is_empty());
}

fn with_metadata(join: Join, bytes: usize) -> Join {
    Join { protocols: vec![("range".into(), Bytes::from(vec![0; bytes]))], ..join }
}

#[test]
fn metadata_of_a_member_a_group_and_all() {
    // 1 KiB a member, 8 KiB a group, 64 KiB in all; a protocol counts 64 bytes and its name besides its metadata.
    let mut f = Fixture::with(Limits { members_per_group: 100, groups: 100, ..LIMITS });
    assert_eq!(f.join_now(with_metadata(in_group("g"), 956)).error, Some(InvalidRequest));
    let full = |group: &str| with_metadata(in_group(group), 955);
    let first = f.join_now(full("g"));
    for _ in 1..8 {
        f.join(full("g"));
    }
    assert_eq!(f.groups.held_bytes, 8 * 1_024);
    assert_eq!(f.join_now(full("g")).error, Some(GroupMaxSizeReached));
    let waits = f.join(Join { member: first.member.clone(), ..full("g") });
    assert_eq!(f.joined(waits).unwrap().error, None, "who is in may join again");
    for group in ["h", "i", "j", "k", "l", "m", "n"] {
        for _ in 0..8 {
            f.join(full(group));
        }
    }
    assert_eq!(f.groups.held_bytes, 64 * 1_024);
    assert_eq!(f.join_now(in_group("o")).error, Some(GroupMaxSizeReached));
    let again = Join { member: first.member, ..with_metadata(in_group("g"), 954) };
    let waits = f.join(again);
    assert_eq!((f.joined(waits), f.groups.held_bytes), (None, 64 * 1_024 - 1));
    f.pass(10 * REBALANCE_MS);
    assert_eq!(f.groups.held_bytes, 0);
}

#[test]
fn assignments_of_a_group() {
    let mut f = Fixture::new();
    let a = f.promised(consumer("a"));
    let a = f.join_now(a);
    let metadata_bytes = f.groups.held_bytes;
    let assign = |bytes| Sync { assignments: vec![(a.member.clone(), Bytes::from(vec![1; bytes]))], ..sync(&a) };
    assert_eq!(f.sync_now(assign(8 * 1_024 + 1)).error, Some(UnknownServerError));
    assert_eq!(f.state(), State::CompletingRebalance);
    assert_eq!(f.sync_now(assign(8 * 1_024)).assignment.len(), 8 * 1_024);
    assert_eq!(f.groups.held_bytes, metadata_bytes + 8 * 1_024);
    f.join(Join { version: 3, ..consumer("b") });
    f.join_now(Join { member: a.member, ..consumer("a") });
    assert_eq!(f.groups.held_bytes, 2 * metadata_bytes, "dropped with its generation, and in no newcomer's way");
}

#[test]
fn assignments_of_all_groups() {
    let mut f = Fixture::with(Limits { groups: 100, ..LIMITS });
    let mut errors = Vec::new();
    for group in 0..8 {
        let joined = f.join_now(in_group(group.to_string()));
        let assignments = vec![(joined.member.clone(), Bytes::from(vec![1; 8 * 1_024]))];
        errors.push(f.sync_now(Sync { group: group.to_string(), assignments, ..sync(&joined) }).error);
    }
    assert_eq!((&errors[..7], errors[7]), (&[None; 7][..], Some(UnknownServerError)));
}

#[test]
fn requests_are_not_kept_in_memory() {
    let mut f = Fixture::new();
    let request = Bytes::from(vec![0; 1 << 20]);
    let join = Join { protocols: vec![("range".into(), request.slice(0..10))], ..in_group("g") };
    let joined = f.join_now(join);
    f.sync_now(Sync { assignments: vec![(joined.member.clone(), request.slice(0..10))], ..sync(&joined) });
    assert!(request.is_unique());
}

#[test]
fn long_client_ids_are_cut() {
    let mut f = Fixture::new();
    let joined = f.join_now(Join { client_id: "ä".repeat(1_000), ..in_group("g") });
    let member = &f.groups.describe("g").members[0];
    assert_eq!(member.client_id, "ä".repeat(CLIENT_NAME_MAX_BYTES / 2));
    assert!(joined.member.starts_with(&format!("{}-", member.client_id)));
}
