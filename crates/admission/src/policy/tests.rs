//! Which limits and budgets a request meets.

use super::*;
use crate::plan::Unit;
use std::collections::BTreeMap;
use tollgate_runtime::config::{Role, parse};

const CONFIG: &str = r#"
providers: { p: { kind: openai }, free: { kind: mock } }
prices: [ { provider: p, model: m, input: 1, output: 2 }, { provider: p, model: dear, input: 10, output: 20 } ]
endpoints:
  - name: chat
    destinations: [ { name: a, provider: p, model: m, limits: [ { requests: 7, per: second }, { concurrent: 3 } ] } ]
    fallbacks: [ { name: b, provider: p, model: dear } ]
    limits:
      - { requests: 600, per: minute, for: each_key }
      - { requests: 500, per: minute, for: each_key }
      - { tokens: 200000, per: minute, for: endpoint }
      - { tokens: 9000, per: day, for: each_user, count_cached: false }
      - { concurrent: 64, for: each_team }
      - { requests: 5, per: hour, for: "key:web" }
      - { requests: 6, per: hour, for: "team:search" }
      - { requests: 4, per: hour, for: "user:bob" }
  - { name: free, destinations: [ { name: a, provider: free, model: x } ] }
  - { name: unpriced, destinations: [ { name: a, provider: p, model: nobody-knows } ] }
teams:
  - name: search
    endpoints: [ chat, free, unpriced ]
    limits: [ { tokens: 1000000, per: minute }, { requests: 3, per: day, for: each_user } ]
    budgets:
      - { usd: 500, per: month, action: block }
      - { usd: 5, per: day, action: block, enforcement: soft, for: each_user, time_zone: Europe/Berlin }
      - { usd: 9, per: week, action: alert, for: "tag:project=x", alert_at: [ 0.5, 0.9 ] }
  - { name: loose, endpoints: [ unpriced ], on_unpriced: allow, budgets: [ { usd: 1, per: total, action: block } ] }
  - { name: other, endpoints: [ unpriced ] }
users: [ { name: ann, limits: [ { concurrent: 2 } ] }, { name: bob } ]
keys:
  - { name: web, team: search, sha256: "1111111111111111111111111111111111111111111111111111111111111111", limits: [ { tokens: 50, per: second } ] }
  - { name: app, team: search, id: stable, sha256: "2222222222222222222222222222222222222222222222222222222222222222" }
budgets: [ { name: web-day, usd: 2, per: day, action: block, for: "key:web" } ]
"#;

fn config(text: &str) -> Config {
    parse(text, Role::All, &|_| Ok(None)).expect("a valid configuration").config
}

fn policy() -> Policy {
    Policy::compile(&config(CONFIG))
}

fn tags() -> BTreeMap<String, String> {
    BTreeMap::from([("project".to_owned(), "x".to_owned())])
}

fn ask<'a>(
    team: &'a str,
    key_id: Option<&'a str>,
    user: Option<&'a str>,
    endpoint: &'a str,
    tags: &'a BTreeMap<String, String>,
) -> Ask<'a> {
    let who = Who { team, key_id, user, endpoint, tags };
    Ask { id: Uuid::nil(), who, deadline_ms: 1_000_000, input_tokens: 1_000, output_tokens: 100 }
}

fn meters(plan: &Plan) -> Vec<String> {
    let rates = plan.reservation.rates.iter().map(|r| format!("{}={}/{}", r.meter, r.amount, r.limit));
    let holds = plan.reservation.holds.iter().map(|h| format!("{}={}", h.meter, h.limit));
    let mut all: Vec<String> = rates.chain(holds).collect();
    all.sort();
    all
}

const NOW: i64 = 1_795_900_000_000;

#[test]
fn every_limit_that_matches_is_taken_from() {
    let (policy, tags) = (policy(), BTreeMap::new());
    let plan = policy.plan(&ask("search", Some("1111111111111111"), Some("ann"), "chat", &tags), NOW).expect("priced");
    assert_eq!(
        meters(&plan),
        [
            "endpoint:chat/all/tokens/minute=1100/200000",
            "endpoint:chat/each_key:1111111111111111/requests/minute=1/500",
            "endpoint:chat/each_team:search/concurrent=64",
            "endpoint:chat/each_user:ann/uncached_tokens/day=1100/9000",
            "endpoint:chat/key:1111111111111111/requests/hour=1/5",
            "endpoint:chat/team:search/requests/hour=1/6",
            "key:1111111111111111/all/tokens/second=1100/50",
            "team:search/all/tokens/minute=1100/1000000",
            "team:search/each_user:ann/requests/day=1/3",
            "user:ann/all/concurrent=2",
        ]
    );
    let by_topic = policy.plan(&ask("search", None, None, "free", &tags), NOW).expect("free");
    assert_eq!(meters(&by_topic), ["team:search/all/tokens/minute=1100/1000000"]);
    assert!(policy.plan(&ask("other", None, None, "unpriced", &tags), NOW).expect("no budget").reservation.is_empty());
}

#[test]
fn a_changed_figure_keeps_the_meter() {
    let changed =
        Policy::compile(&config(&CONFIG.replace("requests: 5,", "requests: 50,").replace("usd: 500", "usd: 7")));
    let tags = tags();
    let ask = ask("search", Some("1111111111111111"), Some("bob"), "chat", &tags);
    let names = |policy: &Policy| {
        let reservation = policy.plan(&ask, NOW).expect("priced").reservation;
        let rates = reservation.rates.into_iter().map(|take| take.meter);
        rates.chain(reservation.funds.into_iter().map(|fund| fund.counter)).collect::<Vec<_>>()
    };
    assert_eq!(names(&policy()), names(&changed));
}

#[test]
fn names_cannot_pass_for_others() {
    let tags = BTreeMap::new();
    let meter = |team: &str, user: &str| {
        policy().plan(&ask(team, None, Some(user), "chat", &tags), NOW).map(|plan| meters(&plan)).expect("priced")
    };
    assert_ne!(meter("a", "b/each_team:c"), meter("a/each_user:b", "c"));
    assert!(meter("x", "b/y@%").iter().any(|m| m.contains("each_user:b%2Fy%40%25/")));
}

#[test]
fn budgets_are_asked_in_their_own_dimension_and_zone() {
    let (policy, tags) = (policy(), tags());
    let plan = policy.plan(&ask("search", Some("1111111111111111"), Some("ann"), "chat", &tags), NOW).expect("priced");
    let reservation = &plan.reservation;
    let day = crate::period::period(tollgate_runtime::config::Per::Day, chrono_tz::Tz::UTC, NOW).label;
    let mut asked: Vec<_> = reservation.funds.iter().map(|f| (f.counter.as_str(), f.ceiling_nano, f.strict)).collect();
    asked.sort_unstable();
    let berlin = format!("team:search/user:ann@{day}/Europe/Berlin");
    assert_eq!(
        asked,
        [
            (&*format!("key:1111111111111111@{day}"), 2_000_000_000, true),
            (&*berlin, 5_000_000_000, false),
            ("team:search@month/2026-11", 500_000_000_000, true),
        ]
    );
    assert_eq!(reservation.dimensions, ["key:1111111111111111", "team:search", "team:search/user:ann"]);
    // 1,000 × 10 + 100 × 20 dollars per million.
    assert_eq!((reservation.nano, plan.output_tokens_max), (12_000_000, Some(100)));
    assert_eq!(reservation.expires_ms, 1_000_000 + GRACE_MS);
}

#[test]
fn what_has_no_price_is_refused_under_a_blocking_budget_unless_the_team_allows_it() {
    let (policy, tags) = (policy(), BTreeMap::new());
    let refused = policy.plan(&ask("search", None, None, "unpriced", &tags), NOW).expect_err("no price");
    assert_eq!(refused.reason, Reason::Unpriced);
    assert!(refused.is_quota() && refused.retry_after_ms().is_none());
    let plan = policy.plan(&ask("loose", None, None, "unpriced", &tags), NOW).expect("allowed");
    assert_eq!((plan.reservation.nano, plan.output_tokens_max), (0, None));
    let free = policy.plan(&ask("search", None, None, "free", &tags), NOW).expect("free");
    assert_eq!((free.reservation.nano, free.output_tokens_max), (0, Some(100)));
}

#[test]
fn a_destination_has_meters_of_its_own() {
    let limits = DestinationLimits::compile(&config(CONFIG));
    let reserve = |endpoint, destination| limits.reservation(endpoint, destination, 5, || 10);
    let plan = reserve("chat", "a").expect("limits");
    assert_eq!(plan.rates[0].meter, "endpoint:chat/destination:a/all/requests/second");
    assert_eq!((plan.rates[0].unit, plan.holds[0].limit), (Unit::Requests, 3));
    assert_eq!((reserve("chat", "b"), reserve("nowhere", "a")), (None, None));
}

fn row(cost: Option<&str>) -> UsageRow {
    let request = serde_json::json!({
        "request_id": Uuid::from_u128(7), "lane": "interactive", "endpoint": "chat", "model": "chat",
        "api_type": "openai/v1/chat/completions", "body": { "inline": {} }, "accepted_us": (NOW - 86_400_000) * 1000,
        "caller": { "team": "search", "key_id": "stable", "user_id": "ann" }, "reply": {}, "tags": { "project": "x" },
        "deadline_ms": NOW,
    });
    let attempt = serde_json::json!({
        "priority": 1, "action": "INITIAL_ATTEMPT", "destination": "a", "provider": "p", "model": "m", "latency_ms": 1,
        "start_time_us": NOW * 1000, "end_time_us": NOW * 1000, "input_tokens": 1_000_000, "output_tokens": 500_000,
    });
    let mut row = serde_json::json!({
        "schema_version": 1, "gateway": "g", "region": "r", "request_id": request["request_id"], "invocation_id": Uuid::nil(),
        "execution_id": Uuid::nil(), "event_time_us": request["accepted_us"], "endpoint_id": "chat", "endpoint_name": "chat",
        "team": "search", "key_id": "stable", "user_id": "ann", "api_type": "x", "lane": "interactive", "stream": false,
        "status_code": 200, "latency_ms": 1, "input_tokens": 1_000_000, "output_tokens": 500_000,
        "token_details": { "cache_read_input_tokens": 400_000 }, "request_tags": { "project": "x" }, "attempts": [attempt],
        "cache_hit": false, "cost_usd": null,
    });
    if let Some(cost) = cost {
        row["cost_usd"] = cost.into();
    }
    serde_json::from_value(row).expect("a row")
}

#[test]
fn a_row_settles_every_counter_of_its_call_s_periods() {
    let policy = policy();
    let settlement = policy.settlement(&row(Some("1.25")), None);
    assert_eq!((settlement.nano, settlement.tokens, settlement.cached_tokens), (1_250_000_000, 1_500_000, 400_000));
    let mut counters: Vec<&str> = settlement.adds.iter().map(|add| add.counter.as_str()).collect();
    for wanted in [
        "team:search@month/2026-11",
        "team:search@total",
        "key:stable@total",
        "user:ann@total",
        "endpoint:chat@total",
        "team:search/user:ann@total",
        "team:search/endpoint:chat@total",
        "team:search/tag:project=x@total",
    ] {
        assert!(counters.contains(&wanted), "{wanted} in {counters:?}");
    }
    // Eight dimensions less one, for tags count only where a budget names them; four periods, three more in Berlin.
    assert_eq!(counters.len(), 7 * 7);
    counters.sort_unstable();
    counters.dedup();
    assert_eq!(counters.len(), 7 * 7);
    let watched: Vec<u64> = settlement.watches.iter().map(|watch| watch.at_nano).collect();
    assert_eq!(watched, [500_000_000_000, 5_000_000_000, 4_500_000_000, 8_100_000_000]);
}

#[test]
fn a_row_without_a_cost_counts_what_its_calls_cost_at_most() {
    assert_eq!(policy().settlement(&row(None), None).nano, 2_000_000_000);
}

#[test]
fn a_shadow_s_call_is_on_its_tags_account_and_not_on_its_endpoint_s() {
    let more = r#"budgets: [ { name: lab, usd: 3, per: total, action: alert, for: "tag:project=x" },
  { name: teams, usd: 1, per: day, action: alert, for: each_team },
  { name: chat, usd: 1, per: day, action: block, for: "endpoint:chat" }, { name: web-day"#;
    let policy = Policy::compile(&config(&CONFIG.replace("budgets: [ { name: web-day", more)));
    let settled = |team: &str, parent: Option<u128>| {
        let parent_request_id = parent.map(|id| tollgate_schemas::RequestId(Uuid::from_u128(id)));
        let (lane, team) = ("batch".to_owned(), team.to_owned());
        let row = UsageRow { parent_request_id, lane, team, key_id: None, user_id: None, ..row(Some("1.25")) };
        let settlement = policy.settlement(&row, None);
        let totals = settlement.adds.iter().filter_map(|add| add.counter.strip_suffix("@total"));
        let watched = settlement.watches.iter().filter_map(|watch| Some(watch.alert.as_ref()?.budget.name.clone()));
        let (totals, watched): (Vec<_>, Vec<_>) = (totals.map(str::to_owned).collect(), watched.collect());
        (settlement.rates.len(), totals, watched)
    };
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(settled("", Some(1)), (0, names(&["tag:project=x"]), names(&["lab"])));
    assert_eq!(settled("other", Some(1)), (0, names(&["team:other", "tag:project=x"]), names(&["teams", "lab"])));
    let (rates, totals, watched) = settled("other", None);
    assert_eq!(totals, ["team:other", "team:other/endpoint:chat", "endpoint:chat", "tag:project=x"]);
    assert_eq!((rates, watched), (1, names(&["teams", "chat", "lab"])));
}
