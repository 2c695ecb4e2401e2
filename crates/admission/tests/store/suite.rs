//! What every store does.

use super::server::Server;
use std::sync::Arc;
use tollgate_admission::{
    Decision, Error, Reason, Reservation, Settlement, Snapshot, Source, Store,
    plan::{Add, Fund, Hold, Take, Unit, Watch},
    store::Restored,
};
use uuid::Uuid;

/// When the tests begin: the present, so that a server's own expiry does not come in between.
pub(crate) fn begin_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds") / 60_000 * 60_000
}

pub(crate) fn nothing(id: u128, expires_ms: i64) -> Reservation {
    let (rates, holds, funds, dimensions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Reservation { id: Uuid::from_u128(id), expires_ms, rates, holds, funds, dimensions, nano: 0 }
}

pub(crate) fn take(meter: &str, unit: Unit, window_ms: i64, limit: u64, amount: u64) -> Take {
    Take { meter: meter.to_owned(), unit, window_ms, limit, amount }
}

pub(crate) fn fund(dimension: &str, ceiling_nano: u64, strict: bool) -> Fund {
    let (dimension, counter) = (dimension.to_owned(), format!("{dimension}@total"));
    Fund { dimension, counter, ceiling_nano, strict, budget: None, end_ms: None }
}

pub(crate) fn costs(id: u128, dimension: &str, nano: u64) -> Settlement {
    let add = Add { counter: format!("{dimension}@total"), drop_ms: begin_ms() + 86_400_000 };
    Settlement { nano, adds: vec![add], ..Settlement::of_attempt(Uuid::from_u128(id), 0, 0) }
}

async fn ready(open: &dyn Fn() -> Store) -> Store {
    let store = open();
    let now = begin_ms();
    assert!(matches!(store.admit(&nothing(0, now + 1), now).await, Err(Error::Rebuilding)), "down until it is ready");
    assert_eq!(store.restore(&Snapshot::default(), now).await.expect("restored"), Restored::Mine);
    assert!(store.caught_up(now).await.expect("ready") && store.is_ready().await.expect("an answer"));
    store
}

async fn admitted(store: &Store, reservation: &Reservation, now: i64) -> bool {
    matches!(store.admit(reservation, now).await.expect("up"), Decision::Admitted(_))
}

pub(crate) async fn run(open: &dyn Fn() -> Store) {
    all_or_nothing(&ready(open).await).await;
    tokens_come_back(&ready(open).await).await;
    places_are_held_until_settled_or_expired(&ready(open).await).await;
    money_is_reserved_then_settled_once(&ready(open).await).await;
    a_retry_at_the_time_told_is_admitted(&ready(open).await).await;
    rows_come_in_order(&ready(open).await).await;
    thresholds_are_told_once(&ready(open).await).await;
    for strict in [true, false] {
        crowds_do_not_pass_a_budget(ready(open).await, strict).await;
    }
}

async fn all_or_nothing(store: &Store) {
    let now = begin_ms();
    let mut asked = nothing(1, now + 60_000);
    asked.rates = vec![take("a", Unit::Requests, 60_000, 5, 1), take("b", Unit::Tokens, 60_000, 10, 8)];
    asked.holds = vec![Hold { meter: "c".into(), limit: 5 }];
    assert!(admitted(store, &asked, now).await);
    assert_eq!(store.admit(&asked, now).await.expect("up"), Decision::Repeated);
    asked.id = Uuid::from_u128(2);
    let Decision::Refused(refused) = store.admit(&asked, now).await.expect("up") else { panic!("8 + 8 > 10") };
    let Reason::Rate { meter, limit: 10, remaining: 2, per: "minute", .. } = &refused.reason else {
        panic!("{refused:?}")
    };
    assert_eq!(meter, "b");
    asked.rates[1].amount = 1;
    let Decision::Admitted(figures) = store.admit(&asked, now).await.expect("up") else { panic!("fits") };
    let (requests, tokens) = (figures.requests.expect("a limit"), figures.tokens.expect("a limit"));
    assert_eq!((requests.remaining, tokens.remaining), (3, 1), "the refused one took nothing");
    assert!(tokens.reset_ms > 60_000 && tokens.reset_ms <= 62_000);
    asked.id = Uuid::from_u128(3);
    asked.rates[1].amount = 11;
    let Decision::Refused(refused) = store.admit(&asked, now).await.expect("up") else { panic!("11 > 10") };
    assert!(
        matches!(refused.reason, Reason::TooLarge { amount: 11, limit: 10, .. }) && refused.retry_after_ms().is_none()
    );
}

async fn tokens_come_back(store: &Store) {
    let now = begin_ms();
    let ask = |id: u128, amount: u64| {
        let mut asked = nothing(id, now + 600_000);
        asked.rates = vec![
            take("all", Unit::Tokens, 3_600_000, 1_000, amount),
            take("fresh", Unit::UncachedTokens, 3_600_000, 1_000, amount),
        ];
        asked
    };
    assert!(admitted(store, &ask(1, 1_000), now).await && !admitted(store, &ask(2, 1), now).await);
    store.settle(&Settlement::of_attempt(Uuid::from_u128(1), 400, 300), now + 5_000).await.expect("settled");
    let mut asked = ask(3, 600);
    asked.rates[1].amount = 900;
    assert!(admitted(store, &asked, now + 6_000).await, "400 counted of all, 100 of what was not cached");
    assert!(!admitted(store, &ask(4, 1), now + 6_000).await);
    store.release(Uuid::from_u128(3), now + 7_000).await.expect("released");
    assert!(admitted(store, &asked, now + 8_000).await, "all of it came back");
    // More than was foreseen counts too.
    store.settle(&Settlement::of_attempt(Uuid::from_u128(3), 5_000, 0), now + 9_000).await.expect("settled");
    let Decision::Refused(refused) = store.admit(&ask(5, 1), now + 10_000).await.expect("up") else { panic!("full") };
    assert_eq!(refused.figures.tokens.expect("a limit").remaining, 0);
}

async fn places_are_held_until_settled_or_expired(store: &Store) {
    let now = begin_ms();
    let ask = |id: u128, expires_ms: i64| {
        let mut asked = nothing(id, expires_ms);
        asked.holds = vec![Hold { meter: "c".into(), limit: 2 }];
        asked
    };
    assert!(admitted(store, &ask(1, now + 1_000), now).await && admitted(store, &ask(2, now + 9_000), now).await);
    let Decision::Refused(refused) = store.admit(&ask(3, now + 9_000), now).await.expect("up") else { panic!("full") };
    assert!(matches!(refused.reason, Reason::Concurrent { limit: 2, .. }) && refused.retry_after_ms().is_some());
    assert!(admitted(store, &ask(3, now + 9_000), now + 1_000).await, "the first has expired");
    assert!(!admitted(store, &ask(4, now + 9_000), now + 1_000).await);
    store.settle(&Settlement::of_attempt(Uuid::from_u128(2), 0, 0), now + 2_000).await.expect("settled");
    assert!(admitted(store, &ask(4, now + 9_000), now + 2_000).await);
}

async fn money_is_reserved_then_settled_once(store: &Store) {
    let now = begin_ms();
    let ask = |id: u128, nano: u64, strict: bool, expires_ms: i64| {
        let mut asked = nothing(id, expires_ms);
        (asked.funds, asked.dimensions, asked.nano) = (vec![fund("d", 100, strict)], vec!["d".into()], nano);
        asked
    };
    assert!(admitted(store, &ask(1, 60, true, now + 1_000), now).await);
    let Decision::Refused(refused) = store.admit(&ask(2, 41, true, now + 9_000), now).await.expect("up") else {
        panic!("60 + 41 > 100")
    };
    assert!(refused.is_quota() && refused.retry_after_ms().is_none(), "{refused:?}");
    assert!(admitted(store, &ask(2, 40, true, now + 9_000), now).await);
    assert!(!admitted(store, &ask(3, 500, false, now + 9_000), now).await, "nothing is left, softly");
    // The first expires: its money is free, and its cost counts all the same when it comes, once.
    assert!(admitted(store, &ask(3, 500, false, now + 9_000), now + 1_000).await, "soft asks for any room at all");
    store.release(Uuid::from_u128(3), now + 1_000).await.expect("released");
    for _ in 0..3 {
        store.settle(&costs(1, "d", 50), now + 2_000).await.expect("settled");
    }
    assert!(!admitted(store, &ask(4, 11, true, now + 9_000), now + 2_000).await, "50 + 40 + 11 > 100");
    assert!(admitted(store, &ask(4, 10, true, now + 9_000), now + 2_000).await);
    store.settle(&costs(2, "d", 30), now + 3_000).await.expect("settled");
    assert!(admitted(store, &ask(5, 10, true, now + 9_000), now + 3_000).await, "50 + 30 + 10 + 10");
    assert_eq!(store.admit(&ask(1, 1, true, now + 9_000), now + 3_000).await.expect("up"), Decision::Repeated);
}

async fn a_retry_at_the_time_told_is_admitted(store: &Store) {
    let now = begin_ms();
    for (number, (window_ms, step)) in [(1_000, 77), (60_000, 5_777), (3_600_000, 300_007)].into_iter().enumerate() {
        let meter = format!("m{number}");
        let (mut at, mut refusals) = (now, 0);
        for id in 0..60u128 {
            let mut asked = nothing(1_000 * (number as u128 + 1) + id, at + 600_000);
            asked.rates = vec![take(&meter, Unit::Requests, window_ms, 9, 1)];
            if let Decision::Refused(refused) = store.admit(&asked, at).await.expect("up") {
                refusals += 1;
                at += i64::try_from(refused.retry_after_ms().expect("a time")).expect("short");
                assert!(admitted(store, &asked, at).await, "at the time told");
            }
            at += step;
        }
        assert!(refusals > 1);
    }
}

async fn rows_come_in_order(store: &Store) {
    let now = begin_ms();
    let row = |id: u128, after: i64, offset: i64| {
        let source = Some(Source { partition: 3, after, offset });
        Settlement { source, ..costs(id, "d", 1) }
    };
    store.settle(&row(1, -1, 4), now).await.expect("offsets may begin anywhere");
    store.settle(&row(1, -1, 4), now).await.expect("again");
    store.settle(&row(2, 4, 9), now).await.expect("and have holes");
    store.settle(&row(3, -1, 5), now).await.expect("what another reader has counted is skipped");
    let Err(Error::Gap { partition: 3, counted: 9 }) = store.settle(&row(4, 11, 12), now).await else {
        panic!("10 and 11 are missing")
    };
    store.settle(&row(4, 9, 12), now).await.expect("now it is in order");
    assert_eq!(store.spent_usd("d@total").to_string(), "0.000000003");
    assert_eq!(store.snapshot(now).offsets[&3], 12);
}

async fn thresholds_are_told_once(store: &Store) {
    let now = begin_ms();
    let budget = tollgate_admission::plan::BudgetText {
        name: "b".into(),
        per: tollgate_runtime::config::Per::Total,
        usd: 1.into(),
        action: tollgate_runtime::config::BudgetAction::Alert,
        webhook: None,
    };
    let watch = |part: u64| Watch {
        counter: "d@total".into(),
        at_nano: part,
        mark: format!("b@{part}"),
        drop_ms: now + 86_400_000,
        alert: Some(tollgate_admission::Alert {
            budget: Arc::new(budget.clone()),
            subject: "d".into(),
            period: "total".into(),
            threshold: part as f64,
            spent_usd: 0.into(),
        }),
    };
    let mut told = Vec::new();
    for id in 0..6 {
        let watches = vec![watch(1_000_000_000), watch(3_000_000_000)];
        let settlement = Settlement { watches, ..costs(id, "d", 700_000_000) };
        let alerts = store.settle(&settlement, now).await.expect("settled");
        told.extend(alerts.into_iter().map(|alert| (id, alert.threshold, alert.spent_usd.to_string())));
    }
    assert_eq!(told, [(1, 1e9, "1.4".to_owned()), (4, 3e9, "3.5".to_owned())]);
}

/// 200 at once, room for 10.
async fn crowds_do_not_pass_a_budget(store: Store, strict: bool) {
    let (now, store) = (begin_ms(), Arc::new(store));
    let callers = (0..200).map(|id| {
        let store = store.clone();
        async move {
            let mut asked = nothing(id, now + 60_000);
            (asked.funds, asked.dimensions, asked.nano) = (vec![fund("d", 1_005, strict)], vec!["d".into()], 100);
            admitted(&store, &asked, now).await
        }
    });
    let mut all = tokio::task::JoinSet::new();
    for caller in callers {
        #[allow(clippy::disallowed_methods, reason = "a test's own tasks, awaited below")]
        all.spawn(caller);
    }
    let passed = all.join_all().await.into_iter().filter(|admitted| *admitted).count();
    assert_eq!(passed, if strict { 10 } else { 11 }, "soft lets one more begin while anything is left");
}

/// Random histories: Valkey answers as memory does, figures included.
pub(crate) async fn same_as_memory(open: &dyn Fn() -> Store) {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (one, other) = (ready(&|| Store::memory()).await, ready(open).await);
        let mut now = begin_ms();
        for step in 0..250 {
            let id = random.u128(0..60);
            match random.u32(0..10) {
                0..=4 => {
                    let who = random.u32(0..3);
                    let mut asked = nothing(id, now + random.i64(1..30_000));
                    let (tokens, nano) = (random.u64(0..400), random.u64(0..300));
                    asked.rates = vec![
                        take("r", Unit::Requests, 60_000, 25, 1),
                        take(&format!("t{who}"), Unit::Tokens, 1_000, 900, tokens),
                        take(&format!("u{who}"), Unit::UncachedTokens, 3_600_000, 9_000, tokens),
                    ];
                    asked.holds = vec![Hold { meter: format!("c{who}"), limit: 5 }];
                    asked.funds = vec![fund("d", 6_000, who == 0), fund(&format!("d{who}"), 3_000, true)];
                    asked.dimensions = vec!["d".into(), format!("d{who}")];
                    asked.nano = nano;
                    let (a, b) =
                        (one.admit(&asked, now).await.expect("up"), other.admit(&asked, now).await.expect("up"));
                    assert_eq!(a, b, "seed {seed}, step {step}");
                }
                5..=7 => {
                    let mut settlement = costs(id, "d", random.u64(0..200));
                    (settlement.tokens, settlement.cached_tokens) = (random.u64(0..500), random.u64(0..100));
                    settlement.adds.push(Add { counter: format!("d{}@total", id % 3), drop_ms: now + 86_400_000 });
                    let results = (one.settle(&settlement, now).await, other.settle(&settlement, now).await);
                    assert_eq!(results.0.expect("up"), results.1.expect("up"), "seed {seed}, step {step}");
                }
                8 => {
                    one.release(Uuid::from_u128(id), now).await.expect("up");
                    other.release(Uuid::from_u128(id), now).await.expect("up");
                }
                _ => now += random.i64(0..8_000),
            }
        }
    }
}

/// Nothing but the store's own three keys stays for ever.
pub(crate) async fn everything_expires(open: &dyn Fn() -> Store, server: &Server) {
    let (store, now) = (ready(open).await, begin_ms());
    let mut asked = nothing(1, now + 60_000);
    asked.rates = vec![take("a", Unit::Tokens, 86_400_000, 1_000, 10)];
    asked.holds = vec![Hold { meter: "c".into(), limit: 5 }];
    (asked.funds, asked.dimensions, asked.nano) = (vec![fund("d", 100, true)], vec!["d".into()], 7);
    assert!(admitted(&store, &asked, now).await);
    let mut other = asked.clone();
    other.id = Uuid::from_u128(2);
    assert!(admitted(&store, &other, now).await);
    let source = Some(Source { partition: 0, after: -1, offset: 0 });
    let watch =
        Watch { counter: "d@total".into(), at_nano: 1, mark: "m".into(), drop_ms: now + 86_400_000, alert: None };
    let settlement = Settlement { source, tokens: 20, watches: vec![watch], ..costs(1, "d", 5) };
    store.settle(&settlement, now).await.expect("settled");
    let lives = server.lives();
    let kinds: std::collections::BTreeSet<&str> =
        lives.iter().filter_map(|(key, _)| key.split_once("}:")?.1.split(':').next()).collect();
    for kind in ["w", "c", "z", "h", "s", "a", "r", "d"] {
        assert!(kinds.contains(kind), "{kind} in {kinds:?}");
    }
    for (key, live) in &lives {
        let own = ["ready", "lease", "offsets"].iter().any(|name| key.ends_with(&format!("}}:{name}")));
        assert!(own || *live > 0, "{key} stays for ever");
    }
}

/// The server forgets everything: down until a replica has filled it from what it read and what is open.
pub(crate) async fn a_lost_store_is_rebuilt(server: &Server) {
    let gateway = format!("test-{}", Uuid::now_v7());
    let open = || Store::open(&server.address(), &gateway).expect("an address").with_callers_clock();
    let (store, now) = (ready(&open).await, begin_ms());
    let row = |id: u128, after: i64| {
        let source = Some(Source { partition: 0, after, offset: after + 1 });
        let rates = vec![take("hour", Unit::Tokens, 3_600_000, 100, 0)];
        Settlement { source, tokens: 30, accepted_ms: now, rates, ..costs(id, "d", 40) }
    };
    let ask = |id: u128, nano: u64, tokens: u64| {
        let mut asked = nothing(id, now + 60_000);
        asked.rates = vec![take("hour", Unit::Tokens, 3_600_000, 100, tokens)];
        (asked.funds, asked.dimensions, asked.nano) = (vec![fund("d", 100, true)], vec!["d".into()], nano);
        asked
    };
    assert!(admitted(&store, &ask(1, 40, 30), now).await);
    store.settle(&row(1, -1), now).await.expect("settled");
    assert!(admitted(&store, &ask(2, 50, 60), now).await && !admitted(&store, &ask(3, 11, 1), now).await);

    server.command("FLUSHALL");
    assert!(matches!(store.admit(&ask(3, 1, 1), now).await, Err(Error::Rebuilding)));
    assert!(matches!(store.settle(&row(9, 5), now).await, Err(Error::Gap { counted: -1, .. })));
    let other = open();
    assert_eq!(store.restore(&store.snapshot(now), now).await.expect("begun"), Restored::Mine);
    assert_eq!(other.restore(&Snapshot::default(), now).await.expect("asked"), Restored::Elsewhere);
    assert!(!other.caught_up(now).await.expect("asked"), "it is not its to say");
    store.reopen(&ask(1, 40, 30), now, now).await.expect("settled before");
    store.reopen(&ask(2, 50, 60), now, now).await.expect("still open");
    assert!(matches!(store.admit(&ask(3, 1, 1), now).await, Err(Error::Rebuilding)), "not yet");
    assert!(store.caught_up(now).await.expect("ready"));
    assert_eq!(other.restore(&Snapshot::default(), now).await.expect("asked"), Restored::Ready);

    assert!(!admitted(&other, &ask(3, 11, 1), now).await, "40 spent, 50 reserved, as before");
    assert!(!admitted(&other, &ask(3, 10, 11), now).await, "30 used and 60 taken of this hour's tokens, as before");
    assert!(admitted(&other, &ask(3, 10, 10), now).await);
    assert_eq!(store.admit(&ask(1, 1, 1), now).await.expect("up"), Decision::Repeated);
}

/// Two replicas on one server are one store.
pub(crate) async fn replicas_share(server: &Server) {
    let gateway = format!("test-{}", Uuid::now_v7());
    let open = || Store::open(&server.address(), &gateway).expect("an address");
    let (one, now) = (ready(&open).await, begin_ms());
    let two = open();
    assert_eq!(two.restore(&Snapshot::default(), now).await.expect("asked"), Restored::Ready);
    let mut passed = 0;
    for id in 0..40 {
        let mut asked = nothing(id, now + 600_000);
        asked.rates = vec![take("m", Unit::Requests, 86_400_000, 10, 1)];
        let store = if id % 2 == 0 { &one } else { &two };
        passed += u32::from(admitted(store, &asked, now).await);
    }
    assert_eq!(passed, 10);
}
