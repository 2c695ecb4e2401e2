//! What admission costs: 100,000 keys in 10,000 teams, an endpoint's limits and the teams' budgets, each request planned, admitted
//! and settled. In memory from 1 task; through Valkey from 1 and from 64 at once.
//!
//! ```text
//! cargo run --release -p tollgate-admission --example cost [redis://127.0.0.1:6379]
//! ```
#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![allow(clippy::disallowed_methods, reason = "its tasks are awaited")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tollgate_admission::{Ask, Decision, Policy, Settlement, Snapshot, Store, Who, plan::Add};
use tollgate_runtime::config::{Config, Role, parse};
use uuid::Uuid;

const TEAMS: usize = 10_000;
const KEYS_PER_TEAM: usize = 10;
const IN_MEMORY: usize = 300_000;
const THROUGH_VALKEY: usize = 20_000;

/// 10,000 teams with a budget each, 100,000 keys: made from one of each.
fn config() -> Config {
    let text = r#"
providers: { p: { kind: openai } }
prices: [ { provider: p, model: m, input: 1, output: 2 } ]
endpoints:
  - name: chat
    destinations: [ { name: a, provider: p, model: m } ]
    limits: [ { requests: 600, per: minute, for: each_key }, { tokens: 2000000000, per: minute, for: endpoint }, { concurrent: 64, for: each_team } ]
teams: [ { name: team, endpoints: [ chat ], limits: [ { tokens: 1000000, per: minute } ], budgets: [ { usd: 500, per: month, action: block } ] } ]
keys: [ { name: key, team: team, sha256: "1111111111111111111111111111111111111111111111111111111111111111" } ]
"#;
    let mut config = parse(text, Role::All, &|_| Ok(None)).expect("valid").config;
    let (team, key) = (config.teams.remove(0), config.keys.remove(0));
    for t in 0..TEAMS {
        let mut team = team.clone();
        team.name = format!("team-{t}");
        for k in 0..KEYS_PER_TEAM {
            let mut key = key.clone();
            (key.name, key.team) = (format!("key-{t}-{k}"), team.name.clone());
            key.id = Some(format!("{:016x}", t * KEYS_PER_TEAM + k));
            config.keys.push(key);
        }
        config.teams.push(team);
    }
    config
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// One request from its plan to its settlement; whether it was admitted.
async fn request(policy: &Policy, store: &Store, number: usize) -> bool {
    let (tags, now) = (BTreeMap::new(), now_ms());
    let mut hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32;
    let (team, key) = (hash % TEAMS, hash % (TEAMS * KEYS_PER_TEAM));
    let (team, key) = (format!("team-{team}"), format!("{key:016x}"));
    let who = Who { team: &team, key_id: Some(&key), user: Some("ann"), endpoint: "chat", tags: &tags };
    let ask = Ask { id: Uuid::now_v7(), who, deadline_ms: now + 60_000, input_tokens: 100, output_tokens: 200 };
    let plan = policy.plan(&ask, now).expect("priced");
    let decision = store.admit(&plan.reservation, now).await.expect("up");
    // As a usage row would: six dimensions, four periods.
    let mut settlement = Settlement { nano: 300_000, ..Settlement::of_attempt(ask.id, 250, 0) };
    for dimension in [&*team, &*key, "ann", "chat", &*format!("{team}/ann"), &*format!("{team}/chat")] {
        for period in ["day/2026-11-29", "week/2026-11-23", "month/2026-11", "total"] {
            let mut counter = String::with_capacity(64);
            let _ = write!(counter, "{dimension}@{period}");
            settlement.adds.push(Add { counter, drop_ms: now + 86_400_000 });
        }
    }
    store.settle(&settlement, now).await.expect("up");
    matches!(decision, Decision::Admitted(_))
}

async fn measure(name: &str, policy: &Arc<Policy>, store: &Arc<Store>, count: usize, at_once: usize) {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..at_once {
        let (policy, store) = (policy.clone(), store.clone());
        tasks.spawn(async move {
            let (mut slowest, mut refused) = (0, 0);
            for number in (task..count).step_by(at_once) {
                let began = Instant::now();
                refused += usize::from(!request(&policy, &store, number).await);
                slowest = slowest.max(began.elapsed().as_micros());
            }
            (slowest, refused)
        });
    }
    let results = tasks.join_all().await;
    let (took, slowest) = (began.elapsed(), results.iter().map(|(slowest, _)| slowest).max().unwrap_or(&0));
    let refused: usize = results.iter().map(|(_, refused)| refused).sum();
    let each_us = took.as_secs_f64() * 1e6 / count as f64;
    println!("| {name} | {at_once} | {each_us:.1} | {:.0} | {slowest} | {refused} |", 1e6 / each_us);
}

async fn ready(store: Store) -> Arc<Store> {
    store.restore(&Snapshot::default(), now_ms()).await.expect("restored");
    store.caught_up(now_ms()).await.expect("ready");
    Arc::new(store)
}

#[tokio::main]
async fn main() {
    let config = config();
    let began = Instant::now();
    let policy = Arc::new(Policy::compile(&config));
    println!("{} keys, {TEAMS} teams compiled in {} ms\n", config.keys.len(), began.elapsed().as_millis());
    println!(
        "| store | at once | µs each | per second | slowest, µs | refused |\n| --- | --- | --- | --- | --- | --- |"
    );
    measure("memory", &policy, &ready(Store::memory()).await, IN_MEMORY, 1).await;
    if let Some(address) = std::env::args().nth(1) {
        let gateway = format!("bench-{}", Uuid::now_v7());
        let store = ready(Store::open(&address, &gateway).expect("an address")).await;
        for at_once in [1, 64] {
            measure("valkey", &policy, &store, THROUGH_VALKEY, at_once).await;
        }
    }
}
