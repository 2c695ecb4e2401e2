//! Random clients, well-behaved and not, at random times, with checks after every step. `random/client.rs` is a client
//! as the protocol guide wants it, `random/world.rs` holds the clients, the coordinator and what must always be true.

mod client;
mod world;

use super::*;
use client::{Client, Kind};
use proptest::prelude::*;
use world::World;

#[derive(Debug, Clone)]
enum Act {
    /// A well-behaved client does what is its turn.
    Next(usize),
    /// It dies without a word; a static one comes back as the same instance.
    Crash(usize),
    Leave(usize),
    /// Its connection breaks; it asks again.
    Disconnect(usize),
    Pass(i64),
    /// Somebody whose requests make no sense.
    Rogue {
        group: usize,
        what: Rogue,
    },
}

#[derive(Debug, Clone)]
enum Rogue {
    Join {
        version: i16,
        member: Option<usize>,
        instance: Option<usize>,
        session_ms: i32,
        rebalance_ms: i32,
        protocols: usize,
        bytes: usize,
    },
    Sync {
        member: usize,
        generation: i32,
        assignment: usize,
    },
    Heartbeat {
        member: usize,
        generation: i32,
    },
    Leave {
        member: Option<usize>,
        instance: Option<usize>,
    },
    Commit {
        member: usize,
        generation: i32,
    },
    Abandon(usize),
    Delete,
}

fn rogue() -> impl Strategy<Value = Rogue> {
    let some = || proptest::option::of(0..6_usize);
    let join = (0..10_i16, some(), some(), 900..30_000, -1..20_000, 0..4_usize, 0..1_100_usize).prop_map(
        |(version, member, instance, session_ms, rebalance_ms, protocols, bytes)| Rogue::Join {
            version,
            member,
            instance,
            session_ms,
            rebalance_ms,
            protocols,
            bytes,
        },
    );
    prop_oneof![
        4 => join,
        2 => (0..6_usize, -2..1, 0..20_000_usize)
            .prop_map(|(member, generation, assignment)| Rogue::Sync { member, generation, assignment }),
        1 => (0..6_usize, -2..1).prop_map(|(member, generation)| Rogue::Heartbeat { member, generation }),
        1 => (some(), some()).prop_map(|(member, instance)| Rogue::Leave { member, instance }),
        1 => (0..6_usize, -2..1).prop_map(|(member, generation)| Rogue::Commit { member, generation }),
        1 => (0..100_usize).prop_map(Rogue::Abandon),
        1 => Just(Rogue::Delete),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..6_usize).prop_map(Act::Next),
        1 => (0..6_usize).prop_map(Act::Crash),
        1 => (0..6_usize).prop_map(Act::Leave),
        1 => (0..6_usize).prop_map(Act::Disconnect),
        3 => prop_oneof![0..500_i64, 0..12_000_i64, Just(30_000_i64)].prop_map(Act::Pass),
        4 => (0..3_usize, rogue()).prop_map(|(group, what)| Act::Rogue { group, what }),
    ]
}

fn client() -> impl Strategy<Value = Client> {
    let kind = prop_oneof![Just(Kind::Eager), Just(Kind::Cooperative), (0..3_usize).prop_map(Kind::Static)];
    (kind, 0..10_i16, 0..2_usize, 2_000..20_000, 2_000..20_000).prop_map(
        |(kind, version, group, session_ms, rebalance_ms)| Client::new(kind, version, group, session_ms, rebalance_ms),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn always_true_and_quiet_in_the_end(
        clients in proptest::collection::vec(client(), 1..6),
        delay_ms in prop_oneof![Just(0_i64), Just(3_000_i64)],
        acts in proptest::collection::vec(act(), 0..120),
    ) {
        let mut world = World::new(clients, delay_ms);
        for act in acts {
            match act {
                Act::Next(client) => world.next(client),
                Act::Crash(client) => world.crash(client),
                Act::Leave(client) => world.leave(client),
                Act::Disconnect(client) => world.disconnect(client),
                Act::Pass(ms) => world.pass(ms),
                Act::Rogue { group, what } => world.rogue(group, what),
            }
            world.check();
        }
        world.settle_down();
    }
}
